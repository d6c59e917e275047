//! A server that answers anything: no panic, no call without an end, and a client that goes on afterwards.

use std::{
    panic,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use redlatch::{Client, Error, FencingToken, Kind, Lock, Result};
use redlatch_support::{Action, Dice, Proxy, Rule, Server};

use crate::kit::{connect, ms, secs};

/// Sets where the dice begin.
const SEED: &str = "REDLATCH_NONSENSE_SEED";
const CLIENTS: u64 = 4;
const CALLS: u64 = 60;

/// Panics of the library, in whatever task.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// A whole reply, as a server might send it to somebody else.
fn reply(dice: &mut Dice, depth: u64) -> String {
    match dice.below(if depth < 3 { 12 } else { 8 }) {
        0 => "$-1\r\n".to_owned(),
        1 | 2 => {
            let numbers = [0, 1, -1, -2, 2, i64::MAX, i64::MIN, 30_000, 1 << 53];
            format!(":{}\r\n", dice.one_of(&numbers))
        }
        3 => {
            let texts = ["", "1", "-1", "x", "9223372036854775808", "read", "ü{}"];
            let text = dice.one_of(&texts);
            format!("${}\r\n{text}\r\n", text.len())
        }
        4 => "+OK\r\n".to_owned(),
        5 => {
            let errors = [
                "ERR",
                "WRONGTYPE",
                "NOSCRIPT",
                "MOVED 1 nowhere:1",
                "READONLY",
            ];
            format!("-{} of no meaning\r\n", dice.one_of(&errors))
        }
        6 => "*0\r\n".to_owned(),
        7 => "*-1\r\n".to_owned(),
        _ => {
            let length = dice.below(5);
            let items = (0..length).map(|_| reply(dice, depth + 1));
            let items: String = items.collect();
            format!("*{length}\r\n{items}")
        }
    }
}

/// Now and then no reply at all.
fn bytes(dice: &mut Dice) -> Vec<u8> {
    if dice.below(20) == 0 {
        return b"?what\r\n".to_vec();
    }
    reply(dice, 0).into_bytes()
}

async fn hold<K: Kind>(lock: Lock<K>) -> Result<()> {
    let guard = lock.lock().wait(ms(300)).await?;
    guard.unlock().await
}

/// One call of one object.
async fn call(client: &Client, which: u64, name: &str) -> Result<()> {
    let of = |kind: &str| format!("{name}:{kind}");
    match which {
        0 => hold(client.lock(of("lock"))).await,
        1 => hold(client.fair_lock(of("fair"))).await,
        2 => hold(client.fenced_lock(of("fenced"))).await,
        3 => hold(client.spin_lock(of("spin"))).await,
        4 => hold(client.read_write_lock(of("rw")).read_lock().clone()).await,
        5 => hold(client.read_write_lock(of("rw")).write_lock().clone()).await,
        6 => {
            let semaphore = client.semaphore(of("sem"));
            semaphore.try_set_permits(2).await?;
            let permit = semaphore.acquire().wait(ms(300)).await?;
            permit.release().await
        }
        7 => {
            let semaphore = client.expirable_semaphore(of("expirable"));
            semaphore.try_set_permits(2).await?;
            let permit = semaphore.acquire().wait(ms(300)).await?;
            permit.release().await
        }
        8 => {
            let latch = client.count_down_latch(of("latch"));
            latch.try_set_count(1).await?;
            latch.count_down().await
        }
        9 => {
            let cell = client.fenced_cell(of("cell"));
            cell.claim(FencingToken::new(1)).await?;
            cell.set(FencingToken::new(1), "x").await?;
            cell.get().await.map(|_| ())
        }
        10 => client.inspect(of("lock")).await.map(|_| ()),
        11 => {
            let election = client.election(of("election"));
            let leadership = election.campaign("x").wait(ms(300)).await?;
            leadership.proclaim("y").await?;
            election.leader().await?;
            leadership.resign().await
        }
        12 => {
            let job = client.once_per(of("job"), ms(10));
            job.run_if_due(async {}).await.map(|_| ())
        }
        _ => {
            let raw = client.rlock(of("raw"));
            raw.try_lock().await?;
            raw.hold_count().await?;
            raw.remaining_ttl().await?;
            raw.is_locked().await?;
            raw.force_unlock().await.map(|_| ())
        }
    }
}

async fn nonsense(seed: u64, number: u64) {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let client = connect(&proxy.url(), |builder| {
        builder
            .watchdog_timeout(secs(3))
            .command_timeout(ms(200))
            .connect_timeout(ms(500))
            .outage_patience(ms(500))
    })
    .await;
    let mut dice = Dice::new(seed, number);
    let (mut refused, mut went) = (0, 0);
    for turn in 0..CALLS {
        let which = dice.below(14);
        let name = format!("nonsense-{number}-{turn}");
        let verb = ["EVALSHA", "*"][usize::from(dice.below(4) == 0)];
        let mut rules = Vec::new();
        for nth in 1..=1 + dice.below(4) {
            let rule = Rule::new(verb).nth(nth);
            rules.push(proxy.rule(rule.action(Action::ReplaceReply(bytes(&mut dice)))));
        }
        let begun = Instant::now();
        match tokio::time::timeout(secs(10), call(&client, which, &name)).await {
            Ok(Ok(())) => went += 1,
            Ok(Err(Error::Closed)) => panic!("seed {seed}, turn {turn}: closed by a reply"),
            Ok(Err(_)) => refused += 1,
            Err(_) => panic!("seed {seed}, turn {turn}, call {which}: no end"),
        }
        assert!(
            begun.elapsed() < secs(5),
            "seed {seed}, turn {turn}, call {which}: {:?}",
            begun.elapsed()
        );
        drop(rules);
        proxy.clear_rules();
    }
    println!("client {number}: {went} went through, {refused} failed");
    // And all is well again.
    for which in 0..14 {
        let name = format!("sense-{number}");
        let begun = Instant::now();
        while let Err(error) = call(&client, which, &name).await {
            assert!(
                begun.elapsed() < secs(5),
                "seed {seed}, call {which}: {error}"
            );
        }
    }
    tokio::time::timeout(secs(8), client.close(secs(5)))
        .await
        .expect("closing ends");
}

/// Counts panics in files of the library; others are on purpose.
fn watch_for_panics() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = |place: &panic::Location<'_>| place.file().starts_with("src/");
            if info.location().is_some_and(ours) {
                PANICS.fetch_add(1, Ordering::AcqRel);
            }
            before(info);
        }));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_anything_harms_nobody() {
    watch_for_panics();
    let seed = Dice::seed(SEED);
    println!("seed {seed}");
    let clients = (0..CLIENTS).map(|number| tokio::spawn(nonsense(seed, number)));
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
    assert_eq!(PANICS.load(Ordering::Acquire), 0, "seed {seed}");
}
