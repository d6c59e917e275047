//! What the reader threads and the callers share.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::{Interval, JvmError, Reply};
use super::token::decode;

const STDERR_LINES: usize = 60;

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Waiting>,
    stderr: Vec<String>,
    gone: bool,
}

#[derive(Debug)]
struct Waiting {
    answer: Sender<Result<Reply, JvmError>>,
    intervals: Vec<Interval>,
    ops: Vec<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Registers a call; when the process is gone, the call learns it and false comes back.
    pub(super) fn expect(&self, id: u64, answer: Sender<Result<Reply, JvmError>>) -> bool {
        let mut state = self.state();
        if state.gone {
            let _ = answer.send(Err(state.gone_error()));
            return false;
        }
        let waiting = Waiting {
            answer,
            intervals: Vec::new(),
            ops: Vec::new(),
        };
        state.calls.insert(id, waiting);
        true
    }

    /// The last lines of stderr.
    pub(super) fn stderr(&self) -> String {
        self.state().stderr.join("\n")
    }

    pub(super) fn keep_stderr(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            let mut state = self.state();
            if state.stderr.len() == STDERR_LINES {
                state.stderr.remove(0);
            }
            state.stderr.push(line);
        }
    }

    pub(super) fn read_answers(&self, stdout: impl BufRead, ready: &Sender<String>) {
        for line in stdout.lines().map_while(Result::ok) {
            let tokens: Vec<&str> = line.split(' ').collect();
            match tokens[..] {
                ["ready", uuid] => {
                    let _ = ready.send(uuid.to_owned());
                }
                ["iv", id, thread, granted, released] => {
                    self.interval(id, thread, granted, released)
                }
                ["op", id, ..] => self.op(id, &line),
                [id, "ok", elapsed] => self.answer(id, elapsed, Ok(String::new())),
                [id, "ok", elapsed, value] => self.answer(id, elapsed, Ok(decode(value))),
                [id, "err", elapsed, class, message] => {
                    self.answer(id, elapsed, Err((class, decode(message))))
                }
                _ => self
                    .state()
                    .stderr
                    .push(format!("unexpected answer: {line}")),
            }
        }
    }

    fn interval(&self, id: &str, thread: &str, granted: &str, released: &str) {
        let mut state = self.state();
        let waiting = id.parse().ok().and_then(|id: u64| state.calls.get_mut(&id));
        if let (Some(waiting), Ok(granted_micros), Ok(released_micros)) =
            (waiting, granted.parse(), released.parse())
        {
            waiting.intervals.push(Interval {
                thread: decode(thread),
                granted_micros,
                released_micros,
            });
        }
    }

    fn op(&self, id: &str, line: &str) {
        let op = line.splitn(3, ' ').nth(2).unwrap_or_default();
        let mut state = self.state();
        if let Some(waiting) = id.parse().ok().and_then(|id: u64| state.calls.get_mut(&id)) {
            waiting.ops.push(op.to_owned());
        }
    }

    fn answer(&self, id: &str, elapsed: &str, outcome: Result<String, (&str, String)>) {
        let waiting = id
            .parse()
            .ok()
            .and_then(|id: u64| self.state().calls.remove(&id));
        if let Some(Waiting {
            answer,
            intervals,
            ops,
        }) = waiting
        {
            let elapsed = millis(elapsed);
            let outcome = match outcome {
                Ok(value) => Ok(Reply {
                    value,
                    elapsed,
                    intervals,
                    ops,
                }),
                Err((class, message)) => Err(JvmError {
                    class: class.to_owned(),
                    message,
                    elapsed,
                }),
            };
            // Nobody may be waiting any more; that is their choice.
            let _ = answer.send(outcome);
        }
    }

    /// The process is gone: every open call learns it.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.gone = true;
        let error = state.gone_error();
        for (_, waiting) in state.calls.drain() {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

impl State {
    fn gone_error(&self) -> JvmError {
        JvmError::local(
            JvmError::GONE,
            format!("the JVM ended\n{}", self.stderr.join("\n")),
        )
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(text: &str) -> Duration {
    Duration::try_from_secs_f64(text.parse::<f64>().unwrap_or_default() / 1e3).unwrap_or_default()
}
