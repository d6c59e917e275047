//! One semaphore with permit ids, both sides.

use std::time::{Duration, Instant};

use redlatch::PermitId;
use redlatch_support::{Direct, Value, jvm::jvm_or_skip, unique_name};

use crate::{
    common::{Stage, asleep, client, close, direct, ms, quiet, secs, shared_jvm},
    synchronizers::{
        Java, counter, semaphore_channel, served_here, served_there, unsubscribed, wait_here,
    },
};

const NEVER: f64 = 922_337_203_685_477.0;

fn in_use(name: &str) -> String {
    if name.contains('{') {
        format!("{name}:timeout")
    } else {
        format!("{{{name}}}:timeout")
    }
}

/// Ids and ends of the permits in use, as the server has them.
fn permits(direct: &Direct, name: &str) -> Vec<(String, f64)> {
    let reply = direct.cmd(&["ZRANGE", &in_use(name), "0", "-1", "WITHSCORES"]);
    reply
        .accepted()
        .items()
        .chunks(2)
        .map(|pair| {
            let Value::Bulk(id) = &pair[0] else {
                panic!("{pair:?}");
            };
            assert_eq!(id.len(), 16, "an id is 16 raw bytes");
            let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
            (id, pair[1].text().parse().expect("a score"))
        })
        .collect()
}

/// How long each permit in use lasts yet, by the server's clock; `None` for ever.
fn lasts(direct: &Direct, name: &str) -> Vec<Option<Duration>> {
    let time = direct.cmd(&["TIME"]).strings();
    let now = time[0].parse::<f64>().expect("s") * 1e3 + time[1].parse::<f64>().expect("µs") / 1e3;
    permits(direct, name)
        .into_iter()
        .map(|(_, end)| (end < NEVER).then(|| Duration::from_secs_f64((end - now).max(0.0) / 1e3)))
        .collect()
}

fn id(text: &str) -> PermitId {
    text.parse().expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_leaves_the_same_on_the_server() {
    let Some(driver) = jvm_or_skip("every_step_leaves_the_same_on_the_server") else {
        return;
    };
    let (jvm, client, direct) = (shared_jvm(driver), client().await, direct());
    let (ours, theirs) = (unique_name("p-ours"), unique_name("p-theirs"));
    let (semaphore, java) = (
        client.expirable_semaphore(ours.as_str()),
        Java::new(jvm, &theirs),
    );
    let same = |step: &str| {
        let (here, there) = (counter(&direct, &ours), counter(&direct, &theirs));
        assert_eq!(here, there, "after {step}");
        let (here, there) = (lasts(&direct, &ours), lasts(&direct, &theirs));
        assert_eq!(here.len(), there.len(), "after {step}");
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here.is_some(), there.is_some(), "after {step}");
            let apart = here.unwrap_or_default().abs_diff(there.unwrap_or_default());
            assert!(apart < secs(5), "after {step}: {here:?} {there:?}");
        }
        let ttl = |name: &str| (direct.pttl(name), direct.pttl(&in_use(name)));
        let (here, there) = (ttl(&ours), ttl(&theirs));
        assert_eq!(
            (here.0 < 0, here.1 < 0),
            (there.0 < 0, there.1 < 0),
            "{step}"
        );
    };
    let set = semaphore.try_set_permits(6).await.expect("answers");
    assert_eq!(set, java.truth("ptryset", &["6"]).await);
    same("set");
    let mut here = semaphore.acquire_many(2).await.expect("six").forget();
    let there = java.value("pacquire", &["2", "-1"]).await;
    let mut there: Vec<_> = there.split(',').map(str::to_owned).collect();
    same("acquire");
    let lease = semaphore.acquire().lease(secs(60)).await;
    here.extend(lease.expect("four").forget());
    there.push(java.value("pacquire", &["1", "60000"]).await);
    same("acquire with a lease");
    let none = semaphore.try_acquire_many(9).await.expect("answers");
    let refused = java.value("ptryacquire", &["9", "0", "-1"]).await;
    assert!(none.is_none() && refused.is_empty());
    same("refused");
    let counts = [
        semaphore.available_permits().await.expect("answers"),
        i64::try_from(semaphore.acquired_permits().await.expect("answers")).expect("small"),
        semaphore.permits().await.expect("answers"),
    ];
    assert_eq!(counts, [3, 3, 6]);
    for (op, count) in ["pavailable", "pacquired", "ppermits"].iter().zip(counts) {
        assert_eq!(java.number(op, &[]).await, count, "{op}");
    }
    let updated = semaphore.update_lease(&here[2], Some(secs(600))).await;
    assert!(updated.expect("answers"));
    assert!(java.truth("pupdatelease", &[&there[2], "600000"]).await);
    same("a new lease");
    let updated = semaphore.update_lease(&here[2], None).await;
    assert!(updated.expect("answers"));
    assert!(java.truth("pupdatelease", &[&there[2], "-1"]).await);
    same("no lease any more");
    assert_eq!(java.number("pleasetime", &[&there[2]]).await, -1);
    semaphore.set_permits(2).await.expect("answers");
    java.value("pset", &["2"]).await;
    same("set to less than in use");
    semaphore.add_permits(5).await.expect("answers");
    java.value("padd", &["5"]).await;
    same("add");
    assert!(semaphore.release_id(&here[0]).await.expect("answers"));
    assert!(java.truth("ptryrelease", &[&there[0]]).await);
    same("release");
    let again = semaphore.release_id(&here[0]).await.expect("answers");
    assert_eq!(again, java.truth("ptryrelease", &[&there[0]]).await);
    same("release again");
    assert!(!semaphore.release_all(&here).await.expect("answers"));
    assert_eq!(java.number("ptryreleaseall", &[&there.join(",")]).await, 0);
    same("release of all with an unknown one");
    assert!(semaphore.release_all(&here[1..]).await.expect("answers"));
    let rest = there[1..].join(",");
    assert_eq!(java.number("ptryreleaseall", &[&rest]).await, 2);
    same("release of all");
    semaphore.acquire().await.expect("one").forget();
    java.value("pacquire", &["1", "-1"]).await;
    assert!(semaphore.delete().await.expect("answers"));
    assert!(java.truth("pdelete", &[]).await);
    same("delete");
    close(client).await;
}

