//! Several JVMs and several processes of ours fight for one lock. Nobody may ever be in together with anybody else.

use std::time::Duration;

use redlatch_support::{
    Server,
    history::{self, Interval},
    jvm::{Jvm, JvmOptions, jvm_or_skip},
};

use crate::{
    common::{QUICK, loud, secs},
    worker::{Order, READS, Worker},
};

const DURATION: Duration = secs(10);
const PROCESSES: usize = 2;
const TASKS: usize = 4;
const LOCK: &str = "contended";
const COUNTER: &str = "counter";
/// What each side gets at least of the turns, in percent; barging is allowed, starving is not. A process that has its turn
/// may take several cycles: ours hand the lock on inside for some milliseconds.
const LEAST_SHARE: usize = 15;
/// What each of the four processes gets at least of a fair lock, in percent.
const FAIR_SHARE: usize = 20;

#[test]
fn two_jvms_and_two_rust_processes_never_meet() {
    never_meet("two_jvms_and_two_rust_processes_never_meet", "lock");
}

#[test]
fn holders_of_a_fair_lock_never_meet() {
    never_meet("holders_of_a_fair_lock_never_meet", "fair");
}

#[test]
fn holders_of_a_fenced_lock_never_meet() {
    never_meet("holders_of_a_fenced_lock_never_meet", "fenced");
}

#[test]
fn writers_never_meet_anybody() {
    never_meet("writers_never_meet_anybody", "readwrite");
}

fn never_meet(test: &str, kind: &str) {
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let _loud = loud();
    let server = Server::start();
    let mut options = JvmOptions::single(server.url());
    if kind == "readwrite" {
        // A JVM that misses a message, as its readers do, sleeps for the lock's time to live.
        options = options.watchdog(QUICK);
    }
    let jvms: Vec<_> = (0..PROCESSES)
        .map(|_| Jvm::start(driver, &options))
        .collect();
    let order = Order {
        kind,
        port: server.port(),
        lock: LOCK,
        counter: COUNTER,
        duration: DURATION,
        tasks: TASKS,
    };
    let mut workers: Vec<_> = (0..PROCESSES)
        .map(|at| Worker::start(&format!("rust-{at}"), &order))
        .collect();

    let (millis, tasks) = (DURATION.as_millis().to_string(), TASKS.to_string());
    let order = [kind, LOCK, COUNTER, &millis, &tasks, "0"];
    let running: Vec<_> = jvms
        .iter()
        .map(|jvm| jvm.start_call("contend", "contend", &order))
        .collect();
    workers.iter_mut().for_each(Worker::go);

    let mut intervals = Vec::new();
    for (at, mut run) in running.into_iter().enumerate() {
        let reply = run
            .wait(DURATION + secs(35))
            .unwrap_or_else(|| panic!("jvm-{at} did not end"))
            .unwrap_or_else(|error| panic!("jvm-{at} failed: {error}"));
        intervals.extend(reply.intervals.into_iter().map(|interval| Interval {
            process: format!("jvm-{at}"),
            thread: interval.thread,
            granted_micros: interval.granted_micros,
            released_micros: interval.released_micros,
        }));
    }
    for worker in workers {
        intervals.extend(worker.intervals());
    }

    let reads = |interval: &Interval| interval.thread.ends_with(READS);
    let summary = history::check_shared(&intervals, reads);
    let summary = summary.unwrap_or_else(|overlap| panic!("{overlap}"));
    let written = intervals.iter().filter(|interval| !reads(interval)).count();
    let direct = server.direct();
    let counted = direct.cmd(&["GET", COUNTER]).int();
    assert_eq!(
        usize::try_from(counted).ok(),
        Some(written),
        "updates were lost: {summary:?}"
    );
    assert!(!direct.exists(LOCK), "{:?}", direct.hgetall(LOCK));
    println!("{kind}: {written} of {} cycles wrote", summary.count);
    println!(
        "{} cycles in {:?}, longest wait between two grants {:?}",
        summary.count, summary.span, summary.longest_wait
    );
    intervals.sort_by_key(|interval| interval.granted_micros);
    let turns: Vec<_> = intervals
        .chunk_by(|a, b| a.process == b.process)
        .map(|turn| turn[0].process.as_str())
        .collect();
    for side in ["jvm", "rust"] {
        let count = summary.count_of(side);
        let had = turns.iter().filter(|turn| turn.starts_with(side)).count();
        println!("{side}: {had} of {} turns", turns.len());
        println!(
            "{side}: {count} cycles, {:.0} per second, {:.1} %",
            count as f64 / summary.span.as_secs_f64(),
            100.0 * count as f64 / summary.count as f64
        );
        assert!(
            had * 100 >= turns.len() * LEAST_SHARE,
            "{side} was starved: {summary:?}"
        );
    }
    for (process, count) in &summary.by_process {
        println!("{process}: {count} cycles");
        assert!(
            kind != "fair" || count * 100 >= summary.count * FAIR_SHARE,
            "{process} got less than its share: {summary:?}"
        );
    }
}
