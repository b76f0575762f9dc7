//! What queries promise, by example and against a plain reading of the whole.

use super::*;
use crate::path::{DatabaseName, Reference};
use crate::version::Version;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::convert::Infallible;

fn field(text: &str) -> FieldPath {
    FieldPath::parse(text).unwrap()
}

fn path(text: &str) -> DocPath {
    DocPath::parse(text).unwrap()
}

fn name(text: &str) -> Value {
    let database = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
    Value::Reference(Reference { database, path: path(text) })
}

fn int(number: i64) -> Value {
    Value::Integer(number)
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

fn rooms() -> QuerySpec {
    QuerySpec::all(Source::Collection(CollectionPath::parse("rooms").unwrap()))
}

fn asc(text: &str) -> Order {
    Order { field: field(text), direction: Direction::Ascending }
}

fn desc(text: &str) -> Order {
    Order { field: field(text), direction: Direction::Descending }
}

fn where_(text: &str, operator: Operator, value: Value) -> Filter {
    Filter::field(field(text), operator, value)
}

fn document(at: &str, n: Option<Value>) -> Document {
    let fields = n.map(|value| ("n".into(), value)).into_iter().collect();
    Document { path: path(at), fields, created: Version::ZERO, updated: Version::from_micros(1) }
}

/// Documents that hold one value of every kind that filters tell apart.
fn mixed() -> Vec<Document> {
    [
        ("rooms/none", None),
        ("rooms/null", Some(Value::Null)),
        ("rooms/nan", Some(Value::Double(f64::NAN))),
        ("rooms/one", Some(int(1))),
        ("rooms/one_", Some(Value::Double(1.0))),
        ("rooms/two", Some(int(2))),
        ("rooms/text", Some(Value::text("a"))),
        ("rooms/list", Some(list([int(1), Value::Null]))),
        ("rooms/one/in/deep", Some(int(1))),
        ("other/one", Some(int(1))),
    ]
    .map(|(at, n)| document(at, n))
    .into()
}

fn found(spec: QuerySpec, docs: &[Document]) -> Vec<String> {
    let query = Query::build(spec).unwrap();
    let docs = docs.iter().map(Ok::<_, Infallible>);
    let rows = query.run(docs, Run::default()).unwrap();
    rows.window().iter().map(|row| row.path.id().to_string()).collect()
}

fn check(spec: QuerySpec, want: Expect) {
    want.assert_eq(&found(spec, &mixed()).join(" "));
}

fn check_filter(operator: Operator, value: Value, want: Expect) {
    check(QuerySpec { filter: Some(where_("n", operator, value)), ..rooms() }, want);
}

fn check_refused(spec: QuerySpec, want: Expect) {
    want.assert_eq(&match Query::build(spec) {
        Ok(_) => "built".to_string(),
        Err(error) => error.to_string(),
    });
}

#[test]
fn a_comparison_sees_values_of_its_own_class_only() {
    check_filter(Operator::Less, int(2), expect!["one one_"]);
    check_filter(Operator::LessOrEqual, int(1), expect!["one one_"]);
    check_filter(Operator::GreaterOrEqual, int(1), expect!["one one_ two"]);
    check_filter(Operator::Greater, Value::text(""), expect!["text"]);
    check_filter(Operator::LessOrEqual, Value::Null, expect![""]);
    check_filter(Operator::Less, Value::Null, expect![""]);
    check_filter(Operator::GreaterOrEqual, Value::Double(f64::NAN), expect![""]);
}

#[test]
fn equality_takes_integers_and_doubles_for_one_and_inequality_needs_a_value() {
    check_filter(Operator::Equal, int(1), expect!["one one_"]);
    check_filter(Operator::Equal, Value::Null, expect!["null"]);
    check_filter(Operator::Equal, Value::Double(f64::NAN), expect!["nan"]);
    check_filter(Operator::NotEqual, Value::Double(1.0), expect!["nan two text list"]);
    check_filter(Operator::NotEqual, Value::Double(f64::NAN), expect!["one one_ two text list"]);
    check_filter(Operator::NotEqual, Value::Null, expect!["nan one one_ two text list"]);
    for (filter, want) in [
        (Filter::IsNull(field("n")), expect!["null"]),
        (Filter::IsNotNull(field("n")), expect!["nan one one_ two text list"]),
        (Filter::IsNan(field("n")), expect!["nan"]),
        (Filter::IsNotNan(field("n")), expect!["one one_ two text list"]),
    ] {
        check(QuerySpec { filter: Some(filter), ..rooms() }, want);
    }
}

#[test]
fn lists_match_any_and_not_in_with_null_matches_nothing() {
    check_filter(Operator::In, list([Value::text("a"), int(1), Value::Null]), expect!["one one_ text"]);
    check_filter(Operator::In, list([Value::Double(f64::NAN), int(2)]), expect!["two"]);
    check_filter(Operator::In, list([list([int(1), Value::Null])]), expect!["list"]);
    check_filter(Operator::NotIn, list([int(1), Value::text("a")]), expect!["nan two list"]);
    check_filter(Operator::NotIn, list([int(1), Value::Null]), expect![""]);
    check_filter(Operator::NotIn, list([int(1), Value::Double(f64::NAN)]), expect!["nan two text list"]);
    check_filter(Operator::ArrayContains, Value::Double(1.0), expect!["list"]);
    check_filter(Operator::ArrayContains, Value::Null, expect![""]);
    check_filter(Operator::ArrayContainsAny, list([Value::Null, Value::Double(f64::NAN)]), expect![""]);
    check_filter(Operator::ArrayContainsAny, list([int(7), int(1)]), expect!["list"]);
}

#[test]
fn the_name_is_compared_with_references_of_the_source() {
    check(
        QuerySpec { filter: Some(where_("__name__", Operator::Greater, name("rooms/one"))), ..rooms() },
        expect!["one_ text two"],
    );
    let names = list([name("rooms/two"), name("rooms/one")]);
    check(QuerySpec { filter: Some(where_("__name__", Operator::In, names.clone())), ..rooms() }, expect!["one two"]);
    check(
        QuerySpec { filter: Some(where_("__name__", Operator::NotIn, names)), ..rooms() },
        expect!["list nan none null one_ text"],
    );
    // The bound of a range is a place in the order of names, wherever that is.
    let range = |operator, bound| QuerySpec { filter: Some(where_("__name__", operator, name(bound))), ..rooms() };
    check(range(Operator::Less, "other/one"), expect![""]);
    check(range(Operator::Greater, "other/one"), expect!["list nan none null one one_ text two"]);
    check(range(Operator::GreaterOrEqual, "zoo/one"), expect![""]);
    check_refused(
        QuerySpec { filter: Some(where_("__name__", Operator::Equal, name("other/one"))), ..rooms() },
        expect!["other/one, compared with __name__, is not in the collection rooms"],
    );
    check_refused(
        QuerySpec { filter: Some(where_("__name__", Operator::Equal, Value::text("one"))), ..rooms() },
        expect!["__name__ == needs references to documents"],
    );
    check_refused(
        QuerySpec { filter: Some(where_("__name__", Operator::ArrayContains, name("rooms/one"))), ..rooms() },
        expect!["__name__ cannot be compared by array-contains"],
    );
}

#[test]
fn an_order_needs_the_field_and_ends_with_the_name() {
    check(QuerySpec { orders: vec![asc("n")], ..rooms() }, expect!["null nan one one_ two text list"]);
    check(QuerySpec { orders: vec![desc("n")], ..rooms() }, expect!["list text two one_ one nan null"]);
    check(QuerySpec { orders: vec![desc("__name__")], ..rooms() }, expect!["two text one_ one null none nan list"]);
}

#[test]
fn an_alternative_is_ordered_by_the_others_inequality_and_needs_its_field() {
    let filter = Filter::Or(vec![
        where_("n", Operator::Greater, int(1)),
        where_("__name__", Operator::Equal, name("rooms/none")),
    ]);
    check(QuerySpec { filter: Some(filter), ..rooms() }, expect!["two"]);
}

fn check_orders(spec: QuerySpec, want: Expect) {
    let query = Query::build(spec).unwrap();
    let text = |order: &Order| format!("{} {:?}", order.field, order.direction);
    want.assert_eq(&query.orders().iter().map(text).collect::<Vec<_>>().join(", "));
}

#[test]
fn inequality_fields_are_implied_in_the_direction_of_the_last_order() {
    let filter = Some(Filter::And(vec![
        where_("z", Operator::Greater, int(1)),
        where_("b.c", Operator::NotIn, list([int(1)])),
        where_("a", Operator::Equal, int(1)),
        where_("__name__", Operator::Less, name("rooms/x")),
        Filter::IsNotNull(field("b.a")),
    ]));
    check_orders(
        QuerySpec { filter: filter.clone(), ..rooms() },
        expect!["b.a Ascending, b.c Ascending, z Ascending, __name__ Ascending"],
    );
    check_orders(
        QuerySpec { filter, orders: vec![asc("q"), desc("z")], ..rooms() },
        expect!["q Ascending, z Descending, b.a Descending, b.c Descending, __name__ Descending"],
    );
}

#[test]
fn sources_hold_what_stands_there() {
    let source = |source| QuerySpec::all(source);
    let id = Id::parse("in").unwrap();
    check(source(Source::Group { below: None, id: id.clone() }), expect!["deep"]);
    check(source(Source::Group { below: Some(path("rooms/two")), id }), expect![""]);
    check(source(Source::Below(Some(path("rooms/one")))), expect!["deep"]);
    check(source(Source::Below(None)), expect!["one list nan none null one deep one_ text two"]);
    check(source(Source::Documents(vec![path("rooms/two"), path("other/one"), path("no/no")])), expect!["one two"]);
}

#[test]
fn cursors_cut_before_or_behind_all_that_equals_them() {
    let cursor = |values: &[Value], before| Some(Cursor { values: values.into(), before });
    let by_n = || QuerySpec { orders: vec![asc("n")], ..rooms() };
    check(QuerySpec { start: cursor(&[int(1)], true), ..by_n() }, expect!["one one_ two text list"]);
    check(QuerySpec { start: cursor(&[int(1)], false), ..by_n() }, expect!["two text list"]);
    check(QuerySpec { end: cursor(&[Value::Double(1.0)], true), ..by_n() }, expect!["null nan"]);
    check(QuerySpec { end: cursor(&[int(1)], false), ..by_n() }, expect!["null nan one one_"]);
    check(QuerySpec { start: cursor(&[int(1), name("rooms/one")], false), ..by_n() }, expect!["one_ two text list"]);
    check(QuerySpec { start: cursor(&[int(1), Value::text("one")], false), ..by_n() }, expect!["one_ two text list"]);
    let down = QuerySpec { orders: vec![desc("n")], ..rooms() };
    check(QuerySpec { start: cursor(&[int(1)], false), ..down.clone() }, expect!["nan null"]);
    check(QuerySpec { end: cursor(&[int(1)], true), ..down }, expect!["list text two"]);
    check(QuerySpec { start: cursor(&[Value::text("one")], true), ..rooms() }, expect!["one one_ text two"]);
}

#[test]
fn limits_count_from_either_end_behind_the_offset() {
    let by_n = || QuerySpec { orders: vec![asc("n")], ..rooms() };
    let cut = |limit, offset| QuerySpec { limit: Some(limit), offset, ..by_n() };
    check(cut(Limit::First(2), 0), expect!["null nan"]);
    check(cut(Limit::First(2), 6), expect!["list"]);
    check(cut(Limit::First(0), 0), expect![""]);
    check(cut(Limit::Last(2), 0), expect!["text list"]);
    check(cut(Limit::Last(3), 5), expect!["text list"]);
    check(cut(Limit::Last(3), 9), expect![""]);
    check(QuerySpec { offset: 5, ..by_n() }, expect!["text list"]);
}

#[test]
fn contradictions_are_refused_by_name() {
    let filter = |filter| QuerySpec { filter: Some(filter), ..rooms() };
    let cursor = |values: &[Value]| Some(Cursor { values: values.into(), before: true });
    check_refused(filter(Filter::And(vec![])), expect!["`and` and `or` need at least one filter"]);
    check_refused(filter(where_("n", Operator::In, int(1))), expect!["n in needs a list of values"]);
    check_refused(filter(where_("n", Operator::NotIn, list([]))), expect!["n not-in has an empty list"]);
    check_refused(
        filter(where_("n", Operator::Equal, list([list([])]))),
        expect![
            "a value compared with n cannot be stored, so it never matches: an array stands directly in an array; wrap the inner one in a map"
        ],
    );
    check_refused(QuerySpec { orders: vec![asc("n"), desc("n")], ..rooms() }, expect!["n is ordered by twice"]);
    check_refused(QuerySpec { start: cursor(&[]), ..rooms() }, expect!["a cursor needs at least one value"]);
    check_refused(
        QuerySpec { end: cursor(&[name("rooms/a"), int(1)]), ..rooms() },
        expect!["a cursor has 2 values, the order only 1 steps"],
    );
    check_refused(
        QuerySpec { end: cursor(&[Value::text("a/b")]), ..rooms() },
        expect!["a cursor's value for __name__ is neither a reference nor a path within the collection rooms"],
    );
    let mut deep = where_("n", Operator::Equal, int(1));
    for _ in 0..60 {
        deep = Filter::Or(vec![Filter::And(vec![deep])]);
    }
    check_refused(filter(deep), expect!["filters nest deeper than 50 levels"]);
}

#[test]
fn equal_queries_share_a_hash_that_never_changes() {
    let a = || where_("a", Operator::Equal, int(1));
    let b = || where_("b", Operator::In, list([int(2), int(1)]));
    let spelled = Query::build(QuerySpec {
        filter: Some(Filter::And(vec![a(), Filter::And(vec![b()]), a()])),
        orders: vec![asc("__name__")],
        ..rooms()
    })
    .unwrap();
    let short = Query::build(QuerySpec {
        filter: Some(Filter::And(vec![
            where_("b", Operator::In, list([Value::Double(1.0), int(2), int(2)])),
            where_("a", Operator::Equal, Value::Double(1.0)),
        ])),
        ..rooms()
    })
    .unwrap();
    assert_eq!(spelled, short);
    assert_eq!(spelled.hash(), short.hash());
    // These two are in the hands of clients, in their tokens: see canonical.rs.
    assert_eq!(short.hash(), 8_988_821_486_392_155_301);
    assert_eq!(Query::build(rooms()).unwrap().hash(), 5_029_868_360_424_876_630);
    assert_eq!(canonical::hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    let other = Query::build(QuerySpec { limit: Some(Limit::First(1)), ..rooms() }).unwrap();
    assert_ne!(other, Query::build(rooms()).unwrap());
}

#[test]
fn a_projection_keeps_selected_fields_at_their_places() {
    let inner = Map::from([("x".into(), int(1)), ("y".into(), int(2))]);
    let fields = Map::from([("a".into(), Value::Map(inner)), ("b".into(), int(3)), ("c".into(), int(4))]);
    let document = Document { fields, ..document("rooms/a", None) };
    let select = Some(vec![field("a.y"), field("b"), field("no"), field("__name__")]);
    let query = Query::build(QuerySpec { select, ..rooms() }).unwrap();
    let want = Map::from([("a".into(), Value::Map(Map::from([("y".into(), int(2))]))), ("b".into(), int(3))]);
    assert_eq!(*query.project(&document), want);
}

#[test]
fn documents_are_kept_for_the_first_rows() {
    let docs: Vec<Document> = (0..500).rev().map(|n| document(&format!("rooms/{n:03}"), Some(int(n)))).collect();
    let query = Query::build(QuerySpec { orders: vec![asc("n")], offset: 2, ..rooms() }).unwrap();
    let rows = query.run(docs.iter().map(Ok::<_, Infallible>), Run { docs_max: 3, ..Run::default() }).unwrap();
    assert_eq!(rows.skipped(&query), 2);
    let kept: Vec<&str> = rows.into_window().filter_map(|(_, doc)| Some(doc?.path.id())).collect();
    assert_eq!(kept, ["002", "003", "004"]);
}

#[test]
fn a_sorted_run_reads_no_further_than_one_row_behind_the_spare() {
    let docs: Vec<Document> = (0..100).map(|n| document(&format!("rooms/{n:03}"), None)).collect();
    let query = Query::build(QuerySpec { limit: Some(Limit::First(2)), offset: 1, ..rooms() }).unwrap();
    let mut read = 0;
    let counted = docs.iter().inspect(|_| read += 1).map(Ok::<_, Infallible>);
    let rows = query.run(counted, Run { sorted: true, spare: 2, docs_max: 0 }).unwrap();
    assert_eq!(rows.window().len(), 2);
    assert!(!rows.exhausted());
    assert_eq!(read, 6);
}

#[test]
fn the_first_error_of_a_candidate_ends_the_run() {
    #[derive(Debug, PartialEq)]
    struct Broken;
    impl From<Infallible> for Broken {
        fn from(never: Infallible) -> Self {
            match never {}
        }
    }
    let docs = mixed();
    let candidates = docs.iter().map(Ok).chain([Err(Broken)]);
    let query = Query::build(rooms()).unwrap();
    assert_eq!(query.run(candidates, Run::default()), Err(Broken));
}

#[test]
fn a_change_behind_a_filled_limit_conflicts_with_nothing() {
    let query = Query::build(QuerySpec { orders: vec![asc("n")], limit: Some(Limit::First(2)), ..rooms() }).unwrap();
    let key = |number| query.place_image(Some(&document("rooms/a", Some(int(number))))).unwrap();
    let change = |number| Change {
        path: path("rooms/x"),
        before: None,
        after: Some(document("rooms/x", Some(int(number))).into()),
    };
    assert!(query.conflicts(Some(&key(5)), true, &change(4)));
    assert!(!query.conflicts(Some(&key(5)), true, &change(6)));
    assert!(query.conflicts(Some(&key(5)), false, &change(6)));
    let last = Query::build(QuerySpec { orders: vec![asc("n")], limit: Some(Limit::Last(2)), ..rooms() }).unwrap();
    assert!(!last.conflicts(Some(&key(5)), true, &change(4)));
    assert!(last.conflicts(Some(&key(5)), true, &change(6)));
}

proptest! {
    #[test]
    fn a_run_is_a_sort_and_a_slice(
        numbers in prop::collection::vec(prop::option::of(-9_i64..9), 0..400),
        (limit, offset, spare) in (prop::option::of((any::<bool>(), 0_u32..9)), 0_u32..4, 0_usize..3),
        down in any::<bool>(),
    ) {
        let docs: Vec<Document> =
            numbers.iter().enumerate().map(|(id, n)| document(&format!("rooms/{id:03}"), n.map(int))).collect();
        let mut sorted: Vec<(i64, &str)> =
            numbers.iter().zip(&docs).filter_map(|(n, doc)| Some(((*n)?, doc.path.id()))).collect();
        sorted.sort();
        if down {
            sorted.reverse();
        }
        let behind: Vec<&str> = sorted.iter().map(|(_, id)| *id).skip(offset as usize).collect();
        let limit = limit.map(|(first, count)| if first { Limit::First(count) } else { Limit::Last(count) });
        let want = match limit {
            None => &behind[..],
            Some(Limit::First(count)) => &behind[..behind.len().min(count as usize)],
            Some(Limit::Last(count)) => &behind[behind.len().saturating_sub(count as usize)..],
        };
        let order = if down { desc("n") } else { asc("n") };
        let query = Query::build(QuerySpec { orders: vec![order], limit, offset, ..rooms() }).unwrap();
        let rows = query
            .run(docs.iter().map(Ok::<_, Infallible>), Run { sorted: false, spare, docs_max: usize::MAX })
            .unwrap();
        let got: Vec<&str> = rows.window().iter().map(|row| row.path.id()).collect();
        prop_assert_eq!(&got[..], want);
        let exhausted = query.reach().is_none_or(|reach| reach + spare >= sorted.len());
        prop_assert_eq!(rows.exhausted(), exhausted);
        prop_assert!(rows.into_window().all(|(row, doc)| doc.is_some_and(|doc| doc.path == row.path)));
    }
}

#[test]
fn a_result_read_in_pages_is_the_whole_result() {
    let docs: Vec<Document> = mixed();
    let orders = [vec![], vec![asc("n")], vec![desc("n")], vec![desc("__name__")], vec![asc("n"), desc("__name__")]];
    let filters = [None, Some(where_("n", Operator::Equal, int(1))), Some(where_("n", Operator::NotEqual, int(2)))];
    for orders in orders {
        for filter in &filters {
            for offset in [0, 2] {
                let spec = QuerySpec { orders: orders.clone(), filter: filter.clone(), offset, ..rooms() };
                let query = Query::build(spec).unwrap();
                let rows = |query: &Query| {
                    let rows = query.run(docs.iter().map(Ok::<_, Infallible>), Run::default()).unwrap();
                    rows.window().to_vec()
                };
                let whole = rows(&query);
                let mut read = rows(&query.up_to(2));
                while let Some(last) = read.last() {
                    let page = rows(&query.behind(last, 2));
                    if page.is_empty() {
                        break;
                    }
                    read.extend(page);
                }
                assert_eq!(read, whole, "{:?} {filter:?} {offset}", query.orders());
            }
        }
    }
}
