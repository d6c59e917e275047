//! The JVM side of the interop tests: builds the Redisson driver of `tests/interop/driver` and runs
//! it.
//!
//! Everything here blocks; async tests call it from a thread or through `spawn_blocking`.
//!
//! ```no_run
//! use redlatch_support::jvm::{self, Jvm, JvmOptions};
//!
//! let Some(driver) = jvm::jvm_or_skip("my_test") else { return };
//! let jvm = Jvm::start(driver, &JvmOptions::single("127.0.0.1:6379"));
//! jvm.call("w1", "lock", &["lock", "orders"]).unwrap();
//! let refused = jvm.call("w2", "unlock", &["lock", "orders"]).unwrap_err();
//! assert_eq!(refused.class, "IllegalMonitorStateException");
//! ```
//!
//! Operations (arguments in order, results in brackets). `K` is a lock kind: `lock`, `fair`,
//! `spin`, `fenced`, `read`, `write`, `nonreentrant`, `nonreentrantfair`; `N` is the lock's name;
//! times are milliseconds.
//!
//! * `lock K N`, `lockint K N` (interruptible), `lockfor K N lease`
//! * `trylock K N` \[bool\], `trylockfor K N wait lease` \[bool\], lease `-1` = kept alive by the
//!   watchdog
//! * `unlock K N`, `forceunlock K N` \[bool\]
//! * `islocked K N`, `isheld K N`, `isheldby K N threadid` \[bool\], `holdcount K N`, `ttl K N`
//!   \[number\]
//! * `threadid` \[number\], `interrupt worker` \[did the worker exist\]
//! * `contend K N counterkey duration threads think` \[cycles\], with one [`Interval`] for each
//!   critical section

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const START_LIMIT: Duration = Duration::from_secs(60);
const CALL_LIMIT: Duration = Duration::from_secs(60);
const BUILD_LOCK_LIMIT: Duration = Duration::from_secs(600);
const OLD_BUILD: Duration = Duration::from_secs(3600);
const STDERR_LINES: usize = 60;
const OLDEST_JAVA: u32 = 17;

// ----------------------------------------------------------------------------
// Tools and build

/// The programs the driver needs.
#[derive(Debug, Clone)]
pub struct JvmTools {
    /// `java` of `JAVA_HOME`, else of `PATH`.
    pub java: PathBuf,
    /// `mvn` of `PATH`.
    pub mvn: PathBuf,
}

/// The built driver, ready to be started.
#[derive(Debug)]
pub struct DriverJar {
    java: PathBuf,
    classpath: OsString,
    build_time: Option<Duration>,
}

impl DriverJar {
    /// How long the build took; `None` when an earlier build was still good.
    pub fn build_time(&self) -> Option<Duration> {
        self.build_time
    }
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

/// The driver, built once for the sources as they are now, or `None` after a plain `skipped:` line
/// on stderr.
///
/// # Panics
///
/// When the driver does not compile, and, under `CI=true`, whenever it cannot be had.
pub fn jvm_or_skip(test: &str) -> Option<&'static DriverJar> {
    static DRIVER: OnceLock<Result<DriverJar, String>> = OnceLock::new();
    match DRIVER.get_or_init(|| build(&availability()?)) {
        Ok(driver) => Some(driver),
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("{test} needs a JDK and Maven, and may not be skipped in CI: {reason}")
        }
        Err(reason) => {
            eprintln!("skipped: {test} needs a JDK and Maven ({reason})");
            None
        }
    }
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
    eprintln!("building the JVM driver (the first build fetches Redisson)");
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

// ----------------------------------------------------------------------------
// Options and answers

/// How Redisson finds the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JvmMode {
    /// One server; the only address.
    #[default]
    Single,
    /// A cluster; some of its nodes.
    Cluster,
    /// A master watched by sentinels; the sentinels. The master's name is `mymaster` unless
    /// `--master-name` is in `extra`.
    Sentinel,
}

/// What a [`Jvm`] is started with. `None` leaves Redisson's default.
#[derive(Debug, Clone, Default)]
pub struct JvmOptions {
    /// `host:port` or a `redis://` / `rediss://` address; several in the cluster and sentinel
    /// modes.
    pub addresses: Vec<String>,
    /// How the addresses are meant.
    pub mode: JvmMode,
    /// `lockWatchdogTimeout`; renewals come every third of it.
    pub watchdog: Option<Duration>,
    /// Command timeout.
    pub timeout: Option<Duration>,
    /// Put before every object name by a name mapper (the counter key of `contend` is not touched).
    pub prefix: Option<String>,
    /// RESP3 instead of RESP2.
    pub resp3: bool,
    /// Further driver options, as `--name`, value pairs.
    pub extra: Vec<String>,
}

