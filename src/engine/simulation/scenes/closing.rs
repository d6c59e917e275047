//! Closing, on purpose and because there is nothing left to live on.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    super::stage::{Fate, Stage},
    lock, ms, secs, settings, waits,
};
use crate::error::Error;

#[tokio::test(start_paused = true)]
async fn what_goes_on_for_ever_leaves_closing_time_enough_to_give_back() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    hand.next("fenced/acquire", Fate::Held(Arc::new(Semaphore::new(0))));
    let waiting = waits(&client.fenced_lock("f")).await;
    let report = client.close(secs(8)).await;
    assert_eq!((report.released, report.unreleased), (1, Vec::new()));
    assert_eq!(stage.holders("n"), 0);
    drop((guard, waiting));
}

#[test]
fn a_client_whose_runtime_is_gone_is_closed_and_holds_nothing() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let home = runtime();
    let (stage, client, guard) = home.block_on(async {
        let stage = Stage::new();
        let (client, _) = stage.client(settings());
        let guard = lock(&client, 1).lock().await.expect("free");
        (stage, client, guard)
    });
    assert!(!guard.is_lost());
    // Somebody of another runtime waits.
    let other = runtime();
    let waiting = other.block_on(waits(&lock(&client, 2)));
    drop(home);
    assert!(guard.is_lost());
    let outcome = other.block_on(async {
        let outcome = tokio::time::timeout(secs(20), waiting).await;
        tokio::time::sleep(ms(1)).await;
        outcome
    });
    let outcome = outcome.expect("it is told").expect("joins");
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    drop(stage);
}
