//! A program that runs while a lock is held.
//!
//! ```text
//! connect ─► wait for the lock ─► start the program ─► until it ends │ a signal: passed on │ the lock is lost, or is about to be:
//!                                                                                              TERM, then KILL
//!            then the lock is given back, and the program's exit code is this command's
//! ```
//!
//! A lock that is not renewed any more has the program end while it is still held: it is told a grace before the end of the
//! lease, and killed at the end of it at the latest. One that was taken away is noticed with the next renewal.

mod job;
mod signals;

use std::{pin::pin, time::Duration};

use redlatch::{Acquire, Client, ClientBuilder, Error, Fenced, Kind, LockGuard, LossCause, Owner};
use serde::Serialize;
use tokio::time::Instant;

pub(crate) use self::job::become_program;
use self::{
    job::{Job, Turn},
    signals::Signals,
};
use crate::{
    args::{At, Run, RunKind},
    exit::{Code, Failure},
    print,
    server::Server,
    span::ms,
};

/// How long a program has to end by itself, unless it is said.
const GRACE: Duration = Duration::from_secs(5);
/// How long this waits for the end of a program that was killed.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// How often the end of a lease is compared with the clock.
const LOOK: Duration = Duration::from_millis(50);

/// What `--json` says, a line each.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Said<'a> {
    Acquired {
        lock: &'a str,
        kind: String,
        owner: String,
        token: Option<i64>,
        waited_ms: u64,
    },
    Stopping {
        lock: &'a str,
        reason: String,
    },
    Ended {
        lock: &'a str,
        outcome: &'a str,
        exit_code: u8,
        held_ms: u64,
    },
}

/// Runs the program. The exit code says what became of it.
pub(crate) async fn run(at: &At, run: &Run, json: bool) -> Result<Code, Failure> {
    let grace = grace(run)?;
    let mut signals = Signals::new()?;
    let connecting = Server::connect(at, |builder: ClientBuilder| {
        builder.dedicated_runtime().watchdog_timeout(run.watchdog)
    });
    let server = tokio::select! {
        server = connecting => server?,
        signal = signals.next() => return Ok(Code::Other(128_u8.saturating_add(signal as u8))),
    };
    let client = server.client.clone();
    let name = run.lock.as_str();
    let mut shift = Shift {
        run,
        grace,
        json,
        signals,
    };
    let owner = Owner::fresh();
    let outcome = match run.kind {
        RunKind::Plain => {
            shift
                .under(client.lock(name).with_owner(owner).lock(), none)
                .await
        }
        RunKind::Fair => {
            shift
                .under(client.fair_lock(name).with_owner(owner).lock(), none)
                .await
        }
        RunKind::Fenced => {
            let lock = client.fenced_lock(name).with_owner(owner);
            let token = |guard: &LockGuard<Fenced>| Some(guard.token().get());
            shift.under(lock.lock(), token).await
        }
        RunKind::Read => {
            let lock = client.read_write_lock(name).with_owner(owner);
            shift.under(lock.read(), none).await
        }
        RunKind::Write => {
            let lock = client.read_write_lock(name).with_owner(owner);
            shift.under(lock.write(), none).await
        }
        RunKind::Spin => {
            shift
                .under(client.spin_lock(name).with_owner(owner).lock(), none)
                .await
        }
    };
    close(&client).await;
    outcome
}

/// How long a program has to end by itself.
fn grace(run: &Run) -> Result<Duration, Failure> {
    let whole = run.lease.unwrap_or(run.watchdog);
    let grace = run.grace.unwrap_or(GRACE.min(whole / 4));
    if grace <= whole / 2 {
        return Ok(grace);
    }
    let what = if run.lease.is_some() {
        "lease"
    } else {
        "watchdog"
    };
    Err(Failure::usage(format!(
        "--grace: {grace:?} is more than half of --{what}, so the program would be stopped as soon as it runs"
    )))
}

fn none<K: Kind>(_: &LockGuard<K>) -> Option<i64> {
    None
}

async fn close(client: &Client) {
    client.close(Duration::from_secs(2)).await;
}

/// One run of the program.
struct Shift<'a> {
    run: &'a Run,
    grace: Duration,
    json: bool,
    signals: Signals,
}

/// Why the program was stopped.
enum Ended {
    /// It ended by itself, or by a signal that was passed on.
    ByItself(Code),
    /// The lock was lost, or was about to be.
    Stopped,
}

