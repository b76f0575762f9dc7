//! Crashes: the process is killed, the power cut, the disk full, broken or changed by a hand, the clock wrong, as often as a
//! test wants; and nothing that was promised is lost.
//!
//! Each cycle has a seed that is printed: `TEST_SEED=N TEST_CYCLES=1` repeats it.

mod c;
mod disk;
mod ledger;
mod mishap;

mod clock;
mod faults;
mod flips;
mod full;
mod load;
mod once;
mod power;
mod state;
mod tail;

/// Says that this machine cannot do what a test needs, and lets the test pass.
fn skipped(what: &str, reason: &str) {
    // Past the test's own capture, so that whoever runs the tests sees it.
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {reason}");
}
