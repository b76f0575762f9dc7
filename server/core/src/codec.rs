//! The binary form of values and documents, in the log and in the state.
//!
//! Compact, with a table of field offsets in front of every map, so that a filter finds one field by binary search
//! and decodes nothing else. Whoever decodes gets an error for any bytes that this module did not write; nothing
//! here panics on them. The form is a promise to data on disk: golden tests hold it.

use std::sync::Arc;

use crate::document::Document;
use crate::field::FieldPath;
use crate::path::{DatabaseName, DocPath, PathError, Reference};
use crate::value::{GeoPoint, Map, Timestamp, Value};
use crate::version::Version;

/// Why bytes are not what they should be. They were damaged, or written by a newer Hearth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends early")]
    Short,
    #[error("the record goes on after its end by {bytes} bytes")]
    Long { bytes: usize },
    #[error("unknown tag {tag} for {what}")]
    Tag { what: &'static str, tag: u8 },
    #[error("text that is not UTF-8")]
    Utf8,
    #[error("a value outside its range: {what}")]
    Range { what: &'static str },
    #[error("a path in the record: {0}")]
    Path(#[from] PathError),
    #[error("values nest too deeply")]
    Depth,
}

mod tag {
    pub(super) const TOMBSTONE: u8 = 0;
    pub(super) const DOCUMENT: u8 = 1;

    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INTEGER: u8 = 3;
    pub(super) const DOUBLE: u8 = 4;
    pub(super) const TIMESTAMP: u8 = 5;
    pub(super) const TEXT: u8 = 6;
    pub(super) const BYTES: u8 = 7;
    pub(super) const REFERENCE: u8 = 8;
    pub(super) const GEO: u8 = 9;
    pub(super) const ARRAY: u8 = 10;
    pub(super) const VECTOR: u8 = 11;
    pub(super) const MAP: u8 = 12;
}

/// Appends binary parts to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// An unsigned number of 64 bits, 8 bytes, big end first.
    pub fn fixed(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    /// A small unsigned number, 7 bits a byte, low end first (LEB128).
    pub fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number as u8 & 0x7f) | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Bytes behind their length.
    pub fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// A value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.byte(tag::NULL),
            Value::Bool(false) => self.byte(tag::FALSE),
            Value::Bool(true) => self.byte(tag::TRUE),
            Value::Integer(number) => {
                self.byte(tag::INTEGER);
                self.varint(zigzag(*number));
            }
            Value::Double(number) => {
                self.byte(tag::DOUBLE);
                self.fixed(number.to_bits());
            }
            Value::Timestamp(timestamp) => {
                self.byte(tag::TIMESTAMP);
                self.varint(zigzag(timestamp.micros()));
            }
            Value::Text(text) => {
                self.byte(tag::TEXT);
                self.block(text.as_bytes());
            }
            Value::Bytes(bytes) => {
                self.byte(tag::BYTES);
                self.block(bytes);
            }
            Value::Reference(reference) => {
                self.byte(tag::REFERENCE);
                self.block(reference.database.project().as_bytes());
                self.block(reference.database.database().as_bytes());
                self.block(reference.path.as_str().as_bytes());
            }
            Value::Geo(point) => {
                self.byte(tag::GEO);
                self.fixed(point.latitude().to_bits());
                self.fixed(point.longitude().to_bits());
            }
            Value::Array(elements) => {
                self.byte(tag::ARRAY);
                self.varint(elements.len() as u64);
                elements.iter().for_each(|element| self.value(element));
            }
            Value::Vector(vector) => {
                self.byte(tag::VECTOR);
                self.varint(vector.len() as u64);
                vector.iter().for_each(|number| self.fixed(number.to_bits()));
            }
            Value::Map(map) => {
                self.byte(tag::MAP);
                self.map(map);
            }
        }
    }

    /// A map: its length in bytes, the number of fields, where each begins, then names and values.
    pub fn map(&mut self, map: &Map) {
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&(map.len() as u32).to_be_bytes());
        let table_at = self.bytes.len();
        self.bytes.resize(table_at + 4 * map.len(), 0);
        let entries_at = self.bytes.len();
        for (index, (name, value)) in map.iter().enumerate() {
            let offset = (self.bytes.len() - entries_at) as u32;
            self.bytes[table_at + 4 * index..][..4].copy_from_slice(&offset.to_be_bytes());
            self.block(name.as_bytes());
            self.value(value);
        }
        let length = (self.bytes.len() - length_at - 4) as u32;
        self.bytes[length_at..][..4].copy_from_slice(&length.to_be_bytes());
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    ((number >> 1) as i64) ^ -((number & 1) as i64)
}

