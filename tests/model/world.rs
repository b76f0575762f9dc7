//! One story: a database that is a map, watches on it, and commits.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use hearth_core::codec::{self, DecodeError, Record};
use hearth_core::index::{self, Scan};
use hearth_core::query::{Candidate, Fields, Filter, Query, QuerySpec, Row, Rows, Run};
use hearth_core::value::{Map, Value, insert, lookup, remove};
use hearth_core::watch::{Event, Kind, Outcome, Watch, can_rewind, rewind};
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{Change, Commit, Direction, DocPath, Document, FieldPath, Version, decide, keys};
use hearth_tests::Random;

use crate::{draw, naive};

type Docs = BTreeMap<DocPath, Arc<Document>>;

pub(crate) fn story(random: &mut Random) {
    let mut world = World { docs: Docs::new(), version: Version::ZERO };
    let mut listeners: Vec<Listener> = Vec::new();
    for _ in 0..15 + random.index(15) {
        if listeners.len() < 12 && random.chance(1, 2) {
            let specs = [draw::query(random), draw::query(random)];
            listeners.extend(specs.map(|spec| Listener::new(spec, &world, random.index(3))));
        }
        let before = world.clone();
        let commit = world.commit(random);
        listeners.iter_mut().for_each(|listener| listener.hear(&commit, &before, &world));
        check_run(&draw::query(random), &world, random);
    }
    listeners.iter().for_each(|listener| listener.check_rewind(&world));
}

#[derive(Clone)]
struct World {
    docs: Docs,
    version: Version,
}

impl World {
    /// Some writes, decided by the core, and the same written into the map by hand.
    fn commit(&mut self, random: &mut Random) -> Commit {
        self.version = self.version.next(0);
        let mut after: BTreeMap<DocPath, Map> =
            self.docs.iter().map(|(path, doc)| (path.clone(), doc.fields.clone())).collect();
        let mut writes = Vec::new();
        // Now and then a large commit, which watches take in another way.
        let count = if random.chance(1, 20) { 60 } else { 1 + random.index(4) };
        for _ in 0..count {
            let path = draw::doc(random);
            let operation = match random.index(6) {
                0 | 1 => {
                    after.remove(&path);
                    Operation::Delete
                }
                2 | 3 if after.contains_key(&path) => {
                    let (fields, field) = (draw::fields(random), draw::field(random));
                    let target = after.get_mut(&path).unwrap();
                    match lookup(&fields, &field) {
                        Some(value) => insert(target, &field, value.clone()),
                        None => drop(remove(target, &field)),
                    }
                    Operation::Merge { fields, mask: vec![field] }
                }
                _ => {
                    let fields = draw::fields(random);
                    after.insert(path.clone(), fields.clone());
                    Operation::Set(fields)
                }
            };
            writes.push(Write::build(path, operation, Precondition::None, vec![]).unwrap());
        }
        let state = |path: &DocPath| Ok::<_, Infallible>(self.docs.get(path).cloned());
        let Ok(plan) = decide::decide(&[], writes.clone(), self.version, state);
        let commit = Commit { version: self.version, changes: plan.unwrap().changes };
        for change in &commit.changes {
            match &change.after {
                Some(document) => self.docs.insert(change.path.clone(), document.clone()),
                None => self.docs.remove(&change.path),
            };
        }
        let now: BTreeMap<DocPath, Map> =
            self.docs.iter().map(|(path, doc)| (path.clone(), doc.fields.clone())).collect();
        assert_eq!(now, after, "the commit did something else than its writes say");
        commit
    }

    fn result(&self, spec: &QuerySpec) -> Vec<&Document> {
        naive::result(spec, self.docs.values().map(|doc| &**doc))
    }

    /// The candidates of a query, as the planner says to read them.
    fn candidates(&self, query: &Query) -> (Vec<Arc<Document>>, bool) {
        let access = index::choose(query);
        let all = self.docs.values();
        let mut found: Vec<Arc<Document>> = match &access.scan {
            Scan::Documents(paths) => {
                return (paths.iter().filter_map(|path| self.docs.get(path)).cloned().collect(), access.sorted);
            }
            Scan::Collection { path, range } => {
                all.filter(|doc| doc.path.parent() == *path && holds(range, doc)).cloned().collect()
            }
            Scan::Group { id, range } => {
                all.filter(|doc| doc.path.collection_id() == id.as_str() && holds(range, doc)).cloned().collect()
            }
            Scan::Below { range } => all.filter(|doc| holds(range, doc)).cloned().collect(),
        };
        if access.direction == Direction::Descending {
            found.reverse();
        }
        (found, access.sorted)
    }

