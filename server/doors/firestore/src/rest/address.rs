//! Addresses of the REST skin: which method a verb and a path mean, and the names that the path holds.
//!
//! It reads addresses only; what stands behind the question mark is read in `params`.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use crate::status::{Code, Refusal};

/// A method of the service that REST can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    GetDocument,
    ListDocuments,
    CreateDocument,
    UpdateDocument,
    DeleteDocument,
    BatchGetDocuments,
    BeginTransaction,
    Commit,
    Rollback,
    RunQuery,
    RunAggregationQuery,
    ExecutePipeline,
    PartitionQuery,
    ListCollectionIds,
    BatchWrite,
    Write,
    Listen,
}

impl Rpc {
    /// Whether it answers many messages, here as one array.
    pub(crate) fn is_streaming(self) -> bool {
        match self {
            Self::BatchGetDocuments | Self::RunQuery | Self::RunAggregationQuery | Self::ExecutePipeline => true,
            Self::GetDocument
            | Self::ListDocuments
            | Self::CreateDocument
            | Self::UpdateDocument
            | Self::DeleteDocument
            | Self::BeginTransaction
            | Self::Commit
            | Self::Rollback
            | Self::PartitionQuery
            | Self::ListCollectionIds
            | Self::BatchWrite
            | Self::Write
            | Self::Listen => false,
        }
    }
}

/// What an address asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) rpc: Rpc,
    /// The resource that the path names: a document, the parent of a collection or of a query, or a database.
    pub(crate) name: String,
    /// The collection, of methods that have one in their path; otherwise empty.
    pub(crate) collection_id: String,
}

/// Where a method that is named behind a colon can be called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On a database's root, and it is the database that is meant.
    Database,
    /// On a database's root or on a document of it.
    Parent,
}

/// The methods that are named behind the last colon. A colon before any other word is part of an id.
const VERBS: [(&str, Rpc, Place); 12] = [
    ("batchGet", Rpc::BatchGetDocuments, Place::Database),
    ("batchWrite", Rpc::BatchWrite, Place::Database),
    ("beginTransaction", Rpc::BeginTransaction, Place::Database),
    ("commit", Rpc::Commit, Place::Database),
    ("rollback", Rpc::Rollback, Place::Database),
    ("executePipeline", Rpc::ExecutePipeline, Place::Database),
    ("write", Rpc::Write, Place::Database),
    ("listen", Rpc::Listen, Place::Database),
    ("runQuery", Rpc::RunQuery, Place::Parent),
    ("runAggregationQuery", Rpc::RunAggregationQuery, Place::Parent),
    ("partitionQuery", Rpc::PartitionQuery, Place::Parent),
    ("listCollectionIds", Rpc::ListCollectionIds, Place::Parent),
];

impl Call {
    /// Reads a verb and what follows `/v1/` of a path, as it came: percent-encoded.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, Refusal> {
        let nothing = || Refusal::new(Code::NotFound, "No method of this service has this address");
        let mut raw: Vec<&str> = path.split('/').collect();
        let ["projects", _, "databases", _, root, ..] = raw[..] else { return Err(nothing()) };
        let is_root = raw.len() == 5;
        let named = match raw.last().and_then(|last| last.rsplit_once(':')) {
            Some((before, verb)) if method == Method::POST => VERBS
                .iter()
                .find(|(name, _, place)| *name == verb && (is_root || *place == Place::Parent))
                .map(|(_, rpc, place)| (before, *rpc, *place)),
            Some(_) | None => None,
        };
        if let Some((before, _, _)) = named {
            raw.pop();
            raw.push(before);
        }
        if (if is_root { raw[4] } else { root }) != "documents" {
            return Err(nothing());
        }
        let segments = raw.iter().map(|segment| decoded(segment)).collect::<Result<Vec<_>, _>>()?;
        let whole = |rpc| Self { rpc, name: segments.join("/"), collection_id: String::new() };
        if let Some((_, rpc, place)) = named {
            return Ok(match place {
                Place::Database => Self { name: segments[..4].join("/"), ..whole(rpc) },
                Place::Parent => whole(rpc),
            });
        }
        let (parent, last) = (&segments[..segments.len() - 1], &segments[segments.len() - 1]);
        let inside = |rpc| Self { rpc, name: parent.join("/"), collection_id: last.clone() };
        let is_document = !is_root && segments.len() % 2 == 1;
        match *method {
            // Without a collection the documents of all are listed.
            Method::GET | Method::HEAD if is_root => Ok(whole(Rpc::ListDocuments)),
            Method::GET | Method::HEAD if is_document => Ok(whole(Rpc::GetDocument)),
            Method::GET | Method::HEAD => Ok(inside(Rpc::ListDocuments)),
            // Whatever stands below the root is taken for what the verb means, and its name is refused where it is none.
            Method::POST if !is_root => Ok(inside(Rpc::CreateDocument)),
            Method::PATCH if !is_root => Ok(whole(Rpc::UpdateDocument)),
            Method::DELETE if !is_root => Ok(whole(Rpc::DeleteDocument)),
            _ => Err(nothing()),
        }
    }
}

