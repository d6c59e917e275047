//! The ways in which waiters are woken, and who hears whom.

use std::time::Instant;

use redlatch::{Client, Event, Owner, ShardedPubSub};
use redlatch_support::{Cluster, Direct, eventually, eventually_async, slot_of};
use tokio_stream::StreamExt;

use crate::common::{
    asleep, client_with, close, hearers, ms, other_than, secs, settled, stage, until,
};

/// A client of this mode whose safety poll comes too late to help.
async fn of_mode(cluster: &Cluster, mode: ShardedPubSub) -> Client {
    client_with(cluster, |builder| {
        builder
            .sharded_pubsub(mode)
            .safety_poll(secs(25))
            // On the bus nothing tells of a move, and nothing need.
            .topology_refresh(ms(200))
    })
    .await
}

fn can_shard(cluster: &Cluster) -> bool {
    cluster.nodes()[0].binary().major() >= 7
}

fn channel(name: &str) -> String {
    format!("redisson_lock__channel:{{{name}}}")
}

/// Subscribers by `SSUBSCRIBE` and by `SUBSCRIBE` at the server.
fn both_ways(server: &Direct, name: &str) -> [i64; 2] {
    let channel = channel(name);
    let plain = server.numsub(&channel);
    [hearers(server, &channel) - plain, plain]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_subscribes_as_it_says() {
    use ShardedPubSub::{Auto, Both, Off, On};
    let cluster = Cluster::shared();
    let sharded = i64::from(can_shard(cluster));
    // What Redisson does by default; and who wants both on a server that has one way uses that.
    let mut due = vec![
        (Auto, [sharded, 1 - sharded]),
        (Off, [0, 1]),
        (Both, [sharded, 1]),
    ];
    if can_shard(cluster) {
        due.push((On, [1, 0]));
    }
    for (mode, due) in due {
        let name = cluster.name_on(cluster.masters()[1], "mode");
        let home = cluster.direct_for(&name);
        let (holder, waiter) = (of_mode(cluster, mode).await, of_mode(cluster, mode).await);
        let guard = holder.lock(&*name).lock().await.expect("free");
        let lock = waiter.lock(&*name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(10)).await });
        asleep(&waiter, 1).await;
        assert_eq!(both_ways(&home, &name), due, "{mode:?}");
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        guard.unlock().await.expect("held");
        eventually("nobody listens", secs(5), || {
            both_ways(&home, &name) == [0, 0]
        });
        close(holder).await;
        close(waiter).await;
    }
}

