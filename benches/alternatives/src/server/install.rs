//! What is missing, from the system's packages and Maven.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::{jars, missing, program, zookeeper};
use crate::{kit::Result, system::Host};

/// Gets it. Whether it is there afterwards is for `missing` to say.
pub(crate) fn install(host: Host) -> Result<()> {
    if missing(host).is_none() {
        return Ok(());
    }
    match host {
        Host::Redis | Host::RedisOnDisk | Host::ThreeRedis => Ok(()),
        Host::Etcd => apt(&["etcd-server"]),
        Host::Postgres => apt(&["postgresql"]),
        Host::Memcached => apt(&["memcached"]),
        Host::ZooKeeper => {
            if program("java").is_none() || program("mvn").is_none() {
                apt(&["default-jdk-headless", "maven"])?;
            }
            if zookeeper::found() {
                return Ok(());
            }
            let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("zookeeper/pom.xml");
            let mut folder = std::ffi::OsString::from("-DoutputDirectory=");
            folder.push(jars());
            run(Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(pom)
                .arg(folder))
        }
    }
}

fn apt(packages: &[&str]) -> Result<()> {
    run(Command::new("apt-get").args(["-q", "update"]))?;
    run(Command::new("apt-get")
        .args(["-q", "-y", "install", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn run(command: &mut Command) -> Result<()> {
    println!("{command:?}");
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{} failed: {status}", command.get_program().display()).into()),
    }
}
