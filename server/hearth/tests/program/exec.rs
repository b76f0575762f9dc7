//! `hearth exec`: a command beside a server of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value as Json;

use crate::run::{folder, hearth, run};

#[test]
fn a_command_finds_its_server_and_its_code_is_handed_on() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("seed.json"), r#"{"a": {"b": {"n": 7}}}"#).unwrap();
    // The program itself, as a client of the server that it is told of.
    let export = format!("\"{}\" export --server \"$HEARTH_URL\" --collection a; exit 7", env!("CARGO_BIN_EXE_hearth"));
    let output = run(path, &["exec", "--seed", "seed.json", "--", "sh", "-c", &export]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stdout.ends_with("{\"path\":\"a/b\",\"data\":{\"n\":7}}\n"), "{stdout}{stderr}");
    assert!(!path.join("hearth-data").exists(), "nothing is kept");

    let print = "printf '%s\\n' \"$FIRESTORE_EMULATOR_HOST\" \"$GCLOUD_PROJECT\" \"$__FIREBASE_DEFAULTS__\"";
    let output = run(path, &["exec", "--project", "shop", "--", "sh", "-c", print]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let defaults: Json = serde_json::from_str(lines[2]).unwrap();
    assert!(lines[0].starts_with("127.0.0.1:") && lines[1] == "shop", "the output is the command's alone: {text}");
    assert_eq!(defaults["emulatorHosts"]["firestore"], lines[0]);
    assert_eq!(defaults["config"]["projectId"], "shop");

    assert_eq!(run(path, &["exec", "--", "no-such-command-here"]).status.code(), Some(127));
    assert_eq!(run(path, &["exec"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn signals_are_for_the_command_and_the_server_ends_after_it() {
    for (signal, number, code) in [("TERM", 15, 43), ("INT", 2, 42), ("HUP", 1, 44)] {
        if is_ignored(number) {
            println!("skipped: this process was started to ignore {signal}, and a shell below it cannot trap that");
            continue;
        }
        let folder = folder();
        // Turns round for some seconds after its input has ended, and no longer: a test must not hang.
        let script = "trap 'exit 43' TERM; trap 'exit 42' INT; trap 'exit 44' HUP; echo ready; read line; \
                      n=0; while [ $n -lt 9000000 ]; do n=$((n + 1)); done; exit 45";
        let mut command = hearth(folder.path(), &["exec", "--", "sh", "-c", script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let kill = ["-s", signal, &child.id().to_string()].map(String::from);
        assert!(std::process::Command::new("kill").args(kill).status().unwrap().success());
        // A shell looks at its traps when what it waits for has come.
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
    let folder = folder();
    let output = run(folder.path(), &["exec", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(output.status.code(), Some(128 + 9));
}

/// Whether this process was started to ignore a signal, as `nohup` has it. Source: proc(5), `SigIgn` of `status`.
#[cfg(unix)]
fn is_ignored(signal: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal - 1)) != 0)
}
