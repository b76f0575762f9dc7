//! Snapshots of test state: all documents of a database under a name, and back.
//!
//! A snapshot is held in memory and gone with the server. To restore one is one commit of what differs, so that listeners
//! go from the one state to the other in one step, and a document that is already as it was keeps its times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_auth::Caller;
use hearth_core::query::Source;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{DatabaseName, DocPath, Document, Id, Map, Query, QuerySpec, Version, size};
use hearth_engine::{CommitError, CommitRequest, Database, QueryRead};
use serde::Serialize;

use crate::service::Door;
use crate::status::{Code, Refusal};

/// Snapshots that are kept, of all databases.
const COUNT_MAX: usize = 1_000;
/// Bytes of all of them, as the sizes of documents are counted.
const BYTES_MAX: usize = 128 << 20;
/// Times that a restore begins again because somebody wrote meanwhile.
const TRIES_MAX: usize = 16;

/// What was kept, by database and name.
#[derive(Default)]
pub(super) struct Snapshots(
    // Held to look one up or to put one in, never while anything is read or committed.
    Mutex<BTreeMap<(DatabaseName, Id), Arc<Kept>>>,
);

/// All documents of a database.
struct Kept {
    documents: BTreeMap<DocPath, Map>,
    bytes: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    /// Documents of the snapshot.
    documents: usize,
    /// Documents that were written or deleted.
    changed: usize,
}

impl Snapshots {
    /// Keeps what is there, in place of what was kept under this name.
    pub(super) async fn save(&self, door: &Door, name: DatabaseName, id: &str) -> Result<Done, Refusal> {
        let id = identified(id)?;
        let database = door.database(&name).await?;
        let at = door.newest(&database, &Caller::Admin).await?;
        let found = documents(door, &database, at).await?;
        let bytes = found.iter().map(|document| size::document_bytes(&document.path, &document.fields)).sum();
        let documents: BTreeMap<_, _> =
            found.iter().map(|document| (document.path.clone(), document.fields.clone())).collect();
        let done = Done { documents: documents.len(), changed: 0 };
        let mut kept = self.kept();
        let key = (name, id);
        let others = || kept.iter().filter(|(other, _)| **other != key);
        let (count, held) = (others().count(), others().map(|(_, kept)| kept.bytes).sum::<usize>());
        if count >= COUNT_MAX || held.saturating_add(bytes) > BYTES_MAX {
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!(
                    "{count} snapshots of {held} bytes are kept, and this one has {bytes}: the most are {COUNT_MAX} of \
                     {BYTES_MAX} bytes together; DELETE some"
                ),
            ));
        }
        kept.insert(key, Arc::new(Kept { documents, bytes }));
        Ok(done)
    }

    /// Makes the database what it was.
    pub(super) async fn restore(&self, door: &Door, name: DatabaseName, id: &str) -> Result<Done, Refusal> {
        let key = (name, identified(id)?);
        let kept = self.kept().get(&key).cloned().ok_or_else(|| unknown(&key))?;
        let database = door.database(&key.0).await?;
        let query = everything();
        for _ in 0..TRIES_MAX {
            let at = door.newest(&database, &Caller::Admin).await?;
            let writes = difference(&kept.documents, documents(door, &database, at).await?)?;
            let done = Done { documents: kept.documents.len(), changed: writes.len() };
            if writes.is_empty() {
                return Ok(done);
            }
            // Whoever writes meanwhile would be left over or overwritten half: then it begins again.
            let read = QueryRead { query: query.clone(), version: at, last_returned: None, filled: false };
            let request = CommitRequest { queries: vec![read], writes, ..CommitRequest::default() };
            match database.commit(database.authorize_commit(&Caller::Admin, request)?).await {
                Ok(_) => return Ok(done),
                Err(CommitError::QueryMoved) => {}
                Err(error) => return Err(Refusal::commit(&key.0, error)),
            }
        }
        Err(Refusal::contention())
    }

    /// Forgets one.
    pub(super) fn forget(&self, name: DatabaseName, id: &str) -> Result<(), Refusal> {
        let key = (name, identified(id)?);
        self.kept().remove(&key).map(drop).ok_or_else(|| unknown(&key))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<(DatabaseName, Id), Arc<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identified(id: &str) -> Result<Id, Refusal> {
    Id::parse(id).map_err(|error| Refusal::invalid(format!("Invalid name of a snapshot: {error}")))
}

fn unknown((name, id): &(DatabaseName, Id)) -> Refusal {
    Refusal::new(Code::NotFound, format!("There is no snapshot {} of {name}; POST saves one", id.as_str()))
}

fn everything() -> Arc<Query> {
    Arc::new(Query::build(QuerySpec::all(Source::Below(None))).expect("a query without conditions has none to refuse"))
}

/// All documents at a version. More than one commit could write are refused, since one commit has to bring them back.
async fn documents(door: &Door, database: &Database, at: Version) -> Result<Vec<Arc<Document>>, Refusal> {
    let limits = door.engine().limits();
    let mut pages = database.pages(&database.authorize_query(&Caller::Admin, everything())?, at);
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(found);
        }
        bytes += page.iter().map(|document| size::document_bytes(&document.path, &document.fields)).sum::<usize>();
        found.extend(page);
        if found.len() > limits.commit_writes_max || bytes > limits.commit_bytes_max {
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!(
                    "{} holds more than {} documents or {} bytes, which is the most that a snapshot keeps and one commit \
                     brings back",
                    database.name(),
                    limits.commit_writes_max,
                    limits.commit_bytes_max
                ),
            ));
        }
    }
}

/// What has to be written so that there is exactly what there was.
fn difference(wanted: &BTreeMap<DocPath, Map>, found: Vec<Arc<Document>>) -> Result<Vec<Write>, Refusal> {
    let found: BTreeMap<&DocPath, &Map> = found.iter().map(|document| (&document.path, &document.fields)).collect();
    let write = |path: &DocPath, operation| Write::build(path.clone(), operation, Precondition::None, Vec::new());
    let gone = found.keys().filter(|path| !wanted.contains_key(**path)).map(|path| write(path, Operation::Delete));
    let other = wanted.iter().filter(|(path, fields)| found.get(path) != Some(fields));
    let set = other.map(|(path, fields)| write(path, Operation::Set(fields.clone())));
    Ok(gone.chain(set).collect::<Result<_, _>>()?)
}
