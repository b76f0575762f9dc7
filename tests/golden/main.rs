//! Golden cases: `*.case` files that show, as text, what the wire looks like. The JavaScript tests run the same files.
//!
//! A case is a list of steps with empty lines between them; lines that begin with `#` are comments. A step is a
//! request, a line `----`, and the answer:
//!
//! ```text
//! PUT /db/messages/abc                 ws {"id":1,"op":"listen","path":"messages"}
//! If-None-Match: *                     ----
//! {"text":"hi"}                        {"id":1,"ev":"snapshot",…}
//! ----
//! 201
//! ETag: "v1"
//! {"path":"messages/abc",…}
//! ```
//!
//! Every case has a server (`hearth dev --ephemeral`) and one WebSocket of its own. An answer over HTTP is its status,
//! those of its headers that [`HEADERS`] names, and its body; of a stream of events all up to the first event. A step
//! `ws` sends one message and shows all that comes up to its answer (its `id`, and no part of a larger one), or, where
//! it has none, up to a pong. What differs from run to run has a name instead, in order of appearance: `v1` for a
//! version, `t1` a token, `e1` an opaque tag, `id1`, `link1`, `ticket1`, `time1`, `seconds1`; `$v1` in a request stands for the real one.
//!
//! A comment `# with HEARTH_NAME=value` sets that variable for the case's server.
//!
//! `UPDATE=1` rewrites the answers, and the diff is the review.

mod case;
mod names;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use hearth_tests::{Ask, Launch, Server, Socket, check_schema, repository};
use serde_json::{Value, json};

use case::{Case, Request};
use names::Names;

/// The headers that a case shows.
const HEADERS: [&str; 7] =
    ["Allow", "Content-Type", "ETag", "Link", "Location", "Preference-Applied", "WWW-Authenticate"];

struct Run {
    server: Server,
    socket: Option<Socket>,
    names: Names,
}

impl Run {
    fn step(&mut self, request: &Request) -> String {
        match request {
            Request::Http { method, target, headers, body } => {
                let target = self.names.fill(target);
                let mut ask = self.server.ask(method, &target);
                for (name, value) in headers {
                    ask = ask.header(name, &self.names.fill(value));
                }
                if let Some(body) = body {
                    ask = ask.body(self.names.fill(body));
                }
                self.http(&ask, method == "HEAD")
            }
            Request::Message(message) => {
                let message = self.names.fill(message);
                self.message(&message)
            }
        }
    }

    fn http(&mut self, ask: &Ask, head_only: bool) -> String {
        let mut stream = ask.open();
        let mut out = format!("{}\n", stream.status);
        let kind = stream.header("Content-Type").unwrap_or_default().to_owned();
        for name in HEADERS {
            match stream.header(name) {
                Some("application/json") if name == "Content-Type" => {}
                Some(value) => writeln!(out, "{name}: {value}").unwrap(),
                None => {}
            }
        }
        let mut body = Vec::new();
        while let Some(piece) = stream.piece(hearth_tests::PATIENCE).unwrap_or_else(|error| panic!("{error}: {out}")) {
            body.extend(piece);
            if let Some(end) = kind.starts_with("text/event-stream").then(|| first_event(&body)).flatten() {
                body.truncate(end);
                break;
            }
        }
        let body = String::from_utf8(body).expect("an answer is UTF-8");
        // One object, or one a line.
        for line in body.lines().filter(|_| !head_only && kind.ends_with("json")) {
            check_shape(&serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {body}")));
        }
        // An empty line ends a step, so the lines of a stream's events stand without those between them.
        let lines: Vec<&str> = body.lines().filter(|line| !line.is_empty()).collect();
        out.push_str(&lines.join("\n"));
        self.names.give(out.trim_end())
    }

    fn message(&mut self, message: &str) -> String {
        let socket = self.socket.get_or_insert_with(|| self.server.socket());
        let sent: Value = serde_json::from_str(message).unwrap_or_else(|error| panic!("not JSON ({error}): {message}"));
        socket.send_text(message);
        if sent["op"] == "unlisten" {
            socket.send(&json!({"id": 0, "op": "ping"}));
        }
        let mut lines = Vec::new();
        loop {
            let text = match socket.poll(hearth_tests::PATIENCE) {
                Ok(Some(text)) => text,
                other => panic!("no answer to {message}: {other:?}; so far {lines:?}"),
            };
            let told: Value = serde_json::from_str(&text).expect("a message is JSON");
            check_schema("message", &told);
            let own = told["id"] == sent["id"] && told["more"] != true;
            // After an unlisten only the pong says that it is done, and that is ours.
            if sent["op"] == "unlisten" && told["ev"] == "pong" {
                break;
            }
            lines.push(text);
            if sent["op"] != "unlisten" && own {
                break;
            }
        }
        self.names.give(&lines.join("\n"))
    }
}

/// Where the first event of a stream ends, if it has come.
fn first_event(body: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(body);
    let data = text.find("\ndata:")?;
    text[data..].find("\n\n").map(|end| data + end + 2)
}

/// Holds an object against the schema that it says to be of.
fn check_shape(body: &Value) {
    let has = |name: &str| body.get(name).is_some();
    let schema = match () {
        () if has("status") && has("code") => "problem",
        () if has("commits") => "feed",
        () if has("deleted") => "deleted",
        () if has("collections") => "collections",
        () if has("changes") => "event",
        () if has("docs") => "result",
        () if has("aggregates") => {
            if has("reset") {
                "event"
            } else {
                "result"
            }
        }
        () if has("created") => "document",
        () if has("results") => "committed",
        () if has("limits") => "database",
        () if has("ticket") => "ticket",
        () => return,
    };
    check_schema(schema, body);
}

fn run(case: &Case) -> String {
    let settings = case.source.lines().filter_map(|line| line.strip_prefix("# with ")?.split_once('='));
    let launch = settings.fold(Launch::dev().ephemeral(), |launch, (name, value)| launch.env(name, value));
    let mut run = Run { server: launch.start(), socket: None, names: Names::new(&case.source) };
    case.render(|request| run.step(request))
}

fn cases(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            cases(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "case") {
            into.push(path);
        }
    }
}

#[test]
fn the_wire_looks_as_the_cases_show() {
    let mut paths = Vec::new();
    cases(&repository().join("tests/golden"), &mut paths);
    paths.sort();
    assert!(paths.len() >= 10, "{paths:?}");
    let update = std::env::var("UPDATE").is_ok_and(|value| value == "1");
    let mut failed = Vec::new();
    for path in paths {
        let source = fs::read_to_string(&path).expect("a readable file");
        let shown = run(&Case::parse(&source).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        if shown == source {
            continue;
        }
        if update {
            fs::write(&path, shown).expect("a writable file");
            continue;
        }
        let differ: Vec<String> = diff(&source, &shown);
        failed.push(format!("{}:\n{}", path.display(), differ.join("\n")));
    }
    assert!(failed.is_empty(), "UPDATE=1 rewrites these:\n{}", failed.join("\n\n"));
}

/// The lines that differ, where both have as many; else from the first that does.
fn diff(want: &str, got: &str) -> Vec<String> {
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    let at = want.iter().zip(&got).position(|(a, b)| a != b).unwrap_or(want.len().min(got.len()));
    let show = |sign: &str, lines: &[&str]| -> Vec<String> {
        lines.iter().skip(at).take(6).enumerate().map(|(n, line)| format!("{:>4} {sign} {line}", at + n + 1)).collect()
    };
    [show("-", &want), show("+", &got)].concat()
}
