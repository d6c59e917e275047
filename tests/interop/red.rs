//! A majority of ours and a red-lock of the JVM, over three independent servers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redlatch::{Client, MultiGuard, MultiLock, Owner};
use redlatch_support::{
    Server, eventually_async,
    jvm::{DriverJar, Jvm, JvmOptions, jvm_or_skip},
    unique_name,
};

use crate::{
    common::{LIMIT, WAKE_LIMIT, close, ms, quiet, secs},
    java::{JavaLock, follow},
    synchronizers::{Java, served_there},
};

const ROUNDS: usize = 5;
/// Our waiter looks by itself, every quarter of a second at the latest, as long as each server takes to answer apart.
const LOOK_LIMIT: Duration = ms(1_000);

/// Three servers that know nothing of each other, and both sides' clients of each.
pub(crate) struct Rig {
    pub(crate) servers: Vec<Server>,
    pub(crate) jvm: Jvm,
    pub(crate) clients: Vec<Client>,
    pub(crate) name: String,
}

impl Rig {
    pub(crate) async fn start(driver: &DriverJar) -> Self {
        let servers: Vec<_> = (0..3).map(|_| Server::start()).collect();
        let options = JvmOptions::single(servers[0].url());
        let options = options.also(servers[1].url()).also(servers[2].url());
        let jvm = Jvm::start(driver, &options.timeout(ms(500)));
        let mut clients = Vec::new();
        for server in &servers {
            let builder = Client::builder().url(server.url()).expect("its address");
            let builder = builder.command_timeout(ms(500));
            clients.push(builder.connect().await.expect("connects"));
        }
        Self {
            servers,
            jvm,
            clients,
            name: unique_name("red"),
        }
    }

    pub(crate) fn ours(&self) -> MultiLock {
        let members = self.clients.iter();
        let members = members.map(|client| client.lock(self.name.as_str()));
        let lock = MultiLock::majority(members).expect("three of them");
        lock.with_owner(Owner::fresh())
    }

    fn theirs(&self) -> Java<'_> {
        Java::set(&self.jvm, "red", &[&self.name])
    }

    /// The hash on each server that runs.
    fn hashes(&self) -> Vec<BTreeMap<String, String>> {
        let running = self.servers.iter().filter(|server| server.is_running());
        running
            .map(|server| server.direct().hgetall(&self.name))
            .collect()
    }

    /// So many servers say that this thread of the JVM has it, and the others say that nobody has.
    #[track_caller]
    fn assert_theirs(&self, owner: &str, count: usize) {
        let (_, thread) = owner.split_once(':').expect("an id and a thread");
        let hashes = self.hashes();
        let theirs = hashes.iter().filter(|hash| {
            let mut fields = hash.iter();
            let (field, holds) = match (fields.next(), fields.next()) {
                (Some(only), None) => only,
                (None, _) => return false,
                more => panic!("{more:?} hold it"),
            };
            assert!(field.ends_with(&format!(":{thread}")), "{field:?} holds it");
            holds == "1"
        });
        assert_eq!(theirs.count(), count, "{hashes:?}");
    }

    /// Each of our holds is on its server, and there is nothing else.
    #[track_caller]
    fn assert_ours(&self, guard: &MultiGuard, count: usize) {
        assert_eq!(guard.held(), count);
        let ours = self.servers.iter().zip(&self.clients);
        let ours = ours.filter(|(server, client)| {
            let owner = format!("{}:{}", client.id(), guard.owner());
            let due = BTreeMap::from([(owner, "1".to_owned())]);
            server.is_running() && server.direct().hgetall(&self.name) == due
        });
        assert_eq!(ours.count(), count, "{:?}", self.hashes());
    }

    pub(crate) async fn nothing_left(&self) {
        for server in self.servers.iter().filter(|server| server.is_running()) {
            crate::sets::nothing_left(&server.direct(), &self.name).await;
        }
    }

    pub(crate) async fn end(self) {
        for client in self.clients {
            close(client).await;
        }
    }
}

