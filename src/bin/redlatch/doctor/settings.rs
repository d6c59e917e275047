//! Settings and the state of each server that has keys.

use std::collections::BTreeMap;

use super::{Finding, Weight};
use crate::{
    exit::Failure,
    look::detail::epoch_ms,
    server::{Master, Server, items, number, pairs, text},
};

/// Clocks that differ by more than this upset the queues of fair locks, whose deadlines JVMs set by their own clock.
const CLOCKS: i64 = 2_000;
/// An idle connection of a JVM is silent for this long.
const SILENCE: u64 = 60;

pub(super) async fn examine(server: &Server) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for master in server.masters().await? {
        let about = match &master.address {
            Some(address) => address.clone(),
            None => "server".to_owned(),
        };
        let info = info(server, &master).await?;
        let before = epoch_ms();
        let time = server.ask_master(&master, "TIME", []).await.ok();
        let after = epoch_ms();
        let settings = server.ask_master(&master, "CONFIG", ["GET", "*"]).await;
        let seen = Seen {
            settings: match &settings {
                Ok(answer) => Some(
                    pairs(answer)
                        .map(|(name, value)| (name, text(value)))
                        .collect(),
                ),
                Err(_) => None,
            },
            ahead_ms: time.and_then(|time| {
                let [seconds, micros] = items(&time) else {
                    return None;
                };
                let theirs = number(seconds)? * 1_000 + number(micros)? / 1_000;
                Some((theirs - after).max(0) + (theirs - before).min(0))
            }),
            info,
        };
        findings.extend(judge(&about, &seen));
    }
    Ok(findings)
}

