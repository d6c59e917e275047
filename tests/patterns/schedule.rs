//! Jobs that run once a period, where nothing goes wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch::{Error, Outcome};
use redlatch_support::Direct;
use tokio::task::JoinSet;

use crate::kit::{LIMIT, close, connect, ms, nothing_but_counters, quick, secs, server};

/// The time by the server's clock.
fn now(direct: &Direct) -> Duration {
    let time = direct.cmd(&["TIME"]).strings();
    let part = |at: usize| time[at].parse().expect("a number");
    secs(part(0)) + Duration::from_micros(part(1))
}

fn ran<T: std::fmt::Debug>(outcome: redlatch::Result<Outcome<T>>) -> bool {
    match outcome.expect("answers") {
        Outcome::Ran(_) => true,
        Outcome::NotDue => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_start_a_job_at_most_one_runs_it_in_a_period() {
    const CLIENTS: usize = 3;
    const TIMERS: usize = 9;
    const PERIOD: Duration = ms(300);
    const PERIODS: usize = 6;
    let (server, direct) = server();
    let runs = Arc::new(std::sync::Mutex::new(Vec::new()));
    let running = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(&server.url(), |builder| builder).await);
    }
    let mut timers = JoinSet::new();
    for timer in 0..TIMERS {
        let job = clients[timer % CLIENTS].once_per("job", PERIOD);
        let (runs, running, direct) = (runs.clone(), running.clone(), server.direct());
        timers.spawn(async move {
            let begun = Instant::now();
            while runs.lock().expect("no panic").len() < PERIODS {
                assert!(begun.elapsed() < LIMIT, "it does not run");
                let work = async {
                    assert_eq!(running.fetch_add(1, Ordering::AcqRel), 0, "two at once");
                    runs.lock().expect("no panic").push(now(&direct));
                    tokio::time::sleep(ms(5)).await;
                    running.fetch_sub(1, Ordering::AcqRel);
                };
                ran(job.run_if_due(work).await);
                tokio::time::sleep(ms(1)).await;
            }
        });
    }
    while let Some(timer) = timers.join_next().await {
        timer.expect("no panic");
    }
    let runs = runs.lock().expect("no panic").clone();
    for pair in runs.windows(2) {
        let between = pair[1] - pair[0];
        // By the server's clock, which counts from just before the job is begun, in whole milliseconds.
        assert!(between + ms(20) > PERIOD, "{between:?} of {PERIOD:?}");
    }
    nothing_but_counters(&direct).await;
    for client in clients {
        close(client).await;
    }
}

#[tokio::test]
async fn a_job_that_has_run_is_not_due_until_its_period_is_over() {
    let (server, direct) = server();
    let (one, two) = (quick(&server.url()).await, quick(&server.url()).await);
    let job = one.once_per("report", secs(100));
    assert_eq!(job.due_in().await.expect("answers"), None);
    let outcome = job.run_if_due(async { 42 }).await.expect("due");
    assert!(matches!(outcome, Outcome::Ran(42)), "{outcome:?}");
    for client in [&one, &two] {
        let job = client.once_per("report", secs(100));
        let polled = AtomicUsize::new(0);
        let again = job.run_if_due(async { polled.fetch_add(1, Ordering::AcqRel) });
        assert!(!ran(again.await));
        assert_eq!(polled.into_inner(), 0, "a job that is not due is not begun");
        let left = job.due_in().await.expect("answers").expect("not due");
        assert!(left > secs(90) && left <= secs(100), "{left:?}");
    }
    assert!(!direct.exists("report"), "the lock is free in between");
    // The clock of the server decides, whatever ours says.
    direct
        .cmd(&["PEXPIRE", "redlatch_schedule:{report}", "1"])
        .accepted();
    redlatch_support::eventually_async("it is due", secs(5), async || {
        job.due_in().await.expect("answers").is_none()
    })
    .await;
    assert!(ran(two
        .once_per("report", secs(100))
        .run_if_due(async {})
        .await));
    direct.flushall();
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn a_period_counts_from_the_beginning_of_a_run() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    // Longer than its period: due at once when it is done.
    let job = client.once_per("long", ms(200));
    assert!(ran(job.run_if_due(tokio::time::sleep(ms(300))).await));
    assert_eq!(job.due_in().await.expect("answers"), None);
    let job = client.once_per("longer", secs(60));
    assert!(ran(job.run_if_due(tokio::time::sleep(ms(1_500))).await));
    let left = job.due_in().await.expect("answers").expect("not due");
    assert!(left < ms(58_600) && left > secs(50), "{left:?}");
    direct.flushall();
    close(client).await;
}

