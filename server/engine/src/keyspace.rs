//! Where the state keeps what: the keys of one database, side by side with those of the others.
//!
//! A key is the database's number, a letter for the kind, and what the kind says. Versions are complemented, so that
//! the newest stands first.

use hearth_core::{Version, keys};
use hearth_store::KeyRange;

/// The keys of one database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyspace {
    number: u32,
}

/// Kinds of keys.
mod letter {
    /// `doc key ∥ !version → record`.
    pub(super) const DOCUMENT: u8 = b'd';
    /// `collection id ∥ doc key → nothing`, kept while any version of the document is.
    pub(super) const GROUP: u8 = b'g';
    /// `version ∥ n → doc key`: what each commit changed.
    pub(super) const CHANGE: u8 = b'c';
    /// `version → idempotency record`.
    pub(super) const REQUEST: u8 = b'r';
    /// `name → value`.
    pub(super) const META: u8 = b'm';
}

/// Ends the key of a document; whatever lies below it goes on with a larger byte.
pub(crate) const END: u8 = 0x00;
/// Above every byte that goes on behind a document's last segment.
pub(crate) const PAST: u8 = 0xff;
/// Bytes of a version in a key.
pub(crate) const VERSION_BYTES: usize = 8;

impl Keyspace {
    pub(crate) fn new(number: u32) -> Self {
        Self { number }
    }

    fn key(&self, letter: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(5 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.extend_from_slice(&self.number.to_be_bytes());
        key.push(letter);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }

    /// What keys of documents begin with before the document's own key.
    pub(crate) const PREFIX_BYTES: usize = 5;

    /// The key of what stands at a document since a version.
    pub(crate) fn document(&self, doc_key: &[u8], version: Version) -> Vec<u8> {
        self.key(letter::DOCUMENT, &[doc_key, &(!version.micros()).to_be_bytes()])
    }

    /// All versions of a document that are above `floor` and not above `version`, newest first.
    pub(crate) fn document_between(&self, doc_key: &[u8], floor: Version, version: Version) -> KeyRange {
        KeyRange { from: self.document(doc_key, version), to: self.document(doc_key, floor) }
    }

    /// All versions of a document that are not above `version`, newest first.
    pub(crate) fn document_since(&self, doc_key: &[u8], version: Version) -> KeyRange {
        let from = self.document(doc_key, version);
        KeyRange { from, to: self.key(letter::DOCUMENT, &[doc_key, &[0xff; VERSION_BYTES], &[0]]) }
    }

    /// Documents whose keys are in a range.
    pub(crate) fn documents(&self, from: &[u8], to: &[u8]) -> KeyRange {
        KeyRange { from: self.key(letter::DOCUMENT, &[from]), to: self.key(letter::DOCUMENT, &[to]) }
    }

    /// All versions of all documents.
    pub(crate) fn all_documents(&self) -> KeyRange {
        KeyRange::prefix(&self.key(letter::DOCUMENT, &[]))
    }

    /// The document's key and the version in the key of one of its versions.
    pub(crate) fn split_document(key: &[u8]) -> Option<(&[u8], Version)> {
        let own = key.get(Self::PREFIX_BYTES..)?;
        let (doc_key, version) = own.split_last_chunk::<VERSION_BYTES>()?;
        Some((doc_key, Version::from_micros(!u64::from_be_bytes(*version))))
    }

    /// All keys of the database.
    pub(crate) fn all(&self) -> KeyRange {
        let behind = self.number.checked_add(1).map_or(vec![0xff; 5], |number| number.to_be_bytes().to_vec());
        KeyRange { from: self.number.to_be_bytes().to_vec(), to: behind }
    }

    /// Bytes that the entry of one change takes, for a document's key of this length.
    pub(crate) fn change_bytes(doc_key_bytes: usize) -> usize {
        Self::PREFIX_BYTES + VERSION_BYTES + 4 + doc_key_bytes
    }

    /// Bytes that a record of a document takes with its key.
    pub(crate) fn document_bytes(doc_key_bytes: usize, record_bytes: usize) -> usize {
        Self::PREFIX_BYTES + doc_key_bytes + VERSION_BYTES + record_bytes
    }

    /// The entry of a document in its collection group.
    pub(crate) fn group_entry(&self, collection_id: &str, doc_key: &[u8]) -> Vec<u8> {
        self.key(letter::GROUP, &[&keys::group(collection_id), doc_key])
    }

    /// Entries of collection groups whose keys are in a range.
    pub(crate) fn group_entries(&self, from: &[u8], to: &[u8]) -> KeyRange {
        KeyRange { from: self.key(letter::GROUP, &[from]), to: self.key(letter::GROUP, &[to]) }
    }

    /// The entry of the `n`-th change of a commit.
    pub(crate) fn change(&self, version: Version, n: u32) -> Vec<u8> {
        self.key(letter::CHANGE, &[&version.micros().to_be_bytes(), &n.to_be_bytes()])
    }

    /// What commits above `after` and up to `until` changed.
    pub(crate) fn changes(&self, after: Version, until: Version) -> KeyRange {
        let bound = |version: Version| self.key(letter::CHANGE, &[&version.micros().saturating_add(1).to_be_bytes()]);
        KeyRange { from: bound(after), to: bound(until) }
    }

    /// The version in the key of a change.
    pub(crate) fn change_version(key: &[u8]) -> Option<Version> {
        let bytes = key.get(Self::PREFIX_BYTES..Self::PREFIX_BYTES + VERSION_BYTES)?;
        Some(Version::from_micros(u64::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// The record of the idempotency key that a commit came with.
    pub(crate) fn request(&self, version: Version) -> Vec<u8> {
        self.key(letter::REQUEST, &[&version.micros().to_be_bytes()])
    }

    /// The records of idempotency keys of commits above `after` and up to `until`, oldest first.
    pub(crate) fn requests(&self, after: Version, until: Version) -> KeyRange {
        let bound = |version: Version| self.key(letter::REQUEST, &[&version.micros().saturating_add(1).to_be_bytes()]);
        KeyRange { from: bound(after), to: bound(until) }
    }

    /// The last version whose changes are all in the state.
    pub(crate) fn applied(&self) -> Vec<u8> {
        self.key(letter::META, &[b"applied"])
    }

    /// The version of the last wipe: what lies at or below it is no longer there.
    pub(crate) fn floor(&self) -> Vec<u8> {
        self.key(letter::META, &[b"floor"])
    }

    /// Up to which wipe what lies below was removed.
    pub(crate) fn swept(&self) -> Vec<u8> {
        self.key(letter::META, &[b"swept"])
    }

    /// The epoch that began with the last wipe.
    pub(crate) fn epoch(&self) -> Vec<u8> {
        self.key(letter::META, &[b"epoch"])
    }

    /// How many bytes of superseded versions are kept.
    pub(crate) fn superseded(&self) -> Vec<u8> {
        self.key(letter::META, &[b"superseded"])
    }

    /// The oldest version that can still be read.
    pub(crate) fn history_start(&self) -> Vec<u8> {
        self.key(letter::META, &[b"history_start"])
    }
}
