//! What has changed lately, in memory: to answer "is it still the same?" without reading.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hearth_core::query::{Query, Source};
use hearth_core::{CollectionPath, Commit, Version};

/// The last change of each collection, and the last commits in full.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Changes after this version are known here; of older ones nothing is.
    since: Version,
    collections: HashMap<CollectionPath, Version>,
    groups: HashMap<Box<str>, Version>,
    any: Version,
    commits: VecDeque<Arc<Commit>>,
    /// Commits after this version are in the ring.
    ring_after: Version,
    commits_max: usize,
    collections_max: usize,
}

impl Recent {
    /// Nothing known before `since`.
    pub(crate) fn new(since: Version, commits_max: usize) -> Self {
        Self {
            since,
            collections: HashMap::new(),
            groups: HashMap::new(),
            any: since,
            commits: VecDeque::new(),
            ring_after: since,
            commits_max,
            collections_max: 100_000,
        }
    }

    /// Takes note of a commit.
    pub(crate) fn add(&mut self, commit: &Arc<Commit>) {
        if commit.changes.is_empty() {
            return;
        }
        self.any = commit.version;
        if self.collections.len() >= self.collections_max {
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
        self.commits.push_back(commit.clone());
        if self.commits.len() > self.commits_max
            && let Some(oldest) = self.commits.pop_front()
        {
            self.ring_after = oldest.version;
        }
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
        if last.is_none_or(|last| last <= version) {
            return true;
        }
        version >= self.ring_after
            && !self
                .commits
                .iter()
                .rev()
                .take_while(|commit| commit.version > version)
                .flat_map(|commit| &commit.changes)
                .any(|change| query.touches(change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_core::query::{Filter, Operator, QuerySpec};
    use hearth_core::{Change, DocPath, Document, FieldPath, Map, Value};

    fn commit(version: u64, path: &str, n: i64) -> Arc<Commit> {
        let path = DocPath::parse(path).unwrap();
        let version = Version::from_micros(version);
        let fields = Map::from([("n".into(), Value::Integer(n))]);
        let after = Arc::new(Document { path: path.clone(), fields, created: version, updated: version });
        Arc::new(Commit { version, changes: vec![Change { path, before: None, after: Some(after) }] })
    }

    fn query(collection: &str) -> Query {
        let mut spec = QuerySpec::all(Source::Collection(CollectionPath::parse(collection).unwrap()));
        let field = FieldPath::parse("n").unwrap();
        spec.filter = Some(Filter::Field { field, operator: Operator::Greater, value: Value::Integer(5) });
        Query::build(spec).unwrap()
    }

    #[test]
    fn other_collections_and_unmatched_documents_leave_a_result_as_it_is() {
        let mut recent = Recent::new(Version::from_micros(10), 2);
        recent.add(&commit(11, "a/x", 1));
        recent.add(&commit(12, "b/x", 9));
        let at = Version::from_micros;
        assert!(recent.unchanged(&query("a"), at(10)));
        assert!(recent.unchanged(&query("c"), at(10)));
        assert!(!recent.unchanged(&query("b"), at(11)));
        assert!(recent.unchanged(&query("b"), at(12)));
    }

    #[test]
    fn what_is_not_remembered_counts_as_changed() {
        let mut recent = Recent::new(Version::from_micros(10), 1);
        assert!(!recent.unchanged(&query("a"), Version::from_micros(9)));
        recent.add(&commit(11, "a/x", 1));
        recent.add(&commit(12, "a/x", 1));
        assert!(!recent.unchanged(&query("a"), Version::from_micros(10)));
        assert!(recent.unchanged(&query("a"), Version::from_micros(11)));
    }
}
