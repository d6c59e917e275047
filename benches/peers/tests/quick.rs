//! The public benchmark runs: every participant makes progress, and nobody meets anybody.

use std::process::Command;

#[test]
fn the_benchmark_runs_with_the_real_redisson_beside_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_redlatch-peers"))
        .args([
            "--quick",
            "--only",
            "same64,8x8,fair64,readwrite64",
            "--peers",
            "redlatch,redisson,fred",
        ])
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    for participant in ["redlatch", "fred"] {
        assert!(has_figures(&said, participant), "{participant} is missing");
    }
    let real = std::env::var_os("CI").is_none() || has_figures(&said, "redisson");
    assert!(real, "in CI the real Redisson may not be missing");
}

/// Whether a table has a row of this participant; the word alone may be that of one that is left out.
fn has_figures(said: &str, participant: &str) -> bool {
    said.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(participant)
            && words.next().is_some_and(|word| word.parse::<f64>().is_ok())
    })
}
