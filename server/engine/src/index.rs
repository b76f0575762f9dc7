//! How watches are found by what changed, so that a commit costs what it concerns and not what listens.
//!
//! First by document, collection or group; inside a collection or group by one field that must equal a value, where the
//! query has such a condition. The rest of the query is the watch's own matter.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use hearth_core::change::Change;
use hearth_core::keys::{self, Direction};
use hearth_core::query::{Interest, Query, Source};
use hearth_core::{CollectionPath, DocPath, FieldPath, Value};

/// The number of an entry.
pub(crate) type EntryId = u64;

/// Entries by what they care for.
#[derive(Default)]
pub(crate) struct Index {
    documents: HashMap<DocPath, Vec<EntryId>>,
    collections: HashMap<CollectionPath, Bucket>,
    groups: HashMap<Box<str>, Bucket>,
    below: Vec<EntryId>,
}

/// The entries of one collection or group.
#[derive(Default)]
struct Bucket {
    /// Those that no single value narrows.
    all: Vec<EntryId>,
    /// Those that need a field to equal a value, by field and by the value's place in the order.
    equal: HashMap<FieldPath, HashMap<Vec<u8>, Vec<EntryId>>>,
}

impl Index {
    pub(crate) fn add(&mut self, query: &Query, id: EntryId) {
        let interest = query.interest();
        match interest.source {
            Source::Documents(paths) => {
                paths.iter().for_each(|path| self.documents.entry(path.clone()).or_default().push(id));
            }
            Source::Collection(path) => self.collections.entry(path.clone()).or_default().add(&interest, id),
            Source::Group { id: group, .. } => self.groups.entry(group.as_str().into()).or_default().add(&interest, id),
            Source::Below(_) => self.below.push(id),
        }
    }

    pub(crate) fn remove(&mut self, query: &Query, id: EntryId) {
        let interest = query.interest();
        match interest.source {
            Source::Documents(paths) => paths.iter().for_each(|path| take(&mut self.documents, path, id)),
            Source::Collection(path) => remove_from(&mut self.collections, path, &interest, id),
            Source::Group { id: group, .. } => remove_from(&mut self.groups, &Box::from(group.as_str()), &interest, id),
            Source::Below(_) => self.below.retain(|held| *held != id),
        }
    }

    /// The entries that may care about some changes, in a fixed order.
    pub(crate) fn concerned(&self, changes: &[Change]) -> BTreeSet<EntryId> {
        let mut ids = BTreeSet::new();
        if !changes.is_empty() {
            ids.extend(&self.below);
        }
        for change in changes {
            ids.extend(self.documents.get(&change.path).into_iter().flatten());
            let buckets = [self.collections.get(&change.path.parent()), self.groups.get(change.path.collection_id())];
            buckets.into_iter().flatten().for_each(|bucket| bucket.concerned(change, &mut ids));
        }
        ids
    }
}

impl Bucket {
    fn add(&mut self, interest: &Interest<'_>, id: EntryId) {
        match interest.equals.first() {
            None => self.all.push(id),
            Some((field, value)) => {
                let values = self.equal.entry((*field).clone()).or_default();
                values.entry(place(value)).or_default().push(id);
            }
        }
    }

    fn remove(&mut self, interest: &Interest<'_>, id: EntryId) {
        let Some((field, value)) = interest.equals.first() else {
            self.all.retain(|held| *held != id);
            return;
        };
        if let Some(values) = self.equal.get_mut(*field) {
            take(values, &place(value), id);
            if values.is_empty() {
                self.equal.remove(*field);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.equal.is_empty()
    }

    fn concerned(&self, change: &Change, ids: &mut BTreeSet<EntryId>) {
        ids.extend(&self.all);
        for (field, values) in &self.equal {
            for image in [&change.before, &change.after].into_iter().flatten() {
                if let Some(value) = image.get(field) {
                    ids.extend(values.get(&place(value)).into_iter().flatten());
                }
            }
        }
    }
}

/// Where a value stands in the order: equal values stand in one place, so that 1 finds 1.0.
fn place(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    keys::encode_value(value, Direction::Ascending, &mut bytes);
    bytes
}

fn take<K: Hash + Eq>(map: &mut HashMap<K, Vec<EntryId>>, key: &K, id: EntryId) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|held| *held != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

fn remove_from<K: Hash + Eq>(map: &mut HashMap<K, Bucket>, key: &K, interest: &Interest<'_>, id: EntryId) {
    if let Some(bucket) = map.get_mut(key) {
        bucket.remove(interest, id);
        if bucket.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use hearth_core::query::{Filter, Operator, QuerySpec};
    use hearth_core::{Document, Map, Version};

    fn query(room: Option<Value>) -> Query {
        let mut spec = QuerySpec::all(Source::Collection(CollectionPath::parse("messages").unwrap()));
        let field = FieldPath::parse("room").unwrap();
        spec.filter = room.map(|value| Filter::Field { field, operator: Operator::Equal, value });
        Query::build(spec).unwrap()
    }

    fn change(before: Option<Value>, after: Option<Value>) -> Change {
        let path = DocPath::parse("messages/m").unwrap();
        let image = |room: Value| {
            let fields = Map::from([("room".into(), room)]);
            Arc::new(Document { path: path.clone(), fields, created: Version::ZERO, updated: Version::ZERO })
        };
        Change { before: before.map(image), after: after.map(image), path: path.clone() }
    }

    #[test]
    fn a_change_finds_those_who_need_a_value_it_had_or_has_and_those_who_need_none() {
        let mut index = Index::default();
        let queries = [
            query(None),
            query(Some(Value::Integer(1))),
            query(Some(Value::Integer(2))),
            query(Some(Value::text("x"))),
        ];
        for (id, query) in (0..).zip(&queries) {
            index.add(query, id);
        }
        let found = |index: &Index, before, after| Vec::from_iter(index.concerned(&[change(before, after)]));
        assert_eq!(found(&index, None, Some(Value::Double(1.0))), [0, 1]);
        assert_eq!(found(&index, Some(Value::Integer(2)), Some(Value::Integer(1))), [0, 1, 2]);
        assert_eq!(found(&index, Some(Value::Null), None), [0]);
        for (id, query) in (0..).zip(&queries) {
            index.remove(query, id);
        }
        assert!(index.collections.is_empty());
    }
}
