//! Resource names: `projects/P/databases/D` and what stands below its `documents`.

use hearth_core::{DatabaseName, DocPath, PathError, Reference};

use crate::status::Refusal;

/// Where a query or a list begins: a database's root or a document of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) database: DatabaseName,
    pub(crate) document: Option<DocPath>,
}

/// What a name is to be of; how Firestore calls it where it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Database,
    Document,
    Parent,
    /// What a value of a document leads to.
    Reference,
}

impl Kind {
    fn print(self) -> &'static str {
        match self {
            Self::Database => "Database name",
            Self::Document => "Document name",
            Self::Parent => "Document parent name",
            Self::Reference => "Resource name",
        }
    }
}

/// Reads the name of a database.
pub(crate) fn database(text: &str) -> Result<DatabaseName, Refusal> {
    if let Some(fault) = fault(Kind::Database, text) {
        return Err(Refusal::invalid(fault));
    }
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        ["projects", project, "databases", database] => Ok(DatabaseName::parse(project, database)?),
        _ => Err(Refusal::invalid(format!(
            "Invalid database name {}: it must be of the form projects/PROJECT/databases/DATABASE",
            quoted(text)
        ))),
    }
}

/// Reads the name of a document.
pub(crate) fn document(text: &str) -> Result<Reference, Refusal> {
    Reference::parse(text).map_err(|error| unnamed(Kind::Document, text, error))
}

/// Reads the name of the document to which a value leads.
pub(crate) fn reference(text: &str) -> Result<Reference, Refusal> {
    Reference::parse(text).map_err(|error| unnamed(Kind::Reference, text, error))
}

/// Why a text is no name, in Firestore's words where it has some.
fn unnamed(kind: Kind, text: &str, error: PathError) -> Refusal {
    if let Some(fault) = fault(kind, text) {
        return Refusal::invalid(fault);
    }
    match error {
        PathError::Segment { index, error } if index % 2 == 0 => Refusal::collection_id(text, error),
        PathError::Segment { error, .. } => Refusal::document_id(text, error),
        PathError::TooDeep { .. } => Refusal::too_deep(),
        error => Refusal::invalid(format!("Invalid document name {}: {error}", quoted(text))),
    }
}

/// Reads the name of a document that must stand in `database`.
pub(crate) fn document_in(database: &DatabaseName, text: &str) -> Result<DocPath, Refusal> {
    let reference = document(text)?;
    match reference.database == *database {
        true => Ok(reference.path),
        false => {
            Err(Refusal::invalid(format!("Document {} is not in the request's database {database}", quoted(text))))
        }
    }
}

/// Reads the name of a database's root, `…/documents`, or of a document.
pub(crate) fn parent(text: &str) -> Result<Parent, Refusal> {
    if let Some(root) = text.strip_suffix("/documents")
        && let Ok(database) = database(root)
    {
        return Ok(Parent { database, document: None });
    }
    let reference = Reference::parse(text).map_err(|error| unnamed(Kind::Parent, text, error))?;
    Ok(Parent { database: reference.database, document: Some(reference.path) })
}

/// The full name of a document.
pub(crate) fn print(database: &DatabaseName, path: &DocPath) -> String {
    format!("{database}/documents/{path}")
}

/// What is wrong with the form of a name, and at which byte of it, as Firestore says it: apps and their tests match on that.
/// `None` where the form is right, and an id of it may not be.
fn fault(kind: Kind, text: &str) -> Option<String> {
    const WORDS: [Option<&str>; 5] = [Some("projects"), None, Some("databases"), None, Some("documents")];
    let is_database = kind == Kind::Database;
    let said = |fault: String| Some(format!("{} {} {fault}", kind.print(), quoted(text)));
    let (mut at, mut count) = (0, 0);
    for segment in text.split('/') {
        match WORDS.get(count).copied().flatten() {
            _ if is_database && count == 4 => {
                return match segment {
                    "" => said("has invalid trailing \"/\".".into()),
                    _ => said(format!("has extra characters at index {}.", at - 1)),
                };
            }
            Some(word) if segment != word => return said(format!("lacks {word:?} at index {at}.")),
            Some(_) => {}
            None if segment.is_empty() && at == text.len() && is_database => {
                return said("has invalid trailing \"/\".".into());
            }
            None if segment.is_empty() && at == text.len() && count > 4 => {
                return said("is invalid: Omit trailing \"/\".".into());
            }
            None if segment.is_empty() => {
                let what = match count {
                    1 => "project",
                    3 => "database",
                    count if count % 2 == 1 => "collection",
                    _ => "resource",
                };
                return said(format!("lacks a {what} id at index {at}."));
            }
            None => {}
        }
        (at, count) = (at + segment.len() + 1, count + 1);
    }
    match count {
        4 if is_database => None,
        5 if kind != Kind::Parent => said(
            "is invalid: Omit \"/documents\" when referencing a database (except as the parent of a document).".into(),
        ),
        count if count < 5 || count % 2 == 0 => said(format!("lacks \"/\" at index {}.", text.len())),
        _ => None,
    }
}

