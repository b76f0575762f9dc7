//! Power that fails: what was acknowledged is on the disk, whatever the system still held in memory.
//!
//! The data lie on a file system of their own in a file. At some moment of a load it is shut down as by a power cut (nothing
//! that was not synced reaches it any more), mounted again, and a server is started on it that believes that the machine has
//! booted since.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use std::{fs, thread};

use hearth_tests::{Launch, Random, cycles, hearth};

use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::mishap::{How, Mishap, SYNC, SYNC_FOLDER};
use crate::skipped;

/// `TEST_CYCLES` runs more. Each is a fresh disk and some cuts.
const CYCLES: u64 = 2;
/// A third of it is left free by the server; sled and the log have the rest.
const DISK_BYTES: u64 = 256 << 20;

/// A disk, and what makes the server believe in another boot.
fn prepare() -> Result<(Disk, Mishap), String> {
    let mishap = Mishap::new("/data/")?;
    mishap.boot("the first");
    Ok((Disk::new(DISK_BYTES)?, mishap))
}

fn launch(disk: &Disk, mishap: &Mishap) -> Launch {
    // Snapshots are written at every occasion, and so cut short too.
    let launch = Launch::dev().data(&disk.path().join("data")).env("HEARTH_LIMITS_SNAPSHOT_LOG_BYTES_MIN", "1");
    mishap.under(launch)
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    cycles("crash-power", CYCLES, |random| {
        let (disk, mishap) = match prepare() {
            Ok(prepared) => prepared,
            Err(reason) => return skipped("power cuts", &reason),
        };
        let text_bytes_max = *random.pick(&[20, 1_000, 20_000]);
        let mut ledger = Ledger::new(random, text_bytes_max);
        let mut server = launch(&disk, &mishap).start();
        mishap.expect_loaded(&server);
        for cut in 0..2 + random.below(3) {
            let commits = *random.pick(&[0, 1, 30, 150, 400]);
            let how = random.below(4);
            println!("cut {cut}, in way {how}, after {commits} commits");
            ledger.load(server.address(), |progress| {
                progress.acknowledged(commits);
                match how {
                    // The last words of a system: the server was stopped in order, and then the power went.
                    0 => drop(server.stop()),
                    1 => server.kill9(),
                    // It runs on and is told that its disk is broken; it must not acknowledge anything more.
                    _ => {
                        progress.without_power(|| disk.cut().unwrap());
                        let counts = progress.ended();
                        println!("with the power gone: {counts:?}");
                        server.kill9();
                    }
                }
                if how < 2 {
                    disk.cut().unwrap();
                }
            });
            disk.restore().unwrap();
            mishap.boot(&format!("the one after cut {cut}"));
            if random.chance(1, 3) {
                cut_while_starting(&disk, &mishap, Duration::from_micros(random.below(400_000)));
                mishap.boot(&format!("the second after cut {cut}"));
            }
            server.restart();
            ledger.verify(&server);
        }
        server.stop();
        let data = server.data().display().to_string();
        let checked = hearth(&["check", "--data", &data]).ok();
        assert!(checked.contains("everything is sound"), "{checked}");
        println!("{} commits were kept", ledger.kept());
    });
}

/// The power goes again while the server recovers from the last time.
fn cut_while_starting(disk: &Disk, mishap: &Mishap, after: Duration) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let due = Instant::now() + after;
            while Instant::now() < due {
                thread::yield_now();
            }
            disk.cut().unwrap();
        });
        if let Ok(server) = launch(disk, mishap).try_start() {
            server.kill9();
        }
    });
    disk.restore().unwrap();
}

#[test]
fn a_cut_takes_what_was_not_synced_and_a_disk_that_lies_is_found_out() {
    let (disk, mishap) = match prepare() {
        Ok(prepared) => prepared,
        Err(reason) => return skipped("power cuts", &reason),
    };
    let file = |name: &str| disk.path().join(name);
    fs::write(file("synced"), "1").unwrap();
    fs::File::open(file("synced")).unwrap().sync_all().unwrap();
    fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    fs::write(file("not-synced"), "2").unwrap();
    disk.cut().unwrap();
    disk.restore().unwrap();
    assert_eq!(fs::read_to_string(file("synced")).unwrap(), "1");
    assert!(!file("not-synced").exists());

    // So would a server be that does not sync: the test above can fail.
    let mut ledger = Ledger::new(&mut Random::new(1), 1_000);
    let mut server = launch(&disk, &mishap).start();
    mishap.expect_loaded(&server);
    mishap.arm(SYNC | SYNC_FOLDER, 0, u64::MAX >> 1, How::Pretend);
    ledger.load(server.address(), |progress| {
        progress.acknowledged(50);
        server.kill9();
        disk.cut().unwrap();
    });
    assert!(mishap.disarm() > 0);
    disk.restore().unwrap();
    let look = AssertUnwindSafe(|| {
        server.restart();
        ledger.verify(&server);
    });
    catch_unwind(look).expect_err("50 commits were never synced");
}
