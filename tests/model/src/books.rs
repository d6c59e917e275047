//! What a client books when an answer comes (`slot.rs`).

use crate::{
    Config,
    client::{Call, Client, Want},
    server::{Answer, Script},
};

/// What an answer did to a hold that it should not have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Harm {
    /// Nothing.
    None,
    /// It took one away that is on the server and in its time.
    Cut,
    /// It brought one back that was over by the local clock.
    Regained,
}

impl Client {
    /// Books the answer to an acquire or a release. `theirs` says that the server has something of this client's now.
    /// Says what that did to a hold.
    pub fn answered(&mut self, now: u8, theirs: bool, config: &Config) -> Harm {
        let Some(call) = self.call.take() else {
            return Harm::None;
        };
        match (call.script, call.answer) {
            (_, None) => self.call = Some(call),
            (_, Some(Answer::Granted { holds })) => {
                return self.granted(call, holds, now, config);
            }
            (_, Some(Answer::Busy { left })) => return self.refused(call, now + left, now, theirs),
            (_, Some(Answer::Vanished)) => return self.refused(call, now, now, theirs),
            (Script::Release { rest }, Some(Answer::Freed | Answer::Kept)) => {
                self.wire = rest;
                self.uncertain = false;
                if self.leaving {
                    self.leaving = false;
                    self.holds = rest;
                }
            }
            (_, Some(_)) => {
                self.wire = 0;
                self.uncertain = false;
                self.leaving = false;
                return self.lose(now, theirs);
            }
        }
        Harm::None
    }

    fn granted(&mut self, call: Call, holds: u8, now: u8, config: &Config) -> Harm {
        self.wire = holds;
        self.uncertain = false;
        let from = if config.rules.deadline_from_send {
            call.sent
        } else {
            now
        };
        let until = (from + config.ttl).saturating_sub(config.margin);
        if config.rules.lost_is_for_ever && self.holds > 0 && now >= self.until {
            self.expire(config);
        }
        let regained = self.holds > 0 && now >= self.until && now < until;
        self.until = if self.holds > 0 && config.watched {
            self.until.max(until)
        } else {
            until
        };
        self.holds += 1;
        if now >= self.until {
            // Too late: given back, and tried again if anybody still waits.
            self.expire(config);
            self.settling = true;
            if !call.left {
                self.want = Want::Try;
            }
        } else if call.left {
            self.holds -= 1;
            self.settling = true;
        } else {
            self.rest();
        }
        if regained { Harm::Regained } else { Harm::None }
    }

    fn refused(&mut self, call: Call, until: u8, now: u8, theirs: bool) -> Harm {
        self.wire = 0;
        self.uncertain = false;
        if !call.left {
            self.want = if self.listening {
                Want::Parked { until }
            } else {
                Want::Listen
            };
        }
        self.lose(now, theirs)
    }

    fn lose(&mut self, now: u8, theirs: bool) -> Harm {
        let cut = self.believes(now) && theirs;
        self.holds = 0;
        if cut { Harm::Cut } else { Harm::None }
    }

    /// Books the answer to a renewal. Says what that did to a hold.
    pub fn renewed(&mut self, now: u8, theirs: bool, config: &Config) -> Harm {
        let Some(renewal) = self.renewal.take() else {
            return Harm::None;
        };
        if !renewal.current && config.rules.generations {
            return Harm::None;
        }
        if renewal.answer == Some(Answer::Held) {
            let from = if config.rules.deadline_from_send {
                renewal.sent
            } else {
                now
            };
            let until = (from + config.ttl).saturating_sub(config.margin);
            let over = now >= self.until;
            let back = over && now < until;
            if config.watched && self.holds > 0 && !(over && config.rules.lost_is_for_ever) {
                self.until = self.until.max(until);
                if back {
                    return Harm::Regained;
                }
            }
            return Harm::None;
        }
        let pending = self
            .call
            .is_some_and(|call| matches!(call.script, Script::Acquire { .. }));
        if !pending {
            self.wire = 0;
        }
        self.lose(now, theirs)
    }
}
