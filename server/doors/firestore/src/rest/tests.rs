//! Requests as SDKs and people send them, and the answers, method by method.

mod queries;

use std::time::Duration;

use axum::http::StatusCode;
use expect_test::{Expect, expect};
use hearth_auth::Mode;
use hearth_engine::{Access, Limits};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::testing::Server;

const ROOT: &str = "/v1/projects/p/databases/(default)/documents";

/// Rooms `a`, `b` and `c` with `n` 1, 2 and 3, and one document below a room that does not exist.
async fn rooms() -> Server {
    let server = Server::dev();
    for (id, n) in [("rooms/a", 1), ("rooms/b", 2), ("rooms/c", 3), ("rooms/d/parts/x", 4)] {
        let body = json!({"fields": {"n": {"integerValue": n.to_string()}, "s": {"stringValue": id}}});
        server.json(&format!("PATCH {ROOT}/{id}"), &body.to_string()).await;
    }
    server
}

/// Sends `METHOD …`, with the address below the root.
async fn check(server: &Server, request: &str, body: &str, want: Expect) {
    let (method, rest) = request.split_once(' ').unwrap();
    server.check(&format!("{method} {ROOT}{rest}"), body, want).await;
}

/// The names and, where there are some, `n`s of the documents of an answer.
fn names(documents: &Json) -> String {
    let prefix = &ROOT["/v1/".len()..];
    let list = documents.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = list.iter().map(|document| {
        let name = document["name"].as_str().unwrap().strip_prefix(prefix).unwrap().trim_start_matches('/');
        match document["fields"]["n"]["integerValue"].as_str() {
            Some(n) => format!("{name}={n}"),
            None => name.to_owned(),
        }
    });
    names.collect::<Vec<_>>().join(" ")
}

/// Runs a structured query and shows what it found.
async fn found(server: &Server, at: &str, query: Json) -> String {
    let body = json!({ "structuredQuery": query }).to_string();
    let answers = server.json(&format!("POST {ROOT}{at}:runQuery\nContent-Type: text/plain"), &body).await;
    let documents: Vec<Json> =
        answers.as_array().unwrap().iter().filter_map(|answer| answer.get("document").cloned()).collect();
    names(&Json::from(documents))
}

