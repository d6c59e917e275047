//! What it was measured on.

use std::{fs, process::Command, thread};

/// Processor, cores and kernel.
pub(crate) fn hardware() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, {}", said("uname", &["-sr"]))
}

/// The day.
pub(crate) fn today() -> String {
    said("date", &["-u", "+%e %B %Y"])
}

/// The first line that a program says.
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = text.as_deref().ok().and_then(|text| text.lines().next());
    first.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}
