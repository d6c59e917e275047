//! Processes that are killed, or stopped for a while: this program again, in a part of its own.

use std::{
    io::{BufRead, BufReader, Write, stdin, stdout},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use clap::Subcommand;
use redlatch::{Client, MultiLock};
use redlatch_support::Direct;

use crate::{Result, plain::shown, tale::Tale};

/// The time to live of what redlatch holds here, which its watchdog renews.
pub(crate) const WATCHDOG: Duration = Duration::from_millis(1_000);

#[derive(Subcommand)]
pub(crate) enum Part {
    /// Sends plain commands, and goes on holding what it has.
    Plain { port: u16, commands: Vec<String> },
    /// Holds a lock of redlatch.
    Hold { url: String, name: String },
    /// Holds a lock of a majority, looks whether it still has it, and writes.
    Majority { store: u16, urls: Vec<String> },
    /// Holds a plain lock, looks whether it still has it, and writes.
    Checked { store: u16, url: String },
    /// Holds a fenced lock, looks whether it still has it, and writes with its token.
    Fenced { url: String },
}

/// A client of redlatch's, with a short time to live.
pub(crate) async fn client(url: &str) -> Result<Client> {
    let builder = Client::builder().url(url)?;
    let builder = builder
        .watchdog_timeout(WATCHDOG)
        .safety_poll(WATCHDOG / 2)
        .command_timeout(WATCHDOG / 2);
    Ok(builder.connect().await?)
}

/// What each child does in its own process. It never ends by itself while it is wanted.
pub(crate) async fn play(part: Part) -> Result<()> {
    match part {
        Part::Plain { port, commands } => {
            let direct = Direct::new(port);
            for command in commands {
                let words: Vec<&str> = command.split(' ').collect();
                say(&format!("{command} -> {}", shown(&direct.try_cmd(&words)?)))?;
            }
            heard()?;
        }
        Part::Hold { url, name } => {
            let guard = client(&url).await?.lock(name).lock().await?;
            say("held")?;
            heard()?;
            drop(guard);
        }
        Part::Majority { store, urls } => {
            let mut members = Vec::new();
            for url in &urls {
                members.push(client(url).await?.lock("lock"));
            }
            let guard = MultiLock::majority(members)?.lock().await?;
            look(guard.is_lost())?;
            write(store)?;
        }
        Part::Checked { store, url } => {
            let guard = client(&url).await?.lock("lock").lock().await?;
            look(guard.is_lost())?;
            write(store)?;
        }
        Part::Fenced { url } => {
            let client = client(&url).await?;
            let guard = client.fenced_lock("lock").lock().await?;
            look(guard.is_lost())?;
            let token = guard.grant();
            match client.fenced_cell("stock").set(token, "A's").await {
                Ok(()) => say("written")?,
                Err(error) => say(&error.to_string())?,
            }
        }
    }
    Ok(())
}

/// Its last look before it writes, and what comes between the two.
fn look(is_lost: bool) -> Result<()> {
    say(if is_lost { "lost" } else { "held" })?;
    heard()
}

fn write(store: u16) -> Result<()> {
    let reply = Direct::new(store).try_cmd(&["SET", "stock", "A's"])?;
    say(&format!("SET stock A's -> {}", shown(&reply)))
}

fn say(line: &str) -> Result<()> {
    writeln!(stdout(), "{line}")?;
    Ok(())
}

/// Waits for a word, or for the end of the story.
fn heard() -> Result<()> {
    stdin().read_line(&mut String::new())?;
    Ok(())
}

/// A child, seen from the story. Killed when this value goes.
pub(crate) struct Actor {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Actor {
    pub(crate) fn start(part: &[&str]) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("child")
            .args(part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no stdin")?;
        let output = process.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output),
        })
    }

    /// Its next line.
    pub(crate) fn said(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a process has ended before its time".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// It may go on.
    pub(crate) fn tell(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"go on\n")?)
    }

    /// Stops it where it stands, as a long collection of garbage or a sleeping machine does.
    pub(crate) fn stop(&self, tale: &Tale) -> Result<()> {
        tale.meanwhile("A is stopped for longer than its lock lives");
        self.signal("-STOP")
    }

    pub(crate) fn go_on(&self, tale: &Tale) -> Result<()> {
        tale.meanwhile("A goes on");
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status()?;
        sent.success()
            .then_some(())
            .ok_or_else(|| format!("kill {signal} failed").into())
    }

    /// Kills it: no destructor of it runs.
    pub(crate) fn kill(mut self, tale: &Tale) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        tale.meanwhile("A is killed");
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
