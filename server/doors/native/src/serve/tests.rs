//! The door before an engine in memory: a request as it comes, the answer as it goes.

use std::time::Duration;

use expect_test::{Expect, expect};
use futures_util::{FutureExt as _, StreamExt as _};
use hearth_auth::User;
use hearth_core::Map;
use hearth_engine::{Backing, Limits, ManualClock, Options, Projects};
use tower::ServiceExt as _;

use super::*;

/// 2026-01-01, in microseconds.
const NOW: u64 = 1_767_225_600_000_000;

/// Believes `admin` and `ada`, and that `old` has expired.
struct Names;

impl Authenticate for Names {
    fn caller(&self, _mode: Mode, credential: Option<&str>, _now: u64) -> Result<Caller, TokenError> {
        match credential {
            None => Ok(Caller::Anonymous),
            Some("admin") => Ok(Caller::Admin),
            Some("ada") => {
                let user = User { uid: "ada".into(), issuer: "i".into(), claims: Map::new(), expires_seconds: None };
                Ok(Caller::user(user))
            }
            Some("old") => Err(TokenError::Expired),
            Some(_) => Err(TokenError::Malformed),
        }
    }
}

struct Server {
    door: Arc<Door>,
    router: Router,
}

fn files(name: &str) -> Option<Asset> {
    let file = |bytes: &'static [u8], media_type| Some(Asset { bytes: Cow::Borrowed(bytes), media_type });
    match name {
        "sdk/hearth.js" => file(b"export {}", "text/javascript"),
        "demo/index.html" => file(b"<!doctype html>", "text/html; charset=utf-8"),
        _ => None,
    }
}

impl Server {
    fn with(mode: Mode, access: Access, limits: Limits) -> Self {
        let options = Options { limits, access, projects: Projects::Any, default_project: Some("demo".into()) };
        let clock = Arc::new(ManualClock::at(NOW));
        let (engine, _) = Engine::start(Backing::Memory, options, clock).unwrap();
        let door = Door::new(DoorOptions {
            engine,
            gate: Arc::new(Names),
            mode,
            origins: Origins { loopback_only: mode == Mode::Dev, allowed: Vec::new() },
            files,
            tickets: Tickets::new([7; 32], [1; 16], mode, None),
            metrics_open: false,
        });
        Self { router: router(door.clone()), door }
    }

    fn dev() -> Self {
        Self::with(Mode::Dev, Access::Open, Limits::default())
    }

    /// `request` is a method and an address, and on further lines headers.
    async fn ask(&self, request: &str, body: impl Into<Body>) -> Response {
        let mut lines = request.lines();
        let (method, address) = lines.next().unwrap().split_once(' ').unwrap();
        let mut built = axum::http::Request::builder().method(method).uri(address.trim());
        built = built.header("x-request-id", "r1");
        let headers: Vec<_> = lines.map(|line| line.trim().split_once(": ").unwrap()).collect();
        if !headers.iter().any(|(name, _)| *name == "Host") {
            built = built.header("host", "localhost:8080");
        }
        for (name, value) in headers {
            built = built.header(name, value);
        }
        self.router.clone().oneshot(built.body(body.into()).unwrap()).await.unwrap()
    }

    async fn text(&self, request: &str, body: &str) -> String {
        show(self.ask(request, body.to_owned()).await).await
    }

    async fn check(&self, request: &str, body: &str, want: Expect) {
        want.assert_eq(&self.text(request, body).await);
    }

    async fn json(&self, request: &str, body: &str) -> Json {
        let response = self.ask(request, body.to_owned()).await;
        serde_json::from_slice(&axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
    }

    fn queries(&self) -> u64 {
        self.door.engine.metrics().queries_run.get()
    }
}

/// Headers that every answer bears; they have a test of their own.
const USUAL: [&str; 5] = ["x-request-id", "x-content-type-options", "vary", "cache-control", "content-length"];

async fn show(response: Response) -> String {
    let (parts, body) = response.into_parts();
    let mut out = parts.status.as_u16().to_string();
    for (name, value) in &parts.headers {
        if !USUAL.contains(&name.as_str()) {
            out += &format!("\n{name}: {}", value.to_str().unwrap());
        }
    }
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    out += &format!("\n{}", std::str::from_utf8(&bytes).unwrap());
    mask(&out)
}

/// Tokens hold a random epoch; in what is expected they are `…`.
fn mask(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("AQA") {
        let (before, token) = rest.split_at(at);
        let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(token.len());
        out.push_str(before);
        out.push('…');
        rest = &token[end..];
    }
    out + rest
}

/// Reads a stream up to and with the first blank line behind something else than comments.
struct Events(axum::body::BodyDataStream, String);

impl Events {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.1 = rest;
                if event.lines().any(|line| line.starts_with("data")) {
                    return Some(event);
                }
                continue;
            }
            let bytes = self.0.next().await?.unwrap();
            self.1.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn masked(&mut self) -> String {
        mask(&self.next().await.unwrap_or("end".into()))
    }
}

fn events(response: Response) -> Events {
    assert_eq!(response.status(), 200);
    Events(response.into_body().into_data_stream(), String::new())
}

