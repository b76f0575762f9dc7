//! Thousands of cheap clients in one thread: sockets in one poll, and a few bytes of HTTP, SSE and WebSocket by hand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How long a client waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Events that are taken at once.
const EVENTS: usize = 1_024;
/// How often is looked whether patience is at its end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sockets that are read as they become readable.
pub(crate) struct Swarm {
    poll: Poll,
    sockets: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Swarm {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { poll: Poll::new()?, sockets: Vec::new(), buffer: vec![0; READ_BYTES] })
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Connects one more and says this to it.
    pub(crate) fn connect(&mut self, address: SocketAddr, hello: &[u8]) -> Result<usize> {
        let socket = std::net::TcpStream::connect(address).context("a client cannot connect (see `ulimit -n`)")?;
        self.add(socket, hello)
    }

    /// Takes one more that is connected.
    pub(crate) fn add(&mut self, mut socket: std::net::TcpStream, hello: &[u8]) -> Result<usize> {
        socket.set_nodelay(true)?;
        socket.write_all(hello)?;
        socket.set_nonblocking(true)?;
        let index = self.sockets.len();
        let mut socket = TcpStream::from_std(socket);
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
        self.sockets.push(socket);
        Ok(index)
    }

    /// Reads no more of this one, which goes on being connected.
    pub(crate) fn mute(&mut self, index: usize) -> Result<()> {
        Ok(self.poll.registry().deregister(&mut self.sockets[index])?)
    }

    /// Says something to one. It must be short: where the socket is full, this fails.
    pub(crate) fn say(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        Ok(self.sockets[index].write_all(bytes)?)
    }

    /// Hands out what comes, with the socket's number and the sockets to answer on, until `take` has had enough.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&mut TcpStream, usize, &[u8]) -> Result<Flow>) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut heard_at = Instant::now();
        // An event is told once, so what was told is read to its end even when `take` has had enough.
        let mut enough = false;
        while !enough {
            self.poll.poll(&mut events, Some(LOOK_EVERY))?;
            ensure!(!events.is_empty() || heard_at.elapsed() < PATIENCE, "nothing has come for {PATIENCE:?}");
            for event in &events {
                heard_at = Instant::now();
                let Token(index) = event.token();
                let socket = &mut self.sockets[index];
                loop {
                    let count = match socket.read(&mut self.buffer) {
                        Ok(0) => bail!("the server has closed connection {index}"),
                        Ok(count) => count,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error).context(format!("connection {index}")),
                    };
                    enough |= take(socket, index, &self.buffer[..count])? == Flow::Enough;
                    // What comes later is an event of its own.
                    if count < self.buffer.len() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether more is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    More,
    Enough,
}

/// How a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Bytes without a protocol.
    Plain,
    Sse,
    WebSocket,
}

impl Way {
    /// What a client says to listen to a collection, `query` being what stands behind `?` in an address.
    pub(crate) fn hello(self, collection: &str, n: usize) -> Vec<u8> {
        match self {
            Self::Plain => Vec::new(),
            Self::Sse => format!(
                "GET /db/{collection}?where=n+gt+-{} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n",
                n + 1
            )
            .into_bytes(),
            Self::WebSocket => {
                let mut hello = b"GET /db HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                    sec-websocket-protocol: hearth.v1\r\n\r\n"
                    .to_vec();
                let query = format!(r#"{{"where":["n",">",-{}]}}"#, n + 1);
                let text = format!(r#"{{"id":1,"op":"listen","path":"{collection}","query":{query}}}"#);
                push_text_frame(text.as_bytes(), &mut hello);
                hello
            }
        }
    }

    /// What the first answer of a listener holds.
    pub(crate) fn opened(self) -> &'static [u8] {
        match self {
            Self::Plain => b"",
            Self::Sse => b"data: {",
            Self::WebSocket => br#""ev":"snapshot""#,
        }
    }

    /// What the bytes of an event end with.
    pub(crate) fn end(self) -> &'static [u8] {
        match self {
            Self::Plain | Self::WebSocket => b"}",
            Self::Sse => b"}\n\n\r\n",
        }
    }
}

/// An empty ping, as a server sends it. Source: RFC 6455 §5.5.2.
const PING: [u8; 2] = [0x89, 0];
/// The answer to it, masked with zeros.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Takes a ping off what came over a WebSocket, at its start or its end, and answers it. A message is text, which holds no
/// such bytes.
pub(crate) fn answer_ping<'a>(socket: &mut TcpStream, bytes: &'a [u8]) -> Result<&'a [u8]> {
    match bytes.strip_prefix(&PING).or_else(|| bytes.strip_suffix(&PING)) {
        None => Ok(bytes),
        Some(rest) => {
            socket.write_all(&PONG)?;
            Ok(rest)
        }
    }
}

/// A text frame of a client. Its mask is zero, which leaves the text as it is. Source: RFC 6455 §5.2.
fn push_text_frame(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match u8::try_from(text.len()) {
        Ok(length @ 0..=125) => out.push(0x80 | length),
        _ => {
            let length = u16::try_from(text.len()).expect("the messages of a bench are short");
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// Whether bytes hold others.
pub(crate) fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The status and the whole length of the HTTP answer that these bytes begin with, once its head is there.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer's head is no text")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer has a status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.with_context(|| format!("an answer without a length: {head}"))?;
    Ok(Some((status, end + 4 + length)))
}

/// Asks over a blocking connection and waits for the answer.
pub(crate) fn ask(socket: &mut std::net::TcpStream, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    socket.write_all(request)?;
    let mut bytes = Vec::new();
    let mut part = [0; 4_096];
    loop {
        if let Some((status, length)) = answer(&bytes)?
            && bytes.len() >= length
        {
            return Ok((status, bytes));
        }
        match socket.read(&mut part)? {
            0 => bail!("the server has closed the connection"),
            count => bytes.extend_from_slice(&part[..count]),
        }
    }
}

/// A request with a body of JSON, or without one.
pub(crate) fn request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    let about = match length {
        0 => String::new(),
        _ => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
    };
    format!("{head}{about}\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n").unwrap(), None);
        assert_eq!(answer(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{").unwrap(), Some((201, 45)));
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn frames_bear_their_length_in_one_byte_or_three() {
        let frame = |bytes: usize| {
            let mut out = Vec::new();
            push_text_frame(&vec![b'x'; bytes], &mut out);
            (out[..4].to_vec(), out.len())
        };
        assert_eq!(frame(125), (vec![0x81, 0x80 | 125, 0, 0], 6 + 125));
        assert_eq!(frame(126), (vec![0x81, 0x80 | 126, 0, 126], 8 + 126));
    }
}
