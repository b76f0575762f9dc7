//! What has changed lately, in memory: to answer "is it still the same?" without reading.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hearth_core::query::{Query, Source};
use hearth_core::{Change, CollectionPath, Commit, Version};

use crate::limits::Limits;

/// The last commits in full, bounded by number and by bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Oldest first, each with the bytes that it counts.
    commits: VecDeque<(Arc<Commit>, usize)>,
    bytes: usize,
    /// Commits above this version are all here.
    after: Version,
    commits_max: usize,
    bytes_max: usize,
}

impl Ring {
    pub(crate) fn new(after: Version, commits_max: usize, bytes_max: usize) -> Self {
        Self { commits: VecDeque::new(), bytes: 0, after, commits_max, bytes_max }
    }

    /// Adds the next commit, which counts for `bytes`, and forgets old ones where there are too many.
    pub(crate) fn add(&mut self, commit: &Arc<Commit>, bytes: usize) {
        self.commits.push_back((commit.clone(), bytes));
        self.bytes += bytes;
        while self.commits.len() > self.commits_max || self.bytes > self.bytes_max {
            let Some((oldest, bytes)) = self.commits.pop_front() else { return };
            self.bytes -= bytes;
            self.after = oldest.version;
        }
    }

    /// Forgets commits above `version`: they never took effect.
    pub(crate) fn forget_above(&mut self, version: Version) {
        while self.commits.back().is_some_and(|(commit, _)| commit.version > version)
            && let Some((_, bytes)) = self.commits.pop_back()
        {
            self.bytes -= bytes;
        }
    }

    /// What commits above `version` changed; `None` where not all of them are remembered.
    pub(crate) fn changes_after(&self, version: Version) -> Option<impl Iterator<Item = &Change>> {
        let newer = self.commits.iter().rev().take_while(move |(commit, _)| commit.version > version);
        (version >= self.after).then(|| newer.flat_map(|(commit, _)| &commit.changes))
    }
}

/// The last change of each collection, and the last commits in full.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Changes after this version are known here; of older ones nothing is.
    since: Version,
    collections: HashMap<CollectionPath, Version>,
    groups: HashMap<Box<str>, Version>,
    any: Version,
    ring: Ring,
}

impl Recent {
    /// Collections that are kept apart.
    const COLLECTIONS_MAX: usize = 100_000;

    /// Nothing known before `since`.
    pub(crate) fn new(since: Version, limits: &Limits) -> Self {
        Self {
            since,
            collections: HashMap::new(),
            groups: HashMap::new(),
            any: since,
            ring: Ring::new(since, limits.recent_commits_max, limits.recent_bytes_max),
        }
    }

    /// Takes note of a commit, which counts for `bytes`.
    pub(crate) fn add(&mut self, commit: &Arc<Commit>, bytes: usize) {
        if commit.changes.is_empty() {
            return;
        }
        self.any = commit.version;
        if self.collections.len() >= Self::COLLECTIONS_MAX {
            // Too many to keep apart: forget them, and answer "unsure" for everything older.
            self.collections.clear();
            self.groups.clear();
            self.since = commit.version;
        }
        for change in &commit.changes {
            self.collections.insert(change.path.parent(), commit.version);
            match self.groups.get_mut(change.path.collection_id()) {
                Some(version) => *version = commit.version,
                None => drop(self.groups.insert(change.path.collection_id().into(), commit.version)),
            }
        }
        self.ring.add(commit, bytes);
    }

    /// Whether certainly nothing that the query matches changed after `version`.
    pub(crate) fn unchanged(&self, query: &Query, version: Version) -> bool {
        if version < self.since {
            return false;
        }
        let last = match query.source() {
            Source::Collection(path) => self.collections.get(path).copied(),
            Source::Group { id, .. } => self.groups.get(id.as_str()).copied(),
            Source::Documents(paths) => {
                paths.iter().filter_map(|path| self.collections.get(&path.parent())).max().copied()
            }
            Source::Below(_) => Some(self.any),
        };
        last.is_none_or(|last| last <= version)
            || self.ring.changes_after(version).is_some_and(|mut changes| !changes.any(|change| query.touches(change)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_core::query::{Filter, Operator, QuerySpec};
    use hearth_core::{DocPath, Document, FieldPath, Map, Value};

    fn commit(version: u64, path: &str, n: i64) -> Arc<Commit> {
        let path = DocPath::parse(path).unwrap();
        let version = Version::from_micros(version);
        let fields = Map::from([("n".into(), Value::Integer(n))]);
        let after = Arc::new(Document { path: path.clone(), fields, created: version, updated: version });
        Arc::new(Commit { version, changes: vec![Change { path, before: None, after: Some(after) }] })
    }

    fn recent(commits_max: usize) -> Recent {
        Recent::new(Version::from_micros(10), &Limits { recent_commits_max: commits_max, ..Limits::default() })
    }

    fn query(collection: &str) -> Query {
        let mut spec = QuerySpec::all(Source::Collection(CollectionPath::parse(collection).unwrap()));
        let field = FieldPath::parse("n").unwrap();
        spec.filter = Some(Filter::Field { field, operator: Operator::Greater, value: Value::Integer(5) });
        Query::build(spec).unwrap()
    }

    #[test]
    fn other_collections_and_unmatched_documents_leave_a_result_as_it_is() {
        let mut recent = recent(2);
        recent.add(&commit(11, "a/x", 1), 10);
        recent.add(&commit(12, "b/x", 9), 10);
        let at = Version::from_micros;
        assert!(recent.unchanged(&query("a"), at(10)));
        assert!(recent.unchanged(&query("c"), at(10)));
        assert!(!recent.unchanged(&query("b"), at(11)));
        assert!(recent.unchanged(&query("b"), at(12)));
    }

    #[test]
    fn what_is_not_remembered_counts_as_changed() {
        let mut recent = recent(1);
        assert!(!recent.unchanged(&query("a"), Version::from_micros(9)));
        recent.add(&commit(11, "a/x", 1), 10);
        recent.add(&commit(12, "a/x", 1), 10);
        assert!(!recent.unchanged(&query("a"), Version::from_micros(10)));
        assert!(recent.unchanged(&query("a"), Version::from_micros(11)));
    }

    #[test]
    fn large_commits_push_out_more_and_undone_ones_leave_no_trace() {
        let at = Version::from_micros;
        let mut ring = Ring::new(at(0), 100, 100);
        for version in 1..=4 {
            ring.add(&commit(version, "a/x", 1), 40);
        }
        assert!(ring.changes_after(at(1)).is_none());
        assert_eq!(ring.changes_after(at(2)).unwrap().count(), 2);
        ring.forget_above(at(3));
        assert_eq!(ring.changes_after(at(2)).unwrap().count(), 1);
        assert_eq!(ring.bytes, 40);
    }
}
