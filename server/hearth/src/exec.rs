//! `hearth exec -- CMD`: runs a command beside a fresh server of its own, which goes with it: for tests.
//!
//! The command finds the server where Firebase's SDKs look for an emulator, and under `HEARTH_URL`. It has the terminal to
//! itself: what the server says goes to standard error, and only where something is wrong, unless `--log` says otherwise.

use std::process::{Command, ExitStatus};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::args::ExecArgs;
use crate::exit::Exit;
use crate::server::Running;

/// The code of a command that could not be found. Source: POSIX, Shell Command Language, 2.8.2.
const NOT_FOUND: u8 = 127;
/// The code of a command that could not be run. Source: the same.
const NOT_RUN: u8 = 126;
/// What is added to the number of the signal that ended a command. Source: the same, as shells do it.
const SIGNALLED: i32 = 128;

/// Runs the command until it ends, and answers its code.
pub(crate) async fn run(args: &ExecArgs, running: &Running) -> Result<u8, Exit> {
    let (program, rest) = args.command.split_first().expect("the command line demands one");
    let mut command = Command::new(program);
    command.args(rest).envs(variables(running));
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("hearth: {}: {error}", program.to_string_lossy());
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(if is_missing { NOT_FOUND } else { NOT_RUN });
        }
    };
    let id = child.id();
    let ended = with_signals(id, tokio::task::spawn_blocking(move || child.wait())).await;
    Ok(code(ended.map_err(Exit::failed)?))
}

/// What the command finds in its environment.
fn variables(running: &Running) -> Vec<(&'static str, String)> {
    let (host, project) = (running.address.to_string(), &running.project);
    // Source: Firebase JS SDK, `getDefaults` of @firebase/util: what `initializeApp()` and emulators are taken from.
    let defaults = json!({
        "config": { "projectId": project, "apiKey": "local", "appId": "local" },
        "emulatorHosts": { "firestore": host },
    });
    vec![
        ("HEARTH_URL", format!("http://{host}")),
        ("FIRESTORE_EMULATOR_HOST", host),
        ("GCLOUD_PROJECT", project.clone()),
        ("GOOGLE_CLOUD_PROJECT", project.clone()),
        ("__FIREBASE_DEFAULTS__", defaults.to_string()),
    ]
}

/// Waits for the end of a child, which is handed every signal that asks this process to stop.
#[cfg(unix)]
async fn with_signals(id: u32, mut ended: JoinHandle<std::io::Result<ExitStatus>>) -> std::io::Result<ExitStatus> {
    use std::io::IsTerminal as _;

    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // What is typed at a terminal goes to everybody there, the child included; twice would be once too often.
    let is_typed = std::io::stdin().is_terminal();
    loop {
        let signal = tokio::select! {
            ended = &mut ended => return ended?,
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => match is_typed {
                true => continue,
                false => Signal::INT,
            },
            _ = hang_up.recv() => Signal::HUP,
        };
        if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw)
            && let Err(error) = kill_process(id, signal)
        {
            tracing::debug!(%error, "the command has ended already");
        }
    }
}

#[cfg(not(unix))]
async fn with_signals(_id: u32, mut ended: JoinHandle<std::io::Result<ExitStatus>>) -> std::io::Result<ExitStatus> {
    // The system hands ctrl-c to everybody at the console; here it must not end this process first.
    loop {
        tokio::select! {
            ended = &mut ended => return ended?,
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

fn code(ended: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&ended);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = ended.code().or(signal.map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
