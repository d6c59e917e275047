//! A bar for each participant.

use std::path::Path;

use plotters::prelude::*;

use crate::{
    kit::{Result, Spread},
    metric::Row,
    peer::{LIMIT, PEERS},
    runner::Outcome,
};

const WIDTH: u32 = 760;
const BAR: u32 = 34;
const HEAD: u32 = 48;
const FOOT: u32 = 36;
/// Where the bars begin, and how long the longest is.
const LEFT: i32 = 150;
const LONGEST: f64 = 430.0;
const OURS: RGBColor = RGBColor(0xc2, 0x3b, 0x22);
const PEER: RGBColor = RGBColor(0x5b, 0x7d, 0xa6);
const LIMITS: RGBColor = RGBColor(0xa8, 0xa8, 0xa8);
const TEXT: RGBColor = RGBColor(0x22, 0x22, 0x22);

/// What a bar shows.
struct Bar<'a> {
    row: &'a Row,
    spread: Spread,
    text: String,
}

/// Ratios to the limit, or the figures themselves where there is no limit. Bars are drawn one by one, since each has its
/// figure beside it.
pub(crate) fn draw(file: &Path, outcome: &Outcome) -> Result<()> {
    let headline = outcome.workload.headline();
    let limit = outcome.row(LIMIT).filter(|row| !row.rounds.is_empty());
    let bars: Vec<Bar<'_>> = outcome
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
            Some(Bar { row, spread, text })
        })
        .collect();
    let highest = bars
        .iter()
        .map(|bar| bar.spread.highest)
        .fold(0.0, f64::max);
    if highest <= 0.0 {
        return Ok(());
    }
    let length = |figure: f64| LEFT + (figure / highest * LONGEST) as i32;
    let height = HEAD + FOOT + BAR * bars.len() as u32;
    let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let font = |size: u32| ("sans-serif", size).into_font().color(&TEXT);
    let title = format!("{}: {}", outcome.workload.name, outcome.workload.title);
    area.draw(&Text::new(title, (12, 14), font(17)))?;
    for (bar, top) in bars.iter().zip((HEAD as i32..).step_by(BAR as usize)) {
        let peer = PEERS.iter().find(|peer| peer.name == bar.row.peer);
        let colour = match peer {
            Some(peer) if peer.is_limit() => LIMITS,
            Some(peer) if peer.name == "redlatch" => OURS,
            _ => PEER,
        };
        let name = peer.map_or_else(String::new, |peer| peer.title());
        area.draw(&Text::new(name, (12, top + 6), font(15)))?;
        let (middle, bottom) = (top + 13, top + BAR as i32 - 8);
        let corners = [(LEFT, top), (length(bar.spread.median), bottom)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        // From the lowest to the highest.
        let ends = [
            (length(bar.spread.lowest), middle),
            (length(bar.spread.highest), middle),
        ];
        area.draw(&PathElement::new(ends, TEXT.stroke_width(1)))?;
        let beside = length(bar.spread.highest.max(bar.spread.median)) + 8;
        area.draw(&Text::new(bar.text.clone(), (beside, top + 6), font(14)))?;
    }
    let below = (HEAD + BAR * bars.len() as u32 + 8) as i32;
    let foot = match limit {
        Some(_) => {
            "of the limit: raw fred with equal scripts in the same round; median, with the lowest and the highest"
        }
        None => "median, with the lowest and the highest",
    };
    area.draw(&Text::new(foot, (12, below), font(12)))?;
    area.present()?;
    Ok(())
}
