//! What the public types are to threads, and what errors say.

use std::{error::Error as StdError, fmt::Debug};

use redlatch::{
    Acquire, AcquireMulti, AnyLock, BackOff, Client, ClientBuilder, CloseReport, CountDownLatch,
    Error, Event, Events, ExpirablePermit, ExpirableSemaphore, Fair, Fenced, FencingToken, Group,
    GroupValue, HoldState, Inspection, Lock, LockGuard, LossCause, MultiGuard, MultiLock, Owner,
    Protocol, RawLock, RawMultiLock, Read, ReadWriteLock, Refusal, Secret, Semaphore,
    SemaphorePermit, Stats, Tls,
    access::{Feature, Rules},
    fencing::{Checker, FencedCell, StaleToken},
    test_util::{Failure, FakeServer, RequestKind, StartError, TestServer},
};

fn is_send_sync_static<T: Send + Sync + 'static>() {}
fn is_debug<T: Debug>() {}
fn is_clone<T: Clone>() {}
fn is_unpin<T: Unpin>() {}
fn is_send<T: Send>(_: &T) {}

#[test]
fn types_go_between_threads() {
    is_send_sync_static::<Client>();
    is_send_sync_static::<ClientBuilder>();
    is_send_sync_static::<Lock>();
    is_send_sync_static::<RawLock>();
    is_send_sync_static::<LockGuard>();
    is_send_sync_static::<Acquire>();
    is_send_sync_static::<Error>();
    is_send_sync_static::<Event>();
    is_send_sync_static::<Inspection>();
    is_send_sync_static::<CloseReport>();
    is_send_sync_static::<(Tls, Protocol)>();
    is_send_sync_static::<(HoldState, LossCause, Owner, Refusal, Stats)>();
    is_send_sync_static::<(Lock<Fair>, LockGuard<Fenced>, RawLock<Group>, ReadWriteLock)>();
    is_send_sync_static::<(MultiLock, MultiGuard, RawMultiLock, AcquireMulti, AnyLock)>();
    is_send_sync_static::<(BackOff, FencingToken, GroupValue, Checker, FencedCell)>();
    is_send_sync_static::<(
        Semaphore,
        SemaphorePermit,
        ExpirableSemaphore,
        ExpirablePermit,
    )>();
    is_send_sync_static::<(CountDownLatch, StaleToken)>();
    is_clone::<(MultiLock, AnyLock, ReadWriteLock, GroupValue, FencedCell)>();
    is_debug::<(
        MultiLock,
        MultiGuard,
        AnyLock,
        ReadWriteLock,
        GroupValue,
        FencedCell,
    )>();
    is_send_sync_static::<(Feature, Rules, Secret)>();
    is_clone::<(Feature, Rules, Secret)>();
    is_send_sync_static::<(FakeServer, TestServer, StartError, RequestKind, Failure)>();
    is_debug::<(FakeServer, TestServer, StartError, RequestKind, Failure)>();
    is_unpin::<(LockGuard, MultiGuard)>();
    is_unpin::<Events>();
    is_clone::<(Client, Lock, RawLock, Error, Event)>();
    is_debug::<(Client, Lock, RawLock, LockGuard, Events)>();
}

#[test]
fn futures_are_send() {
    fn of(client: &Client, lock: &Lock, raw: &RawLock) {
        is_send(&lock.lock().into_future());
        is_send(&lock.try_lock());
        is_send(&raw.lock());
        is_send(&raw.unlock());
        is_send(&raw.force_unlock());
        is_send(&raw.hold_count());
        is_send(&client.inspect("x"));
        is_send(&client.self_test([Feature::Inspect]));
        is_send(&client.close(std::time::Duration::ZERO));
        is_send(&Client::connect("redis://localhost"));
    }
    fn guard(guard: LockGuard) {
        is_send(&guard.lost());
        is_send(&guard.run(async {}));
        is_send(&guard.unlock());
    }
    fn multi(lock: &MultiLock, guard: MultiGuard) {
        is_send(&lock.lock().into_future());
        is_send(&lock.try_lock());
        is_send(&lock.raw().unlock());
        is_send(&guard.lost());
        is_send(&guard.run(async {}));
        is_send(&guard.unlock());
    }
    fn read_write(lock: &ReadWriteLock, read: &Lock<Read>) {
        is_send(&lock.write().into_future());
        is_send(&read.try_lock());
    }
    let _ = (of, guard, multi, read_write);
}

#[tokio::test]
async fn errors_are_errors_with_their_cause() {
    fn is_error<T: StdError + Send + Sync + 'static>() {}
    is_error::<Error>();
    is_error::<StaleToken>();
    let error = Client::connect("gopher://x").await.expect_err("not redis");
    assert!(matches!(error, Error::InvalidArgument { field: "url", .. }));
    let text = error.to_string();
    assert!(text.starts_with("invalid url: "), "{text}");
    assert!(!text.ends_with('.'));
    let error = Client::builder()
        .connect()
        .await
        .expect_err("nowhere to go");
    assert!(error.to_string().contains("url"), "{error}");
    if !cfg!(feature = "tls-rustls") {
        let error = Client::connect("rediss://localhost")
            .await
            .expect_err("no tls");
        assert!(error.to_string().contains("tls-rustls"), "{error}");
    }
}
