//! From JSON to values.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_core::value::ValueError;
use hearth_core::{DocPath, FieldPath, GeoPoint, Map, Reference, Value};
use serde_json::Value as Json;

use super::{Context, JsonError, kind, time};

/// The `$` keys that change a field instead of being a value; the writes' own reader knows what they mean.
pub(super) const TRANSFORMS: [&str; 7] =
    ["$serverTimestamp", "$increment", "$max", "$min", "$arrayUnion", "$arrayRemove", "$delete"];

/// Reads a value. Transforms are refused: they stand only in the data of writes.
pub fn to_value(json: &Json, context: &Context<'_>) -> Result<Value, JsonError> {
    value(json, context, 0)
}

/// Reads the fields of a document: an object, whose own names may begin with `$` without meaning anything.
pub fn to_fields(json: &Json, context: &Context<'_>) -> Result<Map, JsonError> {
    map(object(json)?, context, 0)
}

pub(super) fn object(json: &Json) -> Result<&serde_json::Map<String, Json>, JsonError> {
    match json {
        Json::Object(object) => Ok(object),
        other => Err(JsonError::new(format!("the data of a document is an object, this is {}", kind(other)))),
    }
}

/// Reads a value that stands inside `depth` maps and arrays.
pub(super) fn value(json: &Json, context: &Context<'_>, depth: usize) -> Result<Value, JsonError> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(number) => Ok(self::number(number)),
        Json::String(text) => Ok(Value::text(text)),
        Json::Array(_) if depth >= Value::DEPTH_MAX => Err(too_deep()),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| element(item, context, depth + 1).map_err(|error| error.at_index(index)))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Json::Object(object) => match tag(object, context) {
            None if depth >= Value::DEPTH_MAX => Err(too_deep()),
            None => map(object, context, depth + 1).map(Value::Map),
            Some((name, inner)) => tagged(name, inner, context, depth).map_err(|error| error.within(name)),
        },
    }
}

/// Reads an element of an array, which is no array itself.
pub(super) fn element(json: &Json, context: &Context<'_>, depth: usize) -> Result<Value, JsonError> {
    match json {
        Json::Array(_) => Err(JsonError::new(ValueError::ArrayInArray.to_string())),
        json => value(json, context, depth),
    }
}

pub(super) fn map(
    object: &serde_json::Map<String, Json>,
    context: &Context<'_>,
    depth: usize,
) -> Result<Map, JsonError> {
    object
        .iter()
        .map(|(name, json)| {
            let read = check_name(name).and_then(|()| value(json, context, depth));
            Ok((name.as_str().into(), read.map_err(|error| error.within(name))?))
        })
        .collect()
}

pub(super) fn too_deep() -> JsonError {
    JsonError::new(ValueError::TooDeep.to_string())
}

/// Refuses what cannot be the name of a field. Names are told with their pointer here; the core would refuse them later.
pub(super) fn check_name(name: &str) -> Result<(), JsonError> {
    if !name.is_empty() && name.len() <= FieldPath::NAME_BYTES_MAX && !name.starts_with("__") {
        return Ok(());
    }
    match FieldPath::from_names([name]) {
        Ok(path) if path.is_name() => Err(JsonError::new(format!("the field name {name:?} is reserved"))),
        Ok(_) => Ok(()),
        Err(error) => Err(JsonError::new(error.to_string())),
    }
}

/// The one key of an object that stands for something JSON cannot say, with what it holds.
pub(super) fn tag<'a>(object: &'a serde_json::Map<String, Json>, context: &Context<'_>) -> Option<(&'a str, &'a Json)> {
    match object.iter().next() {
        Some((name, inner)) if object.len() == 1 && !context.literal && name.starts_with('$') => Some((name, inner)),
        _ => None,
    }
}

