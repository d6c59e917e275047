//! Callers that leave: at every poll, at random moments, on other threads.

use redlatch_support::{Server, eventually_async, polled};

use crate::kit::{
    client, close, connect, direct, ms, name, secs, until_nothing_is_left, until_value, value,
};

#[tokio::test]
async fn dropping_an_acquire_at_every_poll_leaks_no_permit() {
    let (client, direct, name) = (client().await, direct(), name("drop-acquire"));
    let semaphore = client.semaphore(name.as_str());
    let expirable = client.expirable_semaphore(format!("{name}-ids"));
    semaphore.try_set_permits(2).await.expect("answers");
    expirable.try_set_permits(2).await.expect("answers");
    for polls in 0..20 {
        drop(polled(polls, semaphore.acquire_many(2).into_future()).await);
        drop(polled(polls, semaphore.try_acquire()).await);
        drop(polled(polls, expirable.acquire_many(2).into_future()).await);
        drop(polled(polls, expirable.try_acquire()).await);
        until_nothing_is_left(&client).await;
        assert_eq!(value(&direct, &name), Some(2), "after {polls} polls");
        assert_eq!(value(&direct, &format!("{name}-ids")), Some(2));
        assert!(!direct.exists(&format!("{{{name}-ids}}:timeout")));
    }
    close(client).await;
}

#[tokio::test]
async fn dropping_a_waiter_at_every_poll_leaves_nothing() {
    let server = Server::shared();
    let client = connect(&server.url(), |builder| builder.safety_poll(ms(20))).await;
    let (direct, name) = (direct(), name("drop-waiter"));
    let semaphore = client.semaphore(name.as_str());
    let expirable = client.expirable_semaphore(format!("{name}-ids"));
    let latch = client.count_down_latch(format!("{name}-latch"));
    latch.try_set_count(1).await.expect("answers");
    for polls in 0..25 {
        // Each in a task of its own, so that none is polled for what another one hears.
        let (one, some, gate) = (semaphore.clone(), expirable.clone(), latch.clone());
        let drops = [
            tokio::spawn(async move {
                drop(polled(polls, one.acquire().wait(ms(300)).into_future()).await);
            }),
            tokio::spawn(async move {
                drop(polled(polls, some.acquire().wait(ms(300)).into_future()).await);
            }),
            tokio::spawn(async move {
                drop(polled(polls, gate.wait().limit(ms(300)).into_future()).await);
            }),
        ];
        for dropped in drops {
            dropped.await.expect("never panics");
        }
        until_nothing_is_left(&client).await;
    }
    assert_eq!(value(&direct, &name), None);
    eventually_async("no subscription is left", secs(5), async || {
        direct.numsub(&format!("redisson_sc:{{{name}}}")) == 0
            && direct.numsub(&format!(
                "redisson_countdownlatch__channel__{{{name}-latch}}"
            )) == 0
    })
    .await;
    close(client).await;
}

#[tokio::test]
async fn dropping_a_change_at_every_poll_still_makes_it_once() {
    let (client, direct, name) = (client().await, direct(), name("drop-change"));
    let semaphore = client.semaphore(name.as_str());
    let latch = client.count_down_latch(format!("{name}-latch"));
    latch.try_set_count(100).await.expect("answers");
    let mut released = 0;
    for polls in 0..10 {
        drop(polled(polls, semaphore.release(1)).await);
        drop(polled(polls, semaphore.add_permits(1)).await);
        drop(polled(polls, latch.count_down()).await);
        // Never polled is never sent.
        released += if polls > 0 { 1 } else { 0 };
        until_nothing_is_left(&client).await;
        assert_eq!(value(&direct, &name).unwrap_or_default(), 2 * released);
        let count = latch.count().await.expect("answers");
        assert_eq!(i64::try_from(count).expect("small"), 100 - released);
    }
    close(client).await;
}

#[tokio::test]
async fn dropping_a_give_back_at_every_poll_still_gives_back() {
    let (client, direct, name) = (client().await, direct(), name("drop-release"));
    let semaphore = client.semaphore(name.as_str());
    let expirable = client.expirable_semaphore(format!("{name}-ids"));
    semaphore.try_set_permits(1).await.expect("answers");
    expirable.try_set_permits(1).await.expect("answers");
    for polls in 0..8 {
        let permit = semaphore.acquire().await.expect("one");
        drop(polled(polls, permit.release()).await);
        until_value(&direct, &name, 1).await;
        let permit = expirable.acquire().await.expect("one");
        drop(polled(polls, permit.release()).await);
        until_value(&direct, &format!("{name}-ids"), 1).await;
    }
    close(client).await;
}

