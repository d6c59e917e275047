//! What goes wrong, and how often.

use super::dice::Dice;

/// Something that happens to a client or the server at a set time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    CutCommands {
        pause: u64,
    },
    CutMessages {
        pause: u64,
    },
    CutBoth {
        pause: u64,
    },
    PauseServer {
        ms: u64,
    },
    Loading {
        ms: u64,
    },
    /// The server comes back without data, and without scripts.
    RestartEmpty {
        pause: u64,
    },
    Flush,
    ForgetScripts,
    /// The client is not heard of for a while, and hears nothing.
    Freeze {
        ms: u64,
    },
    /// The client is gone without a word; another takes its place.
    Crash,
    Close,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    /// Milliseconds on its way.
    pub(super) slow: u64,
    pub(super) request_lost: bool,
    pub(super) reply_lost: bool,
}

/// How rough a run is. Every fault has a number, in the order of time, and those past `most` do not happen: so a run
/// with fewer is the same up to the first that is left out.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) dice: Dice,
    lost_requests: u64,
    lost_replies: u64,
    slow_requests: u64,
    odd_messages: u64,
    /// Faults so far.
    pub(super) faults: u64,
    most: u64,
    calm: bool,
}

impl Default for Weather {
    fn default() -> Self {
        Self::new(0, u64::MAX)
    }
}

impl Weather {
    pub(super) fn new(seed: u64, most: u64) -> Self {
        let mut dice = Dice::new(seed, 2);
        let mut rate = |rates: &[u64]| *dice.one_of(rates);
        Self {
            lost_requests: rate(&[0, 0, 5, 15, 40]),
            lost_replies: rate(&[0, 0, 5, 15, 40]),
            slow_requests: rate(&[0, 0, 10, 40]),
            odd_messages: rate(&[0, 0, 50, 200]),
            faults: 0,
            most,
            calm: false,
            dice,
        }
    }

    /// No fault from now on.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
    }

    /// Whether the next fault happens.
    pub(super) fn strikes(&mut self) -> bool {
        if self.calm || self.faults >= self.most {
            return false;
        }
        self.faults += 1;
        true
    }

    /// What becomes of the next request. `late` where it is never lost but only late: the engine relies on the connection
    /// for that which it does not repeat.
    pub(super) fn fate(&mut self, late: bool) -> Fate {
        let usual = self.dice.between(0, 4);
        // Always the same number of draws, so that a fault left out changes nothing else.
        let (drawn, slow) = (self.dice.below(1_000), self.dice.between(10, 2_000));
        let (requests, replies) = (self.lost_requests, self.lost_requests + self.lost_replies);
        let mut fate = Fate {
            slow: usual,
            ..Fate::default()
        };
        if drawn < replies + self.slow_requests && self.strikes() {
            if drawn < requests && !late {
                fate.request_lost = true;
            } else if (requests..replies).contains(&drawn) {
                fate.reply_lost = true;
            } else {
                fate.slow = slow;
            }
        }
        fate
    }

    /// When the copies of one message arrive, and whether the client is told that some may be missing.
    pub(super) fn copies(&mut self) -> (Vec<u64>, bool) {
        let (usual, late) = (self.dice.between(0, 4), self.dice.between(5, 1_000));
        let (drawn, kind) = (self.dice.below(1_000), self.dice.below(4));
        if drawn >= self.odd_messages || !self.strikes() {
            return (vec![usual], false);
        }
        match kind {
            0 => (Vec::new(), false),
            1 => (Vec::new(), true),
            2 => (vec![usual, late], false),
            _ => (vec![late], false),
        }
    }
}

/// When what happens to whom, in order. `keeps_data` where the server is not to forget
/// anything, `keeps_clients` where none is to crash.
pub(super) fn plan(
    seed: u64,
    until: u64,
    keeps_data: bool,
    keeps_clients: bool,
) -> Vec<(u64, u64, Blow)> {
    let mut dice = Dice::new(seed, 3);
    let many = *dice.one_of(&[0, 2, 6, 12, 20]);
    let mut plan: Vec<_> = (0..many)
        .map(|_| {
            let (at, whom) = (dice.below(until), dice.next());
            let (brief, long) = (dice.between(0, 400), dice.between(100, 4_000));
            let pause = if dice.chance(500) { brief } else { long };
            let blow = match dice.below(20) {
                0..=2 => Blow::CutCommands { pause },
                3..=5 => Blow::CutMessages { pause },
                6..=8 => Blow::CutBoth { pause },
                9..=11 => Blow::PauseServer { ms: pause },
                12 => Blow::Loading { ms: pause },
                13 if !keeps_data => Blow::RestartEmpty { pause },
                14 if !keeps_data => Blow::Flush,
                15 => Blow::ForgetScripts,
                16 | 17 => Blow::Freeze { ms: long },
                18 if !keeps_clients => Blow::Crash,
                19 => Blow::Close,
                _ => Blow::CutCommands { pause: 0 },
            };
            (at, whom, blow)
        })
        .collect();
    plan.sort_by_key(|(at, whom, _)| (*at, *whom));
    plan
}
