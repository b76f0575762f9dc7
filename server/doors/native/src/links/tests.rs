//! SSE links and poll links, request by request, against an engine in memory.

use super::*;
use crate::drive::testing::{House, short, soon};
use axum::body::Body;
use axum::http::{Method, Request as HttpRequest};
use expect_test::{Expect, expect};
use hearth_engine::{Access, Limits};
use http_body_util::BodyExt as _;
use serde_json::Value as Json;
use tower::ServiceExt as _;

/// A client of one link.
struct Client<'a> {
    house: &'a House,
    token: &'static str,
    address: String,
    number: u64,
}

async fn request(house: &House, method: Method, path: &str, headers: &[(&str, &str)], body: &Json) -> Response {
    let mut request = HttpRequest::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    soon(house.router().oneshot(request.body(body).unwrap())).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(soon(response.into_body().collect()).await.unwrap().to_bytes().into()).unwrap()
}

impl<'a> Client<'a> {
    /// Opens a poll link.
    async fn open(house: &'a House) -> Self {
        let headers = [("prefer", "wait=0"), ("authorization", "Bearer ada")];
        let response = request(house, Method::POST, "/links", &headers, &json!([])).await;
        assert_eq!(response.status(), 201);
        let address = response.headers()["location"].to_str().unwrap().to_owned();
        let body: Json = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(format!("/links/{}", body["link"].as_str().unwrap()), address);
        assert_eq!(body["frames"], json!([]));
        Self { house, token: "Bearer ada", address, number: 0 }
    }

    async fn post(&self, wait: Option<&str>, body: &Json) -> Response {
        let mut headers = vec![("authorization", self.token)];
        headers.extend(wait.map(|wait| ("prefer", wait)));
        request(self.house, Method::POST, &self.address, &headers, body).await
    }

    async fn send(&mut self, message: Json) {
        self.number += 1;
        let response = self.post(None, &json!({"send": [{"n": self.number, "m": message}]})).await;
        assert_eq!((response.status().as_u16(), text(response).await), (202, String::new()));
    }

    /// Polls for what follows `ack`.
    async fn poll(&self, ack: u64, wait: &str, want: Expect) {
        let response = self.post(Some(wait), &json!({"ack": ack})).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["preference-applied"], wait);
        want.assert_eq(&polled(&text(response).await));
    }

    /// The status of a poll.
    async fn status(&self, body: &Json) -> u16 {
        self.post(Some("wait=0"), body).await.status().into()
    }
}

fn polled(body: &str) -> String {
    let body: Json = serde_json::from_str(body).unwrap();
    let frames = body["frames"].as_array().unwrap().iter().map(|frame| short(frame.to_string().as_bytes()));
    let mut text = format!("from {}: {}", body["from"], frames.collect::<Vec<_>>().join("; "));
    if !body["close"].is_null() {
        text += &format!(" close {}", body["close"]);
    }
    text
}

fn commit(id: u64, path: &str) -> Json {
    json!({"id": id, "op": "commit", "writes": [{"set": path, "data": {}}]})
}

#[tokio::test]
async fn a_poll_brings_what_follows_the_ack_and_brings_it_again() {
    let house = House::open();
    let mut client = Client::open(&house).await;
    client.send(json!({"id": 1, "op": "listen", "path": "rooms"})).await;
    client.poll(0, "wait=20", expect!["from 1: snapshot 1 @0"]).await;
    client.poll(0, "wait=20", expect!["from 1: snapshot 1 @0"]).await;
    client.poll(1, "wait=0", expect!["from 2: "]).await;
    client.send(commit(2, "rooms/a")).await;
    let mut seen = 1;
    let mut heard = Vec::new();
    while seen < 3 {
        let response = client.post(Some("wait=20"), &json!({"ack": seen})).await;
        let body: Json = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["from"], seen + 1);
        let frames = body["frames"].as_array().unwrap();
        heard.extend(frames.iter().map(|frame| short(frame.to_string().as_bytes())));
        seen += frames.len() as u64;
    }
    expect!["snapshot 1 @1 1 changes; committed 2 @1"].assert_eq(&heard.join("; "));
}

