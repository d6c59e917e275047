//! Many who want the same, many times over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use redlatch::{Client, Kind, Lock, Owner};
use redlatch_support::{Server, eventually_async};

use crate::common::{close, secs};

async fn connect(server: &Server) -> Client {
    Client::connect(server.url()).await.expect("connects")
}

/// Every task takes every name once; nobody meets anybody, and nothing is left.
async fn all_take_turns<K: Kind>(
    clients: Vec<Client>,
    names: usize,
    tasks: usize,
    of: fn(&Client, String) -> Lock<K>,
) {
    let inside: Arc<Vec<AtomicUsize>> = Arc::new((0..names).map(|_| AtomicUsize::new(0)).collect());
    let begun = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let client = clients[task % clients.len()].clone();
            let inside = inside.clone();
            tokio::spawn(async move {
                for turn in 0..names {
                    let name = (task + turn) % names;
                    let guard = of(&client, format!("crowd-{name}")).lock().await;
                    let guard = guard.expect("granted");
                    assert_eq!(inside[name].fetch_add(1, Ordering::SeqCst), 0);
                    inside[name].fetch_sub(1, Ordering::SeqCst);
                    guard.unlock().await.expect("held");
                }
            })
        })
        .collect();
    for task in running {
        task.await.expect("no panic");
    }
    println!("{} turns in {:?}", tasks * names, begun.elapsed());
    for client in clients {
        close(client).await;
    }
}

async fn until_nothing_is_on(server: &Server) {
    let direct = server.direct();
    eventually_async("nothing is left on the server", secs(5), async || {
        direct.cmd(&["DBSIZE"]).int() == 0
            && direct.cmd(&["PUBSUB", "CHANNELS", "*"]).items().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_tasks_over_five_names() {
    let server = Server::start();
    let clients = vec![connect(&server).await];
    all_take_turns(clients, 5, 1_000, |client, name| client.lock(name)).await;
    until_nothing_is_on(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_over_one_name() {
    let server = Server::start();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(connect(&server).await);
    }
    all_take_turns(clients, 1, 100, |client, name| client.lock(name)).await;
    until_nothing_is_on(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_before_spin_and_fair_locks() {
    let server = Server::start();
    let clients = vec![connect(&server).await, connect(&server).await];
    all_take_turns(clients, 3, 60, |client, name| client.spin_lock(name)).await;
    let clients = vec![connect(&server).await, connect(&server).await];
    all_take_turns(clients, 3, 60, |client, name| client.fair_lock(name)).await;
    until_nothing_is_on(&server).await;
}

/// Trying and giving back, over and over, by many owners of one client: what is held is always in the books.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trying_again_and_again_never_loses_a_hold() {
    const ROUNDS: usize = 500;
    let server = Server::start();
    let client = connect(&server).await;
    let granted = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (client, granted) = (client.clone(), granted.clone());
            tokio::spawn(async move {
                let lock = client.lock("tries");
                for _ in 0..ROUNDS {
                    if let Some(guard) = lock.try_lock().await.expect("answers") {
                        assert!(!guard.is_lost());
                        granted.fetch_add(1, Ordering::SeqCst);
                        guard.unlock().await.expect("held");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let granted = granted.load(Ordering::SeqCst);
    println!("{granted} of {} tries", 16 * ROUNDS);
    assert!(granted > 0);
    until_nothing_is_on(&server).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_and_semaphores_side_by_side() {
    const PERMITS: u32 = 3;
    let server = Server::start();
    let clients = [connect(&server).await, connect(&server).await];
    let semaphore = clients[0].semaphore("heavy-permits");
    assert!(semaphore.try_set_permits(PERMITS).await.expect("answers"));
    let (inside, shared) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let client = clients[task % 2].clone();
            let (inside, shared) = (inside.clone(), shared.clone());
            tokio::spawn(Owner::fresh().scope(async move {
                let lock = client.lock("heavy-lock");
                let semaphore = client.semaphore("heavy-permits");
                for _ in 0..50 {
                    let permit = semaphore.acquire().await.expect("granted");
                    let before = shared.fetch_add(1, Ordering::SeqCst);
                    assert!(before < PERMITS as usize, "{before} inside");
                    let guard = lock.lock().await.expect("granted");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.unlock().await.expect("held");
                    shared.fetch_sub(1, Ordering::SeqCst);
                    permit.release().await.expect("ours");
                }
            }))
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(
        semaphore.available_permits().await.expect("answers"),
        i64::from(PERMITS)
    );
    assert!(semaphore.delete().await.expect("answers"));
    for client in clients {
        close(client).await;
    }
    until_nothing_is_on(&server).await;
}
