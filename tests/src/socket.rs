//! A WebSocket client that speaks JSON and waits with a deadline. It keeps no state of listeners.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::http::Answer;
use crate::{PATIENCE, SILENCE};

/// The subprotocol of the messages.
const SUBPROTOCOL: &str = "hearth.v1";

/// An open WebSocket. Dropping it hangs up without a goodbye, as a lost network does.
pub struct Socket {
    inner: WebSocket<TcpStream>,
    /// Messages read while another was looked for.
    aside: VecDeque<Value>,
}

/// How a WebSocket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// With a close frame: its code and reason.
    Closed(u16, String),
    /// Without one.
    Lost,
}

impl Socket {
    /// Opens `path` with the subprotocol `hearth.v1` and these headers besides.
    ///
    /// # Panics
    /// With the answer, where that is not `101`.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(address, path, headers)
            .unwrap_or_else(|answer| panic!("no WebSocket: {} {:?} {}", answer.status, answer.headers, answer.text()))
    }

    /// The same for a socket that may be refused: hands back the answer.
    ///
    /// # Errors
    /// The answer, where it is not `101`.
    #[track_caller]
    pub fn try_open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, Box<Answer>> {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a test writes good paths");
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a test writes good header names");
            let value: HeaderValue = value.parse().expect("a test writes good header values");
            request.headers_mut().insert(name, value);
        }
        let stream = connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        match tungstenite::client::client_with_config(request, stream, Some(config())) {
            Ok((inner, _)) => Ok(Self { inner, aside: VecDeque::new() }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let (head, body) = response.into_parts();
                let headers = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                    .collect();
                Err(Box::new(Answer { status: head.status.as_u16(), headers, body: body.unwrap_or_default() }))
            }
            Err(error) => panic!("the WebSocket handshake failed: {error}"),
        }
    }

    /// Opens `/db` of a server that may be gone: `None` where it is.
    pub fn reach(address: SocketAddr) -> Option<Self> {
        let mut request = format!("ws://{address}/db").into_client_request().expect("a good address");
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let stream = connect(address).ok()?;
        let (inner, _) = tungstenite::client::client_with_config(request, stream, Some(config())).ok()?;
        Some(Self { inner, aside: VecDeque::new() })
    }

    /// Sends a message to a server that may be gone. `false`: it is.
    pub fn try_send(&mut self, message: &Value) -> bool {
        self.inner.send(Message::text(message.to_string())).is_ok()
    }

    /// The next message of a server that may be gone: `None` where it is, or says nothing in time.
    #[track_caller]
    pub fn try_next(&mut self) -> Option<Value> {
        let text = self.poll(PATIENCE).ok()??;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}")))
    }

    /// Sends a message.
    #[track_caller]
    pub fn send(&mut self, message: &Value) {
        self.send_raw(Message::text(message.to_string()));
    }

    /// Sends text that need not be JSON.
    #[track_caller]
    pub fn send_text(&mut self, text: &str) {
        self.send_raw(Message::text(text));
    }

    /// Sends a binary frame.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.send_raw(Message::binary(bytes.to_vec()));
    }

    /// The socket underneath, to write bytes that are no frame, or to read nothing for a while.
    pub fn tcp(&mut self) -> &mut TcpStream {
        self.inner.get_mut()
    }

    /// The next message, whatever it answers.
    ///
    /// # Panics
    /// When none comes in time, the connection ends, or it is not JSON.
    #[track_caller]
    pub fn next_message(&mut self) -> Value {
        if let Some(message) = self.aside.pop_front() {
            return message;
        }
        self.read(PATIENCE)
    }

    /// The next message with this `id`. Others stay for later, in their order.
    #[track_caller]
    pub fn next_for(&mut self, id: u64) -> Value {
        self.next_where(|message| message["id"] == id)
    }

    /// The next message that `want` accepts. Others stay for later, in their order.
    #[track_caller]
    pub fn next_where(&mut self, want: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.aside.iter().position(&want) {
            return self.aside.remove(at).expect("it stands there");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the message does not come; others that came: {:?}", self.aside);
            let message = self.read(left);
            if want(&message) {
                return message;
            }
            self.aside.push_back(message);
        }
    }

    /// Sends a message and waits for the next one with its `id`.
    #[track_caller]
    pub fn ask(&mut self, message: &Value) -> Value {
        self.send(message);
        self.next_for(message["id"].as_u64().expect("a message has an id"))
    }

    /// Fails where a message comes within [`SILENCE`].
    #[track_caller]
    pub fn expect_silence(&mut self) {
        assert!(self.aside.is_empty(), "expected silence, but these came: {:?}", self.aside);
        match self.poll(SILENCE) {
            Ok(None) => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    /// Reads on until the server ends the connection; messages on the way are dropped.
    #[track_caller]
    pub fn expect_end(&mut self) -> SocketEnd {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.poll(deadline.saturating_duration_since(Instant::now())) {
                Err(end) => return end,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the connection does not end"),
            }
        }
    }

    /// The next text: `Ok(None)` where none comes in time.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn poll(&mut self, patience: Duration) -> Result<Option<String>, SocketEnd> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.inner.get_mut().set_read_timeout(Some(left)).map_err(|_| SocketEnd::Lost)?;
            match self.inner.read() {
                Ok(Message::Text(text)) => return Ok(Some(text.as_str().to_owned())),
                Ok(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    return Err(SocketEnd::Closed(code, reason));
                }
                // Pings are answered by the library.
                Ok(_) => {}
                Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Err(SocketEnd::Lost),
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    #[track_caller]
    fn read(&mut self, patience: Duration) -> Value {
        match self.poll(patience) {
            Ok(Some(text)) => serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}")),
            Ok(None) => panic!("no message came in time; set aside: {:?}", self.aside),
            Err(end) => panic!("the connection ended ({end:?}) where a message was to come"),
        }
    }

    #[track_caller]
    fn send_raw(&mut self, message: Message) {
        self.inner.send(message).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }
}

