//! What it was measured on.

use std::fmt;

use crate::{
    kit::machine::{hardware, today},
    stage::Stage,
};

#[derive(Debug)]
pub(crate) struct Machine {
    hardware: String,
    server: String,
    placed: String,
    date: String,
    /// Participants that are not there, and why.
    pub(crate) missing: Vec<String>,
}

impl Machine {
    pub(crate) fn look(stage: &Stage) -> Self {
        let info = stage.server.direct().info("server");
        let name = match info.contains_key("valkey_version") {
            true => "valkey-server",
            false => "redis-server",
        };
        Self {
            hardware: hardware(),
            server: format!("{name} {}", stage.server.version()),
            placed: stage.placed.clone(),
            date: today(),
            missing: Vec::new(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} over loopback; {}; {}",
            self.hardware, self.server, self.placed, self.date
        )
    }
}
