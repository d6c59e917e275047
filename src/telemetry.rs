//! What is told to the outside about how it goes: metrics by the feature `metrics`, spans and events by the feature
//! `tracing`.
//!
//! The engine calls this at the places where it counts for [`Stats`](crate::Stats) and tells an [`Event`]; nothing else
//! knows which features there are. Each of them has a twin with nothing in it, so that without a feature there is nothing
//! left to call. `docs/operations.md` has all names, with units and labels; a test compares both.
//!
//! No metric is labelled with the name of a lock: names come from callers, and each label is a series for ever. Spans and
//! events have it.

use std::sync::Arc;

pub(crate) use self::{
    meters::{Waiting, describe, hand_over, hold_began, hold_ended, lost, renewal_failed, renewed},
    spans::{event, hears_events, release, request},
};
use crate::error::{Error, Result};

#[cfg(feature = "metrics")]
mod meters;
#[cfg(not(feature = "metrics"))]
#[path = "telemetry/no_meters.rs"]
mod meters;
#[cfg(not(feature = "tracing"))]
#[path = "telemetry/no_spans.rs"]
mod spans;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(test)]
mod tests;

/// A label's values, each with what it is called.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(not(all(feature = "metrics", feature = "tracing")), allow(dead_code, reason = "nobody is told"))]
        pub(crate) enum $name { $($(#[$value])* $variant,)* }

        #[cfg_attr(not(all(feature = "metrics", feature = "tracing")), allow(dead_code, reason = "nobody is told"))]
        impl $name {
            /// What its values are called, in their order.
            pub(crate) const TEXTS: [&str; [$($text),*].len()] = [$($text),*];
        }
    };
}

label! {
    /// What came of an acquire.
    Outcome {
        Granted = "granted",
        /// It would not wait.
        Busy = "busy",
        TimedOut = "timed_out",
        Failed = "failed",
        /// Its caller left.
        Cancelled = "cancelled",
    }
}

label! {
    /// How a hold ended.
    End {
        Released = "released",
        Lost = "lost",
        /// Given back by closing.
        Closed = "closed",
        /// The client was dropped with it; it lasts until its time to live is over.
        Abandoned = "abandoned",
    }
}

label! {
    /// What ended a wait.
    Woken {
        Message = "message",
        /// The time to live that it had been told was over.
        Ttl = "ttl",
        Poll = "poll",
        /// The look that a new connection sets off.
        Reconnect = "reconnect",
        /// A release, or a loss, inside this process.
        Release = "release",
        /// A subscription that came after the try.
        Subscribed = "subscribed",
        Closed = "closed",
    }
}

/// An acquire under way. Dropped before its end it counts as cancelled.
pub(crate) struct Acquire {
    meter: meters::Acquire,
    span: spans::Acquire,
}

/// An acquire of the lock or synchronizer `name` begins.
#[inline]
pub(crate) fn acquire(kind: &'static str, name: &Arc<str>) -> Acquire {
    Acquire {
        meter: meters::Acquire::begin(kind),
        span: spans::Acquire::begin(kind, name),
    }
}

impl Acquire {
    /// What the future does belongs to the acquire.
    #[inline]
    pub(crate) fn within<F: Future>(&self, future: F) -> spans::Within<F> {
        self.span.within(future)
    }

    /// It ended so, for a caller that would wait or not.
    #[inline]
    pub(crate) fn ended<T>(self, result: &Result<Option<T>>, waits: bool) {
        let outcome = match result {
            Ok(Some(_)) => Outcome::Granted,
            Ok(None) if waits => Outcome::TimedOut,
            Ok(None) => Outcome::Busy,
            Err(_) => Outcome::Failed,
        };
        self.meter.ended(outcome);
        self.span.ended(outcome, result.as_ref().err());
    }
}

/// A waiter was woken.
#[inline]
pub(crate) fn woken(kind: &'static str, by: Woken) {
    meters::woken(kind, by);
}

/// The kind of an error, for `error.type`.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nobody is told"))]
fn error_type(error: &Error) -> &'static str {
    match error {
        Error::TimedOut { .. } => "timed_out",
        Error::NotHeld { .. } => "not_held",
        Error::AlreadyHeld { .. } => "already_held",
        Error::FencingReset { .. } => "fencing_reset",
        Error::Stale { .. } => "stale",
        Error::NoQuorum { .. } => "no_quorum",
        Error::Lost { .. } => "lost",
        Error::WrongType { .. } => "wrong_type",
        Error::NotReplicated { .. } => "not_replicated",
        Error::ReleaseNotReplicated { .. } => "release_not_replicated",
        Error::CrossSlot { .. } => "cross_slot",
        Error::InvalidArgument { .. } => "invalid_argument",
        Error::Unreachable { .. } => "unreachable",
        Error::Refused { .. } => "refused",
        Error::MissingRights { .. } => "missing_rights",
        Error::UnexpectedReply { .. } => "unexpected_reply",
        Error::TooManyWaiters { .. } => "too_many_waiters",
        Error::Forked => "forked",
        Error::Closed => "closed",
        Error::Redis(_) => "redis",
    }
}