/// Takes binary parts from bytes, from front to end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Deepest nesting that is decoded; what is written is bounded by [`Value::DEPTH_MAX`].
    const DEPTH_MAX: usize = 64;

    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Fails if anything is left.
    pub fn end(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Long { bytes }),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<usize, DecodeError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().expect("four bytes were taken")) as usize)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// See [`Writer::fixed`].
    pub fn fixed(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    /// See [`Writer::varint`].
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Range { what: "a number of more than 64 bits" })
    }

    /// See [`Writer::block`].
    pub fn block(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| DecodeError::Short)?)
    }

    /// A block of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.block()?).map_err(|_| DecodeError::Utf8)
    }

    /// A count of things that each take at least one byte, so that a damaged count cannot ask for much memory.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::Short)?;
        if count > self.rest.len() { Err(DecodeError::Short) } else { Ok(count) }
    }

    /// A value.
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > Self::DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        Ok(match self.byte()? {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::INTEGER => Value::Integer(unzigzag(self.varint()?)),
            tag::DOUBLE => Value::Double(f64::from_bits(self.fixed()?)),
            tag::TIMESTAMP => {
                let micros = unzigzag(self.varint()?);
                Value::Timestamp(Timestamp::from_micros(micros).ok_or(DecodeError::Range { what: "a timestamp" })?)
            }
            tag::TEXT => Value::Text(self.text()?.into()),
            tag::BYTES => Value::Bytes(self.block()?.into()),
            tag::REFERENCE => {
                let database = DatabaseName::parse(self.text()?, self.text()?)?;
                Value::Reference(Reference { database, path: DocPath::parse(self.text()?)? })
            }
            tag::GEO => {
                let (latitude, longitude) = (f64::from_bits(self.fixed()?), f64::from_bits(self.fixed()?));
                Value::Geo(GeoPoint::new(latitude, longitude).ok_or(DecodeError::Range { what: "a geo point" })?)
            }
            tag::ARRAY => {
                let count = self.count()?;
                Value::Array((0..count).map(|_| self.value_at(depth + 1)).collect::<Result<_, _>>()?)
            }
            tag::VECTOR => {
                let count = self.count()?;
                let numbers: Vec<f64> =
                    (0..count).map(|_| self.fixed().map(f64::from_bits)).collect::<Result<_, _>>()?;
                Value::Vector(numbers.into())
            }
            tag::MAP => Value::Map(self.map_at(depth + 1)?),
            tag => return Err(DecodeError::Tag { what: "a value", tag }),
        })
    }

    /// A map.
    pub fn map(&mut self) -> Result<Map, DecodeError> {
        self.map_at(0)
    }

    fn map_at(&mut self, depth: usize) -> Result<Map, DecodeError> {
        let table = self.table()?;
        let mut entries = Reader::new(table.entries);
        let mut map = Map::new();
        for _ in 0..table.offsets.len() / 4 {
            let name = entries.text()?;
            map.insert(name.into(), entries.value_at(depth)?);
        }
        entries.end()?;
        Ok(map)
    }

    fn table(&mut self) -> Result<Table<'a>, DecodeError> {
        let length = self.word()?;
        let mut inside = Reader::new(self.take(length)?);
        let count = inside.word()?;
        let offsets = inside.take(count.checked_mul(4).ok_or(DecodeError::Short)?)?;
        Ok(Table { offsets, entries: inside.rest })
    }
}

