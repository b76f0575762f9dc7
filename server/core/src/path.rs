//! Paths: the names of databases, collections and documents.
//!
//! A path is parsed once, at the door; whoever holds one need not check it again. Order is Firestore's: segment
//! by segment, numeric ids (`__id7__`) before text, text by its UTF-8 bytes, the shorter path first.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One segment of a path: the id of a document or of a collection.
///
/// Holds 1 to 1,500 bytes of UTF-8 without `/`, never `.`, `..` or of the form `__…__`; the one exception are
/// numeric ids, `__id<int64>__`, which sort before all others by their number.
/// Source: Firestore documentation, "Usage and limits" (collections, documents, fields).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id(Box<str>);

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an id is empty")]
    Empty,
    #[error("an id of {bytes} bytes is over the limit of {}", Id::BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("an id holds a slash")]
    Slash,
    #[error("the id {text:?} is reserved")]
    Reserved { text: Box<str> },
}

impl Id {
    /// Longest id, in bytes of UTF-8.
    pub const BYTES_MAX: usize = 1_500;

    /// The only way in. Whoever holds an `Id` need not check it again.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    fn check(text: &str) -> Result<(), IdError> {
        let reserved = text.len() >= 4 && text.starts_with("__") && text.ends_with("__");
        match text {
            "" => Err(IdError::Empty),
            _ if text.len() > Self::BYTES_MAX => Err(IdError::TooLong { bytes: text.len() }),
            _ if text.contains('/') => Err(IdError::Slash),
            "." | ".." => Err(IdError::Reserved { text: text.into() }),
            _ if reserved && numeric_id(text).is_none() => Err(IdError::Reserved { text: text.into() }),
            _ => Ok(()),
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_segments(&self.0, &other.0)
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number in a numeric id `__id<int64>__`, where the text is one in canonical form.
pub fn numeric_id(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("__id")?.strip_suffix("__")?;
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Orders two segments: numeric ids first, by number, then text by UTF-8 bytes.
pub fn compare_segments(a: &str, b: &str) -> Ordering {
    match (numeric_id(a), numeric_id(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.as_bytes().cmp(b.as_bytes()),
    }
}

fn compare_paths(a: &str, b: &str) -> Ordering {
    a.split('/')
        .map(Some)
        .chain([None])
        .zip(b.split('/').map(Some).chain([None]))
        .find_map(|pair| match pair {
            (Some(a), Some(b)) => Some(compare_segments(a, b)).filter(|order| order.is_ne()),
            (None, Some(_)) => Some(Ordering::Less),
            (Some(_), None) => Some(Ordering::Greater),
            (None, None) => Some(Ordering::Equal),
        })
        .unwrap_or(Ordering::Equal)
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("segment {} of the path: {error}", index + 1)]
    Segment { index: usize, error: IdError },
    #[error("{path:?} has {segments} segments; a document's path has an even number of them")]
    NotADocument { path: Box<str>, segments: usize },
    #[error("{path:?} has {segments} segments; a collection's path has an odd number of them")]
    NotACollection { path: Box<str>, segments: usize },
    #[error("the path nests {depth} collections, over the limit of {}", DocPath::DEPTH_MAX)]
    TooDeep { depth: usize },
    #[error("the path has {bytes} bytes, over the limit of {}", DocPath::BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("{text:?} is not the name of a project or database: use lower-case letters, digits, '-', '_', '.' and ':'")]
    Database { text: Box<str> },
    #[error("{text:?} is not a full document name (projects/P/databases/D/documents/…)")]
    NotAName { text: Box<str> },
}

fn check_path(text: &str) -> Result<usize, PathError> {
    if text.len() > DocPath::BYTES_MAX {
        return Err(PathError::TooLong { bytes: text.len() });
    }
    let mut segments = 0;
    for (index, segment) in text.split('/').enumerate() {
        Id::check(segment).map_err(|error| PathError::Segment { index, error })?;
        segments = index + 1;
    }
    let depth = segments.div_ceil(2);
    if depth > DocPath::DEPTH_MAX {
        return Err(PathError::TooDeep { depth });
    }
    Ok(segments)
}

macro_rules! path_type {
    ($name:ident) => {
        impl $name {
            /// The segments joined by slashes, without one at either end.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The segments, outermost first.
            pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
                self.0.split('/')
            }

            /// The last segment.
            pub fn id(&self) -> &str {
                self.0.rsplit('/').next().unwrap_or(&self.0)
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                compare_paths(&self.0, &other.0)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

/// The path of a document inside its database: an even number of segments, such as `rooms/lobby`.
#[derive(Clone)]
pub struct DocPath(Arc<str>);

path_type!(DocPath);

impl DocPath {
    /// Longest path, in bytes of UTF-8. Source: Firestore documentation, "Usage and limits".
    pub const BYTES_MAX: usize = 6 * 1_024;
    /// Most collections on the way to a document. Source: Firestore documentation, "Usage and limits".
    pub const DEPTH_MAX: usize = 100;

    /// Parses `collection/id/…`; an odd number of segments is refused.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let segments = check_path(text)?;
        match segments % 2 {
            0 => Ok(Self(text.into())),
            _ => Err(PathError::NotADocument { path: text.into(), segments }),
        }
    }

    /// The collection that holds this document.
    pub fn parent(&self) -> CollectionPath {
        let end = self.0.rfind('/').expect("a document's path has at least two segments");
        CollectionPath(self.0[..end].into())
    }

    /// The id of the collection that holds this document.
    pub fn collection_id(&self) -> &str {
        self.0.rsplit('/').nth(1).expect("a document's path has at least two segments")
    }

    /// A collection below this document.
    pub fn collection(&self, id: &Id) -> Result<CollectionPath, PathError> {
        CollectionPath::parse(&format!("{}/{}", self.0, id.as_str()))
    }

    /// Whether this document lies below `ancestor`, at any depth. A document does not lie below itself.
    pub fn is_below(&self, ancestor: &DocPath) -> bool {
        self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The path of a collection inside its database: an odd number of segments, such as `rooms` or `rooms/lobby/messages`.
#[derive(Clone)]
pub struct CollectionPath(Arc<str>);

path_type!(CollectionPath);

impl CollectionPath {
    /// Parses `collection` or `collection/id/collection…`; an even number of segments is refused.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let segments = check_path(text)?;
        match segments % 2 {
            1 => Ok(Self(text.into())),
            _ => Err(PathError::NotACollection { path: text.into(), segments }),
        }
    }

    /// The document that holds this collection; none where it stands at the root.
    pub fn parent(&self) -> Option<DocPath> {
        self.0.rfind('/').map(|end| DocPath(self.0[..end].into()))
    }

    /// A document of this collection.
    pub fn doc(&self, id: &Id) -> Result<DocPath, PathError> {
        DocPath::parse(&format!("{}/{}", self.0, id.as_str()))
    }

    /// Whether `doc` stands directly in this collection.
    pub fn holds(&self, doc: &DocPath) -> bool {
        let rest = doc.0.strip_prefix(&*self.0).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| !rest.contains('/'))
    }
}

/// The name of a database: a project and a database of it, such as `demo` and `(default)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseName {
    project: Arc<str>,
    database: Arc<str>,
}

impl DatabaseName {
    /// The database that is meant when none is named.
    pub const DEFAULT: &'static str = "(default)";
    /// Longest name of a project or database, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks both names: 1 to 128 of `a`–`z`, `A`–`Z`, `0`–`9`, `-`, `_`, `.`, `:`; the database may be `(default)`.
    pub fn parse(project: &str, database: &str) -> Result<Self, PathError> {
        let plain = |text: &str| {
            (1..=Self::BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
                && text.bytes().any(|b| b.is_ascii_alphanumeric())
        };
        if !plain(project) {
            return Err(PathError::Database { text: project.into() });
        }
        if database != Self::DEFAULT && !plain(database) {
            return Err(PathError::Database { text: database.into() });
        }
        Ok(Self { project: project.into(), database: database.into() })
    }

    /// The project's id.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The database's id, `(default)` for the one that is meant when none is named.
    pub fn database(&self) -> &str {
        &self.database
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/databases/{}", self.project, self.database)
    }
}

/// A value that points to a document, maybe of another database.
///
/// Ordered by its full name, segment by segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The database of the document.
    pub database: DatabaseName,
    /// The document; it need not exist.
    pub path: DocPath,
}

impl Reference {
    /// Parses a full name, `projects/P/databases/D/documents/…`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let not_a_name = || PathError::NotAName { text: text.chars().take(200).collect::<String>().into() };
        let rest = text.strip_prefix("projects/").ok_or_else(not_a_name)?;
        let (project, rest) = rest.split_once("/databases/").ok_or_else(not_a_name)?;
        let (database, path) = rest.split_once("/documents/").ok_or_else(not_a_name)?;
        Ok(Self { database: DatabaseName::parse(project, database)?, path: DocPath::parse(path)? })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/documents/{}", self.database, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, want: Expect) {
        want.assert_eq(&match Id::parse(text) {
            Ok(id) => format!("ok {}", id.as_str()),
            Err(error) => format!("refused: {error}"),
        });
    }

    #[test]
    fn double_underscores_are_reserved_on_both_sides_only() {
        check("__id", expect!["ok __id"]);
        check("id__", expect!["ok id__"]);
        check("____", expect![[r#"refused: the id "____" is reserved"#]]);
        check("__name__", expect![[r#"refused: the id "__name__" is reserved"#]]);
    }

    #[test]
    fn numeric_ids_are_allowed_in_canonical_form_only() {
        check("__id7__", expect!["ok __id7__"]);
        check("__id-9223372036854775808__", expect!["ok __id-9223372036854775808__"]);
        check("__id07__", expect![[r#"refused: the id "__id07__" is reserved"#]]);
        check("__id9223372036854775808__", expect![[r#"refused: the id "__id9223372036854775808__" is reserved"#]]);
    }

    #[test]
    fn an_id_has_a_length() {
        check("", expect!["refused: an id is empty"]);
        check(&"x".repeat(1_501), expect!["refused: an id of 1501 bytes is over the limit of 1500"]);
    }

    fn check_path(text: &str, want: Expect) {
        want.assert_eq(&match DocPath::parse(text) {
            Ok(path) => format!("ok {path} in {}", path.parent()),
            Err(error) => format!("refused: {error}"),
        });
    }

    #[test]
    fn a_document_stands_in_a_collection() {
        check_path("rooms/a", expect!["ok rooms/a in rooms"]);
        check_path("rooms/a/messages/b", expect!["ok rooms/a/messages/b in rooms/a/messages"]);
        check_path(
            "rooms",
            expect![[r#"refused: "rooms" has 1 segments; a document's path has an even number of them"#]],
        );
        check_path("rooms//x", expect!["refused: segment 2 of the path: an id is empty"]);
        check_path("", expect!["refused: segment 1 of the path: an id is empty"]);
        let deep = vec!["a"; 202].join("/");
        check_path(&deep, expect!["refused: the path nests 101 collections, over the limit of 100"]);
    }

    #[test]
    fn paths_sort_by_segment_and_numeric_ids_first() {
        let mut paths: Vec<DocPath> = ["a/b!", "a/b/c/d", "a/b", "a/__id10__", "a/__id9__", "a/__id-1__", "a/é", "a/z"]
            .iter()
            .map(|text| DocPath::parse(text).unwrap())
            .collect();
        paths.sort();
        let text: Vec<&str> = paths.iter().map(DocPath::as_str).collect();
        assert_eq!(text, ["a/__id-1__", "a/__id9__", "a/__id10__", "a/b", "a/b/c/d", "a/b!", "a/z", "a/é"]);
    }

    #[test]
    fn holding_is_direct_and_lying_below_is_not() {
        let rooms = CollectionPath::parse("rooms").unwrap();
        let deep = DocPath::parse("rooms/a/messages/b").unwrap();
        assert!(rooms.holds(&DocPath::parse("rooms/a").unwrap()));
        assert!(!rooms.holds(&deep));
        assert!(!rooms.holds(&DocPath::parse("roomsy/a").unwrap()));
        assert!(deep.is_below(&DocPath::parse("rooms/a").unwrap()));
        assert!(!deep.is_below(&deep));
    }

    #[test]
    fn a_reference_reads_its_full_name_back() {
        let text = "projects/p/databases/(default)/documents/rooms/a";
        assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        assert!(Reference::parse("rooms/a").is_err());
        assert!(Reference::parse("projects/p q/databases/(default)/documents/rooms/a").is_err());
    }
}
