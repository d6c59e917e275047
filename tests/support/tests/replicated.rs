//! Replicas follow their master.

use std::time::Duration;

use redlatch_support::{Direct, Replicated, Value, eventually};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn replicas_have_what_their_master_has() {
    let replicated = Replicated::start();
    assert_eq!(replicated.replicas().len(), 2);
    let master = replicated.master().direct();
    assert_eq!(master.info("replication")["connected_slaves"], "2");
    master.cmd(&["SET", "k", "v"]).accepted();
    assert_eq!(master.cmd(&["WAIT", "2", "5000"]).int(), 2);
    for replica in replicated.replicas() {
        let direct = replica.direct();
        assert_eq!(direct.info("replication")["role"], "slave");
        assert_eq!(direct.cmd(&["GET", "k"]).text(), "v");
        let refused = direct.cmd(&["SET", "k", "w"]);
        assert!(
            matches!(&refused, Value::Error(error) if error.starts_with("READONLY")),
            "{refused:?}"
        );
    }
}

#[test]
fn a_replica_that_comes_back_follows_again() {
    let replicated = Replicated::builder().replicas(1).start();
    let (master, replica) = (replicated.master().direct(), &replicated.replicas()[0]);
    replica.kill();
    replicated.wait_ok();
    master.cmd(&["SET", "k", "v"]).accepted();
    assert_eq!(master.cmd(&["WAIT", "1", "10"]).int(), 0);
    replica.restart();
    replicated.wait_ok();
    assert_eq!(replica.direct().cmd(&["GET", "k"]).text(), "v");
}

#[test]
fn a_master_may_have_a_password_and_insist_on_replicas() {
    let replicated = Replicated::builder()
        .replicas(1)
        .password("secret")
        .min_replicas(1, Duration::from_secs(2))
        .start();
    let stranger = Direct::new(replicated.master().port());
    assert!(stranger.cmd(&["GET", "k"]).is_error());
    let master = replicated.master().direct();
    eventually("the master to take writes", SOON, || {
        !master.cmd(&["SET", "k", "v"]).is_error()
    });
    replicated.replicas()[0].kill();
    eventually("the master to refuse writes", SOON, || {
        let answer = master.cmd(&["SET", "other", "w"]);
        matches!(answer, Value::Error(error) if error.starts_with("NOREPLICAS"))
    });
    assert_eq!(master.cmd(&["GET", "k"]).text(), "v");
}
