//! Polling with ETags, and long polling.

use std::thread;
use std::time::Instant;

use hearth_tests::Server;
use serde_json::json;

use crate::common::{dev, etag, problem, put, shown, target};

/// Polls with this tag; the tag of the answer too.
#[track_caller]
fn poll(server: &Server, target: &str, tag: &str) -> (u16, String) {
    let answer = server.get(target).header("If-None-Match", tag).send();
    assert!(matches!(answer.status, 200 | 304), "{answer:?}");
    if answer.status == 304 {
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("Vary"), Some("Authorization, Accept, Prefer, Origin"));
        assert_eq!(answer.header("Cache-Control"), Some("private, no-cache"));
    }
    (answer.status, etag(&answer))
}

#[test]
fn an_unchanged_result_is_not_sent_again() {
    let server = dev();
    put(&server, "c/a", json!({"n": 1}));
    let url = target("/db/c", &[("where", "n gt 0")]);
    let (status, first) = poll(&server, &url, "\"none of ours\"");
    assert_eq!(status, 200);
    // Neither another collection nor a document that the query never matched changes it.
    put(&server, "d/a", json!({}));
    put(&server, "c/b", json!({"n": 0}));
    let (status, newer) = poll(&server, &url, &first);
    assert_eq!(status, 304);
    // Both tags hold, and a list of tags holds when one of them does.
    assert_eq!(poll(&server, &url, &newer).0, 304);
    assert_eq!(poll(&server, &url, &format!("\"x\", {newer}")).0, 304);
    put(&server, "c/b", json!({"n": 5}));
    let (status, third) = poll(&server, &url, &newer);
    assert_eq!(status, 200);
    assert_eq!(poll(&server, &url, &first).0, 200);
    // A document that ceases to match changes it too, and so does one that is deleted.
    put(&server, "c/b", json!({"n": 0}));
    let (status, fourth) = poll(&server, &url, &third);
    assert_eq!(status, 200);
    server.delete("/db/c/a").send().expect_status(204);
    assert_eq!(poll(&server, &url, &fourth).0, 200);
}

#[test]
fn a_tag_belongs_to_its_query() {
    let server = dev();
    put(&server, "c/a", json!({"n": 1}));
    let (_, tag) = poll(&server, "/db/c", "\"x\"");
    assert_eq!(poll(&server, "/db/c?limit=1", &tag).0, 200);
    assert_eq!(poll(&server, "/db/d", &tag).0, 200);
    let owner = server.get("/db/c").header("If-None-Match", &tag).bearer("owner").send();
    assert_eq!(owner.status, 200, "another caller's tag is not honoured");
}

#[test]
fn a_document_and_a_missing_one_are_polled_by_their_versions() {
    let server = dev();
    let missing = server.get("/db/c/a").header("If-None-Match", "\"0\"").send();
    assert_eq!((missing.status, etag(&missing)), (304, "\"0\"".into()));
    put(&server, "c/a", json!({"n": 1}));
    assert_eq!(poll(&server, "/db/c/a", "\"0\"").0, 200);
    let (_, tag) = poll(&server, "/db/c/a", "\"0\"");
    assert_eq!(poll(&server, "/db/c/a", &tag).0, 304);
    server.delete("/db/c/a").send().expect_status(204);
    let gone = server.get("/db/c/a").header("If-None-Match", &tag).send();
    problem(&gone, 404, "not-found");
}

#[test]
fn aggregates_are_polled_like_any_result() {
    let server = dev();
    put(&server, "c/a", json!({"n": 1}));
    let url = target("/db/c", &[("count", ""), ("where", "n gt 0")]);
    let (_, tag) = poll(&server, &url, "\"x\"");
    put(&server, "c/b", json!({"n": 0}));
    assert_eq!(poll(&server, &url, &tag).0, 304);
    put(&server, "c/b", json!({"n": 1}));
    assert_eq!(poll(&server, &url, &tag).0, 200);
}

