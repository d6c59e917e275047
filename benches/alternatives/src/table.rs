//! The figures as tables.

use crate::{
    crash::{PATIENCE, STANDSTILL},
    figures::{Metric, Row},
    kit::Spread,
    runner::Outcome,
    system::System,
};

/// What stands where there is no figure.
const NONE: &str = "-";

/// Head and rows; the first column names the system.
type Cells = Vec<Vec<String>>;

/// One lock, by a client that is alone and by many.
pub(crate) fn cycles(outcome: &Outcome) -> Cells {
    let head = [
        "",
        "alone: cycles/s",
        "min .. max",
        &format!("{} clients: cycles/s", outcome.plan.clients),
        "min .. max",
        "moved/s",
        "wake-up p50 ms",
        "p99 ms",
        "longest wait ms",
        "Jain",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (system, row) in outcome.rows.iter().filter(|(system, _)| system.locks()) {
        let mut cells = vec![system.title.to_owned()];
        cells.extend(with_range(row.spread(Metric::Alone)));
        cells.extend(with_range(row.spread(Metric::Contended)));
        for (metric, digits) in [
            (Metric::Moved, 0),
            (Metric::WakeUp, 2),
            (Metric::WakeUpMost, 1),
            (Metric::WaitLongest, 0),
            (Metric::Jain, 2),
        ] {
            cells.push(figure(row.median(metric), digits));
        }
        table.push(cells);
    }
    table
}

/// The flash sale.
pub(crate) fn sale(outcome: &Outcome) -> Cells {
    let head = ["", "sold/s", "min .. max", "begun anew", "oversold"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (system, row) in &outcome.rows {
        let mut cells = vec![system.title.to_owned()];
        cells.extend(with_range(row.spread(Metric::Sold)));
        cells.push(figure(row.median(Metric::Again), 2));
        cells.push(figure(row.highest(Metric::Oversold), 0));
        table.push(cells);
    }
    table
}

/// What happens when somebody dies.
pub(crate) fn crashes(outcome: &Outcome) -> Cells {
    let head = [
        "",
        "holder killed: next after s",
        "holder frozen: next after s",
        "it goes on: knows after s",
        "server killed: standstill s",
        "its locks",
        "two holders for s",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (system, row) in &outcome.rows {
        let within = |metric, leases: u32| match row.median(metric) {
            Some(median) if median.is_infinite() => {
                format!("not in {} s", (outcome.plan.lease * leases).as_secs())
            }
            median => figure(median, 2),
        };
        let told = match row.median(Metric::FrozenTold) {
            Some(median) if median.is_infinite() => "never".to_owned(),
            median => figure(median, 2),
        };
        let (fate, both) = fate(system, row);
        table.push(vec![
            system.title.to_owned(),
            within(Metric::Killed, PATIENCE),
            within(Metric::Frozen, PATIENCE),
            told,
            within(Metric::Standstill, STANDSTILL),
            fate,
            both,
        ]);
    }
    table
}

/// What became of a lock whose server was killed and is back, and how long two had it. The worst of all rounds.
fn fate(system: &System, row: &Row) -> (String, String) {
    if !system.locks() {
        return ("none to lose".to_owned(), NONE.to_owned());
    }
    let ends = row.rounds.iter().filter_map(|round| {
        let (granted, told) = (round.get(&Metric::Granted)?, round.get(&Metric::Told)?);
        Some((*granted, *told))
    });
    let both = |(granted, told): (f64, f64)| match granted.is_finite() {
        true => (told - granted).max(0.0),
        false => 0.0,
    };
    let worst = ends.max_by(|one, other| both(*one).total_cmp(&both(*other)));
    let Some((granted, told)) = worst else {
        return (NONE.to_owned(), NONE.to_owned());
    };
    let fate = match (granted.is_finite(), told.is_finite()) {
        (false, false) => "kept",
        (false, true) => "kept, but its holder gives it up",
        (true, _) if told <= granted => "gone, and its holder knows before",
        (true, true) => "forgotten, its holder is told",
        (true, false) => "forgotten, its holder is never told",
    };
    let both = both((granted, told));
    let both = match both.is_finite() {
        true => format!("{both:.2}"),
        false => "until it ends".to_owned(),
    };
    (fate.to_owned(), both)
}

fn figure(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| NONE.to_owned(), |figure| format!("{figure:.digits$}"))
}

fn with_range(spread: Option<Spread>) -> [String; 2] {
    match spread {
        Some(Spread {
            median,
            lowest,
            highest,
        }) => [
            format!("{median:.0}"),
            format!("{lowest:.0} .. {highest:.0}"),
        ],
        None => [NONE, NONE].map(str::to_owned),
    }
}

/// For a terminal.
fn aligned(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| cells.iter().map(|row| row[at].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in cells {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match at {
                0 => text += &format!("{cell:<width$}"),
                _ => text += &format!("  {cell:>width$}"),
            }
        }
        text.push('\n');
    }
    text
}

pub(crate) fn text(outcome: &Outcome) -> String {
    let tables = [cycles(outcome), sale(outcome), crashes(outcome)];
    tables.map(|cells| aligned(&cells)).join("\n")
}

/// For the page.
pub(crate) fn markdown(cells: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, row) in cells.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if at == 0 {
            text += &format!("|---|{}\n", "--:|".repeat(row.len().saturating_sub(1)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SYSTEMS;

    fn fate_of(granted: f64, told: f64) -> (String, String) {
        let round = [(Metric::Granted, granted), (Metric::Told, told)].into();
        let row = Row {
            rounds: vec![round],
            problems: Vec::new(),
        };
        fate(&SYSTEMS[0], &row)
    }

    #[test]
    fn a_lock_is_kept_or_gone_or_forgotten_by_who_has_it_and_who_knows() {
        let never = f64::INFINITY;
        assert_eq!(
            fate_of(never, never),
            ("kept".to_owned(), "0.00".to_owned())
        );
        let (fate, both) = fate_of(1.0, 0.1);
        assert_eq!(
            (fate.as_str(), both.as_str()),
            ("gone, and its holder knows before", "0.00")
        );
        let (fate, both) = fate_of(1.0, 2.5);
        assert_eq!(
            (fate.as_str(), both.as_str()),
            ("forgotten, its holder is told", "1.50")
        );
        assert_eq!(fate_of(1.0, never).1, "until it ends");
    }
}
