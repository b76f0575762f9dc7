//! The change feed: every commit in order, for admins.

use hearth_tests::{Launch, SILENCE, Server, Socket, SocketEnd, Sse, check_schema};
use serde_json::{Value, json};

use crate::common::{commit, dev, put, target};

fn paths(commit: &Value) -> Vec<&str> {
    commit["changes"].as_array().unwrap().iter().filter_map(|change| change["doc"]["path"].as_str()).collect()
}

#[test]
fn every_commit_is_told_in_order_with_what_it_changed() {
    let mut server = Launch::dev().start();
    put(&server, "before/x", json!({}));
    let mut feed = server.sse("/feed");
    let first = put(&server, "a/x", json!({"n": 1}));
    let told = feed.next_event();
    let event = told.json();
    assert_eq!(
        (&event["version"], &event["token"], told.id.as_str()),
        (&first["updated"], &json!(told.id), told.id.as_str())
    );
    assert_eq!(event["changes"], json!([{"type": "added", "doc": first}]));
    let second = commit(&server, &[json!({"delete": "a/x"}), json!({"set": "b/y", "data": {}})]);
    let event = feed.next_json();
    assert_eq!((&event["version"], paths(&event)), (&second["version"], vec!["a/x", "b/y"]));
    drop(feed);
    // Resumed after a restart: nothing twice, nothing missing.
    put(&server, "b/z", json!({}));
    server.restart();
    put(&server, "a/z", json!({}));
    let mut feed = Sse::open(server.get("/feed").header("Last-Event-ID", &told.id));
    assert_eq!(paths(&feed.next_json()), ["a/x", "b/y"]);
    assert_eq!(paths(&feed.next_json()), ["b/z"]);
    assert_eq!(paths(&feed.next_json()), ["a/z"]);
    let narrowed = server.get(&target("/feed", &[("since", &told.id), ("path", "b")])).send().expect_status(200).json();
    let commits: Vec<Vec<&str>> = narrowed["commits"].as_array().unwrap().iter().map(paths).collect();
    assert_eq!(
        (commits, &narrowed["reset"], &narrowed["more"]),
        (vec![vec!["b/y"], vec!["b/z"]], &json!(false), &json!(false))
    );
}

#[test]
fn the_feed_can_be_polled_and_each_database_has_its_own() {
    let server = dev();
    put(&server, "a/x", json!({}));
    let start = server.get("/feed").send().expect_status(200).json();
    assert_eq!(start["commits"], json!([]));
    let url = target("/feed", &[("since", start["token"].as_str().unwrap())]);
    server.put("/db@other/a/y", &json!({})).send().expect_status(201);
    let answer = std::thread::scope(|scope| {
        let poll = scope.spawn(|| server.get(&url).header("Prefer", "wait=30").send());
        put(&server, "a/z", json!({}));
        poll.join().unwrap().expect_status(200).json()
    });
    assert_eq!(paths(&answer["commits"][0]), ["a/z"]);
    let foreign = server.get(&url.replacen("/feed", "/feed@other", 1)).send();
    assert!(foreign.status == 400 || foreign.json()["reset"] == true, "{foreign:?}");
}

#[track_caller]
fn feed(server: &Server, params: &[(&str, &str)]) -> Socket {
    Socket::open(server.address(), &target("/feed", params), &[])
}

#[track_caller]
fn told(socket: &mut Socket) -> Value {
    let message = socket.next_message();
    check_schema("feed#/$defs/message", &message);
    message
}

#[track_caller]
fn token(message: &Value) -> &str {
    message["token"].as_str().unwrap_or_else(|| panic!("no token: {message}"))
}

#[test]
fn a_websocket_tells_every_commit_in_order_and_goes_on_after_a_restart() {
    let mut server = Launch::dev().start();
    put(&server, "before/x", json!({}));
    let mut socket = feed(&server, &[]);
    // What it begins with leads back here, should the connection be lost before the first commit.
    let opening = told(&mut socket);
    assert_eq!((&opening["ev"], &opening["reset"]), (&json!("passed"), &json!(false)));
    let first = put(&server, "a/x", json!({"n": 1}));
    let event = told(&mut socket);
    assert_eq!((&event["ev"], &event["version"]), (&json!("commit"), &first["updated"]));
    assert_eq!(event["changes"], json!([{"type": "added", "doc": first}]));
    let both = commit(&server, &[json!({"delete": "a/x"}), json!({"set": "b/y", "data": {}})]);
    let last = told(&mut socket);
    assert_eq!((&last["version"], paths(&last)), (&both["version"], vec!["a/x", "b/y"]));
    assert_eq!(socket.ask(&json!({"id": 0, "op": "ping"})), json!({"id": 0, "ev": "pong"}));
    drop(socket);
    put(&server, "b/z", json!({}));
    server.restart();
    put(&server, "a/z", json!({}));
    let mut socket = feed(&server, &[("since", token(&event))]);
    assert_eq!([(); 3].map(|()| paths(&told(&mut socket)).join(" ")), ["a/x b/y", "b/z", "a/z"]);
    put(&server, "b/last", json!({}));
    assert_eq!(paths(&told(&mut socket)), ["b/last"]);
    let mut narrow = feed(&server, &[("since", token(&opening)), ("path", "b")]);
    assert_eq!([(); 3].map(|()| paths(&told(&mut narrow)).join(" ")), ["b/y", "b/z", "b/last"]);
    // Nothing has passed that concerns it, so that is what it is told.
    let mut elsewhere = feed(&server, &[("since", token(&opening)), ("path", "elsewhere")]);
    let passed = told(&mut elsewhere);
    assert_eq!((&passed["ev"], &passed["reset"]), (&json!("passed"), &json!(false)));
    let mut behind = feed(&server, &[("since", token(&passed))]);
    put(&server, "c/x", json!({}));
    let message = told(&mut behind);
    assert!(message["ev"] == "passed" || paths(&message) == ["c/x"], "{message}");
}

