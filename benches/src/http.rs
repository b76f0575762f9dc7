//! Commits and reads over HTTP by 64 clients who keep their connections: what each costs the server.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::child::Child;
use crate::engine::WRITERS as CLIENTS;
use crate::swarm::{self, Flow, Swarm};
use crate::{Found, Setting, list, material, median};

/// Answers, by status, that a client accepts.
type Accepts = fn(u16) -> bool;

/// Has the clients ask so many requests, each its next when its last was answered.
pub(crate) fn requests(
    swarm: &mut Swarm,
    count: usize,
    accepts: Accepts,
    mut make: impl FnMut(usize) -> Vec<u8>,
) -> Result<()> {
    let clients = swarm.len();
    let (mut asked, mut answered) = (0, 0);
    for client in 0..clients.min(count) {
        swarm.say(client, &make(asked))?;
        asked += 1;
    }
    let mut heads: Vec<Vec<u8>> = vec![Vec::new(); clients];
    swarm.read(|socket, client, bytes| {
        let head = &mut heads[client];
        head.extend_from_slice(bytes);
        let Some((status, length)) = swarm::answer(head)? else { return Ok(Flow::More) };
        if head.len() < length {
            return Ok(Flow::More);
        }
        ensure!(accepts(status), "a request was answered so: {}", String::from_utf8_lossy(head));
        head.clear();
        answered += 1;
        if asked < count {
            std::io::Write::write_all(socket, &make(asked))?;
            asked += 1;
        }
        Ok(if answered == count { Flow::Enough } else { Flow::More })
    })
}

fn micros(used: Duration, count: usize) -> f64 {
    used.as_secs_f64() * 1e6 / count as f64
}

/// The rows `http-commit` and `http-read`.
pub fn http(setting: &Setting) -> Result<Vec<Found>> {
    let (commits, reads) = setting.scale.pick((20_000, 40_000), (100, 100));
    let (mut by_commit, mut answered, mut by_read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.runs {
        let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
        let server = Child::hearth(setting, &folder.path().join("data"), &[])?;
        let mut swarm = Swarm::new()?;
        for _ in 0..CLIENTS {
            swarm.connect(server.address(), b"")?;
        }
        let target = |n| format!("/db/{}/{}", material::COLLECTION, material::id(n));
        let mut waiting: VecDeque<Vec<u8>> =
            (0..commits).map(|n| swarm::request("PUT", &target(n), &material::json(n).to_string())).collect();
        // The first commit makes the database.
        let first = |_| swarm::request("PUT", &target(commits), &material::json(commits).to_string());
        requests(&mut swarm, 1, |status| status == 201, first)?;

        let before = server.cpu_at_rest()?;
        requests(&mut swarm, commits, |status| status == 201, |_| waiting.pop_front().unwrap_or_default())?;
        answered.push(micros(server.cpu()? - before, commits));
        // What was committed is brought into the state after the answers: that is work for these commits too.
        let between = server.cpu_at_rest()?;
        by_commit.push(micros(between - before, commits));

        let read = |n: usize| swarm::request("GET", &target(n * 7_919 % commits), "");
        requests(&mut swarm, reads, |status| status == 200, read)?;
        by_read.push(micros(server.cpu()? - between, reads));
    }
    let commit = format!(
        "{:.0} µs until all are answered, the rest for what follows in the background; runs {}",
        median(&answered),
        list(&by_commit, 0)
    );
    Ok(vec![
        Found { name: "http-commit", value: median(&by_commit), details: commit },
        Found { name: "http-read", value: median(&by_read), details: format!("runs {}", list(&by_read, 1)) },
    ])
}
