//! A view: the database as it stood at one version, for as long as the view is held.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use hearth_core::codec::{self, DecodeError};
use hearth_core::keys::{self, KeyError};
use hearth_core::{DocPath, Document, Version};
use hearth_store::{Blob, Direction, KeyRange, Store, StoreError};

use crate::keyspace::{END, Keyspace, PAST, VERSION_BYTES};
use crate::memtable::{Generation, Memtable};

/// Why the state could not be read. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a record of the state is damaged: {0}")]
    Record(#[from] DecodeError),
    #[error("a key of the state is damaged: {0}")]
    Key(#[from] KeyError),
}

/// Versions that readers hold: what they see is not removed.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    // Held for one insertion or removal.
    held: Mutex<BTreeMap<Version, usize>>,
}

impl Pins {
    pub(crate) fn oldest(&self) -> Option<Version> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).keys().next().copied()
    }

    /// Does something, unless a version older than `version` is held. Nobody takes hold of one meanwhile.
    pub(crate) fn unless_older(&self, version: Version, act: impl FnOnce()) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = held.keys().next().is_none_or(|oldest| *oldest >= version);
        if free {
            act();
        }
        free
    }

    fn add(&self, version: Version) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner).entry(version).or_default() += 1;
    }

    fn remove(&self, version: Version) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&version) {
            *count -= 1;
            if *count == 0 {
                held.remove(&version);
            }
        }
    }
}

/// The database at one version.
pub(crate) struct View {
    version: Version,
    /// The last wipe before it: what lies at or below is not there.
    floor: Version,
    keyspace: Keyspace,
    /// Newest first; taken before the state is scanned.
    generations: Vec<Arc<Generation>>,
    store: Arc<dyn Store>,
    pins: Arc<Pins>,
}

impl Drop for View {
    fn drop(&mut self) {
        self.pins.remove(self.version);
    }
}

impl View {
    /// Pins `version`, which must be visible already and not yet forgotten. `floor` is the last wipe at or below it.
    pub(crate) fn open(
        version: Version,
        floor: Version,
        keyspace: Keyspace,
        memtable: &Memtable,
        pins: &Arc<Pins>,
    ) -> Self {
        pins.add(version);
        let generations = memtable.generations();
        Self { version, floor, keyspace, generations, store: memtable.store().clone(), pins: pins.clone() }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The record at a document's key: what stood there at the view's version.
    pub(crate) fn record(&self, doc_key: &[u8]) -> Result<Option<Blob>, StateError> {
        let range = self.keyspace.document_between(doc_key, self.floor, self.version);
        match self.waiting_record(&range) {
            Some(record) => Ok(Some(record)),
            None => self.stored_record(&range),
        }
    }

    /// The same where there may well be none: for a document that never was, one exact look at its entry in its group, which
    /// outlives all of its versions, says so. To seek a version costs sled a copy of the page that it would be on.
    fn record_if_any(&self, path: &DocPath) -> Result<Option<Blob>, StateError> {
        let doc_key = keys::doc(path);
        let range = self.keyspace.document_between(&doc_key, self.floor, self.version);
        if let Some(record) = self.waiting_record(&range) {
            return Ok(Some(record));
        }
        match self.store.get(&self.keyspace.group_entry(path.collection_id(), &doc_key))? {
            Some(_) => self.stored_record(&range),
            None => Ok(None),
        }
    }

    /// The newest of a document's versions that wait for the state.
    fn waiting_record(&self, versions: &KeyRange) -> Option<Blob> {
        self.generations.iter().find_map(|generation| generation.first(versions))
    }

    fn stored_record(&self, versions: &KeyRange) -> Result<Option<Blob>, StateError> {
        Ok(self.store.scan(versions, Direction::Forward, 1)?.pop().map(|(_, record)| record))
    }

    /// The record at a document's key, where a document stands there.
    pub(crate) fn live_record(&self, doc_key: &[u8]) -> Result<Option<Blob>, StateError> {
        match self.record(doc_key)? {
            Some(record) if codec::Record::read(&record)? != codec::Record::Tombstone => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    /// The document's key in an entry of a collection group, whose prefix has that length.
    pub(crate) fn group_doc_key(key: &[u8], prefix_bytes: usize) -> &[u8] {
        key.get(Keyspace::PREFIX_BYTES + prefix_bytes..).unwrap_or_default()
    }

    /// A document, whole.
    pub(crate) fn document(&self, path: &DocPath) -> Result<Option<Arc<Document>>, StateError> {
        match self.record_if_any(path)? {
            None => Ok(None),
            Some(record) => Ok(codec::decode_record(path, &record)?),
        }
    }

    /// All records of documents whose keys are in a range, in the order of paths.
    ///
    /// With `below` only those directly in the collection whose prefix has that length: the rest is sought past.
    pub(crate) fn scan(&self, from: &[u8], to: &[u8], below: Option<usize>) -> DocumentScan<'_> {
        let range = self.keyspace.documents(from, to);
        let direct = below.map(|bytes| bytes + Keyspace::PREFIX_BYTES);
        DocumentScan { keys: MergedScan::new(self, range), version: self.version, floor: self.floor, direct }
    }

    /// The same backwards.
    pub(crate) fn scan_back(&self, from: &[u8], to: &[u8], below: Option<usize>) -> BackwardScan<'_> {
        let range = self.keyspace.documents(from, to);
        let direct = below.map(|bytes| bytes + Keyspace::PREFIX_BYTES);
        BackwardScan { keys: BackwardKeys { view: self, range, examined: 0 }, direct }
    }

    /// The keys of documents in a range of the collection groups' index; a document may be deleted by now.
    pub(crate) fn group_keys(&self, from: &[u8], to: &[u8]) -> MergedScan<'_> {
        MergedScan::new(self, self.keyspace.group_entries(from, to))
    }

