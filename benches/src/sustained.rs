//! A million documents through the engine, and through log and sled driven by hand.
//!
//! By hand means the least that keeps the same: groups of 64 through the log, then as one batch of the same keys into
//! sled, on a thread of its own, so that the two work at the same time as they do in the engine.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use hearth_core::entry::CommitEntry;
use hearth_core::{Version, codec, keys};
use hearth_store::{Batch, CommitLog as _, Sled, SledOptions, Store as _};

use crate::engine::{Bench, WRITERS, bare_log, entry};
use crate::{Found, Setting, list, material, median, thousands};

/// Groups between the log and sled: as much as the engine lets wait, about.
const GROUPS_WAITING: usize = 512;
/// How often the program looks after its databases; so does this.
const MAINTAIN_EVERY: Duration = Duration::from_secs(30);

/// The three keys that a new document takes in the state, as the engine makes them.
fn puts(version: Version, commit: &CommitEntry, batch: &mut Batch) {
    const DATABASE: [u8; 4] = 1_u32.to_be_bytes();
    for (n, (path, image)) in (0_u32..).zip(&commit.images) {
        let doc = keys::doc(path);
        let group = keys::group(path.collection_id());
        let version = version.micros();
        let record = codec::encode_record(image.as_deref());
        batch.put([&DATABASE[..], b"d", &doc, &(!version).to_be_bytes()].concat(), record);
        batch.put([&DATABASE[..], b"g", &group, &doc].concat(), Vec::new());
        batch.put([&DATABASE[..], b"c", &version.to_be_bytes(), &n.to_be_bytes()].concat(), doc);
    }
}

fn by_hand(setting: &Setting, count: usize) -> Result<f64> {
    let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
    let mut log = bare_log(&folder.path().join("log"))?;
    let store = Sled::open(&folder.path().join("state"), &SledOptions::default())?.store;
    let (to_state, from_log) = mpsc::sync_channel::<Batch>(GROUPS_WAITING);
    let start = Instant::now();
    let applying = std::thread::spawn(move || -> Result<()> {
        for batch in from_log {
            store.apply(batch)?;
        }
        Ok(store.close()?)
    });
    for first in (0..count).step_by(WRITERS) {
        let mut batch = Batch::new();
        let mut entries = Vec::with_capacity(WRITERS);
        for n in first..(first + WRITERS).min(count) {
            let version = Version::from_micros(n as u64 + 1);
            let (commit, entry) = entry(n, version);
            puts(version, &commit, &mut batch);
            entries.push(entry);
        }
        log.append(&entries)?;
        to_state.send(batch).context("sled has stopped")?;
    }
    drop(to_state);
    applying.join().map_err(|_| anyhow!("sled has panicked"))??;
    Ok(start.elapsed().as_secs_f64())
}

fn by_engine(setting: &Setting, count: usize) -> Result<f64> {
    let bench = Bench::open(setting)?;
    let engine = bench.engine.clone();
    let (stop, stopped) = mpsc::channel::<()>();
    let keeping = std::thread::spawn(move || {
        while stopped.recv_timeout(MAINTAIN_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            engine.maintain();
        }
    });
    let each = count / WRITERS;
    let start = Instant::now();
    bench
        .commits((0..WRITERS).map(|writer| (0..each).map(move |turn| material::set(writer * each + turn))).collect())?;
    drop(stop);
    keeping.join().map_err(|_| anyhow!("maintenance has panicked"))?;
    // Until all of it is in the state.
    bench.engine.close();
    Ok(start.elapsed().as_secs_f64())
}

/// The row `sustained`.
pub fn sustained(setting: &Setting) -> Result<Vec<Found>> {
    let count = setting.scale.pick(1_000_000, 256) / WRITERS * WRITERS;
    let (mut ratios, mut hand, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    // Each takes minutes: the million is its own repetition.
    for _ in 0..setting.runs.min(1) {
        let by_hand = by_hand(setting, count)?;
        let by_engine = by_engine(setting, count)?;
        hand.push(thousands(count, by_hand));
        whole.push(thousands(count, by_engine));
        ratios.push(by_hand / by_engine);
    }
    let details =
        format!("{:.1} of {:.1} thousand documents/s; runs {}", median(&whole), median(&hand), list(&ratios, 2));
    Ok(vec![Found { name: "sustained", value: median(&ratios), details }])
}