#[test]
fn a_long_poll_is_held_until_the_result_changes() {
    let server = dev();
    put(&server, "c/a", json!({}));
    let mut expected = "a".to_owned();
    // A poll that comes after the write is answered at once: again, until one was there before it.
    let held = (1..=20).any(|round| {
        let tag = etag(&server.get("/db/c").send());
        let ask = server.get("/db/c").header("If-None-Match", &tag).header("Prefer", "wait=30");
        let started = Instant::now();
        let answer = thread::scope(|scope| {
            let poll = scope.spawn(|| ask.send());
            put(&server, "d/other", json!({ "round": round }));
            put(&server, &format!("c/b{round:02}"), json!({}));
            poll.join().unwrap()
        });
        let answer = answer.expect_status(200);
        assert!(started.elapsed().as_secs() < 15, "it was not woken");
        expected += &format!(" b{round:02}");
        assert_eq!(shown(&answer.json()), expected);
        let applied = answer.header("Preference-Applied");
        assert!(applied.is_none_or(|applied| applied == "wait=30"), "{applied:?}");
        applied.is_some()
    });
    assert!(held, "none was held");
}

#[test]
fn a_long_poll_ends_unchanged_and_grants_no_more_than_it_may() {
    let server = dev();
    put(&server, "c/a", json!({}));
    let tag = etag(&server.get("/db/c").send());
    let wait = |wait: &str| server.get("/db/c").header("If-None-Match", &tag).header("Prefer", wait).send();
    let started = Instant::now();
    let answer = wait("respond-async, wait=1");
    assert_eq!((answer.status, answer.header("Preference-Applied")), (304, Some("wait=1")));
    assert!(started.elapsed().as_millis() >= 900);
    // Without a tag there is nothing to wait on.
    let at_once = server.get("/db/c").header("Prefer", "wait=30").send().expect_status(200);
    assert_eq!(shown(&at_once.json()), "a");
    let granted = thread::scope(|scope| {
        let poll = scope.spawn(|| wait("wait=600"));
        put(&server, "c/b", json!({}));
        poll.join().unwrap().expect_status(200)
    });
    assert!(matches!(granted.header("Preference-Applied"), None | Some("wait=55")), "{granted:?}");
    assert_eq!(wait("wait=soon").status, 200, "a preference that is not understood is passed over");
}

#[test]
fn a_long_poll_waits_for_a_document_to_appear() {
    let server = dev();
    let ask = server.get("/db/c/later").header("If-None-Match", "\"0\"").header("Prefer", "wait=30");
    let doc = thread::scope(|scope| {
        let poll = scope.spawn(|| ask.send());
        put(&server, "c/later", json!({"n": 1}));
        poll.join().unwrap()
    });
    assert_eq!(doc.expect_status(200).json()["data"]["n"], 1);
}

#[test]
fn a_long_poll_since_a_token_brings_the_difference() {
    let server = dev();
    put(&server, "c/a", json!({}));
    let seen = server.get("/db/c").send();
    let token = seen.json()["token"].as_str().unwrap().to_owned();
    let url = target("/db/c", &[("since", &token)]);
    let ask = server.get(&url).header("If-None-Match", &etag(&seen)).header("Prefer", "wait=30");
    let event = thread::scope(|scope| {
        let poll = scope.spawn(|| ask.send());
        put(&server, "c/b", json!({}));
        poll.join().unwrap().expect_status(200).json()
    });
    hearth_tests::check_schema("event", &event);
    assert_eq!((&event["size"], &event["changes"][0]["doc"]["path"]), (&json!(2), &json!("c/b")));
    // What lies outside the history is told anew, in full.
    let foreign = {
        let other = dev();
        put(&other, "c/a", json!({}));
        other.get("/db/c").send().json()["token"].as_str().unwrap().to_owned()
    };
    let reset = server.get(&target("/db/c", &[("since", &foreign)])).send().expect_status(200).json();
    assert_eq!((&reset["reset"], &reset["size"]), (&json!(true), &json!(2)));
}
