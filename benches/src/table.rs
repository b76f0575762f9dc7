//! The table of targets in `docs/performance.md`: written by the bench, so that no number in it was made up.

use std::collections::BTreeMap;

use crate::Found;
use crate::target::{TARGETS, Target, named};

/// What the document opens with.
const ABOUT: &str = "\
# Performance

Every number here was written by `cargo run --release -p hearth-benches -- all --write`, on one machine and disk, each beside its baseline in
the same run; `-- NAME --write` measures some rows anew and leaves the others as they are. `×` is the ratio to the baseline, numbers are medians of the
runs that are listed. *Load* is the load average when a row was measured: the machine may have other work, so where a target speaks of CPU, CPU
time was measured (`/proc/PID/stat`). Documents have 500 bytes and three keys in the state. Plain TCP writes are those of one loop over the sockets in a
process of its own, which writes the same bytes. Rows that begin with *compare* set Hearth, which keeps everything on disk, beside Google's own emulator of
Firestore (Debian's package `google-cloud-cli-firestore-emulator`, OpenJDK 17), which keeps everything in memory: `-- compare --write`; first stands what
Hearth did, then the emulator, after a warm-up of each.
";
const HEAD: &str = "| name | target | measured | met | load | day |\n| --- | --- | --- | --- | --- | --- |\n";
/// How many cells a row has.
const CELLS: usize = 6;

/// When a row was measured, and beside what.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// Load average.
    pub load: f64,
    /// The day.
    pub day: String,
}

/// One row as it stands in the document.
pub fn row(found: &Found, occasion: &Occasion) -> String {
    let target: &Target = named(found.name);
    let met = if target.bound.holds(found.value) { "yes".to_string() } else { not_met(target) };
    let decimals = if target.unit == "×" { 2 } else { 1 };
    format!(
        "| {} | {} | **{:.decimals$} {}**: {} | {met} | {:.1} | {} |",
        target.name, target.says, found.value, target.unit, found.details, occasion.load, occasion.day
    )
}

/// What stands where a target is not met.
fn not_met(target: &Target) -> String {
    format!("no: {}", target.because)
}

/// The document with new rows in place of those of the same name, in the order of the targets.
pub fn document(old: &str, machine: &str, rows: &BTreeMap<&'static str, String>) -> String {
    let kept = read(old);
    let mut out = format!("{ABOUT}\nMeasured on {machine}.\n\n{HEAD}");
    for target in &TARGETS {
        let old = kept.iter().find(|cells| cells[0] == target.name);
        match (rows.get(target.name), old) {
            (Some(row), _) => out.push_str(row),
            (None, Some(cells)) => {
                // What is known of the cause may have become more since.
                let met = if cells[3].starts_with("no: ") { not_met(target) } else { cells[3].into() };
                let row = [cells[0], target.says, cells[2], &met, cells[4], cells[5]];
                out.push_str(&format!("| {} |", row.join(" | ")));
            }
            (None, None) => out.push_str(&format!("| {} | {} | | | | |", target.name, target.says)),
        }
        out.push('\n');
    }
    out
}

/// The cells of the rows of a document.
fn read(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").collect::<Vec<_>>()).filter(|cells| cells.len() == CELLS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(value: f64) -> BTreeMap<&'static str, String> {
        let found = Found { name: "burst", value, details: "runs 1".into() };
        BTreeMap::from([("burst", row(&found, &Occasion { load: 1.25, day: "abc".into() }))])
    }

    #[test]
    fn new_rows_replace_those_of_their_name_and_the_others_stay() {
        let first = document("", "m", &rows(0.5));
        assert!(first.contains("| **0.50 ×**: runs 1 | yes | 1.2 | abc |"), "{first}");
        let second = document(&first, "m", &rows(0.25));
        assert!(second.contains("| **0.25 ×**: runs 1 | no: "), "{second}");
        assert_eq!(document(&second, "m", &BTreeMap::new()), second);
    }

    #[test]
    fn what_was_never_measured_has_an_empty_row() {
        let text = document("", "m", &BTreeMap::new());
        assert_eq!(text.lines().filter(|line| line.ends_with("| | | | |")).count(), TARGETS.len());
    }
}
