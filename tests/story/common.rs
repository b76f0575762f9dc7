//! What the stories share: servers, addresses with parameters, and checks of what every answer promises.

use std::fs;

use hearth_tests::{Answer, Launch, Server, Sse, check_schema};
use serde_json::{Value, json};

/// `hearth dev` that keeps nothing on disk.
#[track_caller]
pub(crate) fn dev() -> Server {
    Launch::dev().ephemeral().start()
}

/// A target: a path and parameters, encoded as a form is.
pub(crate) fn target(path: &str, params: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| match *value {
            "" => (*name).to_owned(),
            value => format!("{name}={}", encode(value)),
        })
        .collect();
    if pairs.is_empty() { path.into() } else { format!("{path}?{}", pairs.join("&")) }
}

/// Percent-encodes all but letters, digits and `-_.~`; a space becomes `+`.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".into(),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Puts a document and hands it back.
#[track_caller]
pub(crate) fn put(server: &Server, path: &str, data: Value) -> Value {
    let answer = server.put(&format!("/db/{path}"), &data).send();
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    let doc = answer.json();
    check_schema("document", &doc);
    doc
}

/// Commits these writes, all at once, and hands back what came of it.
#[track_caller]
pub(crate) fn commit(server: &Server, writes: &[Value]) -> Value {
    let committed = server.post("/db", &json!({ "writes": writes })).send().expect_status(200).json();
    check_schema("committed", &committed);
    committed
}

/// Reads a result.
#[track_caller]
pub(crate) fn result(server: &Server, target: &str) -> Value {
    let answer = server.get(target).send().expect_status(200).json();
    check_schema("result", &answer);
    answer
}

/// The ids of a result's documents, in their order, by spaces.
#[track_caller]
pub(crate) fn found(server: &Server, target: &str) -> String {
    shown(&result(server, target))
}

/// The ids of a result, by spaces.
#[track_caller]
pub(crate) fn shown(result: &Value) -> String {
    let docs = result["docs"].as_array().unwrap_or_else(|| panic!("no documents: {result}"));
    assert_eq!(result["size"], docs.len());
    hearth_tests::ids(docs).join(" ")
}

/// Checks that an answer is a problem of this status and code, told as every problem is; hands the object back.
#[track_caller]
pub(crate) fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert!(answer.status == status, "expected {status} {code}: {} {}", answer.status, answer.text());
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{}", answer.text());
    let problem = answer.json();
    check_schema("problem", &problem);
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["request"].as_str(), answer.header("X-Request-Id"), "{problem}");
    assert!(answer.header("X-Request-Id").is_some_and(|id| !id.is_empty()), "no request id");
    problem
}

/// The ETag of an answer.
#[track_caller]
pub(crate) fn etag(answer: &Answer) -> String {
    answer.header("ETag").unwrap_or_else(|| panic!("no ETag: {answer:?}")).to_owned()
}

/// The next event of a stream, which is no problem; its id is its token.
#[track_caller]
pub(crate) fn event(sse: &mut Sse) -> Value {
    let event = sse.next_event();
    assert_eq!(event.event, "message", "{}", event.data);
    let json = event.json();
    check_schema("event", &json);
    if json["more"] != true {
        assert_eq!(json["token"], event.id.as_str(), "the id of an event is its token");
    }
    json
}

/// What the process holds in memory, in bytes.
#[track_caller]
pub(crate) fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says what a process holds");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}
