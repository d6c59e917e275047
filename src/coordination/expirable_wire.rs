//! What semaphores with permit ids say on the wire.
//!
//! Leases are kept by the server's clock: scripts ask for its time. Redisson keeps them by the clock of whoever calls. The
//! figures mean the same, and clients whose clock is right cannot be told apart; one whose clock is wrong shortens or
//! lengthens leases there, and does not here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    config::{check_lease, lease_ms},
    engine::{
        protocol::Batch,
        script::{Command, Script, decimal, script},
        trade::{Answers, Ask, Names, Trade, Undo},
        transport::Reply,
    },
    error::{Error, Result},
};

static ACQUIRE: Script = script!("permits/acquire", after "publish/announce");
pub(super) static RELEASE: Script = script!("permits/release", after "publish/announce");
pub(super) static RELEASE_ALL: Script = script!("permits/release_all", after "publish/announce");
pub(super) static COUNTS: Script = script!("permits/counts", after "publish/announce");
pub(super) static SET: Script = script!("permits/set", after "publish/announce");
pub(super) static ADD: Script = script!("permits/add", after "publish/announce");
pub(super) static UPDATE_LEASE: Script = script!("permits/update_lease", after "publish/announce");
pub(super) static LEASE_TIME: Script = script!("permits/lease_time");
static PROBE: Script = script!("probe/permits");

/// Every script of this kind, for the tests that read them all.
#[cfg(test)]
pub(super) static SCRIPTS: [&Script; 9] = [
    &ACQUIRE,
    &RELEASE,
    &RELEASE_ALL,
    &COUNTS,
    &SET,
    &ADD,
    &UPDATE_LEASE,
    &LEASE_TIME,
    &PROBE,
];

/// The end of a permit without a lease.
pub(super) const NEVER: Bytes = Bytes::from_static(b"922337203685477");
/// Longest lease: some thousand years, so that its end lies before [`NEVER`].
const LONGEST_LEASE_MS: u64 = 1 << 48;
/// Most permits with ids in one call.
pub(super) const MOST_IDS: u32 = 10_000;

#[derive(Debug)]
pub(super) struct Wire;

impl Trade for Wire {
    fn kind(&self) -> &'static str {
        "permits"
    }

    fn ask(&self, names: &Names, asks: &[Arc<Ask>]) -> Command {
        let mut args = vec![NEVER, names.announcement.clone()];
        for ask in asks {
            args.extend([decimal(ask.permits), decimal(ask.lease_ms)]);
            args.extend(ask.ids.iter().cloned());
        }
        Command {
            script: &ACQUIRE,
            keys: keys(names),
            args,
        }
    }

    fn answers(&self, reply: &Reply, asks: usize) -> Option<Answers> {
        let figures = reply.as_ints()?;
        let (next, served) = figures.split_first()?;
        (served.len() == asks).then(|| Answers {
            served: served.iter().map(|served| *served == 1).collect(),
            // The end is over when its millisecond is.
            next: u64::try_from(*next)
                .ok()
                .map(|left| Duration::from_millis(left + 1)),
        })
    }

    fn repeatable(&self) -> bool {
        // Its ids show whether it has been done.
        true
    }

    fn undo(&self, names: &Names, ask: &Ask) -> Undo {
        Undo::Deed(release(&RELEASE, names, ask.ids.iter().cloned()))
    }

    fn sum(&self, names: &Names, _: u64) -> Command {
        // Permits with ids are never added up.
        release(&RELEASE, names, [])
    }

    fn probe(&self) -> &'static Script {
        &PROBE
    }

    fn look(&self, names: &Names, least: u32, batch: &mut Batch) {
        batch.keys.extend([names.key.clone(), names.second.clone()]);
        batch.args.push(decimal(least));
    }
}

pub(super) fn keys(names: &Names) -> Vec<Bytes> {
    vec![names.key.clone(), names.second.clone()]
}

pub(super) fn release(
    script: &'static Script,
    names: &Names,
    ids: impl IntoIterator<Item = Bytes>,
) -> Command {
    let mut args = vec![names.announcement.clone()];
    args.extend(ids);
    Command {
        script,
        keys: keys(names),
        args,
    }
}

/// A lease in ms for a script; 0 for none.
pub(super) fn wire_lease(lease: Option<Duration>) -> Result<u64> {
    let Some(lease) = lease else {
        return Ok(0);
    };
    check_lease(lease)?;
    let ms = lease_ms("lease", lease)?;
    if ms > LONGEST_LEASE_MS {
        return Err(Error::invalid("lease", format!("{lease:?} is too long")));
    }
    Ok(ms)
}
