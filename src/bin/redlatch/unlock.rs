//! `redlatch unlock --force`.

use std::{env, time::Duration};

use redlatch::Client;
use serde::Serialize;

use crate::{
    args::{At, Unlock},
    exit::{Code, Failure},
    look::{
        detail::{self, epoch_ms},
        thing::{Holding, Sort, Thing},
    },
    print,
    server::Server,
};

/// What was done, for whoever keeps a record of it.
#[derive(Serialize)]
struct Record<'a> {
    lock: &'a str,
    kind: Sort,
    freed: bool,
    reason: &'a str,
    /// Who held it a moment before.
    owners: &'a [Holding],
    /// Milliseconds since 1970.
    at_ms: i64,
    by: Option<String>,
}

pub(crate) async fn unlock(at: &At, unlock: &Unlock, json: bool) -> Result<Code, Failure> {
    if unlock.reason.trim().is_empty() {
        return Err(Failure::usage("--reason: say why, for those who ask later"));
    }
    let server = Server::look(at).await?;
    let outcome = freed(&server, &unlock.name).await;
    server.client.close(Duration::from_secs(3)).await;
    let Some((thing, freed)) = outcome? else {
        let message = format!("nobody holds {}", print::name(&unlock.name));
        return Err(Failure::new(Code::Nothing, message));
    };
    let record = Record {
        lock: &unlock.name,
        kind: thing.kind,
        freed,
        reason: &unlock.reason,
        owners: &thing.owners,
        at_ms: epoch_ms(),
        by: env::var("USER").or_else(|_| env::var("LOGNAME")).ok(),
    };
    if json {
        print::lines([print::json(&record)]);
    } else {
        let name = print::name(&unlock.name);
        let owners: Vec<String> = thing
            .owners
            .iter()
            .map(|one| print::name(&one.owner))
            .collect();
        let did = if freed { "freed" } else { "found free" };
        print::lines([format!(
            "{did} {name} ({}), held by {}: {:?}",
            thing.kind,
            owners.join(", "),
            unlock.reason
        )]);
    }
    Ok(if freed { Code::Done } else { Code::Nothing })
}

/// What was there, and whether it was freed; `None` where nobody held it.
async fn freed(server: &Server, name: &str) -> Result<Option<(Thing, bool)>, Failure> {
    let Some(thing) = detail::look(server, name).await? else {
        return Ok(None);
    };
    match thing.held {
        Some(true) => {}
        Some(false) => return Ok(None),
        None => {
            let message = format!("{} is no lock: a {}", print::name(name), thing.kind);
            return Err(Failure::usage(message));
        }
    }
    let freed = by_force(&server.client, &thing).await?;
    Ok(Some((thing, freed)))
}

/// Frees it as its kind is freed, so that those who wait hear of it.
async fn by_force(client: &Client, thing: &Thing) -> Result<bool, Failure> {
    let name = thing.name.as_str();
    Ok(match (thing.kind, thing.mode.as_deref()) {
        (Sort::ReadWrite, Some("write")) => {
            let lock = client.read_write_lock(name);
            lock.write_lock().raw().force_unlock().await?
        }
        (Sort::ReadWrite, _) => {
            let lock = client.read_write_lock(name);
            lock.read_lock().raw().force_unlock().await?
        }
        (Sort::Fair, _) => client.fair_lock(name).raw().force_unlock().await?,
        // Those who wait for values of a group hear the same message.
        _ => client.lock(name).raw().force_unlock().await?,
    })
}
