//! Permits that end by themselves.

use std::time::{Duration, Instant};

use redlatch_support::{Action, Direct, Rule, eventually_async};

use crate::kit::{
    Rig, asleep, by_message, client, close, connect, direct, follow, got, ms, name, secs,
    until_nothing_is_left, until_value, value, within,
};

#[tokio::test]
async fn a_waiter_is_served_when_a_lease_ends() {
    let (client, name) = (by_message().await, name("ends"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    let begun = Instant::now();
    semaphore
        .acquire()
        .lease(ms(700))
        .await
        .expect("one")
        .forget();
    let taken = Instant::now();
    let (permit, granted) = got(follow(semaphore.acquire())).await;
    assert!(granted - begun >= ms(700));
    within("served after a lease of 700 ms", granted - taken, ms(900));
    assert_eq!(client.stats().wakeups_by_expiry, 1);
    drop(permit);
    close(client).await;
}

#[tokio::test]
async fn counts_take_in_what_has_ended() {
    let (client, direct, name) = (client().await, direct(), name("counts"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let kept = semaphore.acquire().await.expect("three");
    let ended = semaphore.acquire_many(2).lease(ms(60)).await;
    let ended = ended.expect("two").forget();
    assert_eq!(semaphore.acquired_permits().await.expect("answers"), 3);
    assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
    eventually_async("they end", secs(3), async || {
        semaphore.available_permits().await.expect("answers") == 2
    })
    .await;
    assert_eq!(semaphore.acquired_permits().await.expect("answers"), 1);
    assert_eq!(semaphore.permits().await.expect("answers"), 3);
    assert_eq!(value(&direct, &name), Some(2));
    for id in ended {
        assert!(!semaphore.release_id(&id).await.expect("answers"));
    }
    assert_eq!(value(&direct, &name), Some(2), "they went back once");
    kept.release().await.expect("confirmed");
    close(client).await;
}

#[tokio::test]
async fn a_permit_that_has_ended_goes_back_and_says_so() {
    let (client, direct, name) = (client().await, direct(), name("ended"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    let permit = semaphore.acquire().lease(ms(50)).await.expect("one");
    let id = permit.forget()[0];
    eventually_async("it ends", secs(3), async || {
        semaphore.lease_time(&id).await.expect("answers").is_none()
    })
    .await;
    assert_eq!(value(&direct, &name), Some(0), "nobody has swept yet");
    assert!(!semaphore.release_id(&id).await.expect("answers"));
    assert_eq!(value(&direct, &name), Some(1), "back all the same");
    close(client).await;
}

#[tokio::test]
async fn leases_are_asked_for_and_changed() {
    let (client, name) = (client().await, name("change"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(2).await.expect("answers");
    let permit = semaphore.acquire().lease(secs(60)).await.expect("two");
    let id = permit.id().expect("an id");
    let left = async || semaphore.lease_time(&id).await.expect("answers");
    let about = |left: Option<Duration>, wanted: Duration| {
        left.is_some_and(|left| left <= wanted && left > wanted - secs(5))
    };
    assert!(about(left().await, secs(60)));
    let longer = semaphore.update_lease(&id, Some(secs(600))).await;
    assert!(longer.expect("answers"));
    assert!(about(left().await, secs(600)));
    assert!(semaphore.update_lease(&id, None).await.expect("answers"));
    assert_eq!(left().await, Some(Duration::MAX));
    let other = semaphore.acquire().await.expect("one");
    let other = other.id().expect("an id");
    assert_eq!(
        semaphore.lease_time(&other).await.expect("answers"),
        Some(Duration::MAX)
    );
    permit.release().await.expect("confirmed");
    assert_eq!(left().await, None);
    close(client).await;
}

/// In Redisson a waiter that has been told of no end sleeps on.
#[tokio::test]
async fn a_waiter_hears_of_a_lease_that_ends_earlier() {
    let (client, name) = (by_message().await, name("earlier"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    let id = semaphore.acquire().await.expect("one").forget()[0];
    let waiting = follow(semaphore.acquire());
    asleep(&client).await;
    let changed = Instant::now();
    let shorter = semaphore.update_lease(&id, Some(ms(200))).await;
    assert!(shorter.expect("answers"));
    let (permit, granted) = got(waiting).await;
    assert!(granted - changed >= ms(200));
    within("a lease cut to 200 ms", granted - changed, ms(700));
    drop(permit);
    close(client).await;
}

/// As the JVM leaves it: a lease cut short with no message. The safety poll finds out.
#[tokio::test]
async fn the_poll_finds_a_lease_that_was_cut_silently() {
    let (client, direct, name) = (client().await, direct(), name("cut"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    semaphore.acquire().await.expect("one").forget();
    let waiting = follow(semaphore.acquire());
    asleep(&client).await;
    let in_use = format!("{{{name}}}:timeout");
    let id = &direct.cmd(&["ZRANGE", &in_use, "0", "0"]).items()[0].clone();
    let redlatch_support::Value::Bulk(id) = id else {
        panic!("{id:?}");
    };
    let cut = Instant::now();
    let words: [&[u8]; 5] = [b"ZADD", in_use.as_bytes(), b"XX", b"1000", id];
    direct.cmd(&words).accepted();
    let (permit, granted) = got(waiting).await;
    within("a lease cut silently", granted - cut, secs(2));
    drop(permit);
    close(client).await;
}

/// Fills a semaphore with permits that have ended long ago.
fn fill(direct: &Direct, name: &str, count: usize) {
    direct.cmd(&["SET", name, "0"]).accepted();
    let in_use = format!("{{{name}}}:timeout");
    let ids: Vec<_> = (0..count).map(|id| format!("{id:016}")).collect();
    for ids in ids.chunks(1_000) {
        let mut words = vec!["ZADD", &in_use];
        words.extend(ids.iter().flat_map(|id| ["1000", id.as_str()]));
        direct.cmd(&words).accepted();
    }
}

/// Redisson fails from 9,000 on, with "too many results to unpack", and goes on failing.
#[tokio::test]
async fn any_number_may_have_ended() {
    let (client, direct, name) = (client().await, direct(), name("sweep"));
    let semaphore = client.expirable_semaphore(name.as_str());
    fill(&direct, &name, 25_000);
    assert_eq!(
        semaphore.available_permits().await.expect("answers"),
        25_000
    );
    assert_eq!(value(&direct, &name), Some(10_000), "in slices");
    assert_eq!(semaphore.acquired_permits().await.expect("answers"), 0);
    assert_eq!(semaphore.permits().await.expect("answers"), 25_000);
    assert_eq!(value(&direct, &name), Some(25_000));
    fill(&direct, &name, 25_000);
    // Found free by sweeping as often as it takes.
    let many = semaphore.acquire_many(10_000).wait(secs(10)).await;
    assert_eq!(many.expect("enough").count(), 10_000);
    until_nothing_is_left(&client).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_taken_and_given_back_once_when_a_reply_is_lost() {
    let rig = Rig::new().await;
    let direct = rig.direct();
    let semaphore = rig.client.expirable_semaphore("p");
    semaphore.try_set_permits(5).await.expect("answers");
    // Warm: no script has to be loaded later.
    let permit = semaphore.acquire().await.expect("five");
    permit.release().await.expect("confirmed");
    semaphore.add_permits(0).await.expect("answers");
    let ids = semaphore.acquire_many(2).await.expect("five").forget();
    assert!(semaphore.release_all(&ids).await.expect("answers"));
    for way in [
        Action::CutAfterForward,
        Action::StallReplies,
        Action::CutBeforeForward,
    ] {
        let lose = || rig.proxy.rule(Rule::new("EVALSHA").action(way.clone()));
        lose();
        let permit = semaphore.acquire_many(2).lease(secs(60)).await;
        let permit = permit.expect("five");
        assert_eq!(value(&direct, "p"), Some(3), "{way:?}: acquire");
        assert_eq!(direct.cmd(&["ZCARD", "{p}:timeout"]).int(), 2);
        lose();
        permit.release().await.expect("done");
        assert_eq!(value(&direct, "p"), Some(5), "{way:?}: give back");
        let ids = semaphore.acquire_many(3).await.expect("five").forget();
        lose();
        assert!(
            semaphore.release_id(&ids[0]).await.expect("done"),
            "{way:?}"
        );
        lose();
        assert!(
            semaphore.release_all(&ids[1..]).await.expect("done"),
            "{way:?}"
        );
        assert_eq!(value(&direct, "p"), Some(5), "{way:?}: by id");
        lose();
        semaphore.add_permits(1).await.expect("done");
        assert_eq!(value(&direct, "p"), Some(6), "{way:?}: add");
        lose();
        semaphore.set_permits(5).await.expect("done");
        assert_eq!(value(&direct, "p"), Some(5), "{way:?}: set");
        lose();
        drop(semaphore.acquire().await.expect("five"));
        until_value(&direct, "p", 5).await;
    }
    rig.end(&["p"]).await;
}

/// A grant that comes later than its lease lasts is none; another is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_comes_too_late_is_not_handed_out() {
    let rig = Rig::with(|builder| builder).await;
    let semaphore = rig.client.expirable_semaphore("late");
    semaphore.try_set_permits(2).await.expect("answers");
    semaphore
        .acquire()
        .await
        .expect("two")
        .release()
        .await
        .expect("confirmed");
    rig.proxy
        .rule(Rule::new("EVALSHA").action(Action::DelayReply(ms(400))));
    let permit = semaphore.acquire().lease(ms(150)).await.expect("two");
    assert!(!permit.is_lost());
    drop(permit);
    until_nothing_is_left(&rig.client).await;
    assert_eq!(semaphore.available_permits().await.expect("answers"), 2);
    rig.end(&["late"]).await;
}

/// A process that is gone loses its permits when their leases end.
#[tokio::test]
async fn permits_of_a_dead_client_go_back() {
    let (waiter, name) = (by_message().await, name("dead"));
    let dead = connect(&redlatch_support::Server::shared().url(), |builder| builder).await;
    let semaphore = dead.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    std::mem::forget(semaphore.acquire().lease(ms(300)).await.expect("one"));
    let ours = waiter.expirable_semaphore(name.as_str());
    let begun = Instant::now();
    let permit = ours.acquire().wait(secs(5)).await.expect("its lease ends");
    within("after a lease of 300 ms", begun.elapsed(), secs(1));
    drop(permit);
    close(waiter).await;
}
