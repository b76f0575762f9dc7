//! The model: random commits against a plain map, and every query against a plain reading of the whole.
//!
//! Each seed is one story: some documents, some watches, some commits. After each commit every watch's folded events,
//! and one-shot runs of other queries, must equal what [`naive`] finds, which knows no keys, no windows and no tallies.
//! `HEARTH_SEED=7` repeats one story, `HEARTH_SEEDS=100000` tells more of them.

mod naive;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use random::Random;

const SEEDS: u64 = 2_000;

#[test]
fn watches_and_runs_agree_with_a_full_reading_in_every_story() {
    if let Some(seed) = number("HEARTH_SEED") {
        return world::story(&mut Random::new(seed));
    }
    let seeds = number("HEARTH_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(1), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds || failed.load(Ordering::Relaxed) != 0 {
                        break;
                    }
                    if catch_unwind(AssertUnwindSafe(|| world::story(&mut Random::new(seed)))).is_err() {
                        failed.store(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = failed.into_inner();
    assert_eq!(seed, 0, "repeat with HEARTH_SEED={seed}");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
