//! Under a user made for one feature that feature works, all of it, and the server has nothing to refuse.

use redlatch::{Client, Kind, Lock, RawLock};
use redlatch_support::{Server, eventually_async};

use crate::kit::{
    Feature, asleep, builder, close, connect, make_user, ms, nothing_is_left, nothing_was_refused,
    rules, secs,
};

/// A server with a user for one feature, and two clients of it.
struct Rig {
    server: Server,
    one: Client,
    two: Client,
}

impl Rig {
    async fn new(features: &[Feature]) -> Self {
        let server = Server::start();
        make_user(&server.direct(), "shop", &rules(features, "app:"));
        let client = async || {
            let builder = builder(&server, "shop").self_test(features.iter().copied());
            // Renewals and looks, and so their rights, within moments.
            let builder = builder.watchdog_timeout(ms(900)).heartbeat(ms(200));
            connect(builder).await
        };
        Self {
            one: client().await,
            two: client().await,
            server,
        }
    }

    /// Closes both clients; nothing is left and nothing was refused.
    async fn end(self) {
        close(self.one).await;
        close(self.two).await;
        let direct = self.server.direct();
        nothing_is_left(&direct).await;
        nothing_was_refused(&direct);
    }
}

/// What all locks do: taken, waited for, renewed, entered again, asked about, handed over, freed by force.
async fn lives<K: Kind>(rig: &Rig, make: impl Fn(&Client) -> Lock<K>, reentrant: bool) {
    let (mine, theirs) = (make(&rig.one), make(&rig.two));
    let guard = mine.lock().await.expect("free");
    if reentrant {
        let again = mine.lock().await.expect("enters again");
        again.unlock().await.expect("held");
    }
    assert!(theirs.try_lock().await.expect("answers").is_none());
    let attempts = rig.two.stats().attempts;
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.lock().wait(secs(20)).await }
    });
    eventually_async("it waits", secs(5), async || {
        rig.two.stats().attempts >= attempts + 2
    })
    .await;
    let renewals = rig.one.stats().renewals;
    eventually_async("it is renewed", secs(5), async || {
        rig.one.stats().renewals > renewals + 3
    })
    .await;
    ask(mine.raw()).await;
    guard.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("handed over");
    let kept = mine.lock().wait(ms(30)).await.expect_err("is held");
    assert!(kept.is_timeout(), "{kept}");
    assert!(mine.raw().force_unlock().await.expect("answers"));
    guard.lost().await;
    guard.unlock().await.expect_err("was freed by force");
    // A lease that runs out, and one that is given up by a dropped future.
    let guard = mine.lock().lease(secs(5)).await.expect("free");
    let mut leaving = Box::pin(theirs.lock().wait(secs(20)).into_future());
    let left = tokio::time::timeout(ms(50), &mut leaving).await;
    assert!(left.is_err());
    drop(leaving);
    drop(guard);
    let guard = theirs.lock().wait(secs(5)).await.expect("free again");
    guard.unlock().await.expect("held");
}

async fn ask<K: Kind>(raw: &RawLock<K>) {
    assert!(raw.is_locked().await.expect("answers"));
    raw.is_held_by_current().await.expect("answers");
    raw.hold_count().await.expect("answers");
    raw.remaining_ttl().await.expect("answers");
}

/// Runs a test with names without a tag under a user for just those, and with names that have one.
macro_rules! works {
    ($($test:ident: $feature:ident, $run:expr;)*) => {$(
        #[tokio::test]
        async fn $test() {
            let rig = Rig::new(&[Feature::$feature]).await;
            ($run)(&rig, "plain").await;
            rig.end().await;
            let rig = Rig::new(&[Feature::$feature, Feature::TaggedNames]).await;
            ($run)(&rig, "a {tag}").await;
            ($run)(&rig, "plain").await;
            rig.end().await;
        }
    )*};
}

