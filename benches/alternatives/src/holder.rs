//! A process that holds a lock, to be killed.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::timeout};

use crate::{
    contender,
    kit::Result,
    options::Options,
    system::{SYSTEMS, System},
};

/// How long it may take to start and to have a lock that nobody else wants.
const START: Duration = Duration::from_secs(20);

/// What the process itself does.
pub(crate) async fn hold(options: &Options, name: &str) -> Result<()> {
    let system = SYSTEMS.iter().find(|one| one.name == options.system);
    let system = system.ok_or("no such system")?;
    let mut contender = contender::connect(system, &options.address, options.lease()).await?;
    contender.lock(name).await?;
    println!("held");
    let input_ends = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::pin!(input_ends);
    tokio::select! {
        _ = &mut input_ends => return Ok(()),
        () = contender.lost() => println!("lost"),
    }
    input_ends.await??;
    Ok(())
}

/// Killed when this value goes.
pub(crate) struct Holder {
    process: Child,
    said: mpsc::UnboundedReceiver<(Instant, String)>,
}

impl Holder {
    /// Comes back when it has the lock.
    pub(crate) async fn start(
        system: &System,
        address: &str,
        lease: Duration,
        name: &str,
    ) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--hold", name, "--system", system.name])
            .args([
                "--address",
                address,
                "--lease",
                &lease.as_secs().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no pipe")?;
        let (say, said) = mpsc::unbounded_channel();
        // Ends with the process.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if say.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let mut holder = Self { process, said };
        match timeout(START, holder.said.recv()).await {
            Ok(Some((_, line))) if line == "held" => Ok(holder),
            _ => Err("the process that was to hold the lock did not get it".into()),
        }
    }

    /// When it found out that it does not have the lock any more; `None` if it does not until then.
    pub(crate) async fn told(&mut self, until: Instant) -> Option<Instant> {
        let limit = until.saturating_duration_since(Instant::now());
        let said = timeout(limit, self.said.recv()).await.ok()?;
        said.filter(|(_, line)| line == "lost").map(|(at, _)| at)
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// It stands still, and its connections stay.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.process.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill \"$1\" \"$2\"", "sh", signal, &pid])
            .status()?;
        match sent.success() {
            true => Ok(()),
            false => Err(format!("kill {signal} failed").into()),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}
