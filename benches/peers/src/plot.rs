//! A bar for each participant.

use std::path::Path;

use crate::{
    bars::{self, Bar, Side},
    kit::Result,
    peer::{LIMIT, PEERS},
    runner::Outcome,
};

/// Ratios to the limit, or the figures themselves where there is no limit.
pub(crate) fn draw(file: &Path, outcome: &Outcome) -> Result<()> {
    let headline = outcome.workload.headline();
    let limit = outcome.row(LIMIT).filter(|row| !row.rounds.is_empty());
    let bars: Vec<Bar> = outcome
        .rows
        .iter()
        .filter_map(|row| {
            let figure = row.spread(headline)?;
            let spread = match limit {
                Some(limit) => row.ratio(headline, limit)?,
                None => row.spread(headline)?,
            };
            let figure = format!("{} {}", headline.text(figure.median), headline.title());
            let text = match limit {
                Some(_) => format!("{:.2}  ({figure})", spread.median),
                None => figure,
            };
            let peer = PEERS.iter().find(|peer| peer.name == row.peer);
            let side = match peer {
                Some(peer) if peer.is_limit() => Side::Limit,
                Some(peer) if peer.name == "redlatch" => Side::Ours,
                _ => Side::Other,
            };
            Some(Bar {
                name: peer.map_or_else(String::new, |peer| peer.title()),
                side,
                spread,
                text,
            })
        })
        .collect();
    let title = format!("{}: {}", outcome.workload.name, outcome.workload.title);
    let foot = match limit {
        Some(_) => {
            "of the limit: raw fred with equal scripts in the same round; median, with the lowest and the highest"
        }
        None => "median, with the lowest and the highest",
    };
    bars::draw(file, &title, &bars, foot)
}