#[tokio::test]
async fn a_document_is_created_read_changed_and_deleted() {
    let server = Server::dev();
    let body = r#"{"fields":{"n":{"integerValue":"1"},"t":{"stringValue":"ä"}}}"#;
    check(&server, "POST /rooms?documentId=a&mask.fieldPaths=n", body, expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"n":{"integerValue":"1"}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}"#]]).await;
    check(&server, "POST /rooms?documentId=a", body, expect![[r#"
        409
        {"error":{"code":409,"message":"Document already exists: projects/p/databases/(default)/documents/rooms/a","status":"ALREADY_EXISTS"}}"#]]).await;
    check(&server, "GET /rooms/a", "", expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"n":{"integerValue":"1"},"t":{"stringValue":"ä"}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}"#]]).await;
    check(&server, "GET /rooms/a?mask.fieldPaths=t&mask.field_paths=gone&key=k&alt=json", "", expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"t":{"stringValue":"ä"}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}"#]]).await;
    check(&server, "GET /rooms/zz", "", expect![[r#"
        404
        {"error":{"code":404,"message":"Document \"projects/p/databases/(default)/documents/rooms/zz\" not found.","status":"NOT_FOUND"}}"#]]).await;
    check(
        &server,
        "PATCH /rooms/a?updateMask.fieldPaths=m&updateMask.fieldPaths=t&mask.fieldPaths=m&currentDocument.exists=true",
        r#"{"name":"somewhere/else","fields":{"m":{"nullValue":null},"n":{"integerValue":9}}}"#,
        expect![[r#"
            200
            {"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"m":{"nullValue":null}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000001Z"}"#]],
    )
    .await;
    check(&server, "PATCH /rooms/a", r#"{"fields":{"only":{"booleanValue":true}}}"#, expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"only":{"booleanValue":true}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000002Z"}"#]]).await;
    check(&server, "PATCH /rooms/zz?current_document.exists=true", "{}", expect![[r#"
        404
        {"error":{"code":404,"message":"No document to update: projects/p/databases/(default)/documents/rooms/zz","status":"NOT_FOUND"}}"#]]).await;
    check(&server, "PATCH /rooms/zz?currentDocument.exists=false", "", expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms/zz","createTime":"2026-01-01T00:00:00.000003Z","updateTime":"2026-01-01T00:00:00.000003Z"}"#]]).await;
    let stale = "DELETE /rooms/a?currentDocument.updateTime=2026-01-01T00:00:00.000000Z";
    check(&server, stale, "", expect![[r#"
        400
        {"error":{"code":400,"message":"the stored version (1767225600000002) does not match the required base version (1767225600000000)","status":"FAILED_PRECONDITION"}}"#]]).await;
    check(
        &server,
        "DELETE /rooms/a?currentDocument.updateTime=2026-01-01T00:00:00.000002000Z",
        "",
        expect![[r#"
        200
        {}"#]],
    )
    .await;
    check(
        &server,
        "DELETE /rooms/a",
        "",
        expect![[r#"
        200
        {}"#]],
    )
    .await;
    check(&server, "DELETE /rooms/a?currentDocument.exists=true", "", expect![[r#"
        404
        {"error":{"code":404,"message":"No document to update: projects/p/databases/(default)/documents/rooms/a","status":"NOT_FOUND"}}"#]]).await;
}

#[tokio::test]
async fn a_document_without_an_id_is_given_one() {
    let server = Server::dev();
    let made = server.json(&format!("POST {ROOT}/rooms/a/parts"), "{}").await;
    let name = made["name"].as_str().unwrap();
    let id = name.strip_prefix("projects/p/databases/(default)/documents/rooms/a/parts/").unwrap();
    assert!(id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(server.json(&format!("GET /v1/{name}"), "").await, made);
}

#[tokio::test]
async fn every_type_of_value_comes_back_as_it_went() {
    let server = Server::dev();
    let fields = json!({
        "null": {"nullValue": null},
        "yes": {"booleanValue": true},
        "int": {"integerValue": "-9223372036854775808"},
        "double": {"doubleValue": 0.1},
        "nan": {"doubleValue": "NaN"},
        "infinite": {"doubleValue": "-Infinity"},
        "time": {"timestampValue": "0001-01-01T00:00:00.000001Z"},
        "text": {"stringValue": "ä€𝄞\u{0}\""},
        "bytes": {"bytesValue": "AP/+"},
        "reference": {"referenceValue": "projects/p/databases/(default)/documents/a/b"},
        "point": {"geoPointValue": {"latitude": -12.5, "longitude": 179.0}},
        "list": {"arrayValue": {"values": [{"integerValue": "1"}, {"mapValue": {"fields": {"a.b": {"stringValue": ""}}}}]}},
        "vector": {"mapValue": {"fields": {
            "__type__": {"stringValue": "__vector__"},
            "value": {"arrayValue": {"values": [{"doubleValue": 1.0}, {"doubleValue": 2.5}]}},
        }}},
    });
    let body = json!({ "fields": fields }).to_string();
    let set = server.json(&format!("PATCH {ROOT}/types/all"), &body).await;
    let got = server.json(&format!("GET {ROOT}/types/all"), "").await;
    assert_eq!((&set["fields"], &got), (&fields, &set));
    // The forms that web SDKs send for the same.
    let body = r#"{"fields":{"null":{"nullValue":"NULL_VALUE"},"int":{"integerValue":7},"zero":{"doubleValue":"-0"},
        "time":{"timestampValue":"2026-01-01T02:00:00.5+02:00"},"bytes":{"bytesValue":"AP_-"},"map":{"mapValue":{}},"list":{"arrayValue":{}}}}"#;
    check(&server, "PATCH /types/forms", body, expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/types/forms","fields":{"bytes":{"bytesValue":"AP/+"},"int":{"integerValue":"7"},"list":{"arrayValue":{}},"map":{"mapValue":{}},"null":{"nullValue":null},"time":{"timestampValue":"2026-01-01T00:00:00.500000Z"},"zero":{"doubleValue":-0.0}},"createTime":"2026-01-01T00:00:00.000001Z","updateTime":"2026-01-01T00:00:00.000001Z"}"#]]).await;
}

#[tokio::test]
async fn ids_are_percent_decoded_and_may_hold_colons() {
    let server = Server::dev();
    let body = r#"{"fields":{}}"#;
    check(&server, "PATCH /rooms%20of%20ada/a:b%25%C3%A4", body, expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms of ada/a:b%ä","createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}"#]]).await;
    check(&server, "GET /rooms%20of%20ada/a%3Ab%25%c3%a4", "", expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/rooms of ada/a:b%ä","createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}"#]]).await;
    check(&server, "GET /rooms%20of%20ada/a:runQuery", "", expect![[r#"
        404
        {"error":{"code":404,"message":"Document \"projects/p/databases/(default)/documents/rooms of ada/a:runQuery\" not found.","status":"NOT_FOUND"}}"#]]).await;
    server.check("PATCH /v1/projects/p/databases/%28default%29/documents/a/b", body, expect![[r#"
        200
        {"name":"projects/p/databases/(default)/documents/a/b","createTime":"2026-01-01T00:00:00.000001Z","updateTime":"2026-01-01T00:00:00.000001Z"}"#]]).await;
}

#[tokio::test]
async fn a_collection_is_listed_page_by_page() {
    let server = rooms().await;
    check(&server, "GET /rooms?pageSize=1&mask.fieldPaths=n", "", expect![[r#"
        200
        {"documents":[{"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"n":{"integerValue":"1"}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}],"nextPageToken":"AAZHSEYgQANyb29tcy9h"}"#]]).await;
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("GET {ROOT}/rooms?page_size=2&orderBy=n%20desc&pageToken={token}"), "").await;
        pages.push(names(&page["documents"]));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, ["rooms/c=3 rooms/b=2", "rooms/a=1"]);
    let missing = server.json(&format!("GET {ROOT}/rooms?showMissing=true"), "").await;
    assert_eq!(names(&missing["documents"]), "rooms/a=1 rooms/b=2 rooms/c=3 rooms/d");
    let old = "readTime=2026-01-01T00:00:00.000001Z&showMissing=false";
    let then = server.json(&format!("GET {ROOT}/rooms?{old}"), "").await;
    assert_eq!(names(&then["documents"]), "rooms/a=1 rooms/b=2");
    check(
        &server,
        "GET /nothing",
        "",
        expect![[r#"
        200
        {}"#]],
    )
    .await;
    check(&server, "GET /rooms?pageSize=many", "", expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid query parameter \"pageSize\": \"many\" is not a whole number","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(&server, "GET /rooms?pageToken=ours", "", expect![[r#"
        400
        {"error":{"code":400,"message":"invalid page token: it is not one of this server","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(&server, "GET /rooms?mask=n", "", expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid query parameter \"mask\": the request has no such field; its fields are pageSize, pageToken, orderBy, mask.fieldPaths, transaction, readTime, showMissing","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(&server, "GET /rooms?transaction=AA%3D%3D&readTime=2026-01-01T00:00:00Z", "", expect![[r#"
        400
        {"error":{"code":400,"message":"Only one of transaction and readTime can be given","status":"INVALID_ARGUMENT"}}"#]]).await;
}

#[tokio::test]
async fn a_time_from_before_what_is_kept_is_refused_unless_nothing_was_written_since() {
    let server = Server::dev();
    let write = format!("PATCH {ROOT}/rooms/a");
    let body = r#"{"fields":{"n":{"integerValue":"1"}}}"#;
    server.json(&write, body).await;
    server.clock.pass(Duration::from_secs(2 * 3_600));
    // The time that reads were told until now.
    let then = "GET /rooms/a?readTime=2026-01-01T00:00:00Z";
    let read = server.json(&format!("GET {ROOT}/rooms/a?readTime=2026-01-01T00:00:00Z"), "").await;
    assert_eq!(read["fields"]["n"]["integerValue"], "1");
    server.json(&write, body).await;
    for request in [then, "GET /rooms?readTime=2026-01-01T00:59:59.999999Z"] {
        check(&server, request, "", expect![[r#"
        400
        {"error":{"code":400,"message":"The requested 'read_time' is too old. (history is kept for 3600 s)","status":"FAILED_PRECONDITION"}}"#]]).await;
    }
    let kept = server.json(&format!("GET {ROOT}/rooms?readTime=2026-01-01T01:00:00Z"), "").await;
    assert_eq!(names(&kept["documents"]), "rooms/a=1");
}

#[tokio::test]
async fn documents_are_got_by_name_once_each() {
    let server = rooms().await;
    let name = |id: &str| format!("{}/{id}", &ROOT["/v1/".len()..]);
    let body = json!({"documents": [name("rooms/a"), name("rooms/z"), name("rooms/a")], "mask": {"fieldPaths": ["n"]}});
    check(&server, "POST :batchGet", &body.to_string(), expect![[r#"
        200
        [{"readTime":"2026-01-01T00:00:00.000003Z","found":{"name":"projects/p/databases/(default)/documents/rooms/a","fields":{"n":{"integerValue":"1"}},"createTime":"2026-01-01T00:00:00.000000Z","updateTime":"2026-01-01T00:00:00.000000Z"}},
        {"readTime":"2026-01-01T00:00:00.000003Z","missing":"projects/p/databases/(default)/documents/rooms/z"}]"#]]).await;
}

#[tokio::test]
async fn a_commit_answers_each_write_and_a_time() {
    let server = rooms().await;
    let name = |id: &str| format!("{}/{id}", &ROOT["/v1/".len()..]);
    let body = json!({"writes": [
        {"update": {"name": name("rooms/a"), "fields": {}}, "updateMask": {}, "updateTransforms": [
            {"fieldPath": "n", "increment": {"integerValue": "5"}},
            {"fieldPath": "at", "setToServerValue": "REQUEST_TIME"},
            {"fieldPath": "list", "appendMissingElements": {"values": [{"stringValue": "x"}]}},
        ]},
        {"verify": name("rooms/b"), "currentDocument": {"exists": true}},
        {"delete": name("rooms/c")},
    ]});
    check(&server, "POST :commit\nContent-Type: text/plain;charset=UTF-8", &body.to_string(), expect![[r#"
        200
        {"writeResults":[{"updateTime":"2026-01-01T00:00:00.000004Z","transformResults":[{"integerValue":"6"},{"timestampValue":"2026-01-01T00:00:00.000004Z"},{"nullValue":null}]},{},{}],"commitTime":"2026-01-01T00:00:00.000004Z"}"#]]).await;
    check(&server, "POST :commit", r#"{"novelty": {"a": 1}}"#, expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"novelty\": Cannot find field.","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(
        &server,
        "POST :commit",
        "",
        expect![[r#"
            200
            {"commitTime":"2026-01-01T00:00:00.000005Z"}"#]],
    )
    .await;
    let foreign = json!({"database": "projects/x/databases/y", "writes": [{"delete": name("rooms/a")}]});
    check(
        &server,
        "POST :commit",
        &foreign.to_string(),
        expect![[r#"
            200
            {"writeResults":[{}],"commitTime":"2026-01-01T00:00:00.000006Z"}"#]],
    )
    .await;
}

#[tokio::test]
async fn writes_of_a_batch_stand_on_their_own() {
    let server = rooms().await;
    let name = |id: &str| format!("{}/{id}", &ROOT["/v1/".len()..]);
    let body = json!({"writes": [
        {"delete": name("rooms/a")},
        {"update": {"name": name("rooms/b")}, "currentDocument": {"exists": false}},
    ]});
    check(&server, "POST :batchWrite", &body.to_string(), expect![[r#"
        200
        {"writeResults":[{},{}],"status":[{},{"code":6,"message":"Document already exists: projects/p/databases/(default)/documents/rooms/b"}]}"#]]).await;
}

#[tokio::test]
async fn transactions_read_and_commit_by_their_id() {
    let server = rooms().await;
    let name = format!("{}/rooms/a", &ROOT["/v1/".len()..]);
    let post = |verb: &str| format!("POST {ROOT}:{verb}");
    let id = server.json(&post("beginTransaction"), "{}").await["transaction"].as_str().unwrap().to_owned();
    let escaped = id.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let read = server.json(&format!("GET {ROOT}/rooms/a?transaction={escaped}"), "").await;
    assert_eq!(read["fields"]["n"]["integerValue"], "1");
    let write = json!({"writes": [{"update": {"name": name, "fields": {}}}], "transaction": id}).to_string();
    assert_eq!(server.json(&post("commit"), &write).await["writeResults"].as_array().unwrap().len(), 1);
    check(&server, "POST :commit", &write, expect![[r#"
        400
        {"error":{"code":400,"message":"The referenced transaction has expired or is no longer valid.","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(
        &server,
        "POST :rollback",
        &json!({ "transaction": id }).to_string(),
        expect![[r#"
        200
        {}"#]],
    )
    .await;
    check(
        &server,
        "POST :rollback",
        r#"{"transaction":"AAAA"}"#,
        expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid transaction.","status":"INVALID_ARGUMENT"}}"#]],
    )
    .await;

    // One that begins with a read, and loses against another's write.
    let body = json!({"documents": [name], "newTransaction": {"readWrite": {}}}).to_string();
    let answers = server.json(&post("batchGet"), &body).await;
    let id = answers[0]["transaction"].as_str().unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 2);
    server.json(&format!("PATCH {ROOT}/rooms/a"), r#"{"fields":{"n":{"integerValue":"8"}}}"#).await;
    let write = json!({"writes": [{"delete": name}], "transaction": id}).to_string();
    check(&server, "POST :commit", &write, expect![[r#"
        409
        {"error":{"code":409,"message":"Too much contention on these documents. Please try again.","status":"ABORTED"}}"#]]).await;
}

#[tokio::test]
async fn queries_answer_an_array_also_of_nothing() {
    let server = rooms().await;
    let query = r#"{"structuredQuery":{"from":[{"collectionId":"rooms"}],"orderBy":[{"field":{"fieldPath":"n"},"direction":"DESCENDING"}],"limit":2}}"#;
    check(&server, "POST :runQuery\nContent-Type: text/plain", query, expect![[r#"
        200
        [{"document":{"name":"projects/p/databases/(default)/documents/rooms/c","fields":{"n":{"integerValue":"3"},"s":{"stringValue":"rooms/c"}},"createTime":"2026-01-01T00:00:00.000002Z","updateTime":"2026-01-01T00:00:00.000002Z"},"readTime":"2026-01-01T00:00:00.000003Z"},
        {"document":{"name":"projects/p/databases/(default)/documents/rooms/b","fields":{"n":{"integerValue":"2"},"s":{"stringValue":"rooms/b"}},"createTime":"2026-01-01T00:00:00.000001Z","updateTime":"2026-01-01T00:00:00.000001Z"},"readTime":"2026-01-01T00:00:00.000003Z"}]"#]]).await;
    let none = r#"{"parent":"somewhere/else","structuredQuery":{"from":[{"collectionId":"halls"}]}}"#;
    check(
        &server,
        "POST :runQuery",
        none,
        expect![[r#"
        200
        [{"readTime":"2026-01-01T00:00:00.000003Z","done":true}]"#]],
    )
    .await;
    let below = json!({"from": [{"collectionId": "parts"}]});
    assert_eq!(found(&server, "/rooms/d", below).await, "rooms/d/parts/x=4");
    let explain =
        json!({"structuredQuery": {"from": [{"collectionId": "rooms"}]}, "explainOptions": {"analyze": false}});
    // A struct's fields come in any order.
    let plan = json!({"indexesUsed": [{"query_scope": "Collection", "properties": "(__name__ ASC)"}]});
    let explained = server.json(&format!("POST {ROOT}:runQuery"), &explain.to_string()).await;
    assert_eq!(explained, json!([{"explainMetrics": {"planSummary": plan}}]));
    check(
        &server,
        "POST :runQuery",
        "{}",
        expect![[r#"
            400
            [{"error":{"code":400,"message":"only structured queries are supported","status":"INVALID_ARGUMENT"}}]"#]],
    )
    .await;
    check(&server, "POST :runQuery", r#"{"structuredQuery":"#, expect![[r#"
        400
        [{"error":{"code":400,"message":"Invalid JSON payload received. EOF while parsing a value at line 1 column 19","status":"INVALID_ARGUMENT"}}]"#]]).await;
    check(&server, "POST /rooms:runQuery", query, expect![[r#"
        400
        [{"error":{"code":400,"message":"Document parent name \"projects/p/databases/(default)/documents/rooms\" lacks \"/\" at index 46.","status":"INVALID_ARGUMENT"}}]"#]]).await;
}

/// The same table as that of the native API and of gRPC; each row: filter, orders, what is found.
#[tokio::test]
async fn filters_orders_and_cursors_find_what_they_should() {
    let server = rooms().await;
    let n = json!({"fieldPath": "n"});
    let filter = |op: &str, value: Json| json!({"fieldFilter": {"field": n, "op": op, "value": value}});
    let int = |n: i32| json!({"integerValue": n.to_string()});
    let rooms = json!([{"collectionId": "rooms"}]);
    for (query, want) in [
        (json!({"from": rooms, "where": filter("EQUAL", json!({"doubleValue": 2.0}))}), "rooms/b=2"),
        (json!({"from": rooms, "where": filter("GREATER_THAN", int(1))}), "rooms/b=2 rooms/c=3"),
        (json!({"from": rooms, "where": filter("NOT_EQUAL", int(2))}), "rooms/a=1 rooms/c=3"),
        (
            json!({"from": rooms, "where": filter("IN", json!({"arrayValue": {"values": [int(3), int(1)]}}))}),
            "rooms/a=1 rooms/c=3",
        ),
        (
            json!({"from": rooms, "where": {"compositeFilter": {"op": "OR", "filters": [
                filter("EQUAL", int(1)), filter("EQUAL", int(3)),
            ]}}}),
            "rooms/a=1 rooms/c=3",
        ),
        (json!({"from": rooms, "where": {"unaryFilter": {"op": "IS_NULL", "field": n}}}), ""),
        (
            json!({"from": rooms, "orderBy": [{"field": n, "direction": "DESCENDING"}], "startAt": {"values": [int(2)], "before": true}}),
            "rooms/b=2 rooms/a=1",
        ),
        (json!({"from": rooms, "orderBy": [{"field": n}], "endAt": {"values": [int(2)], "before": true}}), "rooms/a=1"),
        (json!({"from": rooms, "offset": 1, "limit": 1}), "rooms/b=2"),
        (json!({"from": rooms, "select": {"fields": [{"fieldPath": "s"}]}}), "rooms/a rooms/b rooms/c"),
        (json!({"from": [{"collectionId": "parts", "allDescendants": true}]}), "rooms/d/parts/x=4"),
        (json!({"from": [{"allDescendants": true}]}), "rooms/a=1 rooms/b=2 rooms/c=3 rooms/d/parts/x=4"),
    ] {
        assert_eq!(found(&server, "", query.clone()).await, want, "{query}");
    }
}

#[tokio::test]
async fn a_large_result_is_one_array_in_many_pieces() {
    let server = Server::dev();
    let text = "x".repeat(1_000);
    for page in 0..4 {
        let writes: Vec<Json> = (0..100)
            .map(|n| {
                let name = format!("{}/rooms/{:03}", &ROOT["/v1/".len()..], page * 100 + n);
                json!({"update": {"name": name, "fields": {"text": {"stringValue": text}}}})
            })
            .collect();
        server.json(&format!("POST {ROOT}:commit"), &json!({ "writes": writes }).to_string()).await;
    }
    let query = json!({"structuredQuery": {"from": [{"collectionId": "rooms"}]}}).to_string();
    let answers = server.json(&format!("POST {ROOT}:runQuery"), &query).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 400);
    assert!(
        answers
            .iter()
            .enumerate()
            .all(|(n, answer)| { answer["document"]["name"].as_str().unwrap().ends_with(&format!("/{n:03}")) })
    );
    let sized = |response: &axum::response::Response| axum::body::HttpBody::size_hint(response.body()).exact();
    assert_eq!(sized(&server.ask(&format!("POST {ROOT}:runQuery"), query).await), None);
    let small = json!({"structuredQuery": {"from": [{"collectionId": "rooms"}], "limit": 3}}).to_string();
    assert!(sized(&server.ask(&format!("POST {ROOT}:runQuery"), small).await).is_some());
}

#[tokio::test]
async fn numbers_are_answered_without_their_documents() {
    let server = rooms().await;
    let body = json!({"structuredAggregationQuery": {
        "structuredQuery": {"from": [{"collectionId": "rooms"}]},
        "aggregations": [
            {"alias": "aggregate_0", "count": {}},
            {"alias": "aggregate_1", "sum": {"field": {"fieldPath": "n"}}},
            {"avg": {"field": {"fieldPath": "n"}}},
        ],
    }});
    check(&server, "POST :runAggregationQuery", &body.to_string(), expect![[r#"
        200
        [{"result":{"aggregateFields":{"aggregate_0":{"integerValue":"3"},"aggregate_1":{"integerValue":"6"},"field_1":{"doubleValue":2.0}}},"readTime":"2026-01-01T00:00:00.000003Z"}]"#]]).await;
    check(
        &server,
        "POST :runAggregationQuery",
        "{}",
        expect![[r#"
            400
            [{"error":{"code":400,"message":"Only structured aggregation queries are supported.","status":"INVALID_ARGUMENT"}}]"#]],
    )
    .await;
}

#[tokio::test]
async fn collections_and_parts_of_a_group_are_listed() {
    let server = rooms().await;
    check(
        &server,
        "POST :listCollectionIds",
        "",
        expect![[r#"
        200
        {"collectionIds":["rooms"]}"#]],
    )
    .await;
    check(
        &server,
        "POST /rooms/d:listCollectionIds",
        r#"{"pageSize":1}"#,
        expect![[r#"
        200
        {"collectionIds":["parts"]}"#]],
    )
    .await;
    let body = r#"{"structuredQuery":{"from":[{"collectionId":"rooms","allDescendants":true}],"orderBy":[{"field":{"fieldPath":"__name__"},"direction":"ASCENDING"}]},"partitionCount":"1"}"#;
    check(&server, "POST :partitionQuery", body, expect![[r#"
        200
        {"partitions":[{"values":[{"referenceValue":"projects/p/databases/(default)/documents/rooms/b"}],"before":true}]}"#]]).await;
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_form_of_its_method() {
    let server = Server::dev();
    check(
        &server,
        "POST :executePipeline",
        "{}",
        expect![[r#"
        501
        [{"error":{"code":501,"message":"Pipelines are not supported","status":"UNIMPLEMENTED"}}]"#]],
    )
    .await;
    check(&server, "POST :write", "{}", expect![[r#"
        501
        {"error":{"code":501,"message":"This method is a stream in both directions: use gRPC, or WebChannel in a browser","status":"UNIMPLEMENTED"}}"#]]).await;
    check(&server, "POST :listen", "{}", expect![[r#"
        501
        {"error":{"code":501,"message":"This method is a stream in both directions: use gRPC, or WebChannel in a browser","status":"UNIMPLEMENTED"}}"#]]).await;
    check(
        &server,
        "POST :nothing",
        "{}",
        expect![[r#"
        404
        {"error":{"code":404,"message":"No method of this service has this address","status":"NOT_FOUND"}}"#]],
    )
    .await;
    check(
        &server,
        "GET ",
        "",
        expect![[r#"
            200
            {}"#]],
    )
    .await;
    check(
        &server,
        "PUT /rooms/a",
        "{}",
        expect![[r#"
        404
        {"error":{"code":404,"message":"No method of this service has this address","status":"NOT_FOUND"}}"#]],
    )
    .await;
    check(
        &server,
        "GET /rooms/a%2Fb",
        "",
        expect![[r#"
        400
        {"error":{"code":400,"message":"An id in the address holds a slash","status":"INVALID_ARGUMENT"}}"#]],
    )
    .await;
    check(
        &server,
        "GET /rooms/",
        "",
        expect![[r#"
            400
            {"error":{"code":400,"message":"Document name \"projects/p/databases/(default)/documents/rooms/\" is invalid: Omit trailing \"/\".","status":"INVALID_ARGUMENT"}}"#]],
    )
    .await;
    check(&server, "GET /__rooms__/a", "", expect![[r#"
        400
        {"error":{"code":400,"message":"Collection id \"__rooms__\" is invalid because it is reserved.","status":"INVALID_ARGUMENT"}}"#]]).await;
    server.check("GET /v1/projects/p/databases/NO!/documents/a/b", "", expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid document name \"projects/p/databases/NO!/documents/a/b\": \"NO!\" is not the name of a project or database: use lower-case letters, digits, '-', '_', '.' and ':'","status":"INVALID_ARGUMENT"}}"#]]).await;
}

#[tokio::test]
async fn bodies_are_refused_with_what_is_wrong_in_them() {
    let server = Server::dev();
    check(&server, "PATCH /rooms/a", "[]", expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid JSON payload received. invalid type: sequence, expected struct google.firestore.v1.Document at line 1 column 2","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(&server, "PATCH /rooms/a", r#"{"fields":{"n":{"integerValue":"x"}}}"#, expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid JSON payload received. invalid value: string \"x\", expected an integer of 64 bits, as text or as a number at line 1 column 34","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(&server, "POST :commit", r#"{"writes":[{"update":7}]}"#, expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid JSON payload received. invalid type: integer `7`, expected struct google.firestore.v1.Document at line 1 column 22","status":"INVALID_ARGUMENT"}}"#]]).await;
    check(&server, "POST :runQuery", "not json", expect![[r#"
        400
        [{"error":{"code":400,"message":"Invalid JSON payload received. expected ident at line 1 column 2","status":"INVALID_ARGUMENT"}}]"#]]).await;
    check(
        &server,
        "PATCH /rooms/a\nContent-Encoding: gzip",
        "{}",
        expect![[r#"
        400
        {"error":{"code":400,"message":"Bodies are taken uncompressed only","status":"INVALID_ARGUMENT"}}"#]],
    )
    .await;
    let deep = format!(r#"{{"fields":{{"a":{}{}}}}}"#, r#"{"arrayValue":{"values":["#.repeat(200), "]}}".repeat(200));
    check(&server, "PATCH /rooms/a", &deep, expect![[r#"
        400
        {"error":{"code":400,"message":"Invalid JSON payload received. recursion limit exceeded at line 1 column 1065","status":"INVALID_ARGUMENT"}}"#]]).await;
    let limits = Limits { message_bytes_max: 100, ..Limits::default() };
    let small = Server::with(Mode::Dev, Access::Open, limits);
    check(&small, "PATCH /rooms/a", &"x".repeat(101), expect![[r#"
        400
        {"error":{"code":400,"message":"Request payload size exceeds the limit: 100 bytes.","status":"INVALID_ARGUMENT"}}"#]]).await;
}

#[tokio::test]
async fn who_asks_is_told_by_the_same_header_as_on_grpc() {
    let server = Server::serve();
    check(
        &server,
        "GET /rooms/a",
        "",
        expect![[r#"
        403
        {"error":{"code":403,"message":"Missing or insufficient permissions.","status":"PERMISSION_DENIED"}}"#]],
    )
    .await;
    check(
        &server,
        "POST :runQuery",
        r#"{"structuredQuery":{"from":[{"collectionId":"rooms"}]}}"#,
        expect![[r#"
        403
        [{"error":{"code":403,"message":"Missing or insufficient permissions.","status":"PERMISSION_DENIED"}}]"#]],
    )
    .await;
    check(
        &server,
        "GET /rooms/a\nAuthorization: Bearer old",
        "",
        expect![[r#"
        401
        {"error":{"code":401,"message":"expired","status":"UNAUTHENTICATED"}}"#]],
    )
    .await;
    check(
        &server,
        "GET /rooms/a\nAuthorization: Basic eDp5",
        "",
        expect![[r#"
        401
        {"error":{"code":401,"message":"only the scheme Bearer is understood","status":"UNAUTHENTICATED"}}"#]],
    )
    .await;
    check(&server, "GET /rooms/a\nAuthorization: Bearer ada", "", expect![[r#"
        404
        {"error":{"code":404,"message":"Document \"projects/p/databases/(default)/documents/rooms/a\" not found.","status":"NOT_FOUND"}}"#]]).await;
    check(
        &server,
        "PATCH /rooms/a\nAuthorization: Bearer ada",
        "{}",
        expect![[r#"
        403
        {"error":{"code":403,"message":"Missing or insufficient permissions.","status":"PERMISSION_DENIED"}}"#]],
    )
    .await;
    assert!(server.text(&format!("PATCH {ROOT}/rooms/a\nAuthorization: Bearer owner"), "{}").await.starts_with("200"));
}

#[tokio::test]
async fn pages_of_any_origin_may_read_every_answer() {
    let server = Server::dev();
    let shown = async |request: &str| {
        let response = server.ask(request, "{}").await;
        let mut lines = vec![response.status().as_u16().to_string()];
        for (name, value) in response.headers() {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        lines.join("\n")
    };
    let preflight = format!(
        "OPTIONS {ROOT}:commit\nOrigin: https://app.example\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization,x-goog-api-client"
    );
    expect![[r#"
        204
        access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE
        access-control-allow-headers: authorization,x-goog-api-client
        access-control-max-age: 3600
        vary: access-control-request-headers
        vary: origin
        access-control-allow-origin: https://app.example
        access-control-allow-credentials: true
        content-length: 0"#]]
    .assert_eq(&shown(&preflight).await);
    expect![[r#"
        404
        content-type: application/json; charset=UTF-8
        cache-control: no-store
        x-content-type-options: nosniff
        vary: origin
        access-control-allow-origin: https://app.example
        access-control-allow-credentials: true
        content-length: 129"#]]
    .assert_eq(&shown(&format!("GET {ROOT}/rooms/zz\nOrigin: https://app.example")).await);
    expect![[r#"
        200
        content-type: application/json; charset=UTF-8
        cache-control: no-store
        x-content-type-options: nosniff
        vary: origin
        content-length: 44"#]]
    .assert_eq(&shown(&format!("POST {ROOT}:commit")).await);
    let put = "OPTIONS /emulator/v1/projects/p:securityRules\nOrigin: https://app.example";
    assert_eq!(server.ask(put, "").await.status(), StatusCode::NO_CONTENT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_path_a_query_or_a_body_make_the_door_panic(
        requests in prop::collection::vec((
            "GET|POST|PATCH|DELETE|PUT|OPTIONS|HEAD|FOO",
            "(/v1/projects/p/databases/\\(default\\)/documents|/emulator/v1/projects/p|/v1/)(/|:|%[0-9a-fF]{0,2}|rooms|a|commit|batchGet|runQuery|listCollectionIds|securityRules|documents){0,8}",
            "([?&=.%+]|mask|fieldPaths|transaction|pageToken|currentDocument|exists|true|[0-9A-Za-z]){0,8}",
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "([{}\\[\\],:]|\"[a-z]*\"|\"fields\":|\"structuredQuery\":|\"writes\":|\"documents\":|null|1|-0|\"from\":){0,20}".prop_map(String::into_bytes),
            ],
        ), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::dev();
            for (method, path, query, body) in requests {
                let address = format!("{path}?{query}");
                if address.parse::<axum::http::Uri>().is_ok() {
                    let response = server.ask(&format!("{method} {address}"), body).await;
                    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                }
            }
        });
    }
}
