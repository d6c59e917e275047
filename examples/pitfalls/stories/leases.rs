//! Leases that end before the work does.

use redlatch_support::{Server, eventually_async};

use crate::{
    Result,
    child::client,
    plain::{LIMIT, Plain, gone},
    tale::Tale,
};

/// Frees a lock that still has this value.
const COMPARE_AND_DELETE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0";

pub(crate) async fn wrong_owner_deletes(tale: &Tale) -> Result<()> {
    let server = Server::builder().try_start()?;
    tale.part("SET lock 1 NX PX, work, DEL lock");
    let [a, b, c] = ["A", "B", "C"].map(|who| Plain::new(who, &server, tale));
    a.says("SET lock 1 NX PX 100")?;
    gone(&server, "lock").await;
    tale.meanwhile("A's work takes longer than that");
    let second = b.says("SET lock 1 NX PX 60000")?;
    let deleted = a.says("DEL lock")?;
    let third = c.says("SET lock 1 NX PX 60000")?;
    tale.so(
        "A has freed B's lock: B and C are both in",
        second == "OK" && deleted == "1" && third == "OK",
    )?;

    tale.part("redlatch");
    let (ours, theirs) = (client(&server.url()).await?, client(&server.url()).await?);
    let (lock, other) = (ours.lock("safe"), theirs.lock("safe"));
    let lease = std::time::Duration::from_millis(100);
    let held = lock.lock().lease(lease).await?;
    tale.does("A", "lock, for 100 ms -> held");
    held.lost().await;
    tale.meanwhile("A's work takes longer than that, and it is told so");
    let next = other.lock().await?;
    tale.does("B", "lock -> held");
    let told = held.unlock().await.is_err_and(|error| error.is_lost());
    tale.does("A", "unlock -> it was lost");
    let busy = theirs.lock("safe");
    let busy = busy.with_owner(redlatch::Owner::fresh()).try_lock().await?;
    tale.does("C", "try_lock -> busy");
    tale.so(
        "only its owner frees a lock: B still has it",
        told && busy.is_none() && !next.is_lost(),
    )
}

pub(crate) async fn no_renewal(tale: &Tale) -> Result<()> {
    let server = Server::builder().try_start()?;
    let direct = server.direct();
    tale.part("SET lock OWNER NX PX, work, compare and delete; one piece is for sale");
    direct.try_cmd(&["SET", "stock", "1"])?;
    let (a, b) = (
        Plain::new("A", &server, tale),
        Plain::new("B", &server, tale),
    );
    a.says("SET lock A NX PX 100")?;
    let first = a.says("GET stock")?;
    gone(&server, "lock").await;
    tale.meanwhile("A's payment takes longer than that");
    b.says("SET lock B NX PX 60000")?;
    let second = b.says("GET stock")?;
    for plain in [&b, &a] {
        plain.says("SET stock 0")?;
        plain.says("INCR sold")?;
    }
    let freed = direct.try_cmd(&["EVAL", COMPARE_AND_DELETE, "1", "lock", "A"])?;
    tale.does(
        "A",
        &format!("EVAL compare-and-delete lock A -> {}", freed.text()),
    );
    let sold = direct.try_cmd(&["GET", "sold"])?.text();
    tale.so(
        "nobody deleted what was another's, and one piece was sold twice",
        first == "1" && second == "1" && freed.int() == 0 && sold == "2",
    )?;

    tale.part("redlatch");
    direct.try_cmd(&["SET", "stock", "1"])?;
    direct.try_cmd(&["DEL", "sold"])?;
    let (ours, theirs) = (client(&server.url()).await?, client(&server.url()).await?);
    let held = ours.lock("safe").lock().await?;
    tale.does("A", "lock, to live for 1 s -> held");
    a.says("GET stock")?;
    // Three renewals are one time to live.
    eventually_async("it was renewed", LIMIT, async || ours.stats().renewals >= 5).await;
    tale.meanwhile("A's payment takes longer than that; the watchdog renews the lock");
    let busy = theirs.lock("safe").try_lock().await?.is_none();
    tale.does("B", "try_lock -> busy");
    a.says("SET stock 0")?;
    a.says("INCR sold")?;
    held.unlock().await?;
    tale.does("A", "unlock");
    let next = theirs.lock("safe").lock().await?;
    tale.does("B", "lock -> held");
    let left = b.says("GET stock")?;
    next.unlock().await?;
    let sold = direct.try_cmd(&["GET", "sold"])?.text();
    tale.so(
        "the lock lives as long as its holder works: one piece was sold once",
        busy && left == "0" && sold == "1",
    )
}
