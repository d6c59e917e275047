//! What a pair of lock and unlock costs in allocations, with all that the client does for it on any thread: a binary of its
//! own, since it counts whatever the process does.

use redlatch::{Client, Kind, Lock};
use redlatch_support::Server;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PAIRS: u64 = 2_000;

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
async fn an_uncontended_pair_allocates_little() {
    let server = Server::start();
    let client = Client::connect(server.url()).await.expect("connects");
    let _counting = dhat::Profiler::builder().testing().build();
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
    let report = client.close(std::time::Duration::from_secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
}
