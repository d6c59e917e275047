//! A model of one lock, its server and two clients, small enough to look at every order in which things can happen.
//!
//! It has the rules of `src/engine/`, not its code: each step here is one that the engine, the network, the server or a
//! caller can take on its own. `docs/design.md` says what is assumed, and `tests/checks.rs` what is found when a rule is
//! taken away.

use stateright::{Model, Property};

use books::Harm;
use client::{Client, Want};
use server::{Key, Script};

pub use config::{Config, Rules};
pub use steps::{Action, Step};

pub mod books;
pub mod client;
mod config;
pub mod properties;
pub mod server;
mod steps;

/// Everything there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The time.
    pub now: u8,
    /// The lock on the server.
    pub key: Option<Key>,
    /// The clients.
    pub clients: [Client; 2],
    /// Faults to come.
    pub faults: u8,
    /// Ticks by which the server's clock may yet go ahead.
    pub slips: u8,
    /// What the last step did to a hold.
    pub harm: Harm,
    /// Whether the last step was a renewal that made a key.
    pub revived: bool,
}

/// The model.
#[derive(Debug, Clone)]
pub struct Lock {
    /// Its bounds and rules.
    pub config: Config,
}

impl Lock {
    /// Whether faults may still happen and callers lock.
    pub fn open(&self, state: &State) -> bool {
        state.now < self.config.ticks
    }

    /// The last tick: late enough for a time to live to end, and for a poll, twice.
    fn horizon(&self) -> u8 {
        self.config.ticks + 2 * self.config.ttl + 2
    }

    fn execute(&self, state: &mut State, me: usize, script: Script, awaited: bool) {
        let before = state.key;
        let answer = server::run(&mut state.key, me, script, &self.config);
        if matches!(script, Script::Renew { .. })
            && before.map(|key| (key.owner, key.count))
                != state.key.map(|key| (key.owner, key.count))
        {
            state.revived = true;
        }
        for client in &mut state.clients {
            client.mail |= client.listening && answer == server::Answer::Freed;
            if state.key.is_some() {
                client.overslept = 0;
            }
        }
        let client = &mut state.clients[me];
        if !awaited {
            return;
        }
        if matches!(script, Script::Renew { .. }) {
            if let Some(renewal) = &mut client.renewal {
                renewal.answer = Some(answer);
            }
        } else if let Some(call) = &mut client.call {
            call.answer = Some(answer);
        }
    }

    fn step(&self, state: &mut State, me: usize, step: Step) {
        let config = &self.config;
        let now = state.now;
        let free = state.key.is_none();
        let theirs = state.key.is_some_and(|key| key.owner == me);
        let client = &mut state.clients[me];
        match step {
            Step::Execute => {
                let request = client.queue.remove(0);
                self.execute(state, me, request.script, request.awaited);
            }
            Step::ExecuteStray => {
                let script = client.strays.remove(0);
                self.execute(state, me, script, false);
            }
            Step::Lock => {
                client.rounds -= 1;
                client.want = Want::Try;
            }
            Step::Unlock => client.unlock(config),
            Step::Try => client.try_once(now, config),
            Step::Listen => {
                client.listening = true;
                client.want = Want::Try;
            }
            Step::Hear => {
                client.mail = false;
                client.woken = true;
            }
            Step::RepeatMessage => client.woken = true,
            Step::LoseMessage => client.mail = false,
            Step::Wake => {
                client.look = false;
                client.want = Want::Try;
            }
            Step::Poll => {
                client.look = false;
                client.woken |= free;
            }
            Step::Settle => client.settle(),
            Step::Renew => client.renew(now, config.watched),
            Step::Expire => client.expire(config),
            Step::Answered => state.harm = client.answered(now, theirs, config),
            Step::Renewed => state.harm = client.renewed(now, theirs, config),
            Step::Reconnect => client.reconnect(config),
            Step::Leave => client.leave(config),
            Step::Timeout => client.give_up_call(config),
            Step::RenewalTimeout => client.give_up_renewal(),
            Step::Cut => client.cut(config),
            Step::Crash => client.crash(),
        }
        state.clients[me].tidy(now);
    }

    fn tick(&self, state: &mut State) {
        let free = state.key.is_none();
        for client in &mut state.clients {
            let asleep = matches!(client.want, Want::Parked { .. });
            client.overslept = if asleep && free && client.settled(state.now) {
                client.overslept + 1
            } else {
                0
            };
            client.look = asleep && self.config.rules.safety_poll;
            client.due = client.holds > 0;
        }
        server::age(&mut state.key);
        state.now += 1;
        for client in &mut state.clients {
            client.tidy(state.now);
        }
        if !self.open(state) {
            // Neither is looked at any more.
            (state.faults, state.slips) = (0, 0);
            for client in &mut state.clients {
                client.rounds = 0;
            }
        }
    }
}

impl Model for Lock {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let client = |rounds| Client {
            rounds,
            ..Client::default()
        };
        vec![State {
            now: 0,
            key: None,
            clients: self.config.rounds.map(client),
            faults: self.config.faults,
            slips: self.config.slips,
            harm: Harm::None,
            revived: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let open = self.open(state);
        for me in 0..2 {
            self.steps(state, me, |step| actions.push(Action::Step(me, step)));
            if open && state.faults > 0 {
                self.faults(state, me, |step| actions.push(Action::Step(me, step)));
            }
        }
        if open && state.slips > 0 && state.key.is_some() {
            actions.push(Action::Slip);
        }
        // At the end time passes only where nothing else can happen, and only for something.
        let idle = |client: &Client| client.want == Want::Nothing;
        let nothing_left = state.key.is_none() && state.clients.iter().all(idle);
        let at_rest = actions.is_empty() && state.now < self.horizon() && !nothing_left;
        if open || at_rest {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        (state.harm, state.revived) = (Harm::None, false);
        match action {
            Action::Tick => self.tick(&mut state),
            Action::Slip => {
                state.slips -= 1;
                server::age(&mut state.key);
            }
            Action::Step(me, step) => {
                state.faults -= u8::from(step.is_fault());
                self.step(&mut state, me, step);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.config)
    }
}
