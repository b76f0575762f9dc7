//! Documents as the records of exports, and back.
//!
//! The form is Datastore's: a map is an entity within a value, an array its elements one behind the other. What each meaning
//! stands for was found by having Google's emulator export every type of value; the golden export of `tests/golden/export`
//! holds them. Fields are read whether they were indexed or not.

use std::collections::BTreeMap;

use hearth_core::path::numeric_id;
use hearth_core::value::{Timestamp, check_map};
use hearth_core::{DatabaseName, DocPath, GeoPoint, Id, Map, Reference, Value};
use hearth_schema::onestore::property_value::{PointValue, ReferenceValue, reference_value::PathElement};
use hearth_schema::onestore::{Entity, Key, Path, Property, PropertyValue, path};
use prost::Message as _;

use super::log::RECORD_BYTES_MAX;
use crate::convert::{TYPE, VECTOR, VECTOR_VALUES};

/// What a value's bytes or number mean; no meaning says it itself.
mod meaning {
    pub(super) const TIMESTAMP: i32 = 7;
    pub(super) const POINT: i32 = 9;
    pub(super) const BYTES: i32 = 14;
    /// Bytes too, where Datastore was asked to index them.
    pub(super) const SHORT_BYTES: i32 = 16;
    pub(super) const MAP: i32 = 19;
    pub(super) const EMPTY_ARRAY: i32 = 24;
    /// An element of a vector.
    pub(super) const VECTOR: i32 = 31;
}

/// What stands before the project in a key.
const APP_PREFIX: &str = "dev~";
/// Bytes of a property besides its name and what it holds, at most.
const PROPERTY_BYTES: usize = 48;

/// A document of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The database that was exported.
    pub database: DatabaseName,
    /// Where the document stands in it.
    pub path: DocPath,
    /// Its fields.
    pub fields: Map,
}

/// Why a record is no document, or a document cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntityError {
    #[error("it is no entity: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("its key is none: {0}")]
    Key(String),
    #[error("{field}: {detail}")]
    Field { field: String, detail: String },
    #[error("as a record of an export it would have more than {RECORD_BYTES_MAX} bytes")]
    TooLong,
}

impl EntityError {
    fn field(name: &str, detail: impl ToString) -> Self {
        Self::Field { field: name.chars().take(200).collect(), detail: detail.to_string() }
    }
}

// ---- reading

