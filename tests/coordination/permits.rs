//! The laws of the semaphore whose permits have ids.

use std::time::{Duration, Instant};

use redlatch::{Error, PermitId};
use redlatch_support::eventually_async;

use crate::kit::{
    asleep, by_message, client, close, direct, follow, got, ms, name, secs, until_value, value,
    within,
};

fn unknown() -> PermitId {
    "00112233445566778899aabbccddeeff".parse().expect("an id")
}

#[tokio::test]
async fn permits_have_ids_and_go_back() {
    let (client, direct, name) = (client().await, direct(), name("ids"));
    let semaphore = client.expirable_semaphore(name.as_str());
    assert!(semaphore.try_set_permits(3).await.expect("answers"));
    let two = semaphore.acquire_many(2).await.expect("three");
    assert_eq!((two.count(), two.name()), (2, name.as_str()));
    assert_ne!(two.ids()[0], two.ids()[1]);
    assert_eq!(two.id(), two.ids().first().copied());
    assert!(two.valid_until().is_none() && two.remaining().is_none() && !two.is_lost());
    let in_use = format!("{{{name}}}:timeout");
    assert_eq!(direct.cmd(&["ZCARD", &in_use]).int(), 2);
    let one = semaphore.try_acquire().await.expect("answers");
    let one = one.expect("one is left");
    assert!(semaphore.try_acquire().await.expect("answers").is_none());
    assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
    assert_eq!(semaphore.acquired_permits().await.expect("answers"), 3);
    assert_eq!(semaphore.permits().await.expect("answers"), 3);
    two.release().await.expect("confirmed");
    assert_eq!(value(&direct, &name), Some(2));
    drop(one);
    until_value(&direct, &name, 3).await;
    assert!(!direct.exists(&in_use));
    close(client).await;
}

#[tokio::test]
async fn an_absent_semaphore_has_no_permits() {
    let (client, direct, name) = (client().await, direct(), name("absent"));
    let semaphore = client.expirable_semaphore(name.as_str());
    assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
    assert_eq!(semaphore.acquired_permits().await.expect("answers"), 0);
    assert_eq!(semaphore.permits().await.expect("answers"), 0);
    assert!(semaphore.try_acquire().await.expect("answers").is_none());
    let error = semaphore.acquire().wait(ms(50)).await.expect_err("none");
    assert!(error.is_timeout(), "{error}");
    assert!(!semaphore.delete().await.expect("answers"));
    assert!(!direct.exists(&name));
    close(client).await;
}

#[tokio::test]
async fn no_permits_are_had_at_once() {
    let (client, direct, name) = (client().await, direct(), name("none"));
    let semaphore = client.expirable_semaphore(name.as_str());
    let none = semaphore.acquire_many(0).await.expect("at once");
    assert_eq!((none.count(), none.id()), (0, None));
    none.release().await.expect("nothing to do");
    let none = semaphore.try_acquire_many(0).await.expect("at once");
    assert!(none.expect("at once").forget().is_empty());
    assert!(semaphore.release_all(&[]).await.expect("nothing to do"));
    assert!(!direct.exists(&name));
    close(client).await;
}

