//! Requests and replies that cross, and lines before a server that does not answer.

use std::time::{Duration, Instant};

use redlatch::{Client, Error, Event, LossCause, Owner};
use redlatch_support::{Action, Rule, Server, eventually_async, frame::Frame};

use crate::kit::{NOTHING, Rig, Through, Waiting, close, connect, event, ms, secs, within};

/// The first renewal ever has to load its script, and so arrives after requests that were sent later. It must not
/// shorten the lease that was taken meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_comes_late_never_shortens_the_next_lease() {
    let rig = Rig::with(Through::Holder, |builder| builder.watchdog_timeout(secs(3))).await;
    let lock = rig.holder.lock("cold");
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    let direct = rig.direct();
    let first = lock.lock().await.expect("free");
    let loading = rig
        .proxy
        .rule(Rule::new("SCRIPT LOAD").action(Action::HoldReply));
    loading.wait_hit(1).await;
    let again = tokio::spawn({
        let lock = lock.clone();
        async move {
            first.unlock().await.expect("held");
            lock.lock().lease(secs(60)).await.expect("free")
        }
    });
    eventually_async("the next hold is on its way", secs(2), async || {
        direct.pttl("cold") > 50_000
    })
    .await;
    loading.release();
    let second = again.await.expect("joins");
    // Two rounds of renewals, the late one among them.
    let until = Instant::now() + secs(2);
    while Instant::now() < until {
        let (server, guard) = (direct.pttl("cold"), second.remaining());
        assert!(
            Duration::from_millis(u64::try_from(server).expect("held")) + ms(5) >= guard,
            "the server says {server} ms, the guard {guard:?}"
        );
        tokio::time::sleep(ms(20)).await;
    }
    second.unlock().await.expect("held");
    rig.end().await;
}

/// A look at a lease, sent while a watched re-entry is on its way, says nothing about the re-entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_never_extends_a_hold() {
    let rig = Rig::with(Through::Holder, |builder| builder.watchdog_timeout(secs(3))).await;
    let lock = rig.holder.lock("look").with_owner(Owner::fresh());
    // Warm: one renewal has been seen.
    let warm = lock.lock().await.expect("free");
    eventually_async("a renewal", secs(3), async || {
        rig.holder.stats().renewals > 0
    })
    .await;
    warm.unlock().await.expect("held");
    let outer = lock.lock().lease(ms(2_500)).await.expect("free");
    for _ in 0..3 {
        rig.proxy
            .rule(Rule::new("EVALSHA").action(Action::DelayReply(ms(450))));
        let inner = lock.lock().await.expect("re-enters");
        let (server, guard) = (rig.direct().pttl("look"), inner.remaining());
        assert!(
            Duration::from_millis(u64::try_from(server).expect("held")) + ms(5) >= guard,
            "the server says {server} ms, the guard {guard:?}"
        );
        inner.unlock().await.expect("held");
    }
    drop(outer);
    rig.end().await;
}

/// A re-entry whose reply is lost does not make up for a lock that had vanished before.
#[tokio::test]
async fn a_re_entry_with_a_lost_reply_never_hides_a_loss() {
    let rig = Rig::with(Through::Holder, |builder| builder.watchdog_timeout(secs(3))).await;
    let lock = rig.holder.lock("hidden");
    let outer = lock.lock().await.expect("free");
    rig.direct().cmd(&["DEL", "hidden"]);
    let other = rig.waiter.lock("hidden").lock().await.expect("free");
    other.unlock().await.expect("held");
    rig.proxy
        .rule(Rule::new("EVALSHA").action(Action::CutAfterForward));
    let inner = lock.lock().await.expect("granted anew");
    assert!(outer.is_lost(), "somebody else has been there");
    assert_eq!(outer.lost().await, LossCause::Vanished);
    assert!(outer.unlock().await.expect_err("lost").is_lost());
    assert!(!inner.is_lost());
    inner.unlock().await.expect("held");
    rig.end().await;
}

