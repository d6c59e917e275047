//! Clusters come about, lose and regain masters, and move their slots.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use redlatch_support::cluster::{Cluster, SLOTS, slot_of};
use redlatch_support::{Certificates, Direct, Server, Value, eventually, unique_name};

const LONG: Duration = Duration::from_secs(30);

#[track_caller]
fn assert_refused(answer: &Value, code: &str) {
    assert!(
        matches!(answer, Value::Error(error) if error.starts_with(code)),
        "{answer:?} instead of {code}"
    );
}

fn redirection(code: &str, key: &str, to: &Server) -> Value {
    Value::Error(format!("{code} {} {}", slot_of(key), to.address()))
}

fn ports<'a>(nodes: impl IntoIterator<Item = &'a Server>) -> Vec<u16> {
    let mut ports: Vec<u16> = nodes.into_iter().map(Server::port).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn a_cluster_serves_every_slot_once() {
    let cluster = Cluster::shared();
    assert_eq!(cluster.nodes().len(), 6);
    assert_eq!(cluster.urls().len(), 6);
    let masters = cluster.masters();
    assert_eq!(ports(masters.clone()), ports(&cluster.nodes()[..3]));
    let mut members = Vec::new();
    for master in &masters {
        let replicas = cluster.replicas_of(master);
        assert_eq!(replicas.len(), 1);
        assert_eq!(replicas[0].direct().info("replication")["role"], "slave");
        members.extend([*master, replicas[0]]);
    }
    assert_eq!(ports(members), ports(cluster.nodes()));
    for slot in [0, 5_460, 5_462, 10_922, 10_924, SLOTS - 1] {
        let owner = cluster.master_of_slot(slot);
        assert!(ports(masters.clone()).contains(&owner.port()));
    }
    assert_eq!(cluster.master_of_slot(0).port(), masters[0].port());
    assert_eq!(cluster.master_of_slot(SLOTS - 1).port(), masters[2].port());
    cluster.wait_ok();
}

#[test]
fn slots_are_those_the_server_counts() {
    let direct = Cluster::shared().nodes()[0].direct();
    let keys = [
        "", "a", "foo", "x{a}y", "{a}{b}", "{}a", "a{}", "{a", "a}b", "}a{b}", "x{{a}}y", "{b}:1",
        "é", "日{本}",
    ];
    for key in keys {
        let told = direct.cmd(&["CLUSTER", "KEYSLOT", key]).int();
        assert_eq!(i64::from(slot_of(key)), told, "{key:?}");
    }
}

#[test]
fn a_key_is_served_by_the_master_of_its_slot_alone() {
    let cluster = Cluster::shared();
    for (index, master) in cluster.masters().into_iter().enumerate() {
        let key = cluster.name_on(master, "key");
        assert_eq!(cluster.master_of_key(&key).port(), master.port());
        let direct = cluster.direct_for(&key);
        direct.cmd(&["SET", &key, "v"]).accepted();
        assert_eq!(direct.cmd(&["WAIT", "1", "5000"]).int(), 1);
        let other = cluster.masters()[(index + 1) % 3];
        let refused = other.direct().cmd(&["GET", &key]);
        assert_eq!(refused, redirection("MOVED", &key, master));
        let replica = cluster.replicas_of(master)[0].direct();
        assert_eq!(
            replica.cmd(&["GET", &key]),
            redirection("MOVED", &key, master)
        );
        replica.cmd(&["READONLY"]).accepted();
        assert_eq!(replica.cmd(&["GET", &key]).text(), "v");
    }
}

#[test]
fn a_name_is_to_be_had_in_any_slot_and_never_twice() {
    let cluster = Cluster::shared();
    let first = cluster.name_in_slot(77, "name");
    let second = cluster.name_in_slot(77, "name");
    assert_ne!(first, second);
    assert_eq!((slot_of(&first), slot_of(&second)), (77, 77));
}

#[test]
fn a_slot_moves_in_steps() {
    let cluster = Cluster::builder().replicas(0).start();
    let [from, to, third] = cluster.masters()[..] else {
        panic!("there are three masters");
    };
    let tag = cluster.name_on(from, "tag");
    let slot = slot_of(&tag);
    let [present, early, absent] = ["present", "early", "absent"].map(|k| format!("{{{tag}}}{k}"));
    let source = from.direct();
    let target = to.direct();
    for key in [&present, &early] {
        source.cmd(&["SET", key, "v", "PX", "60000"]).accepted();
    }

    let migration = cluster.begin_migration(slot, to);
    assert_eq!(migration.from().port(), from.port());
    assert!(migration.migrate_key(&early));
    assert!(!migration.migrate_key(&absent));
    assert_eq!(cluster.master_of_slot(slot).port(), from.port());
    assert_eq!(source.cmd(&["GET", &present]).text(), "v");
    let ask = source.cmd(&["GET", &absent]);
    assert_eq!(ask, redirection("ASK", &absent, to));
    let script = "return redis.call('exists', KEYS[1], KEYS[2])";
    let on_both = ["EVAL", script, "2", &present, &early];
    let code = if from.binary().major() >= 7 {
        "TRYAGAIN"
    } else {
        "ASK"
    };
    assert_refused(&source.cmd(&on_both), code);
    target.cmd(&["ASKING"]).accepted();
    assert_refused(&target.cmd(&on_both), "TRYAGAIN");
    let moved = target.cmd(&["GET", &early]);
    assert_eq!(moved, redirection("MOVED", &early, from));
    target.cmd(&["ASKING"]).accepted();
    assert_eq!(target.cmd(&["GET", &early]).text(), "v");

    assert_eq!(migration.migrate_keys(), 1);
    migration.finish();
    assert_eq!(cluster.master_of_slot(slot).port(), to.port());
    cluster.wait_ok();
    for other in [&source, &third.direct()] {
        let moved = other.cmd(&["GET", &present]);
        assert_eq!(moved, redirection("MOVED", &present, to));
    }
    for key in [&present, &early] {
        assert_eq!(target.cmd(&["GET", key]).text(), "v");
        let left = target.pttl(key);
        assert!((1..=60_000).contains(&left), "{left}");
    }

    let back = cluster.begin_migration(slot, from);
    assert!(back.migrate_key(&early));
    back.abort();
    assert_eq!(cluster.master_of_slot(slot).port(), to.port());
    assert_eq!(target.cmd(&["GET", &early]).text(), "v");
    assert_eq!(
        source
            .cmd(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()])
            .int(),
        0
    );
    assert!(target.cmd(&["GET", &absent]).is_nil());

    for owner in [third, from] {
        cluster.move_slot(slot, owner);
        assert_eq!(cluster.direct_for(&early).cmd(&["GET", &early]).text(), "v");
        assert_eq!(cluster.master_of_slot(slot).port(), owner.port());
    }
    cluster.wait_ok();
}

