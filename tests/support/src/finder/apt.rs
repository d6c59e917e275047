//! Servers out of the system's packages: installed by root, or unpacked into the cache by anybody.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::fetch::{Scratch, disk, run, say};
use super::{FindError, Flavor, ServerBinary, cached_in, on_path};

/// The folder in the cache.
pub(super) const FOLDER: &str = "redis-apt";

/// Installs the system's `redis-server` package; needs root.
pub(super) fn install(flavor: Flavor) -> Result<ServerBinary, FindError> {
    if !is_root() {
        return Err(FindError::new(
            "apt-get install needs root; run it yourself if you may",
        ));
    }
    say("installing redis-server with apt-get");
    run(Command::new("apt-get").arg("update"))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends", "redis-server"]))?;
    on_path(flavor, |_| true).ok_or_else(|| {
        FindError::new("apt-get installed redis-server but the PATH has none; add /usr/bin to it")
    })
}

/// Downloads the package with private lists and unpacks it into the cache; needs no root.
pub(super) fn unpack(flavor: Flavor) -> Result<ServerBinary, FindError> {
    if let Some(found) = cached_in(FOLDER, flavor) {
        return Ok(found);
    }
    say("unpacking redis-server from the system's packages");
    let scratch = Scratch::new()?;
    let lists = scratch.path.join("lists");
    let archives = scratch.path.join("cache");
    for folder in [lists.join("partial"), archives.join("archives/partial")] {
        fs::create_dir_all(&folder).map_err(|error| disk(&folder, &error))?;
    }
    let apt = |words: &[&str]| {
        run(Command::new("apt-get")
            .args(["-q", "-o", "APT::Sandbox::User="])
            .arg("-o")
            .arg(format!("Dir::State::lists={}", lists.display()))
            .arg("-o")
            .arg(format!("Dir::Cache={}", archives.display()))
            .args(words)
            .current_dir(&scratch.path))
    };
    // Without root, cleaning up at the end may fail although the lists are there; the download tells.
    let updated = apt(&["update"]);
    // The server is the same file as redis-check-rdb and acts by the name it is started under.
    apt(&["download", "redis-tools", "libjemalloc2", "liblzf1"])
        .map_err(|error| updated.err().unwrap_or(error))?;
    let root = scratch.path.join("root");
    for package in files_in(&scratch.path)?
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
    {
        run(Command::new("dpkg").arg("-x").arg(package).arg(&root))?;
    }
    let staged = scratch.staged("redis-server")?;
    let server = root.join("usr/bin/redis-check-rdb");
    fs::copy(&server, &staged).map_err(|error| disk(&server, &error))?;
    let libraries = scratch.path.join("staged/lib");
    fs::create_dir_all(&libraries).map_err(|error| disk(&libraries, &error))?;
    let architectures = root.join("usr/lib");
    for folder in files_in(&architectures)? {
        for library in files_in(&folder).unwrap_or_default() {
            // Copying follows links, so each name of a library becomes a file of its own.
            if let Some(name) = library.file_name().filter(|_| library.is_file()) {
                fs::copy(&library, libraries.join(name)).map_err(|error| disk(&library, &error))?;
            }
        }
    }
    scratch.publish(&staged, FOLDER, flavor)
}

fn files_in(folder: &Path) -> Result<Vec<std::path::PathBuf>, FindError> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|error| disk(folder, &error))
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
