//! What a crash may leave of the last frame of the log, and what no crash can explain.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_tests::{Launch, Server};
use serde_json::{Value, json};

/// The last segment of the only database's log.
fn last_segment(data: &Path) -> PathBuf {
    let databases: Vec<PathBuf> = fs::read_dir(data.join("db")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(databases.len(), 1, "{databases:?}");
    let mut files: Vec<PathBuf> =
        fs::read_dir(databases[0].join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.pop().expect("a log has a segment")
}

fn write(server: &Server, n: usize) {
    server.put(&format!("/db/m/{n}"), &json!({"n": n, "text": "some text"})).send().expect_status(201);
}

#[track_caller]
fn size(server: &Server) -> Value {
    server.get("/db/m").send().expect_status(200).json()["size"].clone()
}

#[test]
fn a_torn_tail_is_cut_and_all_before_it_is_there() {
    let mut server = Launch::dev().start();
    for (round, tail) in
        [&b"\x01"[..], &[0xff; 40], &[0; 4_096], b"half of a frame that never was synced"].into_iter().enumerate()
    {
        for n in 0..5 {
            write(&server, round * 5 + n);
        }
        server.kill9();
        let segment = last_segment(server.data());
        let mut bytes = fs::read(&segment).unwrap();
        bytes.extend_from_slice(tail);
        fs::write(&segment, bytes).unwrap();
        server.restart();
        assert_eq!(size(&server), (round + 1) * 5);
    }
    // What is written behind the cut is kept as well.
    write(&server, 100);
    server.restart();
    assert_eq!(size(&server), 21);
}

#[test]
fn a_hole_in_the_log_is_damage_and_not_an_empty_database() {
    let server = Launch::dev().start();
    let kept = tempfile::TempDir::with_prefix("hearth-crash-").unwrap();
    for n in 0..20 {
        write(&server, n);
    }
    server.kill9();
    let segment = last_segment(server.data());
    let mut bytes = fs::read(&segment).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written / 2] ^= 0x55;
    fs::write(&segment, bytes).unwrap();
    let data = kept.path().join("data");
    fs::rename(server.data(), &data).unwrap();
    drop(server);
    // It may serve others of its databases, but of this one it says that it is damaged, never that it is empty.
    match Launch::dev().data(&data).try_start() {
        Ok(server) => {
            let answer = server.get("/db/m").send();
            assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("data-loss")), "{}", answer.text());
            assert!(matches!(server.put("/db/m/new", &json!({})).send().status, 500 | 503));
        }
        Err(refused) => assert!(refused.code() != 0 && refused.stderr.contains("log"), "{refused:#?}"),
    }
}
