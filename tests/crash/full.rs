//! A disk that fills up: writes are refused and nothing of them happens, reads go on, and when there is room again so do writes,
//! without a restart.
//!
//! Where a neighbour takes the disk to the last byte, the state may not survive: `TEST_LAST_BYTE=1` (`./soak crash-last-byte`) tries
//! that too. It once failed now and then: the disk was so small that the data themselves left less than the server wants free,
//! and the test read while the state was being made anew (docs/reliability.md).

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use hearth_tests::{Launch, Random, Server, cycles};
use rustix::fs::statvfs;
use serde_json::json;

use crate::disk::Memory;
use crate::ledger::Ledger;
use crate::skipped;

/// `TEST_CYCLES` runs more. Each is a fresh disk that is filled some times.
const CYCLES: u64 = 2;
/// The server leaves 64 MiB of it free, and what all three loads write takes some 100.
const DISK_BYTES: u64 = 256 << 20;
/// What a considerate neighbour leaves. sled writes a little even when it is only read, and without this does not survive.
const LEFT_BYTES: u64 = 16 << 20;

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_loses_nothing() {
    let to_the_last_byte = std::env::var_os("TEST_LAST_BYTE").is_some();
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
            let left = if to_the_last_byte && random.chance(1, 3) { 0 } else { LEFT_BYTES };
            let mut neighbour = None;
            let counts = ledger.load(server.address(), |progress| {
                progress.acknowledged(commits);
                neighbour = Some(fill(disk.path(), left, &server));
                progress.refused(5);
            });
            println!("filled but for {left} bytes after {commits} commits: {counts:?}");
            assert!(counts.refused >= 5 && counts.unknown == 0, "{counts:?}");
            let answer = server.put("/db/other/x", &json!({})).send();
            assert_eq!(answer.status, 503, "{}", answer.text());
            let detail = answer.json()["detail"].to_string();
            let is_whole = ledger.verify_damaged(&server);
            if left > 0 {
                // While it is full, everything is there to be read.
                assert!(is_whole, "{:?}", server.output());
                assert!(detail.contains("make space") && answer.header("Retry-After").is_some(), "{detail}");
            }
            let is_restarted = random.chance(1, 3);
            if is_restarted {
                restart_full(&mut server, &ledger, random);
            }
            fs::remove_file(neighbour.expect("filled above")).unwrap();
            let is_well = |server: &Server| {
                server.put("/db/other/x", &json!({})).send().status != 503 && ledger.verify_damaged(server)
            };
            if !server.is_running() || ((left == 0 || is_restarted) && !is_well(&server)) {
                // sled did not survive it, and said so: every commit is in the log.
                server.restart();
            }
            let counts = ledger.load(server.address(), |progress| progress.acknowledged(50));
            let goes_on = counts.acknowledged >= 50 && counts.refused + counts.unknown == 0;
            assert!(goes_on, "it does not go on: {counts:?}, {}", server.put("/db/other/x", &json!({})).send().text());
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
            if ledger.is_served(server) {
                ledger.verify_damaged(server);
            }
        }
        Err(refused) => {
            println!("refused to start on a full disk");
            assert!(refused.code() != 0 && refused.stderr.contains("space"), "{refused:#?}");
        }
    }
}

/// Takes all the room that there is but for the last bytes. Not faster than the server answers: whoever looks how much room there is
/// before writing a little must be able to rely on it.
fn fill(folder: &Path, left: u64, server: &Server) -> PathBuf {
    let path = folder.join("neighbour");
    let mut file = File::create(&path).unwrap();
    let zeros = vec![0; 1 << 20];
    let mut bytes = zeros.len();
    let free = || statvfs(folder).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    while bytes > 0 && (left == 0 || free() > left + (1 << 20)) {
        server.get("/health").send().expect_status(200);
        match file.write(&zeros[..bytes]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => bytes /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    path
}
