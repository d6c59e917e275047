//! The fair lock: who is next, and who is not any more.

use std::time::Instant;

use redlatch::{Client, Fair, Lock, LockGuard, Owner, Result};
use redlatch_support::{Direct, Proxy, Server, eventually_async};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::common::{client, close, direct, ms, name, nothing_but, secs};

/// What a JVM's waiter adds to its deadline.
const JVM_WAIT: i64 = 300_000;

/// The keys of the queue and of its deadlines.
fn keys(name: &str) -> [String; 2] {
    ["redisson_lock_queue", "redisson_lock_timeout"].map(|key| format!("{key}:{{{name}}}"))
}

fn queue(direct: &Direct, name: &str) -> Vec<String> {
    let [key, _] = keys(name);
    direct
        .cmd(&["LRANGE", &key, "0", "-1"])
        .accepted()
        .strings()
}

fn deadline(direct: &Direct, name: &str, owner: &str) -> i64 {
    let [_, key] = keys(name);
    direct.cmd(&["ZSCORE", &key, owner]).int()
}

fn now(direct: &Direct) -> i64 {
    let time = direct.cmd(&["TIME"]).strings();
    time[0].parse::<i64>().expect("seconds") * 1_000
        + time[1].parse::<i64>().expect("microseconds") / 1_000
}

/// Puts somebody into the queue as a JVM's client would, with nobody behind it that listens.
fn put(direct: &Direct, name: &str, owner: &str, deadline: i64) {
    let keys = keys(name);
    direct.cmd(&["RPUSH", &keys[0], owner]).accepted();
    direct
        .cmd(&["ZADD", &keys[1], &deadline.to_string(), owner])
        .accepted();
}

