//! Errors the server answers with, on every server the suite is run on.

use std::time::Instant;

use redlatch::{Client, Error, Event, Refusal};
use redlatch_support::{Action, Rule, Server, eventually_async};

use crate::kit::{Rig, Through, close, connect, event, ms, secs};

fn refusal(error: &Error) -> Option<Refusal> {
    match error {
        Error::Refused { refusal, .. } => Some(*refusal),
        _ => None,
    }
}

#[tokio::test]
async fn a_key_that_is_no_lock_is_left_alone() {
    let rig = Rig::new(Through::Waiter).await;
    let direct = rig.direct();
    direct.cmd(&["SET", "string", "mine"]).accepted();
    let lock = rig.holder.lock("string");
    for error in [
        lock.lock().await.expect_err("a string"),
        lock.try_lock().await.expect_err("a string"),
        lock.raw().hold_count().await.expect_err("a string"),
        rig.holder.inspect("string").await.expect_err("a string"),
    ] {
        assert!(matches!(error, Error::WrongType { .. }), "{error}");
        assert!(!error.is_retryable());
    }
    assert_eq!(direct.cmd(&["GET", "string"]).text(), "mine");
    direct.flushall();
    rig.end().await;
}

#[tokio::test]
async fn a_poisoned_key_never_stops_the_renewal_of_others() {
    let rig = Rig::with(Through::Waiter, |builder| builder.watchdog_timeout(ms(900))).await;
    let mut guards = Vec::new();
    for number in 0..8 {
        let name = format!("poison-{number}");
        guards.push(rig.holder.lock(name).lock().await.expect("free"));
    }
    // The one that lasts longest, so that the others would be over before it is.
    rig.direct().cmd(&["SET", "poison-7", "x"]).accepted();
    let poisoned = guards.pop().expect("eight of them");
    poisoned.lost().await;
    drop(poisoned);
    let renewals = rig.holder.stats().renewals;
    eventually_async("three more rounds", secs(10), async || {
        rig.holder.stats().renewals >= renewals + 21
    })
    .await;
    for guard in guards {
        assert!(!guard.is_lost());
        guard.unlock().await.expect("held");
    }
    rig.direct().flushall();
    rig.end().await;
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_once() {
    let rig = Rig::new(Through::Waiter).await;
    let direct = rig.direct();
    let guard = rig.holder.lock("forgotten").lock().await.expect("free");
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    guard.unlock().await.expect("held");
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    direct.reset_stats();
    let locks = (0..50).map(|number| {
        let lock = rig.holder.lock(format!("forgotten-{number}"));
        tokio::spawn(async move { lock.lock().await.expect("free").unlock().await })
    });
    for lock in locks.collect::<Vec<_>>() {
        lock.await.expect("joins").expect("held");
    }
    let calls = direct.command_calls("script|load") + direct.command_calls("script");
    assert!((1..=4).contains(&calls), "{calls} loads for two scripts");
    rig.end().await;
}

#[tokio::test]
async fn b14_a_full_server_takes_a_lock_back_and_wakes_the_waiter() {
    let rig = Rig::with(Through::Waiter, |builder| builder.watchdog_timeout(secs(3))).await;
    let (outer, waiting) = rig.contended("full").await;
    let inner = rig.holder.lock("full").lock().await.expect("re-enters");
    let direct = rig.direct();
    direct.cmd(&["CONFIG", "SET", "maxmemory", "1"]).accepted();
    let error = rig
        .holder
        .lock("other")
        .lock()
        .await
        .expect_err("no memory");
    assert_eq!(refusal(&error), Some(Refusal::OutOfMemory), "{error}");
    assert!(error.is_retryable());
    let renewals = rig.holder.stats().renewals;
    eventually_async("renewal goes on", secs(5), async || {
        rig.holder.stats().renewals > renewals
    })
    .await;
    inner
        .unlock()
        .await
        .expect("held, and the outer hold stays");
    assert!(!outer.is_lost());
    outer
        .unlock()
        .await
        .expect("the last release writes nothing");
    assert!(!direct.exists("full"));
    direct.cmd(&["CONFIG", "SET", "maxmemory", "0"]).accepted();
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert!(granted.saturating_duration_since(released) < secs(2));
    guard.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn a_replica_is_waited_for_to_be_a_primary_again() {
    let rig = Rig::with(Through::Waiter, |builder| builder.outage_patience(secs(4))).await;
    let direct = rig.direct();
    let guard = rig.holder.lock("readonly").lock().await.expect("free");
    direct.cmd(&["REPLICAOF", "127.0.0.1", "1"]).accepted();
    let error = rig
        .holder
        .lock("other")
        .try_lock()
        .await
        .expect_err("read-only");
    assert_eq!(refusal(&error), Some(Refusal::ReadOnly), "{error}");
    let unlocking = tokio::spawn(guard.unlock());
    let waiting = tokio::spawn({
        let lock = rig.waiter.lock("other");
        async move { lock.lock().wait(secs(20)).await }
    });
    direct.cmd(&["REPLICAOF", "NO", "ONE"]).accepted();
    unlocking
        .await
        .expect("joins")
        .expect("released after the promotion");
    let guard = waiting
        .await
        .expect("joins")
        .expect("granted after the promotion");
    guard.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn a_busy_server_is_waited_for() {
    let server = Server::builder().arg("--lua-time-limit").arg("50").start();
    let client = connect(&server.url(), |builder| builder).await;
    let guard = client.lock("busy").lock().await.expect("free");
    let endless = std::thread::spawn({
        let direct = server.direct();
        move || direct.cmd(&["EVAL", "while true do end", "0"])
    });
    let direct = server.direct();
    eventually_async("the server is busy", secs(5), async || {
        direct.cmd(&["PING"]).is_error()
    })
    .await;
    let unlocking = tokio::spawn(guard.unlock());
    let locking = tokio::spawn({
        let lock = client.lock("busy-too");
        async move { lock.lock().await }
    });
    let attempts = client.stats().attempts;
    eventually_async("it was tried more than once", secs(5), async || {
        client.stats().attempts > attempts + 1
    })
    .await;
    direct.cmd(&["SCRIPT", "KILL"]).accepted();
    endless.join().expect("no panic");
    unlocking.await.expect("joins").expect("released");
    locking
        .await
        .expect("joins")
        .expect("granted")
        .unlock()
        .await
        .expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_server_that_reads_its_data_is_waited_for() {
    let rig = Rig::new(Through::Holder).await;
    let lock = rig.holder.lock("loading");
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    let reply = b"-LOADING Redis is loading the dataset in memory\r\n".to_vec();
    let rule = Rule::new("EVALSHA").times(2);
    let loading = rig.proxy.rule(rule.action(Action::ReplaceReply(reply)));
    let guard = lock.lock().await.expect("granted once it has read them");
    assert_eq!(loading.hits(), 2);
    guard.unlock().await.expect("held");
    rig.end().await;
}

/// The same with a real one, which is met while connections are made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_long_to_read_its_data_is_waited_for() {
    // So many microseconds for each key that it reads.
    let slow = ["--key-load-delay", "300"];
    let server = Server::builder().appendonly(true).args(slow).start();
    let client = connect(&server.url(), |builder| builder.safety_poll(ms(200))).await;
    let guard = client.lock("kept").lock().await.expect("free");
    let direct = server.direct();
    let fill = "for i = 1, 6000 do redis.call('set', 'filler:' .. i, i) end";
    direct.cmd(&["EVAL", fill, "0"]).accepted();
    server.kill();
    let (server, lock) = (std::sync::Arc::new(server), client.lock("loading"));
    let restarting = tokio::task::spawn_blocking({
        let server = server.clone();
        move || server.restart()
    });
    let other = lock.lock().await.expect("granted once it has read them");
    restarting.await.expect("no panic");
    let refused = server.direct().info("errorstats");
    assert!(refused.contains_key("errorstat_LOADING"), "{refused:?}");
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    other.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_leaves_nothing() {
    let server = Server::start();
    let direct = server.direct();
    let user = |name: &str, rules: &[&str]| {
        let mut words = vec!["ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all"];
        words.extend(rules);
        direct.cmd(&words).accepted();
    };
    let connect_as = async |name: &str| {
        let url = format!("redis://{name}:secret@127.0.0.1:{}", server.port());
        Client::connect(url).await.expect("connects")
    };
    user("nopexpire", &["-pexpire"]);
    let client = connect_as("nopexpire").await;
    let error = client.lock("acl").lock().await.expect_err("may not expire");
    assert_eq!(refusal(&error), Some(Refusal::NoPermission), "{error}");
    eventually_async("no half-made lock is left", secs(5), async || {
        !direct.exists("acl")
    })
    .await;
    close(client).await;

    user("nopublish", &["-publish"]);
    let client = connect_as("nopublish").await;
    let mut events = client.events();
    let guard = client.lock("acl").lock().await.expect("free");
    guard
        .unlock()
        .await
        .expect("released, although nobody is told");
    assert!(!direct.exists("acl"));
    event(&mut events, secs(1), |event| {
        matches!(event, Event::WakeUpRefused { .. })
    })
    .await;
    close(client).await;

    user("nochannel", &["resetchannels"]);
    let client = connect_as("nochannel").await;
    let mut events = client.events();
    let holder = connect(&server.url(), |builder| builder).await;
    let guard = holder.lock("acl").lock().await.expect("free");
    let waiting = crate::kit::Waiting::start(&client, "acl", secs(20));
    event(&mut events, secs(5), |event| {
        matches!(event, Event::SubscriptionFailed { .. })
    })
    .await;
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert!(
        granted.saturating_duration_since(released) < secs(2),
        "polling takes over"
    );
    guard.unlock().await.expect("held");
    close(holder).await;
    close(client).await;

    let url = format!("redis://nopublish:wrong@127.0.0.1:{}", server.port());
    let error = Client::connect(url).await.expect_err("wrong password");
    assert_eq!(refusal(&error), Some(Refusal::NotAuthenticated), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong@"));
}

/// The rights to one of many channels are taken away while there is no connection: the others are heard soon after.
#[tokio::test]
async fn a_channel_that_a_user_has_no_right_to_is_no_matter_of_the_others() {
    let rig = Rig::new(Through::Holder).await;
    let direct = rig.direct();
    let user = ["ACL", "SETUSER", "some", "on", ">pass", "~*", "&*", "+@all"];
    direct.cmd(&user).accepted();
    let url = rig.proxy.url().replace("redis://", "redis://some:pass@");
    let client = connect(&url, |builder| builder).await;
    let names: Vec<_> = (0..8).map(|number| format!("right-{number}")).collect();
    let mut guards = Vec::new();
    for name in names.iter().map(String::as_str).chain(["wrong"]) {
        guards.push(rig.waiter.lock(name).lock().await.expect("free"));
    }
    let waiting: Vec<_> = names
        .iter()
        .map(|name| crate::kit::Waiting::start(&client, name, secs(60)))
        .collect();
    let hopeless = crate::kit::Waiting::start(&client, "wrong", secs(60));
    let heard = |name: &str| {
        let channel = format!("redisson_lock__channel:{{{name}}}");
        direct.cmd(&["PUBSUB", "NUMSUB", &channel]).items()[1].int() == 1
    };
    let all_heard = async || names.iter().all(|name| heard(name));
    eventually_async("all are heard", secs(10), async || {
        all_heard().await && heard("wrong")
    })
    .await;
    let rights = ["ACL", "SETUSER", "some", "resetchannels", "&*{right-*"];
    // It ends the connection that hears the other one.
    direct.cmd(&rights).accepted();
    eventually_async("the others are heard", secs(10), all_heard).await;
    assert!(!heard("wrong"));
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    for waiting in waiting {
        waiting.granted().await.0.unlock().await.expect("held");
    }
    hopeless.granted().await.0.unlock().await.expect("held");
    close(client).await;
    rig.end().await;
}

#[tokio::test]
async fn a_lock_without_a_time_to_live_is_waited_for_with_a_bound() {
    let rig = Rig::new(Through::Waiter).await;
    let (guard, waiting) = rig.contended("persist").await;
    rig.direct().cmd(&["PERSIST", "persist"]).accepted();
    let again = rig
        .waiter
        .lock("persist")
        .with_owner(redlatch::Owner::fresh());
    assert!(again.try_lock().await.expect("answers").is_none());
    // The message is lost, and no time to live will ever end the wait.
    rig.proxy.drop_messages(None, 1);
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert!(granted - released < secs(2), "{:?}", granted - released);
    guard.unlock().await.expect("held");
    rig.end().await;
}
