//! The program as a whole: starts, serves, stops, takes documents in and gives them out again.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::run::{Server, fail, folder, hearth, run, succeed};

#[test]
fn a_dev_server_serves_and_stops_when_it_is_told_to() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--ephemeral"]);
    assert_eq!(server.get("/health").0, 200);
    assert_eq!(server.get("/").1, "Ok");
    assert!(server.get("/sdk/hearth.js").1.contains("onSnapshot"));
    assert!(server.get("/demo").1.contains("/demo/chat.js"));
    let mut listener = TcpStream::connect(server.address).unwrap();
    listener.write_all(b"GET /db/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let mut first = [0; 12];
    listener.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(server.stop(), Some(0), "also while somebody listens");
    let mut rest = String::new();
    listener.read_to_string(&mut rest).unwrap();
    assert!(!folder.path().join("hearth-data").exists());
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_a_server_that_waits_for_somebody() {
    let folder = folder();
    let mut command = hearth(folder.path(), &["dev", "--listen", "127.0.0.1:0", "--ephemeral"]);
    command.stderr(Stdio::piped());
    let mut server = Server::spawn(command);
    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.write_all(b"POST /db HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{").unwrap();
    // Answered, so the request before it has been taken in as well.
    assert_eq!(server.get("/health").0, 200);
    let mut log = BufReader::new(server.child.stderr.take().unwrap()).lines();
    let kill = || Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
    kill();
    assert!(log.any(|line| line.unwrap().contains("a second signal ends at once")));
    kill();
    assert_eq!(server.child.wait().unwrap().code(), Some(1));
}

#[test]
fn standard_input_and_output_will_do() {
    let folder = folder();
    let path = folder.path();
    let args = ["import", "--data", "d", "--collection", "a", "--format", "csv", "--id", "n", "-"];
    let mut import = hearth(path, &args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let rows: String = (0..12_000).map(|n| format!("{n},x\n")).collect();
    let mut stdin = import.stdin.take().unwrap();
    stdin.write_all(format!("n,s\n{rows}").as_bytes()).unwrap();
    drop(stdin);
    assert!(import.wait().unwrap().success());
    let mut export = hearth(path, &["export", "--data", "d"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(export.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "{\"path\":\"a/0\",\"data\":{\"n\":0,\"s\":\"x\"}}\n");
    assert!(export.wait().unwrap().success(), "who reads may leave early");
}

/// Every type, and what is easily lost: kinds of numbers, empty and odd names, text that looks like something else.
const DOCUMENTS: &str = r#"{"path":"a/all","data":{"array":[1,{"in":[2]},null],"bool":true,"bytes":{"$bytes":"aGk="},"double":3.0,"geo":{"$geo":[48.85,2.35]},"inf":{"$double":"-Infinity"},"int":{"$int":"9007199254740993"},"map":{"$map":{"$ref":1}},"nan":{"$double":"NaN"},"null":null,"odd name, \"x\"\n":{},"ref":{"$ref":"a/b"},"small":-0.5,"text":"line\r\nline, \"quoted\"","time":{"$timestamp":"2026-01-31T10:00:00.123456Z"},"vector":{"$vector":[0.5,1.0]},"zero":{"$double":"-0"}}}
{"path":"a/text","data":{"bool":"true","double":"1.5","int":"1","json":"{\"a\":1}","null":"null","text":""}}
"#;
const BELOW: &str = "{\"path\":\"a/none/b/c\",\"data\":{\"deep\":true}}\n";

#[test]
fn what_is_exported_is_imported_exactly_in_every_format() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("in.ndjson"), format!("{DOCUMENTS}{BELOW}")).unwrap();
    succeed(path, &["import", "--data", "first", "in.ndjson"]);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    let everything = succeed(path, &["export", "--data", "first"]);
    assert_eq!(sorted(&everything), sorted(&format!("{DOCUMENTS}{BELOW}")));

    for (name, export, import) in [
        ("a.ndjson.gz", &[][..], &[][..]),
        ("a.json", &["--collection", "a"], &["--collection", "a"]),
        ("a.csv", &["--collection", "a", "--cells", "json"], &["--collection", "a", "--cells", "json"]),
    ] {
        succeed(path, &[&["export", "--data", "first"], export, &[name]].concat());
        let other = format!("{name}-data");
        succeed(path, &[&["import", "--data", &other], import, &[name]].concat());
        let again = succeed(path, &["export", "--data", &other, "--collection", "a"]);
        assert_eq!(sorted(&again), sorted(DOCUMENTS), "{name}");
    }
    succeed(path, &["export", "--data", "first", "all.json"]);
    succeed(path, &["import", "--data", "second", "all.json"]);
    assert_eq!(succeed(path, &["export", "--data", "second"]), everything);
}

#[test]
fn a_running_server_takes_documents_in_and_gives_them_out() {
    let folder = folder();
    let path = folder.path();
    let server = Server::start(path, &["--ephemeral"]);
    let url = format!("http://{}", server.address);
    fs::write(path.join("in.ndjson"), DOCUMENTS).unwrap();
    let many: String = (0..1_234).map(|n| format!("{n},name {n}\n")).collect();
    fs::write(path.join("many.csv"), format!("n,name\n{many}")).unwrap();
    succeed(path, &["import", "--server", &url, "in.ndjson"]);
    let summary =
        succeed(path, &["import", "--server", &url, "--collection", "many", "--id", "n", "--json", "many.csv"]);
    assert!(summary.contains("\"documents\":1234"), "{summary}");
    assert!(server.get("/db/many?count&where=n%20ge%201000").1.contains("\"count\":234"));
    assert_eq!(succeed(path, &["export", "--server", &url, "--collection", "a"]), DOCUMENTS);
    let csv = succeed(path, &["export", "--server", &url, "--collection", "many", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 1_235);
    // Everything, at any depth, below documents that are missing too, and page by page.
    let below: String =
        (0..450).map(|n| format!("{{\"path\":\"b/none/c/{n:03}\",\"data\":{{\"n\":{n}}}}}\n")).collect();
    fs::write(path.join("below.ndjson"), &below).unwrap();
    succeed(path, &["import", "--server", &url, "below.ndjson"]);
    let everything = succeed(path, &["export", "--server", &url]);
    assert_eq!(everything.lines().count(), 2 + 450 + 1_234);
    assert!(everything.starts_with(DOCUMENTS) && everything.contains(&below));
    assert!(fail(path, 1, &["import", "--server", "http://127.0.0.1:1", "in.ndjson"]).contains("127.0.0.1:1"));
}

#[test]
fn a_bad_record_ends_an_import_or_is_left_out() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("in.ndjson"), "{\"n\":1}\nnope\n{\"n\":{\"$geo\":[91,0]}}\n{\"n\":4}\n").unwrap();
    let error = fail(path, 1, &["import", "--data", "d", "--collection", "a", "in.ndjson"]);
    assert!(error.contains("in.ndjson: line 2: ") && error.contains("1 documents were imported before"), "{error}");
    let output = run(path, &["import", "--data", "d", "--collection", "a", "--skip-bad", "in.ndjson"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("line 3: /n/$geo: "), "{stderr}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("imported 2 documents"));
    assert!(fail(path, 2, &["import", "--data", "d", "--collection", "a", "what"]).contains("--format"));
    assert!(fail(path, 1, &["import", "--data", "d", "--collection", "a", "gone.csv"]).contains("gone.csv"));
}

#[test]
fn a_data_directory_in_use_is_left_alone() {
    let folder = folder();
    let path = folder.path();
    let server = Server::start(path, &["--data", "d"]);
    fs::write(path.join("in.ndjson"), "{\"n\":1}\n").unwrap();
    let error = fail(path, 3, &["import", "--data", "d", "--collection", "a", "in.ndjson"]);
    assert!(error.contains("in use by another hearth") && error.contains("--server"), "{error}");
    let address = server.address.to_string();
    assert!(fail(path, 3, &["dev", "--listen", &address, "--ephemeral"]).contains("another program has it"));
    assert_eq!(server.stop(), Some(0));
    fs::create_dir(path.join("other")).unwrap();
    fs::write(path.join("other/thesis.txt"), "mine").unwrap();
    assert!(fail(path, 3, &["dev", "--listen", "127.0.0.1:0", "--data", "other"]).contains("thesis.txt"));
}

#[test]
fn a_seed_is_imported_once_and_a_folder_is_handed_out_beside_the_api() {
    let folder = folder();
    let path = folder.path();
    fs::write(
        path.join("seed.json"),
        r#"{"rooms": {"lobby": {"open": true}}, "rooms/lobby/messages": [{"n": 1}, {"n": 2}]}"#,
    )
    .unwrap();
    fs::create_dir(path.join("www")).unwrap();
    fs::write(path.join("www/app.html"), "<p>app").unwrap();
    for _ in 0..2 {
        let server = Server::start(path, &["--data", "d", "--seed", "seed.json", "--public", "www"]);
        assert!(server.get("/db/rooms/lobby").1.contains("\"open\":true"));
        assert!(server.get("/db/rooms/lobby/messages?count").1.contains("\"count\":2"));
        assert_eq!(server.get("/app.html"), (200, "<p>app".into()));
        assert_eq!(server.get("/gone.html").0, 404);
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn serving_needs_a_key_and_answers_nobody_without_one() {
    let folder = folder();
    let path = folder.path();
    assert!(fail(path, 2, &["serve", "--listen", "127.0.0.1:0"]).contains("hearth token --admin-key"));
    assert!(!path.join("hearth-data").exists());
    let key = succeed(path, &["token", "--admin-key"]);
    fs::write(path.join("key"), &key).unwrap();
    assert!(fail(path, 2, &["serve", "--listen", "0.0.0.0:0", "--admin-key-file", "key"]).contains("--tls-cert"));
    assert!(fail(path, 2, &["dev", "--listen", "0.0.0.0:0"]).contains("--expose"));

    let args = ["serve", "--listen", "127.0.0.1:0", "--admin-key-file", "key", "--project", "demo"];
    let server = Server::spawn(hearth(path, &args));
    let write = |key: &str| server.ask(&format!("PUT /db/a/b HTTP/1.1\r\nAuthorization: Bearer {key}"), "{\"n\":1}").0;
    assert_eq!(server.get("/health").0, 200);
    assert_eq!(server.get("/db/a").0, 401);
    assert_eq!(write("owner"), 401);
    assert_eq!(write(key.trim()), 201);
    let url = format!("http://{}", server.address);
    assert!(fail(path, 1, &["export", "--server", &url, "--collection", "a"]).contains("HEARTH_ADMIN_KEY"));
    let export =
        hearth(path, &["export", "--server", &url, "--collection", "a"]).env("HEARTH_ADMIN_KEY", key.trim()).output();
    assert_eq!(String::from_utf8(export.unwrap().stdout).unwrap(), "{\"path\":\"a/b\",\"data\":{\"n\":1}}\n");
    assert_eq!(server.stop(), Some(0));
    assert!(fail(path, 2, &["dev", "--listen", "127.0.0.1:0", "--expose=unsafe"]).contains("hearth serve has used"));
}

#[test]
fn pages_of_foreign_hosts_get_nothing_from_an_exposed_server_either() {
    let folder = folder();
    for expose in [&[][..], &["--expose"], &["--expose=unsafe"]] {
        let server = Server::start(folder.path(), &[&["--ephemeral"], expose].concat());
        assert_eq!(server.get("/db/a").0, 200, "{expose:?}");
        assert_eq!(server.ask("GET /db/a HTTP/1.1\r\nHost: evil.example", "").0, 403, "{expose:?}");
        assert_eq!(server.ask("GET /db/a HTTP/1.1\r\nOrigin: https://evil.example", "").0, 403, "{expose:?}");
    }
}

#[test]
fn the_configuration_is_shown_with_its_origins_and_without_secrets() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("hearth.toml"), "project = \"from-file\"\n[access]\nsigned_in = \"read\"\n").unwrap();
    let mut command = hearth(path, &["config", "--json", "--listen", "127.0.0.1:1"]);
    let output = command.env("HEARTH_ADMIN_KEY", "very-hidden-very-hidden-key").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("very-hidden"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of = |key: &str| format!("{} {}", json["settings"][key]["value"], json["settings"][key]["from"]);
    assert_eq!(of("project"), "\"from-file\" \"hearth.toml:1\"");
    assert_eq!(of("listen"), "\"127.0.0.1:1\" \"--listen\"");
    assert_eq!(of("admin_key"), "\"(hidden)\" \"HEARTH_ADMIN_KEY\"");
    fs::write(path.join("hearth.toml"), "projct = \"x\"\n").unwrap();
    assert!(fail(path, 2, &["config"]).contains("hearth.toml:1: there is no setting projct; did you mean project?"));
}
