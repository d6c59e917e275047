use std::time::Duration;

use super::*;
use crate::{
    engine::transport::{
        chart::SLOTS,
        fake::{Answer, Fake, begins, cluster, dial, fleet, say, sink, soon, text, until},
    },
    error::Refusal,
};

fn over(fleet: Fleet) -> Router {
    Router {
        fleet: Arc::new(fleet),
    }
}

#[tokio::test]
async fn slots_are_told_apart_only_where_there_are_any() {
    let clustered = Router {
        fleet: cluster(&[(2, 1, "0-16383")]),
    };
    assert_eq!(clustered.slot(b"name"), slot_of(b"name"));
    assert_ne!(clustered.slot(b"name"), clustered.slot(b"other"));
    assert!(clustered.fails_over());
    let config = dial(2);
    let node = || Node::new(&config, &Settings::default(), PubSub::Plain, None);
    let single = over(fleet(&config, Chart::One(node()), PubSub::Plain));
    assert_eq!(single.slot(b"name"), single.slot(b"other"));
    assert!(!single.fails_over());
    let mut watched = fleet(&config, Chart::One(node()), PubSub::Plain);
    watched.topology = Topology::Sentinel;
    let watched = over(watched);
    assert_eq!(watched.slot(b"name"), watched.slot(b"other"));
    assert!(watched.fails_over());
}

/// Names on both sides of the middle of the slots.
fn halves() -> [Bytes; 2] {
    let name = |low: bool| {
        let mut names = (0..).map(|n: u32| n.to_string());
        let there = names.find(|name| (usize::from(slot_of(name.as_bytes())) < SLOTS / 2) == low);
        Bytes::from(there.expect("there are many"))
    };
    [name(true), name(false)]
}

#[tokio::test]
async fn no_subscription_is_taken_back_where_its_slot_is_not_any_more() {
    let (one, other) = (Fake::usual().await, Fake::usual().await);
    let fleet = cluster(&[(one.port, 1, "0-8191"), (other.port, 1, "8192-16383")]);
    let router = Router { fleet };
    let (sink, _) = sink();
    router.fleet.start(sink);
    let node = router.fleet.open(&one.address()).expect("known").id;
    let [here, moved] = halves();
    router
        .unsubscribe(node, vec![moved], soon())
        .await
        .expect("nothing to do");
    until("connected", || one.accepted() == 2).await;
    assert_eq!(one.count(&["SUNSUBSCRIBE"]), 0);
    let taking_back = router.unsubscribe(node, vec![here], soon());
    let task = tokio::spawn(taking_back);
    until("taken back", || one.count(&["SUNSUBSCRIBE"]) == 1).await;
    task.abort();
    router.close().await;
}

#[tokio::test]
async fn a_channel_that_nobody_hears_speaks_for_another_look() {
    let [deaf, heard] = halves();
    let names =
        [deaf.clone(), heard.clone()].map(|name| String::from_utf8_lossy(&name).into_owned());
    let server = Fake::start(move |command| {
        if !begins(command, &["PUBSUB", "SHARDNUMSUB"]) {
            return Answer::Usual;
        }
        let counts: Vec<_> = command[2..]
            .iter()
            .map(|name| format!("{}\r\n:{}", text(name), u8::from(*name == names[1])))
            .collect();
        say(format!("*{}\r\n{}", 2 * counts.len(), counts.join("\r\n")))
    })
    .await;
    let router = Router {
        fleet: cluster(&[(server.port, 1, "0-16383")]),
    };
    let (sink, _) = sink();
    router.fleet.start(sink);
    let node = router.home(&deaf).expect("known");
    let doubts = router.fleet.doubts();
    let unheard = router.unheard(node, vec![heard.clone()], soon()).await;
    assert_eq!(unheard.expect("answered"), Vec::<Bytes>::new());
    assert!(!doubts.has_changed().expect("a fleet"));
    let unheard = router
        .unheard(node, vec![heard, deaf.clone()], soon())
        .await;
    assert_eq!(unheard.expect("answered"), [deaf]);
    assert!(doubts.has_changed().expect("a fleet"));
    router.close().await;
}

#[tokio::test]
async fn who_has_closed_waits_for_all_tasks() {
    let server = Fake::usual().await;
    let router = Router {
        fleet: cluster(&[(server.port, 1, "0-16383")]),
    };
    let (sink, _) = sink();
    router.start(sink);
    let node = router.fleet.open(&server.address()).expect("known");
    node.link(soon()).await.expect("connected");
    let told_by = || Arc::strong_count(router.fleet.sink.get().expect("started"));
    // Two lanes, at least.
    assert!(told_by() > 2);
    router.close().await;
    assert_eq!(told_by(), 1);
    until("hung up", || server.open() == 0).await;
}

#[tokio::test]
async fn a_connection_that_does_not_answer_a_subscription_is_checked_at_once() {
    for (answer, checked) in [(None, true), (Some("-ERR no"), false)] {
        let server = Fake::start(move |command| match answer {
            _ if !begins(command, &["SSUBSCRIBE"]) => Answer::Usual,
            Some(refused) => say(refused),
            None => Answer::Silence,
        })
        .await;
        let settings = Settings {
            heartbeat: Duration::from_secs(3_600),
            ..Settings::default()
        };
        let node = Node::new(&dial(server.port), &settings, PubSub::Sharded, None);
        let (sink, told) = sink();
        node.start(&Handle::current(), &sink);
        until("both are there", || lock(&told).len() == 2).await;
        let pings = server.count(&["PING"]);
        let limit = if checked { 50 } else { 20_000 };
        let deadline = Instant::now() + Duration::from_millis(limit);
        let channels = [Bytes::from_static(b"a")];
        let subscribed = node.subscribe(PubSub::Sharded, &channels, deadline).await;
        assert!(subscribed.is_err());
        if checked {
            until("checked", || server.count(&["PING"]) > pings).await;
        } else {
            // Whatever is sent now comes behind a check.
            let link = node.link(soon()).await.expect("connected");
            link.query("ECHO", &["a"], soon()).await.expect("answered");
            assert_eq!(server.count(&["PING"]), pings);
        }
        // Nothing of it is left that could tell anything.
        node.close().await;
        assert_eq!(Arc::strong_count(&sink), 1);
    }
}

#[test]
fn messages_are_heard_the_way_they_are_sent() {
    for (mode, sent, sharded, plain) in [
        (PubSub::Plain, "PUBLISH", false, true),
        (PubSub::Broadcast, "BROADCAST", false, true),
        (PubSub::Sharded, "SPUBLISH", true, false),
        (PubSub::Both, "BOTH", true, true),
    ] {
        let how = (mode.arg(), mode.sharded(), mode.plain());
        assert_eq!(how, (sent, sharded, plain));
    }
}

#[test]
fn who_asks_a_node_of_a_cluster_as_if_it_were_alone_is_told_so() {
    let refused = |text: &str| {
        let fault = not_a_cluster(Fault::Refused {
            refusal: Refusal::Cluster,
            text: text.to_owned(),
        });
        let Fault::Refused { refusal, text } = fault else {
            panic!("{fault:?}");
        };
        (refusal, text)
    };
    let (refusal, text) = refused("MOVED 7 127.0.0.1:7");
    assert_eq!(refusal, Refusal::Other);
    assert!(
        text.contains("MOVED 7") && text.contains("not told"),
        "{text}"
    );
    let down = "CLUSTERDOWN Hash slot not served";
    assert_eq!(refused(down), (Refusal::Cluster, down.to_owned()));
}
