//! Metrics, through the `metrics` facade: whatever recorder the application has installed gets them.
//!
//! The keys are made once, so that to record something allocates nothing; which recorder there is, is asked each time.

use std::{sync::LazyLock, time::Duration};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit, with_recorder};
use tokio::time::Instant;

use super::{End, Outcome, Woken};
use crate::error::LossCause;

const ACQUIRE: &str = "redlatch.acquire.duration";
const HOLD: &str = "redlatch.hold.duration";
const HOLDS: &str = "redlatch.hold.active";
const WAITERS: &str = "redlatch.waiter.active";
const RENEWALS: &str = "redlatch.renewals";
const RENEWAL_LAG: &str = "redlatch.renewal.lag";
const RENEWAL_FAILURES: &str = "redlatch.renewal.failures";
const LOSSES: &str = "redlatch.losses";
const WAKEUPS: &str = "redlatch.wakeups";
const HAND_OVERS: &str = "redlatch.hand_overs";

static METADATA: Metadata<'static> = Metadata::new("redlatch", Level::INFO, Some("redlatch"));

/// All kinds of locks and synchronizers.
pub(super) const KINDS: [&str; 12] = [
    "reentrant",
    "non_reentrant",
    "fair",
    "non_reentrant_fair",
    "read",
    "write",
    "fenced",
    "spin",
    "group",
    "semaphore",
    "permits",
    "latch",
];

/// The keys of one kind.
struct Keys {
    kind: &'static str,
    acquire: [Key; Outcome::TEXTS.len()],
    hold: [Key; End::TEXTS.len()],
    holds: Key,
    waiters: Key,
    renewals: Key,
    renewal_lag: Key,
    losses: [Key; CAUSES.len()],
    wakeups: [Key; Woken::TEXTS.len()],
    hand_overs: Key,
}

impl Keys {
    fn new(kind: &'static str) -> Self {
        let of_kind = Label::from_static_parts("kind", kind);
        let plain = |name| Key::from_parts(name, vec![of_kind.clone()]);
        Self {
            kind,
            acquire: by(ACQUIRE, &of_kind, "outcome", Outcome::TEXTS),
            hold: by(HOLD, &of_kind, "outcome", End::TEXTS),
            holds: plain(HOLDS),
            waiters: plain(WAITERS),
            renewals: plain(RENEWALS),
            renewal_lag: plain(RENEWAL_LAG),
            losses: by(LOSSES, &of_kind, "cause", CAUSES),
            wakeups: by(WAKEUPS, &of_kind, "source", Woken::TEXTS),
            hand_overs: plain(HAND_OVERS),
        }
    }

    fn of(kind: &str) -> &'static Self {
        static KEYS: LazyLock<Vec<Keys>> = LazyLock::new(|| KINDS.map(Keys::new).into());
        static OTHER: LazyLock<Keys> = LazyLock::new(|| Keys::new("other"));
        let known = KEYS.iter().find(|keys| keys.kind == kind);
        known.unwrap_or_else(|| &OTHER)
    }
}