/// One holds, the other waits and is woken by a message. With `moves` the slot moves while it sleeps.
async fn hears(cluster: &Cluster, holder: &Client, waiter: &Client, name: &str, moves: bool) {
    let guard = holder.lock(name).lock().await.expect("free");
    let lock = waiter.lock(name);
    let waiting = tokio::spawn(async move {
        let guard = lock.lock().wait(secs(20)).await;
        (guard, Instant::now())
    });
    asleep(waiter, 1).await;
    if moves {
        let source = cluster.master_of_key(name);
        let listens = both_ways(&source.direct(), name);
        cluster.move_slot(slot_of(name), other_than(cluster, source));
        let home = cluster.direct_for(name);
        eventually_async(
            "the waiter listens at the new master",
            secs(5),
            async || both_ways(&home, name) == listens,
        )
        .await;
        settled(waiter).await;
        asleep(waiter, 1).await;
        holder.inspect(name).await.expect("answers");
    }
    let before = waiter.stats();
    let freed = Instant::now();
    guard.unlock().await.expect("held");
    let (guard, granted) = waiting.await.expect("joins");
    let took = granted.saturating_duration_since(freed);
    guard.expect("granted").unlock().await.expect("held");
    let stats = waiter.stats();
    assert_eq!(
        stats.wakeups_by_message,
        before.wakeups_by_message + 1,
        "after {took:?}: {stats:?}"
    );
    assert!(took < ms(300), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_hear_each_other_who_have_a_way_in_common() {
    use ShardedPubSub::{Auto, Both, Off, On};
    let cluster = stage().await;
    let mut pairs = vec![
        (Auto, Auto),
        (Off, Off),
        (Both, Off),
        (Off, Both),
        (Both, Both),
    ];
    if can_shard(&cluster) {
        pairs.extend([(On, On), (Auto, On), (Both, On), (On, Both), (Both, Auto)]);
    }
    for (one, other) in pairs {
        let (holder, waiter) = (of_mode(&cluster, one).await, of_mode(&cluster, other).await);
        let begun = Instant::now();
        for master in 0..3 {
            let name = cluster.name_on(cluster.masters()[master], "heard");
            hears(&cluster, &holder, &waiter, &name, false).await;
            hears(&cluster, &holder, &waiter, &name, true).await;
            hears(&cluster, &holder, &waiter, &name, false).await;
        }
        println!("{other:?} hears {one:?}, {:?} for nine", begun.elapsed());
        for client in [holder, waiter] {
            assert_eq!(client.stats().odd_messages, 0);
            close(client).await;
        }
    }
}

/// A slot that moves takes its own subscriptions along, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_beside_a_slot_on_the_move_go_on_to_hear() {
    let cluster = stage().await;
    for mode in [ShardedPubSub::Auto, ShardedPubSub::Off, ShardedPubSub::Both] {
        let (holder, waiter) = (of_mode(&cluster, mode).await, of_mode(&cluster, mode).await);
        let source = cluster.masters()[0];
        let names = ["stays", "moves"].map(|name| cluster.name_on(source, name));
        let mut guards = Vec::new();
        let mut waiting = Vec::new();
        for name in &names {
            guards.push(holder.lock(&**name).lock().await.expect("free"));
            let lock = waiter.lock(&**name);
            waiting.push(tokio::spawn(
                async move { lock.lock().wait(secs(20)).await },
            ));
        }
        asleep(&waiter, 2).await;
        let mut events = waiter.events();
        let slot = slot_of(&names[1]);
        let listens = both_ways(&source.direct(), &names[1]);
        for _ in 0..3 {
            // There and back again.
            for target in [other_than(&cluster, source), source] {
                cluster.move_slot(slot, target);
                let home = target.direct();
                until("the waiter listens at the new master", || {
                    both_ways(&home, &names[1]) == listens
                })
                .await;
            }
        }
        settled(&waiter).await;
        for (guard, waiting) in guards.into_iter().zip(waiting) {
            guard.unlock().await.expect("held");
            let guard = waiting.await.expect("joins").expect("granted");
            guard.unlock().await.expect("held");
        }
        close(holder).await;
        close(waiter).await;
        // All that happened to the waiter, until it was closed.
        while let Some(event) = events.next().await {
            match event {
                Event::Disconnected { reason, .. } if reason == "closed" => {}
                Event::Disconnected { reason, .. } => panic!("{mode:?}: {reason}"),
                Event::SubscriptionFailed { reason, .. } => panic!("{mode:?}: {reason}"),
                _ => {}
            }
        }
    }
}

/// On the bus nobody counts who hears, so a dead head of a fair queue has the time it was given. In a shard it has five
/// seconds, however much it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_head_goes_by_its_deadline_where_nobody_counts_the_hearers() {
    tokio::join!(
        dead_head(ShardedPubSub::Auto),
        dead_head(ShardedPubSub::Off),
        dead_head(ShardedPubSub::Both)
    );
}

async fn dead_head(mode: ShardedPubSub) {
    let cluster = Cluster::shared();
    let counted = mode == ShardedPubSub::Auto && can_shard(cluster);
    let client = of_mode(cluster, mode).await;
    let name = cluster.name_on(cluster.masters()[2], "deaf");
    let home = cluster.direct_for(&name);
    let guard = client.fair_lock(&*name).lock().await.expect("free");
    let [queue, deadlines] =
        ["redisson_lock_queue", "redisson_lock_timeout"].map(|key| format!("{key}:{{{name}}}"));
    let time = home.cmd(&["TIME"]).strings();
    let now = time[0].parse::<i64>().expect("seconds") * 1_000;
    // A JVM's place lasts for minutes; with one second and the allowance for its clock it is about as much.
    let deadline = now + if counted { 300_000 } else { 1_000 };
    home.cmd(&["RPUSH", &queue, "dead:1"]).accepted();
    home.cmd(&["ZADD", &deadlines, &deadline.to_string(), "dead:1"])
        .accepted();
    let lock = client.fair_lock(&*name).with_owner(Owner::fresh());
    let waiting = tokio::spawn(async move {
        let guard = lock.lock().wait(secs(20)).await;
        (guard, Instant::now())
    });
    until("it stands in the queue", || {
        home.cmd(&["LLEN", &queue]).int() == 2
    })
    .await;
    let freed = Instant::now();
    guard.unlock().await.expect("held");
    let (guard, granted) = waiting.await.expect("joins");
    let took = granted.saturating_duration_since(freed);
    println!("{mode:?}: {took:?} behind a dead head");
    guard.expect("granted").unlock().await.expect("held");
    assert!(took > secs(3) && took < secs(9), "{mode:?}: {took:?}");
    close(client).await;
}
