//! Between the core's types and Firestore's messages: values and documents here, queries and writes below.

mod named;
pub(crate) mod query;
mod together;
pub(crate) mod write;

use std::collections::BTreeMap;

use hearth_core::field::check_name;
use hearth_core::value::{Timestamp, Value};
use hearth_core::{DatabaseName, Document, FieldPath, GeoPoint, Map, Reference, Version};
use hearth_schema::v1::{self, value::ValueType};
use hearth_schema::{LatLng, wkt};

use crate::bounds::Bounds;
use crate::names;
use crate::status::{LONG_MAX, Refusal};

/// The member of a map that says that it stands for another type.
pub(crate) const TYPE: &str = "__type__";
pub(crate) const VECTOR: &str = "__vector__";
pub(crate) const VECTOR_VALUES: &str = "value";

/// A value as a client sent it. Not yet checked for depth; the core does that.
pub(crate) fn value_from(value: v1::Value) -> Result<Value, Refusal> {
    let Some(value) = value.value_type else {
        return Err(Refusal::invalid("Cannot convert firestore.v1.Value with type unset."));
    };
    Ok(match value {
        ValueType::NullValue(_) => Value::Null,
        ValueType::BooleanValue(value) => Value::Bool(value),
        ValueType::IntegerValue(value) => Value::Integer(value),
        ValueType::DoubleValue(value) => Value::Double(value),
        ValueType::TimestampValue(value) => Value::Timestamp(timestamp_from(value)?),
        ValueType::StringValue(value) => Value::text(&value),
        ValueType::BytesValue(value) => Value::Bytes(value.into()),
        ValueType::ReferenceValue(value) => Value::Reference(names::reference(&value)?),
        ValueType::GeoPointValue(LatLng { latitude, longitude }) => {
            let point = GeoPoint::new(latitude, longitude);
            Value::Geo(point.ok_or_else(|| {
                let (what, number, max) = match (-90.0..=90.0).contains(&latitude) {
                    true => ("longitude", longitude, 180),
                    false => ("latitude", latitude, 90),
                };
                Refusal::invalid(format!("Geo point {what} '{number}' outside permitted range -{max}.0 to {max}.0."))
            })?)
        }
        ValueType::ArrayValue(v1::ArrayValue { values }) => {
            Value::Array(values.into_iter().map(value_from).collect::<Result<_, _>>()?)
        }
        ValueType::MapValue(v1::MapValue { fields }) if is_vector(&fields) => vector_from(fields)?,
        ValueType::MapValue(v1::MapValue { fields }) => Value::Map(fields_from(fields)?),
        ValueType::FieldReferenceValue(_) => return Err(unsupported("FIELD_REFERENCE_VALUE")),
        ValueType::FunctionValue(_) => return Err(unsupported("FUNCTION_VALUE")),
        ValueType::PipelineValue(_) => return Err(unsupported("PIPELINE_VALUE")),
        ValueType::VariableReferenceValue(_) => return Err(unsupported("VARIABLE_REFERENCE_VALUE")),
    })
}

/// A type of value that stands in pipelines only.
fn unsupported(what: &str) -> Refusal {
    Refusal::invalid(format!("Value type is not supported: {what}"))
}

/// A document's fields as a client sent them, each checked: Firestore says of most that is wrong in which field it is.
pub(crate) fn document_from(fields: BTreeMap<String, v1::Value>, bounds: Bounds) -> Result<Map, Refusal> {
    let fields = fields_from(fields)?;
    for (name, value) in &fields {
        check_name(name, 1).map_err(Refusal::field_name)?;
        if bounds == Bounds::Cloud && long(value) {
            return Err(Refusal::long_value(name));
        }
        value.check(0).map_err(|error| Refusal::value(name, error))?;
    }
    Ok(fields)
}

