//! A server's clock that a test sets, by libfaketime in front of its calls.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Server, ServerBuilder, process::Folder};
use crate::{finder::Flavor, wait::eventually};

/// A server, and the clock it looks at.
#[derive(Debug)]
pub struct ShiftedClock {
    server: Server,
    folder: Folder,
}

impl ShiftedClock {
    /// Starts a server whose clock is off by so many seconds. `None` where that cannot be had, with a line that says which
    /// test is skipped and why.
    pub fn start_or_skip(test: &str, seconds: i64) -> Option<ShiftedClock> {
        match ShiftedClock::start(seconds) {
            Ok(clock) => Some(clock),
            Err(reason) => {
                // Past the harness, which keeps what a passing test says to itself.
                let line =
                    format!("skipped: {test} needs a server whose clock can be set ({reason})");
                let _ = writeln!(std::io::stderr(), "{line}");
                None
            }
        }
    }

    fn start(seconds: i64) -> Result<ShiftedClock, String> {
        let library = library().ok_or("no libfaketime")?;
        let folder = Folder::new().map_err(|error| error.to_string())?;
        write(folder.path(), seconds)?;
        let server = ServerBuilder::default()
            // Others bring an allocator of their own, which the library cannot stand.
            .flavor(Flavor::Valkey9)
            .env("LD_PRELOAD", library.display().to_string())
            .env(
                "FAKETIME_TIMESTAMP_FILE",
                file(folder.path()).display().to_string(),
            )
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .try_start()
            .map_err(|error| error.to_string())?;
        Ok(ShiftedClock { server, folder })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Sets the clock to the right time and so many seconds.
    ///
    /// # Panics
    ///
    /// When the server's clock does not follow.
    #[track_caller]
    pub fn shift(&self, seconds: i64) {
        write(self.folder.path(), seconds).expect("the folder is there");
        let direct = self.server.direct();
        eventually("the server's clock", Duration::from_secs(5), || {
            let here = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs().cast_signed());
            let there = direct.cmd(&["TIME"]).accepted().items()[0].int();
            (there - here - seconds).abs() <= 1
        });
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// At once, so that the server never reads half of it.
fn write(folder: &Path, seconds: i64) -> Result<(), String> {
    let new = folder.join("clock.new");
    std::fs::write(&new, format!("{seconds:+}s\n"))
        .and_then(|()| std::fs::rename(&new, file(folder)))
        .map_err(|error| error.to_string())
}

fn library() -> Option<PathBuf> {
    std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
}
