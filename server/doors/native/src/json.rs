//! Values, documents and events as JSON, and back. The form is described in `docs/query.md` and `schema/json/`.
//!
//! JSON values are themselves; what JSON cannot say is an object with one key that begins with `$`. A number without
//! point and exponent is an integer where 64 bits hold it and a double where they do not; `-0` is the double. Where a
//! name stands twice in one object the last one counts, as in JavaScript. Nothing here knows HTTP.

use hearth_core::DatabaseName;

mod event;
mod parts;
mod read;
mod time;
mod write;
mod written;

pub use event::{event_members, write_event};
pub use read::{to_fields, to_value};
pub use write::{from_value, write_document, write_fields, write_text, write_value};
pub use written::{Shape, Written, to_written};

pub(crate) use event::{Before, part_members, patch_members, write_aggregates};
pub(crate) use parts::{DifferenceText, Parts, part_of};
pub(crate) use write::{print, separated, write_removed};

/// What JSON is read or written for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The database whose documents `{"$ref": "rooms/lobby"}` means.
    pub database: &'a DatabaseName,
    /// Whether `$` means nothing: plain JSON, for forwarding what users typed. Only for reading.
    pub literal: bool,
}

impl<'a> Context<'a> {
    /// The usual meaning of `$`.
    pub fn new(database: &'a DatabaseName) -> Self {
        Self { database, literal: false }
    }
}

/// Why JSON does not say what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct JsonError {
    /// Where: a JSON pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl JsonError {
    /// Something wrong with the whole of what is looked at.
    pub(crate) fn new(detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), detail: detail.into() }
    }

    /// The same error, told from one level further out.
    #[must_use]
    pub(crate) fn within(mut self, key: &str) -> Self {
        self.pointer.insert_str(0, &format!("/{}", key.replace('~', "~0").replace('/', "~1")));
        self
    }

    /// The same error, told from the array in which it stands at `index`.
    #[must_use]
    pub(crate) fn at_index(mut self, index: usize) -> Self {
        self.pointer.insert_str(0, &format!("/{index}"));
        self
    }
}

/// Reads the text of one JSON value. Nesting is bounded by the parser at 128 levels.
pub fn parse(text: &[u8]) -> Result<serde_json::Value, JsonError> {
    serde_json::from_slice(text).map_err(|error| JsonError::new(format!("this is not JSON: {error}")))
}

