//! Watches: a query kept current, one commit at a time.
//!
//! A watch is pure: it is told commits and says what changed, or that it must be told the result again. It holds
//! places, not documents, and knows no listener; who listens, and who may, is the engine's affair.

mod diff;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use diff::diff;

use crate::aggregate::Tally;
use crate::change::{Change, Commit};
use crate::document::Document;
use crate::path::DocPath;
use crate::query::{Query, Row, Rows};
use crate::value::Value;
use crate::version::Version;

/// What a commit meant for a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The result is as it was.
    Nothing,
    /// The result changed.
    Event(Event),
    /// The result cannot be known from the commit: run the query at its version or a later one and call
    /// [`Watch::refill`]. Until then every commit is answered so.
    Refill,
}

/// What changed in a result from one version to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The version of the new result.
    pub version: Version,
    /// Steps to be applied in sequence; see [`diff()`].
    pub changes: Vec<EventChange>,
    /// How many documents the new result has; for aggregates, how many they saw.
    pub size: usize,
    /// The new numbers, for a query that asks for them.
    pub aggregates: Option<Vec<Value>>,
}

/// What happened to a document of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It came in.
    Added,
    /// It stayed, with other content and maybe at another position.
    Modified,
    /// It went out, deleted or not.
    Removed,
}

/// One step from an old result to a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct EventChange {
    /// What happened.
    pub kind: Kind,
    /// The document.
    pub path: DocPath,
    /// Its content, unless removed. None also where the commit did not change it (it slid into a limit's window): load
    /// it at the event's version.
    pub doc: Option<Arc<Document>>,
    /// Where it is taken out; none for what is added.
    pub from: Option<u32>,
    /// Where it is put in; none for what is removed.
    pub to: Option<u32>,
}

impl EventChange {
    fn new(kind: Kind, path: &DocPath, from: Option<u32>, to: Option<u32>) -> Self {
        Self { kind, path: path.clone(), doc: None, from, to }
    }
}

impl fmt::Display for EventChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.from, self.to) {
            (Kind::Added, _, to) => write!(f, "added {} {}", self.path, to.unwrap_or_default()),
            (Kind::Removed, from, _) => write!(f, "removed {} {}", self.path, from.unwrap_or_default()),
            (Kind::Modified, from, to) => {
                write!(f, "modified {} {} to {}", self.path, from.unwrap_or_default(), to.unwrap_or_default())
            }
        }
    }
}

/// A query kept current.
#[derive(Clone, Debug)]
pub struct Watch {
    query: Arc<Query>,
    version: Version,
    result: Held,
    /// Whether the result is unknown until it is refilled; what is held is the last known one.
    stale: bool,
}

/// What a watch holds of its result.
#[derive(Clone, Debug)]
enum Held {
    /// Every row; nothing is cut.
    Whole(Vec<Row>),
    /// The rows near a limit or behind an offset.
    Cut(Cut),
    /// Numbers of everything that matches.
    Live(Tally),
    /// Numbers of a cut result: they are known only from running the query.
    Numbers { values: Vec<Value>, documents: u64 },
}

#[derive(Clone, Debug)]
struct Cut {
    /// All rows from where the limit counts up to `known_to`.
    rows: Vec<Row>,
    /// The place up to which rows are known; none where all are.
    known_to: Option<Arc<[u8]>>,
}

/// One document's move in a query's order. Not both sides are empty.
struct Move<'a> {
    old: Option<Box<[u8]>>,
    new: Option<Box<[u8]>>,
    change: &'a Change,
}

impl Move<'_> {
    fn row(&self) -> Option<Row> {
        let (key, after) = (self.new.as_ref()?, self.change.after.as_ref()?);
        Some(Row { key: key.clone().into(), path: self.change.path.clone(), version: after.updated })
    }
}

impl Watch {
    /// Up to this many moves are put into the rows one by one; more are merged in one pass over all rows.
    const SINGLE_MOVES_MAX: usize = 32;

