//! Anybody with the right to publish can wake everybody, time after time: it costs some looks, and nobody the lock.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch::{Client, Kind, Lock, Owner};
use redlatch_support::{Server, eventually_async};
use tokio::task::JoinSet;

use crate::kit::{close, connect, ms, secs, within};

const WAITERS: usize = 100;
/// Forged messages, in all.
const MESSAGES: u64 = 20_000;
/// Those of one command, and the pause between two.
const BURST: u64 = 20;
const GAP: Duration = ms(1);

/// Publishes on whatever channels match, until it is dropped.
struct Attacker {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Attacker {
    fn start(server: &Server, channels: &[String]) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let direct = server.direct();
        let words = [
            "EVAL",
            "for i = 1, ARGV[1] do for _, c in ipairs(KEYS) do redis.call('publish', c, '0') end end",
        ];
        let words = words.map(str::to_owned).into_iter();
        let words = words.chain([channels.len().to_string()]);
        let each = (BURST / channels.len() as u64).max(1);
        let words: Vec<_> = words
            .chain(channels.iter().cloned())
            .chain([each.to_string()])
            .collect();
        let channels = channels.len() as u64;
        let thread = std::thread::spawn({
            let (sent, stop) = (sent.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Acquire) {
                    direct.cmd(&words).accepted();
                    sent.fetch_add(each * channels, Ordering::AcqRel);
                    std::thread::sleep(GAP);
                }
            }
        });
        Self {
            sent,
            stop,
            thread: Some(thread),
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The scripts that it costs to be told `MESSAGES` lies on the channels that has `name` in it, and how long they take.
async fn cost_of_lies(server: &Server, name: &str) -> (Attacker, u64, Duration) {
    let direct = server.direct();
    let channels = direct.cmd(&["PUBSUB", "CHANNELS", &format!("*{name}*")]);
    let attacker = Attacker::start(server, &channels.accepted().strings());
    direct.reset_stats();
    let begun = Instant::now();
    eventually_async("all lies are told", secs(30), async || {
        attacker.sent() >= MESSAGES
    })
    .await;
    let (calls, took) = (direct.command_calls("evalsha"), begun.elapsed());
    (attacker, calls, took)
}

/// At once at first, then every 20 ms give or take a quarter, and what renewals and looks take.
#[track_caller]
fn is_little(what: &str, calls: u64, took: Duration, asking: u64, pause: Duration) {
    let most = asking as f64 * (60.0 + took.as_secs_f64() / (pause.as_secs_f64() * 0.75)) + 30.0;
    println!("{what}: {calls} scripts in {took:?} (limit {most:.0})");
    assert!((calls as f64) < most, "{what}: {calls} scripts in {took:?}");
}

/// `asking` of those who wait talk to the server.
async fn lives<K: Kind>(server: &Server, make: impl Fn(&Client) -> Lock<K>, asking: u64) {
    let holder = connect(&server.url(), |builder| builder).await;
    let client = connect(&server.url(), |builder| builder).await;
    let lock = make(&client);
    let guard = make(&holder).lock().await.expect("free");
    let mut waiting = JoinSet::new();
    for _ in 0..WAITERS {
        let lock = lock.clone().with_owner(Owner::fresh());
        waiting.spawn(async move {
            let guard = lock.lock().wait(secs(60)).await.expect("granted");
            let granted = Instant::now();
            guard.unlock().await.expect("held");
            granted
        });
    }
    let sleepers = format!("sleepers: {asking},");
    eventually_async("all wait", secs(20), async || {
        client.residue().contains(&sleepers)
    })
    .await;
    let (attacker, calls, took) = cost_of_lies(server, lock.name()).await;
    is_little(lock.name(), calls, took, asking, ms(20));
    assert_eq!(waiting.len(), WAITERS, "nobody got in by a lie");
    // And the truth is heard among all the lies.
    let begun = Instant::now();
    guard.unlock().await.expect("held");
    let first = waiting.join_next().await.expect("waits").expect("granted");
    within("the first after the release", first - begun, ms(250));
    drop(attacker);
    while let Some(served) = waiting.join_next().await {
        served.expect("granted");
    }
    close(client).await;
    close(holder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_forged_messages_costs_some_tries_a_second() {
    let server = Server::start();
    lives(&server, |client| client.lock("plain"), 1).await;
    lives(&server, |client| client.fenced_lock("fenced"), 1).await;
    let both = |client: &Client| client.read_write_lock("both");
    lives(&server, |client| both(client).write_lock().clone(), 1).await;
}

/// Each of them has a channel of its own, or stands before values of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_does_for_those_who_ask_each_for_itself() {
    let server = Server::start();
    let all = WAITERS as u64;
    lives(&server, |client| client.group_lock("group", ["a"]), all).await;
    lives(&server, |client| client.fair_lock("fair"), all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_those_who_want_permits_are_not_hurried_either() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let holder = connect(&server.url(), |builder| builder).await;
    let (theirs, ours) = (holder.read_write_lock("rw"), client.read_write_lock("rw"));
    let guard = theirs.write_lock().lock().await.expect("free");
    let semaphore = client.semaphore("permits");
    let mut readers = JoinSet::new();
    let mut takers = JoinSet::new();
    for _ in 0..WAITERS {
        let lock = ours.read_lock().clone().with_owner(Owner::fresh());
        readers.spawn(async move {
            let guard = lock.lock().wait(secs(60)).await.expect("granted");
            guard.unlock().await.expect("held");
        });
        takers.spawn(semaphore.acquire().wait(secs(60)).into_future());
    }
    eventually_async("all wait", secs(20), async || {
        let seen = client.inspect("rw").await.expect("answers");
        seen.waiting_here == WAITERS && client.residue().contains("sleepers: 2,")
    })
    .await;
    let (attacker, calls, took) = cost_of_lies(&server, "rw").await;
    is_little("readers", calls, took, 1, ms(20));
    drop(attacker);
    let (attacker, calls, took) = cost_of_lies(&server, "permits").await;
    is_little("permits", calls, took, 1, ms(5));
    let begun = Instant::now();
    semaphore.release(1).await.expect("given");
    let permit = takers.join_next().await.expect("waits").expect("joins");
    within("the first permit", begun.elapsed(), ms(250));
    permit.expect("served").forget();
    drop(attacker);
    guard.unlock().await.expect("held");
    while let Some(served) = readers.join_next().await {
        served.expect("granted");
    }
    takers.shutdown().await;
    close(client).await;
    close(holder).await;
}
