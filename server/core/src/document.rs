//! Documents: fields with a path and the versions of their making.

use crate::field::FieldPath;
use crate::path::DocPath;
use crate::value::{Map, Value, lookup};
use crate::version::Version;

/// A document as it stood at some version.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it stands.
    pub path: DocPath,
    /// Its fields.
    pub fields: Map,
    /// The commit that made it; survives updates, is new after delete and create.
    pub created: Version,
    /// The last commit that changed it.
    pub updated: Version,
}

impl Document {
    /// Largest document, as [`crate::size::document_bytes`] counts. Source: Firestore documentation, "Usage and limits".
    pub const BYTES_MAX: usize = 1_048_576;

    /// The value at a field path, if there is one.
    pub fn get(&self, path: &FieldPath) -> Option<&Value> {
        lookup(&self.fields, path)
    }
}