    /// A watch from a run of its query at `version`. With a limit, a spare ([`crate::query::Run::spare`]) saves refills.
    pub fn new<D>(query: Arc<Query>, version: Version, rows: Rows<D>) -> Self {
        let result = Held::new(&query, rows);
        Self { query, version, result, stale: false }
    }

    /// The query.
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// The version up to which the watch was told commits.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The rows of the last known result, in the query's order; none for aggregates.
    pub fn window(&self) -> &[Row] {
        match &self.result {
            Held::Whole(rows) => rows,
            Held::Cut(cut) => &cut.rows[cut.window(&self.query)],
            Held::Live(_) | Held::Numbers { .. } => &[],
        }
    }

    /// How many rows are held, the spare included; for the bounds of whoever holds watches.
    pub fn rows_held(&self) -> usize {
        match &self.result {
            Held::Whole(rows) => rows.len(),
            Held::Cut(cut) => cut.rows.len(),
            Held::Live(_) | Held::Numbers { .. } => 0,
        }
    }

    /// How many documents the last known result has; for aggregates, how many they saw.
    pub fn size(&self) -> usize {
        let documents = match &self.result {
            Held::Whole(_) | Held::Cut(_) => return self.window().len(),
            Held::Live(tally) => tally.documents(),
            Held::Numbers { documents, .. } => *documents,
        };
        usize::try_from(documents).unwrap_or(usize::MAX)
    }

    /// The numbers of the last known result, for a query that asks for them.
    pub fn aggregates(&self) -> Option<Vec<Value>> {
        match &self.result {
            Held::Whole(_) | Held::Cut(_) => None,
            Held::Live(tally) => Some(tally.values(self.query.aggregates())),
            Held::Numbers { values, .. } => Some(values.clone()),
        }
    }

    /// Takes in the next commit. One that the watch has seen already (by version) means nothing.
    pub fn apply(&mut self, commit: &Commit) -> Outcome {
        if commit.version <= self.version {
            return Outcome::Nothing;
        }
        self.version = commit.version;
        if self.stale {
            return Outcome::Refill;
        }
        let moves: Vec<Move<'_>> = commit.changes.iter().filter_map(|change| self.query.moved(change)).collect();
        if moves.is_empty() {
            return Outcome::Nothing;
        }
        let before = self.aggregates();
        let changes = match &mut self.result {
            Held::Numbers { .. } => None,
            Held::Live(tally) => {
                moves.iter().for_each(|moved| moved.count(tally, &self.query));
                Some(Vec::new())
            }
            Held::Whole(rows) if moves.len() <= Self::SINGLE_MOVES_MAX => step(rows, &moves),
            Held::Whole(rows) => merged(rows, &moves, |_| true).map(|new| {
                let changes = diff(rows, &new);
                *rows = new;
                with_docs(changes, commit)
            }),
            Held::Cut(cut) => cut.take(&self.query, &moves).map(|changes| with_docs(changes, commit)),
        };
        let Some(changes) = changes else {
            self.stale = true;
            return Outcome::Refill;
        };
        self.outcome(before, changes).map_or(Outcome::Nothing, Outcome::Event)
    }

    /// Takes in the result at `version`, which is not before the last commit told; says what changed since the last known
    /// result. No documents are given: load them at `version`.
    pub fn refill<D>(&mut self, version: Version, rows: Rows<D>) -> Option<Event> {
        let before = self.aggregates();
        let old: Vec<Row> = self.window().to_vec();
        self.result = Held::new(&self.query, rows);
        self.version = version;
        self.stale = false;
        let changes = diff(&old, self.window());
        self.outcome(before, changes)
    }

    fn outcome(&self, before: Option<Vec<Value>>, changes: Vec<EventChange>) -> Option<Event> {
        let aggregates = self.aggregates();
        let differs = !changes.is_empty() || aggregates != before;
        differs.then(|| Event { version: self.version, changes, size: self.size(), aggregates })
    }
}

