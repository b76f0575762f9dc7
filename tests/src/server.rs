//! The real program, started on a port and a folder of its own.
//!
//! It is the binary that `cargo` built from this work tree: `TEST_HEARTH_BIN` names it (`./test` sets that), else the
//! first test that needs it has it built.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Ask;
use crate::{Connection, Finished, PATIENCE, Process, Socket, Sse};

/// How the program is to be started. Nothing runs before [`Launch::start`] or [`Launch::refused`].
#[derive(Clone, Debug)]
pub struct Launch {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    under: Vec<String>,
    folder: Folder,
}

#[derive(Clone, Debug)]
enum Folder {
    Fresh,
    Named(PathBuf),
    Absent,
}

impl Launch {
    /// `hearth dev` on a fresh folder.
    pub fn dev() -> Self {
        Self::command("dev")
    }

    /// `hearth serve` on a fresh folder.
    pub fn serve() -> Self {
        Self::command("serve")
    }

    fn command(command: &str) -> Self {
        Self { command: command.into(), args: Vec::new(), env: Vec::new(), under: Vec::new(), folder: Folder::Fresh }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Adds a variable of the environment. `HEARTH_*` of the test's own environment is never handed on.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it through another program, which is given these arguments, then the path of `hearth` and all of its own. It
    /// must end in `exec`: signals are meant for the server.
    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// Uses this data folder, which outlives the server.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.folder = Folder::Named(folder.to_owned());
        self
    }

