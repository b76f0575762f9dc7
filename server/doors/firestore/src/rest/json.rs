//! Messages as JSON, as clients write it: what serde reads, and a little more.
//!
//! What most clients send is read once. Where that fails, it is looked whether the text becomes a message by what
//! proto3's JSON allows (fields that are `null`) or what only JavaScript writes (half of a pair of surrogates), before it
//! is refused.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::status::Refusal;

/// What becomes of fields that a message does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The message is refused, as Firestore refuses it.
    Refused,
    /// They are passed over: a page's SDK may be newer than this server, and has no other way.
    PassedOver,
}

/// A field that every request may have, for logs and bills, and that this server has no use for.
const PASSED_OVER: [&str; 2] = ["requestOptions", "request_options"];

/// Most characters of a reason that are told.
const CHARACTERS_MAX: usize = 300;

/// Reads a message. Without a text it is empty.
pub(crate) fn read<M: DeserializeOwned + Default>(bytes: &[u8], unknown: Unknown) -> Result<M, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(M::default());
    }
    let mut strange = None;
    let message = match parse(&mut serde_json::Deserializer::from_slice(bytes), &mut strange) {
        Ok(message) => message,
        Err(error) => again(bytes, &mut strange).ok_or_else(|| {
            let text: String = error.to_string().chars().take(CHARACTERS_MAX).collect();
            Refusal::invalid(format!("Invalid JSON payload received. {text}"))
        })?,
    };
    match (strange, unknown) {
        (Some(path), Unknown::Refused) => Err(unknown_name(&path)),
        (Some(_) | None, _) => Ok(message),
    }
}

/// Parses a message to the end of the text, and keeps the first path in it that the message does not have.
fn parse<'de, R: serde_json::de::Read<'de>, M: DeserializeOwned>(
    json: &mut serde_json::Deserializer<R>,
    strange: &mut Option<String>,
) -> serde_json::Result<M> {
    *strange = None;
    let message = serde_ignored::deserialize(&mut *json, |path| {
        let path = path.to_string();
        if !PASSED_OVER.contains(&path.as_str()) {
            strange.get_or_insert(path);
        }
    })?;
    json.end()?;
    Ok(message)
}

/// The message of a text that was none as it is.
fn again<M: DeserializeOwned>(bytes: &[u8], strange: &mut Option<String>) -> Option<M> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut json: Json = serde_json::from_str(&paired(text)).ok()?;
    drop_nulls(&mut json, false);
    parse(&mut serde_json::Deserializer::from_slice(json.to_string().as_bytes()), strange).ok()
}

/// `Unknown name "b" at 'a': Cannot find field.` of the path `a.b`.
fn unknown_name(path: &str) -> Refusal {
    // Optional fields stand in the path as marks of serde's.
    let path: String = path.replace(".?", "").trim_start_matches("?.").chars().take(CHARACTERS_MAX).collect();
    let text = match path.rsplit_once('.') {
        Some((place, name)) => format!("Unknown name {name:?} at '{place}': Cannot find field."),
        None => format!("Unknown name {path:?}: Cannot find field."),
    };
    Refusal::invalid(format!("Invalid JSON payload received. {text}"))
}

