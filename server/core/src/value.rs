//! Values: what a field may hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::field::FieldPath;
use crate::path::Reference;

/// The fields of a document or of a map value, sorted by name.
pub type Map = BTreeMap<Box<str>, Value>;

/// One value, of any of Firestore's types.
///
/// Equality is by type and bits of meaning (`1` and `1.0` differ, all NaN are one, `0.0` and `-0.0` differ): what a
/// user stored is what is compared. Query equality, where `1` equals `1.0`, is [`crate::order::equal`].
/// Source: google.firestore.v1 `Value`.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, but present.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed integer of 64 bits.
    Integer(i64),
    /// An IEEE 754 double; NaN has one form.
    Double(f64),
    /// An instant, in whole microseconds.
    Timestamp(Timestamp),
    /// UTF-8 text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A pointer to a document.
    Reference(Reference),
    /// A point on the globe.
    Geo(GeoPoint),
    /// A list; its elements are no lists themselves.
    Array(Vec<Value>),
    /// A vector of doubles, for distances.
    Vector(Arc<[f64]>),
    /// Named values.
    Map(Map),
}

/// An instant: microseconds since 1970-01-01 UTC, from year 1 to year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// An instant from microseconds since 1970; `None` outside years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// Microseconds since 1970; negative before.
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl From<crate::Version> for Timestamp {
    /// The instant of a commit. A version past year 9999 cannot come from a clock and is held at that year's end.
    fn from(version: crate::Version) -> Self {
        i64::try_from(version.micros()).ok().and_then(Self::from_micros).unwrap_or(Self::MAX)
    }
}

/// A point on the globe, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    latitude: f64,
    longitude: f64,
}

impl GeoPoint {
    /// A point; `None` unless the latitude is within ±90 and the longitude within ±180.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let inside = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        inside.then_some(Self { latitude, longitude })
    }

    /// Degrees north.
    pub fn latitude(self) -> f64 {
        self.latitude
    }

    /// Degrees east.
    pub fn longitude(self) -> f64 {
        self.longitude
    }
}

/// Why a value cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("an array stands directly in an array; wrap the inner one in a map")]
    ArrayInArray,
    #[error("values nest deeper than {} levels", Value::DEPTH_MAX)]
    TooDeep,
    #[error("a vector of {dimensions} dimensions is over the limit of {}", Value::VECTOR_DIMENSIONS_MAX)]
    VectorTooLong { dimensions: usize },
    #[error(transparent)]
    FieldName(#[from] crate::field::FieldPathError),
}

impl Value {
    /// Deepest nesting; each map or array adds one level. Source: Firestore documentation, "Usage and limits".
    pub const DEPTH_MAX: usize = 20;
    /// Most dimensions of a vector. Source: Firestore documentation, "Usage and limits".
    pub const VECTOR_DIMENSIONS_MAX: usize = 2_048;

    /// Text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Checks what types alone cannot: depth, arrays in arrays, field names, vector sizes.
    ///
    /// `depth` is how many maps and arrays stand around this value.
    pub fn check(&self, depth: usize) -> Result<(), ValueError> {
        match self {
            Self::Array(_) | Self::Map(_) if depth >= Self::DEPTH_MAX => Err(ValueError::TooDeep),
            Self::Array(elements) => elements.iter().try_for_each(|element| match element {
                Self::Array(_) => Err(ValueError::ArrayInArray),
                element => element.check(depth + 1),
            }),
            Self::Map(map) => check_map(map, depth + 1),
            Self::Vector(vector) if vector.len() > Self::VECTOR_DIMENSIONS_MAX => {
                Err(ValueError::VectorTooLong { dimensions: vector.len() })
            }
            _ => Ok(()),
        }
    }
}

/// Checks the names and values of a document's fields (`depth` 0) or of a map inside.
pub fn check_map(map: &Map, depth: usize) -> Result<(), ValueError> {
    map.iter().try_for_each(|(name, value)| {
        crate::field::check_name(name, 1)?;
        value.check(depth)
    })
}

/// The value at `path`, where every name but the last leads to a map. `__name__` is no field and is not found.
pub fn lookup<'a>(map: &'a Map, path: &FieldPath) -> Option<&'a Value> {
    let (last, way) = path.names().split_last()?;
    let mut here = map;
    for name in way {
        match here.get(name) {
            Some(Value::Map(map)) => here = map,
            _ => return None,
        }
    }
    here.get(last)
}

/// Puts a value at `path`; whatever stands in the way and is no map becomes one.
pub fn insert(map: &mut Map, path: &FieldPath, value: Value) {
    let Some((last, way)) = path.names().split_last() else { return };
    let mut here = map;
    for name in way {
        let slot = here.entry(name.clone()).or_insert(Value::Null);
        if !matches!(slot, Value::Map(_)) {
            *slot = Value::Map(Map::new());
        }
        let Value::Map(inner) = slot else { return };
        here = inner;
    }
    here.insert(last.clone(), value);
}

/// Takes away the value at `path`, if there is one; maps on the way stay, even empty.
pub fn remove(map: &mut Map, path: &FieldPath) -> Option<Value> {
    let (last, way) = path.names().split_last()?;
    let mut here = map;
    for name in way {
        match here.get_mut(name) {
            Some(Value::Map(map)) => here = map,
            _ => return None,
        }
    }
    here.remove(last)
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => same_double(*a, *b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Reference(a), Self::Reference(b)) => a == b,
            (Self::Geo(a), Self::Geo(b)) => {
                same_double(a.latitude, b.latitude) && same_double(a.longitude, b.longitude)
            }
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Vector(a), Self::Vector(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_double(*a, *b))
            }
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

fn same_double(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).unwrap()
    }

    #[test]
    fn inserting_makes_maps_on_the_way_and_replaces_what_is_none() {
        let mut map = Map::from([("a".into(), Value::Integer(1))]);
        insert(&mut map, &path("a.b.c"), Value::Bool(true));
        assert_eq!(lookup(&map, &path("a.b.c")), Some(&Value::Bool(true)));
        assert_eq!(remove(&mut map, &path("a.b.c")), Some(Value::Bool(true)));
        assert_eq!(lookup(&map, &path("a.b")), Some(&Value::Map(Map::new())));
        assert_eq!(remove(&mut map, &path("x.y")), None);
    }

    #[test]
    fn arrays_in_arrays_and_deep_values_are_refused() {
        let nested = Value::Array(vec![Value::Array(vec![])]);
        assert_eq!(nested.check(0), Err(ValueError::ArrayInArray));
        let mut deep = Value::Null;
        for _ in 0..Value::DEPTH_MAX {
            deep = Value::Map(Map::from([("a".into(), deep)]));
        }
        assert_eq!(deep.check(0), Ok(()));
        assert_eq!(Value::Array(vec![deep]).check(0), Err(ValueError::TooDeep));
    }

    #[test]
    fn stored_equality_tells_types_and_signs_apart() {
        assert_ne!(Value::Integer(1), Value::Double(1.0));
        assert_ne!(Value::Double(0.0), Value::Double(-0.0));
        assert_eq!(Value::Double(f64::NAN), Value::Double(-f64::NAN));
    }
}
