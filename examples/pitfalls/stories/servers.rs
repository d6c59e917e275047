//! Servers that forget.

use redlatch::{Client, Error, MultiLock, Replicas};
use redlatch_support::{Sentinels, Server};

use crate::{
    Result,
    child::{Actor, WATCHDOG, client},
    plain::{LIMIT, Plain, gone},
    tale::Tale,
};

/// The master dies, and what it was told last is on no replica. Gives the new master.
fn fail_over<'a>(sentinels: &'a Sentinels, tale: &Tale) -> &'a Server {
    let old = sentinels.master();
    old.kill();
    for server in sentinels.servers() {
        if server.port() != old.port() {
            server.thaw();
        }
    }
    let new = sentinels.master_after(old);
    old.restart();
    tale.meanwhile(
        "the master dies before its replicas have heard of that; one of them follows it",
    );
    new
}

/// From now on nothing reaches the replicas.
fn cut_replicas_off(sentinels: &Sentinels) -> Result<()> {
    for replica in sentinels.replicas() {
        replica.freeze();
    }
    // What is under way to them would arrive when they go on.
    let kill = ["CLIENT", "KILL", "TYPE", "replica"];
    sentinels.master().direct().try_cmd(&kill)?;
    Ok(())
}

pub(crate) async fn failover(tale: &Tale) -> Result<()> {
    let sentinels = Sentinels::try_start()?;
    tale.part("SET lock OWNER NX PX on a master with two replicas");
    cut_replicas_off(&sentinels)?;
    let first = Plain::new("A", sentinels.master(), tale).says("SET lock A NX PX 60000")?;
    let new = fail_over(&sentinels, tale);
    let second = Plain::new("B", new, tale).says("SET lock B NX PX 60000")?;
    tale.so(
        "both have it, and nobody is told",
        first == "OK" && second == "OK",
    )?;

    tale.part("redlatch, with Replicas::AtLeast(1)");
    sentinels.wait_ready();
    let connect = async || -> redlatch::Result<Client> {
        let builder = Client::builder().sentinel(sentinels.master_name(), sentinels.urls())?;
        let builder = builder.replicas(Replicas::AtLeast(1), WATCHDOG / 4);
        builder.connect().await
    };
    let (ours, theirs) = (connect().await?, connect().await?);
    cut_replicas_off(&sentinels)?;
    let refused = ours.lock("safe").lock().await;
    let refused = matches!(refused, Err(Error::NotReplicated { .. }));
    tale.does("A", "lock -> no replica has confirmed it: not granted");
    fail_over(&sentinels, tale);
    let next = theirs.lock("safe").lock().wait(LIMIT).await?;
    tale.does("B", "lock -> held");
    tale.so(
        "a lock that a failover would forget was never granted: B is alone",
        refused && !next.is_lost(),
    )
}

fn majority(clients: &[Client]) -> Result<MultiLock> {
    let members = clients.iter().map(|client| client.lock("lock"));
    Ok(MultiLock::majority(members)?)
}

async fn clients(servers: &[Server]) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for server in servers {
        clients.push(client(&server.url()).await?);
    }
    Ok(clients)
}

pub(crate) async fn redlock(tale: &Tale) -> Result<()> {
    let servers = [(); 3].map(|()| Server::builder().try_start());
    let servers: Vec<Server> = servers.into_iter().collect::<Result<_, _>>()?;
    tale.part("SET lock OWNER NX PX on one server");
    let first = Plain::new("A", &servers[0], tale).says("SET one A NX PX 60000")?;
    servers[0].kill();
    servers[0].restart();
    tale.meanwhile("the server dies, and comes back empty");
    let second = Plain::new("B", &servers[0], tale).says("SET one B NX PX 60000")?;
    tale.so("both have it", first == "OK" && second == "OK")?;

    tale.part("redlatch, a majority of three servers that know nothing of each other");
    let (ours, theirs) = (clients(&servers).await?, clients(&servers).await?);
    let held = majority(&ours)?.lock().await?;
    tale.does("A", "lock -> held by a majority");
    servers[0].kill();
    servers[0].restart();
    tale.meanwhile("one server dies, and comes back empty");
    let busy = majority(&theirs)?.try_lock().await?.is_none();
    tale.does("B", "try_lock -> busy");
    tale.so(
        "two of three still know: A alone has it",
        busy && !held.is_lost(),
    )?;
    held.unlock().await?;

    tale.part("what a majority cannot do");
    let store = &servers[0];
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let port = store.port().to_string();
    let mut part = vec!["majority", &port];
    part.extend(urls.iter().map(String::as_str));
    let mut a = Actor::start(&part)?;
    let looked = a.said()?;
    tale.does("A", "lock -> held; is_lost -> false");
    a.stop(tale)?;
    for server in &servers {
        gone(server, "lock").await;
    }
    let next = majority(&theirs)?.lock().wait(LIMIT).await?;
    tale.does("B", "lock -> held by a majority");
    Plain::new("B", store, tale).says("SET stock B's")?;
    next.unlock().await?;
    tale.does("B", "unlock");
    a.go_on(tale)?;
    a.tell()?;
    tale.does("A", &a.said()?);
    let stock = Plain::new("C", store, tale).says("GET stock")?;
    tale.so(
        "who is stopped between its last look and its write writes over the next one's: see fencing",
        looked == "held" && stock == "A's",
    )
}
