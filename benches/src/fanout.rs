//! One change and a thousand or ten thousand who hear of it, beside a server that writes the same bytes and nothing else.
//!
//! CPU is what counts, not time: clients share the machine with the server. Every listener has its event before the
//! next change is made, so that no two of them leave in one write.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::child::Child;
use crate::machine::TICK;
use crate::swarm::{self, Flow, Swarm, Way};
use crate::{Found, Setting, list, median};

const COLLECTION: &str = "fan";
/// Connections that may be open beside the listeners'.
const CONNECTIONS_SPARE: u64 = 1_000;

/// The plain server: accepts so many connections, then one more, and for each byte that comes on that one writes a frame
/// of so many bytes to all others.
pub fn plain(listeners: usize, frame_bytes: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("plain: {}{}", crate::child::LISTENING, listener.local_addr()?);
    let mut sockets = Vec::with_capacity(listeners);
    for _ in 0..listeners {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let (mut control, _) = listener.accept()?;
    let mut frame = vec![b'x'; frame_bytes];
    *frame.last_mut().context("a frame has bytes")? = b'}';
    let mut byte = [0];
    while control.read(&mut byte)? > 0 {
        for socket in &mut sockets {
            socket.write_all(&frame)?;
        }
        control.write_all(&byte)?;
    }
    Ok(())
}

/// Listeners of one server, all of which have heard the same.
struct Audience {
    way: Way,
    swarm: Swarm,
    control: TcpStream,
    /// Bytes of the present round, by listener.
    heard: Vec<usize>,
}

impl Audience {
    fn gather(server: &Child, way: Way, listeners: usize) -> Result<Self> {
        let mut swarm = Swarm::new()?;
        let hello = way.hello(COLLECTION, 0);
        for _ in 0..listeners {
            swarm.connect(server.address(), &hello)?;
        }
        let control = TcpStream::connect(server.address())?;
        control.set_nodelay(true)?;
        control.set_read_timeout(Some(swarm::PATIENCE))?;
        let mut audience = Self { way, swarm, control, heard: vec![0; listeners] };
        if way != Way::Plain {
            audience.wait_opened()?;
        }
        Ok(audience)
    }

    fn wait_opened(&mut self) -> Result<()> {
        let (way, mut opened) = (self.way, 0);
        let mut heads = vec![Vec::new(); self.heard.len()];
        let wanted = self.heard.len();
        self.swarm.read(|socket, index, bytes| {
            let bytes = if way == Way::WebSocket { swarm::answer_ping(socket, bytes)? } else { bytes };
            let head: &mut Vec<u8> = &mut heads[index];
            let was = swarm::holds(head, way.opened()) && head.ends_with(way.end());
            head.extend_from_slice(bytes);
            let is = swarm::holds(head, way.opened()) && head.ends_with(way.end());
            opened += usize::from(is && !was);
            Ok(if opened == wanted { Flow::Enough } else { Flow::More })
        })
    }

    /// Makes one change, and waits until all have heard of it. Answers the bytes that each has heard.
    fn round(&mut self, n: usize) -> Result<usize> {
        match self.way {
            Way::Plain => self.control.write_all(b"!")?,
            Way::Sse | Way::WebSocket => {
                let body = json!({ "n": n, "text": "what a chat message has to say, about", "by": "ada" }).to_string();
                self.control.write_all(&swarm::request("PUT", &format!("/db/{COLLECTION}/it"), &body))?;
            }
        }
        self.heard.fill(0);
        let (way, heard, mut left) = (self.way, &mut self.heard, self.swarm.len());
        self.swarm.read(|socket, index, bytes| {
            let bytes = if way == Way::WebSocket { swarm::answer_ping(socket, bytes)? } else { bytes };
            // A comment that keeps a stream alive is no event.
            if bytes.is_empty() || (way == Way::Sse && bytes.len() < 16) {
                return Ok(Flow::More);
            }
            heard[index] += bytes.len();
            left -= usize::from(bytes.ends_with(way.end()));
            Ok(if left == 0 { Flow::Enough } else { Flow::More })
        })?;
        let bytes = self.heard[0];
        ensure!(self.heard.iter().all(|heard| *heard == bytes), "listeners have not all heard the same");
        match self.way {
            Way::Plain => self.control.read_exact(&mut [0])?,
            Way::Sse | Way::WebSocket => {
                let (status, _) = swarm::ask(&mut self.control, b"")?;
                ensure!(status < 300, "a write was answered with {status}");
            }
        }
        Ok(bytes)
    }
}

/// What one event costs the server, in microseconds, and how many bytes it has.
fn cost(server: &Child, way: Way, listeners: usize, rounds: usize) -> Result<(f64, usize)> {
    let mut audience = Audience::gather(server, way, listeners)?;
    // The first document is made, the others change it; and whatever is done once is done.
    let mut bytes = 0;
    for n in 0..3 {
        bytes = audience.round(10_000 + n)?;
    }
    let before = server.cpu()?;
    for n in 0..rounds {
        let now = audience.round(20_000 + n)?;
        ensure!(now == bytes, "an event of {now} bytes among those of {bytes}");
    }
    let used = (server.cpu()? - before).max(TICK);
    Ok((used.as_secs_f64() * 1e6 / (listeners * rounds) as f64, bytes))
}

fn row(setting: &Setting, name: &'static str, way: Way, listeners: usize, rounds: usize) -> Result<Found> {
    let (listeners, rounds) = setting.scale.pick((listeners, rounds), (20, 3));
    let (mut ratios, mut plains, mut ours, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..setting.runs {
        let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
        let connections = listeners as u64 + CONNECTIONS_SPARE;
        let limits = [("connections_max", connections)];
        let server = Child::hearth(setting, &folder.path().join("data"), &limits)?;
        let (hearth, event_bytes) = cost(&server, way, listeners, rounds)?;
        drop(server);
        let mut command = Command::new(&setting.myself);
        command.arg("plain").arg(listeners.to_string()).arg(event_bytes.to_string());
        let (plain, _) = cost(&Child::start(command)?, Way::Plain, listeners, rounds)?;
        ratios.push(hearth / plain);
        plains.push(plain);
        ours.push(hearth);
        bytes = event_bytes;
    }
    let details = format!(
        "{:.1} µs of server CPU an event, {:.1} µs a plain write of its {bytes} bytes; runs {}",
        median(&ours),
        median(&plains),
        list(&ratios, 2)
    );
    Ok(Found { name, value: median(&ratios), details })
}

/// The row `ws-1000`.
pub fn ws_1000(setting: &Setting) -> Result<Vec<Found>> {
    Ok(vec![row(setting, "ws-1000", Way::WebSocket, 1_000, 100)?])
}

/// The row `sse-1000`.
pub fn sse_1000(setting: &Setting) -> Result<Vec<Found>> {
    Ok(vec![row(setting, "sse-1000", Way::Sse, 1_000, 100)?])
}

/// The row `ws-10000`.
pub fn ws_10000(setting: &Setting) -> Result<Vec<Found>> {
    Ok(vec![row(setting, "ws-10000", Way::WebSocket, 10_000, 10)?])
}

/// The row `sse-10000`.
pub fn sse_10000(setting: &Setting) -> Result<Vec<Found>> {
    Ok(vec![row(setting, "sse-10000", Way::Sse, 10_000, 10)?])
}
