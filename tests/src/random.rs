//! Chance from a seed, for tests that try what nobody would think of and must be able to try it again.

use std::env;

/// A generator of numbers, written out so that a seed means the same story for ever (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A place among so many, and 0 where there is none.
    pub fn index(&mut self, count: usize) -> usize {
        (self.number() % count.max(1) as u64) as usize
    }

    /// True `times` in `of`.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// The seed of a test: `TEST_SEED`, or a fresh one each time.
pub fn seed(name: &str) -> u64 {
    // The hasher's keys are chance enough.
    let fresh = || std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), name) >> 16;
    setting("TEST_SEED").unwrap_or_else(fresh)
}

/// A number that whoever runs a test may give in the environment.
pub fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Runs `cycle` under one seed after the other: `usual` times, or as `TEST_CYCLES` says. `TEST_SEED` is the first seed, so a
/// single cycle is repeated by `TEST_SEED=N TEST_CYCLES=1`. The seeds are printed, and shown by a test that fails.
pub fn cycles(name: &str, usual: u64, mut cycle: impl FnMut(&mut Random)) {
    let (first, count) = (seed(name), setting("TEST_CYCLES").unwrap_or(usual));
    for seed in first..first.saturating_add(count) {
        println!("{name}: TEST_SEED={seed} TEST_CYCLES=1 repeats this cycle");
        cycle(&mut Random::new(seed));
    }
    println!("{name}: {count} cycles from seed {first}");
}
