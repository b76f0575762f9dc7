//! HTTP/1.1 as a stranger would speak it: requests written by hand, answers taken apart and nothing hidden.
//!
//! No redirects, no retries, no pool, no decompression. What breaks the protocol (a wrong length, a bad chunk, an answer
//! cut short) panics: a test wants to know.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;

/// A request that is not sent yet.
#[derive(Clone, Debug)]
pub struct Ask {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    patience: Duration,
}

impl Ask {
    /// A request of this method for this target: path and query, already encoded.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.into(), target.into());
        Self { address, method, target, headers: Vec::new(), body: None, patience: PATIENCE }
    }

    /// Adds a header. `Host`, `Content-Length` and `Connection` are added at sending unless they stand here.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sends this body, whatever it is.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    /// Sends this JSON.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    /// Waits this long for the whole answer rather than [`PATIENCE`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends it on a connection of its own and reads the whole answer.
    #[track_caller]
    pub fn send(&self) -> Answer {
        self.open().whole()
    }

    /// The same with a server that may be gone: `None` where no whole answer came.
    pub fn try_send(&self) -> Option<Answer> {
        let mut stream = self.try_open()?;
        let mut body = Vec::new();
        while let Some(piece) = stream.piece(self.patience).ok()? {
            body.extend_from_slice(&piece);
        }
        Some(Answer { status: stream.status, headers: stream.headers, body })
    }

    /// [`Ask::open`] with a server that may be gone: `None` where no head of an answer came.
    pub fn try_open(&self) -> Option<Stream> {
        let deadline = Instant::now() + self.patience;
        let mut connection = Connection::try_open(self.address).ok()?;
        connection.try_write(&self.bytes(false)).ok()?;
        let (status, headers) = connection.try_head(deadline).ok()?;
        let framing = Framing::of(&self.method, status, &headers);
        Some(Stream { status, headers, framing, reader: connection.reader, deadline })
    }

    /// Sends it on a connection of its own and reads the head of the answer; the body is read as it comes.
    #[track_caller]
    pub fn open(&self) -> Stream {
        let mut connection = Connection::open(self.address);
        connection.write(&self.bytes(false));
        connection.into_stream(&self.method, self.patience)
    }

    /// The bytes of the request, as they go out.
    pub fn bytes(&self, keep_alive: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let mut add = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        if !has("Host") {
            add("Host", &self.address.to_string());
        }
        if !keep_alive && !has("Connection") {
            add("Connection", "close");
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        if let Some(body) = &self.body
            && !has("Content-Length")
            && !has("Transfer-Encoding")
        {
            add("Content-Length", &body.len().to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in their order, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The body as text; panics where it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap_or_else(|error| panic!("not UTF-8 ({error}): {self:?}"))
    }

    /// The body as JSON; panics with the answer where it is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.show()))
    }

    /// Itself, if its status is this one; panics with the answer otherwise.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert!(self.status == status, "expected status {status}, got {}", self.show());
        self
    }

    fn show(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{}\n{headers}\n{}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// A TCP connection to the server: for several requests one after the other, and for bytes that are no request.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects, or says why not.
    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(socket) })
    }

    /// Writes these bytes; panics where the server takes none of them until the deadline or hangs up.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap_or_else(|error| panic!("the server does not take the bytes: {error}"));
    }

    /// Writes these bytes, or says why not: a server may hang up on a request that it will not read to the end.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be written.
    pub fn finish_writing(&mut self) {
        // Where the server has hung up already there is nothing left to finish.
        let _ = self.reader.get_mut().shutdown(Shutdown::Write);
    }

    /// Sends a request and reads the answer; the connection stays open.
    #[track_caller]
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        self.write(&ask.bytes(true));
        self.answer(&ask.method)
    }

    /// Reads one answer to a request of this method.
    #[track_caller]
    pub fn answer(&mut self, method: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        let (status, headers) = self.head(deadline);
        let mut framing = Framing::of(method, status, &headers);
        let mut body = Vec::new();
        while let Some(piece) = framing.next(&mut self.reader, deadline) {
            body.extend_from_slice(&piece.unwrap_or_else(|late| panic!("{late}; so far {status} {headers:?}")));
        }
        Answer { status, headers, body }
    }

    /// Everything that comes until the server hangs up. `None` at the deadline.
    pub fn read_to_end(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match read_some(&mut self.reader, &mut piece, deadline) {
                Ok(0) => return Some(all),
                Ok(bytes) => all.extend_from_slice(&piece[..bytes]),
                Err(error) if late(&error) => return None,
                // A reset is a way of hanging up.
                Err(_) => return Some(all),
            }
        }
    }

    #[track_caller]
    fn into_stream(mut self, method: &str, patience: Duration) -> Stream {
        let deadline = Instant::now() + patience;
        let (status, headers) = self.head(deadline);
        let framing = Framing::of(method, status, &headers);
        Stream { status, headers, framing, reader: self.reader, deadline }
    }

    #[track_caller]
    fn head(&mut self, deadline: Instant) -> (u16, Vec<(String, String)>) {
        self.try_head(deadline).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    fn try_head(&mut self, deadline: Instant) -> Result<(u16, Vec<(String, String)>), StreamError> {
        let mut head = Vec::new();
        loop {
            read_line(&mut self.reader, &mut head, deadline)?;
            if head.ends_with(b"\r\n\r\n") {
                let (status, headers) = parse_head(&head);
                if (100..200).contains(&status) && status != 101 {
                    head.clear();
                    continue;
                }
                return Ok((status, headers));
            }
        }
    }
}

