//! A child process whose output is kept and can be waited for. It knows nothing of Hearth.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running child. Dropping it kills it and waits for its end.
pub struct Process {
    pid: Pid,
    seen: Arc<Seen>,
}

/// What a process left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; panics with the output where a signal ended it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:#?}"))
    }

    /// Standard output of a success; panics with all output otherwise.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "the command failed: {self:#?}");
        self.stdout
    }
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stdout: Vec<String>,
    stderr: Vec<String>,
    open: usize,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output captured and no input.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let pid = Pid::from_child(&child);
        let seen = Arc::new(Seen::default());
        seen.state.lock().expect("no panic while held").open = 2;
        let stdout = child.stdout.take().expect("piped above");
        let stderr = child.stderr.take().expect("piped above");
        keep(stdout, &seen, |state| &mut state.stdout);
        keep(stderr, &seen, |state| &mut state.stderr);
        let waiting = Arc::clone(&seen);
        thread::spawn(move || {
            let status = child.wait().expect("a child of ours can be waited for");
            waiting.state.lock().expect("no panic while held").status = Some(status);
            waiting.changed.notify_all();
        });
        Self { pid, seen }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The first line of standard output, seen or still to come, that `want` turns into something. `None` when the
    /// process ends without it, or at the deadline.
    pub fn wait_line<T>(&self, patience: Duration, want: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.wait(patience, |state| match state.stdout.iter().find_map(|line| want(line)) {
            Some(found) => Some(Some(found)),
            None if state.open == 0 && state.status.is_some() => Some(None),
            None => None,
        })
        .flatten()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.seen.state.lock().expect("no panic while held").status.is_none()
    }

    /// Everything written so far: standard output, standard error.
    pub fn output(&self) -> (String, String) {
        let state = self.seen.state.lock().expect("no panic while held");
        (text(&state.stdout), text(&state.stderr))
    }

    /// Waits for its end and for the last of its output. `None` at the deadline; it then still runs.
    pub fn wait_end(&self, patience: Duration) -> Option<Finished> {
        self.wait(patience, |state| {
            let status = state.status.filter(|_| state.open == 0)?;
            Some(Finished { status, stdout: text(&state.stdout), stderr: text(&state.stderr) })
        })
    }

    /// Asks it to stop: SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once: SIGKILL. It learns nothing of it.
    pub fn kill9(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Held over the call, so that the id of a process that has already ended is not signalled.
        let state = self.seen.state.lock().expect("no panic while held");
        if state.status.is_none() {
            // It may have ended this instant: then there is nobody to tell, which is what was wanted.
            let _ = kill_process(self.pid, signal);
        }
    }

    fn wait<T>(&self, patience: Duration, mut look: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut state = self.seen.state.lock().expect("no panic while held");
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.seen.changed.wait_timeout(state, left).expect("no panic while held").0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        self.wait(crate::PATIENCE, |state| state.status);
    }
}

fn keep(pipe: impl Read + Send + 'static, seen: &Arc<Seen>, into: fn(&mut State) -> &mut Vec<String>) {
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(bytes) if bytes > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            into(&mut seen.state.lock().expect("no panic while held")).push(text);
            seen.changed.notify_all();
            line.clear();
        }
        seen.state.lock().expect("no panic while held").open -= 1;
        seen.changed.notify_all();
    });
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command)
    }

    #[test]
    fn a_line_is_found_whether_it_was_there_or_comes_later() {
        let process = shell("echo one; echo two; exec cat /dev/zero > /dev/null");
        assert_eq!(process.wait_line(crate::PATIENCE, |line| (line == "two").then_some(2)), Some(2));
        assert_eq!(process.wait_line(crate::PATIENCE, |line| (line == "one").then_some(1)), Some(1));
        assert!(process.is_running());
    }

    #[test]
    fn waiting_for_a_line_ends_with_the_process() {
        let process = shell("echo other; exit 3");
        assert_eq!(process.wait_line(crate::PATIENCE, |line| (line == "never").then_some(())), None);
        let finished = process.wait_end(crate::PATIENCE).unwrap();
        assert_eq!((finished.code(), finished.stdout.as_str()), (3, "other\n"));
    }

    #[test]
    fn sigterm_can_be_obeyed_and_sigkill_cannot_be_refused() {
        let polite = shell("trap 'echo bye >&2; exit 7' TERM; echo ready; while :; do :; done");
        polite.wait_line(crate::PATIENCE, |line| (line == "ready").then_some(())).unwrap();
        polite.terminate();
        let finished = polite.wait_end(crate::PATIENCE).unwrap();
        assert_eq!((finished.code(), finished.stderr.as_str()), (7, "bye\n"));

        let deaf = shell("trap '' TERM; echo ready; while :; do :; done");
        deaf.wait_line(crate::PATIENCE, |line| (line == "ready").then_some(())).unwrap();
        deaf.terminate();
        deaf.kill9();
        assert_eq!(deaf.wait_end(crate::PATIENCE).unwrap().status.code(), None);
    }
}
