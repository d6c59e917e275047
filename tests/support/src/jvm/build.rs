//! Builds the driver with Maven, once for each state of its sources.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::tools::{JvmTools, availability};

const BUILD_LOCK_LIMIT: Duration = Duration::from_secs(600);
const OLD_BUILD: Duration = Duration::from_secs(3600);

/// The built driver, ready to be started.
#[derive(Debug)]
pub struct DriverJar {
    pub(super) java: PathBuf,
    pub(super) classpath: OsString,
    build_time: Option<Duration>,
}

impl DriverJar {
    /// Runs a main class of the driver.
    pub fn command(&self, main: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.arg("-cp").arg(&self.classpath).arg(main);
        command
    }

    /// How long the build took; `None` when an earlier build was still good.
    pub fn build_time(&self) -> Option<Duration> {
        self.build_time
    }
}

/// The driver, built once for the sources as they are now, or `None` after a plain `skipped:` line
/// on stderr.
///
/// # Panics
///
/// When the driver does not compile, and, under `CI=true`, whenever it cannot be had.
pub fn jvm_or_skip(test: &str) -> Option<&'static DriverJar> {
    match driver() {
        Ok(driver) => Some(driver),
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("{test} needs a JDK and Maven, and may not be skipped in CI: {reason}")
        }
        Err(reason) => {
            say(&format!("skipped: {test} needs a JDK and Maven ({reason})"));
            None
        }
    }
}

/// The driver, built once for the sources as they are now; the error says what is missing.
///
/// # Panics
///
/// When the driver does not compile.
pub fn driver() -> Result<&'static DriverJar, String> {
    static DRIVER: OnceLock<Result<DriverJar, String>> = OnceLock::new();
    DRIVER
        .get_or_init(|| build(&availability()?))
        .as_ref()
        .map_err(Clone::clone)
}

/// One line on stderr, past the test harness, which keeps `eprintln!` of a passing test to itself.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Builds into a folder named after the sources' hash; the folder appears by a rename, so it is
/// always complete.
fn build(tools: &JvmTools) -> Result<DriverJar, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = root.join("tests/interop/driver");
    let builds = root.join("target/jvm-driver");
    let describe = |e: io::Error| format!("cannot build the JVM driver: {e}");

    fs::create_dir_all(&builds).map_err(describe)?;
    let builds = builds.canonicalize().map_err(describe)?;
    let output = builds.join(source_hash(&sources).map_err(describe)?);
    let mut build_time = None;
    if !output.is_dir() {
        let _guard = BuildLock::take(&builds).map_err(describe)?;
        if !output.is_dir() {
            build_time = Some(run_maven(tools, &sources, &builds, &output)?);
            remove_old_builds(&builds, &output);
        }
    }
    let jars = output.join("lib").join("*");
    let classpath =
        std::env::join_paths([output.join("classes"), jars]).map_err(|e| e.to_string())?;
    Ok(DriverJar {
        java: tools.java.clone(),
        classpath,
        build_time,
    })
}

fn run_maven(
    tools: &JvmTools,
    sources: &Path,
    builds: &Path,
    output: &Path,
) -> Result<Duration, String> {
    let scratch = builds.join(format!("tmp-{}", std::process::id()));
    let started = Instant::now();
    say("building the JVM driver (the first build fetches Redisson)");
    let mut said = String::new();
    for offline in [true, false] {
        let _ = fs::remove_dir_all(&scratch);
        let mut out_dir = OsString::from("-Ddriver.out=");
        out_dir.push(&scratch);
        let mut mvn = Command::new(&tools.mvn);
        mvn.args(["-q", "-B", "-Dstyle.color=never"])
            .args(offline.then_some("-o"))
            .arg(out_dir)
            .arg("process-classes");
        let ended = mvn
            .current_dir(sources)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("mvn does not run: {e}"))?;
        if ended.status.success() {
            // Losing a race against another process is fine: its folder holds the same build.
            let renamed = fs::rename(&scratch, output);
            if renamed.is_err() && !output.is_dir() {
                renamed.map_err(|e| format!("cannot place the JVM driver: {e}"))?;
            }
            let _ = fs::remove_dir_all(&scratch);
            return Ok(started.elapsed());
        }
        said = String::from_utf8_lossy(&ended.stdout).into_owned();
        if said.contains("COMPILATION ERROR") {
            break;
        }
    }
    let _ = fs::remove_dir_all(&scratch);
    assert!(
        !said.contains("COMPILATION ERROR"),
        "the JVM driver does not compile:\n{said}"
    );
    let first = said
        .lines()
        .find_map(|line| line.split_once("[ERROR] "))
        .map(|(_, text)| text)
        .unwrap_or("no output");
    Err(format!("Maven failed: {first}"))
}

/// FNV-1a over the names and contents of all files of the Maven project.
fn source_hash(sources: &Path) -> io::Result<String> {
    let mut files = vec![sources.join("pom.xml")];
    let mut folders = vec![sources.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file
            .strip_prefix(sources)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        for byte in name.bytes().chain([0]).chain(fs::read(&file)?).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(format!("{hash:016x}"))
}

/// Builds of other sources go once they are old enough that no running test can use them.
fn remove_old_builds(builds: &Path, keep: &Path) {
    for entry in fs::read_dir(builds).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path != keep && age(&path).is_some_and(|age| age > OLD_BUILD) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now()
        .duration_since(fs::metadata(path).ok()?.modified().ok()?)
        .ok()
}

/// Keeps two test processes from building at the same time. Only saves work: the rename is what
/// keeps builds whole.
struct BuildLock(PathBuf);

impl BuildLock {
    fn take(builds: &Path) -> io::Result<Self> {
        let path = builds.join("build.lock");
        loop {
            match fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(mut file) => {
                    write!(file, "{}", std::process::id())?;
                    return Ok(Self(path));
                }
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                Err(_) if Self::stale(&path) => {
                    let _ = fs::remove_file(&path);
                }
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The builder died, or nobody builds for that long.
    fn stale(path: &Path) -> bool {
        let owner = fs::read_to_string(path)
            .ok()
            .and_then(|pid| pid.parse::<u32>().ok());
        let dead = owner.is_some_and(|pid| {
            Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists()
        });
        dead || age(path).is_some_and(|age| age > BUILD_LOCK_LIMIT)
    }
}

impl Drop for BuildLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
