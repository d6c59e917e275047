//! Redis or Valkey: one, or several that know nothing of each other.

use redlatch_support::Server as One;

use super::Server;
use crate::kit::Result;

pub(super) struct Redis(Vec<One>);

impl Redis {
    pub(super) fn start(count: usize, on_disk: bool) -> Result<Self> {
        let start = |_| One::builder().appendonly(on_disk).try_start();
        Ok(Self((0..count).map(start).collect::<Result<_, _>>()?))
    }
}

impl Server for Redis {
    fn address(&self) -> String {
        let addresses: Vec<String> = self.0.iter().map(One::address).collect();
        addresses.join(",")
    }

    fn version(&self) -> String {
        let Some(first) = self.0.first() else {
            return String::new();
        };
        let info = first.direct().info("server");
        let name = match info.contains_key("valkey_version") {
            true => "Valkey",
            false => "Redis",
        };
        format!("{name} {}", first.version())
    }

    fn kill(&mut self) {
        if let Some(first) = self.0.first() {
            first.kill();
        }
    }

    fn restart(&mut self) -> Result<()> {
        if let Some(first) = self.0.first() {
            first.restart();
        }
        Ok(())
    }
}
