//! Every parser of bytes from outside, on its corpus and on mutations of it.
//!
//! libFuzzer finds what is in the corpora (`./soak fuzz`); here they run on the stable toolchain, and so does a number of
//! blind mutations under a seed that a failure prints. `TEST_SEED=N` repeats those of one seed, `TEST_FUZZ_RUNS` asks for
//! more of them.

mod targets;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use hearth_tests::{Random, repository, seed, setting};
use targets::{TARGETS, Target};

/// Mutations of each target in `./test`.
const RUNS: u64 = 3_000;
/// Longest input that is made here, in bytes.
const BYTES_MAX: usize = 4 << 10;

fn folder(target: &str) -> PathBuf {
    repository().join("tests/fuzz/corpus").join(target)
}

/// The corpus of a target, by file name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("the corpus of {target}: {error}"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs one input and says which one it was when it fails.
fn run(name: &str, target: Target, what: &str, input: &[u8]) {
    let ran = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    assert!(ran.is_ok(), "{name} failed on {what}: {}", input.escape_ascii());
}

#[test]
fn no_parser_fails_on_what_fuzzing_has_found() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        files.iter().for_each(|(file, input)| run(name, *target, file, input));
    }
}

#[test]
fn no_corpus_is_left_without_its_target() {
    for entry in fs::read_dir(folder("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "tests/fuzz/corpus/{name} belongs to no target");
    }
}

#[test]
fn no_parser_fails_on_mutations() {
    let seed = seed("mutations");
    println!("TEST_SEED={seed} repeats these mutations");
    let runs = setting("TEST_FUZZ_RUNS").unwrap_or(RUNS);
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let mut random = Random::new(seed);
        for n in 0..runs {
            let input = mutated(&corpus, &mut random);
            run(name, *target, &format!("mutation {n} of TEST_SEED={seed}"), &input);
        }
    }
}

/// An input near the corpus: some bytes changed, removed, doubled, or taken from another input.
fn mutated(corpus: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| corpus[random.index(corpus.len())].1.clone();
    let mut input = pick(random);
    for _ in 0..=random.index(4) {
        let at = random.index(input.len() + 1);
        let end = (at + random.index(9)).min(input.len());
        match random.index(6) {
            0 => input.insert(at, random.number() as u8),
            1 if at < input.len() => input[at] ^= 1 << random.index(8),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = pick(random);
                let from = random.index(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.splice(at..end, random.number().to_le_bytes()).for_each(drop),
        }
        input.truncate(BYTES_MAX);
    }
    input
}
