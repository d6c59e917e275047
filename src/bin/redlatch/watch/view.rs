//! The table, as it is drawn.

use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Cell, Paragraph, Row as TableRow, Table},
};

use super::board::{Board, Row};
use crate::{ls::ttl, print};

/// Cells of a bar.
const BAR: u64 = 10;
/// Columns of a picture that no terminal has asked for.
const WIDTH: u16 = 110;

pub(super) fn draw(frame: &mut Frame<'_>, board: &Board, pattern: &str, scroll: usize) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let held = board.rows().filter(|(row, _)| row.thing.held == Some(true));
    let waiting: u64 = board.rows().map(|(row, _)| row.thing.waiting()).sum();
    let title = format!(
        "redlatch  {}  {} names, {} held, {waiting} waiting",
        print::name(pattern),
        board.len(),
        held.count(),
    );
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Line::styled(title, bold)), head);
    let titles = [
        "NAME", "KIND", "STATE", "OWNER", "WAITING", "TURNS/S", "TTL",
    ];
    let rows = board.rows().skip(scroll).map(|(row, rate)| line(row, rate));
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(19),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(21),
    ];
    let table = Table::new(rows, widths).header(TableRow::new(titles).style(bold));
    frame.render_widget(table, body);
    let help = "q quit  \u{2191}\u{2193} scroll  turns are those that were seen";
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(Line::styled(help, dim)), foot);
}

fn line(row: &Row, rate: f64) -> TableRow<'static> {
    let thing = &row.thing;
    let state = match thing.held {
        Some(true) => Style::new().fg(Color::Green),
        _ => Style::new().fg(Color::DarkGray),
    };
    let waiting = if thing.waiting() > 0 {
        Style::new().fg(Color::Yellow)
    } else {
        Style::new()
    };
    let rate = if rate > 0.0 {
        format!("{rate:.1}")
    } else {
        "-".to_owned()
    };
    TableRow::new([
        Cell::new(print::name(&thing.name)),
        Cell::new(thing.kind.to_string()),
        Cell::new(thing.state()).style(state),
        Cell::new(owner(row)),
        Cell::new(thing.waiting().to_string()).style(waiting),
        Cell::new(rate),
        bar(row),
    ])
}

/// The first owner, and how many more there are.
fn owner(row: &Row) -> String {
    let owners = &row.thing.owners;
    match (owners.first(), row.thing.permits_taken) {
        (Some(first), _) => {
            // The first part of the client's id tells clients apart, the end of it who it is within.
            let (client, number) = first.owner.split_once(':').unwrap_or((&first.owner, ""));
            let client: String = client.chars().take(8).collect();
            let last = number.len().saturating_sub(6);
            let number = number.get(last..).unwrap_or(number);
            let more = match owners.len() {
                1 => String::new(),
                count => format!(" +{}", count - 1),
            };
            print::name(&format!("{client}:{number}")) + &more
        }
        (None, 0) => "-".to_owned(),
        (None, permits) => format!("{permits} permits"),
    }
}

/// What is left of the time to live, of the longest that was seen.
fn bar(row: &Row) -> Cell<'static> {
    let Some(left) = row.thing.ttl_ms else {
        return Cell::new(ttl(&row.thing));
    };
    let full = (left * BAR).div_ceil(row.longest_ms.max(1)).min(BAR);
    let color = match full {
        0..3 => Color::Red,
        3..6 => Color::Yellow,
        _ => Color::Green,
    };
    let cells = |c: &str, count: u64| c.repeat(usize::try_from(count).unwrap_or(0));
    let bar = cells("\u{2588}", full) + &cells("\u{2591}", BAR - full);
    Cell::new(format!("{bar} {}", ttl(&row.thing))).style(Style::new().fg(color))
}

/// The same picture as lines of text.
pub(super) fn text(board: &Board, pattern: &str) -> Vec<String> {
    let height = u16::try_from(board.len() + 2).unwrap_or(u16::MAX);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(WIDTH, height.saturating_add(1)));
    let Ok(_) = terminal.draw(|frame| draw(frame, board, pattern, 0));
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(usize::from(WIDTH));
    let lines = cells.map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    // Without the line about keys.
    lines.take(usize::from(height)).collect()
}
