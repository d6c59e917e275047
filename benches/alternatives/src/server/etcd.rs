//! etcd, one member, with default settings: every write is on disk before it is answered.

use std::process::Command;

use super::{
    daemon::{Daemon, new_folder, said},
    program,
};
use crate::kit::{Result, machine};

const HEALTH: &str = "GET /health HTTP/1.0\r\n\r\n";

pub(super) fn start() -> Result<Daemon> {
    Daemon::start(
        machine::said("etcd", &["--version"]).replace(" Version:", ""),
        new_folder()?,
        2,
        |folder, ports| {
            let [clients, peers] =
                [ports[0], ports[1]].map(|port| format!("http://127.0.0.1:{port}"));
            let mut command = Command::new(program("etcd").unwrap_or_default());
            command
                .args(["--name", "one", "--log-level", "error", "--data-dir"])
                .arg(folder.join("data"))
                .args(["--listen-client-urls", &clients])
                .args(["--advertise-client-urls", &clients])
                .args(["--listen-peer-urls", &peers])
                .args(["--initial-advertise-peer-urls", &peers])
                .args(["--initial-cluster", &format!("one={peers}")]);
            command
        },
        |ports| said(ports[0], HEALTH).contains("\"true\""),
    )
}