    /// The same backwards.
    pub(crate) fn group_keys_back(&self, from: &[u8], to: &[u8]) -> BackwardKeys<'_> {
        BackwardKeys { view: self, range: self.keyspace.group_entries(from, to), examined: 0 }
    }

    /// The keys of documents that commits above `after`, up to the view's version, changed: each once, in order;
    /// `None` where there are more than `docs_max`.
    pub(crate) fn changed_since(&self, after: Version, docs_max: usize) -> Result<Option<Vec<DocPath>>, StateError> {
        let mut scan = MergedScan::new(self, self.keyspace.changes(after, self.version));
        let mut found = std::collections::BTreeSet::new();
        while let Some((_, doc_key)) = scan.next()? {
            found.insert(doc_key);
            if found.len() > docs_max {
                return Ok(None);
            }
        }
        let paths = found.iter().map(|key| keys::decode_doc(key)).collect::<Result<_, _>>()?;
        Ok(Some(paths))
    }

    /// The changes of commits above `after`, up to the view's version, as (version, doc key), oldest first.
    pub(crate) fn change_entries(&self, after: Version) -> MergedScan<'_> {
        MergedScan::new(self, self.keyspace.changes(after, self.version))
    }

    /// The records of idempotency keys, of commits above `after` and up to the view's version, oldest first.
    pub(crate) fn request_entries(&self, after: Version) -> MergedScan<'_> {
        MergedScan::new(self, self.keyspace.requests(after.max(self.floor), self.version))
    }

    /// The ids of collections below a document, or at the root, that hold a document at any depth.
    pub(crate) fn collections(&self, below: Option<&DocPath>) -> Result<Vec<String>, StateError> {
        let prefix = below.map(keys::descendants).unwrap_or_default();
        let past = [prefix.as_slice(), &[PAST]].concat();
        let mut ids = Vec::new();
        let mut from = [prefix.as_slice(), &[END + 1]].concat();
        loop {
            let mut scan = self.scan(&from, &past, None);
            let Some((key, _)) = scan.next()? else { return Ok(ids) };
            let end = keys::segment_end(&key, prefix.len())?;
            let path = keys::decode_doc(&key)?;
            let depth = below.map_or(0, |path| path.segments().count());
            ids.extend(path.segments().nth(depth).map(str::to_owned));
            from = [&key[..end], &[PAST]].concat();
        }
    }
}

/// Keys of one range from all generations and the state, each once, in order.
pub(crate) struct MergedScan<'a> {
    view: &'a View,
    to: Vec<u8>,
    sources: Vec<Source>,
    page_keys: usize,
    examined: u64,
}

/// How far one source is read.
struct Source {
    page: VecDeque<(Vec<u8>, Blob)>,
    from: Vec<u8>,
    ended: bool,
}

impl<'a> MergedScan<'a> {
    /// A first page is small, since most scans seek on or end soon; the pages of one that goes on grow.
    const PAGE_KEYS_MIN: usize = 2;
    const PAGE_KEYS_MAX: usize = 512;

    fn new(view: &'a View, range: KeyRange) -> Self {
        let source = || Source { page: VecDeque::new(), from: range.from.clone(), ended: range.is_empty() };
        let sources = (0..=view.generations.len()).map(|_| source()).collect();
        Self { view, to: range.to, sources, page_keys: Self::PAGE_KEYS_MIN, examined: 0 }
    }

    /// How many keys were looked at.
    pub(crate) fn examined(&self) -> u64 {
        self.examined
    }

    /// The next key with its value; the newest source wins where several hold it.
    pub(crate) fn next(&mut self) -> Result<Option<(Vec<u8>, Blob)>, StateError> {
        self.fill()?;
        let heads =
            self.sources.iter().enumerate().filter_map(|(index, source)| Some((&source.page.front()?.0, index)));
        let Some((_, index)) = heads.min() else { return Ok(None) };
        let Some(found) = self.sources[index].page.pop_front() else { return Ok(None) };
        for source in &mut self.sources[index + 1..] {
            if source.page.front().is_some_and(|(key, _)| *key == found.0) {
                source.page.pop_front();
            }
        }
        Ok(Some(found))
    }

