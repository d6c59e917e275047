//! A lock that goes from hand to hand in one process.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redlatch::{Client, Kind, Lock, Owner};
use redlatch_support::{Dice, Server, eventually_async};
use tokio::task::JoinHandle;

use crate::common::{asleep, client_with, close, direct, ms, name, secs, until_nothing_is_left};

/// A client that hands locks over, whatever the environment wants of others.
pub(crate) async fn client() -> Client {
    client_with(|builder| builder.local_hand_over(64, ms(5))).await
}

/// Somebody else of the client who waits for the lock.
pub(crate) fn waiter<K: Kind>(
    lock: &Lock<K>,
) -> JoinHandle<redlatch::Result<redlatch::LockGuard<K>>> {
    let lock = lock.with_owner(Owner::fresh());
    tokio::spawn(async move { lock.lock().wait(secs(20)).await })
}

/// A release with a waiter behind it is one script, which grants as well. Not where the waiter just asks: then it is tried
/// again.
async fn passes<K: Kind>(lock: impl Fn(&Client, &str) -> Lock<K>) {
    let server = Server::start();
    let builder = Client::builder().url(server.url()).expect("url");
    let builder = builder.local_hand_over(64, secs(10));
    let client = builder.connect().await.expect("connects");
    let lock = lock(&client, "passed");
    let direct = server.direct();
    let mut passed = 0;
    // The first time loads the script.
    for _ in 0..100 {
        let guard = lock.lock().await.expect("free");
        let waits = client.stats().waits;
        let waiting = waiter(&lock);
        eventually_async("it waits", secs(5), async || client.stats().waits > waits).await;
        direct.cmd(&["CONFIG", "RESETSTAT"]);
        let before = client.stats();
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        let published = direct.command_calls("publish");
        let after = client.stats();
        if after.hand_overs > before.hand_overs {
            passed += 1;
        }
        if passed > 1 {
            assert_eq!(after.hand_overs, before.hand_overs + 1, "{after:?}");
            assert_eq!(after.releases, before.releases + 1);
            assert_eq!(after.attempts, before.attempts, "nobody asked");
            assert_eq!(published, 0, "nobody else is told");
            let owner = guard.owner_id();
            let holds = direct.hgetall("passed");
            assert!(
                holds.keys().any(|field| field.starts_with(&owner)),
                "{holds:?}"
            );
            assert!(direct.pttl("passed") > 29_000);
        }
        guard.unlock().await.expect("held");
        assert!(!direct.exists("passed"));
        if passed > 1 {
            break;
        }
    }
    assert!(passed > 1, "{:?}", client.stats());
    close(client).await;
}

#[tokio::test]
async fn a_plain_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.lock(name)).await;
}

#[tokio::test]
async fn a_non_reentrant_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.non_reentrant_lock(name)).await;
}

#[tokio::test]
async fn a_fenced_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.fenced_lock(name)).await;
}

#[tokio::test]
async fn a_spin_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.spin_lock(name)).await;
}

#[tokio::test]
async fn a_write_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.read_write_lock(name).write_lock().clone()).await;
}

#[tokio::test]
async fn a_fair_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.fair_lock(name)).await;
}

#[tokio::test]
async fn a_non_reentrant_fair_lock_is_passed_on_by_its_release() {
    passes(|client, name| client.non_reentrant_fair_lock(name)).await;
}

