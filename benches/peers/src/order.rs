//! What the benchmark tells its participants, a line each on their standard input, and what they answer. Every participant
//! speaks it, in whatever language it is written:
//!
//! ```text
//! at its start     ready
//! run KIND KEYS TASKS FIRST HELD DEPTH NAME MS FILE
//!                  ran START ELAPSED COUNT...      microseconds since 1970, microseconds, pairs of each task
//! hold NAMES PREFIX
//!                  held COUNT ELAPSED              64 tasks have taken the names PREFIX0, PREFIX1, ...
//! release          released COUNT START            how many of them were still held, given back from START on
//! wait NAMES PREFIX
//!                  waiting                         a task for each name has begun to wait for it
//! granted MS       granted COUNT LAST              how many have it after at most MS, and when the last one got it
//! anything         error TEXT                      it does not work
//! ```
//!
//! `KIND` is `plain`, `fair` or `readwrite`; `KEYS` is `own` (`NAME:0`, `NAME:1`, ...) or `shared` (`NAME`). `FIRST` is the number
//! of the first task. With a shared name every critical section becomes a line of `FILE`, in microseconds since 1970:
//! `TASK r|w ASKED GRANTED RELEASED`. The end of the input ends the participant.

use std::{
    fmt,
    str::{FromStr, SplitWhitespace},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Of ten sections of a read/write lock one writes.
pub(crate) const WRITE_EVERY: u64 = 10;
/// Tasks that take the names of a [`Order::Hold`].
pub(crate) const HOLDING_TASKS: u64 = 64;

/// Which lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Fair,
    ReadWrite,
}

const KINDS: [(Kind, &str); 3] = [
    (Kind::Plain, "plain"),
    (Kind::Fair, "fair"),
    (Kind::ReadWrite, "readwrite"),
];

/// Tasks that lock and unlock for some time.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    /// Whether all tasks want one name.
    pub(crate) shared: bool,
    pub(crate) tasks: u64,
    pub(crate) first: u64,
    pub(crate) held: Duration,
    pub(crate) depth: u64,
    pub(crate) name: String,
    pub(crate) time: Duration,
    pub(crate) file: String,
}

impl Run {
    /// The name that a task locks.
    pub(crate) fn name_of(&self, task: u64) -> String {
        if self.shared {
            self.name.clone()
        } else {
            format!("{}:{task}", self.name)
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Order {
    Run(Run),
    Hold { names: u64, prefix: String },
    Release,
    Wait { names: u64, prefix: String },
    Granted { within: Duration },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Run(run) => {
                let kind = KINDS.iter().find(|(kind, _)| *kind == run.kind);
                let kind = kind.map_or("plain", |(_, word)| word);
                let keys = if run.shared { "shared" } else { "own" };
                let (held, time) = (run.held.as_millis(), run.time.as_millis());
                write!(
                    f,
                    "run {kind} {keys} {} {} {held} {} {} {time} {}",
                    run.tasks, run.first, run.depth, run.name, run.file
                )
            }
            Order::Hold { names, prefix } => write!(f, "hold {names} {prefix}"),
            Order::Release => write!(f, "release"),
            Order::Wait { names, prefix } => write!(f, "wait {names} {prefix}"),
            Order::Granted { within } => write!(f, "granted {}", within.as_millis()),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let order = match words.next() {
            Some("run") => {
                let kind = next::<String>(&mut words)?;
                let kind = KINDS.iter().find(|(_, word)| *word == kind);
                Order::Run(Run {
                    kind: kind.ok_or("unknown kind")?.0,
                    shared: next::<String>(&mut words)? == "shared",
                    tasks: next(&mut words)?,
                    first: next(&mut words)?,
                    held: Duration::from_millis(next(&mut words)?),
                    depth: next(&mut words)?,
                    name: next(&mut words)?,
                    time: Duration::from_millis(next(&mut words)?),
                    file: next(&mut words)?,
                })
            }
            Some("hold") => Order::Hold {
                names: next(&mut words)?,
                prefix: next(&mut words)?,
            },
            Some("release") => Order::Release,
            Some("wait") => Order::Wait {
                names: next(&mut words)?,
                prefix: next(&mut words)?,
            },
            Some("granted") => Order::Granted {
                within: Duration::from_millis(next(&mut words)?),
            },
            _ => return Err(format!("unknown order {line:?}")),
        };
        Ok(order)
    }
}

/// The next word of a line.
pub(crate) fn next<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<T, String> {
    let word = words.next().ok_or("a word is missing")?;
    word.parse().map_err(|_| format!("unexpected {word:?}"))
}

/// One critical section, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) task: u64,
    pub(crate) writes: bool,
    pub(crate) asked: u64,
    pub(crate) granted: u64,
    pub(crate) released: u64,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.writes { 'w' } else { 'r' };
        write!(
            f,
            "{} {side} {} {} {}",
            self.task, self.asked, self.granted, self.released
        )
    }
}

impl FromStr for Section {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        Ok(Section {
            task: next(&mut words)?,
            writes: next::<char>(&mut words)? == 'w',
            asked: next(&mut words)?,
            granted: next(&mut words)?,
            released: next(&mut words)?,
        })
    }
}

/// Microseconds since 1970: a clock that all processes of a machine share.
pub(crate) fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_sections_survive_the_way() {
        for line in [
            "run fair shared 64 8 1 1 name 2000 file",
            "run plain own 1 0 0 10 name 5 -",
            "hold 10 p",
            "release",
            "wait 3 p",
            "granted 100",
        ] {
            assert_eq!(line.parse::<Order>().unwrap().to_string(), line);
        }
        assert_eq!(
            "7 r 1 2 3".parse::<Section>().unwrap().to_string(),
            "7 r 1 2 3"
        );
        assert!("run fair".parse::<Order>().is_err());
    }
}
