//! What fuzzing needs of this crate (`tests/fuzz`): the parsers of a connection's bytes, which are otherwise private.

use axum::http::Method;
use hearth_schema::v1;

use crate::convert::query::{asked_from, orders_from};
use crate::convert::write::writes_from;
use crate::names;
use crate::rest;
use crate::webchannel::form;

/// Reads the body of a REST request as a query and as writes.
pub fn rest_body(body: &[u8]) {
    if let Ok(request) = rest::message::<v1::RunQueryRequest>(body) {
        run_query(request);
    }
    if let Ok(request) = rest::message::<v1::CommitRequest>(body) {
        commit(request);
    }
}

/// Reads the address of a REST request.
pub fn rest_address(text: &str) {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
        let _ = rest::address::Call::parse(&method, path);
    }
    let known = ["mask.fieldPaths", "pageSize", "transaction", "readTime", "currentDocument.exists"];
    if let Ok(params) = rest::params::Params::parse(query, &known) {
        let _ =
            (params.number("pageSize"), params.bytes("transaction"), params.time("readTime"), params.precondition());
    }
    let _ = orders_from(text);
}

/// What a query that came over gRPC means.
pub fn run_query(request: v1::RunQueryRequest) {
    use v1::run_query_request::QueryType;
    if let (Ok(parent), Some(QueryType::StructuredQuery(query))) = (names::parent(&request.parent), request.query_type)
    {
        let _ = asked_from(&parent, query);
    }
}

/// What writes that came over gRPC mean.
pub fn commit(request: v1::CommitRequest) {
    if let Ok(database) = names::database(&request.database) {
        let _ = writes_from(&database, request.writes);
    }
}

/// Reads a request of WebChannel: its address and its body.
pub fn webchannel(address: &str, body: &[u8]) {
    form::read(address, body);
}