/// An encoded map: where its fields begin, and the fields.
struct Table<'a> {
    offsets: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Table<'a> {
    fn entry(&self, index: usize) -> Result<(&'a [u8], Reader<'a>), DecodeError> {
        let offset = self.offsets[4 * index..][..4].try_into().expect("an offset has four bytes");
        let entry = self.entries.get(u32::from_be_bytes(offset) as usize..).ok_or(DecodeError::Short)?;
        let mut reader = Reader::new(entry);
        Ok((reader.block()?, reader))
    }

    /// A reader at the value of a field, found by binary search.
    fn find(&self, name: &[u8]) -> Result<Option<Reader<'a>>, DecodeError> {
        let (mut low, mut high) = (0, self.offsets.len() / 4);
        while low < high {
            let middle = low.midpoint(high);
            let (found, value) = self.entry(middle)?;
            match found.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(value)),
            }
        }
        Ok(None)
    }
}

/// A record of the state: what stood at a path since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The document was deleted.
    Tombstone,
    /// A document, still encoded.
    Document(Encoded<'a>),
}

impl<'a> Record<'a> {
    /// Looks at a record without decoding its fields.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.split_first().ok_or(DecodeError::Short)? {
            (&tag::TOMBSTONE, []) => Ok(Self::Tombstone),
            (&tag::TOMBSTONE, rest) => Err(DecodeError::Long { bytes: rest.len() }),
            (&tag::DOCUMENT, rest) if rest.len() >= 16 => Ok(Self::Document(Encoded { bytes: rest })),
            (&tag::DOCUMENT, _) => Err(DecodeError::Short),
            (&tag, _) => Err(DecodeError::Tag { what: "a record", tag }),
        }
    }
}

/// A document that is still encoded: single fields can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded<'a> {
    bytes: &'a [u8],
}

impl Encoded<'_> {
    /// The commit that last changed the document.
    pub fn updated(&self) -> Version {
        Version::from_micros(u64::from_be_bytes(self.bytes[8..16].try_into().expect("checked by Record::read")))
    }

    fn created(&self) -> Version {
        Version::from_micros(u64::from_be_bytes(self.bytes[..8].try_into().expect("checked by Record::read")))
    }

    /// The value at a field path, decoding nothing else.
    pub fn get(&self, path: &FieldPath) -> Result<Option<Value>, DecodeError> {
        let mut reader = Reader::new(&self.bytes[16..]);
        let mut names = path.names().iter().peekable();
        while let Some(name) = names.next() {
            let Some(mut found) = reader.table()?.find(name.as_bytes())? else { return Ok(None) };
            if names.peek().is_none() {
                return found.value().map(Some);
            }
            if found.byte()? != tag::MAP {
                return Ok(None);
            }
            reader = found;
        }
        Ok(None)
    }

    /// The whole document; its path is not part of the record and is given.
    pub fn decode(&self, path: DocPath) -> Result<Document, DecodeError> {
        let mut reader = Reader::new(&self.bytes[16..]);
        let fields = reader.map()?;
        reader.end()?;
        Ok(Document { path, fields, created: self.created(), updated: self.updated() })
    }
}

/// The record of a document, or of its absence.
pub fn encode_record(document: Option<&Document>) -> Vec<u8> {
    let mut writer = Writer::default();
    match document {
        None => writer.byte(tag::TOMBSTONE),
        Some(document) => {
            writer.byte(tag::DOCUMENT);
            writer.fixed(document.created.micros());
            writer.fixed(document.updated.micros());
            writer.map(&document.fields);
        }
    }
    writer.finish()
}

