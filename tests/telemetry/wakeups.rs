//! What ends a wait.

use redlatch::Client;
use redlatch_support::{Action, Proxy, Rule, Server};

use crate::kit::{Meter, asleep, close, connect, ms, plain, secs, waiting};

/// One that hears messages through the proxy, and does not look for itself soon.
async fn listener(proxy: &Proxy) -> Client {
    connect(proxy.url(), |builder| builder.safety_poll(secs(25))).await
}

/// Its connection for messages is there, and the look that a new one sets off is over. Returns the wake-ups it took.
async fn warm(client: &Client, meter: &Meter) -> f64 {
    let guard = client.lock("warm").lock().await.expect("free");
    let waiter = waiting(client, "warm");
    asleep(client, 1).await;
    guard.unlock().await.expect("held");
    waiter.await.expect("granted");
    all(meter)
}

fn all(meter: &Meter) -> f64 {
    meter.sum("redlatch_wakeups_total", &[])
}

#[track_caller]
fn only(meter: &Meter, source: &str) {
    only_since(meter, source, 0.0);
}

#[track_caller]
fn only_since(meter: &Meter, source: &str, before: f64) {
    assert_eq!(meter.woken_by(source), 1.0, "{}", meter.page());
    assert_eq!(all(meter), before + 1.0, "{}", meter.page());
}

#[tokio::test]
async fn by_a_message() {
    let (server, meter) = (Server::start(), Meter::install());
    let proxy = Proxy::start(server.port()).await;
    let (holder, client) = (plain(server.url()).await, listener(&proxy).await);
    let guard = holder.lock("a").lock().await.expect("free");
    let waiter = waiting(&client, "a");
    asleep(&client, 1).await;
    guard.unlock().await.expect("held");
    waiter.await.expect("granted");
    only(&meter, "message");
    close(holder).await;
    close(client).await;
}

#[tokio::test]
async fn by_the_end_of_the_time_to_live() {
    let (server, meter) = (Server::start(), Meter::install());
    let proxy = Proxy::start(server.port()).await;
    let (direct, client) = (server.direct(), listener(&proxy).await);
    direct.cmd(&["HSET", "a", "somebody:1", "1"]);
    direct.cmd(&["PEXPIRE", "a", "400"]);
    let waiter = waiting(&client, "a");
    waiter.await.expect("granted");
    assert!(meter.woken_by("ttl") >= 1.0, "{}", meter.page());
    let all = meter.sum("redlatch_wakeups_total", &[]);
    assert_eq!(all, meter.woken_by("ttl"), "{}", meter.page());
    close(client).await;
}

#[tokio::test]
async fn by_a_look_where_no_message_came() {
    let (server, meter) = (Server::start(), Meter::install());
    let (direct, client) = (
        server.direct(),
        connect(server.url(), |builder| builder.safety_poll(ms(100))).await,
    );
    let before = warm(&client, &meter).await;
    let polls = meter.woken_by("poll");
    direct.cmd(&["HSET", "a", "somebody:1", "1"]);
    direct.cmd(&["PEXPIRE", "a", "60000"]);
    let waiter = waiting(&client, "a");
    asleep(&client, 1).await;
    direct.cmd(&["DEL", "a"]);
    waiter.await.expect("granted");
    assert_eq!(meter.woken_by("poll"), polls + 1.0, "{}", meter.page());
    assert_eq!(all(&meter), before + 1.0, "{}", meter.page());
    close(client).await;
}

#[tokio::test]
async fn by_a_new_connection() {
    let (server, meter) = (Server::start(), Meter::install());
    let proxy = Proxy::start(server.port()).await;
    let (direct, client) = (server.direct(), listener(&proxy).await);
    direct.cmd(&["HSET", "a", "somebody:1", "1"]);
    direct.cmd(&["PEXPIRE", "a", "60000"]);
    let waiter = waiting(&client, "a");
    asleep(&client, 1).await;
    direct.cmd(&["DEL", "a"]);
    assert!(!waiter.is_finished());
    proxy.cut_subscribers();
    waiter.await.expect("granted");
    only(&meter, "reconnect");
    close(client).await;
}

#[tokio::test]
async fn by_a_loss_inside_this_process() {
    let (server, meter) = (Server::start(), Meter::install());
    // A hold that is gone is found out about within a second, and nobody looks before two.
    let client = connect(server.url(), |builder| {
        let builder = builder.watchdog_timeout(ms(3_000)).safety_poll(ms(2_900));
        builder.command_timeout(ms(1_000))
    })
    .await;
    let before = warm(&client, &meter).await;
    let guard = client.lock("a").lock().await.expect("free");
    let waiter = waiting(&client, "a");
    asleep(&client, 1).await;
    server.direct().cmd(&["DEL", "a"]);
    waiter.await.expect("granted");
    assert!(guard.is_lost());
    only_since(&meter, "release", before);
    drop(guard);
    close(client).await;
}

#[tokio::test]
async fn by_a_subscription_that_came_after_its_try() {
    let (server, meter) = (Server::start(), Meter::install());
    let proxy = Proxy::start(server.port()).await;
    let client = connect(proxy.url(), |builder| {
        let builder = builder.command_timeout(secs(2));
        builder.safety_poll(secs(25))
    })
    .await;
    let direct = server.direct();
    direct.cmd(&["HSET", "a", "somebody:1", "1"]);
    direct.cmd(&["PEXPIRE", "a", "60000"]);
    // The first waiter's subscription is on its way when it is given up, and the second finds a channel that is not heard.
    let rule = Rule::new("SUBSCRIBE").action(Action::HoldReply);
    let held = proxy.rule(rule.with_arg("redisson_lock__channel:{a}"));
    let first = waiting(&client, "a");
    meter.until("it listens", |_| held.hits() == 1).await;
    let second = waiting(&client, "a");
    meter
        .until("both wait", |meter| meter.waiters() == 2.0)
        .await;
    first.abort();
    // It asks, and so knows of nothing that is announced from then on.
    let attempts = client.stats().attempts;
    meter
        .until("it has asked", |_| client.stats().attempts > attempts)
        .await;
    asleep(&client, 1).await;
    direct.cmd(&["DEL", "a"]);
    held.release();
    second.await.expect("granted");
    only(&meter, "subscribed");
    close(client).await;
}

#[tokio::test]
async fn by_closing() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = plain(server.url()).await;
    let direct = server.direct();
    direct.cmd(&["HSET", "a", "somebody:1", "1"]);
    direct.cmd(&["PEXPIRE", "a", "60000"]);
    let lock = client.lock("a");
    let waiter = tokio::spawn(async move { lock.lock().await.map(drop) });
    asleep(&client, 1).await;
    close(client).await;
    waiter.await.expect("joins").expect_err("closed");
    only(&meter, "closed");
}

#[tokio::test]
async fn of_who_waits_for_a_permit_too() {
    let (server, meter) = (Server::start(), Meter::install());
    let (giver, client) = (plain(server.url()).await, plain(server.url()).await);
    let semaphore = client.semaphore("s");
    let waiter = tokio::spawn(async move { semaphore.acquire().await.map(drop) });
    asleep(&client, 1).await;
    assert_eq!(
        meter.sum("redlatch_waiter_active", &[("kind", "semaphore")]),
        1.0
    );
    giver.semaphore("s").release(1).await.expect("given");
    waiter.await.expect("joins").expect("granted");
    only(&meter, "message");
    assert_eq!(meter.waiters(), 0.0);
    close(giver).await;
    close(client).await;
}
