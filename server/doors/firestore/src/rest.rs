//! The door on REST: every method with one answer or many, under `/v1/`, as JSON.
//!
//! `rest::address` says which method is meant, `rest::params` reads what has no body, `rest::answer` makes answers; what
//! a method does is the `service`'s business. Listening is not to be had here: pages listen by WebChannel.

pub(crate) mod address;
mod answer;
pub(crate) mod json;
pub(crate) mod params;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use axum::routing::any;
use hearth_auth::Caller;
use hearth_schema::v1;
use serde::de::DeserializeOwned;

pub(crate) use address::decoded;
use address::{Call, Rpc};
pub(crate) use answer::{error, one, preflight, refused, share};
use params::{Params, one_of};

use crate::serve::Peer;
use crate::service::Door;
use crate::status::{Code, Refusal};

/// What answers REST under `/v1/`.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    let handler = move |request: Request| {
        let door = door.clone();
        async move { answer(&door, request).await }
    };
    Router::new().route("/v1/{*rest}", any(handler))
}

async fn answer(door: &Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return share(&parts.headers, preflight(&parts.headers));
    }
    // Which of the two forms an error has depends on the method.
    let path = parts.uri.path();
    let response = match Call::parse(&parts.method, path.strip_prefix("/v1/").unwrap_or(path)) {
        Err(refusal) => refused(&refusal, false),
        Ok(call) => {
            let is_streaming = call.rpc.is_streaming();
            serve(door, call, &parts, body).await.unwrap_or_else(|refusal| refused(&refusal, is_streaming))
        }
    };
    share(&parts.headers, response)
}

/// The caller behind a request's headers.
pub(crate) fn caller(door: &Door, parts: &Parts) -> Result<Caller, Refusal> {
    let header = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str()).transpose();
    let header =
        header.map_err(|_| Refusal::new(Code::Unauthenticated, "the header authorization is not plain text"))?;
    door.caller(parts.extensions.get::<Peer>().map(|peer| peer.0), header)
}

async fn serve(door: &Door, call: Call, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let caller = &caller(door, parts)?;
    let query = parts.uri.query().unwrap_or_default();
    let bytes = match parts.method {
        Method::POST | Method::PATCH => body_bytes(door, &parts.headers, body).await?,
        // The others have no body that means anything.
        _ => Bytes::new(),
    };
    let Call { rpc, name, collection_id } = call;
    Ok(match rpc {
        Rpc::GetDocument => one(&door.get_document(caller, get(name, query)?).await?),
        Rpc::ListDocuments => one(&door.list_documents(caller, list(name, collection_id, query)?).await?),
        Rpc::CreateDocument => {
            let params = Params::parse(query, &["documentId", "mask.fieldPaths"])?;
            let request = v1::CreateDocumentRequest {
                parent: name,
                collection_id,
                document_id: params.text("documentId").unwrap_or_default().to_owned(),
                document: Some(message(&bytes)?),
                mask: params.mask("mask"),
            };
            one(&door.create_document(caller, request).await?)
        }
        Rpc::UpdateDocument => {
            const KNOWN: [&str; 4] =
                ["updateMask.fieldPaths", "mask.fieldPaths", "currentDocument.exists", "currentDocument.updateTime"];
            let params = Params::parse(query, &KNOWN)?;
            let request = v1::UpdateDocumentRequest {
                document: Some(v1::Document { name, ..message(&bytes)? }),
                update_mask: params.mask("updateMask"),
                mask: params.mask("mask"),
                current_document: params.precondition()?,
            };
            one(&door.update_document(caller, request).await?)
        }
        Rpc::DeleteDocument => {
            let params = Params::parse(query, &["currentDocument.exists", "currentDocument.updateTime"])?;
            let request = v1::DeleteDocumentRequest { name, current_document: params.precondition()? };
            one(&door.delete_document(caller, request).await?)
        }
        Rpc::BatchGetDocuments => {
            let request = v1::BatchGetDocumentsRequest { database: name, ..message(&bytes)? };
            answer::many(door.batch_get_documents(caller, request).await?).await?
        }
        Rpc::BeginTransaction => {
            let request = v1::BeginTransactionRequest { database: name, ..message(&bytes)? };
            one(&door.begin_transaction(caller, request).await?)
        }
        Rpc::Commit => {
            let request = v1::CommitRequest { database: name, ..message(&bytes)? };
            one(&door.commit(caller, request).await?)
        }
        Rpc::Rollback => {
            let request = v1::RollbackRequest { database: name, ..message(&bytes)? };
            one(&door.rollback(caller, request).await?)
        }
        Rpc::RunQuery => {
            let request = v1::RunQueryRequest { parent: name, ..message(&bytes)? };
            answer::many(door.run_query(caller, request).await?).await?
        }
        Rpc::RunAggregationQuery => {
            let request = v1::RunAggregationQueryRequest { parent: name, ..message(&bytes)? };
            answer::many(door.run_aggregation_query(caller, request).await?).await?
        }
        Rpc::PartitionQuery => {
            let request = v1::PartitionQueryRequest { parent: name, ..message(&bytes)? };
            one(&door.partition_query(caller, request).await?)
        }
        Rpc::ListCollectionIds => {
            let request = v1::ListCollectionIdsRequest { parent: name, ..message(&bytes)? };
            one(&door.list_collection_ids(caller, request).await?)
        }
        Rpc::BatchWrite => {
            let request = v1::BatchWriteRequest { database: name, ..message(&bytes)? };
            one(&door.batch_write(caller, request).await?)
        }
        Rpc::ExecutePipeline => return Err(Refusal::new(Code::Unimplemented, "Pipelines are not supported")),
        Rpc::Write | Rpc::Listen => {
            let text = "This method is a stream in both directions: use gRPC, or WebChannel in a browser";
            return Err(Refusal::new(Code::Unimplemented, text));
        }
    })
}

