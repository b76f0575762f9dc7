//! Polling: tags, conditions and waits, as the headers of HTTP tell them.
//!
//! A tag of a document is its last version; a tag of a result is a token bound to its caller. Sources: RFC 9110 §13
//! (conditions), RFC 7240 (`Prefer`).

use std::time::Duration;

use hearth_auth::Caller;
use hearth_core::write::Precondition;
use hearth_core::{Document, Version};
use hearth_engine::Token;

use crate::params::parse_version;
use crate::problem::Problem;
use crate::writes::hash64;

/// The longest wait that is granted, in seconds. Proxies give up after 60.
pub const WAIT_SECONDS_MAX: u64 = 55;

/// The tags of an `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: whatever there is.
    Any,
    /// Any of these.
    List(Vec<Tag>),
}

/// One entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whether it only says that two answers mean the same, not that they are the same bytes.
    pub weak: bool,
    /// What stands between the quotes.
    pub text: String,
}

impl Tags {
    /// Reads a header of this name.
    pub fn parse(name: &str, header: &str) -> Result<Self, Problem> {
        let wrong = || Problem::invalid("tags in quotes, separated by commas, or * are expected").at(name);
        if header.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = header.trim();
        while !rest.is_empty() {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (text, behind) = quoted.strip_prefix('"').and_then(|open| open.split_once('"')).ok_or_else(wrong)?;
            tags.push(Tag { weak, text: text.into() });
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if behind.is_empty() => "",
                None => return Err(wrong()),
            };
        }
        if tags.is_empty() { Err(wrong()) } else { Ok(Self::List(tags)) }
    }

    /// Whether one of the tags means this document, or that there is none: the weak comparison of `If-None-Match`.
    pub fn hold(&self, document: Option<&Document>) -> bool {
        match self {
            Self::Any => document.is_some(),
            Self::List(tags) => tags.iter().any(|tag| tag.text == document_tag(document)),
        }
    }

    /// The tokens among the tags that were given to this caller.
    pub fn tokens(&self, caller: &Caller) -> Vec<Token> {
        match self {
            Self::Any => Vec::new(),
            Self::List(tags) => tags.iter().filter_map(|tag| token_of(&tag.text, caller)).collect(),
        }
    }
}

/// The tag of a document, without quotes: `0` for a missing one.
pub fn document_tag(document: Option<&Document>) -> String {
    document.map_or(Version::ZERO, |document| document.updated).to_string()
}

/// The tag of a result. Weak, since a newer tag may stand for the same documents. With the caller in it, since another
/// caller may see another result.
pub fn result_tag(token: &Token, caller: &Caller) -> String {
    format!("W/\"{token}.{}\"", authority(caller))
}

fn token_of(text: &str, caller: &Caller) -> Option<Token> {
    let (token, whose) = text.split_once('.')?;
    if whose == authority(caller) { Token::parse(token).ok() } else { None }
}

fn authority(caller: &Caller) -> String {
    format!("{:x}", hash64(&[caller.scope().as_str().as_bytes()]))
}

/// What a write's `If-Match` and `If-None-Match` demand of its document.
pub fn precondition(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Precondition, Problem> {
    let demanded = match if_match.map(|header| Tags::parse("If-Match", header)).transpose()? {
        None => Precondition::None,
        Some(Tags::Any) => Precondition::Exists(true),
        Some(Tags::List(tags)) => match tags.as_slice() {
            // A weak tag never matches strongly, so such a write could only be refused: say why.
            [Tag { weak: false, text }] => match parse_version(text) {
                Some(Version::ZERO) => Precondition::Exists(false),
                Some(version) => Precondition::Updated(version),
                None => return Err(Problem::invalid("this is not the tag of a document").at("If-Match")),
            },
            _ => return Err(Problem::invalid("one strong tag is expected").at("If-Match")),
        },
    };
    match if_none_match.map(|header| Tags::parse("If-None-Match", header)).transpose()? {
        None => Ok(demanded),
        Some(Tags::Any) if demanded == Precondition::None => Ok(Precondition::Exists(false)),
        Some(Tags::Any) => Err(Problem::invalid("If-Match and If-None-Match exclude each other").at("If-None-Match")),
        Some(Tags::List(_)) => Err(Problem::invalid("of a write only * is understood").at("If-None-Match")),
    }
}

/// The seconds that `Prefer: wait=N` asks for, as far as they are granted. Other preferences are ignored.
pub fn preferred_wait<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<u64> {
    let preferences = headers.into_iter().flat_map(|header| header.split(','));
    let waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok();
        seconds.filter(|_: &u64| name.trim().eq_ignore_ascii_case("wait"))
    });
    waits.map(|seconds| seconds.min(WAIT_SECONDS_MAX)).next()
}

