//! The locks that nobody enters twice.

use std::sync::Arc;

use super::{
    Lock, fair,
    kind::{Kind, sealed::Sealed},
    reentrant,
};
use crate::{client::Client, engine::protocol::Protocol};

/// The plain lock without re-entry: an owner that asks again for what it holds gets
/// [`Error::AlreadyHeld`](crate::Error::AlreadyHeld) at once, instead of a second entry it may not have meant.
///
/// It has the hash and the channel of a plain lock, so both exclude and wake each other on one name.
///
/// *Redisson*: `RLock` from `getNonReentrantLock`, since 4.4.0.
#[derive(Debug)]
#[non_exhaustive]
pub enum NonReentrant {}

/// The fair lock without re-entry; see [`NonReentrant`] and [`Fair`](super::Fair).
///
/// *Redisson*: `RLock` from `getNonReentrantFairLock`, since 4.4.0.
#[derive(Debug)]
#[non_exhaustive]
pub enum NonReentrantFair {}

impl Kind for NonReentrant {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for NonReentrant {
    fn protocol() -> &'static dyn Protocol {
        &reentrant::Wire {
            kind: "non_reentrant",
            reentrant: false,
        }
    }

    fn grant(_: Option<i64>) {}
}

impl Kind for NonReentrantFair {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for NonReentrantFair {
    fn protocol() -> &'static dyn Protocol {
        &fair::Wire {
            kind: "non_reentrant_fair",
            reentrant: false,
        }
    }

    fn grant(_: Option<i64>) {}
}

impl Client {
    /// The lock of this name that its holder cannot enter again. Sends nothing.
    ///
    /// *Redisson*: `getNonReentrantLock`.
    #[must_use]
    pub fn non_reentrant_lock(&self, name: impl Into<Arc<str>>) -> Lock<NonReentrant> {
        Lock::new(self.engine(), name.into())
    }

    /// The fair lock of this name that its holder cannot enter again. Sends nothing.
    ///
    /// *Redisson*: `getNonReentrantFairLock`.
    #[must_use]
    pub fn non_reentrant_fair_lock(&self, name: impl Into<Arc<str>>) -> Lock<NonReentrantFair> {
        Lock::new(self.engine(), name.into())
    }
}
