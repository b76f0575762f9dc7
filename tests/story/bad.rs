//! Bad input: a clear refusal that names the fault, nothing written, the server alive.

use hearth_tests::{PATIENCE, Server};
use serde_json::{Value, json};

use crate::common::{dev, encode, found, problem, put};

/// Nothing was written, and it still serves.
#[track_caller]
fn unharmed(server: &Server) {
    assert_eq!(found(server, "/db/c"), "");
    put(server, "alive/x", json!({}));
}

#[test]
fn what_is_no_json_is_refused_by_place() {
    let server = dev();
    for body in
        ["", "{", "nul", "{\"a\":1,}", "{\"a\":01}", "\u{feff}{}", "{\"a\":1} x", "{\"a\":1e999}", "\"\\ud800\""]
    {
        problem(&server.ask("PUT", "/db/c/a").body(body).send(), 400, "invalid-argument");
    }
    problem(&server.ask("PUT", "/db/c/a").body(&b"{\"a\":\"\xff\"}"[..]).send(), 400, "invalid-argument");
    for (body, at) in [
        (json!([1]), ""),
        (json!(5), ""),
        (json!({"a": {"$what": 1}}), "/a/$what"),
        (json!({"a": [{"$ref": "odd"}]}), "/a/0/$ref"),
        (json!({"a": {"$timestamp": "yesterday"}}), "/a/$timestamp"),
        (json!({"a": {"$bytes": "***"}}), "/a/$bytes"),
        (json!({"a": {"$geo": [91, 0]}}), "/a/$geo"),
        (json!({"a": {"$int": "9223372036854775808"}}), "/a/$int"),
        (json!({"a": {"$delete": true}}), "/a"),
        (json!({"a": [{"$increment": 1}]}), "/a/0"),
        (json!({"a": {"$increment": "x"}}), "/a/$increment"),
        (json!({"__a__": 1}), "/__a__"),
        (json!({"a": [[1]]}), "/a/0"),
    ] {
        let told = problem(&server.put("/db/c/a", &body).send(), 400, "invalid-argument");
        let place = told["at"].as_str().unwrap_or_default();
        assert!(place.starts_with(at), "{body} is told of {told}");
    }
    unharmed(&server);
}

#[test]
fn depth_bombs_are_refused() {
    let server = dev();
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        for depth in [25, 200, 100_000] {
            let body = format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
            let answer = server.ask("PUT", "/db/c/a").body(body).send();
            problem(&answer, 400, "invalid-argument");
        }
        problem(&server.ask("POST", "/db").body(open.repeat(1_000_000)).send(), 400, "invalid-argument");
    }
    let nested = format!("{}[\"a\",\"==\",1]{}", "{\"and\":[".repeat(10_000), "]}".repeat(10_000));
    let nested = format!("{{\"where\":{nested}}}");
    problem(&server.ask("POST", "/db/c/~query").body(nested).send(), 400, "invalid-argument");
    unharmed(&server);
}

#[test]
fn a_document_or_commit_over_its_limit_is_refused_by_name() {
    let server = dev();
    let text = |bytes: usize| json!({"text": "x".repeat(bytes)});
    put(&server, "alive/large", text((1 << 20) - 200));
    let told = problem(&server.put("/db/c/a", &text((1 << 20) + 1)).send(), 413, "invalid-argument");
    assert_eq!(told["limit"], json!({"name": "doc_bytes_max", "value": 1_048_576}));
    let writes: Vec<Value> = (0..10_001).map(|n| json!({"set": format!("c/{n}"), "data": {}})).collect();
    let told = problem(&server.post("/db", &json!({ "writes": writes })).send(), 413, "invalid-argument");
    assert_eq!(told["limit"], json!({"name": "commit_writes_max", "value": 10_000}));
    let writes: Vec<Value> = (0..11).map(|n| json!({"set": format!("c/{n}"), "data": text(1_000_000)})).collect();
    let told = problem(&server.post("/db", &json!({ "writes": writes })).send(), 413, "invalid-argument");
    assert_eq!(told["limit"]["name"], "commit_bytes_max");
    // A body that says beforehand that it is too long need not be sent.
    let long = server.ask("PUT", "/db/c/a").header("Content-Length", "99999999999").body("{").send();
    let told = problem(&long, 413, "invalid-argument");
    assert_eq!(told["limit"]["name"], "message_bytes_max");
    // A field of 1,501 bytes of name, a path too long.
    problem(&server.put("/db/c/a", &json!({"x".repeat(1_501): 1})).send(), 400, "invalid-argument");
    problem(&server.put(&format!("/db/c/{}", "x".repeat(1_501)), &json!({})).send(), 400, "invalid-argument");
    unharmed(&server);
}

