//! Requests as browsers send them, before an engine in memory.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use hearth_auth::{Mode, TokenError};
use hearth_engine::{Access, Backing, Engine, ManualClock, Options, Projects, SignedIn};
use tower::ServiceExt as _;

use super::*;
use crate::service::Authenticate;

const DATABASE: &str = "projects/p/databases/(default)";

/// Everybody is nobody, but whoever shows `owner`, and `old` has expired.
struct Names;

impl Authenticate for Names {
    fn caller(&self, _: Mode, credential: Option<&str>, _: u64) -> Result<Caller, TokenError> {
        match credential {
            None => Ok(Caller::Anonymous),
            Some("owner") => Ok(Caller::Admin),
            Some("old") => Err(TokenError::Expired),
            Some(_) => Err(TokenError::Malformed),
        }
    }
}

struct Page {
    router: Router,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn of(access: Access) -> Self {
        let limits = hearth_engine::Limits { message_bytes_max: 1_000, ..Default::default() };
        let options = Options { limits, access, projects: Projects::Any, default_project: None };
        let clock = ManualClock::at(1_767_225_600_000_000);
        let (engine, _) = Engine::start(Backing::Memory, options, Arc::new(clock)).unwrap();
        Self { router: routes(Door::new(engine, Arc::new(Names), Mode::Dev, crate::Bounds::Relaxed)) }
    }

    fn open() -> Self {
        Self::of(Access::Open)
    }

