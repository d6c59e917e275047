//! Processes and servers that stop: frozen holders, killed holders, frozen servers.

use std::time::Instant;

use redlatch::LossCause;
use redlatch_support::{Process, Server, eventually_async};

use crate::kit::{Rig, Through, close, connect, ms, secs};

/// Set for the process that this test binary starts as a holder of a lock: the server's address.
const HOLDER: &str = "REDLATCH_TEST_HOLDER";

/// One lock of each kind, of a name of its own.
macro_rules! every_kind {
    ($client:expr, $side:ident, $lock:ident => $use:expr) => {{
        let both = $client.read_write_lock("held-write");
        let readers = $client.read_write_lock("held-read");
        every_kind!(@ $lock => $use;
            $client.lock("held-elsewhere"), $client.fair_lock("held-fair"), $client.fenced_lock("held-fenced"),
            $client.spin_lock("held-spin"), $client.non_reentrant_lock("held-once"),
            $client.non_reentrant_fair_lock("held-once-fair"), readers.$side().clone(),
            both.write_lock().clone(), $client.group_lock("held-group", ["one", "two"]))
    }};
    (@ $lock:ident => $use:expr; $($of:expr),*) => {
        ($({ let $lock = $of; $use }),*)
    };
}

/// The same for what `every_kind` gave.
macro_rules! of_each {
    ($guards:expr, $guard:ident => $use:expr) => {{
        let (a, b, c, d, e, f, g, h, i) = $guards;
        [
            {
                let $guard = a;
                $use
            },
            {
                let $guard = b;
                $use
            },
            {
                let $guard = c;
                $use
            },
            {
                let $guard = d;
                $use
            },
            {
                let $guard = e;
                $use
            },
            {
                let $guard = f;
                $use
            },
            {
                let $guard = g;
                $use
            },
            {
                let $guard = h;
                $use
            },
            {
                let $guard = i;
                $use
            },
        ]
    }};
}

/// Not a test of its own: what the holder process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_process() {
    let Ok(url) = std::env::var(HOLDER) else {
        return;
    };
    let client = connect(&url, |builder| {
        builder.watchdog_timeout(ms(1_500)).heartbeat(ms(300))
    })
    .await;
    let guards = every_kind!(client, read_lock, lock => lock.lock().await.expect("free"));
    println!("\nholding");
    let word = || {
        tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).expect("a word");
        })
    };
    word().await.expect("no panic");
    // Its watchdog and its connections may notice at this moment that time has passed, which counts as well.
    let sent = || (client.stats().attempts, client.stats().renewals);
    let before = sent();
    let lost = of_each!(&guards, guard => guard.is_lost());
    let worked = of_each!(&guards, guard => guard.run(async {}).await.is_ok());
    println!(
        "\nlost {lost:?} worked {worked:?} sent {}",
        sent() != before
    );
    word().await.expect("no panic");
    let refused =
        of_each!(guards, guard => guard.unlock().await.is_err_and(|error| error.is_lost()));
    println!("\nrefused {refused:?}");
}

fn holder(server: &Server) -> Process {
    let process = Process::start("silence::holder_process", HOLDER, &server.url());
    process.said("holding");
    process
}

/// With a lock of every kind. It goes on working meanwhile, with its connections and its timers.
#[tokio::test]
async fn a_holder_stopped_beyond_its_time_knows_before_anything_is_sent() {
    let server = Server::start();
    let mut holder = holder(&server);
    let direct = server.direct();
    let client = connect(&server.url(), |builder| builder.heartbeat(secs(60))).await;
    holder.signal("-STOP");
    // A reader does not wait for a reader.
    let guards = every_kind!(client, write_lock, lock => {
        let guard = lock.lock().wait(secs(10)).await;
        guard.expect("its time to live is over")
    });
    let hashes = || of_each!(&guards, guard => direct.hgetall(guard.name()));
    let before = hashes();
    direct.reset_stats();
    holder.signal("-CONT");
    eventually_async("it is back", secs(10), async || {
        direct.command_calls("ping") >= 2
    })
    .await;
    holder.tell("go");
    let line = holder.said("lost");
    let all = |value: bool| format!("{:?}", [value; 9]);
    assert_eq!(
        line,
        format!("{} worked {} sent false", all(true), all(false))
    );
    // What it has said since is that it holds nothing, and there was nothing of its own to take away. (A group says so
    // aloud as well: a message lets nobody in.)
    for changes in [
        "pexpire", "set", "hset", "del", "hdel", "zadd", "rpush", "incr",
    ] {
        let calls = direct.command_calls(changes);
        assert_eq!(calls, 0, "{changes} for a lost lock");
    }
    holder.tell("go");
    assert_eq!(holder.said("refused"), all(true));
    assert_eq!(hashes(), before, "the new holders' locks are untouched");
    for unlocked in of_each!(guards, guard => guard.unlock().await) {
        unlocked.expect("held");
    }
    close(client).await;
}

#[tokio::test]
async fn a_killed_holder_keeps_others_out_for_its_time_to_live_only() {
    let server = Server::start();
    let holder = holder(&server);
    let client = connect(&server.url(), |builder| builder).await;
    let waiting = crate::kit::Waiting::start(&client, "held-elsewhere", secs(10));
    eventually_async("it waits", secs(5), async || client.stats().waits == 1).await;
    holder.signal("-KILL");
    let killed = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert!(granted - killed < ms(1_800), "{:?}", granted - killed);
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_server_frozen_beyond_the_watchdog_is_told_on_time_and_grants_once() {
    let watchdog = ms(1_500);
    let rig = Rig::with(Through::Waiter, |builder| {
        builder
            .watchdog_timeout(watchdog)
            .command_timeout(ms(400))
            .connect_timeout(ms(400))
    })
    .await;
    let (guard, waiting) = rig.contended("frozen").await;
    rig.server.freeze();
    assert_eq!(guard.lost().await, LossCause::Unreachable);
    let deadline = guard.valid_until();
    assert!(Instant::now() >= deadline && Instant::now() < deadline + ms(300));
    rig.server.thaw();
    let (second, _) = waiting.granted().await;
    assert!(guard.is_lost());
    assert_eq!(rig.direct().hgetall("frozen").len(), 1);
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    assert_eq!(rig.direct().hgetall("frozen")[&second.owner_id()], "1");
    second.unlock().await.expect("held");
    rig.end().await;
}
