//! Locks of every kind, sets of them, and what fencing tokens are for.

use redlatch::{FencingToken, Kind, Lock, MultiLock, Owner};

use tokio::time::{sleep, timeout};

use super::Drops;
use crate::kit::{ms, secs};

pub(super) async fn all(drops: &mut Drops) {
    let client = drops.client.clone();
    let both = client.read_write_lock("rw");
    kind(drops, client.lock("plain")).await;
    kind(drops, client.fair_lock("fair")).await;
    kind(drops, client.fenced_lock("fenced")).await;
    kind(drops, client.spin_lock("spin")).await;
    kind(drops, client.non_reentrant_lock("once")).await;
    kind(drops, client.non_reentrant_fair_lock("once-fair")).await;
    kind(drops, both.read_lock().clone()).await;
    kind(drops, both.write_lock().clone()).await;
    kind(drops, client.group_lock("group", ["one", "two"])).await;
    sides(drops).await;
    fencing(drops).await;
    let members = || ["a", "b", "c"].map(|name| client.lock(name));
    set(drops, MultiLock::new(members()).expect("three")).await;
    set(drops, MultiLock::majority(members()).expect("three")).await;
}

/// Both surfaces of a kind, before a lock that is free and before one that is not.
async fn kind<K: Kind>(drops: &mut Drops, lock: Lock<K>) {
    let lock = lock.with_owner(Owner::fresh());
    let name = lock.name().to_owned();
    // What outlives the lock by design is there from now on.
    let guard = lock.lock().await.expect("free");
    guard.unlock().await.expect("held");
    for busy in [false, true] {
        let whole = drops.other.lock(name.as_str());
        let writer = drops.other.read_write_lock(name.as_str());
        let values = drops.other.group_lock(name.as_str(), ["one"]);
        let rival: Option<Box<dyn FnOnce() + Send>> = match lock.raw().kind() {
            _ if !busy => None,
            "read" | "write" => {
                let guard = writer.write().await.expect("free");
                Some(Box::new(move || drop(guard)))
            }
            "group" => {
                let guard = values.lock().await.expect("free");
                Some(Box::new(move || drop(guard)))
            }
            _ => {
                let guard = whole.lock().await.expect("free");
                Some(Box::new(move || drop(guard)))
            }
        };
        surfaces(drops, &lock, busy).await;
        if let Some(leave) = rival {
            leave();
            let direct = drops.direct.clone();
            redlatch_support::eventually_async("it is free", secs(5), async || {
                !direct.exists(&name)
            })
            .await;
        }
    }
}

async fn surfaces<K: Kind>(drops: &mut Drops, lock: &Lock<K>, busy: bool) {
    let raw = lock.raw();
    let state = format!("{}, {}", raw.kind(), if busy { "busy" } else { "free" });
    let as_it_is = |name: &str| format!("lock/{name}, {state}");
    let made = as_it_is("mod.rs Acquire");
    let waiting = async || lock.lock().wait(ms(30)).into_future();
    drops.each(&made, waiting, async |_, got| drop(got)).await;
    let tried = as_it_is("mod.rs try_lock");
    let make = async || lock.try_lock();
    drops.each(&tried, make, async |_, got| drop(got)).await;

    // Who has got it gives it back.
    let held = async |held: bool| {
        if held {
            raw.unlock().await.expect("held");
        }
    };
    let name = as_it_is("raw.rs lock");
    let make = async || timeout(ms(30), raw.lock());
    drops
        .each(&name, make, async |_, got| {
            held(matches!(got, Some(Ok(_)))).await
        })
        .await;
    let name = as_it_is("raw.rs lock_for");
    let make = async || timeout(ms(30), raw.lock_for(secs(20)));
    drops
        .each(&name, make, async |_, got| {
            held(matches!(got, Some(Ok(_)))).await
        })
        .await;
    let name = as_it_is("raw.rs try_lock");
    let make = async || raw.try_lock();
    let tidy = async |_, got: Option<redlatch::Result<Option<K::Grant>>>| {
        held(got.is_some_and(|got| got.expect("answers").is_some())).await;
    };
    drops.each(&name, make, tidy).await;
    let name = as_it_is("raw.rs try_lock_for");
    let make = async || raw.try_lock_for(ms(30), Some(secs(20)));
    drops.each(&name, make, tidy).await;

    let name = as_it_is("raw.rs is_locked");
    drops
        .each(&name, async || raw.is_locked(), async |_, _| ())
        .await;
    let name = as_it_is("raw.rs is_held_by_current");
    let make = async || raw.is_held_by_current();
    drops.each(&name, make, async |_, _| ()).await;
    let name = as_it_is("raw.rs is_held_by");
    let make = async || raw.is_held_by(Owner::fresh());
    drops.each(&name, make, async |_, _| ()).await;
    let name = as_it_is("raw.rs hold_count");
    drops
        .each(&name, async || raw.hold_count(), async |_, _| ())
        .await;
    let name = as_it_is("raw.rs remaining_ttl");
    let make = async || raw.remaining_ttl();
    drops.each(&name, make, async |_, _| ()).await;
    if busy {
        return;
    }

    let name = as_it_is("raw.rs unlock");
    let make = async || {
        raw.lock().await.expect("free");
        raw.unlock()
    };
    // Never polled is never sent.
    drops
        .each(&name, make, async |polls, _| held(polls == 0).await)
        .await;
    let name = as_it_is("raw.rs force_unlock");
    let make = async || {
        raw.lock().await.expect("free");
        raw.force_unlock()
    };
    let direct = drops.direct.clone();
    let tidy = async |_, _| {
        drop(raw.unlock().await);
        // The markers of readers end with their time to live, as after Redisson's forced unlock.
        let markers = direct.cmd(&["KEYS", "*:rwlock_timeout:*"]).strings();
        for marker in markers {
            direct.cmd(&["DEL", &marker]).accepted();
        }
    };
    drops.each(&name, make, tidy).await;

    let name = as_it_is("guard.rs unlock");
    let make = async || lock.lock().await.expect("free").unlock();
    drops.each(&name, make, async |_, _| ()).await;
    let name = as_it_is("guard.rs lost");
    let make = async || {
        let guard = lock.lock().lease(ms(40)).await.expect("free");
        async move { guard.lost().await }
    };
    drops.each(&name, make, async |_, _| ()).await;
    let name = as_it_is("guard.rs run");
    let make = async || {
        let guard = lock.lock().await.expect("free");
        async move { guard.run(sleep(ms(5))).await }
    };
    drops.each(&name, make, async |_, _| ()).await;
    let name = "owner.rs scope".to_owned();
    let make = async || Owner::fresh().scope(lock.lock().into_future());
    drops.each(&name, make, async |_, got| drop(got)).await;
}

