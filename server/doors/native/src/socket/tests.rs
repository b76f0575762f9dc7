//! The WebSocket link on a loopback port, with a client that was written by others.

use super::*;
use crate::drive::testing::{House, START, short, soon};
use expect_test::{Expect, expect};
use futures_util::SinkExt as _;
use hearth_engine::{Access, Limits, SignedIn};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::Message as Frame;

struct Client {
    socket: WebSocketStream<TcpStream>,
    /// What the server chose among the subprotocols.
    protocol: Option<String>,
}

impl Client {
    async fn connect(house: &House) -> Self {
        Self::with(house, &[("sec-websocket-protocol", "hearth.v1")]).await.unwrap()
    }

    async fn with(house: &House, headers: &[(&'static str, &str)]) -> Result<Self, tungstenite::Error> {
        let address = house.listen().await;
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}/db").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, response) = soon(tokio_tungstenite::client_async(request, stream)).await?;
        let protocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        Ok(Self { socket, protocol: protocol.map(|value| value.to_str().unwrap().into()) })
    }

    async fn say(&mut self, message: Json) {
        self.socket.send(Frame::text(message.to_string())).await.unwrap();
    }

    /// The next message.
    async fn next(&mut self) -> Json {
        loop {
            match soon(self.socket.next()).await.unwrap().unwrap() {
                Frame::Text(text) => return serde_json::from_str(&text).unwrap(),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next so many messages.
    async fn hear(&mut self, count: usize, want: Expect) {
        let mut heard = Vec::new();
        for _ in 0..count {
            heard.push(short(self.next().await.to_string().as_bytes()));
        }
        want.assert_eq(&heard.join("; "));
    }

    /// All that is left, up to the end.
    async fn hear_the_end(&mut self, want: Expect) {
        let mut heard = Vec::new();
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Frame::Text(text))) => heard.push(short(text.as_bytes())),
                Some(Ok(Frame::Close(Some(close)))) => {
                    heard.push(format!("close {} {}", u16::from(close.code), close.reason))
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
        want.assert_eq(&heard.join("; "));
    }

    async fn listen(&mut self, id: u64, path: &str) {
        self.say(json!({"id": id, "op": "listen", "path": path})).await;
    }

    async fn set(&mut self, id: u64, path: &str, data: Json) {
        self.say(json!({"id": id, "op": "commit", "writes": [{"set": path, "data": data}]})).await;
    }
}

#[tokio::test]
async fn a_client_hears_of_its_own_commit_before_the_answer() {
    let mut client = Client::connect(&House::open()).await;
    assert_eq!(client.protocol.as_deref(), Some("hearth.v1"));
    client.listen(1, "rooms").await;
    client.listen(2, "rooms/a").await;
    client.hear(2, expect!["snapshot 1 @0; snapshot 2 @0"]).await;
    client.set(3, "rooms/a", json!({"n": 1})).await;
    client.hear(3, expect!["snapshot 1 @1 1 changes; snapshot 2 @1 1 changes; committed 3 @1"]).await;
    client.say(json!({"id": 1, "op": "unlisten"})).await;
    client.set(4, "rooms/a", json!({"n": 2})).await;
    client.hear(2, expect!["snapshot 2 @2 1 changes; committed 4 @2"]).await;
    client.say(json!({"id": 5, "op": "get", "path": "rooms"})).await;
    client.hear(1, expect!["result 5 @2 1 docs"]).await;
}

#[tokio::test]
async fn commits_of_one_connection_take_effect_in_their_order_and_a_read_after_them_sees_them() {
    let mut client = Client::connect(&House::open()).await;
    for id in 1..=100 {
        client.set(id, "rooms/a", json!({"n": id})).await;
    }
    client.say(json!({"id": 101, "op": "get", "path": "rooms/a"})).await;
    let mut committed = 0;
    for _ in 1..=101 {
        match client.next().await {
            result if result["ev"] == "result" => assert_eq!(result["docs"][0]["data"]["n"], 100),
            other => {
                assert_eq!(other["ev"], "committed");
                committed += 1;
            }
        }
    }
    assert_eq!(committed, 100);
}

#[tokio::test]
async fn two_clients_hear_each_other_and_one_resumes_by_its_token() {
    let house = House::open();
    let (mut ada, mut bob) = (Client::connect(&house).await, Client::connect(&house).await);
    ada.listen(1, "rooms").await;
    let token = ada.next().await["token"].clone();
    bob.set(1, "rooms/a", json!({})).await;
    bob.hear(1, expect!["committed 1 @1"]).await;
    ada.hear(1, expect!["snapshot 1 @1 1 changes"]).await;
    ada.socket.close(None).await.unwrap();
    ada.hear_the_end(expect![""]).await;
    bob.set(2, "rooms/b", json!({})).await;
    bob.hear(1, expect!["committed 2 @2"]).await;
    let mut ada = Client::connect(&house).await;
    ada.say(json!({"id": 1, "op": "listen", "path": "rooms", "since": token})).await;
    let event = ada.next().await;
    assert_eq!((&event["reset"], event["changes"].as_array().unwrap().len()), (&json!(false), 2));
}

#[tokio::test]
async fn a_token_comes_by_header_by_subprotocol_or_as_first_message() {
    let house = House::of(Limits::default(), Access::Closed { signed_in: SignedIn::Write });
    let mut nobody = Client::connect(&house).await;
    nobody.listen(1, "rooms").await;
    nobody.hear(1, expect!["problem 1 (sign in: this needs a token)"]).await;
    nobody.say(json!({"id": 2, "op": "auth", "token": "ada"})).await;
    nobody.listen(3, "rooms").await;
    nobody.hear(2, expect!["authed 2 ada; snapshot 3 @0"]).await;

    let mut by_header = Client::with(&house, &[("authorization", "Bearer ada")]).await.unwrap();
    assert_eq!(by_header.protocol, None);
    by_header.listen(1, "rooms").await;
    by_header.hear(1, expect!["snapshot 1 @0"]).await;

    let offer = format!("hearth.v1, bearer.{}", URL_SAFE_NO_PAD.encode("ada"));
    let mut by_protocol = Client::with(&house, &[("sec-websocket-protocol", &offer)]).await.unwrap();
    assert_eq!(by_protocol.protocol.as_deref(), Some("hearth.v1"), "the token is not repeated");
    by_protocol.listen(1, "rooms").await;
    by_protocol.hear(1, expect!["snapshot 1 @0"]).await;
}

#[tokio::test]
async fn a_bad_token_is_refused_where_the_client_can_hear_it() {
    let house = House::open();
    let offer = format!("hearth.v1, bearer.{}", URL_SAFE_NO_PAD.encode("bad"));
    let mut client = Client::with(&house, &[("sec-websocket-protocol", &offer)]).await.unwrap();
    client.hear_the_end(expect!["problem 0 (bad signature); close 4401 the token was refused"]).await;
    let mut client = Client::connect(&house).await;
    client.say(json!({"id": 1, "op": "auth", "token": "bad"})).await;
    client.hear_the_end(expect!["problem 1 (bad signature); close 4401 the token was refused"]).await;
    match Client::with(&house, &[("authorization", "Bearer bad")]).await.map(|_| ()) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn other_subprotocols_and_plain_requests_are_refused() {
    let house = House::open();
    match Client::with(&house, &[("sec-websocket-protocol", "mqtt")]).await.map(|_| ()) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 400),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_authority_that_ends_closes_the_connection() {
    let house = House::open();
    let mut client = Client::with(&house, &[("authorization", "Bearer ada@1200")]).await.unwrap();
    client.say(json!({"id": 0, "op": "ping"})).await;
    client.hear(2, expect!["expiring 0; pong 0"]).await;
    house.clock.set(START + 200_000_000);
    client.say(json!({"id": 0, "op": "ping"})).await;
    client.hear_the_end(expect!["problem 0 (the token has expired); close 4401 the token has expired"]).await;
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_with_its_code() {
    let house = House::of(Limits { message_bytes_max: 1_000, ..Limits::default() }, Access::Open);
    for (frame, want) in [
        (Frame::binary(vec![1]), expect!["close 1003 hearth.v1 is text"]),
        (
            Frame::text("hello"),
            expect![
                "problem 0 (this is not JSON: expected value at line 1 column 1); close 1008 what came is no message"
            ],
        ),
        (Frame::text("x".repeat(1_001)), expect!["close 1009 the message is over the limit"]),
    ] {
        let mut client = Client::connect(&house).await;
        client.socket.send(frame).await.unwrap();
        client.hear_the_end(want).await;
    }
}

#[tokio::test]
async fn a_database_that_closes_says_so() {
    let house = House::open();
    let mut client = Client::connect(&house).await;
    client.listen(1, "rooms").await;
    client.hear(1, expect!["snapshot 1 @0"]).await;
    house.close().await;
    client.hear_the_end(expect!["close 1012 restart"]).await;
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let house = House::open();
    let mut client = Client::connect(&house).await;
    client.listen(1, "rooms").await;
    client.hear(1, expect!["snapshot 1 @0"]).await;
    house.stopping.send_replace(true);
    client.hear_the_end(expect!["close 1012 restart"]).await;
}

#[tokio::test]
async fn a_reader_that_stops_is_caught_up_when_it_reads_again_and_nobody_waits_for_it() {
    let house = House::of(Limits { outbox_bytes_max: 300_000, ..Limits::default() }, Access::Open);
    let (mut slow, mut writer) = (Client::connect(&house).await, Client::connect(&house).await);
    slow.listen(1, "rooms").await;
    slow.hear(1, expect!["snapshot 1 @0"]).await;
    let text = "x".repeat(100_000);
    for n in 1..=300 {
        writer.set(n, "rooms/a", json!({"n": n, "text": text})).await;
        assert_eq!(writer.next().await["ev"], "committed");
    }
    assert!(house.setting.engine.metrics().lags.get() > 0, "more than sockets hold");
    let (mut last, mut told) = (Json::Null, 0);
    while last != 300 {
        let event = slow.next().await;
        let version: u64 = event["version"].as_str().unwrap().parse().unwrap();
        assert!(version > told, "versions rise");
        told = version;
        last = event["changes"][0]["doc"]["data"]["n"].clone();
    }
}

#[tokio::test]
async fn a_large_result_comes_in_parts() {
    let mut client = Client::connect(&House::open()).await;
    let writes: Vec<Json> = (0..1_500).map(|n| json!({"set": format!("rooms/{n}"), "data": {}})).collect();
    client.say(json!({"id": 1, "op": "commit", "writes": writes})).await;
    client.hear(1, expect!["committed 1 @1"]).await;
    client.say(json!({"id": 2, "op": "listen", "path": "rooms", "query": {"limit": "all"}})).await;
    client.say(json!({"id": 3, "op": "get", "path": "rooms", "query": {"limit": "all"}})).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(short(client.next().await.to_string().as_bytes()));
    }
    heard.sort();
    expect!["result 3 @1 1000 docs part 1 more; result 3 @1 500 docs; snapshot 2 @1 1000 changes part 1 more; snapshot 2 @1 500 changes part 2"].assert_eq(&heard.join("; "));
}

#[test]
fn an_offer_holds_the_protocol_and_perhaps_a_token() {
    let read = |text: &'static str| {
        let headers = HeaderMap::from_iter([(header::SEC_WEBSOCKET_PROTOCOL, text.parse().unwrap())]);
        Offer::read(&headers).map(|offer| offer.token).map_err(|problem| problem.detail)
    };
    assert_eq!(read("hearth.v1"), Ok(None));
    assert_eq!(read("x,hearth.v1 , bearer.YWRh"), Ok(Some("ada".into())));
    assert_eq!(read("bearer.YWRh"), Err("the subprotocol here is hearth.v1".into()));
    assert_eq!(read("hearth.v1, bearer.Y"), Err("what follows bearer. is a token in base64url".into()));
    assert_eq!(Offer::read(&HeaderMap::new()), Ok(Offer { token: None }));
}
