//! Links: the messages of the WebSocket for those without one, streamed or polled.

use std::thread;

use hearth_tests::{Answer, Fold, Server, Sse, check_schema};
use serde_json::{Value, json};

use crate::common::{dev, problem, put};

#[track_caller]
fn send(server: &Server, link: &str, body: Value) -> Answer {
    server.post(&format!("/links/{link}"), &body).send()
}

fn number_of(n: u64, message: Value) -> Value {
    json!({"n": n, "m": message})
}

/// The next message of an SSE link, whose number must be this one.
#[track_caller]
fn next(sse: &mut Sse, number: u64) -> Value {
    let event = sse.next_event();
    assert_eq!((event.event.as_str(), event.id.as_str()), ("message", number.to_string().as_str()));
    let message = event.json();
    check_schema("message", &message);
    message
}

#[track_caller]
fn open_sse(server: &Server, messages: Value) -> (Sse, String) {
    let mut sse = Sse::open(server.post("/links", &messages));
    let first = next(&mut sse, 0);
    assert_eq!((&first["id"], &first["ev"]), (&json!(0), &json!("link")));
    let link = first["link"].as_str().unwrap().to_owned();
    (sse, link)
}

#[test]
fn an_sse_link_streams_what_its_messages_ask_for() {
    let server = dev();
    put(&server, "m/a", json!({}));
    let (mut sse, link) = open_sse(&server, json!([{"id": 1, "op": "listen", "path": "m"}]));
    assert_eq!(sse.header("X-Accel-Buffering"), Some("no"));
    assert!(sse.header("Cache-Control").is_some_and(|value| value.contains("no-transform")));
    let mut fold = Fold::new();
    fold.apply(&next(&mut sse, 1));
    let commit = json!({"id": 2, "op": "commit", "writes": [{"set": "m/b", "data": {}}]});
    let sent = send(&server, &link, json!({"send": [number_of(1, commit.clone())]})).expect_status(202);
    assert!(sent.body.is_empty());
    fold.apply(&next(&mut sse, 2));
    assert_eq!(next(&mut sse, 3)["ev"], "committed");
    // A repetition is skipped; what follows it is not.
    let again = json!({"send": [number_of(1, commit), number_of(2, json!({"id": 0, "op": "ping"}))]});
    send(&server, &link, again).expect_status(202);
    assert_eq!(next(&mut sse, 4), json!({"id": 0, "ev": "pong"}));
    assert_eq!(fold.ids(), ["a", "b"]);
    // A gap ends the link, and the stream with it.
    let gap = send(&server, &link, json!({"send": [number_of(4, json!({"id": 0, "op": "ping"}))]}));
    assert_eq!(gap.status, 409, "{}", gap.text());
    sse.expect_end();
    problem(&send(&server, &link, json!({"send": []})), 404, "not-found");
}

#[test]
fn an_sse_link_is_its_stream() {
    let server = dev();
    let (mut sse, link) = open_sse(&server, json!([]));
    server.delete(&format!("/links/{link}")).send().expect_status(204);
    sse.expect_end();
    problem(&send(&server, &link, json!({"send": []})), 404, "not-found");
    // Another database's link is not this one's.
    let (_sse, link) = open_sse(&server, json!([]));
    problem(&server.post(&format!("/links@other/{link}"), &json!({"send": []})).send(), 404, "not-found");
    problem(&server.post(&format!("/links/{link}"), &json!({"send": []})).bearer("owner").send(), 404, "not-found");
    // An empty body counts as no messages.
    let mut sse = Sse::open(server.ask("POST", "/links"));
    assert_eq!(next(&mut sse, 0)["ev"], "link");
    let stopped = server.stop();
    assert_eq!(stopped.code(), 0);
    let last = sse.expect_end();
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!((last[0].event.as_str(), last[0].json()["code"].as_u64()), ("close", Some(1012)), "{last:?}");
}

#[track_caller]
fn open_poll(server: &Server, messages: Value) -> String {
    let answer = server.post("/links", &messages).header("Prefer", "wait=0").send().expect_status(201);
    let body = answer.json();
    assert_eq!(body["frames"], json!([]));
    let link = body["link"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("Location"), Some(format!("/links/{link}").as_str()));
    link
}

#[track_caller]
fn poll(server: &Server, link: &str, wait: u64, body: Value) -> Value {
    let ask = server.post(&format!("/links/{link}"), &body).header("Prefer", &format!("wait={wait}"));
    let answer = ask.send().expect_status(200);
    assert_eq!(answer.header("Preference-Applied"), Some(format!("wait={wait}").as_str()));
    let body = answer.json();
    for frame in body["frames"].as_array().unwrap_or_else(|| panic!("no frames: {body}")) {
        check_schema("message", frame);
    }
    body
}

