//! A short soak with every run of the tests.

#[test]
fn a_minute_leaves_nothing() {
    let soak = std::process::Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--minutes", "1"])
        .output()
        .expect("starts");
    print!("{}", String::from_utf8_lossy(&soak.stdout));
    eprint!("{}", String::from_utf8_lossy(&soak.stderr));
    assert!(soak.status.success());
}
