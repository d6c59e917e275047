//! The defects of the client underneath, contained: nothing is sent twice, nobody gets another's reply, nothing hangs,
//! nothing leaks.

use std::time::Instant;

use futures_util::FutureExt;
use redlatch::{Error, Event, LossCause, Owner};
use redlatch_support::{Action, Proxy, Rule, Server, alive_tasks, eventually_async};
use tokio_stream::StreamExt;

use crate::kit::{NOTHING, Rig, Through, Waiting, close, connect, counts, event, ms, secs};

/// Silent re-sends: with connections dying all the time, every count on the server stays what the client says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_script_counts_twice_while_connections_die() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let killer = {
        let direct = server.direct();
        tokio::task::spawn_blocking(move || {
            for _ in 0..20 {
                std::thread::sleep(ms(25));
                let _ = direct.try_cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            }
        })
    };
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let lock = client.lock(format!("twice-{number}"));
            let direct = server.direct();
            tokio::spawn(async move {
                let started = Instant::now();
                let mut rounds = 0_u32;
                while started.elapsed() < ms(700) {
                    let mut guards = Vec::new();
                    for depth in 1..=3 {
                        let guard = lock.lock().await.expect("granted");
                        let counts = tokio::task::block_in_place(|| counts(&direct, lock.name()));
                        let expected = [guard.owner_id(), i32::to_string(&depth)];
                        assert_eq!(counts, expected);
                        guards.push(guard);
                    }
                    for guard in guards {
                        guard.unlock().await.expect("held");
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let mut rounds = 0;
    for task in tasks {
        rounds += task.await.expect("no panic");
    }
    killer.await.expect("no panic");
    assert!(rounds > 16, "{rounds} rounds");
    let stats = client.stats();
    assert!(
        stats.connects > 1 && stats.unknown_outcomes > 0,
        "{stats:?}"
    );
    close(client).await;
    assert_eq!(server.direct().cmd(&["DBSIZE"]).int(), 0);
}

/// Unconfirmed subscriptions: a release right after the waiter has subscribed is always heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_right_after_the_subscription_is_heard() {
    // With the poll out of the way, a lost message would cost its wait.
    let settings = |builder: redlatch::ClientBuilder| builder.safety_poll(secs(5));
    let rig = Rig::with(Through::Waiter, settings).await;
    let started = Instant::now();
    for round in 0..300 {
        let guard = rig.holder.lock("quick").lock().await.expect("free");
        let waiting = Waiting::start(&rig.waiter, "quick", secs(20));
        let waits = round + 1;
        eventually_async("the waiter is told that it is busy", secs(5), async || {
            rig.waiter.stats().waits >= waits
        })
        .await;
        guard.unlock().await.expect("held");
        waiting.granted().await.0.unlock().await.expect("held");
    }
    let stats = rig.waiter.stats();
    assert_eq!(stats.wakeups_by_poll, 0, "{stats:?}");
    assert!(started.elapsed() < secs(20), "{:?}", started.elapsed());
    rig.end().await;
}

/// Unheard releases: who found the lock taken while its subscription was still on its way asks once more when it is
/// there, since the message went by.
#[tokio::test]
async fn a_release_while_the_subscription_is_on_its_way_costs_no_poll() {
    let settings =
        |builder: redlatch::ClientBuilder| builder.command_timeout(secs(10)).safety_poll(secs(3));
    let rig = Rig::with(Through::Waiter, settings).await;
    let held = rig
        .proxy
        .rule(Rule::new("SUBSCRIBE").always().action(Action::HoldRequest));
    let mut events = rig.waiter.events();
    let guard = rig.holder.lock("unheard").lock().await.expect("free");
    let waiting = Waiting::start(&rig.waiter, "unheard", secs(30));
    // It does not wait for the subscription for ever, asks, and sleeps unheard.
    eventually_async("the waiter asks and sleeps", secs(10), async || {
        rig.waiter.stats().attempts >= 2 && rig.waiter.residue().contains("sleepers: 1")
    })
    .await;
    guard.unlock().await.expect("held");
    held.remove();
    let (granted, _) = waiting.granted().await;
    granted.unlock().await.expect("held");
    rig.end().await;
    let told: Vec<_> = std::iter::from_fn(|| events.next().now_or_never().flatten()).collect();
    let missed = |event: &Event| matches!(event, Event::WakeUpMissed { .. });
    assert!(!told.iter().any(missed), "{told:?}");
}

/// A dead connection task: after a restart the client heals by itself, and no call waited without a bound.
#[tokio::test]
async fn a_client_heals_after_the_server_was_gone_and_bounds_every_call() {
    let settings = |builder: redlatch::ClientBuilder| {
        builder.command_timeout(ms(300)).outage_patience(ms(900))
    };
    let rig = Rig::with(Through::Waiter, settings).await;
    rig.server.kill();
    let (client, owner) = (&rig.holder, Owner::fresh());
    let begun = Instant::now();
    let lock = client.lock("gone");
    assert!(matches!(lock.lock().await, Err(Error::Unreachable { .. })));
    assert!(begun.elapsed() < secs(3), "lock: {:?}", begun.elapsed());
    let begun = Instant::now();
    let error = lock.try_lock().await.expect_err("no server");
    assert!(error.is_retryable() && !error.is_indeterminate(), "{error}");
    assert!(lock.raw().is_locked().await.is_err());
    assert!(lock.raw().force_unlock().await.is_err());
    assert!(lock.with_owner(owner).raw().hold_count().await.is_err());
    assert!(client.inspect("gone").await.is_err());
    assert!(
        begun.elapsed() < secs(4),
        "all others: {:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    let error = lock.lock().wait(ms(500)).await.expect_err("no server");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < ms(900), "{:?}", begun.elapsed());
    rig.server.restart();
    let guard = lock.lock().await.expect("healed");
    guard.unlock().await.expect("held");
    rig.end().await;
}

/// Dropped futures that still run: what a caller that gave up has left in an old connection is never executed after
/// the new one is in use, since the new one has the server end the old one first.
#[tokio::test]
async fn a_request_left_in_an_old_connection_never_takes_the_lock() {
    let settings = |builder: redlatch::ClientBuilder| builder.command_timeout(ms(300));
    let rig = Rig::with(Through::Holder, settings).await;
    let lock = rig.holder.lock("late");
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    // The network keeps the request, and lets it go when the client has long been using another connection.
    let kept = rig
        .proxy
        .rule(Rule::new("EVALSHA").action(Action::HoldRequest));
    let connects = rig.holder.stats().connects;
    let error = lock.lock().wait(ms(200)).await.expect_err("no answer");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    eventually_async("another connection is in use", secs(5), async || {
        rig.holder.stats().connects > connects && rig.holder.residue() == NOTHING
    })
    .await;
    let direct = rig.direct();
    let before = direct.command_calls("evalsha");
    kept.release();
    // The time in which the request would be executed, if it could be.
    let until = Instant::now() + ms(300);
    while Instant::now() < until {
        assert!(
            !direct.exists("late"),
            "somebody holds it who has gone away"
        );
        tokio::time::sleep(ms(5)).await;
    }
    assert_eq!(direct.command_calls("evalsha"), before);
    rig.end().await;
}

/// The same on a server that was stopped: nothing of what was asked for meanwhile stays.
#[tokio::test]
async fn a_server_that_was_stopped_keeps_nothing_for_callers_that_gave_up() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| {
        builder
            .command_timeout(ms(300))
            .heartbeat(ms(100))
            .connect_timeout(ms(300))
    })
    .await;
    client
        .lock("late")
        .lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    let mut events = client.events();
    server.freeze();
    assert!(client.lock("late").try_lock().await.is_err());
    event(&mut events, secs(5), |event| {
        matches!(event, Event::Disconnected { .. })
    })
    .await;
    server.thaw();
    event(&mut events, secs(5), |event| {
        matches!(event, Event::Connected)
    })
    .await;
    let direct = server.direct();
    eventually_async("nothing is in doubt any more", secs(5), async || {
        client.residue() == NOTHING && !direct.exists("late")
    })
    .await;
    let guard = client.lock("late").lock().await.expect("free");
    assert_eq!(server.direct().hgetall("late")[&guard.owner_id()], "1");
    guard.unlock().await.expect("held");
    close(client).await;
}

/// A channel that lags: a flood of messages neither stops the wake-ups nor the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messages_stops_nobody() {
    let rig = Rig::new(Through::Waiter).await;
    let (guard, waiting) = rig.contended("flood").await;
    let direct = rig.direct();
    tokio::task::spawn_blocking(move || {
        let flood = "for i = 1, 20000 do redis.call('publish', KEYS[1], ARGV[1]) end";
        for payload in ["2", "abc", "0"] {
            direct
                .cmd(&[
                    "EVAL",
                    flood,
                    "1",
                    "redisson_lock__channel:{flood}",
                    payload,
                ])
                .accepted();
        }
    })
    .await
    .expect("no panic");
    let odd = async || rig.waiter.stats().odd_messages >= 1_000;
    eventually_async("messages that mean nothing are counted", secs(10), odd).await;
    assert!(
        rig.waiter.stats().attempts < 25_000,
        "{:?}",
        rig.waiter.stats()
    );
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert!(granted - released < secs(2));
    guard.unlock().await.expect("held");
    rig.end().await;
}