/// One segment of a path. A slash in it would make two of it further on.
pub(crate) fn decoded(segment: &str) -> Result<String, Refusal> {
    let text = percent_decode_str(segment).decode_utf8();
    let text = text.map_err(|_| Refusal::invalid("The address is not UTF-8 once it is percent-decoded"))?;
    match text.contains('/') {
        true => Err(Refusal::invalid("An id in the address holds a slash")),
        false => Ok(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(addresses: &[&str], want: Expect) {
        let mut out = String::new();
        for address in addresses {
            let (method, path) = address.split_once(' ').unwrap();
            out += &match Call::parse(&method.parse().unwrap(), path) {
                Ok(Call { rpc, name, collection_id }) => {
                    format!("{rpc:?} {name} {collection_id}").trim_end().to_owned()
                }
                Err(refusal) => format!("refused: {refusal}"),
            };
            out += "\n";
        }
        want.assert_eq(&out);
    }

    #[test]
    fn a_verb_and_the_length_of_a_path_say_which_document_method_is_meant() {
        check(
            &[
                "GET projects/p/databases/(default)/documents/rooms/a",
                "HEAD projects/p/databases/(default)/documents/rooms/a",
                "GET projects/p/databases/d/documents/rooms",
                "GET projects/p/databases/d/documents/rooms/a/parts",
                "POST projects/p/databases/d/documents/rooms",
                "PATCH projects/p/databases/d/documents/rooms/a",
                "DELETE projects/p/databases/d/documents/rooms/a/parts/b",
            ],
            expect![[r#"
                GetDocument projects/p/databases/(default)/documents/rooms/a
                GetDocument projects/p/databases/(default)/documents/rooms/a
                ListDocuments projects/p/databases/d/documents rooms
                ListDocuments projects/p/databases/d/documents/rooms/a parts
                CreateDocument projects/p/databases/d/documents rooms
                UpdateDocument projects/p/databases/d/documents/rooms/a
                DeleteDocument projects/p/databases/d/documents/rooms/a/parts/b
            "#]],
        );
    }

    #[test]
    fn a_word_behind_a_colon_names_a_method_only_where_there_is_one() {
        check(
            &[
                "POST projects/p/databases/d/documents:commit",
                "POST projects/p/databases/d/documents:runQuery",
                "POST projects/p/databases/d/documents/rooms/a:runQuery",
                "POST projects/p/databases/d/documents/rooms/a:b:listCollectionIds",
                "POST projects/p/databases/d/documents/rooms:commit",
                "POST projects/p/databases/d/documents/rooms/a:commit",
                "GET projects/p/databases/d/documents/rooms/a:runQuery",
                "POST projects/p/databases/d/documents:nothing",
                "GET projects/p/databases/d/documents:commit",
            ],
            expect![[r#"
                Commit projects/p/databases/d
                RunQuery projects/p/databases/d/documents
                RunQuery projects/p/databases/d/documents/rooms/a
                ListCollectionIds projects/p/databases/d/documents/rooms/a:b
                CreateDocument projects/p/databases/d/documents rooms:commit
                CreateDocument projects/p/databases/d/documents/rooms a:commit
                GetDocument projects/p/databases/d/documents/rooms/a:runQuery
                refused: NotFound: No method of this service has this address
                refused: NotFound: No method of this service has this address
            "#]],
        );
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        check(
            &[
                "GET projects/p/databases/%28default%29/documents/rooms/a%20b%3Ac%25",
                "GET projects/p/databases/d/documents/rooms/a%2Fb",
                "GET projects/p/databases/d/documents/rooms/%ff",
                "GET projects/p/databases/d/documents",
                "PUT projects/p/databases/d/documents/rooms/a",
                "PATCH projects/p/databases/d/documents/rooms",
                "GET projects/p/databases/d/things/rooms/a",
                "GET ",
                "GET projects/p/databases/d",
            ],
            expect![[r#"
                GetDocument projects/p/databases/(default)/documents/rooms/a b:c%
                refused: InvalidArgument: An id in the address holds a slash
                refused: InvalidArgument: The address is not UTF-8 once it is percent-decoded
                ListDocuments projects/p/databases/d/documents
                refused: NotFound: No method of this service has this address
                UpdateDocument projects/p/databases/d/documents/rooms
                refused: NotFound: No method of this service has this address
                refused: NotFound: No method of this service has this address
                refused: NotFound: No method of this service has this address
            "#]],
        );
    }

    proptest! {
        #[test]
        fn no_address_makes_the_reader_panic(
            method in "GET|POST|PATCH|DELETE|PUT",
            path in "(projects/p/databases/d/documents)?(/|:|%|%2|commit|runQuery|a|ä|%FF){0,12}",
        ) {
            let _ = Call::parse(&method.parse().unwrap(), &path);
        }
    }
}
