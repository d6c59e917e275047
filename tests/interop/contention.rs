//! Several JVMs and several processes of ours fight for one lock. Nobody may ever be in together with anybody else.

use std::time::Duration;

use redlatch_support::{
    Server,
    history::{self, Interval},
    jvm::{Jvm, JvmOptions, jvm_or_skip},
};

use crate::{
    common::{loud, secs},
    worker::Worker,
};

const DURATION: Duration = secs(10);
const PROCESSES: usize = 2;
const TASKS: usize = 4;
const LOCK: &str = "contended";
const COUNTER: &str = "counter";
/// What each side gets at least, in percent; barging is allowed, starving is not.
const LEAST_SHARE: usize = 5;

#[test]
fn two_jvms_and_two_rust_processes_never_meet() {
    let Some(driver) = jvm_or_skip("two_jvms_and_two_rust_processes_never_meet") else {
        return;
    };
    let _loud = loud();
    let server = Server::start();
    let options = JvmOptions::single(server.url());
    let jvms: Vec<_> = (0..PROCESSES)
        .map(|_| Jvm::start(driver, &options))
        .collect();
    let mut workers: Vec<_> = (0..PROCESSES)
        .map(|at| {
            let process = format!("rust-{at}");
            Worker::start(&process, server.port(), LOCK, COUNTER, DURATION, TASKS)
        })
        .collect();

    let (millis, tasks) = (DURATION.as_millis().to_string(), TASKS.to_string());
    let order = ["lock", LOCK, COUNTER, &millis, &tasks, "0"];
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

    let summary = history::check(&intervals).unwrap_or_else(|overlap| panic!("{overlap}"));
    let direct = server.direct();
    let counted = direct.cmd(&["GET", COUNTER]).int();
    assert_eq!(
        usize::try_from(counted).ok(),
        Some(summary.count),
        "updates were lost: {summary:?}"
    );
    assert!(!direct.exists(LOCK), "{:?}", direct.hgetall(LOCK));
    println!(
        "{} cycles in {:?}, longest wait between two grants {:?}",
        summary.count, summary.span, summary.longest_wait
    );
    for side in ["jvm", "rust"] {
        let count = summary.count_of(side);
        println!(
            "{side}: {count} cycles, {:.0} per second, {:.1} %",
            count as f64 / summary.span.as_secs_f64(),
            100.0 * count as f64 / summary.count as f64
        );
        assert!(
            count * 100 >= summary.count * LEAST_SHARE,
            "{side} was starved: {summary:?}"
        );
    }
    for (process, count) in &summary.by_process {
        println!("{process}: {count} cycles");
    }
}
