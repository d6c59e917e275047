//! Lost replies, lost messages, lost connections, lost servers.

use std::time::Instant;

use redlatch::{Client, Error};
use redlatch_support::{Action, Rule, RuleHandle, eventually_async};

use crate::kit::{
    Rig, asleep, connect, follow, got, ms, secs, until_nothing_is_left, until_value, value, within,
};

/// Loses the reply to the next script in each of the ways there are.
const LOSSES: [Action; 2] = [Action::CutAfterForward, Action::StallReplies];
/// Loses the request.
const NOT_SENT: Action = Action::CutBeforeForward;

fn lose(rig: &Rig, action: &Action) -> RuleHandle {
    rig.proxy.rule(Rule::new("EVALSHA").action(action.clone()))
}

/// All ways to lose a script or its reply.
fn ways() -> impl Iterator<Item = Action> {
    LOSSES.into_iter().chain([NOT_SENT])
}

/// Runs every script once, so that none has to be loaded later.
async fn warm(client: &Client) {
    let semaphore = client.semaphore("warm");
    semaphore.try_set_permits(1).await.expect("answers");
    semaphore.add_permits(1).await.expect("answers");
    semaphore.drain_permits().await.expect("answers");
    semaphore.release_if_exists(1).await.expect("answers");
    let permit = semaphore.acquire().await.expect("one");
    permit.release().await.expect("confirmed");
    semaphore.delete().await.expect("answers");
    let latch = client.count_down_latch("warm");
    latch.try_set_count(1).await.expect("answers");
    latch.count_down().await.expect("answers");
    latch.wait().await.expect("open");
    latch.delete().await.expect("answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_counts_once_when_its_reply_is_lost() {
    let rig = Rig::new().await;
    warm(&rig.client).await;
    let direct = rig.direct();
    let semaphore = rig.client.semaphore("s");
    let latch = rig.client.count_down_latch("l");
    for way in ways() {
        direct.cmd(&["DEL", "s", "l"]);
        let rule = lose(&rig, &way);
        assert!(
            semaphore.try_set_permits(10).await.expect("done"),
            "{way:?}"
        );
        rule.wait_hit(1).await;
        assert_eq!(value(&direct, "s"), Some(10), "{way:?}: set");
        lose(&rig, &way);
        semaphore.release(2).await.expect("done");
        assert_eq!(value(&direct, "s"), Some(12), "{way:?}: release");
        lose(&rig, &way);
        assert!(semaphore.release_if_exists(1).await.expect("done"));
        assert_eq!(value(&direct, "s"), Some(13), "{way:?}: release if exists");
        lose(&rig, &way);
        semaphore.add_permits(-3).await.expect("done");
        assert_eq!(value(&direct, "s"), Some(10), "{way:?}: add");
        lose(&rig, &way);
        let permit = semaphore.acquire_many(4).await.expect("ten");
        assert_eq!(value(&direct, "s"), Some(6), "{way:?}: acquire");
        lose(&rig, &way);
        permit.release().await.expect("done");
        assert_eq!(value(&direct, "s"), Some(10), "{way:?}: give back");
        let permit = semaphore.acquire_many(4).await.expect("ten");
        lose(&rig, &way);
        drop(permit);
        until_value(&direct, "s", 10).await;
        lose(&rig, &way);
        match semaphore.try_acquire().await {
            Ok(permit) => assert_eq!(permit.expect("ten").forget(), 1),
            // One who would not wait does not wait for an answer either; what was taken for it goes back.
            Err(error) => {
                assert!(!error.is_indeterminate(), "{way:?}: {error}");
                until_value(&direct, "s", 10).await;
                semaphore.acquire().await.expect("ten").forget();
            }
        }
        assert_eq!(value(&direct, "s"), Some(9), "{way:?}: try");
        lose(&rig, &way);
        assert_eq!(semaphore.drain_permits().await.expect("done"), 9, "{way:?}");
        assert_eq!(value(&direct, "s"), Some(0), "{way:?}: drain");
        lose(&rig, &way);
        assert!(semaphore.delete().await.expect("done"), "{way:?}: delete");

        lose(&rig, &way);
        assert!(latch.try_set_count(3).await.expect("done"), "{way:?}");
        lose(&rig, &way);
        latch.count_down().await.expect("done");
        assert_eq!(value(&direct, "l"), Some(2), "{way:?}: count down");
        lose(&rig, &way);
        assert!(latch.delete().await.expect("done"), "{way:?}: delete");
        assert_eq!(value(&direct, "l"), None);
    }
    println!("{:?}", rig.client.stats());
    rig.end(&[]).await;
}

/// The reply to a question in doubt is lost as well, and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_found_out_however_often_it_takes() {
    let rig = Rig::new().await;
    warm(&rig.client).await;
    let semaphore = rig.client.semaphore("s");
    for marks_lost in 1..4 {
        lose(&rig, &Action::CutAfterForward);
        let asked = rig.proxy.rule(
            Rule::new("GET")
                .times(marks_lost)
                .action(Action::CutAfterForward),
        );
        semaphore.release(1).await.expect("done");
        asked.wait_hit(marks_lost).await;
    }
    assert_eq!(value(&rig.direct(), "s"), Some(3));
    // The request itself is lost over and over.
    let lost = Rule::new("EVALSHA")
        .times(3)
        .action(Action::CutBeforeForward);
    let lost = rig.proxy.rule(lost);
    semaphore.release(1).await.expect("done");
    assert_eq!(lost.hits(), 3);
    assert_eq!(value(&rig.direct(), "s"), Some(4));
    rig.end(&["s"]).await;
}