/// A client's text in a message: never longer than a line or two.
fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    format!("{:?}", text.chars().take(CHARACTERS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_lead_to_a_database_and_a_place_in_it() {
        let root = parent("projects/p/databases/(default)/documents").unwrap();
        assert_eq!((root.database.to_string().as_str(), root.document), ("projects/p/databases/(default)", None));
        let below = parent("projects/p/databases/d/documents/rooms/a").unwrap();
        assert_eq!(below.document, Some(DocPath::parse("rooms/a").unwrap()));
        let text = "projects/p/databases/(default)/documents/rooms/a/documents/b";
        let deep = parent(text).unwrap();
        assert_eq!(print(&deep.database, &deep.document.unwrap()), text);
    }

    #[test]
    fn other_names_are_refused_with_what_was_wrong() {
        for text in ["", "projects/p", "projects/p/databases/d", "projects/p/databases/d/documents/rooms"] {
            assert!(parent(text).is_err(), "{text}");
        }
        let database = database("projects/p/databases/d").unwrap();
        assert!(document_in(&database, "projects/p/databases/e/documents/rooms/a").is_err());
        assert!(super::database("projects/p/databases/d/documents").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said_as_firestore_says_it() {
        let said = |kind: Kind, text: &str| fault(kind, text).unwrap_or_default();
        let check =
            |text: &str, want: &str| assert_eq!(said(Kind::Document, text), format!("Document name {text:?} {want}"));
        check("", r#"lacks "projects" at index 0."#);
        check("/projects/p/databases/d/documents/a/b", r#"lacks "projects" at index 0."#);
        check("projects//databases/d/documents/a/b", "lacks a project id at index 9.");
        check("projects/p/databases/d", r#"lacks "/" at index 22."#);
        check("projects/p/databases/d/a/b", r#"lacks "documents" at index 23."#);
        check("projects/p/databases/d/documents/a", r#"lacks "/" at index 34."#);
        check("projects/p/databases/d/documents/", r#"is invalid: Omit trailing "/"."#);
        check("projects/p/databases/d/documents/a/b/", r#"is invalid: Omit trailing "/"."#);
        check("projects/p/databases/d/documents/a//b/c", "lacks a resource id at index 35.");
        check(
            "projects/p/databases/d/documents",
            r#"is invalid: Omit "/documents" when referencing a database (except as the parent of a document)."#,
        );
        assert_eq!(fault(Kind::Document, "projects/p/databases/d/documents/a/b"), None);
        assert_eq!(fault(Kind::Parent, "projects/p/databases/d/documents"), None);
        assert_eq!(said(Kind::Parent, "a"), r#"Document parent name "a" lacks "projects" at index 0."#);
        let check =
            |text: &str, want: &str| assert_eq!(said(Kind::Database, text), format!("Database name {text:?} {want}"));
        check("projects/p", r#"lacks "/" at index 10."#);
        check("projects/p/databases", r#"lacks "/" at index 20."#);
        check("projects/p/databases/", r#"has invalid trailing "/"."#);
        check("projects/p/databases/d/", r#"has invalid trailing "/"."#);
        check("projects/p/databases/d/documents", "has extra characters at index 22.");
        assert_eq!(fault(Kind::Database, "projects/p/databases/d"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,60}") {
            let _ = (parent(&text), document(&text), database(&text));
        }
    }
}
