//! `docs/performance.md` is whole: each target of the bench has its row, measured, and what is not met says why.

use std::fs;

use hearth_tests::repository;

/// The heads of the table's columns.
const HEADS: [&str; 6] = ["name", "target", "measured", "met", "load", "day"];
/// What the bench writes where nobody has said why.
const UNEXPLAINED: &str = "the cause is not known yet";

/// The names of the targets in the bench's source: each stands first in a `row(…)`.
fn targets(source: &str) -> Vec<&str> {
    let rows = source.split("row(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    rows.filter_map(|rest| rest.split('"').next()).collect()
}

/// The rows of the table, each as its cells.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| !cells.iter().all(|cell| cell.starts_with("---"))).collect()
}

/// What is wrong with the document.
fn faults(source: &str, document: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let rows = rows(document);
    let Some((heads, rows)) = rows.split_first() else { return vec!["there is no table".into()] };
    if heads[..] != HEADS {
        faults.push(format!("the columns are {heads:?}"));
    }
    let names: Vec<&str> = rows.iter().map(|cells| cells[0]).collect();
    if names != targets(source) {
        faults.push(format!("the rows are {names:?}, the targets {:?}", targets(source)));
    }
    for cells in rows {
        let name = cells[0];
        if cells.len() != HEADS.len() || cells.iter().any(|cell| cell.is_empty()) {
            faults.push(format!("{name} has an empty cell"));
            continue;
        }
        let why = cells[3].strip_prefix("no: ").unwrap_or_default();
        if cells[3] != "yes" && (why.is_empty() || why == UNEXPLAINED) {
            faults.push(format!("{name} is not met and does not say why"));
        }
    }
    faults
}

#[test]
fn every_target_is_measured_and_what_is_not_met_says_why() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).expect("a file of ours");
    let (source, document) = (read("benches/src/target.rs"), read("docs/performance.md"));
    assert!(targets(&source).len() > 10, "the targets are not where they were: this test must follow");
    assert_eq!(faults(&source, &document), Vec::<String>::new());
}

#[cfg(test)]
mod made_up {
    use super::*;

    const SOURCE: &str = "const fn row(name: &str) {}\n[row(\"a\", 1), row(\n    \"b\",\n 2)]";

    fn check(rows: &[&str], want: &[&str]) {
        let head = "| name | target | measured | met | load | day |\n| --- | --- | --- | --- | --- | --- |";
        assert_eq!(faults(SOURCE, &format!("# x\n{head}\n{}\n", rows.join("\n"))), want);
    }

    #[test]
    fn a_full_table_is_right() {
        check(&["| a | t | 1 | yes | 0.1 | c |", "| b | t | 1 | no: it is slow | 0.1 | c |"], &[]);
    }

    #[test]
    fn rows_that_are_empty_missing_or_unexplained_are_found() {
        let b = "| b | t | 1 | yes | 0.1 | c |";
        check(&["| a | t | | | | |", b], &["a has an empty cell"]);
        check(&["| a | t | 1 | yes |", b], &["a has an empty cell"]);
        check(&[b], &["the rows are [\"b\"], the targets [\"a\", \"b\"]"]);
        for met in ["no", "no: ", "no: the cause is not known yet", "maybe"] {
            check(&[&format!("| a | t | 1 | {met} | 0.1 | c |"), b], &["a is not met and does not say why"]);
        }
        assert_eq!(faults(SOURCE, "no table"), ["there is no table"]);
    }
}
