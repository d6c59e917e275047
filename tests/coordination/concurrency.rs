//! Many at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use futures_util::future::join_all;
use redlatch_support::eventually_async;

use crate::kit::{
    asleep, by_message, client, close, connect, direct, follow, got, name, secs, value,
};

/// Counts who is inside, and the most there ever were.
#[derive(Default)]
struct Inside {
    now: AtomicI64,
    most: AtomicI64,
    rounds: AtomicI64,
}

impl Inside {
    async fn visit(&self) {
        let now = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(now, Ordering::AcqRel);
        tokio::task::yield_now().await;
        self.now.fetch_sub(1, Ordering::AcqRel);
        self.rounds.fetch_add(1, Ordering::AcqRel);
    }
}

async fn never_more_inside_than_permits(permits: u32, clients: usize, tasks: usize) {
    const ROUNDS: usize = 30;
    let name = name("inside");
    let inside = Arc::new(Inside::default());
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(by_message().await);
    }
    let semaphore = all[0].semaphore(name.as_str());
    let set = semaphore.try_set_permits(permits).await;
    assert!(set.expect("answers"));
    let begun = Instant::now();
    let work = (0..tasks).map(|task| {
        let semaphore = all[task % clients].semaphore(name.as_str());
        let inside = inside.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let permit = semaphore.acquire().wait(secs(30)).await.expect("granted");
                inside.visit().await;
                if round % 2 == 0 {
                    permit.release().await.expect("confirmed");
                }
            }
        })
    });
    for work in join_all(work).await {
        work.expect("no panic");
    }
    println!(
        "{permits} permits, {clients} clients, {tasks} tasks: {:?} a round; {:?}",
        begun.elapsed() / u32::try_from(tasks * ROUNDS).expect("small"),
        all[0].stats()
    );
    let most = inside.most.load(Ordering::Acquire);
    assert!(most <= i64::from(permits), "{most} were inside");
    let rounds = inside.rounds.load(Ordering::Acquire);
    assert_eq!(rounds, i64::try_from(tasks * ROUNDS).expect("small"));
    for client in all {
        close(client).await;
    }
    assert_eq!(value(&direct(), &name), Some(i64::from(permits)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_permit_one_client() {
    never_more_inside_than_permits(1, 1, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_permit_many_clients() {
    never_more_inside_than_permits(1, 4, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_permits_one_client() {
    never_more_inside_than_permits(3, 1, 24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_permits_many_clients() {
    never_more_inside_than_permits(5, 4, 24).await;
}

/// A thousand who wait cost what one costs: they are asked for together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_wait_cost_little() {
    const TASKS: u32 = 1_000;
    let (client, name) = (by_message().await, name("herd"));
    let semaphore = client.semaphore(name.as_str());
    let waiting: Vec<_> = (0..TASKS)
        .map(|_| {
            let semaphore = semaphore.clone();
            tokio::spawn(async move {
                let permit = semaphore.acquire().wait(secs(30)).await.expect("granted");
                permit.release().await.expect("confirmed");
            })
        })
        .collect();
    eventually_async("all wait", secs(10), async || {
        client.stats().waits == u64::from(TASKS)
    })
    .await;
    asleep(&client).await;
    let attempts = client.stats().attempts;
    let begun = Instant::now();
    semaphore.release(10).await.expect("answers");
    for task in waiting {
        task.await.expect("no panic");
    }
    let asked = client.stats().attempts - attempts;
    println!(
        "{attempts} requests until all wait, {asked} for {TASKS} grants, {:?}",
        begun.elapsed()
    );
    assert!(asked <= u64::from(TASKS), "{asked} requests");
    assert_eq!(semaphore.available_permits().await.expect("answers"), 10);
    close(client).await;
}

/// Calls that meet become one, and none of them gets lost or counts twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_meet_become_one() {
    let (client, direct, name) = (client().await, direct(), name("meet"));
    let semaphore = client.semaphore(name.as_str());
    let latch = client.count_down_latch(format!("{name}-latch"));
    semaphore.try_set_permits(0).await.expect("answers");
    latch.try_set_count(1_000).await.expect("answers");
    let releases = join_all((0..1_000).map(|_| semaphore.release(2)));
    let counts = join_all((0..999).map(|_| latch.count_down()));
    let (releases, counts) = tokio::join!(releases, counts);
    for outcome in releases.into_iter().chain(counts) {
        outcome.expect("done");
    }
    assert_eq!(value(&direct, &name), Some(2_000));
    assert_eq!(latch.count().await.expect("answers"), 1);
    close(client).await;
}

/// A permit of another client that is dropped reaches those who wait here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_of_many_clients_are_all_served() {
    let name = name("clients");
    let holder = client().await;
    let semaphore = holder.semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let held = semaphore.acquire_many(3).await.expect("three");
    let mut clients = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let client = by_message().await;
        waiting.push(follow(client.semaphore(name.as_str()).acquire()));
        asleep(&client).await;
        clients.push(client);
    }
    let released = Instant::now();
    held.release().await.expect("confirmed");
    for waiter in waiting {
        let (permit, granted) = got(waiter).await;
        assert!(granted - released < crate::kit::ms(500));
        permit.forget();
    }
    for client in clients {
        close(client).await;
    }
    close(holder).await;
}

#[tokio::test]
async fn a_client_behind_a_prefix_shares_nothing() {
    let (plain, name) = (client().await, name("apart"));
    let prefixed = connect(&redlatch_support::Server::shared().url(), |builder| {
        builder.key_prefix("apart:")
    })
    .await;
    plain
        .semaphore(name.as_str())
        .release(1)
        .await
        .expect("answers");
    let other = prefixed.semaphore(name.as_str());
    assert_eq!(other.available_permits().await.expect("answers"), 0);
    close(plain).await;
    close(prefixed).await;
}