impl Shift<'_> {
    async fn under<K: Kind>(
        &mut self,
        acquire: Acquire<K>,
        token: fn(&LockGuard<K>) -> Option<i64>,
    ) -> Result<Code, Failure> {
        let mut acquire = acquire;
        if let Some(wait) = self.run.wait {
            acquire = acquire.wait(wait);
        }
        if let Some(lease) = self.run.lease {
            acquire = acquire.lease(lease);
        }
        let begun = Instant::now();
        // Whoever leaves in the middle holds nothing and stands in no queue.
        let guard = tokio::select! {
            guard = acquire.into_future() => guard,
            signal = self.signals.next() => {
                return Ok(Code::Other(128_u8.saturating_add(signal as u8)));
            }
        };
        let guard = match guard {
            Ok(guard) => guard,
            Err(Error::TimedOut { .. }) => {
                let message = format!("{} is busy", print::name(&self.run.lock));
                return Err(Failure::new(Code::Busy, message));
            }
            Err(error) => return Err(error.into()),
        };
        let token = token(&guard);
        self.say(&Said::Acquired {
            lock: &self.run.lock,
            kind: kind_word(self.run.kind),
            owner: guard.owner_id(),
            token,
            waited_ms: ms(begun.elapsed()),
        });
        let begun = Instant::now();
        let mut job = match Job::start(&self.run.program, &self.run.lock, token) {
            Ok(job) => job,
            Err(failure) => {
                let _ = guard.unlock().await;
                return Err(failure);
            }
        };
        let ended = self.attend(&guard, &mut job).await;
        job.give_terminal_back();
        self.conclude(guard, ended?, ms(begun.elapsed())).await
    }

    /// Until the program has ended, one way or another.
    async fn attend<K: Kind>(
        &mut self,
        guard: &LockGuard<K>,
        job: &mut Job,
    ) -> Result<Ended, Failure> {
        let mut losing = pin!(losing(guard, self.grace));
        let loss = loop {
            tokio::select! {
                turn = job.turn() => match turn? {
                    Turn::Ended(code) => return Ok(Ended::ByItself(code)),
                    Turn::Stopped => {
                        job.stop_along();
                        // Time has passed, unnoticed: the program does not go on without the lock.
                        if !guard.is_lost() {
                            job.go_on();
                        }
                    }
                },
                loss = &mut losing => break loss,
                signal = self.signals.next() => job.signal(signal),
            }
        };
        let (reason, kill_at) = match loss {
            Losing::Lost(cause) => (cause.to_string(), Instant::now() + self.grace),
            Losing::Ending(at) if self.run.lease.is_some() => {
                ("its lease is nearly over".to_owned(), at)
            }
            Losing::Ending(at) => ("it cannot be renewed, and is nearly over".to_owned(), at),
        };
        self.say(&Said::Stopping {
            lock: &self.run.lock,
            reason: reason.clone(),
        });
        if !self.json {
            let name = print::name(&self.run.lock);
            eprintln!("redlatch: stopping the program: lock {name}: {reason}");
        }
        job.stop(kill_at, AFTER_KILL).await?;
        Ok(Ended::Stopped)
    }

    /// Gives the lock back, and says how it went.
    async fn conclude<K: Kind>(
        &self,
        guard: LockGuard<K>,
        ended: Ended,
        held_ms: u64,
    ) -> Result<Code, Failure> {
        let released = guard.unlock().await;
        let (outcome, code, failure) = match (ended, released) {
            (Ended::Stopped, _) => ("lost", Code::Lost, None),
            (Ended::ByItself(_), Err(error @ Error::Lost { .. })) => {
                let message = format!("{error}: found when the program had ended");
                ("lost", Code::Lost, Some(message))
            }
            // It was held while the program ran, by the clock of this machine.
            (Ended::ByItself(code), Err(error)) => {
                let message =
                    format!("the program has ended, and the lock was not given back: {error}");
                ("unreleased", code, Some(message))
            }
            (Ended::ByItself(code), Ok(())) => ("exited", code, None),
        };
        self.say(&Said::Ended {
            lock: &self.run.lock,
            outcome,
            exit_code: code.number(),
            held_ms,
        });
        if let Some(message) = failure {
            eprintln!("redlatch: {message}");
        }
        Ok(code)
    }

    /// With `--json`, on the standard error: the standard output is the program's.
    fn say(&self, what: &Said<'_>) {
        if self.json {
            eprintln!("{}", print::json(what));
        }
    }
}

/// What becomes of a hold.
enum Losing {
    /// It is lost.
    Lost(LossCause),
    /// It is held until then, and nothing has renewed it for a while.
    Ending(Instant),
}

/// Waits until the lock is lost, or has no more than `grace` left.
async fn losing<K: Kind>(guard: &LockGuard<K>, grace: Duration) -> Losing {
    loop {
        let left = guard.remaining();
        if left <= grace && !guard.is_lost() {
            return Losing::Ending(Instant::now() + left);
        }
        // A renewal moves the end on, so no more than the way to it is slept.
        let nap = left.saturating_sub(grace).max(LOOK);
        tokio::select! {
            biased;
            cause = guard.lost() => return Losing::Lost(cause),
            () = tokio::time::sleep(nap) => {}
        }
    }
}

fn kind_word(kind: RunKind) -> String {
    format!("{kind:?}").to_lowercase()
}