/// A key for each value of a label.
fn by<const N: usize>(
    name: &'static str,
    kind: &Label,
    label: &'static str,
    values: [&'static str; N],
) -> [Key; N] {
    values.map(|value| {
        Key::from_parts(
            name,
            vec![kind.clone(), Label::from_static_parts(label, value)],
        )
    })
}

/// What causes of a loss are called, in the order of [`cause`].
pub(super) const CAUSES: [&str; 6] = [
    "lease_expired",
    "unreachable",
    "vanished",
    "taken_over",
    "force_unlocked",
    "closed",
];

fn cause(cause: LossCause) -> usize {
    match cause {
        LossCause::LeaseExpired => 0,
        LossCause::Unreachable => 1,
        LossCause::Vanished => 2,
        LossCause::TakenOver => 3,
        LossCause::ForceUnlocked => 4,
        LossCause::Closed => 5,
    }
}

fn count(key: &Key) {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
}

fn record(key: &Key, time: Duration) {
    with_recorder(|recorder| {
        (recorder.register_histogram(key, &METADATA)).record(time.as_secs_f64());
    });
}

fn shift(key: &Key, by: f64) {
    with_recorder(|recorder| recorder.register_gauge(key, &METADATA).increment(by));
}

/// Tells the recorder what each metric is.
pub(crate) fn describe() {
    type Describe = fn(&dyn Recorder, KeyName, Option<Unit>, SharedString);
    let counter: Describe = |recorder, name, unit, text| {
        recorder.describe_counter(name, unit, text);
    };
    let gauge: Describe = |recorder, name, unit, text| recorder.describe_gauge(name, unit, text);
    let histogram: Describe = |recorder, name, unit, text| {
        recorder.describe_histogram(name, unit, text);
    };
    #[rustfmt::skip]
    let all = [
        (ACQUIRE, histogram, Unit::Seconds, "Time from asking for a lock or permit to the answer"),
        (HOLD, histogram, Unit::Seconds, "Time from the request that was granted to the end of the hold"),
        (HOLDS, gauge, Unit::Count, "Locks held by this process, re-entries included"),
        (WAITERS, gauge, Unit::Count, "Callers of this process that wait for a lock or permit"),
        (RENEWALS, counter, Unit::Count, "Locks renewed, one for each lock and round"),
        (RENEWAL_LAG, histogram, Unit::Seconds, "How much later than due a lock was renewed"),
        (RENEWAL_FAILURES, counter, Unit::Count, "Renewal calls that failed or went unanswered"),
        (LOSSES, counter, Unit::Count, "Holds lost"),
        (WAKEUPS, counter, Unit::Count, "Waiters woken"),
        (HAND_OVERS, counter, Unit::Count, "Locks passed on inside this process"),
    ];
    with_recorder(|recorder| {
        for (name, describe, unit, text) in all {
            describe(recorder, name.into(), Some(unit), text.into());
        }
    });
}

pub(crate) struct Acquire {
    kind: &'static str,
    begun: Instant,
    outcome: Outcome,
}

impl Acquire {
    pub(super) fn begin(kind: &'static str) -> Self {
        Self {
            kind,
            begun: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }

    pub(super) fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let key = &Keys::of(self.kind).acquire[self.outcome as usize];
        record(key, self.begun.elapsed());
    }
}

/// One who waits, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Waiting(&'static str);

impl Waiting {
    pub(crate) fn begin(kind: &'static str) -> Self {
        shift(&Keys::of(kind).waiters, 1.0);
        Self(kind)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        shift(&Keys::of(self.0).waiters, -1.0);
    }
}

/// A hold was granted.
pub(crate) fn hold_began(kind: &'static str) {
    shift(&Keys::of(kind).holds, 1.0);
}

/// A hold that was asked for at `since` is over.
pub(crate) fn hold_ended(kind: &'static str, since: Instant, end: End) {
    let keys = Keys::of(kind);
    shift(&keys.holds, -1.0);
    record(&keys.hold[end as usize], since.elapsed());
}

/// A hold was lost.
pub(crate) fn lost(kind: &'static str, by: LossCause) {
    count(&Keys::of(kind).losses[cause(by)]);
}

/// A lock was renewed `after` the time before, where that is known, and was to be after `period`.
pub(crate) fn renewed(kind: &'static str, after: Option<Duration>, period: Duration) {
    let keys = Keys::of(kind);
    count(&keys.renewals);
    if let Some(after) = after {
        record(&keys.renewal_lag, after.saturating_sub(period));
    }
}

/// A renewal call failed.
pub(crate) fn renewal_failed() {
    static KEY: Key = Key::from_static_name(RENEWAL_FAILURES);
    count(&KEY);
}

pub(super) fn woken(kind: &'static str, by: Woken) {
    count(&Keys::of(kind).wakeups[by as usize]);
}

/// A lock was passed on.
pub(crate) fn hand_over(kind: &'static str) {
    count(&Keys::of(kind).hand_overs);
}