/// Blind unresponsiveness: an idle subscriber on a dead link finds out, and so do requests under steady writes.
#[tokio::test]
async fn a_dead_link_is_noticed_on_both_connections() {
    let settings = |builder: redlatch::ClientBuilder| {
        builder
            .command_timeout(ms(400))
            .heartbeat(ms(200))
            .connect_timeout(ms(400))
    };
    let rig = Rig::with(Through::Waiter, settings).await;
    let (guard, waiting) = rig.contended("dead").await;
    let (connects, accepted) = (rig.waiter.stats().connects, rig.proxy.accepted());
    rig.proxy.black_hole(true);
    eventually_async("both links are given up", secs(5), async || {
        rig.proxy.accepted() >= accepted + 2
    })
    .await;
    guard.unlock().await.expect("held");
    rig.proxy.black_hole(false);
    let healed = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert!(granted.saturating_duration_since(healed) < secs(2));
    assert!(rig.waiter.stats().connects > connects);
    guard.unlock().await.expect("held");
    rig.end().await;
}

/// The same for a client that does nothing: only its own pings can find out.
#[tokio::test]
async fn an_idle_client_notices_that_its_links_are_dead() {
    let settings =
        |builder: redlatch::ClientBuilder| builder.command_timeout(ms(200)).heartbeat(ms(100));
    let rig = Rig::with(Through::Waiter, settings).await;
    eventually_async("both links are there", secs(5), async || {
        rig.proxy.accepted() == 2
    })
    .await;
    let pings = rig
        .proxy
        .rule(Rule::new("PING").times(2).action(Action::StallReplies));
    eventually_async("both links are replaced", secs(5), async || {
        rig.proxy.accepted() >= 4
    })
    .await;
    assert_eq!(pings.hits(), 2);
    rig.end().await;
}

