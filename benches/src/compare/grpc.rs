//! A client of Firestore's protocol that does next to nothing: frames over HTTP/2, so that the server's cost is what is measured.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{SendRequest, handshake};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::net::TcpStream;

/// The database that is measured.
pub(crate) const DATABASE: &str = "projects/bench/databases/(default)";
/// The service whose methods are called.
const SERVICE: &str = "google.firestore.v1.Firestore";

/// The full name of a document.
pub(crate) fn name(path: &str) -> String {
    format!("{DATABASE}/documents/{path}")
}

/// Why a call came to nothing, as the server says it.
#[derive(Debug, thiserror::Error)]
#[error("{method}: refused with {code}: {message}")]
pub(crate) struct Refused {
    method: String,
    pub(crate) code: String,
    message: String,
}

/// A connection.
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (send, connection) = handshake(socket).await?;
        // It ends with the connection.
        tokio::spawn(connection);
        Ok(Self { send, address })
    }

    /// Calls a method with one message.
    pub(crate) async fn open(&mut self, method: &str, message: &impl Message, is_all: bool) -> Result<Call> {
        let request = http::Request::post(format!("http://{}/{SERVICE}/{method}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            // The emulator listens for nobody who does not say it; SDKs do. Source: google-cloud-firestore clients.
            .header("google-cloud-resource-prefix", DATABASE)
            .body(())?;
        let mut ready = self.send.clone().ready().await?;
        let (response, mut send) = ready.send_request(request, false)?;
        send.send_data(frame(message), is_all)?;
        let response = response.await?;
        let refused = code(response.headers(), method).err();
        let body = response.into_body();
        refused.map_or(Ok(()), Err)?;
        Ok(Call { method: method.into(), _send: send, body, waiting: BytesMut::new() })
    }

    /// Calls a method, and counts the messages of the answer.
    pub(crate) async fn call<A: Message + Default>(&mut self, method: &str, message: &impl Message) -> Result<Vec<A>> {
        let mut call = self.open(method, message, true).await?;
        let mut answers = Vec::new();
        while let Some(answer) = call.next().await? {
            answers.push(answer);
        }
        Ok(answers)
    }
}

/// A message with the five bytes that stand before it.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("no message is so long"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

fn code(headers: &http::HeaderMap, method: &str) -> Result<(), Refused> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status") {
        Some(code) if code != "0" => {
            Err(Refused { method: method.into(), code, message: text("grpc-message").unwrap_or_default() })
        }
        _ => Ok(()),
    }
}

/// A call that is being answered.
pub(crate) struct Call {
    method: String,
    /// Dropped, it would say that nobody waits any more.
    _send: SendStream<Bytes>,
    body: RecvStream,
    waiting: BytesMut,
}

impl Call {
    /// The next message; none at the end of an answer that is no refusal.
    pub(crate) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>> {
        loop {
            if let Some(head) = self.waiting.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                anyhow::ensure!(head[0] == 0, "an answer is compressed that was not to be");
                if self.waiting.len() >= 5 + length {
                    self.waiting.advance(5);
                    return Ok(Some(A::decode(self.waiting.split_to(length))?));
                }
            }
            let Some(piece) = self.body.data().await.transpose()? else {
                let trailers = self.body.trailers().await?.context("an answer has no trailers")?;
                code(&trailers, &self.method)?;
                return Ok(None);
            };
            self.body.flow_control().release_capacity(piece.len())?;
            self.waiting.extend_from_slice(&piece);
        }
    }
}