/// Whether a value is, or an array of it holds, more than any document.
fn long(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.len() > LONG_MAX,
        Value::Bytes(bytes) => bytes.len() > LONG_MAX,
        Value::Array(values) => {
            values.iter().any(|value| matches!(value, Value::Text(_) | Value::Bytes(_)) && long(value))
        }
        _ => false,
    }
}

/// The fields of a document or map as a client sent them.
fn fields_from(fields: BTreeMap<String, v1::Value>) -> Result<Map, Refusal> {
    fields.into_iter().map(|(name, value)| Ok((name.into_boxed_str(), value_from(value)?))).collect()
}

fn is_vector(fields: &BTreeMap<String, v1::Value>) -> bool {
    let text = |value: &v1::Value| matches!(&value.value_type, Some(ValueType::StringValue(text)) if text == VECTOR);
    fields.get(TYPE).is_some_and(text)
}

fn vector_from(mut fields: BTreeMap<String, v1::Value>) -> Result<Value, Refusal> {
    let Some(values) = fields.remove(VECTOR_VALUES) else {
        return Err(Refusal::invalid("Vector map is missing key 'value'."));
    };
    if fields.len() > 1 {
        return Err(Refusal::invalid("Vector Value map has extraneous entries."));
    }
    let Some(ValueType::ArrayValue(v1::ArrayValue { values })) = values.value_type else {
        return Err(Refusal::invalid("A vector's value is an array of doubles."));
    };
    let number = |value: v1::Value| match value.value_type {
        Some(ValueType::DoubleValue(number)) => Ok(number),
        _ => Err(Refusal::invalid("Vector must only contain values of type 'double'")),
    };
    let numbers: Vec<f64> = values.into_iter().map(number).collect::<Result<_, _>>()?;
    Ok(Value::Vector(numbers.into()))
}

/// A value as it is sent.
pub(crate) fn value(value: &Value) -> v1::Value {
    let value = match value {
        Value::Null => ValueType::NullValue(0),
        Value::Bool(value) => ValueType::BooleanValue(*value),
        Value::Integer(value) => ValueType::IntegerValue(*value),
        Value::Double(value) => ValueType::DoubleValue(*value),
        Value::Timestamp(value) => ValueType::TimestampValue(wkt::Timestamp::from_micros(value.micros())),
        Value::Text(value) => ValueType::StringValue(value.to_string()),
        Value::Bytes(value) => ValueType::BytesValue(value.to_vec()),
        Value::Reference(Reference { database, path }) => ValueType::ReferenceValue(names::print(database, path)),
        Value::Geo(point) => {
            ValueType::GeoPointValue(LatLng { latitude: point.latitude(), longitude: point.longitude() })
        }
        Value::Array(values) => {
            ValueType::ArrayValue(v1::ArrayValue { values: values.iter().map(self::value).collect() })
        }
        Value::Vector(numbers) => {
            let double = |number: &f64| v1::Value { value_type: Some(ValueType::DoubleValue(*number)) };
            let values = ValueType::ArrayValue(v1::ArrayValue { values: numbers.iter().map(double).collect() });
            let fields = BTreeMap::from([
                (TYPE.into(), v1::Value { value_type: Some(ValueType::StringValue(VECTOR.into())) }),
                (VECTOR_VALUES.into(), v1::Value { value_type: Some(values) }),
            ]);
            ValueType::MapValue(v1::MapValue { fields })
        }
        Value::Map(map) => ValueType::MapValue(v1::MapValue { fields: fields(map) }),
    };
    v1::Value { value_type: Some(value) }
}

/// Fields as they are sent.
pub(crate) fn fields(map: &Map) -> BTreeMap<String, v1::Value> {
    map.iter().map(|(name, value)| (name.to_string(), self::value(value))).collect()
}

/// A document as it is sent, with these of its fields.
pub(crate) fn document(database: &DatabaseName, document: &Document, shown: &Map) -> v1::Document {
    v1::Document {
        name: names::print(database, &document.path),
        fields: fields(shown),
        create_time: Some(time(document.created)),
        update_time: Some(time(document.updated)),
    }
}

