//! Taking enough members, and none that are not needed.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::{super::Inner, Set};
use crate::{
    engine::{
        acquire::{Patience, Wish},
        hold::{Lease, later},
        jitter,
        release::Grip,
    },
    error::{Error, Result},
    owner::Owner,
};

/// First pause after a majority was missed; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long members are kept at first while another one is busy; doubles with every [`PASSES`] times that was too short, up
/// to [`LONGEST_KEPT`], so that everybody gets all of them in the end.
const FIRST_KEPT: Duration = Duration::from_millis(25);
const LONGEST_KEPT: Duration = Duration::from_secs(1);
const PASSES: u32 = 6;

/// Members in hand, enough of them.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) grips: Vec<Grip>,
    pub(super) needed: usize,
    /// What the clocks of independent servers may differ by over a lease.
    pub(super) drift: Duration,
    pub(super) shown: Arc<str>,
    pub(super) owner: Owner,
}

impl Taken {
    /// Until when enough members are sure to be held.
    pub(super) fn valid_until(&self) -> Instant {
        let mut ends: Vec<_> = self
            .grips
            .iter()
            .filter(|grip| grip.hold().loss(Instant::now()).is_none())
            .map(|grip| grip.hold().valid_until())
            .collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        let now = Instant::now();
        match ends.get(self.needed - 1) {
            Some(end) => end.checked_sub(self.drift).unwrap_or(now),
            None => now,
        }
    }

    /// Gives all members back side by side; how many were still held, and what went wrong with the others.
    pub(super) async fn give_back(self) -> (usize, Vec<Error>) {
        let outcomes = join_all(self.grips.into_iter().map(Grip::release)).await;
        let mut failures = Vec::new();
        let mut released = 0;
        for outcome in outcomes {
            match outcome {
                Ok(()) => released += 1,
                Err(error) => failures.push(error),
            }
        }
        (released, failures)
    }
}

impl Inner {
    /// Where the lock is taken in a row: the same for everybody who takes it.
    pub(super) fn place(&self) -> (&str, &str, &'static str) {
        (&self.name, &self.engine.server, self.protocol.kind())
    }

    /// One try or wait for this member.
    async fn grip(
        &self,
        owner: Owner,
        patience: Patience,
        lease: Lease,
        loose: bool,
    ) -> Result<Option<Grip>> {
        let wish = Wish {
            call: Arc::new(self.call_by(owner)?),
            lease,
            patience,
            loose,
        };
        self.engine.acquire(wish).await
    }

    /// One try, and a short wait where it is busy, for somebody who keeps other members meanwhile.
    async fn grip_soon(
        &self,
        owner: Owner,
        patience: Patience,
        kept: Duration,
        loose: bool,
    ) -> Result<Option<Grip>> {
        let lease = Lease::Watched;
        let tried = self.grip(owner, Patience::None, lease, loose).await;
        if patience == Patience::None {
            return tried;
        }
        match tried {
            Ok(None) => {
                let waiting = self.grip(owner, patience, lease, loose);
                timeout(jitter(kept), waiting).await.unwrap_or(Ok(None))
            }
            // A try does not outlast an outage, a wait does.
            Err(Error::Unreachable { .. }) => self.grip(owner, patience, lease, loose).await,
            outcome => outcome,
        }
    }
}

/// What all members said.
#[derive(Debug, Default)]
struct Round {
    grips: Vec<Grip>,
    /// Those that are busy.
    busy: Vec<usize>,
    failures: Vec<String>,
}

impl Round {
    /// An error that all members would give ends the taking.
    fn add(&mut self, at: usize, outcome: Result<Option<Grip>>) -> Result<()> {
        match outcome {
            Ok(Some(grip)) => self.grips.push(grip),
            Ok(None) => self.busy.push(at),
            Err(
                error @ (Error::InvalidArgument { .. }
                | Error::AlreadyHeld { .. }
                | Error::TooManyWaiters { .. }),
            ) => return Err(error),
            Err(error) => self.failures.push(error.to_string()),
        }
        Ok(())
    }
}

