//! Server-sent events, read as a browser reads them.
//!
//! Source: HTML Standard, "Server-sent events", section "Interpreting an event stream". It does not reconnect: a test
//! opens again with the last id where it wants that.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{Answer, Ask, Stream, StreamError};
use crate::{PATIENCE, SILENCE};

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Its name; `message` where it has none.
    pub event: String,
    /// Its `data:` lines, joined by newlines.
    pub data: String,
    /// The last id of the stream so far, as a browser would send it back.
    pub id: String,
}

impl SseEvent {
    /// The data as JSON; panics with it where it is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

/// An open stream of events. Dropping it hangs up.
pub struct Sse {
    stream: Stream,
    parser: Parser,
}

impl Sse {
    /// Sends the request with `Accept: text/event-stream`.
    ///
    /// # Panics
    /// With the answer, where that is no event stream.
    #[track_caller]
    pub fn open(ask: Ask) -> Self {
        Self::try_open(ask).unwrap_or_else(|answer| {
            panic!("not an event stream: {} {:?} {}", answer.status, answer.headers, answer.text())
        })
    }

    /// The same for streams that may be refused: hands back the answer that is no event stream.
    ///
    /// # Errors
    /// The whole answer, where its status is not 200 or it is of another type.
    #[track_caller]
    pub fn try_open(ask: Ask) -> Result<Self, Box<Answer>> {
        let stream = ask.header("Accept", "text/event-stream").open();
        let kind = stream.header("Content-Type").unwrap_or_default();
        if stream.status == 200 && kind.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream") {
            return Ok(Self { stream, parser: Parser::default() });
        }
        Err(Box::new(stream.whole()))
    }

    /// The same with a server that may be gone: `None` where it is.
    ///
    /// # Panics
    /// When it answers with anything but a stream.
    #[track_caller]
    pub fn reach(ask: Ask) -> Option<Self> {
        let stream = ask.header("Accept", "text/event-stream").try_open()?;
        assert_eq!(stream.status, 200, "not an event stream: {:?}", stream.headers);
        Some(Self { stream, parser: Parser::default() })
    }

    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.stream.header(name)
    }

    /// The next event. Comments are passed over.
    ///
    /// # Panics
    /// When none comes in time, or the stream ends.
    #[track_caller]
    pub fn next_event(&mut self) -> SseEvent {
        match self.poll(PATIENCE) {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the stream ended where an event was to come"),
            Err(error) => panic!("no event: {error}"),
        }
    }

    /// The next event's data as JSON; panics as [`Sse::next_event`] does.
    #[track_caller]
    pub fn next_json(&mut self) -> Value {
        self.next_event().json()
    }

    /// Fails where an event comes within [`SILENCE`].
    #[track_caller]
    pub fn expect_silence(&mut self) {
        match self.poll(SILENCE) {
            Err(StreamError::Late) => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    /// Reads events until the server ends the stream, and hands back those that came.
    #[track_caller]
    pub fn expect_end(&mut self) -> Vec<SseEvent> {
        let mut events = Vec::new();
        loop {
            match self.poll(PATIENCE) {
                Ok(Some(event)) => events.push(event),
                // A server that is killed ends the stream as well as one that says goodbye.
                Ok(None) | Err(StreamError::Broken) => return events,
                Err(StreamError::Late) => panic!("the stream does not end; it brought {events:?}"),
            }
        }
    }

    /// The next event: `Ok(None)` at the end of the stream.
    ///
    /// # Errors
    /// When none comes in time, or the connection breaks.
    pub fn poll(&mut self, patience: Duration) -> Result<Option<SseEvent>, StreamError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            match self.stream.piece(deadline.saturating_duration_since(Instant::now()))? {
                Some(piece) => self.parser.push(&piece),
                None => return Ok(None),
            }
        }
    }

    /// How many comments came so far.
    pub fn comments(&self) -> usize {
        self.parser.comments
    }

    /// The last `retry:` that came, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.parser.retry_ms
    }

    /// The last id that came: what a browser would send as `Last-Event-ID`.
    pub fn last_id(&self) -> &str {
        &self.parser.id
    }
}

#[derive(Default)]
struct Parser {
    bytes: Vec<u8>,
    event: String,
    data: Vec<String>,
    id: String,
    comments: usize,
    retry_ms: Option<u64>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<SseEvent> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if self.data.is_empty() {
                    continue;
                }
                let data = std::mem::take(&mut self.data).join("\n");
                let event = if event.is_empty() { "message".into() } else { event };
                return Some(SseEvent { event, data, id: self.id.clone() });
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "event" => self.event = value.into(),
                "data" => self.data.push(value.into()),
                "id" if !value.contains('\0') => self.id = value.into(),
                "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
                _ => {}
            }
        }
        None
    }

    /// One whole line without its end. Our server ends lines by a newline, so a lone carriage return is not looked for.
    fn line(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(String::from_utf8(line).expect("an event stream is UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::canned;

    fn parse(text: &str) -> Vec<String> {
        let mut parser = Parser::default();
        // Byte by byte: no event may depend on how the network cuts the stream.
        let mut seen = Vec::new();
        for byte in text.as_bytes() {
            parser.push(&[*byte]);
            while let Some(event) = parser.next() {
                seen.push(format!("{} {:?} {}", event.event, event.data, event.id));
            }
        }
        seen
    }

    #[test]
    fn events_are_read_as_a_browser_reads_them() {
        assert_eq!(
            parse(": hello\nretry: 2000\n\nid: 7\ndata: a\ndata: b\n\nevent: problem\r\ndata:c\r\n\r\ndata: cut"),
            ["message \"a\\nb\" 7", "problem \"c\" 7"]
        );
        assert_eq!(parse("event: x\n\ndata\n\n"), ["message \"\" "]);
    }

    #[test]
    fn a_stream_is_read_event_by_event_to_its_end() {
        let (address, _) = canned(vec![
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n\
              4\r\n: hi\r\n10\r\n\n\nid: 1\ndata: {\"\r\n9\r\na\":1}\n\nda\r\n8\r\nta: 2\n\n\n\r\n0\r\n\r\n",
        ]);
        let mut sse = Sse::open(Ask::new(address, "GET", "/db/a"));
        assert_eq!(sse.next_json(), serde_json::json!({"a": 1}));
        assert_eq!(sse.next_event().data, "2");
        assert_eq!((sse.comments(), sse.last_id()), (1, "1"));
        assert_eq!(sse.expect_end(), []);
    }

    #[test]
    fn a_refusal_is_handed_back_whole() {
        let (address, _) = canned(vec![b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"]);
        let answer = Sse::try_open(Ask::new(address, "GET", "/db/a")).err().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    }
}
