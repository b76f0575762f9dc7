//! Bits that change while nobody looks: in the log, in snapshots, in the state and in the small files of a stopped server. The
//! change is found, or it does no harm; what is served is never anything but what was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hearth_tests::{Launch, PATIENCE, Random, Server, cycles};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::state::{copy, files};

/// `TEST_CYCLES` runs more. Each is a fresh directory and as many changes of it.
const CYCLES: u64 = 2;
const FLIPS: u64 = 8;

/// What was found of a change.
#[derive(Debug, Default)]
struct Found {
    refused: u64,
    damaged: u64,
    /// The last group was taken for one that a crash has torn, and said to be cut off.
    cut: u64,
    harmless: u64,
}

#[test]
fn a_bit_that_is_changed_is_found_or_harmless() {
    cycles("crash-flips", CYCLES, |random| {
        let kept = TempDir::with_prefix("hearth-crash-").unwrap();
        let (whole, data) = (kept.path().join("whole"), kept.path().join("data"));
        let ledger = prepare(&whole, random);
        let mut found = Found::default();
        for _ in 0..FLIPS {
            copy(&whole, &data).unwrap();
            let file = flip(&data, random);
            let name = file.strip_prefix(&data).unwrap().display().to_string();
            if !name.starts_with("state/") && random.chance(1, 2) {
                // What is served then comes out of the log and the snapshots, all of it.
                println!("and without the state:");
                fs::remove_dir_all(data.join("state")).unwrap();
            }
            let outcome = attempt(&ledger, &data, &name);
            println!("{name}: {outcome}");
            match outcome {
                "refused" => found.refused += 1,
                "damaged" => found.damaged += 1,
                "cut" => found.cut += 1,
                _ => found.harmless += 1,
            }
            // Where only the state was changed, everything is safe in the log: at the next start at the latest all is well.
            if name.starts_with("state/") {
                assert!(outcome != "refused", "{name} can be made again, and the server does not start");
                let server = Launch::dev().data(&data).start();
                assert!(ledger.verify_damaged(&server), "{name} was found to be damaged, and is not made good");
                server.stop();
            }
            fs::remove_dir_all(&data).unwrap();
        }
        println!("{found:?}");
    });
}

/// Makes a directory with segments, snapshots and a state, of a server that was stopped in order or not.
fn prepare(folder: &Path, random: &mut Random) -> Ledger {
    let text_bytes_max = *random.pick(&[20, 1_000, 20_000]);
    let mut ledger = Ledger::new(random, text_bytes_max);
    let launch = Launch::dev().data(folder).env("HEARTH_LIMITS_SNAPSHOT_LOG_BYTES_MIN", "1");
    let mut server = launch.start();
    for _ in 0..2 {
        ledger.load(server.address(), |progress| progress.acknowledged(150));
        server.stop();
        server.restart();
        await_snapshot(&server);
    }
    ledger.load(server.address(), |progress| progress.acknowledged(40));
    ledger.verify(&server);
    if random.chance(1, 2) {
        server.stop();
    } else {
        server.kill9();
    }
    ledger
}

/// Waits for the snapshot that is written when a database was opened.
fn await_snapshot(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while server.metric("hearth_snapshots_total") < 1.0 {
        assert!(Instant::now() < deadline, "no snapshot comes: {:?}", server.output());
        std::thread::yield_now();
    }
}

/// Changes one bit of any file, or a few of one place. The kind of file is drawn first, so that all have their turn.
fn flip(data: &Path, random: &mut Random) -> PathBuf {
    let kind = *random.pick(&["/log/", "/log/", "/snapshots/", "/state/", "/state/", "/state/", ""]);
    let mut all = files(data).unwrap();
    all.retain(|file| {
        let name = file.strip_prefix(data).unwrap().display().to_string();
        let name = format!("/{name}");
        let is_small = !["/log/", "/snapshots/", "/state/"].iter().any(|kind| name.contains(kind));
        let is_meant = if kind.is_empty() { is_small } else { name.contains(kind) };
        is_meant && fs::metadata(file).unwrap().len() > 0
    });
    all.sort();
    let file = random.pick(&all).clone();
    let mut bytes = fs::read(&file).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(4) {
        0 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
        1 => bytes[at] = random.below(256) as u8,
        _ => bytes[at] ^= 1 << random.below(8),
    }
    fs::write(&file, bytes).unwrap();
    file
}

/// Starts a server on it. It refuses and says which file is meant, or all that it serves is right or said to be damaged.
fn attempt(ledger: &Ledger, data: &Path, name: &str) -> &'static str {
    match Launch::dev().data(data).try_start() {
        // The very last group is all that a crash may leave torn, and a change of it looks the same where nothing else has
        // seen the group: the server was killed, and its state had not got so far.
        Ok(server) if ledger.is_earlier(&server) => {
            let deadline = Instant::now() + PATIENCE;
            while !server.output().1.contains("cut a group") {
                assert!(Instant::now() < deadline, "{name}: the last commits are gone, and it is not said");
                std::thread::yield_now();
            }
            server.stop();
            "cut"
        }
        Ok(server) => {
            let right = ledger.verify_damaged(&server);
            server.stop();
            if right { "harmless" } else { "damaged" }
        }
        Err(refused) => {
            let file = name.rsplit('/').next().unwrap_or(name);
            assert!(refused.code() != 0 && refused.stderr.contains(file), "{name}: {refused:#?}");
            "refused"
        }
    }
}
