//! Sentinels name the master, and put a replica in its place when told and when it dies.

use std::time::Duration;

use redlatch_support::sentinel::{MASTER_NAME, Sentinels};
use redlatch_support::{Direct, Server, Value, eventually, unique_name};

const LONG: Duration = Duration::from_secs(30);

/// What a server says it is; nothing while it changes, since sentinels then cut its connections.
fn role(server: &Server) -> String {
    match server.direct().try_cmd(&["ROLE"]) {
        Ok(Value::Array(parts)) => parts[0].text(),
        _ => String::new(),
    }
}

#[test]
fn every_sentinel_names_the_master() {
    let all = Sentinels::shared();
    assert_eq!((all.servers().len(), all.sentinels().len()), (3, 3));
    assert_eq!(all.urls().len(), 3);
    assert_eq!(all.master_name(), MASTER_NAME);
    let master = all.master();
    assert_eq!(master.port(), all.servers()[0].port());
    for sentinel in all.sentinels() {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
        let named = sentinel.direct().cmd(&words).strings();
        assert_eq!(named, ["127.0.0.1", &master.port().to_string()]);
    }
    let replicas = all.replicas();
    assert_eq!(replicas.len(), 2);
    let key = unique_name("key");
    let direct = master.direct();
    direct.cmd(&["SET", &key, "v"]).accepted();
    assert_eq!(direct.cmd(&["WAIT", "2", "5000"]).int(), 2);
    for replica in replicas {
        assert_eq!(replica.direct().cmd(&["GET", &key]).text(), "v");
    }
}

#[test]
fn a_replica_takes_over_when_told_and_when_its_master_dies() {
    let all = Sentinels::start();
    let first = all.master();
    first.direct().cmd(&["SET", "k", "1"]).accepted();
    let second = all.failover();
    assert_ne!(second.port(), first.port());
    assert_eq!(all.master().port(), second.port());
    let direct = second.direct();
    assert_eq!(direct.cmd(&["GET", "k"]).text(), "1");
    direct.cmd(&["SET", "k", "2"]).accepted();
    all.wait_ready();
    assert_eq!(all.replicas().len(), 2);
    assert_eq!(role(first), "slave");
    assert_eq!(direct.cmd(&["WAIT", "2", "5000"]).int(), 2);

    second.kill();
    let third = all.master_after(second);
    assert_eq!(third.direct().cmd(&["GET", "k"]).text(), "2");
    all.wait_ready();
    assert_eq!(all.replicas().len(), 1);

    second.restart();
    all.wait_ready();
    assert_eq!(all.replicas().len(), 2);
    assert_eq!(all.master().port(), third.port());
    assert_eq!(role(second), "slave");
    assert_eq!(second.direct().cmd(&["GET", "k"]).text(), "2");
}

#[test]
fn a_frozen_master_is_replaced_and_steps_back_after_thawing() {
    let all = Sentinels::builder().replicas(1).start();
    let old = all.master();
    old.freeze();
    let new = all.master_after(old);
    assert_ne!(new.port(), old.port());
    old.thaw();
    eventually("the old master to be a replica", LONG, || {
        role(old) == "slave"
    });
    all.wait_ready();
    assert_eq!(all.replicas()[0].port(), old.port());
}

#[test]
fn sentinels_come_back_with_what_they_knew() {
    let all = Sentinels::builder()
        .replicas(1)
        .password("secret")
        .sentinel_password("hush")
        .min_replicas(1, Duration::from_secs(10))
        .start();
    let [sentinel, ..] = all.sentinels() else {
        panic!("there are three sentinels");
    };
    assert!(sentinel.url().contains(":hush@"), "{}", sentinel.url());
    for (server, word) in [(sentinel, "PING"), (all.master(), "DBSIZE")] {
        let answer = Direct::new(server.port()).cmd(&[word]);
        assert!(
            matches!(&answer, Value::Error(error) if error.starts_with("NOAUTH")),
            "{answer:?}"
        );
    }
    let id = sentinel.direct().cmd(&["SENTINEL", "MYID"]).text();
    sentinel.kill();
    all.wait_ready();
    let new = all.failover();
    all.wait_ready();
    all.restart_sentinel(sentinel);
    all.wait_ready();
    assert_eq!(all.master().port(), new.port());
    assert_eq!(sentinel.direct().cmd(&["SENTINEL", "MYID"]).text(), id);
    let direct = new.direct();
    direct.cmd(&["SET", "k", "v"]).accepted();
    all.replicas()[0].kill();
    eventually("the master to refuse writes", LONG, || {
        let answer = direct.cmd(&["SET", "k", "w"]);
        matches!(answer, Value::Error(error) if error.starts_with("NOREPLICAS"))
    });
}

#[test]
fn nobody_watches_without_sentinels() {
    let error = Sentinels::builder().sentinels(0).try_start();
    let error = error.expect_err("there are none");
    assert!(error.to_string().contains("sentinel"), "{error}");
}
