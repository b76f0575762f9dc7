//! WebSocket: many listeners, reads and writes on one connection.

use hearth_tests::{Fold, Server, Socket, SocketEnd, check_schema, number};
use serde_json::{Value, json};

use crate::common::{commit, dev, put};

/// An unsigned token for this user, as Firebase's emulators take it.
pub(crate) fn unsigned(uid: &str) -> String {
    let part = |json: Value| crate::serve::base64url(json.to_string().as_bytes());
    let now = crate::serve::now_seconds();
    let claims = json!({"iss": "anyone", "aud": "demo", "sub": uid, "iat": now, "exp": now + 3_600});
    format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims))
}

/// What Firebase Auth would say of this user, expired, and signed by nobody.
pub(crate) fn of_firebase(uid: &str) -> String {
    let part = |json: Value| crate::serve::base64url(json.to_string().as_bytes());
    let claims =
        json!({"iss": "https://securetoken.google.com/shop", "aud": "shop", "sub": uid, "iat": 1, "exp": 3_601});
    format!("{}.{}.c2ln", part(json!({"alg": "RS256", "kid": "a", "typ": "JWT"})), part(claims))
}

#[track_caller]
fn checked(message: Value) -> Value {
    check_schema("message", &message);
    message
}

#[track_caller]
fn listen(socket: &mut Socket, id: u64, path: &str, query: Value) -> Value {
    checked(socket.ask(&json!({"id": id, "op": "listen", "path": path, "query": query})))
}

#[test]
fn one_connection_listens_reads_and_writes() {
    let server = dev();
    put(&server, "m/a", json!({"n": 1}));
    let mut socket = server.socket();
    let mut fold = Fold::new();
    fold.apply(&listen(&mut socket, 1, "m", json!({"orderBy": [["n", "desc"]]})));
    let writes = json!([{"set": "m/b", "data": {"n": 2}}, {"update": "m/a", "data": {"n": 3}}]);
    socket.send(&json!({"id": 2, "op": "commit", "writes": writes}));
    let told = checked(socket.next_message());
    assert_eq!(
        (&told["id"], &told["ev"]),
        (&json!(1), &json!("snapshot")),
        "one's own commit is shown before it is answered"
    );
    fold.apply(&told);
    let committed = checked(socket.next_message());
    assert_eq!((&committed["ev"], &committed["version"]), (&json!("committed"), &told["version"]));
    assert_eq!(fold.ids(), ["a", "b"]);

    let read = checked(socket.ask(&json!({"id": 3, "op": "get", "path": "m", "query": {"where": ["n", "<", 3]}})));
    assert_eq!((&read["ev"], &read["size"], &read["docs"][0]["path"]), (&json!("result"), &json!(1), &json!("m/b")));
    let doc = checked(socket.ask(&json!({"id": 4, "op": "get", "path": "m/a"})));
    assert_eq!(doc["docs"][0]["data"], json!({"n": 3}));
    let missing = checked(socket.ask(&json!({"id": 5, "op": "get", "path": "m/none"})));
    assert_eq!((&missing["size"], &missing["docs"]), (&json!(0), &json!([])));
    let count =
        checked(socket.ask(&json!({"id": 6, "op": "get", "path": "m", "query": {"aggregates": [{"count": true}]}})));
    assert_eq!(count["aggregates"], json!({"count": 2}));
    let then = json!({"id": 7, "op": "get", "path": "m", "at": (number(&committed["version"]) - 1).to_string()});
    assert_eq!(checked(socket.ask(&then))["size"], 1);
    assert_eq!(checked(socket.ask(&json!({"id": 0, "op": "ping"}))), json!({"id": 0, "ev": "pong"}));
}