    /// Goes on at `key` or behind it.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        let mut passed = false;
        for source in &mut self.sources {
            while source.page.front().is_some_and(|(held, _)| held.as_slice() < key) {
                source.page.pop_front();
                passed = true;
            }
            if source.page.is_empty() && source.from.as_slice() < key {
                source.from = key.to_vec();
            }
        }
        if passed {
            self.page_keys = Self::PAGE_KEYS_MIN;
        }
    }

    fn fill(&mut self) -> Result<(), StateError> {
        let mut went_on = false;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if !source.page.is_empty() || source.ended {
                continue;
            }
            let range = KeyRange { from: std::mem::take(&mut source.from), to: self.to.clone() };
            let page = match self.view.generations.get(index) {
                Some(generation) => generation.scan(&range, Direction::Forward, self.page_keys),
                None if range.is_empty() => Vec::new(),
                None => self.view.store.scan(&range, Direction::Forward, self.page_keys)?,
            };
            self.examined += page.len() as u64;
            source.ended = page.len() < self.page_keys;
            if let Some((last, _)) = page.last() {
                source.from = range.rest(Direction::Forward, last).from;
            }
            source.page = page.into();
            went_on = true;
        }
        if went_on {
            self.page_keys = (self.page_keys * 2).min(Self::PAGE_KEYS_MAX);
        }
        Ok(())
    }
}

/// Documents of a range at the view's version, in the order of paths.
pub(crate) struct DocumentScan<'a> {
    keys: MergedScan<'a>,
    version: Version,
    floor: Version,
    /// Length of the collection's prefix, where only its own documents are wanted.
    direct: Option<usize>,
}

impl DocumentScan<'_> {
    pub(crate) fn examined(&self) -> u64 {
        self.keys.examined()
    }

    /// The next document that is not deleted: its key and its record.
    pub(crate) fn next(&mut self) -> Result<Option<(Vec<u8>, Blob)>, StateError> {
        while let Some((mut key, record)) = self.keys.next()? {
            let own = key.len().saturating_sub(VERSION_BYTES);
            if let Some(prefix) = self.direct {
                let end = keys::segment_end(&key, prefix)?;
                if key.get(end) != Some(&END) {
                    key.truncate(end);
                    key.push(PAST);
                    self.keys.seek(&key);
                    continue;
                }
            }
            let (doc_key, version) = key.split_at(own);
            let version = !u64::from_be_bytes(version.try_into().map_err(|_| KeyError::CutOff)?);
            if version > self.version.micros() {
                let wanted = [doc_key, &(!self.version.micros()).to_be_bytes()].concat();
                self.keys.seek(&wanted);
                continue;
            }
            // Past the older versions, and past what lies below where only the collection's own are wanted.
            let past = if self.direct.is_some() { PAST } else { END + 1 };
            key.truncate(own);
            let last = key.len() - 1;
            key[last] = past;
            self.keys.seek(&key);
            let is_there = version > self.floor.micros();
            if is_there && codec::Record::read(&record)? != codec::Record::Tombstone {
                key[last] = END;
                key.drain(..Keyspace::PREFIX_BYTES);
                return Ok(Some((key, record)));
            }
        }
        Ok(None)
    }
}

/// Keys of one range from all generations and the state, each once, from the last to the first.
pub(crate) struct BackwardKeys<'a> {
    view: &'a View,
    range: KeyRange,
    examined: u64,
}

impl BackwardKeys<'_> {
    /// How many keys were looked at.
    pub(crate) fn examined(&self) -> u64 {
        self.examined
    }

    /// The last key of what is left.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, StateError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let mut last = self.view.store.scan(&self.range, Direction::Backward, 1)?.pop().map(|(key, _)| key);
        for generation in &self.view.generations {
            last = last.max(generation.scan(&self.range, Direction::Backward, 1).pop().map(|(key, _)| key));
        }
        if let Some(key) = &last {
            self.examined += 1;
            self.range.to.clone_from(key);
        }
        Ok(last)
    }

    /// Goes on before `key`.
    fn seek(&mut self, key: &[u8]) {
        self.range.to = key.to_vec();
    }
}

/// Documents of a range at the view's version, from the last path to the first.
pub(crate) struct BackwardScan<'a> {
    keys: BackwardKeys<'a>,
    direct: Option<usize>,
}

impl BackwardScan<'_> {
    pub(crate) fn examined(&self) -> u64 {
        self.keys.examined()
    }

    /// The document before the last one that was handed out.
    pub(crate) fn next(&mut self) -> Result<Option<(Vec<u8>, Blob)>, StateError> {
        while let Some(mut key) = self.keys.next()? {
            match self.direct {
                // The key may be of something below the document: cut it down to the document itself.
                Some(prefix) => key.truncate(keys::segment_end(&key, prefix)?),
                None => key.truncate(key.len().saturating_sub(VERSION_BYTES + 1)),
            }
            key.push(END);
            self.keys.seek(&key);
            let doc_key = &key[Keyspace::PREFIX_BYTES..];
            if let Some(record) = self.keys.view.live_record(doc_key)? {
                return Ok(Some((doc_key.to_vec(), record)));
            }
        }
        Ok(None)
    }
}