/// The document in a record, whole; `None` for a tombstone.
pub fn decode_record(path: &DocPath, bytes: &[u8]) -> Result<Option<Arc<Document>>, DecodeError> {
    match Record::read(bytes)? {
        Record::Tombstone => Ok(None),
        Record::Document(encoded) => encoded.decode(path.clone()).map(|document| Some(Arc::new(document))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    /// Any storable value, small.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let name = || "[a-z]{1,3}".prop_map(Box::<str>::from);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Double),
            (-1_000_000_000_000_i64..1_000_000_000_000)
                .prop_map(|micros| Value::Timestamp(Timestamp::from_micros(micros).unwrap())),
            "\\PC{0,6}".prop_map(|text| Value::text(&text)),
            proptest::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Value::Bytes(bytes.into())),
            (-90.0..=90.0, -180.0..=180.0)
                .prop_map(|(latitude, longitude)| Value::Geo(GeoPoint::new(latitude, longitude).unwrap())),
            proptest::collection::vec(any::<f64>(), 0..4).prop_map(|numbers| Value::Vector(numbers.into())),
            ("[a-z]{1,3}", "[a-z]{1,3}").prop_map(|(collection, id)| {
                Value::Reference(Reference {
                    database: DatabaseName::parse("p", "(default)").unwrap(),
                    path: DocPath::parse(&format!("{collection}/{id}")).unwrap(),
                })
            }),
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let element = inner.clone().prop_filter("no array in an array", |value| !matches!(value, Value::Array(_)));
            prop_oneof![
                proptest::collection::vec(element, 0..4).prop_map(Value::Array),
                proptest::collection::btree_map(name(), inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    pub(crate) fn any_fields() -> impl Strategy<Value = Map> {
        proptest::collection::btree_map("[a-e]{1,2}".prop_map(Box::<str>::from), any_value(), 0..6)
    }

    fn document(fields: Map) -> Document {
        let path = DocPath::parse("rooms/a").unwrap();
        Document { path, fields, created: Version::from_micros(1), updated: Version::from_micros(2) }
    }

    #[test]
    fn the_form_on_disk_stays_as_it_is() {
        let fields = Map::from([
            ("a".into(), Value::Integer(-3)),
            (
                "m".into(),
                Value::Map(Map::from([("x".into(), Value::Array(vec![Value::Bool(true), Value::text("é")]))])),
            ),
        ]);
        let hex: String = encode_record(Some(&document(fields))).iter().map(|byte| format!("{byte:02x}")).collect();
        expect!["01000000000000000100000000000000020000002800000002000000000000000401610305016d0c00000011000000010000000001780a02020602c3a9"].assert_eq(&hex);
        assert_eq!(encode_record(None), [0]);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(fields in any_fields()) {
            let document = document(fields);
            let bytes = encode_record(Some(&document));
            let back = decode_record(&document.path, &bytes).unwrap().unwrap();
            prop_assert_eq!(&*back, &document);
        }

        #[test]
        fn a_field_is_found_without_decoding_the_rest(fields in any_fields(), names in proptest::collection::vec("[a-e]{1,2}", 1..3)) {
            let path = FieldPath::from_names(names.iter().map(String::as_str)).unwrap();
            let document = document(fields);
            let bytes = encode_record(Some(&document));
            let Record::Document(encoded) = Record::read(&bytes).unwrap() else { panic!("a document was written") };
            prop_assert_eq!(encoded.get(&path).unwrap(), document.get(&path).cloned());
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_panic(fields in any_fields(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let document = document(fields);
            let mut bytes = encode_record(Some(&document));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = decode_record(&document.path, &bytes);
            let _ = decode_record(&document.path, &bytes[..at]);
            if let Ok(Record::Document(encoded)) = Record::read(&bytes) {
                let _ = encoded.get(&FieldPath::parse("a.b").unwrap());
            }
        }
    }
}