/// An answer whose body is still coming. Dropping it hangs up.
pub struct Stream {
    /// The status code.
    pub status: u16,
    /// The headers in their order, names as they came.
    pub headers: Vec<(String, String)>,
    framing: Framing,
    reader: BufReader<TcpStream>,
    deadline: Instant,
}

impl Stream {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The next piece of the body: `Ok(None)` at its end.
    ///
    /// # Errors
    /// When nothing comes until the deadline, or the connection breaks in the midst of the body.
    pub fn piece(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, StreamError> {
        self.framing.next(&mut self.reader, Instant::now() + patience).transpose()
    }

    /// Reads the rest.
    #[track_caller]
    pub fn whole(mut self) -> Answer {
        let mut body = Vec::new();
        while let Some(piece) = self.framing.next(&mut self.reader, self.deadline) {
            body.extend_from_slice(
                &piece.unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.headers)),
            );
        }
        Answer { status: self.status, headers: self.headers, body }
    }
}

/// Why there is no next piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// Nothing came until the deadline; more may still come.
    Late,
    /// The connection ended before the body did.
    Broken,
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Late => "the rest of the answer did not come in time",
            Self::Broken => "the connection ended before the answer did",
        })
    }
}

impl std::error::Error for StreamError {}

/// How the end of a body is known.
enum Framing {
    Length(usize),
    /// Bytes left of the chunk being read.
    Chunks(usize),
    /// The end of the connection is the end of the body.
    Close,
    Done,
}

impl Framing {
    #[track_caller]
    fn of(method: &str, status: u16, headers: &[(String, String)]) -> Self {
        let length = find_header(headers, "Content-Length");
        match find_header(headers, "Transfer-Encoding") {
            _ if method == "HEAD" || status == 101 || status == 204 || status == 304 => Self::Done,
            Some(coding) => {
                assert!(coding.eq_ignore_ascii_case("chunked"), "unknown transfer coding {coding}");
                assert!(length.is_none(), "both Content-Length and Transfer-Encoding");
                Self::Chunks(0)
            }
            None => match length {
                Some(text) => Self::Length(text.parse().unwrap_or_else(|_| panic!("bad Content-Length {text:?}"))),
                None => Self::Close,
            },
        }
    }

    #[track_caller]
    fn next(&mut self, reader: &mut BufReader<TcpStream>, deadline: Instant) -> Option<Result<Vec<u8>, StreamError>> {
        let want = match self {
            Self::Done | Self::Length(0) => return None,
            Self::Length(left) => *left,
            Self::Close => usize::MAX,
            Self::Chunks(0) => match chunk_size(reader, deadline) {
                Ok(0) => {
                    *self = Self::Done;
                    return None;
                }
                Ok(size) => {
                    *self = Self::Chunks(size);
                    size
                }
                Err(error) => return Some(Err(error)),
            },
            Self::Chunks(left) => *left,
        };
        let mut piece = vec![0; want.min(64 * 1024)];
        let got = match read_some(reader, &mut piece, deadline) {
            Ok(0) if matches!(self, Self::Close) => {
                *self = Self::Done;
                return None;
            }
            Ok(0) => return Some(Err(StreamError::Broken)),
            Ok(got) => got,
            Err(error) if late(&error) => return Some(Err(StreamError::Late)),
            Err(_) => return Some(Err(StreamError::Broken)),
        };
        piece.truncate(got);
        match self {
            Self::Length(left) => *left -= got,
            Self::Chunks(left) => {
                *left -= got;
                if *left == 0 {
                    let mut end = Vec::new();
                    if let Err(error) = read_line(reader, &mut end, deadline) {
                        return Some(Err(error));
                    }
                    assert_eq!(end, b"\r\n", "a chunk is longer than it said");
                }
            }
            Self::Close | Self::Done => {}
        }
        Some(Ok(piece))
    }
}