/// What kind of JSON value it is, for error messages.
pub(crate) fn kind(json: &serde_json::Value) -> &'static str {
    match json {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "text",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use hearth_core::{DocPath, GeoPoint, Map, Reference, Timestamp, Value};
    use proptest::prelude::*;

    pub(crate) fn database() -> DatabaseName {
        DatabaseName::parse("demo", "(default)").unwrap()
    }

    fn check(text: &str, want: Expect) {
        let database = database();
        let context = Context::new(&database);
        let read = parse(text.as_bytes()).and_then(|json| to_value(&json, &context));
        want.assert_eq(&match read {
            Ok(value) => format!("{value:?} = {}", from_value(&value, &context)),
            Err(error) => format!("refused at {:?}: {}", error.pointer, error.detail),
        });
    }

    #[test]
    fn numbers_without_point_are_integers_as_far_as_64_bits_go() {
        check("3", expect!["Integer(3) = 3"]);
        check("3.0", expect!["Double(3.0) = 3.0"]);
        check("1e2", expect!["Double(100.0) = 100.0"]);
        check("-0", expect![[r#"Double(-0.0) = {"$double":"-0"}"#]]);
        check("9223372036854775807", expect![[r#"Integer(9223372036854775807) = {"$int":"9223372036854775807"}"#]]);
        check("9223372036854775808", expect!["Double(9.223372036854776e18) = 9.223372036854776e+18"]);
        check("9007199254740991", expect!["Integer(9007199254740991) = 9007199254740991"]);
        check(
            r#"{"$int":"9007199254740993"}"#,
            expect![[r#"Integer(9007199254740993) = {"$int":"9007199254740993"}"#]],
        );
        check(
            r#"{"$int":"9223372036854775808"}"#,
            expect![[r#"refused at "/$int": "9223372036854775808" is not an integer of 64 bits"#]],
        );
        check(r#"{"$int":"01"}"#, expect![[r#"refused at "/$int": "01" is not an integer of 64 bits"#]]);
        check(r#"{"$double":3}"#, expect!["Double(3.0) = 3.0"]);
        check(r#"{"$double":"NaN"}"#, expect![[r#"Double(NaN) = {"$double":"NaN"}"#]]);
        check(r#"{"$double":"-Infinity"}"#, expect![[r#"Double(-inf) = {"$double":"-Infinity"}"#]]);
        check(
            r#"{"$double":"3"}"#,
            expect![[r#"refused at "/$double": a number, "NaN", "Infinity", "-Infinity" or "-0" is expected"#]],
        );
        check("1e999", expect![[r#"refused at "": this is not JSON: number out of range at line 1 column 5"#]]);
    }

    #[test]
    fn what_json_cannot_say_has_a_dollar_form() {
        check(
            r#"{"$timestamp":"2026-01-31T10:00:00.123456Z"}"#,
            expect![[r#"Timestamp(Timestamp(1769853600123456)) = {"$timestamp":"2026-01-31T10:00:00.123456Z"}"#]],
        );
        check(
            r#"{"$timestamp":"2026-01-31T12:30:00.1239999+02:30"}"#,
            expect![[r#"Timestamp(Timestamp(1769853600123999)) = {"$timestamp":"2026-01-31T10:00:00.123999Z"}"#]],
        );
        check(r#"{"$bytes":"aGVhcnRo"}"#, expect![[r#"Bytes([104, 101, 97, 114, 116, 104]) = {"$bytes":"aGVhcnRo"}"#]]);
        check(
            r#"{"$geo":[48.85,2]}"#,
            expect![[r#"Geo(GeoPoint { latitude: 48.85, longitude: 2.0 }) = {"$geo":[48.85,2.0]}"#]],
        );
        check(r#"{"$vector":[0.1,2]}"#, expect![[r#"Vector([0.1, 2.0]) = {"$vector":[0.1,2.0]}"#]]);
        check(r#"{"$map":{"$ref":1}}"#, expect![[r#"Map({"$ref": Integer(1)}) = {"$map":{"$ref":1}}"#]]);
        check(r#"{"$a":1,"b":2}"#, expect![[r#"Map({"$a": Integer(1), "b": Integer(2)}) = {"$a":1,"b":2}"#]]);
    }

    #[test]
    fn references_are_paths_at_home_and_full_names_abroad() {
        check(
            r#"{"$ref":"users/ada"}"#,
            expect![[
                r#"Reference(Reference { database: DatabaseName { project: "demo", database: "(default)" }, path: "users/ada" }) = {"$ref":"users/ada"}"#
            ]],
        );
        check(
            r#"{"$ref":"projects/p/databases/d/documents/users/ada"}"#,
            expect![[
                r#"Reference(Reference { database: DatabaseName { project: "p", database: "d" }, path: "users/ada" }) = {"$ref":"projects/p/databases/d/documents/users/ada"}"#
            ]],
        );
        check(
            r#"{"$ref":"users"}"#,
            expect![[r#"refused at "/$ref": "users" has 1 segments; a document's path has an even number of them"#]],
        );
    }

    #[test]
    fn a_fault_is_told_with_its_pointer() {
        check(
            r#"{"a":[1,{"$x/y":1}]}"#,
            expect![[
                r#"refused at "/a/1/$x~1y": "$x/y" is not a type; a map with this one key is written {"$map": {…}}"#
            ]],
        );
        check(
            r#"{"a":[[1]]}"#,
            expect![[r#"refused at "/a/0": an array stands directly in an array; wrap the inner one in a map"#]],
        );
        check(
            r#"{"a":{"$serverTimestamp":true}}"#,
            expect![[
                r#"refused at "/a/$serverTimestamp": $serverTimestamp stands only where a field of a document is written"#
            ]],
        );
        check(
            r#"{"a":{"$timestamp":"yesterday"}}"#,
            expect![[r#"refused at "/a/$timestamp": "yesterday" is not a moment such as 2026-01-31T10:00:00.123456Z"#]],
        );
        check(
            r#"{"a":{"$geo":[91,0]}}"#,
            expect![[r#"refused at "/a/$geo": latitudes go from -90 to 90, longitudes from -180 to 180"#]],
        );
        check(r#"{"a":{"__x__":1}}"#, expect![[r#"refused at "/a/__x__": the field name "__x__" is reserved"#]]);
        check(r#"{"a":1,}"#, expect![[r#"refused at "": this is not JSON: trailing comma at line 1 column 8"#]]);
        check(
            r#""\ud800""#,
            expect![[r#"refused at "": this is not JSON: unexpected end of hex escape at line 1 column 8"#]],
        );
    }

    #[test]
    fn deep_json_is_refused_and_never_overflows() {
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let database = database();
        let context = Context::new(&database);
        let read = |text: String| parse(text.as_bytes()).and_then(|json| to_value(&json, &context));
        assert!(read(nested(Value::DEPTH_MAX)).is_ok());
        assert_eq!(read(nested(Value::DEPTH_MAX + 1)).unwrap_err().detail, "values nest deeper than 20 levels");
        let bomb = "[".repeat(1_000_000);
        assert!(parse(bomb.as_bytes()).unwrap_err().detail.contains("recursion limit exceeded"));
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        check(r#"{"a":1,"a":2}"#, expect![[r#"Map({"a": Integer(2)}) = {"a":2}"#]]);
    }

    #[test]
    fn literal_json_has_no_dollar_forms() {
        let database = database();
        let literal = Context { database: &database, literal: true };
        let json = serde_json::json!({"$ref": "x", "a": {"$delete": true}});
        let fields = to_fields(&json, &literal).unwrap();
        assert_eq!(fields["$ref"], Value::text("x"));
        assert_eq!(fields["a"], Value::Map(Map::from([("$delete".into(), Value::Bool(true))])));
    }

    /// Values of every type, as deep as documents may be made in tests.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let reference = ("[a-z]{1,3}", "[a-z$]{1,3}/[a-zé ]{1,3}").prop_map(|(project, path)| {
            let database = DatabaseName::parse(&project, "(default)").unwrap();
            Value::Reference(Reference { database, path: DocPath::parse(&path).unwrap() })
        });
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            (-20_i64..20).prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Double),
            prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(1e21), Just(5e-324)]
                .prop_map(Value::Double),
            (Timestamp::MIN.micros()..=Timestamp::MAX.micros())
                .prop_map(|micros| Value::Timestamp(Timestamp::from_micros(micros).unwrap())),
            ".{0,8}".prop_map(|text| Value::text(&text)),
            proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::Bytes(bytes.into())),
            reference,
            (-90.0..=90.0, -180.0..=180.0).prop_map(|(a, b)| Value::Geo(GeoPoint::new(a, b).unwrap())),
            proptest::collection::vec(any::<f64>(), 0..4).prop_map(|vector| Value::Vector(vector.into())),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let element = inner.clone().prop_filter("no arrays in arrays", |value| !matches!(value, Value::Array(_)));
            prop_oneof![
                proptest::collection::vec(element, 0..4).prop_map(Value::Array),
                proptest::collection::btree_map("[$a-c~/ é]{1,4}".prop_map(Box::from), inner, 0..4)
                    .prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_to_itself(value in any_value()) {
            let database = database();
            let context = Context::new(&database);
            let mut text = Vec::new();
            write_value(&mut text, &value, &context);
            prop_assert_eq!(to_value(&parse(&text).unwrap(), &context).unwrap(), value);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\[\\]{}\",:$a-z0-9.eE+-]{0,40}") {
            let database = database();
            let _ = parse(text.as_bytes()).and_then(|json| to_value(&json, &Context::new(&database)));
        }
    }
}
