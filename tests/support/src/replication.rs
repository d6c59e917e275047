//! Whether replicas follow their master.

use std::collections::BTreeMap;

use crate::resp::{Direct, Value};

/// `INFO replication` of a server, or why there is none.
pub(crate) fn info(direct: &Direct) -> Result<BTreeMap<String, String>, String> {
    let answer = direct
        .try_cmd(&["INFO", "replication"])
        .map_err(|error| format!("INFO got no answer: {error}"))?;
    let Value::Bulk(text) = answer else {
        return Err(format!("INFO was answered with {answer:?}"));
    };
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

/// Whether the master has each replica, told by the port it announces, online, and each replica is of the same mind.
pub(crate) fn up(master: &Direct, replicas: &[(u16, &Direct)]) -> Result<(), String> {
    let said = info(master)?;
    if said.get("role").map(String::as_str) != Some("master") {
        return Err(format!("the master says {said:?}"));
    }
    for (port, direct) in replicas {
        let port = format!("port={port}");
        let online = said.iter().any(|(name, value)| {
            let has = |part: &str| value.split(',').any(|found| found == part);
            name.starts_with("slave") && has(&port) && has("state=online")
        });
        if !online {
            return Err(format!(
                "the master has no replica with {port} online: {said:?}"
            ));
        }
        let own = info(direct)?;
        if own.get("master_link_status").map(String::as_str) != Some("up") {
            return Err(format!("the replica with {port} says {own:?}"));
        }
    }
    Ok(())
}
