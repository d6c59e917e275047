use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use super::*;
use crate::engine::transport::{
    Signal,
    chart::slot_of,
    fake::{
        Answer, Fake, Told, begins, cluster, layout, nobodys_port, say, script, sink, soon, until,
    },
    fleet::lock,
};

const ALL: &str = "0-16383";
const NAME: &str = "name";
const SCRIPT: [&str; 1] = ["EVALSHA"];

/// A server that answers scripts so, by how many it has been asked for before.
async fn scripted(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Fake {
    let asked = AtomicUsize::new(0);
    Fake::start(move |command| {
        if begins(command, &SCRIPT) {
            answer(asked.fetch_add(1, Ordering::SeqCst))
        } else {
            Answer::Usual
        }
    })
    .await
}

fn sent_to(word: &str, port: u16) -> Answer {
    say(format!(
        "-{word} {} 127.0.0.1:{port}",
        slot_of(NAME.as_bytes())
    ))
}

fn started(masters: &[(u16, u64, &str)]) -> (Arc<Fleet>, Told) {
    let fleet = cluster(masters);
    let (sink, told) = sink();
    fleet.start(sink);
    (fleet, told)
}

fn moves(told: &Told) -> usize {
    let told = lock(told);
    told.iter()
        .filter(|signal| **signal == Signal::Moved)
        .count()
}

/// Who answers in time, however long the deadline is.
async fn at_once<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what)
        .await
        .expect("at once")
}

#[tokio::test]
async fn a_slot_that_has_moved_is_followed_at_once_and_for_good() {
    let there = scripted(|_| say(":1")).await;
    let port = there.port;
    let before = scripted(move |_| sent_to("MOVED", port)).await;
    let (fleet, told) = started(&[(before.port, 1, ALL), (port, 2, "")]);
    for turn in 1..=3 {
        let reply = fleet.route(script(NAME), soon()).await;
        assert_eq!(reply.expect("followed"), Reply::Int(1));
        assert_eq!((before.count(&SCRIPT), there.count(&SCRIPT)), (1, turn));
    }
    assert_eq!(moves(&told), 1);
    fleet.shut();
}

#[tokio::test]
async fn a_slot_that_everybody_sends_away_costs_few_requests() {
    const PATIENCE: Duration = Duration::from_secs(1);
    // In a row, and each to the other.
    let other = Arc::new(AtomicUsize::new(0));
    let to = other.clone();
    let one = scripted(move |_| {
        sent_to(
            "MOVED",
            u16::try_from(to.load(Ordering::SeqCst)).expect("a port"),
        )
    })
    .await;
    let port = one.port;
    let second = scripted(move |_| sent_to("MOVED", port)).await;
    other.store(usize::from(second.port), Ordering::SeqCst);
    let busy = scripted(|_| say("-TRYAGAIN Multiple keys request during rehashing of slot")).await;
    for masters in [
        vec![(one.port, 1, ALL), (second.port, 1, "")],
        vec![(busy.port, 1, ALL)],
    ] {
        let (fleet, _) = started(&masters);
        let deadline = Instant::now() + PATIENCE;
        let reply = fleet.route(script(NAME), deadline).await;
        assert!(reply.is_err(), "{reply:?}");
        fleet.shut();
    }
    for asked in [
        one.count(&SCRIPT) + second.count(&SCRIPT),
        busy.count(&SCRIPT),
    ] {
        assert!((4..60).contains(&asked), "{asked} requests");
    }
}

#[tokio::test]
async fn what_a_slot_on_the_move_turns_away_is_sent_again() {
    let server = scripted(|asked| match asked {
        0..=2 => say("-TRYAGAIN Multiple keys request during rehashing of slot"),
        _ => say(":1"),
    })
    .await;
    let (fleet, _) = started(&[(server.port, 1, ALL)]);
    let reply = fleet.route(script(NAME), soon()).await;
    assert_eq!(reply.expect("in the end"), Reply::Int(1));
    fleet.shut();
}

#[tokio::test]
async fn who_was_sent_on_in_vain_comes_back() {
    let other = Arc::new(AtomicUsize::new(0));
    let to = other.clone();
    let from = scripted(move |asked| match asked {
        0 => sent_to(
            "ASK",
            u16::try_from(to.load(Ordering::SeqCst)).expect("a port"),
        ),
        _ => say(":1"),
    })
    .await;
    let port = from.port;
    let target = scripted(move |_| sent_to("MOVED", port)).await;
    other.store(usize::from(target.port), Ordering::SeqCst);
    let (fleet, _) = started(&[(from.port, 1, ALL), (target.port, 1, "")]);
    let reply = fleet.route(script(NAME), soon()).await;
    assert_eq!(reply.expect("come back"), Reply::Int(1));
    assert_eq!((target.count(&["ASKING"]), target.count(&SCRIPT)), (1, 1));
    fleet.shut();
}