#[test]
fn every_kind_of_listener_hears_a_commit_at_one_version() {
    let server = dev();
    let mut socket = server.socket();
    let queries = [
        ("m", json!({})),
        ("m/a", Value::Null),
        ("~/m", json!({"limit": 5})),
        ("m", json!({"aggregates": [{"count": true}, {"sum": "n"}]})),
        ("m", json!({"where": {"or": [["n", "==", 1], ["n", "==", 2]]}})),
    ];
    for (id, (path, query)) in (1..).zip(&queries) {
        listen(&mut socket, id, path, query.clone());
    }
    let mut other = server.socket();
    listen(&mut other, 1, "elsewhere", json!({}));
    let written = commit(&server, &[json!({"set": "m/a", "data": {"n": 1}}), json!({"set": "m/b", "data": {"n": 2}})]);
    let told: Vec<Value> = (0..queries.len()).map(|_| checked(socket.next_message())).collect();
    assert!(told.iter().all(|event| event["version"] == written["version"]), "{told:?}");
    let mut ids: Vec<u64> = told.iter().filter_map(|event| event["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    let of = |id: u64| told.iter().find(|event| event["id"] == id).unwrap();
    assert_eq!(of(4)["aggregates"], json!({"count": 2, "sum(n)": 3}));
    assert_eq!((&of(1)["size"], &of(2)["size"]), (&json!(2), &json!(1)));
    socket.send(&json!({"id": 1, "op": "unlisten"}));
    socket.send(&json!({"id": 3, "op": "unlisten"}));
    // The ping's answer says that both are done.
    socket.ask(&json!({"id": 0, "op": "ping"}));
    commit(&server, &[json!({"set": "m/c", "data": {}})]);
    assert_eq!(socket.next_message()["id"], 4);
    commit(&server, &[json!({"set": "elsewhere/x", "data": {}})]);
    assert_eq!(other.next_for(1)["changes"][0]["doc"]["path"], "elsewhere/x");
    assert_eq!(socket.ask(&json!({"id": 0, "op": "ping"}))["ev"], "pong");
}

#[test]
fn a_listener_resumes_on_another_connection() {
    let server = dev();
    put(&server, "m/a", json!({"n": 1}));
    let mut fold = Fold::new();
    {
        let mut socket = server.socket();
        fold.apply(&listen(&mut socket, 1, "m", json!({})));
    }
    put(&server, "m/b", json!({"n": 2}));
    put(&server, "m/c", json!({"n": 3}));
    server.delete("/db/m/a").send().expect_status(204);
    let mut socket = server.socket();
    fold.reopen();
    let before = fold.changes;
    fold.apply(&checked(socket.ask(&json!({"id": 5, "op": "listen", "path": "m", "query": {}, "since": fold.token}))));
    assert_eq!((fold.changes - before, fold.resets, fold.ids().join(" ").as_str()), (3, 0, "b c"));
    put(&server, "m/d", json!({}));
    fold.apply(&socket.next_for(5));
    assert_eq!(fold.docs.len(), 3);
}

#[test]
fn a_listener_of_numbers_resumes_too() {
    let server = dev();
    put(&server, "m/a", json!({"n": 1}));
    let count = json!({"aggregates": [{"count": true}]});
    let token = listen(&mut server.socket(), 1, "m", count.clone())["token"].clone();
    put(&server, "m/b", json!({"n": 1}));
    let mut socket = server.socket();
    let told = checked(socket.ask(&json!({"id": 1, "op": "listen", "path": "m", "query": count, "since": token})));
    assert_eq!((&told["aggregates"], &told["reset"]), (&json!({"count": 2}), &json!(false)));
}

#[test]
fn a_commit_with_a_key_happens_once_on_any_connection() {
    let server = dev();
    let raise = json!([{"set": "n/x", "data": {"n": {"$increment": 1}}, "merge": true}]);
    let mut answers = Vec::new();
    for id in 1..=3 {
        let mut socket = server.socket();
        answers.push(
            checked(socket.ask(&json!({"id": id, "op": "commit", "writes": raise, "key": "k"})))["version"].clone(),
        );
    }
    assert!(answers[0] == answers[1] && answers[1] == answers[2], "{answers:?}");
    assert_eq!(server.get("/db/n/x").send().json()["data"]["n"], 1);
}

#[test]
fn a_transaction_reads_commits_and_is_told_what_moved() {
    let server = dev();
    let doc = put(&server, "n/x", json!({"n": 1}));
    let mut socket = server.socket();
    let reads = json!({"n/x": doc["updated"]});
    let write =
        |id: u64| json!({"id": id, "op": "commit", "writes": [{"update": "n/x", "data": {"n": 2}}], "reads": reads});
    assert_eq!(checked(socket.ask(&write(1)))["ev"], "committed");
    let moved = checked(socket.ask(&write(2)));
    assert_eq!(
        (&moved["ev"], &moved["problem"]["code"], &moved["problem"]["path"]),
        (&json!("problem"), &json!("aborted"), &json!("n/x"))
    );
}

#[test]
fn what_is_wrong_with_a_message_is_told_under_its_id() {
    let server = dev();
    let mut socket = server.socket();
    for (message, code, at) in [
        (json!({"id": 1, "op": "listen", "path": "m", "query": {"colour": 1}}), "invalid-argument", "/query/colour"),
        (json!({"id": 2, "op": "listen", "path": "m//a"}), "invalid-argument", "/path"),
        (json!({"id": 3, "op": "get", "path": "m", "at": "soon"}), "invalid-argument", "/at"),
        (json!({"id": 4, "op": "commit", "writes": [{"set": "m", "data": {}}]}), "invalid-argument", "/writes/0/set"),
        (
            json!({"id": 5, "op": "commit", "writes": [{"set": "m/a", "data": {"x": {"$what": 1}}}]}),
            "invalid-argument",
            "/writes/0/data/x/$what",
        ),
        (json!({"id": 6, "op": "commit", "writes": 5}), "invalid-argument", "/writes"),
        (json!({"id": 7, "op": "dance"}), "invalid-argument", "/op"),
        (json!({"id": 8, "op": "listen", "path": "m", "since": "x"}), "invalid-argument", "/since"),
        (json!({"id": 9, "op": "ping", "extra": 1}), "invalid-argument", "/extra"),
        (json!({"id": 10, "op": "commit", "writes": [{"update": "m/none", "data": {"a": 1}}]}), "not-found", ""),
    ] {
        let told = checked(socket.ask(&message));
        assert_eq!((&told["ev"], &told["problem"]["code"]), (&json!("problem"), &json!(code)), "{message}: {told}");
        let place = told["problem"]["at"].as_str().unwrap_or_default();
        assert!(place.starts_with(at), "{message} is told of {told}");
    }
    // It still serves.
    assert_eq!(socket.ask(&json!({"id": 0, "op": "ping"}))["ev"], "pong");
}

#[test]
fn who_speaks_may_change_and_is_told() {
    let server = dev();
    let mut socket = server.socket();
    let authed = checked(socket.ask(&json!({"id": 1, "op": "auth", "token": unsigned("ada")})));
    assert_eq!((&authed["ev"], &authed["uid"]), (&json!("authed"), &json!("ada")));
    let mut socket =
        Socket::open(server.address(), "/db", &[("Authorization", &format!("Bearer {}", unsigned("bob")))]);
    assert_eq!(socket.ask(&json!({"id": 0, "op": "ping"}))["ev"], "pong");
    let authed = checked(socket.ask(&json!({"id": 2, "op": "auth", "token": of_firebase("bob")})));
    assert_eq!((&authed["ev"], &authed["uid"]), (&json!("authed"), &json!("bob")));
    let forged = checked(socket.ask(&json!({"id": 3, "op": "auth", "token": "forged"})));
    assert_eq!((&forged["ev"], &forged["problem"]["code"]), (&json!("problem"), &json!("unauthenticated")));
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(4401, _)));
}

