//! Queries: which documents, in which order, how many.
//!
//! A [`Query`] is made only by [`Query::build`], so a contradictory one cannot exist. This file holds what a query is;
//! `query/filter` says when a document passes, `query/run` turns candidates into a result, `query/canonical` tells
//! two queries apart. Where candidates come from is [`crate::index`]'s question. Nearest-neighbour search is not here.
//! Source of the semantics: google.firestore.v1 `StructuredQuery` and the Firestore documentation, "Order and limit".

mod canonical;
mod fields;
mod filter;
mod run;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

pub use fields::{Candidate, Fields};
pub(crate) use filter::name_of;
pub use filter::{Filter, Operator};
pub use run::{Row, Rows, Run};

use crate::change::Change;
use crate::document::Document;
use crate::field::FieldPath;
use crate::keys::{self, Direction};
use crate::path::{CollectionPath, DocPath, Id};
use crate::value::{Map, Value, ValueError, insert, lookup};

/// What a query is made of, before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct QuerySpec {
    /// Where the documents stand.
    pub source: Source,
    /// Which of them count; none means all.
    pub filter: Option<Filter>,
    /// What they are ordered by, most significant first. What is missing is implied, see [`Query::orders`].
    pub orders: Vec<Order>,
    /// Where the result begins. `before` means that what equals the values belongs to it (`startAt`).
    pub start: Option<Cursor>,
    /// Where the result ends. `before` means that what equals the values does not belong to it (`endBefore`).
    pub end: Option<Cursor>,
    /// How many documents at most, after the offset.
    pub limit: Option<Limit>,
    /// How many documents of the order are skipped.
    pub offset: u32,
    /// Which fields a reader wants; none means all, an empty list means none.
    pub select: Option<Vec<FieldPath>>,
    /// Numbers to answer with instead of documents; they see what filter, cursors, offset and limit leave.
    pub aggregates: Vec<Aggregate>,
}

impl QuerySpec {
    /// All documents of a source, in the order of their names.
    pub fn all(source: Source) -> Self {
        Self {
            source,
            filter: None,
            orders: Vec::new(),
            start: None,
            end: None,
            limit: None,
            offset: 0,
            select: None,
            aggregates: Vec::new(),
        }
    }
}

/// Where a query's documents stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Directly in one collection.
    Collection(CollectionPath),
    /// In every collection with this id, anywhere or below one document.
    Group {
        /// The document below which they stand; none means the whole database.
        below: Option<DocPath>,
        /// The id of the collections.
        id: Id,
    },
    /// Everything below a document, at any depth; none means the whole database.
    Below(Option<DocPath>),
    /// These documents.
    Documents(Vec<DocPath>),
}

impl Source {
    /// Whether a document stands here. For a query's own source, whose documents are sorted.
    pub fn holds(&self, path: &DocPath) -> bool {
        match self {
            Self::Collection(collection) => collection.holds(path),
            Self::Group { below, id } => {
                path.collection_id() == id.as_str() && below.as_ref().is_none_or(|below| path.is_below(below))
            }
            Self::Below(below) => below.as_ref().is_none_or(|below| path.is_below(below)),
            Self::Documents(paths) => paths.binary_search(path).is_ok(),
        }
    }

    /// The document that a cursor's plain text means: an id for a collection, a relative path for the others.
    fn named(&self, text: &str) -> Option<DocPath> {
        match self {
            Self::Collection(collection) => collection.doc(&Id::parse(text).ok()?).ok(),
            Self::Group { below: Some(below), .. } | Self::Below(Some(below)) => {
                DocPath::parse(&format!("{below}/{text}")).ok()
            }
            _ => DocPath::parse(text).ok(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(path) => write!(f, "the collection {path}"),
            Self::Group { below: None, id } => write!(f, "the collections named {id}"),
            Self::Group { below: Some(below), id } => write!(f, "the collections named {id} below {below}"),
            Self::Below(None) => f.write_str("the database"),
            Self::Below(Some(below)) => write!(f, "what lies below {below}"),
            Self::Documents(paths) => write!(f, "{} documents", paths.len()),
        }
    }
}

/// One step of an order. Only documents that have the field belong to the result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The field; `__name__` is the document's path.
    pub field: FieldPath,
    /// Which way it runs.
    pub direction: Direction,
}

