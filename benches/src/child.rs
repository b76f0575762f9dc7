//! A server in a process of its own, so that what it costs can be told from what its clients cost.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Setting;
use crate::machine::{self, Memory};

/// What a server prints before its address.
pub(crate) const LISTENING: &str = "listening on http://";

/// A running server. Dropping it kills it, which is what `kill -9` does.
pub(crate) struct Child {
    process: process::Child,
    address: SocketAddr,
}

impl Child {
    /// `hearth dev` on a folder.
    pub(crate) fn hearth(setting: &Setting, data: &Path, limits: &[(&str, u64)]) -> Result<Self> {
        let mut command = Command::new(&setting.hearth);
        let own = std::env::vars_os().map(|(name, _)| name);
        own.filter(|name| name.to_string_lossy().starts_with("HEARTH_")).for_each(|name| {
            command.env_remove(name);
        });
        for (limit, value) in limits {
            command.env(format!("HEARTH_LIMITS_{}", limit.to_uppercase()), value.to_string());
        }
        // A hearth.toml of whoever runs this is not meant.
        command
            .current_dir(&setting.folder)
            .args(["dev", "--listen", "127.0.0.1:0", "--log", "warn", "--data"])
            .arg(data);
        Self::start(command)
    }

    /// Starts a server that says where it listens, and nothing else that has to be read.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.with_context(|| format!("cannot start {command:?}"))?;
        let stdout = BufReader::new(process.stdout.take().context("its output was asked for")?);
        let mut lines = stdout.lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(LISTENING)?.1.split_whitespace().next()?.parse::<SocketAddr>().ok());
        // The rest is read to its end, lest the server wait for it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        match found {
            Some(address) => Ok(Self { process, address }),
            None => {
                let status = process.wait()?;
                anyhow::bail!("{command:?} ended without saying where it listens ({status})")
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        machine::cpu(self.process.id())
    }

    /// CPU that it has used, once it uses next to none any more: what it does in the background is its work too.
    pub(crate) fn cpu_at_rest(&self) -> Result<Duration> {
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        // What is in no full generation is applied after a second without other work.
        const LOOKS_AT_REST: usize = 5;
        let mut before = self.cpu()?;
        let mut at_rest = 0;
        while at_rest < LOOKS_AT_REST {
            std::thread::sleep(LOOK_EVERY);
            let now = self.cpu()?;
            at_rest = if now - before <= Duration::from_millis(10) { at_rest + 1 } else { 0 };
            before = now;
        }
        Ok(before)
    }

    /// Memory that it takes.
    pub(crate) fn memory(&self) -> Result<Memory> {
        machine::memory(self.process.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