#[test]
fn a_poll_link_keeps_its_messages_until_they_are_acknowledged() {
    let server = dev();
    put(&server, "m/a", json!({}));
    let link = open_poll(&server, json!([{"id": 1, "op": "listen", "path": "m"}]));
    let first = poll(&server, &link, 20, json!({"ack": 0}));
    assert_eq!((&first["from"], first["frames"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    // The answer was lost: the same again.
    assert_eq!(poll(&server, &link, 20, json!({"ack": 0})), first);
    let mut fold = Fold::new();
    fold.apply(&first["frames"][0]);
    // A poll is held until there is something, and brings messages along.
    let sends = json!({"ack": 1, "send": [number_of(1, json!({"id": 0, "op": "ping"}))]});
    let pong = poll(&server, &link, 20, sends.clone());
    assert_eq!((&pong["from"], &pong["frames"]), (&json!(2), &json!([{"id": 0, "ev": "pong"}])));
    assert_eq!(poll(&server, &link, 20, sends)["frames"], pong["frames"]);
    let told = thread::scope(|scope| {
        let held = scope.spawn(|| poll(&server, &link, 20, json!({"ack": 2})));
        put(&server, "m/b", json!({}));
        held.join().unwrap()
    });
    assert_eq!(told["from"], 3);
    fold.apply(&told["frames"][0]);
    assert_eq!(fold.ids(), ["a", "b"]);
    assert_eq!(poll(&server, &link, 0, json!({"ack": 3})), json!({"from": 4, "frames": []}));
    // Without a wait messages are taken and nothing is brought.
    send(&server, &link, json!({"send": [number_of(2, json!({"id": 3, "op": "unlisten"}))]})).expect_status(202);
    server.delete(&format!("/links/{link}")).send().expect_status(204);
    problem(&send(&server, &link, json!({"ack": 3})), 404, "not-found");
}

#[test]
fn one_poll_is_held_at_a_time() {
    let server = dev();
    let link = open_poll(&server, json!([]));
    thread::scope(|scope| {
        let polls: Vec<_> = (0..2).map(|_| scope.spawn(|| poll(&server, &link, 20, json!({"ack": 0})))).collect();
        // Whichever was earlier is answered at once with nothing, and the other with what comes.
        while !polls.iter().any(thread::ScopedJoinHandle::is_finished) {
            thread::yield_now();
        }
        send(&server, &link, json!({"send": [number_of(1, json!({"id": 0, "op": "ping"}))]})).expect_status(202);
        let mut answers: Vec<usize> =
            polls.into_iter().map(|poll| poll.join().unwrap()["frames"].as_array().unwrap().len()).collect();
        answers.sort_unstable();
        assert_eq!(answers, [0, 1]);
    });
}

#[test]
fn an_impossible_acknowledgement_ends_a_poll_link() {
    let server = dev();
    for acks in [&[5][..], &[1, 0]] {
        let link = open_poll(&server, json!([{"id": 0, "op": "ping"}]));
        let ask =
            |ack: &u64| server.post(&format!("/links/{link}"), &json!({"ack": ack})).header("Prefer", "wait=0").send();
        poll(&server, &link, 20, json!({"ack": 0}));
        let mut last = None;
        for ack in acks {
            last = Some(ask(ack));
        }
        let last = last.unwrap();
        problem(&last, 400, "invalid-argument");
        problem(&ask(&0), 404, "not-found");
    }
    let link = open_poll(&server, json!([]));
    let gap = send(&server, &link, json!({"send": [number_of(2, json!({"id": 0, "op": "ping"}))]}));
    assert_eq!(gap.status, 409);
    problem(&send(&server, &link, json!({"ack": 0})), 404, "not-found");
}

#[test]
fn a_poll_link_is_told_when_the_server_stops() {
    let server = dev();
    let link = open_poll(&server, json!([{"id": 0, "op": "ping"}]));
    poll(&server, &link, 20, json!({"ack": 0}));
    let last = thread::scope(|scope| {
        let ask = server.post(&format!("/links/{link}"), &json!({"ack": 1})).header("Prefer", "wait=20");
        let mut connection = server.connect();
        connection.write(&ask.bytes(true));
        let stop = scope.spawn(|| server.stop());
        let last = connection.answer("POST").expect_status(200).json();
        assert_eq!(stop.join().unwrap().code(), 0);
        last
    });
    assert_eq!(last["close"]["code"], 1012, "{last}");
}

#[test]
fn what_is_no_link_message_is_refused_and_nothing_is_opened() {
    let server = dev();
    problem(&server.post("/links", &json!({"id": 1})).header("Prefer", "wait=0").send(), 400, "invalid-argument");
    problem(&server.ask("POST", "/links").body("[{").header("Prefer", "wait=0").send(), 400, "invalid-argument");
    problem(&send(&server, "nobody", json!({"send": []})), 404, "not-found");
    let link = open_poll(&server, json!([]));
    for body in [json!([]), json!({"ack": "x"}), json!({"send": [{"m": {}}]}), json!({"colour": 1})] {
        let answer = server.post(&format!("/links/{link}"), &body).header("Prefer", "wait=0").send();
        assert_eq!(answer.status / 100, 4, "{body}: {}", answer.text());
    }
}