#[tokio::test]
async fn permits_are_set_and_changed() {
    let (client, direct, name) = (client().await, direct(), name("set"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.set_permits(10).await.expect("answers");
    assert!(!semaphore.try_set_permits(7).await.expect("answers"));
    assert_eq!(semaphore.permits().await.expect("answers"), 10);
    let held = semaphore.acquire_many(4).await.expect("ten").forget();
    // Those in use count.
    semaphore.set_permits(6).await.expect("answers");
    assert_eq!(value(&direct, &name), Some(2));
    assert_eq!(semaphore.permits().await.expect("answers"), 6);
    semaphore.set_permits(1).await.expect("answers");
    assert_eq!(semaphore.available_permits().await.expect("answers"), -3);
    assert!(semaphore.try_acquire().await.expect("answers").is_none());
    assert!(semaphore.release_all(&held).await.expect("answers"));
    assert_eq!(semaphore.available_permits().await.expect("answers"), 1);
    semaphore.set_permits(1).await.expect("answers");
    assert_eq!(value(&direct, &name), Some(1));
    semaphore.add_permits(5).await.expect("answers");
    assert_eq!(semaphore.available_permits().await.expect("answers"), 6);
    semaphore.add_permits(-10).await.expect("answers");
    assert_eq!(semaphore.available_permits().await.expect("answers"), -4);
    assert_eq!(semaphore.permits().await.expect("answers"), -4);
    assert!(semaphore.delete().await.expect("answers"));
    semaphore.add_permits(2).await.expect("answers");
    assert_eq!(semaphore.permits().await.expect("answers"), 2);
    close(client).await;
}

#[tokio::test]
async fn more_permits_wake_whoever_waits() {
    let (client, name) = (by_message().await, name("more"));
    let semaphore = client.expirable_semaphore(name.as_str());
    for way in 0..3 {
        semaphore.delete().await.expect("answers");
        let waiting = follow(semaphore.acquire());
        asleep(&client).await;
        let added = Instant::now();
        match way {
            0 => assert!(semaphore.try_set_permits(1).await.expect("answers")),
            1 => semaphore.set_permits(1).await.expect("answers"),
            _ => semaphore.add_permits(1).await.expect("answers"),
        }
        let (permit, granted) = got(waiting).await;
        within("woken by permits added", granted - added, ms(500));
        permit.release().await.expect("confirmed");
    }
    close(client).await;
}

#[tokio::test]
async fn acquire_waits_for_a_release() {
    let (client, name) = (by_message().await, name("waits"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let held = semaphore.acquire_many(3).await.expect("three");
    let ids = held.forget();
    let waiting = follow(semaphore.acquire_many(2));
    asleep(&client).await;
    assert!(semaphore.release_id(&ids[0]).await.expect("answers"));
    let small = semaphore.acquire().wait(secs(2)).await;
    let small = small.expect("passes one who wants more");
    assert!(!waiting.is_finished());
    let released = Instant::now();
    assert!(semaphore.release_all(&ids[1..]).await.expect("answers"));
    let (many, granted) = got(waiting).await;
    within("woken by a release", granted - released, ms(500));
    assert_eq!(many.count(), 2);
    drop((small, many));
    close(client).await;
}

#[tokio::test]
async fn an_unknown_id_gives_nothing_back() {
    let (client, direct, name) = (client().await, direct(), name("unknown"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(2).await.expect("answers");
    assert!(!semaphore.release_id(&unknown()).await.expect("answers"));
    let permit = semaphore.acquire().await.expect("two");
    let id = permit.forget()[0];
    assert!(semaphore.release_id(&id).await.expect("answers"));
    assert!(!semaphore.release_id(&id).await.expect("answers"), "twice");
    assert_eq!(value(&direct, &name), Some(2));
    assert_eq!(semaphore.lease_time(&id).await.expect("answers"), None);
    let updated = semaphore.update_lease(&id, Some(secs(1))).await;
    assert!(!updated.expect("answers"));
    close(client).await;
}

#[tokio::test]
async fn many_go_back_together_or_not_at_all() {
    let (client, direct, name) = (client().await, direct(), name("together"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(5).await.expect("answers");
    let mut ids = semaphore.acquire_many(3).await.expect("five").forget();
    ids.push(unknown());
    assert!(!semaphore.release_all(&ids).await.expect("answers"));
    assert_eq!(value(&direct, &name), Some(2));
    ids.pop();
    let error = semaphore.release_all(&[ids[0], ids[0]]).await;
    let error = error.expect_err("twice");
    assert!(error.to_string().contains("permit ids"), "{error}");
    assert!(semaphore.release_all(&ids).await.expect("answers"));
    assert_eq!(value(&direct, &name), Some(5));
    // One whose lease is over spoils the rest.
    let long = semaphore.acquire_many(2).await.expect("five").forget();
    let short = semaphore.acquire().lease(ms(60)).await.expect("three");
    let short = short.forget()[0];
    eventually_async("its lease is over", secs(3), async || {
        semaphore
            .lease_time(&short)
            .await
            .expect("answers")
            .is_none()
    })
    .await;
    let all = [long[0], long[1], short];
    assert!(!semaphore.release_all(&all).await.expect("answers"));
    assert!(semaphore.release_all(&long).await.expect("answers"));
    assert_eq!(semaphore.available_permits().await.expect("answers"), 5);
    close(client).await;
}

#[tokio::test]
async fn a_guard_says_when_its_permit_was_lost() {
    let (client, direct, name) = (client().await, direct(), name("lost"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    let permit = semaphore.acquire().lease(ms(80)).await.expect("one");
    assert!(!permit.is_lost());
    let until = permit.valid_until().expect("a lease");
    assert!(permit.remaining().expect("a lease") <= ms(80));
    permit.lost().await;
    assert!(permit.is_lost() && Instant::now() >= until);
    let error = permit.release().await.expect_err("its lease was over");
    assert!(error.is_lost(), "{error}");
    assert_eq!(semaphore.available_permits().await.expect("answers"), 1);

    let permit = semaphore.acquire().await.expect("one");
    let id = permit.id().expect("an id");
    assert!(semaphore.release_id(&id).await.expect("answers"));
    let error = permit.release().await.expect_err("given back by its id");
    assert!(error.is_lost(), "{error}");
    assert_eq!(value(&direct, &name), Some(1));
    close(client).await;
}

#[tokio::test]
async fn a_forgotten_permit_is_given_back_by_its_id_elsewhere() {
    let (one, two, name) = (client().await, client().await, name("elsewhere"));
    let semaphore = one.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    let id = semaphore.acquire().await.expect("one").forget()[0];
    close(one).await;
    let semaphore = two.expirable_semaphore(name.as_str());
    assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
    let id: PermitId = id.to_string().parse().expect("an id");
    assert!(semaphore.release_id(&id).await.expect("answers"));
    assert_eq!(semaphore.available_permits().await.expect("answers"), 1);
    close(two).await;
}

#[tokio::test]
async fn the_semaphore_may_end_with_its_permits() {
    let (client, direct, name) = (client().await, direct(), name("ttl"));
    let semaphore = client.expirable_semaphore(name.as_str());
    let in_use = format!("{{{name}}}:timeout");
    semaphore.try_set_permits(3).await.expect("answers");
    semaphore.acquire().await.expect("three").forget();
    assert!(semaphore.expire(secs(60)).await.expect("answers"));
    assert!(direct.pttl(&name) > 50_000 && direct.pttl(&in_use) > 50_000);
    semaphore.clear_expire().await.expect("answers");
    assert_eq!((direct.pttl(&name), direct.pttl(&in_use)), (-1, -1));
    assert_eq!(
        semaphore.remaining_ttl().await.expect("answers"),
        Some(Duration::MAX)
    );
    // A permit taken later ends with the semaphore as well.
    assert!(semaphore.expire(ms(400)).await.expect("answers"));
    semaphore.acquire().await.expect("two").forget();
    assert!(direct.pttl(&in_use) > 0);
    eventually_async("all of it ends", secs(3), async || {
        !direct.exists(&name) && !direct.exists(&in_use)
    })
    .await;
    assert_eq!(semaphore.permits().await.expect("answers"), 0);
    assert_eq!(semaphore.remaining_ttl().await.expect("answers"), None);
    assert!(!semaphore.expire(secs(1)).await.expect("answers"));
    close(client).await;
}

#[tokio::test]
async fn deleting_takes_the_permits_in_use_along() {
    let (client, direct, name) = (client().await, direct(), name("delete"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(2).await.expect("answers");
    let permit = semaphore.acquire().await.expect("two");
    assert!(semaphore.delete().await.expect("answers"));
    assert!(!direct.exists(&name) && !direct.exists(&format!("{{{name}}}:timeout")));
    let error = permit.release().await.expect_err("gone");
    assert!(error.is_lost(), "{error}");
    assert!(!direct.exists(&name), "a lost permit makes no semaphore");
    close(client).await;
}

#[tokio::test]
async fn closing_gives_permits_back() {
    let (client, direct, name) = (client().await, direct(), name("close"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let one = semaphore.acquire().await.expect("three");
    let two = semaphore.acquire_many(2).lease(secs(60)).await;
    let two = two.expect("two");
    let report = client.close(secs(5)).await;
    assert_eq!(report.permits, 3, "{report:?}");
    assert_eq!(value(&direct, &name), Some(3));
    assert!(matches!(one.release().await, Err(Error::Closed)));
    drop(two);
    let left = direct.cmd(&["KEYS", &format!("*{name}*")]).strings();
    assert_eq!(left, [name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_inside_than_permits() {
    const PERMITS: u32 = 3;
    let name = name("inside");
    let clients = [by_message().await, by_message().await];
    let semaphore = clients[0].expirable_semaphore(name.as_str());
    semaphore.try_set_permits(PERMITS).await.expect("answers");
    let inside = std::sync::Arc::new(tokio::sync::Semaphore::new(PERMITS as usize));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let semaphore = clients[task % 2].expirable_semaphore(name.as_str());
            let inside = inside.clone();
            tokio::spawn(async move {
                for round in 0..25_u32 {
                    let wanted = 1 + round % 2;
                    let permit = semaphore.acquire_many(wanted).lease(secs(60));
                    let permit = permit.wait(secs(30)).await.expect("granted");
                    let room = inside.try_acquire_many(wanted).expect("not too many");
                    tokio::task::yield_now().await;
                    drop(room);
                    permit.release().await.expect("confirmed");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    for client in clients {
        close(client).await;
    }
    assert_eq!(value(&direct(), &name), Some(i64::from(PERMITS)));
}

/// Those who want thousands are not asked for in one request, and get theirs all the same.
#[tokio::test]
async fn many_who_want_many_are_served() {
    let (client, name) = (by_message().await, name("many-many"));
    let semaphore = client.expirable_semaphore(name.as_str());
    semaphore.try_set_permits(0).await.expect("answers");
    let waiting: Vec<_> = (0..6)
        .map(|_| follow(semaphore.acquire_many(8_000)))
        .collect();
    asleep(&client).await;
    semaphore.add_permits(24_000).await.expect("answers");
    for waiting in waiting {
        got(waiting).await.0.release().await.expect("confirmed");
    }
    assert_eq!(
        semaphore.available_permits().await.expect("answers"),
        24_000
    );
    close(client).await;
}
