//! Grants and releases that count only once replicas have them.

use super::{super::stage::Stage, lock, ms, secs, settings};
use crate::{
    config::{ReplicaPolicy, Replicas, Settings},
    engine::transport::{Evidence, Fault, Request},
    error::{Error, Refusal},
};

fn cautious() -> Settings {
    Settings {
        replica_policy: Some(ReplicaPolicy {
            replicas: Replicas::All,
            within: secs(1),
            on_disk: false,
        }),
        ..settings()
    }
}

fn say(acked: u32, wanted: u32) -> Result<Evidence, Fault> {
    Ok(Evidence {
        acked,
        wanted,
        looked: None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_release_that_no_replica_was_asked_about_is_not_replicated() {
    let stage = Stage::new();
    let (client, hand) = stage.client(cautious());
    for (answer, good) in [
        (say(1, 1), true),
        (say(0, 0), false),
        (say(0, 1), false),
        (say(2, 1), true),
    ] {
        hand.replicas_say(say(1, 1));
        let guard = lock(&client, 1).lock().await.expect("free");
        hand.replicas_say(answer);
        match guard.unlock().await {
            Ok(()) => assert!(good),
            Err(error) => {
                assert!(
                    matches!(error, Error::ReleaseNotReplicated { .. }),
                    "{error}"
                );
                assert!(!good);
            }
        }
        assert_eq!(stage.holders("n"), 0, "freed in any case");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_no_replica_was_asked_about_is_given_back() {
    let stage = Stage::new();
    let (client, hand) = stage.client(cautious());
    for answer in [say(0, 0), say(0, 1)] {
        hand.replicas_say(answer);
        let error = lock(&client, 1).lock().await.expect_err("nobody has it");
        assert!(matches!(error, Error::NotReplicated { .. }), "{error}");
        tokio::time::sleep(ms(10)).await;
        assert_eq!(stage.holders("n"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_are_asked_again_where_the_server_is_busy_and_nothing_is_renewed_by_it() {
    let stage = Stage::new();
    let (client, hand) = stage.client(cautious());
    for _ in 0..2 {
        hand.replicas_say(Err(Fault::Refused {
            refusal: Refusal::Loading,
            text: "LOADING".to_owned(),
        }));
    }
    hand.replicas_say(say(1, 1));
    let guard = lock(&client, 1).lock().await.expect("in the end");
    let proofs = hand.proofs();
    assert_eq!(proofs.len(), 3);
    for proof in proofs {
        let Some(Request::Script { args, .. }) = proof.look else {
            panic!("it looks whether the lock is there");
        };
        assert_eq!(args[0], "0", "no time to live");
    }
    hand.replicas_say(say(1, 1));
    guard.unlock().await.expect("held");
}
