//! Runs the real program, and ends what it has started.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The program in an environment that holds no settings of it.
pub(crate) fn hearth(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEARTH_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("NO_COLOR", "1").args(args);
    command
}

#[track_caller]
pub(crate) fn run(folder: &Path, args: &[&str]) -> Output {
    hearth(folder, args).output().unwrap()
}

#[track_caller]
pub(crate) fn succeed(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn fail(folder: &Path, code: i32, args: &[&str]) -> String {
    let output = run(folder, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    #[track_caller]
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let args = [&["dev", "--listen", "127.0.0.1:0"], args].concat();
        Self::spawn(hearth(folder, &args))
    }

    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("hearth: listening on http://")?.parse().ok());
        // It may go on writing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { address: address.expect("it says where it listens"), child }
    }

    /// The status and body of an answer; the connection is closed after it.
    pub(crate) fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let host = if head.to_lowercase().contains("\r\nhost:") { "" } else { "Host: localhost\r\n" };
        let length = body.len();
        write!(socket, "{head}\r\n{host}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_string())
    }

    pub(crate) fn get(&self, target: &str) -> (u16, String) {
        self.ask(&format!("GET {target} HTTP/1.1"), "")
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that goes with the test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
