//! What can happen, and when.

use std::fmt;

use crate::{Lock, State, client::Want, config::Config};

/// What can happen to a client. That its process is paused needs no step: it takes none for as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The caller locks.
    Lock,
    /// The caller unlocks.
    Unlock,
    /// An acquire is sent.
    Try,
    /// The subscription is there.
    Listen,
    /// A message comes.
    Hear,
    /// The waiter wakes.
    Wake,
    /// The safety poll looks.
    Poll,
    /// The server's count is brought in line, if it may differ.
    Settle,
    /// A renewal is sent.
    Renew,
    /// Holds that are over by the local clock are lost.
    Expire,
    /// The server executes the client's next request.
    Execute,
    /// The server executes a request from a connection before.
    ExecuteStray,
    /// The answer to an acquire or a release is booked.
    Answered,
    /// The answer to a renewal is booked.
    Renewed,
    /// Another connection is opened.
    Reconnect,
    /// Fault: the caller goes away while it waits.
    Leave,
    /// Fault: an acquire or a release is waited for no longer; its answer comes too late.
    Timeout,
    /// Fault: the same for a renewal.
    RenewalTimeout,
    /// Fault: the connection breaks, and what was on its way is in doubt.
    Cut,
    /// Fault: a message is lost.
    LoseMessage,
    /// Fault: a message comes twice.
    RepeatMessage,
    /// Fault: the process is gone.
    Crash,
}

impl Step {
    pub(crate) fn is_fault(self) -> bool {
        use Step::{Crash, Cut, Leave, LoseMessage, RenewalTimeout, RepeatMessage, Timeout};
        matches!(
            self,
            Leave | Timeout | RenewalTimeout | Cut | LoseMessage | RepeatMessage | Crash
        )
    }
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Time passes, for everybody.
    Tick,
    /// Time passes for the server only.
    Slip,
    /// Something happens to a client.
    Step(usize, Step),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => f.write_str("tick"),
            Self::Slip => f.write_str("slip"),
            Self::Step(me, step) => write!(f, "{}:{step:?}", ["A", "B"][*me]),
        }
    }
}

impl Lock {
    /// What can happen to a client without a fault.
    pub(crate) fn steps(&self, state: &State, me: usize, mut add: impl FnMut(Step)) {
        let Config { rules, .. } = self.config;
        let client = &state.clients[me];
        let now = state.now;
        if !client.queue.is_empty() {
            add(Step::Execute);
        }
        if !client.strays.is_empty() {
            add(Step::ExecuteStray);
        }
        if client.crashed {
            return;
        }
        if client.down {
            add(Step::Reconnect);
        }
        if client.call.is_some_and(|call| call.answer.is_some()) {
            add(Step::Answered);
        }
        if client
            .renewal
            .is_some_and(|renewal| renewal.answer.is_some())
        {
            add(Step::Renewed);
        }
        if client.mail {
            add(Step::Hear);
        }
        let free_to_send = client.call.is_none() && !client.down;
        if client.settling && free_to_send {
            add(Step::Settle);
        }
        match client.want {
            Want::Try if free_to_send => add(Step::Try),
            Want::Listen => add(Step::Listen),
            Want::Parked { until } => {
                if client.woken || now >= until {
                    add(Step::Wake);
                } else if client.look && rules.safety_poll && !client.down {
                    add(Step::Poll);
                }
            }
            Want::Nothing
                if self.open(state)
                    && client.rounds > 0
                    && client.holds < self.config.most_holds =>
            {
                add(Step::Lock);
            }
            _ => {}
        }
        if client.holds > 0 && now >= client.until {
            add(Step::Expire);
        } else if client.holds > 0 {
            if client.due && client.renewal.is_none() && !client.down {
                add(Step::Renew);
            }
            if !client.leaving {
                add(Step::Unlock);
            }
        }
    }

    /// Faults that can happen to a client.
    pub(crate) fn faults(&self, state: &State, me: usize, mut add: impl FnMut(Step)) {
        let client = &state.clients[me];
        if client.crashed {
            return;
        }
        // A fault that nobody could notice is none: a connection breaks with something in it, and so on.
        if client.call.is_some() {
            add(Step::Timeout);
        }
        if client.renewal.is_some() {
            add(Step::RenewalTimeout);
        }
        if client.want != Want::Nothing {
            add(Step::Leave);
        }
        let busy = client.call.is_some() || client.renewal.is_some() || !client.queue.is_empty();
        if !client.down && busy {
            add(Step::Cut);
        }
        if client.mail {
            add(Step::LoseMessage);
            add(Step::RepeatMessage);
        }
        add(Step::Crash);
    }
}
