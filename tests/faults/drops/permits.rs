//! Semaphores and latches.

use std::future::Future;

use redlatch_support::eventually_async;

use super::Drops;
use crate::kit::{ms, secs};

/// How many permits or counts there are before each drop.
const BEFORE: i64 = 5;

pub(super) async fn all(drops: &mut Drops) {
    plain(drops).await;
    with_ids(drops).await;
    latch(drops).await;
}

impl Drops {
    /// Drops a change of `key`, and looks at what is in it then: as before where it was not polled, else `after`.
    async fn change<F: Future>(
        &mut self,
        what: &str,
        key: &str,
        before: Option<i64>,
        after: Option<i64>,
        make: impl AsyncFn() -> F,
    ) {
        let direct = self.direct.clone();
        let forget = || {
            drop(
                direct
                    .cmd(&["DEL", key, &format!("{{{key}}}:timeout")])
                    .accepted(),
            )
        };
        let value = || {
            let value = direct.cmd(&["GET", key]).accepted();
            (!value.is_nil()).then(|| value.text().parse::<i64>().expect("a number"))
        };
        let made = async || {
            if let Some(before) = before {
                direct.cmd(&["SET", key, &before.to_string()]).accepted();
            }
            make().await
        };
        self.each(what, made, async |polls, got| {
            drop(got);
            // Once polled it is made, and once only.
            let wanted = if polls > 0 { after } else { before };
            eventually_async(what, secs(5), async || value() == wanted).await;
            forget();
        })
        .await;
    }
}

async fn plain(drops: &mut Drops) {
    let semaphore = drops.client.semaphore("s");
    let (some, none) = (Some(BEFORE), None);
    // What is not given out is there again.
    let name = "coordination/semaphore.rs AcquirePermits";
    let make = async || semaphore.acquire_many(2).into_future();
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs AcquirePermits, in vain";
    let make = async || semaphore.acquire_many(2).wait(ms(30)).into_future();
    drops.change(name, "s", Some(1), Some(1), make).await;
    let name = "coordination/semaphore.rs try_acquire";
    let make = async || semaphore.try_acquire();
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs try_acquire_many";
    let make = async || semaphore.try_acquire_many(3);
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/permit.rs release";
    let make = async || semaphore.acquire().await.expect("five").release();
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs release";
    let make = async || semaphore.release(2);
    drops.change(name, "s", some, Some(BEFORE + 2), make).await;
    let name = "coordination/semaphore.rs release_if_exists";
    let make = async || semaphore.release_if_exists(2);
    drops.change(name, "s", some, Some(BEFORE + 2), make).await;
    let name = "coordination/semaphore.rs add_permits";
    let make = async || semaphore.add_permits(-2);
    drops.change(name, "s", some, Some(BEFORE - 2), make).await;
    let name = "coordination/semaphore.rs try_set_permits";
    let make = async || semaphore.try_set_permits(3);
    drops.change(name, "s", none, Some(3), make).await;
    let name = "coordination/semaphore.rs try_set_permits_for";
    let make = async || semaphore.try_set_permits_for(3, secs(60));
    drops.change(name, "s", none, Some(3), make).await;
    let name = "coordination/semaphore.rs drain_permits";
    let make = async || semaphore.drain_permits();
    drops.change(name, "s", some, Some(0), make).await;
    let name = "coordination/semaphore.rs available_permits";
    let make = async || semaphore.available_permits();
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs expire";
    let make = async || semaphore.expire(secs(60));
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs clear_expire";
    let make = async || semaphore.clear_expire();
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs remaining_ttl";
    let make = async || semaphore.remaining_ttl();
    drops.change(name, "s", some, some, make).await;
    let name = "coordination/semaphore.rs delete";
    let make = async || semaphore.delete();
    drops.change(name, "s", some, none, make).await;
}

