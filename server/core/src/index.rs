//! The choice of what to read for a query. It decides nothing about the result: candidates are filtered again.
//!
//! Today a document is found by its name only: single documents, a collection, a collection group's index, or all that
//! lies below. Indexes of fields will come behind the same function.

use crate::keys::{self, Direction};
use crate::path::{CollectionPath, DocPath, Id};
use crate::query::{Filter, Operator, Query, Source, name_of};
use crate::value::Value;

/// What to read, and in which sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where the candidates stand.
    pub scan: Scan,
    /// Which way to read them by name.
    pub direction: Direction,
    /// Whether that is the query's order, begun where its limit counts: then reading may stop early
    /// ([`crate::query::Run::sorted`]).
    pub sorted: bool,
}

/// Where candidates stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// At these names, in the access's direction. None at all where the query contradicts itself.
    Documents(Vec<DocPath>),
    /// Directly in a collection. The range also holds what lies below its documents: that is to be skipped.
    Collection {
        /// The collection.
        path: CollectionPath,
        /// Keys of documents.
        range: NameRange,
    },
    /// In the collections with this id: the group's index holds a document's key behind [`keys::group`].
    Group {
        /// The collections' id.
        id: Id,
        /// Keys of documents.
        range: NameRange,
    },
    /// At every key of a document in the range.
    Below {
        /// Keys of documents.
        range: NameRange,
    },
}

/// A range of documents' keys as [`keys::doc`] makes them; right as well where something stands behind a document's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRange {
    /// The first key that may belong to it.
    pub from: Vec<u8>,
    /// The first key behind it; above `from`.
    pub to: Vec<u8>,
}

impl NameRange {
    /// Every document of a database.
    fn whole() -> Self {
        // No segment begins with 0xFF.
        Self { from: Vec::new(), to: vec![0xff] }
    }

    fn begins_with(prefix: Vec<u8>) -> Self {
        let to = keys::successor(&prefix).unwrap_or_else(|| vec![0xff]);
        Self { from: prefix, to }
    }

    fn below(path: &DocPath) -> Self {
        Self { from: behind(path), to: keys::past_descendants(path) }
    }

    fn narrow_from(&mut self, path: &DocPath, with_it: bool) {
        let from = if with_it { keys::doc(path) } else { behind(path) };
        self.from = std::mem::take(&mut self.from).max(from);
    }

    fn narrow_to(&mut self, path: &DocPath, with_it: bool) {
        let to = if with_it { behind(path) } else { keys::doc(path) };
        self.to = std::mem::take(&mut self.to).min(to);
    }

    fn holds(&self, path: &DocPath) -> bool {
        let key = keys::doc(path);
        self.from <= key && key < self.to
    }
}

/// The first key behind a document's own, whatever is put behind that; what lies below the document comes after.
fn behind(path: &DocPath) -> Vec<u8> {
    keys::successor(&keys::doc(path)).expect("a document's key ends with a zero byte")
}