impl JvmOptions {
    /// One server with Redisson's defaults.
    pub fn single(address: impl Into<String>) -> Self {
        Self {
            addresses: vec![address.into()],
            ..Self::default()
        }
    }

    /// Cluster nodes with Redisson's defaults.
    pub fn cluster(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self {
            addresses,
            mode: JvmMode::Cluster,
            ..Self::default()
        }
    }

    /// Sets the watchdog timeout.
    #[must_use]
    pub fn watchdog(mut self, watchdog: Duration) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Sets the command timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the name prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Speaks RESP3.
    #[must_use]
    pub fn resp3(mut self) -> Self {
        self.resp3 = true;
        self
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        for address in &self.addresses {
            let full = if address.contains("://") {
                address.clone()
            } else {
                format!("redis://{address}")
            };
            add("--address", full);
        }
        let mode = match self.mode {
            JvmMode::Single => "single",
            JvmMode::Cluster => "cluster",
            JvmMode::Sentinel => "sentinel",
        };
        add("--mode", mode.to_owned());
        if let Some(watchdog) = self.watchdog {
            add("--watchdog", watchdog.as_millis().to_string());
        }
        if let Some(timeout) = self.timeout {
            add("--timeout", timeout.as_millis().to_string());
        }
        if let Some(prefix) = &self.prefix {
            add("--prefix", prefix.clone());
        }
        if self.resp3 {
            add("--protocol", "RESP3".to_owned());
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// One critical section of a `contend` run; both instants lie inside the time the lock was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The JVM thread, `<worker>-<number>`.
    pub thread: String,
    /// Epoch microseconds, read after the lock call returned.
    pub granted_micros: u64,
    /// Epoch microseconds, read before the unlock call.
    pub released_micros: u64,
}

/// The answer to a call that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The result; empty for an operation without one.
    pub value: String,
    /// How long the operation took inside the JVM.
    pub elapsed: Duration,
    /// The critical sections of a `contend` run.
    pub intervals: Vec<Interval>,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JvmError {
    /// Simple name of the Java exception; [`JvmError::GONE`] and [`JvmError::NO_ANSWER`] come from
    /// this side.
    pub class: String,
    /// The exception's message.
    pub message: String,
    /// How long the operation took inside the JVM; zero for the two classes of this side.
    pub elapsed: Duration,
}

impl JvmError {
    /// The process ended before it answered.
    pub const GONE: &'static str = "JvmGone";
    /// No answer within the bound of [`Jvm::call`].
    pub const NO_ANSWER: &'static str = "NoAnswer";

    fn local(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
            elapsed: Duration::ZERO,
        }
    }
}

impl fmt::Display for JvmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for JvmError {}

/// A call under way.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<Result<Reply, JvmError>>,
    done: Option<Result<Reply, JvmError>>,
}

impl Pending {
    /// Waits for the answer that long; `None` means "still running". Can be asked again, also after
    /// the answer.
    pub fn wait(&mut self, limit: Duration) -> Option<Result<Reply, JvmError>> {
        if self.done.is_none() {
            self.done = match self.answer.recv_timeout(limit) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    Some(Err(JvmError::local(JvmError::GONE, "no answer")))
                }
            };
        }
        self.done.clone()
    }

    /// Is there an answer by now?
    pub fn is_done(&mut self) -> bool {
        self.wait(Duration::ZERO).is_some()
    }
}

// ----------------------------------------------------------------------------
// The process

/// A running JVM with one Redisson client. Killed on drop.
#[derive(Debug)]
pub struct Jvm {
    child: Mutex<Child>,
    pid: u32,
    uuid: String,
    stdin: Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Waiting>,
    stderr: Vec<String>,
    gone: bool,
}

#[derive(Debug)]
struct Waiting {
    answer: Sender<Result<Reply, JvmError>>,
    intervals: Vec<Interval>,
}