#[test]
fn databases_have_sockets_of_their_own() {
    let server = dev();
    server.put("/p/one/db@other/m/a", &json!({})).send().expect_status(201);
    let mut socket = Socket::open(server.address(), "/p/one/db@other", &[]);
    assert_eq!(listen(&mut socket, 1, "m", json!({}))["size"], 1);
    server.put("/p/one/db/m/b", &json!({})).send().expect_status(201);
    server.put("/p/one/db@other/m/c", &json!({})).send().expect_status(201);
    assert_eq!(socket.next_for(1)["changes"][0]["doc"]["path"], "m/c");
}

fn end_of(server: &Server, act: impl FnOnce(&mut Socket)) -> u16 {
    let mut socket = server.socket();
    act(&mut socket);
    match socket.expect_end() {
        SocketEnd::Closed(code, reason) => {
            assert!(!reason.is_empty() || code == 1000, "{code} without a reason");
            code
        }
        SocketEnd::Lost => panic!("ended without a close frame"),
    }
}

#[test]
fn what_is_no_message_ends_the_connection_with_its_code() {
    use std::io::Write;
    let server = dev();
    assert_eq!(end_of(&server, |socket| socket.send_bytes(b"\x00\x01")), 1003);
    assert_eq!(end_of(&server, |socket| socket.send_text("{\"id\":1,")), 1008);
    assert_eq!(end_of(&server, |socket| socket.send_text("[]")), 1008);
    assert_eq!(end_of(&server, |socket| socket.send_text("{\"op\":\"ping\"}")), 1008);
    let large = format!("{{\"id\":1,\"op\":\"commit\",\"writes\":[\"{}\"]}}", "x".repeat(12 << 20));
    let mut socket = server.socket();
    // The server may hang up before it has taken all of it.
    let _ = socket.tcp().write_all(&frame(large.as_bytes()));
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(1009, _) | SocketEnd::Lost));
    // Bytes that are no frame: a reserved bit, an opcode nobody knows, a frame that is not masked.
    for bytes in [&[0xf1, 0x80, 0, 0, 0, 0][..], &[0x83, 0x80, 0, 0, 0, 0], &[0x81, 0x01, b'x']] {
        let mut socket = server.socket();
        socket.tcp().write_all(bytes).unwrap();
        assert!(matches!(socket.expect_end(), SocketEnd::Closed(1002, _) | SocketEnd::Lost), "{bytes:?}");
    }
    assert_eq!(server.socket().ask(&json!({"id": 0, "op": "ping"}))["ev"], "pong");
}