#[tokio::test]
async fn a_poll_may_send_and_its_messages_are_taken_before_it_waits() {
    let house = House::open();
    let client = Client::open(&house).await;
    let body = json!({"ack": 0, "send": [{"n": 1, "m": {"id": 0, "op": "ping"}}]});
    let response = client.post(Some("wait=20"), &body).await;
    expect!["from 1: pong 0"].assert_eq(&polled(&text(response).await));
}

#[tokio::test]
async fn numbers_that_were_seen_are_skipped_and_a_gap_ends_the_link() {
    let house = House::open();
    let mut client = Client::open(&house).await;
    client.send(json!({"id": 0, "op": "ping"})).await;
    client.number = 0;
    client.send(json!({"id": 0, "op": "ping"})).await;
    client.send(json!({"id": 1, "op": "unlisten"})).await;
    client.poll(0, "wait=20", expect!["from 1: pong 0"]).await;
    let gap = json!({"send": [{"n": 4, "m": {"id": 0, "op": "ping"}}]});
    assert_eq!(client.status(&gap).await, 409);
    assert_eq!(client.status(&json!({"ack": 0})).await, 404);
}

#[tokio::test]
async fn an_ack_of_what_was_never_sent_ends_the_link() {
    let house = House::open();
    let client = Client::open(&house).await;
    assert_eq!(client.status(&json!({"ack": 1})).await, 400);
    assert_eq!(client.status(&json!({"ack": 0})).await, 404);
}

#[tokio::test]
async fn a_malformed_body_is_refused_and_leaves_the_link_alone() {
    let house = House::open();
    let client = Client::open(&house).await;
    assert_eq!(client.status(&json!({"acks": 1})).await, 400);
    assert_eq!(client.status(&json!({"ack": 0})).await, 200);
    let response = request(&house, Method::POST, "/links", &[("prefer", "wait=0")], &json!({})).await;
    assert_eq!(response.status(), 400);
    let response = request(&house, Method::POST, "/links", &[], &json!([])).await;
    assert_eq!(response.status(), 406);
}

#[tokio::test]
async fn another_poll_answers_the_earlier_one_at_once() {
    let house = House::open();
    let client = Client::open(&house).await;
    let (earlier, later) =
        tokio::join!(async { text(client.post(Some("wait=20"), &json!({"ack": 0})).await).await }, async {
            text(client.post(Some("wait=0"), &json!({"ack": 0})).await).await
        },);
    expect!["from 1: "].assert_eq(&polled(&earlier));
    expect!["from 1: "].assert_eq(&polled(&later));
}

#[tokio::test]
async fn a_link_is_there_for_its_own_caller_and_database_only() {
    let house = House::open();
    let mut client = Client::open(&house).await;
    client.token = "Bearer ada@2000";
    assert_eq!(client.status(&json!({"ack": 0})).await, 200, "a newer token of the same user");
    client.token = "Bearer bob";
    assert_eq!(client.status(&json!({"ack": 0})).await, 404);
    let response =
        request(&house, Method::DELETE, &client.address, &[("authorization", "Bearer bob")], &Json::Null).await;
    assert_eq!(response.status(), 404);
    client.token = "Bearer ada";
    assert_eq!(client.status(&json!({"ack": 0})).await, 200);
    client.address = client.address.replace("/links/", "/links@other/");
    assert_eq!(client.status(&json!({"ack": 0})).await, 404);
}

#[tokio::test]
async fn a_link_that_is_ended_takes_its_listeners_with_it() {
    let house = House::open();
    let mut client = Client::open(&house).await;
    client.send(json!({"id": 1, "op": "listen", "path": "rooms"})).await;
    client.poll(0, "wait=20", expect!["from 1: snapshot 1 @0"]).await;
    let response =
        request(&house, Method::DELETE, &client.address, &[("authorization", "Bearer ada")], &Json::Null).await;
    assert_eq!(response.status(), 204);
    ended(&house.links).await;
    assert_eq!(client.status(&json!({"ack": 1})).await, 404);
    assert_eq!(house.setting.engine.metrics().listeners.get(), 0);
}

