//! The JSON of values: an object with one member that names the type.
//!
//! Written by hand because clients send forms that the generated code does not read: `"nullValue":"NULL_VALUE"`, and
//! `"doubleValue":"-0"`. Values are also most of what is read and written. Source: proto3's JSON mapping, and what web
//! SDKs send.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::base64;
use crate::google::firestore::v1::{Value, value::ValueType};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(value) = &self.value_type else { return serializer.serialize_map(Some(0))?.end() };
        let mut map = serializer.serialize_map(Some(1))?;
        match value {
            ValueType::NullValue(_) => map.serialize_entry("nullValue", &())?,
            ValueType::BooleanValue(value) => map.serialize_entry("booleanValue", value)?,
            ValueType::IntegerValue(value) => map.serialize_entry("integerValue", &value.to_string())?,
            ValueType::DoubleValue(value) => match name_of(*value) {
                Some(name) => map.serialize_entry("doubleValue", name)?,
                None => map.serialize_entry("doubleValue", value)?,
            },
            ValueType::TimestampValue(value) => map.serialize_entry("timestampValue", value)?,
            ValueType::StringValue(value) => map.serialize_entry("stringValue", value)?,
            ValueType::BytesValue(value) => map.serialize_entry("bytesValue", &base64::write(value))?,
            ValueType::ReferenceValue(value) => map.serialize_entry("referenceValue", value)?,
            ValueType::GeoPointValue(value) => map.serialize_entry("geoPointValue", value)?,
            ValueType::ArrayValue(value) => map.serialize_entry("arrayValue", value)?,
            ValueType::MapValue(value) => map.serialize_entry("mapValue", value)?,
            ValueType::FieldReferenceValue(value) => map.serialize_entry("fieldReferenceValue", value)?,
            ValueType::FunctionValue(value) => map.serialize_entry("functionValue", value)?,
            ValueType::PipelineValue(value) => map.serialize_entry("pipelineValue", value)?,
            ValueType::VariableReferenceValue(value) => map.serialize_entry("variableReferenceValue", value)?,
        }
        map.end()
    }
}

/// What JSON has no number for.
fn name_of(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneEntry)
    }
}

struct OneEntry;

impl<'de> Visitor<'de> for OneEntry {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one member that names the value's type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = None;
        while let Some(Key(kind)) = map.next_key()? {
            let Some(kind) = kind else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = match kind {
                Kind::Null => {
                    map.next_value::<Null>()?;
                    ValueType::NullValue(0)
                }
                Kind::Boolean => ValueType::BooleanValue(map.next_value::<Boolean>()?.0),
                Kind::Integer => ValueType::IntegerValue(map.next_value::<Integer>()?.0),
                Kind::Double => ValueType::DoubleValue(map.next_value::<Double>()?.0),
                Kind::Timestamp => ValueType::TimestampValue(map.next_value()?),
                Kind::String => ValueType::StringValue(map.next_value()?),
                Kind::Bytes => ValueType::BytesValue(map.next_value::<Bytes>()?.0),
                Kind::Reference => ValueType::ReferenceValue(map.next_value()?),
                Kind::GeoPoint => ValueType::GeoPointValue(map.next_value()?),
                Kind::Array => ValueType::ArrayValue(map.next_value()?),
                Kind::Map => ValueType::MapValue(map.next_value()?),
                Kind::FieldReference => ValueType::FieldReferenceValue(map.next_value()?),
                Kind::Function => ValueType::FunctionValue(map.next_value()?),
                Kind::Pipeline => ValueType::PipelineValue(map.next_value()?),
                Kind::VariableReference => ValueType::VariableReferenceValue(map.next_value()?),
            };
            if found.replace(value).is_some() {
                return Err(de::Error::custom("a value has one type; two are named"));
            }
        }
        Ok(Value { value_type: found })
    }
}

enum Kind {
    Null,
    Boolean,
    Integer,
    Double,
    Timestamp,
    String,
    Bytes,
    Reference,
    GeoPoint,
    Array,
    Map,
    FieldReference,
    Function,
    Pipeline,
    VariableReference,
}