fn report(who: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "red, {who}: {} times, median {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_red_lock_changes_hands() {
    let Some(driver) = jvm_or_skip("a_red_lock_changes_hands") else {
        return;
    };
    let _quiet = quiet().await;
    let rig = Rig::start(driver).await;
    let (mut to_rust, mut to_jvm) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (java, lock) = (rig.theirs(), rig.ours());
        let owner = java.owner().await;
        java.run("lock", &[]).await.expect("free");
        rig.assert_theirs(&owner, 3);
        assert!(lock.try_lock().await.expect("answers").is_none());
        rig.assert_theirs(&owner, 3);
        let before: u64 = rig.clients[0].stats().attempts;
        let waiter = lock.clone();
        let waiting =
            tokio::spawn(async move { (waiter.lock().wait(LIMIT).await, Instant::now()) });
        eventually_async("our waiter has looked a few times", secs(5), async || {
            rig.clients[0].stats().attempts >= before + 4
        })
        .await;
        rig.assert_theirs(&owner, 3);
        let released = Instant::now();
        java.run("unlock", &[]).await.expect("held");
        let (guard, granted) = waiting.await.expect("joins");
        let mut guard = guard.expect("granted after the unlock");
        let took = granted.saturating_duration_since(released);
        assert!(took < LOOK_LIMIT, "in only after {took:?}");
        to_rust.push(took);
        // Two are enough, and the JVM may have been on its way to the third.
        if guard.held() == 2 {
            rig.assert_ours(&guard, 2);
            guard.unlock().await.expect("held");
            guard = lock.lock().wait(LIMIT).await.expect("free");
        }
        rig.assert_ours(&guard, 3);

        assert!(!java.truth("trylock", &[]).await, "in beside {guard:?}");
        rig.assert_ours(&guard, 3);
        let waiting = follow(java.begin("lock", &[]));
        crate::common::subscribers(&rig.servers[0].direct(), &rig.name, 1).await;
        let released = Instant::now();
        guard.unlock().await.expect("held");
        let took = served_there(waiting, released).await.1;
        assert!(took < WAKE_LIMIT);
        to_jvm.push(took);
        rig.assert_theirs(&owner, 3);
        java.run("unlock", &[]).await.expect("held");
        rig.nothing_left().await;
    }
    report("JVM to Rust", to_rust);
    report("Rust to JVM", to_jvm);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_are_a_lock_for_both() {
    let Some(driver) = jvm_or_skip("two_of_three_are_a_lock_for_both") else {
        return;
    };
    let _quiet = quiet().await;
    let rig = Rig::start(driver).await;
    for busy in 0..3 {
        // Somebody else has it on one server.
        let third = rig.clients[busy].lock(rig.name.as_str());
        let third = third.with_owner(Owner::fresh()).lock().await.expect("free");
        let (java, lock) = (rig.theirs(), rig.ours());
        assert!(java.truth("trylock", &[]).await, "two of three");
        let held = rig.hashes();
        assert!(held.iter().all(|hash| hash.len() == 1), "{held:?}");
        assert!(lock.try_lock().await.expect("answers").is_none());
        assert_eq!(rig.hashes(), held, "a refusal changes nothing");
        java.run("unlock", &[]).await.expect("held");

        let guard = lock.try_lock().await.expect("answers");
        let guard = guard.expect("two of three");
        assert_eq!(guard.held(), 2);
        let held = rig.hashes();
        assert!(!java.truth("trylock", &[]).await, "one of three at most");
        assert_eq!(rig.hashes(), held, "a refusal changes nothing");
        guard.unlock().await.expect("held");
        third.unlock().await.expect("held");
        rig.nothing_left().await;
    }

    // The JVM has one server only, as a plain lock: no majority, so ours gets the other two.
    let (java, lock) = (JavaLock::new(&rig.jvm, &rig.name), rig.ours());
    java.lock().await;
    let guard = lock.try_lock().await.expect("answers").expect("two");
    assert_eq!(guard.held(), 2);
    java.unlock().await;
    guard.unlock().await.expect("held");
    rig.nothing_left().await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_go_on_without_one_server() {
    let Some(driver) = jvm_or_skip("both_go_on_without_one_server") else {
        return;
    };
    let _quiet = quiet().await;
    let rig = Rig::start(driver).await;
    let (java, lock) = (rig.theirs(), rig.ours());
    let owner = java.owner().await;
    // A server dies under a hold of each side.
    java.run("lock", &[]).await.expect("free");
    rig.servers[1].kill();
    rig.assert_theirs(&owner, 2);
    assert!(lock.try_lock().await.expect("two answer").is_none());
    rig.assert_theirs(&owner, 2);
    let begun = Instant::now();
    java.run("unlock", &[]).await.expect("errors are ignored");
    println!("the JVM's unlock took {:?}", begun.elapsed());
    rig.nothing_left().await;

    // And both take it without that server.
    let begun = Instant::now();
    let guard = lock.lock().wait(secs(5)).await.expect("two of three");
    println!("our lock took {:?}", begun.elapsed());
    rig.assert_ours(&guard, 2);
    let begun = Instant::now();
    assert!(!java.truth("trylock", &[]).await, "in beside {guard:?}");
    println!("the JVM's refusal took {:?}", begun.elapsed());
    rig.assert_ours(&guard, 2);
    guard.unlock().await.expect("a majority confirms");
    rig.nothing_left().await;

    let begun = Instant::now();
    assert!(java.truth("trylock", &[]).await, "two of three are free");
    println!("the JVM's lock took {:?}", begun.elapsed());
    rig.assert_theirs(&owner, 2);
    assert!(lock.try_lock().await.expect("two answer").is_none());
    java.run("unlock", &[]).await.expect("errors are ignored");
    rig.nothing_left().await;
    for client in rig.clients {
        client.close(secs(1)).await;
    }
}
