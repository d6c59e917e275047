//! Requests that travel in one script: each is judged alone, and what happens to the script happens to each.

use std::time::{Duration, Instant};

use redlatch::{Client, Error, LockGuard, Refusal, Result};
use redlatch_support::{Action, Rule, eventually_async};
use tokio::task::JoinHandle;

use crate::kit::{NOTHING, Rig, Through, connect, ms, secs, until_nothing_is_left};

/// So many that most must wait for others.
const MANY: usize = 64;
/// More words than a script for one has.
const WORDS_OF_ONE: usize = 12;

type Taking = JoinHandle<Result<LockGuard>>;

/// All at once.
fn take_all(client: &Client, name: impl Fn(usize) -> String) -> Vec<Taking> {
    let take = |number| {
        let lock = client.lock(name(number));
        tokio::spawn(async move { lock.lock().wait(secs(20)).await })
    };
    (0..MANY).map(take).collect()
}

async fn ended(takings: Vec<Taking>) -> Vec<Result<LockGuard>> {
    let mut results = Vec::new();
    for taking in takings {
        results.push(taking.await.expect("no panic"));
    }
    results
}

async fn granted(takings: Vec<Taking>) -> Vec<LockGuard> {
    let results = ended(takings).await.into_iter();
    results.map(|result| result.expect("free")).collect()
}

/// All at once.
async fn give_back(guards: Vec<LockGuard>) {
    let giving: Vec<_> = guards
        .into_iter()
        .map(|guard| tokio::spawn(guard.unlock()))
        .collect();
    for given in giving {
        given.await.expect("no panic").expect("held");
    }
}

fn gathered() -> Rule {
    Rule::new("EVALSHA").args(|words| words.len() > WORDS_OF_ONE)
}

#[tokio::test]
async fn many_locks_are_taken_and_given_back_in_few_scripts() {
    let rig = Rig::new(Through::Waiter).await;
    // Both scripts are known after this.
    for _ in 0..2 {
        let guards = granted(take_all(&rig.holder, |n| format!("few-{n}"))).await;
        give_back(guards).await;
    }
    let direct = rig.direct();
    direct.reset_stats();
    let guards = granted(take_all(&rig.holder, |n| format!("few-{n}"))).await;
    assert_eq!(direct.cmd(&["DBSIZE"]).int(), MANY as i64);
    let taken = direct.command_calls("evalsha");
    for (number, guard) in guards.iter().enumerate() {
        let fields = direct.hgetall(&format!("few-{number}"));
        assert_eq!(fields.len(), 1);
        assert_eq!(fields.values().next().map(String::as_str), Some("1"));
        assert!(!guard.is_lost());
        let left = direct.pttl(&format!("few-{number}"));
        assert!((20_000..=30_000).contains(&left), "{left}");
    }
    give_back(guards).await;
    let all = direct.command_calls("evalsha");
    // Four alone, then three times sixteen and the rest.
    assert!(
        taken <= 12 && all <= 24,
        "{taken} scripts to take, {all} in all"
    );
    rig.end().await;
}

#[tokio::test]
async fn a_lone_caller_waits_for_nobody() {
    let rig = Rig::new(Through::Waiter).await;
    rig.holder
        .lock("alone")
        .lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    let direct = rig.direct();
    direct.reset_stats();
    for _ in 0..10 {
        let guard = rig.holder.lock("alone").lock().await.expect("free");
        guard.unlock().await.expect("held");
    }
    assert_eq!(direct.command_calls("evalsha"), 20);
    rig.end().await;
}