#[test]
fn pieces_of_a_message_are_joined_and_text_must_be_text() {
    use std::io::Write;
    let server = dev();
    let mut socket = server.socket();
    // A message in two frames with a ping between them; all masked by zeros.
    let (first, second) = (b"{\"id\":0,", b"\"op\":\"ping\"}");
    let mut bytes = vec![0x01, 0x80 | first.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(first);
    bytes.extend_from_slice(&[0x89, 0x80, 0, 0, 0, 0, 0x80, 0x80 | second.len() as u8, 0, 0, 0, 0]);
    bytes.extend_from_slice(second);
    socket.tcp().write_all(&bytes).unwrap();
    assert_eq!(socket.next_message()["ev"], "pong");
    socket.tcp().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).unwrap();
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(1007 | 1008, _) | SocketEnd::Lost));
}

#[test]
fn an_id_is_used_once_and_listeners_are_bounded() {
    let server = dev();
    let mut socket = server.socket();
    listen(&mut socket, 1, "m", json!({}));
    socket.send(&json!({"id": 1, "op": "get", "path": "m"}));
    assert_eq!(socket.expect_end(), SocketEnd::Closed(1008, "an id was used twice".into()));
    let mut socket = server.socket();
    for id in 1..=1_001 {
        socket.send(&json!({"id": id, "op": "listen", "path": format!("m{}", id % 7)}));
    }
    let refused = socket.next_for(1_001);
    assert_eq!(refused["problem"]["code"], "resource-exhausted", "{refused}");
    // The others listen on.
    put(&server, "m1/a", json!({}));
    assert_eq!(socket.next_where(|told| told["size"] == 1)["ev"], "snapshot");
}

/// A text frame, masked by zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81, 0xff];
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(text);
    bytes
}

#[test]
fn a_socket_is_told_when_the_server_stops() {
    let server = dev();
    let mut socket = server.socket();
    listen(&mut socket, 1, "m", json!({}));
    assert_eq!(server.stop().code(), 0);
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(1001 | 1012, _)));
}

#[test]
fn an_upgrade_needs_its_subprotocol() {
    let server = dev();
    let upgrade = |path: &str, protocol: Option<&str>| {
        let ask = server
            .get(path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
        let ask = protocol.map_or(ask.clone(), |name| ask.header("Sec-WebSocket-Protocol", name));
        ask.open()
    };
    let chosen = upgrade("/db", Some("other, hearth.v1"));
    assert_eq!((chosen.status, chosen.header("Sec-WebSocket-Protocol")), (101, Some("hearth.v1")));
    assert_eq!(upgrade("/db", Some("other")).status, 400);
}
