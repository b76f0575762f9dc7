//! Exports: what Firebase's emulators leave is begun with, and what is left at the end they begin with (`tests/conform/export.js`
//! asks them). `tests/golden/export` was written by Google's emulator.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_core::Value as Held;
use hearth_firestore::export;
use hearth_tests::{Launch, Server, hearth, repository};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{commit, put};

fn folder() -> TempDir {
    TempDir::with_prefix("hearth-export-").expect("the temporary folder is writable")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Every document of the golden export, as the native API tells it.
fn golden() -> Value {
    json!({
        "types/__id7__": {"n": 1},
        "types/all": {
            "null": null, "yes": true, "no": false, "int": 7, "least": {"$int": "-9223372036854775808"}, "double": 1.5,
            "nan": {"$double": "NaN"}, "below": {"$double": "-Infinity"}, "text": "ä€𝄞 \"q\"\n", "empty": "",
            "bytes": {"$bytes": "AP8Q"}, "noBytes": {"$bytes": ""}, "time": {"$timestamp": "2023-11-14T22:13:20.123456Z"},
            "first": {"$timestamp": "0001-01-01T00:00:00Z"}, "last": {"$timestamp": "9999-12-31T23:59:59.999999Z"},
            "ref": {"$ref": "other/place/deep/__id-5__"},
            "elsewhere": {"$ref": "projects/shop/databases/second/documents/a/b"},
            "point": {"$geo": [-12.5, 179.0]}, "vector": {"$vector": [1.0, 2.5, -3.0]}, "one": {"$vector": [1.0]},
            "list": [1, "a", null, {"in": [], "x": [true]}, {"$geo": [1.0, 2.0]}, {"$timestamp": "1970-01-01T00:00:01Z"},
                {"$bytes": "AQ=="}, 2.5],
            "lone": ["only"], "none": [],
            "map": {"a.b": {"`c`": 1}, "empty": {}, "v": {"$vector": [2.0]}, "list": [{}, {}]},
        },
        "types/long": {"text": "x".repeat(1_600)},
        "types/missing/below/ü": {},
    })
}

/// Every document of the database that is meant where none is named.
#[track_caller]
fn everything(server: &Server) -> Value {
    let answer = server.post("/db/~query", &json!({})).send().expect_status(200).json();
    let documents = answer["docs"].as_array().expect("a list");
    let pairs = documents.iter().map(|doc| (doc["path"].as_str().unwrap_or_default().to_owned(), doc["data"].clone()));
    Value::Object(pairs.collect())
}

#[test]
fn what_googles_emulator_has_exported_is_begun_with_and_left_again() {
    let import = repository().join("tests/golden/export");
    let folder = folder();
    let left = folder.path().join("deep/left");
    // Another emulator has put something there before, and it stays.
    fs::create_dir_all(left.join("auth_export")).expect("a folder of ours");
    fs::write(left.join("auth_export/accounts.json"), "{}").expect("a folder of ours");
    let noted = left.join("firebase-export-metadata.json");
    fs::write(&noted, r#"{"version": "13.0.0", "auth": {"version": "13.0.0", "path": "auth_export"}}"#)
        .expect("a file");

    let server = Launch::dev().ephemeral().args(&["--import", text(&import), "--export-on-exit", text(&left)]).start();
    assert_eq!(everything(&server), golden());
    assert!(server.output().0.contains("imported  4 documents"), "{:?}", server.output());
    put(&server, "types/new", json!({"n": 2}));
    let ended = server.stop();
    assert!(ended.status.success() && ended.stdout.contains("exported 5 documents of demo to"), "{ended:#?}");
    let noted: Value = serde_json::from_slice(&fs::read(&noted).expect("it is written")).expect("it is JSON");
    assert_eq!(noted["auth"]["path"], "auth_export");
    assert_eq!(noted["firestore"]["metadata_file"], "firestore_export/firestore_export.overall_export_metadata");
    assert!(left.join("auth_export/accounts.json").exists());

    let mut with_new = golden();
    with_new["types/new"] = json!({"n": 2});
    // The same folder by itself: what `gcloud firestore export` leaves looks like it.
    for from in [left.clone(), left.join("firestore_export")] {
        let server = Launch::dev().ephemeral().args(&["--import", text(&from)]).start();
        assert_eq!(everything(&server), with_new);
    }
    // Of an export only whole ones are there, and nothing else was left beside them.
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder of ours");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("it is there").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&left), ["auth_export", "firebase-export-metadata.json", "firestore_export"]);
}

#[test]
fn the_first_time_there_is_nothing_to_begin_with_and_the_next_time_what_was_left() {
    let folder = folder();
    let both = folder.path().join("data");
    let args = ["--import", text(&both), "--export-on-exit", "--project", "shop"];
    let server = Launch::dev().ephemeral().args(&args).start();
    assert_eq!(everything(&server), json!({}));
    put(&server, "rooms/a", json!({"n": 1}));
    assert!(server.stop().status.success());
    // Twice, so that an export takes the place of another.
    for n in 1..3 {
        let server = Launch::dev().ephemeral().args(&args).start();
        assert_eq!(everything(&server), json!({"rooms/a": {"n": n}}));
        put(&server, "rooms/a", json!({"n": n + 1}));
        assert!(server.stop().status.success());
    }
    let script = "curl -sf \"$HEARTH_URL/db/rooms/a\"";
    let ended = hearth(&["exec", "--import", text(&both), "--export-on-exit", "--", "sh", "-c", script]);
    assert!(ended.status.success() && ended.stdout.contains("\"n\":3"), "{ended:#?}");
}

#[test]
fn data_that_are_there_are_not_written_over_and_a_part_of_an_import_is() {
    let import = repository().join("tests/golden/export");
    let args = ["--import", text(&import)];
    let mut server = Launch::dev().args(&args).start();
    assert_eq!(everything(&server), golden());
    put(&server, "types/all", json!({}));
    server.restart();
    assert_eq!(server.get("/db/types/all").send().expect_status(200).json()["data"], json!({}));
    assert!(server.output().1.contains("was not imported"), "{:?}", server.output());
    // As it is when the import was broken off.
    server.kill9();
    fs::write(server.data().join("IMPORTING"), "demo\n").expect("a folder of ours");
    server.restart();
    assert_eq!(everything(&server), golden());
    assert!(!server.data().join("IMPORTING").exists());
}

#[test]
fn nothing_is_begun_anew_that_was_gone_on_with_or_is_of_another_project() {
    let folder = folder();
    let import = repository().join("tests/golden/export");
    let broken_off = |project: &str| fs::write(folder.path().join("IMPORTING"), project).expect("a folder of ours");
    let start = |args: &[&str]| Launch::dev().data(folder.path()).args(args).start();
    put(&start(&["--project", "demo"]), "types/mine", json!({"n": 1}));
    let mine = json!({"types/mine": {"n": 1}});
    let kept = |server: &Server| {
        assert_eq!(everything(server), mine);
        assert!(server.output().1.contains("is a part of it, and is kept"), "{:?}", server.output());
        assert!(!folder.path().join("IMPORTING").exists());
    };
    broken_off("demo\n");
    kept(&start(&[]));
    assert_eq!(everything(&start(&["--import", text(&import)])), mine);
    broken_off("shop\n");
    kept(&start(&["--import", text(&import)]));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_opened() {
    let folder = folder();
    let (gone, file, empty) = (folder.path().join("gone"), folder.path().join("file"), folder.path().join("empty"));
    fs::write(&file, "").expect("a file of ours");
    fs::create_dir(&empty).expect("a folder of ours");
    let refused = |args: &[&str]| Launch::dev().args(args).refused().stderr;
    let check = |args: &[&str], want: &str| {
        let said = refused(args);
        assert!(said.contains(want), "{args:?}: {said}");
    };
    check(&["--import", text(&gone)], "gone is not there; name the folder that");
    check(&["--import", text(&gone), "--export-on-exit", text(&empty)], "gone is not there");
    check(&["--import", text(&file)], "file is no folder");
    check(&["--export-on-exit", text(&file)], "file is no folder");
    check(&["--export-on-exit"], "nowhere to export to");
    check(&["--import", text(&empty)], "empty holds no export of Firestore");
    check(&["--import", text(&empty), "--seed", text(&file)], "cannot be used with");
    // Damage is found, and said with its place.
    let copy = folder.path().join("copy");
    let (golden, output) =
        (repository().join("tests/golden/export"), "firestore_export/all_namespaces/all_kinds/output-0");
    for part in [
        "firebase-export-metadata.json",
        "firestore_export/firestore_export.overall_export_metadata",
        "firestore_export/all_namespaces/all_kinds/all_namespaces_all_kinds.export_metadata",
        output,
    ] {
        let to = copy.join(part);
        fs::create_dir_all(to.parent().expect("it is within a folder")).expect("a folder of ours");
        fs::copy(golden.join(part), to).expect("a file of ours");
    }
    let whole = fs::read(copy.join(output)).expect("it was copied");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(copy.join(output), &changed).expect("a file of ours");
    check(&["--import", text(&copy)], "output-0: it is damaged: the checksum at byte ");
    fs::write(copy.join(output), &whole[..whole.len() - 3]).expect("a file of ours");
    check(&["--import", text(&copy)], "output-0: it is cut off");
    let elsewhere = r#"{"firestore": {"metadata_file": "../golden.overall_export_metadata"}}"#;
    fs::write(copy.join("firebase-export-metadata.json"), elsewhere).expect("a file of ours");
    check(&["--import", text(&copy)], "which is no file of this export");
}

#[test]
fn an_export_holds_one_version_while_others_write() {
    let server = Launch::dev().ephemeral().args(&["--project", "demo"]).start();
    // More than one page of documents stands between the two that always change together.
    for batch in 0..11 {
        let writes: Vec<Value> =
            (0..100).map(|n| json!({"set": format!("m/{:04}", batch * 100 + n), "data": {}})).collect();
        commit(&server, &writes);
    }
    let pair = |n: i64| commit(&server, &["a/first", "z/last"].map(|path| json!({"set": path, "data": {"n": n}})));
    pair(0);
    let folder = folder();
    /// Ends the writer, also where the test fails.
    struct Ending<'a>(&'a AtomicBool);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (address, is_over) = (server.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ending = Ending(&is_over);
        let writer = scope.spawn(|| {
            let mut n = 0;
            while !is_over.load(Ordering::Relaxed) {
                n += 1;
                pair(n);
            }
            n
        });
        for turn in 0..10 {
            let name = format!("turn{turn}");
            let asked = json!({
                "database": "projects/demo/databases/(default)", "export_directory": folder.path(), "export_name": name,
            });
            hearth_tests::Ask::new(address, "POST", "/emulator/v1/projects/demo:export")
                .json(&asked)
                .send()
                .expect_status(200);
            let documents = export::open(&folder.path().join(&name)).expect("it was exported");
            let held: Vec<Held> =
                documents.filter_map(|document| document.expect("it is whole").fields.get("n").cloned()).collect();
            assert_eq!(held.len(), 2);
            assert_eq!(held[0], held[1], "an export holds the one half of a commit and not the other");
        }
        drop(ending);
        assert!(writer.join().expect("the writer does not fail") > 10, "nobody wrote meanwhile");
    });
}
