//! What a server is asked to run is on the list of approved scripts, whatever names and values say.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use redlatch::{Client, FencingToken, Kind, Lock, Owner};
use redlatch_support::{Action, Proxy, Rule, Server, eventually_async};

use crate::kit::{Feature, close, connect, ms, nothing_is_left};

/// `digest name`, one a line: see the tests of the scripts.
const APPROVED: &str = include_str!("../../src/engine/script/approved.txt");

/// Would be a statement of its own where a name or a value became a part of a script.
const HOSTILE: &str = "'] redis.call('set','pwned','1') --[[ \" ) end \n}{*[?";

async fn hold<K: Kind>(lock: Lock<K>) {
    let guard = lock.lock().wait(ms(900)).await.expect("free");
    let raw = lock.raw();
    raw.is_locked().await.expect("answers");
    raw.remaining_ttl().await.expect("answers");
    // Renewed at least once.
    tokio::time::timeout(ms(150), guard.lost()).await.ok();
    guard.unlock().await.expect("held");
    raw.force_unlock().await.expect("answers");
}

/// Uses everything there is, on one name.
async fn use_all(client: &Client, name: &str) {
    let of = |kind: &str| format!("{name}{kind}");
    tokio::join!(
        hold(client.lock(of("lock"))),
        hold(client.fair_lock(of("fair"))),
        hold(client.fenced_lock(of("fenced"))),
        hold(client.spin_lock(of("spin"))),
        hold(client.non_reentrant_lock(of("once"))),
        hold(client.non_reentrant_fair_lock(of("fair once"))),
        hold(client.group_lock(of("group"), [name, "x"])),
    );
    let both = client.read_write_lock(of("rw"));
    hold(both.read_lock().clone()).await;
    hold(both.write_lock().clone()).await;
    let fair = client.fair_lock(of("passed on"));
    let (guard, waits) = (fair.lock().await.expect("free"), client.stats().waits);
    let next = fair.with_owner(Owner::fresh());
    let waiting = tokio::spawn(async move { next.lock().await });
    eventually_async("it waits", ms(5_000), async || client.stats().waits > waits).await;
    guard.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("granted");
    guard.unlock().await.expect("held");
    let semaphore = client.semaphore(of("semaphore"));
    semaphore.try_set_permits(2).await.expect("answers");
    let permit = semaphore.acquire().await.expect("there");
    permit.release().await.expect("given back");
    semaphore.delete().await.expect("answers");
    let permits = client.expirable_semaphore(of("permits"));
    permits.try_set_permits(2).await.expect("answers");
    let permit = permits.acquire().await.expect("there");
    permit.release().await.expect("given back");
    permits.delete().await.expect("answers");
    let latch = client.count_down_latch(of("latch"));
    latch.try_set_count(1).await.expect("answers");
    latch.count_down().await.expect("answers");
    let cell = client.fenced_cell(of("cell"));
    let token = FencingToken::new(1);
    cell.claim(token).await.expect("the first");
    cell.set(token, HOSTILE).await.expect("the newest");
    client.inspect(of("lock")).await.expect("answers");
    let election = client.election(of("election"));
    let leading = election.campaign(HOSTILE).await.expect("nobody leads");
    assert!(election.leader().await.expect("answers").is_some());
    leading.resign().await.expect("led");
    let job = client.once_per(of("job"), ms(50));
    job.run_if_due(async { 1 }).await.expect("answers");
}

#[tokio::test]
async fn only_approved_scripts_are_sent() {
    let approved: BTreeSet<&str> = APPROVED
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let sent: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let noting = sent.clone();
    let note = Rule::new("EVALSHA").args(move |args| {
        let digest = args
            .first()
            .map(|digest| String::from_utf8_lossy(digest).into_owned());
        noting.lock().expect("not poisoned").extend(digest);
        false
    });
    let _noted = proxy.rule(note.always().action(Action::DropRequest));
    let builder = Client::builder().url(proxy.url()).expect("url");
    let client = connect(builder.watchdog_timeout(ms(300))).await;
    for name in ["plain ", HOSTILE] {
        use_all(&client, name).await;
    }
    client
        .self_test([Feature::ReentrantLock])
        .await
        .expect("has all rights");
    assert_eq!(proxy.seen("EVAL"), 0);
    assert_eq!(proxy.seen("FCALL"), 0);
    let direct = server.direct();
    assert!(!direct.exists("pwned"));
    let sent = sent.lock().expect("not poisoned").clone();
    for digest in &sent {
        assert!(approved.contains(&**digest), "{digest} is not approved");
        let known = direct.cmd(&["SCRIPT", "EXISTS", digest]).accepted();
        assert_eq!(known.items()[0].int(), 1, "{digest}");
    }
    println!("{} of {} scripts were sent", sent.len(), approved.len());
    // Others take a wait or a fault; the list says what is allowed.
    assert!(sent.len() * 2 > approved.len(), "{sent:?}");
    direct.flushall();
    close(client).await;
    nothing_is_left(&direct).await;
}