/// Waits until the tasks of all links have ended.
async fn ended(links: &Links) {
    let mut tasks = std::mem::take(&mut *links.inside.tasks.lock().unwrap());
    while let Some(task) = soon(tasks.join_next()).await {
        task.unwrap();
    }
}

#[tokio::test]
async fn a_poll_link_that_nobody_asks_after_is_closed() {
    let mut house = House::open();
    house.links = Links::idling(&house.setting.engine, Duration::from_millis(20));
    let client = Client::open(&house).await;
    ended(&house.links).await;
    assert_eq!(client.status(&json!({"ack": 0})).await, 404);
}

#[tokio::test]
async fn links_are_bounded_and_an_ended_one_makes_room() {
    let house = House::of(Limits { links_max: 1, ..Limits::default() }, Access::Open);
    let client = Client::open(&house).await;
    let response = request(&house, Method::POST, "/links", &[("prefer", "wait=0")], &Json::Null).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &HeaderValue::from_static("5")));
    request(&house, Method::DELETE, &client.address, &[("authorization", "Bearer ada")], &Json::Null).await;
    ended(&house.links).await;
    Client::open(&house).await;
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_the_rest_comes_after_the_ack() {
    let house = House::of(Limits { outbox_bytes_max: 10_000, ..Limits::default() }, Access::Open);
    let mut client = Client::open(&house).await;
    let data = json!({"text": "x".repeat(2_000)});
    client.send(json!({"id": 1, "op": "commit", "writes": [{"set": "rooms/a", "data": data}]})).await;
    client.poll(0, "wait=20", expect!["from 1: committed 1 @1"]).await;
    let get = |n: u64| json!({"n": n, "m": {"id": n, "op": "get", "path": "rooms/a"}});
    let gets = json!({"send": (2..=41).map(get).collect::<Vec<_>>()});
    let (mut seen, mut answers, mut bytes_max) = (1, 0, 0);
    let polls = async {
        while seen < 41 {
            let body = text(client.post(Some("wait=20"), &json!({"ack": seen})).await).await;
            bytes_max = bytes_max.max(body.len());
            let body: Json = serde_json::from_str(&body).unwrap();
            seen += body["frames"].as_array().unwrap().len();
            answers += 1;
        }
    };
    let (response, ()) = tokio::join!(client.post(None, &gets), polls);
    assert_eq!(response.status(), 202, "taken as there was room");
    assert!(answers >= 6 && bytes_max < 14_000, "{answers} answers of up to {bytes_max} bytes");
}