/// Chooses what to read for a query.
pub fn choose(query: &Query) -> Access {
    let (direction, sorted) = match name_direction(query) {
        None => (Direction::Ascending, false),
        Some(direction) if query.takes_last() => (direction.reversed(), true),
        Some(direction) => (direction, true),
    };
    let mut range = match query.source() {
        Source::Collection(path) => NameRange::begins_with(keys::collection(path)),
        Source::Group { below: Some(below), .. } | Source::Below(Some(below)) => NameRange::below(below),
        Source::Group { below: None, .. } | Source::Below(None) | Source::Documents(_) => NameRange::whole(),
    };
    let mut points: Option<Vec<DocPath>> = match query.source() {
        Source::Documents(paths) => Some(paths.clone()),
        _ => None,
    };
    if let Some((path, with_it)) = &query.names().from {
        range.narrow_from(path, *with_it);
    }
    if let Some((path, with_it)) = &query.names().to {
        range.narrow_to(path, *with_it);
    }
    for part in query.filter().map_or(&[][..], Filter::conjuncts) {
        let Filter::Field { field, operator, value } = part else { continue };
        if !field.is_name() {
            continue;
        }
        let named = match value {
            Value::Array(values) => values.iter().filter_map(name_of).collect(),
            value => Vec::from_iter(name_of(value)),
        };
        match (operator, &named[..]) {
            // Of two lists either will do, since the filter is asked again.
            (Operator::Equal | Operator::In, named)
                if points.as_ref().is_none_or(|points| points.len() > named.len()) =>
            {
                points = Some(named.iter().copied().cloned().collect());
            }
            (Operator::Less, [path]) => range.narrow_to(path, false),
            (Operator::LessOrEqual, [path]) => range.narrow_to(path, true),
            (Operator::Greater, [path]) => range.narrow_from(path, false),
            (Operator::GreaterOrEqual, [path]) => range.narrow_from(path, true),
            _ => {}
        }
    }
    let scan = match (points, query.source()) {
        (Some(mut points), source) => {
            points.retain(|path| source.holds(path) && range.holds(path));
            if direction == Direction::Descending {
                points.reverse();
            }
            Scan::Documents(points)
        }
        (None, _) if range.from >= range.to => Scan::Documents(Vec::new()),
        (None, Source::Collection(path)) => Scan::Collection { path: path.clone(), range },
        (None, Source::Group { id, .. }) => Scan::Group { id: id.clone(), range },
        (None, Source::Below(_) | Source::Documents(_)) => Scan::Below { range },
    };
    Access { scan, direction, sorted }
}

