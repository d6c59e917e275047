//! Counters that are always on.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a client has done since it was made. All figures only ever grow.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Acquire scripts sent.
    attempts,
    /// Holds granted, re-entries included.
    grants,
    /// Acquires that found the lock busy and had to wait.
    waits,
    /// Acquires that ended without the lock because their time was up.
    waits_abandoned,
    /// Holds given back.
    releases,
    /// Of the grants, those by a holder of this process that gave its hold back: one script for both.
    hand_overs,
    /// Waiters woken by a message.
    wakeups_by_message,
    /// Waiters woken because the time to live they had been told was over.
    wakeups_by_expiry,
    /// Waiters woken because the safety poll, which a reconnect sets off as well, found the lock free.
    wakeups_by_poll,
    /// Waiters woken from inside this process: by a release while no message could come, by a hold lost here, by a
    /// subscription that came after their try, by closing.
    wakeups_by_release,
    /// Locks renewed, one for each lock and round.
    renewals,
    /// Renewal calls that failed or went unanswered.
    renewal_failures,
    /// Holds lost.
    losses,
    /// Requests whose outcome was unknown and had to be found out.
    unknown_outcomes,
    /// Grants given back because their caller had gone away.
    orphans_released,
    /// Safety-poll calls sent.
    polls,
    /// Times a connection for requests became usable.
    connects,
    /// Messages whose payload was not understood.
    odd_messages,
}
