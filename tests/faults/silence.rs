//! Processes and servers that stop: frozen holders, killed holders, frozen servers.

use std::time::Instant;

use redlatch::LossCause;
use redlatch_support::{Process, Server, eventually_async};

use crate::kit::{Rig, Through, close, connect, ms, secs};

/// Set for the process that this test binary starts as a holder of a lock: the server's address.
const HOLDER: &str = "REDLATCH_TEST_HOLDER";

/// Not a test of its own: what the holder process runs.
#[tokio::test]
async fn holder_process() {
    let Ok(url) = std::env::var(HOLDER) else {
        return;
    };
    let client = connect(&url, |builder| builder.watchdog_timeout(ms(1_500))).await;
    let guard = client.lock("held-elsewhere").lock().await.expect("free");
    println!("\nholding");
    let mut line = String::new();
    // Blocks the test's only thread, as a stopped process is blocked: nothing is renewed by this thread meanwhile.
    std::io::stdin().read_line(&mut line).expect("a word");
    let scripts = client.stats();
    let lost = guard.is_lost();
    let sent = client.stats() != scripts;
    let unlocked = guard.unlock().await.map_err(|error| error.is_lost());
    println!("\nlost {lost} sent {sent} unlocked {unlocked:?}");
}

fn holder(server: &Server) -> Process {
    let process = Process::start("silence::holder_process", HOLDER, &server.url());
    process.said("holding");
    process
}

#[tokio::test]
async fn a_holder_stopped_beyond_its_time_knows_before_anything_is_sent() {
    let server = Server::start();
    let mut holder = holder(&server);
    let client = connect(&server.url(), |builder| builder).await;
    holder.signal("-STOP");
    let guard = client.lock("held-elsewhere").lock().wait(secs(10)).await;
    let guard = guard.expect("its time to live is over");
    holder.signal("-CONT");
    holder.tell("go");
    let line = holder.said("lost");
    assert_eq!(line, "true sent false unlocked Err(true)");
    assert_eq!(server.direct().hgetall("held-elsewhere").len(), 1);
    guard
        .unlock()
        .await
        .expect("the new holder's lock is untouched");
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
