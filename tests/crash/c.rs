//! Two small programs in C that stand between the server and the system: the compiler for them is there wherever Hearth is
//! built, and what they do needs calls that safe Rust does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use hearth_tests::repository;

/// Builds a program beside this test. The error says why it cannot.
pub(crate) fn program(source: &str) -> Result<PathBuf, String> {
    build(source, &[])
}

/// Builds a library that goes between a program and the system's own.
pub(crate) fn library(source: &str) -> Result<PathBuf, String> {
    build(source, &["-shared", "-fPIC"])
}

fn build(source: &str, how: &[&str]) -> Result<PathBuf, String> {
    // Tests run beside each other and build the same.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let from = repository().join("tests/crash").join(source);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = folder.join(source).with_extension("built");
    let beside = folder.join(format!("{source}.{}", std::process::id()));
    if !cfg!(target_os = "linux") {
        return Err("only Linux has what this needs".into());
    }
    let mut command = Command::new("cc");
    command.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&beside).args(how).arg(&from).arg("-ldl");
    let output = command.output().map_err(|error| format!("there is no C compiler: {error}"))?;
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    fs::rename(&beside, &built).expect("cargo's own folder is writable");
    Ok(built)
}
