//! Hosts and origins in dev: a page elsewhere can neither read nor write, nor can a foreign name that points here.

use hearth_tests::{Launch, Server, Socket};
use serde_json::json;

use crate::common::{dev, problem, put};

/// The same documents through Firestore's REST.
const FIRESTORE: &str = "/v1/projects/demo/databases/(default)/documents";

/// Every way in, as a page on this host or origin would try it.
fn try_all(server: &Server, name: &str, value: &str) {
    let asks = [
        server.get("/db/m/secret"),
        server.get("/db/m").header("Accept", "text/event-stream"),
        server.get("/db/m").header("Accept", "text/html"),
        server.get("/feed"),
        server.get("/metrics"),
        server.put("/db/m/planted", &json!({})),
        server.patch("/db/m/secret", &json!({"text": "changed"})),
        server.delete("/db/m/secret"),
        server.post("/db", &json!({"writes": [{"delete": "m/secret"}]})),
        server.post("/db/m", &json!({})),
        server.ask("POST", "/db/m").header("Content-Type", "text/plain").body("{}"),
        server.post("/links", &json!([{"id": 1, "op": "commit", "writes": [{"delete": "m/secret"}]}])),
        server.post("/tickets", &json!({"for": "/db/m"})),
    ];
    for ask in asks {
        let answer = ask.header(name, value).send();
        problem(&answer, 403, "permission-denied");
        assert!(!answer.text().contains("hidden"), "{answer:?}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{answer:?}");
    }
    // Firestore's door itself answers pages of any origin: what stands before it must not let them in.
    let firestore = [
        server.get(&format!("{FIRESTORE}/m/secret")),
        server
            .ask("POST", &format!("{FIRESTORE}:runQuery"))
            .body(r#"{"structuredQuery":{"from":[{"collectionId":"m"}]}}"#),
        server.ask("POST", &format!("{FIRESTORE}/m")).header("Content-Type", "text/plain").body("{}"),
        server.delete(&format!("{FIRESTORE}/m/secret")),
        server.ask("POST", "/google.firestore.v1.Firestore/Listen/channel?VER=8&RID=1&CVER=22&t=1").body("count=0"),
        server.delete("/emulator/v1/projects/demo/databases/(default)/documents"),
    ];
    for ask in firestore {
        let answer = ask.header(name, value).send().expect_status(403);
        assert!(!answer.text().contains("hidden"), "{answer:?}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{answer:?}");
    }
    let refused = Socket::try_open(server.address(), "/db", &[(name, value)]).err().map(|answer| answer.status);
    assert_eq!(refused, Some(403));
}

#[test]
fn a_foreign_page_or_name_can_neither_read_nor_write() {
    let server = dev();
    let doc = put(&server, "m/secret", json!({"text": "hidden"}));
    for (name, value) in [
        ("Host", "evil.example"),
        ("Host", "127.0.0.1.evil.example:8080"),
        ("Origin", "https://evil.example"),
        ("Origin", "http://localhost.evil.example"),
        ("Origin", "null"),
    ] {
        try_all(&server, name, value);
    }
    assert_eq!(server.get("/db/m").send().json()["docs"], json!([doc]));
    // The addresses are right: from this machine they reach the document.
    let same = server.get(&format!("{FIRESTORE}/m/secret")).send().expect_status(200).json();
    assert_eq!(same["fields"]["text"]["stringValue"], "hidden");
}

#[test]
fn a_page_of_this_machine_is_answered_and_may_read_the_headers() {
    let server = dev();
    put(&server, "m/a", json!({}));
    for origin in ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:1"] {
        let answer = server.get("/db/m/a").header("Origin", origin).send().expect_status(200);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(origin));
        let exposed = answer.header("Access-Control-Expose-Headers").unwrap_or_default().to_ascii_lowercase();
        for name in ["etag", "location", "link", "preference-applied", "retry-after", "x-request-id"] {
            assert!(exposed.contains(name), "{name} is not exposed: {exposed}");
        }
        let missing = server.get("/db/m/none").header("Origin", origin).send();
        assert_eq!((missing.status, missing.header("Access-Control-Allow-Origin")), (404, Some(origin)));
        let preflight = server
            .ask("OPTIONS", "/db/m/a")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PATCH")
            .header("Access-Control-Request-Headers", "authorization, if-match, idempotency-key, prefer, content-type")
            .send();
        assert!(matches!(preflight.status, 200 | 204), "{preflight:?}");
        let methods = preflight.header("Access-Control-Allow-Methods").unwrap_or_default();
        assert!(methods.contains("PATCH") && methods.contains("DELETE"), "{methods}");
        let headers = preflight.header("Access-Control-Allow-Headers").unwrap_or_default().to_ascii_lowercase();
        for name in ["authorization", "if-match", "if-none-match", "idempotency-key", "prefer", "content-type"] {
            assert!(headers.contains(name), "{name} is not allowed: {headers}");
        }
        assert_eq!(preflight.header("Access-Control-Allow-Credentials"), None);
    }
    Socket::open(server.address(), "/db", &[("Origin", "http://localhost:3000")]);
}

#[test]
fn an_origin_that_was_named_is_answered() {
    let server = Launch::dev().ephemeral().args(&["--allow-origin", "https://app.example"]).start();
    let answer = server.get("/db/m").header("Origin", "https://app.example").send().expect_status(200);
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://app.example"));
    try_all(&server, "Origin", "https://other.example");
}
