//! Waiting readers come in together, and when a writer of the other side goes on as a reader.

use std::time::{Duration, Instant};

use redlatch::{Client, Owner, Read, Write};
use redlatch_support::{Server, eventually_async, jvm::jvm_or_skip, unique_name};

use super::hash;
use crate::{
    common::{Stage, WAKE_LIMIT, asleep, close, quiet, secs, shared_jvm, wait_for},
    java::{JavaLock, follow, wait_in_jvm},
    kinds::Shared,
};

const READERS: usize = 4;
/// Nothing is published when a JVM's writer goes on as a reader, so the safety poll, one a second, has to find it.
const FOUND: Duration = secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_our_readers_come_in_when_a_jvm_writer_leaves() {
    let Some(driver) = jvm_or_skip("all_our_readers_come_in_when_a_jvm_writer_leaves") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let clients = [stage.client().await, stage.client().await];
    let (direct, name) = (stage.server.direct(), unique_name("readers"));
    let java = JavaLock::<Write>::of(&stage.jvm, &name);
    java.lock().await;
    let readers = clients.iter().cycle().take(READERS);
    let waiting: Vec<_> = readers
        .map(|client| wait_for(Read::of(client, &name).with_owner(Owner::fresh())))
        .collect();
    // One in each client asks for all.
    for client in &clients {
        asleep(client).await;
    }

    let released = Instant::now();
    java.unlock().await;
    let (mut guards, mut times) = (Vec::new(), Vec::new());
    for reader in waiting {
        let (guard, granted) = reader.await.expect("joins");
        guards.push(guard.expect("granted after the unlock"));
        times.push(granted.saturating_duration_since(released));
    }
    println!("our readers in after {times:?}");
    assert!(times.iter().all(|took| *took < WAKE_LIMIT), "{times:?}");
    assert_eq!(direct.hgetall(&name).len(), READERS + 1, "with the mode");
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    for client in clients {
        close(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_jvm_readers_come_in_when_our_writer_leaves() {
    let Some(driver) = jvm_or_skip("all_jvm_readers_come_in_when_our_writer_leaves") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, name) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("jvm-readers"),
    );
    let guard = client.read_write_lock(name.as_str()).write().await;
    let guard = guard.expect("free");
    let (mut readers, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..READERS {
        let reader = JavaLock::<Read>::of(&stage.jvm, &name);
        let asked = direct.command_calls("evalsha");
        waiting.push(follow(reader.begin("lock", &[])));
        readers.push(reader);
        eventually_async("the JVM has asked twice", secs(5), async || {
            direct.command_calls("evalsha") >= asked + 2
        })
        .await;
    }

    let released = Instant::now();
    guard.unlock().await.expect("held");
    let mut times = Vec::new();
    for reader in waiting {
        let (reply, granted) = reader.await.expect("joins");
        reply.expect("granted after the unlock");
        times.push(granted.saturating_duration_since(released));
    }
    println!("the JVM's readers in after {times:?}");
    assert!(times.iter().all(|took| *took < WAKE_LIMIT), "{times:?}");
    assert_eq!(direct.hgetall(&name).len(), READERS + 1, "with the mode");
    for reader in readers {
        reader.unlock().await;
    }
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_reader_comes_in_when_our_writer_goes_on_reading() {
    let Some(driver) = jvm_or_skip("a_jvm_reader_comes_in_when_our_writer_goes_on_reading") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, name) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("downgrade"),
    );
    let owner = Owner::fresh();
    let id = format!("{}:{owner}", client.id());
    let lock = client.read_write_lock(name.as_str()).with_owner(owner);
    let write = lock.write().await.expect("free");
    let read = lock.read().await.expect("a writer may read");
    let java = JavaLock::<Read>::of(&stage.jvm, &name);
    let java_id = java.owner().await;
    let waiting = wait_in_jvm(&direct, &name, &java).await;

    let released = Instant::now();
    write.unlock().await.expect("held");
    let (reply, granted) = waiting.await.expect("joins");
    reply.expect("readers share");
    let took = granted.saturating_duration_since(released);
    println!("the JVM's reader in {took:?} after we ceased to write");
    assert!(took < WAKE_LIMIT, "{took:?}");
    let both = hash("read", &[(&id, 1), (&java_id, 1)]);
    assert_eq!(direct.hgetall(&name), both);
    read.unlock().await.expect("held");
    assert_eq!(direct.hgetall(&name), hash("read", &[(&java_id, 1)]));
    java.unlock().await;
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_reader_comes_in_when_a_jvm_writer_goes_on_reading() {
    let Some(driver) = jvm_or_skip("our_reader_comes_in_when_a_jvm_writer_goes_on_reading") else {
        return;
    };
    let _quiet = quiet().await;
    let server = Server::shared();
    let client = Client::connect(server.url()).await.expect("connects");
    let (direct, name) = (server.direct(), unique_name("jvm-downgrade"));
    let java = JavaLock::<Write>::of(shared_jvm(driver), &name);
    let java_read = java.other::<Read>();
    let java_id = java.owner().await;
    java.lock().await;
    java_read.lock().await;
    let owner = Owner::fresh();
    let id = format!("{}:{owner}", client.id());
    let lock = client.read_write_lock(name.as_str()).with_owner(owner);
    let waiting = wait_for(lock.read_lock().clone());
    asleep(&client).await;

    let released = Instant::now();
    java.unlock().await;
    let (guard, granted) = waiting.await.expect("joins");
    let guard = guard.expect("readers share");
    let took = granted.saturating_duration_since(released);
    println!("our reader in {took:?} after the JVM ceased to write");
    assert!(took < FOUND, "{took:?}");
    let both = hash("read", &[(&id, 1), (&java_id, 1)]);
    assert_eq!(direct.hgetall(&name), both);
    java_read.unlock().await;
    assert_eq!(direct.hgetall(&name), hash("read", &[(&id, 1)]));
    guard.unlock().await.expect("held");
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}
