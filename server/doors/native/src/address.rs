//! Addresses: what a path of the URL names. It decides nothing about methods.

use std::borrow::Cow;

use hearth_core::{CollectionPath, DatabaseName, DocPath, Id, PathError};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::problem::Problem;

/// The last segment that turns a `POST` to a collection into a query.
const QUERY: &str = "~query";
/// The first segment of a collection group.
const GROUP: &str = "~";

/// What a URL names, before project and database are known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `/`
    Root,
    /// `/health`
    Health,
    /// `/metrics`
    Metrics,
    /// `/tickets`
    Tickets,
    /// `/sdk/…` and `/demo…`: a file that ships with the program, by its name.
    File(String),
    /// `/db…`: data.
    Data(Scope, Place),
    /// `/db…/~query`: data to be queried by a body, all of them where nothing stands before it. Only of a `POST`; otherwise
    /// `~query` is an id like any other.
    Query(Scope, Place),
    /// `/feed`
    Feed(Scope),
    /// `/links`, or `/links/ID`
    Links(Scope, Option<String>),
    /// `/ttl`: what expires; or `/ttl/GROUP`, of one collection group.
    Ttl(Scope, Option<Id>),
    /// `/backup`: which databases there are to back up.
    Backups,
    /// `/p/PROJECT/backup…`: what a backup copies of a database.
    Backup(Scope, Part),
}

/// What a backup asks of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Up to where it can be copied.
    Point,
    /// A snapshot.
    Snapshot,
    /// A part of the log.
    Log,
}

/// Which database, as far as the URL says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scope {
    /// The project of `/p/PROJECT/…`; none means the default one.
    pub project: Option<String>,
    /// The database of `@NAME`; none means `(default)`.
    pub database: Option<String>,
}

/// What is named inside a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The database itself.
    Database,
    /// A collection.
    Collection(CollectionPath),
    /// A document.
    Document(DocPath),
    /// Every collection with this id.
    Group(Id),
}

impl Scope {
    /// The database's full name, where `default_project` is the one that is meant when none is named.
    pub fn name(&self, default_project: &str) -> Result<DatabaseName, PathError> {
        let project = self.project.as_deref().unwrap_or(default_project);
        DatabaseName::parse(project, self.database.as_deref().unwrap_or(DatabaseName::DEFAULT))
    }
}

impl Address {
    /// What a path names; `path` is as it stands in the URL, percent-encoded. `None`: nothing of ours.
    pub fn parse(path: &str, is_post: bool) -> Result<Option<Self>, Problem> {
        match path {
            "/" => return Ok(Some(Self::Root)),
            "/health" => return Ok(Some(Self::Health)),
            "/metrics" => return Ok(Some(Self::Metrics)),
            "/tickets" => return Ok(Some(Self::Tickets)),
            "/backup" => return Ok(Some(Self::Backups)),
            "/demo" | "/demo/" => return Ok(Some(Self::File("demo/index.html".into()))),
            _ => {}
        }
        if let Some(file) = path.strip_prefix('/').filter(|file| file.starts_with("sdk/") || file.starts_with("demo/"))
        {
            return Ok(Some(Self::File(file.into())));
        }
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (project, segments) = match &*segments {
            ["p", project, rest @ ..] => (Some(decode(project)?.into_owned()), rest),
            segments => (None, segments),
        };
        let Some((head, rest)) = segments.split_first() else { return Ok(None) };
        let (door, database) = match head.split_once('@') {
            Some((door, database)) => (door, Some(decode(database)?.into_owned())),
            None => (*head, None),
        };
        let scope = Scope { project, database };
        Ok(match (door, rest) {
            ("db", [rest @ .., QUERY]) if is_post => match Place::of_segments(rest)? {
                Place::Document(path) => {
                    return Err(Problem::invalid(format!("a query reads a collection, and {path} is a document")));
                }
                place => Some(Self::Query(scope, place)),
            },
            ("db", rest) => Some(Self::Data(scope, Place::of_segments(rest)?)),
            ("feed", []) => Some(Self::Feed(scope)),
            ("backup", []) if scope.project.is_some() => Some(Self::Backup(scope, Part::Point)),
            ("backup", ["snapshot"]) if scope.project.is_some() => Some(Self::Backup(scope, Part::Snapshot)),
            ("backup", ["log"]) if scope.project.is_some() => Some(Self::Backup(scope, Part::Log)),
            ("ttl", []) => Some(Self::Ttl(scope, None)),
            ("ttl", [group]) => {
                let group = Id::parse(&decode(group)?);
                let group = group
                    .map_err(|error| Problem::invalid(format!("ttl/ is followed by the id of collections: {error}")))?;
                Some(Self::Ttl(scope, Some(group)))
            }
            ("links", []) => Some(Self::Links(scope, None)),
            ("links", [link]) => Some(Self::Links(scope, Some(decode(link)?.into_owned()))),
            _ => None,
        })
    }
}

impl Place {
    fn of_segments(segments: &[&str]) -> Result<Self, Problem> {
        match segments {
            [] => return Ok(Self::Database),
            [.., ""] => return Err(Problem::invalid("the path ends in a slash; leave it out")),
            _ => {}
        }
        let mut path = String::new();
        for (index, segment) in segments.iter().enumerate() {
            let segment = decode(segment)?;
            // Decoded before it is joined: an id never holds a slash, encoded or not.
            if segment.contains('/') {
                return Err(PathError::Segment { index, error: hearth_core::IdError::Slash }.into());
            }
            if index > 0 {
                path.push('/');
            }
            path.push_str(&segment);
        }
        Self::parse(&path)
    }

