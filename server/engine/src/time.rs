//! The time that versions follow: the wall clock, held against the clock that runs since the machine's boot.
//!
//! A wall clock that leaps ahead (a wrong time server, a slip of the hand) would push versions into the future for good,
//! since they never go back. So a leap is not followed: time goes on with the boot clock, and an alarm is raised, until
//! the wall clock is back or the server starts anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// The time of one process.
pub(crate) struct Time {
    clock: Arc<dyn Clock>,
    leap_max: Duration,
    metrics: Arc<Metrics>,
    // Held to read two clocks and move the anchor.
    anchor: Mutex<Anchor>,
}

/// A moment at which the wall clock was believed.
struct Anchor {
    wall: u64,
    boot: Duration,
    is_held: bool,
}

impl Time {
    pub(crate) fn new(clock: Arc<dyn Clock>, leap_max: Duration, metrics: Arc<Metrics>) -> Self {
        let anchor = Anchor { wall: clock.micros(), boot: clock.boot(), is_held: false };
        Self { clock, leap_max, metrics, anchor: Mutex::new(anchor) }
    }

    /// Microseconds since 1970.
    pub(crate) fn micros(&self) -> u64 {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, boot) = (self.clock.micros(), self.clock.boot());
        let passed = boot.saturating_sub(anchor.boot);
        let due = anchor.wall.saturating_add(passed.as_micros() as u64);
        let leap = Duration::from_micros(wall.saturating_sub(due));
        if leap <= self.leap_max {
            if anchor.is_held {
                tracing::warn!("the wall clock is back where it should be, and is followed again");
                self.metrics.clock_held.set(0);
            }
            *anchor = Anchor { wall, boot, is_held: false };
            return wall;
        }
        if !anchor.is_held {
            anchor.is_held = true;
            self.metrics.clock_held.set(1);
            self.metrics.clock_leaps.inc();
            tracing::error!(
                leap_seconds = leap.as_secs(),
                "the wall clock leapt ahead and is not followed; commits go on by the boot clock: set the clock right, \
                 or start hearth again if the new time is the right one"
            );
        }
        due
    }

    /// Whether a leap of the wall clock is being held back.
    pub(crate) fn is_held(&self) -> bool {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner).is_held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const MINUTE: u64 = 60_000_000;

    #[test]
    fn a_leap_ahead_is_not_followed_and_everything_else_is() {
        let clock = Arc::new(ManualClock::at(1_000 * MINUTE));
        let metrics = Arc::new(Metrics::default());
        let time = Time::new(clock.clone(), Duration::from_secs(300), metrics.clone());
        // Time that has really passed, however much: a laptop that slept.
        clock.set(5_000 * MINUTE);
        assert_eq!(time.micros(), 5_000 * MINUTE);
        clock.leap_to(5_004 * MINUTE);
        assert_eq!(time.micros(), 5_004 * MINUTE);
        clock.leap_to(4_000 * MINUTE);
        assert_eq!(time.micros(), 4_000 * MINUTE);
        clock.leap_to(4_006 * MINUTE);
        assert_eq!(time.micros(), 4_000 * MINUTE);
        clock.pass(Duration::from_secs(60));
        assert_eq!((time.micros(), time.is_held()), (4_001 * MINUTE, true));
        assert_eq!((metrics.clock_leaps.get(), metrics.clock_held.get()), (1, 1));
        clock.leap_to(4_002 * MINUTE);
        assert_eq!((time.micros(), time.is_held()), (4_002 * MINUTE, false));
        assert_eq!((metrics.clock_leaps.get(), metrics.clock_held.get()), (1, 0));
    }
}