#[tokio::test]
async fn a_server_that_refuses_to_be_asked_has_executed_nothing() {
    let target = Fake::start(|command| {
        if begins(command, &["ASKING"]) {
            say("-NOPERM this user has no permissions to run the 'asking' command")
        } else {
            Answer::Usual
        }
    })
    .await;
    let port = target.port;
    let from = scripted(move |_| sent_to("ASK", port)).await;
    let (fleet, _) = started(&[(from.port, 1, ALL), (port, 1, "")]);
    let reply = fleet.route(script(NAME), soon()).await;
    assert!(
        matches!(
            reply,
            Err(Fault::Refused {
                refusal: Refusal::NoPermission,
                ..
            })
        ),
        "{reply:?}"
    );
    fleet.shut();
}

#[tokio::test]
async fn a_client_that_is_closed_says_so_at_once() {
    let nobody = nobodys_port().await;
    let from = scripted(move |_| sent_to("ASK", nobody)).await;
    // Waiting for the server, and for the one that it was sent on to.
    for masters in [
        vec![(nobody, 1, ALL)],
        vec![(from.port, 1, ALL), (nobody, 1, "")],
    ] {
        let (fleet, _) = started(&masters);
        let waiting = tokio::spawn({
            let fleet = fleet.clone();
            async move { fleet.route(script(NAME), soon()).await }
        });
        if masters.len() > 1 {
            until("sent on", || from.count(&SCRIPT) > 0).await;
        }
        tokio::task::yield_now().await;
        fleet.shut();
        let reply = at_once(waiting).await.expect("no panic");
        assert!(matches!(reply, Err(Fault::Closed)), "{reply:?}");
        let reply = at_once(fleet.route(script(NAME), soon())).await;
        assert!(matches!(reply, Err(Fault::Closed)), "{reply:?}");
    }
}

#[tokio::test]
async fn who_waits_for_a_server_that_is_given_up_goes_to_the_next() {
    let nobody = nobodys_port().await;
    let next = scripted(|_| say(":1")).await;
    let (fleet, _) = started(&[(nobody, 1, ALL)]);
    let waiting = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.route(script(NAME), soon()).await }
    });
    tokio::task::yield_now().await;
    fleet.adopt(&layout(&[(next.port, 1, ALL)]));
    let reply = at_once(waiting).await.expect("no panic");
    assert_eq!(reply.expect("of the next"), Reply::Int(1));
    fleet.shut();
}

#[tokio::test]
async fn who_was_sent_on_to_a_server_that_is_given_up_is_told_that_nothing_was_sent() {
    let nobody = nobodys_port().await;
    let from = scripted(move |_| sent_to("ASK", nobody)).await;
    let (fleet, _) = started(&[(from.port, 1, ALL), (nobody, 1, "")]);
    let waiting = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.route(script(NAME), soon()).await }
    });
    let target = fleet.open(&crate::engine::transport::fake::at(nobody));
    let target = target.expect("known");
    until("sent on", || from.count(&SCRIPT) > 0).await;
    // It waits for a connection by now.
    until("waited for", || Arc::strong_count(&target) > 2).await;
    fleet.adopt(&layout(&[(from.port, 1, ALL)]));
    let reply = at_once(waiting).await.expect("no panic");
    assert!(matches!(reply, Err(Fault::NotSent { .. })), "{reply:?}");
    fleet.shut();
}

#[tokio::test]
async fn an_unanswered_request_speaks_for_another_look_and_for_a_check() {
    let server = scripted(|_| Answer::Silence).await;
    let (fleet, _) = started(&[(server.port, 1, ALL)]);
    let node = fleet.home(0, soon()).await.expect("known");
    let link = node.link(soon()).await.expect("connected");
    let doubts = fleet.doubts();
    let pings = server.count(&["PING"]);
    let deadline = Instant::now() + OVERDUE / 10;
    let reply = fleet.route(script(NAME), deadline).await;
    assert!(matches!(reply, Err(Fault::Unknown { .. })), "{reply:?}");
    assert!(doubts.has_changed().expect("a fleet"));
    // Its connection is checked, and not given up for one who had little time.
    until("checked", || server.count(&["PING"]) > pings).await;
    let same = node.link(soon()).await.expect("connected");
    assert!(Arc::ptr_eq(&link, &same));
    fleet.shut();
}
