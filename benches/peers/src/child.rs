//! A participant's process, and the cores that processes run on.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child as Process, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crate::kit::{CpuTime, Result};

/// How long a participant may take to start.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end once its input has.
const END: Duration = Duration::from_secs(5);

/// Killed, if need be, when this value goes.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Child {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("no pipe")?;
        let (said, answers) = mpsc::channel();
        // Ends with the process.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let child = Self {
            process,
            input,
            answers,
        };
        let first = child.answer(START)?;
        if first == "ready" {
            Ok(child)
        } else {
            Err(format!("it said {first:?} and not ready").into())
        }
    }

    pub(crate) fn tell(&mut self, order: impl std::fmt::Display) -> Result<()> {
        let input = self.input.as_mut().ok_or("it has ended")?;
        writeln!(input, "{order}").map_err(|error| format!("it has ended: {error}"))?;
        Ok(())
    }

    /// The words of its answer after the first one.
    pub(crate) fn answer(&self, within: Duration) -> Result<String> {
        let answer = self
            .answers
            .recv_timeout(within)
            .map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => format!("no answer within {within:?}"),
                mpsc::RecvTimeoutError::Disconnected => "it has ended".to_owned(),
            })?;
        match answer.strip_prefix("error ") {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    pub(crate) fn ask(
        &mut self,
        order: impl std::fmt::Display,
        within: Duration,
    ) -> Result<String> {
        self.tell(order)?;
        self.answer(within)
    }

    /// Seconds of processor time that it has had so far, with the children that it has waited for.
    pub(crate) fn cpu(&self) -> f64 {
        CpuTime::of(self.process.id()).map_or(0.0, |had| had.own + had.children)
    }

    /// KiB of memory that it has now.
    pub(crate) fn memory(&self) -> f64 {
        let pid = self.process.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.unwrap_or(0.0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.input.take());
        let until = Instant::now() + END;
        while Instant::now() < until {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One core for the server, another for all clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    server: usize,
    clients: usize,
}

impl Cores {
    /// The first two that this process may use; an error says why there are none.
    pub(crate) fn find() -> Result<Self, String> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap_or_default();
        let mut cores = list.trim().split(',').flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<usize>().ok();
            number(first)
                .zip(number(last))
                .map_or(0..0, |(first, last)| first..last + 1)
        });
        let (Some(server), Some(clients)) = (cores.next(), cores.next()) else {
            return Err("there are no two cores".to_owned());
        };
        let ran = Command::new("taskset").arg("--version").output();
        match ran {
            Ok(_) => Ok(Self { server, clients }),
            Err(_) => Err("taskset is missing".to_owned()),
        }
    }

    /// Lets the server run on its core only.
    pub(crate) fn pin_server(self, pid: u32) -> Result<()> {
        let (core, pid) = (self.server.to_string(), pid.to_string());
        let ended = Command::new("taskset")
            .args(["-a", "-c", "-p", &core, &pid])
            .output()?;
        if ended.status.success() {
            Ok(())
        } else {
            Err("taskset cannot pin the server".into())
        }
    }

    /// The same command, on the core of the clients.
    pub(crate) fn pin_client(self, command: &Command) -> Command {
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", &self.clients.to_string()])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        pinned
    }
}
