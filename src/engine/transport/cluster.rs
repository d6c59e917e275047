//! Keeping up with a cluster: asking its nodes who has which slot.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use fred::{prelude::ServerConfig, types::config::Server};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Fault, PubSub, Reply,
    chart::{Address, Claim, Layout, SLOTS, claims},
    dial::Dial,
    fleet::Fleet,
    link::{Link, LinkOwner},
    node::Node,
    router::Router,
};
use crate::{
    config::{Settings, ShardedPubSub},
    engine::jitter,
    error::Refusal,
};

/// Nodes asked at a time: one may be behind the others.
const WITNESSES: usize = 3;
/// Shortest pause between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two looks where doubts go on and the looks find nothing new.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long the others may be behind the first who answers.
const BEHIND: Duration = Duration::from_millis(100);
/// Pause before a node is asked again whose connection ended.
const REDIAL: Duration = Duration::from_millis(10);
/// Pause between looks while a master does not answer or a slot has nobody.
const TROUBLED_PAUSE: Duration = Duration::from_millis(150);

/// Looks at a cluster for the first time, through the first of its nodes that answers.
pub(super) async fn connect(
    config: &Dial,
    settings: &Settings,
    runtime: Handle,
) -> Result<Router, Fault> {
    let seeds = seeds(config);
    let mut refused = Fault::NotSent {
        reason: "no node of the cluster was named".to_owned(),
    };
    for seed in &seeds {
        match look_through(config, settings, seed).await {
            Ok((layout, pubsub)) => {
                return Ok(Router::over_cluster(
                    config, settings, runtime, pubsub, &layout,
                ));
            }
            // A refusal says more than silence.
            Err(fault) => {
                if matches!(fault, Fault::Refused { .. })
                    || !matches!(refused, Fault::Refused { .. })
                {
                    refused = fault;
                }
            }
        }
    }
    Err(refused)
}

/// The nodes the application named, each found once.
fn seeds(config: &Dial) -> Vec<Address> {
    let ServerConfig::Clustered { hosts, .. } = &config.server else {
        return Vec::new();
    };
    let address = |server: &Server| Address {
        host: server.host.to_string(),
        port: server.port,
    };
    hosts.iter().map(address).collect()
}

async fn look_through(
    config: &Dial,
    settings: &Settings,
    seed: &Address,
) -> Result<(Layout, PubSub), Fault> {
    let mut owner = LinkOwner::open(&config.at(seed), settings.connect_timeout).await?;
    let deadline = Instant::now() + settings.connect_timeout;
    let names = config.uses_tls();
    let looked = async {
        let layout = Layout::merge(&[view(owner.link(), &seed.host, names, deadline).await?]);
        let pubsub = match settings.sharded_pubsub {
            ShardedPubSub::On => PubSub::Sharded,
            ShardedPubSub::Off => PubSub::Broadcast,
            mode @ (ShardedPubSub::Auto | ShardedPubSub::Both) => {
                let probe = owner
                    .link()
                    .query("PUBSUB", &["SHARDNUMSUB", "0"], deadline);
                match probe.await {
                    Ok(_) if mode == ShardedPubSub::Both => PubSub::Both,
                    Ok(_) => PubSub::Sharded,
                    Err(Fault::Refused { .. }) => PubSub::Broadcast,
                    Err(other) => return Err(other),
                }
            }
        };
        Ok((layout, pubsub))
    };
    let looked = looked.await;
    owner.end().await;
    looked
}

/// What one node knows.
async fn view(
    link: &Link,
    host: &str,
    names: bool,
    deadline: Instant,
) -> Result<Vec<Claim>, Fault> {
    match link.query("CLUSTER", &["NODES"], deadline).await? {
        Reply::Text(text) => {
            let claims = claims(&String::from_utf8_lossy(&text), host, names);
            if claims.is_empty() {
                return Err(Fault::Refused {
                    refusal: Refusal::Cluster,
                    text: "the node knows no master".to_owned(),
                });
            }
            Ok(claims)
        }
        odd => Err(Fault::Refused {
            refusal: Refusal::Other,
            text: format!("an odd answer to CLUSTER NODES: {odd:?}"),
        }),
    }
}

