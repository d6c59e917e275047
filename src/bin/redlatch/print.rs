//! Text and JSON for people and programs.

use std::io::{self, Write};

use serde::Serialize;

/// One line of JSON.
pub(crate) fn json(what: &impl Serialize) -> String {
    // Only maps whose keys are no texts cannot be written, and there are none.
    serde_json::to_string(what).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// Names come from strangers: nothing of them reaches a terminal that could steer it.
pub(crate) fn name(name: &str) -> String {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"' && c != '\\';
    let bidi = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !name.is_empty() && name.chars().all(|c| plain(c) && !bidi(c)) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

/// Writes lines. Whoever reads may have gone away, which is no failure.
pub(crate) fn lines(lines: impl IntoIterator<Item = String>) {
    let mut out = io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
    let _ = out.flush();
}

/// Columns under their titles, as wide as they have to be.
pub(crate) fn table(titles: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| cell.chars().count());
        cells
            .chain([titles[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line.join("  ").trim_end().to_owned()
    };
    let head = line(titles.to_vec());
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_a_terminal() {
        assert_eq!(name("orders:{42}"), "orders:{42}");
        assert_eq!(name("锁"), "锁");
        for wild in ["a\nb", "\u{1b}[2J", "a b", "", "\u{202e}x", "a\"b"] {
            let shown = name(wild);
            assert!(
                shown.starts_with('"') && !shown.contains(['\n', '\u{1b}', '\u{202e}']),
                "{shown}"
            );
        }
    }

    #[test]
    fn columns_stand_under_their_titles() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            ["NAME  N", "a     1", "long  22"]
        );
    }
}
