//! One `GET`: documents, results, values, headers, projects and databases.

use hearth_tests::{check_schema, number};
use serde_json::{Value, json};

use crate::common::{commit, dev, etag, found, problem, put, result, shown, target};

#[test]
fn a_document_is_written_read_and_deleted_at_its_address() {
    let server = dev();
    let created = server.put("/db/messages/abc", &json!({"text": "hi"})).send().expect_status(201);
    let doc = created.json();
    check_schema("document", &doc);
    assert_eq!(doc["path"], "messages/abc");
    assert_eq!(doc["created"], doc["updated"]);

    let read = server.get("/db/messages/abc").send().expect_status(200);
    assert_eq!(read.json(), doc);
    assert_eq!(read.header("Content-Type"), Some("application/json"));
    assert_eq!(etag(&read), format!("\"{}\"", doc["updated"].as_str().unwrap()));
    assert_eq!(read.header("Cache-Control"), Some("private, no-cache"));
    assert_eq!(read.header("Vary"), Some("Authorization, Accept, Prefer, Origin"));
    assert!(read.header("X-Request-Id").is_some());

    let replaced = server.put("/db/messages/abc", &json!({"text": "ho"})).send().expect_status(200).json();
    assert_eq!(replaced["created"], doc["created"]);
    assert!(number(&replaced["updated"]) > number(&doc["updated"]));

    let gone = server.delete("/db/messages/abc").send().expect_status(204);
    assert!(gone.body.is_empty());
    let missing = server.get("/db/messages/abc").send();
    problem(&missing, 404, "not-found");
    assert_eq!(etag(&missing), "\"0\"");
}

#[test]
fn head_says_what_get_says_without_a_body() {
    let server = dev();
    put(&server, "a/b", json!({}));
    let (head, get) = (server.ask("HEAD", "/db/a/b").send().expect_status(200), server.get("/db/a/b").send());
    assert_eq!(etag(&head), etag(&get));
    assert!(head.body.is_empty());
    server.ask("HEAD", "/db/a/none").send().expect_status(404);
}

#[test]
fn a_fresh_id_has_twenty_characters_and_an_address() {
    let server = dev();
    let answer = server.post("/db/messages", &json!({"text": "hi"})).send().expect_status(201);
    let doc = answer.json();
    check_schema("document", &doc);
    let path = doc["path"].as_str().unwrap();
    assert_eq!(path.len(), "messages/".len() + 20);
    assert_eq!(answer.header("Location"), Some(format!("/db/{path}").as_str()));
    assert_eq!(server.get(answer.header("Location").unwrap()).send().expect_status(200).json(), doc);
}

#[test]
fn a_collection_is_read_as_a_result() {
    let server = dev();
    for id in ["b", "a", "c"] {
        put(&server, &format!("messages/{id}"), json!({}));
    }
    put(&server, "messages/a/replies/r", json!({}));
    let answer = server.get("/db/messages").send().expect_status(200);
    check_schema("result", &answer.json());
    assert_eq!(shown(&answer.json()), "a b c");
    assert_eq!(answer.json()["more"], false);
    assert_eq!(found(&server, "/db/messages/a/replies"), "r");
    let empty = server.get("/db/nothing").send().expect_status(200);
    assert_eq!(shown(&empty.json()), "");
    assert!(etag(&empty) != etag(&answer));
}

#[test]
fn the_database_tells_its_version_and_its_limits() {
    let server = dev();
    let doc = put(&server, "a/b", json!({}));
    let database = server.get("/db").send().expect_status(200).json();
    check_schema("database", &database);
    assert_eq!(database["database"], "(default)");
    assert_eq!(database["version"], doc["updated"]);
    for limit in ["doc_bytes_max", "commit_writes_max", "commit_bytes_max", "url_bytes_max"] {
        assert!(database["limits"][limit].is_u64(), "{limit} is not told: {database}");
    }
    assert_eq!(database["limits"]["doc_bytes_max"], 1_048_576);
}

#[test]
fn every_type_of_value_comes_back_as_it_was_written() {
    let server = dev();
    let data = json!({
        "null": null, "yes": true, "integer": 3, "double": 3.5, "whole": {"$double": 3}, "text": "h\u{fe}\u{1f600}\u{0}",
        "nan": {"$double": "NaN"}, "inf": {"$double": "Infinity"}, "-inf": {"$double": "-Infinity"},
        "zero": {"$double": "-0"}, "large": {"$int": "9007199254740993"}, "time": {"$timestamp": "2026-01-31T10:00:00.123456Z"},
        "bytes": {"$bytes": "AP8="}, "ref": {"$ref": "users/ada"}, "geo": {"$geo": [48.85, 2.35]}, "vector": {"$vector": [0.1, 0.2]},
        "map": {"a": {"b": [1, "x", {"c": null}]}}, "dollar": {"$map": {"$ref": 1}}, "a.b`c": 1, "empty": {}, "list": [],
    });
    let doc = put(&server, "values/all", data.clone());
    check_schema("document", &doc);
    let text = server.get("/db/values/all").send().text();
    assert!(text.contains("\"integer\":3,") || text.contains("\"integer\":3}"), "{text}");
    let back: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in data.as_object().unwrap() {
        // A double that is whole may be written either way, as long as it stays one.
        let alike = back["data"][name] == *value || (name == "whole" && back["data"][name] == json!(3.0));
        assert!(alike, "{name}: {} became {}", value, back["data"][name]);
    }
    // What was read can be written again, and changes nothing.
    let again = put(&server, "values/again", back["data"].clone());
    assert_eq!(again["data"], back["data"]);
}

