//! Random documents, writes and queries from a seed. Few names and values, so that things meet.

use hearth_core::query::{Aggregate, Cursor, Filter, Limit, Operator, Order, QuerySpec, Source};
use hearth_core::value::{GeoPoint, Map, Timestamp, Value};
use hearth_core::{CollectionPath, DatabaseName, Direction, DocPath, FieldPath, Id, Reference};

use crate::naive;

/// A generator of numbers, written out so that a seed means the same story for ever (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True `times` in `of`.
    pub(crate) fn chance(&mut self, times: usize, of: usize) -> bool {
        self.below(of) < times
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn word(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    fn some<T>(&mut self, counts: std::ops::Range<usize>, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = counts.start + self.below(counts.len());
        (0..count).map(|_| make(self)).collect()
    }

    pub(crate) fn doc(&mut self) -> DocPath {
        let collection = self.word(&COLLECTIONS);
        let id = self.word(&IDS);
        DocPath::parse(&format!("{collection}/{id}")).unwrap()
    }

    pub(crate) fn value(&mut self) -> Value {
        match self.below(20) {
            0 => Value::Null,
            1 => Value::Bool(self.chance(1, 2)),
            2..7 => Value::Integer(self.below(5) as i64 - 1),
            7..10 => Value::Double((self.below(9) as f64 - 2.0) / 2.0),
            10 => self
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
            11 => Value::Timestamp(Timestamp::from_micros(self.below(2) as i64).unwrap()),
            12 | 13 => Value::text(self.word(&["", "a", "a\0", "b", "é"])),
            14 => Value::Bytes(self.pick(&[&b""[..], &[0], &[0, 255]]).to_vec().into()),
            15 => reference(self.doc()),
            16 => Value::Geo(GeoPoint::new(self.below(2) as f64, 0.0).unwrap()),
            17 => Value::Array(self.some(0..3, |random| match random.value() {
                Value::Array(_) => Value::Integer(1),
                other => other,
            })),
            18 => Value::Vector([self.below(2) as f64].into()),
            _ => Value::Map(Map::from([("x".into(), Value::Integer(self.below(2) as i64))])),
        }
    }

    pub(crate) fn fields(&mut self) -> Map {
        let mut fields = Map::new();
        for name in ["n", "m"] {
            if self.chance(3, 4) {
                fields.insert(name.into(), self.value());
            }
        }
        if self.chance(1, 2) {
            fields.insert("t".into(), Value::Map(Map::from([("u v".into(), self.value())])));
        }
        fields
    }

    pub(crate) fn field(&mut self) -> FieldPath {
        FieldPath::parse(self.word(&["n", "n", "m", "t.`u v`"])).unwrap()
    }

    pub(crate) fn query(&mut self) -> QuerySpec {
        let source = match self.below(10) {
            0..6 => Source::Collection(CollectionPath::parse(self.word(&COLLECTIONS)).unwrap()),
            6 | 7 => {
                let below = self.chance(1, 3).then(|| self.doc());
                Source::Group { below, id: Id::parse(self.word(&["a", "in"])).unwrap() }
            }
            8 => Source::Below(self.chance(1, 2).then(|| self.doc())),
            _ => Source::Documents(self.some(0..5, Self::doc)),
        };
        let mut spec = QuerySpec::all(source);
        if self.chance(2, 3) {
            spec.filter = Some(self.filter(&spec.source.clone(), 0));
        }
        for _ in 0..self.below(3) {
            let field = if self.chance(1, 6) { FieldPath::name() } else { self.field() };
            if spec.orders.iter().all(|order| order.field != field) {
                let direction = *self.pick(&[Direction::Ascending, Direction::Descending]);
                spec.orders.push(Order { field, direction });
            }
        }
        if self.chance(1, 4) {
            spec.start = Some(self.cursor(&spec));
        }
        if self.chance(1, 4) {
            spec.end = Some(self.cursor(&spec));
        }
        let count = self.below(5) as u32;
        spec.limit = match self.below(5) {
            0 | 1 => Some(Limit::First(count)),
            2 => Some(Limit::Last(count)),
            _ => None,
        };
        if self.chance(1, 5) {
            spec.offset = self.below(4) as u32;
        }
        if self.chance(1, 4) {
            spec.aggregates = self.some(1..4, |random| match random.below(4) {
                0 => Aggregate::Count { up_to: None },
                1 => Aggregate::Count { up_to: Some(2) },
                2 => Aggregate::Sum(random.field()),
                _ => Aggregate::Average(random.field()),
            });
        }
        spec
    }

    fn cursor(&mut self, spec: &QuerySpec) -> Cursor {
        let orders = naive::orders(spec);
        let count = 1 + self.below(orders.len());
        let values = orders[..count].iter().map(|order| match order.field.is_name() {
            true => reference(self.named(&spec.source)),
            false => self.value(),
        });
        Cursor { values: values.collect(), before: self.chance(1, 2) }
    }

    /// A document that a name may be compared with.
    fn named(&mut self, source: &Source) -> DocPath {
        match source {
            Source::Collection(path) => DocPath::parse(&format!("{path}/{}", self.word(&IDS))).unwrap(),
            _ => self.doc(),
        }
    }

    fn filter(&mut self, source: &Source, depth: usize) -> Filter {
        match self.below(10) {
            0 | 1 if depth < 2 => Filter::And(self.some(1..4, |random| random.filter(source, depth + 1))),
            2 | 3 if depth < 2 => Filter::Or(self.some(1..4, |random| random.filter(source, depth + 1))),
            4 => {
                let field = self.field();
                match self.below(4) {
                    0 => Filter::IsNull(field),
                    1 => Filter::IsNotNull(field),
                    2 => Filter::IsNan(field),
                    _ => Filter::IsNotNan(field),
                }
            }
            5 => {
                let operator = *self.pick(&OPERATORS[..8]);
                let value = match operator.takes_list() {
                    true => Value::Array(self.some(1..4, |random| reference(random.named(source)))),
                    false => reference(self.named(source)),
                };
                Filter::field(FieldPath::name(), operator, value)
            }
            _ => {
                let operator = *self.pick(&OPERATORS);
                let value =
                    if operator.takes_list() { Value::Array(self.some(1..4, Self::value)) } else { self.value() };
                Filter::field(self.field(), operator, value)
            }
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
