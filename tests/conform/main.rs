//! The official SDKs, unmodified, before the real server. Each has its own runner; this one starts the server for it.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use hearth_tests::compatibility::{Compatibility, Row};
use hearth_tests::{Launch, Server, hearth, hearth_path, repository};
use serde_json::json;
use tempfile::TempDir;

/// Runs a client's tests with the server's address where Google's tools look for an emulator.
fn run(server: &Server, command: &mut Command) {
    let output = command
        .env("FIRESTORE_EMULATOR_HOST", server.address().to_string())
        .env("GCLOUD_PROJECT", "conform")
        // Google's authentication would look for the machine's own metadata otherwise.
        .env("METADATA_SERVER_DETECTION", "none")
        .output()
        .expect("the client's program can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\nserver: {:#?}", server.output());
}

/// What is needed and not installed is said; `./test` installs it.
fn installed(path: &Path) {
    assert!(path.exists(), "{} is missing: ./test installs it", path.display());
}

#[test]
fn google_cloud_firestore_for_node_does_all_it_can() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/firestore-node.js")).current_dir(&tests));
}

#[test]
fn google_cloud_firestore_for_node_does_much_at_once() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/firestore-bulk.js")).current_dir(&tests));
}

#[test]
fn the_clouds_limits_hold_where_they_are_asked_for() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    for limits in ["cloud", "relaxed"] {
        let server = Server::start(&["--limits", limits]);
        let mut command = Command::new("node");
        command.arg("--test").arg(tests.join("conform/limits.js")).env("LIMITS", limits).current_dir(&tests);
        run(&server, &mut command);
    }
}

#[test]
fn google_cloud_firestore_for_python_does_all_it_can_sync_and_async() {
    let tests = repository().join("tests");
    let beside = || repository().join("target/python/bin/python");
    let python = std::env::var_os("TEST_PYTHON").map_or_else(beside, Into::into);
    installed(&python);
    let server = Server::start(&[]);
    // Without -B it would leave its own files beside the sources.
    let mut command = Command::new(python);
    run(&server, command.arg("-B").arg(tests.join("conform/firestore_python.py")).current_dir(&tests));
}

#[test]
fn google_cloud_firestore_for_node_does_by_rest_what_needs_no_stream() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/firestore-rest.js")).current_dir(&tests));
}

#[test]
fn firebase_admin_does_all_it_can_by_grpc_and_rest() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/firebase-admin"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/firebase-admin.js")).current_dir(&tests));
}