#[tokio::test]
async fn a_lock_passed_on_takes_a_new_token_and_the_next_lease() {
    let (client, name) = (client().await, name("passed-token"));
    let lock = client.fenced_lock(name.as_str());
    let first = lock.lock().await.expect("free");
    let next = lock.with_owner(Owner::fresh());
    let waiting = tokio::spawn(async move { next.lock().wait(secs(20)).lease(secs(5)).await });
    asleep(&client, 1).await;
    let token = first.token();
    first.unlock().await.expect("held");
    let second = waiting.await.expect("joins").expect("granted");
    assert_eq!(second.token().get(), token.get() + 1);
    assert_eq!(client.stats().hand_overs, 1);
    let left = direct().pttl(&name);
    assert!((4_000..=5_000).contains(&left), "{left} ms");
    second.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn with_hand_over_off_every_release_frees_the_lock() {
    let client = client_with(|builder| builder.local_hand_over(0, Duration::ZERO)).await;
    let name = name("not-passed");
    let lock = client.lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let waiting = waiter(&lock);
    asleep(&client, 1).await;
    guard.unlock().await.expect("held");
    waiting
        .await
        .expect("joins")
        .expect("granted")
        .unlock()
        .await
        .expect("held");
    assert_eq!(client.stats().hand_overs, 0);
    assert!(client.stats().wakeups_by_message >= 1);
    close(client).await;
}

#[tokio::test]
async fn a_lock_is_passed_on_to_its_own_kind_only() {
    let (client, name) = (client().await, name("other-kind"));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let waiting = waiter(&client.fenced_lock(name.as_str()));
    asleep(&client, 1).await;
    guard.unlock().await.expect("held");
    let fenced = waiting.await.expect("joins").expect("granted");
    assert_eq!(client.stats().hand_overs, 0);
    assert!(fenced.token().get() > 0);
    fenced.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_writer_that_reads_frees_its_write_side_for_readers() {
    let (client, name) = (client().await, name("downgrade"));
    let lock = client.read_write_lock(name.as_str());
    let write = lock.write().await.expect("free");
    let read = lock.read().await.expect("its own");
    let waiting = waiter(lock.write_lock());
    asleep(&client, 1).await;
    write.unlock().await.expect("held");
    assert_eq!(client.stats().hand_overs, 0);
    assert_eq!(direct().hgetall(&name)["mode"], "read");
    read.unlock().await.expect("held");
    waiting
        .await
        .expect("joins")
        .expect("granted")
        .unlock()
        .await
        .expect("held");
    close(client).await;
}

#[tokio::test]
async fn callers_that_leave_pass_it_on() {
    let (client, name) = (client().await, name("leavers"));
    let lock = client.lock(name.as_str());
    let mut dice = Dice::new(7, 0);
    for round in 0..200 {
        let guard = lock.lock().await.expect("free");
        let tasks: Vec<_> = (0..3).map(|_| waiter(&lock)).collect();
        let last = waiter(&lock);
        let pause = Duration::from_micros(dice.below(1_500));
        tokio::time::sleep(pause).await;
        let releasing = tokio::spawn(guard.unlock());
        for task in &tasks {
            task.abort();
            if dice.below(2) == 0 {
                tokio::task::yield_now().await;
            }
        }
        let guard = last.await.expect("joins").expect("granted");
        releasing.await.expect("joins").expect("held");
        let holds = direct().hgetall(&name);
        assert_eq!(
            holds.get(&guard.owner_id()).map(String::as_str),
            Some("1"),
            "round {round}: {holds:?}"
        );
        guard.unlock().await.expect("held");
    }
    until_nothing_is_left(&client).await;
    assert!(!direct().exists(&name));
    close(client).await;
}

/// Tasks that fight for a lock until told to stop; how often they had it.
fn fight(
    client: &Client,
    name: &str,
    tasks: usize,
    stop: &Arc<AtomicBool>,
) -> (Arc<AtomicU64>, Vec<JoinHandle<()>>) {
    let count = Arc::new(AtomicU64::new(0));
    let tasks = (0..tasks)
        .map(|_| {
            let lock = client.lock(name).with_owner(Owner::fresh());
            let (count, stop) = (count.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let guard = lock.lock().wait(secs(30)).await.expect("granted");
                    count.fetch_add(1, Ordering::AcqRel);
                    guard.unlock().await.expect("held");
                }
            })
        })
        .collect();
    (count, tasks)
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_processes_get_their_turn() {
    let name = name("turns");
    let (one, other) = (client().await, client().await);
    let stop = Arc::new(AtomicBool::new(false));
    let (here, tasks) = fight(&one, &name, 8, &stop);
    let (there, others) = fight(&other, &name, 8, &stop);
    eventually_async(
        "both have it a hundred times in turn",
        secs(60),
        async || {
            [&here, &there]
                .iter()
                .all(|count| count.load(Ordering::Acquire) >= 2_000)
        },
    )
    .await;
    stop.store(true, Ordering::Release);
    join(tasks).await;
    join(others).await;
    let (a, b) = (here.load(Ordering::Acquire), there.load(Ordering::Acquire));
    println!(
        "{a} here, {b} there, {} and {} by hand",
        one.stats().hand_overs,
        other.stats().hand_overs
    );
    assert!(one.stats().hand_overs > 0 && other.stats().hand_overs > 0);
    close(one).await;
    close(other).await;
}

/// Who has had the lock lets all others have it first, who are as many as have heard of the release: none of them is left out
/// because messages always reach the same one first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_have_the_lock_in_turn() {
    let name = name("in-turn");
    let stop = Arc::new(AtomicBool::new(false));
    let (mut clients, mut counts, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..6 {
        let client = client_with(|builder| builder.local_hand_over(4, ms(5))).await;
        let (count, more) = fight(&client, &name, 4, &stop);
        counts.push(count);
        tasks.extend(more);
        clients.push(client);
    }
    let turns = || {
        counts
            .iter()
            .map(|count| count.load(Ordering::Acquire))
            .collect::<Vec<_>>()
    };
    eventually_async("all are there", secs(30), async || {
        turns().iter().all(|turns| *turns > 0)
    })
    .await;
    let begun = turns();
    let had = || {
        turns()
            .iter()
            .zip(&begun)
            .map(|(now, then)| now - then)
            .collect::<Vec<_>>()
    };
    eventually_async("many turns", secs(60), async || {
        had().iter().sum::<u64>() >= 3_000
    })
    .await;
    let had = had();
    println!("turns: {had:?}");
    let least = had.iter().min().expect("six");
    assert!(least * 6 >= 1_500, "half of its share at least: {had:?}");
    stop.store(true, Ordering::Release);
    join(tasks).await;
    for client in clients {
        close(client).await;
    }
}

/// A lock that never goes a long way from hand to hand: a waiter of another process has it within the bound, a little
/// more, and the holds that were under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_waiter_elsewhere_waits_for_the_bound_and_no_longer() {
    let name = name("bound");
    let (one, other) = (client().await, client().await);
    let stop = Arc::new(AtomicBool::new(false));
    let (_, tasks) = fight(&one, &name, 8, &stop);
    eventually_async("it goes from hand to hand", secs(10), async || {
        one.stats().hand_overs > 200
    })
    .await;
    let lock = other.lock(name.as_str());
    let mut passes = Vec::new();
    for _ in 0..50 {
        let before = one.stats().hand_overs;
        let guard = lock.lock().wait(secs(20)).await.expect("its turn");
        passes.push(one.stats().hand_overs - before);
        guard.unlock().await.expect("held");
    }
    passes.sort_unstable();
    println!("hand-overs before another process had its turn: {passes:?}");
    // By chance it comes second once or twice, and hardly ever more often.
    assert!(passes[25] <= 3 * 64, "{passes:?}");
    stop.store(true, Ordering::Release);
    join(tasks).await;
    close(one).await;
    close(other).await;
}

