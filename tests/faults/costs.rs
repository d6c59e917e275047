//! What each kind costs in commands, as the server counts them. Renewals, idle waiters and crowds are in `scale.rs`.

use redlatch::{Client, Kind, Lock, Owner};
use redlatch_support::{Direct, Server};

use crate::kit::{close, connect, ms};

/// Requests that the server has had since its figures were set to zero, but for those of the test's own connection.
fn requests(direct: &Direct) -> u64 {
    let counted = ["evalsha", "eval", "script|load", "subscribe", "unsubscribe"];
    counted
        .map(|command| direct.command_calls(command))
        .iter()
        .sum()
}

async fn pair<K: Kind>(lock: &Lock<K>) {
    let guard = lock.lock().await.expect("granted");
    guard.unlock().await.expect("held");
}

/// A lock that nobody else wants: one script to take it, one to give it back, for every kind; so for each entry more.
#[tokio::test]
async fn a_free_lock_of_any_kind_costs_two_commands() {
    const TIMES: u64 = 10;
    async fn check<K: Kind>(direct: &Direct, lock: Lock<K>) {
        // Loads the scripts.
        pair(&lock).await;
        direct.reset_stats();
        for _ in 0..TIMES {
            pair(&lock).await;
        }
        assert_eq!(requests(direct), 2 * TIMES, "{lock:?}");
    }
    let server = Server::start();
    let (direct, client) = (
        server.direct(),
        connect(&server.url(), |builder| builder).await,
    );
    check(&direct, client.lock("plain")).await;
    check(&direct, client.fair_lock("fair")).await;
    check(&direct, client.fenced_lock("fenced")).await;
    check(&direct, client.spin_lock("spin")).await;
    check(&direct, client.non_reentrant_lock("once")).await;
    check(&direct, client.non_reentrant_fair_lock("fair-once")).await;
    check(&direct, client.group_lock("group", ["a", "b"])).await;
    let both = client.read_write_lock("both");
    check(&direct, both.read_lock().clone()).await;
    check(&direct, both.write_lock().clone()).await;

    let lock = client.lock("plain");
    direct.reset_stats();
    let mut guards = Vec::new();
    for _ in 0..10 {
        guards.push(lock.lock().await.expect("enters"));
    }
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    assert_eq!(requests(&direct), 20, "ten deep");

    let semaphore = client.semaphore("permits");
    semaphore.try_set_permits(2).await.expect("answers");
    let expirable = client.expirable_semaphore("leases");
    expirable.try_set_permits(2).await.expect("answers");
    for round in 0..=TIMES {
        if round == 1 {
            direct.reset_stats();
        }
        let permit = semaphore.acquire().await.expect("there");
        permit.release().await.expect("taken");
        let permit = expirable.acquire().await.expect("there");
        permit.release().await.expect("taken");
    }
    assert_eq!(requests(&direct), 4 * TIMES);
    close(client).await;
}

/// What a turn costs in commands where tasks of these clients want one lock, again and again.
async fn a_turn<K: Kind>(
    server: &Server,
    clients: &[Client],
    lock: impl Fn(&Client) -> Lock<K>,
) -> f64 {
    const TASKS: usize = 16;
    const TURNS: usize = 40;
    // Loads the scripts.
    for client in clients {
        pair(&lock(client)).await;
    }
    let direct = server.direct();
    direct.reset_stats();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let lock = lock(&clients[task % clients.len()]).with_owner(Owner::fresh());
            tokio::spawn(async move {
                for _ in 0..TURNS {
                    pair(&lock).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("granted to the last");
    }
    requests(&direct) as f64 / (TASKS * TURNS) as f64
}

/// What a turn may cost, of a lock that goes from hand to hand: in one process, and between two. Waiters for a group, who
/// may want different values, ask each for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_costs_one_command_in_a_process_and_few_between_two() {
    macro_rules! check {
        ($($kind:literal $lock:expr, $alone:literal, $together:literal;)+) => {$(
            for (count, most) in [(1, $alone), (2, $together)] {
                let server = Server::start();
                let mut clients = Vec::new();
                for _ in 0..count {
                    let settings = |builder: redlatch::ClientBuilder| builder.local_hand_over(64, ms(5));
                    clients.push(connect(&server.url(), settings).await);
                }
                let turn = a_turn(&server, &clients, $lock).await;
                println!("{}, {count} of 16 tasks: {turn:.2} commands a turn", $kind);
                assert!(turn <= most, "{}, {count}: {turn:.2} commands a turn", $kind);
                for client in clients {
                    close(client).await;
                }
            }
        )+};
    }
    check! {
        "plain" |client: &Client| client.lock("turns"), 1.5, 2.5;
        "fenced" |client: &Client| client.fenced_lock("turns"), 1.5, 2.5;
        "non-reentrant" |client: &Client| client.non_reentrant_lock("turns"), 1.5, 2.5;
        "write" |client: &Client| client.read_write_lock("turns").write_lock().clone(), 1.5, 2.5;
        "read" |client: &Client| client.read_write_lock("turns").read_lock().clone(), 2.0, 3.0;
        "fair" |client: &Client| client.fair_lock("turns"), 2.4, 8.0;
        "spin" |client: &Client| client.spin_lock("turns"), 1.8, 2.5;
        "group" |client: &Client| client.group_lock("turns", ["a"]), 20.0, 20.0;
    }
}
