//! From values, documents and events to the text of JSON.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_core::{DocPath, Document, Map, Reference, Value};

use super::{Context, time};

/// The largest integer that a JavaScript number holds without doubt: 2⁵³ − 1.
const SAFE_INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// A value as a JSON value. Answers are written as text by [`write_value`], which this follows.
pub fn from_value(value: &Value, context: &Context<'_>) -> serde_json::Value {
    let mut text = Vec::new();
    write_value(&mut text, value, context);
    serde_json::from_slice(&text).expect("values are written as JSON of bounded depth")
}

/// Appends a value as JSON text.
pub fn write_value(out: &mut Vec<u8>, value: &Value, context: &Context<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Integer(integer) if integer.unsigned_abs() <= SAFE_INTEGER_MAX => print(out, format_args!("{integer}")),
        Value::Integer(integer) => print(out, format_args!("{{\"$int\":\"{integer}\"}}")),
        Value::Double(double) => write_double(out, *double),
        Value::Timestamp(moment) => print(out, format_args!("{{\"$timestamp\":\"{}\"}}", time::print(*moment))),
        Value::Text(text) => write_text(out, text),
        Value::Bytes(bytes) => print(out, format_args!("{{\"$bytes\":\"{}\"}}", STANDARD.encode(bytes))),
        Value::Reference(reference) => write_reference(out, reference, context),
        Value::Geo(point) => {
            out.extend_from_slice(b"{\"$geo\":[");
            write_double(out, point.latitude());
            out.push(b',');
            write_double(out, point.longitude());
            out.extend_from_slice(b"]}");
        }
        Value::Array(elements) => {
            out.push(b'[');
            separated(out, elements, |out, element| write_value(out, element, context));
            out.push(b']');
        }
        Value::Vector(numbers) => {
            out.extend_from_slice(b"{\"$vector\":[");
            separated(out, numbers.iter(), |out, number| write_double(out, *number));
            out.extend_from_slice(b"]}");
        }
        Value::Map(map) if looks_tagged(map) => {
            out.extend_from_slice(b"{\"$map\":");
            write_fields(out, map, context);
            out.push(b'}');
        }
        Value::Map(map) => write_fields(out, map, context),
    }
}

/// Appends the fields of a document as a JSON object.
pub fn write_fields(out: &mut Vec<u8>, fields: &Map, context: &Context<'_>) {
    out.push(b'{');
    separated(out, fields, |out, (name, value)| {
        write_text(out, name);
        out.push(b':');
        write_value(out, value, context);
    });
    out.push(b'}');
}

/// Appends a document, with `fields` in place of its own: what the query's projection left of them.
pub fn write_document(out: &mut Vec<u8>, document: &Document, fields: &Map, context: &Context<'_>) {
    out.extend_from_slice(b"{\"path\":");
    write_text(out, document.path.as_str());
    out.extend_from_slice(b",\"data\":");
    write_fields(out, fields, context);
    print(out, format_args!(",\"created\":\"{}\",\"updated\":\"{}\"}}", document.created, document.updated));
}

/// Appends what is left of a document that is gone from a result: its path, never content.
pub(crate) fn write_removed(out: &mut Vec<u8>, path: &DocPath) {
    out.extend_from_slice(b"{\"path\":");
    write_text(out, path.as_str());
    out.push(b'}');
}

/// Appends text as a JSON string.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is written into memory");
}

/// Appends `items` with commas between them.
pub(crate) fn separated<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

pub(crate) fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

fn write_double(out: &mut Vec<u8>, double: f64) {
    let special = match double {
        double if double.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        double if double == 0.0 && double.is_sign_negative() => "-0",
        double => return serde_json::to_writer(out, &double).expect("a finite number is JSON"),
    };
    print(out, format_args!("{{\"$double\":\"{special}\"}}"));
}

fn write_reference(out: &mut Vec<u8>, reference: &Reference, context: &Context<'_>) {
    out.extend_from_slice(b"{\"$ref\":");
    if reference.database == *context.database {
        write_text(out, reference.path.as_str());
    } else {
        write_text(out, &reference.to_string());
    }
    out.push(b'}');
}

/// Whether a map, written as it is, would be read as something else.
fn looks_tagged(map: &Map) -> bool {
    map.len() == 1 && map.keys().all(|name| name.starts_with('$'))
}