/// The name of a member; `None` where it is not known.
struct Key(Option<Kind>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a value's type")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Key, E> {
                Ok(Key(Some(match name {
                    "nullValue" | "null_value" => Kind::Null,
                    "booleanValue" | "boolean_value" => Kind::Boolean,
                    "integerValue" | "integer_value" => Kind::Integer,
                    "doubleValue" | "double_value" => Kind::Double,
                    "timestampValue" | "timestamp_value" => Kind::Timestamp,
                    "stringValue" | "string_value" => Kind::String,
                    "bytesValue" | "bytes_value" => Kind::Bytes,
                    "referenceValue" | "reference_value" => Kind::Reference,
                    "geoPointValue" | "geo_point_value" => Kind::GeoPoint,
                    "arrayValue" | "array_value" => Kind::Array,
                    "mapValue" | "map_value" => Kind::Map,
                    "fieldReferenceValue" | "field_reference_value" => Kind::FieldReference,
                    "functionValue" | "function_value" => Kind::Function,
                    "pipelineValue" | "pipeline_value" => Kind::Pipeline,
                    "variableReferenceValue" | "variable_reference_value" => Kind::VariableReference,
                    _ => return Ok(Key(None)),
                })))
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

/// `null`, `"NULL_VALUE"` or a number: whichever, there is one null.
struct Null;

impl<'de> Deserialize<'de> for Null {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nothing;
        impl Visitor<'_> for Nothing {
            type Value = Null;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Null, E> {
                Ok(Null)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Null, E> {
                Ok(Null)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Null, E> {
                match text {
                    "NULL_VALUE" => Ok(Null),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Nothing)
    }
}

/// `true` or `false`, also as text.
struct Boolean(bool);

impl<'de> Deserialize<'de> for Boolean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Boolean;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: de::Error>(self, is: bool) -> Result<Boolean, E> {
                Ok(Boolean(is))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Boolean, E> {
                match text {
                    "true" => Ok(Boolean(true)),
                    "false" => Ok(Boolean(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A number of 64 bits, as text or as a number.
struct Integer(i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer of 64 bits, as text or as a number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Integer, E> {
                Ok(Integer(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Integer, E> {
                let integer = i64::try_from(number).map(Integer);
                integer.map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Integer, E> {
                // Doubles of this size are whole; what is larger would not be exact.
                let whole = number.trunc() == number && number.abs() <= 9_007_199_254_740_992.0;
                match whole {
                    true => Ok(Integer(number as i64)),
                    false => Err(E::invalid_value(de::Unexpected::Float(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Integer, E> {
                if let Ok(number) = text.parse() {
                    return Ok(Integer(number));
                }
                // `7.0` and `1e3` are whole too.
                let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
                match text.parse() {
                    Ok(number) if is_plain => self.visit_f64(number),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A double, as a number or as text: `"NaN"`, `"Infinity"`, `"-Infinity"`, `"-0"` and numbers.
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Double;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a double, as a number or as text")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Double, E> {
                Ok(Double(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Double, E> {
                Ok(Double(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Double, E> {
                Ok(Double(number as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Double, E> {
                let number = match text {
                    "NaN" => Ok(f64::NAN),
                    "Infinity" => Ok(f64::INFINITY),
                    "-Infinity" => Ok(f64::NEG_INFINITY),
                    // Rust reads names of its own, such as "inf".
                    _ if text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E') => Err(()),
                    _ => text.parse().map_err(|_| ()),
                };
                number.map(Double).map_err(|()| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes as base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                base64::read(text).map(Bytes).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// Reads a value and writes it again.
    fn check(json: &str, want: Expect) {
        want.assert_eq(&match serde_json::from_str::<Value>(json) {
            Ok(value) => serde_json::to_string(&value).unwrap(),
            Err(error) => format!("refused: {error}"),
        });
    }

    #[test]
    fn null_is_kept_in_every_spelling() {
        check(r#"{"nullValue":null}"#, expect![[r#"{"nullValue":null}"#]]);
        check(r#"{"nullValue":"NULL_VALUE"}"#, expect![[r#"{"nullValue":null}"#]]);
        check(r#"{"nullValue":0}"#, expect![[r#"{"nullValue":null}"#]]);
        check(r#"{"nullValue":1}"#, expect![[r#"{"nullValue":null}"#]]);
    }

    #[test]
    fn what_is_meant_counts_and_not_how_it_is_spelled() {
        check(r#"{"booleanValue":"true"}"#, expect![[r#"{"booleanValue":true}"#]]);
        check(r#"{"integerValue":"7.0"}"#, expect![[r#"{"integerValue":"7"}"#]]);
        check(r#"{"integerValue":"-1e3"}"#, expect![[r#"{"integerValue":"-1000"}"#]]);
        for text in [
            r#"{"booleanValue":"yes"}"#,
            r#"{"booleanValue":1}"#,
            r#"{"integerValue":"7.5"}"#,
            r#"{"integerValue":"1e300"}"#,
            r#"{"integerValue":"inf"}"#,
            r#"{"integerValue":""}"#,
        ] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn integers_are_text_and_doubles_numbers_where_json_has_them() {
        check(r#"{"integerValue":"-9223372036854775808"}"#, expect![[r#"{"integerValue":"-9223372036854775808"}"#]]);
        check(r#"{"integerValue":7}"#, expect![[r#"{"integerValue":"7"}"#]]);
        check(r#"{"doubleValue":7}"#, expect![[r#"{"doubleValue":7.0}"#]]);
        check(r#"{"doubleValue":"-0"}"#, expect![[r#"{"doubleValue":-0.0}"#]]);
        check(r#"{"doubleValue":"NaN"}"#, expect![[r#"{"doubleValue":"NaN"}"#]]);
        check(r#"{"doubleValue":"-Infinity"}"#, expect![[r#"{"doubleValue":"-Infinity"}"#]]);
        check(
            r#"{"doubleValue":"inf"}"#,
            expect![[
                r#"refused: invalid value: string "inf", expected a double, as a number or as text at line 1 column 20"#
            ]],
        );
    }

    #[test]
    fn containers_may_be_empty_and_nest() {
        check(r#"{"mapValue":{}}"#, expect![[r#"{"mapValue":{}}"#]]);
        check(r#"{"arrayValue":{}}"#, expect![[r#"{"arrayValue":{}}"#]]);
        check(
            r#"{"mapValue":{"fields":{"b":{"bytesValue":"_-8"},"a":{"arrayValue":{"values":[{"stringValue":"x"}]}}}}}"#,
            expect![[
                r#"{"mapValue":{"fields":{"a":{"arrayValue":{"values":[{"stringValue":"x"}]}},"b":{"bytesValue":"/+8="}}}}"#
            ]],
        );
        check(
            r#"{"geoPointValue":{"latitude":1.5,"longitude":-2}}"#,
            expect![[r#"{"geoPointValue":{"latitude":1.5,"longitude":-2.0}}"#]],
        );
    }

    #[test]
    fn a_value_has_one_type() {
        check(
            r#"{"stringValue":"a","nullValue":null}"#,
            expect!["refused: a value has one type; two are named at line 1 column 36"],
        );
        check(r#"{"laterValue":1}"#, expect!["{}"]);
    }
}