    /// What a path inside a database names: `rooms`, `rooms/lobby`, `~/rooms`. Not percent-encoded.
    pub fn parse(path: &str) -> Result<Self, Problem> {
        match path.split_once('/') {
            Some((GROUP, id)) => match Id::parse(id) {
                Ok(id) => Ok(Self::Group(id)),
                Err(error) => Err(Problem::invalid(format!("~/ is followed by the id of collections: {error}"))),
            },
            None if path == GROUP => Err(Problem::invalid("~ is followed by the id of collections, as in ~/messages")),
            _ if path.split('/').count().is_multiple_of(2) => Ok(Self::Document(DocPath::parse(path)?)),
            _ => Ok(Self::Collection(CollectionPath::parse(path)?)),
        }
    }

    /// The path as it stands in messages.
    pub fn path(&self) -> Cow<'_, str> {
        match self {
            Self::Database => Cow::Borrowed(""),
            Self::Collection(path) => Cow::Borrowed(path.as_str()),
            Self::Document(path) => Cow::Borrowed(path.as_str()),
            Self::Group(id) => Cow::Owned(format!("~/{id}")),
        }
    }
}

/// What must be encoded in a segment of a URL's path. Source: RFC 3986 §3.3, `pchar`.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Encodes a path for a URL, segment by segment.
pub fn encode_path(path: &str) -> String {
    let segments: Vec<String> =
        path.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
    segments.join("/")
}

fn decode(segment: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Problem::invalid("the path is not UTF-8 where it is percent-decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(path: &str, want: Expect) {
        want.assert_eq(&match Address::parse(path, true) {
            Ok(Some(address)) => format!("{address:?}"),
            Ok(None) => "nothing".into(),
            Err(problem) => format!("{} {}", problem.status.as_u16(), problem.detail),
        });
    }

    #[test]
    fn segments_alternate_between_collections_and_documents() {
        check("/db", expect!["Data(Scope { project: None, database: None }, Database)"]);
        check("/db/messages", expect![[r#"Data(Scope { project: None, database: None }, Collection("messages"))"#]]);
        check(
            "/db/messages/abc",
            expect![[r#"Data(Scope { project: None, database: None }, Document("messages/abc"))"#]],
        );
        check("/db/~/messages", expect![[r#"Data(Scope { project: None, database: None }, Group(Id("messages")))"#]]);
        check("/db/a/b/c/~query", expect![[r#"Query(Scope { project: None, database: None }, Collection("a/b/c"))"#]]);
        check("/db/~/c/~query", expect![[r#"Query(Scope { project: None, database: None }, Group(Id("c")))"#]]);
        check("/db/~query", expect!["Query(Scope { project: None, database: None }, Database)"]);
        check("/db/a/b/~query", expect!["400 a query reads a collection, and a/b is a document"]);
    }

    #[test]
    fn projects_and_databases_are_named_in_front() {
        check(
            "/p/shop/db@eu/a",
            expect![[r#"Data(Scope { project: Some("shop"), database: Some("eu") }, Collection("a"))"#]],
        );
        check("/p/shop/feed@eu", expect![[r#"Feed(Scope { project: Some("shop"), database: Some("eu") })"#]]);
        check(
            "/p/shop/links/x%2Fy",
            expect![[r#"Links(Scope { project: Some("shop"), database: None }, Some("x/y"))"#]],
        );
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        check(
            "/db/caf%C3%A9s/a%20b+c",
            expect![[r#"Data(Scope { project: None, database: None }, Document("cafés/a b+c"))"#]],
        );
        check("/db/a/b%2Fc", expect!["400 segment 2 of the path: an id holds a slash"]);
        check("/db/%FF", expect!["400 the path is not UTF-8 where it is percent-decoded"]);
        check("/db/a/..", expect![[r#"400 segment 2 of the path: the id ".." is reserved"#]]);
        check("/db/a/", expect!["400 the path ends in a slash; leave it out"]);
        check("/db/~", expect!["400 ~ is followed by the id of collections, as in ~/messages"]);
        check("/db/~/a/b", expect!["400 ~/ is followed by the id of collections: an id holds a slash"]);
    }

    #[test]
    fn other_addresses_are_other_things_or_nothing() {
        check("/demo", expect![[r#"File("demo/index.html")"#]]);
        check("/sdk/src/link/sse.js", expect![[r#"File("sdk/src/link/sse.js")"#]]);
        check("/dbx/a", expect!["nothing"]);
        check("/ttl", expect!["Ttl(Scope { project: None, database: None }, None)"]);
        check(
            "/p/shop/ttl@eu/carts",
            expect![[r#"Ttl(Scope { project: Some("shop"), database: Some("eu") }, Some(Id("carts")))"#]],
        );
        check("/ttl/a%2Fb", expect!["400 ttl/ is followed by the id of collections: an id holds a slash"]);
        check("/backup", expect!["Backups"]);
        check("/backup@eu", expect!["nothing"]);
        check(
            "/p/shop/backup@eu/log",
            expect![[r#"Backup(Scope { project: Some("shop"), database: Some("eu") }, Log)"#]],
        );
        check("/p", expect!["nothing"]);
        check("", expect!["nothing"]);
    }

    proptest! {
        #[test]
        fn an_encoded_path_parses_back(path in "[a-z %?#+é~@.]{1,6}/[a-z\\\\\\[|]{1,6}") {
            if let Ok(doc) = DocPath::parse(&path) && !path.starts_with("~/") {
                let address = Address::parse(&format!("/db/{}", encode_path(&path)), false).unwrap();
                prop_assert_eq!(address, Some(Address::Data(Scope::default(), Place::Document(doc))));
            }
        }

        #[test]
        fn no_path_makes_the_parser_panic(path in "/(p/|db|links|~|@|%[0-9A-F]{2}|/|[a-z]|\\PC){0,12}", post in any::<bool>()) {
            let _ = Address::parse(&path, post);
        }
    }
}
