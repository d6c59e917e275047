//! The servers: one of each that the chosen systems need, on free ports of the loopback, ended by pid.

mod daemon;
mod etcd;
mod install;
mod memcached;
mod postgres;
mod redis;
mod zookeeper;

use std::path::{Path, PathBuf};

pub(crate) use self::install::install;
use crate::{kit::Result, system::Host};

pub(crate) trait Server {
    /// Where clients go; addresses of several servers are separated by commas.
    fn address(&self) -> String;

    /// Its name and version.
    fn version(&self) -> String;

    /// With SIGKILL. Of several servers the first.
    fn kill(&mut self);

    /// What was killed starts again, on the same port and with what is on its disk; comes back when it answers.
    fn restart(&mut self) -> Result<()>;
}

/// What is missing for it, and how to have it; `None` where it can be started.
pub(crate) fn missing(host: Host) -> Option<String> {
    let (what, found) = match host {
        // Found or fetched when it is started.
        Host::Redis | Host::RedisOnDisk | Host::ThreeRedis => return None,
        Host::ZooKeeper => ("Java and ZooKeeper's jars", zookeeper::found()),
        Host::Etcd => ("etcd (Debian: etcd-server)", program("etcd").is_some()),
        Host::Postgres => ("PostgreSQL's server (postgresql)", postgres::found()),
        Host::Memcached => ("memcached", program("memcached").is_some()),
    };
    (!found).then(|| format!("it needs {what}; `--install` gets it"))
}

pub(crate) fn start(host: Host) -> Result<Box<dyn Server>> {
    Ok(match host {
        Host::Redis => Box::new(redis::Redis::start(1, false)?),
        Host::RedisOnDisk => Box::new(redis::Redis::start(1, true)?),
        Host::ThreeRedis => Box::new(redis::Redis::start(3, false)?),
        Host::ZooKeeper => Box::new(zookeeper::start()?),
        Host::Etcd => Box::new(etcd::start()?),
        Host::Postgres => Box::new(postgres::start()?),
        Host::Memcached => Box::new(memcached::start()?),
    })
}

/// Where a program is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Where Maven puts ZooKeeper.
fn jars() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/zookeeper")
}
