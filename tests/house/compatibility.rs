//! What `docs/compatibility.md` says of Firestore's SDKs is what `schema/compatibility.toml` says, and that rests on tests.
//!
//! `./test` runs every file of `tests/conform` and ends with the first that fails: a test that stands in one ran and passed
//! wherever a run has come to its end. That the names of the SDKs are all there is asked of the SDKs, in `tests/conform`.

use std::env;
use std::fmt::Write as _;
use std::fs;

use hearth_tests::compatibility::{Compatibility, Outcome, Row};
use hearth_tests::repository;

const HEAD: &str = "\
# Firestore's SDKs before Hearth

Made of [schema/compatibility.toml](../schema/compatibility.toml); do not edit.

## What Hearth is not

Hearth is a database. It has no Storage (use any S3), no Messaging, no Hosting (`--public DIR` serves a folder; use any web server), no Remote Config (a
document that all listen to is one) and no runtime for Functions (listen to the [change feed](api.md#the-change-feed) from a program of your own). Tokens of App Check are accepted and not
verified.

The SDKs for iOS, Android and Flutter are unverified: nobody has tried them. They are told the host like this:

    Firestore.firestore().useEmulator(withHost: \"localhost\", port: 8080)    // Swift, before the first use
    FirebaseFirestore.getInstance().useEmulator(\"10.0.2.2\", 8080)          // Kotlin, in Android's emulator
    FirebaseFirestore.instance.useFirestoreEmulator('localhost', 8080);    // Dart

## Feature by feature
";

fn document(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n| feature | clients | outcome | |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let outcome = match row.outcome {
            Outcome::Conforms => "conforms",
            Outcome::DiffersOnPurpose => "differs on purpose",
            Outcome::Bug => "bug",
            Outcome::Unsupported => "unsupported",
            Outcome::Unverified => "unverified",
        };
        let _ = writeln!(text, "| {} | {} | {outcome} | {} |", row.feature, row.clients, row.note);
    }
    text.push_str("\n## The tests\n");
    for row in rows.iter().filter(|row| !row.tests.is_empty()) {
        let _ = writeln!(text, "\n{}:\n", row.feature);
        row.tests.iter().for_each(|test| _ = writeln!(text, "- `{test}`"));
    }
    text
}

/// What is wrong with a row; `read` hands out a file of `tests/conform`.
fn faults(row: &Row, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    if row.outcome == Outcome::Conforms && row.tests.is_empty() {
        faults.push(format!("{}: conforms, by no test", row.feature));
    }
    if row.outcome == Outcome::DiffersOnPurpose && row.note.is_empty() {
        faults.push(format!("{}: differs, and does not say why", row.feature));
    }
    for id in &row.tests {
        let Some((file, name)) = id.split_once(" › ") else {
            faults.push(format!("{id}: not of the form FILE › NAME"));
            continue;
        };
        let begins = ["test('{}'", "scene('{}'", "def {}(", "fn {}("].map(|begin| begin.replace("{}", name));
        match read(file) {
            None => faults.push(format!("{id}: no such file")),
            Some(text) if begins.iter().any(|begin| text.contains(begin.as_str())) => {}
            Some(_) => faults.push(format!("{id}: no such test")),
        }
    }
    faults
}

#[test]
fn the_document_is_made_of_its_rows() {
    let path = repository().join("docs/compatibility.md");
    let want = document(&Compatibility::read().row);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &want).unwrap();
    }
    let is = fs::read_to_string(&path).unwrap_or_default();
    assert!(is == want, "docs/compatibility.md is not current: UPDATE=1 ./test the_document_is_made");
}

#[test]
fn what_conforms_is_tested() {
    let folder = repository().join("tests/conform");
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let faults: Vec<_> = Compatibility::read().row.iter().flat_map(|row| faults(row, &read)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_row_without_a_test_or_with_one_that_is_not_there_is_found() {
    let row = |outcome, tests: &[&str]| Row {
        feature: "f".into(),
        clients: "all".into(),
        outcome,
        note: String::new(),
        tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        web: Vec::new(),
        node: Vec::new(),
    };
    let read = |file: &str| (file == "a.js").then(|| "test('it works', () => {})".to_owned());
    let check = |outcome, tests: &[&str], want: &[&str]| assert_eq!(faults(&row(outcome, tests), &read), want);
    check(Outcome::Conforms, &["a.js › it works"], &[]);
    check(Outcome::Conforms, &[], &["f: conforms, by no test"]);
    check(Outcome::Conforms, &["a.js › it flies"], &["a.js › it flies: no such test"]);
    check(Outcome::Conforms, &["b.js › it works"], &["b.js › it works: no such file"]);
    check(Outcome::Conforms, &["it works"], &["it works: not of the form FILE › NAME"]);
    check(Outcome::DiffersOnPurpose, &[], &["f: differs, and does not say why"]);
    check(Outcome::Unverified, &[], &[]);
}
