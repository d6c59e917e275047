//! Semaphores and latches where the server restarts, refuses, or has been left: what was there is there, and what was
//! asked for happens once or not at all.

use std::time::Instant;

use redlatch::{Client, Error, Refusal};
use redlatch_support::{Action, Dice, MessageAction, MessageRule, Rule, Server, eventually_async};

use crate::kit::{
    Rig, asleep, client, close, connect, direct, follow, got, ms, name, secs,
    until_nothing_is_left, until_value, value, within,
};

/// Changes everything once: two permits more, one id taken and given back, one count less.
async fn change(client: &Client) -> redlatch::Result<()> {
    client.semaphore("s").release(3).await?;
    client.semaphore("s").acquire().await?.forget();
    let permit = client.expirable_semaphore("p").acquire().await?;
    permit.release().await?;
    client.count_down_latch("l").count_down().await
}

/// Five permits of each sort, and a latch of fifty.
async fn fill(client: &Client) {
    let filled = client.semaphore("s").try_set_permits(5).await;
    assert!(filled.expect("answers"));
    let filled = client.expirable_semaphore("p").try_set_permits(5).await;
    assert!(filled.expect("answers"));
    let filled = client.count_down_latch("l").try_set_count(50).await;
    assert!(filled.expect("answers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_data_keeps_what_there_was() {
    let server = Server::builder().appendonly(true).start();
    let client = connect(&server.url(), |builder| builder.command_timeout(ms(400))).await;
    fill(&client).await;
    let semaphore = client.semaphore("s");
    let expirable = client.expirable_semaphore("p");
    let latch = client.count_down_latch("l");
    let held = semaphore.acquire_many(5).await.expect("five");
    let kept = expirable.acquire_many(3).await.expect("five");
    let leased = expirable.acquire_many(2).lease(ms(400)).await.expect("two");
    let (waiting, behind) = (follow(semaphore.acquire_many(2)), follow(latch.wait()));
    eventually_async("both wait", secs(5), async || {
        client.residue().contains("sleepers: 2")
    })
    .await;
    server.kill();
    leased.lost().await;
    server.restart();
    let direct = server.direct();
    // What ended while it was down is had again, and what did not is not.
    let again = expirable.acquire_many(2).wait(secs(5)).await;
    assert!(expirable.try_acquire().await.expect("answers").is_none());
    assert!(!kept.is_lost());
    kept.release().await.expect("confirmed");
    again.expect("two").release().await.expect("confirmed");
    until_value(&direct, "p", 5).await;
    assert!(!waiting.is_finished() && !behind.is_finished());
    let released = Instant::now();
    held.release().await.expect("confirmed");
    let (permit, granted) = got(waiting).await;
    within(
        "semaphore, after a restart with data",
        granted - released,
        secs(2),
    );
    permit.release().await.expect("confirmed");
    until_value(&direct, "s", 5).await;
    for _ in 0..50 {
        latch.count_down().await.expect("answers");
    }
    let opened = Instant::now();
    let ((), seen) = got(behind).await;
    within(
        "latch, after a restart with data",
        seen.saturating_duration_since(opened),
        secs(2),
    );
    drop(leased);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_waited_for_and_counts_once() {
    let rig = Rig::with(|builder| builder.outage_patience(secs(10))).await;
    let direct = rig.direct();
    fill(&rig.client).await;
    change(&rig.client).await.expect("made");
    let mut changes = 1;
    for text in [
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "CLUSTERDOWN The cluster is down",
    ] {
        // The first two tries of each of the five requests that `change` makes.
        let mut rules = Vec::new();
        for _ in 0..10 {
            let reply = format!("-{text}\r\n").into_bytes();
            let rule = Rule::new("EVALSHA").nth(1).times(1);
            rules.push(rig.proxy.rule(rule.action(Action::Refuse(reply))));
        }
        change(&rig.client).await.expect("made when it has passed");
        changes += 1;
        assert!(rules.iter().any(|rule| rule.hits() > 0), "{text}");
        rig.proxy.clear_rules();
        assert_eq!(value(&direct, "s"), Some(5 + 2 * changes), "{text}");
        assert_eq!(value(&direct, "p"), Some(5), "{text}");
        assert_eq!(value(&direct, "l"), Some(50 - changes), "{text}");
    }
    rig.end(&["l", "p", "s"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_waited_for_to_be_a_master_again() {
    let rig = Rig::with(|builder| builder.outage_patience(secs(10))).await;
    let direct = rig.direct();
    fill(&rig.client).await;
    change(&rig.client).await.expect("made");
    direct.cmd(&["REPLICAOF", "127.0.0.1", "1"]).accepted();
    for outcome in [
        rig.client.semaphore("s").try_acquire().await.map(drop),
        rig.client
            .expirable_semaphore("p")
            .try_acquire()
            .await
            .map(drop),
    ] {
        match outcome.expect_err("read-only") {
            Error::Refused { refusal, .. } => assert_eq!(refusal, Refusal::ReadOnly),
            other => panic!("{other}"),
        }
    }
    let seen = rig.proxy.seen("EVALSHA");
    let changing = tokio::spawn({
        let client = rig.client.clone();
        async move { change(&client).await }
    });
    eventually_async("it is refused", secs(5), async || {
        rig.proxy.seen("EVALSHA") > seen + 1
    })
    .await;
    assert!(!changing.is_finished());
    direct.cmd(&["REPLICAOF", "NO", "ONE"]).accepted();
    changing.await.expect("joins").expect("made by the master");
    assert_eq!(value(&direct, "s"), Some(9));
    assert_eq!(value(&direct, "l"), Some(48));
    until_value(&direct, "p", 5).await;
    rig.end(&["l", "p", "s"]).await;
}

#[tokio::test]
async fn a_full_server_loses_nothing() {
    let rig = Rig::new().await;
    let direct = rig.direct();
    fill(&rig.client).await;
    let expirable = rig.client.expirable_semaphore("p");
    let held = expirable.acquire_many(2).await.expect("five");
    let memory = |bytes: &str| {
        drop(
            direct
                .cmd(&["CONFIG", "SET", "maxmemory", bytes])
                .accepted(),
        )
    };
    memory("1");
    let latch = rig.client.count_down_latch("l");
    for outcome in [
        expirable.acquire().await.map(drop),
        expirable.try_acquire().await.map(drop),
        expirable.add_permits(1).await,
        latch.count_down().await,
        rig.client
            .count_down_latch("m")
            .try_set_count(1)
            .await
            .map(drop),
    ] {
        let error = outcome.expect_err("no memory");
        assert!(error.is_retryable() && !error.is_indeterminate(), "{error}");
        assert!(
            matches!(
                error,
                Error::Refused {
                    refusal: Refusal::OutOfMemory,
                    ..
                }
            ),
            "{error}"
        );
    }
    drop(held);
    memory("0");
    until_value(&direct, "p", 5).await;
    assert_eq!(value(&direct, "l"), Some(50));
    assert!(!direct.exists("m"));
    rig.end(&["l", "p", "s"]).await;
}

#[tokio::test]
async fn forgotten_scripts_are_not_noticed() {
    let rig = Rig::new().await;
    let direct = rig.direct();
    fill(&rig.client).await;
    for round in 1..=4 {
        // Each script is met by a server that has forgotten it.
        direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
        change(&rig.client).await.expect("made");
        assert_eq!(value(&direct, "s"), Some(5 + 2 * round));
        assert_eq!(value(&direct, "p"), Some(5));
        assert_eq!(value(&direct, "l"), Some(50 - round));
    }
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    let drained = rig.client.semaphore("s").drain_permits().await;
    assert_eq!(drained.expect("answers"), 13);
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    let acquired = rig.client.expirable_semaphore("p").acquired_permits().await;
    assert_eq!(acquired.expect("answers"), 0);
    rig.end(&["l", "p", "s"]).await;
}

/// Messages that come late or twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_late_or_twice_give_nothing_away() {
    let rig = Rig::with(|builder| builder.safety_poll(ms(300))).await;
    let other = connect(&rig.server.url(), |builder| builder).await;
    let direct = rig.direct();
    for action in [MessageAction::Delay(ms(400)), MessageAction::Duplicate] {
        let rule = rig.proxy.message_rule(MessageRule::new(action));
        let semaphore = rig.client.semaphore("s");
        let waiting = follow(semaphore.acquire());
        asleep(&rig.client).await;
        let released = Instant::now();
        other.semaphore("s").release(1).await.expect("answers");
        let (permit, granted) = got(waiting).await;
        within(
            &format!("semaphore, {action:?}"),
            granted - released,
            secs(2),
        );
        permit.forget();
        // Somebody waits when the late one comes, and there is nothing to be had.
        let error = semaphore.acquire().wait(ms(600)).await.expect_err("none");
        assert!(error.is_timeout(), "{error}");
        assert_eq!(value(&direct, "s"), Some(0));

        let latch = rig.client.count_down_latch("l");
        latch.try_set_count(1).await.expect("answers");
        let waiting = follow(latch.wait());
        asleep(&rig.client).await;
        let opened = Instant::now();
        let count = other.count_down_latch("l").count_down().await;
        count.expect("answers");
        let ((), seen) = got(waiting).await;
        within(&format!("latch, {action:?}"), seen - opened, secs(2));
        latch.try_set_count(1).await.expect("answers");
        let error = latch.wait().limit(ms(600)).await.expect_err("closed again");
        assert!(error.is_timeout(), "{error}");
        assert!(rule.hits() > 0);
        rule.remove();
        latch.delete().await.expect("answers");
    }
    close(other).await;
    rig.end(&["s"]).await;
}

/// Replies that take their time, some longer than anybody waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_with_jitter_keeps_counts_exact() {
    let rig = Rig::with(|builder| builder.command_timeout(ms(150))).await;
    let direct = rig.direct();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    fill(&rig.client).await;
    let latch = rig.client.count_down_latch("many");
    latch.try_set_count(1_000).await.expect("answers");
    let mut dice = Dice::new(seed, 0);
    for nth in 1..120 {
        let pause = match dice.below(15) {
            0 => 200,
            often => often,
        };
        let action = match dice.below(2) {
            0 => Action::DelayReply(ms(pause)),
            _ => Action::DelayRequest(ms(pause)),
        };
        rig.proxy.rule(Rule::new("EVALSHA").nth(nth).action(action));
    }
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let client = rig.client.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let permit = client.semaphore("s").acquire_many(2).await;
                    let id = client.expirable_semaphore("p").acquire().await;
                    let counted = client.count_down_latch("many").count_down().await;
                    counted.expect("counted");
                    permit.expect("granted").release().await.expect("confirmed");
                    id.expect("granted").release().await.expect("confirmed");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    until_nothing_is_left(&rig.client).await;
    println!("{} replies too late", rig.client.stats().unknown_outcomes);
    assert_eq!(value(&direct, "s"), Some(5));
    assert_eq!(value(&direct, "p"), Some(5));
    assert_eq!(value(&direct, "many"), Some(940));
    rig.end(&["l", "many", "p", "s"]).await;
}

#[tokio::test]
async fn a_closed_client_answers_closed() {
    let rig = Rig::new().await;
    fill(&rig.client).await;
    change(&rig.client).await.expect("made");
    let client = &rig.client;
    let (s, p, l) = (
        client.semaphore("s"),
        client.expirable_semaphore("p"),
        client.count_down_latch("l"),
    );
    let (permit, id) = (s.acquire().await, p.acquire().await);
    let (permit, id) = (permit.expect("some"), id.expect("some"));
    let known = id.ids()[0];
    client.close(secs(5)).await;
    rig.direct().reset_stats();
    for (number, outcome) in [
        s.acquire().await.map(drop),
        s.try_acquire().await.map(drop),
        s.release(1).await,
        s.release_if_exists(1).await.map(drop),
        s.add_permits(1).await,
        s.try_set_permits(1).await.map(drop),
        s.drain_permits().await.map(drop),
        s.available_permits().await.map(drop),
        s.delete().await.map(drop),
        p.acquire().await.map(drop),
        p.try_acquire().await.map(drop),
        p.release_id(&known).await.map(drop),
        p.update_lease(&known, None).await.map(drop),
        p.set_permits(1).await,
        p.available_permits().await.map(drop),
        p.delete().await.map(drop),
        l.wait().await,
        l.try_set_count(1).await.map(drop),
        l.count_down().await,
        l.count().await.map(drop),
        l.delete().await.map(drop),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            matches!(outcome, Err(Error::Closed)),
            "{number}: {outcome:?}"
        );
    }
    // Closing has given them back.
    drop(permit);
    drop(id);
    assert_eq!(value(&rig.direct(), "s"), Some(7));
    assert_eq!(value(&rig.direct(), "p"), Some(5));
    assert_eq!(
        rig.direct().command_calls("evalsha"),
        0,
        "something was sent"
    );
    rig.end(&["l", "p", "s"]).await;
}

/// A panic, and a task that is stopped, with a permit that has an id.
#[tokio::test]
async fn a_task_that_dies_gives_its_permits_back() {
    let (client, direct, name) = (client().await, direct(), name("dies"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    for panics in [true, false] {
        let (sender, held) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let semaphore = semaphore.clone();
            async move {
                let _permits = semaphore.acquire_many(2).await.expect("three");
                let _ = sender.send(());
                assert!(!panics, "on purpose");
                std::future::pending::<()>().await;
            }
        });
        held.await.expect("it has them");
        task.abort();
        assert!(task.await.is_err());
        until_value(&direct, &name, 3).await;
        until_nothing_is_left(&client).await;
    }
    close(client).await;
}

/// Whatever a name is made of.
#[tokio::test]
async fn any_name_is_one_of_its_own() {
    let rig = Rig::new().await;
    let direct = rig.direct();
    let long = "n".repeat(8_192);
    for name in [
        "na\u{ef}ve-\u{9501}-\u{1f512}",
        " two  words ",
        "a\tb\nc\r\nd\"e'f\\g\0h\u{7f}",
        "100%25 + -1 *?[a-z] <>",
        "a{b}c",
        "{x",
        "x}y",
        "a{}b",
        "{{a}}",
        long.as_str(),
    ] {
        let semaphore = rig.client.semaphore(name);
        let waiting = follow(semaphore.acquire());
        asleep(&rig.client).await;
        let released = Instant::now();
        semaphore.release(1).await.expect("answers");
        let (permit, granted) = got(waiting).await;
        assert!(granted - released < ms(900), "{name:?}");
        permit.forget();
        assert_eq!(value(&direct, name), Some(0), "{name:?}");
        assert!(semaphore.delete().await.expect("answers"));

        let expirable = rig.client.expirable_semaphore(name);
        expirable.try_set_permits(1).await.expect("answers");
        let permit = expirable.acquire().await.expect("one");
        assert!(expirable.try_acquire().await.expect("answers").is_none());
        permit.release().await.expect("confirmed");
        assert!(expirable.delete().await.expect("answers"));

        let latch = rig.client.count_down_latch(name);
        latch.try_set_count(1).await.expect("answers");
        let waiting = follow(latch.wait());
        asleep(&rig.client).await;
        latch.count_down().await.expect("answers");
        got(waiting).await;
    }
    rig.end(&[]).await;
}
