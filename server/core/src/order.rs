//! The order of values and what queries mean by equal.

use std::cmp::Ordering;

use crate::value::{Map, Value};

/// A value's place among the types: values of different classes never compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Null.
    Null,
    /// Booleans.
    Bool,
    /// Integers and doubles.
    Number,
    /// Timestamps.
    Timestamp,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// References.
    Reference,
    /// Geo points.
    Geo,
    /// Arrays.
    Array,
    /// Vectors.
    Vector,
    /// Maps.
    Map,
}

impl Class {
    /// The class of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Integer(_) | Value::Double(_) => Self::Number,
            Value::Timestamp(_) => Self::Timestamp,
            Value::Text(_) => Self::Text,
            Value::Bytes(_) => Self::Bytes,
            Value::Reference(_) => Self::Reference,
            Value::Geo(_) => Self::Geo,
            Value::Array(_) => Self::Array,
            Value::Vector(_) => Self::Vector,
            Value::Map(_) => Self::Map,
        }
    }
}

/// Orders two values as Firestore does. Across types: null, bool, number, timestamp, text, bytes, reference,
/// point, array, vector, map.
///
/// Integers and doubles compare by numeric value; NaN is the smallest number; -0.0 and 0.0 stand in one place.
/// Total: any two values have an order. Time is linear in the smaller value; depth is bounded by [`Value::DEPTH_MAX`].
/// Source: Firestore documentation, "Data types", value type ordering. Golden cases: `tests/golden/order/`.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Integer(a), Value::Double(b)) => compare_mixed(*a, *b),
        (Value::Double(a), Value::Integer(b)) => compare_mixed(*b, *a).reverse(),
        (Value::Double(a), Value::Double(b)) => compare_doubles(*a, *b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Reference(a), Value::Reference(b)) => a.cmp(b),
        (Value::Geo(a), Value::Geo(b)) => {
            compare_doubles(a.latitude(), b.latitude()).then_with(|| compare_doubles(a.longitude(), b.longitude()))
        }
        (Value::Array(a), Value::Array(b)) => compare_all(a.iter().zip(b), compare).then(a.len().cmp(&b.len())),
        (Value::Vector(a), Value::Vector(b)) => {
            a.len().cmp(&b.len()).then_with(|| compare_all(a.iter().zip(b.iter()), |a, b| compare_doubles(*a, *b)))
        }
        (Value::Map(a), Value::Map(b)) => compare_maps(a, b),
        (a, b) => Class::of(a).cmp(&Class::of(b)),
    }
}

/// Whether two values are equal to a query: same class and same place in the order, so `1` equals `1.0`.
pub fn equal(a: &Value, b: &Value) -> bool {
    compare(a, b).is_eq()
}

fn compare_all<T>(pairs: impl Iterator<Item = (T, T)>, compare: impl Fn(T, T) -> Ordering) -> Ordering {
    pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_maps(a: &Map, b: &Map) -> Ordering {
    compare_all(a.iter().zip(b), |(a_name, a), (b_name, b)| {
        a_name.as_bytes().cmp(b_name.as_bytes()).then_with(|| compare(a, b))
    })
    .then(a.len().cmp(&b.len()))
}

fn compare_doubles(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Compares exactly, without rounding the integer to a double: 2⁵³ + 1 is above 2⁵³.
fn compare_mixed(a: i64, b: f64) -> Ordering {
    // Both bounds are exact doubles; every double inside truncates to an i64 without loss.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        Ordering::Greater
    } else if b >= ABOVE {
        Ordering::Less
    } else if b < -ABOVE {
        Ordering::Greater
    } else {
        let whole = b.trunc();
        a.cmp(&(whole as i64)).then_with(|| compare_doubles(0.0, b - whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{GeoPoint, Timestamp};

    #[test]
    fn types_and_numbers_stand_in_firestores_order() {
        let text = |text: &str| Value::text(text);
        let big = 1_i64 << 53;
        let rising = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Double(f64::NAN),
            Value::Double(f64::NEG_INFINITY),
            Value::Integer(i64::MIN),
            Value::Double(-1.5),
            Value::Integer(-1),
            Value::Integer(0),
            Value::Double(f64::MIN_POSITIVE),
            Value::Integer(1),
            Value::Double(1.5),
            Value::Integer(big),
            Value::Integer(big + 1),
            Value::Double((big + 2) as f64),
            Value::Integer(i64::MAX),
            Value::Double(9_223_372_036_854_775_808.0),
            Value::Double(f64::INFINITY),
            Value::Timestamp(Timestamp::MIN),
            Value::Timestamp(Timestamp::MAX),
            text(""),
            text("a"),
            text("a\0"),
            text("\u{ffff}"),
            text("\u{10000}"),
            Value::Bytes((*b"").into()),
            Value::Bytes([0].into()),
            Value::Geo(GeoPoint::new(-1.0, 180.0).unwrap()),
            Value::Geo(GeoPoint::new(0.0, -180.0).unwrap()),
            Value::Array(vec![]),
            Value::Array(vec![Value::Integer(1)]),
            Value::Array(vec![Value::Integer(1), Value::Null]),
            Value::Array(vec![Value::Integer(2)]),
            Value::Vector([9.0].into()),
            Value::Vector([1.0, 1.0].into()),
            Value::Map(Map::new()),
            Value::Map(Map::from([("a".into(), Value::Integer(1))])),
            Value::Map(Map::from([("a".into(), Value::Integer(1)), ("b".into(), Value::Null)])),
            Value::Map(Map::from([("a".into(), Value::Integer(2))])),
            Value::Map(Map::from([("b".into(), Value::Null)])),
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn zeros_and_equal_numbers_of_both_types_stand_in_one_place() {
        assert!(equal(&Value::Double(-0.0), &Value::Integer(0)));
        assert!(equal(&Value::Double(3.0), &Value::Integer(3)));
        assert!(!equal(&Value::Integer((1 << 53) + 1), &Value::Double((1_i64 << 53) as f64)));
    }
}