fn id_of(event: &str) -> String {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_made_read_changed_and_deleted() {
    let server = Server::dev();
    server.check("PUT /db/rooms/lobby", r#"{"n":1,"at":{"$serverTimestamp":true}}"#, expect![[r#"
        201
        content-type: application/json
        etag: "1767225600000000"
        {"path":"rooms/lobby","data":{"at":{"$timestamp":"2026-01-01T00:00:00Z"},"n":1},"created":"1767225600000000","updated":"1767225600000000"}"#]]).await;
    server.check("GET /db/rooms/lobby", "", expect![[r#"
        200
        content-type: application/json
        etag: "1767225600000000"
        {"path":"rooms/lobby","data":{"at":{"$timestamp":"2026-01-01T00:00:00Z"},"n":1},"created":"1767225600000000","updated":"1767225600000000"}"#]]).await;
    server.check("PATCH /db/rooms/lobby", r#"{"n":{"$increment":2},"m.x":true,"at":{"$delete":true}}"#, expect![[r#"
        200
        content-type: application/json
        etag: "1767225600000001"
        {"path":"rooms/lobby","data":{"m":{"x":true},"n":3},"created":"1767225600000000","updated":"1767225600000001"}"#]]).await;
    server
        .check(
            "PATCH /db/rooms/new?merge",
            r#"{"a":{"b":1}}"#,
            expect![[r#"
        201
        content-type: application/json
        etag: "1767225600000002"
        {"path":"rooms/new","data":{"a":{"b":1}},"created":"1767225600000002","updated":"1767225600000002"}"#]],
        )
        .await;
    server.check("PATCH /db/rooms/none", "{}", expect![[r#"
        404
        content-type: application/problem+json
        {"code":"not-found","detail":"no document at rooms/none","path":"rooms/none","request":"r1","status":404,"title":"Not Found","type":"about:blank"}"#]]).await;
    server
        .check(
            "DELETE /db/rooms/lobby",
            "",
            expect![[r#"
        204
    "#]],
        )
        .await;
    server.check("GET /db/rooms/lobby", "", expect![[r#"
        404
        content-type: application/problem+json
        etag: "0"
        {"code":"not-found","detail":"no document at rooms/lobby","request":"r1","status":404,"title":"Not Found","type":"about:blank"}"#]]).await;
    server
        .check(
            "GET /db/rooms/lobby\nIf-None-Match: \"0\"",
            "",
            expect![[r#"
        304
        etag: "0"
    "#]],
        )
        .await;
    let response = server.ask("POST /db/rooms", r#"{"n":1}"#).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(response.status(), 201);
    assert_eq!(location.len(), "/db/rooms/".len() + 20);
    assert_eq!(server.json(&format!("GET {location}"), "").await["data"], json!({"n": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_kept_or_answered_412() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    server.check("PUT /db/a/b\nIf-None-Match: *", "{}", expect![[r#"
        412
        content-type: application/problem+json
        {"code":"failed-precondition","detail":"there is already a document at a/b","path":"a/b","request":"r1","status":412,"title":"Precondition Failed","type":"about:blank"}"#]]).await;
    server.check("PUT /db/a/b\nIf-Match: \"7\"", "{}", expect![[r#"
        412
        content-type: application/problem+json
        {"code":"failed-precondition","detail":"a/b was last changed at 1767225600000000, the write expected 7","path":"a/b","request":"r1","status":412,"title":"Precondition Failed","type":"about:blank","updated":"1767225600000000"}"#]]).await;
    server.check("PATCH /db/a/c\nIf-Match: *", "{}", expect![[r#"
        412
        content-type: application/problem+json
        {"code":"failed-precondition","detail":"no document at a/c","path":"a/c","request":"r1","status":412,"title":"Precondition Failed","type":"about:blank"}"#]]).await;
    server
        .check(
            &format!("PUT /db/a/b\nIf-Match: \"{NOW}\""),
            r#"{"n":2}"#,
            expect![[r#"
        200
        content-type: application/json
        etag: "1767225600000001"
        {"path":"a/b","data":{"n":2},"created":"1767225600000000","updated":"1767225600000001"}"#]],
        )
        .await;
    server
        .check(
            "DELETE /db/a/c\nIf-Match: \"0\"",
            "",
            expect![[r#"
        204
    "#]],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_done_once() {
    let server = Server::dev();
    let first = server.text("POST /db/a\nIdempotency-Key: k", r#"{"n":1}"#).await;
    assert!(first.starts_with("201"));
    assert_eq!(server.text("POST /db/a\nIdempotency-Key: k", r#"{"n":1}"#).await, first);
    assert_eq!(server.json("GET /db/a", "").await["size"], 1);
    server.check("POST /db/a\nIdempotency-Key: k", r#"{"n":2}"#, expect![[r#"
        422
        content-type: application/problem+json
        {"at":"Idempotency-Key","code":"failed-precondition","detail":"the idempotency key \"k\" was used with another request; choose a new one","request":"r1","status":422,"title":"Unprocessable Entity","type":"about:blank"}"#]]).await;
    let increment = r#"{"n":{"$increment":1}}"#;
    server.text("PATCH /db/c/d?merge\nIdempotency-Key: l", increment).await;
    server.text("PATCH /db/c/d?merge\nIdempotency-Key: l", increment).await;
    assert_eq!(server.json("GET /db/c/d", "").await["data"]["n"], 1);
    server.check(&format!("DELETE /db/a/b\nIdempotency-Key: {}", "x".repeat(65)), "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"Idempotency-Key","code":"invalid-argument","detail":"an idempotency key has 1 to 64 characters","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_all_or_nothing() {
    let server = Server::dev();
    server
        .check(
            "POST /db",
            r#"{"writes":[{"set":"a/b","data":{"n":{"$increment":5}}},{"delete":"a/c"}]}"#,
            expect![[r#"
        200
        content-type: application/json
        {"version":"1767225600000000","results":[{"updated":"1767225600000000","transforms":[5]},{}]}"#]],
        )
        .await;
    server.check("POST /db", r#"{"writes":[{"delete":"a/b"}],"reads":{"a/b":null}}"#, expect![[r#"
        409
        content-type: application/problem+json
        {"code":"aborted","detail":"a/b has changed since it was read","path":"a/b","request":"r1","status":409,"title":"Conflict","type":"about:blank"}"#]]).await;
    server.check("POST /db", r#"{"writes":[{"delete":"a/b"},{"create":"a/b","data":{}},{"create":"a/b","data":{}}]}"#, expect![[r#"
        409
        content-type: application/problem+json
        {"code":"already-exists","detail":"there is already a document at a/b","path":"a/b","request":"r1","status":409,"title":"Conflict","type":"about:blank"}"#]]).await;
    server.check("POST /db", r#"{"writes":[{"set":"a/b","data":{"x":{"$foo":1}}}]}"#, expect![[r#"
        400
        content-type: application/problem+json
        {"at":"/writes/0/data/x/$foo","code":"invalid-argument","detail":"\"$foo\" is not a type; a map with this one key is written {\"$map\": {…}}","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check("POST /db", r#"{"writes":"#, expect![[r#"
        400
        content-type: application/problem+json
        {"code":"invalid-argument","detail":"this is not JSON: EOF while parsing a value at line 1 column 10","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    assert_eq!(server.json("GET /db/a/b", "").await["data"], json!({"n": 5}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_polled_without_running_the_query() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    let response = server.ask("GET /db/a?where=n+ge+1", "").await;
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    server.check("GET /db/a?where=n+ge+1", "", expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"1767225600000000","token":"…","docs":[{"path":"a/b","data":{"n":1},"created":"1767225600000000","updated":"1767225600000000"}],"size":1,"more":false}"#]]).await;
    let before = server.queries();
    for n in 0..5 {
        server.text(&format!("PUT /db/other/{n}"), "{}").await;
        let response = server.ask(&format!("GET /db/a?where=n+ge+1\nIf-None-Match: \"x\", {tag}"), "").await;
        assert_eq!(response.status(), 304);
        assert_ne!(response.headers()["etag"].to_str().unwrap(), tag, "a newer tag each time");
    }
    // What the query does not match does not count either.
    server.text("PUT /db/a/zero", r#"{"n":0}"#).await;
    assert_eq!(server.ask(&format!("GET /db/a?where=n+ge+1\nIf-None-Match: {tag}"), "").await.status(), 304);
    assert_eq!(server.queries(), before);
    server.text("PUT /db/a/c", r#"{"n":2}"#).await;
    assert_eq!(server.ask(&format!("GET /db/a?where=n+ge+1\nIf-None-Match: {tag}"), "").await.status(), 200);
    // Another query, and another caller, know nothing of that tag.
    assert_eq!(server.ask(&format!("GET /db/a\nIf-None-Match: {tag}"), "").await.status(), 200);
    let as_ada = format!("GET /db/other?where=n+ge+1\nAuthorization: Bearer ada\nIf-None-Match: {tag}");
    assert_eq!(server.ask(&as_ada, "").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_held_until_something_changes() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    for address in ["/db/a", "/db/a/b", "/db/a/missing"] {
        let tag = server.ask(&format!("GET {address}"), "").await.headers()["etag"].to_str().unwrap().to_owned();
        let in_vain = server.ask(&format!("GET {address}\nIf-None-Match: {tag}\nPrefer: wait=0"), "").await;
        assert_eq!(in_vain.status(), 304, "{address}");
        assert_eq!(in_vain.headers()["preference-applied"], "wait=0");
        let request = format!("GET {address}\nIf-None-Match: {tag}\nPrefer: wait=99");
        let mut poll = Box::pin(server.ask(&request, ""));
        assert!((&mut poll).now_or_never().is_none(), "{address}");
        server.text("PUT /db/z/other", "{}").await;
        assert!((&mut poll).now_or_never().is_none(), "{address}");
        let written = if address == "/db/a/missing" { address } else { "/db/a/b" };
        server.text(&format!("PUT {written}"), r#"{"n":2}"#).await;
        let answer = poll.await;
        assert_eq!(answer.status(), 200, "{address}");
        assert_eq!(answer.headers()["preference-applied"], "wait=55");
        server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn since_answers_with_the_difference() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1,"m":{"x":1}}"#).await;
    let token = server.json("GET /db/a?orderBy=n", "").await["token"].as_str().unwrap().to_owned();
    server.text("PUT /db/a/c", r#"{"n":0}"#).await;
    server.text("PATCH /db/a/b", r#"{"m.x":2}"#).await;
    server.check(&format!("GET /db/a?orderBy=n&since={token}"), "", expect![[r#"
        200
        content-type: application/json
        {"version":"1767225600000002","token":"…","reset":false,"size":2,"changes":[{"type":"added","doc":{"path":"a/c","data":{"n":0},"created":"1767225600000001","updated":"1767225600000001"},"from":-1,"to":0},{"type":"modified","doc":{"path":"a/b","data":{"m":{"x":2},"n":1},"created":"1767225600000000","updated":"1767225600000002"},"from":1,"to":1}]}"#]]).await;
    server.check(&format!("GET /db/a?orderBy=n&since={token}&diff=fields"), "", expect![[r#"
        200
        content-type: application/json
        {"version":"1767225600000002","token":"…","reset":false,"size":2,"changes":[{"type":"added","doc":{"path":"a/c","data":{"n":0},"created":"1767225600000001","updated":"1767225600000001"},"from":-1,"to":0},{"type":"modified","doc":{"path":"a/b","updated":"1767225600000002"},"patch":{"m.x":2},"from":1,"to":1}]}"#]]).await;
    let foreign = server.json(&format!("GET /db/a?since={token}"), "").await;
    assert_eq!((&foreign["reset"], &foreign["size"]), (&json!(true), &json!(2)), "a token of another query resets");
    server.check("GET /db/a?since=nonsense", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"since","code":"invalid-argument","detail":"this is not a token of this server; start without one","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check(&format!("GET /db/a/b?since={token}"), "", expect![[r#"
        200
        content-type: application/json
        {"version":"1767225600000002","token":"…","reset":true,"size":1,"changes":[{"type":"added","doc":{"path":"a/b","data":{"m":{"x":2},"n":1},"created":"1767225600000000","updated":"1767225600000002"},"from":-1,"to":0}]}"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_the_result_and_each_change() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    let response = server.ask("GET /db/a\nAccept: text/event-stream", "").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "private, no-cache, no-transform");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut stream = events(response);
    expect![[r#"
        id: …
        data: {"version":"1767225600000000","token":"…","reset":false,"size":1,"changes":[{"type":"added","doc":{"path":"a/b","data":{"n":1},"created":"1767225600000000","updated":"1767225600000000"},"from":-1,"to":0}]}"#]].assert_eq(&stream.masked().await);
    server.text("PUT /db/a/b", r#"{"n":2}"#).await;
    let event = stream.next().await.unwrap();
    expect![[r#"
        id: …
        data: {"version":"1767225600000001","token":"…","reset":false,"size":1,"changes":[{"type":"modified","doc":{"path":"a/b","data":{"n":2},"created":"1767225600000000","updated":"1767225600000001"},"from":0,"to":0}]}"#]].assert_eq(&mask(&event));
    drop(stream);

    server.text("DELETE /db/a/b", "").await;
    let again = format!("GET /db/a\nAccept: text/event-stream\nLast-Event-ID: {}", id_of(&event));
    let mut stream = events(server.ask(&again, "").await);
    expect![[r#"
        id: …
        data: {"version":"1767225600000002","token":"…","reset":false,"size":0,"changes":[{"type":"removed","doc":{"path":"a/b"},"from":0,"to":-1}]}"#]].assert_eq(&stream.masked().await);
    server.door.stop();
    expect![[r#"
        event: problem
        data: {"code":"unavailable","detail":"the server stops","request":"r1","retryAfterMs":1000,"status":503,"title":"Service Unavailable","type":"about:blank"}"#]].assert_eq(&stream.masked().await);
    assert_eq!(stream.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_opens_with_what_is_missing_and_can_tell_patches() {
    let server = Server::dev();
    let mut stream = events(server.ask("GET /db/a/b?diff=fields\nAccept: text/event-stream", "").await);
    expect![[r#"
        id: …
        data: {"version":"0","token":"…","reset":false,"size":0,"changes":[]}"#]]
    .assert_eq(&stream.masked().await);
    server.text("PUT /db/a/b", r#"{"n":1,"m":{"x":1}}"#).await;
    expect![[r#"
        id: …
        data: {"version":"1767225600000000","token":"…","reset":false,"size":1,"changes":[{"type":"added","doc":{"path":"a/b","data":{"m":{"x":1},"n":1},"created":"1767225600000000","updated":"1767225600000000"},"from":-1,"to":0}]}"#]].assert_eq(&stream.masked().await);
    server.text("PATCH /db/a/b", r#"{"m.x":2,"n":{"$delete":true}}"#).await;
    expect![[r#"
        id: …
        data: {"version":"1767225600000001","token":"…","reset":false,"size":1,"changes":[{"type":"modified","doc":{"path":"a/b","updated":"1767225600000001"},"patch":{"m.x":2,"n":{"$delete":true}},"from":0,"to":0}]}"#]].assert_eq(&stream.masked().await);
    let mut counts = events(server.ask("GET /db/a?count&sum=m.x\nAccept: text/event-stream", "").await);
    expect![[r#"
        id: …
        data: {"version":"1767225600000001","token":"…","reset":false,"aggregates":{"count":1,"sum(m.x)":2}}"#]]
    .assert_eq(&counts.masked().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_encoding_serves_every_stream_of_a_query() {
    let server = Server::dev();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = events(server.ask("GET /db/a\nAccept: text/event-stream", "").await);
        stream.next().await.unwrap();
        streams.push(stream);
    }
    server.text("PUT /db/a/b", "{}").await;
    for stream in &mut streams {
        stream.next().await.unwrap();
    }
    let metrics = server.door.engine.metrics().render();
    assert!(metrics.contains("hearth_events_encoded_total{format=\"NativeJson\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_at_one_version() {
    let server = Server::dev();
    let writes: Vec<_> = (0..1_003).map(|n| json!({"set": format!("a/{n:04}"), "data": {"n": n / 2}})).collect();
    server.text("POST /db", &json!({ "writes": writes }).to_string()).await;
    let response = server.ask("GET /db/a?orderBy=n+desc", "").await;
    let next = response.headers()["link"].to_str().unwrap().to_owned();
    expect![[r#"</db/a?orderBy=n%20desc&startAfter=%5B1%2C%7B%22%24ref%22%3A%22a%2F0003%22%7D%5D&at=1767225600000000>; rel="next""#]].assert_eq(&next);
    server.text("DELETE /db/a/0000", "").await;
    let next = next.strip_prefix('<').unwrap().split_once('>').unwrap().0;
    let page = server.json(&format!("GET {next}"), "").await;
    let paths: Vec<_> = page["docs"].as_array().unwrap().iter().map(|doc| doc["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["a/0002", "a/0001", "a/0000"], "as it was when the first page was read");
    assert_eq!(page["more"], false);
    assert_eq!(server.json("GET /db/a?limit=all", "").await["size"], 1_002);
    assert_eq!(server.json("GET /db/a?limit=2&orderBy=n", "").await["more"], true);
    server
        .check(
            "GET /db/a?limit=2\nAccept: application/x-ndjson",
            "",
            expect![[r#"
        200
        etag: W/"…"
        content-type: application/x-ndjson
        link: </db/a?limit=2&startAfter=%5B%7B%22%24ref%22%3A%22a%2F0002%22%7D%5D&at=1767225600000001>; rel="next"
        {"path":"a/0001","data":{"n":0},"created":"1767225600000000","updated":"1767225600000000"}
        {"path":"a/0002","data":{"n":1},"created":"1767225600000000","updated":"1767225600000000"}
    "#]],
        )
        .await;
    server.check("GET /db/a?limit=200000", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"limit","code":"invalid-argument","detail":"a limit of 200000 documents is over the bound of 100000","limit":{"name":"result_docs_max","value":100000},"request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_come_as_parameters_or_as_a_body() {
    let server = Server::dev();
    for (id, n) in [("x", 1), ("y", 2), ("z", 3)] {
        server.text(&format!("PUT /db/a/{id}"), &json!({"n": n, "t": "text"}).to_string()).await;
    }
    server.text("PUT /db/r/1/a/w", r#"{"n":4}"#).await;
    server.check("GET /db/a?where=n+gt+1&orderBy=n+desc&select=n&explain", "", expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"1767225600000003","token":"…","docs":[{"path":"a/z","data":{"n":3},"created":"1767225600000002","updated":"1767225600000002"},{"path":"a/y","data":{"n":2},"created":"1767225600000001","updated":"1767225600000001"}],"size":2,"more":false,"explain":{"index":null,"micros":0,"read":3,"returned":2,"rule":"open","scanned":3}}"#]]).await;
    server
        .check(
            "GET /db/a?count&sum=n&avg=n",
            "",
            expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"1767225600000003","token":"…","aggregates":{"count":3,"sum(n)":6,"avg(n)":2.0}}"#]],
        )
        .await;
    server.check("GET /db/~/a?where=n+ge+3&select=", "", expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"1767225600000003","token":"…","docs":[{"path":"a/z","data":{},"created":"1767225600000002","updated":"1767225600000002"},{"path":"r/1/a/w","data":{},"created":"1767225600000003","updated":"1767225600000003"}],"size":2,"more":false}"#]]).await;
    server.check("POST /db/a/~query", r#"{"where":["n","<",3],"limitToLast":1,"orderBy":[["n","asc"]]}"#, expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"1767225600000003","token":"…","docs":[{"path":"a/y","data":{"n":2,"t":"text"},"created":"1767225600000001","updated":"1767225600000001"}],"size":1,"more":true}"#]]).await;
    server.check("POST /db/a/~query", r#"{"where":["n","like",3]}"#, expect![[r#"
        400
        content-type: application/problem+json
        {"at":"/where/1","code":"invalid-argument","detail":"\"like\" is not an operator; the operators are eq ne lt le gt ge in not-in array-contains array-contains-any","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    assert_eq!(server.json("GET /db/a?orderBy=n&startAfter=a/y", "").await["docs"][0]["path"], "a/z");
    server.check("GET /db/a?startAt=a/none", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"startAt","code":"invalid-argument","detail":"a/none, where the result is cut, does not exist","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check("GET /db/a?where=n+gt", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"where, column 5","code":"invalid-argument","detail":"a value is expected","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    assert_eq!(server.json(&format!("GET /db/a?at={NOW}"), "").await["size"], 1, "as it was after the first write");
    server.check("GET /db/a?at=9999999999999999", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"at","code":"invalid-argument","detail":"version 9999999999999999 lies in the future; the newest is 1767225600000003","request":"r1","status":400,"title":"Bad Request","type":"about:blank","version":"1767225600000003"}"#]]).await;
    server
        .check(
            "GET /db?collections",
            "",
            expect![[r#"
        200
        content-type: application/json
        {"collections":["a","r"],"version":"1767225600000003"}"#]],
        )
        .await;
    server
        .check(
            "GET /db/r/1?collections",
            "",
            expect![[r#"
        200
        content-type: application/json
        {"collections":["a"],"version":"1767225600000003"}"#]],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_collection_hints_at_its_namesake_elsewhere() {
    let server = Server::dev();
    server.text("PUT /p/shop/db/cities/paris", "{}").await;
    server
        .check(
            "GET /db/cities",
            "",
            expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"0","token":"…","docs":[],"size":0,"more":false,"hint":"/p/shop/db/cities"}"#]],
        )
        .await;
    server.check("GET /p/shop/db/cities", "", expect![[r#"
        200
        etag: W/"…"
        content-type: application/json
        {"version":"1767225600000000","token":"…","docs":[{"path":"cities/paris","data":{},"created":"1767225600000000","updated":"1767225600000000"}],"size":1,"more":false}"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_a_problem_that_says_so() {
    let server = Server::dev();
    server.check("GET /nowhere", "", expect![[r#"
        404
        content-type: application/problem+json
        {"code":"not-found","detail":"there is nothing at /nowhere; data is below /db","request":"r1","status":404,"title":"Not Found","type":"about:blank"}"#]]).await;
    server.check("DELETE /db/a", "", expect![[r#"
        405
        content-type: application/problem+json
        allow: GET, HEAD, POST, OPTIONS
        {"code":"unimplemented","detail":"/db/{collection} does not take DELETE; with ?recursive it deletes all documents and everything below them","request":"r1","status":405,"title":"Method Not Allowed","type":"about:blank"}"#]]).await;
    server.check("GET /db/a?order=n", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"order","code":"invalid-argument","detail":"the parameter \"order\" means nothing here","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check("GET /db/a/b%2Fc", "", expect![[r#"
        400
        content-type: application/problem+json
        {"code":"invalid-argument","detail":"segment 2 of the path: an id holds a slash","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check("PUT /db/a/b\nContent-Type: multipart/form-data", "x", expect![[r#"
        415
        content-type: application/problem+json
        {"at":"Content-Type","code":"invalid-argument","detail":"a body of type \"multipart/form-data\" is not understood; send application/json","request":"r1","status":415,"title":"Unsupported Media Type","type":"about:blank"}"#]]).await;
    server.check("PUT /db/a/b\nContent-Type: application/x-www-form-urlencoded", "[1]", expect![[r#"
        400
        content-type: application/problem+json
        {"code":"invalid-argument","detail":"the data of a document is an object, this is an array","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check("PUT /db/a/b", r#"{"a":[[1]]}"#, expect![[r#"
        400
        content-type: application/problem+json
        {"at":"/a/0","code":"invalid-argument","detail":"an array stands directly in an array; wrap the inner one in a map","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    server.check("GET /db/a\nAuthorization: Bearer old", "", expect![[r#"
        401
        content-type: application/problem+json
        www-authenticate: Bearer error="invalid_token", error_description="expired"
        {"code":"unauthenticated","detail":"expired","request":"r1","status":401,"title":"Unauthorized","type":"about:blank"}"#]]).await;
    server.check("GET /db/a\nAuthorization: Basic x", "", expect![[r#"
        401
        content-type: application/problem+json
        www-authenticate: Bearer error="invalid_request", error_description="only the scheme Bearer is understood"
        {"code":"unauthenticated","detail":"only the scheme Bearer is understood","request":"r1","status":401,"title":"Unauthorized","type":"about:blank"}"#]]).await;
    let long = server.text(&format!("GET /db/{}", "a".repeat(17_000)), "").await;
    assert!(long.starts_with("414"), "{long}");
    let large = server.text("PUT /db/a/b", &"x".repeat((11 << 20) + 1)).await;
    expect![[r#"
        413
        content-type: application/problem+json
        {"code":"invalid-argument","detail":"the body is over the limit of 11534336 bytes","limit":{"name":"message_bytes_max","value":11534336},"request":"r1","status":413,"title":"Payload Too Large","type":"about:blank"}"#]].assert_eq(&large);
    let bomb = server.text("PUT /db/a/b", &format!("{{\"a\":{}", "[".repeat(100_000))).await;
    expect![[r#"
        400
        content-type: application/problem+json
        {"code":"invalid-argument","detail":"this is not JSON: recursion limit exceeded at line 1 column 132","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]].assert_eq(&bomb);
    let heavy = json!({ "t": "x".repeat(1 << 20) }).to_string();
    expect![[r#"
        413
        content-type: application/problem+json
        {"code":"invalid-argument","detail":"a/b would hold 1048631 bytes, over the limit of 1048576","limit":{"name":"doc_bytes_max","value":1048576},"path":"a/b","request":"r1","status":413,"title":"Payload Too Large","type":"about:blank"}"#]].assert_eq(&server.text("PUT /db/a/b", &heavy).await);
    assert_eq!(server.ask("GET /db/a/b", "").await.status(), 404, "nothing of that was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_taken_literally() {
    let server = Server::dev();
    server.text("PUT /db/a/b?literal", r#"{"a":{"$delete":true},"$increment":1}"#).await;
    server.check("GET /db/a/b", "", expect![[r#"
        200
        content-type: application/json
        etag: "1767225600000000"
        {"path":"a/b","data":{"$increment":1,"a":{"$map":{"$delete":true}}},"created":"1767225600000000","updated":"1767225600000000"}"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_bears_the_usual_headers() {
    let server = Server::dev();
    for (request, status) in [("GET /db/a", 200), ("GET /nowhere", 404), ("GET /health", 200), ("PATCH /db/a/b", 400)] {
        let response = server.ask(&format!("{request}\nOrigin: http://localhost:3000"), "").await;
        let headers = response.headers();
        assert_eq!(response.status(), status);
        assert_eq!(headers["x-request-id"], "r1");
        assert_eq!(headers["access-control-allow-origin"], "http://localhost:3000", "{request}");
        assert_eq!(headers["access-control-expose-headers"], EXPOSED);
        assert!(headers["vary"].to_str().unwrap().contains("Origin"));
        assert!(headers.contains_key("cache-control"));
    }
    let response = server.ask("GET /health\nX-Request-Id: bad id", "").await;
    assert_ne!(response.headers()["x-request-id"], "bad id");
    let read = server.ask("GET /db/a", "").await;
    assert_eq!(read.headers()["vary"], read::VARY);
    assert_eq!(read.headers()["cache-control"], "private, no-cache");
    let head = server.ask("HEAD /db/a", "").await;
    assert_eq!(head.status(), 200);
    assert!(head.headers().contains_key("content-length"));
    assert!(axum::body::to_bytes(head.into_body(), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_and_hosts_reach_nothing_in_dev() {
    let server = Server::dev();
    server.check("PUT /db/a/b\nOrigin: https://evil.example", "{}", expect![[r#"
        403
        content-type: application/problem+json
        {"at":"Origin","code":"permission-denied","detail":"pages of \"https://evil.example\" may not talk to this server; --allow-origin or [cors] origins allows them","request":"r1","status":403,"title":"Forbidden","type":"about:blank"}"#]]).await;
    server.check("GET /db/a\nHost: evil.example", "", expect![[r#"
        403
        content-type: application/problem+json
        {"at":"Host","code":"permission-denied","detail":"dev answers only on loopback names such as localhost, and this request asked for \"evil.example\"; --expose answers on others","request":"r1","status":403,"title":"Forbidden","type":"about:blank"}"#]]).await;
    server.check("OPTIONS /db/a/b\nOrigin: https://evil.example\nAccess-Control-Request-Method: PUT", "", expect![[r#"
        403
        content-type: application/problem+json
        {"at":"Origin","code":"permission-denied","detail":"pages of \"https://evil.example\" may not talk to this server; --allow-origin or [cors] origins allows them","request":"r1","status":403,"title":"Forbidden","type":"about:blank"}"#]]).await;
    server.check("OPTIONS /db/a/b\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: PUT", "", expect![[r#"
        204
        allow: GET, HEAD, PUT, PATCH, DELETE, OPTIONS
        access-control-allow-methods: GET, HEAD, PUT, PATCH, DELETE, OPTIONS
        access-control-allow-headers: Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, Prefer, X-Request-Id
        access-control-max-age: 7200
        access-control-allow-origin: http://localhost:3000
        access-control-expose-headers: ETag, Location, Link, Preference-Applied, Retry-After, X-Request-Id
    "#]]).await;
    server
        .check(
            "OPTIONS /metrics\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: GET",
            "",
            expect![[r#"
        204
        allow: GET, HEAD, OPTIONS
    "#]],
        )
        .await;
    assert_eq!(server.ask("GET /db/a/b", "").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_nothing_but_root_and_health_without_authority() {
    let closed = Access::Closed { signed_in: SignedIn::Nothing };
    let server = Server::with(Mode::Serve, closed, Limits::default());
    for route in routes() {
        for method in route.methods {
            let request = format!("{method} {}\nAccept: text/html", route.example);
            let status = server.ask(&request, "").await.status();
            let signed_in = server.ask(&format!("{request}\nAuthorization: Bearer ada"), "").await.status();
            match route.open {
                true => assert_eq!((status.as_u16(), signed_in.as_u16()), (200, 200), "{request}"),
                false => assert_eq!((status.as_u16(), signed_in.as_u16()), (401, 403), "{request}"),
            }
        }
    }
    assert_eq!(server.ask("GET /nowhere", "").await.status(), 401);
    assert_eq!(server.ask("GET /db/a?bad=1\nAuthorization: Bearer ada", "").await.status(), 403);
    assert_eq!(server.ask("PUT /db/a/b\nAuthorization: Bearer admin", "{}").await.status(), 201);
    assert_eq!(server.ask("GET /metrics\nAuthorization: Bearer admin", "").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_in_users_may_what_the_setting_says() {
    let reads = Access::Closed { signed_in: SignedIn::Read };
    let server = Server::with(Mode::Serve, reads, Limits::default());
    let ask = async |request: &str| {
        server.ask(&format!("{request}\nAuthorization: Bearer ada"), "{}").await.status().as_u16()
    };
    assert_eq!(ask("GET /db/a").await, 200);
    assert_eq!(ask("PUT /db/a/b").await, 403);
    assert_eq!(ask("GET /feed").await, 403);
    assert_eq!(ask("GET /metrics").await, 403);
    assert_eq!(server.ask("GET /sdk/hearth.js", "").await.status(), 200, "a page cannot show a token for its script");
    assert_eq!(server.ask("GET /db/a", "").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_from_elsewhere_needs_the_key_of_a_dev_server() {
    let server = Server::dev();
    let ask = async |credential: Option<&str>| {
        let mut request = axum::http::Request::get("/db").header("host", "localhost").body(Body::empty()).unwrap();
        request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Some(credential) = credential {
            let value = HeaderValue::try_from(format!("Bearer {credential}")).unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        request.extensions_mut().insert(Peer(Mode::Serve));
        server.router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(None).await, 401);
    assert_eq!(ask(Some("ada")).await, 403);
    assert_eq!(ask(Some("admin")).await, 400, "let in, and then found to be no real upgrade");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_its_own_stream_and_takes_it_over() {
    let reads = Access::Closed { signed_in: SignedIn::Read };
    let server = Server::with(Mode::Serve, reads, Limits::default());
    let ticket = server.json("POST /tickets\nAuthorization: Bearer ada", r#"{"for":"/db/a?limit=5"}"#).await;
    assert_eq!(ticket["opens_before"], NOW / 1_000_000 + 30);
    let text = ticket["ticket"].as_str().unwrap();
    let open = format!("GET /db/a?limit=5&ticket={text}\nAccept: text/event-stream");
    let mut first = events(server.ask(&open, "").await);
    assert!(first.next().await.is_some());
    let mut second = events(server.ask(&open, "").await);
    assert!(second.next().await.is_some());
    assert_eq!(first.next().await, None, "one stream at a time");
    let other = server.ask(&format!("GET /db/b?ticket={text}\nAccept: text/event-stream"), "").await;
    assert_eq!(other.status(), 403);
    assert_eq!(server.ask(&format!("GET /db/a?limit=5&ticket={text}"), "").await.status(), 400);
    assert_eq!(server.ask(&format!("PUT /db/a/b?ticket={text}"), "{}").await.status(), 400);
    assert_eq!(server.ask("GET /db/a?limit=5&ticket=forged\nAccept: text/event-stream", "").await.status(), 401);
    drop(second);
    let mut again = events(server.ask(&open, "").await);
    assert!(again.next().await.is_some(), "a stream may be taken up again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_every_commit_in_order() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    let token = server.json("GET /feed", "").await["token"].as_str().unwrap().to_owned();
    server.text("POST /db", r#"{"writes":[{"set":"a/c","data":{}},{"delete":"a/b"}]}"#).await;
    server.text("PUT /db/x/y", "{}").await;
    server.check(&format!("GET /feed?since={token}"), "", expect![[r#"
        200
        content-type: application/json
        {"version":"1767225600000002","token":"…","reset":false,"commits":[{"version":"1767225600000001","changes":[{"type":"removed","doc":{"path":"a/b"}},{"type":"added","doc":{"path":"a/c","data":{},"created":"1767225600000001","updated":"1767225600000001"}}]},{"version":"1767225600000002","changes":[{"type":"added","doc":{"path":"x/y","data":{},"created":"1767225600000002","updated":"1767225600000002"}}]}],"more":false}"#]]).await;
    server.check(&format!("GET /feed?since={token}&path=x\nPrefer: wait=0"), "", expect![[r#"
        200
        content-type: application/json
        preference-applied: wait=0
        {"version":"1767225600000002","token":"…","reset":false,"commits":[{"version":"1767225600000002","changes":[{"type":"added","doc":{"path":"x/y","data":{},"created":"1767225600000002","updated":"1767225600000002"}}]}],"more":false}"#]]).await;
    let mut stream = events(server.ask(&format!("GET /feed?since={token}\nAccept: text/event-stream"), "").await);
    expect![[r#"
        id: …
        data: {"token":"…","reset":false,"version":"1767225600000001","changes":[{"type":"removed","doc":{"path":"a/b"}},{"type":"added","doc":{"path":"a/c","data":{},"created":"1767225600000001","updated":"1767225600000001"}}]}"#]].assert_eq(&stream.masked().await);
    stream.next().await.unwrap();
    server.text("DELETE /db/x/y", "").await;
    expect![[r#"
        id: …
        data: {"token":"…","reset":false,"version":"1767225600000003","changes":[{"type":"removed","doc":{"path":"x/y"}}]}"#]].assert_eq(&stream.masked().await);
    let query = server.json("GET /db/a", "").await["token"].as_str().unwrap().to_owned();
    assert_eq!(server.json(&format!("GET /feed?since={query}"), "").await["reset"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_goes_with_all_beneath_it_only_when_that_is_said() {
    let server = Server::dev();
    server.text("PUT /db/a/missing/b/x", r#"{"n":1}"#).await;
    server.text("PUT /db/a/y", "{}").await;
    server.check("DELETE /db/a", "", expect![[r#"
        405
        content-type: application/problem+json
        allow: GET, HEAD, POST, OPTIONS
        {"code":"unimplemented","detail":"/db/{collection} does not take DELETE; with ?recursive it deletes all documents and everything below them","request":"r1","status":405,"title":"Method Not Allowed","type":"about:blank"}"#]]).await;
    server
        .check(
            "DELETE /db/a/missing?recursive",
            "",
            expect![[r#"
        200
        content-type: application/json
        {"deleted":1,"version":"1767225600000002"}"#]],
        )
        .await;
    server.text("PUT /db/a/missing/b/x", r#"{"n":1}"#).await;
    server
        .check(
            "DELETE /db/a?recursive",
            "",
            expect![[r#"
        200
        content-type: application/json
        {"deleted":2,"version":"1767225600000004"}"#]],
        )
        .await;
    assert_eq!(server.json("GET /db?collections", "").await["collections"], json!([]));
    let preflight = async |at: &str| {
        let request = format!("OPTIONS {at}\nOrigin: http://localhost:1\nAccess-Control-Request-Method: DELETE");
        server.ask(&request, "").await.headers()["access-control-allow-methods"].to_str().unwrap().to_owned()
    };
    assert_eq!(preflight("/db/a").await, "GET, HEAD, POST, OPTIONS");
    assert_eq!(preflight("/db/a?recursive").await, "GET, HEAD, POST, DELETE, OPTIONS");
    for header in ["If-Match: \"1\"", "If-None-Match: *", "Idempotency-Key: k"] {
        assert_eq!(server.ask(&format!("DELETE /db/a?recursive\n{header}"), "").await.status(), 400, "{header}");
    }
    assert_eq!(server.ask("DELETE /db/~/a?recursive", "").await.status(), 405);
    assert_eq!(server.ask("DELETE /db?recursive", "").await.status(), 400, "?wipe is the word for that");
    let writes = Access::Closed { signed_in: SignedIn::Write };
    let server = Server::with(Mode::Serve, writes, Limits::default());
    for (user, status) in [("ada", 403), ("admin", 200)] {
        for at in ["/db/a", "/db/a/b"] {
            let request = format!("DELETE {at}?recursive\nAuthorization: Bearer {user}");
            assert_eq!(server.ask(&request, "").await.status(), status, "{request}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_one_document_is_explained_too() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    server.check("GET /db/a/b?explain", "", expect![[r#"
        200
        content-type: application/json
        etag: "1767225600000000"
        {"path":"a/b","data":{"n":1},"created":"1767225600000000","updated":"1767225600000000","explain":{"index":"document","micros":0,"read":1,"returned":1,"rule":"open","scanned":1}}"#]]).await;
    server.check("GET /db/a/none?explain", "", expect![[r#"
        404
        content-type: application/problem+json
        etag: "0"
        {"code":"not-found","detail":"no document at a/none","explain":{"index":"document","micros":0,"read":0,"returned":0,"rule":"open","scanned":1},"request":"r1","status":404,"title":"Not Found","type":"about:blank"}"#]]).await;
    assert!(!server.text("GET /db/a/b?explain\nAccept: application/x-ndjson", "").await.contains("explain"));
    // Outside dev, by what it was allowed is for those who administer.
    let server = Server::with(Mode::Serve, Access::Closed { signed_in: SignedIn::Read }, Limits::default());
    server.text("PUT /db/a/b\nAuthorization: Bearer admin", "{}").await;
    for at in ["/db/a/b", "/db/a"] {
        let told = async |user: &str| {
            let request = format!("GET {at}?explain\nAuthorization: Bearer {user}");
            server.json(&request, "").await["explain"]["rule"].clone()
        };
        assert_eq!((told("ada").await, told("admin").await), (Json::Null, json!("admin")), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_read_of_the_feed_looks_past_what_does_not_concern_it() {
    let server = Server::dev();
    let token = server.json("GET /feed", "").await["token"].as_str().unwrap().to_owned();
    let writes: Vec<_> = (0..1_500).map(|n| json!({"set": format!("a/{n}"), "data": {}})).collect();
    server.text("POST /db", &json!({ "writes": writes }).to_string()).await;
    server.text("PUT /db/b/x", "{}").await;
    let told = server.json(&format!("GET /feed?since={token}&path=b\nPrefer: wait=30"), "").await;
    assert_eq!(told["commits"][0]["changes"][0]["doc"]["path"], "b/x", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_to_the_feed_is_for_those_who_may_and_for_pages_of_the_server() {
    let upgrade = "Connection: upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    let server = Server::with(Mode::Serve, Access::Closed { signed_in: SignedIn::Write }, Limits::default());
    let ask = async |at: &str, headers: &str| {
        server.ask(&format!("GET {at}\n{upgrade}{headers}"), "").await.status().as_u16()
    };
    assert_eq!(ask("/feed", "").await, 401);
    assert_eq!(ask("/feed", "\nAuthorization: Bearer ada").await, 403);
    assert_eq!(ask("/feed", "\nAuthorization: Bearer admin\nSec-WebSocket-Protocol: other").await, 400);
    // What comes to `accept` is let in; without a connection under it there is nothing to upgrade.
    assert_eq!(ask("/feed", "\nAuthorization: Bearer admin").await, 426);
    assert_eq!(ask("/feed?since=x", "\nAuthorization: Bearer admin").await, 400);
    let of = |origin: &str| format!("\nAuthorization: Bearer admin\nOrigin: {origin}");
    assert_eq!(ask("/feed", &of("http://localhost:8080")).await, 426);
    assert_eq!(ask("/feed", &of("https://other.example")).await, 403);
    assert_eq!(ask("/feed", &of("null")).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_pages_and_programs_get_ok() {
    let server = Server::dev();
    server
        .check(
            "GET /",
            "",
            expect![[r#"
        200
        content-type: text/plain; charset=utf-8
        Ok"#]],
        )
        .await;
    assert!(server.text("GET /\nAccept: text/html", "").await.contains("href=\"/demo\""));
    let page = server.ask("GET /p/shop/db@eu/a/b\nAccept: text/html", "").await;
    assert_eq!(page.headers()["content-security-policy"], page::POLICY);
    let page = show(page).await;
    assert!(
        page.contains(r#"<main data-path="a/b" data-kind="document" data-project="shop" data-database="eu">"#),
        "{page}"
    );
    server.check("GET /demo", "", expect![[r#"
        200
        content-type: text/html; charset=utf-8
        etag: "c72c804ee0fe6ac9"
        content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
        <!doctype html>"#]]).await;
    server
        .check(
            "GET /sdk/hearth.js",
            "",
            expect![[r#"
        200
        content-type: text/javascript
        etag: "669b934bf6aa0916"
        export {}"#]],
        )
        .await;
    server.check("GET /sdk/none.js", "", expect![[r#"
        404
        content-type: application/problem+json
        {"code":"not-found","detail":"there is no file \"sdk/none.js\"","request":"r1","status":404,"title":"Not Found","type":"about:blank"}"#]]).await;
    server
        .check(
            "GET /health",
            "",
            expect![[r#"
        200
        content-type: application/json
        {"alarms":[],"detail":{"disk_free_bytes":null,"opening":[],"read_only":[]},"status":"serving","version":"0.1.0"}"#]],
        )
        .await;
    let about = server.json("GET /p/demo/db", "").await;
    assert_eq!((&about["project"], &about["database"]), (&json!("demo"), &json!("(default)")));
    assert_eq!(about["limits"]["doc_bytes_max"], 1_048_576);
    assert!(server.text("GET /metrics", "").await.contains("hearth_http_requests_total{status=\"200\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_an_answer_holds_nothing_after_it_is_gone() {
    let server = Server::dev();
    let stream = server.ask("GET /db/a\nAccept: text/event-stream", "").await;
    assert_eq!(server.door.engine.metrics().listeners.get(), 1);
    drop(stream);
    assert_eq!(server.door.engine.metrics().listeners.get(), 0);
    assert_eq!(server.door.engine.metrics().connections.get(), 0);
    let tag = server.ask("GET /db/a", "").await.headers()["etag"].to_str().unwrap().to_owned();
    let request = format!("GET /db/a\nIf-None-Match: {tag}\nPrefer: wait=55");
    let held = tokio::time::timeout(Duration::ZERO, server.ask(&request, "")).await;
    assert!(held.is_err(), "held, and given up by the client");
}

#[tokio::test]
async fn a_wipe_wants_its_word_and_an_admin() {
    let server = Server::dev();
    server.text("PUT /db/a/b", r#"{"n":1}"#).await;
    let token = server.json("GET /db/a", "").await["token"].clone();
    server.check("DELETE /db", "", expect![[r#"
        400
        content-type: application/problem+json
        {"at":"wipe","code":"invalid-argument","detail":"this takes away every document of demo/(default); if that is meant, say ?wipe","request":"r1","status":400,"title":"Bad Request","type":"about:blank"}"#]]).await;
    assert_eq!(server.json("GET /db/a", "").await["size"], 1);
    let wiped = server.json("DELETE /db?wipe", "").await;
    let after = server.json(&format!("GET /db/a?since={}", token.as_str().unwrap()), "").await;
    assert_eq!((&after["reset"], &after["size"]), (&json!(true), &json!(0)));
    assert_eq!(wiped["version"], after["version"]);
    let closed = Server::with(Mode::Serve, Access::Closed { signed_in: SignedIn::Write }, Limits::default());
    for (who, status) in [("", "401"), ("\nAuthorization: Bearer ada", "403"), ("\nAuthorization: Bearer admin", "200")]
    {
        let answer = closed.text(&format!("DELETE /db?wipe{who}"), "").await;
        assert!(answer.starts_with(status), "{who}: {answer}");
    }
}

#[tokio::test]
async fn health_says_in_detail_to_those_who_may_know() {
    let dev = Server::dev();
    let health = dev.json("GET /health", "").await;
    assert_eq!((&health["status"], &health["alarms"]), (&json!("serving"), &json!([])));
    assert_eq!(health["detail"], json!({"opening": [], "read_only": [], "disk_free_bytes": null}));
    let closed = Server::with(Mode::Serve, Access::Closed { signed_in: SignedIn::Write }, Limits::default());
    for (who, told) in [("", false), ("\nAuthorization: Bearer ada", false), ("\nAuthorization: Bearer admin", true)] {
        let health = closed.json(&format!("GET /health{who}"), "").await;
        assert_eq!(health.get("detail").is_some(), told, "{who}: {health}");
    }
    dev.door.stop();
    for address in ["/health", "/health?ready"] {
        assert!(dev.text(&format!("GET {address}"), "").await.starts_with("503"), "{address}");
    }
}
