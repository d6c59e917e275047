//! What is always so, and what is possible at all.

use stateright::{Model, Property};

use crate::{
    Lock, State,
    books::Harm,
    client::{Call, Client, Want},
    server::{Answer, Script},
};

/// Two never take themselves for the holder at once.
pub const EXCLUSION: &str = "exclusion";
/// Whoever takes itself for the holder is the holder on the server.
pub const BACKED: &str = "a believed hold is on the server";
/// A renewal makes no key, and touches nobody else's.
pub const NO_REVIVAL: &str = "a renewal creates nothing";
/// No answer takes away a hold that the server has.
pub const NOT_CUT: &str = "no hold is cut short";
/// What is over by the local clock stays so.
pub const FOR_EVER: &str = "lost is for ever";
/// Once a client has settled, the server has what is in its books.
pub const EXACT: &str = "counts are exact, no orphans";
/// Nobody sleeps at a free lock for longer than the safety poll takes.
pub const AWAKE: &str = "no wake-up is lost for long";
/// Every execution ends with everybody served and nothing left.
pub const SERVED: &str = "everybody is served in the end";

fn some(state: &State, test: impl Fn(&Client) -> bool) -> bool {
    state.clients.iter().any(test)
}

fn exclusion(_: &Lock, state: &State) -> bool {
    !state
        .clients
        .iter()
        .all(|client| client.believes(state.now))
}

fn backed(_: &Lock, state: &State) -> bool {
    state.clients.iter().enumerate().all(|(me, client)| {
        let has = state.key.filter(|key| key.owner == me);
        !client.believes(state.now) || has.is_some_and(|key| key.count >= client.holds)
    })
}

fn exact(lock: &Lock, state: &State) -> bool {
    state.clients.iter().enumerate().all(|(me, client)| {
        if !client.settled(state.now) {
            return true;
        }
        let has = state.key.filter(|key| key.owner == me);
        let count = has.map_or(0, |key| key.count);
        // What a fixed lease leaves behind ends by itself.
        let ends = !lock.config.watched && client.holds == 0;
        count == client.holds || ends
    })
}

fn awake(_: &Lock, state: &State) -> bool {
    state.clients.iter().all(|client| client.overslept <= 1)
}

/// Whether there is nothing left to do for anybody.
fn ended(lock: &Lock, state: &State) -> bool {
    let done = |client: &Client| {
        client.crashed
            || (client.settled(state.now) && client.want == Want::Nothing && client.holds == 0)
    };
    !lock.open(state) && state.key.is_none() && state.clients.iter().all(done)
}

fn served(lock: &Lock, state: &State) -> bool {
    if lock.open(state) || ended(lock, state) {
        return true;
    }
    let mut actions = Vec::new();
    lock.actions(state, &mut actions);
    !actions.is_empty()
}

/// Whether a client that has waited is about to hear of its grant.
fn follows(client: &Client) -> bool {
    let granted = |call: Call| matches!(call.answer, Some(Answer::Granted { .. }));
    client.want == Want::Asking && client.listening && client.call.is_some_and(granted)
}

fn hand_over(_: &Lock, state: &State) -> bool {
    some(state, follows) && !some(state, |client| client.crashed)
}

fn crash_survived(_: &Lock, state: &State) -> bool {
    some(state, follows) && some(state, |client| client.crashed)
}

fn woken(_: &Lock, state: &State) -> bool {
    state.key.is_none()
        && some(state, |client| {
            matches!(client.want, Want::Parked { .. }) && client.woken
        })
}

fn finds_itself(_: &Lock, state: &State) -> bool {
    some(state, |client| {
        client.want == Want::Asking
            && client.uncertain
            && client
                .call
                .is_some_and(|call| matches!(call.answer, Some(Answer::Granted { .. })))
    })
}

fn given_back(_: &Lock, state: &State) -> bool {
    some(state, |client| {
        client.call.is_some_and(|call| {
            client.uncertain
                && call.script == Script::Release { rest: 0 }
                && call.answer == Some(Answer::Freed)
        })
    })
}

fn old_answer(_: &Lock, state: &State) -> bool {
    some(state, |client| {
        client.believes(state.now)
            && client
                .renewal
                .is_some_and(|renewal| !renewal.current && renewal.answer == Some(Answer::Gone))
    })
}

fn told_by_clock(_: &Lock, state: &State) -> bool {
    state.key.is_none()
        && some(state, |client| {
            !client.crashed && client.holds > 0 && state.now >= client.until
        })
}

fn twice(_: &Lock, state: &State) -> bool {
    some(state, |client| {
        client.holds > 1 && client.believes(state.now)
    })
}

/// Everything that is checked.
pub(crate) fn all(config: &crate::Config) -> Vec<Property<Lock>> {
    let mut all = vec![
        Property::always(EXCLUSION, exclusion),
        Property::always(BACKED, backed),
        Property::always(NO_REVIVAL, |_: &Lock, state: &State| !state.revived),
        Property::always(NOT_CUT, |_: &Lock, state: &State| state.harm != Harm::Cut),
        Property::always(EXACT, exact),
        Property::always(AWAKE, awake),
        Property::always(SERVED, served),
    ];
    if config.for_ever {
        all.push(Property::always(FOR_EVER, |_: &Lock, state: &State| {
            state.harm != Harm::Regained
        }));
    }
    if config.examples {
        all.extend([
            Property::sometimes("a waiter is woken by a message", woken),
            Property::sometimes("a waiter follows a holder", hand_over),
            Property::sometimes("a crashed holder is followed by its waiter", crash_survived),
            Property::sometimes("an unknown acquire finds itself granted", finds_itself),
            Property::sometimes("an unknown outcome is given back", given_back),
            Property::sometimes("an answer comes for an old generation", old_answer),
            Property::sometimes("a holder is told by its own clock", told_by_clock),
            Property::sometimes("one owner holds twice", twice),
            Property::sometimes("everything has come to its end", ended),
        ]);
    }
    all
}
