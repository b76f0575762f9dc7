//! `hearth check`: reads log, snapshots and state of every database, holds them against each other, and changes nothing.
//!
//! The log says what there must be. A model of it (for each document a sum over its record) is kept in memory, about 50
//! bytes a document, and compared with each snapshot at its version and with the state at the version it has applied.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_core::{Version, codec, keys};
use hearth_store::{
    CommitLog, DatabaseRecord, Direction, FileLog, Home, HomeError, HomeView, LogOptions, Sled, SledOptions, Snapshots,
    StateFound, Store,
};

use crate::keyspace::Keyspace;
use crate::memtable::{Memtable, number};
use crate::rebuild::Act;
use crate::snapshot::section;
use crate::view::{Pins, View};

/// How a data directory is checked.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// What names this boot of the machine, as for opening the directory.
    pub boot_id: Option<String>,
    /// A folder with room for a copy of the state, since sled cannot open one without writing into it. The copy is removed
    /// again. Without one, the state is not looked into.
    pub scratch: Option<PathBuf>,
}

/// What a check has read and found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Each database.
    pub databases: Vec<DatabaseChecked>,
    /// What is to be said of the state as a whole.
    pub state: Vec<Finding>,
}

/// What was read of one database, and found in it.
#[derive(Clone, Debug)]
pub struct DatabaseChecked {
    /// Project and database.
    pub name: String,
    /// The last version of the log.
    pub last: Version,
    /// The log holds everything above this version.
    pub begins: Version,
    /// Entries of the log that were read.
    pub entries: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Documents at the end of the log.
    pub documents: u64,
    /// Snapshots that are whole and agree with the log.
    pub snapshots: Vec<Version>,
    /// The version up to which the state holds everything, where it was looked into and agrees.
    pub state: Option<Version>,
    /// What there is to say.
    pub findings: Vec<Finding>,
}

/// Something that a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Data is lost, or would be with the next mishap.
    Wrong(String),
    /// Good to know.
    Note(String),
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        let mut all = self.databases.iter().flat_map(|database| &database.findings).chain(&self.state);
        !all.any(|finding| matches!(finding, Finding::Wrong(_)))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(text) => write!(f, "wrong: {text}"),
            Self::Note(text) => write!(f, "note: {text}"),
        }
    }
}

/// For people: a line for what was read, and one for each finding.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for database in &self.databases {
            let DatabaseChecked { name, last, entries, log_bytes, documents, snapshots, state, findings, .. } =
                database;
            writeln!(f, "{name}: {documents} documents at version {last}")?;
            writeln!(f, "  read {entries} entries of the log ({log_bytes} bytes) and {} snapshots", snapshots.len())?;
            if let Some(applied) = state {
                writeln!(f, "  read the state, which is as the log says at version {applied}")?;
            }
            findings.iter().try_for_each(|finding| writeln!(f, "  {finding}"))?;
        }
        self.state.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        match self.is_sound() {
            true => writeln!(f, "everything is sound"),
            false => writeln!(f, "something is wrong, see above; nothing was changed"),
        }
    }
}

/// Checks the data directory at `folder`, which no other process may use meanwhile. `each` is called with what is done next.
pub fn check(folder: &Path, options: &CheckOptions, mut each: impl FnMut(&str)) -> Result<CheckReport, HomeError> {
    let home = Home::look_at(folder, options.boot_id.as_deref())?;
    let mut report = CheckReport::default();
    let state = open_state(&home, options, &mut report.state, &mut each);
    for record in home.databases() {
        let name = format!("{}/{}", record.project, record.database);
        each(&format!("reading {name}"));
        report.databases.push(check_database(&home, &record, name, state.as_ref().map(|copy| &copy.store)));
    }
    Ok(report)
}

// ---- the state

