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
        assert!(said.contains(participant), "{participant} is missing");
    }
    let real = std::env::var_os("CI").is_none() || said.contains("redisson");
    assert!(real, "in CI the real Redisson may not be missing");
}
