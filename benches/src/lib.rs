//! First measurements: what Hearth costs beside what it stands on, each with its baseline in the same run.
//!
//! The engine is driven in process, the program over sockets. What came out is written into `docs/performance.md`.
//! But for `compare`, which sets it beside Google's emulator, it compares Hearth with nothing else than its own parts.

pub mod target;

pub mod table;

pub mod machine;
pub mod material;

mod child;
mod swarm;

pub mod engine;
pub mod sustained;

pub mod compare;
pub mod fanout;
pub mod http;
pub mod million;
pub mod stalled;

use std::path::PathBuf;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// What the targets speak of.
    Full,
    /// As little as shows that the bench works: its numbers mean nothing.
    Tiny,
}

impl Scale {
    /// The one or the other.
    pub fn pick<T>(self, full: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Tiny => tiny,
        }
    }
}

/// What all measurements are told.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How much is done.
    pub scale: Scale,
    /// How often each is repeated; the median counts.
    pub runs: usize,
    /// Where data is written: the disk that is measured.
    pub folder: PathBuf,
    /// The program under test.
    pub hearth: PathBuf,
    /// This program, which also serves as the plain server of the baseline.
    pub myself: PathBuf,
}

/// What one measurement found for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The target's name.
    pub name: &'static str,
    /// What is held against the bound, in the target's unit.
    pub value: f64,
    /// What it is made of, for people.
    pub details: String,
}

/// The middle one, or the lower of the two in the middle.
///
/// # Panics
/// Of nothing there is no middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}

/// Numbers side by side, as in "0.61 0.58 0.64".
pub(crate) fn list(values: &[f64], decimals: usize) -> String {
    values.iter().map(|value| format!("{value:.decimals$}")).collect::<Vec<_>>().join(" ")
}

/// A rate in thousands a second.
pub(crate) fn thousands(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
    }
}
