//! Counters are the proof that something was *not* done.

use std::thread;
use std::time::Instant;

use hearth_tests::{Fold, Launch, PATIENCE, Server, Socket};
use serde_json::{Value, json};

use crate::common::{commit, dev, etag, event, found, put, target};

/// How much these counters rise while `act` runs.
#[track_caller]
fn rise<const N: usize, T>(server: &Server, names: [&str; N], act: impl FnOnce() -> T) -> ([f64; N], T) {
    let before = names.map(|name| server.metric(name));
    let done = act();
    let after = names.map(|name| server.metric(name));
    (std::array::from_fn(|at| after[at] - before[at]), done)
}

/// Commits documents `PREFIX/00000` and so on, 10,000 at a time.
#[track_caller]
fn fill(server: &Server, prefix: &str, documents: usize) {
    let all: Vec<usize> = (0..documents).collect();
    for some in all.chunks(10_000) {
        let write = |n: &usize| json!({"set": format!("{prefix}/{n:05}"), "data": {"n": n, "text": "hello"}});
        commit(server, &some.iter().map(write).collect::<Vec<Value>>());
    }
}

#[test]
fn polls_of_an_unchanged_result_run_no_query() {
    let server = dev();
    for n in 0..100 {
        put(&server, &format!("m/{n}"), json!({"n": n}));
    }
    let url = target("/db/m", &[("where", "n ge 50"), ("orderBy", "n desc"), ("limit", "20")]);
    let ([run], answer) = rise(&server, ["hearth_queries_run_total"], || server.get(&url).send().expect_status(200));
    assert_eq!(run, 1.0, "the counter counts");
    let mut tag = etag(&answer);
    let ([run, read], ()) = rise(&server, ["hearth_queries_run_total", "hearth_documents_read_total"], || {
        for n in 0..100 {
            if n % 2 == 0 {
                // Other collections change, and so do documents of this one that the query cannot see.
                let writes =
                    [json!({"set": format!("other/{n}"), "data": {"n": 99}}), json!({"set": "m/0", "data": {"n": 1}})];
                commit(&server, &writes);
            }
            let answer = server.get(&url).header("If-None-Match", &tag).send().expect_status(304);
            tag = etag(&answer);
        }
    });
    assert_eq!((run, read), (0.0, 0.0), "100 polls of an unchanged result");
}

#[test]
fn one_commit_to_a_thousand_listeners_is_encoded_once() {
    const SOCKETS: usize = 20;
    const EACH: u64 = 50;
    let server = dev();
    for n in 0..10 {
        put(&server, &format!("m/{n}"), json!({"n": n}));
    }
    let query = json!({"where": ["n", ">=", 0], "orderBy": [["n", "desc"]], "limit": 5});
    let mut sockets: Vec<Socket> = (0..SOCKETS).map(|_| server.socket()).collect();
    for socket in &mut sockets {
        for id in 1..=EACH {
            socket.send(&json!({"id": id, "op": "listen", "path": "m", "query": query}));
        }
        for _ in 0..EACH {
            assert_eq!(socket.next_message()["ev"], "snapshot");
        }
    }
    assert_eq!(server.metric("hearth_listeners"), (SOCKETS as u64 * EACH) as f64);
    let counters = ["hearth_events_encoded_total", "hearth_watches_examined_total", "hearth_queries_run_total"];
    let ([encoded, examined, run], ()) = rise(&server, counters, || {
        let written = commit(&server, &[json!({"set": "m/new", "data": {"n": 100}})]);
        for socket in &mut sockets {
            for _ in 0..EACH {
                assert_eq!(socket.next_message()["version"], written["version"]);
            }
        }
    });
    assert_eq!((encoded, examined, run), (1.0, 1.0, 0.0));
}

#[test]
fn a_reconnect_inside_the_history_brings_what_changed_and_no_more() {
    let server = dev();
    fill(&server, "m", 1_000);
    let query = json!({"limit": "all"});
    let listen = |since: Option<&str>| json!({"id": 1, "op": "listen", "path": "m", "query": query, "since": since});
    let mut fold = Fold::new();
    let mut socket = server.socket();
    fold.apply(&socket.ask(&listen(None)));
    drop(socket);
    for n in 0..7 {
        // Twice each: what counts is that it changed.
        put(&server, &format!("m/{n:05}"), json!({"n": -n}));
        put(&server, &format!("m/{n:05}"), json!({"n": n, "new": true}));
        put(&server, &format!("other/{n:05}"), json!({}));
    }
    let before = fold.changes;
    fold.reopen();
    let ([resets], ()) = rise(&server, ["hearth_resets_total"], || {
        fold.apply(&server.socket().ask(&listen(fold.token.clone().as_deref())));
    });
    assert_eq!((fold.changes - before, fold.resets, resets), (7, 0, 0.0));
    let all = server.get("/db/m?limit=all").send().expect_status(200).json();
    assert_eq!(Value::from(fold.docs), all["docs"]);
    // The counter counts: a token of another life is a reset.
    let foreign = {
        let other = dev();
        put(&other, "m/a", json!({}));
        other.socket().ask(&listen(None))["token"].as_str().unwrap().to_owned()
    };
    let ([resets], answer) = rise(&server, ["hearth_resets_total"], || server.socket().ask(&listen(Some(&foreign))));
    assert_eq!((resets, &answer["reset"]), (1.0, &json!(true)));
}

