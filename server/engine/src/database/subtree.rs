//! A place with everything beneath it, part by part, to be taken away.

use hearth_auth::Caller;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{CollectionPath, DocPath, Version, keys, size};

use super::Database;
use crate::authorize::{Act, Authorized, Denied};
use crate::keyspace::PAST;
use crate::read::ReadError;
use crate::request::{CommitError, CommitRequest};
use crate::view::{StateError, View};
use crate::writer::Ask;

/// A place with everything beneath it, whatever is missing on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subtree {
    /// A document and all below it.
    Document(DocPath),
    /// All documents of a collection and all below them.
    Collection(CollectionPath),
}

/// What was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many documents.
    pub docs: u64,
    /// The version of the last commit; where there was nothing to delete, of what was read.
    pub version: Version,
}

/// Why a subtree was not deleted, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct NotDeleted {
    /// What was deleted before.
    pub deleted: Deleted,
    /// Why it did not go on.
    pub cause: SubtreeError,
}

/// Why a part of a subtree could not be deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubtreeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl NotDeleted {
    fn new(deleted: Deleted, cause: impl Into<SubtreeError>) -> Self {
        Self { deleted, cause: cause.into() }
    }
}

impl Database {
    /// Asks whether a caller may take away a place with all beneath it.
    pub fn authorize_subtree(&self, caller: &Caller, subtree: Subtree) -> Result<Authorized<Subtree>, Denied> {
        self.inner.access.authorize(caller, Act::Administer, subtree)
    }

    /// Deletes what stands at a place and beneath it, documents under missing ones too. One commit where all of it, names
    /// and documents, is within the limits of one; otherwise one after the other, each as large as it may be. What is
    /// written there meanwhile may stay.
    pub async fn delete_subtree(&self, subtree: &Authorized<Subtree>) -> Result<Deleted, NotDeleted> {
        let (docs_max, bytes_max) = {
            let limits = &self.inner.shared.limits;
            (limits.commit_writes_max, limits.commit_bytes_max)
        };
        let mut deleted = Deleted { docs: 0, version: self.visible() };
        let mut from = None;
        loop {
            let (place, view) = (Subtree::clone(subtree), self.inner.shared.view());
            let read = self.blocking(move || Ok(part(&view, &place, from.as_deref(), docs_max, bytes_max)?));
            let found = read.await.map_err(|cause| NotDeleted::new(deleted, cause))?;
            let docs = found.paths.len();
            if docs > 0 {
                self.inner.shared.metrics.documents_read.inc_by(docs as u64);
                let scope = subtree.caller().scope().as_str().into();
                let writes = found.paths.into_iter().map(delete).collect();
                let request = CommitRequest { writes, ..CommitRequest::default() };
                let committed = self.write(|reply| Ask::Commit { scope, request, reply }).await;
                let committed = committed.map_err(|cause| NotDeleted::new(deleted, cause))?;
                deleted = Deleted { docs: deleted.docs + docs as u64, version: committed.version };
            }
            match found.rest {
                Some(rest) => from = Some(rest),
                None => return Ok(deleted),
            }
        }
    }
}

/// A part of a subtree.
struct Part {
    /// Documents, in the order of paths.
    paths: Vec<DocPath>,
    /// Where the next part begins, where there may be one.
    rest: Option<Vec<u8>>,
}

/// The documents of a subtree from a key on: as many as so many bytes of names and records hold, but at least one.
fn part(
    view: &View,
    subtree: &Subtree,
    from: Option<&[u8]>,
    docs_max: usize,
    bytes_max: usize,
) -> Result<Part, StateError> {
    // A document's key stands right before those of all that lies below it.
    let (first, below) = match subtree {
        Subtree::Document(path) => (keys::doc(path), keys::descendants(path)),
        Subtree::Collection(path) => (keys::collection(path), keys::collection(path)),
    };
    let past = [below.as_slice(), &[PAST]].concat();
    let mut scan = view.scan(from.unwrap_or(&first), &past, None);
    let (mut paths, mut bytes) = (Vec::new(), 0);
    while let Some((key, record)) = scan.next()? {
        let path = keys::decode_doc(&key)?;
        bytes += size::name_bytes(&path) + record.len();
        if !paths.is_empty() && (paths.len() >= docs_max || bytes > bytes_max) {
            return Ok(Part { paths, rest: Some(key) });
        }
        paths.push(path);
    }
    Ok(Part { paths, rest: None })
}

/// Deletes a document, whatever it is by then.
fn delete(path: DocPath) -> Write {
    Write::build(path, Operation::Delete, Precondition::None, Vec::new()).expect("a delete without more has its shape")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::END;

    #[test]
    fn the_end_of_a_document_is_not_that_of_its_neighbours() {
        let key = |path: &str| keys::doc(&DocPath::parse(path).unwrap());
        let past = [keys::descendants(&DocPath::parse("a/x").unwrap()).as_slice(), &[PAST]].concat();
        assert!(key("a/x") < past && key("a/x/b/y") < past && key("a/x/b/y/c/z") < past);
        assert!(key("a/x1") > past && key("a/y") > past && key("a/x0/b/y") > past);
        assert_eq!(key("a/x").last(), Some(&END));
    }
}