#[tokio::test]
async fn the_end_of_a_session_comes_with_the_last_messages() {
    let house = House::open();
    let mut client = Client::open(&house).await;
    client.send(json!({"id": 1, "op": "auth", "token": "bad"})).await;
    client
        .poll(
            0,
            "wait=20",
            expect![[r#"from 1: problem 1 (bad signature) close {"code":4401,"reason":"the token was refused"}"#]],
        )
        .await;
    let body = json!({"send": [{"n": 2, "m": {"id": 0, "op": "ping"}}]});
    assert_eq!(client.post(None, &body).await.status(), 404, "nobody takes messages any more");
}

#[tokio::test]
async fn a_database_that_closes_tells_those_who_poll() {
    let house = House::open();
    let mut client = Client::open(&house).await;
    client.send(json!({"id": 1, "op": "listen", "path": "rooms"})).await;
    client.poll(0, "wait=20", expect!["from 1: snapshot 1 @0"]).await;
    let polls = client.poll(1, "wait=20", expect![[r#"from 2:  close {"code":1012,"reason":"restart"}"#]]);
    tokio::join!(polls, house.close());
}

/// A stream of events, read piece by piece.
struct Stream {
    body: Body,
    address: String,
}

impl Stream {
    async fn open(house: &House, messages: &Json, want: Expect) -> Self {
        let headers = [("accept", "text/event-stream"), ("authorization", "Bearer ada")];
        let response = request(house, Method::POST, "/links", &headers, messages).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &HeaderValue::from_static("text/event-stream"))
        );
        let mut stream = Self { body: response.into_body(), address: String::new() };
        let first = stream.piece().await.unwrap();
        let id = first.split("\"link\":\"").nth(1).unwrap().split('"').next().unwrap();
        stream.address = format!("/links/{id}");
        want.assert_eq(&first.replace(id, "ID"));
        stream
    }

    async fn piece(&mut self) -> Option<String> {
        let frame = soon(self.body.frame()).await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().into()).unwrap())
    }

    /// The next so many events, in short.
    async fn hear(&mut self, count: usize, want: Expect) {
        let mut events = Vec::new();
        while events.len() < count {
            let piece = self.piece().await.unwrap();
            events.extend(piece.split_terminator("\n\n").map(|event| {
                let (head, data) = event.split_once("data: ").unwrap();
                let name = head.trim().replace('\n', ", ");
                if name.starts_with("event: ") {
                    format!("{name} {data}")
                } else {
                    format!("{name}: {}", short(data.as_bytes()))
                }
            }));
        }
        want.assert_eq(&events.join("; "));
    }
}

#[tokio::test]
async fn a_stream_begins_with_its_link_and_carries_out_what_came_with_it() {
    let house = House::open();
    let messages = json!([{"id": 1, "op": "listen", "path": "rooms"}]);
    let mut stream = Stream::open(
        &house,
        &messages,
        expect![[r#"
        : hearth.v1

        id: 0
        data: {"id":0,"ev":"link","link":"ID"}

    "#]],
    )
    .await;
    stream.hear(1, expect!["id: 1: snapshot 1 @0"]).await;
    let mut client = Client { house: &house, token: "Bearer ada", address: stream.address.clone(), number: 0 };
    let sent = client.send(commit(2, "rooms/a"));
    let heard = stream.hear(2, expect!["id: 2: snapshot 1 @1 1 changes; id: 3: committed 2 @1"]);
    tokio::join!(sent, heard);
}

#[tokio::test]
async fn a_link_lives_as_long_as_its_stream() {
    let house = House::open();
    let stream = Stream::open(
        &house,
        &Json::Null,
        expect![[r#"
        : hearth.v1

        id: 0
        data: {"id":0,"ev":"link","link":"ID"}

    "#]],
    )
    .await;
    let client = Client { house: &house, token: "Bearer ada", address: stream.address.clone(), number: 0 };
    assert_eq!(house.setting.engine.metrics().connections.get(), 1);
    drop(stream);
    assert_eq!(client.status(&Json::Null).await, 404);
    assert_eq!(house.setting.engine.metrics().connections.get(), 0);
}

#[tokio::test]
async fn a_stream_says_why_it_ends() {
    let house = House::open();
    let mut stream = Stream::open(&house, &json!([7]), expect![[r#"
        : hearth.v1

        id: 0
        data: {"id":0,"ev":"link","link":"ID"}

        id: 1
        data: {"id":0,"ev":"problem","problem":{"code":"invalid-argument","detail":"a message is an object, this is a number","status":400,"title":"Bad Request","type":"about:blank"}}

        event: close
        data: {"code":1008,"reason":"what came is no message"}

    "#]]).await;
    assert_eq!(stream.piece().await, None);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let house = House::open();
    let mut stream = Stream::open(
        &house,
        &json!([{"id": 1, "op": "listen", "path": "rooms"}]),
        expect![[r#"
        : hearth.v1

        id: 0
        data: {"id":0,"ev":"link","link":"ID"}

    "#]],
    )
    .await;
    stream.hear(1, expect!["id: 1: snapshot 1 @0"]).await;
    house.stopping.send_replace(true);
    stream.hear(1, expect![[r#"event: close {"code":1012,"reason":"restart"}"#]]).await;
    assert_eq!(stream.piece().await, None);
}

#[tokio::test]
async fn a_stream_that_is_deleted_ends() {
    let house = House::open();
    let mut stream = Stream::open(
        &house,
        &json!([]),
        expect![[r#"
        : hearth.v1

        id: 0
        data: {"id":0,"ev":"link","link":"ID"}

    "#]],
    )
    .await;
    let address = stream.address.clone();
    let delete = request(&house, Method::DELETE, &address, &[("authorization", "Bearer ada")], &Json::Null);
    let (response, end) = tokio::join!(delete, stream.piece());
    assert_eq!((response.status().as_u16(), end), (204, None));
}
