//! The writes of one commit to the same document. Firestore makes one of them before it looks at the document, and refuses what
//! can never stand together: in these words, since apps and the SDKs' own tests ask for that code.
//!
//! Source: the answers of Google's emulator to all pairs of writes, and what the web SDK expects of the cloud.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{DocPath, Version};

use crate::status::Refusal;

/// What the writes so far make of a document, whatever it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is made, and must have been missing.
    Insert,
    /// It is changed, and must have been there.
    Update,
    /// It is there afterwards.
    Upsert,
    Delete,
    /// It is only looked at.
    Verify,
}

impl Kind {
    fn of(write: &Write) -> Self {
        match (write.operation(), write.precondition()) {
            (Operation::Verify, _) => Self::Verify,
            (Operation::Delete, _) => Self::Delete,
            (Operation::Set(_) | Operation::Merge { .. }, Precondition::Exists(false)) => Self::Insert,
            (Operation::Set(_) | Operation::Merge { .. }, Precondition::None) => Self::Upsert,
            (Operation::Set(_) | Operation::Merge { .. }, Precondition::Exists(true) | Precondition::Updated(_)) => {
                Self::Update
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Verify => "verify",
        }
    }

    /// This and then `next`, where a document can be both.
    fn then(self, next: Self, precondition: Precondition) -> Result<Self, Refusal> {
        use Kind::{Delete, Insert, Update, Upsert, Verify};
        let never =
            || Refusal::invalid(format!("Cannot {} then {} an entity in the same request.", self.word(), next.word()));
        let verified = |how: &str| Refusal::invalid(format!("the same document cannot be {how} in a single request"));
        match (self, next, precondition) {
            (Verify, Verify, _) => Err(verified("verified more than once")),
            (Verify, _, _) => Err(verified("verified and then written")),
            (_, Verify, _) => Err(verified("written and then verified")),
            (Delete, Update, _) | (Delete, Delete, Precondition::Exists(true)) => Err(never()),
            (Insert | Update | Upsert, Insert, _) => Err(never()),
            (Insert | Update | Upsert, Delete, Precondition::Exists(false)) => Err(never()),
            (_, Delete, _) => Ok(Delete),
            (Delete, Insert | Upsert, _) => Ok(Upsert),
            (Insert | Update | Upsert, Update | Upsert, _) => Ok(self),
        }
    }
}

/// What is known of a document while a commit's writes are read.
struct Seen {
    kind: Kind,
    /// The version that its first write asks for.
    version: Option<Version>,
}

/// The writes of one commit as they take effect one after the other.
///
/// A version is asked for once: where a later write to the document asks for the same one, it has been found already, and the
/// document may have changed since.
pub(crate) fn together(writes: Vec<Write>) -> Result<Vec<Write>, Refusal> {
    if writes.len() < 2 {
        return Ok(writes);
    }
    let mut seen: BTreeMap<DocPath, Seen> = BTreeMap::new();
    writes.into_iter().map(|write| join(&mut seen, write)).collect()
}

fn join(seen: &mut BTreeMap<DocPath, Seen>, write: Write) -> Result<Write, Refusal> {
    let (kind, precondition) = (Kind::of(&write), write.precondition());
    let version = match precondition {
        Precondition::Updated(version) => Some(version),
        Precondition::None | Precondition::Exists(_) => None,
    };
    let before = match seen.entry(write.path().clone()) {
        Entry::Vacant(first) => {
            first.insert(Seen { kind, version });
            return Ok(write);
        }
        Entry::Occupied(before) => before.into_mut(),
    };
    before.kind = before.kind.then(kind, precondition)?;
    if version.is_none() {
        return Ok(write);
    }
    if version != before.version {
        return Err(Refusal::invalid("Cannot collapse mutations with different version preconditions"));
    }
    Ok(write.without_precondition())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_core::Map;

    /// A write by its letter: `S`et, `U`pdate, `C`reate, `D`elete, `V`erify; behind it what must be so: `+` there, `-` missing,
    /// a digit the version.
    fn write(word: &str) -> Write {
        let mut letters = word.chars();
        let operation = match letters.next() {
            Some('D') => Operation::Delete,
            Some('V') => Operation::Verify,
            _ => Operation::Set(Map::new()),
        };
        let precondition = match (letters.next(), word.chars().next()) {
            (Some('+'), _) | (None, Some('U' | 'V')) => Precondition::Exists(true),
            (Some('-'), _) | (None, Some('C')) => Precondition::Exists(false),
            (Some(digit), _) => Precondition::Updated(Version::from_micros(u64::from(digit.to_digit(10).unwrap()))),
            (None, _) => Precondition::None,
        };
        Write::build(DocPath::parse("rooms/a").unwrap(), operation, precondition, Vec::new()).unwrap()
    }

    fn check(words: &str, want: &str) {
        let got = match together(words.split(' ').map(write).collect()) {
            Ok(_) => "ok".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(got, want, "{words}");
    }

    #[test]
    fn writes_to_one_document_that_can_stand_together_do() {
        for words in [
            "S S", "S U", "S D", "S D+", "U S", "U U", "U D", "C U", "C S", "C D", "C D+", "D D", "D D-", "D S", "D C",
            "D- C", "D S U", "D C U", "C D C", "C D S", "U D C", "U D S U", "S1 U", "S1 S D", "S1 S1", "S1 S S1",
            "S1 D1", "D1 D1", "D1 S",
        ] {
            check(words, "ok");
        }
    }

    #[test]
    fn writes_to_one_document_that_never_can_are_refused() {
        let cannot =
            |first, second| format!("InvalidArgument: Cannot {first} then {second} an entity in the same request.");
        for (words, first, second) in [
            ("D U", "delete", "update"),
            ("D S1", "delete", "update"),
            ("D1 S1", "delete", "update"),
            ("D D+", "delete", "delete"),
            ("S D U", "delete", "update"),
            ("S C", "upsert", "insert"),
            ("D S C", "upsert", "insert"),
            ("U C", "update", "insert"),
            ("C C", "insert", "insert"),
            ("C U C", "insert", "insert"),
            ("S D-", "upsert", "delete"),
            ("U D-", "update", "delete"),
            ("C S D-", "insert", "delete"),
        ] {
            check(words, &cannot(first, second));
        }
        for words in ["S S1", "U D1", "D D1", "S1 S2", "S1 D2", "C S1"] {
            check(words, "InvalidArgument: Cannot collapse mutations with different version preconditions");
        }
        let verified = |how| format!("InvalidArgument: the same document cannot be {how} in a single request");
        check("V V-", &verified("verified more than once"));
        check("V S", &verified("verified and then written"));
        check("D V", &verified("written and then verified"));
    }

    #[test]
    fn a_version_is_asked_for_once() {
        let writes = together(["S1", "S", "S1", "D1"].map(write).into()).unwrap();
        let asked: Vec<_> = writes.iter().map(Write::precondition).collect();
        let none = Precondition::None;
        assert_eq!(asked, [Precondition::Updated(Version::from_micros(1)), none, none, none]);
    }

    #[test]
    fn other_documents_are_other_documents() {
        let other = Write::build(DocPath::parse("rooms/b").unwrap(), Operation::Delete, Precondition::None, Vec::new());
        assert!(together(vec![other.unwrap(), write("U"), write("S1")]).is_err());
        let other = Write::build(DocPath::parse("rooms/b").unwrap(), Operation::Delete, Precondition::None, Vec::new());
        assert!(together(vec![other.unwrap(), write("U")]).is_ok());
    }
}
