//! PostgreSQL, with default settings: what is committed is on disk.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    daemon::{Daemon, new_folder},
    program,
};
use crate::kit::{Result, machine};

/// It refuses to be run by root; this user comes with its package.
const USER: &str = "postgres";

pub(super) fn found() -> bool {
    tool("postgres").is_some() && tool("initdb").is_some()
}

/// A program of the server: on the PATH, or in the newest folder that Debian has for it.
fn tool(name: &str) -> Option<PathBuf> {
    if let Some(found) = program(name) {
        return Some(found);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin").join(name)))
        })
        .filter(|(_, file)| file.is_file())
        .collect();
    folders.sort();
    folders.pop().map(|(_, file)| file)
}

/// User and group to run it as; `None` for those of this process.
fn user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| machine::said("id", arguments).parse::<u32>().ok();
    (id(&["-u"]) == Some(0)).then(|| id(&["-u", USER]).zip(id(&["-g", USER])))?
}

fn command(name: &str) -> Command {
    let mut command = Command::new(tool(name).unwrap_or_default());
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

pub(super) fn start() -> Result<Daemon> {
    let folder = new_folder()?;
    if let Some((user, group)) = user() {
        chown(&folder, Some(user), Some(group))?;
    }
    let made = command("initdb")
        .args(["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "-D"])
        .arg(data(&folder))
        .current_dir(&folder)
        .output()?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        fs::remove_dir_all(&folder)?;
        return Err(format!("initdb: {said}").into());
    }
    let version = tool("postgres").unwrap_or_default();
    let version = machine::said(&version.to_string_lossy(), &["--version"]);
    let version = version.replace("postgres (PostgreSQL)", "PostgreSQL");
    Daemon::start(
        version.split(" (").next().unwrap_or_default().to_owned(),
        folder,
        1,
        |folder, ports| {
            let mut command = command("postgres");
            command
                .arg("-D")
                .arg(data(folder))
                .args(["-p", &ports[0].to_string()])
                .args(["-c", "listen_addresses=127.0.0.1"])
                .args(["-c", "unix_socket_directories="]);
            command
        },
        |ports| {
            let asked = Command::new(tool("pg_isready").unwrap_or_default())
                .args(["-q", "-h", "127.0.0.1", "-p", &ports[0].to_string()])
                .status();
            asked.is_ok_and(|status| status.success())
        },
    )
}
