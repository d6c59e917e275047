//! The server: one lock, a hash with one field at most, and the three scripts that touch it.

use crate::{Config, Rules};

/// The lock's key: who has it, how often, and for how many ticks yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The only field.
    pub owner: usize,
    /// Its value.
    pub count: u8,
    /// Ticks to live.
    pub left: u8,
}

/// What a client asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    /// `reentrant/acquire.lua`: sets the count.
    Acquire {
        /// Holds once granted.
        holds: u8,
    },
    /// `reentrant/release.lua`: sets the count.
    Release {
        /// Holds that remain.
        rest: u8,
    },
    /// `renew.lua`: raises the time to live, or only looks.
    Renew {
        /// Whether it raises anything.
        raise: bool,
    },
}

/// What the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The asker has this many holds.
    Granted {
        /// Its count.
        holds: u8,
    },
    /// Somebody else has the lock for so many ticks.
    Busy {
        /// Ticks to live.
        left: u8,
    },
    /// Nothing granted: the holds that were counted on are gone.
    Vanished,
    /// Released, and nobody has the lock.
    Freed,
    /// Released, and some holds remain.
    Kept,
    /// There was nothing to release.
    NotHeld,
    /// There was something to renew.
    Held,
    /// There was nothing to renew.
    Gone,
}

/// Executes one script, at once and as a whole.
pub fn run(key: &mut Option<Key>, owner: usize, script: Script, config: &Config) -> Answer {
    let ttl = config.ttl;
    let own = key.as_mut().filter(|key| key.owner == owner);
    match (script, own) {
        (Script::Acquire { holds }, Some(key)) => {
            key.count = holds;
            key.left = key.left.max(ttl);
            Answer::Granted { holds }
        }
        (Script::Acquire { holds }, None) => {
            if let Some(key) = key {
                return Answer::Busy { left: key.left };
            }
            if holds != 1 {
                return Answer::Vanished;
            }
            *key = Some(Key {
                owner,
                count: 1,
                left: ttl,
            });
            Answer::Granted { holds: 1 }
        }
        (Script::Release { .. }, None) => Answer::NotHeld,
        (Script::Release { rest: 0 }, Some(_)) => {
            *key = None;
            Answer::Freed
        }
        (Script::Release { rest }, Some(key)) => {
            key.count = rest;
            key.left = ttl;
            Answer::Kept
        }
        (Script::Renew { raise }, Some(key)) => {
            if raise {
                key.left = key.left.max(ttl);
            }
            Answer::Held
        }
        (Script::Renew { raise }, None) => {
            let Rules {
                renewal_never_creates,
                ..
            } = config.rules;
            if key.is_some() || renewal_never_creates || !raise {
                return Answer::Gone;
            }
            *key = Some(Key {
                owner,
                count: 1,
                left: ttl,
            });
            Answer::Held
        }
    }
}

/// Lets a tick pass by the server's clock.
pub fn age(key: &mut Option<Key>) {
    *key = key.and_then(|key| {
        let left = key.left.saturating_sub(1);
        (left > 0).then_some(Key { left, ..key })
    });
}
