//! Writes: what each verb and each form of a commit does.

use hearth_tests::{Fold, Server, check_schema, number};
use serde_json::{Value, json};

use crate::common::{commit, dev, found, problem, put};

#[track_caller]
fn data(server: &Server, path: &str) -> Value {
    server.get(&format!("/db/{path}")).send().expect_status(200).json()["data"].clone()
}

#[test]
fn patch_writes_the_fields_it_names() {
    let server = dev();
    put(&server, "u/ada", json!({"name": {"first": "Ada", "last": "L"}, "age": 36, "old": 1}));
    let body = json!({"name.first": "Augusta", "`a.b`": true, "old": {"$delete": true}, "new": {"x": 1}});
    let doc = server.patch("/db/u/ada", &body).send().expect_status(200).json();
    check_schema("document", &doc);
    assert_eq!(
        doc["data"],
        json!({"name": {"first": "Augusta", "last": "L"}, "age": 36, "a.b": true, "new": {"x": 1}})
    );
    let missing = server.patch("/db/u/none", &json!({"a": 1})).send();
    problem(&missing, 404, "not-found");
    problem(&server.get("/db/u/none").send(), 404, "not-found");
}

#[test]
fn a_merge_writes_leaves_and_creates_what_is_missing() {
    let server = dev();
    put(&server, "u/ada", json!({"name": {"first": "Ada", "last": "L"}}));
    let body = json!({"name": {"first": "A"}, "a.b": 1});
    let doc = server.patch("/db/u/ada?merge", &body).send().expect_status(200).json();
    assert_eq!(doc["data"], json!({"name": {"first": "A", "last": "L"}, "a.b": 1}));
    let fresh = server.patch("/db/u/eve?merge", &json!({"x": 1})).send();
    assert!(matches!(fresh.status, 200 | 201), "{fresh:?}");
    assert_eq!(data(&server, "u/eve"), json!({"x": 1}));
}

#[test]
fn transforms_are_worked_out_by_the_server() {
    let server = dev();
    put(&server, "t/x", json!({"n": 5, "list": [1, 2, 2], "low": 3, "high": 3}));
    let body = json!({
        "n": {"$increment": 2}, "fresh": {"$increment": 1.5}, "list": {"$arrayUnion": [2, 3]}, "high": {"$max": 9},
        "low": {"$min": 1}, "at": {"$serverTimestamp": true}, "in.side": {"$serverTimestamp": true},
    });
    let doc = server.patch("/db/t/x", &body).send().expect_status(200).json();
    check_schema("document", &doc);
    let data = &doc["data"];
    assert_eq!((&data["n"], &data["fresh"], &data["list"]), (&json!(7), &json!(1.5), &json!([1, 2, 2, 3])));
    assert_eq!((&data["high"], &data["low"]), (&json!(9), &json!(1)));
    assert!(data["at"]["$timestamp"].is_string(), "{data}");
    assert_eq!(data["at"], data["in"]["side"]);
    let doc = server.patch("/db/t/x", &json!({"list": {"$arrayRemove": [2]}})).send().expect_status(200).json();
    assert_eq!(doc["data"]["list"], json!([1, 3]));
    let created = server.post("/db/t", &json!({"at": {"$serverTimestamp": true}})).send().expect_status(201).json();
    assert!(created["data"]["at"]["$timestamp"].is_string());
}

#[test]
fn every_form_of_a_write_happens_in_one_commit() {
    let server = dev();
    for id in ["merged", "masked", "updated", "deleted", "verified"] {
        put(&server, &format!("c/{id}"), json!({"a": 1, "b": {"c": 2, "d": 3}}));
    }
    let verified = server.get("/db/c/verified").send().json()["updated"].clone();
    let writes = [
        json!({"set": "c/set", "data": {"n": {"$increment": 1}}}),
        json!({"set": "c/merged", "data": {"b": {"c": 9}}, "merge": true}),
        json!({"set": "c/masked", "data": {"a": 7, "b": {"c": 9}}, "merge": ["b.c"]}),
        json!({"update": "c/updated", "data": {"b.c": {"$delete": true}}}),
        json!({"create": "c/created", "data": {}}),
        json!({"delete": "c/deleted", "if": {"exists": true}}),
        json!({"verify": "c/verified", "if": {"updated": verified}}),
    ];
    check_schema("commit", &json!({ "writes": writes }));
    let committed = commit(&server, &writes);
    assert_eq!(committed["results"].as_array().unwrap().len(), 7);
    assert_eq!(committed["results"][0]["transforms"], json!([1]));
    assert_eq!(committed["results"][0]["updated"], committed["version"]);
    assert_eq!(committed["results"][5].get("updated"), None);
    assert_eq!(data(&server, "c/merged"), json!({"a": 1, "b": {"c": 9, "d": 3}}));
    assert_eq!(data(&server, "c/masked"), json!({"a": 1, "b": {"c": 9, "d": 3}}));
    assert_eq!(data(&server, "c/updated"), json!({"a": 1, "b": {"d": 3}}));
    assert_eq!(found(&server, "/db/c"), "created masked merged set updated verified");
}

