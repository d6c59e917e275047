//! Releases that a failover may have forgotten.
//!
//! A replica that becomes the master may not have heard of the last releases: locks that nobody holds are then held on it
//! until their time to live is over. So the last releases are kept in mind, and said again to whoever is master next. To
//! release what is not held changes nothing.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Engine, protocol::Call, registry::NameRef};

/// Releases kept in mind. After a master has died there are no more, so the last ones are those that matter.
const MOST: usize = 4_096;
/// A release this long ago has reached the replicas, or they are no replicas.
const LONG_AGO: Duration = Duration::from_secs(60);

/// The last releases of a client.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    releases: Mutex<VecDeque<Release>>,
}

#[derive(Debug)]
struct Release {
    at: Instant,
    call: Call,
    most: u32,
}

impl Recent {
    /// A lock was freed that had been held `most` times at most.
    pub(super) fn note(&self, call: &Call, most: u32) {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        if releases.len() == MOST {
            releases.pop_front();
        }
        releases.push_back(Release {
            at: Instant::now(),
            call: call.clone(),
            most,
        });
    }

    fn take(&self) -> VecDeque<Release> {
        std::mem::take(&mut *self.releases.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    /// Another server is the master of some names: says the last releases again.
    pub(super) fn release_again(self: &Arc<Self>) {
        let last_for = self.settings.watchdog_timeout;
        let mut said = HashSet::new();
        for release in self.recent.take().into_iter().rev() {
            let call = &release.call;
            let fresh = said.insert((call.name.clone(), call.field.clone()));
            if fresh && release.at.elapsed() < LONG_AGO {
                let slot = NameRef::get(self, &release.call.name).slot(&release.call);
                slot.may_be_left(release.most, last_for);
                self.settle_in_background(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests;
