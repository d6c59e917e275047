//! What ends a server when the process that started it cannot.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// A shell that waits for the end of this process.
///
/// It holds the reading end of a pipe whose writing end is here alone. However this process ends, the pipe closes;
/// then the shell kills the server and removes its folder. Each line it reads is the pid to kill, or empty.
#[derive(Debug)]
pub(crate) struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
}

const GUARDIAN: &str = r#"
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then kill -9 "$pid"; fi
rm -rf "$1"
"#;

impl Guardian {
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", GUARDIAN, "sh"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    pub(crate) fn watch(&mut self, pid: Option<u32>) {
        if let Some(pipe) = &mut self.pipe {
            let line = pid.map_or_else(|| "\n".into(), |pid| format!("{pid}\n"));
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
