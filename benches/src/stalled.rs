//! Readers who stop reading: what waits for them is bounded, and the others hear on.
//!
//! Every listener has a query of its own, so that no event is shared: what waits for one takes memory of its own.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::child::Child;
use crate::swarm::{self, Flow, Swarm, Way};
use crate::{Found, Setting};

const COLLECTION: &str = "slow";
/// What may wait for one connection: less than the default, so that the bound is reached soon.
const OUTBOX_BYTES: u64 = 256 << 10;
/// Bytes that a client's kernel keeps for it; what the server's own keeps is not the server's memory.
const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes of the document that is changed.
const DOCUMENT_BYTES: usize = 32 << 10;

/// The row `stalled`.
pub fn stalled(setting: &Setting) -> Result<Vec<Found>> {
    let (listeners, changes) = setting.scale.pick((1_000, 250), (20, 250));
    let stalls = listeners / 2;
    let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
    let limits = [("connections_max", listeners as u64 + 100), ("outbox_bytes_max", OUTBOX_BYTES)];
    let server = Child::hearth(setting, &folder.path().join("data"), &limits)?;
    let way = |index: usize| if index.is_multiple_of(2) { Way::WebSocket } else { Way::Sse };
    let mut swarm = Swarm::new()?;
    for index in 0..listeners {
        let socket = TcpStream::connect(server.address())?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES)?;
        swarm.add(socket, &way(index).hello(COLLECTION, index))?;
    }
    let (mut opened, mut heads) = (0, vec![Vec::new(); listeners]);
    swarm.read(|_, index, bytes| {
        let (head, way): (&mut Vec<u8>, Way) = (&mut heads[index], way(index));
        let was = swarm::holds(head, way.opened());
        head.extend_from_slice(bytes);
        opened += usize::from(!was && swarm::holds(head, way.opened()));
        Ok(if opened == listeners { Flow::Enough } else { Flow::More })
    })?;
    let mut writer = TcpStream::connect(server.address())?;
    writer.set_nodelay(true)?;
    writer.set_read_timeout(Some(swarm::PATIENCE))?;
    let text = "x".repeat(DOCUMENT_BYTES);
    let mut before = 0;
    let mut most = 0;
    let mut heard = vec![0_usize; listeners];
    for n in 0..changes {
        // All have heard once, and have what a connection has that has heard; then half of them stop reading.
        if n == 2 {
            (0..stalls).try_for_each(|index| swarm.mute(index))?;
            before = server.memory()?.resident;
        }
        let first = if n < 2 { 0 } else { stalls };
        heard.fill(0);
        let body = json!({ "n": n, "text": text }).to_string();
        writer.write_all(&swarm::request("PUT", &format!("/db/{COLLECTION}/it"), &body))?;
        let mut left = listeners - first;
        swarm.read(|socket, index, bytes| {
            let bytes = if way(index) == Way::WebSocket { swarm::answer_ping(socket, bytes)? } else { bytes };
            let had = heard[index] >= DOCUMENT_BYTES;
            heard[index] += bytes.len();
            left -= usize::from(!had && heard[index] >= DOCUMENT_BYTES);
            Ok(if left == 0 { Flow::Enough } else { Flow::More })
        })?;
        let (status, _) = swarm::ask(&mut writer, b"")?;
        ensure!(status < 300, "a write was answered with {status}");
        most = most.max(server.memory()?.resident);
    }
    let lags = metric(&server, "hearth_lags_total")?;
    if setting.scale.pick(true, false) {
        ensure!(
            lags >= stalls as f64,
            "only {lags} of {stalls} outboxes were full: the stalled were not stalled enough"
        );
    }
    let grown = most.saturating_sub(before) as f64;
    let bound = (stalls as u64 * OUTBOX_BYTES) as f64;
    let details = format!(
        "of {stalls} × {} KiB; grown by {:.0} MB from {:.0} MB, with {} MB for each stalled reader; {lags} outboxes were dropped",
        OUTBOX_BYTES >> 10,
        grown / 1e6,
        before as f64 / 1e6,
        changes * DOCUMENT_BYTES / 1_000_000
    );
    Ok(vec![Found { name: "stalled", value: grown / bound, details }])
}

fn metric(server: &Child, name: &str) -> Result<f64> {
    let mut socket = TcpStream::connect(server.address())?;
    let (_, bytes) = swarm::ask(&mut socket, &swarm::request("GET", "/metrics", ""))?;
    let text = String::from_utf8_lossy(&bytes);
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    Ok(text.lines().find_map(of).unwrap_or_default())
}
