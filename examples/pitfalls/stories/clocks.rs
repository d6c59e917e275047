//! Locks that hold the time of their end, which everybody reads by a clock of their own.

use redlatch_support::Server;

use crate::{Result, child::client, plain::Plain, tale::Tale};

pub(crate) async fn expiry_as_value(tale: &Tale) -> Result<()> {
    let server = Server::builder().try_start()?;
    tale.part("SETNX lock TIME; whoever finds a TIME that is over deletes it");
    tale.meanwhile("it is 1000 by A's clock, and 1060 by B's");
    let a = Plain::new("A", &server, tale);
    let b = Plain::new("B", &server, tale);
    let first = a.says("SETNX lock 1030")?;
    let due: u64 = b.says("GET lock")?.parse()?;
    tale.meanwhile("1030 is over, by B's clock");
    b.says("DEL lock")?;
    let second = b.says("SETNX lock 1090")?;
    tale.so(
        "both have it, 30 seconds before its end",
        first == "1" && second == "1" && due < 1060,
    )?;

    tale.part("redlatch");
    let (a, b) = (client(&server.url()).await?, client(&server.url()).await?);
    let held = a.lock("safe").lock().await?;
    tale.does("A", "lock -> held");
    let refused = b.lock("safe").try_lock().await?.is_none();
    tale.does("B", "try_lock -> busy");
    let left = server.direct().pttl("safe");
    tale.so(
        "the time to live passes on the server alone, and no client's clock is asked",
        refused && left > 0 && !held.is_lost(),
    )
}

pub(crate) async fn getset(tale: &Tale) -> Result<()> {
    let server = Server::builder().try_start()?;
    tale.part("GETSET lock TIME; whoever gets a TIME that is over has it, and frees it if it still holds its own");
    let direct = server.direct();
    direct.try_cmd(&["SET", "lock", "999"])?;
    tale.meanwhile("a dead holder has left 999, and it is 1000 for everybody");
    let b = Plain::new("B", &server, tale);
    let c = Plain::new("C", &server, tale);
    for plain in [&b, &c] {
        plain.says("GET lock")?;
    }
    let first = b.says("GETSET lock 1030")?;
    let second = c.says("GETSET lock 1031")?;
    tale.meanwhile("999 is over: B has it; 1030 is not: C has not");
    let found = b.says("GET lock")?;
    tale.so(
        "C did not get it and wrote over B's time: B takes its lock for another's and leaves it",
        first == "999" && second == "1030" && found == "1031",
    )?;

    tale.part("redlatch");
    // Left by one who died.
    direct.try_cmd(&["HSET", "safe", "dead:1", "1"])?;
    direct.try_cmd(&["PEXPIRE", "safe", "100"])?;
    tale.meanwhile("a dead holder has left a lock that ends soon");
    let (b, c) = (client(&server.url()).await?, client(&server.url()).await?);
    let (b, c) = (b.lock("safe"), c.lock("safe"));
    let first = b.lock().await?;
    tale.does("B", "lock -> held");
    let busy = c.try_lock().await?.is_none();
    tale.does("C", "try_lock -> busy");
    let fields = direct.hgetall("safe");
    tale.so(
        "who does not get it changes nothing: the lock is B's",
        busy && fields.len() == 1 && fields.contains_key(&first.owner_id()),
    )?;
    first.unlock().await?;
    tale.does("B", "unlock");
    let next = c.try_lock().await?.is_some();
    tale.does("C", "try_lock -> held");
    tale.so("and it is free once B gives it back", next)
}