async fn info(server: &Server, master: &Master) -> Result<BTreeMap<String, String>, Failure> {
    let info = server.ask_master(master, "INFO", []).await?;
    let info = text(&info);
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    Ok(lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// What a server says of itself.
struct Seen {
    /// Nothing where the user may not ask.
    settings: Option<BTreeMap<String, String>>,
    info: BTreeMap<String, String>,
    /// Milliseconds by which its clock is ahead of ours.
    ahead_ms: Option<i64>,
}

impl Seen {
    fn setting(&self, name: &str) -> &str {
        let settings = self.settings.as_ref();
        settings
            .and_then(|settings| settings.get(name))
            .map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.setting(name).parse().unwrap_or(0)
    }

    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }
}

fn judge(about: &str, seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |weight, check, message: String, advice| {
        findings.push(Finding::new(weight, check, about, message, advice));
    };
    if seen.info("role") == "slave" {
        find(
            Weight::Problem,
            "replica",
            "this is a replica: locks can only be taken at its master".to_owned(),
            "name the master, or the sentinels that know it",
        );
    }
    if seen.info("cluster_state") == "fail" {
        find(
            Weight::Problem,
            "cluster-state",
            "the cluster is down".to_owned(),
            "see CLUSTER INFO",
        );
    }
    if let Some(ahead) = seen.ahead_ms.filter(|ahead| ahead.abs() > CLOCKS) {
        find(
            Weight::Warning,
            "clock",
            format!("its clock is {ahead} ms ahead of the clock here"),
            "run NTP on both: JVMs set the deadlines of fair queues by their own clock",
        );
    }
    let connected: u64 = seen.info("connected_clients").parse().unwrap_or(0);
    if seen.settings.is_none() {
        find(
            Weight::Note,
            "settings",
            "its settings cannot be seen".to_owned(),
            "grant +config|get to have them looked at",
        );
        return findings;
    }
    let policy = seen.setting("maxmemory-policy");
    if policy != "noeviction" && !policy.is_empty() {
        let limited = seen.number("maxmemory") > 0;
        find(
            if limited {
                Weight::Problem
            } else {
                Weight::Note
            },
            "eviction",
            format!(
                "maxmemory-policy is {policy}: a server that is full throws locks away while they are held"
            ),
            "CONFIG SET maxmemory-policy noeviction, or keep locks on a server of their own",
        );
    }
    let on_disk = seen.setting("appendonly") == "yes";
    if !on_disk && seen.setting("save").is_empty() {
        find(
            Weight::Warning,
            "persistence",
            "nothing is kept on disk: a restart forgets all locks, and those who hold them are told later".to_owned(),
            "appendonly yes; or use fencing tokens, and let it restart later than the longest lease",
        );
    } else if !on_disk {
        find(
            Weight::Warning,
            "persistence",
            "only snapshots are kept: a crash forgets the locks taken since the last one"
                .to_owned(),
            "appendonly yes",
        );
    } else if seen.setting("appendfsync") != "always" {
        find(
            Weight::Note,
            "persistence",
            format!(
                "appendfsync is {}: a crash of the machine may forget the locks of the last second",
                seen.setting("appendfsync")
            ),
            "appendfsync always, where a lock must never be given twice; or fencing tokens",
        );
    }
    let replicas: u64 = seen.info("connected_slaves").parse().unwrap_or(0);
    if replicas > 0 && seen.number("min-replicas-to-write") == 0 {
        find(
            Weight::Warning,
            "min-replicas",
            "a master that is cut off from its replicas goes on giving locks, which are thrown away later".to_owned(),
            "min-replicas-to-write 1 and min-replicas-max-lag 10; or ClientBuilder::replicas",
        );
    }
    let timeout = seen.number("timeout");
    if timeout > 0 && timeout < SILENCE {
        find(
            Weight::Warning,
            "timeout",
            format!(
                "connections that are silent for {timeout} s are closed, those of waiters among them"
            ),
            "timeout 0, or longer than the clients' own pings are apart",
        );
    }
    let events = seen.setting("notify-keyspace-events");
    if !events.is_empty() {
        find(
            Weight::Note,
            "keyspace-events",
            format!(
                "notify-keyspace-events is {events:?}: every lock and renewal publishes messages that no lock needs"
            ),
            "CONFIG SET notify-keyspace-events \"\", unless something else needs them",
        );
    }
    let most = seen.number("maxclients");
    if most > 0 && connected.saturating_mul(10) > most.saturating_mul(9) {
        find(
            Weight::Warning,
            "clients",
            format!("{connected} of at most {most} clients are connected"),
            "raise maxclients",
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(settings: &[(&str, &str)], info: &[(&str, &str)]) -> Vec<(Weight, &'static str)> {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let seen = Seen {
            settings: Some(map(settings)),
            info: map(info),
            ahead_ms: Some(0),
        };
        let findings = judge("server", &seen);
        findings.iter().map(|one| (one.weight, one.check)).collect()
    }

    const SOUND: [(&str, &str); 6] = [
        ("maxmemory-policy", "noeviction"),
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("save", ""),
        ("timeout", "0"),
        ("maxclients", "10000"),
    ];

    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        let rest = SOUND.iter().filter(|(other, _)| *other != name).copied();
        rest.chain([(name, value)]).collect()
    }

    #[test]
    fn settings_that_endanger_locks_are_found() {
        let full = ("maxmemory", "1000000");
        assert_eq!(checks(&SOUND, &[]), []);
        assert_eq!(
            checks(&with("maxmemory-policy", "allkeys-lru"), &[]),
            [(Weight::Note, "eviction")]
        );
        let mut evicting = with("maxmemory-policy", "volatile-ttl");
        evicting.push(full);
        assert_eq!(checks(&evicting, &[]), [(Weight::Problem, "eviction")]);
        let kept = checks(&with("appendonly", "no"), &[]);
        assert_eq!(kept, [(Weight::Warning, "persistence")]);
        let second = checks(&with("appendfsync", "everysec"), &[]);
        assert_eq!(second, [(Weight::Note, "persistence")]);
        assert_eq!(
            checks(&with("timeout", "10"), &[]),
            [(Weight::Warning, "timeout")]
        );
        assert_eq!(checks(&with("timeout", "600"), &[]), []);
        let events = checks(&with("notify-keyspace-events", "AKE"), &[]);
        assert_eq!(events, [(Weight::Note, "keyspace-events")]);
        assert_eq!(
            checks(&SOUND, &[("connected_slaves", "1")]),
            [(Weight::Warning, "min-replicas")]
        );
        assert_eq!(
            checks(&SOUND, &[("role", "slave")]),
            [(Weight::Problem, "replica")]
        );
        let crowd = checks(&SOUND, &[("connected_clients", "9500")]);
        assert_eq!(crowd, [(Weight::Warning, "clients")]);
    }
}