#[tokio::test]
async fn one_that_is_refused_is_no_matter_of_the_others() {
    let rig = Rig::new(Through::Waiter).await;
    let direct = rig.direct();
    let bad = |number: usize| number % 10 == 9;
    for number in (0..MANY).filter(|number| bad(*number)) {
        direct
            .cmd(&["SET", &format!("mixed-{number}"), "x"])
            .accepted();
    }
    direct.reset_stats();
    let mut guards = Vec::new();
    for (number, result) in ended(take_all(&rig.holder, |n| format!("mixed-{n}")))
        .await
        .into_iter()
        .enumerate()
    {
        match result {
            Ok(guard) => {
                assert!(!bad(number), "{number} is a string");
                guards.push(guard);
            }
            Err(Error::WrongType { name, .. }) => {
                assert_eq!(*name, *format!("mixed-{number}"));
                assert!(bad(number), "{number} is free");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        direct.command_calls("evalsha") < MANY as u64 / 2,
        "not gathered"
    );
    give_back(guards).await;
    for number in (0..MANY).filter(|number| bad(*number)) {
        assert_eq!(direct.cmd(&["GET", &format!("mixed-{number}")]).text(), "x");
    }
    direct.flushall();
    rig.end().await;
}

#[tokio::test]
async fn a_name_that_a_user_has_no_right_to_is_no_matter_of_the_others() {
    let rig = Rig::new(Through::Waiter).await;
    let direct = rig.direct();
    let user = ["ACL", "SETUSER", "some", "on", ">pass", "~mine-*", "+@all"];
    direct.cmd(&user).accepted();
    // Since the seventh version, channels are refused unless they are named.
    direct
        .cmd(&["ACL", "SETUSER", "some", "allchannels"])
        .accepted();
    let url = format!("redis://some:pass@127.0.0.1:{}", rig.server.port());
    let client = connect(&url, |builder| builder).await;
    let theirs = |number: usize| number % 8 == 7;
    let name = |number: usize| {
        format!(
            "{}-{number}",
            if theirs(number) { "theirs" } else { "mine" }
        )
    };
    let mut guards = Vec::new();
    for (number, result) in ended(take_all(&client, name)).await.into_iter().enumerate() {
        match result {
            Ok(guard) => {
                assert!(!theirs(number));
                guards.push(guard);
            }
            Err(Error::Refused { refusal, .. }) => {
                assert_eq!(refusal, Refusal::NoPermission);
                assert!(theirs(number));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(guards.len(), MANY - MANY / 8);
    give_back(guards).await;
    crate::kit::close(client).await;
    rig.end().await;
}

/// Whatever happens to the answer of a script for many, each of them finds out, and nothing is left.
async fn each_finds_out(action: Action) {
    let rig = Rig::with(Through::Holder, |builder| builder.command_timeout(ms(500))).await;
    for what in ["take", "give"] {
        let taking = rig.proxy.rule(gathered().times(2).action(action.clone()));
        let guards = granted(take_all(&rig.holder, |n| format!("{what}-{n}"))).await;
        assert!(taking.hits() > 0, "nothing was gathered");
        taking.remove();
        assert_eq!(rig.direct().cmd(&["DBSIZE"]).int(), MANY as i64);
        let giving = rig.proxy.rule(gathered().times(2).action(action.clone()));
        give_back(guards).await;
        assert!(giving.hits() > 0, "nothing was gathered");
        giving.remove();
        assert_eq!(rig.direct().cmd(&["DBSIZE"]).int(), 0);
    }
    rig.end().await;
}

#[tokio::test]
async fn a_lost_answer_is_found_out_for_each() {
    each_finds_out(Action::CutAfterForward).await;
}

#[tokio::test]
async fn a_lost_script_is_found_out_for_each() {
    each_finds_out(Action::CutBeforeForward).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_found_out_for_each() {
    each_finds_out(Action::StallReplies).await;
}

#[tokio::test]
async fn scripts_that_are_forgotten_on_the_way_are_loaded_again() {
    let rig = Rig::new(Through::Waiter).await;
    let direct = rig.direct();
    for _ in 0..3 {
        let guards = granted(take_all(&rig.holder, |n| format!("again-{n}"))).await;
        direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
        give_back(guards).await;
        direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    }
    rig.end().await;
}

#[tokio::test]
async fn who_leaves_before_it_was_sent_asks_for_nothing() {
    let rig = Rig::new(Through::Holder).await;
    // Known scripts, so that the first four keep the others waiting.
    let guards = granted(take_all(&rig.holder, |n| format!("leave-{n}"))).await;
    give_back(guards).await;
    let late = rig.proxy.rule(
        Rule::new("EVALSHA")
            .times(4)
            .action(Action::DelayReply(ms(300))),
    );
    let attempts = rig.holder.stats().attempts;
    let takings = take_all(&rig.holder, |n| format!("leave-{n}"));
    eventually_async("all have asked", secs(5), async || {
        rig.holder.stats().attempts >= attempts + MANY as u64
    })
    .await;
    let (left, stay): (Vec<_>, Vec<_>) = takings
        .into_iter()
        .enumerate()
        .partition(|(number, _)| number % 2 == 0);
    for (_, taking) in left {
        taking.abort();
        assert!(
            taking.await.is_err_and(|error| error.is_cancelled()),
            "granted before it was answered"
        );
    }
    let guards = granted(stay.into_iter().map(|(_, taking)| taking).collect()).await;
    late.remove();
    let direct = rig.direct();
    eventually_async("the others are gone", secs(5), async || {
        direct.cmd(&["DBSIZE"]).int() == guards.len() as i64
    })
    .await;
    give_back(guards).await;
    until_nothing_is_left(&rig.holder).await;
    rig.end().await;
}

/// How a server does nothing for many at once.
enum Refused {
    /// It does not know their script.
    Unknown,
    /// The user has no right to one of the names.
    Forbidden,
}

/// The refusal comes when one of them is out of time, and has had the lock given back that it may have got: to be sent
/// again behind that would take the lock for nobody.
async fn who_is_out_of_time_is_not_sent_again(refused: Refused) {
    const LIMIT: Duration = secs(2);
    let rig = Rig::with(Through::Holder, |builder| builder.command_timeout(LIMIT)).await;
    let direct = rig.direct();
    let user = ["ACL", "SETUSER", "some", "on", ">pass", "~mine-*", "+@all"];
    direct.cmd(&user).accepted();
    direct
        .cmd(&["ACL", "SETUSER", "some", "allchannels"])
        .accepted();
    let url = rig.proxy.url().replace("redis://", "redis://some:pass@");
    let client = connect(&url, |builder| builder.command_timeout(LIMIT)).await;
    let other = match refused {
        Refused::Unknown => "mine-other",
        Refused::Forbidden => {
            give_back(granted(take_all(&client, |n| format!("mine-{n}"))).await).await;
            "theirs"
        }
    };
    // The scripts for one are known in any case.
    let guard = client.lock("mine-0").lock().await.expect("free");
    guard.unlock().await.expect("held");

    let first = rig
        .proxy
        .rule(Rule::new("EVALSHA").times(4).action(Action::HoldReply));
    let attempts = client.stats().attempts;
    let asked = async |more: u64| {
        eventually_async("asked", secs(5), async || {
            client.stats().attempts >= attempts + more
        })
        .await;
    };
    let take = |name: &str, wait| {
        let lock = client.lock(name);
        tokio::spawn(async move { lock.lock().lease(secs(600)).wait(wait).await })
    };
    let before: Vec<_> = (0..4)
        .map(|n| take(&format!("mine-before-{n}"), secs(20)))
        .collect();
    asked(4).await;
    let late = take("mine-late", ms(1));
    asked(5).await;
    // The others have time left when the first has none.
    tokio::time::sleep(LIMIT / 2).await;
    let other = take(other, secs(20));
    let others: Vec<_> = (0..2)
        .map(|n| take(&format!("mine-beside-{n}"), secs(20)))
        .collect();
    asked(8).await;
    let all = rig.proxy.rule(gathered().action(Action::HoldReply));
    first.release();
    let before = granted(before).await;
    eventually_async("all are on their way", secs(5), async || all.hits() > 0).await;
    late.await
        .expect("no panic")
        .expect_err("no answer in time");
    direct.reset_stats();
    eventually_async("given back", secs(5), async || {
        direct.command_calls("evalsha") > 0
    })
    .await;
    all.remove();

    match (refused, other.await.expect("no panic")) {
        (Refused::Unknown, Ok(guard)) => guard.unlock().await.expect("held"),
        (Refused::Forbidden, Err(Error::Refused { refusal, .. })) => {
            assert_eq!(refusal, Refusal::NoPermission);
        }
        (_, other) => panic!("{other:?}"),
    }
    give_back(before).await;
    give_back(granted(others).await).await;
    until_nothing_is_left(&client).await;
    assert_eq!(direct.cmd(&["EXISTS", "mine-late"]).int(), 0);
    crate::kit::close(client).await;
    rig.end().await;
}

#[tokio::test]
async fn who_is_out_of_time_is_not_sent_again_with_the_others() {
    who_is_out_of_time_is_not_sent_again(Refused::Unknown).await;
}

#[tokio::test]
async fn who_is_out_of_time_is_not_sent_again_alone() {
    who_is_out_of_time_is_not_sent_again(Refused::Forbidden).await;
}

#[tokio::test]
async fn a_server_that_stands_still_keeps_nobody_beyond_its_time() {
    let rig = Rig::with(Through::Waiter, |builder| builder.command_timeout(ms(400))).await;
    let guards = granted(take_all(&rig.holder, |n| format!("still-{n}"))).await;
    give_back(guards).await;
    rig.server.freeze();
    let begun = Instant::now();
    let takings: Vec<Taking> = (0..MANY)
        .map(|number| {
            let lock = rig.holder.lock(format!("still-{number}"));
            tokio::spawn(async move { lock.lock().wait(ms(600)).await })
        })
        .collect();
    for result in ended(takings).await {
        let error = result.expect_err("the server stands still");
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
    assert!(begun.elapsed() < secs(5), "{:?}", begun.elapsed());
    rig.server.thaw();
    let direct = rig.direct();
    eventually_async(
        "what was taken unseen is given back",
        secs(20),
        async || direct.cmd(&["DBSIZE"]).int() == 0 && rig.holder.residue() == NOTHING,
    )
    .await;
    rig.end().await;
}