async fn with_ids(drops: &mut Drops) {
    let semaphore = drops.client.expirable_semaphore("p");
    let (some, none) = (Some(BEFORE), None);
    // One permit that no guard looks after.
    let id = async || {
        let permit = semaphore.acquire().lease(secs(60)).await.expect("five");
        permit.forget().remove(0)
    };
    let name = "coordination/expirable_permit.rs AcquireExpirable";
    let make = async || semaphore.acquire_many(2).into_future();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_permit.rs AcquireExpirable, in vain";
    let make = async || semaphore.acquire_many(2).wait(ms(30)).into_future();
    drops.change(name, "p", Some(1), Some(1), make).await;
    let name = "coordination/expirable_semaphore.rs try_acquire";
    let make = async || semaphore.try_acquire();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs try_acquire_many";
    let make = async || semaphore.try_acquire_many(3);
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_permit.rs release";
    let make = async || semaphore.acquire().await.expect("five").release();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_permit.rs lost";
    let make = async || {
        let permit = semaphore.acquire().lease(ms(30)).await.expect("five");
        async move { permit.lost().await }
    };
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs available_permits";
    let make = async || semaphore.available_permits();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs acquired_permits";
    let make = async || semaphore.acquired_permits();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs permits";
    drops
        .change(name, "p", some, some, async || semaphore.permits())
        .await;
    let name = "coordination/expirable_semaphore.rs try_set_permits";
    let make = async || semaphore.try_set_permits(3);
    drops.change(name, "p", none, Some(3), make).await;
    let name = "coordination/expirable_semaphore.rs set_permits";
    let make = async || semaphore.set_permits(3);
    drops.change(name, "p", some, Some(3), make).await;
    let name = "coordination/expirable_semaphore.rs add_permits";
    let make = async || semaphore.add_permits(2);
    drops.change(name, "p", some, Some(BEFORE + 2), make).await;
    let name = "coordination/expirable_semaphore.rs expire";
    let make = async || semaphore.expire(secs(60));
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs clear_expire";
    let make = async || semaphore.clear_expire();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs remaining_ttl";
    let make = async || semaphore.remaining_ttl();
    drops.change(name, "p", some, some, make).await;
    let name = "coordination/expirable_semaphore.rs delete";
    let make = async || semaphore.delete();
    drops.change(name, "p", some, none, make).await;

    // Those that are about a permit: it is taken before, so that four are left.
    let left = Some(BEFORE - 1);
    let direct = drops.direct.clone();
    let tidy = async |polls: usize, back: bool| {
        let wanted = if polls > 0 && back { some } else { left };
        eventually_async("the permit is where it should be", secs(5), async || {
            direct.cmd(&["GET", "p"]).accepted().text().parse().ok() == wanted
        })
        .await;
        direct.cmd(&["DEL", "p", "{p}:timeout"]).accepted();
    };
    let taken = async || {
        direct.cmd(&["SET", "p", &BEFORE.to_string()]).accepted();
        id().await
    };
    let name = "coordination/expirable_semaphore.rs release_id";
    let make = async || {
        let (semaphore, id) = (semaphore.clone(), taken().await);
        async move { semaphore.release_id(&id).await }
    };
    drops
        .each(name, make, async |polls, _| tidy(polls, true).await)
        .await;
    let name = "coordination/expirable_semaphore.rs release_all";
    let make = async || {
        let (semaphore, id) = (semaphore.clone(), taken().await);
        async move { semaphore.release_all(&[id]).await }
    };
    drops
        .each(name, make, async |polls, _| tidy(polls, true).await)
        .await;
    let name = "coordination/expirable_semaphore.rs update_lease";
    let make = async || {
        let (semaphore, id) = (semaphore.clone(), taken().await);
        async move { semaphore.update_lease(&id, Some(secs(90))).await }
    };
    drops
        .each(name, make, async |polls, _| tidy(polls, false).await)
        .await;
    let name = "coordination/expirable_semaphore.rs lease_time";
    let make = async || {
        let (semaphore, id) = (semaphore.clone(), taken().await);
        async move { semaphore.lease_time(&id).await }
    };
    drops
        .each(name, make, async |polls, _| tidy(polls, false).await)
        .await;
}

async fn latch(drops: &mut Drops) {
    let latch = drops.client.count_down_latch("l");
    let (some, none) = (Some(BEFORE), None);
    let name = "coordination/count_down_latch.rs WaitForLatch";
    let make = async || latch.wait().limit(ms(30)).into_future();
    drops.change(name, "l", some, some, make).await;
    let name = "coordination/count_down_latch.rs try_set_count";
    let make = async || latch.try_set_count(3);
    drops.change(name, "l", none, Some(3), make).await;
    let name = "coordination/count_down_latch.rs count_down";
    let make = async || latch.count_down();
    drops.change(name, "l", some, Some(BEFORE - 1), make).await;
    let name = "coordination/count_down_latch.rs count";
    drops
        .change(name, "l", some, some, async || latch.count())
        .await;
    let name = "coordination/count_down_latch.rs delete";
    drops
        .change(name, "l", some, none, async || latch.delete())
        .await;
}
