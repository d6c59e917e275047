//! Whether replicas follow their master.

use std::collections::BTreeMap;

use crate::resp::{Direct, Value};
use crate::server::Server;

/// Words for the command line that let a replica follow soon.
///
/// Sent without a file on the way, a master begins to stream only at the replica's next report, up to a second later.
/// A replica of Valkey looks once a second whether a file has come, but takes the data as they come while it is empty.
pub(crate) const QUICK: [&str; 4] = [
    "--repl-diskless-sync",
    "no",
    "--repl-diskless-load",
    "on-empty-db",
];

/// How long, in milliseconds, a look waits for the replicas to have a message.
const MESSAGE_LIMIT: &str = "100";

/// `INFO replication` of a server, or why there is none.
pub(crate) fn info(direct: &Direct) -> Result<BTreeMap<String, String>, String> {
    let Value::Bulk(text) = direct.ask(&["INFO", "replication"])? else {
        return Err("INFO was not answered with text".into());
    };
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

/// Whether the master has each replica online and reaches it, and each replica is of the same mind.
pub(crate) fn up(master: &Direct, replicas: &[(&Server, &Direct)]) -> Result<(), String> {
    let said = info(master)?;
    if said.get("role").map(String::as_str) != Some("master") {
        return Err(format!("the master says {said:?}"));
    }
    let online: Vec<u16> = said
        .iter()
        .filter(|(name, _)| name.starts_with("slave"))
        .filter(|(_, value)| value.split(',').any(|part| part == "state=online"))
        .filter_map(|(_, value)| value.split(',').find_map(|part| part.strip_prefix("port=")))
        .filter_map(|port| port.parse().ok())
        .collect();
    for (replica, direct) in replicas {
        let at = replica.address();
        if !online.iter().any(|&port| replica.is_known_by(port)) {
            return Err(format!("the master does not have {at} online: {said:?}"));
        }
        let own = info(direct)?;
        if own.get("master_link_status").map(String::as_str) != Some("up") {
            return Err(format!("the replica at {at} says {own:?}"));
        }
    }
    if replicas.is_empty() {
        return Ok(());
    }
    // A master calls a replica online before it sends it anything new. A message to nobody goes to the replicas too.
    master.ask(&["PUBLISH", "redlatch:nothing", ""])?;
    let count = replicas.len().to_string();
    match master.ask(&["WAIT", &count, MESSAGE_LIMIT])? {
        Value::Int(have) if usize::try_from(have).is_ok_and(|have| have >= replicas.len()) => {
            Ok(())
        }
        answer => Err(format!("a message reached {answer:?} of {count} replicas")),
    }
}
