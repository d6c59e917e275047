//! Jobs that run once a period, where something goes wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use redlatch::{Client, Error, Outcome};
use redlatch_support::{
    Action, NOTHING_LEFT, Process, Proxy, Rule, Server, eventually_async, polled,
};

use crate::kit::{close, connect, ms, nothing_but_counters, quick, secs, server};

/// Has a run of this binary begin a job and say so.
const WORKER: &str = "REDLATCH_TEST_WORKER";

#[tokio::test]
async fn worker_process() {
    let Ok(url) = std::env::var(WORKER) else {
        return;
    };
    let client = quick(&url).await;
    let job = client.once_per("crash", secs(60));
    let working = job.run_if_due(async {
        println!("\nworking");
        std::future::pending::<()>().await;
    });
    working.await.expect("never ends");
}

#[tokio::test]
async fn a_process_that_dies_with_the_job_unfinished_leaves_it_due() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    let mut worker = Process::start("schedule_faults::worker_process", WORKER, &server.url());
    worker.said("working");
    let job = client.once_per("crash", secs(60));
    let outcome = job.run_if_due(async {}).await.expect("answers");
    assert!(matches!(outcome, Outcome::NotDue), "{outcome:?}");
    worker.kill();
    let killed = Instant::now();
    eventually_async("it runs here", secs(10), async || {
        let outcome = job.run_if_due(async {}).await.expect("answers");
        matches!(outcome, Outcome::Ran(()))
    })
    .await;
    assert!(killed.elapsed() < secs(3), "{:?}", killed.elapsed());
    direct.flushall();
    close(client).await;
}

#[tokio::test]
async fn a_job_whose_lock_is_taken_away_is_stopped_and_has_not_run() {
    let (server, direct) = server();
    let (one, two) = (quick(&server.url()).await, quick(&server.url()).await);
    let (began, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let job = one.once_per("taken", secs(60));
    let running = tokio::spawn({
        let (began, done) = (began.clone(), done.clone());
        async move {
            job.run_if_due(async {
                began.store(true, Ordering::Release);
                tokio::time::sleep(secs(60)).await;
                done.store(true, Ordering::Release);
            })
            .await
        }
    });
    eventually_async("it runs", secs(5), async || began.load(Ordering::Acquire)).await;
    direct.cmd(&["DEL", "taken"]).accepted();
    let error = running.await.expect("joins").expect_err("is stopped");
    assert!(error.is_lost(), "{error}");
    assert!(!done.load(Ordering::Acquire));
    let outcome = two.once_per("taken", secs(60)).run_if_due(async {}).await;
    assert!(matches!(outcome, Ok(Outcome::Ran(()))), "{outcome:?}");
    direct.flushall();
    close(one).await;
    close(two).await;
}

/// A client through a proxy that bounds everything closely.
async fn through(proxy: &Proxy) -> Client {
    connect(&proxy.url(), |builder| {
        builder
            .watchdog_timeout(secs(3))
            .command_timeout(ms(500))
            .connect_timeout(ms(500))
            .outage_patience(secs(1))
    })
    .await
}

#[tokio::test]
async fn no_lost_reply_makes_a_job_run_twice_or_unnoted() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let client = through(&proxy).await;
    let warm = client.once_per("warm", secs(60)).run_if_due(async {}).await;
    assert!(matches!(warm, Ok(Outcome::Ran(()))), "{warm:?}");
    // Look, lock, look, note, release: the reply to each of them is lost in turn.
    for nth in 1..=5 {
        let name = format!("lost-{nth}");
        let job = client.once_per(&*name, secs(60));
        let cut = proxy.rule(
            Rule::new("EVALSHA")
                .nth(nth)
                .action(Action::CutAfterForward),
        );
        let runs = AtomicUsize::new(0);
        let outcome = job
            .run_if_due(async { runs.fetch_add(1, Ordering::AcqRel) })
            .await;
        assert!(matches!(outcome, Ok(Outcome::Ran(0))), "{nth}: {outcome:?}");
        eventually_async("a reply was lost", secs(5), async || cut.hits() == 1).await;
        let again = job
            .run_if_due(async { runs.fetch_add(1, Ordering::AcqRel) })
            .await;
        assert!(matches!(again, Ok(Outcome::NotDue)), "{nth}: {again:?}");
        assert_eq!(runs.into_inner(), 1);
        cut.remove();
    }
    server.direct().flushall();
    close(client).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_told_is_said_to_know_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let client = through(&proxy).await;
    let job = client.once_per("untold", secs(60));
    let begun = Instant::now();
    let outcome = job
        .run_if_due(async {
            proxy.black_hole(true);
            "done"
        })
        .await;
    let Ok(Outcome::Unconfirmed { value, error, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(value, "done");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < secs(8), "{:?}", begun.elapsed());
    proxy.black_hole(false);
    eventually_async("it is due again", secs(10), async || {
        matches!(
            job.run_if_due(async { "again" }).await,
            Ok(Outcome::Ran("again"))
        )
    })
    .await;
    server.direct().flushall();
    close(client).await;
}

#[tokio::test]
async fn a_run_that_is_done_after_its_lock_went_elsewhere_is_not_noted_over_the_others() {
    let (server, direct) = server();
    let (one, two) = (
        connect(&server.url(), |builder| builder).await,
        quick(&server.url()).await,
    );
    let job = one.once_per("late", secs(60));
    let (server, two) = (&server, &two);
    let outcome = job
        .run_if_due(async {
            // Before the first has noticed.
            let direct = server.direct();
            direct.cmd(&["DEL", "late"]).accepted();
            two.lock("late").lock().await.expect("free")
        })
        .await;
    let Ok(Outcome::Unconfirmed {
        value: guard,
        error,
        ..
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert!(error.is_lost(), "{error}");
    assert!(!direct.exists("redlatch_schedule:{late}"));
    assert!(!guard.is_lost());
    guard.unlock().await.expect("is still the other's");
    nothing_but_counters(&direct).await;
    close(one).await;
}

#[tokio::test]
async fn a_caller_that_leaves_at_any_poll_leaves_the_job_due_and_nothing_else() {
    let (server, direct) = server();
    let client = quick(&server.url()).await;
    let job = client.once_per("left", secs(60));
    let mut ran = 0;
    for polls in 0..30 {
        let work = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        let outcome = polled(polls, job.run_if_due(work)).await;
        ran += usize::from(matches!(outcome, Some(Ok(Outcome::Ran(())))));
        eventually_async("nothing is left here", secs(5), async || {
            client.residue() == NOTHING_LEFT && !direct.exists("left")
        })
        .await;
        // One that was left after it had been noted has run.
        direct.cmd(&["DEL", "redlatch_schedule:{left}"]).accepted();
    }
    assert!(ran > 0, "it was never let run to its end");
    close(client).await;
}
