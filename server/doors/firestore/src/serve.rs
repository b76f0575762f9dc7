//! The door on gRPC: sockets, headers and waiting. It decides nothing.

pub(crate) mod listen;
pub(crate) mod write;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::middleware::map_response;
use futures_util::{Stream, StreamExt as _};
use hearth_auth::{Caller, Mode};
use hearth_schema::v1;
use hearth_schema::v1::firestore_server::{Firestore, FirestoreServer};
use hearth_schema::well_known::Empty;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::service::{Answers, Door};
use crate::status::{Code, Refusal};

/// How a peer of a dev server is treated where it is not the machine itself: put into a request's extensions by whoever
/// accepts connections. Without it the door's own mode holds.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Mode);

/// What answers gRPC under `/google.firestore.v1.Firestore/`, REST under `/v1/`, and in dev tools under `/emulator/v1/`.
///
/// gRPC needs HTTP/2; a browser's WebChannel has paths below those of gRPC. Pages of any origin are answered: whoever mounts
/// this keeps out those that may not ask.
pub fn routes(door: Arc<Door>) -> Router {
    let bytes_max = door.engine().limits().message_bytes_max;
    let service = FirestoreServer::new(Grpc { door: door.clone() })
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip);
    Router::new()
        .route_service("/google.firestore.v1.Firestore/{method}", service)
        .layer(map_response(move |response| async move { too_large(bytes_max, response) }))
        .merge(crate::webchannel::routes(door.clone()))
        .merge(crate::rest::routes(door.clone()))
        .merge(crate::emulator::routes(door))
}

/// Says in Firestore's words that a request has too many bytes: tonic says it by itself, before anybody else hears of it.
fn too_large(bytes_max: usize, mut response: axum::response::Response) -> axum::response::Response {
    // In what way blanks are written is tonic's own affair.
    let said =
        |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let is_too_large =
        said(Status::GRPC_MESSAGE).replace("%20", " ").starts_with("Error, decoded message length too large");
    if is_too_large {
        let refusal: Status = Refusal::payload(bytes_max).into();
        let said = refusal.into_http::<axum::body::Body>();
        // Each name once: `extend` would put a second message beside the first.
        for (name, value) in said.headers() {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The service as tonic wants it.
struct Grpc {
    door: Arc<Door>,
}

impl Grpc {
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        // Only a page sends it, and no page speaks gRPC: one that tries has had its own name point here.
        if request.metadata().contains_key("origin") {
            return Err(Refusal::new(Code::PermissionDenied, "gRPC is not for web pages"));
        }
        let header = header(request.metadata(), "authorization")?;
        self.door.caller(request.extensions().get::<Peer>().map(|peer| peer.0), header)
    }
}

fn header<'a>(headers: &'a MetadataMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let unreadable = |_| Refusal::new(Code::Unauthenticated, format!("the header {name} is not plain text"));
    headers.get(name).map(|value| value.to_str().map_err(unreadable)).transpose()
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn messages<T: Send + 'static>(answers: Answers<T>) -> Messages<T> {
    Box::pin(answers.map(|answer| answer.map_err(Status::from)))
}

/// The service: methods with one answer, methods with many, and the rest as it stands. One macro for all, because the
/// attribute has to see whole methods.
macro_rules! service {
    (
        one { $($one:ident($one_request:ty) -> $one_response:ty;)* }
        many { $($many:ident($many_request:ty) -> $many_response:ty;)* }
        $($rest:tt)*
    ) => {
        #[tonic::async_trait]
        impl Firestore for Grpc {
            $(async fn $one(&self, request: Request<$one_request>) -> Result<Response<$one_response>, Status> {
                let caller = self.caller(&request)?;
                Ok(Response::new(self.door.$one(&caller, request.into_inner()).await?))
            })*
            $(async fn $many(
                &self,
                request: Request<$many_request>,
            ) -> Result<Response<Messages<$many_response>>, Status> {
                let caller = self.caller(&request)?;
                Ok(Response::new(messages(self.door.$many(&caller, request.into_inner()).await?)))
            })*
            $($rest)*
        }
    };
}

service! {
    one {
    get_document(v1::GetDocumentRequest) -> v1::Document;
    list_documents(v1::ListDocumentsRequest) -> v1::ListDocumentsResponse;
    create_document(v1::CreateDocumentRequest) -> v1::Document;
    update_document(v1::UpdateDocumentRequest) -> v1::Document;
    delete_document(v1::DeleteDocumentRequest) -> Empty;
    begin_transaction(v1::BeginTransactionRequest) -> v1::BeginTransactionResponse;
    commit(v1::CommitRequest) -> v1::CommitResponse;
    rollback(v1::RollbackRequest) -> Empty;
    partition_query(v1::PartitionQueryRequest) -> v1::PartitionQueryResponse;
    list_collection_ids(v1::ListCollectionIdsRequest) -> v1::ListCollectionIdsResponse;
    batch_write(v1::BatchWriteRequest) -> v1::BatchWriteResponse;
    }
    many {
    batch_get_documents(v1::BatchGetDocumentsRequest) -> v1::BatchGetDocumentsResponse;
    run_query(v1::RunQueryRequest) -> v1::RunQueryResponse;
    run_aggregation_query(v1::RunAggregationQueryRequest) -> v1::RunAggregationQueryResponse;
    }
    type BatchGetDocumentsStream = Messages<v1::BatchGetDocumentsResponse>;
    type RunQueryStream = Messages<v1::RunQueryResponse>;
    type ExecutePipelineStream = Messages<v1::ExecutePipelineResponse>;
    type RunAggregationQueryStream = Messages<v1::RunAggregationQueryResponse>;
    type WriteStream = Messages<v1::WriteResponse>;
    type ListenStream = Messages<v1::ListenResponse>;

    async fn execute_pipeline(
        &self,
        _: Request<v1::ExecutePipelineRequest>,
    ) -> Result<Response<Self::ExecutePipelineStream>, Status> {
        Err(Refusal::new(Code::Unimplemented, "Pipelines are not supported").into())
    }

    async fn write(&self, request: Request<Streaming<v1::WriteRequest>>) -> Result<Response<Self::WriteStream>, Status> {
        let caller = self.caller(&request)?;
        let requests = request.into_inner().map(|request| request.map_err(Refusal::from));
        let responses = write::responses(self.door.clone(), caller, requests.boxed());
        Ok(Response::new(Box::pin(responses.map(|response| response.map_err(Status::from)))))
    }

    async fn listen(
        &self,
        request: Request<Streaming<v1::ListenRequest>>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let caller = self.caller(&request)?;
        let requests = request.into_inner().map(|request| request.map(Box::new).map_err(Refusal::from));
        let responses = listen::responses(self.door.clone(), caller, requests.boxed());
        Ok(Response::new(Box::pin(responses.map(|response| response.map_err(Status::from)))))
    }
}

impl From<Status> for Refusal {
    /// What tonic found wrong with what a client sent.
    fn from(status: Status) -> Self {
        Self::new(status.code(), status.message())
    }
}