/// The task that keeps the chart up to date.
pub(super) async fn keep(fleet: Weak<Fleet>) {
    let mut troubled = false;
    let Some(mut doubts) = fleet.upgrade().map(|fleet| fleet.doubts()) else {
        return;
    };
    let mut rest = SHORTEST_PAUSE;
    loop {
        let Some(strong) = fleet.upgrade() else {
            return;
        };
        let pause = if troubled {
            TROUBLED_PAUSE
        } else {
            strong.settings.topology_refresh
        };
        drop(strong);
        let doubted = tokio::select! {
            doubted = doubts.changed() => match doubted {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep(jitter(pause)) => false,
        };
        let Some(strong) = fleet.upgrade() else {
            return;
        };
        doubts.mark_unchanged();
        let seen = look(&strong).await;
        drop(strong);
        troubled = seen.troubled;
        rest = if doubted && !seen.news {
            (rest * 2).min(LONGEST_PAUSE)
        } else {
            SHORTEST_PAUSE
        };
        sleep(jitter(rest)).await;
    }
}

/// What a look came to.
struct Look {
    /// All is not well.
    troubled: bool,
    /// Something had changed.
    news: bool,
}

/// Asks some nodes and takes over what they agree on.
async fn look(fleet: &Arc<Fleet>) -> Look {
    let nodes = fleet.nodes();
    let open = nodes.iter().filter(|node| node.is_open());
    // Another set each time, so that no node's word stands alone for long.
    let first = usize::try_from(uuid::Uuid::new_v4().as_u128() % 1_024).unwrap_or_default();
    let open: Vec<_> = open.collect();
    let asked = open.len().min(WITNESSES);
    let witnesses = (0..asked)
        .filter_map(|i| open.get((first + i) % open.len()))
        .map(|node| ask(fleet, node));
    let mut views = gather(witnesses).await;
    let all_answered = views.len() == asked;
    if views.is_empty() {
        let seeds = seeds(&fleet.config);
        views = gather(seeds.iter().map(|seed| ask_stranger(fleet, seed))).await;
    }
    if views.is_empty() {
        return Look {
            troubled: true,
            news: false,
        };
    }
    let layout = Layout::merge(&views);
    let news = fleet.adopt(&layout);
    let nobodys = layout.owners.iter().filter(|owner| owner.is_none()).count();
    let troubled = !all_answered || (nobodys > 0 && nobodys < SLOTS) || !fleet.is_open();
    Look { troubled, news }
}

/// What those say who answer at about the same time: a frozen server keeps nobody.
async fn gather<F>(asking: impl Iterator<Item = F>) -> Vec<Vec<Claim>>
where
    F: Future<Output = Option<Vec<Claim>>>,
{
    let mut asking: FuturesUnordered<_> = asking.collect();
    let mut views = Vec::new();
    let mut limit = None;
    loop {
        let next = asking.next();
        let next = match limit {
            Some(limit) => timeout_at(limit, next).await.unwrap_or_default(),
            None => next.await,
        };
        match next {
            Some(Some(view)) => {
                views.push(view);
                limit.get_or_insert_with(|| Instant::now() + BEHIND);
            }
            Some(None) => {}
            None => return views,
        }
    }
}

fn names(fleet: &Fleet) -> bool {
    fleet.config.uses_tls()
}

fn patience(fleet: &Fleet) -> Instant {
    Instant::now() + fleet.settings.command_timeout.min(Duration::from_secs(1))
}

async fn ask(fleet: &Fleet, node: &Node) -> Option<Vec<Claim>> {
    let deadline = patience(fleet);
    let host = Address::parse(&node.address, "")?.host;
    loop {
        let link = node.link(deadline).await.ok()?;
        match view(&link, &host, names(fleet), deadline).await {
            Ok(view) => return Some(view),
            // The connection ended, as it does when the cluster is down for a moment.
            Err(Fault::Unknown { .. }) if Instant::now() < deadline => sleep(REDIAL).await,
            Err(_) => return None,
        }
    }
}

/// Asks one of the nodes the application named, over a connection of its own.
async fn ask_stranger(fleet: &Fleet, seed: &Address) -> Option<Vec<Claim>> {
    let deadline = patience(fleet);
    let limit = deadline.saturating_duration_since(Instant::now());
    let mut owner = LinkOwner::open(&fleet.config.at(seed), limit).await.ok()?;
    let seen = view(owner.link(), &seed.host, names(fleet), deadline).await;
    owner.end().await;
    seen.ok()
}

#[cfg(test)]
mod tests;
