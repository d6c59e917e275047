//! What handles and guards say of themselves, and the short ways to take a lock.

use redlatch::{AnyLock, GroupValue, MultiLock};

use crate::common::{client, close, ms, name, nothing_but, secs};

#[tokio::test]
async fn every_handle_says_what_it_is() {
    let (client, stem) = (client().await, name("handle"));
    let plain = client.lock(stem.as_str());
    let both = client.read_write_lock(stem.as_str());
    assert_eq!(plain.name(), stem);
    assert_eq!(client.rlock(stem.as_str()).name(), stem);
    assert_eq!(both.name(), stem);
    let any = AnyLock::from(&plain);
    assert_eq!((any.name(), any.kind()), (stem.as_str(), "reentrant"));
    for (other, kind) in [
        (AnyLock::from(client.fair_lock("f")), "fair"),
        (AnyLock::from(client.fenced_lock("f")), "fenced"),
        (AnyLock::from(client.spin_lock("f")), "spin"),
        (AnyLock::from(client.group_lock("f", ["a"])), "group"),
        (AnyLock::from(both.read_lock()), "read"),
        (AnyLock::from(both.write_lock()), "write"),
    ] {
        assert_eq!(other.kind(), kind);
    }
    let set = MultiLock::new([any.clone()]).expect("one");
    assert_eq!(set.names().collect::<Vec<_>>(), [stem.as_str()]);
    for shown in [
        format!("{plain:?}"),
        format!("{:?}", plain.lock()),
        format!("{:?}", client.rlock(stem.as_str())),
        format!("{any:?}"),
        format!("{set:?}"),
    ] {
        assert!(shown.contains(&stem), "{shown}");
    }
    assert!(format!("{:?}", GroupValue::from("seat")).contains("sea"));
    close(client).await;
}

#[tokio::test]
async fn every_guard_says_what_it_holds() {
    let (client, stem) = (client().await, name("guard"));
    let (plain, fenced) = (format!("{stem}-plain"), format!("{stem}-fenced"));
    let guard = client.lock(plain.as_str()).lock().await.expect("free");
    assert!(guard.remaining() > secs(20), "{:?}", guard.remaining());
    assert!(guard.remaining() <= secs(30), "{:?}", guard.remaining());
    assert!(format!("{guard:?}").contains(&plain));
    guard.unlock().await.expect("held");

    let set = MultiLock::new([
        AnyLock::from(client.lock(plain.as_str())),
        AnyLock::from(client.fenced_lock(fenced.as_str())),
    ]);
    let guard = set.expect("two").lock().await.expect("free");
    let mut names: Vec<_> = guard.names().collect();
    names.sort_unstable();
    assert_eq!(names, [fenced.as_str(), plain.as_str()]);
    let token = guard.token(&fenced).expect("a fenced member");
    assert_eq!((token.get(), token.to_string().as_str()), (1, "1"));
    assert_eq!(guard.token(&plain), None);
    assert_eq!(guard.token("nobody"), None);
    let shown = format!("{guard:?}");
    assert!(
        shown.contains(&plain) && shown.contains("needed: 2"),
        "{shown}"
    );
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_free_lock_is_taken_at_once_in_every_short_way() {
    let (client, stem) = (client().await, name("short"));
    let both = client.read_write_lock(stem.as_str());
    let reading = both.try_read().await.expect("answers").expect("free");
    assert!(
        both.with_owner(redlatch::Owner::explicit(7).expect("small"))
            .try_write()
            .await
            .expect("answers")
            .is_none()
    );
    reading.unlock().await.expect("held");
    let writing = both.try_write().await.expect("answers").expect("free");
    writing.unlock().await.expect("held");

    let set = MultiLock::new([AnyLock::from(client.lock(stem.as_str()))]);
    let raw = set.expect("one").raw();
    assert!(raw.try_lock_for(ms(500), None).await.expect("answers"));
    assert!(raw.is_held_by_current().await.expect("answers"));
    raw.unlock().await.expect("held");
    assert!(!raw.is_held_by_current().await.expect("answers"));

    let raw = client.rlock(stem.as_str());
    assert!(raw.try_lock().await.expect("answers").is_some());
    raw.unlock().await.expect("held");

    // A lock that is written is not read.
    let writing = both.try_write().await.expect("answers").expect("free");
    assert!(!both.read_lock().raw().is_locked().await.expect("answers"));
    writing.unlock().await.expect("held");
    nothing_but(&stem, &[]).await;
    close(client).await;
}
