//! Keys: values, paths and rows as bytes whose plain comparison is their order.
//!
//! These bytes stand on disk and in tokens' hashes, so they never change between releases. This file knows no
//! store: what is put around a key (a version, an index's number) is its user's affair.
//!
//! Every encoding is *prefix-free*: none is the beginning of another, so keys are put one behind the other without
//! separators, and turning around every byte turns around the order.

use crate::order::Class;
use crate::path::{CollectionPath, DocPath, PathError, Reference, numeric_id};
use crate::value::Value;

/// Which way an order runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// Why bytes are no key of a document. Bytes that this module made are always one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key ends within a segment")]
    CutOff,
    #[error("the key holds the byte {byte:#04x} where a segment begins")]
    Marker { byte: u8 },
    #[error("the key holds the byte {byte:#04x} behind a zero")]
    Escape { byte: u8 },
    #[error("a segment of the key is not UTF-8")]
    NotText,
    #[error("{bytes} bytes stand behind the key")]
    Trailing { bytes: usize },
    #[error("the key names no document: {0}")]
    Path(#[from] PathError),
}

/// Ends a path, an array or a map. Below every byte that may stand in its place.
const END: u8 = 0x00;
/// Begins a numeric segment of a path.
const NUMERIC: u8 = 0x01;
/// Begins a segment of text, and an entry of a map.
const TEXT: u8 = 0x02;
/// Above every byte that may follow a segment.
const PAST: u8 = 0xff;

// ---- values

/// Appends a value. Byte order is [`crate::order::compare`]; descending, every byte is inverted.
///
/// Values in one place of the order (`1` and `1.0`) have one key, so it does not tell the value back.
pub fn encode_value(value: &Value, direction: Direction, out: &mut Vec<u8>) {
    let start = out.len();
    push_value(value, out);
    if direction == Direction::Descending {
        invert(&mut out[start..]);
    }
}

fn push_value(value: &Value, out: &mut Vec<u8>) {
    out.push(tag(Class::of(value)));
    match value {
        Value::Null => {}
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Integer(value) => push_integer(*value, out),
        Value::Double(value) => push_number(*value, 0, out),
        Value::Timestamp(time) => out.extend(rising(time.micros())),
        Value::Text(text) => push_bytes(text.as_bytes(), out),
        Value::Bytes(bytes) => push_bytes(bytes, out),
        Value::Reference(Reference { database, path }) => {
            push_bytes(database.project().as_bytes(), out);
            push_bytes(database.database().as_bytes(), out);
            push_doc(path, out);
        }
        Value::Geo(point) => {
            out.extend(double(point.latitude()).to_be_bytes());
            out.extend(double(point.longitude()).to_be_bytes());
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| push_value(element, out));
            out.push(END);
        }
        Value::Vector(vector) => {
            out.extend((vector.len() as u64).to_be_bytes());
            vector.iter().for_each(|number| out.extend(double(*number).to_be_bytes()));
        }
        Value::Map(map) => {
            for (name, value) in map {
                out.push(TEXT);
                push_bytes(name.as_bytes(), out);
                push_value(value, out);
            }
            out.push(END);
        }
    }
}

/// A class's first byte. Gaps are left for types to come.
fn tag(class: Class) -> u8 {
    match class {
        Class::Null => 0x10,
        Class::Bool => 0x18,
        Class::Number => 0x20,
        Class::Timestamp => 0x28,
        Class::Text => 0x30,
        Class::Bytes => 0x38,
        Class::Reference => 0x40,
        Class::Geo => 0x48,
        Class::Array => 0x50,
        Class::Vector => 0x58,
        Class::Map => 0x60,
    }
}

/// Integers and doubles share one line: the largest double not above the number, then how far above it the number is.
/// Below 2⁵³ every integer is a double, so the second part is left out there; it is under 1,024 above.
fn push_integer(value: i64, out: &mut Vec<u8>) {
    let exact = |double: f64| double as i128;
    let nearest = value as f64;
    let below = if exact(nearest) > i128::from(value) { nearest.next_down() } else { nearest };
    push_number(below, (i128::from(value) - exact(below)) as u16, out);
}

fn push_number(below: f64, above: u16, out: &mut Vec<u8>) {
    const DENSE: f64 = 9_007_199_254_740_992.0;
    out.extend(double(below).to_be_bytes());
    if below.abs() >= DENSE {
        out.extend(above.to_be_bytes());
    }
}

/// A double's bits such that they compare as unsigned numbers: NaN is zero, below all.
fn double(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    // Adding zero makes -0.0 the same as 0.0.
    let bits = (value + 0.0).to_bits();
    match value {
        _ if value.is_nan() => 0,
        _ if bits & SIGN == 0 => bits | SIGN,
        _ => !bits,
    }
}

fn rising(value: i64) -> [u8; 8] {
    (value as u64 ^ (1 << 63)).to_be_bytes()
}

