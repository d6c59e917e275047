//! What it means to wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use redlatch::{Client, Owner};
use redlatch_support::{Proxy, Server, eventually_async};

use super::Subject;
use crate::common::{asleep, client, client_with, close, markers, ms, name, nothing_but, secs};

pub(super) async fn a_waiter_is_woken<K: Subject>() {
    // The safety poll is far off: whoever comes in quickly was woken.
    let far = |builder: redlatch::ClientBuilder| builder.safety_poll(secs(20));
    let (holder, waiter) = (client_with(far).await, client_with(far).await);
    let name = name("woken");
    let guard = K::rival(&holder, &name).lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = K::of(&waiter, &name);
        async move { (lock.lock().wait(secs(10)).await, Instant::now()) }
    });
    if K::WOKEN {
        asleep(&waiter, 1).await;
    } else {
        eventually_async("it waits", secs(5), async || waiter.stats().waits == 1).await;
    }
    let released = Instant::now();
    guard.unlock().await.expect("held");
    let (granted, when) = waiting.await.expect("joins");
    let took = when.saturating_duration_since(released);
    assert!(took.as_millis() < 500, "only after {took:?}");
    assert_eq!(waiter.stats().wakeups_by_message, u64::from(K::WOKEN));
    granted.expect("granted").unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(holder).await;
    close(waiter).await;
}

pub(super) async fn a_wait_that_is_over_leaves_nothing<K: Subject>() {
    let (holder, waiter, name) = (client().await, client().await, name("over"));
    let guard = K::rival(&holder, &name).lock().await.expect("free");
    let lock = K::of(&waiter, &name);
    let begun = Instant::now();
    let error = lock.lock().wait(ms(400)).await.expect_err("it is busy");
    let took = begun.elapsed();
    assert!((ms(400)..ms(750)).contains(&took), "{took:?}");
    assert!(error.is_timeout(), "{error}");
    let answer = lock.raw().try_lock_for(ms(50), None).await;
    assert!(answer.expect("answers").is_none());
    let mut allowed = vec![name.clone()];
    allowed.extend(markers(&name));
    allowed.extend(K::remains(&name));
    nothing_but(&name, &allowed).await;
    guard.unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(holder).await;
    close(waiter).await;
}

pub(super) async fn nobody_ever_meets_a_rival<K: Subject>() {
    let (one, other, name) = (client().await, client().await, name("crowd"));
    crowd::<K>(&one, &other, &name, 25).await;
    nothing_but(&name, &K::remains(&name)).await;
    close(one).await;
    close(other).await;
}

/// Eight tasks of two clients that come and go, as holders of the kind and as rivals.
pub(super) async fn crowd<K: Subject>(one: &Client, other: &Client, name: &str, rounds: usize) {
    // Counts those inside: positive for the kind itself, negative for rivals where they are another kind.
    let inside = Arc::new(AtomicI64::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let same = K::of(one, name).raw().kind() == K::rival(one, name).raw().kind();
    let shares = !same && K::of(one, name).raw().kind() == "read";
    let rival_shares = !same && !shares;
    let mut tasks = Vec::new();
    for task in 0..8 {
        let client = if task % 2 == 0 { one } else { other };
        let (inside, done) = (inside.clone(), done.clone());
        let (lock, rival) = (K::of(client, name), K::rival(client, name));
        tasks.push(tokio::spawn(Owner::fresh().scope(async move {
            for round in 0..rounds {
                if (task + round) % 4 < 2 {
                    let guard = lock.lock().wait(secs(60)).await.expect("granted");
                    let before = inside.fetch_add(1, Ordering::SeqCst);
                    assert!(before == 0 || (shares && before > 0), "{before} inside");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.unlock().await.expect("held");
                } else {
                    let guard = rival.lock().wait(secs(60)).await.expect("granted");
                    let before = inside.fetch_sub(1, Ordering::SeqCst);
                    assert!(
                        before == 0 || (rival_shares && before < 0),
                        "{before} inside"
                    );
                    tokio::task::yield_now().await;
                    inside.fetch_add(1, Ordering::SeqCst);
                    guard.unlock().await.expect("held");
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        })));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(done.load(Ordering::SeqCst), 8 * rounds);
}

pub(super) async fn a_lost_message_costs_two_seconds<K: Subject>() {
    if !K::WOKEN {
        return;
    }
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let connect = async |url: String| redlatch::Client::connect(url).await.expect("connects");
    let (holder, waiter) = (connect(server.url()).await, connect(proxy.url()).await);
    let guard = K::rival(&holder, "lost").lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = K::of(&waiter, "lost");
        async move { (lock.lock().wait(secs(30)).await, Instant::now()) }
    });
    asleep(&waiter, 1).await;
    proxy.drop_messages(None, 1);
    let released = Instant::now();
    guard.unlock().await.expect("held");
    let (granted, when) = waiting.await.expect("joins");
    let took = when.saturating_duration_since(released);
    println!("message lost: {took:?} (limit 2s)");
    assert!(took < secs(2), "only after {took:?}");
    granted.expect("granted").unlock().await.expect("held");
    close(holder).await;
    close(waiter).await;
}
