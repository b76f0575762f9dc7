//! Resource names: `projects/P/databases/D` and what stands below its `documents`.

use hearth_core::{DatabaseName, DocPath, PathError, Reference};

use crate::status::Refusal;

/// Where a query or a list begins: a database's root or a document of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) database: DatabaseName,
    pub(crate) document: Option<DocPath>,
}

/// Reads the name of a database.
pub(crate) fn database(text: &str) -> Result<DatabaseName, Refusal> {
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
    Reference::parse(text).map_err(|error| unnamed(text, error))
}

/// Why a text is no name, in Firestore's words where it has some.
fn unnamed(text: &str, error: PathError) -> Refusal {
    match error {
        PathError::Segment { index, error } if index % 2 == 0 => Refusal::collection_id(error),
        PathError::Segment { error, .. } => Refusal::document_id(error),
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
    let reference = document(text).map_err(|_| {
        Refusal::invalid(format!(
            "Invalid parent {}: it must be projects/PROJECT/databases/DATABASE/documents or a document below that",
            quoted(text)
        ))
    })?;
    Ok(Parent { database: reference.database, document: Some(reference.path) })
}

/// The full name of a document.
pub(crate) fn print(database: &DatabaseName, path: &DocPath) -> String {
    format!("{database}/documents/{path}")
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

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,60}") {
            let _ = (parent(&text), document(&text), database(&text));
        }
    }
}