/// A document as it is sent, with the fields of a mask.
pub(crate) fn masked(database: &DatabaseName, whole: &Document, mask: Option<&[FieldPath]>) -> v1::Document {
    match mask {
        None => document(database, whole, &whole.fields),
        Some(mask) => document(database, whole, &hearth_core::query::project(whole, mask)),
    }
}

/// A version as a time.
pub(crate) fn time(version: Version) -> wkt::Timestamp {
    wkt::Timestamp::from_micros(Timestamp::from(version).micros())
}

/// A time as a client sent it, in whole microseconds.
pub(crate) fn timestamp_from(time: wkt::Timestamp) -> Result<Timestamp, Refusal> {
    let timestamp = time.micros().and_then(Timestamp::from_micros);
    timestamp.ok_or_else(|| Refusal::invalid("Invalid timestamp: it must be from year 1 to year 9999"))
}

/// A time as a version; before 1970 nothing was committed.
pub(crate) fn version_from(time: wkt::Timestamp) -> Result<Version, Refusal> {
    let micros = timestamp_from(time)?.micros();
    Ok(u64::try_from(micros).map_or(Version::ZERO, Version::from_micros))
}

/// A field path as a client sent it; `what` names where.
pub(crate) fn path_from(text: &str, what: &str) -> Result<FieldPath, Refusal> {
    FieldPath::parse(text).map_err(|error| Refusal::field_path(what, text, error))
}

/// The paths of a mask.
pub(crate) fn mask_from(mask: Option<v1::DocumentMask>) -> Result<Option<Vec<FieldPath>>, Refusal> {
    let Some(mask) = mask else { return Ok(None) };
    mask.field_paths.iter().map(|path| path_from(path, "field path in a mask")).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any value that a document may hold.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let reference = Reference::parse("projects/p/databases/(default)/documents/rooms/a").unwrap();
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Double),
            (Timestamp::MIN.micros()..=Timestamp::MAX.micros())
                .prop_map(|micros| Value::Timestamp(Timestamp::from_micros(micros).unwrap())),
            "\\PC{0,8}".prop_map(|text| Value::text(&text)),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Value::Bytes(bytes.into())),
            Just(Value::Reference(reference)),
            (-90.0..=90.0, -180.0..=180.0)
                .prop_map(|(latitude, longitude)| Value::Geo(GeoPoint::new(latitude, longitude).unwrap())),
            proptest::collection::vec(any::<f64>(), 0..4).prop_map(|numbers| Value::Vector(numbers.into())),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map("[a-z]{1,4}".prop_map(Box::from), inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_went(value in any_value()) {
            prop_assert_eq!(value_from(super::value(&value)).unwrap(), value);
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let check = |value: ValueType| assert!(value_from(v1::Value { value_type: Some(value) }).is_err());
        check(ValueType::ReferenceValue("rooms/a".into()));
        check(ValueType::GeoPointValue(LatLng { latitude: 91.0, longitude: 0.0 }));
        check(ValueType::TimestampValue(wkt::Timestamp { seconds: i64::MAX, nanos: 0 }));
        check(ValueType::TimestampValue(wkt::Timestamp { seconds: 0, nanos: -1 }));
        check(ValueType::FieldReferenceValue("a".into()));
        let vector = v1::Value { value_type: Some(ValueType::StringValue(VECTOR.into())) };
        check(ValueType::MapValue(v1::MapValue { fields: BTreeMap::from([(TYPE.into(), vector)]) }));
        assert!(value_from(v1::Value { value_type: None }).is_err());
    }

    #[test]
    fn parts_of_a_microsecond_are_cut_off() {
        let time = wkt::Timestamp { seconds: -1, nanos: 999_999_999 };
        assert_eq!(timestamp_from(time).unwrap().micros(), -1);
    }
}
