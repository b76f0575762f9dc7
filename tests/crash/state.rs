//! The state is disposable: whatever becomes of sled's files while the server is stopped, what is served afterwards is what was
//! written, and the server starts without anybody's help.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hearth_tests::{Launch, Random, Server, cycles};
use tempfile::TempDir;

use crate::ledger::Ledger;

/// `TEST_CYCLES` runs more. Each is a fresh directory and some accidents.
const CYCLES: u64 = 2;

/// What becomes of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accident {
    Deleted,
    Emptied,
    OneFileDeleted,
    OneFileCut,
    OneFileOverwritten,
    Yesterdays,
}

const ACCIDENTS: [Accident; 6] = [
    Accident::Deleted,
    Accident::Emptied,
    Accident::OneFileDeleted,
    Accident::OneFileCut,
    Accident::OneFileOverwritten,
    Accident::Yesterdays,
];

#[test]
fn whatever_becomes_of_the_state_is_made_good_from_the_log() {
    cycles("crash-state", CYCLES, |random| {
        let kept = TempDir::with_prefix("hearth-crash-").unwrap();
        let yesterday = kept.path().join("yesterday");
        let text_bytes_max = *random.pick(&[20, 1_000, 20_000]);
        let mut ledger = Ledger::new(random, text_bytes_max);
        // Snapshots at every occasion, so that rebuilds begin with them too.
        let mut server = Launch::dev().env("HEARTH_LIMITS_SNAPSHOT_LOG_BYTES_MIN", "1").start();
        let state = server.data().join("state");
        ledger.load(server.address(), |progress| progress.acknowledged(100));
        end(&server, random);
        copy(&state, &yesterday).unwrap();
        for _ in 0..5 {
            server.restart();
            ledger.load(server.address(), |progress| progress.acknowledged(100));
            end(&server, random);
            let accident = *random.pick(&ACCIDENTS);
            println!("{accident:?}");
            befall(accident, &state, &yesterday, random);
            server.restart();
            if !ledger.verify_damaged(&server) {
                // It could be opened and was found to be damaged by a reader, who was told so. The next start makes it good.
                println!("found by a reader");
                server.restart();
            }
            ledger.verify(&server);
        }
    });
}

/// Stops the server in order, or not.
fn end(server: &Server, random: &mut Random) {
    if random.chance(1, 2) {
        server.stop();
    } else {
        server.kill9();
    }
}

fn befall(accident: Accident, state: &Path, yesterday: &Path, random: &mut Random) {
    match accident {
        Accident::Deleted => fs::remove_dir_all(state).unwrap(),
        Accident::Emptied => {
            fs::remove_dir_all(state).unwrap();
            fs::create_dir(state).unwrap();
        }
        Accident::OneFileDeleted => fs::remove_file(one_file(state, random)).unwrap(),
        Accident::OneFileCut => {
            let file = fs::File::options().write(true).open(one_file(state, random)).unwrap();
            let bytes = file.metadata().unwrap().len();
            file.set_len(random.below(bytes.max(1))).unwrap();
        }
        Accident::OneFileOverwritten => fs::write(one_file(state, random), "this was never written by sled").unwrap(),
        Accident::Yesterdays => {
            fs::remove_dir_all(state).unwrap();
            copy(yesterday, state).unwrap();
        }
    }
}

/// Any file of the state that holds something.
fn one_file(state: &Path, random: &mut Random) -> PathBuf {
    let mut files = files(state).unwrap();
    files.retain(|file| fs::metadata(file).unwrap().len() > 0);
    files.sort();
    random.pick(&files).clone()
}

/// All files in a folder, at any depth.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
