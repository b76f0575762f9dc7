//! What stands behind the question mark: fields of a request, for methods that have no body to put them in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hearth_schema::{v1, wkt};
use percent_encoding::percent_decode_str;

use crate::status::Refusal;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Parameters by the dotted names of the fields that they set, such as `mask.fieldPaths`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, Vec<String>>);

impl Params {
    /// Reads a query. `known` are the fields that the method takes; names are in camelCase or snake_case.
    ///
    /// Parameters of other names are passed over (`key`, `alt`, what newer clients add), except within a message that is
    /// known: a mask that is misspelt would change what is written.
    pub(crate) fn parse(query: &str, known: &[&str]) -> Result<Self, Refusal> {
        let mut params: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = camel_case(&decoded(name)?);
            if known.contains(&name.as_str()) {
                params.entry(name).or_default().push(decoded(value)?);
            } else if known.iter().any(|known| root(known) == root(&name) && root(known) != *known) {
                let name: String = name.chars().take(100).collect();
                return Err(Refusal::invalid(format!(
                    "Invalid query parameter {name:?}: the request has no such field; its fields are {}",
                    known.join(", ")
                )));
            }
        }
        Ok(Self(params))
    }

    /// A text; of several the last.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        Some(self.0.get(name)?.last()?.as_str())
    }

    /// All texts of a repeated field.
    fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.0.get(name).cloned()
    }

    fn read<T>(&self, name: &str, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refused = || {
            let text: String = text.chars().take(100).collect();
            Refusal::invalid(format!("Invalid query parameter {name:?}: {text:?} is not {what}"))
        };
        read(text).map(Some).ok_or_else(refused)
    }

    /// A whole number, zero where there is none.
    pub(crate) fn number(&self, name: &str) -> Result<i32, Refusal> {
        Ok(self.read(name, "a whole number", |text| text.parse().ok())?.unwrap_or_default())
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.read(name, "true or false", |text| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    /// A time.
    pub(crate) fn time(&self, name: &str) -> Result<Option<wkt::Timestamp>, Refusal> {
        self.read(name, "a time such as 2026-01-31T12:00:00Z", wkt::Timestamp::parse)
    }

    /// Bytes in either alphabet of base64. A plus sign that nobody escaped has arrived as a space.
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.read(name, "base64", |text| BASE64.decode(text.replace([' ', '+'], "-").replace('/', "_")).ok())
    }

    /// A mask. One that is there and empty is not the same as none.
    pub(crate) fn mask(&self, name: &str) -> Option<v1::DocumentMask> {
        let field_paths = self.texts(&format!("{name}.fieldPaths"))?;
        Some(v1::DocumentMask { field_paths })
    }

    /// A precondition.
    pub(crate) fn precondition(&self) -> Result<Option<v1::Precondition>, Refusal> {
        use v1::precondition::ConditionType;
        let exists = self.flag("currentDocument.exists")?.map(ConditionType::Exists);
        let updated = self.time("currentDocument.updateTime")?.map(ConditionType::UpdateTime);
        let condition = one_of("currentDocument.exists", exists, "currentDocument.updateTime", updated)?;
        Ok(condition.map(|condition| v1::Precondition { condition_type: Some(condition) }))
    }
}

/// One of two fields that exclude each other.
pub(crate) fn one_of<T>(one: &str, first: Option<T>, other: &str, second: Option<T>) -> Result<Option<T>, Refusal> {
    match (first, second) {
        (Some(_), Some(_)) => Err(Refusal::invalid(format!("Only one of {one} and {other} can be given"))),
        (first, second) => Ok(first.or(second)),
    }
}

fn decoded(text: &str) -> Result<String, Refusal> {
    let spaced = text.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8();
    Ok(text.map_err(|_| Refusal::invalid("The query is not UTF-8 once it is percent-decoded"))?.into_owned())
}

fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// `update_mask.field_paths` is `updateMask.fieldPaths`.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                out.extend(letter.to_uppercase());
                upper = false;
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: [&str; 6] = [
        "pageSize",
        "mask.fieldPaths",
        "transaction",
        "showMissing",
        "currentDocument.exists",
        "currentDocument.updateTime",
    ];

    fn parsed(query: &str) -> Params {
        Params::parse(query, &KNOWN).unwrap()
    }

    #[test]
    fn names_come_in_both_cases_and_values_again_and_again() {
        let params =
            parsed("mask.fieldPaths=a&mask.field_paths=%60x.y%60&page_size=7&key=k&%24alt=json&alt=&prettyPrint=false");
        assert_eq!(params.mask("mask").unwrap().field_paths, ["a", "`x.y`"]);
        assert_eq!(params.number("pageSize"), Ok(7));
        assert_eq!(params.mask("updateMask"), None);
        assert_eq!(parsed("mask.fieldPaths=").mask("mask").unwrap().field_paths, [""]);
        assert_eq!(parsed("").number("pageSize"), Ok(0));
    }

    #[test]
    fn bytes_come_in_both_alphabets() {
        for text in ["%2B%2F8%3D", "-_8", "+/8=", "-_8%3D"] {
            assert_eq!(
                parsed(&format!("transaction={text}")).bytes("transaction"),
                Ok(Some(vec![0xfb, 0xff])),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let check = |got: Result<(), Refusal>, want: &str| assert_eq!(got.unwrap_err().message, want);
        let params = parsed("pageSize=x&showMissing=maybe&transaction=!&currentDocument.updateTime=now");
        check(params.number("pageSize").map(drop), r#"Invalid query parameter "pageSize": "x" is not a whole number"#);
        check(
            params.flag("showMissing").map(drop),
            r#"Invalid query parameter "showMissing": "maybe" is not true or false"#,
        );
        check(params.bytes("transaction").map(drop), r#"Invalid query parameter "transaction": "!" is not base64"#);
        check(
            params.precondition().map(drop),
            r#"Invalid query parameter "currentDocument.updateTime": "now" is not a time such as 2026-01-31T12:00:00Z"#,
        );
        let both = parsed("currentDocument.exists=true&currentDocument.updateTime=2026-01-01T00:00:00Z");
        check(
            both.precondition().map(drop),
            "Only one of currentDocument.exists and currentDocument.updateTime can be given",
        );
        check(Params::parse("%ff=a", &KNOWN).map(drop), "The query is not UTF-8 once it is percent-decoded");
    }

    #[test]
    fn a_field_that_a_known_message_does_not_have_is_refused() {
        assert!(Params::parse("mask=a", &KNOWN).is_err());
        assert!(Params::parse("mask.fieldPath=a", &KNOWN).is_err());
        assert!(Params::parse("mask.fieldPaths=a", &["pageSize"]).is_ok());
    }

    proptest! {
        #[test]
        fn no_query_makes_the_reader_panic(query in "(mask|fieldPaths|pageSize|transaction|[.&=%_+]|\\PC){0,20}") {
            if let Ok(params) = Params::parse(&query, &KNOWN) {
                let _ = (params.number("pageSize"), params.bytes("transaction"), params.precondition());
            }
        }
    }
}