/// Counters stay right whoever leaves, and the next waiter is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_drops_leave_every_permit() {
    let (client, direct, name) = (client().await, direct(), name("random"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let tasks: Vec<_> = (0..20_u64)
        .map(|task| {
            let semaphore = semaphore.clone();
            tokio::spawn(async move {
                let mut left = 0;
                for round in 0..150_u64 {
                    let patience = (task * 7919 + round * 104_729) % 6_000;
                    let wanted = u32::try_from(1 + (task + round) % 3).expect("small");
                    let work = async {
                        let permit = semaphore.acquire_many(wanted).await.expect("granted");
                        tokio::task::yield_now().await;
                        permit.release().await.expect("confirmed");
                    };
                    let patience = std::time::Duration::from_micros(patience);
                    left += u64::from(tokio::time::timeout(patience, work).await.is_err());
                }
                left
            })
        })
        .collect();
    let mut left = 0;
    for task in tasks {
        left += task.await.expect("no panic");
    }
    until_nothing_is_left(&client).await;
    println!("{left} left, {:?}", client.stats());
    assert!(left > 0);
    assert_eq!(value(&direct, &name), Some(3));
    let all = semaphore.acquire_many(3).wait(secs(1)).await;
    all.expect("three").release().await.expect("confirmed");
    close(client).await;
}

#[tokio::test]
async fn permits_go_back_from_any_thread_and_from_a_panic() {
    let (client, direct, name) = (client().await, direct(), name("threads"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(2).await.expect("answers");
    let permit = semaphore.acquire().await.expect("two");
    std::thread::spawn(move || drop(permit))
        .join()
        .expect("no panic");
    let task = tokio::spawn({
        let semaphore = semaphore.clone();
        async move {
            let _permit = semaphore.acquire().await.expect("two");
            panic!("on purpose");
        }
    });
    assert!(task.await.is_err());
    until_value(&direct, &name, 2).await;
    until_nothing_is_left(&client).await;
    close(client).await;
}

#[test]
fn a_permit_outlives_its_runtime_without_a_panic() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let (client, permit) = runtime.block_on(async {
        let client = client().await;
        let semaphore = client.semaphore(name("runtime"));
        semaphore.try_set_permits(1).await.expect("answers");
        let permit = semaphore.acquire().await.expect("one");
        (client, permit)
    });
    runtime.shutdown_background();
    drop(permit);
    drop(client);
}

/// Callers leave, connections die, and replies get lost, all at once: no permit is lost, and none is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_drops_while_connections_die_leave_every_permit() {
    const PERMITS: i64 = 5;
    let rig = crate::kit::Rig::new().await;
    let semaphore = rig.client.semaphore("s");
    let expirable = rig.client.expirable_semaphore("p");
    let permits = u32::try_from(PERMITS).expect("small");
    semaphore.try_set_permits(permits).await.expect("answers");
    expirable.try_set_permits(permits).await.expect("answers");
    let tasks: Vec<_> = (0..16_u64)
        .map(|task| {
            let (semaphore, expirable) = (semaphore.clone(), expirable.clone());
            tokio::spawn(async move {
                for round in 0..120_u64 {
                    let patience = (task * 7919 + round * 104_729) % 20_000;
                    let wanted = u32::try_from(1 + (task + round) % 3).expect("small");
                    let work = async {
                        if round % 2 == 0 {
                            let permit = semaphore.acquire_many(wanted).await;
                            drop(permit);
                        } else if let Ok(permit) = expirable.acquire_many(wanted).await {
                            let _ = permit.release().await;
                        }
                    };
                    let patience = std::time::Duration::from_micros(patience);
                    let _ = tokio::time::timeout(patience, work).await;
                }
            })
        })
        .collect();
    let mut cuts = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        rig.proxy.cut_all();
        cuts += 1;
        tokio::time::sleep(ms(50)).await;
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    until_nothing_is_left(&rig.client).await;
    let direct = rig.direct();
    println!("{cuts} cuts, {:?}", rig.client.stats());
    assert_eq!(value(&direct, "s"), Some(PERMITS));
    assert_eq!(value(&direct, "p"), Some(PERMITS));
    rig.end(&["p", "s"]).await;
}
