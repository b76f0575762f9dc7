//! An SSE link at work: the body of the answer is the link, and ends with it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tokio::time::Instant;

use super::{Answer, Line, Request, Taken, What};
use crate::drive::{Drive, Leaving};
use crate::frame;

/// How often a comment keeps proxies from taking silence for the end.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// Bytes beyond which no more events are gathered for one piece of the body.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// The answer that is the link.
pub(super) fn answer(line: Line, drive: Drive) -> Response {
    let mut first = b": hearth.v1\n\n".to_vec();
    write_event(&mut first, Some(0), None, &frame::link(&line.registered.id));
    let stream =
        Stream { line, drive: Some(drive), piece: first, number: 0, comment_at: Instant::now() + COMMENT_EVERY };
    let pieces = futures_util::stream::unfold(stream, |mut stream| async move {
        let piece = stream.next().await?;
        Some((Ok::<_, Infallible>(piece), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

struct Stream {
    line: Line,
    /// None when the session is over and the stream ends.
    drive: Option<Drive>,
    piece: Vec<u8>,
    /// The number of the last message.
    number: u64,
    comment_at: Instant,
}

impl Stream {
    /// The next piece of the body. Asked for only when the one before has left: a slow reader is waited for, and
    /// meanwhile its events wait in the engine.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let drive = self.drive.as_mut()?;
            if let Taken::Gap(_) = self.line.take(drive) {
                return None;
            }
            while self.piece.len() < PIECE_BYTES_MAX {
                match drive.output() {
                    None => break,
                    Some(Leaving::Message(message)) => {
                        self.number += 1;
                        write_event(&mut self.piece, Some(self.number), None, &message);
                    }
                    Some(Leaving::Ping) => {}
                    Some(Leaving::Close(close)) => {
                        write_event(&mut self.piece, None, Some("close"), close.to_json().to_string().as_bytes());
                        self.drive = None;
                        return Some(std::mem::take(&mut self.piece).into());
                    }
                }
            }
            if !self.piece.is_empty() {
                return Some(std::mem::take(&mut self.piece).into());
            }
            tokio::select! {
                request = self.line.requests.recv() => {
                    if !receive(&mut self.line, drive, request?) {
                        return None;
                    }
                }
                () = drive.turn(true) => {}
                () = tokio::time::sleep_until(self.comment_at) => {
                    self.comment_at = Instant::now() + COMMENT_EVERY;
                    self.piece.extend_from_slice(b":\n\n");
                }
            }
        }
    }
}

/// Takes a request in. `false`: the link is over.
fn receive(line: &mut Line, drive: &Drive, request: Request) -> bool {
    let Request { scope, what, answer } = request;
    let admitted = line.admits(&scope, Some(drive));
    match what {
        _ if !admitted => {
            let _ = answer.send(Answer::NotFound);
            true
        }
        What::End => {
            let _ = answer.send(Answer::Done);
            false
        }
        What::Post(posted, _) => {
            line.post(posted.messages, answer);
            true
        }
    }
}

/// Appends one event. `data` is JSON and so has no line breaks.
fn write_event(out: &mut Vec<u8>, number: Option<u64>, name: Option<&str>, data: &[u8]) {
    if let Some(number) = number {
        out.extend_from_slice(format!("id: {number}\n").as_bytes());
    }
    if let Some(name) = name {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}