async fn sides(drops: &mut Drops) {
    let both = drops.client.read_write_lock("rw");
    let name = "lock/read_write.rs try_read";
    drops
        .each(name, async || both.try_read(), async |_, got| drop(got))
        .await;
    let name = "lock/read_write.rs try_write";
    let make = async || both.try_write();
    drops.each(name, make, async |_, got| drop(got)).await;
}

async fn fencing(drops: &mut Drops) {
    let lock = drops.client.fenced_lock("fenced");
    let name = "lock/fenced.rs last_token";
    drops
        .each(name, async || lock.last_token(), async |_, _| ())
        .await;
    let name = "lock/fenced.rs raise_counter";
    let make = async || lock.raise_counter(FencingToken::new(1_000));
    drops.each(name, make, async |_, _| ()).await;
    let direct = drops.direct.clone();
    let cell = drops.client.fenced_cell("cell");
    // What has been sent may be written; it is by the time that a later question is answered.
    let tidy = async || {
        cell.get().await.expect("answers");
        direct.cmd(&["DEL", "cell"]).accepted();
    };
    let make = async || cell.claim(FencingToken::new(1));
    drops
        .each("fencing.rs claim", make, async |_, _| tidy().await)
        .await;
    let make = async || cell.set(FencingToken::new(1), "x");
    drops
        .each("fencing.rs set", make, async |_, _| tidy().await)
        .await;
    drops
        .each("fencing.rs get", async || cell.get(), async |_, _| ())
        .await;
}

/// Members that are free, and one that is not.
async fn set(drops: &mut Drops, lock: MultiLock) {
    let lock = lock.with_owner(Owner::fresh());
    let raw = lock.raw();
    let held = async |held: bool| {
        if held {
            raw.unlock().await.expect("held");
        }
    };
    for busy in [None, Some("b"), Some("c")] {
        let guard = match busy {
            Some(name) => Some(drops.other.lock(name).lock().await.expect("free")),
            None => None,
        };
        let as_it_is = |name: &str| format!("lock/multi/{name}, {busy:?} is busy");
        let name = as_it_is("mod.rs AcquireMulti");
        let make = async || lock.lock().wait(ms(30)).lease(secs(20)).into_future();
        drops.each(&name, make, async |_, got| drop(got)).await;
        let name = as_it_is("mod.rs try_lock");
        drops
            .each(&name, async || lock.try_lock(), async |_, got| drop(got))
            .await;
        let name = as_it_is("raw.rs lock");
        let make = async || timeout(ms(30), raw.lock());
        drops
            .each(&name, make, async |_, got| {
                held(matches!(got, Some(Ok(_)))).await
            })
            .await;
        let name = as_it_is("raw.rs lock_for");
        let make = async || timeout(ms(30), raw.lock_for(secs(20)));
        drops
            .each(&name, make, async |_, got| {
                held(matches!(got, Some(Ok(_)))).await
            })
            .await;
        let tidy = async |_, got: Option<redlatch::Result<bool>>| {
            held(got.is_some_and(|got| got.expect("answers"))).await;
        };
        let name = as_it_is("raw.rs try_lock");
        drops.each(&name, async || raw.try_lock(), tidy).await;
        let name = as_it_is("raw.rs try_lock_for");
        let make = async || raw.try_lock_for(ms(30), None);
        drops.each(&name, make, tidy).await;
        let name = as_it_is("raw.rs is_held_by_current");
        let make = async || raw.is_held_by_current();
        drops.each(&name, make, async |_, _| ()).await;
        if let Some(guard) = guard {
            guard.unlock().await.expect("held");
        }
    }
    let name = "lock/multi/raw.rs unlock";
    let make = async || {
        raw.lock().await.expect("free");
        raw.unlock()
    };
    drops
        .each(name, make, async |polls, _| held(polls == 0).await)
        .await;
    let name = "lock/multi/guard.rs unlock";
    let make = async || lock.lock().await.expect("free").unlock();
    drops.each(name, make, async |_, _| ()).await;
    let name = "lock/multi/guard.rs lost";
    let make = async || {
        let guard = lock.lock().lease(ms(60)).await.expect("free");
        async move { guard.lost().await }
    };
    drops.each(name, make, async |_, _| ()).await;
    let name = "lock/multi/guard.rs run";
    let make = async || {
        let guard = lock.lock().await.expect("free");
        async move { guard.run(sleep(ms(5))).await }
    };
    drops.each(name, make, async |_, _| ()).await;
}
