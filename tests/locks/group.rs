//! The group lock: values in common exclude, others do not.

use redlatch::{Client, Error, Group, Lock, LossCause, Owner};
use redlatch_support::eventually_async;

use crate::common::{client, client_with, close, direct, ms, name, nothing_but, secs};

fn of(client: &Client, name: &str, values: &[&str]) -> Lock<Group> {
    client.group_lock(name, values.iter().copied())
}

#[tokio::test]
async fn sets_exclude_each_other_where_they_meet() {
    let (one, other, name) = (client().await, client().await, name("meet"));
    let guard = of(&one, &name, &["a", "b"]).lock().await.expect("free");
    let disjoint = of(&other, &name, &["c", "d"]).try_lock().await;
    let disjoint = disjoint.expect("answers").expect("nothing in common");
    let meeting = of(&other, &name, &["b", "c"]);
    assert!(meeting.try_lock().await.expect("answers").is_none());
    disjoint.unlock().await.expect("held");
    let waiting = tokio::spawn(async move { meeting.lock().wait(secs(10)).await });
    crate::common::asleep(&other, 1).await;
    guard.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("granted");
    assert_eq!(other.stats().wakeups_by_message, 1);
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(one).await;
    close(other).await;
}

#[tokio::test]
async fn one_owner_may_hold_sets_that_meet() {
    let (one, other, name) = (client().await, client().await, name("overlap"));
    let owner = Owner::fresh();
    let left = of(&one, &name, &["a", "b"]).with_owner(owner);
    let right = of(&one, &name, &["b", "c"]).with_owner(owner);
    let first = left.lock().await.expect("free");
    let second = right.lock().wait(secs(5)).await.expect("the same owner");
    let third = right.try_lock().await.expect("answers").expect("re-enters");
    let b = of(&one, &name, &["b"]).with_owner(owner);
    assert_eq!(b.raw().hold_count().await.expect("answers"), 3);
    assert_eq!(left.raw().hold_count().await.expect("answers"), 1);
    first.unlock().await.expect("held");
    assert_eq!(b.raw().hold_count().await.expect("answers"), 2);
    let a = of(&other, &name, &["a"]);
    let taken = a.try_lock().await.expect("answers").expect("free again");
    assert!(
        of(&other, &name, &["b"])
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    third.unlock().await.expect("held");
    second.unlock().await.expect("held");
    taken.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(one).await;
    close(other).await;
}

#[tokio::test]
async fn each_value_ends_by_itself() {
    let (one, other, name) = (client().await, client().await, name("ends"));
    let short = of(&one, &name, &["a"])
        .lock()
        .lease(ms(300))
        .await
        .expect("free");
    let long = of(&one, &name, &["b"])
        .lock()
        .lease(secs(20))
        .await
        .expect("free");
    let left = of(&one, &name, &["b"]).raw().remaining_ttl().await;
    assert!(left.expect("answers").expect("held") > secs(18));
    let both = of(&other, &name, &["a", "b"]);
    assert!(both.raw().is_locked().await.expect("answers"));
    assert_eq!(short.lost().await, LossCause::LeaseExpired);
    let a = of(&other, &name, &["a"]).lock().wait(secs(5)).await;
    let a = a.expect("its time is over");
    assert!(!long.is_lost());
    assert!(short.unlock().await.expect_err("lost").is_lost());
    assert!(!a.is_lost(), "the late unlock has not touched it");
    assert!(
        of(&other, &name, &["a"])
            .raw()
            .is_held_by_current()
            .await
            .expect("answers")
    );
    assert!(!both.raw().is_held_by_current().await.expect("answers"));
    a.unlock().await.expect("held");
    long.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(one).await;
    close(other).await;
}

/// Number 14 of the original's flaws: what was lost in part was given back in part, with an error.
#[tokio::test]
async fn flaw_14_a_set_lost_in_part_is_lost_and_given_up_as_a_whole() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(900))).await;
    let (other, name) = (self::client().await, name("part"));
    let guard = of(&client, &name, &["a", "b", "c"])
        .lock()
        .await
        .expect("free");
    assert!(
        of(&other, &name, &["b"])
            .raw()
            .force_unlock()
            .await
            .expect("answers")
    );
    assert!(
        !of(&other, &name, &["b"])
            .raw()
            .force_unlock()
            .await
            .expect("answers")
    );
    let told = tokio::time::timeout(secs(1), guard.lost()).await;
    assert_eq!(told.expect("with the next look"), LossCause::Vanished);
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    nothing_but(&name, &[]).await;

    // Nor do the others stay to the end of a long lease.
    let guard = of(&client, &name, &["a", "b", "c"])
        .lock()
        .lease(secs(60))
        .await
        .expect("free");
    let freed = of(&other, &name, &["b"]).raw().force_unlock().await;
    assert!(freed.expect("answers"));
    let told = tokio::time::timeout(secs(1), guard.lost()).await;
    assert_eq!(told.expect("with the next look"), LossCause::Vanished);
    drop(guard);
    let all = of(&other, &name, &["a", "b", "c"]);
    let all = all.lock().wait(secs(1)).await;
    all.expect("given back").unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(other).await;
}