/// One who waits with all the time in the world does not keep others from hearing that the server is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hangs_behind_somebody_patient_in_an_outage() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| {
        builder.command_timeout(ms(300)).outage_patience(ms(900))
    })
    .await;
    server.kill();
    let by = |owner: Owner| client.lock("line").with_owner(owner);
    let head = tokio::spawn(by(Owner::fresh()).lock().wait(secs(4)).into_future());
    eventually_async("somebody asks", secs(2), async || {
        client.stats().attempts > 0
    })
    .await;
    let begun = Instant::now();
    let impatient = tokio::spawn({
        let lock = by(Owner::fresh());
        async move { lock.try_lock().await.map(drop) }
    });
    let unlimited = tokio::spawn(by(Owner::fresh()).lock().into_future());
    let error = impatient.await.expect("joins").expect_err("no server");
    within("try_lock in an outage", begun.elapsed(), ms(1_500));
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let error = unlimited.await.expect("joins").expect_err("no server");
    within("lock in an outage", begun.elapsed(), secs(3));
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let error = head.await.expect("joins").expect_err("no server");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    client.close(secs(1)).await;
}

/// A waiter that sleeps with an hour to go notices that the server is gone.
#[tokio::test]
async fn a_sleeping_waiter_notices_an_outage() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| {
        builder
            .command_timeout(ms(300))
            .safety_poll(ms(100))
            .outage_patience(ms(900))
    })
    .await;
    let direct = server.direct();
    direct.cmd(&["HSET", "asleep", "somebody:1", "1"]);
    direct.cmd(&["PEXPIRE", "asleep", "3600000"]);
    let waiting = tokio::spawn(client.lock("asleep").lock().into_future());
    eventually_async("it sleeps", secs(5), async || {
        client.stats().attempts >= 2 && client.residue().contains("sleepers: 1")
    })
    .await;
    server.kill();
    let begun = Instant::now();
    let error = waiting.await.expect("joins").expect_err("no server");
    within("told of the outage", begun.elapsed(), secs(3));
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    client.close(secs(1)).await;
}

#[tokio::test]
async fn absurd_limits_are_limits_like_others() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| {
        builder
            .command_timeout(ms(300))
            .outage_patience(Duration::MAX)
    })
    .await;
    server.kill();
    let waiting = Waiting::start(&client, "absurd", Duration::MAX);
    eventually_async("it tries more than once", secs(5), async || {
        client.stats().attempts > 2
    })
    .await;
    server.restart();
    waiting.granted().await.0.unlock().await.expect("held");
    let report = client.close(Duration::MAX).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    for builder in [
        redlatch::Client::builder().connect_timeout(Duration::MAX),
        redlatch::Client::builder().heartbeat(Duration::MAX),
    ] {
        let error = builder.url(server.url()).expect("url").connect().await;
        assert!(matches!(error, Err(Error::InvalidArgument { .. })));
    }
    let client = connect(&server.url(), |builder| builder).await;
    let error = client
        .lock("short")
        .lock()
        .lease(ms(1))
        .await
        .expect_err("too short");
    assert!(
        matches!(error, Error::InvalidArgument { field: "lease", .. }),
        "{error}"
    );
    close(client).await;
}

/// A grant that takes longer than its lease is no grant, and asking goes on at a measured pace.
#[tokio::test]
async fn a_grant_that_comes_too_late_is_given_back() {
    let rig = Rig::new(Through::Holder).await;
    let lock = rig.holder.lock("late");
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    rig.proxy.delay(ms(30));
    let attempts = rig.holder.stats().attempts;
    let error = lock
        .lock()
        .lease(ms(20))
        .wait(secs(1))
        .await
        .expect_err("never in time");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let tried = rig.holder.stats().attempts - attempts;
    assert!(tried < 12, "{tried} tries in a second");
    rig.proxy.delay(ms(0));
    let direct = rig.direct();
    eventually_async("nothing is left", secs(2), async || {
        !direct.exists("late") && rig.holder.residue() == NOTHING
    })
    .await;
    rig.end().await;
}