/// A copy of the state, removed when it is dropped.
struct Copy {
    store: Arc<dyn Store>,
    folder: PathBuf,
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is a copy in a folder for such things: what stays is only in the way.
        let _ = self.store.close();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn open_state(
    home: &HomeView,
    options: &CheckOptions,
    findings: &mut Vec<Finding>,
    each: &mut impl FnMut(&str),
) -> Option<Copy> {
    let gone = "it is taken away and rebuilt from snapshots and log at the next start, which loses nothing";
    match home.state_found() {
        StateFound::CleanStop | StateFound::SameBoot => {}
        StateFound::Absent => {
            findings.push(Finding::Note(
                "there is no state; it is rebuilt from snapshots and log at the next start".into(),
            ));
            return None;
        }
        StateFound::RemovedAfterRestart => {
            findings.push(Finding::Note(format!(
                "the machine has restarted without a clean stop, so the state is not trusted: {gone}"
            )));
            return None;
        }
        StateFound::RemovedAsUnknown => {
            findings.push(Finding::Note(format!("the last stop was not clean, so the state is not trusted: {gone}")));
            return None;
        }
    }
    let Some(scratch) = &options.scratch else {
        findings.push(Finding::Note("the state was not looked into: that needs room for a copy of it".into()));
        return None;
    };
    each("copying the state");
    let folder = scratch.join(format!("hearth-check-{}", std::process::id()));
    let opened = copy_folder(&home.state_dir(), &folder)
        .map_err(|error| error.to_string())
        .and_then(|()| Sled::open(&folder, &SledOptions::default()).map_err(|error| error.to_string()));
    match opened {
        Err(error) => {
            findings.push(Finding::Note(format!("the state was not looked into: {error}")));
            let _ = fs::remove_dir_all(&folder);
            None
        }
        Ok(opened) => {
            if let Some(aside) = opened.set_aside {
                let cause = aside.cause;
                findings.push(Finding::Wrong(format!(
                    "the state cannot be opened ({cause}); every commit is safe in the log: \
                     start hearth, which sets the state aside and rebuilds it"
                )));
                let _ = fs::remove_dir_all(aside.path);
            }
            Some(Copy { store: Arc::new(opened.store), folder })
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => copy_folder(&entry.path(), &to.join(entry.file_name()))?,
            kind if kind.is_file() => drop(fs::copy(entry.path(), to.join(entry.file_name()))?),
            _ => {}
        }
    }
    Ok(())
}

// ---- one database

/// What must be there: for each document a sum over its record.
#[derive(Default)]
struct Model(HashMap<u64, u32>);

impl Model {
    fn name(doc_key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        doc_key.hash(&mut hasher);
        hasher.finish()
    }

    fn sum(record: &[u8]) -> u32 {
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        hasher.finish() as u32
    }

    fn put(&mut self, doc_key: &[u8], record: &[u8]) {
        self.0.insert(Self::name(doc_key), Self::sum(record));
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Tick => {}
            Act::Wipe { .. } => self.0.clear(),
            Act::Commit(commit) => {
                for (path, image) in &commit.images {
                    let doc_key = keys::doc(path);
                    match image {
                        None => drop(self.0.remove(&Self::name(&doc_key))),
                        Some(image) => self.put(&doc_key, &codec::encode_record(Some(image))),
                    }
                }
            }
        }
    }
}

/// Counts what agrees with a model and what does not.
struct Comparison<'a> {
    model: &'a Model,
    found: usize,
    wrong: usize,
    first: Option<String>,
}

impl<'a> Comparison<'a> {
    fn new(model: &'a Model) -> Self {
        Self { model, found: 0, wrong: 0, first: None }
    }

    fn document(&mut self, doc_key: &[u8], record: &[u8]) {
        self.found += 1;
        if self.model.0.get(&Model::name(doc_key)) != Some(&Model::sum(record)) {
            self.wrong += 1;
            let name =
                || keys::decode_doc(doc_key).map_or_else(|_| "a key that is none".into(), |path| path.to_string());
            self.first.get_or_insert_with(name);
        }
    }

    /// What is wrong, if anything is.
    fn verdict(self) -> Option<String> {
        let there = self.found - self.wrong;
        let missing = self.model.0.len().saturating_sub(there).saturating_sub(self.wrong);
        let all = self.model.0.len();
        match (self.first, missing) {
            (Some(first), _) => {
                Some(format!("{} of {all} documents are not as it says, {first} among them", self.wrong))
            }
            (None, missing) if missing > 0 => Some(format!("{missing} of {all} documents are missing")),
            (None, _) => None,
        }
    }
}

