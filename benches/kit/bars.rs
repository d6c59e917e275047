//! A plot: a bar for each participant, with its figure beside it.

// Each program is built with all of it, and uses a part.
#![allow(dead_code)]

use std::path::Path;

use plotters::prelude::*;

use crate::kit::{Result, Spread};

const WIDTH: u32 = 760;
const BAR: u32 = 34;
const HEAD: u32 = 48;
const FOOT: u32 = 36;
/// Where the bars begin at least, and where the longest ends.
const LEFT: i32 = 150;
const RIGHT: i32 = 580;
const LETTER: i32 = 8;
const TEXT: RGBColor = RGBColor(0x22, 0x22, 0x22);

/// Whose bar it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Other,
    Limit,
}

pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) spread: Spread,
    /// What stands beside it.
    pub(crate) text: String,
}

/// Draws nothing where no bar has a length.
pub(crate) fn draw(file: &Path, title: &str, bars: &[Bar], foot: &str) -> Result<()> {
    let highest = bars
        .iter()
        .map(|bar| bar.spread.highest)
        .fold(0.0, f64::max);
    if highest <= 0.0 {
        return Ok(());
    }
    let letters = bars.iter().map(|bar| bar.name.chars().count()).max();
    let left = LEFT.max(letters.unwrap_or(0) as i32 * LETTER + 24);
    let length = |figure: f64| left + (figure / highest * f64::from(RIGHT - left)) as i32;
    let height = HEAD + FOOT + BAR * bars.len() as u32;
    let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let font = |size: u32| ("sans-serif", size).into_font().color(&TEXT);
    area.draw(&Text::new(title.to_owned(), (12, 14), font(17)))?;
    for (bar, top) in bars.iter().zip((HEAD as i32..).step_by(BAR as usize)) {
        let colour = match bar.side {
            Side::Ours => RGBColor(0xc2, 0x3b, 0x22),
            Side::Other => RGBColor(0x5b, 0x7d, 0xa6),
            Side::Limit => RGBColor(0xa8, 0xa8, 0xa8),
        };
        area.draw(&Text::new(bar.name.clone(), (12, top + 6), font(15)))?;
        let (middle, bottom) = (top + 13, top + BAR as i32 - 8);
        let corners = [(left, top), (length(bar.spread.median), bottom)];
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
    area.draw(&Text::new(foot.to_owned(), (12, below), font(12)))?;
    area.present()?;
    Ok(())
}
