//! Idempotency keys that were seen: so that asking twice writes once.

use std::collections::{BTreeMap, HashMap, VecDeque};

use hearth_core::Version;
use hearth_core::codec::{DecodeError, Reader, Writer};
use hearth_core::entry::{self, RequestKey};
use hearth_core::write::WriteResult;

use crate::limits::Limits;

/// What a key was first used for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Hash of the request.
    pub(crate) request: u64,
    /// The commit that it became.
    pub(crate) version: Version,
    /// What was answered.
    pub(crate) results: Vec<WriteResult>,
}

/// Who used a key, and the key.
type Owned = (Box<str>, Box<str>);

/// The keys of one database: bounded per caller, in all, and by age.
#[derive(Debug, Default)]
pub(crate) struct KeysSeen {
    by_key: HashMap<Owned, Seen>,
    by_version: BTreeMap<Version, Owned>,
    by_scope: HashMap<Box<str>, VecDeque<Version>>,
}

impl KeysSeen {
    /// What the key was used for, unless that is forgotten.
    pub(crate) fn find(&self, scope: &str, key: &str) -> Option<&Seen> {
        self.by_key.get(&(scope.into(), key.into()))
    }

    /// Remembers a key, and forgets the oldest where there are too many or they are too old.
    pub(crate) fn add(&mut self, scope: &str, key: &str, seen: Seen, limits: &Limits) {
        let version = seen.version;
        let owned: Owned = (scope.into(), key.into());
        self.by_key.insert(owned.clone(), seen);
        self.by_version.insert(version, owned);
        let of_scope = self.by_scope.entry(scope.into()).or_default();
        of_scope.push_back(version);
        if of_scope.len() > limits.request_keys_per_scope_max
            && let Some(oldest) = of_scope.front().copied()
        {
            self.remove(oldest);
        }
        let life = limits.request_key_life.as_micros() as u64;
        while let Some((oldest, _)) = self.by_version.first_key_value() {
            let old = oldest.micros().saturating_add(life) < version.micros();
            if !old && self.by_version.len() <= limits.request_keys_max {
                break;
            }
            let oldest = *oldest;
            self.remove(oldest);
        }
    }

    /// Forgets the key that a commit came with, if it came with one.
    pub(crate) fn remove(&mut self, version: Version) {
        let Some(owned) = self.by_version.remove(&version) else { return };
        if let Some(of_scope) = self.by_scope.get_mut(&owned.0) {
            of_scope.retain(|held| *held != version);
            if of_scope.is_empty() {
                self.by_scope.remove(&owned.0);
            }
        }
        if self.by_key.get(&owned).is_some_and(|seen| seen.version == version) {
            self.by_key.remove(&owned);
        }
    }

    /// Forgets the keys of commits above `version`: they never took effect.
    pub(crate) fn forget_above(&mut self, version: Version) {
        let above: Vec<Version> =
            self.by_version.range(version..).map(|(held, _)| *held).filter(|held| *held > version).collect();
        above.into_iter().for_each(|version| self.remove(version));
    }
}

/// The record of a key in the state.
pub(crate) fn encode(scope: &str, key: &RequestKey, results: &[WriteResult]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.block(scope.as_bytes());
    writer.block(key.key.as_bytes());
    writer.fixed(key.request);
    entry::encode_results(&mut writer, results);
    writer.finish()
}

/// Reads a record of the state: scope, key, and what it was used for.
pub(crate) fn decode(version: Version, bytes: &[u8]) -> Result<(Box<str>, Box<str>, Seen), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (scope, key) = (reader.text()?.into(), reader.text()?.into());
    let request = reader.fixed()?;
    let results = entry::decode_results(&mut reader)?;
    reader.end()?;
    Ok((scope, key, Seen { request, version, results }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn seen(version: u64) -> Seen {
        Seen { request: version, version: Version::from_micros(version), results: vec![] }
    }

    #[test]
    fn a_caller_with_many_keys_pushes_out_only_its_own() {
        let limits = Limits { request_keys_per_scope_max: 2, ..Limits::default() };
        let mut keys = KeysSeen::default();
        keys.add("ada", "k", seen(1), &limits);
        for version in 2..6 {
            keys.add("bob", &format!("k{version}"), seen(version), &limits);
        }
        assert!(keys.find("ada", "k").is_some());
        assert!(keys.find("bob", "k3").is_none());
        assert!(keys.find("bob", "k4").is_some());
    }

    #[test]
    fn old_keys_are_forgotten_and_undone_ones_too() {
        let limits = Limits { request_key_life: Duration::from_micros(10), ..Limits::default() };
        let mut keys = KeysSeen::default();
        keys.add("ada", "old", seen(1), &limits);
        keys.add("ada", "new", seen(12), &limits);
        assert!(keys.find("ada", "old").is_none());
        keys.forget_above(Version::from_micros(11));
        assert!(keys.find("ada", "new").is_none());
    }

    #[test]
    fn a_record_reads_back() {
        let key = RequestKey { key: "k".into(), request: 1 };
        let (scope, name, back) = decode(Version::from_micros(1), &encode("ada", &key, &[])).unwrap();
        assert_eq!((&*scope, &*name, back), ("ada", "k", seen(1)));
    }
}
