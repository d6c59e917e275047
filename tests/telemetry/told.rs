//! What `Client::events` tells, as events of `tracing`.

use redlatch::Event;
use redlatch_support::{Proxy, Server};
use tokio_stream::StreamExt;
use tracing::Level;

use crate::{
    kit::{Meter, close, connect, plain, secs},
    watch::Watch,
};

#[tokio::test]
async fn a_loss_is_told_as_an_error_with_its_cause_whether_a_stream_listens_or_not() {
    let (server, watch) = (Server::start(), Watch::install());
    let client = connect(server.url(), |builder| builder.watchdog_timeout(secs(3))).await;
    let direct = server.direct();
    let told = || watch.events("a lock was lost");
    for (times, listens) in [(1, false), (2, true)] {
        let stream = listens.then(|| client.events());
        let name = format!("a{times}");
        let guard = client.lock(name.as_str()).lock().await.expect("free");
        direct.cmd(&["DEL", &name]);
        guard.lost().await;
        let told = told();
        assert_eq!(told.len(), times, "{told:?}");
        let last = &told[times - 1];
        assert_eq!(last.level, Level::ERROR);
        assert_eq!(last.field("redlatch.lock.name"), Some(&*name));
        assert_eq!(last.field("cause"), Some("Vanished"));
        assert!(last.field("redlatch.owner").is_some(), "{last:?}");
        if let Some(mut stream) = stream {
            let event = stream.next().await;
            assert!(matches!(event, Some(Event::Lost { .. })), "{event:?}");
        }
    }
    close(client).await;
}

#[tokio::test]
async fn a_lost_connection_is_a_warning_and_one_that_was_closed_is_not() {
    let (server, watch) = (Server::start(), Watch::install());
    let (meter, proxy) = (Meter::install(), Proxy::start(server.port()).await);
    let client = plain(proxy.url()).await;
    let up = || watch.events("a connection is usable");
    meter.until("it is connected", |_| !up().is_empty()).await;
    let (before, lost) = (up().len(), || watch.events("a connection was lost"));
    assert_eq!(lost().len(), 0);
    proxy.cut_all();
    meter.until("it is back", |_| up().len() > before).await;
    assert!(!lost().is_empty());
    assert!(lost().iter().all(|seen| seen.level == Level::WARN));
    let before = lost().len();
    close(client).await;
    assert_eq!(lost().len(), before, "{:?}", lost());
    let ended = watch.events("a connection was ended");
    assert!(ended.iter().all(|seen| seen.level == Level::DEBUG));
    assert!(!ended.is_empty());
}
