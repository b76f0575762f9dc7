//! Writing: single documents, commits, and batches of writes that stand on their own.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hearth_auth::Caller;
use hearth_core::decide::{DocumentRead, WriteError};
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{DatabaseName, FieldPath};
use hearth_engine::{CommitError, CommitRequest, Committed, Database};
use hearth_schema::well_known::Empty;
use hearth_schema::{rpc, v1};

use super::Door;
use crate::convert::query::{collection, collection_id_from};
use crate::convert::write::{commit_from, precondition_from, result, update_from, writes_from};
use crate::convert::{document_from, mask_from, masked, time};
use crate::names;
use crate::status::{Code, Refusal};
use crate::transaction::{Kind, Subject, Transaction, What};

/// A commit's answer: the results and the time.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) write_results: Vec<v1::WriteResult>,
    pub(crate) commit_time: hearth_schema::wkt::Timestamp,
}

impl Door {
    /// `CreateDocument`.
    pub(crate) async fn create_document(
        &self,
        caller: &Caller,
        request: v1::CreateDocumentRequest,
    ) -> Result<v1::Document, Refusal> {
        let parent = names::parent(&request.parent)?;
        let id = match request.document_id.as_str() {
            "" => self.engine.fresh_id(),
            text => hearth_core::Id::parse(text).map_err(|error| Refusal::document_id(text, error))?,
        };
        let path = collection(parent.document.as_ref(), &collection_id_from(&request.collection_id)?)?.doc(&id)?;
        let mask = mask_from(request.mask)?;
        let document = request.document.unwrap_or_default();
        if !document.name.is_empty() {
            return Err(Refusal::invalid("document.name must not be set: the id of the document is document_id"));
        }
        let fields = document_from(document.fields, self.bounds)?;
        let write = Write::build(path, Operation::Set(fields), Precondition::Exists(false), Vec::new())?;
        let database = self.database(&parent.database).await?;
        self.write_one(caller, &database, write, mask.as_deref()).await
    }

    /// `UpdateDocument`.
    pub(crate) async fn update_document(
        &self,
        caller: &Caller,
        request: v1::UpdateDocumentRequest,
    ) -> Result<v1::Document, Refusal> {
        let document =
            request.document.ok_or_else(|| Refusal::invalid("Document name \"\" lacks \"projects\" at index 0."))?;
        let reference = names::document(&document.name)?;
        let mask = mask_from(request.mask)?;
        let operation = update_from(document_from(document.fields, self.bounds)?, request.update_mask)?;
        let precondition = precondition_from(request.current_document)?;
        let write = Write::build(reference.path, operation, precondition, Vec::new())?;
        let database = self.database(&reference.database).await?;
        self.write_one(caller, &database, write, mask.as_deref()).await
    }

    /// `DeleteDocument`.
    pub(crate) async fn delete_document(
        &self,
        caller: &Caller,
        request: v1::DeleteDocumentRequest,
    ) -> Result<Empty, Refusal> {
        let reference = names::document(&request.name)?;
        let precondition = precondition_from(request.current_document)?;
        let write = Write::build(reference.path, Operation::Delete, precondition, Vec::new())?;
        let database = self.database(&reference.database).await?;
        self.commit_writes(caller, &database, vec![write]).await?;
        Ok(Empty {})
    }

    /// Writes a document and answers it as it stands then.
    async fn write_one(
        &self,
        caller: &Caller,
        database: &Database,
        write: Write,
        mask: Option<&[FieldPath]>,
    ) -> Result<v1::Document, Refusal> {
        let path = write.path().clone();
        let committed = self.commit_writes(caller, database, vec![write]).await?;
        let got = database.get(&database.authorize_get(caller, path)?, Some(committed.version)).await?;
        let document = got.document.ok_or_else(|| Refusal::new(Code::Internal, "the document is gone already"))?;
        Ok(masked(database.name(), &document, mask))
    }

    async fn commit_writes(
        &self,
        caller: &Caller,
        database: &Database,
        writes: Vec<Write>,
    ) -> Result<Committed, Refusal> {
        let request = CommitRequest { writes, ..CommitRequest::default() };
        let committed = database.commit(database.authorize_commit(caller, request)?).await;
        committed.map_err(|error| self.refused(database.name(), None, error))
    }

    /// `Commit`.
    pub(crate) async fn commit(
        &self,
        caller: &Caller,
        request: v1::CommitRequest,
    ) -> Result<v1::CommitResponse, Refusal> {
        let name = names::database(&request.database)?;
        let writes = commit_from(&name, request.writes, self.bounds)?;
        let database = self.database(&name).await?;
        let Batch { write_results, commit_time } = match request.transaction.is_empty() {
            true => self.commit_batch(caller, &database, writes).await?,
            false => self.commit_transaction(caller, &database, &request.transaction, writes).await?,
        };
        Ok(v1::CommitResponse { write_results, commit_time: Some(commit_time) })
    }