    /// Keeps nothing on disk: `--ephemeral`, and no `--data`.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.args.push("--ephemeral".into());
        self.folder = Folder::Absent;
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// With all it said, when it ends or does not say where it listens.
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|finished| panic!("the server does not serve: {finished:#?}"))
    }

    /// The same where it may refuse to.
    ///
    /// # Errors
    /// What it left behind, when it ends without serving.
    #[track_caller]
    pub fn try_start(self) -> Result<Server, Box<Finished>> {
        let (data, kept) = match &self.folder {
            Folder::Fresh => {
                let kept = TempDir::with_prefix("hearth-test-").expect("the temporary folder is writable");
                (Some(kept.path().join("data")), Some(kept))
            }
            Folder::Named(path) => (Some(path.clone()), None),
            Folder::Absent => (None, None),
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let process = Process::spawn(self.to_command(listen, data.as_deref()));
        match process.wait_line(PATIENCE, listening_line) {
            Some(address) => Ok(Server { process, address, launch: self, data, _kept: kept }),
            None => match process.wait_end(PATIENCE) {
                Some(finished) => Err(Box::new(finished)),
                None => panic!("it neither serves nor ends: {:#?}", process.output()),
            },
        }
    }

    /// Starts it where it must refuse to, and waits for its end.
    ///
    /// # Panics
    /// When it serves, or says nothing until the deadline.
    #[track_caller]
    pub fn refused(self) -> Finished {
        let kept = TempDir::with_prefix("hearth-test-").expect("the temporary folder is writable");
        let data = match &self.folder {
            Folder::Fresh => Some(kept.path().join("data")),
            Folder::Named(path) => Some(path.clone()),
            Folder::Absent => None,
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let process = Process::spawn(self.to_command(listen, data.as_deref()));
        if let Some(address) = process.wait_line(PATIENCE, listening_line) {
            panic!("it was to refuse, but listens on {address}: {:#?}", process.output());
        }
        process.wait_end(PATIENCE).unwrap_or_else(|| panic!("it neither serves nor ends: {:#?}", process.output()))
    }

    fn to_command(&self, listen: SocketAddr, data: Option<&Path>) -> Command {
        let mut command = match self.under.split_first() {
            Some((program, args)) => {
                let mut command = bare(program.as_ref());
                command.args(args).arg(hearth_path());
                command
            }
            None => bare(hearth_path()),
        };
        command.arg(&self.command);
        // A test that names its own address means it.
        if !self.args.iter().any(|arg| arg == "--listen") {
            command.arg("--listen").arg(listen.to_string());
        }
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running server. Dropping it kills it and removes its folder.
///
/// Start with [`Server::start`], ask with [`Server::get`] and its kin, listen with [`Server::sse`] and
/// [`Server::socket`].
pub struct Server {
    process: Process,
    address: SocketAddr,
    launch: Launch,
    data: Option<PathBuf>,
    _kept: Option<TempDir>,
}

impl Server {
    /// `hearth dev` on a free port and a fresh folder, with these arguments besides.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Launch::dev().args(args).start()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` and this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its data folder; panics for an ephemeral server.
    pub fn data(&self) -> &Path {
        self.data.as_deref().expect("this server keeps nothing on disk")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything it has written so far: standard output, standard error.
    pub fn output(&self) -> (String, String) {
        self.process.output()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// A request that is not sent yet.
    pub fn ask(&self, method: &str, target: &str) -> Ask {
        Ask::new(self.address, method, target)
    }

    /// A `GET` that is not sent yet.
    pub fn get(&self, target: &str) -> Ask {
        self.ask("GET", target)
    }

    /// A `POST` of JSON that is not sent yet.
    pub fn post(&self, target: &str, body: &Value) -> Ask {
        self.ask("POST", target).json(body)
    }

    /// A `PUT` of JSON that is not sent yet.
    pub fn put(&self, target: &str, body: &Value) -> Ask {
        self.ask("PUT", target).json(body)
    }

    /// A `PATCH` of JSON that is not sent yet.
    pub fn patch(&self, target: &str, body: &Value) -> Ask {
        self.ask("PATCH", target).json(body)
    }

    /// A `DELETE` that is not sent yet.
    pub fn delete(&self, target: &str) -> Ask {
        self.ask("DELETE", target)
    }

    /// A connection for several requests, or for bytes that are no request at all.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Listens to this address by SSE.
    #[track_caller]
    pub fn sse(&self, target: &str) -> Sse {
        Sse::open(self.get(target))
    }

    /// Opens a WebSocket to `/db`.
    #[track_caller]
    pub fn socket(&self) -> Socket {
        Socket::open(self.address, "/db", &[])
    }

    /// The value of a counter or gauge in `/metrics`, added up over its labels; 0 where it does not stand there.
    ///
    /// A counter that a test relies on to stay 0 must be seen to move by another test.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        sum_metric(&self.get("/metrics").send().expect_status(200).text(), name)
    }

    /// Kills it as a crash would: SIGKILL, no goodbye. The folder stays for [`Server::restart`].
    pub fn kill9(&self) {
        self.process.kill9();
        self.process.wait_end(PATIENCE);
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    ///
    /// # Panics
    /// With all it said, when it does not end.
    #[track_caller]
    pub fn stop(&self) -> Finished {
        self.process.terminate();
        self.process
            .wait_end(PATIENCE)
            .unwrap_or_else(|| panic!("it does not stop on SIGTERM: {:#?}", self.process.output()))
    }

    /// Starts it again on the same port and folder with the same arguments; kills it first where it still runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|finished| panic!("the server does not serve again: {finished:#?}"));
    }

    /// The same where it may refuse to.
    ///
    /// # Errors
    /// What it left behind, when it ends without serving.
    #[track_caller]
    pub fn try_restart(&mut self) -> Result<(), Box<Finished>> {
        self.kill9();
        self.process = Process::spawn(self.launch.to_command(self.address, self.data.as_deref()));
        match self.process.wait_line(PATIENCE, listening_line) {
            Some(address) => {
                self.address = address;
                Ok(())
            }
            None => match self.process.wait_end(PATIENCE) {
                Some(finished) => Err(Box::new(finished)),
                None => panic!("it neither serves nor ends: {:#?}", self.process.output()),
            },
        }
    }
}

/// Runs `hearth` with these arguments to its end, as one does at a prompt.
///
/// # Panics
/// When it does not end within two minutes.
#[track_caller]
pub fn hearth(args: &[&str]) -> Finished {
    let mut command = bare(hearth_path());
    command.args(args);
    let process = Process::spawn(command);
    let patience = Duration::from_secs(120);
    process.wait_end(patience).unwrap_or_else(|| panic!("hearth {args:?} does not end: {:#?}", process.output()))
}

/// The program under test, built if need be.
pub fn hearth_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| env::var_os("TEST_HEARTH_BIN").map_or_else(build, PathBuf::from))
}

/// Builds the program beside this test and with its profile.
fn build() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    // TARGET/PROFILE/deps/this-test
    let profile = test.parent().and_then(Path::parent).expect("cargo puts tests two folders down");
    let target = profile.parent().expect("cargo puts tests three folders down");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "hearth", "--bin", "hearth"]);
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => {}
        Some(name) => drop(command.args(["--profile", name])),
        None => panic!("no profile in {}", test.display()),
    }
    command.current_dir(crate::repository()).env("CARGO_TARGET_DIR", target);
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "`cargo build --package hearth` failed");
    profile.join("hearth")
}

/// A program without arguments, in an environment that holds no settings of Hearth.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEARTH_")) {
        command.env_remove(name);
    }
    // A `hearth.toml` of whoever runs the tests is not meant either.
    command.current_dir(env::temp_dir()).env("NO_COLOR", "1");
    command
}

/// Reads the one line that a server promises to print, on standard output, once it serves.
fn listening_line(line: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix("hearth: listening on ")?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn sum_metric(text: &str, name: &str) -> f64 {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        })
        .fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_promised_line_only() {
        let read = |line| listening_line(line).map(|address| address.to_string());
        assert_eq!(read("hearth: listening on http://127.0.0.1:8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(read("hearth: listening on https://[::1]:9/ (TLS)").as_deref(), Some("[::1]:9"));
        assert_eq!(read("listening on http://127.0.0.1:8080"), None);
        assert_eq!(read("hearth: listening on http://somewhere"), None);
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_with_its_neighbours() {
        let text = "# TYPE a counter\na{x=\"1 2\"} 2\na{x=\"3\"} 3.5\na_total 100\nb 7\n";
        assert_eq!(sum_metric(text, "a"), 5.5);
        assert_eq!(sum_metric(text, "b"), 7.0);
        assert_eq!(sum_metric(text, "c"), 0.0);
    }
}
