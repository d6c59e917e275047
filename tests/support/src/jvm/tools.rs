//! The programs that the driver needs.

use std::path::{Path, PathBuf};
use std::process::Command;

const OLDEST_JAVA: u32 = 17;

/// The programs the driver needs.
#[derive(Debug, Clone)]
pub struct JvmTools {
    /// `java` of `JAVA_HOME`, else of `PATH`.
    pub java: PathBuf,
    /// `mvn` of `PATH`.
    pub mvn: PathBuf,
}

/// Looks for a JDK (17 or later) and Maven; the error says what is missing.
pub fn availability() -> Result<JvmTools, String> {
    let home = std::env::var_os("JAVA_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    let tool = |name: &str| match &home {
        Some(home) => Some(home.join("bin").join(name)).filter(|path| path.is_file()),
        None => on_path(name),
    };
    let java = tool("java").ok_or("no java found")?;
    tool("javac").ok_or("no javac found, this is not a full JDK")?;
    let version = java_version(&java)?;
    if version < OLDEST_JAVA {
        return Err(format!(
            "Java {version} found, {OLDEST_JAVA} or later is needed"
        ));
    }
    let mvn = on_path("mvn").ok_or("no mvn found")?;
    Ok(JvmTools { java, mvn })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn java_version(java: &Path) -> Result<u32, String> {
    let output = Command::new(java)
        .arg("-version")
        .output()
        .map_err(|e| format!("java does not run: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // `... version "17.0.15" ...`, or `"1.8.0_392"` on the old ones.
    let mut numbers = text
        .split('"')
        .nth(1)
        .unwrap_or_default()
        .split(['.', '-', '+', '_'])
        .map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) => Ok(minor),
        (Some(major), _) => Ok(major),
        _ => Err(format!(
            "java -version says {:?}",
            text.lines().next().unwrap_or_default()
        )),
    }
}
