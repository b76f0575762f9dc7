//! The engine in process, beside the bare log and the bare disk on the same folder.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hearth_auth::Caller;
use hearth_core::change::{Change, Commit};
use hearth_core::entry::{CommitEntry, kind};
use hearth_core::write::{FieldTransform, Operation, Precondition, Transform, Write};
use hearth_core::{DatabaseName, DocPath, Document, FieldPath, Map, Value, Version};
use hearth_engine::{Access, Backing, CommitRequest, Database, Engine, Limits, Options, Projects, SystemClock, ids};
use hearth_store::{CommitLog, DatabaseId, Entry, FileLog, Home, HomeOptions, LogOptions};
use tokio::runtime::Runtime;

use crate::{Found, Setting, list, material, median, thousands};

/// How many write at once.
pub(crate) const WRITERS: usize = 64;

/// An engine on a folder of its own, with one database open. Closed when it is dropped, the folder removed.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) database: Database,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn open(setting: &Setting) -> Result<Self> {
        let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let home = Home::open(&folder.path().join("data"), HomeOptions { id_if_new: ids::random(), boot_id: None })?;
        let options =
            Options { limits: Limits::default(), access: Access::Open, projects: Projects::Any, default_project: None };
        let backing = Backing::Disk(Box::new(home));
        let (engine, _) =
            runtime.block_on(async { Engine::start(backing, options, Arc::new(SystemClock::default())) })?;
        let database = engine.database(&DatabaseName::parse("bench", DatabaseName::DEFAULT)?)?;
        Ok(Self { engine, database, runtime, _folder: folder })
    }

    /// Has writers commit what is each one's, one after the other, all at once; says how long that took.
    pub(crate) fn commits(&self, writers: Vec<impl Iterator<Item = Write> + Send + 'static>) -> Result<Duration> {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for writes in writers {
                let database = self.database.clone();
                tasks.spawn(async move {
                    for write in writes {
                        commit(&database, write).await?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            Ok(start.elapsed())
        })
    }

    fn value(&self, path: &DocPath, field: &str) -> Result<Option<Value>> {
        self.runtime.block_on(async {
            let path = self.database.authorize_get(&Caller::Anonymous, path.clone())?;
            let found = self.database.get(&path, None).await?.document;
            Ok(found.and_then(|document| document.fields.get(field).cloned()))
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.engine.close();
    }
}

async fn commit(database: &Database, write: Write) -> Result<()> {
    let request = CommitRequest { writes: vec![write], ..CommitRequest::default() };
    let request = database.authorize_commit(&Caller::Anonymous, request)?;
    database.commit(request).await?;
    Ok(())
}

/// The n-th document as the log keeps it, in a commit of its own.
pub(crate) fn entry(n: usize, version: Version) -> (CommitEntry, Entry) {
    let path = material::path(n);
    let document = Document { path: path.clone(), created: version, updated: version, fields: material::fields(n) };
    let change = Change { path, before: None, after: Some(Arc::new(document)) };
    let commit = CommitEntry::new("", None, &Commit { version, changes: vec![change] }, &[]);
    let body = commit.encode();
    (commit, Entry { version, kind: kind::COMMIT, body })
}

/// A log without anything around it.
pub(crate) fn bare_log(folder: &Path) -> Result<FileLog> {
    let database = DatabaseId(ids::random());
    FileLog::create(folder, database)?;
    Ok(FileLog::open(folder, database, Version::ZERO, LogOptions::default())?.0)
}

/// Seconds that the bare log takes for so many documents in groups of 64.
fn bare_log_seconds(setting: &Setting, count: usize) -> Result<f64> {
    let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
    let mut log = bare_log(&folder.path().join("log"))?;
    let entries: Vec<Entry> = (0..count).map(|n| entry(n, Version::from_micros(n as u64 + 1)).1).collect();
    let start = Instant::now();
    for group in entries.chunks(WRITERS) {
        log.append(group)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// A burst of commits by 64 writers, and the same documents through the bare log.
pub fn burst(setting: &Setting) -> Result<Vec<Found>> {
    let each = setting.scale.pick(500, 4);
    let count = WRITERS * each;
    let (mut ratios, mut bare, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.runs {
        let log = bare_log_seconds(setting, count)?;
        let bench = Bench::open(setting)?;
        // Made before, as for the bare log.
        let writes: Vec<Vec<Write>> =
            (0..WRITERS).map(|writer| (0..each).map(|turn| material::set(writer * each + turn)).collect()).collect();
        let engine = bench.commits(writes.into_iter().map(Vec::into_iter).collect())?;
        bare.push(thousands(count, log));
        whole.push(thousands(count, engine.as_secs_f64()));
        ratios.push(log / engine.as_secs_f64());
    }
    let details = format!(
        "{:.1} of {:.1} thousand commits/s; {count} in a burst; runs {}",
        median(&whole),
        median(&bare),
        list(&ratios, 2)
    );
    Ok(vec![Found { name: "burst", value: median(&ratios), details }])
}

/// Microseconds that appending so many bytes and `fdatasync` take.
fn bare_sync_micros(file: &mut File, bytes: usize, count: usize) -> Result<f64> {
    let block = vec![0x5a; bytes];
    let start = Instant::now();
    for _ in 0..count {
        file.write_all(&block)?;
        file.sync_data()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
}

/// One writer that waits for each commit, and a file to which as many bytes are appended and synced. The two take short
/// turns: a disk is not equally quick from one second to the next.
pub fn one_writer(setting: &Setting) -> Result<Vec<Found>> {
    const TURN: usize = 50;
    let turns = setting.scale.pick(15 * setting.runs, 1);
    let bytes = entry(0, Version::from_micros(1)).1.body.len() + Entry::EXTRA_BYTES;
    let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
    let mut file = OpenOptions::new().create_new(true).append(true).open(folder.path().join("file"))?;
    let bench = Bench::open(setting)?;
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        bare.push(bare_sync_micros(&mut file, bytes, TURN)?);
        let taken = bench.commits(vec![(0..TURN).map(move |n| material::set(turn * TURN + n))])?;
        whole.push(taken.as_secs_f64() * 1e6 / TURN as f64);
    }
    let (sync, commit) = (median(&bare), median(&whole));
    let details =
        format!("{commit:.0} µs a commit, {sync:.0} µs an `fdatasync`, medians of {turns} turns of {TURN} each");
    Ok(vec![Found { name: "one-writer", value: sync / commit, details }])
}

fn increment(path: DocPath) -> Write {
    let field = FieldPath::parse("n").expect("a plain name");
    let transform = FieldTransform { path: field, transform: Transform::Increment(Value::Integer(1)) };
    let operation = Operation::Merge { fields: Map::new(), mask: Vec::new() };
    Write::build(path, operation, Precondition::None, vec![transform]).expect("a plain increment")
}

/// 64 writers who increment one document, and 64 who increment one each.
pub fn hot_document(setting: &Setting) -> Result<Vec<Found>> {
    let each = setting.scale.pick(300, 4);
    let count = WRITERS * each;
    let (mut ratios, mut apart, mut together) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.runs {
        let bench = Bench::open(setting)?;
        let increments = |document: usize| (0..each).map(move |_| increment(material::path(document)));
        let cold = bench.commits((0..WRITERS).map(increments).collect())?.as_secs_f64();
        let hot = bench.commits((0..WRITERS).map(|_| increments(WRITERS)).collect())?.as_secs_f64();
        let counted = bench.value(&material::path(WRITERS), "n")?;
        ensure!(counted == Some(Value::Integer(count as i64)), "of {count} increments {counted:?} are there");
        apart.push(thousands(count, cold));
        together.push(thousands(count, hot));
        ratios.push(cold / hot);
    }
    let details = format!(
        "{:.1} and {:.1} thousand increments/s; all {count} counted; runs {}",
        median(&together),
        median(&apart),
        list(&ratios, 2)
    );
    Ok(vec![Found { name: "hot-document", value: median(&ratios), details }])
}
