//! What a client costs in memory, and a pair of lock and unlock in allocations, with all that is done for it on any thread: a
//! binary of its own, since it counts whatever the process does.

use std::time::Duration;

use redlatch::{Client, Error, Kind, Lock, Owner};
use redlatch_support::Server;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PAIRS: u64 = 2_000;
/// What a connected client may take, in bytes. Three quarters are the room for messages that come all at once.
const A_CLIENT: usize = 4 << 20;

async fn pairs<K: Kind>(lock: &Lock<K>, count: u64) {
    for _ in 0..count {
        let guard = lock.lock().await.expect("free");
        guard.unlock().await.expect("held");
    }
}

/// Blocks allocated for one uncontended pair, as a mean.
async fn a_pair<K: Kind>(lock: Lock<K>) -> f64 {
    pairs(&lock, 100).await;
    let before = dhat::HeapStats::get().total_blocks;
    pairs(&lock, PAIRS).await;
    (dhat::HeapStats::get().total_blocks - before) as f64 / PAIRS as f64
}

#[tokio::test]
async fn a_client_and_an_uncontended_pair_allocate_little() {
    let server = Server::start();
    let _counting = dhat::Profiler::builder().testing().build();
    let client = Client::connect(server.url()).await.expect("connects");
    // With the connection for messages, which is made beside this.
    let guard = client.lock("held").lock().await.expect("free");
    let rival = client.lock("held").with_owner(Owner::fresh());
    let busy = rival.lock().wait(Duration::from_millis(50)).await;
    assert!(matches!(busy, Err(Error::TimedOut { .. })), "{busy:?}");
    guard.unlock().await.expect("held");
    let bytes = dhat::HeapStats::get().curr_bytes;
    println!("{} KiB a client", bytes >> 10);
    assert!(bytes <= A_CLIENT, "{bytes} bytes for a client");
    let plain = a_pair(client.lock("plain")).await;
    let fair = a_pair(client.fair_lock("fair")).await;
    let fenced = a_pair(client.fenced_lock("fenced")).await;
    println!("blocks a pair: plain {plain:.1}, fair {fair:.1}, fenced {fenced:.1}");
    for (kind, blocks, most) in [
        ("plain", plain, 58.0),
        ("fair", fair, 86.0),
        ("fenced", fenced, 63.0),
    ] {
        assert!(blocks <= most, "{kind}: {blocks:.1} blocks a pair");
    }
    let report = client.close(Duration::from_secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
}