#[tokio::test]
async fn a_job_longer_than_the_watchdog_timeout_keeps_others_out() {
    let (server, direct) = server();
    let (one, two) = (quick(&server.url()).await, quick(&server.url()).await);
    let job = one.once_per("kept", secs(60));
    let long = tokio::spawn(async move { job.run_if_due(tokio::time::sleep(secs(3))).await });
    redlatch_support::eventually_async("it runs", secs(5), async || direct.exists("kept")).await;
    let job = two.once_per("kept", secs(60));
    while !long.is_finished() {
        assert!(!ran(job.run_if_due(async {}).await), "two at once");
        tokio::time::sleep(ms(5)).await;
    }
    assert!(ran(long.await.expect("joins")));
    assert!(one.stats().renewals > 0);
    direct.flushall();
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_stopped_and_due_again() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    let job = client.once_per("bounded", secs(60)).at_most_for(ms(300));
    let begun = Instant::now();
    let error = job.run_if_due(std::future::pending::<()>()).await;
    assert!(error.expect_err("is stopped").is_lost());
    assert!(
        begun.elapsed() > ms(250) && begun.elapsed() < secs(3),
        "{:?}",
        begun.elapsed()
    );
    redlatch_support::eventually_async("it is due again", secs(5), async || {
        ran(job.run_if_due(async {}).await)
    })
    .await;
    direct.flushall();
    close(client).await;
}

#[tokio::test]
async fn one_task_does_not_run_a_job_inside_itself() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    let job = client.once_per("nested", secs(60));
    let inner = job.clone();
    let outcome = job
        .run_if_due(async move { ran(inner.run_if_due(async {}).await) })
        .await;
    assert!(matches!(outcome, Ok(Outcome::Ran(false))), "{outcome:?}");
    direct.flushall();
    close(client).await;
}

#[tokio::test]
async fn a_job_costs_one_command_where_it_has_run_and_five_where_it_runs() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    let job = |name: &str| client.once_per(name, secs(60));
    // The scripts are loaded.
    assert!(ran(job("warm").run_if_due(async {}).await));
    let calls = || direct.command_calls("evalsha");
    direct.reset_stats();
    assert!(ran(job("costs").run_if_due(async {}).await));
    assert_eq!(calls(), 5);
    direct.reset_stats();
    assert!(!ran(job("costs").run_if_due(async {}).await));
    assert_eq!(calls(), 1);
    let guard = client.lock("busy").lock().await.expect("free");
    direct.reset_stats();
    let busy = job("busy");
    let elsewhere = tokio::spawn(async move { busy.run_if_due(async {}).await });
    assert!(!ran(elsewhere.await.expect("joins")));
    assert_eq!(calls(), 2);
    guard.unlock().await.expect("held");
    direct.flushall();
    close(client).await;
}

#[tokio::test]
async fn what_is_not_acceptable_is_refused_before_anything_is_sent() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    direct.reset_stats();
    let cases = [
        ("name", client.once_per("", secs(1))),
        ("period", client.once_per("x", Duration::ZERO)),
        ("period", client.once_per("x", Duration::MAX)),
        (
            "at_most_for",
            client.once_per("x", secs(1)).at_most_for(ms(9)),
        ),
        (
            "at_most_for",
            client.once_per("x", secs(1)).at_most_for(Duration::MAX),
        ),
    ];
    for (wanted, job) in cases {
        let error = job.run_if_due(async {}).await.expect_err("not acceptable");
        assert!(
            matches!(error, Error::InvalidArgument { field, .. } if field == wanted),
            "{wanted}: {error}"
        );
    }
    assert_eq!(direct.command_calls("evalsha"), 0);
    close(client).await;
}
