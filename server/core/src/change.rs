//! Changes: what a commit did to each document.

use std::sync::Arc;

use crate::document::Document;
use crate::path::DocPath;
use crate::version::Version;

/// One document before and after a commit. At least one side is present, and the sides differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The document.
    pub path: DocPath,
    /// As it stood before; `None` where it did not exist.
    pub before: Option<Arc<Document>>,
    /// As it stands since; `None` where it was deleted.
    pub after: Option<Arc<Document>>,
}

/// What one commit changed: each document at most once, sorted by path. Empty for a commit that changed nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The commit's number.
    pub version: Version,
    /// The documents that it changed.
    pub changes: Vec<Change>,
}