    fn run(&self, query: &Query, spare: usize) -> Rows<Arc<Document>> {
        let (candidates, sorted) = self.candidates(query);
        let candidates = candidates.into_iter().map(Ok::<_, Infallible>);
        query.run(candidates, Run { sorted, spare, docs_max: 2 }).unwrap()
    }
}

fn holds(range: &index::NameRange, doc: &Document) -> bool {
    let key = keys::doc(&doc.path);
    range.from <= key && key < range.to
}

/// A document as it lies in the store, with its path beside it.
struct Stored {
    path: DocPath,
    bytes: Vec<u8>,
}

impl Stored {
    fn record(&self) -> Result<codec::Encoded<'_>, DecodeError> {
        match Record::read(&self.bytes)? {
            Record::Document(encoded) => Ok(encoded),
            Record::Tombstone => panic!("a tombstone is no candidate"),
        }
    }
}

impl Fields for Stored {
    type Error = DecodeError;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, DecodeError> {
        Ok(self.record()?.get(path)?.map(Cow::Owned))
    }
}

impl Candidate for Stored {
    fn path(&self) -> &DocPath {
        &self.path
    }

    fn updated(&self) -> Version {
        self.record().unwrap().updated()
    }
}

fn check_run(spec: &QuerySpec, world: &World, random: &mut Random) {
    let query = Query::build(spec.clone()).unwrap_or_else(|error| panic!("{error}: {spec:?}"));
    let turned = Query::build(QuerySpec { filter: spec.filter.clone().map(turned), ..spec.clone() }).unwrap();
    assert_eq!(query, turned);
    assert_eq!(query.hash(), turned.hash());
    let want = world.result(spec);
    let (candidates, sorted) = world.candidates(&query);
    let docs_max = random.index(4);
    let stored = candidates
        .iter()
        .map(|doc| Ok::<_, DecodeError>(Stored { path: doc.path.clone(), bytes: codec::encode_record(Some(doc)) }));
    let rows = query.run(stored, Run { sorted, spare: 0, docs_max }).unwrap();
    match spec.aggregates[..] {
        [] => {
            check_rows(spec, rows.window(), &want);
            let kept: Vec<bool> = rows.into_window().map(|(_, doc)| doc.is_some()).collect();
            if !matches!(spec.limit, Some(hearth_core::query::Limit::Last(_))) {
                let want: Vec<bool> = (0..kept.len()).map(|at| at < docs_max).collect();
                assert_eq!(kept, want, "{spec:?}");
            }
        }
        _ => assert_eq!(rows.tally().unwrap().values(query.aggregates()), naive::numbers(spec, &want), "{spec:?}"),
    }
}

fn check_rows(spec: &QuerySpec, got: &[Row], want: &[&Document]) {
    let got: Vec<(&DocPath, Version)> = got.iter().map(|row| (&row.path, row.version)).collect();
    let want: Vec<(&DocPath, Version)> = want.iter().map(|doc| (&doc.path, doc.updated)).collect();
    assert_eq!(got, want, "{spec:?}");
}

/// The same filter with the parts of its composites turned around.
fn turned(filter: Filter) -> Filter {
    match filter {
        Filter::And(parts) => Filter::And(parts.into_iter().rev().map(turned).collect()),
        Filter::Or(parts) => Filter::Or(parts.into_iter().rev().map(turned).collect()),
        other => other,
    }
}

/// A client with a watch: it holds documents in an array and knows nothing but the events.
struct Listener {
    spec: QuerySpec,
    query: Arc<Query>,
    spare: usize,
    watch: Watch,
    array: Vec<Arc<Document>>,
    numbers: Option<Vec<Value>>,
    opened: Vec<Row>,
    since: Vec<Change>,
}