#[test]
fn literal_bodies_mean_what_they_say() {
    let server = dev();
    let data = json!({"a": {"$delete": true}, "b": {"$ref": "not a path"}});
    let doc = server.put("/db/typed/x?literal", &data).send().expect_status(201).json();
    assert_eq!(doc["data"], json!({"a": {"$map": {"$delete": true}}, "b": {"$map": {"$ref": "not a path"}}}));
}

#[test]
fn segments_are_percent_decoded() {
    let server = dev();
    let doc = server.put("/db/caf%C3%A9/a%20b", &json!({})).send().expect_status(201).json();
    assert_eq!(doc["path"], "caf\u{e9}/a b");
    assert_eq!(found(&server, "/db/caf%C3%A9"), "a b");
    // Native even where it looks like the Realtime Database.
    server.put("/db/files/x.json", &json!({})).send().expect_status(201);
    assert_eq!(found(&server, "/db/files"), "x.json");
}

#[test]
fn projects_and_databases_keep_their_documents_apart() {
    let server = dev();
    server.put("/p/one/db/a/x", &json!({"n": 1})).send().expect_status(201);
    server.put("/p/two/db/a/y", &json!({"n": 2})).send().expect_status(201);
    server.put("/p/one/db@other/a/z", &json!({"n": 3})).send().expect_status(201);
    assert_eq!(found(&server, "/p/one/db/a"), "x");
    assert_eq!(found(&server, "/p/two/db/a"), "y");
    assert_eq!(found(&server, "/p/one/db@other/a"), "z");
    let database = server.get("/p/one/db@other").send().expect_status(200).json();
    check_schema("database", &database);
    assert_eq!((&database["project"], &database["database"]), (&json!("one"), &json!("other")));
    // The first project that a client names on an empty directory is the default from then on.
    assert_eq!(found(&server, "/db/a"), "x");
    assert_eq!(found(&server, "/db@other/a"), "z");
}

#[test]
fn an_empty_answer_hints_at_the_project_that_has_the_collection() {
    let server = dev();
    server.put("/p/one/db/a/x", &json!({})).send().expect_status(201);
    server.put("/p/two/db/b/y", &json!({})).send().expect_status(201);
    let empty = result(&server, "/db/b");
    let hint = empty["hint"].as_str().unwrap_or_else(|| panic!("no hint: {empty}"));
    assert!(hint.contains("/p/two/db/b"), "{hint}");
    assert_eq!(result(&server, "/db/a").get("hint"), None);
    assert_eq!(result(&server, "/db/nowhere").get("hint"), None);
}

#[test]
fn a_named_project_is_the_default_one() {
    let server = hearth_tests::Launch::dev().ephemeral().args(&["--project", "mine"]).start();
    put(&server, "a/x", json!({}));
    assert_eq!(found(&server, "/p/mine/db/a"), "x");
}

#[test]
fn a_read_at_a_version_shows_what_was() {
    let server = dev();
    let first = put(&server, "a/x", json!({"n": 1}));
    let second = put(&server, "a/x", json!({"n": 2}));
    let then = target("/db/a/x", &[("at", first["updated"].as_str().unwrap())]);
    assert_eq!(server.get(&then).send().expect_status(200).json(), first);
    let then = result(&server, &target("/db/a", &[("at", first["updated"].as_str().unwrap())]));
    assert_eq!((&then["version"], &then["docs"][0]["data"]["n"]), (&first["updated"], &json!(1)));
    assert_eq!(result(&server, "/db/a")["version"], second["updated"]);
    // Nothing of a young database is forgotten: its beginning can be read, and it was empty.
    problem(&server.get(&target("/db/a/x", &[("at", "1")])).send(), 404, "not-found");
    assert_eq!(found(&server, &target("/db/a", &[("at", "1")])), "");
    let late = server.get(&target("/db/a/x", &[("at", "9223372036854775000")])).send();
    assert_eq!(problem(&late, 400, "invalid-argument")["at"], "at");
}

