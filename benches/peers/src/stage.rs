//! The server, and where participants are started.

use std::{fs, path::PathBuf, time::Duration};

use redlatch_support::{Server, unique_name};

use crate::{
    child::{Child, Cores},
    kit::Result,
    monitor::Monitor,
    options::Options,
    peer::{Peer, Programs},
    relay::Relay,
    workload::Way,
};

pub(crate) struct Stage {
    pub(crate) server: Server,
    relay: Relay,
    pub(crate) programs: Programs,
    /// Which processes run on which core, for the reader.
    pub(crate) placed: String,
    cores: Option<Cores>,
    folder: PathBuf,
}

impl Stage {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let server = Server::builder().try_start()?;
        let cores = match options.pin {
            Some(false) => Err("as it was asked for".to_owned()),
            _ => Cores::find(),
        };
        let placed = match &cores {
            Ok(cores) => {
                cores.pin_server(server.pid())?;
                "the server on one core, all clients on another".to_owned()
            }
            Err(reason) if options.pin == Some(true) => {
                return Err(format!("nothing can be pinned: {reason}").into());
            }
            Err(reason) => format!("not pinned to cores: {reason}"),
        };
        let folder = std::env::temp_dir().join(unique_name("redlatch-peers"));
        fs::create_dir_all(&folder)?;
        let relay = Relay::start(&server.address())?;
        Ok(Self {
            server,
            relay,
            programs: Programs::default(),
            placed,
            cores: cores.ok(),
            folder,
        })
    }

    pub(crate) fn start(&self, peer: &Peer, way: Way, watchdog: Duration) -> Result<Child> {
        let address = match way {
            Way::Near => self.server.address(),
            Way::Far => self.relay.address(),
        };
        let command = self.programs.command(peer, &address, watchdog)?;
        Child::start(match self.cores {
            Some(cores) => cores.pin_client(&command),
            None => command,
        })
    }

    /// A file for the critical sections of one process.
    pub(crate) fn file(&self, process: usize) -> PathBuf {
        self.folder.join(format!("sections-{process}"))
    }

    /// Seconds of processor time that the server has had.
    pub(crate) fn server_cpu(&self) -> f64 {
        let info = self.server.direct().info("cpu");
        let figure = |name: &str| info.get(name).and_then(|text| text.parse::<f64>().ok());
        ["used_cpu_user", "used_cpu_sys"]
            .iter()
            .filter_map(|name| figure(name))
            .sum()
    }

    /// Commands so far, with those that scripts call.
    pub(crate) fn all_commands(&self) -> u64 {
        let info = self.server.direct().info("stats");
        let figure = info.get("total_commands_processed");
        figure.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What clients send while `work` runs.
    pub(crate) fn counted<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(u64, T)> {
        let monitor = Monitor::start(&self.server)?;
        let done = work();
        let count = monitor.end(&self.server)?;
        Ok((count, done?))
    }

    /// Nothing that one leaves behind is there for the next.
    pub(crate) fn clear(&self) {
        self.server.direct().flushall();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