/// Waits in a task of its own, and until it stands in the queue at `place`.
async fn stands(
    direct: &Direct,
    lock: Lock<Fair>,
    place: usize,
) -> JoinHandle<Result<(LockGuard<Fair>, Instant)>> {
    let name = lock.name().to_owned();
    let waiting = tokio::spawn(async move {
        let guard = lock.lock().wait(secs(60)).await?;
        Ok((guard, Instant::now()))
    });
    eventually_async("it stands in the queue", secs(5), async || {
        queue(direct, &name).len() == place + 1
    })
    .await;
    waiting
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_come_first_served_over_clients() {
    const WAITERS: usize = 12;
    let (holder, name, direct) = (client().await, name("fifo"), direct());
    let clients = [client().await, client().await, client().await];
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    let (served, mut order) = mpsc::unbounded_channel();
    for number in 0..WAITERS {
        let lock = clients[number % clients.len()]
            .fair_lock(&*name)
            .with_owner(Owner::fresh());
        let served = served.clone();
        tokio::spawn(async move {
            let guard = lock.lock().await.expect("granted");
            served.send(number).expect("somebody listens");
            tokio::task::yield_now().await;
            guard.unlock().await.expect("held");
        });
        eventually_async("it stands in the queue", secs(5), async || {
            queue(&direct, &name).len() == number + 1
        })
        .await;
    }
    let begun = Instant::now();
    guard.unlock().await.expect("held");
    for expected in 0..WAITERS {
        assert_eq!(order.recv().await, Some(expected));
    }
    println!("{WAITERS} served in {:?}", begun.elapsed());
    nothing_but(&name, &[]).await;
    for client in clients.into_iter().chain([holder]) {
        close(client).await;
    }
}

#[tokio::test]
async fn a_free_lock_is_not_for_those_who_only_try_while_somebody_is_next() {
    let (client, name, direct) = (client().await, name("next"), direct());
    let lock = client.fair_lock(&*name);
    put(&direct, &name, "somebody:1", now(&direct) + JVM_WAIT);
    assert!(lock.try_lock().await.expect("answers").is_none());
    assert_eq!(queue(&direct, &name), ["somebody:1"], "and takes no place");
    direct
        .cmd(&["DEL", &format!("redisson_lock_queue:{{{name}}}")])
        .accepted();
    let guard = lock.try_lock().await.expect("answers").expect("free");
    guard.unlock().await.expect("held");
    direct.cmd(&["DEL", &keys(&name)[1]]).accepted();
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_a_dead_head_blocks_for_seconds() {
    let (client, holder, name, direct) = (client().await, client().await, name("b11"), direct());
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    // A JVM that has died: five minutes of deadline, and nobody on its channel. Two threads of it.
    for thread in 1..=2 {
        let deadline = now(&direct) + thread * JVM_WAIT;
        put(&direct, &name, &format!("dead:{thread}"), deadline);
    }
    let waiting = stands(&direct, client.fair_lock(&*name), 2).await;
    let released = Instant::now();
    guard.unlock().await.expect("held");
    let (guard, when) = waiting.await.expect("joins").expect("granted");
    let took = when.saturating_duration_since(released);
    println!("B11: {took:?} behind a dead head (limit 10 s)");
    assert!(took > secs(4), "a head that may only be slow gets its time");
    assert!(took < secs(10), "{took:?}");
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(holder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_8_a_head_without_a_deadline_goes_at_once() {
    let (client, holder, name, direct) =
        (client().await, client().await, name("undated"), direct());
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    let key = format!("redisson_lock_queue:{{{name}}}");
    direct.cmd(&["RPUSH", &key, "undated:1"]).accepted();
    let waiting = stands(&direct, client.fair_lock(&*name), 1).await;
    let released = Instant::now();
    guard.unlock().await.expect("held");
    let (guard, when) = waiting.await.expect("joins").expect("granted");
    assert!(when.saturating_duration_since(released) < ms(500));
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(holder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_8_a_waiter_behind_a_slow_head_does_not_spin() {
    let server = Server::start();
    let direct = server.direct();
    let client = Client::connect(server.url()).await.expect("connects");
    put(&direct, "spin", "slow:1", now(&direct) + JVM_WAIT);
    // It listens, so it is alive, but it does not ask.
    let mut slow = std::net::TcpStream::connect(("127.0.0.1", server.port())).expect("connects");
    std::io::Write::write_all(
        &mut slow,
        b"SUBSCRIBE redisson_lock__channel:{spin}:slow:1\r\n",
    )
    .expect("sent");
    eventually_async("it listens", secs(5), async || {
        direct.numsub("redisson_lock__channel:{spin}:slow:1") == 1
    })
    .await;
    let waiting = stands(&direct, client.fair_lock("spin"), 1).await;
    eventually_async("it sleeps", secs(5), async || {
        client.residue().contains("sleepers: 1,")
    })
    .await;
    direct.reset_stats();
    let polls = client.stats().polls;
    eventually_async("three looks", secs(10), async || {
        client.stats().polls >= polls + 3
    })
    .await;
    let scripts = direct.command_calls("evalsha");
    assert!(scripts <= 12, "{scripts} scripts in three seconds");
    waiting.abort();
    let _ = waiting.await;
    eventually_async("it has left", secs(5), async || {
        queue(&direct, "spin") == ["slow:1"]
    })
    .await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_keep_their_places_however_long_it_takes() {
    let (client, holder, name, direct) = (client().await, client().await, name("long"), direct());
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    let first = stands(&direct, client.fair_lock(&*name), 0).await;
    let lock = client.fair_lock(&*name).with_owner(Owner::fresh());
    let second = stands(&direct, lock, 1).await;
    let places = queue(&direct, &name);
    let deadlines = || [0, 1].map(|place| deadline(&direct, &name, &places[place]) - now(&direct));
    let [head, next] = deadlines();
    // A head says every second that it is there, and has eight for it; behind it there is room for a JVM's wait.
    assert!((5_000..=8_000).contains(&head), "{head}");
    assert!((JVM_WAIT..=JVM_WAIT + 8_000).contains(&next), "{next}");
    let before = deadline(&direct, &name, &places[0]);
    eventually_async("the deadline moves on", secs(5), async || {
        deadline(&direct, &name, &places[0]) > before + 1_500
    })
    .await;
    guard.unlock().await.expect("held");
    let (first, _) = first.await.expect("joins").expect("granted");
    assert_eq!(queue(&direct, &name), places[1..]);
    first.unlock().await.expect("held");
    let (second, _) = second.await.expect("joins").expect("granted");
    second.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(holder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_head_that_is_put_out_comes_back_in_front() {
    let (client, holder, name, direct) = (client().await, client().await, name("back"), direct());
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    let first = stands(&direct, client.fair_lock(&*name), 0).await;
    let lock = client.fair_lock(&*name).with_owner(Owner::fresh());
    let second = stands(&direct, lock, 1).await;
    let places = queue(&direct, &name);
    // A JVM with another idea of the time, or of how long we would wait. In one step, as it does it: whoever comes back in
    // between would lose its new deadline, and its place with it.
    let put_out = "redis.call('lpop', KEYS[1]) redis.call('zrem', KEYS[2], ARGV[1])";
    let [queued, timed] = keys(&name);
    direct
        .cmd(&["EVAL", put_out, "2", &queued, &timed, &places[0]])
        .accepted();
    eventually_async("it is back", secs(5), async || {
        queue(&direct, &name) == places
    })
    .await;
    guard.unlock().await.expect("held");
    let (first, _) = first.await.expect("joins").expect("granted");
    assert_eq!(queue(&direct, &name), places[1..]);
    first.unlock().await.expect("held");
    let (second, _) = second.await.expect("joins").expect("granted");
    second.unlock().await.expect("held");
    close(client).await;
    close(holder).await;
}

/// Whoever comes back in front of others has added nothing to their deadlines, so it takes nothing away when it gets in. It
/// did, and a JVM that got in next took the rest: who was cut off at that time lost its place within moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_in_front_takes_no_time_from_others() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let connect = async |url: String| Client::connect(url).await.expect("connects");
    let (client, holder) = (connect(server.url()).await, connect(server.url()).await);
    let cut_off = connect(proxy.url()).await;
    let (name, direct) = (name("in-front"), server.direct());
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    let back = stands(&direct, client.fair_lock(&*name), 0).await;
    put(&direct, &name, "jvm:1", now(&direct) + JVM_WAIT);
    let behind = stands(&direct, cut_off.fair_lock(&*name), 2).await;
    // From here on it says nothing.
    proxy.black_hole(true);
    let places = queue(&direct, &name);
    // It had been put out before the others came; in one step with the time that its place had added.
    let put_out = "redis.call('lpop', KEYS[1]) redis.call('zrem', KEYS[2], ARGV[1]) \
                   redis.call('zincrby', KEYS[2], -ARGV[3], ARGV[2])";
    let [queued, timed] = keys(&name);
    let wait = JVM_WAIT.to_string();
    direct
        .cmd(&[
            "EVAL", put_out, "2", &queued, &timed, &places[0], &places[2], &wait,
        ])
        .accepted();
    let had = deadline(&direct, &name, &places[2]);
    assert!(had - now(&direct) < JVM_WAIT + 9_000, "one before it");
    eventually_async("it is back", secs(5), async || {
        queue(&direct, &name) == places
    })
    .await;
    guard.unlock().await.expect("held");
    let (back, _) = back.await.expect("joins").expect("granted");
    assert_eq!(queue(&direct, &name), places[1..]);
    // What is left of it when the JVM gets in is its own.
    let has = deadline(&direct, &name, &places[2]);
    assert_eq!(has, had, "{} ms less", had - has);
    behind.abort();
    back.unlock().await.expect("held");
    direct.flushall();
    server.nothing_was_refused();
    for client in [client, holder] {
        close(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_7_places_are_given_up_on_every_way_out() {
    let (client, holder, name, direct) = (client().await, client().await, name("out"), direct());
    let guard = holder.fair_lock(&*name).lock().await.expect("free");
    let empty = async |what: &str| {
        eventually_async(what, secs(5), async || queue(&direct, &name).is_empty()).await;
        let [_, zset] = keys(&name);
        assert!(!direct.exists(&zset), "{what}");
    };
    let over = client.fair_lock(&*name).lock().wait(ms(100)).await;
    assert!(over.expect_err("busy").is_timeout());
    empty("left by a timeout").await;

    let waiting = stands(&direct, client.fair_lock(&*name), 0).await;
    waiting.abort();
    let _ = waiting.await;
    empty("left by a drop").await;

    let closing = self::client().await;
    let waiting = stands(&direct, closing.fair_lock(&*name), 0).await;
    closing.close(secs(5)).await;
    assert!(waiting.await.expect("joins").is_err());
    empty("left by closing").await;

    // Two callers of one owner share a place: it stays until the last has left.
    let owner = Owner::fresh();
    let lock = client.fair_lock(&*name).with_owner(owner);
    let one = stands(&direct, lock.clone(), 0).await;
    let other = tokio::spawn(async move { lock.lock().wait(secs(30)).await });
    eventually_async("both sleep", secs(5), async || {
        client.residue().contains("sleepers: 2,")
    })
    .await;
    one.abort();
    let _ = one.await;
    assert_eq!(queue(&direct, &name).len(), 1);
    guard.unlock().await.expect("held");
    let other = other.await.expect("joins").expect("granted");
    other.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(holder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_is_called_when_the_head_leaves_a_free_lock() {
    let (client, name, direct) = (client().await, name("leaves"), direct());
    // A head of ours that does not react: it is told by hand.
    let owner = Owner::explicit(7).expect("small");
    let waiting = {
        let lock = client.fair_lock(&*name).with_owner(owner);
        let blocker = client.fair_lock(&*name).lock().await.expect("free");
        let waiting = stands(&direct, lock, 0).await;
        let other = client.fair_lock(&*name).with_owner(Owner::fresh());
        let second = stands(&direct, other, 1).await;
        (blocker, waiting, second)
    };
    let (blocker, first, second) = waiting;
    first.abort();
    let _ = first.await;
    let released = Instant::now();
    blocker.unlock().await.expect("held");
    let (guard, when) = second.await.expect("joins").expect("granted");
    assert!(when.saturating_duration_since(released) < ms(500));
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_outlives_an_outage_of_its_client() {
    let server = Server::start();
    let direct = server.direct();
    let proxy = Proxy::start(server.port()).await;
    let holder = Client::connect(server.url()).await.expect("connects");
    let client = Client::connect(proxy.url()).await.expect("connects");
    let guard = holder.fair_lock("outage").lock().await.expect("free");
    let waiting = stands(&direct, client.fair_lock("outage"), 0).await;
    eventually_async("it sleeps", secs(5), async || {
        client.residue().contains("sleepers: 1,")
    })
    .await;
    proxy.cut_all();
    eventually_async("it is back", secs(5), async || client.stats().connects >= 2).await;
    guard.unlock().await.expect("held");
    let (guard, _) = waiting.await.expect("joins").expect("granted");
    guard.unlock().await.expect("held");
    close(client).await;
    close(holder).await;
}

/// What the whole crowd asks of the server while nobody moves: one look a second for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_waiters_keep_their_places_with_one_script_a_second() {
    const WAITERS: usize = 200;
    let server = Server::start();
    let direct = server.direct();
    let client = Client::connect(server.url()).await.expect("connects");
    let guard = client.fair_lock("crowd").lock().await.expect("free");
    let tasks: Vec<_> = (0..WAITERS)
        .map(|_| {
            let lock = client.fair_lock("crowd").with_owner(Owner::fresh());
            tokio::spawn(async move {
                let guard = lock.lock().await.expect("granted");
                guard.unlock().await.expect("held");
            })
        })
        .collect();
    eventually_async("all sleep", secs(10), async || {
        client.residue().contains(&format!("sleepers: {WAITERS},"))
    })
    .await;
    let polls = client.stats().polls;
    direct.reset_stats();
    let begun = Instant::now();
    eventually_async("three looks", secs(10), async || {
        client.stats().polls >= polls + 3
    })
    .await;
    let looks = client.stats().polls - polls;
    let scripts = direct.command_calls("evalsha");
    assert!(scripts <= looks + 2, "{scripts} scripts for {looks} looks");
    assert!(
        looks as f64 <= begun.elapsed().as_secs_f64() / 0.37 + 2.0,
        "{looks} looks in {:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    guard.unlock().await.expect("held");
    for task in tasks {
        task.await.expect("no panic");
    }
    println!("{WAITERS} fair waiters served in {:?}", begun.elapsed());
    assert_eq!(direct.cmd(&["DBSIZE"]).int(), 0);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_seen_from_outside() {
    let (client, name, direct) = (client().await, name("seen"), direct());
    let guard = client.fair_lock(&*name).lock().await.expect("free");
    let lock = client.fair_lock(&*name).with_owner(Owner::fresh());
    let waiting = stands(&direct, lock, 0).await;
    let seen = client.inspect(&*name).await.expect("answers");
    assert_eq!(seen.queue, queue(&direct, &name));
    assert_eq!(seen.waiting_here, 1);
    assert_eq!(seen.holders[0].id, guard.owner_id());
    guard.unlock().await.expect("held");
    let (guard, _) = waiting.await.expect("joins").expect("granted");
    guard.unlock().await.expect("held");
    close(client).await;
}

/// A JVM's unlock of a fair lock whose lease is over succeeds; the holder never learns that others may have been in.
#[tokio::test]
async fn flaw_10_unlocking_a_lock_whose_lease_is_over_says_so() {
    let (client, name, direct) = (client().await, name("expired"), direct());
    let guard = client
        .fair_lock(&*name)
        .lock()
        .lease(ms(200))
        .await
        .expect("free");
    eventually_async("the lease is over", secs(5), async || !direct.exists(&name)).await;
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    close(client).await;
}