/// A place in the order, just before or just behind all documents that equal the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// Values for the first so many steps of the implied order. For `__name__`: a reference, or text relative to the source.
    pub values: Vec<Value>,
    /// Whether the place is before what equals the values, not behind it.
    pub before: bool,
}

/// How many documents, counted from which end of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The first ones.
    First(u32),
    /// The last ones, presented in the query's order. The offset still counts from the first.
    Last(u32),
}

/// One number about a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// How many documents, counting no further than `up_to`.
    Count {
        /// The highest answer; none means that all are counted.
        up_to: Option<u64>,
    },
    /// The sum of a field's numbers: an integer unless a double takes part or it exceeds 64 bits.
    Sum(FieldPath),
    /// The mean of a field's numbers; null where there are none.
    Average(FieldPath),
}

/// Why a query is none. Nothing was run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("`and` and `or` need at least one filter")]
    EmptyComposite,
    #[error("filters nest deeper than {} levels", Query::FILTER_DEPTH_MAX)]
    FilterTooDeep,
    #[error("{count} filters and orders are over the limit of {}", Query::CONDITIONS_MAX)]
    TooManyConditions { count: usize },
    #[error("{field} {operator} needs a list of values")]
    ListExpected { field: FieldPath, operator: Operator },
    #[error("{field} {operator} has an empty list")]
    ListEmpty { field: FieldPath, operator: Operator },
    #[error("{field} {operator} has a list of {count} values, over the limit of {}", Query::LIST_MAX)]
    ListTooLong { field: FieldPath, operator: Operator, count: usize },
    #[error("a value compared with {field} cannot be stored, so it never matches: {error}")]
    Unstorable { field: FieldPath, error: ValueError },
    #[error("__name__ cannot be compared by {operator}")]
    NameOperator { operator: Operator },
    #[error("__name__ {operator} needs references to documents")]
    NameValue { operator: Operator },
    #[error("{path}, compared with __name__, is not in {}", within)]
    NameOutside { path: DocPath, within: Source },
    #[error("{field} is ordered by twice")]
    OrderTwice { field: FieldPath },
    #[error("a cursor needs at least one value")]
    CursorEmpty,
    #[error("a cursor has {values} values, the order only {orders} steps")]
    CursorTooLong { values: usize, orders: usize },
    #[error("a cursor's value for __name__ is neither a reference nor a path within {}", within)]
    CursorName { within: Source },
    #[error("fields are selected, but aggregates answer with numbers only")]
    SelectAndAggregates,
    #[error("{count} aggregates are over the limit of {}", Query::AGGREGATES_MAX)]
    TooManyAggregates { count: usize },
    #[error("{count} selected fields are over the limit of {}", Query::CONDITIONS_MAX)]
    TooManySelected { count: usize },
    #[error("{count} documents are over the limit of {} for one query", Query::LIST_MAX)]
    TooManyDocuments { count: usize },
}

/// A checked query.
///
/// Two queries are equal when they ask for the same: filters may stand in another sequence, implied orders may be
/// spelled out. [`Query::hash`] is the same for equal queries, on every machine and in every release.
#[derive(Clone, Debug)]
pub struct Query {
    source: Source,
    filter: Option<Filter>,
    orders: Vec<Order>,
    /// The first row key inside the cursors.
    lower: Option<Box<[u8]>>,
    /// The first row key behind them.
    upper: Option<Box<[u8]>>,
    names: Names,
    limit: Option<Limit>,
    offset: u32,
    select: Option<Vec<FieldPath>>,
    aggregates: Vec<Aggregate>,
    canonical: Box<[u8]>,
}

/// What the cursors say about names where the order begins with the name; for the choice of what to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The lowest name, and whether it belongs to the result.
    pub(crate) from: Option<(DocPath, bool)>,
    /// The highest name, and whether it belongs to the result.
    pub(crate) to: Option<(DocPath, bool)>,
}

impl Query {
    /// Deepest nesting of filters.
    pub const FILTER_DEPTH_MAX: usize = 50;
    /// Most filters and orders together.
    pub const CONDITIONS_MAX: usize = 1_000;
    /// Most values of one list and documents of one source.
    pub const LIST_MAX: usize = 10_000;
    /// Most aggregates.
    pub const AGGREGATES_MAX: usize = 100;

