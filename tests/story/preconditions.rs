//! Preconditions and idempotency keys.

use serde_json::json;

use crate::common::{dev, etag, found, problem, put};

#[test]
fn if_match_writes_only_over_what_was_seen() {
    let server = dev();
    put(&server, "c/x", json!({"n": 1}));
    let seen = etag(&server.get("/db/c/x").send());
    let put_if = |tag: &str, n: i64| server.put("/db/c/x", &json!({"n": n})).header("If-Match", tag).send();
    let second = put_if(&seen, 2).expect_status(200);
    assert_eq!(
        etag(&second),
        format!("\"{}\"", second.json()["updated"].as_str().unwrap()),
        "a write says the new tag"
    );
    let stale = problem(&put_if(&seen, 3), 412, "failed-precondition");
    assert_eq!(stale["path"], "c/x");
    // A document has one version: a list could only be a mistake.
    problem(&put_if(&format!("\"1\", {}", etag(&second)), 4), 400, "invalid-argument");
    put_if("*", 5).expect_status(200);
    let patch = server.patch("/db/c/x", &json!({"n": 6})).header("If-Match", &seen).send();
    problem(&patch, 412, "failed-precondition");
    problem(&server.delete("/db/c/x").header("If-Match", &seen).send(), 412, "failed-precondition");
    let now = etag(&server.get("/db/c/x").send());
    server.delete("/db/c/x").header("If-Match", &now).send().expect_status(204);
    problem(&put_if("*", 7), 412, "failed-precondition");
    problem(&server.get("/db/c/x").send(), 404, "not-found");
}

#[test]
fn if_none_match_star_writes_only_what_is_missing() {
    let server = dev();
    let create = |n: i64| server.put("/db/c/x", &json!({"n": n})).header("If-None-Match", "*").send();
    create(1).expect_status(201);
    problem(&create(2), 412, "failed-precondition");
    assert_eq!(server.get("/db/c/x").send().json()["data"]["n"], 1);
    let odd = server.put("/db/c/x", &json!({})).header("If-None-Match", "\"5\"").send();
    assert_eq!(odd.status / 100, 4, "a tag there means nothing in a write: {odd:?}");
}

#[test]
fn a_key_makes_a_write_happen_once() {
    let server = dev();
    let post = |key: &str, n: i64| server.post("/db/c", &json!({"n": n})).header("Idempotency-Key", key).send();
    let first = post("k1", 1).expect_status(201);
    let again = post("k1", 1).expect_status(201);
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("Location"), first.header("Location"));
    let other = post("k1", 2);
    assert_eq!(problem(&other, 422, "failed-precondition")["at"], "Idempotency-Key");
    post("k2", 1).expect_status(201);
    assert_eq!(found(&server, "/db/c").split(' ').count(), 2);

    let raise = |key: &str| {
        let body = json!({"writes": [{"set": "n/x", "data": {"n": {"$increment": 1}}, "merge": true}]});
        server.post("/db", &body).header("Idempotency-Key", key).send().expect_status(200).json()
    };
    assert_eq!(raise("r1"), raise("r1"));
    assert_eq!(server.get("/db/n/x").send().json()["data"]["n"], 1);
    for method in ["PUT", "PATCH"] {
        let write = || {
            let ask = server.ask(method, "/db/n/x").header("Idempotency-Key", method);
            ask.json(&json!({"n": {"$increment": 1}})).send().expect_status(200).json()
        };
        assert_eq!(write()["updated"], write()["updated"], "{method}");
    }
    for _ in 0..2 {
        server.delete("/db/n/x").header("Idempotency-Key", "d").send().expect_status(204);
    }
}

#[test]
fn a_key_belongs_to_its_caller_and_database() {
    let server = dev();
    let raise = |path: &str, bearer: Option<&str>| {
        let ask = server.post(path, &json!({"writes": [{"set": "n/x", "data": {"n": 1}}]}));
        let ask = ask.header("Idempotency-Key", "same");
        bearer.map_or(ask.clone(), |token| ask.bearer(token)).send().expect_status(200).json()["version"].clone()
    };
    let versions = [raise("/db", None), raise("/db", Some("owner")), raise("/db@other", None)];
    assert!(versions[0] != versions[1] && versions[1] != versions[2] && versions[0] != versions[2], "{versions:?}");
    assert_eq!(raise("/db", None), versions[0]);
}

#[test]
fn a_refusal_is_not_kept_under_its_key() {
    let server = dev();
    let create = || {
        server.post("/db", &json!({"writes": [{"create": "c/x", "data": {}}]})).header("Idempotency-Key", "k").send()
    };
    put(&server, "c/x", json!({}));
    problem(&create(), 409, "already-exists");
    server.delete("/db/c/x").send().expect_status(204);
    create().expect_status(200);
    create().expect_status(200);
    let long = server.post("/db/c", &json!({})).header("Idempotency-Key", &"k".repeat(65)).send();
    assert_eq!(problem(&long, 400, "invalid-argument")["at"], "Idempotency-Key");
}