/// How long to hold: up to a tenth less or more than was granted, so that those who came together part. `random` is any
/// number.
pub fn held(seconds: u64, random: u64) -> Duration {
    let span = seconds * 1_000 / 5;
    Duration::from_millis(seconds * 900 + random % (span + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(header: &str, want: Expect) {
        want.assert_eq(&match Tags::parse("If-None-Match", header) {
            Ok(Tags::Any) => "any".into(),
            Ok(Tags::List(tags)) => {
                let print = |tag: &Tag| format!("{}{}", if tag.weak { "weak " } else { "" }, tag.text);
                tags.iter().map(print).collect::<Vec<_>>().join(", ")
            }
            Err(problem) => format!("refused: {}", problem.detail),
        });
    }

    #[test]
    fn tags_come_as_lists_weak_or_not() {
        check("*", expect!["any"]);
        check(r#""a""#, expect!["a"]);
        check(r#"W/"a,b" , "c","#, expect!["weak a,b, c"]);
        check("abc", expect!["refused: tags in quotes, separated by commas, or * are expected"]);
        check(r#""a" "b""#, expect!["refused: tags in quotes, separated by commas, or * are expected"]);
        check("", expect!["refused: tags in quotes, separated by commas, or * are expected"]);
    }

    #[test]
    fn a_results_tag_is_its_callers_own() {
        let token = Token { version: Version::from_micros(7), epoch: 1, query: 2 };
        let tags = Tags::parse("If-None-Match", &result_tag(&token, &Caller::Anonymous)).unwrap();
        assert_eq!(tags.tokens(&Caller::Anonymous), [token]);
        assert_eq!(tags.tokens(&Caller::Admin), []);
    }

    #[test]
    fn conditions_of_writes_are_one_version_existence_or_absence() {
        let check = |a: Option<&str>, b: Option<&str>| precondition(a, b).map_err(|problem| problem.detail);
        assert_eq!(check(None, None), Ok(Precondition::None));
        assert_eq!(check(Some(r#""7""#), None), Ok(Precondition::Updated(Version::from_micros(7))));
        assert_eq!(check(Some(r#""0""#), None), Ok(Precondition::Exists(false)));
        assert_eq!(check(Some("*"), None), Ok(Precondition::Exists(true)));
        assert_eq!(check(None, Some("*")), Ok(Precondition::Exists(false)));
        assert!(check(Some(r#"W/"7""#), None).is_err());
        assert!(check(Some(r#""7""#), Some("*")).is_err());
        assert!(check(None, Some(r#""7""#)).is_err());
    }

    #[test]
    fn a_wait_is_found_among_preferences_and_bounded() {
        assert_eq!(preferred_wait(["wait=30"]), Some(30));
        assert_eq!(preferred_wait(["respond-async, WAIT = \"99\"; x=1"]), Some(55));
        assert_eq!(preferred_wait(["return=minimal", "wait=2"]), Some(2));
        assert_eq!(preferred_wait(["wait", "wait=-1", "wait=x"]), None);
    }

    proptest! {
        #[test]
        fn a_wait_is_held_within_a_tenth(seconds in 0..=WAIT_SECONDS_MAX, random in any::<u64>()) {
            let held = held(seconds, random).as_millis();
            prop_assert!((u128::from(seconds * 900)..=u128::from(seconds * 1_100)).contains(&held));
        }

        #[test]
        fn no_header_makes_the_parsers_panic(header in "(W/|\"|,|\\*|wait|=|;|[ a-z0-9é]){0,12}") {
            let _ = Tags::parse("If-Match", &header);
            let _ = preferred_wait([header.as_str()]);
            let _ = precondition(Some(&header), Some(&header));
        }
    }
}