    /// Checks a query. Refused is only what contradicts itself or has no bound: all that can be built is served.
    pub fn build(spec: QuerySpec) -> Result<Self, QueryError> {
        let QuerySpec { source, filter, orders, start, end, limit, offset, select, aggregates } = spec;
        let source = match source {
            Source::Documents(paths) if paths.len() > Self::LIST_MAX => {
                return Err(QueryError::TooManyDocuments { count: paths.len() });
            }
            Source::Documents(paths) => Source::Documents(BTreeSet::from_iter(paths).into_iter().collect()),
            other => other,
        };
        if select.is_some() && !aggregates.is_empty() {
            return Err(QueryError::SelectAndAggregates);
        }
        if aggregates.len() > Self::AGGREGATES_MAX {
            return Err(QueryError::TooManyAggregates { count: aggregates.len() });
        }
        if let Some(fields) = &select
            && fields.len() > Self::CONDITIONS_MAX
        {
            return Err(QueryError::TooManySelected { count: fields.len() });
        }
        let filter = filter.map(|filter| filter.normal(&source, 0)).transpose()?;
        let count = filter.as_ref().map_or(0, Filter::leaves) + orders.len();
        if count > Self::CONDITIONS_MAX {
            return Err(QueryError::TooManyConditions { count });
        }
        let orders = imply(orders, filter.as_ref())?;
        let mut query = Self {
            source,
            filter,
            orders,
            lower: None,
            upper: None,
            names: Names::default(),
            limit,
            offset,
            select: select.map(|fields| BTreeSet::from_iter(fields).into_iter().collect()),
            aggregates,
            canonical: Box::default(),
        };
        query.set_cursors(start, end)?;
        query.canonical = canonical::encode(&query);
        Ok(query)
    }

    fn set_cursors(&mut self, start: Option<Cursor>, end: Option<Cursor>) -> Result<(), QueryError> {
        for (cursor, is_start) in [(start, true), (end, false)] {
            let Some(Cursor { values, before }) = cursor else { continue };
            let (mut place, name) = self.place_of(&values)?;
            if !before {
                // A place behind all equals is the first key that does not begin as theirs do. There is one, since no
                // key begins with 0xFF, descending or not.
                place = keys::successor(&place).expect("a key's first byte is a class or a segment's marker");
            }
            // Whether the result holds what equals the values.
            let with_equals = before == is_start;
            let side = if is_start { &mut self.lower } else { &mut self.upper };
            *side = Some(place.into());
            if let Some(name) = name {
                // Further steps behind the name could only keep or drop that one document.
                let bound = Some((name, with_equals || values.len() > 1));
                match (is_start, self.orders[0].direction) {
                    (true, Direction::Ascending) | (false, Direction::Descending) => self.names.from = bound,
                    (false, Direction::Ascending) | (true, Direction::Descending) => self.names.to = bound,
                }
            }
        }
        Ok(())
    }

    /// The beginning of the keys of rows that equal a cursor's values, and the name where the order begins with it.
    fn place_of(&self, values: &[Value]) -> Result<(Vec<u8>, Option<DocPath>), QueryError> {
        if values.is_empty() {
            return Err(QueryError::CursorEmpty);
        }
        if values.len() > self.orders.len() {
            return Err(QueryError::CursorTooLong { values: values.len(), orders: self.orders.len() });
        }
        let (mut key, mut first) = (Vec::new(), None);
        for (index, (order, value)) in self.orders.iter().zip(values).enumerate() {
            if order.field.is_name() {
                let path = match value {
                    Value::Reference(reference) => Some(reference.path.clone()),
                    Value::Text(text) => self.source.named(text),
                    _ => None,
                };
                let path = path.ok_or_else(|| QueryError::CursorName { within: self.source.clone() })?;
                keys::push_name(&path, order.direction, &mut key);
                if index == 0 {
                    first = Some(path);
                }
            } else {
                value.check(0).map_err(|error| QueryError::Unstorable { field: order.field.clone(), error })?;
                keys::encode_value(value, order.direction, &mut key);
            }
        }
        Ok((key, first))
    }

