//! What is to go wrong with a request.

use crate::{engine::transport::Request, error::Refusal};

/// Which requests a fault is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// Takes a lock, or enters it again; takes permits of a semaphore.
    Acquire,
    /// Gives a lock back, also where the same step hands it on to the next of the process, or by force; gives permits back.
    Release,
    /// Renews locks, as the watchdog does every third of its timeout.
    Renewal,
    /// Any other request: what a latch does, what sets a semaphore up, and all that only looks.
    Other,
    /// Whatever comes next.
    Any,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// It never arrives, and nobody says so: the network dropped it. The client gives it up when its command timeout is over.
    RequestLost,
    /// The server does it, and the answer never arrives: the connection broke, or the server went down, in between. The
    /// client cannot tell this from [`RequestLost`](Self::RequestLost) and has to find out.
    ReplyLost,
    /// The server does nothing and says so: it is out of memory ([`Refusal::OutOfMemory`]), became a replica
    /// ([`Refusal::ReadOnly`]), is loading its data ([`Refusal::Loading`]), or its user lost a right
    /// ([`Refusal::NoPermission`]).
    Refused(Refusal),
}

impl RequestKind {
    /// Whether `request` is of this kind.
    pub(super) fn is_of(self, request: &Request) -> bool {
        let own = match request {
            Request::Script { script, .. } => match script.name.split_once('/') {
                Some(("renew", _)) => Self::Renewal,
                Some((_, "acquire")) => Self::Acquire,
                Some((_, "release" | "pass" | "force_release")) => Self::Release,
                _ => Self::Other,
            },
            Request::Query { .. } => Self::Other,
        };
        self == Self::Any || self == own
    }
}