/// The same, while many call at once and connections die all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_counts_once_while_connections_die() {
    const TASKS: i64 = 8;
    const ROUNDS: i64 = 40;
    let rig = Rig::new().await;
    warm(&rig.client).await;
    let direct = rig.direct();
    let semaphore = rig.client.semaphore("s");
    let latch = rig.client.count_down_latch("l");
    assert!(semaphore.try_set_permits(3).await.expect("answers"));
    let count = u64::try_from(TASKS * ROUNDS + 1).expect("small");
    assert!(latch.try_set_count(count).await.expect("answers"));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (semaphore, latch) = (semaphore.clone(), latch.clone());
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let permit = semaphore.acquire().wait(secs(30)).await.expect("granted");
                    if round % 3 == 0 {
                        permit.release().await.expect("done");
                    } else {
                        drop(permit);
                    }
                    semaphore.release(1).await.expect("done");
                    latch.count_down().await.expect("done");
                }
            })
        })
        .collect();
    let mut cuts = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        if cuts % 3 == 2 {
            direct.cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        } else {
            rig.proxy.cut_all();
        }
        cuts += 1;
        tokio::time::sleep(ms(60)).await;
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    println!(
        "{cuts} cuts, {:?}, {:?}",
        begun.elapsed(),
        rig.client.stats()
    );
    assert!(rig.client.stats().unknown_outcomes > 0, "no reply was lost");
    until_value(&direct, "s", 3 + TASKS * ROUNDS).await;
    assert_eq!(value(&direct, "l"), Some(1));
    until_nothing_is_left(&rig.client).await;
    rig.end(&["l", "s"]).await;
}

/// A waiter whose wake-up message is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_message_costs_at_most_two_seconds() {
    let rig = Rig::with(|builder| builder).await;
    let other = connect(&rig.server.url(), |builder| builder).await;
    let semaphore = rig.client.semaphore("s");
    let waiting = follow(semaphore.acquire());
    asleep(&rig.client).await;
    let lost = rig.proxy.drop_messages(None, 1);
    let released = Instant::now();
    other.semaphore("s").release(1).await.expect("answers");
    let (permit, granted) = got(waiting).await;
    assert_eq!(lost.hits(), 1);
    within("semaphore, message lost", granted - released, secs(2));
    permit.forget();

    let latch = rig.client.count_down_latch("l");
    latch.try_set_count(1).await.expect("answers");
    let waiting = follow(latch.wait());
    asleep(&rig.client).await;
    let lost = rig.proxy.drop_messages(None, 1);
    let opened = Instant::now();
    other
        .count_down_latch("l")
        .count_down()
        .await
        .expect("answers");
    let ((), seen) = got(waiting).await;
    assert_eq!(lost.hits(), 1);
    within("latch, message lost", seen - opened, secs(2));
    assert_eq!(rig.client.stats().wakeups_by_poll, 2);
    crate::kit::close(other).await;
    rig.end(&["s"]).await;
}

/// A release while the subscription is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_wakes_whoever_waits() {
    let rig = Rig::with(|builder| builder.safety_poll(secs(20))).await;
    let other = connect(&rig.server.url(), |builder| builder).await;
    let semaphore = rig.client.semaphore("s");
    let waiting = follow(semaphore.acquire());
    asleep(&rig.client).await;
    rig.proxy.refuse(true);
    rig.proxy.cut_all();
    other.semaphore("s").release(1).await.expect("answers");
    let back = Instant::now();
    rig.proxy.refuse(false);
    let (permit, granted) = got(waiting).await;
    within("woken by the reconnect", granted - back, secs(2));
    permit.forget();
    crate::kit::close(other).await;
    rig.end(&["s"]).await;
}

