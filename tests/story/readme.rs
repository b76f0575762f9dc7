//! What README and the page of the data set show is true: their commands are run as they stand there, but for the
//! address, and answer what is said beside them. In zsh too, where it is installed: it is stricter about `?` and `[`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use hearth_tests::{Launch, Server, cities_file};
use serde_json::Value;

use crate::common::dev;

/// The shells that are here.
fn shells() -> Vec<&'static str> {
    let installed =
        |shell: &&str| Command::new(shell).arg("-c").arg("true").status().is_ok_and(|status| status.success());
    ["bash", "zsh"].into_iter().filter(installed).collect()
}

/// The commands of a Markdown file that begin with `curl`, lines that go on joined, aimed at `server`.
fn curls(file: &str, server: &Server) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap();
    let text = text.replace("\\\n", " ").replace("127.0.0.1:8080", &server.address().to_string());
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence == "sh";
        } else if inside && line.starts_with("curl") {
            found.push(line.to_owned());
        }
    }
    found
}

fn run(shell: &str, command: &str) -> String {
    let done = Command::new(shell).arg("-c").arg(format!("{command} -sS --max-time 20")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{shell}: {command}\n{out}\n{err}");
    out.into_owned()
}

fn json(shell: &str, command: &str) -> Value {
    let out = run(shell, command);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{command}\n{error}: {out}"))
}

/// Leaves a live command open until `data` lines have been seen by `check`, which says when it has seen enough.
fn live(shell: &str, command: &str, mut check: impl FnMut(&Value) -> bool) {
    let command = format!("exec {command} -sS --max-time 20");
    let mut child = Command::new(shell).arg("-c").arg(&command).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events =
        lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok());
    let enough = events.any(|event| check(&event));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(enough, "{command} ended early");
}

#[test]
fn the_curl_lines_of_readme_print_what_it_says() {
    for shell in shells() {
        let server = dev();
        let commands = curls("README.md", &server);
        let [write, query, stream, ..] = &commands[..] else { panic!("README shows three curl lines first") };
        assert_eq!(json(shell, write)["data"]["text"], "hello from curl");
        let result = json(shell, query);
        assert_eq!((&result["size"], &result["docs"][0]["data"]["text"]), (&1.into(), &"hello from curl".into()));
        let mut written = false;
        live(shell, stream, |event| {
            // The first event is the result; what is written then comes as the next.
            let size = event["size"].as_i64();
            if !std::mem::replace(&mut written, true) {
                assert_eq!(size, Some(1));
                json(shell, write);
            }
            size == Some(2)
        });
    }
}

#[test]
fn the_data_set_is_imported_and_answers_as_its_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = cities_file();
    let data = folder.path().to_str().unwrap();
    let args = ["import", "--data", data, "--collection", "cities", "--id", "cityId", file.to_str().unwrap()];
    hearth_tests::hearth(&args).ok();
    let server = Launch::dev().data(folder.path()).start();
    let commands = curls("docs/datasets.md", &server);
    let [largest, millions, iceland, nordic, springfields, capitals, count, add] = &commands[..] else {
        panic!("the page shows eight curl lines, not {}", commands.len())
    };
    let names = |answer: &Value| -> Vec<String> {
        let docs = answer["docs"].as_array().unwrap().iter();
        docs.map(|doc| format!("{} {}", doc["data"]["name"].as_str().unwrap(), doc["data"]["population"])).collect()
    };
    assert_eq!(names(&json("bash", largest)), ["Paris 2138551", "Marseille 794811", "Lyon 472317"]);
    assert_eq!(json("bash", millions)["aggregates"]["count"], 363);
    let numbers = json("bash", iceland)["aggregates"].clone();
    assert_eq!((&numbers["count"], &numbers["sum(population)"]), (&33.into(), &274_394.into()));
    assert_eq!(numbers["avg(population)"], 8_314.969_696_969_696);
    let large = json("bash", nordic);
    assert_eq!(large["size"], 25);
    assert_eq!(names(&large)[..2], ["Stockholm 1515017", "Copenhagen 1153615"]);
    assert_eq!(json("bash", springfields)["size"], 20);
    let numbers = json("bash", capitals)["aggregates"].clone();
    assert_eq!((&numbers["count"], &numbers["sum(population)"]), (&241.into(), &324_183_601.into()));
    let mut told = Vec::new();
    live("bash", count, |event| {
        told.push(event["aggregates"]["count"].as_i64().unwrap());
        if told.len() == 1 {
            json("bash", add);
        }
        told.len() == 2
    });
    assert_eq!(told, [8_836, 8_837]);

    let commands = curls("README.md", &server);
    let [.., largest, largest_live, count, add] = &commands[..] else { panic!("README shows four more curl lines") };
    assert_eq!(names(&json("bash", largest)), ["Paris 2138551", "Marseille 794811", "Lyon 472317"]);
    live("bash", largest_live, |event| event["changes"][2]["doc"]["data"]["name"] == "Lyon");
    let mut told = Vec::new();
    live("bash", count, |event| {
        told.push(event["aggregates"]["count"].as_i64().unwrap());
        if told.len() == 1 {
            json("bash", add);
        }
        told.len() == 2
    });
    assert_eq!(told, [8_837, 8_838]);
}