/// What one side takes the other gives back, by its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_cross_the_border() {
    let Some(driver) = jvm_or_skip("ids_cross_the_border") else {
        return;
    };
    let (jvm, client, direct) = (shared_jvm(driver), client().await, direct());
    for name in [unique_name("p-both"), unique_name("p-{tag}-both")] {
        let semaphore = client.expirable_semaphore(name.as_str());
        let java = Java::new(jvm, &name);
        assert!(java.truth("ptryset", &["3"]).await);
        let two = semaphore.acquire_many(2).lease(secs(60)).await;
        let two = two.expect("three");
        let one = java.value("pacquire", &["1", "60000"]).await;
        let mut seen: Vec<_> = permits(&direct, &name)
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let mut due: Vec<_> = two.ids().iter().map(PermitId::to_string).collect();
        due.push(one.clone());
        seen.sort();
        due.sort();
        assert_eq!(seen, due, "ids are the same everywhere");
        let left = semaphore.lease_time(&id(&one)).await.expect("answers");
        assert!(left.is_some_and(|left| left > secs(50) && left <= secs(60)));
        let left = java.number("pleasetime", &[&due[0]]).await;
        assert!((50_000..=60_000).contains(&left), "{left}");
        assert!(semaphore.release_id(&id(&one)).await.expect("answers"));
        let failure = java.failure("prelease", &[&one]).await;
        assert_eq!(failure.class, "RedisException", "{failure}");
        let ids: Vec<_> = two.ids().iter().map(PermitId::to_string).collect();
        java.value("preleaseall", &[&ids.join(",")]).await;
        let error = two.release().await.expect_err("the JVM gave them back");
        assert!(error.is_lost(), "{error}");
        assert_eq!(java.number("pavailable", &[]).await, 3);
        assert!(!direct.exists(&in_use(&name)));
    }
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_release_wakes_a_rust_waiter() {
    let Some(driver) = jvm_or_skip("a_jvm_release_wakes_a_rust_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("p-wake-rust");
    let semaphore = client.expirable_semaphore(name.as_str());
    let java = Java::new(&stage.jvm, &name);
    assert!(java.truth("ptryset", &["2"]).await);
    for way in ["preleaseall", "padd", "pset"] {
        let held = java.value("pacquire", &["2", "-1"]).await;
        let waiting = wait_here(semaphore.acquire_many(2));
        asleep(&client).await;
        let messages = client.stats().wakeups_by_message;
        let released = Instant::now();
        match way {
            "preleaseall" => java.value(way, &[&held]).await,
            "padd" => java.value(way, &["2"]).await,
            _ => java.value(way, &["6"]).await,
        };
        let (permit, took) = served_here(&client, waiting, released, messages).await;
        println!("Rust waiter after {way}: {took:?}");
        permit.release().await.expect("done");
    }
    unsubscribed(&direct, &semaphore_channel(&name)).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_release_wakes_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("a_rust_release_wakes_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("p-wake-jvm");
    let channel = semaphore_channel(&name);
    let semaphore = client.expirable_semaphore(name.as_str());
    let java = Java::new(&stage.jvm, &name);
    assert!(semaphore.try_set_permits(2).await.expect("answers"));
    for way in 0..5 {
        let held = semaphore.acquire_many(2).await.expect("two");
        let waiting = java
            .waits(&direct, &channel, "evalsha", "pacquire", &["2", "-1"])
            .await;
        let released = Instant::now();
        let mut kept = Vec::new();
        match way {
            0 => held.release().await.expect("done"),
            1 => drop(held),
            2 => assert!(semaphore.release_all(&held.forget()).await.expect("done")),
            3 => {
                kept = held.forget();
                semaphore.add_permits(2).await.expect("done");
            }
            _ => {
                kept = held.forget();
                let all = semaphore.permits().await.expect("answers") + 2;
                let all = u32::try_from(all).expect("small");
                semaphore.set_permits(all).await.expect("done");
            }
        }
        let (ids, took) = served_there(waiting, released).await;
        println!("JVM waiter, way {way}: {took:?}");
        assert!(semaphore.release_all(&kept).await.expect("done"));
        let ids: Vec<_> = ids.split(',').map(id).collect();
        assert!(semaphore.release_all(&ids).await.expect("done"));
        let all = semaphore.permits().await.expect("answers");
        semaphore.add_permits(2 - all).await.expect("answers");
    }
    unsubscribed(&direct, &channel).await;
    close(client).await;
}

/// A lease of either side ends, and the waiter of the other is served at that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ends_serves_the_other_side() {
    let Some(driver) = jvm_or_skip("a_lease_that_ends_serves_the_other_side") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("p-ends");
    let semaphore = client.expirable_semaphore(name.as_str());
    let java = Java::new(&stage.jvm, &name);
    assert!(semaphore.try_set_permits(1).await.expect("answers"));
    let taken = Instant::now();
    java.value("pacquire", &["1", "700"]).await;
    let permit = semaphore.acquire().await.expect("the lease ends");
    let took = taken.elapsed();
    println!("Rust after a JVM's lease of 700 ms: {took:?}");
    assert!(took >= ms(690) && took < ms(1_200), "{took:?}");
    permit.release().await.expect("done");

    let taken = Instant::now();
    let lease = semaphore.acquire().lease(ms(700)).await;
    lease.expect("one").forget();
    java.value("pacquire", &["1", "-1"]).await;
    let took = taken.elapsed();
    println!("JVM after our lease of 700 ms: {took:?}");
    assert!(took >= ms(690) && took < ms(1_200), "{took:?}");
    assert_eq!(permits(&direct, &name).len(), 1);
    close(client).await;
}

/// The JVM sleeps on when a lease without an end is cut short; we tell it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_cut_here_wakes_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("a_lease_cut_here_wakes_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("p-cut");
    let semaphore = client.expirable_semaphore(name.as_str());
    let java = Java::new(&stage.jvm, &name);
    assert!(semaphore.try_set_permits(1).await.expect("answers"));
    let held = semaphore.acquire().await.expect("one").forget()[0];
    let channel = semaphore_channel(&name);
    let waiting = java
        .waits(&direct, &channel, "evalsha", "pacquire", &["1", "-1"])
        .await;
    let cut = Instant::now();
    let updated = semaphore.update_lease(&held, Some(ms(300))).await;
    assert!(updated.expect("answers"));
    let (reply, when) = waiting.await.expect("joins");
    reply.expect("served");
    let took = when - cut;
    println!("JVM after a lease cut to 300 ms: {took:?}");
    assert!(took >= ms(290) && took < ms(900), "{took:?}");
    close(client).await;
}
