//! ZooKeeper, one server; with default settings but for shorter ticks, since no session is shorter than two of them.

use std::{fs, process::Command};

use super::{
    daemon::{Daemon, new_folder, said},
    jars, program,
};
use crate::kit::Result;

/// What it logs otherwise costs it more than the locks.
const LOGGING: &str = r#"<configuration>
  <appender name="all" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%m%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="all"/></root>
</configuration>
"#;

pub(super) fn found() -> bool {
    program("java").is_some() && version().is_some()
}

/// As its jar is named.
fn version() -> Option<String> {
    let files = fs::read_dir(jars()).ok()?;
    files.flatten().find_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
        let is_version = version.starts_with(|first: char| first.is_ascii_digit());
        is_version.then(|| version.to_owned())
    })
}

pub(super) fn start() -> Result<Daemon> {
    let folder = new_folder()?;
    fs::write(folder.join("logback.xml"), LOGGING)?;
    Daemon::start(
        format!("ZooKeeper {}", version().unwrap_or_default()),
        folder,
        1,
        |folder, ports| {
            let settings = format!(
                "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=500\nmaxClientCnxns=0\n\
                 maxSessionTimeout=60000\nadmin.enableServer=false\n4lw.commands.whitelist=ruok\n",
                folder.join("data").display(),
                ports[0]
            );
            let file = folder.join("zoo.cfg");
            // Without it the server does not start, and says so.
            let _ = fs::write(&file, settings);
            let mut command = Command::new(program("java").unwrap_or_default());
            command
                .args(["-Xmx512m", "-cp"])
                .arg(format!("{}:{}/*", folder.display(), jars().display()))
                .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
                .arg(file);
            command
        },
        |ports| said(ports[0], "ruok").contains("imok"),
    )
}
