//! A million documents in the program: how long it takes to be ready again after `kill -9`, and how much memory it takes.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::child::Child;
use crate::swarm::{self, Swarm};
use crate::{Found, Setting, http, material};

/// Documents of one commit while the million is written.
const BATCH: usize = 100;
/// Clients who write it.
const CLIENTS: usize = 4;
/// How long the server may take to be ready before this gives up.
const READY_MAX: Duration = Duration::from_secs(300);

fn batch(first: usize) -> Vec<u8> {
    let write =
        |n| json!({ "set": format!("{}/{}", material::COLLECTION, material::id(n)), "data": material::json(n) });
    let writes: Vec<_> = (first..first + BATCH).map(write).collect();
    swarm::request("POST", "/db", &json!({ "writes": writes }).to_string())
}

/// Waits until this document is answered; asks again as long as the server says that it is opening its data.
fn ready(server: &Child, n: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let mut socket = TcpStream::connect(server.address())?;
        let target = format!("/db/{}/{}", material::COLLECTION, material::id(n));
        let (status, bytes) = swarm::ask(&mut socket, &swarm::request("GET", &target, ""))?;
        match status {
            200 => return Ok(()),
            503 if start.elapsed() < READY_MAX => std::thread::sleep(Duration::from_millis(50)),
            status => bail!("a read was answered with {status}: {}", String::from_utf8_lossy(&bytes)),
        }
    }
}

/// The rows `million-ready` and `million-resident`.
pub fn million(setting: &Setting) -> Result<Vec<Found>> {
    let count = setting.scale.pick(1_000_000, 400);
    let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
    let data = folder.path().join("data");
    let server = Child::hearth(setting, &data, &[])?;
    let mut clients = Swarm::new()?;
    for _ in 0..CLIENTS {
        clients.connect(server.address(), b"")?;
    }
    let start = Instant::now();
    http::requests(&mut clients, count / BATCH, |status| status == 200, |turn| batch(turn * BATCH))?;
    let written = start.elapsed();
    let loaded = server.memory()?;
    // Killed with a commit on its way, and with whatever the state has not been given yet.
    clients.say(0, &batch(count))?;
    drop(server);

    let start = Instant::now();
    let server = Child::hearth(setting, &data, &[])?;
    let listening = start.elapsed();
    ready(&server, count - 1)?;
    let is_ready = start.elapsed();
    let opened = server.memory()?;
    // Documents from everywhere, so that what reading keeps in memory is there.
    let mut clients = Swarm::new()?;
    for _ in 0..CLIENTS {
        clients.connect(server.address(), b"")?;
    }
    let reads = setting.scale.pick(50_000, 50);
    let target = |n: usize| format!("/db/{}/{}", material::COLLECTION, material::id(n * 7_919 % count));
    http::requests(&mut clients, reads, |status| status == 200, |n| swarm::request("GET", &target(n), ""))?;
    let read = server.memory()?;
    ensure!(read.peak >= opened.resident, "the peak is what it is called");

    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let state = bytes_below(&data.join("state")).context("the state is there")?;
    let seconds = is_ready.as_secs_f64();
    let ready = format!(
        "listening after {:.1} s; a state of {:.0} MB; writing took {:.0} s",
        listening.as_secs_f64(),
        megabytes(state),
        written.as_secs_f64()
    );
    let most = loaded.resident.max(opened.resident).max(read.resident);
    let resident = format!(
        "{:.0} MB when all were written, {:.0} MB when ready again, {:.0} MB after {reads} reads; peaks {:.0} and {:.0} MB",
        megabytes(loaded.resident),
        megabytes(opened.resident),
        megabytes(read.resident),
        megabytes(loaded.peak),
        megabytes(read.peak)
    );
    Ok(vec![
        Found { name: "million-ready", value: seconds, details: ready },
        Found { name: "million-resident", value: megabytes(most), details: resident },
    ])
}

fn bytes_below(folder: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { bytes_below(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