#[test]
fn a_commit_that_fails_changes_nothing_and_names_what_failed() {
    let server = dev();
    let there = put(&server, "c/there", json!({}));
    let version = server.get("/db").send().json()["version"].clone();
    for (bad, status, code) in [
        (json!({"create": "c/there", "data": {}}), 409, "already-exists"),
        (json!({"update": "c/missing", "data": {"a": 1}}), 404, "not-found"),
        (json!({"delete": "c/missing", "if": {"exists": true}}), 404, "not-found"),
        (json!({"set": "c/there", "data": {}, "if": {"updated": "1"}}), 412, "failed-precondition"),
        (json!({"verify": "c/missing", "if": {"updated": there["updated"]}}), 412, "failed-precondition"),
        (json!({"verify": "c/there", "if": {"exists": false}}), 409, "already-exists"),
    ] {
        let answer = server.post("/db", &json!({"writes": [{"set": "c/other", "data": {}}, bad]})).send();
        let told = problem(&answer, status, code);
        assert!(told["path"].as_str().is_some_and(|path| path.starts_with("c/")), "{told}");
        assert_eq!(found(&server, "/db/c"), "there");
    }
    assert_eq!(server.get("/db").send().json()["version"], version);
}

#[test]
fn a_commit_holds_only_while_what_was_read_is_still_so() {
    let server = dev();
    let read = put(&server, "c/read", json!({"n": 1}));
    let body =
        json!({"writes": [{"set": "c/sum", "data": {"n": 2}}], "reads": {"c/read": read["updated"], "c/none": null}});
    check_schema("commit", &body);
    server.post("/db", &body).send().expect_status(200);
    put(&server, "c/read", json!({"n": 2}));
    let moved = problem(&server.post("/db", &body).send(), 409, "aborted");
    assert_eq!(moved["path"], "c/read");
    put(&server, "c/none", json!({}));
    let updated = server.get("/db/c/read").send().json()["updated"].clone();
    let body = json!({"writes": [], "reads": {"c/read": updated, "c/none": null}});
    assert_eq!(problem(&server.post("/db", &body).send(), 409, "aborted")["path"], "c/none");
}

#[test]
fn versions_rise_and_are_the_time_of_the_commit() {
    let server = dev();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let versions: Vec<u64> = (0..20).map(|n| number(&put(&server, "c/x", json!({"n": n}))["updated"])).collect();
    let after = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    // A millisecond of grace: the two clocks are read apart.
    assert!(u128::from(versions[0]) + 1_000 > before && u128::from(versions[19]) < after + 1_000);
}

#[test]
fn a_collection_goes_with_all_beneath_it_and_listeners_hear_of_it_once() {
    let server = dev();
    let mut socket = server.socket();
    for at in ["m/a", "m/b", "m/b/in/x", "m/missing/in/y", "m/missing/in/y/deep/z", "other/a"] {
        put(&server, at, json!({}));
    }
    let mut fold = Fold::new();
    let mut group = Fold::new();
    fold.apply(&socket.ask(&json!({"id": 1, "op": "listen", "path": "m"})));
    group.apply(&socket.ask(&json!({"id": 2, "op": "listen", "path": "~/in"})));
    let count = json!({"id": 3, "op": "listen", "path": "~/deep", "query": {"aggregates": [{"count": true}]}});
    assert_eq!(socket.ask(&count)["aggregates"]["count"], 1);
    let deleted = server.delete("/db/m?recursive").send().expect_status(200).json();
    check_schema("deleted", &deleted);
    assert_eq!(deleted["deleted"], 5);
    let told = [socket.next_message(), socket.next_message(), socket.next_message()];
    assert!(told.iter().all(|event| event["version"] == deleted["version"]), "{told:?}");
    fold.apply(told.iter().find(|event| event["id"] == 1).unwrap());
    group.apply(told.iter().find(|event| event["id"] == 2).unwrap());
    let counted = told.iter().find(|event| event["id"] == 3).unwrap();
    assert_eq!((fold.docs.len(), group.docs.len(), &counted["aggregates"]["count"]), (0, 0, &json!(0)));
    let collections = server.get("/db?collections").send().expect_status(200).json();
    check_schema("collections", &collections);
    assert_eq!(collections["collections"], json!(["other"]));
    // With nothing left it is as good as done.
    assert_eq!(server.delete("/db/m?recursive").send().expect_status(200).json()["deleted"], 0);
}
