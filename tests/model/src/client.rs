//! One client: its books, its connection, and a caller that locks and unlocks.

use crate::{
    Config,
    server::{Answer, Script},
};

/// Where the caller stands (`acquire.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Want {
    /// It wants nothing.
    #[default]
    Nothing,
    /// It is about to try.
    Try,
    /// Its request is on the way.
    Asking,
    /// The lock is busy, and nobody listens yet.
    Listen,
    /// It sleeps until a message, the safety poll, or the time it was told.
    Parked {
        /// When the time it was told is over.
        until: u8,
    },
}

/// A request in a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// What it asks for.
    pub script: Script,
    /// Whether anybody still waits for its answer.
    pub awaited: bool,
}

/// The one script in flight that changes the count: whoever has it has the slot's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// What was asked.
    pub script: Script,
    /// When; only for an acquire.
    pub sent: u8,
    /// Whether the caller has left: what is granted goes back.
    pub left: bool,
    /// The answer, once it is on its way back.
    pub answer: Option<Answer>,
}

/// A renewal in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// When it was sent.
    pub sent: u8,
    /// Whether the slot still has the generation it was sent for.
    pub current: bool,
    /// The answer, once it is on its way back.
    pub answer: Option<Answer>,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Client {
    /// Whether the process is gone.
    pub crashed: bool,
    /// Whether its connection is broken.
    pub down: bool,
    /// Requests in its connection that the server has not executed, in their order.
    pub queue: Vec<Request>,
    /// Requests in connections from before. The fence leaves none.
    pub strays: Vec<Script>,
    /// What it has sent under the gate.
    pub call: Option<Call>,
    /// What its watchdog has sent.
    pub renewal: Option<Renewal>,
    /// Holds in the books.
    pub holds: u8,
    /// Until when they last by the local clock.
    pub until: u8,
    /// The count on the server as far as known.
    pub wire: u8,
    /// Whether the count may be another.
    pub uncertain: bool,
    /// Whether a repair of the server's count waits for the gate.
    pub settling: bool,
    /// Whether the watchdog is to send a renewal.
    pub due: bool,
    /// Unlocked, but still in the books: only where that rule is reverted.
    pub leaving: bool,
    /// Where the caller stands.
    pub want: Want,
    /// How often it will lock yet.
    pub rounds: u8,
    /// Whether the server sends it messages.
    pub listening: bool,
    /// A message is on its way.
    pub mail: bool,
    /// Something spoke for trying again since before the last try.
    pub woken: bool,
    /// The safety poll is to look.
    pub look: bool,
    /// Ticks asleep at a free lock with nothing on its way.
    pub overslept: u8,
}

impl Client {
    /// Whether it takes itself for the holder.
    pub fn believes(&self, now: u8) -> bool {
        !self.crashed && self.holds > 0 && now < self.until
    }

    /// Whether it runs, and nothing is left to do before time passes or its caller decides.
    pub fn settled(&self, now: u8) -> bool {
        let asleep = match self.want {
            Want::Nothing => true,
            Want::Parked { until } => !self.woken && !self.mail && !self.look && now < until,
            Want::Try | Want::Asking | Want::Listen => false,
        };
        asleep
            && !self.crashed
            && !self.down
            && self.queue.is_empty()
            && self.strays.is_empty()
            && self.call.is_none()
            && self.renewal.is_none()
            && !self.settling
            && !self.due
            && (self.holds == 0 || now < self.until)
    }

    fn send(&mut self, script: Script) {
        self.queue.push(Request {
            script,
            awaited: true,
        });
    }

    /// Sends an acquire (`try_once`).
    pub fn try_once(&mut self, now: u8, config: &Config) {
        if self.holds > 0 && now >= self.until {
            self.expire(config);
        }
        if self.holds == 0
            && let Some(renewal) = &mut self.renewal
        {
            // The slot's generation changes with its first hold.
            renewal.current = false;
        }
        let script = Script::Acquire {
            holds: self.holds + 1,
        };
        self.call = Some(Call {
            script,
            sent: now,
            left: false,
            answer: None,
        });
        self.send(script);
        self.want = Want::Asking;
        self.woken = false;
    }