#[test]
fn lines_of_json_hold_a_document_each() {
    let server = dev();
    for id in ["a", "b"] {
        put(&server, &format!("c/{id}"), json!({"text": "one\ntwo"}));
    }
    let answer = server.get("/db/c").header("Accept", "application/x-ndjson").send().expect_status(200);
    assert_eq!(answer.header("Content-Type"), Some("application/x-ndjson"));
    let docs: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    docs.iter().for_each(|doc| check_schema("document", doc));
    assert_eq!(hearth_tests::ids(&docs), ["a", "b"]);
}

#[test]
fn explain_tells_what_a_query_cost() {
    let server = dev();
    for n in 0..5 {
        put(&server, &format!("c/{n}"), json!({"n": n}));
    }
    let explained = result(&server, &target("/db/c", &[("where", "n ge 3"), ("explain", "")]));
    let explain = &explained["explain"];
    assert_eq!(explain["returned"], 2);
    assert!(explain["read"].as_u64() >= Some(2) && explain["scanned"].as_u64() >= Some(2), "{explain}");
    assert_eq!(result(&server, "/db/c").get("explain"), None);
}

#[test]
fn since_answers_with_the_difference() {
    let server = dev();
    put(&server, "c/a", json!({}));
    let token = result(&server, "/db/c")["token"].as_str().unwrap().to_owned();
    let changed = commit(&server, &[json!({"delete": "c/a"}), json!({"set": "c/b", "data": {}})]);
    let event = server.get(&target("/db/c", &[("since", &token)])).send().expect_status(200).json();
    check_schema("event", &event);
    assert_eq!((&event["reset"], &event["version"], &event["size"]), (&json!(false), &changed["version"], &json!(1)));
    let kinds: Vec<&Value> = event["changes"].as_array().unwrap().iter().map(|change| &change["type"]).collect();
    assert_eq!(kinds, ["removed", "added"]);
    // A token of another query says nothing about this one: everything is told anew.
    let foreign = server.get(&target("/db/d", &[("since", &token)])).send().expect_status(200).json();
    assert_eq!((&foreign["reset"], &foreign["changes"]), (&json!(true), &json!([])));
    let nonsense = server.get("/db/c?since=nonsense").send();
    assert!(problem(&nonsense, 400, "invalid-argument")["at"].as_str().is_some_and(|at| at.starts_with("since")));
}

#[test]
fn a_program_is_told_ok_and_health_is_good() {
    let server = dev();
    assert_eq!(server.get("/").send().expect_status(200).text().trim(), "Ok");
    server.get("/health").send().expect_status(200);
    let metrics = server.get("/metrics").send().expect_status(200);
    assert!(metrics.header("Content-Type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
}

#[test]
fn a_person_is_shown_a_page_that_runs_only_our_scripts() {
    let server = dev();
    put(&server, "c/a", json!({"text": "<script>alert(1)</script>"}));
    for path in ["/db", "/db/c", "/db/c/a", "/db/c/missing", "/db/~/c", "/db/%3Cscript%3E"] {
        let page = server.get(path).header("Accept", "text/html,*/*;q=0.8").send().expect_status(200);
        assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"), "{path}");
        let policy = page.header("Content-Security-Policy").unwrap_or_else(|| panic!("{path} has no policy"));
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
        assert!(page.header("Vary").is_some_and(|vary| vary.contains("Accept")), "{path}");
        assert!(!page.text().contains("<script>"), "{path}: {}", page.text());
    }
}

#[test]
fn the_sdk_is_handed_out_as_modules() {
    let server = dev();
    let sdk = server.get("/sdk/hearth.js").send().expect_status(200);
    assert!(sdk.header("Content-Type").is_some_and(|kind| kind.starts_with("text/javascript")), "{sdk:?}");
    assert!(sdk.text().contains("export"));
    problem(&server.get("/sdk/../Cargo.toml").send(), 404, "not-found");
    problem(&server.get("/sdk/none.js").send(), 404, "not-found");
    let demo = server.get("/demo").header("Accept", "text/html").send().expect_status(200);
    assert!(demo.header("Content-Type").is_some_and(|kind| kind.starts_with("text/html")));
}

#[test]
fn other_methods_and_addresses_are_refused_by_name() {
    let server = dev();
    for (method, path, allow) in [
        ("DELETE", "/db/c", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/db/c", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/db/c/a", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("PUT", "/db", "GET, HEAD, POST, DELETE, OPTIONS"),
        ("GET", "/tickets", "POST, OPTIONS"),
        ("POST", "/db/~/c", "GET, HEAD, OPTIONS"),
        ("BREW", "/db/c/a", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
    ] {
        let answer = server.ask(method, path).json(&json!({})).send();
        problem(&answer, 405, "unimplemented");
        assert_eq!(answer.header("Allow"), Some(allow), "{method} {path}");
    }
    for path in ["/nothing", "/dbx/a", "/db.json", "/p/x", "/p/x/tickets/y"] {
        problem(&server.get(path).send(), 404, "not-found");
    }
}