impl Patience {
    fn is_over(self) -> bool {
        match self {
            Self::None => true,
            Self::Until(deadline) => Instant::now() >= deadline,
            Self::Unlimited => false,
        }
    }
}

/// A hundredth of the lease and two milliseconds: as much as clocks of different servers may part.
fn drift_over(lease: Duration) -> Duration {
    lease / 100 + Duration::from_millis(2)
}

impl Set {
    pub(super) async fn take(
        &self,
        owner: Owner,
        patience: Patience,
        lease: Option<Duration>,
        loose: bool,
    ) -> Result<Option<Taken>> {
        if self.needed == self.members.len() {
            self.take_all(owner, patience, lease, loose).await
        } else {
            self.take_majority(owner, patience, lease, loose).await
        }
    }

    fn taken(&self, grips: Vec<Grip>, owner: Owner, drift: Duration) -> Taken {
        Taken {
            grips,
            needed: self.needed,
            drift,
            shown: self.shown.clone(),
            owner,
        }
    }

    /// One after the other in an order that all of this crate agree on; renewed until the last one is in, and only then
    /// for the lease. A JVM takes them in an order of its own. So that neither waits for the other, none is kept for long
    /// while another one is busy: that one is waited for with empty hands and taken first from then on.
    async fn take_all(
        &self,
        owner: Owner,
        patience: Patience,
        lease: Option<Duration>,
        loose: bool,
    ) -> Result<Option<Taken>> {
        let mut first = 0;
        let mut passes = 0_u32;
        loop {
            let kept = FIRST_KEPT * 2_u32.saturating_pow((passes / PASSES).min(6));
            let kept = kept.min(LONGEST_KEPT);
            let mut grips = Vec::with_capacity(self.members.len());
            let mut busy = None;
            let rest = (0..self.members.len()).filter(|at| *at != first);
            for at in std::iter::once(first).chain(rest) {
                let member = &self.members[at];
                let grip = if grips.is_empty() {
                    member.grip(owner, patience, Lease::Watched, loose).await?
                } else {
                    member.grip_soon(owner, patience, kept, loose).await?
                };
                match grip {
                    Some(grip) => grips.push(grip),
                    None => {
                        busy = Some(at);
                        break;
                    }
                }
            }
            if let Some(at) = busy {
                // Given back before the answer, so that whoever asks next finds them free.
                self.taken(grips, owner, Duration::ZERO).give_back().await;
                if patience.is_over() {
                    return Ok(None);
                }
                first = at;
                passes = passes.saturating_add(1);
                continue;
            }
            if let Some(lease) = lease {
                let set = grips.iter_mut().map(|grip| grip.set_lease(lease));
                for outcome in join_all(set).await {
                    match outcome {
                        Err(error) if !error.is_lost() => return Err(error),
                        _ => {}
                    }
                }
            }
            let now = Instant::now();
            if grips.iter().all(|grip| grip.hold().loss(now).is_none()) {
                return Ok(Some(self.taken(grips, owner, Duration::ZERO)));
            }
            // One was lost while the others were waited for.
            self.taken(grips, owner, Duration::ZERO).give_back().await;
            if patience.is_over() {
                return Ok(None);
            }
        }
    }

