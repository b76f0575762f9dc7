//! A write whose answer is lost, and that is sent again under its key, happens once.

use std::time::{Duration, Instant};

use hearth_tests::{Connection, Launch, Server, Sse, number};
use serde_json::{Value, json};

fn raise(server: &Server, key: &str) -> hearth_tests::Ask {
    let body = json!({"writes": [{"set": "n/x", "data": {"n": {"$increment": 1}}, "merge": true}]});
    server.post("/db", &body).header("Idempotency-Key", key)
}

#[track_caller]
fn count(server: &Server) -> Value {
    server.get("/db/n/x").send().expect_status(200).json()["data"]["n"].clone()
}

#[test]
fn a_kill_between_sync_and_reply_leaves_one_write() {
    let mut server = Launch::dev().start();
    raise(&server, "first").send().expect_status(200);
    let mut sse = Sse::open(server.get("/db/n/x"));
    sse.next_json();
    let mut lost = Connection::open(server.address());
    lost.write(&raise(&server, "lost").bytes(false));
    // Others see it, so it is durable; its own answer is read by nobody.
    let seen = sse.next_json();
    server.restart();
    drop(lost);
    assert_eq!(count(&server), 2);
    let again = raise(&server, "lost").send().expect_status(200).json();
    assert_eq!((&again["version"], count(&server)), (&seen["version"], json!(2)));
    // Another key is another write.
    let other = raise(&server, "other").send().expect_status(200).json();
    assert!(number(&other["version"]) > number(&again["version"]));
    assert_eq!(count(&server), 3);
}

#[test]
fn a_kill_at_any_moment_of_a_commit_leaves_all_of_it_or_nothing() {
    let mut server = Launch::dev().start();
    for round in 0..10 {
        let key = format!("key-{round}");
        let mut lost = Connection::open(server.address());
        lost.write(&raise(&server, &key).bytes(false));
        // Somewhere between the arrival of the request and some time behind the answer.
        let kill_at = Instant::now() + Duration::from_micros(300 * round);
        while Instant::now() < kill_at {
            std::hint::spin_loop();
        }
        server.restart();
        let before = server.get("/db/n/x").send();
        let before = if before.status == 404 { 0 } else { before.json()["data"]["n"].as_u64().unwrap() };
        assert!((round..=round + 1).contains(&before), "{before} in round {round}");
        raise(&server, &key).send().expect_status(200);
        assert_eq!(count(&server), round + 1, "round {round} began with {before}");
    }
}
