//! The stories: first a lock that fails by its own flaw, then redlatch in the same place.

mod clocks;
mod crashes;
mod leases;
mod pauses;
mod servers;

use clap::ValueEnum;

use crate::{Result, tale::Tale};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Story {
    /// SETNX, and the holder dies
    SetnxForever,
    /// SETNX, then EXPIRE, and the holder dies in between
    SetnxThenExpire,
    /// SETNX with the time of its end by the holder's clock
    ExpiryAsValue,
    /// GETSET to take over a lock whose time is up
    Getset,
    /// DEL of a lock that is somebody else's by now
    WrongOwnerDeletes,
    /// A lease that ends before the work does
    NoRenewal,
    /// A master that dies before its replicas know of the lock
    Failover,
    /// One server that forgets, and a majority of three
    Redlock,
    /// A holder that is stopped between its last look and its write
    Fencing,
}

impl Story {
    /// As on the command line and on the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SetnxForever => "setnx-forever",
            Self::SetnxThenExpire => "setnx-then-expire",
            Self::ExpiryAsValue => "expiry-as-value",
            Self::Getset => "getset",
            Self::WrongOwnerDeletes => "wrong-owner-deletes",
            Self::NoRenewal => "no-renewal",
            Self::Failover => "failover",
            Self::Redlock => "redlock",
            Self::Fencing => "fencing",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::SetnxForever => "a lock that stays for ever",
            Self::SetnxThenExpire => "two steps, and a crash between them",
            Self::ExpiryAsValue => "clocks that differ",
            Self::Getset => "who takes over writes over the winner",
            Self::WrongOwnerDeletes => "the wrong one deletes",
            Self::NoRenewal => "the lease ends before the work does",
            Self::Failover => "a failover forgets the lock",
            Self::Redlock => "a majority, and what it cannot do",
            Self::Fencing => "the last word is the resource's",
        }
    }

    pub(crate) async fn tell(self, tale: &mut Tale) -> Result<()> {
        match self {
            Self::SetnxForever => crashes::setnx_forever(tale).await,
            Self::SetnxThenExpire => crashes::setnx_then_expire(tale).await,
            Self::ExpiryAsValue => clocks::expiry_as_value(tale).await,
            Self::Getset => clocks::getset(tale).await,
            Self::WrongOwnerDeletes => leases::wrong_owner_deletes(tale).await,
            Self::NoRenewal => leases::no_renewal(tale).await,
            Self::Failover => servers::failover(tale).await,
            Self::Redlock => servers::redlock(tale).await,
            Self::Fencing => pauses::fencing(tale).await,
        }
    }
}
