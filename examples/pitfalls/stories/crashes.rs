//! Holders that die.

use redlatch_support::{Action, Proxy, Rule, Server, eventually_async};

use crate::{
    Result,
    child::{Actor, WATCHDOG, client},
    plain::{LIMIT, Plain},
    tale::Tale,
};

/// A dies right after its `SETNX`.
fn left_behind(tale: &Tale, so: &str) -> Result<()> {
    let server = Server::builder().try_start()?;
    let mut a = Actor::start(&["plain", &server.port().to_string(), "SETNX lock A"])?;
    tale.does("A", &a.said()?);
    a.kill(tale)?;
    let b = Plain::new("B", &server, tale);
    let taken = b.says("SETNX lock B")?;
    let left = b.says("PTTL lock")?;
    tale.so(so, taken == "0" && left == "-1")
}

pub(crate) async fn setnx_forever(tale: &Tale) -> Result<()> {
    tale.part("SETNX lock, work, DEL lock");
    left_behind(
        tale,
        "nobody gets in any more until somebody deletes it by hand",
    )?;

    tale.part("redlatch");
    let server = Server::builder().try_start()?;
    let mut a = Actor::start(&["hold", &server.url(), "lock"])?;
    tale.does("A", &format!("lock -> {}", a.said()?));
    a.kill(tale)?;
    let b = client(&server.url()).await?;
    let guard = b.lock("lock").lock().wait(LIMIT).await;
    tale.does("B", "lock -> held");
    tale.so(
        "a lock that nobody renews ends with its time to live",
        guard.is_ok(),
    )
}

pub(crate) async fn setnx_then_expire(tale: &Tale) -> Result<()> {
    tale.part("SETNX lock, EXPIRE lock 10, work, DEL lock");
    left_behind(tale, "the EXPIRE that should have come second never does")?;

    tale.part("redlatch");
    let server = Server::builder().try_start()?;
    // The server knows the scripts, so that there is one command and nothing else.
    let b = client(&server.url()).await?;
    let lock = b.lock("lock");
    lock.lock().await?.unlock().await?;
    let proxy = Proxy::start(server.port()).await;
    let rule = proxy.rule(Rule::new("EVALSHA").action(Action::StallReplies).times(1));
    let a = Actor::start(&["hold", &proxy.url(), "lock"])?;
    eventually_async("the script has run", LIMIT, async || {
        rule.hits() == 1 && server.direct().exists("lock")
    })
    .await;
    tale.does("A", "EVALSHA acquire lock");
    a.kill(tale)?;
    let left = server.direct().pttl("lock");
    let most = i64::try_from(WATCHDOG.as_millis())?;
    tale.so(
        "lock and time to live are one step: there is none between them to die in",
        (1..=most).contains(&left),
    )?;
    let guard = lock.lock().wait(LIMIT).await;
    tale.does("B", "lock -> held");
    tale.so("the next one has it", guard.is_ok())
}
