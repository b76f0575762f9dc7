//! The WebSocket link: one task between a socket and a session. It decides nothing.

mod incoming;
#[cfg(test)]
mod tests;
mod write;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use hearth_auth::Caller;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use crate::drive::{Drive, Leaving, Setting};
use crate::problem::Problem;
use crate::session::{Close, Liveness};
pub(crate) use incoming::Incoming;
pub(crate) use write::Writes;

/// The subprotocol of the messages of `docs/links.md` as JSON text.
pub(crate) const PROTOCOL: &str = "hearth.v1";
/// Before a token in the list of subprotocols: pages cannot set a header on a WebSocket.
const BEARER: &str = "bearer.";
/// Bytes that are read at once. The socket clears so many each time it looks whether something has come, which is after
/// every event that it has written; and it keeps them for as long as it is open.
const READ_BYTES: usize = 8 << 10;
/// Bytes that a socket gathers before it writes.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes that a socket may hold: one batch, and one message of whatever size a result may have.
const WRITE_BYTES_MAX: usize = 256 << 20;
/// How long the peer may take to answer the end of the connection.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// Answers the upgrade of `GET /db`. `caller` is whom the `Authorization` header shows, where there is one.
pub(crate) async fn upgrade(setting: Setting, caller: Caller, parts: &mut Parts) -> Result<Response, Problem> {
    let offer = Offer::read(&parts.headers)?;
    let upgrade = accept(parts, setting.engine.limits().message_bytes_max).await?;
    Ok(upgrade.on_upgrade(move |socket| async move {
        let connections = setting.engine.metrics().connections.clone();
        connections.inc();
        // A token among the subprotocols is judged on the socket: of a refused upgrade a page learns nothing.
        match offer.token.map_or(Ok(caller), |token| (setting.admit)(&token)) {
            Ok(caller) => run(socket, Drive::new(setting, caller, Liveness::Pings)).await,
            Err(problem) => turn_away(socket, &problem).await,
        }
        connections.dec();
    }))
}

/// Makes a socket of a request, which takes messages of so many bytes.
pub(crate) async fn accept(parts: &mut Parts, message_bytes_max: usize) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| Problem::invalid(rejection.body_text()).status(rejection.status()))?;
    Ok(upgrade
        .max_message_size(message_bytes_max)
        .max_frame_size(message_bytes_max)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .protocols([PROTOCOL]))
}

/// What a client offers in the list of subprotocols.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) token: Option<String>,
}

impl Offer {
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let problem = |detail: &str| Problem::invalid(detail).at("Sec-WebSocket-Protocol");
        let mut offered = Vec::new();
        for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
            let text = value.to_str().map_err(|_| problem("the list of subprotocols is not ASCII"))?;
            offered.extend(text.split(',').map(str::trim).filter(|name| !name.is_empty()));
        }
        if !offered.is_empty() && !offered.contains(&PROTOCOL) {
            return Err(problem("the subprotocol here is hearth.v1"));
        }
        let token = offered.iter().find_map(|name| name.strip_prefix(BEARER)).map(|token| {
            let bytes =
                URL_SAFE_NO_PAD.decode(token).map_err(|_| problem("what follows bearer. is a token in base64url"))?;
            String::from_utf8(bytes).map_err(|_| problem("what follows bearer. is a token in base64url"))
        });
        Ok(Self { token: token.transpose()? })
    }
}

/// Whether a token is among the subprotocols, in whatever shape.
pub(crate) fn offers_token(headers: &HeaderMap) -> bool {
    Offer::read(headers).is_ok_and(|offer| offer.token.is_some())
}

/// What happened at a socket.
pub(crate) enum Happened {
    /// All that was given to it has left.
    Written,
    Read(Option<Result<Message, axum::Error>>),
    /// The writing failed, or made no progress.
    Stuck,
}

/// Writes on, and reads where that is wanted, until something has come of it. Nothing is lost when the wait is given up.
pub(crate) async fn happens(
    socket: &mut WebSocket,
    incoming: &mut Incoming,
    writes: &mut Writes,
    reading: bool,
) -> Happened {
    poll_fn(|cx| {
        if let Poll::Ready(written) = writes.poll(socket, cx) {
            return Poll::Ready(written.map_or(Happened::Stuck, |()| Happened::Written));
        }
        if reading { incoming.poll(socket, cx).map(Happened::Read) } else { Poll::Pending }
    })
    .await
}