    async fn ask(&self, method: Method, address: &str, body: &str) -> Got {
        let request = Request::builder()
            .method(method)
            .uri(format!("/google.firestore.v1.Firestore/{address}"))
            .header("origin", "https://app.example")
            .header("access-control-request-headers", "x-a, x-b")
            .header("access-control-request-private-network", "true")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Got { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Opens a session and returns its id.
    async fn session(&self, kind: &str, headers: &str, messages: &[serde_json::Value]) -> String {
        let mut body = format!("headers={}&ofs=0&count={}", encoded(headers), messages.len());
        for (n, message) in messages.iter().enumerate() {
            write!(body, "&req{n}___data__={}", encoded(&message.to_string())).unwrap();
        }
        let address =
            format!("{kind}/channel?VER=8&database={}&RID=7&CVER=22&X-HTTP-Session-Id=gsessionid", encoded(DATABASE));
        let got = self.ask(Method::POST, &address, &body).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.text);
        let sid = got.headers["x-http-session-id"].to_str().unwrap().to_owned();
        assert!(got.text.contains(&format!(r#"[[0,["c","{sid}","",8,"#)), "{}", got.text);
        sid
    }

    /// Polls until something is said that holds `last`, and returns all messages, without what differs from run to run.
    async fn poll(&self, kind: &str, sid: &str, ack: &mut u64, last: &str) -> String {
        let mut told = String::new();
        while !told.contains(last) {
            let address =
                format!("{kind}/channel?VER=8&SID={sid}&gsessionid={sid}&RID=rpc&AID={ack}&CI=1&TYPE=xmlhttp");
            let got = self.ask(Method::GET, &address, "").await;
            assert_eq!(got.status, StatusCode::OK, "{}", got.text);
            let (length, json) = got.text.split_once('\n').unwrap();
            assert_eq!(length.parse(), Ok(json.encode_utf16().count()));
            let arrays: Vec<(u64, serde_json::Value)> = serde_json::from_str(json).unwrap();
            for (id, mut payload) in arrays {
                *ack += 1;
                assert_eq!(id, *ack);
                blank(&mut payload);
                writeln!(told, "{payload}").unwrap();
            }
        }
        told
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Tokens and stream ids are opaque.
fn blank(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "resumeToken" | "streamToken" | "streamId" => *value = "…".into(),
                    _ => blank(value),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(blank),
        _ => {}
    }
}

fn room() -> serde_json::Value {
    let parent = format!("{DATABASE}/documents");
    let query = serde_json::json!({ "structuredQuery": { "from": [{ "collectionId": "rooms" }] }, "parent": parent });
    serde_json::json!({ "database": DATABASE, "addTarget": { "query": query, "targetId": 2 } })
}

fn check(told: &str, want: Expect) {
    want.assert_eq(told);
}

#[tokio::test]
async fn a_page_listens_and_writes() {
    let page = Page::open();
    let (mut listened, mut written) = (0, 0);
    let listen = page.session("Listen", "", &[room()]).await;
    let told = page.poll("Listen", &listen, &mut listened, r#""readTime""#).await;
    assert!(told.contains(r#"{"targetChangeType":"ADD","targetIds":[2]}"#), "{told}");

    let name = format!("{DATABASE}/documents/rooms/a");
    let update = serde_json::json!({
        "streamToken": "", "writes": [{ "update": { "name": name, "fields": { "é": { "stringValue": "😀" } } } }],
    });
    let write = page.session("Write", "", &[serde_json::json!({ "database": DATABASE }), update]).await;
    let told = page.poll("Write", &write, &mut written, "commitTime").await;
    check(
        &told,
        expect![[r#"
        [{"streamId":"…","streamToken":"…"}]
        [{"commitTime":"2026-01-01T00:00:00.000001Z","streamToken":"…","writeResults":[{"updateTime":"2026-01-01T00:00:00.000001Z"}]}]
    "#]],
    );
    let told = page.poll("Listen", &listen, &mut listened, "\"fields\"").await;
    assert!(told.contains(r#""fields":{"é":{"stringValue":"😀"}}"#), "{told}");
}

#[tokio::test]
async fn a_failed_write_is_an_error_in_the_session() {
    let page = Page::open();
    let name = format!("{DATABASE}/documents/rooms/none");
    let update =
        serde_json::json!({ "writes": [{ "update": { "name": name }, "currentDocument": { "exists": true } }] });
    let write = page.session("Write", "", &[serde_json::json!({ "database": DATABASE }), update.clone(), update]).await;
    let told = page.poll("Write", &write, &mut 0, "error").await;
    check(
        &told,
        expect![[r#"
        [{"streamId":"…","streamToken":"…"}]
        [{"error":{"code":404,"message":"No document to update: projects/p/databases/(default)/documents/rooms/none","status":"NOT_FOUND"}}]
    "#]],
    );
}

#[tokio::test]
async fn who_asks_is_said_in_the_body_and_refused_in_the_session() {
    let page = Page::of(Access::Closed { signed_in: SignedIn::Nothing });
    let expired = page.session("Listen", "Authorization:Bearer old\r\n", &[room()]).await;
    let told = page.poll("Listen", &expired, &mut 0, "error").await;
    assert!(told.contains("UNAUTHENTICATED"), "{told}");

    let anonymous = page.session("Listen", "X-Goog-Api-Client:gl-js/\r\n", &[room()]).await;
    let told = page.poll("Listen", &anonymous, &mut 0, "REMOVE").await;
    assert!(told.contains(r#""code":7"#), "{told}");

    let owner = page.session("Listen", "authorization:Bearer owner\r\n", &[room()]).await;
    page.poll("Listen", &owner, &mut 0, "CURRENT").await;
}

#[tokio::test]
async fn a_session_ends_by_beacon_and_is_unknown_then() {
    let page = Page::open();
    let sid = page.session("Listen", "", &[]).await;
    let address = format!("Listen/channel?VER=8&SID={sid}&gsessionid={sid}&RID=9");
    let ended = page.ask(Method::POST, &format!("{address}&TYPE=terminate"), "").await;
    assert_eq!((ended.status, ended.text.as_str()), (StatusCode::OK, ""));
    let unknown = page.ask(Method::POST, &address, "count=0").await;
    assert_eq!((unknown.status, unknown.text.as_str()), (StatusCode::BAD_REQUEST, "Error: Unknown SID"));
    assert_eq!(unknown.headers["access-control-allow-origin"], "https://app.example");
}

#[tokio::test]
async fn every_answer_names_the_origin_and_what_a_page_may_read() {
    let page = Page::open();
    let open = format!("Listen/channel?VER=8&database={}&RID=7", encoded(DATABASE));
    for (method, address, body, status) in [
        (Method::POST, open.as_str(), "count=0", 200),
        (Method::POST, open.as_str(), "count=9", 400),
        (Method::POST, open.as_str(), &"x".repeat(3_001), 413),
        (Method::POST, "Write/channel?SID=none&RID=1", "count=0", 400),
        (Method::GET, "Write/channel?SID=none&RID=rpc&TYPE=xmlhttp", "", 400),
        (Method::GET, "Write/channel", "", 400),
        (Method::PUT, "Write/channel", "", 405),
        (Method::OPTIONS, "Write/channel", "", 204),
    ] {
        let got = page.ask(method.clone(), address, body).await;
        assert_eq!(got.status.as_u16(), status, "{method} {address}: {}", got.text);
        assert_eq!(got.headers["access-control-allow-origin"], "https://app.example");
        assert_eq!(got.headers["access-control-allow-credentials"], "true");
        assert_eq!(got.headers["access-control-expose-headers"], EXPOSED);
        assert_eq!(got.headers["vary"], "Origin");
        if method == Method::OPTIONS {
            assert_eq!(got.headers["access-control-allow-headers"], "x-a, x-b");
            assert_eq!(got.headers["access-control-allow-private-network"], "true");
        } else {
            assert_eq!(got.headers["content-type"], "text/plain; charset=utf-8");
            assert_eq!(got.headers["x-content-type-options"], "nosniff");
            assert_eq!(got.headers["cache-control"], "no-cache, no-store");
        }
    }
}