#[test]
fn a_websocket_with_a_token_of_something_else_is_told_that_it_missed_something() {
    let server = dev();
    put(&server, "a/x", json!({}));
    let other = server.get("/db/a").send().expect_status(200).json()["token"].as_str().unwrap().to_owned();
    let mut socket = feed(&server, &[("since", &other)]);
    let message = told(&mut socket);
    assert_eq!((&message["ev"], &message["reset"]), (&json!("passed"), &json!(true)));
    put(&server, "a/y", json!({}));
    assert_eq!(paths(&told(&mut socket)), ["a/y"]);
}

#[test]
fn a_websocket_of_the_feed_takes_pings_and_nothing_else() {
    let server = dev();
    for message in ["{\"id\":1,\"op\":\"listen\",\"path\":\"a\"}", "{\"id\":0,\"op\":\"dance\"}", "what"] {
        let mut socket = feed(&server, &[]);
        socket.send_text(message);
        let problem = socket.next_where(|message| message["ev"] == "problem");
        check_schema("feed#/$defs/message", &problem);
        assert!(matches!(socket.expect_end(), SocketEnd::Closed(1008, _)), "{message}");
    }
    let mut socket = feed(&server, &[]);
    socket.send_bytes(b"x");
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(1003, _)));
}

#[test]
fn a_websocket_of_the_feed_is_told_when_the_server_stops() {
    let server = dev();
    let mut socket = feed(&server, &[]);
    told(&mut socket);
    assert_eq!(server.stop().code(), 0);
    let problem = told(&mut socket);
    assert_eq!((&problem["ev"], &problem["problem"]["code"]), (&json!("problem"), &json!("unavailable")));
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(1012, _)));
}

#[test]
fn a_reader_of_the_feed_that_stalls_is_sent_back_to_history() {
    const COMMITS: usize = 30;
    let server = Launch::dev().ephemeral().env("HEARTH_LIMITS_OUTBOX_BYTES_MAX", "2000000").start();
    let mut socket = feed(&server, &[]);
    let mut last = told(&mut socket);
    let text = "x".repeat(900_000);
    // More than the system takes for a reader, and the server besides.
    for n in 0..COMMITS {
        put(&server, &format!("a/{n}"), json!({"text": text}));
    }
    let mut seen = Vec::new();
    let problem = loop {
        let message = told(&mut socket);
        if message["ev"] == "problem" {
            break message;
        }
        seen.push(paths(&message).join(" "));
        last = message;
    };
    assert_eq!(problem["problem"]["code"], "unavailable", "{problem}");
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(1013, _)));
    assert!(seen.len() < COMMITS, "it was told everything");
    // From there on the rest comes out of history, however slowly it is read.
    let mut socket = feed(&server, &[("since", token(&last))]);
    while seen.len() < COMMITS {
        seen.push(paths(&told(&mut socket)).join(" "));
    }
    assert_eq!(seen, (0..COMMITS).map(|n| format!("a/{n}")).collect::<Vec<_>>());
}

#[test]
fn a_stream_says_from_where_to_go_on_before_its_first_commit() {
    let server = dev();
    put(&server, "a/x", json!({}));
    let mut stream = server.sse("/feed");
    let mut looks = 0;
    while stream.last_id().is_empty() {
        assert!(stream.poll(SILENCE).is_err() && looks < 100, "an event, and no id before it");
        looks += 1;
    }
    let id = stream.last_id().to_owned();
    drop(stream);
    put(&server, "b/x", json!({}));
    let mut stream = Sse::open(server.get("/feed").header("Last-Event-ID", &id));
    assert_eq!(paths(&stream.next_json()), ["b/x"]);
}
