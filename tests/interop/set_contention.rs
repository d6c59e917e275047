//! Tasks of ours and threads of a JVM fight for sets of locks. Nobody may ever be in together with anybody else, and nobody
//! may keep the others waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redlatch::{Client, Group, Lock, MultiLock, Owner};
use redlatch_support::{
    Direct, eventually_async,
    history::{self, Interval},
    jvm::{Jvm, jvm_or_skip},
    unique_name,
};
use tokio::task::block_in_place;

use crate::{
    common::{Stage, close, loud, secs},
    java::answer,
    red::Rig,
    sets,
    worker::now_micros,
};

const DURATION: Duration = secs(5);
const COUNTER: &str = "counter";
/// How often each side gets in at least; barging is allowed, starving is not. Only the JVM's waiters for a majority are
/// woken by messages, so they get the most of it.
const LEAST: usize = 5;

enum Set {
    Group(Lock<Group>),
    Multi(MultiLock),
}

impl Set {
    /// Takes it, works, gives it back; when it began and ended to work.
    async fn cycle(&self, work: impl FnOnce()) -> (u64, u64) {
        let worked = || {
            let granted = now_micros();
            block_in_place(work);
            (granted, now_micros())
        };
        match self {
            Self::Group(lock) => {
                let guard = lock.lock().await.expect("the server is there");
                let times = worked();
                guard.unlock().await.expect("nobody takes it away");
                times
            }
            Self::Multi(lock) => {
                let guard = lock.lock().await.expect("a majority is there");
                let times = worked();
                guard.unlock().await.expect("nobody takes it away");
                times
            }
        }
    }
}

/// Raises the counter by two commands, so that two holders at once lose an update.
fn raise(direct: &Direct) {
    let seen = direct.cmd(&["GET", COUNTER]).accepted();
    let seen = if seen.is_nil() { 0 } else { seen.int() };
    let next = (seen + 1).to_string();
    direct.cmd(&["SET", COUNTER, &next]).accepted();
}

/// One task of ours for each of these locks, and two threads of the JVM for each of those, all with something in common.
async fn never_meet(
    what: &str,
    jvm: &Jvm,
    theirs: &[(&str, String)],
    ours: Vec<Set>,
    direct: Direct,
    longest_wait: Duration,
) {
    direct.cmd(&["DEL", COUNTER]).accepted();
    let direct = Arc::new(direct);
    let millis = DURATION.as_millis().to_string();
    let running: Vec<_> = theirs
        .iter()
        .enumerate()
        .map(|(at, (kind, name))| {
            let order = [*kind, name, COUNTER, &millis, "2", "0"];
            jvm.start_call(&format!("contend-{at}"), "contend", &order)
        })
        .collect();
    let end = Instant::now() + DURATION;
    let tasks: Vec<_> = ours
        .into_iter()
        .enumerate()
        .map(|(at, set)| {
            let direct = direct.clone();
            tokio::spawn(async move {
                let mut intervals = Vec::new();
                while Instant::now() < end {
                    let (granted_micros, released_micros) = set.cycle(|| raise(&direct)).await;
                    intervals.push(Interval {
                        process: "rust".to_owned(),
                        thread: at.to_string(),
                        granted_micros,
                        released_micros,
                    });
                }
                intervals
            })
        })
        .collect();

    let mut intervals = Vec::new();
    for run in running {
        let reply = answer(run).await.expect("the JVM went through");
        intervals.extend(reply.intervals.into_iter().map(|interval| Interval {
            process: "jvm".to_owned(),
            thread: interval.thread,
            granted_micros: interval.granted_micros,
            released_micros: interval.released_micros,
        }));
    }
    for task in tasks {
        intervals.extend(task.await.expect("no panic"));
    }
    let summary = history::check(&intervals).unwrap_or_else(|overlap| panic!("{overlap}"));
    let counted = direct.cmd(&["GET", COUNTER]).int();
    assert_eq!(usize::try_from(counted).ok(), Some(summary.count), "lost");
    let (jvm, rust) = (summary.count_of("jvm"), summary.count_of("rust"));
    println!(
        "{what}: {} cycles in {:?} (JVM {jvm}, Rust {rust}), longest wait between two grants {:?}",
        summary.count, summary.span, summary.longest_wait
    );
    assert!(summary.longest_wait < longest_wait, "{summary:?}");
    for count in [jvm, rust] {
        assert!(count >= LEAST, "one side was starved: {summary:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn groups_that_meet_never_overlap() {
    let Some(driver) = jvm_or_skip("groups_that_meet_never_overlap") else {
        return;
    };
    let _loud = block_in_place(loud);
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let group = unique_name("contended");
    // All want `b`, each with something of its own and something of a neighbour's.
    let theirs = [
        ("group", format!("{group}\ns:a\ns:b")),
        ("group", format!("{group}\ns:b\ns:c")),
    ];
    let ours = [["a", "b"], ["c", "b"], ["b", "d"]];
    let ours = ours.map(|values| {
        let lock = sets::ours(&client, &group, &values);
        Set::Group(lock.with_owner(Owner::fresh()))
    });
    let counter = stage.server.direct();
    never_meet("group", &stage.jvm, &theirs, ours.into(), counter, secs(2)).await;
    sets::nothing_left(&direct, &group).await;
    close(client).await;
}

fn multi(client: &Client, names: &[String]) -> Set {
    let members = names.iter().map(|name| client.lock(name.as_str()));
    let lock = MultiLock::new(members).expect("three of them");
    Set::Multi(lock.with_owner(Owner::fresh()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn multi_locks_in_opposite_orders_never_overlap_nor_stall() {
    let Some(driver) = jvm_or_skip("multi_locks_in_opposite_orders_never_overlap_nor_stall") else {
        return;
    };
    let _loud = block_in_place(loud);
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let stem = unique_name("contended");
    let names = ["a", "b", "c"].map(|letter| format!("{stem}-{letter}"));
    // Ours are taken from `a` on, theirs from `c` on. Two orders among the JVM's own threads would stall by themselves.
    let theirs = [("multi", format!("{stem}-c\n{stem}-b\n{stem}-a"))];
    let ours = vec![multi(&client, &names), multi(&client, &names)];
    let counter = stage.server.direct();
    never_meet("multi", &stage.jvm, &theirs, ours, counter, secs(2)).await;
    sets::nothing_left(&direct, &stem).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn majorities_never_overlap() {
    let Some(driver) = jvm_or_skip("majorities_never_overlap") else {
        return;
    };
    let _loud = block_in_place(loud);
    let rig = Rig::start(driver).await;
    let theirs = [("red", rig.name.clone())];
    let ours = vec![Set::Multi(rig.ours()), Set::Multi(rig.ours())];
    let counter = rig.servers[0].direct();
    never_meet("red", &rig.jvm, &theirs, ours, counter, secs(5)).await;
    rig.nothing_left().await;
    eventually_async("nothing is under way", secs(5), async || {
        rig.clients
            .iter()
            .all(|client| client.residue().contains("sleepers: 0"))
    })
    .await;
    rig.end().await;
}
