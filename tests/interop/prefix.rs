//! A name mapper that puts a prefix before every name meets our `key_prefix`.

use redlatch_support::jvm::jvm_or_skip;

use crate::{
    common::{Stage, close, quiet},
    handover::Place,
    java::JavaLock,
};

/// Both sides with this prefix: handovers, and a third party without it that is not concerned.
async fn meet_behind(test: &str, prefix: &str) {
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::new(driver, |options| options.prefix(prefix));
    let inside = stage
        .client_with(|builder| builder.key_prefix(prefix))
        .await;
    let (outside, direct) = (stage.client().await, stage.server.direct());
    let (name, key) = ("orders", format!("{prefix}orders"));
    let place = Place {
        key: &key,
        ..Place::new(&stage.jvm, &inside, &direct, name)
    };
    place.jvm_to_rust().await;
    place.rust_to_jvm().await;

    let java = JavaLock::new(&stage.jvm, name);
    java.lock().await;
    let seen = inside.inspect(name).await.expect("answers");
    assert!(seen.is_locked(), "not seen behind the prefix: {seen:?}");
    let seen = outside.inspect(key.as_str()).await.expect("answers");
    assert!(seen.is_locked(), "not seen by its full name: {seen:?}");
    let other = outside.lock(name).try_lock().await;
    let other = other.expect("answers");
    let other = other.expect("without the prefix it is another lock");
    other.unlock().await.expect("held");
    java.unlock().await;
    close(inside).await;
    close(outside).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_prefix() {
    meet_behind("a_plain_prefix", "billing:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_with_a_hash_tag() {
    meet_behind("a_prefix_with_a_hash_tag", "{billing é}:").await;
}
