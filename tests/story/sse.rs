//! Server-sent events: the result, then its changes; resumed by id, opened by ticket.

use hearth_tests::{Fold, Launch, Sse};
use serde_json::{Value, json};

use crate::common::{commit, dev, event, problem, put, target};

#[test]
fn a_stream_brings_the_result_and_then_each_change() {
    let server = dev();
    for (id, n) in [("a", 3), ("b", 1), ("c", 2)] {
        put(&server, &format!("m/{id}"), json!({"n": n}));
    }
    let mut sse = server.sse(&target("/db/m", &[("orderBy", "n"), ("limit", "2")]));
    assert_eq!(sse.header("Content-Type").and_then(|kind| kind.split(';').next()), Some("text/event-stream"));
    assert_eq!(sse.header("X-Accel-Buffering"), Some("no"));
    assert!(sse.header("Cache-Control").is_some_and(|value| value.contains("no-transform")));
    let mut fold = Fold::new();
    fold.apply(&event(&mut sse));
    assert_eq!((fold.ids(), sse.retry_ms(), sse.comments()), (vec!["b".into(), "c".into()], Some(2_000), 1));

    server.delete("/db/m/b").send().expect_status(204);
    fold.apply(&event(&mut sse));
    assert_eq!(fold.ids(), ["c", "a"]);
    // One commit is one event, however many documents it touches.
    let written = commit(
        &server,
        &[
            json!({"set": "m/d", "data": {"n": 0}}),
            json!({"update": "m/c", "data": {"n": 9}}),
            json!({"set": "other/x", "data": {}}),
            json!({"set": "m/e", "data": {"n": 2}}),
        ],
    );
    let told = event(&mut sse);
    assert_eq!(told["version"], written["version"]);
    fold.apply(&told);
    assert_eq!(fold.ids(), ["d", "e"]);
    // What the query cannot see brings no event: the next one is of what it can see.
    put(&server, "m/far", json!({"n": 100}));
    let last = put(&server, "m/d", json!({"n": 1, "new": true}));
    fold.apply(&event(&mut sse));
    assert_eq!((fold.version, &fold.docs[0]), (hearth_tests::number(&last["updated"]), &last));
}

#[test]
fn a_stream_of_a_document_opens_before_it_exists() {
    let server = dev();
    let mut sse = server.sse("/db/m/later");
    assert_eq!(event(&mut sse)["size"], 0);
    let doc = put(&server, "m/later", json!({"n": 1}));
    let told = event(&mut sse);
    assert_eq!((&told["changes"][0]["type"], &told["changes"][0]["doc"]), (&json!("added"), &doc));
    server.delete("/db/m/later").send().expect_status(204);
    let told = event(&mut sse);
    assert_eq!(told["changes"][0], json!({"type": "removed", "doc": {"path": "m/later"}, "from": 0, "to": -1}));
}

#[test]
fn a_stream_goes_on_where_it_was_left() {
    let mut server = Launch::dev().start();
    put(&server, "m/a", json!({"n": 1}));
    let mut fold = Fold::new();
    let mut sse = server.sse("/db/m");
    fold.apply(&event(&mut sse));
    drop(sse);
    put(&server, "m/b", json!({"n": 2}));
    put(&server, "m/a", json!({"n": 3}));
    // By the id that a browser sends back, after a restart as well.
    server.restart();
    put(&server, "m/c", json!({"n": 4}));
    let mut sse = Sse::open(server.get("/db/m").header("Last-Event-ID", fold.token.as_deref().unwrap()));
    let (before, told) = (fold.changes, event(&mut sse));
    fold.reopen();
    fold.apply(&told);
    assert_eq!((fold.changes - before, fold.resets, &told["reset"]), (3, 0, &json!(false)));
    assert_eq!(fold.ids(), ["a", "b", "c"]);
    drop(sse);
    // By parameter; the header, being newer, goes before it.
    let old = fold.token.clone().unwrap();
    put(&server, "m/d", json!({}));
    let mut sse = server.sse(&target("/db/m", &[("since", &old)]));
    fold.reopen();
    fold.apply(&event(&mut sse));
    let newer = fold.token.clone().unwrap();
    drop(sse);
    let mut sse = Sse::open(server.get(&target("/db/m", &[("since", &old)])).header("Last-Event-ID", &newer));
    assert_eq!(event(&mut sse)["changes"], json!([]));
}