#[tokio::test]
async fn values_of_the_dead_go_with_a_release() {
    let (client, direct, name) = (client().await, direct(), name("dead-values"));
    let fields = ["AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBB"];
    let until = |ms: &'static str| ["1", ms].map(str::to_owned);
    for (field, [count, ends]) in fields.iter().zip([until("1"), until("99999999999999")]) {
        let (counts, times) = (
            format!("{field}:dead:1:lock_count"),
            format!("{field}:dead:1:expire_time"),
        );
        direct.cmd(&[
            "HSET", &name, field, "dead:1", &counts, &count, &times, &ends,
        ]);
    }
    let guard = of(&client, &name, &["a"]).lock().await.expect("free");
    assert_eq!(direct.hgetall(&name).len(), 9);
    guard.unlock().await.expect("held");
    let left = direct.hgetall(&name);
    assert_eq!(left.len(), 3, "the living value alone: {left:?}");
    assert!(left.contains_key(fields[1]));
    direct.cmd(&["DEL", &name]);
    close(client).await;
}

#[tokio::test]
async fn no_value_is_no_lock() {
    let client = client().await;
    let none = of(&client, "group", &[]).try_lock().await;
    assert!(
        matches!(
            none,
            Err(Error::InvalidArgument {
                field: "values",
                ..
            })
        ),
        "{none:?}"
    );
    let twice = of(&client, &name("twice"), &["a", "a"]);
    let guard = twice.lock().await.expect("free");
    assert_eq!(direct().hgetall(twice.name()).len(), 3, "one value");
    guard.unlock().await.expect("held");
    eventually_async("nothing is left", secs(5), async || {
        !direct().exists(twice.name())
    })
    .await;
    close(client).await;
}

/// Asking again for a set that was lost in part does not leave the rest of it behind.
#[tokio::test]
async fn a_part_is_given_back_also_after_asking_again() {
    let (client, other, name) = (client().await, client().await, name("again"));
    let lock = of(&client, &name, &["a", "b"]).with_owner(Owner::fresh());
    let guard = lock.lock().lease(secs(100)).await.expect("free");
    let b = of(&other, &name, &["b"]);
    assert!(b.raw().force_unlock().await.expect("answers"));
    let theirs = b.try_lock().await.expect("answers").expect("free");
    let refused = lock.lock().wait(ms(100)).await.expect_err("b is theirs");
    assert!(refused.is_timeout(), "{refused}");
    assert!(guard.is_lost());
    drop(guard);
    let a = of(&other, &name, &["a"]).lock().wait(secs(5)).await;
    a.expect("given back").unlock().await.expect("held");
    theirs.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(other).await;
}

#[tokio::test]
async fn a_thousand_values_are_taken_and_more_are_refused() {
    let (client, name) = (client().await, name("thousand"));
    let of = |count: i32| client.group_lock(name.as_str(), 0..count);
    let guard = of(1_000).try_lock().await.expect("answers").expect("free");
    guard.unlock().await.expect("held");
    for count in [1_001, 1_002, 0] {
        let error = of(count).try_lock().await.expect_err("not so many");
        let field = matches!(
            error,
            Error::InvalidArgument {
                field: "values",
                ..
            }
        );
        assert!(field, "{count}: {error}");
    }
    nothing_but(&name, &[]).await;
    close(client).await;
}