#[test]
#[should_panic(expected = "call migrate_keys() first")]
fn a_slot_with_keys_is_not_given_away() {
    let cluster = Cluster::builder().masters(2).replicas(0).start();
    let [from, to] = cluster.masters()[..] else {
        panic!("there are two masters");
    };
    let key = cluster.name_on(from, "key");
    from.direct().cmd(&["SET", &key, "v"]).accepted();
    cluster.begin_migration(slot_of(&key), to).finish();
}

#[test]
fn a_replica_takes_over_when_told_and_when_its_master_dies() {
    let cluster = Cluster::builder()
        .node_timeout(Duration::from_millis(500))
        .start();
    let first = cluster.masters()[0];
    let second = cluster.replicas_of(first)[0];
    let key = cluster.name_on(first, "key");
    first.direct().cmd(&["SET", &key, "1"]).accepted();

    cluster.failover(second);
    assert_eq!(cluster.master_of_key(&key).port(), second.port());
    assert_eq!(ports(cluster.replicas_of(second)), [first.port()]);
    let direct = second.direct();
    assert_eq!(direct.cmd(&["GET", &key]).text(), "1");
    direct.cmd(&["SET", &key, "2"]).accepted();
    assert_eq!(direct.cmd(&["WAIT", "1", "5000"]).int(), 1);

    second.kill();
    assert_eq!(cluster.master_of_key(&key).port(), first.port());
    cluster.wait_ok();
    assert_eq!(cluster.masters().len(), 3);
    assert!(cluster.replicas_of(first).is_empty());
    assert_eq!(first.direct().cmd(&["GET", &key]).text(), "2");

    let id = cluster.id_of(second).to_owned();
    second.restart();
    cluster.wait_ok();
    assert_eq!(ports(cluster.replicas_of(first)), [second.port()]);
    let told = second.direct().cmd(&["CLUSTER", "MYID"]).text();
    assert_eq!(told, id);
    assert_eq!(first.direct().cmd(&["WAIT", "1", "5000"]).int(), 1);

    first.freeze();
    assert_eq!(cluster.master_of_key(&key).port(), second.port());
    first.thaw();
    eventually("the old master to be a replica", LONG, || {
        ports(cluster.replicas_of(second)) == [first.port()]
    });
    cluster.wait_ok();
    assert_eq!(second.direct().cmd(&["GET", &key]).text(), "2");
}