/// The server comes back without data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_is_gone_on_with() {
    let rig = Rig::with(|builder| builder.command_timeout(ms(500))).await;
    let semaphore = rig.client.semaphore("s");
    semaphore.try_set_permits(2).await.expect("answers");
    let held = semaphore.acquire_many(2).await.expect("two");
    let waiting = follow(semaphore.acquire());
    let latch = rig.client.count_down_latch("l");
    latch.try_set_count(1).await.expect("answers");
    let behind = follow(latch.wait());
    eventually_async("both wait", secs(5), async || {
        rig.client.residue().contains("sleepers: 2")
    })
    .await;
    rig.server.kill();
    rig.server.restart();
    let back = Instant::now();
    // A latch that is gone is open. A semaphore that is gone has no permits until somebody gives some.
    let ((), seen) = got(behind).await;
    within("latch gone with the server", seen - back, secs(3));
    assert!(!waiting.is_finished());
    held.release().await.expect("done");
    let (permit, _) = got(waiting).await;
    permit.forget();
    assert_eq!(value(&rig.direct(), "s"), Some(1));
    rig.end(&["s"]).await;
}

/// A call that gets no answer says whether it may have taken effect, in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_reported_in_time() {
    let rig = Rig::with(|builder| builder.command_timeout(ms(200)).outage_patience(ms(600))).await;
    warm(&rig.client).await;
    let semaphore = rig.client.semaphore("s");
    semaphore.try_set_permits(1).await.expect("answers");
    let held = semaphore.acquire().await.expect("one");
    rig.proxy.black_hole(true);
    let begun = Instant::now();
    let doubtful = semaphore.release(1).await.expect_err("silent");
    assert!(doubtful.is_indeterminate(), "{doubtful}");
    for outcome in [
        semaphore.acquire().await.map(drop),
        semaphore.acquire().wait(ms(300)).await.map(drop),
        semaphore.try_acquire().await.map(drop),
        semaphore.available_permits().await.map(drop),
        rig.client.count_down_latch("l").wait().limit(ms(300)).await,
    ] {
        let error = outcome.expect_err("silent");
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(!error.is_indeterminate(), "{error}");
    }
    let held = tokio::spawn(held.release());
    within("six silent calls", begun.elapsed(), secs(8));
    rig.proxy.black_hole(false);
    // The permit in hand goes back as soon as it can.
    until_value(&rig.direct(), "s", 1).await;
    let _ = held.await.expect("no panic");
    until_nothing_is_left(&rig.client).await;
    assert_eq!(
        value(&rig.direct(), "s"),
        Some(1),
        "what was silent stays undone"
    );
    rig.end(&["s"]).await;
}

/// A stopped server wakes up with requests of an old connection unread. They count once, or not at all where the request
/// was sent anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_counts_once_when_the_server_was_stopped() {
    const ROUNDS: i64 = 6;
    let server = redlatch_support::Server::start();
    let client = connect(&server.url(), |builder| {
        builder.command_timeout(ms(150)).connect_timeout(ms(150))
    })
    .await;
    warm(&client).await;
    let semaphore = client.semaphore("s");
    let expirable = client.expirable_semaphore("p");
    let latch = client.count_down_latch("l");
    semaphore.try_set_permits(0).await.expect("answers");
    expirable.try_set_permits(2).await.expect("answers");
    latch.try_set_count(100).await.expect("answers");
    drop(expirable.acquire().await.expect("two"));
    for round in 1..=ROUNDS {
        server.freeze();
        let before = client.stats().unknown_outcomes;
        let changes = tokio::spawn({
            let (semaphore, expirable, latch) =
                (semaphore.clone(), expirable.clone(), latch.clone());
            async move {
                let (released, counted, permit) = tokio::join!(
                    semaphore.release(3),
                    latch.count_down(),
                    expirable.acquire_many(2).into_future(),
                );
                released.expect("done");
                counted.expect("done");
                permit.expect("two").release().await.expect("done");
            }
        });
        eventually_async("outcomes are unknown", secs(5), async || {
            client.stats().unknown_outcomes >= before + 3
        })
        .await;
        server.thaw();
        changes.await.expect("done");
        let direct = server.direct();
        assert_eq!(value(&direct, "s"), Some(3 * round));
        assert_eq!(value(&direct, "l"), Some(100 - round));
        assert_eq!(value(&direct, "p"), Some(2));
    }
    until_nothing_is_left(&client).await;
    println!("{:?}", client.stats());
    crate::kit::close(client).await;
}

/// Who waits behind a request without an answer has asked nothing itself: its time is up for want of a server, and not since
/// all permits are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_an_unanswered_request_is_told_so() {
    let rig = Rig::new().await;
    warm(&rig.client).await;
    let semaphore = rig.client.semaphore("s");
    semaphore.try_set_permits(2).await.expect("answers");
    rig.proxy.rule(
        Rule::new("EVALSHA")
            .times(100)
            .action(Action::StallRequests),
    );
    let first = rig.client.semaphore("s");
    let first = tokio::spawn(async move { first.acquire().wait(secs(20)).await.map(drop) });
    eventually_async("the first has asked", secs(5), async || {
        rig.client.stats().attempts > 0 && rig.proxy.seen("EVALSHA") > 0
    })
    .await;
    let error = semaphore.acquire().wait(ms(400)).await;
    let error = error.map(drop).expect_err("nobody answers");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    first.abort();
}
