//! One counter numbers the grants of both sides.

use redlatch::{Fenced, Owner};
use redlatch_support::{Direct, jvm::jvm_or_skip, unique_name};

use crate::{
    common::{client, close, direct, quiet, shared_jvm},
    java::JavaLock,
    kinds::derived,
};

const ROUNDS: usize = 10;
/// How a JVM asks for a token without waiting: its call that takes no wait time does wait for a busy lock.
const BRIEFLY: [&str; 2] = ["20", "-1"];

fn counter(direct: &Direct, name: &str) -> i64 {
    let counter = derived("redisson_lock_token", name);
    assert_eq!(direct.pttl(&counter), -1, "the counter stays");
    direct.cmd(&["GET", &counter]).int()
}

async fn token(java: &JavaLock<'_, Fenced>, op: &str, more: &[&str]) -> i64 {
    let value = java.value(op, more).await;
    value
        .parse()
        .unwrap_or_else(|_| panic!("{op} in the JVM gave {value:?}, not a token"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_rise_from_grant_to_grant() {
    let Some(driver) = jvm_or_skip("tokens_rise_from_grant_to_grant") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("tokens"));
    let java = JavaLock::<Fenced>::of(shared_jvm(driver), &name);
    let lock = client.fenced_lock(name.as_str());
    assert_eq!(java.number("gettoken").await, 0);
    assert_eq!(lock.last_token().await.expect("answers").get(), 0);

    let mut last = 0;
    let mut higher = |token: i64| {
        assert_eq!(token, last + 1, "each grant takes the next number");
        last = token;
    };
    for _ in 0..ROUNDS {
        higher(token(&java, "locktoken", &[]).await);
        assert_eq!(counter(&direct, &name), java.number("gettoken").await);
        java.unlock().await;

        let guard = lock.lock().await.expect("free");
        higher(guard.token().get());
        assert_eq!(java.number("gettoken").await, guard.token().get());
        assert_eq!(java.value("trylocktoken", &BRIEFLY).await, "", "held");
        guard.unlock().await.expect("held");

        higher(token(&java, "trylocktoken", &[]).await);
        let seen = lock.last_token().await.expect("answers");
        assert_eq!(seen.get(), java.number("gettoken").await);
        let refused = lock.try_lock().await.expect("answers");
        assert!(refused.is_none(), "{refused:?} beside the JVM");
        java.unlock().await;

        let guard = lock.try_lock().await.expect("answers").expect("free");
        higher(guard.token().get());
        guard.unlock().await.expect("held");

        // Without asking for the number.
        java.lock().await;
        higher(java.number("gettoken").await);
        java.unlock().await;
    }
    println!("{last} grants");
    assert_eq!(counter(&direct, &name), last);
    assert!(!direct.exists(&name));
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entering_again_keeps_our_token() {
    let Some(driver) = jvm_or_skip("entering_again_keeps_our_token") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("tokens-again"));
    let java = JavaLock::<Fenced>::of(shared_jvm(driver), &name);
    let lock = client.fenced_lock(name.as_str()).with_owner(Owner::fresh());

    let first = lock.lock().await.expect("free");
    let again = lock.lock().await.expect("enters again");
    assert_eq!((first.token().get(), again.token().get()), (1, 1));
    assert_eq!(java.number("gettoken").await, 1);
    first.unlock().await.expect("held");
    assert_eq!(java.value("trylocktoken", &BRIEFLY).await, "", "held once");
    again.unlock().await.expect("held");

    // The JVM takes a number each time it enters, and they rise all the same.
    assert_eq!(token(&java, "locktoken", &[]).await, 2);
    assert_eq!(token(&java, "locktoken", &[]).await, 3);
    java.unlock().await;
    java.unlock().await;
    let guard = lock.lock().await.expect("free");
    assert_eq!(guard.token().get(), 4);

    // A JVM that waits gets a number when it is granted, not when it asks.
    let waiting = crate::java::follow(java.begin("trylocktoken", &["10000", "-1"]));
    crate::common::subscribers(&direct, &name, 1).await;
    assert_eq!(counter(&direct, &name), 4);
    guard.unlock().await.expect("held");
    let (reply, _) = waiting.await.expect("joins");
    assert_eq!(reply.expect("granted").value, "5");
    assert_eq!(lock.last_token().await.expect("answers").get(), 5);
    java.unlock().await;
    close(client).await;
}