/// Bytes of any length, closed by `00 01`; a zero inside becomes `00 FF`.
fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend([0x00, 0xff]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend([0x00, 0x01]);
}

fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// The first key behind all that begin with `prefix`; none where no key can stand behind them.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

// ---- paths

/// A document's key. Byte order is the order of paths: a document stands right before all that lies below it.
pub fn doc(path: &DocPath) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.as_str().len() + 16);
    push_doc(path, &mut key);
    key
}

/// Appends a document's key.
pub fn push_doc(path: &DocPath, out: &mut Vec<u8>) {
    path.segments().for_each(|segment| push_segment(segment, out));
    out.push(END);
}

/// Appends a document's key as part of a row's; descending, every byte is inverted.
pub fn push_name(path: &DocPath, direction: Direction, out: &mut Vec<u8>) {
    let start = out.len();
    push_doc(path, out);
    if direction == Direction::Descending {
        invert(&mut out[start..]);
    }
}

/// What the keys of a collection's documents begin with, and those of all below them.
pub fn collection(path: &CollectionPath) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.as_str().len() + 16);
    path.segments().for_each(|segment| push_segment(segment, &mut key));
    key
}

/// What the keys of all documents below a document begin with, and its own.
pub fn descendants(path: &DocPath) -> Vec<u8> {
    let mut key = doc(path);
    key.pop();
    key
}

/// The first key behind a document and all below it: where a scan of its collection goes on.
pub fn past_descendants(path: &DocPath) -> Vec<u8> {
    let mut key = descendants(path);
    key.push(PAST);
    key
}

/// What the entries of a collection group's index begin with; the document's key follows.
pub fn group(collection_id: &str) -> Vec<u8> {
    let mut key = Vec::new();
    push_segment(collection_id, &mut key);
    key
}

fn push_segment(segment: &str, out: &mut Vec<u8>) {
    match numeric_id(segment) {
        Some(number) => {
            out.push(NUMERIC);
            out.extend(rising(number));
        }
        None => {
            out.push(TEXT);
            push_bytes(segment.as_bytes(), out);
        }
    }
}

/// The document that a key names. The key must end where the document's does.
pub fn decode_doc(key: &[u8]) -> Result<DocPath, KeyError> {
    let mut rest = key;
    let path = read_doc(&mut rest)?;
    if rest.is_empty() { Ok(path) } else { Err(KeyError::Trailing { bytes: rest.len() }) }
}

/// Reads a document's key off the front of `bytes`.
pub fn read_doc(bytes: &mut &[u8]) -> Result<DocPath, KeyError> {
    let mut text = Vec::with_capacity(bytes.len());
    loop {
        let (marker, rest) = bytes.split_first().ok_or(KeyError::CutOff)?;
        if *marker == END {
            *bytes = rest;
            break;
        }
        if !text.is_empty() {
            text.push(b'/');
        }
        *bytes = read_segment(bytes, |byte| text.push(byte))?;
    }
    let text = String::from_utf8(text).map_err(|_| KeyError::NotText)?;
    Ok(DocPath::parse(&text)?)
}

/// Where the segment ends that begins at `start` of a key. A scan cuts a key there to seek past what lies below.
pub fn segment_end(key: &[u8], start: usize) -> Result<usize, KeyError> {
    let rest = read_segment(key.get(start..).ok_or(KeyError::CutOff)?, |_| {})?;
    Ok(key.len() - rest.len())
}