/// Without the right to its channels a client finds out by looking, each time, and not only the first.
#[tokio::test]
async fn a_refused_channel_never_blinds_its_waiters() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let direct = server.direct();
    direct
        .cmd(&["ACL", "SETUSER", "default", "resetchannels"])
        .accepted();
    for round in 0..3 {
        direct.cmd(&["HSET", "blind", "somebody:1", "1"]);
        direct.cmd(&["PEXPIRE", "blind", "300"]);
        let begun = Instant::now();
        let guard = client
            .lock("blind")
            .lock()
            .wait(secs(10))
            .await
            .expect("granted");
        within(
            &format!("wait {round} for 300 ms"),
            begun.elapsed(),
            ms(1_500),
        );
        guard.unlock().await.expect("held");
    }
    close(client).await;
}

/// A server that does not say who a connection is cannot be asked to end it, and that is told.
#[tokio::test]
async fn a_connection_that_cannot_be_fenced_is_told() {
    let server = Server::start();
    let direct = server.direct();
    let rules = [
        "ACL", "SETUSER", "plain", "on", ">x", "~*", "&*", "+@all", "-client",
    ];
    direct.cmd(&rules).accepted();
    let url = format!("redis://plain:x@127.0.0.1:{}", server.port());
    let client = redlatch::Client::connect(url).await.expect("connects");
    let mut events = client.events();
    direct.cmd(&["CLIENT", "KILL", "USER", "plain"]);
    let told = |event: &Event| matches!(event, Event::NotFenced { .. });
    event(&mut events, secs(5), told).await;
    client
        .lock("plain")
        .lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    close(client).await;
}

/// A waiter that has left a fair queue, and does not know yet whether it has, comes back to its end and not to its front:
/// in front it is only whose place was taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_a_fair_queue_comes_back_at_its_end() {
    let rig = Rig::with(Through::Waiter, |builder| builder.command_timeout(secs(1))).await;
    let direct = rig.direct();
    let queue = || {
        let queue = direct.cmd(&["LRANGE", "redisson_lock_queue:{left}", "0", "-1"]);
        queue.strings()
    };
    let of = |client: &Client| client.id().to_owned();
    let (here, there) = (of(&rig.holder), of(&rig.waiter));
    let lock = rig.waiter.fair_lock("left").with_owner(Owner::fresh());
    let guard = rig.holder.fair_lock("left").lock().await.expect("free");
    let leaving = tokio::spawn({
        let lock = lock.clone();
        async move { lock.lock().wait(ms(500)).await }
    });
    eventually_async("it is in line", secs(5), async || queue().len() == 1).await;
    let other = rig.holder.fair_lock("left").with_owner(Owner::fresh());
    let other = tokio::spawn(async move { other.lock().await.expect("granted") });
    eventually_async("so is another", secs(5), async || queue().len() == 2).await;

    // Three keys, the owner, a channel, and a number for an answer: it leaves. It does, and does not hear of it.
    let left = Rule::new("EVALSHA")
        .args(|args| args.len() == 7 && args[1] == b"3")
        .reply(|reply| matches!(reply, Frame::Int(_)))
        .action(Action::HoldReply);
    let left = rig.proxy.rule(left);
    let refused = leaving.await.expect("joins").expect_err("busy");
    assert!(refused.is_timeout(), "{refused}");
    left.wait_hit(1).await;
    let again = tokio::spawn(async move { lock.lock().await.expect("granted") });
    rig.proxy.cut_all();
    eventually_async("it is in line again", secs(5), async || queue().len() == 2).await;
    let places = queue();
    assert!(
        places[0].starts_with(&here) && places[1].starts_with(&there),
        "{there} came in front: {places:?}"
    );
    guard.unlock().await.expect("held");
    other.await.expect("joins").unlock().await.expect("held");
    again.await.expect("joins").unlock().await.expect("held");
    rig.end().await;
}