/// A number without point and exponent is an integer where 64 bits hold it.
fn number(number: &serde_json::Number) -> Value {
    match number.as_i64() {
        Some(integer) => Value::Integer(integer),
        // Every JSON number of this parser has a double.
        None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

fn tagged(name: &str, inner: &Json, context: &Context<'_>, depth: usize) -> Result<Value, JsonError> {
    match name {
        "$timestamp" => {
            let text = text(inner)?;
            let moment = time::parse(text).ok_or_else(|| {
                JsonError::new(format!("{text:?} is not a moment such as 2026-01-31T10:00:00.123456Z"))
            })?;
            Ok(Value::Timestamp(moment))
        }
        "$bytes" => match STANDARD.decode(text(inner)?) {
            Ok(bytes) => Ok(Value::Bytes(bytes.into())),
            Err(error) => Err(JsonError::new(format!("padded base64 of the standard alphabet is expected: {error}"))),
        },
        "$ref" => reference(text(inner)?, context),
        "$geo" => match inner.as_array().map(Vec::as_slice) {
            Some([latitude, longitude]) => GeoPoint::new(double(latitude)?, double(longitude)?)
                .map(Value::Geo)
                .ok_or_else(|| JsonError::new("latitudes go from -90 to 90, longitudes from -180 to 180")),
            _ => Err(JsonError::new("[latitude, longitude] is expected")),
        },
        "$vector" => {
            let Json::Array(items) = inner else { return Err(JsonError::new("an array of numbers is expected")) };
            let numbers = items.iter().enumerate();
            let vector: Arc<[f64]> = numbers
                .map(|(index, item)| double(item).map_err(|error| error.at_index(index)))
                .collect::<Result<_, _>>()?;
            if vector.len() > Value::VECTOR_DIMENSIONS_MAX {
                return Err(JsonError::new(ValueError::VectorTooLong { dimensions: vector.len() }.to_string()));
            }
            Ok(Value::Vector(vector))
        }
        "$double" => special_double(inner).map(Value::Double),
        "$int" => {
            let text = text(inner)?;
            let integer = text.parse().ok().filter(|integer: &i64| integer.to_string() == text);
            integer.map(Value::Integer).ok_or_else(|| JsonError::new(format!("{text:?} is not an integer of 64 bits")))
        }
        "$map" => match inner {
            Json::Object(_) if depth >= Value::DEPTH_MAX => Err(too_deep()),
            Json::Object(object) => map(object, context, depth + 1).map(Value::Map),
            other => Err(JsonError::new(format!("an object is expected, this is {}", kind(other)))),
        },
        name if TRANSFORMS.contains(&name) => {
            Err(JsonError::new(format!("{name} stands only where a field of a document is written")))
        }
        name => Err(JsonError::new(format!(
            "{name:?} is not a type; a map with this one key is written {{\"$map\": {{…}}}}"
        ))),
    }
}

/// A path is a document of the same database; a full name may lead to another one. No path has both forms, since a
/// full name has an odd number of segments.
fn reference(text: &str, context: &Context<'_>) -> Result<Value, JsonError> {
    let reference = match Reference::parse(text) {
        Ok(reference) => Ok(reference),
        Err(_) => DocPath::parse(text).map(|path| Reference { database: context.database.clone(), path }),
    };
    reference.map(Value::Reference).map_err(|error| JsonError::new(error.to_string()))
}

fn text(json: &Json) -> Result<&str, JsonError> {
    json.as_str().ok_or_else(|| JsonError::new(format!("text is expected, this is {}", kind(json))))
}

/// A number inside `$geo` or `$vector`; what is no JSON number has its `$double` form there too.
fn double(json: &Json) -> Result<f64, JsonError> {
    match json {
        Json::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
        Json::Object(object) => match object.iter().next() {
            Some((name, inner)) if object.len() == 1 && name == "$double" => {
                special_double(inner).map_err(|error| error.within(name))
            }
            _ => Err(JsonError::new("a number is expected")),
        },
        other => Err(JsonError::new(format!("a number is expected, this is {}", kind(other)))),
    }
}

fn special_double(json: &Json) -> Result<f64, JsonError> {
    match json {
        Json::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) if text == "NaN" => Ok(f64::NAN),
        Json::String(text) if text == "Infinity" => Ok(f64::INFINITY),
        Json::String(text) if text == "-Infinity" => Ok(f64::NEG_INFINITY),
        Json::String(text) if text == "-0" => Ok(-0.0),
        _ => Err(JsonError::new("a number, \"NaN\", \"Infinity\", \"-Infinity\" or \"-0\" is expected")),
    }
}