    /// Where the documents stand.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The filter in its normal form: composites flattened and sorted, unary tests spelled as comparisons with null or NaN.
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The full order: the steps asked for; then each other field with an inequality, by the path's order; then the
    /// name. What is added runs in the direction of the last step asked for.
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// How many documents at most.
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// How many documents of the order are skipped.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Which fields are wanted; none means all.
    pub fn select(&self) -> Option<&[FieldPath]> {
        self.select.as_deref()
    }

    /// The numbers to answer with; empty for a query that answers with documents.
    pub fn aggregates(&self) -> &[Aggregate] {
        &self.aggregates
    }

    /// Whether limit or offset cut the result, so that one document's change can move another in or out.
    pub fn is_cut(&self) -> bool {
        self.limit.is_some() || self.offset > 0
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Whether the result is the end of the order, not its beginning.
    pub(crate) fn takes_last(&self) -> bool {
        matches!(self.limit, Some(Limit::Last(_)))
    }

    /// How many rows, from the end of the order where the limit counts, decide the result; none means all.
    pub(crate) fn reach(&self) -> Option<usize> {
        let (Limit::First(limit) | Limit::Last(limit)) = self.limit?;
        Some((limit as usize).saturating_add(self.offset as usize))
    }

    /// A number for this query that never changes between releases: equal queries have the same.
    pub fn hash(&self) -> u64 {
        canonical::hash(&self.canonical)
    }

    /// The values of fields of one document that this query's projection leaves.
    pub fn project<'a>(&self, document: &'a Document) -> Cow<'a, Map> {
        match &self.select {
            None => Cow::Borrowed(&document.fields),
            Some(fields) => Cow::Owned(project(document, fields)),
        }
    }

    /// The same query from just behind a row of its result, at most so many documents: how a long result is read in pages.
    /// Only for a query that answers with documents and counts its limit from the start of the order.
    pub fn behind(&self, row: &Row, limit: u32) -> Self {
        let mut rest = self.up_to(limit);
        rest.offset = 0;
        rest.lower = Some([&*row.key, &[0]].concat().into());
        match crate::index::name_direction(self) {
            None => {}
            Some(Direction::Ascending) => rest.names.from = Some((row.path.clone(), false)),
            Some(Direction::Descending) => rest.names.to = Some((row.path.clone(), false)),
        }
        rest.canonical = canonical::encode(&rest);
        rest
    }

    /// The same query with another limit, counted from the start of the order.
    pub fn up_to(&self, limit: u32) -> Self {
        let mut cut = Self { limit: Some(Limit::First(limit)), ..self.clone() };
        cut.canonical = canonical::encode(&cut);
        cut
    }

    /// Whether a document is one the query speaks of: it stands in the source, passes the filter and has every field of
    /// the order. Cursors, offset and limit are not asked.
    pub fn matches<F: Fields>(&self, path: &DocPath, fields: &F) -> Result<bool, F::Error> {
        Ok(self.passes(path, fields)? && self.row_key(path, fields)?.is_some())
    }

    fn passes<F: Fields>(&self, path: &DocPath, fields: &F) -> Result<bool, F::Error> {
        if !self.source.holds(path) {
            return Ok(false);
        }
        match &self.filter {
            None => Ok(true),
            Some(filter) => filter.passes(path, fields),
        }
    }

    /// The document's place in the order, as bytes that compare; none where a field of the order is missing.
    pub fn row_key<F: Fields>(&self, path: &DocPath, fields: &F) -> Result<Option<Box<[u8]>>, F::Error> {
        let mut key = Vec::with_capacity(path.as_str().len() + 16 * self.orders.len());
        for order in &self.orders {
            if order.field.is_name() {
                keys::push_name(path, order.direction, &mut key);
            } else {
                let Some(value) = fields.get(&order.field)? else { return Ok(None) };
                keys::encode_value(&value, order.direction, &mut key);
            }
        }
        Ok(Some(key.into()))
    }

    /// Whether a row's key lies between the cursors.
    pub fn within_cursors(&self, key: &[u8]) -> bool {
        self.lower.as_deref().is_none_or(|lower| lower <= key) && self.upper.as_deref().is_none_or(|upper| key < upper)
    }

    /// The document's row key where it belongs to the result but for offset and limit.
    pub fn place<F: Fields>(&self, path: &DocPath, fields: &F) -> Result<Option<Box<[u8]>>, F::Error> {
        if !self.passes(path, fields)? {
            return Ok(None);
        }
        Ok(self.row_key(path, fields)?.filter(|key| self.within_cursors(key)))
    }

    pub(crate) fn place_image(&self, image: Option<&Document>) -> Option<Box<[u8]>> {
        let document = image?;
        let Ok(place) = self.place(&document.path, document);
        place
    }

    /// The row of a document among all that match, limits aside; none where it does not match.
    pub fn row(&self, document: &Document) -> Option<Row> {
        if !self.source().holds(&document.path) {
            return None;
        }
        let key = self.place_image(Some(document))?.into();
        Some(Row { key, path: document.path.clone(), version: document.updated })
    }

    /// By what to find this query among many when a commit asks who cares.
    pub fn interest(&self) -> Interest<'_> {
        let equals = self.filter().map_or(&[][..], Filter::conjuncts).iter().filter_map(|part| match part {
            Filter::Field { field, operator: Operator::Equal, value } if !field.is_name() => Some((field, value)),
            _ => None,
        });
        Interest { source: &self.source, equals: equals.collect() }
    }

    /// Whether a change can have changed the result: its document belonged to it before or does after, limits aside.
    pub fn touches(&self, change: &Change) -> bool {
        self.source.holds(&change.path)
            && (self.place_image(change.before.as_deref()).is_some()
                || self.place_image(change.after.as_deref()).is_some())
    }

    /// Whether a change contradicts what a transaction read by this query.
    ///
    /// `last_returned` is the key of the returned row that is farthest from where the limit counts ([`Query::farthest`]),
    /// `filled` whether as many were returned as the limit allows. Behind a filled limit nothing was seen.
    pub fn conflicts(&self, last_returned: Option<&[u8]>, filled: bool, change: &Change) -> bool {
        // An offset from the other end, and numbers about the rows, depend on rows that were not returned.
        let all_seen = self.takes_last() && self.offset > 0 || !self.aggregates.is_empty();
        if !filled || self.limit.is_none() || all_seen {
            return self.touches(change);
        }
        let Some(last) = last_returned else { return false };
        let seen = |image: Option<&Document>| {
            self.place_image(image).is_some_and(|key| if self.takes_last() { &*key >= last } else { &*key <= last })
        };
        seen(change.before.as_deref()) || seen(change.after.as_deref())
    }

    /// The row of a result that is farthest from where the limit counts.
    pub fn farthest<'a>(&self, window: &'a [Row]) -> Option<&'a Row> {
        if self.takes_last() { window.first() } else { window.last() }
    }
}

