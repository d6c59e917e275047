//! Every order of events within bounds, with the engine's rules and with each of them taken away.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use redlatch_model::{Config, Lock, Rules, State, properties as p};
use stateright::{Checker, HasDiscoveries, Model};

fn bound(name: &str, default: u8) -> u8 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// The bounds of a run, larger on request.
fn bounds() -> Config {
    let config = Config::default();
    Config {
        ticks: bound("REDLATCH_MODEL_TICKS", config.ticks),
        faults: bound("REDLATCH_MODEL_FAULTS", config.faults),
        ..config
    }
}

/// Looks at every state, and at every property in each.
fn holds(what: &str, config: Config) {
    let started = Instant::now();
    let checker = Lock { config }.checker().threads(2).spawn_dfs().join();
    println!(
        "{what}: {} states ({} steps), {} deep, {:.1?}: ticks {}, ttl {}, faults {}, rounds {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed(),
        config.ticks,
        config.ttl,
        config.faults,
        config.rounds,
    );
    for property in checker.model().properties() {
        if let Some(path) = checker.discovery(property.name)
            && property.expectation.discovery_is_failure()
        {
            println!("{}: {:?}", property.name, path.clone().into_actions());
            println!("{:?}", path.last_state());
        }
    }
    checker.assert_properties();
}

/// Looks for the shortest way to break a property.
fn breaks(what: &str, property: &'static str, config: Config) {
    let config = Config {
        examples: false,
        ..config
    };
    let started = Instant::now();
    let checker = Lock { config }
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let path = checker.discovery(property).expect("a counter-example");
    let actions = path.into_actions();
    println!(
        "without {what}: \"{property}\" is broken in {} steps ({} states, {:.1?}): {actions:?}",
        actions.len(),
        checker.unique_state_count(),
        started.elapsed(),
    );
}

#[test]
fn every_order_of_events_keeps_the_promises() {
    holds("watched", bounds());
}

#[test]
fn fixed_leases_keep_the_promises() {
    let config = Config {
        faults: 1,
        watched: false,
        most_holds: 1,
        examples: false,
        ..bounds()
    };
    holds("fixed leases", config);
}

#[test]
fn a_margin_makes_up_for_a_fast_server_clock() {
    let config = Config {
        ttl: 4,
        margin: 1,
        slips: 1,
        faults: 1,
        rounds: [1, 1],
        examples: false,
        ..bounds()
    };
    holds("a server whose clock goes ahead", config);
    breaks(
        "the margin",
        p::EXCLUSION,
        Config {
            margin: 0,
            ..config
        },
    );
}

#[test]
fn without_generations_an_old_answer_takes_a_new_hold() {
    let rules = Rules {
        generations: false,
        ..Rules::ENGINE
    };
    let config = Config {
        rules,
        faults: 0,
        ..bounds()
    };
    breaks("generations", p::NOT_CUT, config);
    breaks("generations", p::EXACT, config);
}

#[test]
fn without_the_reconciler_there_are_orphans() {
    let rules = Rules {
        reconciler: false,
        ..Rules::ENGINE
    };
    breaks("the reconciler", p::EXACT, Config { rules, ..bounds() });
}

#[test]
fn without_the_safety_poll_a_lost_message_is_missed() {
    let rules = Rules {
        safety_poll: false,
        ..Rules::ENGINE
    };
    // With a long time to live a lost message is the quickest way to oversleep.
    let config = Config {
        rules,
        ttl: 6,
        faults: 1,
        rounds: [1, 1],
        ..bounds()
    };
    breaks("the safety poll", p::AWAKE, config);
}

#[test]
fn with_a_deadline_from_the_answer_two_hold_at_once() {
    let rules = Rules {
        deadline_from_send: false,
        ..Rules::ENGINE
    };
    breaks(
        "deadlines from the sending",
        p::EXCLUSION,
        Config { rules, ..bounds() },
    );
}

#[test]
fn a_renewal_that_creates_brings_back_what_is_gone() {
    let rules = Rules {
        renewal_never_creates: false,
        ..Rules::ENGINE
    };
    breaks(
        "the check for the key in a renewal",
        p::NO_REVIVAL,
        Config { rules, ..bounds() },
    );
}

#[test]
fn with_a_hold_in_the_books_until_its_release_is_answered_two_hold_at_once() {
    let rules = Rules {
        unregister_first: false,
        ..Rules::ENGINE
    };
    breaks(
        "taking it out of the books first",
        p::EXCLUSION,
        Config { rules, ..bounds() },
    );
}

#[test]
fn without_the_fence_an_old_request_frees_a_new_hold() {
    let rules = Rules {
        fence: false,
        ..Rules::ENGINE
    };
    let config = Config {
        rules,
        faults: 1,
        ..bounds()
    };
    breaks("the fence", p::EXCLUSION, config);
}

/// An answer that was sent for in time and comes after the local deadline would bring a hold back.
#[test]
fn without_an_end_that_stays_a_lost_hold_comes_back() {
    let rules = Rules {
        lost_is_for_ever: false,
        ..Rules::ENGINE
    };
    let config = Config {
        rules,
        faults: 1,
        examples: false,
        ..bounds()
    };
    breaks("lost is for ever", p::FOR_EVER, config);
}

/// On a graph without cycles every execution ends, so what holds in all last states comes in every execution.
#[test]
fn every_execution_ends() {
    let model = Lock {
        config: Config {
            faults: 1,
            rounds: [1, 1],
            ..bounds()
        },
    };
    let id = |state: &State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    let (mut open, mut closed) = (HashSet::new(), HashSet::new());
    let mut stack: Vec<(u64, Vec<State>)> = Vec::new();
    for state in model.init_states() {
        open.insert(id(&state));
        stack.push((id(&state), model.next_states(&state)));
    }
    while let Some((here, left)) = stack.last_mut() {
        let Some(next) = left.pop() else {
            open.remove(here);
            closed.insert(*here);
            stack.pop();
            continue;
        };
        let there = id(&next);
        assert!(!open.contains(&there), "a cycle through {next:?}");
        if !closed.contains(&there) {
            open.insert(there);
            stack.push((there, model.next_states(&next)));
        }
    }
    println!("no cycle in {} states", closed.len());
}
