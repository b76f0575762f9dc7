//! What our source must not name: a clock, chance, files and threads in the core, the query in the store.
//!
//! It reads words, not meaning: comments and text are dropped, `use` trees are spelled out, and the paths that remain are
//! compared. A path hidden behind a macro gets through; a reviewer must see that.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_tests::repository;

/// Paths that the core must not name, nor anything inside them.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "SystemTime",
    "Instant",
    "RandomState",
    "rand",
    "getrandom",
    "fastrand",
    "tokio",
    "println",
    "eprintln",
    "dbg",
];

/// Each forbidden path that `source` names, with its line.
fn named(source: &str, forbidden: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (line, path) in paths(source) {
        let inside = |bad: &&&str| path == **bad || path.strip_prefix(**bad).is_some_and(|rest| rest.starts_with("::"));
        if let Some(bad) = forbidden.iter().find(inside) {
            found.push(format!("{line}: {bad}"));
        }
    }
    found.dedup();
    found
}

/// Every path in the code with its line; braces of a `use` are spelled out.
fn paths(source: &str) -> Vec<(usize, String)> {
    let words = words(source);
    let mut paths = Vec::new();
    // The paths that the open braces of `use` trees stand behind, and how many other braces were open around each.
    let mut bases: Vec<(String, usize)> = Vec::new();
    let mut depth_plain = 0_usize;
    let mut at = 0;
    while at < words.len() {
        let (line, word) = &words[at];
        match word.as_str() {
            "{" => depth_plain += 1,
            "}" if depth_plain > 0 => depth_plain -= 1,
            "}" => depth_plain = bases.pop().map_or(0, |(_, around)| around),
            word if is_name(word) => {
                let mut path = match bases.last() {
                    Some((base, _)) => format!("{base}::{word}"),
                    _ => word.to_owned(),
                };
                while words.get(at + 1).is_some_and(|(_, next)| next == "::") {
                    match words.get(at + 2).map(|(_, next)| next.as_str()) {
                        Some(next) if is_name(next) => {
                            path = format!("{path}::{next}");
                            at += 2;
                        }
                        // Only a `use` tree has a brace behind `::`.
                        Some("{") => {
                            bases.push((path.clone(), depth_plain));
                            depth_plain = 0;
                            at += 2;
                            break;
                        }
                        _ => break,
                    }
                }
                paths.push((*line, path));
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The code's words (names, `::`, single signs) and their lines, without comments, text and characters.
fn words(source: &str) -> Vec<(usize, String)> {
    let text: Vec<char> = source.chars().collect();
    let mut words = Vec::new();
    let (mut at, mut line) = (0, 1);
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c));
    while at < text.len() {
        let c = text[at];
        if c == '\n' {
            line += 1;
            at += 1;
        } else if starts(at, "//") {
            while at < text.len() && text[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if starts(at, "*/") {
                    depth -= 1;
                    at += 2;
                } else {
                    line += usize::from(text.get(at) == Some(&'\n'));
                    at += 1;
                }
                if depth == 0 || at >= text.len() {
                    break;
                }
            }
        } else if let Some(end) = raw_text(&text, at) {
            line += text[at..end].iter().filter(|c| **c == '\n').count();
            at = end;
        } else if c == '"' {
            at += 1;
            while at < text.len() && text[at] != '"' {
                line += usize::from(text[at] == '\n');
                at += if text[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' {
            // A character, not a lifetime: 'x' or '\…'.
            if text.get(at + 1) == Some(&'\\') {
                at += 3;
                while at < text.len() && text[at] != '\'' {
                    at += 1;
                }
                at += 1;
            } else {
                at += if text.get(at + 2) == Some(&'\'') { 3 } else { 1 };
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = at;
            while at < text.len() && (text[at].is_alphanumeric() || text[at] == '_') {
                at += 1;
            }
            words.push((line, text[start..at].iter().collect()));
        } else if starts(at, "::") {
            words.push((line, "::".into()));
            at += 2;
        } else {
            if !c.is_whitespace() {
                words.push((line, c.into()));
            }
            at += 1;
        }
    }
    words
}

/// The end of a raw text that begins at `at`: `r"…"`, `r#"…"#`, `br"…"`.
fn raw_text(text: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|before| text[before]);
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let mut next = at;
    next += usize::from(text.get(next) == Some(&'b'));
    if text.get(next) != Some(&'r') {
        return None;
    }
    next += 1;
    let hashes = text[next..].iter().take_while(|c| **c == '#').count();
    next += hashes;
    if text.get(next) != Some(&'"') {
        return None;
    }
    next += 1;
    while next < text.len() {
        if text[next] == '"' && text[next + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return Some(next + 1 + hashes);
        }
        next += 1;
    }
    Some(next)
}

/// The `.rs` files under a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn check_crate(folder: &str, forbidden: &[&str]) {
    let files = sources(&repository().join(folder));
    assert!(!files.is_empty(), "{folder} has no source: this test must follow");
    let found: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let source = fs::read_to_string(path).expect("a readable file");
            named(&source, forbidden).into_iter().map(|at| format!("{}:{at}", path.display())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_core_reads_no_clock_draws_no_lots_and_touches_nothing() {
    check_crate("server/core/src", IMPURE);
}

#[test]
fn the_store_knows_no_query() {
    check_crate("server/store/src", &["hearth_core::query", "hearth_core::watch", "hearth_core::Query"]);
}

#[cfg(test)]
mod made_up {
    use super::*;

    #[test]
    fn a_clock_is_found_however_it_is_named() {
        let found = |source| named(source, IMPURE);
        assert_eq!(found("let x = std::time::SystemTime::now();"), ["1: std::time::SystemTime"]);
        assert_eq!(found("use std::time::{Duration, Instant};"), ["1: std::time::Instant"]);
        assert_eq!(found("use std::{\n  fmt,\n  time::{self, SystemTime as Clock},\n};"), ["3: std::time::SystemTime"]);
        assert_eq!(found("fn f() { g(Instant::now()) }"), ["1: Instant"]);
        assert_eq!(found("mod m { use std::{fs::File, fmt}; }"), ["1: std::fs"]);
        assert_eq!(found("use std::fmt;\nuse rand::Rng;"), ["2: rand"]);
        assert_eq!(found("impl X { fn f() { std::thread::spawn(f); } }"), ["1: std::thread"]);
        assert_eq!(found("/* a /* b */ \n */ let s = r#\"\n\"#; std::fs::read(s)"), ["3: std::fs"]);
    }

    #[test]
    fn words_in_comments_text_and_other_names_are_not_meant() {
        let source = "//! std::fs and Instant\n/* rand /* nested */ rand */ use std::time::Duration;\n\
                      fn f<'a>(s: &'a str) { g(\"std::fs::read \\\" rand\", r#\"rand \" \"#, '\"', '\\'', b'r') }\n\
                      struct Instantly; fn operand() {} use std::{fmt, collections::BTreeMap}; fn fs() {}";
        assert_eq!(named(source, IMPURE), Vec::<String>::new());
    }
}
