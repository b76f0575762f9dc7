//! Many at once: writers that contend, readers that stall, databases without end.

use std::collections::BTreeSet;
use std::thread;

use hearth_tests::{Launch, Server};
use serde_json::{Value, json};

use crate::common::{commit, dev, event, found, memory, put};

#[test]
fn increments_from_everywhere_add_up() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let server = dev();
    let versions: Vec<BTreeSet<String>> = thread::scope(|scope| {
        let writers = (0..WRITERS).map(|_| {
            scope.spawn(|| {
                let raise = json!({"writes": [{"set": "n/x", "data": {"n": {"$increment": 1}}, "merge": true}]});
                let commit = |_| server.post("/db", &raise).send().expect_status(200).json()["version"].to_string();
                (0..EACH).map(commit).collect()
            })
        });
        writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.get("/db/n/x").send().json()["data"]["n"], WRITERS * EACH);
    let all: BTreeSet<&String> = versions.iter().flatten().collect();
    assert_eq!(all.len(), WRITERS * EACH, "two commits have one version");
}

#[test]
fn transactions_that_contend_lose_no_update() {
    const WRITERS: usize = 6;
    const EACH: usize = 10;
    let server = dev();
    put(&server, "n/x", json!({"n": 0}));
    let conflicts: usize = thread::scope(|scope| {
        let writers = (0..WRITERS).map(|_| {
            scope.spawn(|| {
                let (mut done, mut conflicts) = (0, 0);
                while done < EACH {
                    let read = server.get("/db/n/x").send().expect_status(200).json();
                    let n = read["data"]["n"].as_u64().unwrap() + 1;
                    let body = json!({"writes": [{"set": "n/x", "data": {"n": n}}], "reads": {"n/x": read["updated"]}});
                    match server.post("/db", &body).send().status {
                        200 => done += 1,
                        409 => conflicts += 1,
                        other => panic!("{other}"),
                    }
                }
                conflicts
            })
        });
        writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(server.get("/db/n/x").send().json()["data"]["n"], WRITERS * EACH, "{conflicts} conflicts");
}

#[test]
fn one_key_from_everywhere_is_one_write() {
    let server = dev();
    let answers: BTreeSet<String> = thread::scope(|scope| {
        let writers = (0..8).map(|_| {
            scope.spawn(|| {
                server.post("/db/c", &json!({"n": 1})).header("Idempotency-Key", "k").send().expect_status(201).text()
            })
        });
        writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!((answers.len(), found(&server, "/db/c").split(' ').count()), (1, 1));
}

#[test]
fn who_asks_without_reading_is_not_served_without_end() {
    const MESSAGES: usize = 3_000;
    let server = dev();
    for n in 0..10 {
        put(&server, &format!("m/{n}"), json!({"text": "x".repeat(100_000)}));
    }
    let before = memory(&server);
    let mut socket = server.socket();
    socket.tcp().set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    // 3 GB of answers, if it answered them all.
    let sent = (0..MESSAGES)
        .take_while(|n| {
            socket.try_send(
                &json!({"id": n + 1, "op": "get", "path": "m", "query": {"where": ["text", ">", "a".repeat(5_000)]}}),
            )
        })
        .count();
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes more after {sent} questions");
    // Nor is an HTTP client that does not read its answer.
    let mut stalled: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for connection in &mut stalled {
        for _ in 0..10 {
            connection.write(&server.get("/db/m").bytes(true));
        }
    }
    put(&server, "alive/x", json!({}));
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 300 << 20, "{grown} bytes more with stalled HTTP clients");
}

#[test]
fn a_stream_that_is_not_read_is_caught_up_when_it_is() {
    let server = Launch::dev().ephemeral().env("HEARTH_LIMITS_OUTBOX_BYTES_MAX", "1048576").start();
    let mut sse = server.sse("/db/m?limit=all");
    let mut fold = hearth_tests::Fold::new();
    fold.apply(&event(&mut sse));
    let text = "x".repeat(500_000);
    let before = memory(&server);
    for n in 0..60 {
        commit(&server, &[json!({"set": format!("m/{:02}", n % 20), "data": {"n": n, "text": text}})]);
        let waiting = server.metric("hearth_outbox_bytes");
        assert!(waiting <= 2_097_152.0, "{waiting} bytes wait");
    }
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 300 << 20, "{grown} bytes more");
    let last = |fold: &hearth_tests::Fold| fold.docs.last().is_some_and(|doc| doc["data"]["n"] == 59);
    while !last(&fold) {
        fold.apply(&event(&mut sse));
    }
    assert_eq!((fold.docs.len(), fold.resets), (20, 0));
}

#[test]
fn more_databases_than_may_be_open_keep_their_documents_and_their_listeners() {
    let mut server = Launch::dev().env("HEARTH_LIMITS_DATABASES_OPEN_MAX", "4").start();
    let put = |server: &Server, project: usize, id: &str| {
        server.put(&format!("/p/p{project}/db/m/{id}"), &json!({"of": project})).send().expect_status(201);
    };
    put(&server, 0, "first");
    let mut sse = server.sse("/p/p0/db/m");
    assert_eq!(event(&mut sse)["size"], 1);
    for project in 1..12 {
        put(&server, project, "first");
    }
    for project in (0..12).rev() {
        assert_eq!(found(&server, &format!("/p/p{project}/db/m")), "first", "project {project}");
    }
    put(&server, 0, "second");
    assert_eq!(event(&mut sse)["size"], 2);
    assert!(server.metric("hearth_databases_open") <= 4.0);
    server.restart();
    for project in 0..12 {
        assert_eq!(
            found(&server, &format!("/p/p{project}/db/m?where=of+eq+{project}&limit=1")),
            "first",
            "project {project}"
        );
    }
}

#[test]
fn databases_in_memory_are_not_forgotten() {
    let server = Launch::dev().ephemeral().env("HEARTH_LIMITS_DATABASES_OPEN_MAX", "4").start();
    let answers: Vec<(usize, u16)> = (0..8)
        .map(|project| (project, server.put(&format!("/p/p{project}/db/m/x"), &json!({})).send().status))
        .collect();
    // One more than may be open is refused rather than an earlier one forgotten.
    for (project, status) in answers {
        let there = server.get(&format!("/p/p{project}/db/m")).send();
        match status {
            201 => assert_eq!(there.json()["size"], 1, "project {project} was forgotten"),
            429 => {}
            other => panic!("{other} for project {project}"),
        }
    }
}

#[test]
fn two_hundred_streams_hear_a_commit() {
    const READERS: usize = 200;
    let server = dev();
    put(&server, "m/a", json!({}));
    let mut streams: Vec<_> = (0..READERS).map(|_| server.sse("/db/m")).collect();
    for sse in &mut streams {
        event(sse);
    }
    let written: Value = put(&server, "m/b", json!({}));
    for sse in &mut streams {
        assert_eq!(event(sse)["version"], written["updated"]);
    }
}
