//! What processes did with locks, one operation a line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is known of an absent column.
const NONE: &str = "-";

/// The kind of lock an operation was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// A plain lock.
    Plain,
    /// One with tokens.
    Fenced,
    /// One that is granted in the order of its queue.
    Fair,
    /// The side of a read/write lock that may be shared.
    Read,
    /// The other side.
    Write,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The lock, once more where the owner has it already.
    Lock,
    /// To give back one entry.
    Unlock,
    /// How often the owner holds it, as the server says.
    Count,
    /// Not asked for by the owner: an onlooker did not see it in the queue when it called, and saw it when that returned.
    Queue,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted, with the token of a fenced lock.
    Granted(Option<i64>),
    /// Not granted for as long as the caller would wait.
    Refused,
    /// Given back.
    Released,
    /// It had been lost before, and the owner was told then.
    Lost(u64),
    /// The answer to a count.
    Counted(u32),
    /// Seen in the queue.
    Queued,
    /// The call failed.
    Error,
    /// The caller left, or died, before an answer.
    Unknown,
}

/// One operation. Times are epoch microseconds of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The process, such as `rust-1`; what stands before the hyphen is its side.
    pub process: String,
    /// The thread or task in it; with the process the owner.
    pub thread: String,
    /// The kind of lock.
    pub kind: LockKind,
    /// Its name.
    pub name: String,
    /// What was asked for.
    pub action: Action,
    /// Read before the call.
    pub called: u64,
    /// Read after it; none when it never returned.
    pub returned: Option<u64>,
    /// The lease, or the watchdog timeout, in microseconds.
    pub ttl: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Of a grant, and of what is given back: until when the owner was sure of it by its own clock. Of those who do not
    /// know, none. Of what an onlooker saw: when it called for the look that saw it.
    pub until: Option<u64>,
}

/// Something that was broken on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it was, such as `cut`. `kill` ends a process.
    pub kind: String,
    /// Whom it hit.
    pub process: String,
    /// The one lock it hit, if not all.
    pub name: Option<String>,
    /// When it began.
    pub from: u64,
    /// Until when it excuses a wait; not at all where this is the beginning.
    pub to: u64,
}

/// All that happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What the run's dice began with.
    pub seed: u64,
    /// The operations, those of one owner in their order.
    pub ops: Vec<Op>,
    /// What was broken meanwhile.
    pub faults: Vec<Fault>,
    /// What the server still had at the end.
    pub left: Vec<String>,
    /// When it ended; none while more may come.
    pub end: Option<u64>,
}

impl Op {
    /// Whose it is: process and thread.
    pub fn owner(&self) -> (&str, &str) {
        (&self.process, &self.thread)
    }

    /// When it had surely taken effect, if ever.
    pub(super) fn done(&self) -> u64 {
        self.returned.unwrap_or(u64::MAX)
    }

    pub(super) fn is_granted(&self) -> bool {
        matches!(self.outcome, Outcome::Granted(_))
    }
}

impl History {
    /// Its operations and faults, a line each, in the order in which they began.
    #[must_use]
    pub fn lines_in_time(&self) -> Vec<String> {
        let ops = self.ops.iter().map(|op| (op.called, op.to_string()));
        let faults = self.faults.iter();
        let faults = faults.map(|fault| (fault.from, fault.to_string()));
        let mut lines: Vec<_> = ops.chain(faults).collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// How long it took after a fault until somebody who waited then got the lock; none where nobody did.
    pub fn next_grant(&self, fault: &Fault) -> Option<Duration> {
        let waited = self.ops.iter().filter(|op| {
            op.action == Action::Lock
                && op.is_granted()
                && op.process == fault.process
                && fault.name.as_ref().is_none_or(|name| op.name == *name)
                && (op.called..op.done()).contains(&fault.from)
        });
        waited
            .map(|op| Duration::from_micros(op.done() - fault.from))
            .min()
    }
}

/// The text of one that has words for each variant.
macro_rules! words {
    ($kind:ty: $($variant:ident $word:literal),* $(,)?) => {
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }

        impl FromStr for $kind {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("{word:?} is none of {:?}", [$($word),*])),
                }
            }
        }
    };
}

words!(LockKind: Plain "plain", Fenced "fenced", Fair "fair", Read "read", Write "write");
words!(Action: Lock "lock", Unlock "unlock", Count "count", Queue "queue");

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(None) => f.write_str("granted"),
            Self::Granted(Some(token)) => write!(f, "granted({token})"),
            Self::Refused => f.write_str("refused"),
            Self::Released => f.write_str("released"),
            Self::Lost(at) => write!(f, "lost({at})"),
            Self::Counted(holds) => write!(f, "counted({holds})"),
            Self::Queued => f.write_str("queued"),
            Self::Error => f.write_str("error"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, number) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((word, number)) => (word, Some(number)),
            None => (text, None),
        };
        Ok(match (word, number) {
            ("granted", None) => Self::Granted(None),
            ("granted", Some(token)) => Self::Granted(Some(parsed(token)?)),
            ("refused", None) => Self::Refused,
            ("released", None) => Self::Released,
            ("lost", Some(at)) => Self::Lost(parsed(at)?),
            ("counted", Some(holds)) => Self::Counted(parsed(holds)?),
            ("queued", None) => Self::Queued,
            ("error", None) => Self::Error,
            ("unknown", None) => Self::Unknown,
            _ => return Err(format!("{text:?} is no outcome")),
        })
    }
}

fn parsed<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("{word:?} is no good number"))
}

fn optional<T: FromStr>(word: &str) -> Result<Option<T>, String> {
    (word != NONE).then(|| parsed(word)).transpose()
}

fn shown<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} {} {} {} {}",
            self.process,
            self.thread,
            self.kind,
            self.name,
            self.action,
            self.called,
            shown(self.returned),
            self.ttl,
            self.outcome,
            shown(self.until)
        )
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [
            process,
            thread,
            kind,
            name,
            action,
            called,
            returned,
            ttl,
            outcome,
            until,
        ] = words[..]
        else {
            return Err(format!("an operation is ten words, not {line:?}"));
        };
        Ok(Self {
            process: process.to_owned(),
            thread: thread.to_owned(),
            kind: kind.parse()?,
            name: name.to_owned(),
            action: action.parse()?,
            called: parsed(called)?,
            returned: optional(returned)?,
            ttl: parsed(ttl)?,
            outcome: outcome.parse()?,
            until: optional(until)?,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or(NONE);
        write!(
            f,
            "fault {} {} {name} {} {}",
            self.kind, self.process, self.from, self.to
        )
    }
}

/// The whole history, one operation a line; [`History::from_str`] reads it again.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for op in &self.ops {
            writeln!(f, "{op}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        for left in &self.left {
            writeln!(f, "left {left}")?;
        }
        self.end.map_or(Ok(()), |end| writeln!(f, "end {end}"))
    }
}

impl FromStr for History {
    type Err = String;

    /// Empty lines, and those that begin with `#`, are passed over.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut history = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [""] | ["#", ..] => {}
                ["seed", seed] => history.seed = parsed(seed)?,
                ["left", ..] => history.left.push(line["left ".len()..].to_owned()),
                ["end", end] => history.end = Some(parsed(end)?),
                ["fault", kind, process, name, from, to] => history.faults.push(Fault {
                    kind: kind.to_owned(),
                    process: process.to_owned(),
                    name: optional(name)?,
                    from: parsed(from)?,
                    to: parsed(to)?,
                }),
                _ => history.ops.push(line.parse()?),
            }
        }
        Ok(history)
    }
}