async fn run(mut socket: WebSocket, mut drive: Drive) {
    let (mut incoming, mut writes) = (Incoming::default(), Writes::new(Instant::now()));
    let mut end: Option<Close> = None;
    loop {
        while end.is_none() && writes.has_room() {
            match drive.output() {
                None => break,
                Some(Leaving::Message(text)) => writes.push(text_message(text), Instant::now()),
                Some(Leaving::Ping) => writes.push(Message::Ping(Default::default()), Instant::now()),
                Some(Leaving::Close(close)) => end = Some(close),
            }
        }
        if let Some(close) = end.filter(|_| writes.is_idle()) {
            return part(socket, close).await;
        }
        // Mostly all of it leaves at once, and nothing else has to be looked at.
        match poll_fn(|cx| Poll::Ready(writes.poll(&mut socket, cx))).await {
            Poll::Ready(Ok(())) => continue,
            // A close frame would wait behind what is stuck.
            Poll::Ready(Err(_)) => return,
            Poll::Pending => {}
        }
        // While the farewell is on its way, nothing else is done.
        let open = end.is_none();
        let reading = open && !drive.is_full();
        let idle = writes.is_idle();
        let stuck = writes.stuck_at();
        let happened = tokio::select! {
            happened = happens(&mut socket, &mut incoming, &mut writes, reading) => happened,
            () = drive.turn(idle), if open => continue,
            () = tokio::time::sleep_until(stuck), if !idle => Happened::Stuck,
        };
        match happened {
            Happened::Written => {}
            // A close frame would wait behind what is stuck.
            Happened::Stuck => return,
            Happened::Read(None) => return,
            Happened::Read(Some(Ok(Message::Text(text)))) => drive.message(text.as_bytes()),
            Happened::Read(Some(Ok(Message::Binary(_)))) => {
                return part(socket, Close::new(Close::BINARY, "hearth.v1 is text")).await;
            }
            Happened::Read(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => drive.heard(),
            Happened::Read(Some(Ok(Message::Close(_)))) => return drain(socket).await,
            Happened::Read(Some(Err(error))) => match fault(error) {
                Some(close) => return part(socket, close).await,
                None => return,
            },
        }
    }
}

/// What a client is told whose frames cannot be read; nothing where there is nobody left to tell.
pub(crate) fn fault(error: axum::Error) -> Option<Close> {
    match error.into_inner().downcast_ref::<tungstenite::Error>()? {
        tungstenite::Error::Capacity(_) => Some(Close::new(Close::TOO_BIG, "the message is over the limit")),
        tungstenite::Error::Utf8(_) => Some(Close::new(Close::NOT_TEXT, "the text is not UTF-8")),
        _ => None,
    }
}

/// Tells why a connection cannot begin.
pub(crate) async fn turn_away(mut socket: WebSocket, problem: &Problem) {
    let text = text_message(crate::frame::problem(0, problem));
    let told = tokio::time::timeout(FAREWELL_MAX, socket.send(text)).await;
    if let Ok(Ok(())) = told {
        part(socket, Close::of(problem)).await;
    }
}

/// Says farewell and waits a little for the peer's, so that it gets to read ours.
pub(crate) async fn part(mut socket: WebSocket, close: Close) {
    let frame = CloseFrame { code: close.code, reason: close.reason.into() };
    // Who does not take it in time is left to the network.
    if let Ok(Ok(())) = tokio::time::timeout(FAREWELL_MAX, socket.send(Message::Close(Some(frame)))).await {
        drain(socket).await;
    }
}

/// Reads to the end, which also sends what the protocol has left to say.
pub(crate) async fn drain(mut socket: WebSocket) {
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(FAREWELL_MAX, end).await;
}

pub(crate) fn text_message(text: bytes::Bytes) -> Message {
    Message::Text(text.try_into().expect("messages are written as JSON, which is UTF-8"))
}