fn check_database(
    home: &HomeView,
    record: &DatabaseRecord,
    name: String,
    state: Option<&Arc<dyn Store>>,
) -> DatabaseChecked {
    let mut checked = DatabaseChecked {
        name,
        last: Version::ZERO,
        begins: Version::ZERO,
        entries: 0,
        log_bytes: 0,
        documents: 0,
        snapshots: Vec::new(),
        state: None,
        findings: Vec::new(),
    };
    let snapshots = match home.snapshots(record.number) {
        Ok(snapshots) => snapshots,
        Err(error) => {
            checked.findings.push(Finding::Wrong(error.to_string()));
            return checked;
        }
    };
    let whole = whole_snapshots(&snapshots, &mut checked.findings);
    let keyspace = Keyspace::new(record.number);
    let applied = state.map(|store| number(&**store, &keyspace.applied()).map(Version::from_micros));
    let applied = match applied.transpose() {
        Ok(applied) => applied.filter(|applied| *applied > Version::ZERO),
        Err(error) => {
            checked.findings.push(Finding::Wrong(error.to_string()));
            None
        }
    };
    let last_whole = whole.last().copied().unwrap_or_default();
    let known = last_whole.max(applied.unwrap_or_default());
    // Where the state was not looked into, it may still stand for what the log lacks.
    let covered = if home.trusts_state() && state.is_none() { Version::MAX } else { known };
    let log = match home.open_log(record.number, known, LogOptions { covered, ..LogOptions::default() }) {
        Ok((log, recovered)) => {
            checked.last = recovered.last;
            checked.begins = log.start();
            checked.log_bytes = recovered.bytes;
            if recovered.cut_bytes > 0 {
                checked.findings.push(Finding::Note(format!(
                    "the log ends in {} bytes of a group that a crash has torn; no one was told of it, and the next start \
                     cuts it off",
                    recovered.cut_bytes
                )));
            }
            log
        }
        Err(error) => {
            checked.findings.push(Finding::Wrong(error.to_string()));
            return checked;
        }
    };
    walk(&log, &snapshots, &whole, keyspace, state.zip(applied), &mut checked);
    checked
}

/// The versions of the snapshots that are whole, oldest first.
fn whole_snapshots(snapshots: &Snapshots, findings: &mut Vec<Finding>) -> Vec<Version> {
    let versions = match snapshots.list() {
        Ok(versions) => versions,
        Err(error) => {
            findings.push(Finding::Wrong(error.to_string()));
            return Vec::new();
        }
    };
    let is_whole = |version: &Version| match snapshots.verify(*version) {
        Ok(_) => true,
        Err(error) => {
            findings.push(Finding::Wrong(format!(
                "{error}; it is not used, and what it held stands in the log or another snapshot unless more is said below: \
                 start hearth, which writes another"
            )));
            false
        }
    };
    versions.into_iter().filter(is_whole).collect()
}

