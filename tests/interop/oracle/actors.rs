//! Those who act: owners of ours and threads of a JVM, behind one face.

use std::time::Duration;

use redlatch::{Client, Error, Kind, Owner, RawLock, Result};
use redlatch_support::jvm::{Jvm, JvmError};
use tokio::task::block_in_place;

use super::model::{ACTORS, Reply, Rules, Side, Verb, ours};

/// Longer than any sequence, so that nothing expires.
const LEASE: Duration = Duration::from_secs(60);

pub(super) struct Actors<'a> {
    client: &'a Client,
    owners: [Owner; 2],
    jvm: &'a Jvm,
    pub(super) ids: [String; ACTORS],
}

/// The JVM's threads.
fn worker(actor: usize) -> String {
    format!("oracle-{actor}")
}

impl<'a> Actors<'a> {
    pub(super) fn new(client: &'a Client, jvm: &'a Jvm) -> Self {
        let owners = [Owner::fresh(), Owner::fresh()];
        let [one, two] = owners.map(|owner| format!("{}:{owner}", client.id()));
        let ids = [one, two, jvm.owner(&worker(2)), jvm.owner(&worker(3))];
        Self {
            client,
            owners,
            jvm,
            ids,
        }
    }

    pub(super) async fn act(
        &self,
        rules: Rules,
        name: &str,
        actor: usize,
        side: Side,
        verb: Verb,
    ) -> Reply {
        let kind = match side {
            Side::Only => rules.kind,
            Side::Read => "read",
            Side::Write => "write",
        };
        if !ours(actor) {
            return block_in_place(|| in_jvm(self.jvm, &worker(actor), kind, name, verb));
        }
        let (client, owner) = (self.client, self.owners[actor]);
        match kind {
            "lock" => here(client.lock(name).raw(), owner, verb).await,
            "fair" => here(client.fair_lock(name).raw(), owner, verb).await,
            "fenced" => here(client.fenced_lock(name).raw(), owner, verb).await,
            "spin" => here(client.spin_lock(name).raw(), owner, verb).await,
            "nonreentrant" => here(client.non_reentrant_lock(name).raw(), owner, verb).await,
            "nonreentrantfair" => {
                here(client.non_reentrant_fair_lock(name).raw(), owner, verb).await
            }
            "read" => {
                let lock = client.read_write_lock(name);
                here(lock.read_lock().raw(), owner, verb).await
            }
            "write" => {
                let lock = client.read_write_lock(name);
                here(lock.write_lock().raw(), owner, verb).await
            }
            _ => panic!("no such kind: {kind}"),
        }
    }
}

async fn here<K: Kind>(lock: &RawLock<K>, owner: Owner, verb: Verb) -> Reply {
    let lock = lock.with_owner(owner);
    let answer: Result<Reply> = match verb {
        Verb::TryLock => lock.try_lock().await.map(|it| Reply::Truth(it.is_some())),
        Verb::LockFor => lock.lock_for(LEASE).await.map(|_| Reply::Done),
        Verb::Unlock => lock.unlock().await.map(|()| Reply::Done),
        Verb::ForceUnlock => lock.force_unlock().await.map(Reply::Truth),
        Verb::IsLocked => lock.is_locked().await.map(Reply::Truth),
        Verb::IsHeld => lock.is_held_by_current().await.map(Reply::Truth),
        Verb::HoldCount => lock.hold_count().await.map(|it| Reply::Number(it.into())),
        Verb::Ttl => lock.remaining_ttl().await.map(|it| {
            let left = it.map_or(-2, |left| i64::try_from(left.as_millis()).unwrap_or(-1));
            Reply::Number(left)
        }),
    };
    answer.unwrap_or_else(|error| match error {
        Error::NotHeld { .. } | Error::Lost { .. } => Reply::NotOwner,
        Error::AlreadyHeld { .. } => Reply::Again,
        error => panic!("{verb:?}: {error}"),
    })
}

fn in_jvm(jvm: &Jvm, worker: &str, kind: &str, name: &str, verb: Verb) -> Reply {
    let lease = LEASE.as_millis().to_string();
    let op = match verb {
        Verb::TryLock => "trylock",
        Verb::LockFor => "lockfor",
        Verb::Unlock => "unlock",
        Verb::ForceUnlock => "forceunlock",
        Verb::IsLocked => "islocked",
        Verb::IsHeld => "isheld",
        Verb::HoldCount => "holdcount",
        Verb::Ttl => "ttl",
    };
    let mut args = vec![kind, name];
    if verb == Verb::LockFor {
        args.push(&lease);
    }
    let refused = |error: JvmError| match (verb, error.class.as_str()) {
        (Verb::Unlock, "IllegalMonitorStateException") => Reply::NotOwner,
        (Verb::TryLock | Verb::LockFor, "IllegalMonitorStateException") => Reply::Again,
        _ => panic!("{verb:?} in the JVM: {error}"),
    };
    match jvm.call(worker, op, &args) {
        Ok(value) => match value.as_str() {
            "" => Reply::Done,
            "true" => Reply::Truth(true),
            "false" => Reply::Truth(false),
            number => Reply::Number(number.parse().expect("a number")),
        },
        Err(error) => refused(error),
    }
}