/// Everybody of one process is served in turn.
#[tokio::test]
async fn hands_change_in_the_order_of_the_line() {
    let client = client_with(|builder| builder.local_hand_over(100, secs(10))).await;
    let name = name("in-order");
    let lock = client.lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..30 {
        let (lock, order) = (lock.with_owner(Owner::fresh()), order.clone());
        tasks.push(tokio::spawn(async move {
            let guard = lock.lock().wait(secs(20)).await.expect("granted");
            order.lock().expect("no panic").push(number);
            guard.unlock().await.expect("held");
        }));
        eventually_async("it stands in line", secs(5), async || {
            client
                .inspect(name.as_str())
                .await
                .expect("answers")
                .waiting_here
                == number + 1
        })
        .await;
    }
    asleep(&client, 1).await;
    guard.unlock().await.expect("held");
    join(tasks).await;
    assert_eq!(
        *order.lock().expect("no panic"),
        (0..30).collect::<Vec<_>>()
    );
    assert_eq!(client.stats().hand_overs, 30);
    close(client).await;
}

/// What is passed on is as much a hold as any: renewed, and told when it is lost.
#[tokio::test]
async fn what_was_passed_on_is_renewed_and_told_of_its_loss() {
    let client =
        client_with(|builder| builder.watchdog_timeout(ms(600)).local_hand_over(64, ms(5))).await;
    let name = name("renewed");
    let lock = client.lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let waiting = waiter(&lock);
    asleep(&client, 1).await;
    guard.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("granted");
    assert_eq!(client.stats().hand_overs, 1);
    let renewals = client.stats().renewals;
    eventually_async("it is renewed", secs(5), async || {
        client.stats().renewals >= renewals + 3
    })
    .await;
    assert!(!guard.is_lost() && direct().exists(&name));
    direct().cmd(&["DEL", &name]);
    bounded(guard.lost()).await;
    assert!(guard.unlock().await.is_err());
    close(client).await;
}

pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(secs(5), future)
        .await
        .expect("in time")
}

/// Whoever gives a lock back need not go on polling: the next one depends on the answer, and not on that.
#[tokio::test]
async fn a_release_that_is_polled_once_hands_over() {
    let (client, name) = (client().await, name("polled-once"));
    let lock = client.lock(name.as_str());
    for _ in 0..3 {
        let guard = lock.lock().await.expect("free");
        let waiting = waiter(&lock);
        asleep(&client, 1).await;
        let mut releasing = Box::pin(guard.unlock());
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(releasing.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await, "it takes a round trip");
        let guard = bounded(waiting).await.expect("joins").expect("granted");
        bounded(guard.unlock()).await.expect("held");
        bounded(releasing).await.expect("held");
    }
    assert!(client.stats().hand_overs > 0);
    close(client).await;
}

/// What a reader is told of its owner's field says nothing about the plain lock that the same owner holds.
#[tokio::test]
async fn a_reader_that_is_refused_takes_nothing_from_its_owners_plain_lock() {
    let (client, name) = (client().await, name("refused-reader"));
    let owner = Owner::fresh();
    let guard = client.lock(name.as_str()).with_owner(owner).lock().await;
    let guard = guard.expect("free");
    let reader = client.read_write_lock(name.as_str()).with_owner(owner);
    assert!(reader.try_read().await.expect("answers").is_none());
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    assert!(!direct().exists(&name), "nobody has it");
    close(client).await;
}

/// An owner that waits for two kinds of one name at once, which share its field on the server, is served by its line.
#[tokio::test]
async fn a_line_lives_on_whose_heir_waits_for_another_kind_too() {
    let (client, name) = (client().await, name("two-kinds"));
    let lock = client.lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let owner = Owner::fresh();
    let reader = client.read_write_lock(name.as_str()).with_owner(owner);
    let reading = tokio::spawn(async move { reader.read().wait(ms(1_500)).await.map(drop) });
    eventually_async("it waits", secs(5), async || client.stats().waits == 1).await;
    let next = lock.with_owner(owner);
    let waiting = tokio::spawn(async move { next.lock().wait(secs(20)).await });
    eventually_async("both wait", secs(5), async || client.stats().waits == 2).await;
    guard.unlock().await.expect("held");
    let guard = bounded(waiting).await.expect("joins").expect("granted");
    let last = waiter(&lock);
    guard.unlock().await.expect("held");
    let guard = bounded(last).await.expect("joins").expect("granted");
    guard.unlock().await.expect("held");
    let _ = bounded(reading).await.expect("joins");
    bounded(until_nothing_is_left(&client)).await;
    close(client).await;
}