/// Replies to the wrong caller: subscriptions that come and go while their connection dies never shift a reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anothers_reply_while_subscriptions_die() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let killer = {
        let direct = server.direct();
        tokio::task::spawn_blocking(move || {
            for _ in 0..20 {
                std::thread::sleep(ms(25));
                direct.cmd(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
        })
    };
    let tasks: Vec<_> = (0..24)
        .map(|number| {
            let lock = client.lock(format!("shift-{}", number % 4));
            tokio::spawn(async move {
                let started = Instant::now();
                while started.elapsed() < ms(700) {
                    let guard = lock.lock().wait(secs(20)).await.expect("granted");
                    let count = lock.raw().hold_count().await.expect("answers");
                    assert_eq!(count, 1, "a reply that was meant for somebody else");
                    guard.unlock().await.expect("held");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    killer.await.expect("no panic");
    close(client).await;
}

/// Leaked sockets and tasks: closing, and dropping without closing, leave none.
#[tokio::test]
async fn a_client_leaves_no_socket_and_no_task() {
    let server = Server::start();
    let direct = server.direct();
    let sockets = || direct.client_list().len();
    let (sockets_before, tasks_before) = (sockets(), alive_tasks());
    for closing in [true, false] {
        let client = connect(&server.url(), |builder| builder).await;
        let guard = client.lock("sockets").lock().await.expect("free");
        eventually_async("both connections are there", secs(5), async || {
            sockets() == sockets_before + 2
        })
        .await;
        guard.unlock().await.expect("held");
        if closing {
            close(client).await;
        } else {
            assert_eq!(client.residue(), NOTHING);
            drop(client);
        }
        eventually_async("no socket is left", secs(5), async || {
            sockets() == sockets_before
        })
        .await;
        eventually_async("no task is left", secs(5), async || {
            alive_tasks() == tasks_before
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    let proxy = Proxy::start(1).await;
    proxy.refuse(true);
    let begun = Instant::now();
    let error = redlatch::Client::connect(proxy.url())
        .await
        .expect_err("nobody there");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < secs(3), "{:?}", begun.elapsed());
    assert!(redlatch::Client::connect("http://localhost").await.is_err());
    assert!(
        redlatch::Client::connect("redis://127.0.0.1:notaport")
            .await
            .is_err()
    );
}

/// A request that never leaves: dropped on the way, it is found out about and sent again.
#[tokio::test]
async fn a_request_lost_on_its_way_is_sent_again() {
    let rig = Rig::with(Through::Holder, |builder| builder.command_timeout(ms(500))).await;
    let lock = rig.holder.lock("lost");
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    for action in [Action::StallRequests, Action::CutBeforeForward] {
        rig.proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        let guard = lock.lock().await.expect("granted");
        rig.proxy.rule(Rule::new("EVALSHA").action(action));
        guard.unlock().await.expect("held");
    }
    rig.end().await;
}

/// What is held is looked at with every new connection, not only when it is due: the server may have lost it meanwhile.
#[tokio::test]
async fn what_the_server_has_forgotten_is_told_with_the_next_connection() {
    let settings = |builder: redlatch::ClientBuilder| builder.watchdog_timeout(secs(90));
    let rig = Rig::with(Through::Holder, settings).await;
    let guard = rig.holder.lock("forgotten").lock().await.expect("free");
    rig.direct().flushall();
    rig.proxy.cut_all();
    // Its renewal is due after thirty.
    let told = tokio::time::timeout(secs(15), guard.lost()).await;
    assert_eq!(told.expect("it is asked about"), LossCause::Vanished);
    drop(guard);
    rig.end().await;
}

/// A question changes nothing, so it is asked again where its answer is lost.
#[tokio::test]
async fn a_question_whose_answer_is_lost_is_asked_again() {
    let rig = Rig::new(Through::Holder).await;
    let lock = rig.holder.lock("asked");
    let guard = lock.lock().await.expect("free");
    let raw = lock.with_owner(guard.owner());
    let raw = raw.raw();
    assert_eq!(raw.hold_count().await.expect("answers"), 1);
    let lose = ["HGET", "EXISTS", "HEXISTS", "PTTL", "EVALSHA"].map(|command| {
        let rule = Rule::new(command).action(Action::CutAfterForward).times(1);
        rig.proxy.rule(rule)
    });
    assert_eq!(raw.hold_count().await.expect("asked again"), 1);
    assert!(raw.is_locked().await.expect("asked again"));
    assert!(raw.is_held_by_current().await.expect("asked again"));
    let lost: u64 = lose.iter().map(redlatch_support::RuleHandle::hits).sum();
    assert!(lost > 0, "nothing was lost");
    rig.proxy.clear_rules();
    guard.unlock().await.expect("held");
    rig.end().await;
}
