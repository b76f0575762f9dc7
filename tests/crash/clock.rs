//! A clock that is set wrong, and wrong again at each start: versions never go back with it, and listeners miss nothing.

use std::time::Duration;

use hearth_tests::{Launch, cycles};

use crate::load::survive;
use crate::mishap::Mishap;
use crate::skipped;

/// `TEST_CYCLES` runs more. Each is a fresh directory and some kills.
const CYCLES: u64 = 1;
const KILLS: u64 = 5;
/// Within this of the truth, to both sides: apart by less than the history that is kept, so that every token can be resumed.
const WRONG_MAX: Duration = Duration::from_secs(25 * 60);

#[test]
fn a_clock_that_is_set_back_undercuts_no_version_and_leaves_no_gap() {
    cycles("crash-clock", CYCLES, |random| {
        let mishap = match Mishap::new("/nothing/") {
            Ok(mishap) => mishap,
            Err(reason) => return skipped("wrong clocks", &reason),
        };
        let most = WRONG_MAX.as_micros() as i64;
        let mut wrong = || random.below(2 * most as u64) as i64 - most;
        mishap.set_clock(wrong());
        // A commit may be further ahead of the clock than a server takes without being told so.
        let launch = mishap.under(Launch::dev().args(&["--accept-clock"]));
        survive(launch, KILLS, |server| {
            mishap.expect_loaded(server);
            let wrong = wrong();
            println!("the clock is {} s wrong", wrong / 1_000_000);
            mishap.set_clock(wrong);
        });
    });
}
