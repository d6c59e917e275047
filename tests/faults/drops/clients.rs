//! Clients: connecting, asking, closing.

use std::cell::RefCell;

use redlatch::{Client, access::Feature};
use tokio_stream::StreamExt;

use super::Drops;
use crate::kit::{ms, secs};

pub(super) async fn all(drops: &mut Drops) {
    let (client, url) = (drops.client.clone(), drops.server.url());
    let features = [Feature::SpinLock, Feature::FairLock, Feature::Inspect];
    let make = async || client.inspect("x");
    drops.each("client.rs inspect", make, async |_, _| ()).await;
    let make = async || client.self_test(features);
    drops
        .each("access/self_test.rs self_test", make, async |_, _| ())
        .await;
    let make = async || client.self_test_under("app:", features);
    let name = "access/self_test.rs self_test_under";
    drops.each(name, make, async |_, _| ()).await;

    let make = async || client.ask("x", "PTTL", ["x".into()]);
    drops.each("console.rs ask", make, async |_, _| ()).await;

    // `each` looks at the connections.
    let closed = async |got: Option<redlatch::Result<Client>>| {
        if let Some(client) = got {
            client.expect("connects").close(secs(5)).await;
        }
    };
    let name = "client.rs connect";
    let make = async || Client::connect(&url);
    drops
        .each(name, make, async |_, got| closed(got).await)
        .await;
    let builder = || Client::builder().url(&url).expect("url");
    let name = "client.rs connect, with a test of its rights";
    let make = async || builder().self_test(features).connect();
    drops
        .each(name, make, async |_, got| closed(got).await)
        .await;
    let name = "client.rs connect, on a thread of its own";
    let make = async || builder().dedicated_runtime().connect();
    drops
        .each(name, make, async |_, got| closed(got).await)
        .await;

    let open = RefCell::new(None);
    let opened = async || {
        let client = builder().watchdog_timeout(ms(600)).connect().await;
        let client = client.expect("connects");
        client.rlock("held").lock().await.expect("free");
        client
    };
    let direct = drops.direct.clone();
    let make = async || {
        let client = opened().await;
        client.semaphore("permits").release(1).await.expect("made");
        open.replace(Some(client.clone()));
        async move { client.close(secs(5)).await }
    };
    drops
        .each("client.rs close, and again", make, async |_, _| {
            let client = open.take().expect("just made");
            client.close(secs(5)).await;
            direct.cmd(&["DEL", "permits"]).accepted();
        })
        .await;
    // What was not given back ends with its time to live.
    let make = async || {
        let client = opened().await;
        async move { client.close(secs(5)).await }
    };
    let name = "client.rs close, and never again";
    drops.each(name, make, async |_, _| ()).await;

    let make = async || {
        let mut events = client.events();
        async move { events.next().await }
    };
    // No function of ours, but a stream that is ours.
    drops.each("events.rs next", make, async |_, _| ()).await;
    drops.seen.remove("events.rs next");
}
