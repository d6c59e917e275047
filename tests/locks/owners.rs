//! Who holds: scopes, tasks, threads, and branches of one task.

use redlatch::{Error, Owner};
use redlatch_support::eventually_async;

use crate::common::{client, close, direct, ms, name, secs};

#[tokio::test]
async fn branches_of_one_task_enter_each_others_locks() {
    let (client, name) = (client().await, name("join"));
    let lock = client.lock(name.as_str());
    let (first, second) = tokio::join!(lock.lock(), lock.lock());
    let (first, second) = (first.expect("free"), second.expect("re-enters"));
    assert_eq!(first.owner(), second.owner());
    assert_eq!(direct().hgetall(&name)[&first.owner_id()], "2");
    first.unlock().await.expect("held");
    second.unlock().await.expect("held");

    tokio::select! {
        guard = lock.lock() => drop(guard.expect("free")),
        guard = lock.lock() => drop(guard.expect("free")),
    }
    eventually_async("it is free", secs(5), async || !direct().exists(&name)).await;
    close(client).await;
}

#[tokio::test]
async fn branches_with_owners_of_their_own_exclude_each_other() {
    let (client, name) = (client().await, name("scoped"));
    let lock = client.lock(name.as_str());
    let inside = std::sync::atomic::AtomicU32::new(0);
    let branch = async || {
        for _ in 0..20 {
            let guard = lock.lock().await.expect("granted");
            let before = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(before, 0, "two are inside");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            guard.unlock().await.expect("held");
        }
    };
    tokio::join!(
        Owner::fresh().scope(branch()),
        Owner::fresh().scope(branch()),
        Owner::fresh().scope(branch()),
    );
    close(client).await;
}

/// The body of `#[tokio::main]` is no task, and must be able to use Java's verbs all the same.
#[test]
fn a_main_body_holds_by_its_thread() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        assert!(tokio::task::try_id().is_none());
        let (client, name) = (client().await, name("main"));
        let lock = client.rlock(name.as_str());
        lock.lock().await.expect("free");
        lock.lock().await.expect("re-enters");
        assert_eq!(lock.hold_count().await.expect("answers"), 2);
        let task = tokio::spawn({
            let lock = lock.clone();
            async move {
                let error = lock.unlock().await.expect_err("a task is somebody else");
                (
                    matches!(error, Error::NotHeld { .. }),
                    lock.try_lock().await,
                )
            }
        });
        let (not_held, tried) = task.await.expect("joins");
        assert!(not_held);
        assert!(tried.expect("answers").is_none());
        lock.unlock().await.expect("held");
        lock.unlock().await.expect("held");
        close(client).await;
    });
}

#[tokio::test]
async fn a_guard_keeps_its_owner_wherever_it_goes() {
    let (client, name) = (client().await, name("moved"));
    let lock = client.lock(name.as_str());
    let guard = tokio::spawn({
        let lock = lock.clone();
        async move { lock.lock().await.expect("free") }
    });
    let guard = guard.await.expect("joins");
    assert_ne!(guard.owner(), Owner::current());
    assert!(lock.raw().is_held_by(guard.owner()).await.expect("answers"));
    assert!(!lock.raw().is_held_by_current().await.expect("answers"));
    tokio::spawn(guard.unlock())
        .await
        .expect("joins")
        .expect("held");
    assert!(!lock.raw().is_locked().await.expect("answers"));
    close(client).await;
}

#[tokio::test]
async fn a_forgotten_guard_is_left_to_javas_verbs() {
    let (client, name) = (client().await, name("forget"));
    let lock = client.lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let inner = lock.lock().await.expect("re-enters");
    assert!(
        matches!(lock.raw().unlock().await, Err(Error::NotHeld { .. })),
        "a guard has it"
    );
    guard.forget();
    assert!(direct().exists(&name));
    lock.raw().unlock().await.expect("held");
    inner.unlock().await.expect("held");
    assert!(!direct().exists(&name));
    close(client).await;
}

