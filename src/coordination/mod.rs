//! What synchronizes without an owner: semaphores and latches. What they say on the wire is here, pure; asking, waiting
//! and doing things once is the engine's.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    config::lease_ms,
    engine::{
        Engine,
        desk::DeskRef,
        protocol::announcement,
        script::Command,
        trade::{Names, Trade},
        transport::Reply,
        unexpected,
    },
    error::{Error, Result},
    naming,
};

pub(crate) mod count_down_latch;
pub(crate) mod expirable_permit;
pub(crate) mod expirable_semaphore;
mod expirable_wire;
pub(crate) mod permit;
pub(crate) mod semaphore;

pub use self::{
    count_down_latch::{CountDownLatch, WaitForLatch},
    expirable_permit::{AcquireExpirable, ExpirablePermit, PermitId},
    expirable_semaphore::ExpirableSemaphore,
    permit::SemaphorePermit,
    semaphore::{AcquirePermits, Semaphore},
};

/// Most permits in one call: what Redisson can count.
const MOST_PERMITS: u32 = i32::MAX.unsigned_abs();

/// A synchronizer of one name, about which nothing is known yet.
#[derive(Clone)]
struct Handle {
    engine: Arc<Engine>,
    name: Arc<str>,
    trade: &'static dyn Trade,
    channel: fn(&str) -> String,
}

impl Handle {
    fn names(&self) -> Result<Names> {
        let key = self.engine.settings.map_name(&self.name)?;
        let client = &self.engine.client_id;
        let kind = self.trade.kind();
        let channel = (self.channel)(&key);
        let names = Names {
            shown: self.name.clone(),
            announcement: announcement(self.engine.pubsub().arg(), &channel),
            second: naming::suffixed(&key, "timeout").into(),
            channel: channel.into(),
            mark: format!("{}:{client}:{kind}", naming::mark_stem(&key)).into(),
            key: key.into(),
        };
        let together = [&names.key, &names.second, &names.channel, &names.mark];
        self.engine.check_slots(&names.shown, together)?;
        Ok(names)
    }

    fn desk(&self) -> Result<DeskRef> {
        Ok(DeskRef::get(&self.engine, self.trade, &self.names()?))
    }

    /// Does something that counts, once: what the server says, or `None` where it did nothing.
    async fn once(&self, command: impl FnOnce(&Names) -> Command) -> Result<Option<i64>> {
        let desk = self.desk()?;
        let answer = self.engine.deed(&desk, command(&desk.names), false).await?;
        crate::engine::once::number(&desk.names, &answer)
    }

    /// Does something that may be repeated.
    async fn repeat(&self, command: impl FnOnce(&Names) -> Command) -> Result<Reply> {
        let desk = self.desk()?;
        self.engine.repeat(&desk, &command(&desk.names)).await
    }

    async fn query(&self, verb: &'static str, args: &[&Bytes]) -> Result<Reply> {
        self.engine.query(&self.name, verb, args).await
    }

    fn odd(&self, reply: &Reply) -> Error {
        unexpected(&self.name, reply)
    }

    fn int(&self, reply: &Reply) -> Result<i64> {
        reply.as_int().ok_or_else(|| self.odd(reply))
    }

    /// The number in the first key; zero where there is none.
    async fn value(&self) -> Result<i64> {
        let names = self.names()?;
        match self.query("GET", &[&names.key]).await? {
            Reply::Nil => Ok(0),
            reply => self.int(&reply),
        }
    }

    /// Sets the time to live of all these keys; whether the first was there.
    async fn expire(&self, keys: &[&Bytes], ttl: Duration) -> Result<bool> {
        let ms = Bytes::from(lease_ms("ttl", ttl)?.to_string());
        let mut there = false;
        for (index, key) in keys.iter().enumerate() {
            let reply = self.query("PEXPIRE", &[key, &ms]).await?;
            there |= index == 0 && self.int(&reply)? == 1;
        }
        Ok(there)
    }

    async fn clear_expire(&self, keys: &[&Bytes]) -> Result<()> {
        for key in keys {
            let reply = self.query("PERSIST", &[key]).await?;
            self.int(&reply)?;
        }
        Ok(())
    }

    /// `None` where there is no key, for ever where it has no time to live.
    async fn remaining_ttl(&self) -> Result<Option<Duration>> {
        let names = self.names()?;
        let reply = self.query("PTTL", &[&names.key]).await?;
        Ok(match self.int(&reply)? {
            -2 => None,
            left => Some(u64::try_from(left).map_or(Duration::MAX, Duration::from_millis)),
        })
    }

    fn timed_out(&self, started: Instant) -> Error {
        Error::TimedOut {
            name: self.name.clone(),
            waited: started.elapsed(),
        }
    }
}

/// The channel of both semaphores.
pub(crate) fn semaphore_channel(name: &str) -> String {
    naming::prefixed("redisson_sc", name)
}

/// Checks a number of permits.
fn check_permits(permits: u32) -> Result<u32> {
    if permits > MOST_PERMITS {
        return Err(Error::invalid(
            "permits",
            format!("{permits} is more than {MOST_PERMITS}"),
        ));
    }
    Ok(permits)
}

/// Checks a number of permits to add, which may be negative.
fn check_change(permits: i64) -> Result<Bytes> {
    if permits.unsigned_abs() > u64::from(MOST_PERMITS) {
        return Err(Error::invalid(
            "permits",
            format!("{permits} is not between -{MOST_PERMITS} and {MOST_PERMITS}"),
        ));
    }
    Ok(permits.to_string().into())
}

/// Every synchronizer as the engine sees it.
#[cfg(test)]
pub(crate) fn trades() -> [&'static dyn Trade; 3] {
    [
        &semaphore::Wire,
        &expirable_wire::Wire,
        &count_down_latch::Wire,
    ]
}

/// Commands of every synchronizer, and whether a mark goes before their keys and arguments.
#[cfg(test)]
pub(crate) fn examples() -> Vec<(Command, bool)> {
    use crate::engine::trade::{Ask, Undo};

    let bytes = Bytes::from_static;
    let names = Names {
        shown: "n".into(),
        key: bytes(b"n"),
        second: bytes(b"{n}:timeout"),
        channel: bytes(b"c"),
        mark: bytes(b"m"),
        announcement: bytes(b"PUBLISH c"),
    };
    let ask = Arc::new(Ask {
        permits: 1,
        lease_ms: 0,
        ids: vec![bytes(b"0123456789abcdef")],
    });
    let mut commands = vec![
        (semaphore::try_set(&names, 1, 0), true),
        (semaphore::delete(vec![names.key.clone()]), true),
    ];
    for trade in trades() {
        let asking = trade.ask(&names, std::slice::from_ref(&ask));
        commands.push((asking, !trade.repeatable()));
        match trade.undo(&names, &ask) {
            Undo::Nothing => {}
            Undo::Sum(n) => commands.push((trade.sum(&names, n), true)),
            Undo::Deed(command) => commands.push((command, true)),
        }
    }
    commands
}

/// Every script of this folder, for the tests that read them all.
#[cfg(test)]
pub(crate) fn scripts() -> Vec<&'static crate::engine::script::Script> {
    let mut scripts = Vec::from(semaphore::SCRIPTS);
    scripts.extend(expirable_wire::SCRIPTS);
    scripts.extend(count_down_latch::SCRIPTS);
    scripts
}
