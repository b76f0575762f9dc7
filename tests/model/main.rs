//! The model: random commits against a plain map, and every query against a plain reading of the whole.
//!
//! Each seed is one story: some documents, some watches, some commits. After each commit every watch's folded events,
//! and one-shot runs of other queries, must equal what [`naive`] finds, which knows no keys, no windows and no tallies.
//! `TEST_SEED=7` repeats one story, `TEST_SEEDS=100000` tells more of them.

mod draw;
mod naive;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_tests::{Random, setting};

const SEEDS: u64 = 2_000;

#[test]
fn watches_and_runs_agree_with_a_full_reading_in_every_story() {
    if let Some(seed) = setting("TEST_SEED") {
        return world::story(&mut Random::new(seed));
    }
    let seeds = setting("TEST_SEEDS").unwrap_or(SEEDS);
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
    assert_eq!(seed, 0, "repeat with TEST_SEED={seed}");
}