works! {
    reentrant_lock: ReentrantLock, async |rig: &Rig, name: &'static str| {
        lives(rig, |client| client.lock(name), true).await;
    };
    fair_lock: FairLock, async |rig: &Rig, name: &'static str| {
        lives(rig, |client| client.fair_lock(name), true).await;
    };
    spin_lock: SpinLock, async |rig: &Rig, name: &'static str| {
        lives(rig, |client| client.spin_lock(name), true).await;
    };
    non_reentrant_lock: NonReentrantLock, async |rig: &Rig, name: &'static str| {
        lives(rig, |client| client.non_reentrant_lock(name), false).await;
    };
    non_reentrant_fair_lock: NonReentrantFairLock, async |rig: &Rig, name: &'static str| {
        lives(rig, |client| client.non_reentrant_fair_lock(name), false).await;
    };
    group_lock: GroupLock, async |rig: &Rig, name: &'static str| {
        lives(rig, |client| client.group_lock(name, ["one", "two"]), true).await;
    };
    fenced_lock: FencedLock, fenced;
    read_write_lock: ReadWriteLock, read_write;
    semaphore: Semaphore, semaphore_lives;
    expirable_semaphore: ExpirableSemaphore, expirable_lives;
    count_down_latch: CountDownLatch, latch_lives;
    fenced_cell: FencedCell, cell_lives;
    election: Election, election_lives;
    schedule: Schedule, job_lives;
    inspection: Inspect, inspect;
}

async fn fenced(rig: &Rig, name: &'static str) {
    lives(rig, |client| client.fenced_lock(name), true).await;
    let lock = rig.one.fenced_lock(name);
    let last = lock.last_token().await.expect("answers");
    let higher = redlatch::FencingToken::new(last.get() + 10);
    lock.raise_counter(higher).await.expect("raised");
    // The counter stays for ever, so a test that is to leave nothing takes it away.
    rig.server.direct().flushall();
}

async fn read_write(rig: &Rig, name: &'static str) {
    lives(
        rig,
        |client| client.read_write_lock(name).write_lock().clone(),
        true,
    )
    .await;
    let mine = rig.one.read_write_lock(name);
    let theirs = rig.two.read_write_lock(name);
    let writing = mine.write().await.expect("free");
    let reading = mine.read().await.expect("writes already");
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.read().wait(secs(20)).await }
    });
    asleep(&rig.two, 1).await;
    ask(mine.read_lock().raw()).await;
    writing.unlock().await.expect("held, and reads on");
    let other = waiting.await.expect("joins").expect("comes in");
    let again = mine.read().await.expect("reads already");
    tokio::time::sleep(ms(700)).await;
    again.unlock().await.expect("held");
    reading.unlock().await.expect("held");
    assert!(
        theirs
            .read_lock()
            .raw()
            .force_unlock()
            .await
            .expect("answers")
    );
    other.lost().await;
    drop(other);
}

async fn semaphore_lives(rig: &Rig, name: &'static str) {
    let (mine, theirs) = (rig.one.semaphore(name), rig.two.semaphore(name));
    assert!(mine.try_set_permits_for(1, secs(60)).await.expect("set"));
    let permit = mine.acquire().await.expect("there");
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.acquire().wait(secs(20)).await }
    });
    asleep(&rig.two, 1).await;
    tokio::time::sleep(ms(400)).await;
    permit.release().await.expect("given back");
    let permit = waiting.await.expect("joins").expect("woken");
    drop(permit);
    mine.release(1).await.expect("one more");
    assert!(mine.release_if_exists(1).await.expect("answers"));
    mine.add_permits(3).await.expect("added");
    assert!(mine.expire(secs(50)).await.expect("answers"));
    mine.clear_expire().await.expect("answers");
    mine.remaining_ttl().await.expect("answers");
    mine.available_permits().await.expect("answers");
    mine.drain_permits().await.expect("answers");
    assert!(mine.try_acquire().await.expect("answers").is_none());
    assert!(mine.delete().await.expect("answers"));
    assert!(mine.try_set_permits(1).await.expect("answers"));
    assert!(mine.delete().await.expect("answers"));
}

async fn expirable_lives(rig: &Rig, name: &'static str) {
    let (mine, theirs) = (
        rig.one.expirable_semaphore(name),
        rig.two.expirable_semaphore(name),
    );
    assert!(mine.try_set_permits(1).await.expect("set"));
    let permit = mine.acquire().await.expect("there");
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.acquire().lease(secs(30)).wait(secs(20)).await }
    });
    asleep(&rig.two, 1).await;
    tokio::time::sleep(ms(400)).await;
    permit.release().await.expect("given back");
    let ids = waiting.await.expect("joins").expect("woken").forget();
    assert!(mine.expire(secs(50)).await.expect("answers"));
    assert!(
        mine.update_lease(&ids[0], Some(secs(20)))
            .await
            .expect("answers")
    );
    mine.lease_time(&ids[0]).await.expect("answers");
    assert_eq!(mine.acquired_permits().await.expect("answers"), 1);
    assert!(mine.release_id(&ids[0]).await.expect("answers"));
    mine.set_permits(3).await.expect("set");
    mine.add_permits(2).await.expect("added");
    let ids = mine.acquire_many(2).await.expect("there").forget();
    assert!(mine.release_all(&ids).await.expect("answers"));
    // One whose lease ends is given back by the next who asks.
    mine.acquire().lease(ms(30)).await.expect("there").forget();
    tokio::time::sleep(ms(50)).await;
    assert_eq!(mine.available_permits().await.expect("answers"), 5);
    assert_eq!(mine.permits().await.expect("answers"), 5);
    mine.clear_expire().await.expect("answers");
    mine.remaining_ttl().await.expect("answers");
    assert!(mine.delete().await.expect("answers"));
}

