//! The figures as a table.

use crate::{
    kit::Spread,
    metric::{Metric, Row},
    peer::{LIMIT, PEERS, TOOL},
    runner::Outcome,
};

/// What stands where there is no figure.
const NONE: &str = "-";

/// Head and rows; the first column names the participant.
pub(crate) fn cells(outcome: &Outcome) -> Vec<Vec<String>> {
    let headline = outcome.workload.headline();
    let mut limits = vec![(LIMIT, "of limit")];
    if outcome.row(TOOL).is_some() {
        limits.push((TOOL, "of redis-b."));
    }
    let mut head = vec![
        String::new(),
        headline.title().to_owned(),
        "min .. max".to_owned(),
    ];
    for (_, title) in &limits {
        head.extend([(*title).to_owned(), "min .. max".to_owned()]);
    }
    let columns = &outcome.workload.columns[1..];
    head.extend(columns.iter().map(|metric| metric.title().to_owned()));
    let mut table = vec![head];
    for row in &outcome.rows {
        let peer = PEERS.iter().find(|peer| peer.name == row.peer);
        let mut cells = vec![peer.map_or_else(String::new, |peer| peer.title())];
        cells.extend(with_range(row.spread(headline), |figure| {
            headline.text(figure)
        }));
        for (limit, _) in &limits {
            let ratio = outcome
                .row(limit)
                .and_then(|limit| row.ratio(headline, limit));
            cells.extend(with_range(ratio, |ratio| format!("{ratio:.3}")));
        }
        cells.extend(columns.iter().map(|metric| middle(row, *metric)));
        table.push(cells);
    }
    table
}

fn middle(row: &Row, metric: Metric) -> String {
    let spread = match metric {
        // One is too many.
        Metric::Overlaps | Metric::Lost | Metric::Ungranted | Metric::WaitLongest => {
            row.spread(metric).map(|spread| spread.highest)
        }
        _ => row.spread(metric).map(|spread| spread.median),
    };
    spread.map_or_else(|| NONE.to_owned(), |figure| metric.text(figure))
}

fn with_range(spread: Option<Spread>, text: impl Fn(f64) -> String) -> [String; 2] {
    match spread {
        Some(spread) => [
            text(spread.median),
            format!("{} .. {}", text(spread.lowest), text(spread.highest)),
        ],
        None => [NONE, NONE].map(str::to_owned),
    }
}

/// For a terminal.
pub(crate) fn text(outcome: &Outcome) -> String {
    let cells = cells(outcome);
    let widths: Vec<usize> = (0..cells[0].len())
        .map(|at| cells.iter().map(|row| row[at].len()).max().unwrap_or(0))
        .collect();
    let mut text = format!("{}: {}\n", outcome.workload.name, outcome.workload.title);
    for row in &cells {
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            if at == 0 {
                text += &format!("{cell:<width$}");
            } else {
                text += &format!("  {cell:>width$}");
            }
        }
        text.push('\n');
    }
    text + &problems(outcome)
}

/// For the page.
pub(crate) fn markdown(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (at, row) in cells(outcome).iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if at == 0 {
            text += &format!("|---|{}\n", "--:|".repeat(row.len() - 1));
        }
    }
    match problems(outcome) {
        problems if problems.is_empty() => text,
        problems => text + "\n" + &problems,
    }
}

/// Who failed, and how.
fn problems(outcome: &Outcome) -> String {
    let told = |row: &Row| Some(format!("{}: {}\n", row.peer, row.problem.as_ref()?));
    outcome.rows.iter().filter_map(told).collect()
}
