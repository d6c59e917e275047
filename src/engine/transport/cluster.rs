//! Keeping up with a cluster: asking its nodes who has which slot.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use fred::{prelude::ServerConfig, types::config::Server};
use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    Fault, PubSub, Reply,
    chart::{Address, Claim, Layout, SLOTS, claims},
    dial::Dial,
    link::{Link, LinkOwner},
    node::Node,
    router::{Fleet, Router},
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
            ShardedPubSub::Both => PubSub::Both,
            ShardedPubSub::Auto => {
                let probe = owner
                    .link()
                    .query("PUBSUB", &["SHARDNUMSUB", "0"], deadline);
                match probe.await {
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
        tokio::select! {
            doubted = doubts.changed() => if doubted.is_err() {
                return;
            },
            () = sleep(jitter(pause)) => {}
        }
        let Some(strong) = fleet.upgrade() else {
            return;
        };
        doubts.mark_unchanged();
        troubled = look(&strong).await;
        drop(strong);
        sleep(SHORTEST_PAUSE).await;
    }
}

/// Asks some nodes, takes over what they agree on, and says whether all is not well.
async fn look(fleet: &Arc<Fleet>) -> bool {
    let nodes = fleet.nodes();
    let open = nodes.iter().filter(|node| node.is_open());
    // Another set each time, so that no node's word stands alone for long.
    let first = usize::try_from(uuid::Uuid::new_v4().as_u128() % 1_024).unwrap_or_default();
    let open: Vec<_> = open.collect();
    let witnesses = (0..open.len().min(WITNESSES))
        .filter_map(|i| open.get((first + i) % open.len()))
        .map(|node| ask(fleet, node));
    let mut views: Vec<_> = join_all(witnesses).await.into_iter().flatten().collect();
    if views.is_empty() {
        let seeds = seeds(&fleet.config);
        let strangers = seeds.iter().map(|seed| ask_stranger(fleet, seed));
        views = join_all(strangers).await.into_iter().flatten().collect();
    }
    if views.is_empty() {
        return true;
    }
    let layout = Layout::merge(&views);
    fleet.adopt(&layout);
    let nobodys = layout.owners.iter().filter(|owner| owner.is_none()).count();
    (nobodys > 0 && nobodys < SLOTS) || !fleet.is_open()
}

fn names(fleet: &Fleet) -> bool {
    fleet.config.uses_tls()
}

fn patience(fleet: &Fleet) -> Instant {
    Instant::now() + fleet.settings.command_timeout.min(Duration::from_secs(1))
}

async fn ask(fleet: &Fleet, node: &Node) -> Option<Vec<Claim>> {
    let deadline = patience(fleet);
    let link = node.link(deadline).await.ok()?;
    let host = Address::parse(&node.address, "")?.host;
    view(&link, &host, names(fleet), deadline).await.ok()
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