    /// Commits writes outside of a transaction.
    pub(crate) async fn commit_batch(
        &self,
        caller: &Caller,
        database: &Database,
        writes: Vec<Write>,
    ) -> Result<Batch, Refusal> {
        let committed = self.commit_writes(caller, database, writes.clone()).await?;
        Ok(batch(&writes, &committed))
    }

    async fn commit_transaction(
        &self,
        caller: &Caller,
        database: &Database,
        id: &[u8],
        writes: Vec<Write>,
    ) -> Result<Batch, Refusal> {
        let (number, transaction) = {
            let mut book = self.book();
            let number = book.find(self.now(), id, database.name(), &caller.scope())?;
            (number, book.take(number)?)
        };
        // Whatever becomes of it, what it held is free afterwards: also when whoever asked goes away meanwhile.
        let held = Held { door: self, number, transaction };
        let reads = match &held.transaction.kind {
            Kind::ReadOnly(at) if writes.is_empty() => {
                return Ok(Batch { write_results: Vec::new(), commit_time: time(*at) });
            }
            Kind::ReadOnly(_) => return Err(Refusal::invalid("Cannot modify entities in a read-only transaction.")),
            Kind::ReadWrite(reads) => reads.clone(),
        };
        let documents = reads.documents.iter();
        let request = CommitRequest {
            key: None,
            reads: documents.map(|(path, updated)| DocumentRead { path: path.clone(), updated: *updated }).collect(),
            queries: reads.queries,
            writes: writes.clone(),
        };
        let committed = database.commit(database.authorize_commit(caller, request)?).await;
        let committed = committed.map_err(|error| self.refused(database.name(), Some(&held.transaction), error))?;
        Ok(batch(&writes, &committed))
    }

    /// What a failed commit is answered. Where it failed for another's commit, that is remembered.
    fn refused(&self, database: &DatabaseName, transaction: Option<&Transaction>, error: CommitError) -> Refusal {
        let subject = |what: What| Subject { database: database.clone(), what };
        if let Some(Transaction { kind: Kind::ReadWrite(reads), .. }) = transaction {
            match &error {
                CommitError::Refused(WriteError::Moved { path }) => {
                    self.book().contend(self.now(), [subject(What::Document(path.clone()))]);
                }
                CommitError::QueryMoved => {
                    let queries = reads.queries.iter().map(|read| subject(What::Query(read.query.hash())));
                    self.book().contend(self.now(), queries);
                }
                CommitError::Refused(_)
                | CommitError::KeyReused { .. }
                | CommitError::TooManyWrites { .. }
                | CommitError::TooLarge { .. }
                | CommitError::Overloaded { .. }
                | CommitError::NotApplied { .. }
                | CommitError::Unknown { .. }
                | CommitError::ReadOnly { .. }
                | CommitError::Closed => {}
            }
        }
        Refusal::commit(database, error)
    }

    /// `BatchWrite`: each write succeeds or fails by itself.
    pub(crate) async fn batch_write(
        &self,
        caller: &Caller,
        request: v1::BatchWriteRequest,
    ) -> Result<v1::BatchWriteResponse, Refusal> {
        let name = names::database(&request.database)?;
        self.bounds.check_batch(request.writes.len())?;
        // One that makes no sense refuses them all, before any is written.
        let writes = writes_from(&name, request.writes, self.bounds)?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = writes.iter().find(|write| !seen.insert(write.path())) {
            return Err(Refusal::invalid(format!(
                "the same document cannot be written more than once in a single request: {}",
                names::print(&name, twice.path())
            )));
        }
        let database = self.database(&name).await?;
        // All at once, so that they share one sync of the log.
        let outcomes = join_all(writes.into_iter().map(async |write| {
            let committed = self.commit_writes(caller, &database, vec![write.clone()]).await?;
            let first = committed.results.first().map(|done| result(&write, done));
            Ok::<_, Refusal>(first.unwrap_or_default())
        }))
        .await;
        let (mut write_results, mut status) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            let (done, said) = match outcome {
                Ok(done) => (done, rpc::Status::default()),
                Err(refusal) => (v1::WriteResult::default(), refusal.status()),
            };
            write_results.push(done);
            status.push(said);
        }
        Ok(v1::BatchWriteResponse { write_results, status })
    }
}

fn batch(writes: &[Write], committed: &Committed) -> Batch {
    let write_results = writes.iter().zip(&committed.results).map(|(write, done)| result(write, done)).collect();
    Batch { write_results, commit_time: time(committed.version) }
}

/// A transaction that is being committed.
struct Held<'a> {
    door: &'a Door,
    number: crate::transaction::Number,
    transaction: Transaction,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.door.book().release(self.number, &self.transaction);
    }
}
