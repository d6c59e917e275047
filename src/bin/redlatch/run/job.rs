//! The program, and whatever it starts: one process group, which has the terminal where there is one.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::process::{CommandExt, ExitStatusExt},
    process,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, killpg, raise},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, getpgrp, getppid, tcgetpgrp, tcsetpgrp},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal as Stream, SignalKind, signal},
    time::{Instant, sleep, timeout_at},
};

use crate::exit::{Code, Failure};

/// The word by which this command becomes another program.
const BECOME: &str = "__become";
/// How often it is looked whether all processes of a group are gone.
const LOOK: Duration = Duration::from_millis(20);

/// What a program has done.
pub(super) enum Turn {
    Ended(Code),
    /// It waits for somebody to have it go on.
    Stopped,
}

/// The program that runs.
pub(super) struct Job {
    child: Child,
    group: Pid,
    /// A child has ended, stopped or gone on.
    children: Stream,
    has_terminal: bool,
}

impl Job {
    /// Starts the program. It is this command first, by its hidden word, so that the program does not outlive this process
    /// where the system can see to that.
    pub(super) fn start(
        program: &[OsString],
        lock: &str,
        token: Option<i64>,
    ) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            Failure::new(
                Code::Other(126),
                format!("the program cannot be started: {error}"),
            )
        };
        let children = signal(SignalKind::child()).map_err(cannot)?;
        let mut command = Command::new(env::current_exe().map_err(cannot)?);
        command
            .arg(BECOME)
            .arg(process::id().to_string())
            .args(program)
            .env("REDLATCH_LOCK", lock)
            .env_remove("REDLATCH_FENCING_TOKEN")
            .process_group(0)
            .kill_on_drop(true);
        if let Some(token) = token {
            command.env("REDLATCH_FENCING_TOKEN", token.to_string());
        }
        let child = command.spawn().map_err(cannot)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Pid::from_raw(group.ok_or_else(|| cannot(Errno::ESRCH.into()))?);
        let mut job = Self {
            child,
            group,
            children,
            has_terminal: false,
        };
        job.give_terminal();
        Ok(job)
    }

    /// Where this process has the terminal's attention, the program gets it: it may read, and Ctrl-C is its own.
    fn give_terminal(&mut self) {
        let input = io::stdin();
        if input.is_terminal() && tcgetpgrp(&input) == Ok(getpgrp()) {
            self.has_terminal = tcsetpgrp(&input, self.group).is_ok();
        }
    }

    /// Takes it back.
    pub(super) fn give_terminal_back(&mut self) {
        if !std::mem::take(&mut self.has_terminal) {
            return;
        }
        // Who is not in front would be stopped for this.
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGTTOU);
        if let Ok(before) = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK) {
            let _ = tcsetpgrp(io::stdin(), getpgrp());
            let _ = before.thread_set_mask();
        }
    }

    /// Waits until the program ends, or is stopped while it has the terminal, as by Ctrl-Z.
    pub(super) async fn turn(&mut self) -> Result<Turn, Failure> {
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                _ = self.children.recv() => {}
            }
            let which = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
            if self.has_terminal
                && let Ok(WaitStatus::Stopped(..)) = waitid(Id::Pid(self.group), which)
            {
                return Ok(Turn::Stopped);
            }
        };
        let status = status.map_err(|error| {
            Failure::new(
                Code::Other(126),
                format!("the program was lost from sight: {error}"),
            )
        })?;
        let signal = status.signal().map(|number| number.saturating_add(128));
        let number = status.code().or(signal).unwrap_or(126);
        Ok(Turn::Ended(match u8::try_from(number).unwrap_or(u8::MAX) {
            0 => Code::Done,
            other => Code::Other(other),
        }))
    }

    /// Passes a signal on to all of it.
    pub(super) fn signal(&self, signal: Signal) {
        // It may be gone just now, which shows at once.
        let _ = killpg(self.group, signal);
    }

    /// Stops as well, until somebody has this process go on. Nothing is renewed meanwhile.
    pub(super) fn stop_along(&mut self) {
        self.give_terminal_back();
        let _ = raise(Signal::SIGSTOP);
    }

    /// Has a stopped program go on.
    pub(super) fn go_on(&mut self) {
        self.give_terminal();
        self.signal(Signal::SIGCONT);
    }

    /// Ends all of it: TERM now, KILL at `kill_at`. Fails when the program is there all the same `after` that.
    pub(super) async fn stop(&mut self, kill_at: Instant, after: Duration) -> Result<(), Failure> {
        self.signal(Signal::SIGTERM);
        // What has been stopped hears nothing.
        self.signal(Signal::SIGCONT);
        let _ = timeout_at(kill_at, self.gone()).await;
        self.signal(Signal::SIGKILL);
        let gone = timeout_at(Instant::now() + after, self.child.wait()).await;
        gone.map(drop).map_err(|_| {
            Failure::new(
                Code::Lost,
                "the program does not end, not even when it is killed",
            )
        })
    }

    /// Waits until no process of the group is left.
    async fn gone(&mut self) {
        let _ = self.child.wait().await;
        while killpg(self.group, None) != Err(Errno::ESRCH) {
            sleep(LOOK).await;
        }
    }
}

/// Becomes the program, where `words` say so, and comes back only if it cannot. On Linux the program is killed when its
/// parent, which holds the lock, dies.
pub(crate) fn become_program(mut words: impl Iterator<Item = OsString>) -> Option<Failure> {
    if words.nth(1)? != BECOME {
        return None;
    }
    let parent = words
        .next()
        .and_then(|parent| parent.to_str()?.parse().ok());
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    if parent.map(Pid::from_raw) != Some(getppid()) {
        return Some(Failure::new(
            Code::Other(126),
            "whoever holds the lock is gone",
        ));
    }
    let program = words.next()?;
    let error = process::Command::new(&program).args(words).exec();
    let code = match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    let message = format!("{}: {error}", program.to_string_lossy());
    Some(Failure::new(Code::Other(code), message))
}
