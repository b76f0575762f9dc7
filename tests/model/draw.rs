//! Random documents, writes and queries from a seed. Few names and values, so that things meet.

use hearth_core::query::{Aggregate, Cursor, Filter, Limit, Operator, Order, QuerySpec, Source};
use hearth_core::value::{GeoPoint, Map, Timestamp, Value};
use hearth_core::{CollectionPath, DatabaseName, Direction, DocPath, FieldPath, Id, Reference};
use hearth_tests::Random;

use crate::naive;

fn word(random: &mut Random, from: &[&'static str]) -> &'static str {
    from[random.index(from.len())]
}

fn some<T>(random: &mut Random, counts: std::ops::Range<usize>, make: impl Fn(&mut Random) -> T) -> Vec<T> {
    let count = counts.start + random.index(counts.len());
    (0..count).map(|_| make(random)).collect()
}

pub(crate) fn doc(random: &mut Random) -> DocPath {
    let collection = word(random, &COLLECTIONS);
    let id = word(random, &IDS);
    DocPath::parse(&format!("{collection}/{id}")).unwrap()
}

pub(crate) fn value(random: &mut Random) -> Value {
    match random.index(20) {
        0 => Value::Null,
        1 => Value::Bool(random.chance(1, 2)),
        2..7 => Value::Integer(random.index(5) as i64 - 1),
        7..10 => Value::Double((random.index(9) as f64 - 2.0) / 2.0),
        10 => random
            .pick(&[
                Value::Double(f64::NAN),
                Value::Double(f64::INFINITY),
                Value::Double(f64::NEG_INFINITY),
                Value::Double(-0.0),
                Value::Integer(i64::MAX),
                Value::Integer((1 << 53) + 1),
                Value::Double((1_u64 << 53) as f64),
            ])
            .clone(),
        11 => Value::Timestamp(Timestamp::from_micros(random.index(2) as i64).unwrap()),
        12 | 13 => Value::text(word(random, &["", "a", "a\0", "b", "é"])),
        14 => Value::Bytes(random.pick(&[&b""[..], &[0], &[0, 255]]).to_vec().into()),
        15 => reference(doc(random)),
        16 => Value::Geo(GeoPoint::new(random.index(2) as f64, 0.0).unwrap()),
        17 => Value::Array(some(random, 0..3, |random| match value(random) {
            Value::Array(_) => Value::Integer(1),
            other => other,
        })),
        18 => Value::Vector([random.index(2) as f64].into()),
        _ => Value::Map(Map::from([("x".into(), Value::Integer(random.index(2) as i64))])),
    }
}

pub(crate) fn fields(random: &mut Random) -> Map {
    let mut fields = Map::new();
    for name in ["n", "m"] {
        if random.chance(3, 4) {
            fields.insert(name.into(), value(random));
        }
    }
    if random.chance(1, 2) {
        fields.insert("t".into(), Value::Map(Map::from([("u v".into(), value(random))])));
    }
    fields
}

pub(crate) fn field(random: &mut Random) -> FieldPath {
    FieldPath::parse(word(random, &["n", "n", "m", "t.`u v`"])).unwrap()
}

pub(crate) fn query(random: &mut Random) -> QuerySpec {
    let source = match random.index(10) {
        0..6 => Source::Collection(CollectionPath::parse(word(random, &COLLECTIONS)).unwrap()),
        6 | 7 => {
            let below = random.chance(1, 3).then(|| doc(random));
            Source::Group { below, id: Id::parse(word(random, &["a", "in"])).unwrap() }
        }
        8 => Source::Below(random.chance(1, 2).then(|| doc(random))),
        _ => Source::Documents(some(random, 0..5, doc)),
    };
    let mut spec = QuerySpec::all(source);
    if random.chance(2, 3) {
        spec.filter = Some(filter(random, &spec.source.clone(), 0));
    }
    for _ in 0..random.index(3) {
        let field = if random.chance(1, 6) { FieldPath::name() } else { field(random) };
        if spec.orders.iter().all(|order| order.field != field) {
            let direction = *random.pick(&[Direction::Ascending, Direction::Descending]);
            spec.orders.push(Order { field, direction });
        }
    }
    if random.chance(1, 4) {
        spec.start = Some(cursor(random, &spec));
    }
    if random.chance(1, 4) {
        spec.end = Some(cursor(random, &spec));
    }
    let count = random.index(5) as u32;
    spec.limit = match random.index(5) {
        0 | 1 => Some(Limit::First(count)),
        2 => Some(Limit::Last(count)),
        _ => None,
    };
    if random.chance(1, 5) {
        spec.offset = random.index(4) as u32;
    }
    if random.chance(1, 4) {
        spec.aggregates = some(random, 1..4, |random| match random.index(4) {
            0 => Aggregate::Count { up_to: None },
            1 => Aggregate::Count { up_to: Some(2) },
            2 => Aggregate::Sum(field(random)),
            _ => Aggregate::Average(field(random)),
        });
    }
    spec
}

fn cursor(random: &mut Random, spec: &QuerySpec) -> Cursor {
    let orders = naive::orders(spec);
    let count = 1 + random.index(orders.len());
    let values = orders[..count].iter().map(|order| match order.field.is_name() {
        true => reference(named(random, &spec.source)),
        false => value(random),
    });
    Cursor { values: values.collect(), before: random.chance(1, 2) }
}

/// A document that a name may be compared with.
fn named(random: &mut Random, source: &Source) -> DocPath {
    match source {
        Source::Collection(path) => DocPath::parse(&format!("{path}/{}", word(random, &IDS))).unwrap(),
        _ => doc(random),
    }
}

fn filter(random: &mut Random, source: &Source, depth: usize) -> Filter {
    match random.index(10) {
        0 | 1 if depth < 2 => Filter::And(some(random, 1..4, |random| filter(random, source, depth + 1))),
        2 | 3 if depth < 2 => Filter::Or(some(random, 1..4, |random| filter(random, source, depth + 1))),
        4 => {
            let field = field(random);
            match random.index(4) {
                0 => Filter::IsNull(field),
                1 => Filter::IsNotNull(field),
                2 => Filter::IsNan(field),
                _ => Filter::IsNotNan(field),
            }
        }
        5 => {
            let operator = *random.pick(&OPERATORS[..8]);
            let value = match operator.takes_list() {
                true => Value::Array(some(random, 1..4, |random| reference(named(random, source)))),
                false => reference(named(random, source)),
            };
            Filter::field(FieldPath::name(), operator, value)
        }
        _ => {
            let operator = *random.pick(&OPERATORS);
            let value = if operator.takes_list() { Value::Array(some(random, 1..4, value)) } else { value(random) };
            Filter::field(field(random), operator, value)
        }
    }
}

const COLLECTIONS: [&str; 5] = ["a", "b", "a/x/in", "a/__id7__/in", "b/y/a"];
const IDS: [&str; 10] = ["u", "v", "w", "x", "y", "z", "__id7__", "__id-1__", "x!", "é"];
/// The first eight are for names too.
const OPERATORS: [Operator; 10] = [
    Operator::Less,
    Operator::LessOrEqual,
    Operator::Greater,
    Operator::GreaterOrEqual,
    Operator::Equal,
    Operator::NotEqual,
    Operator::In,
    Operator::NotIn,
    Operator::ArrayContains,
    Operator::ArrayContainsAny,
];

fn reference(path: DocPath) -> Value {
    let database = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
    Value::Reference(Reference { database, path })
}
