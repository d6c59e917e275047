//! The worked example of `docs/testing.md` on a real server: a handler that must stop when its lock is lost.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use redlatch::{Client, Error, Result};
use tokio::time::sleep;

use crate::rig::{Rig, ms, on_both, secs};

/// What a payment service does, and what it has done.
#[derive(Clone, Default)]
struct Payments(Arc<Mutex<Vec<String>>>);

impl Payments {
    async fn charge(&self, order: &str) {
        self.note(format!("reserve {order}"));
        sleep(secs(2)).await;
        self.note(format!("charge {order}"));
    }

    fn note(&self, what: String) {
        self.0.lock().expect("no panic").push(what);
    }

    fn done(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

/// Handles one order, alone; stops where it is when the lock is lost.
async fn handle(client: &Client, order: &str, work: impl Future<Output = ()>) -> Result<()> {
    let guard = client.lock(format!("orders:{order}")).lock();
    let guard = guard.wait(secs(5)).await?;
    guard.run(work).await?;
    guard.unlock().await
}

on_both! {
    a_handler_that_loses_its_lock_charges_nobody
    two_handlers_of_one_order_take_turns
}

async fn a_handler_that_loses_its_lock_charges_nobody(rig: Rig) {
    let client = rig.client_with(|builder| builder.watchdog_timeout(ms(600)));
    let (client, payments) = (client.await, Payments::default());
    let handling = tokio::spawn({
        let (client, payments) = (client.clone(), payments.clone());
        async move { handle(&client, "42", payments.charge("42")).await }
    });
    while payments.done().is_empty() {
        sleep(ms(2)).await;
    }
    assert!(rig.lose_lock_now("orders:42").await);
    let outcome = handling.await.expect("joins");
    assert!(matches!(outcome, Err(Error::Lost { .. })), "{outcome:?}");
    sleep(secs(2)).await;
    assert_eq!(payments.done(), ["reserve 42"]);
    // The next one does all of it.
    let handled = handle(&client, "42", payments.charge("42")).await;
    handled.expect("free");
    assert_eq!(payments.done(), ["reserve 42", "reserve 42", "charge 42"]);
}

async fn two_handlers_of_one_order_take_turns(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let payments = Payments::default();
    let (first, second) = tokio::join!(
        handle(&one, "7", payments.charge("7")),
        handle(&other, "7", payments.charge("7")),
    );
    first.expect("its turn");
    second.expect("its turn");
    assert_eq!(
        payments.done(),
        ["reserve 7", "charge 7", "reserve 7", "charge 7"]
    );
}