    /// All at once, each with little time, until more than half have granted and enough of the lease is left. Whoever misses
    /// the majority waits with empty hands for the first member that is busy, the same one for everybody, and takes the
    /// others when it has that one; for the next one where that does not come.
    async fn take_majority(
        &self,
        owner: Owner,
        patience: Patience,
        lease: Option<Duration>,
        loose: bool,
    ) -> Result<Option<Taken>> {
        let length = lease.map_or(Lease::Watched, Lease::Fixed);
        let mut pause = FIRST_PAUSE;
        let mut hopeless_since = None;
        let mut first: Option<(usize, Grip)> = None;
        let mut waits = 0;
        loop {
            let skip = first.as_ref().map(|(at, _)| *at);
            let rest = self
                .members
                .iter()
                .enumerate()
                .filter(|(at, _)| Some(*at) != skip);
            let tries = rest.map(|(at, member)| async move {
                let try_one = member.grip(owner, Patience::None, length, loose);
                (at, self.within_limit(member, length, try_one).await)
            });
            let mut round = Round::default();
            round.grips.extend(first.take().map(|(_, grip)| grip));
            for (at, outcome) in join_all(tries).await {
                round.add(at, outcome)?;
            }
            let Round {
                grips,
                busy,
                failures,
            } = round;
            let granted = grips.len();
            let taken = self.taken(grips, owner, self.drift(lease));
            if granted >= self.needed && taken.valid_until() > Instant::now() {
                return Ok(Some(taken));
            }
            // What was granted without being answered finds its own way back.
            let _ = timeout(self.server_timeout, taken.give_back()).await;
            let now = Instant::now();
            let hopeless = self.members.len() - failures.len() < self.needed;
            hopeless_since = hopeless.then(|| hopeless_since.unwrap_or(now));
            let over = match (patience, hopeless_since) {
                (Patience::None, _) => true,
                (Patience::Until(deadline), _) => now >= deadline,
                // As long as a single lock waits for its server.
                (Patience::Unlimited, Some(since)) => now >= later(since, self.outage_patience()),
                (Patience::Unlimited, None) => false,
            };
            if over {
                if hopeless {
                    return Err(Error::NoQuorum {
                        name: self.shown.clone(),
                        granted,
                        needed: self.needed,
                        failures,
                    });
                }
                return Ok(None);
            }
            let limit = match patience {
                Patience::Until(deadline) => deadline.saturating_duration_since(now),
                Patience::None | Patience::Unlimited => Duration::MAX,
            };
            let awaited = busy.get(waits % busy.len().max(1)).copied();
            match awaited.filter(|_| !hopeless) {
                Some(at) => {
                    let wait = jitter(LONGEST_PAUSE * 2).min(limit);
                    let until = Patience::Until(later(now, wait));
                    let waiting = self.members[at].grip(owner, until, length, loose);
                    first = match waiting.await {
                        Err(error @ Error::TooManyWaiters { .. }) => return Err(error),
                        outcome => outcome.ok().flatten().map(|grip| (at, grip)),
                    };
                    waits += usize::from(first.is_none());
                }
                None => sleep(jitter(pause).min(limit)).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What one member says within the time that one server may cost.
    async fn within_limit(
        &self,
        member: &Inner,
        lease: Lease,
        grip: impl Future<Output = Result<Option<Grip>>>,
    ) -> Result<Option<Grip>> {
        // Far below the lease, or what is granted first would be over when the last one answers.
        let limit = self
            .server_timeout
            .min(lease.length(member.engine.settings.watchdog_timeout) / 4);
        timeout(limit, grip).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                name: member.name.clone(),
                reason: format!("no answer within {limit:?}"),
                indeterminate: false,
            })
        })
    }

    /// What the clocks of the members may part by.
    fn drift(&self, lease: Option<Duration>) -> Duration {
        let lease = lease.unwrap_or_else(|| {
            let timeouts = self
                .members
                .iter()
                .map(|member| member.engine.settings.watchdog_timeout);
            timeouts.min().unwrap_or_default()
        });
        drift_over(lease)
    }

    fn outage_patience(&self) -> Duration {
        let patience = self
            .members
            .iter()
            .map(|member| member.engine.settings.outage_patience);
        patience.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_part_by_a_hundredth_and_two_milliseconds() {
        assert_eq!(
            drift_over(Duration::from_secs(10)),
            Duration::from_millis(102)
        );
        assert_eq!(drift_over(Duration::ZERO), Duration::from_millis(2));
    }
}