#[test]
fn a_stop_in_good_order_loses_nothing_either() {
    let mut server = Launch::dev().start();
    put(&server, "m/a", json!({}));
    let mut fold = Fold::new();
    fold.apply(&event(&mut server.sse("/db/m")));
    for _ in 0..2 {
        put(&server, &format!("m/{}", fold.docs.len()), json!({}));
        assert_eq!(server.stop().code(), 0);
        server.restart();
        fold.reopen();
        fold.apply(&event(&mut server.sse(&target("/db/m", &[("since", fold.token.as_deref().unwrap())]))));
    }
    assert_eq!((fold.docs.len(), fold.changes, fold.resets), (3, 3, 0));
}

#[test]
fn a_token_from_another_life_resets() {
    let server = dev();
    put(&server, "m/a", json!({}));
    let mut fold = Fold::new();
    fold.apply(&event(&mut server.sse("/db/m")));
    let other = dev();
    put(&other, "m/b", json!({}));
    let mut sse = other.sse(&target("/db/m", &[("since", fold.token.as_deref().unwrap())]));
    let told = event(&mut sse);
    assert_eq!((&told["reset"], &told["changes"][0]["doc"]["path"]), (&json!(true), &json!("m/b")));
    let nonsense = Sse::try_open(other.get("/db/m?since=nonsense")).err().unwrap();
    assert!(problem(&nonsense, 400, "invalid-argument")["at"].as_str().is_some_and(|at| at.starts_with("since")));
}

#[test]
fn live_numbers_follow_every_commit() {
    let server = dev();
    let url = target("/db/m", &[("where", "n gt 0"), ("count", ""), ("sum", "n"), ("avg", "n")]);
    let mut sse = server.sse(&url);
    let mut told = || event(&mut sse)["aggregates"].clone();
    assert_eq!(told(), json!({"count": 0, "sum(n)": 0, "avg(n)": null}));
    put(&server, "m/a", json!({"n": 4}));
    let first = told();
    assert_eq!((&first["count"], &first["sum(n)"], first["avg(n)"].as_f64()), (&json!(1), &json!(4), Some(4.0)));
    commit(&server, &[json!({"set": "m/b", "data": {"n": 0.5}}), json!({"set": "m/c", "data": {"n": -1}})]);
    assert_eq!(told(), json!({"count": 2, "sum(n)": 4.5, "avg(n)": 2.25}));
    server.delete("/db/m/a").send().expect_status(204);
    assert_eq!(told(), json!({"count": 1, "sum(n)": 0.5, "avg(n)": 0.5}));
}

#[test]
fn differences_of_fields_are_told_when_asked_for() {
    let server = dev();
    put(&server, "m/a", json!({"text": "x".repeat(1000), "n": 1, "old": true, "in": {"a": 1, "b": 2}}));
    let mut sse = server.sse("/db/m?diff=fields");
    let mut fold = Fold::new();
    fold.apply(&event(&mut sse));
    let body = json!({"n": 2, "old": {"$delete": true}, "in.b": 3});
    let doc = server.patch("/db/m/a", &body).send().expect_status(200).json();
    let told = event(&mut sse);
    let change = &told["changes"][0];
    assert_eq!(change["patch"], json!({"n": 2, "old": {"$delete": true}, "in.b": 3}));
    assert_eq!(change["doc"], json!({"path": "m/a", "updated": doc["updated"]}));
    fold.apply(&told);
    assert_eq!(fold.docs, [doc]);
    problem(&Sse::try_open(server.get("/db/m?diff=words")).err().unwrap(), 400, "invalid-argument");
}

#[test]
fn a_large_result_comes_in_parts_with_one_token() {
    let server = dev();
    let writes: Vec<Value> = (0..2_100).map(|n| json!({"set": format!("m/{n:04}"), "data": {"n": n}})).collect();
    commit(&server, &writes);
    let mut sse = server.sse("/db/m?limit=all");
    let (mut fold, mut parts) = (Fold::new(), 0);
    loop {
        let told = event(&mut sse);
        fold.apply(&told);
        parts += 1;
        if told["more"] != true {
            break;
        }
        assert_eq!(told.get("token"), None);
    }
    assert!(parts > 1);
    assert_eq!(fold.docs.len(), 2_100);
    put(&server, "m/2100", json!({}));
    fold.apply(&event(&mut sse));
    assert_eq!(fold.docs.len(), 2_101);
}