/// A field that is null is one that is not there. Not so the fields of a document, which need a value each, and the value
/// that is null.
fn drop_nulls(json: &mut Json, is_data: bool) {
    match json {
        Json::Object(members) => {
            members.retain(|name, value| is_data || !value.is_null() || name == "nullValue" || name == "null_value");
            for (name, value) in members {
                drop_nulls(value, !is_data && name == "fields" && value.is_object());
            }
        }
        Json::Array(values) => values.iter_mut().for_each(|value| drop_nulls(value, false)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// A text in which half of a pair of surrogates, which JavaScript's texts may hold and UTF-8 cannot, is the sign for what
/// cannot be shown.
fn paired(text: &str) -> String {
    const SHOWN: &str = "\\ufffd";
    let unit = |rest: &str| {
        let digits = rest.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match unit(rest) {
            Some(0xd800..=0xdbff) if matches!(unit(&rest[6..]), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.push_str(SHOWN);
                rest = &rest[6..];
                continue;
            }
            Some(_) => 6,
            // An escape is of two characters at least, of which the second may be a backslash too.
            None => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_schema::v1;
    use proptest::prelude::*;

    fn check(text: &str, unknown: Unknown, want: &str) {
        let got = match read::<v1::CommitRequest>(text.as_bytes(), unknown) {
            Ok(request) => serde_json::to_string(&request).unwrap(),
            Err(refusal) => refusal.message,
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn a_field_that_the_message_does_not_have_is_named() {
        let check = |text: &str, want: &str| {
            check(
                text,
                Unknown::Refused,
                &format!("Invalid JSON payload received. Unknown name {want}: Cannot find field."),
            );
        };
        check(r#"{"writes":[],"nonsense":1}"#, r#""nonsense""#);
        check(r#"{"writes":[{"delete":"a","note":{}}]}"#, r#""note" at 'writes.0'"#);
        check(r#"{"writes":[{"update":{"named":"a"}}]}"#, r#""named" at 'writes.0.update'"#);
        check(
            r#"{"writes":[{"update":{"fields":{"a":{"integerValue":1,"b":2}}}}]}"#,
            r#""b" at 'writes.0.update.fields.a'"#,
        );
    }

    #[test]
    fn what_is_told_for_logs_and_bills_is_passed_over() {
        check(r#"{"requestOptions":{"requestTags":["a"]},"writes":[]}"#, Unknown::Refused, "{}");
    }

    #[test]
    fn a_page_may_send_what_is_not_known_yet() {
        check(
            r#"{"writes":[{"delete":"a","note":{}}],"later":[1]}"#,
            Unknown::PassedOver,
            r#"{"writes":[{"delete":"a"}]}"#,
        );
    }

    #[test]
    fn a_field_that_is_null_is_not_there_but_a_value_must_be() {
        let check = |text: &str, want: &str| check(text, Unknown::Refused, want);
        check(r#"{"writes":null,"database":null}"#, "{}");
        check(r#"{"writes":[{"update":{"name":"a","fields":null}}]}"#, r#"{"writes":[{"update":{"name":"a"}}]}"#);
        check(
            r#"{"database":null,"writes":[{"update":{"fields":{"fields":{"nullValue":null}}}}]}"#,
            r#"{"writes":[{"update":{"fields":{"fields":{"nullValue":null}}}}]}"#,
        );
        check(
            r#"{"writes":[{"update":{"fields":{"a":null}}}]}"#,
            "Invalid JSON payload received. invalid type: null, expected an object with one member that names the value's type at line 1 column 40",
        );
    }

    #[test]
    fn half_of_a_pair_of_surrogates_is_the_sign_for_what_cannot_be_shown() {
        let check = |text: &str, want: &str| check(&format!(r#"{{"database":"{text}"}}"#), Unknown::Refused, want);
        check(r"a\ud83d", "{\"database\":\"a\u{fffd}\"}");
        check(r"\ude00a", "{\"database\":\"\u{fffd}a\"}");
        check(r"\ud83d\ud83d\ude00", "{\"database\":\"\u{fffd}😀\"}");
        check(r"\\ud83d\ud83d", "{\"database\":\"\\\\ud83d\u{fffd}\"}");
        check(r"\ud83d\n", "{\"database\":\"\u{fffd}\\n\"}");
    }

    proptest! {
        #[test]
        fn what_is_paired_stays_as_it_is(text in "\\PC{0,20}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(&paired(&json), &json);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(\"|[{}:,\\[\\]]|null|fields|\\\\|u|d83d|de00|\\PC){0,30}") {
            let _ = read::<v1::CommitRequest>(text.as_bytes(), Unknown::Refused);
            let _ = paired(&text);
        }
    }
}
