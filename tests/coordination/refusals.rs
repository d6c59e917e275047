//! Bad input, and servers that say no.

use redlatch::{Error, Refusal};
use redlatch_support::{Server, eventually_async};

use crate::kit::{Rig, client, close, connect, direct, ms, name, secs, until_value, value};

fn invalid(outcome: redlatch::Result<()>, field: &str) {
    match outcome {
        Err(Error::InvalidArgument { field: named, .. }) => assert_eq!(named, field),
        other => panic!("{field}: {other:?}"),
    }
}

#[tokio::test]
async fn bad_input_is_refused_before_a_byte_is_sent() {
    let rig = Rig::new().await;
    let sent = rig.proxy.seen("EVALSHA");
    let semaphore = rig.client.semaphore("s");
    let expirable = rig.client.expirable_semaphore("p");
    let latch = rig.client.count_down_latch("l");
    let many = u32::MAX;
    invalid(semaphore.acquire_many(many).await.map(drop), "permits");
    invalid(semaphore.try_acquire_many(many).await.map(drop), "permits");
    invalid(semaphore.release(many).await, "permits");
    invalid(semaphore.release_if_exists(many).await.map(drop), "permits");
    invalid(semaphore.add_permits(i64::MIN).await, "permits");
    invalid(semaphore.add_permits(1 << 31).await, "permits");
    invalid(semaphore.try_set_permits(many).await.map(drop), "permits");
    let no_time = std::time::Duration::ZERO;
    let set = semaphore.try_set_permits_for(1, no_time).await;
    invalid(set.map(drop), "ttl");
    invalid(semaphore.expire(no_time).await.map(drop), "ttl");
    invalid(
        semaphore.expire(std::time::Duration::MAX).await.map(drop),
        "ttl",
    );

    invalid(expirable.acquire_many(10_001).await.map(drop), "permits");
    invalid(expirable.set_permits(many).await, "permits");
    invalid(expirable.add_permits(i64::MAX).await, "permits");
    for lease in [no_time, ms(9), std::time::Duration::MAX, secs(1 << 40)] {
        invalid(expirable.acquire().lease(lease).await.map(drop), "lease");
    }
    invalid("xyz".parse::<redlatch::PermitId>().map(drop), "permit id");

    invalid(latch.try_set_count(u64::MAX).await.map(drop), "count");
    let long = "x".repeat(9_000);
    for name in ["", long.as_str()] {
        invalid(rig.client.semaphore(name).acquire().await.map(drop), "name");
        invalid(rig.client.semaphore(name).release(1).await, "name");
        let expirable = rig.client.expirable_semaphore(name);
        invalid(expirable.try_acquire().await.map(drop), "name");
        invalid(rig.client.count_down_latch(name).count_down().await, "name");
        invalid(rig.client.count_down_latch(name).wait().await, "name");
    }
    assert_eq!(rig.proxy.seen("EVALSHA"), sent, "nothing was sent");
    rig.end(&[]).await;
}

#[tokio::test]
async fn a_key_that_is_something_else_is_said_to_be() {
    let (client, direct, name) = (client().await, direct(), name("type"));
    let semaphore = client.semaphore(name.as_str());
    let expirable = client.expirable_semaphore(name.as_str());
    let latch = client.count_down_latch(name.as_str());
    for words in [
        ["HSET", &name, "f", "v"].as_slice(),
        &["SET", &name, "text"],
    ] {
        direct.cmd(&["DEL", &name]);
        direct.cmd(words).accepted();
        let text = words[0] == "SET";
        let outcomes = [
            semaphore.acquire().await.map(drop),
            semaphore.acquire().wait(secs(1)).await.map(drop),
            semaphore.try_acquire().await.map(drop),
            semaphore.drain_permits().await.map(drop),
            expirable.acquire().await.map(drop),
            expirable.try_acquire().await.map(drop),
            expirable.available_permits().await.map(drop),
            expirable.set_permits(1).await,
            latch.wait().await,
            latch.wait().limit(secs(1)).await,
            latch.count_down().await,
        ];
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let error = outcome.expect_err("no number");
            assert!(matches!(error, Error::WrongType { .. }), "{index}: {error}");
        }
        for outcome in [
            semaphore.release(1).await,
            semaphore.add_permits(1).await,
            semaphore.available_permits().await.map(drop),
            latch.count().await.map(drop),
        ] {
            let error = outcome.expect_err("no number");
            assert_eq!(matches!(error, Error::WrongType { .. }), !text, "{error}");
        }
        // Nothing was changed.
        assert!(direct.exists(&name));
    }
    close(client).await;
}