/// The direction of names where the query's order is by name: all steps before it are held fast by an equality.
pub(crate) fn name_direction(query: &Query) -> Option<Direction> {
    let fixed = |path| {
        query
            .filter()
            .map_or(&[][..], Filter::conjuncts)
            .iter()
            .any(|part| matches!(part, Filter::Field { field, operator: Operator::Equal, .. } if field == path))
    };
    query
        .orders()
        .iter()
        .find(|order| order.field.is_name() || !fixed(&order.field))
        .filter(|order| order.field.is_name())
        .map(|order| order.direction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldPath;
    use crate::path::{DatabaseName, Reference};
    use crate::query::{Cursor, Limit, Order, QuerySpec};
    use expect_test::{Expect, expect};

    fn path(text: &str) -> DocPath {
        DocPath::parse(text).unwrap()
    }

    fn name(text: &str) -> Value {
        let database = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
        Value::Reference(Reference { database, path: path(text) })
    }

    fn rooms() -> QuerySpec {
        QuerySpec::all(Source::Collection(CollectionPath::parse("rooms").unwrap()))
    }

    fn by_name(operator: Operator, value: Value) -> Filter {
        Filter::field(FieldPath::name(), operator, value)
    }

    /// Prints the access, and of a range which of some documents it holds.
    fn check(spec: QuerySpec, want: Expect) {
        let known = ["a/x", "rooms/__id7__", "rooms/a", "rooms/a/in/x", "rooms/b", "rooms/b/in/y", "rooms/c", "z/z"];
        let access = choose(&Query::build(spec).unwrap());
        let within =
            |range: &NameRange| known.iter().filter(|text| range.holds(&path(text))).copied().collect::<Vec<_>>();
        let scan = match &access.scan {
            Scan::Documents(paths) => format!("documents {paths:?}"),
            Scan::Collection { path, range } => format!("collection {path} {:?}", within(range)),
            Scan::Group { id, range } => format!("group {id} {:?}", within(range)),
            Scan::Below { range } => format!("below {:?}", within(range)),
        };
        let sorted = if access.sorted { "sorted" } else { "unsorted" };
        want.assert_eq(&format!("{scan} {:?} {sorted}", access.direction));
    }

    #[test]
    fn a_source_is_read_as_a_whole_unless_names_narrow_it() {
        check(
            rooms(),
            expect![[
                r#"collection rooms ["rooms/__id7__", "rooms/a", "rooms/a/in/x", "rooms/b", "rooms/b/in/y", "rooms/c"] Ascending sorted"#
            ]],
        );
        check(
            QuerySpec::all(Source::Below(Some(path("rooms/a")))),
            expect![[r#"below ["rooms/a/in/x"] Ascending sorted"#]],
        );
        check(
            QuerySpec::all(Source::Group { below: None, id: Id::parse("in").unwrap() }),
            expect![[
                r#"group in ["a/x", "rooms/__id7__", "rooms/a", "rooms/a/in/x", "rooms/b", "rooms/b/in/y", "rooms/c", "z/z"] Ascending sorted"#
            ]],
        );
        check(
            QuerySpec::all(Source::Documents(vec![path("b/b"), path("a/a"), path("b/b")])),
            expect![[r#"documents ["a/a", "b/b"] Ascending sorted"#]],
        );
    }

    #[test]
    fn names_in_filters_and_cursors_narrow_the_range() {
        let filtered = |filter| QuerySpec { filter: Some(filter), ..rooms() };
        check(
            filtered(by_name(Operator::Greater, name("rooms/a"))),
            expect![[r#"collection rooms ["rooms/a/in/x", "rooms/b", "rooms/b/in/y", "rooms/c"] Ascending sorted"#]],
        );
        check(
            filtered(Filter::And(vec![
                by_name(Operator::GreaterOrEqual, name("rooms/b")),
                by_name(Operator::Less, name("rooms/c")),
            ])),
            expect![[r#"collection rooms ["rooms/b", "rooms/b/in/y"] Ascending sorted"#]],
        );
        check(
            filtered(by_name(Operator::In, Value::Array(vec![name("rooms/c"), name("rooms/a")]))),
            expect![[r#"documents ["rooms/a", "rooms/c"] Ascending sorted"#]],
        );
        check(
            filtered(Filter::And(vec![
                by_name(Operator::Greater, name("rooms/b")),
                by_name(Operator::Less, name("rooms/b")),
            ])),
            expect!["documents [] Ascending sorted"],
        );
        let order = Order { field: FieldPath::name(), direction: Direction::Descending };
        let start = Some(Cursor { values: vec![Value::text("b")], before: false });
        check(
            QuerySpec { orders: vec![order], start, ..rooms() },
            expect![[r#"collection rooms ["rooms/__id7__", "rooms/a", "rooms/a/in/x"] Descending sorted"#]],
        );
    }

    #[test]
    fn the_end_of_an_order_is_read_backwards() {
        let equal = Filter::field(FieldPath::parse("n").unwrap(), Operator::Equal, Value::Integer(1));
        let by_n = Order { field: FieldPath::parse("n").unwrap(), direction: Direction::Ascending };
        let end = Some(Cursor { values: vec![Value::text("__id7__")], before: false });
        check(
            QuerySpec { limit: Some(Limit::Last(1)), end, ..rooms() },
            expect![[r#"collection rooms ["rooms/__id7__"] Descending sorted"#]],
        );
        check(
            QuerySpec { orders: vec![by_n.clone()], limit: Some(Limit::Last(1)), ..rooms() },
            expect![[
                r#"collection rooms ["rooms/__id7__", "rooms/a", "rooms/a/in/x", "rooms/b", "rooms/b/in/y", "rooms/c"] Ascending unsorted"#
            ]],
        );
        check(
            QuerySpec { filter: Some(equal), orders: vec![by_n], limit: Some(Limit::Last(1)), ..rooms() },
            expect![[
                r#"collection rooms ["rooms/__id7__", "rooms/a", "rooms/a/in/x", "rooms/b", "rooms/b/in/y", "rooms/c"] Descending sorted"#
            ]],
        );
    }
}