#[test]
fn an_unbounded_body_is_cut_off() {
    let server = dev();
    let mut connection = server.connect();
    connection.write(b"PUT /db/c/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 65_536], b"\r\n"].concat();
    // 32 MiB, unless it hangs up before.
    let sent = (0..512).take_while(|_| connection.try_write(&chunk).is_ok()).count();
    if sent == 512 {
        problem(&connection.answer("PUT"), 413, "invalid-argument");
    } else {
        let rest = connection.read_to_end(PATIENCE).unwrap_or_default();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&rest));
    }
    unharmed(&server);
}

#[test]
fn bad_paths_are_refused() {
    let server = dev();
    for path in ["c//a", "/c/a", "c/.", "c/..", "c/__id__", "c/%2F", "c/%FF", "c/a/", "~"] {
        let answer = server.put(&format!("/db/{path}"), &json!({})).send();
        assert!(matches!(answer.status, 400 | 405), "{path}: {answer:?}");
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{path}");
    }
    for path in ["/db@Bad_Name!/c/a", "/p/UPPER CASE/db/c/a".replace(' ', "%20").as_str(), "/p//db/c/a"] {
        let answer = server.put(path, &json!({})).send();
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    let deep = (0..101).map(|n| format!("/c/{n}")).collect::<String>();
    problem(&server.put(&format!("/db{deep}"), &json!({})).send(), 400, "invalid-argument");
    unharmed(&server);
}

#[test]
fn unknown_parameters_are_refused_by_name_in_every_way() {
    let server = dev();
    let told = |answer: &hearth_tests::Answer| problem(answer, 400, "invalid-argument")["at"].clone();
    assert_eq!(told(&server.get("/db/c?colour=red").send()), "colour");
    assert_eq!(told(&server.get("/db/c/a?where=a+eq+1").send()), "where");
    assert_eq!(told(&server.put("/db/c/a?merge", &json!({})).send()), "merge");
    assert_eq!(told(&server.post("/db/c?limit=1", &json!({})).send()), "limit");
    assert_eq!(told(&server.post("/db?x", &json!({"writes": []})).send()), "x");
    assert_eq!(told(&server.post("/db/c/~query?limit=1", &json!({})).send()), "limit");
    assert_eq!(told(&server.get("/db?x=1").send()), "x");
    assert_eq!(told(&server.delete("/db/c/a?x=1").send()), "x");
    unharmed(&server);
}

#[test]
fn headers_and_addresses_have_limits() {
    let server = dev();
    let long = server.get(&format!("/db/c?where=a+eq+{}", encode(&"x".repeat(17 << 10)))).send();
    assert!(matches!(long.status, 400 | 414 | 431), "{long:?}");
    let huge = server.get("/db/c").header("X-Huge", &"x".repeat(1 << 20));
    let mut connection = server.connect();
    // It may hang up before it has read all of it.
    let _ = connection.try_write(&huge.bytes(false));
    let answer = connection.read_to_end(PATIENCE).expect("it answers or hangs up");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431") || answer.starts_with(b"HTTP/1.1 400"));
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"GET /db/c HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /db/<c> HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut connection = server.connect();
        connection.write(bytes);
        connection.finish_writing();
        let answer = connection.read_to_end(PATIENCE).expect("it answers or hangs up");
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 505"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    for (name, value) in
        [("If-Match", "no quotes"), ("If-None-Match", "\"a"), ("Authorization", "Basic eDp5"), ("Idempotency-Key", "")]
    {
        let answer = server.put("/db/c/a", &json!({})).header(name, value).send();
        assert!(matches!(answer.status, 400 | 401 | 412), "{name}: {answer:?}");
    }
    unharmed(&server);
}

#[test]
fn a_slow_request_ends_by_itself_and_holds_nobody_up() {
    let server = dev();
    let mut half: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for connection in &mut half {
        connection.write(b"PUT /db/c/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{");
    }
    // Fifty others that stop in the midst of a request do not keep this one waiting.
    unharmed(&server);
    half.iter_mut().for_each(|connection| connection.finish_writing());
    for mut connection in half {
        let answer = connection.read_to_end(PATIENCE).expect("half a request is no reason to wait for ever");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    unharmed(&server);
}

#[test]
fn a_refused_request_is_no_part_of_the_next_one() {
    let server = dev();
    let smuggled = "DELETE /db/alive/x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    put(&server, "alive/x", json!({}));
    for (path, header) in
        [("/db/c//a", None), ("/nothing", None), ("/db/c/a", Some(("Origin", "https://evil.example")))]
    {
        let mut connection = server.connect();
        let ask = server.ask("PUT", path).body(smuggled);
        let ask = header.map_or(ask.clone(), |(name, value)| ask.header(name, value));
        assert_eq!(connection.ask(&ask).status / 100, 4);
        // Either the connection has ended, or it answers this one next.
        if connection.try_write(&server.get("/health").bytes(false)).is_ok() {
            let rest = connection.read_to_end(PATIENCE).expect("it answers or hangs up");
            assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
        }
    }
    for head in [
        "Host: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Host: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "Host: localhost\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}",
        "Host: evil.example\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Length: 2\r\n\r\n{}",
    ] {
        let mut connection = server.connect();
        connection.write(format!("PUT /db/c/a HTTP/1.1\r\nConnection: close\r\n{head}").as_bytes());
        let answer = connection.read_to_end(PATIENCE).expect("it answers or hangs up");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{head}: {}", String::from_utf8_lossy(&answer));
    }
    server.get("/db/alive/x").send().expect_status(200);
    unharmed(&server);
}

#[test]
fn several_requests_follow_each_other_on_one_connection() {
    let server = dev();
    let mut connection = server.connect();
    assert_eq!(connection.ask(&server.put("/db/alive/x", &json!({"n": 1}))).status, 201);
    let read = connection.ask(&server.get("/db/alive/x"));
    let tag = crate::common::etag(&read);
    assert_eq!(connection.ask(&server.get("/db/alive/x").header("If-None-Match", &tag)).status, 304);
    assert_eq!(connection.ask(&server.ask("HEAD", "/db/alive")).status, 200);
    assert_eq!(connection.ask(&server.get("/db/alive?x")).status, 400);
    assert_eq!(connection.ask(&server.delete("/db/alive/x")).status, 204);
    // Two at once.
    connection.write(&[server.get("/db/alive/x").bytes(true), server.get("/health").bytes(true)].concat());
    assert_eq!((connection.answer("GET").status, connection.answer("GET").status), (404, 200));
}

#[test]
fn nothing_of_the_machine_leaks_into_an_answer() {
    let server = hearth_tests::Launch::dev().start();
    let data = server.data().display().to_string();
    for target in [
        "/db/c?where=x",
        "/nothing",
        "/db/c/a",
        "/db@x%2F..%2F..%2Fetc/c",
        "/sdk/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/p/..%2f..%2fx/db/c",
    ] {
        let answer = server.get(target).send();
        assert_eq!(answer.status / 100, 4, "{target}: {answer:?}");
        let text = answer.text();
        assert!(!text.contains(&data) && !text.contains("panicked") && !text.contains(".rs:"), "{target}: {text}");
    }
    let (_, stderr) = server.output();
    assert!(!stderr.contains("panicked"), "{stderr}");
}
