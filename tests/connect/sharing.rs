//! Databases, prefixes, and several clients in one process.

use redlatch::Client;
use redlatch_support::{Server, eventually_async, unique_name};

use crate::kit::{asleep, at, close, connected, far, hand_over, secs};

/// Names of different databases are different locks. Channels are the server's, so a release in one wakes waiters in the
/// other, who look and sleep on.
#[tokio::test]
async fn the_same_name_in_two_databases_is_two_locks() {
    let server = Server::shared();
    let (zero, three, four) = (
        connected(at(format!("{}/0", server.url()))).await,
        connected(at(format!("{}/3", server.url()))).await,
        connected(at(format!("{}/3", server.url()))).await,
    );
    hand_over(&three, &four).await;
    let name = unique_name("databases");
    let held = three.lock(&*name).lock().await.expect("free");
    let lock = four.lock(&*name);
    let waiting = tokio::spawn(async move { lock.lock().wait(secs(20)).await });
    asleep(&four, 1).await;
    for round in 1..=5 {
        let attempts = four.stats().attempts;
        let guard = zero.lock(&*name).try_lock().await.expect("answers");
        guard.expect("another lock").unlock().await.expect("held");
        // The message of that release came, and was no more than a reason to look.
        eventually_async("another look", secs(5), async || {
            four.stats().attempts > attempts
        })
        .await;
        assert!(four.stats().wakeups_by_message >= round);
        assert!(!waiting.is_finished(), "granted in spite of its holder");
        assert!(!held.is_lost());
    }
    held.unlock().await.expect("held");
    let granted = waiting.await.expect("joins").expect("granted");
    granted.unlock().await.expect("held");

    let semaphore = unique_name("databases");
    assert!(
        zero.semaphore(&*semaphore)
            .try_set_permits(1)
            .await
            .expect("answers")
    );
    assert!(
        three
            .semaphore(&*semaphore)
            .try_set_permits(2)
            .await
            .expect("answers")
    );
    assert_eq!(
        zero.semaphore(&*semaphore)
            .available_permits()
            .await
            .expect("answers"),
        1
    );
    for client in [zero, three, four] {
        close(client).await;
    }
}

#[tokio::test]
async fn a_prefix_and_a_mapper_make_the_names_on_the_server() {
    let server = Server::shared();
    let app = unique_name("app");
    let prefix = format!("{app}:");
    let prefixed = || at(server.url()).key_prefix(prefix.clone());
    let mapper = prefix.clone();
    let mapped =
        at(server.url()).name_mapper(move |name| format!("{mapper}{}", name.to_lowercase()));
    let (one, other) = (connected(prefixed()).await, connected(prefixed()).await);
    let mapped = connected(mapped).await;
    let bare = connected(at(server.url())).await;
    hand_over(&one, &other).await;
    hand_over(&one, &mapped).await;
    let guard = one.lock("order").lock().await.expect("free");
    for (client, name, free) in [
        (&mapped, "ORDER".to_owned(), false),
        (&bare, format!("{prefix}order"), false),
        (&bare, format!("{app}-order"), true),
    ] {
        let granted = client.lock(name).try_lock().await.expect("answers");
        assert_eq!(granted.is_some(), free);
        if let Some(granted) = granted {
            granted.unlock().await.expect("held");
        }
    }
    assert!(server.direct().exists(&format!("{prefix}order")));
    guard.unlock().await.expect("held");
    for client in [one, other, mapped, bare] {
        close(client).await;
    }
}

/// Clients of different servers have nothing in common, whatever happens to one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_several_servers_live_side_by_side() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let name = unique_name("everywhere");
    let mut clients: Vec<[Client; 2]> = Vec::new();
    for server in &servers {
        clients.push([
            connected(far(at(server.url()))).await,
            connected(far(at(server.url()))).await,
        ]);
    }
    let mut guards = Vec::new();
    for [one, other] in &clients {
        // The same name, and the same task: three locks all the same.
        let guard = one.lock(&*name).try_lock().await.expect("answers");
        guards.push(guard.expect("free"));
        let refused = other.lock(&*name).try_lock().await.expect("answers");
        assert!(refused.is_none());
    }
    servers[1].freeze();
    for index in [0, 2] {
        let [one, other] = &clients[index];
        hand_over(one, other).await;
    }
    servers[1].thaw();
    let [one, other] = &clients[1];
    hand_over(one, other).await;
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    for client in clients.into_iter().flatten() {
        close(client).await;
    }
}
