//! memcached, with default settings.

use std::process::Command;

use super::{
    daemon::{Daemon, new_folder, said},
    program,
};
use crate::kit::{Result, machine};

pub(super) fn start() -> Result<Daemon> {
    Daemon::start(
        machine::said("memcached", &["--version"]),
        new_folder()?,
        1,
        |_, ports| {
            let mut command = Command::new(program("memcached").unwrap_or_default());
            // As root it insists on a user.
            command.args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p"]);
            command.arg(ports[0].to_string());
            command
        },
        |ports| said(ports[0], "version\r\n").starts_with("VERSION"),
    )
}