#[test]
fn a_live_count_reads_no_document() {
    let server = dev();
    fill(&server, "m", 20_000);
    let ([read], mut sse) = rise(&server, ["hearth_documents_read_total"], || {
        let mut sse = server.sse(&target("/db/m", &[("where", "n ge 100"), ("count", ""), ("sum", "n")]));
        assert_eq!(event(&mut sse)["aggregates"]["count"], 19_900);
        sse
    });
    assert!(read >= 20_000.0, "the counter counts: {read}");
    let counters = ["hearth_documents_read_total", "hearth_queries_run_total"];
    let ([read, run], ()) = rise(&server, counters, || {
        for n in 0..50 {
            commit(&server, &[json!({"set": format!("m/more{n}"), "data": {"n": 1_000 + n}})]);
            assert_eq!(event(&mut sse)["aggregates"]["count"], 19_901 + n);
        }
        commit(&server, &[json!({"delete": "m/00500"}), json!({"set": "m/00501", "data": {"n": 1}})]);
        assert_eq!(event(&mut sse)["aggregates"]["count"], 19_948);
    });
    assert_eq!((read, run), (0.0, 0.0));
}

/// `TEST_ROOM_MESSAGES` makes the rooms fuller: 100,000 is what is promised, and takes a while to write.
#[test]
fn listing_rooms_does_not_walk_their_messages() {
    let messages = std::env::var("TEST_ROOM_MESSAGES").map_or(5_000, |text| text.parse().unwrap());
    // On disk, where most of them have left the memtable.
    let server = Launch::dev().start();
    for room in 0..10 {
        put(&server, &format!("rooms/r{room}"), json!({"n": room}));
        fill(&server, &format!("rooms/r{room}/messages"), messages);
    }
    let ([scanned], rooms) = rise(&server, ["hearth_index_entries_scanned_total"], || found(&server, "/db/rooms"));
    assert_eq!(rooms, "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9");
    assert!((1.0..=30.0).contains(&scanned), "{scanned} keys were examined to list ten rooms");
    let names = server.get("/db/rooms?select").send().expect_status(200).json();
    assert_eq!(names["size"], 10);
    let ([scanned], count) = rise(&server, ["hearth_index_entries_scanned_total"], || {
        server.get("/db/rooms/r3/messages?count").send().expect_status(200).json()["aggregates"]["count"].clone()
    });
    assert_eq!(count, messages);
    assert!(scanned >= messages as f64, "the counter counts: {scanned}");
}

#[test]
fn a_stalled_reader_costs_its_outbox_and_nobody_else_anything() {
    const OUTBOX_BYTES_MAX: usize = 1 << 20;
    const COMMITS: usize = 60;
    let server = Launch::dev().ephemeral().env("HEARTH_LIMITS_OUTBOX_BYTES_MAX", &OUTBOX_BYTES_MAX.to_string()).start();
    let text = "x".repeat(500_000);
    let listen = json!({"id": 1, "op": "listen", "path": "m", "query": {"limit": "all"}});
    let mut stalled = server.socket();
    let mut fold = Fold::new();
    fold.apply(&stalled.ask(&listen));
    let mut reader = server.socket();
    let mut read = Fold::new();
    read.apply(&reader.ask(&listen));
    let mut peak: f64 = 0.0;
    thread::scope(|scope| {
        // 30 MB: more than what sockets on the way may swallow.
        let seen = scope.spawn(|| {
            // A commit is half of what may wait, so this one is caught up too where it is slow for a moment.
            while read.docs.len() < COMMITS {
                read.apply(&reader.next_for(1));
            }
            read.clone()
        });
        for n in 0..COMMITS {
            commit(&server, &[json!({"set": format!("m/{n:03}"), "data": {"text": text}})]);
            peak = peak.max(server.metric("hearth_outbox_bytes"));
        }
        assert_eq!(seen.join().unwrap().docs.len(), COMMITS, "the one that reads gets everything");
    });
    assert!(peak > 0.0, "the gauge moves");
    // The reader's own events pass through its outbox too: at most one of them waits there.
    assert!(peak <= (2 * OUTBOX_BYTES_MAX) as f64, "{peak} bytes waited for one reader that stalls and one that reads");
    // When it reads again it is caught up, or was closed and resumes: nothing is missed either way.
    let deadline = Instant::now() + PATIENCE;
    while fold.docs.len() < COMMITS {
        assert!(Instant::now() < deadline, "the stalled reader is never caught up: {}", fold.docs.len());
        match stalled.poll(PATIENCE) {
            Ok(Some(text)) => fold.apply(&serde_json::from_str(&text).unwrap()),
            Ok(None) => panic!("nothing comes"),
            Err(_) => {
                stalled = server.socket();
                fold.reopen();
                stalled.send(
                    &json!({"id": 1, "op": "listen", "path": "m", "query": {"limit": "all"}, "since": fold.token}),
                );
            }
        }
    }
    assert_eq!(fold.resets, 0);
    assert_eq!(hearth_tests::ids(&fold.docs), hearth_tests::ids(&read.docs));
}
