//! `hearth serve`: closed until someone may, and only for as long.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hearth_native::routes;
use hearth_tests::{Launch, Server, Socket, SocketEnd, Sse};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{event, problem};
use crate::sse::ticket;

/// Keys of these tests, worth nothing elsewhere.
const ADMIN_KEY: &str = "test-only-admin-key-0123456789abcdef";
const SECRET: &str = "a secret of the tests, worth nothing elsewhere";

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

struct Es256 {
    private: Vec<u8>,
    public_pem: String,
}

fn es256() -> &'static Es256 {
    static KEYS: OnceLock<Es256> = OnceLock::new();
    KEYS.get_or_init(|| {
        let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref()).unwrap();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let public_pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(public.as_ref()));
        Es256 { private: private.as_ref().to_vec(), public_pem }
    })
}

/// What a token says unless a test changes it.
fn claims(issuer: &str, lifetime_seconds: i64) -> Value {
    let now = now_seconds();
    json!({"iss": issuer, "aud": "app", "sub": "ada", "iat": now, "exp": now.saturating_add_signed(lifetime_seconds)})
}

fn hs256(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn es256_token(claims: &Value) -> String {
    encode(&Header::new(Algorithm::ES256), claims, &EncodingKey::from_ec_der(&es256().private)).unwrap()
}

fn user() -> String {
    hs256(&claims("https://one.example", 3_600))
}

/// A server with two issuers, and what `[access]` says.
struct Closed {
    server: Server,
    _folder: TempDir,
}

impl std::ops::Deref for Closed {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

#[track_caller]
fn serve(access: &str) -> Closed {
    let folder = TempDir::with_prefix("hearth-serve-").unwrap();
    let config = write_config(&folder, access, 0);
    let launch = Launch::serve().args(&["--config", config.to_str().unwrap()]).env("HEARTH_ADMIN_KEY", ADMIN_KEY);
    Closed { server: launch.data(&folder.path().join("data")).start(), _folder: folder }
}

fn write_config(folder: &TempDir, access: &str, leeway_seconds: u64) -> PathBuf {
    let path = |name: &str| folder.path().join(name);
    fs::write(path("secret"), SECRET).unwrap();
    fs::write(path("public.pem"), &es256().public_pem).unwrap();
    let text = format!(
        r#"project = "demo"
        {access}
        [[issuers]]
        issuer = "https://one.example"
        audience = "app"
        algorithm = "HS256"
        leeway_seconds = {leeway_seconds}
        key = {{ secret_file = "secret" }}
        [[issuers]]
        issuer = "https://two.example"
        audience = ["app", "other"]
        algorithm = "ES256"
        leeway_seconds = {leeway_seconds}
        key = {{ pem_file = "public.pem" }}
        "#
    );
    fs::write(path("hearth.toml"), text).unwrap();
    path("hearth.toml")
}

const READ: &str = "[access]\nsigned_in = \"read\"";
const WRITE: &str = "[access]\nsigned_in = \"write\"";

#[test]
fn a_fresh_directory_is_closed_to_everyone_without_the_admin_key() {
    let server = Launch::serve().env("HEARTH_ADMIN_KEY", ADMIN_KEY).start();
    let mut walked = 0;
    for route in routes() {
        for method in route.methods {
            let ask = server.ask(method, route.example).json(&json!({}));
            let answers = [
                ask.send(),
                ask.clone().header("Accept", "text/event-stream").send(),
                ask.clone().header("Accept", "text/html").send(),
            ];
            for answer in answers {
                let (at, status) = (format!("{method} {}", route.example), answer.status);
                if matches!(route.pattern, "/" | "/health") {
                    assert!(route.open && status == 200, "{at}: {answer:?}");
                } else {
                    assert!(matches!(status, 401 | 403), "{at}: {answer:?}");
                    assert!(status == 403 || answer.header("WWW-Authenticate").is_some(), "{at}: {answer:?}");
                }
                walked += 1;
            }
            let of_firebase = crate::socket::of_firebase("ada");
            for token in ["owner", "wrong", &format!("{ADMIN_KEY}x"), &of_firebase] {
                let answer = ask.clone().bearer(token).send();
                assert!(route.open || matches!(answer.status, 401 | 403), "{method} {}: {answer:?}", route.example);
            }
        }
    }
    assert!(walked > 50, "the route table is short: {walked}");
    let refused = Socket::try_open(server.address(), "/db", &[("Authorization", "Bearer owner")]).err();
    assert!(refused.is_none_or(|answer| answer.status == 401));
    let (stdout, stderr) = server.output();
    assert!(!stdout.contains(ADMIN_KEY) && !stderr.contains(ADMIN_KEY), "the admin key stands in the log");
}

#[test]
fn nobody_signed_in_is_told_nothing_over_a_socket() {
    let server = serve("");
    server.put("/db/m/a", &json!({})).bearer(ADMIN_KEY).send().expect_status(201);
    // A browser cannot send a header with it, so it opens; until it says who speaks it is nobody.
    let Ok(mut socket) = Socket::try_open(server.address(), "/db", &[]) else { return };
    for (id, message) in [
        (1, json!({"id": 1, "op": "listen", "path": "m"})),
        (2, json!({"id": 2, "op": "get", "path": "m/a"})),
        (3, json!({"id": 3, "op": "commit", "writes": [{"delete": "m/a"}]})),
        (4, json!({"id": 4, "op": "listen", "path": "m/none"})),
    ] {
        let told = socket.ask(&message);
        assert_eq!(
            (&told["ev"], &told["problem"]["code"]),
            (&json!("problem"), &json!("unauthenticated")),
            "{id}: {told}"
        );
    }
    server.get("/db/m/a").bearer(ADMIN_KEY).send().expect_status(200);
}

#[test]
fn the_admin_key_may_everything() {
    let server = serve("");
    let ask = |method: &str, target: &str| server.ask(method, target).bearer(ADMIN_KEY);
    ask("PUT", "/db/m/a").json(&json!({"n": 1})).send().expect_status(201);
    ask("GET", "/db/m").send().expect_status(200);
    ask("GET", "/metrics").send().expect_status(200);
    ask("GET", "/feed").send().expect_status(200);
    let mut sse = Sse::open(ask("GET", "/db/m"));
    assert_eq!(event(&mut sse)["size"], 1);
    // Known projects only.
    problem(&ask("GET", "/p/unknown/db/m").send(), 404, "not-found");
    assert_eq!(ask("GET", "/db").send().expect_status(200).json()["project"], "demo");
}

#[test]
fn who_is_signed_in_may_what_the_access_setting_says() {
    for (access, read, write) in [("", 403, 403), (READ, 200, 403), (WRITE, 200, 201)] {
        let server = serve(access);
        server.put("/db/m/a", &json!({"n": 1})).bearer(ADMIN_KEY).send().expect_status(201);
        for token in [user(), es256_token(&claims("https://two.example", 3_600))] {
            assert_eq!(server.get("/db/m/a").bearer(&token).send().status, read, "{access}");
            assert_eq!(server.post("/db/m", &json!({})).bearer(&token).send().status, write, "{access}");
            for admin_only in ["/feed", "/metrics"] {
                assert_eq!(server.get(admin_only).bearer(&token).send().status, 403, "{access} {admin_only}");
            }
        }
        assert_eq!(server.get("/db/m/a").send().status, 401, "{access}");
        // A document that the caller may not read and one that is not there look the same.
        if read == 403 {
            let told = |path: &str| {
                let mut told = problem(&server.get(path).bearer(&user()).send(), 403, "permission-denied");
                told.as_object_mut().unwrap().remove("request");
                told.to_string().replace(path, "")
            };
            assert_eq!(told("/db/m/a"), told("/db/m/b"));
        }
    }
}

#[test]
fn forged_and_outdated_tokens_are_refused_and_told_why() {
    let server = serve(READ);
    let good = claims("https://one.example", 3_600);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        hs256(&claims)
    };
    let now = now_seconds();
    let flipped = {
        let token = user();
        let (head, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[3] ^= 1;
        format!("{head}.{}", base64url(&bytes))
    };
    let confused = encode(
        &Header::new(Algorithm::HS256),
        &claims("https://two.example", 3_600),
        &EncodingKey::from_secret(es256().public_pem.as_bytes()),
    )
    .unwrap();
    let forged = [
        ("expired", hs256(&with("exp", json!(now - 10))), "expired"),
        ("signature", flipped, "signature"),
        (
            "another secret",
            encode(
                &Header::new(Algorithm::HS256),
                &good,
                &EncodingKey::from_secret(b"another secret of some length !!"),
            )
            .unwrap(),
            "signature",
        ),
        ("public key as secret", confused, ""),
        ("unsigned", crate::socket::unsigned("ada"), ""),
        ("unknown issuer", hs256(&with("iss", json!("https://three.example"))), ""),
        ("audience", hs256(&with("aud", json!("elsewhere"))), "audience"),
        ("not yet", hs256(&with("nbf", json!(now + 600))), ""),
        ("from the future", hs256(&with("iat", json!(now + 600))), ""),
        ("empty subject", hs256(&with("sub", json!(""))), ""),
        ("no audience", without("aud"), ""),
        ("no issuer", without("iss"), ""),
        ("no expiry", without("exp"), ""),
        ("no subject", without("sub"), ""),
        ("garbage", "a.b.c".into(), ""),
        ("owner", "owner".into(), ""),
    ];
    server.get("/db/m").bearer(&user()).send().expect_status(200);
    for (name, token, why) in &forged {
        let answer = server.get("/db/m").bearer(token).send();
        assert_eq!(answer.status, 401, "{name}");
        let told = problem(&answer, 401, "unauthenticated");
        let detail = told["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why) && !detail.contains(token.as_str()), "{name}: {detail}");
        assert!(answer.header("WWW-Authenticate").is_some_and(|text| text.starts_with("Bearer")), "{name}");
        let socket = Socket::try_open(server.address(), "/db", &[("Authorization", &format!("Bearer {token}"))]);
        assert_eq!(socket.err().map(|answer| answer.status), Some(401), "{name}");
        let mut socket = server_socket(&server);
        let told = socket.ask(&json!({"id": 1, "op": "auth", "token": token}));
        assert_eq!(told["problem"]["code"], "unauthenticated", "{name}: {told}");
        assert_eq!(server.post("/links", &json!([])).bearer(token).send().status, 401, "{name}");
        assert_eq!(server.post("/tickets", &json!({"for": "/db/m"})).bearer(token).send().status, 401, "{name}");
    }
    let (stdout, stderr) = server.output();
    for (name, token, _) in forged.iter().filter(|(_, token, _)| token.len() > 20) {
        assert!(!stdout.contains(token.as_str()) && !stderr.contains(token.as_str()), "{name} stands in the log");
    }
}

#[track_caller]
fn server_socket(server: &Server) -> Socket {
    Socket::open(server.address(), "/db", &[])
}

#[test]
fn the_feed_over_a_websocket_is_for_those_who_administer() {
    let server = serve(WRITE);
    let open = |headers: &[(&str, &str)]| Socket::try_open(server.address(), "/feed", headers);
    let offering = |token: &str| format!("hearth.v1, bearer.{}", base64url(token.as_bytes()));
    let refused = |headers: &[(&str, &str)]| open(headers).err().map(|answer| answer.status);
    assert_eq!(refused(&[]), Some(401));
    assert_eq!(refused(&[("Authorization", &format!("Bearer {}", user()))]), Some(403));
    let admin = format!("Bearer {ADMIN_KEY}");
    assert_eq!(refused(&[("Authorization", &admin), ("Origin", "https://any.example")]), Some(403));
    // A page is told on the socket, since of a refused upgrade it learns nothing.
    for (token, code, end) in [(user(), "permission-denied", 1008), ("forged".into(), "unauthenticated", 4401)] {
        let mut socket = open(&[("Sec-WebSocket-Protocol", &offering(&token))]).unwrap_or_else(|_| panic!("{code}"));
        let problem = socket.next_message();
        assert_eq!((&problem["ev"], &problem["problem"]["code"]), (&json!("problem"), &json!(code)), "{problem}");
        assert!(matches!(socket.expect_end(), SocketEnd::Closed(told, _) if told == end), "{code}");
    }
    // Nor does it learn which projects there are.
    let headers = [("Sec-WebSocket-Protocol", &*offering("forged"))];
    let mut socket = Socket::open(server.address(), "/p/unknown/feed", &headers);
    assert_eq!(socket.next_message()["problem"]["code"], "unauthenticated");
    let by_header = open(&[("Authorization", &admin)]);
    let by_protocol = open(&[("Sec-WebSocket-Protocol", &offering(ADMIN_KEY))]);
    let sockets = [by_header, by_protocol].map(|socket| socket.unwrap_or_else(|answer| panic!("{answer:?}")));
    server.put("/db/m/a", &json!({})).bearer(ADMIN_KEY).send().expect_status(201);
    for mut socket in sockets {
        let told = socket.next_where(|message| message["ev"] == "commit");
        assert_eq!(told["changes"][0]["doc"]["path"], "m/a");
    }
}

#[test]
fn only_those_who_administer_delete_with_everything_beneath() {
    let server = serve(WRITE);
    server.put("/db/m/missing/in/a", &json!({})).bearer(ADMIN_KEY).send().expect_status(201);
    for at in ["/db/m?recursive", "/db/m/missing?recursive"] {
        problem(&server.delete(at).bearer(&user()).send(), 403, "permission-denied");
        problem(&server.delete(at).send(), 401, "unauthenticated");
    }
    assert_eq!(server.delete("/db/m").bearer(ADMIN_KEY).send().status, 405);
    let deleted = server.delete("/db/m?recursive").bearer(ADMIN_KEY).send().expect_status(200).json();
    assert_eq!(deleted["deleted"], 1);
}

#[test]
fn a_stream_ends_with_its_token() {
    let server = serve(READ);
    let token = hs256(&claims("https://one.example", 3));
    let mut sse = Sse::open(server.get("/db/m").bearer(&token));
    event(&mut sse);
    let mut socket = server_socket(&server);
    let authed = socket.ask(&json!({"id": 1, "op": "auth", "token": token}));
    assert_eq!((&authed["ev"], &authed["uid"]), (&json!("authed"), &json!("ada")));
    assert!(authed["expires"].is_u64(), "{authed}");
    assert_eq!(socket.ask(&json!({"id": 2, "op": "listen", "path": "m"}))["ev"], "snapshot");
    // One that brings a fresh token in time goes on.
    let mut renewed = server_socket(&server);
    renewed.ask(&json!({"id": 1, "op": "auth", "token": token}));
    renewed.ask(&json!({"id": 2, "op": "listen", "path": "m"}));
    renewed.ask(&json!({"id": 3, "op": "auth", "token": user()}));
    let ticket = ticket(&server, "/db/m", Some(&token));
    let url = format!("/db/m?ticket={}", ticket["ticket"].as_str().unwrap());
    let mut by_ticket = server.sse(&url);
    event(&mut by_ticket);

    for stream in [&mut sse, &mut by_ticket] {
        let last = stream.expect_end();
        let last = last.last().expect("it says why it ends");
        assert_eq!((last.event.as_str(), &last.json()["code"]), ("problem", &json!("unauthenticated")));
    }
    assert!(matches!(socket.expect_end(), SocketEnd::Closed(4401, _)));
    let late = Sse::try_open(server.get(&url)).err().expect("the ticket has ended too");
    problem(&late, 401, "unauthenticated");
    server.put("/db/m/a", &json!({})).bearer(ADMIN_KEY).send().expect_status(201);
    assert_eq!(renewed.next_for(2)["size"], 1);
    assert_eq!(server.get("/db/m").bearer(&token).send().status, 401);
}

#[test]
fn a_token_near_its_end_is_warned_of() {
    let server = serve(READ);
    let mut socket = server_socket(&server);
    socket.ask(&json!({"id": 1, "op": "auth", "token": hs256(&claims("https://one.example", 200))}));
    let warning = socket.next_where(|message| message["ev"] == "expiring");
    assert_eq!(warning["id"], 0);
    assert!(warning["expires"].as_u64().is_some_and(|at| at > now_seconds() && at <= now_seconds() + 200), "{warning}");
}

#[test]
fn a_link_and_a_socket_speak_for_one_user() {
    let server = serve(READ);
    let link = server.post("/links", &json!([{"id": 1, "op": "listen", "path": "m"}])).header("Prefer", "wait=0");
    let link = link.bearer(&user()).send().expect_status(201).json()["link"].as_str().unwrap().to_owned();
    let poll = |token: Option<&str>| {
        let ask = server.post(&format!("/links/{link}"), &json!({"ack": 0})).header("Prefer", "wait=20");
        token.map_or(ask.clone(), |token| ask.bearer(token)).send()
    };
    let mut other = claims("https://one.example", 3_600);
    other["sub"] = json!("eve");
    problem(&poll(Some(&hs256(&other))), 404, "not-found");
    let anonymous = poll(None);
    assert!(matches!(anonymous.status, 401 | 404), "{anonymous:?}");
    // A newer token of the same user is fine.
    let newer = hs256(&claims("https://one.example", 7_200));
    assert_eq!(poll(Some(&newer)).expect_status(200).json()["frames"][0]["ev"], "snapshot");
}

#[test]
fn any_origin_may_call_unless_some_are_named() {
    let server = serve(READ);
    let answer = server.get("/db/m").bearer(&user()).header("Origin", "https://any.example").send().expect_status(200);
    assert!(
        answer
            .header("Access-Control-Allow-Origin")
            .is_some_and(|origin| ["https://any.example", "*"].contains(&origin))
    );
    let preflight = server
        .ask("OPTIONS", "/db/m")
        .header("Origin", "https://any.example")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization")
        .send();
    assert!(matches!(preflight.status, 200 | 204), "{preflight:?}");
    // Admin addresses are for their own origin only.
    for admin in ["/metrics", "/feed"] {
        let answer = server.get(admin).bearer(ADMIN_KEY).header("Origin", "https://any.example").send();
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{admin}");
    }
    let narrow = serve("[access]\nsigned_in = \"read\"\n[cors]\norigins = [\"https://app.example\"]");
    let ask = |origin: &str| narrow.get("/db/m").bearer(&user()).header("Origin", origin).send();
    assert_eq!(
        ask("https://app.example").expect_status(200).header("Access-Control-Allow-Origin"),
        Some("https://app.example")
    );
    problem(&ask("https://any.example"), 403, "permission-denied");
}

#[test]
fn serve_refuses_to_start_where_it_would_be_unsafe() {
    let open = Launch::serve().args(&["--listen", "0.0.0.0:0"]).env("HEARTH_ADMIN_KEY", ADMIN_KEY).refused();
    assert!(open.code() != 0 && open.stderr.to_lowercase().contains("tls"), "{open:?}");
    let weak = Launch::serve().env("HEARTH_ADMIN_KEY", "short").refused();
    assert!(weak.code() != 0 && !weak.stderr.contains("short "), "{weak:?}");
}
