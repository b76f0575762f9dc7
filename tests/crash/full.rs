//! A disk that fills up: writes are refused and nothing of them happens, reads go on, and when there is room again so do writes,
//! without a restart.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use hearth_tests::{Launch, Random, Server, cycles};
use serde_json::json;

use crate::disk::Memory;
use crate::ledger::Ledger;
use crate::skipped;

/// `TEST_CYCLES` runs more. Each is a fresh disk that is filled some times.
const CYCLES: u64 = 2;
/// The server leaves 64 MiB of it free.
const DISK_BYTES: u64 = 160 << 20;

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_loses_nothing() {
    cycles("crash-full", CYCLES, |random| {
        let disk = match Memory::new(DISK_BYTES) {
            Ok(disk) => disk,
            Err(reason) => return skipped("full disks", &reason),
        };
        let text_bytes_max = *random.pick(&[20, 1_000, 20_000]);
        let mut ledger = Ledger::new(random, text_bytes_max);
        let launch = Launch::dev().data(&disk.path().join("data")).env("HEARTH_LIMITS_SNAPSHOT_LOG_BYTES_MIN", "1");
        let mut server = launch.start();
        for _ in 0..3 {
            let commits = 1 + random.below(300);
            let mut neighbour = None;
            let counts = ledger.load(server.address(), |progress| {
                progress.acknowledged(commits);
                neighbour = Some(fill(disk.path(), &server));
                progress.refused(5);
            });
            println!("filled after {commits} commits: {counts:?}");
            assert!(counts.refused >= 5 && counts.unknown == 0, "{counts:?}");
            let answer = server.put("/db/other/x", &json!({})).send();
            assert_eq!(answer.status, 503, "{}", answer.text());
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("make space") && answer.header("Retry-After").is_some(), "{detail}");
            // While it is full, everything is there to be read.
            ledger.verify(&server);
            if random.chance(1, 3) {
                restart_full(&mut server, &ledger, random);
            }
            fs::remove_file(neighbour.expect("filled above")).unwrap();
            if !server.is_running() {
                server.restart();
            }
            let counts = ledger.load(server.address(), |progress| progress.acknowledged(50));
            assert!(counts.acknowledged >= 50 && counts.refused + counts.unknown == 0, "it does not go on: {counts:?}");
            ledger.verify(&server);
        }
        server.restart();
        ledger.verify(&server);
    });
}

/// Starts the server while there is no room: it serves what there is, or says why it does not.
fn restart_full(server: &mut Server, ledger: &Ledger, random: &mut Random) {
    if random.chance(1, 2) {
        server.stop();
    } else {
        server.kill9();
    }
    match server.try_restart() {
        Ok(()) => {
            println!("started on a full disk");
            // What it has to make again before it can serve, it cannot make.
            ledger.verify_damaged(server);
        }
        Err(refused) => {
            println!("refused to start on a full disk");
            assert!(refused.code() != 0 && refused.stderr.contains("space"), "{refused:#?}");
        }
    }
}

/// Takes all the room that there is, to the last byte. Not faster than the server answers: whoever looks how much room there is
/// before writing a little must be able to rely on it.
fn fill(folder: &Path, server: &Server) -> PathBuf {
    let path = folder.join("neighbour");
    let mut file = File::create(&path).unwrap();
    let zeros = vec![0; 1 << 20];
    let mut bytes = zeros.len();
    while bytes > 0 {
        server.get("/health").send().expect_status(200);
        match file.write(&zeros[..bytes]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => bytes /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    path
}