impl Held {
    fn new<D>(query: &Query, rows: Rows<D>) -> Self {
        let (rows, exhausted, tally) = rows.into_parts();
        match tally {
            Some(tally) if query.is_cut() => {
                Self::Numbers { values: tally.values(query.aggregates()), documents: tally.documents() }
            }
            Some(tally) => Self::Live(tally),
            None if query.is_cut() => {
                let farthest = query.farthest(&rows).map(|row| row.key.clone());
                // Where nothing was kept and something is there, nothing is known: no key is below the empty one, and for
                // the last rows of an order none is above this one.
                let nowhere = || if query.takes_last() { Arc::from([0xff]) } else { Arc::from([]) };
                let known_to = (!exhausted).then(|| farthest.unwrap_or_else(nowhere));
                Self::Cut(Cut { rows, known_to })
            }
            None => Self::Whole(rows),
        }
    }
}

impl Cut {
    fn window(&self, query: &Query) -> Range<usize> {
        query.window_of(self.rows.len(), self.known_to.is_none())
    }

    /// The changes of the window, or none where it cannot be known; then nothing was taken in.
    fn take(&mut self, query: &Query, moves: &[Move<'_>]) -> Option<Vec<EventChange>> {
        let is_known = |key: &[u8]| {
            self.known_to.as_deref().is_none_or(|edge| if query.takes_last() { key >= edge } else { key <= edge })
        };
        let nothing_known = |key: &Option<Box<[u8]>>| key.as_deref().is_none_or(|key| !is_known(key));
        if moves.iter().all(|moved| nothing_known(&moved.old) && nothing_known(&moved.new)) {
            return Some(Vec::new());
        }
        let mut next = Self { rows: merged(&self.rows, moves, is_known)?, known_to: self.known_to.clone() };
        let reach = query.reach().unwrap_or(usize::MAX);
        if next.known_to.is_some() && next.rows.len() < reach {
            return None;
        }
        next.forget(query, reach);
        let changes = diff(&self.rows[self.window(query)], &next.rows[next.window(query)]);
        *self = next;
        Some(changes)
    }

    /// Lets go of rows far behind the limit, so that a window that only grows stays bounded.
    fn forget(&mut self, query: &Query, reach: usize) {
        let most = reach.saturating_mul(2).saturating_add(16);
        if self.rows.len() <= most {
            return;
        }
        // As much again as the limit stays as a spare; at least one row, which is the edge of what is known.
        let keep = reach.saturating_add(reach.max(8));
        if query.takes_last() {
            self.rows.drain(..self.rows.len() - keep);
        } else {
            self.rows.truncate(keep);
        }
        self.known_to = query.farthest(&self.rows).map(|row| row.key.clone());
    }
}

impl Move<'_> {
    fn count(&self, tally: &mut Tally, query: &Query) {
        if let (Some(_), Some(document)) = (&self.old, &self.change.before) {
            let Ok(()) = tally.remove(query.aggregates(), document);
        }
        if let (Some(_), Some(document)) = (&self.new, &self.change.after) {
            let Ok(()) = tally.add(query.aggregates(), document);
        }
    }
}

impl Query {
    fn moved<'a>(&self, change: &'a Change) -> Option<Move<'a>> {
        if !self.source().holds(&change.path) {
            return None;
        }
        let old = self.place_image(change.before.as_deref());
        let new = self.place_image(change.after.as_deref());
        (old.is_some() || new.is_some()).then_some(Move { old, new, change })
    }
}

fn find(rows: &[Row], key: &[u8]) -> Result<usize, usize> {
    rows.binary_search_by(|row| (*row.key).cmp(key))
}