impl Jvm {
    /// Starts a driver and waits until its client is connected.
    ///
    /// # Panics
    ///
    /// When that fails or takes more than 60 s; the message carries the JVM's stderr.
    pub fn start(driver: &DriverJar, options: &JvmOptions) -> Self {
        let mut child = Command::new(&driver.java)
            .args([
                "-Xshare:auto",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xmx256m",
                "-cp",
            ])
            .arg(&driver.classpath)
            .arg("redlatch.driver.Main")
            .args(options.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", driver.java.display()));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");

        let shared = Arc::new(Shared::default());
        let (ready, is_ready) = mpsc::channel();
        let errors = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.keep_stderr(BufReader::new(stderr)))
        };
        {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.read_answers(BufReader::new(stdout), &ready);
                let _ = errors.join();
                shared.end();
                drop(ready);
            });
        }

        // Built before the wait, so that a failed start leaves no process behind.
        let mut jvm = Self {
            pid: child.id(),
            child: Mutex::new(child),
            uuid: String::new(),
            stdin: Mutex::new(stdin),
            shared,
            next_id: AtomicU64::new(1),
        };
        match is_ready.recv_timeout(START_LIMIT) {
            Ok(uuid) => jvm.uuid = uuid,
            Err(e) => panic!("the JVM driver did not start ({e}):\n{}", jvm.stderr()),
        }
        jvm
    }

    /// The client id: the first part of every lock owner id of this JVM.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The owner id of a worker as it stands in the lock's hash: `<uuid>:<thread id>`.
    ///
    /// # Panics
    ///
    /// When the JVM does not answer.
    pub fn owner(&self, worker: &str) -> String {
        match self.call(worker, "threadid", &[]) {
            Ok(thread) => format!("{}:{thread}", self.uuid),
            Err(e) => panic!("no thread id: {e}"),
        }
    }

    /// Runs an operation on a worker thread (made on first use) and waits up to 60 s for its
    /// result.
    pub fn call(&self, worker: &str, op: &str, args: &[&str]) -> Result<String, JvmError> {
        self.call_reply(worker, op, args).map(|reply| reply.value)
    }

    /// Like [`Jvm::call`], with the elapsed time and the intervals.
    pub fn call_reply(&self, worker: &str, op: &str, args: &[&str]) -> Result<Reply, JvmError> {
        self.start_call(worker, op, args)
            .wait(CALL_LIMIT)
            .unwrap_or_else(|| {
                Err(JvmError::local(
                    JvmError::NO_ANSWER,
                    format!("{op} {args:?} did not end in {CALL_LIMIT:?}"),
                ))
            })
    }

    /// Sends an operation and returns at once. Calls of one worker run in order, those of two
    /// workers side by side.
    pub fn start_call(&self, worker: &str, op: &str, args: &[&str]) -> Pending {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = mpsc::channel();
        let pending = Pending {
            answer: receiver,
            done: None,
        };

        let mut state = self.shared.state();
        if state.gone {
            let _ = answer.send(Err(state.gone_error()));
            return pending;
        }
        state.calls.insert(
            id,
            Waiting {
                answer,
                intervals: Vec::new(),
            },
        );
        drop(state);

        let mut line = format!("{id} {} {op}", encode(worker));
        for arg in args {
            line.push(' ');
            line.push_str(&encode(arg));
        }
        line.push('\n');
        if let Some(stdin) = lock(&self.stdin).as_mut() {
            // A failed write means that the process ended; the reader thread tells all calls.
            let _ = stdin
                .write_all(line.as_bytes())
                .and_then(|()| stdin.flush());
        }
        pending
    }

    /// Interrupts a worker's thread in the middle of its call. An idle worker does not notice.
    pub fn interrupt(&self, worker: &str) -> Result<String, JvmError> {
        self.call(worker, "interrupt", &[worker])
    }

    /// Kills the process (SIGKILL) and waits for its end, as a crash of the service would. Can be
    /// repeated.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Ends the process in good order (held locks stay, as Redisson leaves them) and waits for its
    /// end.
    pub fn quit(self) {
        drop(lock(&self.stdin).take());
        let deadline = Instant::now() + CALL_LIMIT;
        while Instant::now() < deadline && matches!(lock(&self.child).try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the process (SIGSTOP), as a long garbage collection pause would.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The last lines the JVM wrote to stderr.
    pub fn stderr(&self) -> String {
        self.shared.state().stderr.join("\n")
    }

    fn signal(&self, name: &str) {
        // Holding the child keeps its pid from being waited for and reused meanwhile.
        let mut child = lock(&self.child);
        if matches!(child.try_wait(), Ok(None)) {
            // The shell's own `kill`: not every container has the program.
            let sent = Command::new("sh")
                .arg("-c")
                .arg(format!("kill -{name} {}", self.pid))
                .status();
            assert!(
                sent.is_ok_and(|status| status.success()),
                "cannot send SIG{name} to the JVM"
            );
        }
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn keep_stderr(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            let mut state = self.state();
            if state.stderr.len() == STDERR_LINES {
                state.stderr.remove(0);
            }
            state.stderr.push(line);
        }
    }

    fn read_answers(&self, stdout: impl BufRead, ready: &Sender<String>) {
        for line in stdout.lines().map_while(Result::ok) {
            let tokens: Vec<&str> = line.split(' ').collect();
            match tokens[..] {
                ["ready", uuid] => {
                    let _ = ready.send(uuid.to_owned());
                }
                ["iv", id, thread, granted, released] => {
                    self.interval(id, thread, granted, released)
                }
                [id, "ok", elapsed] => self.answer(id, elapsed, Ok(String::new())),
                [id, "ok", elapsed, value] => self.answer(id, elapsed, Ok(decode(value))),
                [id, "err", elapsed, class, message] => {
                    self.answer(id, elapsed, Err((class, decode(message))))
                }
                _ => self
                    .state()
                    .stderr
                    .push(format!("unexpected answer: {line}")),
            }
        }
    }

    fn interval(&self, id: &str, thread: &str, granted: &str, released: &str) {
        let mut state = self.state();
        let waiting = id.parse().ok().and_then(|id: u64| state.calls.get_mut(&id));
        if let (Some(waiting), Ok(granted_micros), Ok(released_micros)) =
            (waiting, granted.parse(), released.parse())
        {
            waiting.intervals.push(Interval {
                thread: decode(thread),
                granted_micros,
                released_micros,
            });
        }
    }

    fn answer(&self, id: &str, elapsed: &str, outcome: Result<String, (&str, String)>) {
        let waiting = id
            .parse()
            .ok()
            .and_then(|id: u64| self.state().calls.remove(&id));
        if let Some(Waiting { answer, intervals }) = waiting {
            let elapsed = millis(elapsed);
            let outcome = match outcome {
                Ok(value) => Ok(Reply {
                    value,
                    elapsed,
                    intervals,
                }),
                Err((class, message)) => Err(JvmError {
                    class: class.to_owned(),
                    message,
                    elapsed,
                }),
            };
            // Nobody may be waiting any more; that is their choice.
            let _ = answer.send(outcome);
        }
    }

    /// The process is gone: every open call learns it.
    fn end(&self) {
        let mut state = self.state();
        state.gone = true;
        let error = state.gone_error();
        for (_, waiting) in state.calls.drain() {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

impl State {
    fn gone_error(&self) -> JvmError {
        JvmError::local(
            JvmError::GONE,
            format!("the JVM ended\n{}", self.stderr.join("\n")),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(text: &str) -> Duration {
    Duration::try_from_secs_f64(text.parse::<f64>().unwrap_or_default() / 1e3).unwrap_or_default()
}

// ----------------------------------------------------------------------------
// Tokens of the line protocol: UTF-8 with percent escapes; `%` alone is the empty text, `-` alone is "absent".

fn encode(text: &str) -> String {
    match text {
        "" => return "%".to_owned(),
        "-" => return "%2D".to_owned(),
        _ => {}
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._~:/{}-".contains(&byte) {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("%{byte:02X}"));
        }
    }
    token
}

fn decode(token: &str) -> String {
    if token == "%" || token == "-" {
        return String::new();
    }
    let raw = token.as_bytes();
    let digit = |at: usize| {
        raw.get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match (raw[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                at += 3;
            }
            (byte, _, _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for text in ["", "-", "%", "a b", "{x}:y", "é\n\"+", "-1", "100%2", "%4"] {
            let token = encode(text);
            assert!(!token.is_empty() && !token.contains(' '), "{token}");
            assert_eq!(decode(&token), text);
        }
        assert_eq!(encode("a é"), "a%20%C3%A9");
        assert_eq!(decode("%4"), "%4");
        assert_eq!(decode("%zzé"), "%zzé");
    }
}