#[test]
fn firebase_lite_does_all_it_can() {
    let tests = repository().join("tests");
    installed(&tests.join("conform/web/node_modules/firebase"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/web/lite.js")).current_dir(&tests));
}

#[test]
fn firebase_for_node_does_all_it_can() {
    let tests = repository().join("tests");
    installed(&tests.join("conform/web/node_modules/firebase"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/web/node.js")).current_dir(&tests));
}

#[test]
fn firebase_for_node_says_what_is_equal_and_reads_json_and_bundles() {
    let tests = repository().join("tests");
    installed(&tests.join("conform/web/node_modules/firebase"));
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/web/surface.js")).current_dir(&tests));
}

#[test]
fn the_crate_firestore_does_all_it_can() {
    let beside = || repository().join("target/conform-rust/debug/hearth-conform-rust");
    let program = std::env::var_os("TEST_CONFORM_RUST").map_or_else(beside, Into::into);
    installed(&program);
    let server = Server::start(&[]);
    run(&server, &mut Command::new(program));
}

#[test]
fn what_one_door_writes_the_other_tells_at_the_same_version() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/both-ways.js")).current_dir(&tests));
}

#[test]
fn the_native_api_grpc_and_rest_find_the_same() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let server = Server::start(&[]);
    run(&server, Command::new("node").arg("--test").arg(tests.join("conform/queries.js")).current_dir(&tests));
}

#[test]
fn exports_go_from_hearth_to_googles_emulator_and_back() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    // It starts its servers itself.
    let mut command = Command::new("node");
    command.arg("--test").arg(tests.join("conform/export.js")).current_dir(&tests);
    command.env("TEST_HEARTH_BIN", hearth_path()).env("METADATA_SERVER_DETECTION", "none");
    let output = command.output().expect("node can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    out.lines().filter(|line| line.contains("skipped: ")).for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{out}\n{err}");
}

/// Every public name of the SDKs, but for types alone, which leave nothing to ask at run time.
const NAMES: &str = "
    import * as web from 'firebase/firestore';
    import * as lite from 'firebase/firestore/lite';
    import node from '@google-cloud/firestore';
    const names = (...all) => all.flatMap(Object.keys).filter(name => !name.startsWith('_'));
    console.log(JSON.stringify([names(web, lite), names(node)]));
";

#[test]
fn every_public_name_of_the_sdks_has_a_row() {
    let folder = repository().join("tests/conform/web");
    installed(&folder.join("node_modules/firebase"));
    let node = ["--input-type=module", "--eval", NAMES];
    let output = Command::new("node").args(node).current_dir(folder).output().expect("node can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [web, node]: [BTreeSet<String>; 2] = serde_json::from_slice(&output.stdout).expect("two lists of names");
    let rows = Compatibility::read().row;
    let said = |names: fn(&Row) -> &[String]| rows.iter().flat_map(names).cloned().collect::<BTreeSet<_>>();
    for (sdk, is, said) in [("firebase/firestore", web, said(|row| &row.web)), ("node", node, said(|row| &row.node))] {
        assert_eq!(is.difference(&said).collect::<Vec<_>>(), [""; 0], "{sdk} has names without a row");
        assert_eq!(said.difference(&is).collect::<Vec<_>>(), [""; 0], "{sdk} has no such names");
    }
}

#[test]
fn the_port_of_firebase_json_is_served_and_its_rules_are_kept() {
    let tests = repository().join("tests");
    installed(&tests.join("node_modules/@google-cloud/firestore"));
    let folder = TempDir::with_prefix("hearth-firebase-").expect("the temporary folder is writable");
    // Taken, looked at and given back: free, unless somebody is very quick.
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("there is a free port").port();
    let file = json!({
        "firestore": { "rules": "firestore.rules", "indexes": "firestore.indexes.json" },
        "emulators": { "firestore": { "port": port }, "auth": { "port": 9099 } },
    });
    let rules = "rules_version = '2';\nservice cloud.firestore {}";
    let write = |name, text: &str| fs::write(folder.path().join(name), text).expect("the temporary folder is writable");
    write("firebase.json", &file.to_string());
    write("firestore.rules", rules);
    write("firestore.indexes.json", r#"{"indexes": [], "fieldOverrides": []}"#);
    let there = format!("cd '{}' && exec \"$@\"", folder.path().display());
    let within = || Launch::dev().under(&["sh", "-c", &there, "sh"]);

    let server = within().start();
    let script = "
        import firestore from '@google-cloud/firestore';
        const db = new firestore.Firestore({ projectId: 'shop' });
        await db.doc('rooms/a').set({ n: 1 });
        process.exit((await db.collection('rooms').get()).size === 1 ? 0 : 1);
    ";
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", script]).current_dir(&tests);
    command.env("FIRESTORE_EMULATOR_HOST", format!("127.0.0.1:{port}")).env("METADATA_SERVER_DETECTION", "none");
    let output = command.output().expect("node can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // It is one server on two ports.
    assert_eq!(server.get("/p/shop/db/rooms/a").send().expect_status(200).json()["data"], json!({"n": 1}));
    let kept = server.get("/emulator/v1/projects/shop:securityRules").send().expect_status(200).json();
    assert_eq!(kept, json!({"rules": {"files": [{"name": "firestore.rules", "content": rules}]}}));
    let said = server.output().0;
    for line in [
        &format!("also listening on 127.0.0.1:{port}"),
        "firestore.rules is kept and not evaluated yet",
        "does not serve: auth",
    ] {
        assert!(said.contains(line), "{line} is missing in {said}");
    }
    // Who has the port is said, and how to do without.
    let ended = within().refused();
    assert!(ended.stderr.contains("--no-firebase-json"), "{ended:#?}");
    within().args(&["--no-firebase-json"]).start();
    drop(server);

    write("firebase.json", "{\n  \"emulators\": {,}\n}");
    let ended = within().refused();
    assert!(ended.stderr.contains("firebase.json:2:17: key must be a string"), "{ended:#?}");
}

#[test]
fn an_app_that_names_no_server_finds_that_of_hearth_exec() {
    let tests = repository().join("tests");
    installed(&tests.join("conform/web/node_modules/firebase"));
    let script = tests.join("conform/web/exec.js");
    let script = script.to_str().expect("the repository's path is text");
    let ended = hearth(&["exec", "--project", "shop", "--", "node", script]);
    assert_eq!(ended.code(), 0, "{ended:#?}");
}