#[test]
fn a_cluster_with_a_password_keeps_its_data_and_moves_them() {
    let cluster = Cluster::builder()
        .masters(2)
        .replicas(1)
        .password("secret")
        .appendonly(true)
        .args(["--maxclients", "500"])
        .start();
    let [from, to] = cluster.masters()[..] else {
        panic!("there are two masters");
    };
    let stranger = Direct::new(from.port());
    assert_refused(&stranger.cmd(&["GET", "k"]), "NOAUTH");
    assert!(from.url().contains(":secret@"), "{}", from.url());
    let key = cluster.name_on(from, "key");
    from.direct().cmd(&["SET", &key, "v"]).accepted();
    cluster.move_slot(slot_of(&key), to);
    to.restart();
    cluster.wait_ok();
    let direct = cluster.direct_for(&key);
    assert_eq!(direct.cmd(&["GET", &key]).text(), "v");
    let limit = direct.cmd(&["CONFIG", "GET", "maxclients"]).strings();
    assert_eq!(limit[1], "500");
}

#[test]
fn a_cluster_without_masters_is_refused() {
    let error = Cluster::builder().masters(0).try_start();
    let error = error.expect_err("there is no such cluster");
    assert!(error.to_string().contains("master"), "{error}");
}

#[test]
fn a_node_is_gone_after_drop() {
    let cluster = Cluster::builder().masters(1).replicas(0).start();
    let folder = cluster.nodes()[0].folder().to_owned();
    let direct = cluster.nodes()[0].direct();
    let key = unique_name("key");
    direct.cmd(&["SET", &key, "v"]).accepted();
    drop(cluster);
    assert!(direct.try_cmd(&["PING"]).is_err());
    assert!(!folder.exists());
}

/// The victim of the test below: starts a cluster with certificates and waits for its own end.
#[test]
#[ignore = "runs only as the victim of another test"]
fn victim() {
    if std::env::var_os("REDLATCH_SUPPORT_VICTIM").is_some() {
        let nodes = Cluster::shared().nodes();
        nodes[1].freeze();
        println!("folder {}", Certificates::shared().folder().display());
        for node in nodes {
            println!("node {} {}", node.port(), node.folder().display());
        }
        println!("that is all");
        loop {
            std::thread::park();
        }
    }
}

#[test]
fn no_node_outlives_a_killed_test_process() {
    let mut process = Command::new(std::env::current_exe().expect("this is a program"))
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("REDLATCH_SUPPORT_VICTIM", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts once more");
    let output = BufReader::new(process.stdout.take().expect("its output is piped"));
    let (mut ports, mut folders) = (Vec::<u16>::new(), Vec::new());
    for line in output.lines() {
        let line = line.expect("its output is text");
        if line.ends_with("that is all") {
            break;
        }
        if let Some((_, folder)) = line.split_once("folder ") {
            folders.push(folder.to_owned());
        } else if let Some((_, node)) = line.split_once("node ") {
            let (port, folder) = node.split_once(' ').expect("a port and a folder");
            ports.push(port.parse().expect("a port is a number"));
            folders.push(folder.to_owned());
        }
    }
    assert_eq!((ports.len(), folders.len()), (6, 7));
    assert!(folders.iter().all(|folder| Path::new(folder).is_dir()));
    process.kill().expect("it can be killed");
    process.wait().expect("it ends");
    eventually("the nodes to be gone", LONG, || {
        let open = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        !ports.iter().any(open) && !folders.iter().any(|folder| Path::new(folder).exists())
    });
}