    /// Takes a hold out of the books, to tell the server after that.
    pub fn unlock(&mut self, config: &Config) {
        if config.rules.unregister_first {
            self.holds -= 1;
        } else {
            self.leaving = true;
        }
        self.settling = true;
    }

    /// Brings the server's count in line, if it may differ (`settle`).
    pub fn settle(&mut self) {
        self.settling = false;
        if !self.uncertain && self.wire == self.holds && !self.leaving {
            return;
        }
        let script = Script::Release {
            rest: self.holds.saturating_sub(u8::from(self.leaving)),
        };
        self.call = Some(Call {
            script,
            sent: 0,
            left: false,
            answer: None,
        });
        self.send(script);
    }

    /// Sends a renewal, or a look where the lease is fixed.
    pub fn renew(&mut self, now: u8, watched: bool) {
        self.due = false;
        self.renewal = Some(Renewal {
            sent: now,
            current: true,
            answer: None,
        });
        self.send(Script::Renew { raise: watched });
    }

    /// Loses what is over by the local clock. What was to be renewed may still be on the server.
    pub fn expire(&mut self, config: &Config) {
        self.holds = 0;
        if config.watched {
            self.uncertain = true;
            self.repair(config);
        }
    }

    /// Has an open outcome found out.
    pub fn repair(&mut self, config: &Config) {
        if self.uncertain && config.rules.reconciler {
            self.settling = true;
        }
    }

    /// The caller goes away.
    pub fn leave(&mut self, config: &Config) {
        if self.want == Want::Asking
            && let Some(call) = &mut self.call
        {
            call.left = true;
        }
        self.rest();
        self.repair(config);
    }

    /// The caller waits for nothing any more.
    pub(crate) fn rest(&mut self) {
        self.want = Want::Nothing;
        self.listening = false;
        self.mail = false;
        self.woken = false;
        self.look = false;
    }

    /// Stops waiting for the answer under the gate: its outcome is unknown.
    pub fn give_up_call(&mut self, config: &Config) {
        let Some(call) = self.call.take() else {
            return;
        };
        self.orphan(|script| !matches!(script, Script::Renew { .. }));
        self.uncertain = true;
        match call.script {
            Script::Acquire { .. } if !call.left => self.want = Want::Try,
            _ => self.repair(config),
        }
    }

    /// Stops waiting for a renewal, and has it asked again.
    pub fn give_up_renewal(&mut self) {
        if self.renewal.take().is_some() {
            self.orphan(|script| matches!(script, Script::Renew { .. }));
            self.due = true;
        }
    }

    fn orphan(&mut self, which: impl Fn(Script) -> bool) {
        for request in &mut self.queue {
            if which(request.script) {
                request.awaited = false;
            }
        }
    }

    /// The connection breaks.
    pub fn cut(&mut self, config: &Config) {
        self.give_up_call(config);
        self.give_up_renewal();
        self.down = true;
    }

    /// Opens the next connection, behind the fence.
    pub fn reconnect(&mut self, config: &Config) {
        let left = std::mem::take(&mut self.queue);
        if !config.rules.fence {
            self.strays
                .extend(left.into_iter().map(|request| request.script));
        }
        self.down = false;
        self.due = true;
        self.look = matches!(self.want, Want::Parked { .. });
    }

    /// The process is gone; what it has sent may still be executed.
    pub fn crash(&mut self) {
        self.orphan(|_| true);
        *self = Self {
            crashed: true,
            down: true,
            queue: std::mem::take(&mut self.queue),
            strays: std::mem::take(&mut self.strays),
            ..Self::default()
        };
    }

    /// Forgets what makes no difference any more, so that equal states are equal.
    pub fn tidy(&mut self, now: u8) {
        if self.holds == 0 {
            self.due = false;
        }
        if self.holds == 0 || now >= self.until {
            self.until = 0;
        }
        if self.uncertain {
            self.wire = 0;
        }
        if let Want::Parked { until } = &mut self.want
            && (self.woken || now >= *until)
        {
            *until = 0;
            self.look = false;
        }
        if let Some(call) = &mut self.call
            && matches!(call.answer, Some(Answer::Busy { .. } | Answer::Vanished))
        {
            call.sent = 0;
        }
        if let Some(renewal) = &mut self.renewal
            && renewal.answer == Some(Answer::Gone)
        {
            renewal.sent = 0;
        }
    }
}
