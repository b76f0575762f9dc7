//! The change feed: every commit in order, for admins.

use hearth_tests::{Launch, Sse};
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