/// Takes messages of any size, as browsers do.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(None).max_frame_size(None)
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use serde_json::json;
    use tungstenite::protocol::CloseFrame;
    use tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    #[expect(clippy::result_large_err, reason = "the callback of tungstenite is made so")]
    #[test]
    fn messages_are_found_by_id_and_the_others_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut socket = tungstenite::accept_hdr(
                listener.accept().unwrap().0,
                |request: &tungstenite::handshake::server::Request,
                 mut response: tungstenite::handshake::server::Response| {
                    let wanted = request.headers()["Sec-WebSocket-Protocol"].clone();
                    response.headers_mut().insert("Sec-WebSocket-Protocol", wanted);
                    Ok(response)
                },
            )
            .unwrap();
            let asked = socket.read().unwrap().into_text().unwrap().to_string();
            for id in [7, 8, 9] {
                socket.send(Message::text(json!({ "id": id }).to_string())).unwrap();
            }
            socket.close(Some(CloseFrame { code: CloseCode::Restart, reason: "restart".into() })).unwrap();
            while socket.read().is_ok() {}
            asked
        });
        let mut socket = Socket::open(address, "/db", &[]);
        assert_eq!(socket.ask(&json!({ "id": 9 })), json!({ "id": 9 }));
        assert_eq!(socket.next_message(), json!({ "id": 7 }));
        assert_eq!(socket.next_for(8), json!({ "id": 8 }));
        assert_eq!(socket.expect_end(), SocketEnd::Closed(1012, "restart".into()));
        drop(socket);
        assert_eq!(server.join().unwrap(), r#"{"id":9}"#);
    }

    #[test]
    fn a_refused_handshake_hands_back_the_answer() {
        let (address, _) =
            crate::http::tests::canned(vec![b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"]);
        let answer = Socket::try_open(address, "/db", &[]).err().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
    }
}