impl Listener {
    fn new(spec: QuerySpec, world: &World, spare: usize) -> Self {
        let query = Arc::new(Query::build(spec.clone()).unwrap_or_else(|error| panic!("{error}: {spec:?}")));
        let watch = Watch::new(query.clone(), world.version, world.run(&query, spare));
        let array = watch.window().iter().map(|row| world.docs[&row.path].clone()).collect();
        let (numbers, opened) = (watch.aggregates(), watch.window().to_vec());
        let listener = Self { spec, query, spare, watch, array, numbers, opened, since: Vec::new() };
        listener.check(world);
        listener
    }

    fn hear(&mut self, commit: &Commit, before: &World, world: &World) {
        self.check_conflicts(commit, before, world);
        let event = match self.watch.apply(commit) {
            Outcome::Nothing => None,
            Outcome::Event(event) => Some(event),
            Outcome::Refill => {
                assert!(self.query.is_cut(), "only a cut result needs to be read again: {:?}", self.spec);
                let rows = world.run(&self.query, self.spare);
                self.watch.refill(world.version, rows)
            }
        };
        if let Some(event) = event {
            self.fold(&event, commit, world);
        }
        self.check(world);
        self.since.extend(commit.changes.iter().cloned());
    }

    fn fold(&mut self, event: &Event, commit: &Commit, world: &World) {
        assert_eq!(event.version, world.version);
        let mut gone_are_told = false;
        for change in &event.changes {
            assert!(change.kind != Kind::Removed || !gone_are_told, "what is gone comes first: {event:?}");
            gone_are_told |= change.kind != Kind::Removed;
            assert_eq!(change.from.is_some(), change.kind != Kind::Added);
            assert_eq!(change.to.is_some(), change.kind != Kind::Removed);
            let old = change.from.map(|from| self.array.remove(from as usize));
            assert!(old.as_ref().is_none_or(|old| old.path == change.path), "{event:?}");
            if let Some(to) = change.to {
                let doc = world.docs[&change.path].clone();
                assert!(change.doc.as_ref().is_none_or(|given| *given == doc));
                assert!(old.is_none_or(|old| old.updated != doc.updated), "nothing happened to it: {event:?}");
                let touched = commit.changes.iter().any(|other| other.path == change.path);
                assert!(touched || change.kind == Kind::Added, "{event:?}");
                self.array.insert(to as usize, doc);
            } else {
                assert!(change.doc.is_none());
            }
        }
        assert!(!event.changes.is_empty() || event.aggregates != self.numbers, "an event about nothing");
        self.numbers = event.aggregates.clone();
        assert_eq!(event.size, self.watch.size());
    }

    fn check(&self, world: &World) {
        let want = world.result(&self.spec);
        assert_eq!(self.watch.size(), want.len(), "{:?}", self.spec);
        if self.spec.aggregates.is_empty() {
            check_rows(&self.spec, self.watch.window(), &want);
            let array: Vec<&Document> = self.array.iter().map(|doc| &**doc).collect();
            assert_eq!(array, want, "{:?}", self.spec);
        } else {
            assert_eq!(self.numbers, Some(naive::numbers(&self.spec, &want)), "{:?}", self.spec);
        }
    }

    /// A transaction that read this query before a commit must conflict with it where it would now read another thing.
    fn check_conflicts(&self, commit: &Commit, before: &World, world: &World) {
        let rows = before.run(&self.query, 0);
        let last = self.query.farthest(rows.window()).map(|row| &*row.key);
        let filled = match self.spec.limit {
            Some(hearth_core::query::Limit::First(limit) | hearth_core::query::Limit::Last(limit)) => {
                rows.window().len() == limit as usize
            }
            None => false,
        };
        let conflicts = commit.changes.iter().any(|change| self.query.conflicts(last, filled, change));
        let touches = commit.changes.iter().any(|change| self.query.touches(change));
        let differs = before.result(&self.spec) != world.result(&self.spec);
        assert!(conflicts || !differs, "{:?}", self.spec);
        assert!(touches || !conflicts);
    }

    /// The result as it was when the watch was opened, from that of now.
    fn check_rewind(&self, world: &World) {
        if !can_rewind(&self.query) {
            return;
        }
        // The first change of a document since then shows what it was then.
        let mut then = HashMap::new();
        for change in &self.since {
            then.entry(change.path.clone()).or_insert_with(|| self.query.row(change.before.as_deref()?));
        }
        let now = world.run(&self.query, 0).window().to_vec();
        assert_eq!(rewind(&self.query, &now, &then), self.opened, "{:?}", self.spec);
    }
}
