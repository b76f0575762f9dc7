//! Claims: the JSON object inside a token, read into the core's values and printed back.
//!
//! Stricter than most JSON readers: a name that stands twice is refused (which of the two was signed for?), and so is
//! nesting deeper than a document may have. It is not the JSON of documents: `$` means nothing here.

use std::fmt;

use hearth_core::{Map, Value};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Why text holds no claims, or why values cannot be claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Not one JSON object, a name twice, or too deep; the text says where.
    #[error("claims cannot be read: {what}")]
    Unreadable { what: String },
    /// JSON has no form for this value.
    #[error("the claim {name:?} holds a value that JSON cannot say")]
    Unspeakable { name: String },
}

/// Reads one JSON object.
///
/// Whole numbers of 64 bits become integers, all other numbers doubles.
pub fn parse(json: &[u8]) -> Result<Map, ClaimsError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = AnyValue { depth: 0 }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) => Err(ClaimsError::Unreadable { what: "not an object".into() }),
        Err(error) => Err(ClaimsError::Unreadable { what: error.to_string() }),
    }
}

/// Prints claims as a JSON object. Reading it gives the same claims.
pub fn print(claims: &Map) -> Result<String, ClaimsError> {
    let object: Option<serde_json::Map<_, _>> =
        claims.iter().map(|(name, value)| Some((name.to_string(), json(value, 0)?))).collect();
    match object {
        Some(object) => Ok(serde_json::Value::Object(object).to_string()),
        None => {
            let name = claims.iter().find(|(_, value)| json(value, 0).is_none());
            Err(ClaimsError::Unspeakable { name: name.map(|(name, _)| name.to_string()).unwrap_or_default() })
        }
    }
}

/// The claim of that name, if it is text.
pub(crate) fn text<'a>(claims: &'a Map, name: &str) -> Option<&'a str> {
    match claims.get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn json(value: &Value, depth: usize) -> Option<serde_json::Value> {
    if depth > Value::DEPTH_MAX {
        return None;
    }
    match value {
        Value::Null => Some(serde_json::Value::Null),
        Value::Bool(value) => Some((*value).into()),
        Value::Integer(value) => Some((*value).into()),
        Value::Double(value) => serde_json::Number::from_f64(*value).map(Into::into),
        Value::Text(value) => Some(value.as_ref().into()),
        Value::Array(values) => values.iter().map(|value| json(value, depth + 1)).collect(),
        Value::Map(map) => {
            let object: Option<serde_json::Map<_, _>> =
                map.iter().map(|(name, value)| Some((name.to_string(), json(value, depth + 1)?))).collect();
            object.map(Into::into)
        }
        Value::Timestamp(_) | Value::Bytes(_) | Value::Reference(_) | Value::Geo(_) | Value::Vector(_) => None,
    }
}

/// Any JSON value, standing inside `depth` others.
struct AnyValue {
    depth: usize,
}

impl AnyValue {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= Value::DEPTH_MAX {
            Err(E::custom("nested too deep"))
        } else {
            Ok(Self { depth: self.depth + 1 })
        }
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Double(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self.inner()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(self.inner()?)?;
            if map.insert(name.into(), value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, want: &str) {
        let got = match parse(json.as_bytes()) {
            Ok(claims) => format!("{claims:?}"),
            Err(error) => format!("refused: {error}"),
        };
        assert_eq!(got, want, "{json}");
    }

    #[test]
    fn numbers_keep_their_kind() {
        check(r#"{"a":1,"b":1.0,"c":1e3}"#, r#"{"a": Integer(1), "b": Double(1.0), "c": Double(1000.0)}"#);
        check(r#"{"a":-9223372036854775808}"#, r#"{"a": Integer(-9223372036854775808)}"#);
        check(r#"{"a":18446744073709551615}"#, r#"{"a": Double(1.8446744073709552e19)}"#);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_any_depth() {
        check(r#"{"a":1,"a":1}"#, "refused: claims cannot be read: a name stands twice at line 1 column 13");
        assert!(parse(br#"{"a":{"b":1,"\u0062":2}}"#).is_err());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for json in ["", "null", "[]", "1", "{}x", "{} {}", "{\"a\":NaN}", "\u{feff}{}", "{'a':1}"] {
            assert!(parse(json.as_bytes()).is_err(), "{json}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn nesting_ends_where_a_documents_does() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(parse(nested(Value::DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(Value::DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse(nested(4_000).as_bytes()).is_err());
    }

    #[test]
    fn values_without_a_json_form_are_not_printed() {
        let bytes = Map::from([("key".into(), Value::Bytes([1u8].as_slice().into()))]);
        assert_eq!(print(&bytes), Err(ClaimsError::Unspeakable { name: "key".into() }));
        assert!(print(&Map::from([("n".into(), Value::Double(f64::NAN))])).is_err());
    }

    pub(crate) fn any_claims() -> impl Strategy<Value = Map> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("JSON has only finite numbers", |n| n.is_finite()).prop_map(Value::Double),
            ".{0,8}".prop_map(|text| Value::text(&text)),
        ];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".{0,4}".prop_map(Box::from), inner, 0..4).prop_map(Value::Map),
            ]
        });
        prop::collection::btree_map(".{0,6}".prop_map(Box::from), value, 0..6)
    }

    proptest! {
        #[test]
        fn printed_claims_read_back_the_same(claims in any_claims()) {
            prop_assert_eq!(parse(print(&claims).unwrap().as_bytes()).unwrap(), claims);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
