//! What the program refuses, and whether it says what happened, what is safe and how to go on; and `hearth check`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hearth_auth::Caller;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{DatabaseName, DocPath, Map};
use hearth_engine::{Access, Backing, CommitRequest, Engine, Limits, ManualClock, Options, Projects};
use hearth_store::{Home, HomeOptions};
use serde_json::Value as Json;

use crate::run::{Server, fail, folder, hearth, succeed};

/// A data directory `d` with two documents.
fn filled(folder: &Path) {
    fs::write(folder.join("in.ndjson"), "{\"path\":\"a/b\",\"data\":{\"n\":1}}\n{\"path\":\"a/c\",\"data\":{}}\n")
        .unwrap();
    succeed(folder, &["import", "--data", "d", "in.ndjson"]);
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_check_says_what_it_has_read_and_ends_badly_when_something_is_wrong() {
    let folder = folder();
    let path = folder.path();
    filled(path);
    let text = succeed(path, &["check", "--data", "d"]);
    assert!(text.contains("demo/(default): 2 documents at version") && text.contains("everything is sound"), "{text}");
    let json: Json = serde_json::from_str(&succeed(path, &["check", "--data", "d", "--json"])).unwrap();
    let database = &json["databases"][0];
    assert_eq!((&json["sound"], &database["documents"]), (&Json::from(true), &Json::from(2)));
    assert_eq!(database["state"], database["last"], "the state was looked into as well");
    let json: Json =
        serde_json::from_str(&succeed(path, &["check", "--data", "d", "--without-state", "--json"])).unwrap();
    assert_eq!(json["databases"][0]["state"], Json::Null);

    let server = Server::start(path, &["--data", "d"]);
    let error = fail(path, 3, &["check", "--data", "d"]);
    assert!(error.contains("in use by another hearth") && error.contains("stop the server"), "{error}");
    assert_eq!(server.stop(), Some(0));

    // Two more groups, so that the first cannot be what a crash has torn.
    filled(path);
    flip(&path.join("d/db/1/log/0000000001.seg"), 80);
    let output = hearth(path, &["check", "--data", "d", "--json"]).output().unwrap();
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["sound"]), (Some(1), &Json::from(false)));
    let wrong = json["databases"][0]["findings"][0]["text"].as_str().unwrap();
    assert!(wrong.contains("damaged") && wrong.contains("hearth restore"), "{wrong}");
    let missing = fail(path, 3, &["check", "--data", "nowhere"]);
    assert!(missing.contains("there is no data directory at nowhere") && !path.join("nowhere").exists(), "{missing}");
}

#[test]
fn data_that_are_gone_are_not_taken_for_none() {
    let folder = folder();
    let path = folder.path();
    let serve = ["dev", "--listen", "127.0.0.1:0", "--data", "d"];
    let error = fail(path, 3, &[&serve[..], &["--existing"]].concat());
    assert!(error.contains("there are no data in d") && error.contains("nothing was changed"), "{error}");
    assert!(error.contains("hearth restore BACKUP --data d") && !path.join("d").exists(), "{error}");

    filled(path);
    let server = Server::start(path, &["--data", "d", "--existing"]);
    assert_eq!(server.stop(), Some(0));
    for part in ["db/1/log", "db/1", "db", "catalog"] {
        fs::rename(path.join("d").join(part), path.join("away")).unwrap();
        if part == "db/1/log" {
            fs::create_dir(path.join("d/db/1/log")).unwrap();
        }
        let error = fail(path, 3, &serve);
        assert!(error.contains("is missing, though") && error.contains("nothing is served"), "{part}: {error}");
        assert!(error.contains("hearth restore BACKUP --data DIR"), "{part}: {error}");
        let _ = fs::remove_dir(path.join("d/db/1/log"));
        fs::rename(path.join("away"), path.join("d").join(part)).unwrap();
    }
    let server = Server::start(path, &["--data", "d"]);
    assert!(server.get("/db/a?count").1.contains("\"count\":2"), "brought back, it is served");
}

/// Commits one document at a time of its own.
async fn commit_at(folder: &Path, micros: u64) {
    let home = Home::open(folder, HomeOptions { id_if_new: [7; 16], boot_id: None }).unwrap();
    let options = Options {
        limits: Limits::default(),
        access: Access::Open,
        projects: Projects::Any,
        default_project: Some("demo".into()),
    };
    let clock = Arc::new(ManualClock::at(micros));
    let (engine, _) = Engine::start(Backing::Disk(Box::new(home)), options, clock).unwrap();
    engine.claim_default_project("demo");
    let name = DatabaseName::parse("demo", DatabaseName::DEFAULT).unwrap();
    let database = engine.database(&name).unwrap();
    let set = Operation::Set(Map::default());
    let write = Write::build(DocPath::parse("a/b").unwrap(), set, Precondition::None, vec![]).unwrap();
    let request = CommitRequest { writes: vec![write], ..CommitRequest::default() };
    database.commit(database.authorize_commit(&Caller::Admin, request).unwrap()).await.unwrap();
    drop(database);
    tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
}

#[tokio::test]
async fn commits_of_the_future_are_served_when_a_person_says_so() {
    let folder = folder();
    let path = folder.path();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    commit_at(&path.join("d"), (now + Duration::from_secs(3_600)).as_micros() as u64).await;
    let serve = ["dev", "--listen", "127.0.0.1:0", "--data", "d", "--project", "demo"];
    let error = fail(path, 3, &serve);
    assert!(error.contains("demo/(default): the newest commit of this database is 3"), "{error}");
    assert!(error.contains("all data is safe") && error.contains("start with --accept-clock"), "{error}");
    assert!(fail(path, 3, &["export", "--data", "d"]).contains("all data is safe"));

    let server = Server::start(path, &["--data", "d", "--project", "demo", "--accept-clock"]);
    assert!(server.get("/db/a/b").0 == 200);
    assert_eq!(server.ask("PUT /db/a/c HTTP/1.1", "{}").0, 201);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn everything_is_taken_away_by_one_request_that_says_so() {
    let folder = folder();
    let path = folder.path();
    filled(path);
    let server = Server::start(path, &["--data", "d"]);
    assert_eq!(server.ask("DELETE /db HTTP/1.1", "").0, 400);
    assert!(server.get("/db/a?count").1.contains("\"count\":2"));
    assert_eq!(server.ask("DELETE /db?wipe HTTP/1.1", "").0, 200);
    assert!(server.get("/db/a?count").1.contains("\"count\":0"));
    let (status, health) = server.get("/health?ready");
    assert!(status == 200 && health.contains("\"disk_free_bytes\":"), "{health}");
    assert_eq!(server.stop(), Some(0));
    assert!(succeed(path, &["check", "--data", "d"]).contains(": 0 documents"));
}
