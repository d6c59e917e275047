//! What it was measured on.

use std::{fmt, fs, process::Command, thread};

use crate::stage::Stage;

#[derive(Debug)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    server: String,
    placed: String,
    date: String,
    /// Participants that are not there, and why.
    pub(crate) missing: Vec<String>,
}

impl Machine {
    pub(crate) fn look(stage: &Stage) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "))
            .map_or("unknown", |(_, model)| model);
        let info = stage.server.direct().info("server");
        let name = match info.contains_key("valkey_version") {
            true => "valkey-server",
            false => "redis-server",
        };
        Self {
            processor: model.to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: said("uname", &["-sr"]),
            server: format!("{name} {}", stage.server.version()),
            placed: stage.placed.clone(),
            date: said("date", &["-u", "+%e %B %Y"]),
            missing: Vec::new(),
        }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {}, {} over loopback; {}; {}",
            self.processor, self.cores, self.kernel, self.server, self.placed, self.date
        )
    }
}