/// Reads a record.
pub(crate) fn decode(record: &[u8]) -> Result<Exported, EntityError> {
    let entity = Entity::decode(record)?;
    let Key { app, path, name_space, database_id } = entity.key;
    if name_space.is_some_and(|name| !name.is_empty()) {
        return Err(EntityError::Key("it has a namespace, as Datastore has them and Firestore has not".into()));
    }
    let segments = path.element.into_iter().map(|element| (element.r#type, element.id, element.name));
    let (database, path) = place(&app, database_id.as_deref(), segments).map_err(EntityError::Key)?;
    let fields = map(entity.property.iter().chain(&entity.raw_property), 0)?;
    // Names, depth and what stands where: as of any client.
    check_map(&fields, 0).map_err(|error| EntityError::field(path.as_str(), error))?;
    Ok(Exported { database, path, fields })
}

/// The place that a key or a reference names.
fn place(
    app: &str,
    database: Option<&str>,
    elements: impl Iterator<Item = (String, Option<i64>, Option<String>)>,
) -> Result<(DatabaseName, DocPath), String> {
    let project = app.split_once('~').map_or(app, |(_, project)| project);
    let database = database.filter(|name| !name.is_empty()).unwrap_or(DatabaseName::DEFAULT);
    let database = DatabaseName::parse(project, database).map_err(|error| error.to_string())?;
    let mut path = String::new();
    for (collection, id, name) in elements {
        let name = match (id, name) {
            (_, Some(name)) => name,
            (Some(id), None) => format!("__id{id}__"),
            (None, None) => return Err(format!("the id of a document in {collection} is missing")),
        };
        for segment in [collection, name] {
            // A slash would make two segments of one.
            Id::parse(&segment).map_err(|error| error.to_string())?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&segment);
        }
    }
    Ok((database, DocPath::parse(&path).map_err(|error| error.to_string())?))
}

/// What a name holds so far.
enum Held {
    One(Value),
    Array(Vec<Value>),
    Vector(Vec<f64>),
}

/// The fields of an entity. `depth` is how many maps and arrays stand around them.
fn map<'a>(properties: impl Iterator<Item = &'a Vec<u8>>, depth: usize) -> Result<Map, EntityError> {
    let mut held: BTreeMap<Box<str>, Held> = BTreeMap::new();
    for bytes in properties {
        let property = Property::decode(bytes.as_slice())?;
        let meaning = property.meaning.unwrap_or_default();
        let name = property.name.into_boxed_str();
        let within = depth + usize::from(property.multiple);
        let value = value(&name, meaning, property.value, within)?;
        match (held.get_mut(&name), property.multiple, meaning) {
            (None, true, meaning::VECTOR) => {
                let vector = Held::Vector(vec![component(&name, &value)?]);
                held.insert(name, vector);
            }
            (None, true, _) => drop(held.insert(name, Held::Array(vec![value]))),
            (None, false, meaning::VECTOR) => {
                let vector = Value::Vector([component(&name, &value)?].into());
                held.insert(name, Held::One(vector));
            }
            (None, false, _) => drop(held.insert(name, Held::One(value))),
            (Some(Held::Vector(components)), true, meaning::VECTOR) => components.push(component(&name, &value)?),
            (Some(Held::Array(elements)), true, other) if other != meaning::VECTOR => elements.push(value),
            (Some(_), ..) => return Err(EntityError::field(&name, "it is there twice")),
        }
    }
    let value = |held| match held {
        Held::One(value) => value,
        Held::Array(elements) => Value::Array(elements),
        Held::Vector(components) => Value::Vector(components.into()),
    };
    Ok(held.into_iter().map(|(name, held)| (name, value(held))).collect())
}

fn component(name: &str, value: &Value) -> Result<f64, EntityError> {
    match value {
        Value::Double(number) => Ok(*number),
        _ => Err(EntityError::field(name, "a vector holds something other than doubles")),
    }
}

