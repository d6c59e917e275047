//! Texts of strangers, fit for a message or a log: on one line, without what a terminal would act upon, and not too long.

use std::fmt;

/// Characters of a name that are shown.
const NAME: usize = 120;
/// Characters of anything else that are shown.
const TEXT: usize = 400;
/// Bytes of what a server says that are kept.
const KEPT: usize = 2_000;

/// The name of a lock, in quotes.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut: String = self.0.chars().take(NAME).collect();
        write!(f, "\"{}", cut.escape_debug())?;
        f.write_str(if cut.len() < self.0.len() {
            "...\""
        } else {
            "\""
        })
    }
}

/// What a server, a system or a caller has said, without quotes.
pub(super) struct Said<'a>(pub(super) &'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.chars();
        for c in left.by_ref().take(TEXT) {
            match c {
                '"' | '\'' | '\\' => write!(f, "{c}")?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        f.write_str(if left.next().is_some() { "..." } else { "" })
    }
}

/// The beginning of what a server says, which may be as long as it likes.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.len().min(KEPT);
    let end = (0..=end).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_escaped() {
        let said = |text: &str| Said(text).to_string();
        assert_eq!(said("can't \"run\" a\\b"), "can't \"run\" a\\b");
        assert_eq!(said("a\nb\x1b[0m"), "a\\nb\\u{1b}[0m");
        assert_eq!(said(&"ü".repeat(TEXT)), "ü".repeat(TEXT));
        assert_eq!(said(&"ü".repeat(TEXT + 1)).chars().count(), TEXT + 3);
        assert_eq!(cut("short"), "short");
        let long = format!("x{}", "ü".repeat(KEPT));
        assert_eq!(cut(&long).len(), KEPT - 1);
    }
}