/// Goes through the log and compares at every version of which something else tells.
fn walk(
    log: &FileLog,
    snapshots: &Snapshots,
    whole: &[Version],
    keyspace: Keyspace,
    state: Option<(&Arc<dyn Store>, Version)>,
    checked: &mut DatabaseChecked,
) {
    let mut model = Model::default();
    let mut from = Version::ZERO;
    let mut stops: Vec<Version> = whole.iter().copied().filter(|version| *version >= log.start()).collect();
    if log.start() > Version::ZERO {
        // What was dropped stands in the oldest snapshot that reaches the log.
        let Some(base) = stops.first().copied() else {
            checked.findings.push(Finding::Wrong(format!(
                "the log begins behind version {}, and no whole snapshot reaches it: only the state holds what lies before; \
                 start hearth, which writes a snapshot, before anything else happens",
                log.start()
            )));
            return;
        };
        match load(snapshots, base) {
            Ok(loaded) => model = loaded,
            Err(error) => return checked.findings.push(Finding::Wrong(error)),
        }
        from = base;
        checked.snapshots.push(base);
        stops.remove(0);
    }
    stops.extend(state.map(|(_, applied)| applied).filter(|applied| *applied >= from));
    stops.sort();
    stops.dedup();
    let mut stops = stops.into_iter().peekable();
    let compare = |model: &Model, at: Version, checked: &mut DatabaseChecked| {
        if whole.contains(&at) && at > from {
            match compare_snapshot(snapshots, at, model) {
                Ok(None) => checked.snapshots.push(at),
                Ok(Some(wrong)) | Err(wrong) => checked.findings.push(Finding::Wrong(format!(
                    "the snapshot of version {at} does not agree with the log: {wrong}; the log is the truth: \
                     move {} away, then start hearth",
                    snapshots.path(at).display()
                ))),
            }
        }
        if let Some((store, applied)) = state
            && applied == at
        {
            match compare_state(store, keyspace, at, model) {
                Ok(None) => checked.state = Some(at),
                Ok(Some(wrong)) | Err(wrong) => checked.findings.push(Finding::Wrong(format!(
                    "the state does not agree with the log: {wrong}; the log is the truth and nothing is lost: \
                     move the folder `state` of the data directory away, then start hearth, which rebuilds it"
                ))),
            }
        }
    };
    let replayed = log.replay(from, &mut |entry| {
        while let Some(at) = stops.next_if(|at| *at < entry.version) {
            compare(&model, at, checked);
        }
        model.apply(&Act::read(&entry)?);
        checked.entries += 1;
        Ok(())
    });
    if let Err(error) = replayed {
        checked.findings.push(Finding::Wrong(error.to_string()));
        return;
    }
    for at in stops {
        compare(&model, at, checked);
    }
    checked.documents = model.0.len() as u64;
}

fn load(snapshots: &Snapshots, version: Version) -> Result<Model, String> {
    let mut model = Model::default();
    documents(snapshots, version, |doc_key, record| model.put(doc_key, record))?;
    Ok(model)
}

fn compare_snapshot(snapshots: &Snapshots, version: Version, model: &Model) -> Result<Option<String>, String> {
    let mut comparison = Comparison::new(model);
    documents(snapshots, version, |doc_key, record| comparison.document(doc_key, record))?;
    Ok(comparison.verdict())
}

fn documents(snapshots: &Snapshots, version: Version, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), String> {
    let mut reader = snapshots.read(version).map_err(|error| error.to_string())?;
    while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
        if record.section == section::DOCUMENTS {
            let path = keys::decode_doc(&record.key).map_err(|error| error.to_string())?;
            codec::decode_record(&path, &record.value).map_err(|error| format!("{path}: {error}"))?;
            each(&record.key, &record.value);
        }
    }
    Ok(())
}

fn compare_state(
    store: &Arc<dyn Store>,
    keyspace: Keyspace,
    version: Version,
    model: &Model,
) -> Result<Option<String>, String> {
    let floor = number(&**store, &keyspace.floor()).map_err(|error| error.to_string())?;
    let memtable = Memtable::new(keyspace, store.clone());
    let view = View::open(version, Version::from_micros(floor), keyspace, &memtable, &Arc::new(Pins::default()));
    let mut comparison = Comparison::new(model);
    let mut unlisted = None;
    let mut scan = view.scan(&[], &[0xff], None);
    while let Some((doc_key, record)) = scan.next().map_err(|error| error.to_string())? {
        comparison.document(&doc_key, &record);
        let path = keys::decode_doc(&doc_key).map_err(|error| error.to_string())?;
        if store
            .get(&keyspace.group_entry(path.collection_id(), &doc_key))
            .map_err(|error| error.to_string())?
            .is_none()
        {
            unlisted.get_or_insert(path);
        }
    }
    // Everything must be readable, what is superseded too.
    let mut range = keyspace.all_documents();
    loop {
        let page = store.scan(&range, Direction::Forward, 1_000).map_err(|error| error.to_string())?;
        let Some((last, _)) = page.last() else { break };
        range = range.rest(Direction::Forward, last);
        for (_, record) in &page {
            codec::Record::read(record).map_err(|error| error.to_string())?;
        }
    }
    let unlisted = unlisted.map(|path| format!("{path} is missing in its collection group"));
    Ok(comparison.verdict().or(unlisted))
}
