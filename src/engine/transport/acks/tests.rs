use super::*;
use crate::engine::transport::{
    NodeId,
    fake::{Answer, Fake, begins, dial, say, script, sink, soon},
};

#[test]
fn what_is_on_no_disk_of_the_master_counts_for_nothing() {
    let both =
        |local, replicas| acked(&Reply::Array(vec![Reply::Int(local), Reply::Int(replicas)]));
    assert_eq!(both(1, 2), Some(2));
    assert_eq!(both(1, 0), Some(0));
    assert_eq!(both(0, 2), Some(0));
    assert_eq!(acked(&Reply::Int(3)), Some(3));
    for odd in [
        Reply::Nil,
        Reply::Int(-1),
        Reply::Array(vec![Reply::Int(1)]),
        Reply::Array(vec![Reply::Nil, Reply::Nil]),
    ] {
        assert_eq!(acked(&odd), None, "{odd:?}");
    }
}

/// What was seen on a connection is looked at once there, and again on the next: that may lead to another server.
#[tokio::test]
async fn what_is_to_be_there_is_looked_at_once_a_connection() {
    let waits = std::sync::atomic::AtomicUsize::new(0);
    let server = Fake::start(move |command| {
        if begins(command, &["EVALSHA"]) {
            say(":1")
        } else if begins(command, &["PUBLISH"]) {
            say(":0")
        } else if begins(command, &["WAIT"]) {
            match waits.fetch_add(1, Ordering::SeqCst) {
                0 | 1 | 3 => say(":0"),
                2 => Answer::HangUp,
                _ => say(":1"),
            }
        } else {
            Answer::Usual
        }
    })
    .await;
    let settings = Settings {
        replica_policy: Some(ReplicaPolicy {
            replicas: Replicas::AtLeast(1),
            on_disk: false,
            within: Duration::from_secs(20),
        }),
        ..Settings::default()
    };
    let acks = Acks::new(&dial(server.port), &settings, PubSub::Plain).expect("a policy");
    let (sink, _) = sink();
    tokio::spawn(acks.lane.clone().supervise(NodeId(1), sink));
    tokio::spawn(acks.clone().run());
    let proof = Proof {
        channel: Bytes::from_static(b"nobody"),
        look: Some(script("name")),
    };
    let evidence = acks.confirm(proof, soon()).await.expect("in the end");
    assert_eq!((evidence.acked, evidence.wanted), (1, 1));
    assert_eq!(evidence.looked, Some(Reply::Int(1)));
    assert_eq!(server.count(&["WAIT"]), 5);
    assert_eq!(server.count(&["EVALSHA"]), 2);
    acks.end();
}
