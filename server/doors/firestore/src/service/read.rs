//! Reading documents by their names.

use std::collections::BTreeSet;

use hearth_auth::Caller;
use hearth_core::DocPath;
use hearth_schema::v1::{self, batch_get_documents_request, batch_get_documents_response, get_document_request};
use tonic::Code;

use super::{Answers, Consistency, Door};
use crate::convert::{mask_from, masked, time};
use crate::names;
use crate::status::Refusal;
use crate::transaction::What;

impl Door {
    /// `GetDocument`.
    pub(crate) async fn get_document(
        &self,
        caller: &Caller,
        request: v1::GetDocumentRequest,
    ) -> Result<v1::Document, Refusal> {
        use get_document_request::ConsistencySelector;
        let reference = names::document(&request.name)?;
        let mask = mask_from(request.mask)?;
        let consistency = match request.consistency_selector {
            None => Consistency::Newest,
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
        };
        let database = self.database(&reference.database).await?;
        let path = database.authorize_get(caller, reference.path)?;
        let snapshot = self.snapshot(caller, &database, consistency, [What::Document((*path).clone())]).await?;
        let got = database.get(&path, Some(snapshot.at)).await?;
        self.note_document(&snapshot, (*path).clone(), got.document.as_ref().map(|document| document.updated));
        match got.document {
            Some(document) => Ok(masked(database.name(), &document, mask.as_deref())),
            None => Err(Refusal::new(Code::NotFound, format!("Document \"{}\" not found.", request.name))),
        }
    }

    /// `BatchGetDocuments`: each name once, all at one version; what was found stands before what is missing, as in Firestore.
    pub(crate) async fn batch_get_documents(
        &self,
        caller: &Caller,
        request: v1::BatchGetDocumentsRequest,
    ) -> Result<Answers<v1::BatchGetDocumentsResponse>, Refusal> {
        use batch_get_documents_request::ConsistencySelector;
        use batch_get_documents_response::Result as Found;
        let name = names::database(&request.database)?;
        let mask = mask_from(request.mask)?;
        let consistency = match request.consistency_selector {
            None => Consistency::Newest,
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
        };
        let mut seen = BTreeSet::new();
        let mut paths: Vec<DocPath> = Vec::with_capacity(request.documents.len());
        for text in &request.documents {
            let path = names::document_in(&name, text)?;
            if seen.insert(path.clone()) {
                paths.push(path);
            }
        }
        let database = self.database(&name).await?;
        let paths =
            paths.into_iter().map(|path| database.authorize_get(caller, path)).collect::<Result<Vec<_>, _>>()?;
        let whats = paths.iter().map(|path| What::Document((**path).clone()));
        let snapshot = self.snapshot(caller, &database, consistency, whats).await?;
        let mut got = Vec::with_capacity(paths.len());
        for path in paths {
            let document = database.get(&path, Some(snapshot.at)).await?.document;
            self.note_document(&snapshot, (*path).clone(), document.as_ref().map(|document| document.updated));
            got.push(((*path).clone(), document));
        }
        // A stable sort: what was found keeps the sequence of the names.
        got.sort_by_key(|(_, document)| document.is_none());
        let read_time = Some(time(snapshot.at));
        // An id of a transaction stands in front, alone, so that it is there however little is found.
        let first = (!snapshot.began.is_empty()).then_some(v1::BatchGetDocumentsResponse {
            result: None,
            transaction: snapshot.began,
            read_time: None,
        });
        let answers = got.into_iter().map(move |(path, document)| v1::BatchGetDocumentsResponse {
            result: Some(match document {
                Some(document) => Found::Found(masked(&name, &document, mask.as_deref())),
                None => Found::Missing(names::print(&name, &path)),
            }),
            transaction: Vec::new(),
            read_time,
        });
        Ok(super::answers(first.into_iter().chain(answers)))
    }
}
