//! Sets of locks, all of them or a majority, where servers and links are in trouble.

use futures_util::FutureExt;
use redlatch::{Client, Error, LossCause, MultiLock, Owner, Refusal};
use redlatch_support::{Action, Direct, Proxy, Rule, Server, eventually_async};

use crate::{
    common::{close, ms, secs, until_nothing_is_left},
    multi::{Servers, three},
};

const NAMES: [&str; 3] = ["set-a", "set-b", "set-c"];

/// Ways in which a server refuses, and how each is put right.
const TROUBLES: [(&str, &[&str], &[&str]); 4] = [
    ("another type", &["SET", "set-c", "mine"], &["DEL", "set-c"]),
    (
        "no memory",
        &["CONFIG", "SET", "maxmemory", "1"],
        &["CONFIG", "SET", "maxmemory", "0"],
    ),
    (
        "a replica",
        &["REPLICAOF", "127.0.0.1", "1"],
        &["REPLICAOF", "NO", "ONE"],
    ),
    (
        "no replicas",
        &["CONFIG", "SET", "min-replicas-to-write", "1"],
        &["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
];

fn counts(direct: &Direct) -> [usize; 3] {
    NAMES.map(|name| direct.hgetall(name).len())
}

/// A client with a short command timeout behind a proxy, and its set with all scripts loaded.
async fn proxied(server: &Server) -> (Client, Proxy, MultiLock) {
    let proxy = Proxy::start(server.port()).await;
    let builder = Client::builder().url(proxy.url()).expect("url");
    let builder = builder.command_timeout(ms(400)).watchdog_timeout(secs(3));
    let client = builder.connect().await.expect("connects");
    let lock = three(&client, "set").with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    guard.unlock().await.expect("held");
    (client, proxy, lock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_member_leaves_no_other() {
    let server = Server::start();
    let (client, _proxy, lock) = proxied(&server).await;
    let direct = server.direct();
    for (trouble, begins, ends) in TROUBLES {
        direct.cmd(begins).accepted();
        let error = lock.try_lock().await.expect_err(trouble);
        let expected = match &error {
            Error::WrongType { .. } => trouble == "another type",
            Error::Refused { refusal, .. } => match refusal {
                Refusal::OutOfMemory => trouble == "no memory",
                Refusal::ReadOnly => trouble == "a replica",
                Refusal::NoReplicas => trouble == "no replicas",
                _ => false,
            },
            _ => false,
        };
        assert!(expected, "{trouble}: {error}");
        direct.cmd(ends).accepted();
        until_nothing_is_left(&client).await;
        assert_eq!(counts(&direct), [0; 3], "{trouble}");
        if trouble == "another type" {
            continue;
        }
        // What was held before is given back all the same; to a full server even while it is full.
        let guard = lock.lock().await.expect("free");
        direct.cmd(begins).accepted();
        let unlocking = tokio::spawn(guard.unlock());
        if trouble != "no memory" {
            direct.cmd(ends).accepted();
        }
        unlocking.await.expect("joins").expect("held");
        direct.cmd(ends).accepted();
        assert_eq!(counts(&direct), [0; 3], "{trouble}");
    }
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    let guard = lock.lock().await.expect("free");
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    guard.unlock().await.expect("held");
    assert_eq!(counts(&direct), [0; 3]);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_reply_is_found_out() {
    let server = Server::start();
    let (client, proxy, lock) = proxied(&server).await;
    let direct = server.direct();
    for action in [
        Action::StallReplies,
        Action::CutAfterForward,
        Action::CutBeforeForward,
    ] {
        for nth in 1..=3 {
            let lose = || proxy.rule(Rule::new("EVALSHA").nth(nth).action(action.clone()));
            let lost = lose();
            let guard = lock.lock().await.expect("granted all the same");
            assert!(lost.hits() > 0, "{action:?} {nth}");
            lost.remove();
            assert_eq!(counts(&direct), [1; 3], "{action:?} {nth}");
            let inner = lock.lock().await.expect("re-enters");
            let lost = lose();
            inner.unlock().await.expect("found to have worked");
            lost.remove();
            assert_eq!(counts(&direct), [1; 3], "{action:?} {nth}");
            for name in NAMES {
                let count = direct.hgetall(name).into_values().next();
                assert_eq!(count.as_deref(), Some("1"), "{action:?} {nth}");
            }
            let lost = lose();
            guard.unlock().await.expect("found to have worked");
            lost.remove();
            assert_eq!(counts(&direct), [0; 3], "{action:?} {nth}");
        }
    }
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_dies_gives_the_whole_set_back() {
    let server = Server::start();
    let (client, _proxy, lock) = proxied(&server).await;
    for panics in [true, false] {
        let (sender, held) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let lock = lock.clone();
            async move {
                let _guard = lock.lock().await.expect("free");
                let _ = sender.send(());
                assert!(!panics, "on purpose");
                std::future::pending::<()>().await;
            }
        });
        held.await.expect("it holds the set");
        task.abort();
        assert!(task.await.is_err());
        until_nothing_is_left(&client).await;
        assert_eq!(counts(&server.direct()), [0; 3]);
    }
    close(client).await;
}

#[tokio::test]
async fn a_set_of_a_closed_client_answers_closed() {
    let server = Server::start();
    let (client, _proxy, lock) = proxied(&server).await;
    let raw = lock.raw();
    let guard = lock.lock().await.expect("free");
    client.close(secs(5)).await;
    for (number, outcome) in [
        lock.lock().await.map(drop),
        lock.lock().wait(secs(5)).await.map(drop),
        lock.try_lock().await.map(drop),
        raw.lock().await,
        raw.lock_for(secs(5)).await,
        raw.try_lock().await.map(drop),
        raw.is_held_by_current().await.map(drop),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            matches!(outcome, Err(Error::Closed)),
            "{number}: {outcome:?}"
        );
    }
    assert!(matches!(raw.unlock().await, Err(Error::NotHeld { .. })));
    guard.lost().await;
    assert!(guard.unlock().await.expect_err("closed").is_lost());
    assert_eq!(counts(&server.direct()), [0; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_does_without_a_server_in_trouble() {
    let rig = Servers::start(3).await;
    let lock = rig.lock.with_owner(Owner::fresh());
    let direct = rig.servers[2].direct();
    for (trouble, begins, ends) in TROUBLES {
        let named = |words: &[&str]| {
            let words = words.iter().map(|word| word.replace("set-c", "leader"));
            words.collect::<Vec<_>>()
        };
        direct.cmd(&named(begins)).accepted();
        let guard = lock.lock().wait(secs(10)).await.expect("two of three");
        assert_eq!(guard.held(), 2, "{trouble}");
        assert!(!guard.is_lost());
        guard.unlock().await.expect("two confirm");
        direct.cmd(&named(ends)).accepted();
        eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    }
    for server in &rig.servers {
        server.direct().cmd(&["SCRIPT", "FLUSH"]).accepted();
    }
    let guard = lock.lock().await.expect("free");
    assert_eq!(guard.held(), 3);
    guard.unlock().await.expect("held");
    // Two of three: nobody gets in, and the third is not kept.
    for server in &rig.servers[1..] {
        let full = server.direct().cmd(&["CONFIG", "SET", "maxmemory", "1"]);
        full.accepted();
    }
    let error = lock.try_lock().await.expect_err("one of three");
    assert!(matches!(error, Error::NoQuorum { .. }), "{error}");
    eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    rig.end().await;
}

/// Servers that come back without data have forgotten their votes; those with data have not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_that_forgets_is_told() {
    let rig = Servers::start(3).await;
    let lock = rig.lock.with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    rig.servers[0].kill();
    rig.servers[0].restart();
    eventually_async("one vote is lost", secs(10), async || guard.held() == 2).await;
    assert!(!guard.is_lost());
    rig.servers[1].kill();
    rig.servers[1].restart();
    let told = tokio::time::timeout(secs(5), guard.lost()).await;
    told.expect("no majority is left");
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    let next = rig.lock.with_owner(Owner::fresh());
    let next = next.lock().wait(secs(5)).await.expect("all are back");
    next.unlock().await.expect("held");
    rig.end().await;
}

/// A majority is lost with the member that it needed, at that moment and not with an earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_is_lost_with_the_member_it_needed() {
    let rig = Servers::start(3).await;
    let lock = rig.lock.with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    let mut lost = Box::pin(guard.lost());
    for (server, held) in rig.servers.iter().zip([2, 1]) {
        assert_eq!((&mut lost).now_or_never(), None);
        assert_eq!(server.direct().cmd(&["DEL", "leader"]).int(), 1);
        eventually_async("a member is lost", secs(5), async || guard.held() == held).await;
    }
    assert_eq!((&mut lost).now_or_never(), Some(LossCause::Vanished));
    drop(lost);
    assert!(guard.is_lost());
    drop(guard);
    eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    rig.end().await;
}

/// What a silent member costs is far below the lease, whatever a server may cost by its settings: otherwise those who
/// answered first would be over when it has been waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_never_costs_the_lease() {
    let rig = Servers::start(3).await;
    rig.servers[2].freeze();
    let lock = rig.lock.with_owner(Owner::fresh());
    let lock = lock.server_timeout(secs(20));
    let guard = lock.lock().lease(ms(400)).wait(secs(5)).await;
    let guard = guard.expect("two of three are there");
    assert_eq!(guard.held(), 2);
    rig.servers[2].thaw();
    guard.unlock().await.expect("two confirm");
    eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    rig.end().await;
}