/// Reads the line before a chunk, and after the last chunk the trailers too.
///
/// A line cut by the deadline stays in the buffer's reader only when none of it had come, which is how servers send:
/// the size and its chunk leave together.
#[track_caller]
fn chunk_size(reader: &mut BufReader<TcpStream>, deadline: Instant) -> Result<usize, StreamError> {
    let mut line = Vec::new();
    read_line(reader, &mut line, deadline)?;
    let text = String::from_utf8_lossy(&line);
    let digits = text.trim_end().split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("bad chunk size {text:?}"));
    if size == 0 {
        while line != b"\r\n" {
            line.clear();
            read_line(reader, &mut line, deadline)?;
        }
    }
    Ok(size)
}

/// Appends one line with its end to `into`.
fn read_line(reader: &mut BufReader<TcpStream>, into: &mut Vec<u8>, deadline: Instant) -> Result<(), StreamError> {
    loop {
        set_deadline(reader, deadline).map_err(|_| StreamError::Late)?;
        match reader.read_until(b'\n', into) {
            Ok(0) => return Err(StreamError::Broken),
            Ok(_) if into.ends_with(b"\n") => return Ok(()),
            Ok(_) => return Err(StreamError::Broken),
            Err(error) if late(&error) => {}
            Err(_) => return Err(StreamError::Broken),
        }
    }
}

fn read_some(reader: &mut BufReader<TcpStream>, into: &mut [u8], deadline: Instant) -> std::io::Result<usize> {
    loop {
        set_deadline(reader, deadline)?;
        match reader.read(into) {
            Err(error) if late(&error) => {}
            done => return done,
        }
    }
}

/// Lets a read of `reader` last until `deadline` at most; an error of [`ErrorKind::TimedOut`] where it has passed.
fn set_deadline(reader: &BufReader<TcpStream>, deadline: Instant) -> std::io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() && reader.buffer().is_empty() {
        return Err(ErrorKind::TimedOut.into());
    }
    reader.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1))))
}

fn late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[track_caller]
fn parse_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let mut space = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut space);
    let parsed = response.parse(head);
    assert!(
        matches!(parsed, Ok(httparse::Status::Complete(_))),
        "not the head of an answer ({parsed:?}): {}",
        String::from_utf8_lossy(head)
    );
    let status = response.code.expect("a complete head has a status");
    let headers = response
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    (status, headers)
}

fn find_header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers one connection after the other with these bytes, and hands back what it was asked.
    pub(crate) fn canned(answers: Vec<&'static [u8]>) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().unwrap();
                let mut bytes = [0; 4096];
                let got = socket.read(&mut bytes).unwrap();
                asked.push(String::from_utf8_lossy(&bytes[..got]).into_owned());
                socket.write_all(answer).unwrap();
            }
            asked
        });
        (address, served)
    }

    #[test]
    fn a_request_goes_out_as_written() {
        let (address, served) = canned(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more"]);
        let answer = Ask::new(address, "PUT", "/db/a/b?x=1").bearer("t").json(&serde_json::json!({"n": 1})).send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
        let asked = served.join().unwrap().remove(0).replace(&address.to_string(), "ADDRESS");
        expect_test::expect![[r#"
            PUT /db/a/b?x=1 HTTP/1.1
            Host: ADDRESS
            Connection: close
            Authorization: Bearer t
            Content-Type: application/json
            Content-Length: 7

            {"n":1}"#]]
        .assert_eq(&asked.replace("\r\n", "\n"));
    }

    #[test]
    fn chunks_are_joined_and_trailers_dropped() {
        let (address, _) = canned(vec![
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n\
              3\r\nabc\r\nB;ext=1\r\ndefghijklmn\r\n0\r\nTrailer: x\r\n\r\n",
        ]);
        let answer = Ask::new(address, "GET", "/").send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "abcdefghijklmn"));
        assert_eq!(answer.header("x-a"), Some("1"));
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        let (address, _) = canned(vec![b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"]);
        assert_eq!(Ask::new(address, "GET", "/").send().body, b"");
    }

    #[test]
    fn a_body_cut_short_is_not_a_body() {
        let (address, _) = canned(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]);
        let mut stream = Ask::new(address, "GET", "/").open();
        assert_eq!(stream.piece(PATIENCE), Ok(Some(b"short".to_vec())));
        assert_eq!(stream.piece(PATIENCE), Err(StreamError::Broken));
    }

    #[test]
    fn several_answers_come_out_of_one_connection() {
        let (address, _) =
            canned(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\n\r\nrest"]);
        let mut connection = Connection::open(address);
        assert_eq!(connection.ask(&Ask::new(address, "GET", "/a")).text(), "a");
        let second = connection.answer("GET");
        assert_eq!((second.status, second.text().as_str()), (404, "rest"));
        assert_eq!(connection.read_to_end(PATIENCE).as_deref(), Some(&b""[..]));
    }
}