#[tokio::test]
async fn an_owner_that_holds_enters_past_those_who_wait() {
    let (client, name) = (client().await, name("pass"));
    let lock = client.lock(name.as_str());
    let outer = lock.lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.lock().wait(secs(20)).await }
    });
    eventually_async("somebody waits", secs(5), async || {
        client
            .inspect(name.as_str())
            .await
            .expect("answers")
            .waiting_clients
            == 1
    })
    .await;
    let inner = tokio::time::timeout(secs(1), lock.lock()).await;
    inner
        .expect("at once")
        .expect("re-enters")
        .unlock()
        .await
        .expect("held");
    outer.unlock().await.expect("held");
    waiting
        .await
        .expect("joins")
        .expect("granted")
        .unlock()
        .await
        .expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_lock_is_seen_from_outside() {
    let (holder, onlooker, name) = (client().await, client().await, name("inspect"));
    let seen = onlooker.inspect(name.as_str()).await.expect("answers");
    assert!(!seen.is_locked());
    assert_eq!((seen.ttl, seen.waiting_clients), (None, 0));
    let lock = holder.lock(name.as_str());
    let guard = lock.lock().await.expect("free");
    let inner = lock.lock().await.expect("re-enters");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let lock = holder.lock(name.as_str()).with_owner(Owner::fresh());
            tokio::spawn(async move { lock.lock().wait(ms(1_500)).await.map(drop) })
        })
        .collect();
    eventually_async("one client waits", secs(5), async || {
        onlooker
            .inspect(name.as_str())
            .await
            .expect("answers")
            .waiting_clients
            == 1
    })
    .await;
    let seen = onlooker.inspect(name.as_str()).await.expect("answers");
    assert_eq!(seen.holders.len(), 1);
    assert_eq!(
        (seen.holders[0].id.as_str(), seen.holders[0].holds),
        (&*guard.owner_id(), 2)
    );
    assert!(seen.ttl.expect("held") > secs(28));
    assert_eq!(seen.waiting_here, 0, "they wait elsewhere");
    assert_eq!(
        holder
            .inspect(name.as_str())
            .await
            .expect("answers")
            .waiting_here,
        2
    );
    inner.unlock().await.expect("held");
    guard.unlock().await.expect("held");
    for waiting in waiting {
        waiting.await.expect("joins").expect("granted");
    }
    close(holder).await;
    close(onlooker).await;
}

#[tokio::test]
async fn an_owner_does_not_enter_for_ever() {
    let (client, name) = (client().await, name("endless"));
    let lock = client.rlock(name.as_str()).with_owner(Owner::fresh());
    for _ in 0..4_096 {
        lock.lock().await.expect("re-enters");
    }
    let refused = lock.lock().await.expect_err("too often");
    assert!(
        matches!(
            refused,
            redlatch::Error::InvalidArgument { field: "holds", .. }
        ),
        "{refused}"
    );
    assert_eq!(lock.hold_count().await.expect("answers"), 4_096);
    let report = client.close(secs(5)).await;
    assert_eq!(report.released, 1);
    assert!(!direct().exists(&name));
}

/// A lock that cannot be entered twice is not, by two branches that ask at the same time either.
#[tokio::test]
async fn two_branches_at_once_do_not_enter_what_is_not_reentrant() {
    let client = client().await;
    for round in 0..20 {
        let name = name(&format!("once-{round}"));
        let owner = Owner::fresh();
        let fair = client.non_reentrant_fair_lock(&*name).with_owner(owner);
        let (first, second) = tokio::join!(fair.lock(), fair.lock());
        let (guard, refused) = match (first, second) {
            (Ok(guard), Err(refused)) | (Err(refused), Ok(guard)) => (guard, refused),
            both => panic!("{both:?}"),
        };
        assert!(matches!(refused, Error::AlreadyHeld { .. }), "{refused}");
        assert_eq!(direct().hgetall(&name)[&guard.owner_id()], "1");
        guard.unlock().await.expect("held");
        assert!(!direct().exists(&name));
    }
    close(client).await;
}
