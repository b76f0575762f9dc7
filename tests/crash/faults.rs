//! A log that cannot be written: at the n-th write, sync, rename or cut of its files something fails, or the process is killed.
//!
//! What is told is held to be true: "not applied" has not happened and the server goes on, "unknown" has happened whole or not
//! at all and the server takes no more writes until it is started again; reads go on; what was acknowledged lasts.

use hearth_tests::{Launch, Random, Server, cycles};
use serde_json::json;

use crate::ledger::Ledger;
use crate::mishap::{CREATE, How, Mishap, RENAME, SYNC, SYNC_FOLDER, TRUNCATE, WRITE};
use crate::skipped;

/// `TEST_CYCLES` runs more. Each is a fresh directory and some faults.
const CYCLES: u64 = 4;
/// For as long as it is not taken away.
const FOREVER: u64 = u64::MAX >> 1;

/// What happens, and what the server must make of it.
#[derive(Clone, Copy, Debug)]
struct Fault {
    which: u64,
    /// How many operations go well before.
    from: u64,
    times: u64,
    how: How,
    then: Then,
}

/// What the server must make of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It says "not applied" or nothing at all, and goes on when it can.
    GoesOn,
    /// It says "unknown" to those concerned, and is read-only.
    ReadOnly,
    /// It is dead.
    Dead,
}

fn any(random: &mut Random) -> Fault {
    // Writes and syncs are frequent. The others belong to a new segment, which is rare.
    let often = *random.pick(&[3, 60, 400]);
    let (often, seldom) = (random.below(often), random.below(3));
    let from = |which| if which & (WRITE | SYNC) == 0 { seldom } else { often };
    let fault = |which, times, how, then| Fault { which, from: from(which), times, how, then };
    let times = *random.pick(&[1, 2, 3, 7, FOREVER]);
    match random.below(12) {
        0 => fault(WRITE, times, How::NoSpace, Then::GoesOn),
        1 => fault(WRITE, times, How::IoError, Then::GoesOn),
        2 | 3 => fault(WRITE, times, How::Half, Then::GoesOn),
        4 => fault(CREATE, times, How::NoSpace, Then::GoesOn),
        5 => fault(RENAME, times, How::IoError, Then::GoesOn),
        6 => fault(SYNC, 1, How::IoError, Then::ReadOnly),
        7 => fault(SYNC, 1, How::Lost, Then::ReadOnly),
        // Nothing can be taken back, then.
        8 => fault(WRITE | TRUNCATE, FOREVER, *random.pick(&[How::NoSpace, How::Half]), Then::ReadOnly),
        9 => fault(SYNC_FOLDER, 1, How::IoError, Then::ReadOnly),
        10 => fault(WRITE | SYNC | RENAME | SYNC_FOLDER | CREATE, 1, How::KillBefore, Then::Dead),
        _ => fault(WRITE | SYNC | RENAME | SYNC_FOLDER | CREATE, 1, How::KillAfter, Then::Dead),
    }
}

#[test]
fn what_the_log_says_of_a_failure_is_true() {
    cycles("crash-faults", CYCLES, |random| {
        let mishap = match Mishap::new("/db/1/log") {
            Ok(mishap) => mishap,
            Err(reason) => return skipped("faults of the log", &reason),
        };
        // Large ones fill a segment now and then.
        let text_bytes_max = *random.pick(&[1_000, 20_000, 20_000]);
        let mut ledger = Ledger::new(random, text_bytes_max);
        let mut server = mishap.under(Launch::dev()).start();
        // The log is there before something happens to it.
        ledger.load(server.address(), |progress| progress.acknowledged(1));
        mishap.expect_loaded(&server);
        for _ in 0..4 {
            let fault = any(random);
            println!("{fault:?}");
            mishap.arm(fault.which, fault.from, fault.times, fault.how);
            let counts = ledger.load(server.address(), |progress| progress.acknowledged(400));
            let hits = mishap.disarm();
            println!("hit {hits} times: {counts:?}");
            // Where it was hit as it began a segment, there is nothing to be taken back: the new file is not taken.
            let is_undone = fault.which == WRITE | TRUNCATE && counts.unknown == 0;
            let then = if is_undone { Then::GoesOn } else { fault.then };
            check(&mut ledger, &server, then, hits);
            if random.chance(1, 4) && server.is_running() {
                server.stop();
            }
            server.restart();
            ledger.verify(&server);
        }
        println!("{} commits were kept", ledger.kept());
    });
}

/// What the server must be in after a fault that has hit it so often.
#[track_caller]
fn check(ledger: &mut Ledger, server: &Server, then: Then, hits: i64) {
    match then {
        _ if hits == 0 => assert!(server.is_running()),
        Then::Dead => {
            server.kill9();
            return;
        }
        Then::ReadOnly => {
            let answer = server.put("/db/other/x", &json!({})).send();
            assert_eq!(answer.status, 503, "{}", answer.text());
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("read-only") && detail.contains("start hearth again"), "{detail}");
            assert!(server.metric("hearth_log_failures_total") >= 1.0);
        }
        Then::GoesOn => {}
    }
    // Reads go on in any case, and writes where they can.
    let size = |collection| server.get(&format!("/db/{collection}?count")).send().expect_status(200).json();
    let before = size("log");
    if then == Then::ReadOnly && hits > 0 {
        assert_eq!(before["aggregates"], size("log")["aggregates"]);
        return;
    }
    let counts = ledger.load(server.address(), |progress| progress.acknowledged(20));
    assert!(counts.acknowledged >= 20 && counts.refused + counts.unknown == 0, "it does not go on: {counts:?}");
}