/// A waiter hears of it as well, by the next look.
#[tokio::test]
async fn a_waiter_whose_key_becomes_something_else_is_told() {
    let (client, direct, name) = (client().await, direct(), name("becomes"));
    let semaphore = client.semaphore(name.as_str());
    let waiting = tokio::spawn(semaphore.acquire().into_future());
    crate::kit::asleep(&client).await;
    direct.cmd(&["HSET", &name, "f", "v"]).accepted();
    let error = waiting.await.expect("joins").expect_err("no number");
    assert!(matches!(error, Error::WrongType { .. }), "{error}");
    close(client).await;
}

#[tokio::test]
async fn a_counter_that_would_overflow_stays_as_it_is() {
    let (client, direct, name) = (client().await, direct(), name("overflow"));
    let semaphore = client.semaphore(name.as_str());
    let most = i64::MAX.to_string();
    direct.cmd(&["SET", &name, &most]).accepted();
    for outcome in [semaphore.release(1).await, semaphore.add_permits(1).await] {
        let error = outcome.expect_err("too many");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(!error.is_indeterminate());
    }
    assert_eq!(value(&direct, &name), Some(i64::MAX));
    close(client).await;
}

/// Memory runs out under a permit. It goes back when there is some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_goes_back_once_there_is_memory() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let direct = server.direct();
    let semaphore = client.semaphore("s");
    semaphore.try_set_permits(2).await.expect("answers");
    let permit = semaphore.acquire().await.expect("two");
    direct.cmd(&["CONFIG", "SET", "maxmemory", "1"]).accepted();
    let error = semaphore.release(1).await.expect_err("no memory");
    let Error::Refused { refusal, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(refusal, Refusal::OutOfMemory);
    let error = semaphore.acquire().await.expect_err("no memory");
    assert!(error.is_retryable(), "{error}");
    drop(permit);
    assert_eq!(value(&direct, "s"), Some(1));
    direct.cmd(&["CONFIG", "SET", "maxmemory", "0"]).accepted();
    until_value(&direct, "s", 2).await;
    close(client).await;
}

/// A user who may not publish: the change is made, and those who wait find out by looking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_refused_loses_no_permit() {
    let server = Server::start();
    let direct = server.direct();
    direct
        .cmd(&[
            "ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "-publish",
        ])
        .accepted();
    let url = format!("redis://mute:pw@127.0.0.1:{}", server.port());
    let client = connect(&url, |builder| builder).await;
    let semaphore = client.semaphore("s");
    let waiting = crate::kit::follow(semaphore.acquire());
    crate::kit::asleep(&client).await;
    semaphore.release(1).await.expect("done");
    let (permit, _) = crate::kit::got(waiting).await;
    permit.release().await.expect("done");
    assert_eq!(value(&direct, "s"), Some(1));
    let latch = client.count_down_latch("l");
    latch.try_set_count(1).await.expect("done");
    latch.count_down().await.expect("done");
    latch.wait().await.expect("open");
    close(client).await;
}

/// Scripts that were thrown away on the server are loaded again, and count once.
#[tokio::test]
async fn scripts_that_are_gone_are_loaded_again() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let direct = server.direct();
    let semaphore = client.semaphore("s");
    for round in 1..4 {
        direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
        semaphore.release(1).await.expect("done");
        assert_eq!(value(&direct, "s"), Some(round));
    }
    close(client).await;
    eventually_async("no mark is left", secs(2), async || {
        direct.cmd(&["KEYS", "*"]).strings() == ["s"]
    })
    .await;
}

/// What no repeat will change is told at once, and asked once.
#[tokio::test]
async fn a_refusal_for_good_is_not_tried_again() {
    let rig = Rig::new().await;
    let semaphore = rig.client.semaphore("s");
    semaphore.try_set_permits(2).await.expect("answers");
    semaphore.release(1).await.expect("answers");
    semaphore.add_permits(1).await.expect("answers");
    rig.direct().cmd(&["DEL", "s"]);
    rig.direct().cmd(&["HSET", "s", "field", "1"]);
    let seen = rig.proxy.seen("EVALSHA");
    for outcome in [semaphore.release(1).await, semaphore.add_permits(1).await] {
        let error = outcome.expect_err("it is a hash");
        assert!(matches!(error, Error::WrongType { .. }), "{error}");
    }
    assert_eq!(rig.proxy.seen("EVALSHA"), seen + 2);
}
