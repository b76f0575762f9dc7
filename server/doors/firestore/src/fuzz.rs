//! What fuzzing needs of this crate (`tests/fuzz`): the parsers of a connection's bytes, which are otherwise private.

use std::cmp::Ordering;

use axum::http::Method;
use hearth_core::{DatabaseName, Version, order};
use hearth_schema::v1;

use crate::bounds::Bounds;
use crate::convert;
use crate::convert::query::{asked_from, orders_from};
use crate::convert::write::commit_from;
use crate::names;
use crate::rest;
use crate::service::PageToken;
use crate::session::{Input, Output, Resume, Session};
use crate::webchannel::form;
use crate::writes::Writes;

/// Reads the body of a REST request as a query and as writes.
pub fn rest_body(body: &[u8]) {
    if let Ok(request) = rest::json::read::<v1::RunQueryRequest>(body, rest::json::Unknown::Refused) {
        run_query(request);
    }
    if let Ok(request) = rest::json::read::<v1::CommitRequest>(body, rest::json::Unknown::Refused) {
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
        let _ = asked_from(&parent, query, Bounds::Cloud);
    }
}

/// What writes that came over gRPC mean.
pub fn commit(request: v1::CommitRequest) {
    if let Ok(database) = names::database(&request.database) {
        let _ = commit_from(&database, request.writes, Bounds::Cloud);
    }
}

/// Reads a request of WebChannel: its address and its body.
pub fn webchannel(address: &str, body: &[u8]) {
    form::read(address, body);
}

/// Reads a value as JSON: what is printed of it reads as the same.
pub fn value(body: &[u8]) {
    let Ok(Ok(value)) = rest::json::read::<v1::Value>(body, rest::json::Unknown::Refused).map(convert::value_from)
    else {
        return;
    };
    let print = |value| serde_json::to_vec(&convert::value(value)).expect("a value is printed");
    let printed = print(&value);
    let read =
        rest::json::read::<v1::Value>(&printed, rest::json::Unknown::Refused).expect("what is printed can be read");
    let again = convert::value_from(read).expect("it is still a value");
    assert_eq!(order::compare(&again, &value), Ordering::Equal);
    assert_eq!(print(&again), printed);
}

/// The requests of a Listen stream, one a line, before a session that no engine answers.
pub fn listen(lines: &[u8]) {
    let database = DatabaseName::parse("p", DatabaseName::DEFAULT).expect("both names are valid");
    let mut session = Session::new(database, 7, Bounds::Cloud);
    for (n, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
        if let Ok(request) = rest::json::read::<v1::ListenRequest>(line, rest::json::Unknown::Refused) {
            session.input(Input::Request(Box::new(request)));
        }
        session.input(Input::Beat(Version::from_micros(n)));
        while let Some(output) = session.output() {
            match output {
                Output::Send(response) => drop(serde_json::to_vec(&response).expect("a response is printed")),
                Output::Open { target, .. } => session.input(Input::Lagged(target)),
                Output::Settle(version) => session.input(Input::Settled(version)),
                Output::CatchUp(_) | Output::Close(_) => {}
                Output::End(_) => return,
            }
        }
    }
}

/// The requests of a Write stream, one a line.
pub fn write(lines: &[u8]) {
    let mut requests = lines
        .split(|byte| *byte == b'\n')
        .map_while(|line| rest::json::read(line, rest::json::Unknown::PassedOver).ok());
    let Some(first) = requests.next() else { return };
    let Ok((stream, _)) = Writes::greet("stream", &first) else { return };
    for request in requests {
        let _ = stream.batch(request, Bounds::Cloud);
    }
}

/// Reads a token with which a listener resumes, or with which a list goes on: what is read is printed as it came.
pub fn token(bytes: &[u8]) {
    if let Some(resume) = Resume::parse(bytes) {
        assert_eq!(resume.bytes(), bytes);
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(Some(token)) = PageToken::parse(text)
    {
        assert_eq!(token.print(), text);
    }
}

/// Reads a record of an export, or a file of them.
pub fn export(bytes: &[u8]) {
    crate::export::read_records(bytes);
}