#[test]
fn a_group_is_listened_to_across_its_collections() {
    let server = dev();
    let mut sse = server.sse("/db/~/reviews");
    let mut fold = Fold::new();
    fold.apply(&event(&mut sse));
    put(&server, "films/a/reviews/one", json!({}));
    put(&server, "films/a/cast/one", json!({}));
    put(&server, "reviews/two", json!({}));
    fold.apply(&event(&mut sse));
    fold.apply(&event(&mut sse));
    assert_eq!(fold.ids(), ["one", "two"]);
}

#[test]
fn a_query_in_a_body_can_be_streamed() {
    let server = dev();
    put(&server, "m/a", json!({"n": 1}));
    let mut sse = Sse::open(server.post("/db/m/~query", &json!({"where": ["n", ">", 0]})));
    assert_eq!(event(&mut sse)["size"], 1);
    put(&server, "m/b", json!({"n": 1}));
    assert_eq!(event(&mut sse)["size"], 2);
}

#[test]
fn a_stream_ends_when_the_server_stops() {
    let server = dev();
    let mut sse = server.sse("/db/m");
    event(&mut sse);
    let stopped = server.stop();
    assert_eq!(stopped.code(), 0, "{stopped:?}");
    for last in sse.expect_end() {
        assert_eq!(last.event, "problem");
        hearth_tests::check_schema("problem", &last.json());
    }
}

/// A ticket for an address, made by the caller with this token.
#[track_caller]
pub(crate) fn ticket(server: &hearth_tests::Server, target: &str, token: Option<&str>) -> Value {
    let ask = server.post("/tickets", &json!({ "for": target }));
    let answer = token.map_or(ask.clone(), |token| ask.bearer(token)).send().expect_status(201).json();
    hearth_tests::check_schema("ticket", &answer);
    answer
}

#[test]
fn a_ticket_opens_its_stream_again_after_every_restart() {
    let mut server = Launch::dev().start();
    put(&server, "m/a", json!({}));
    let address = target("/db/m", &[("limit", "50")]);
    let ticket = ticket(&server, &address, Some("owner"));
    let url = format!("{address}&ticket={}", ticket["ticket"].as_str().unwrap());
    // One restart before its first event …
    server.restart();
    let mut sse = server.sse(&url);
    let mut fold = Fold::new();
    fold.apply(&event(&mut sse));
    // … and one after it.
    server.restart();
    put(&server, "m/b", json!({}));
    let mut sse = Sse::open(server.get(&url).header("Last-Event-ID", fold.token.as_deref().unwrap()));
    fold.reopen();
    fold.apply(&event(&mut sse));
    assert_eq!((fold.ids().join(" ").as_str(), fold.resets), ("a b", 0));
    let (stdout, stderr) = server.output();
    let secret = ticket["ticket"].as_str().unwrap();
    assert!(!stdout.contains(secret) && !stderr.contains(secret), "the ticket stands in the log");
}

#[test]
fn a_ticket_opens_nothing_else() {
    let server = dev();
    put(&server, "m/a", json!({}));
    let made = ticket(&server, "/db/m?limit=50", Some("owner"));
    let secret = made["ticket"].as_str().unwrap();
    for (other, status, code) in [
        (format!("/db/m?limit=51&ticket={secret}"), 403, "permission-denied"),
        (format!("/db/n?limit=50&ticket={secret}"), 403, "permission-denied"),
        ("/db/m?limit=50&ticket=forged".to_owned(), 401, "unauthenticated"),
    ] {
        let answer = Sse::try_open(server.get(&other)).err().unwrap_or_else(|| panic!("{other} was opened"));
        let told = problem(&answer, status, code);
        assert!(!told.to_string().contains(secret), "{told}");
    }
    let write = server.put(&format!("/db/m/x?ticket={secret}"), &json!({})).send();
    assert_eq!(write.status / 100, 4, "{write:?}");
    // One stream at a time: a second one takes over or is refused, both do not run.
    let url = format!("/db/m?limit=50&ticket={secret}");
    let mut first = server.sse(&url);
    event(&mut first);
    if let Ok(mut second) = Sse::try_open(server.get(&url)) {
        event(&mut second);
        first.expect_end();
    }
    assert_eq!(
        problem(&server.post("/tickets", &json!({"for": "elsewhere"})).send(), 400, "invalid-argument")["at"],
        "/for"
    );
}