/// By what a query is found when a commit asks who cares.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest<'a> {
    /// Where its documents stand.
    pub source: &'a Source,
    /// What every one of its documents has: fields that equal a value. Only some of the filter; may be empty.
    pub equals: Vec<(&'a FieldPath, &'a Value)>,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Query {}

impl Hash for Query {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

/// The values of the selected fields, each at its place; maps on the way hold only what was selected.
pub fn project(document: &Document, select: &[FieldPath]) -> Map {
    let mut fields = Map::new();
    for path in select {
        if let Some(value) = lookup(&document.fields, path) {
            insert(&mut fields, path, value.clone());
        }
    }
    fields
}

/// The full order: see [`Query::orders`].
fn imply(mut orders: Vec<Order>, filter: Option<&Filter>) -> Result<Vec<Order>, QueryError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = orders.iter().find(|order| !seen.insert(order.field.clone())) {
        return Err(QueryError::OrderTwice { field: twice.field.clone() });
    }
    let direction = orders.last().map_or(Direction::Ascending, |last| last.direction);
    let inequalities = filter.map(Filter::inequalities).unwrap_or_default();
    let implied = inequalities.into_iter().filter(|field| !field.is_name()).cloned().chain([FieldPath::name()]);
    for field in implied {
        if !seen.contains(&field) {
            orders.push(Order { field, direction });
        }
    }
    Ok(orders)
}

#[cfg(test)]
mod tests;