fn value(name: &str, meaning: i32, value: PropertyValue, depth: usize) -> Result<Value, EntityError> {
    let wrong = |detail: &str| EntityError::field(name, detail);
    let PropertyValue { int64_value, boolean_value, string_value, double_value, pointvalue, referencevalue } = value;
    Ok(match meaning {
        meaning::TIMESTAMP => {
            let time = int64_value.and_then(Timestamp::from_micros);
            Value::Timestamp(time.ok_or_else(|| wrong("it is no time from year 1 to year 9999"))?)
        }
        meaning::BYTES | meaning::SHORT_BYTES => Value::Bytes(string_value.unwrap_or_default().into()),
        meaning::EMPTY_ARRAY => Value::Array(Vec::new()),
        meaning::MAP => entity(name, &string_value.unwrap_or_default(), depth)?,
        _ => match (int64_value, boolean_value, string_value, double_value, pointvalue, referencevalue) {
            (Some(number), ..) => Value::Integer(number),
            (_, Some(is), ..) => Value::Bool(is),
            (_, _, Some(bytes), ..) => Value::text(str::from_utf8(&bytes).map_err(|_| wrong("the text is not UTF-8"))?),
            (_, _, _, Some(number), ..) => Value::Double(number),
            (_, _, _, _, Some(PointValue { x, y }), _) => {
                let point = GeoPoint::new(x, y);
                Value::Geo(point.ok_or_else(|| wrong("it is no point on the globe"))?)
            }
            (.., Some(reference)) => {
                let elements = reference.pathelement.into_iter().map(|one| (one.r#type, one.id, one.name));
                let place = place(&reference.app, reference.database_id.as_deref(), elements);
                let (database, path) = place.map_err(|detail| EntityError::field(name, detail))?;
                Value::Reference(Reference { database, path })
            }
            (None, None, None, None, None, None) => Value::Null,
        },
    })
}

/// A map, or a vector where an array stands around it or it has no components: then it is spelled as the protocol does.
fn entity(name: &str, bytes: &[u8], depth: usize) -> Result<Value, EntityError> {
    if depth > Value::DEPTH_MAX {
        return Err(EntityError::field(name, "it nests too deep"));
    }
    let entity = Entity::decode(bytes)?;
    let map = map(entity.property.iter().chain(&entity.raw_property), depth + 1)?;
    if let (2, Some(Value::Text(kind)), Some(Value::Array(values))) = (map.len(), map.get(TYPE), map.get(VECTOR_VALUES))
        && &**kind == VECTOR
    {
        let components: Result<Vec<f64>, _> = values.iter().map(|value| component(name, value)).collect();
        return Ok(Value::Vector(components?.into()));
    }
    Ok(Value::Map(map))
}

// ---- writing

/// Makes a record of a document.
pub(crate) fn encode(database: &DatabaseName, path: &DocPath, fields: &Map) -> Result<Vec<u8>, EntityError> {
    let elements: Vec<path::Element> =
        elements(path).map(|(collection, id, name)| path::Element { r#type: collection, id, name }).collect();
    let entity_group = Path { element: elements[..1].to_vec() };
    let (app, database_id) = (app(database), database_id(database));
    let key = Key { app, path: Path { element: elements }, name_space: None, database_id };
    let mut record =
        Properties { left: RECORD_BYTES_MAX.saturating_sub(2 * path.as_str().len()), ..Properties::default() };
    record.fields(fields)?;
    let encoded = record.entity(key, entity_group).encode_to_vec();
    match encoded.len() <= RECORD_BYTES_MAX {
        true => Ok(encoded),
        false => Err(EntityError::TooLong),
    }
}

fn app(database: &DatabaseName) -> String {
    format!("{APP_PREFIX}{}", database.project())
}

fn database_id(database: &DatabaseName) -> Option<String> {
    Some(database.database()).filter(|name| *name != DatabaseName::DEFAULT).map(String::from)
}

/// The collections and ids of a path.
fn elements(path: &DocPath) -> impl Iterator<Item = (String, Option<i64>, Option<String>)> {
    let segments: Vec<&str> = path.segments().collect();
    let elements = segments.chunks_exact(2).map(|pair| match numeric_id(pair[1]) {
        Some(id) => (pair[0].to_owned(), Some(id), None),
        None => (pair[0].to_owned(), None, Some(pair[1].to_owned())),
    });
    elements.collect::<Vec<_>>().into_iter()
}

/// The properties of an entity that is being written.
#[derive(Default)]
struct Properties {
    /// As Google writes it: what holds nothing but that it is there is indexed.
    indexed: Vec<Vec<u8>>,
    raw: Vec<Vec<u8>>,
    /// Bytes that may still be written.
    left: usize,
}

impl Properties {
    fn entity(self, key: Key, entity_group: Path) -> Entity {
        Entity { key, property: self.indexed, raw_property: self.raw, entity_group }
    }

    fn fields(&mut self, fields: &Map) -> Result<(), EntityError> {
        for (name, value) in fields {
            match value {
                Value::Array(elements) if !elements.is_empty() => {
                    elements.iter().try_for_each(|element| self.push(name, element, true))?;
                }
                Value::Vector(components) if !components.is_empty() => {
                    for component in components.iter() {
                        let value = PropertyValue { double_value: Some(*component), ..PropertyValue::default() };
                        self.property(name, meaning::VECTOR, true, value)?;
                    }
                }
                value => self.push(name, value, false)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, name: &str, value: &Value, multiple: bool) -> Result<(), EntityError> {
        let none = PropertyValue::default;
        let (meaning, value) = match value {
            Value::Null => (0, none()),
            Value::Bool(is) => (0, PropertyValue { boolean_value: Some(*is), ..none() }),
            Value::Integer(number) => (0, PropertyValue { int64_value: Some(*number), ..none() }),
            Value::Double(number) => (0, PropertyValue { double_value: Some(*number), ..none() }),
            Value::Timestamp(time) => {
                (meaning::TIMESTAMP, PropertyValue { int64_value: Some(time.micros()), ..none() })
            }
            Value::Text(text) => (0, PropertyValue { string_value: Some(text.as_bytes().to_vec()), ..none() }),
            Value::Bytes(bytes) => (meaning::BYTES, PropertyValue { string_value: Some(bytes.to_vec()), ..none() }),
            Value::Reference(reference) => (0, PropertyValue { referencevalue: Some(pointer(reference)), ..none() }),
            Value::Geo(point) => {
                let point = PointValue { x: point.latitude(), y: point.longitude() };
                (meaning::POINT, PropertyValue { pointvalue: Some(point), ..none() })
            }
            Value::Map(map) => (meaning::MAP, PropertyValue { string_value: Some(self.nested(map)?), ..none() }),
            // Only what is empty or stands in an array comes here.
            Value::Vector(components) => {
                let components = components.iter().map(|component| Value::Double(*component)).collect();
                let map = [(TYPE, Value::text(VECTOR)), (VECTOR_VALUES, Value::Array(components))];
                let map = map.into_iter().map(|(name, value)| (name.into(), value)).collect();
                (meaning::MAP, PropertyValue { string_value: Some(self.nested(&map)?), ..none() })
            }
            Value::Array(elements) if elements.is_empty() && !multiple => (meaning::EMPTY_ARRAY, none()),
            Value::Array(_) => return Err(EntityError::field(name, "an array stands directly in an array")),
        };
        self.property(name, meaning, multiple, value)
    }

    /// A map as the entity that stands in a value.
    fn nested(&mut self, map: &Map) -> Result<Vec<u8>, EntityError> {
        let mut inner = Self { left: self.left, ..Self::default() };
        inner.fields(map)?;
        Ok(inner.entity(Key::default(), Path::default()).encode_to_vec())
    }

    fn property(&mut self, name: &str, meaning: i32, multiple: bool, value: PropertyValue) -> Result<(), EntityError> {
        let bytes = value.string_value.as_ref().map_or(0, Vec::len)
            + value.referencevalue.as_ref().map_or(0, |reference| reference.encoded_len());
        let cost = name.len() + bytes + PROPERTY_BYTES;
        self.left = self.left.checked_sub(cost).ok_or(EntityError::TooLong)?;
        let to = if meaning == meaning::EMPTY_ARRAY { &mut self.indexed } else { &mut self.raw };
        let meaning = (meaning != 0).then_some(meaning);
        to.push(Property { meaning, name: name.to_owned(), multiple, value }.encode_to_vec());
        Ok(())
    }
}

fn pointer(reference: &Reference) -> ReferenceValue {
    let elements = elements(&reference.path).map(|(collection, id, name)| PathElement { r#type: collection, id, name });
    ReferenceValue {
        app: app(&reference.database),
        pathelement: elements.collect(),
        name_space: None,
        database_id: database_id(&reference.database),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tests::any_value;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn database() -> DatabaseName {
        DatabaseName::parse("demo", DatabaseName::DEFAULT).unwrap()
    }

    fn read(record: &[u8], want: Expect) {
        want.assert_eq(&match decode(record) {
            Ok(exported) => format!("{} in {}: {:?}", exported.path, exported.database, exported.fields),
            Err(error) => format!("refused: {error}"),
        });
    }

    proptest! {
        #[test]
        fn every_document_comes_back_as_it_went(
            values in proptest::collection::btree_map("[a-zé. `]{1,6}".prop_map(Box::<str>::from), any_value(), 0..5),
            path in prop_oneof![Just("rooms/a"), Just("rooms/__id7__"), Just("a/b/c/ü"), Just("a/__id-5__/c/d")],
            database in prop_oneof![Just(DatabaseName::DEFAULT), Just("second")],
        ) {
            // Arrays directly in arrays stand in no document.
            prop_assume!(check_map(&values, 0).is_ok());
            let database = DatabaseName::parse("demo", database).unwrap();
            let path = DocPath::parse(path).unwrap();
            let record = encode(&database, &path, &values).unwrap();
            prop_assert_eq!(decode(&record).unwrap(), Exported { database, path, fields: values });
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    /// A record with these properties; each is meaning, name, multiple, value.
    fn record(properties: Vec<(i32, &str, bool, PropertyValue)>) -> Vec<u8> {
        let one = |(meaning, name, multiple, value): (i32, &str, bool, PropertyValue)| {
            Property { meaning: Some(meaning), name: name.into(), multiple, value }.encode_to_vec()
        };
        let element = path::Element { r#type: "t".into(), id: None, name: Some("a".into()) };
        let key = Key { app: "s~demo".into(), path: Path { element: vec![element] }, ..Key::default() };
        // As the cloud has it: most of its properties are indexed.
        let property = properties.into_iter().map(one).collect();
        Entity { key, property, ..Entity::default() }.encode_to_vec()
    }

    fn number(number: i64) -> PropertyValue {
        PropertyValue { int64_value: Some(number), ..PropertyValue::default() }
    }

    fn bytes(bytes: &[u8]) -> PropertyValue {
        PropertyValue { string_value: Some(bytes.to_vec()), ..PropertyValue::default() }
    }

    #[test]
    fn what_the_cloud_writes_otherwise_is_read_too() {
        // Other prefixes of the project, indexed fields, short bytes, text with a meaning of its own.
        read(
            &record(vec![(0, "n", false, number(7)), (16, "b", false, bytes(&[1])), (15, "t", false, bytes(b"long"))]),
            expect![[
                r#"t/a in projects/demo/databases/(default): {"b": Bytes([1]), "n": Integer(7), "t": Text("long")}"#
            ]],
        );
    }

    #[test]
    fn what_no_document_holds_is_refused_with_its_field() {
        read(b"\xff", expect!["refused: it is no entity: failed to decode Protobuf message: invalid varint"]);
        read(
            &[],
            expect![[
                r#"refused: its key is none: "" is not the name of a project or database: use lower-case letters, digits, '-', '_', '.' and ':'"#
            ]],
        );
        read(
            &record(vec![(0, "n", false, number(1)), (0, "n", false, number(2))]),
            expect!["refused: n: it is there twice"],
        );
        read(
            &record(vec![(0, "n", true, number(1)), (31, "n", true, number(2))]),
            expect!["refused: n: it is there twice"],
        );
        read(
            &record(vec![(31, "n", true, number(1))]),
            expect!["refused: n: a vector holds something other than doubles"],
        );
        read(&record(vec![(0, "n", false, bytes(b"\xff"))]), expect!["refused: n: the text is not UTF-8"]);
        read(
            &record(vec![(7, "n", false, number(i64::MAX))]),
            expect!["refused: n: it is no time from year 1 to year 9999"],
        );
        read(
            &record(vec![(0, "__n__", false, number(1))]),
            expect![[r#"refused: t/a: the field name "__n__" is reserved"#]],
        );
        let mut deep = Entity::default().encode_to_vec();
        for _ in 0..30 {
            let inner = Property { meaning: Some(19), name: "m".into(), multiple: false, value: bytes(&deep) };
            deep = Entity { raw_property: vec![inner.encode_to_vec()], ..Entity::default() }.encode_to_vec();
        }
        read(&record(vec![(19, "deep", false, bytes(&deep))]), expect!["refused: m: it nests too deep"]);
        let slash = path::Element { r#type: "t".into(), id: None, name: Some("a/b/c".into()) };
        let key = Key { app: "s~demo".into(), path: Path { element: vec![slash] }, ..Key::default() };
        read(
            &Entity { key: key.clone(), ..Entity::default() }.encode_to_vec(),
            expect!["refused: its key is none: an id holds a slash"],
        );
        let datastore = Key { name_space: Some("n".into()), ..key };
        read(
            &Entity { key: datastore, ..Entity::default() }.encode_to_vec(),
            expect!["refused: its key is none: it has a namespace, as Datastore has them and Firestore has not"],
        );
    }

    #[test]
    fn a_document_that_grows_beyond_a_record_is_refused_before_it_is_built() {
        let nulls = Value::Array(vec![Value::Null; 1 << 20]);
        let fields = Map::from([("n".repeat(100).into(), nulls)]);
        let path = DocPath::parse("t/a").unwrap();
        assert_eq!(encode(&database(), &path, &fields), Err(EntityError::TooLong));
    }
}