/// Puts a few moves into the rows one by one. None, with nothing done, where the rows contradict the moves: then they
/// are not the result before the commit.
fn step(rows: &mut Vec<Row>, moves: &[Move<'_>]) -> Option<Vec<EventChange>> {
    let mut sequence: Vec<&Move<'_>> = moves.iter().collect();
    // What is gone first, in the old order; then the rest in the new order.
    sequence.sort_by(|a, b| match (&a.new, &b.new) {
        (None, None) => a.old.cmp(&b.old),
        (a, b) => a.cmp(b),
    });
    let fits = moves.iter().all(|moved| match (&moved.old, &moved.new) {
        (Some(old), _) => find(rows, old).is_ok(),
        (None, Some(new)) => find(rows, new).is_err(),
        (None, None) => true,
    });
    if !fits {
        return None;
    }
    let mut changes = Vec::with_capacity(sequence.len());
    for moved in sequence {
        let from = moved.old.as_ref().map(|old| {
            let at = find(rows, old).unwrap_or_else(|at| at);
            rows.remove(at);
            at as u32
        });
        let to = moved.row().map(|row| {
            let at = find(rows, &row.key).unwrap_or_else(|at| at);
            rows.insert(at, row);
            at as u32
        });
        let kind = match (from, to) {
            (_, None) => Kind::Removed,
            (None, Some(_)) => Kind::Added,
            (Some(_), Some(_)) => Kind::Modified,
        };
        let doc = to.and_then(|_| moved.change.after.clone());
        changes.push(EventChange { doc, ..EventChange::new(kind, &moved.change.path, from, to) });
    }
    Some(changes)
}

/// The rows after all moves, as far as `known` says that a place is known. None where the rows contradict the moves.
fn merged(rows: &[Row], moves: &[Move<'_>], known: impl Fn(&[u8]) -> bool) -> Option<Vec<Row>> {
    let mut gone = vec![false; rows.len()];
    for old in moves.iter().filter_map(|moved| moved.old.as_deref()).filter(|old| known(old)) {
        gone[find(rows, old).ok()?] = true;
    }
    let mut coming: Vec<Row> = moves.iter().filter_map(Move::row).filter(|row| known(&row.key)).collect();
    coming.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut coming = coming.into_iter().peekable();
    let mut new = Vec::with_capacity(rows.len() + coming.len());
    for (row, gone) in rows.iter().zip(gone) {
        while let Some(next) = coming.next_if(|next| next.key < row.key) {
            new.push(next);
        }
        if !gone {
            new.push(row.clone());
        }
    }
    new.extend(coming);
    new.windows(2).all(|pair| pair[0].key < pair[1].key).then_some(new)
}

fn with_docs(mut changes: Vec<EventChange>, commit: &Commit) -> Vec<EventChange> {
    for change in changes.iter_mut().filter(|change| change.kind != Kind::Removed) {
        if let Ok(at) = commit.changes.binary_search_by(|other| other.path.cmp(&change.path)) {
            change.doc = commit.changes[at].after.clone();
        }
    }
    changes
}

/// Whether an earlier result can be told by [`rewind`]. Not of a query with limit, offset or aggregates: its earlier
/// result held what changed documents do not show; run it at both versions.
pub fn can_rewind(query: &Query) -> bool {
    !query.is_cut() && query.aggregates().is_empty()
}

/// The rows of an earlier result, of a query that [`can_rewind`]: from those of now and, of every document that changed
/// between then and now, the row that it had then, if it had one ([`Query::row`]).
pub fn rewind(query: &Query, rows_now: &[Row], then: &HashMap<DocPath, Option<Row>>) -> Vec<Row> {
    assert!(can_rewind(query), "asked of a query that is cut");
    let mut rows: Vec<Row> = rows_now.iter().filter(|row| !then.contains_key(&row.path)).cloned().collect();
    rows.extend(then.values().flatten().cloned());
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    rows
}

/// What a client does with an event: the array of the old result becomes that of the new one.
#[cfg(test)]
pub(crate) fn fold(array: &mut Vec<DocPath>, changes: &[EventChange]) {
    for change in changes {
        if let Some(from) = change.from {
            assert_eq!(array.remove(from as usize), change.path);
        }
        if let Some(to) = change.to {
            array.insert(to as usize, change.path.clone());
        }
    }
}

#[cfg(test)]
mod tests;
