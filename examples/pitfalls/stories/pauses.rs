//! Holders that are stopped, and go on as if nothing had been.

use redlatch_support::Server;

use crate::{
    Result,
    child::{Actor, client},
    plain::{LIMIT, Plain, gone},
    tale::Tale,
};

pub(crate) async fn fencing(tale: &Tale) -> Result<()> {
    let server = Server::builder().try_start()?;
    let (url, port) = (server.url(), server.port().to_string());
    let b = client(&url).await?;

    tale.part("any lock, also redlatch's, and a look at it right before the write");
    let mut a = Actor::start(&["checked", &port, &url])?;
    let looked = a.said()?;
    tale.does("A", "lock -> held; is_lost -> false");
    a.stop(tale)?;
    gone(&server, "lock").await;
    let next = b.lock("lock").lock().wait(LIMIT).await?;
    tale.does("B", "lock -> held");
    Plain::new("B", &server, tale).says("SET stock B's")?;
    next.unlock().await?;
    tale.does("B", "unlock");
    a.go_on(tale)?;
    a.tell()?;
    tale.does("A", &a.said()?);
    let stock = Plain::new("C", &server, tale).says("GET stock")?;
    tale.so(
        "B's write is lost: no look is late enough",
        looked == "held" && stock == "A's",
    )?;

    tale.part("redlatch, a fenced lock, and a resource that knows the latest token");
    server.direct().flushall();
    let mut a = Actor::start(&["fenced", &url])?;
    let looked = a.said()?;
    tale.does("A", "lock -> held, with token 1; is_lost -> false");
    a.stop(tale)?;
    gone(&server, "lock").await;
    let next = b.fenced_lock("lock").lock().wait(LIMIT).await?;
    let token = next.grant();
    tale.does("B", &format!("lock -> held, with token {token}"));
    let cell = b.fenced_cell("stock");
    cell.set(token, "B's").await?;
    tale.does("B", "set stock B's -> written");
    next.unlock().await?;
    tale.does("B", "unlock");
    a.go_on(tale)?;
    a.tell()?;
    let refused = a.said()?;
    tale.does("A", &format!("set stock A's -> {refused}"));
    let stock = cell.get().await?.map(|(_, value)| value);
    tale.so(
        "the resource refuses whoever has been overtaken: B's write stands",
        looked == "held" && refused.contains("stale") && stock.is_some_and(|stock| stock == "B's"),
    )
}
