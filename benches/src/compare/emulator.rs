//! Google's own emulator as a server to compare with: Debian's package google-cloud-cli-firestore-emulator, and Java.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::machine::{self, Memory};

const PACKAGE: &str = "google-cloud-cli-firestore-emulator";
const MAIN: &str = "com.google.cloud.datastore.emulator.firestore.CloudFirestore";
/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where its program is; or, in words, what is missing.
pub(crate) fn find() -> Result<String, String> {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let files = said("dpkg", &["-L", PACKAGE]).unwrap_or_default();
    let jar = files.lines().find(|path| path.ends_with("emulator.jar"));
    let jar = jar.ok_or_else(|| format!("Debian's package {PACKAGE} is not installed"))?;
    said("java", &["--version"]).ok_or("Java is not installed")?;
    Ok(jar.into())
}

/// It, running. Dropping it kills it.
pub(crate) struct Emulator {
    process: process::Child,
    pub(crate) address: SocketAddr,
}

impl Emulator {
    /// Starts it as Firebase's tools do, and returns when it takes connections.
    pub(crate) fn start(jar: &str) -> Result<Self> {
        // It chooses no port by itself; this one was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("java");
        command.args(["-cp", jar, MAIN, "--host=127.0.0.1", &format!("--port={}", address.port())]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut emulator = Self { process: spawned.context("java cannot be started")?, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = emulator.process.try_wait()? {
                bail!("the emulator ended ({status})");
            }
            anyhow::ensure!(start.elapsed() < PATIENCE, "the emulator does not listen");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(emulator)
    }

    /// CPU that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        machine::cpu(self.process.id())
    }

    /// Memory that it takes.
    pub(crate) fn memory(&self) -> Result<Memory> {
        machine::memory(self.process.id())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