fn get(name: String, query: &str) -> Result<v1::GetDocumentRequest, Refusal> {
    use v1::get_document_request::ConsistencySelector as Selector;
    let params = Params::parse(query, &["mask.fieldPaths", "transaction", "readTime"])?;
    let transaction = params.bytes("transaction")?.map(Selector::Transaction);
    let read_time = params.time("readTime")?.map(Selector::ReadTime);
    let consistency_selector = one_of("transaction", transaction, "readTime", read_time)?;
    Ok(v1::GetDocumentRequest { name, mask: params.mask("mask"), consistency_selector })
}

fn list(parent: String, collection_id: String, query: &str) -> Result<v1::ListDocumentsRequest, Refusal> {
    use v1::list_documents_request::ConsistencySelector as Selector;
    const KNOWN: [&str; 7] =
        ["pageSize", "pageToken", "orderBy", "mask.fieldPaths", "transaction", "readTime", "showMissing"];
    let params = Params::parse(query, &KNOWN)?;
    let transaction = params.bytes("transaction")?.map(Selector::Transaction);
    let read_time = params.time("readTime")?.map(Selector::ReadTime);
    Ok(v1::ListDocumentsRequest {
        parent,
        collection_id,
        page_size: params.number("pageSize")?,
        page_token: params.text("pageToken").unwrap_or_default().to_owned(),
        order_by: params.text("orderBy").unwrap_or_default().to_owned(),
        mask: params.mask("mask"),
        show_missing: params.flag("showMissing")?.unwrap_or_default(),
        consistency_selector: one_of("transaction", transaction, "readTime", read_time)?,
    })
}

/// The whole body, whatever type it claims to have, up to the size that a gRPC message may have.
pub(crate) async fn body_bytes(door: &Door, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let bytes_max = door.engine().limits().message_bytes_max;
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::invalid("Bodies are taken uncompressed only"));
    }
    let over = || Refusal::payload(bytes_max);
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(over());
    }
    // Of a body that broke off nobody is left to be told.
    axum::body::to_bytes(body, bytes_max).await.map_err(|_| over())
}

/// Reads a body in which every field is known: one that is misspelt would be left out. Without a body the message is empty.
fn message<M: DeserializeOwned + Default>(bytes: &[u8]) -> Result<M, Refusal> {
    json::read(bytes, json::Unknown::Refused)
}
