//! What the user sees: bars while it runs, then a table and a verdict.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{locks::LockKind, shop::Figures, worker::Tally};

/// Without a terminal, a plain line this often.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// The progress of one round.
pub(crate) struct Bar {
    bar: ProgressBar,
    title: &'static str,
    stock: i64,
    last_line: Cell<Option<Instant>>,
}

/// One bar for each round, all on screen at once.
pub(crate) fn bars(stock: u32, kinds: &[LockKind]) -> Vec<(LockKind, Bar)> {
    let screen = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:>16} [{bar:40}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    kinds
        .iter()
        .map(|kind| {
            let bar = screen.add(ProgressBar::new(stock.into()));
            bar.set_style(style.clone());
            bar.set_prefix(kind.title());
            bar.tick();
            let bar = Bar {
                bar,
                title: kind.title(),
                stock: stock.into(),
                last_line: Cell::new(None),
            };
            (*kind, bar)
        })
        .collect()
}

impl Bar {
    /// How far the shelf is empty, and how much was sold for it.
    pub(crate) fn show(&self, figures: &Figures) {
        let gone = self.stock.saturating_sub(figures.left).max(0);
        self.bar.set_position(gone.unsigned_abs());
        self.bar.set_message(self.message(figures));
        let due = self
            .last_line
            .get()
            .is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if self.bar.is_hidden() && due {
            self.line(figures);
            self.last_line.set(Some(Instant::now()));
        }
    }

    pub(crate) fn finish(&self, figures: &Figures) {
        self.show(figures);
        if self.bar.is_hidden() {
            self.line(figures);
        }
        self.bar.abandon();
    }

    fn line(&self, figures: &Figures) {
        eprintln!("{:>16}  {}", self.title, self.message(figures));
    }

    fn message(&self, figures: &Figures) -> String {
        let Figures { left, sold } = figures;
        format!(
            "{sold} sold of a stock of {}, {left} left on the shelf",
            self.stock
        )
    }
}

/// What came of one round.
pub(crate) struct Outcome {
    /// Pieces sold, as counted on the server.
    pub(crate) sold: u64,
    /// Pieces left, as the shelf says.
    pub(crate) left: i64,
    /// What the workers say they did.
    pub(crate) tally: Tally,
    /// From the start of the first worker to the end of the last.
    pub(crate) elapsed: Duration,
}

/// The rounds that were run.
pub(crate) struct Report {
    stock: u64,
    rounds: Vec<(LockKind, Outcome)>,
}

impl Report {
    pub(crate) fn new(stock: u32) -> Self {
        Self {
            stock: stock.into(),
            rounds: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, kind: LockKind, outcome: Outcome) {
        self.rounds.push((kind, outcome));
    }

    /// Whether a round with redlatch ended with anything but every piece sold once.
    pub(crate) fn redlatch_failed(&self) -> bool {
        self.rounds
            .iter()
            .any(|(kind, outcome)| kind.is_redlatch() && !self.is_right(outcome))
    }

    /// Every piece sold once: by the count of sales, by the shelf, and by what the workers say.
    fn is_right(&self, outcome: &Outcome) -> bool {
        outcome.sold == self.stock && outcome.left == 0 && outcome.tally.sold == self.stock
    }

    fn has_oversold(&self) -> bool {
        let mut rounds = self.rounds.iter();
        rounds.any(|(_, outcome)| outcome.sold > self.stock)
    }

    /// One sentence.
    fn verdict(&self) -> String {
        let told: Vec<String> = self
            .rounds
            .iter()
            .map(|(kind, outcome)| {
                let how = match kind {
                    LockKind::None => "without a lock".to_owned(),
                    LockKind::Naive => "with SETNX and EXPIRE".to_owned(),
                    kind => format!("with {}", kind.title()),
                };
                let judged = if self.is_right(outcome) {
                    ", each of them once"
                } else if kind.is_redlatch() {
                    ", which is a bug in redlatch: please report it"
                } else {
                    ""
                };
                format!("{} were sold {how}{judged}", outcome.sold)
            })
            .collect();
        format!("Of {} pieces, {}.", self.stock, told.join("; "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<16}{:>8}{:>10}{:>14}{:>14}{:>10}",
            "mode", "sold", "oversold", "hand-overs/s", "longest wait", "elapsed"
        )?;
        for (kind, outcome) in &self.rounds {
            let seconds = outcome.elapsed.as_secs_f64();
            let (hand_overs, wait) = match kind {
                LockKind::None => ("-".to_owned(), "-".to_owned()),
                _ => (
                    format!("{:.0}", outcome.tally.hand_overs as f64 / seconds),
                    format!("{} ms", outcome.tally.longest_wait.as_millis()),
                ),
            };
            writeln!(
                f,
                "{:<16}{:>8}{:>10}{hand_overs:>14}{wait:>14}{:>10}",
                kind.title(),
                outcome.sold,
                outcome.sold.saturating_sub(self.stock),
                format!("{seconds:.1} s"),
            )?;
        }
        if self.has_oversold() {
            writeln!(
                f,
                "\nWhere holders are together, each of them is a hand-over the sooner: that is no speed."
            )?;
        }
        write!(f, "\n{}", self.verdict())
    }
}