async fn latch_lives(rig: &Rig, name: &'static str) {
    let (mine, theirs) = (
        rig.one.count_down_latch(name),
        rig.two.count_down_latch(name),
    );
    assert!(mine.try_set_count(2).await.expect("open"));
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.wait().await }
    });
    asleep(&rig.two, 1).await;
    tokio::time::sleep(ms(400)).await;
    mine.count_down().await.expect("counts");
    assert_eq!(mine.count().await.expect("answers"), 1);
    mine.count_down().await.expect("counts");
    waiting.await.expect("joins").expect("woken");
    assert!(mine.try_set_count(1).await.expect("open"));
    assert!(mine.delete().await.expect("answers"));
}

async fn cell_lives(rig: &Rig, name: &'static str) {
    let cell = rig.one.fenced_cell(name);
    let token = redlatch::FencingToken::new(3);
    assert!(cell.get().await.expect("answers").is_none());
    assert!(cell.claim(token).await.expect("the first").is_none());
    cell.set(token, "value").await.expect("the first");
    assert_eq!(
        cell.get().await.expect("answers"),
        Some((token, "value".into()))
    );
    let late = cell.set(redlatch::FencingToken::new(2), "late").await;
    late.expect_err("came late");
    rig.server.direct().flushall();
}

async fn election_lives(rig: &Rig, name: &'static str) {
    let (mine, theirs) = (rig.one.election(name), rig.two.election(name));
    let mut leaders = theirs.observe();
    let mut told = async || {
        let next = tokio_stream::StreamExt::next(&mut leaders);
        let next = next.await.expect("goes on").expect("no error");
        next.map(|leader| leader.value)
    };
    assert_eq!(told().await, None);
    let leadership = mine.campaign("mine").await.expect("leads");
    assert_eq!(told().await.expect("leads"), "mine");
    leadership.proclaim("mine still").await.expect("leads");
    assert_eq!(told().await.expect("leads"), "mine still");
    let waiting = tokio::spawn(theirs.campaign("theirs").wait(secs(20)).into_future());
    asleep(&rig.two, 1).await;
    let again = tokio::spawn(mine.campaign("mine again").wait(secs(20)).into_future());
    asleep(&rig.one, 1).await;
    tokio::time::sleep(ms(700)).await;
    leadership.resign().await.expect("leads");
    let (one, two) = tokio::join!(
        async { waiting.await.expect("joins").expect("leads").resign().await },
        async { again.await.expect("joins").expect("leads").resign().await },
    );
    one.expect("leads");
    two.expect("leads");
    drop(leaders);
    // The counter stays for ever.
    rig.server.direct().flushall();
}

async fn job_lives(rig: &Rig, name: &'static str) {
    let (mine, theirs) = (
        rig.one.once_per(name, secs(60)),
        rig.two.once_per(name, secs(60)),
    );
    let outcome = mine
        .run_if_due(async {
            // Renewed meanwhile.
            tokio::time::sleep(ms(700)).await;
            theirs.run_if_due(async {}).await.expect("answers")
        })
        .await;
    let Ok(redlatch::Outcome::Ran(other)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(other, redlatch::Outcome::NotDue), "{other:?}");
    assert!(theirs.due_in().await.expect("answers").is_some());
    rig.server.direct().flushall();
}

async fn inspect(rig: &Rig, name: &'static str) {
    // Whom it looks at is somebody else.
    let url = format!("redis://127.0.0.1:{}", rig.server.port());
    let other = Client::builder().url(url).expect("url").key_prefix("app:");
    let other = connect(other).await;
    let guard = other.fair_lock(name).lock().await.expect("free");
    let seen = rig.one.inspect(name).await.expect("answers");
    assert_eq!(seen.holders.len(), 1, "{seen:?}");
    guard.unlock().await.expect("held");
    close(other).await;
}