fn read_segment(bytes: &[u8], mut text: impl FnMut(u8)) -> Result<&[u8], KeyError> {
    let (marker, mut rest) = bytes.split_first().ok_or(KeyError::CutOff)?;
    match *marker {
        NUMERIC => {
            let (number, rest) = rest.split_first_chunk::<8>().ok_or(KeyError::CutOff)?;
            let number = (u64::from_be_bytes(*number) ^ (1 << 63)) as i64;
            format!("__id{number}__").bytes().for_each(text);
            Ok(rest)
        }
        TEXT => loop {
            match *rest {
                [0x00, 0x01, ref behind @ ..] => return Ok(behind),
                [0x00, 0xff, ref behind @ ..] => {
                    text(0);
                    rest = behind;
                }
                [0x00, byte, ..] => return Err(KeyError::Escape { byte }),
                [] | [0x00] => return Err(KeyError::CutOff),
                [byte, ref behind @ ..] => {
                    text(byte);
                    rest = behind;
                }
            }
        },
        byte => Err(KeyError::Marker { byte }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::compare;
    use crate::path::DatabaseName;
    use crate::value::{GeoPoint, Map, Timestamp};
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn key(value: &Value, direction: Direction) -> Vec<u8> {
        let mut key = Vec::new();
        encode_value(value, direction, &mut key);
        key
    }

    fn numbers() -> impl Strategy<Value = Value> {
        let edges = prop::sample::select(vec![
            Value::Double(f64::NAN),
            Value::Double(f64::NEG_INFINITY),
            Value::Double(f64::INFINITY),
            Value::Double(-0.0),
            Value::Double(0.0),
            Value::Double(f64::MIN_POSITIVE),
            Value::Double(5e-324),
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Double(9_223_372_036_854_775_808.0),
            Value::Double(-9_223_372_036_854_775_808.0),
            Value::Double(1e300),
        ]);
        // Close neighbours around the powers of two where doubles begin to leave integers out.
        let near = (50_u32..63, -3_i64..4, any::<bool>()).prop_map(|(power, step, whole)| {
            let number = (1_i64 << power) + step;
            if whole { Value::Integer(number) } else { Value::Double(number as f64) }
        });
        let low = near.clone().prop_map(|value| match value {
            Value::Integer(number) => Value::Integer(-number),
            Value::Double(number) => Value::Double(-number),
            other => other,
        });
        prop_oneof![
            edges,
            near,
            low,
            (-3_i64..3).prop_map(Value::Integer),
            (-3_i64..3).prop_map(|n| Value::Double(n as f64 / 2.0)),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Double),
        ]
    }

    fn paths() -> impl Strategy<Value = DocPath> {
        let segment = prop_oneof![
            "[ab\0é!]{1,3}",
            (-2_i64..12).prop_map(|n| format!("__id{n}__")),
            any::<i64>().prop_map(|n| format!("__id{n}__")),
        ];
        prop::collection::vec(segment, 1..4).prop_map(|mut segments| {
            if segments.len() % 2 == 1 {
                segments.push("a".into());
            }
            DocPath::parse(&segments.join("/")).unwrap()
        })
    }

    fn values() -> impl Strategy<Value = Value> {
        let database = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
        let leaf = prop_oneof![
            4 => numbers(),
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::Bool),
            1 => (-2_i64..3).prop_map(|t| Value::Timestamp(Timestamp::from_micros(t).unwrap())),
            2 => "[\0\u{1}aé\u{ffff}\u{10000}]{0,3}".prop_map(|text| Value::text(&text)),
            2 => prop::collection::vec(prop::sample::select(vec![0_u8, 1, 254, 255]), 0..4)
                .prop_map(|bytes| Value::Bytes(bytes.into())),
            1 => paths().prop_map(move |path| Value::Reference(Reference { database: database.clone(), path })),
            1 => (-2_i32..3, -2_i32..3)
                .prop_map(|(a, b)| Value::Geo(GeoPoint::new(f64::from(a), f64::from(b) / 2.0).unwrap())),
            1 => prop::collection::vec(-1_i32..2, 0..3)
                .prop_map(|v| Value::Vector(v.into_iter().map(f64::from).collect())),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[ab\0]{1,2}".prop_map(Box::from), inner, 0..3)
                    .prop_map(|map: Map| Value::Map(map)),
            ]
        })
    }

    fn check_order(a: &Value, b: &Value) -> Result<(), TestCaseError> {
        let want = compare(a, b);
        let (ka, kb) = (key(a, Direction::Ascending), key(b, Direction::Ascending));
        prop_assert_eq!(ka.cmp(&kb), want);
        prop_assert_eq!(key(a, Direction::Descending).cmp(&key(b, Direction::Descending)), want.reverse());
        if want != Ordering::Equal {
            prop_assert!(!ka.starts_with(&kb) && !kb.starts_with(&ka), "a key is the beginning of another");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn numbers_compare_as_their_keys(a in numbers(), b in numbers()) {
            check_order(&a, &b)?;
        }

        #[test]
        fn values_compare_as_their_keys(a in values(), b in values()) {
            check_order(&a, &b)?;
        }

        #[test]
        fn paths_compare_as_their_keys_and_read_back(a in paths(), b in paths()) {
            let (ka, kb) = (doc(&a), doc(&b));
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert_eq!(decode_doc(&ka).unwrap(), a.clone());
            prop_assert_eq!(kb.starts_with(&descendants(&a)), a == b || b.is_below(&a));
            prop_assert_eq!(kb.starts_with(&collection(&a.parent())), b.parent() == a.parent() || {
                b.as_str().starts_with(&format!("{}/", a.parent().as_str()))
            });
            let inside = kb > ka && kb < past_descendants(&a);
            prop_assert_eq!(inside, b.is_below(&a));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 97, 255]), 0..24)) {
            let _ = decode_doc(&bytes);
            let _ = segment_end(&bytes, 0);
        }
    }

    #[test]
    fn a_segments_end_is_where_a_scan_seeks_on() {
        let below = DocPath::parse("rooms/a/messages/b").unwrap();
        let start = collection(&CollectionPath::parse("rooms").unwrap()).len();
        let bytes = doc(&below);
        let end = segment_end(&bytes, start).unwrap();
        assert_eq!(bytes[..end], descendants(&DocPath::parse("rooms/a").unwrap()));
    }

    #[test]
    fn the_successor_is_behind_all_that_begin_so() {
        assert_eq!(successor(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(successor(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(successor(&[0xff]), None);
        assert_eq!(successor(&[]), None);
    }
}
