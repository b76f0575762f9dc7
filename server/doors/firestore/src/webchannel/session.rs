//! One WebChannel session as a state machine: it opens no socket, reads no clock, knows nothing of documents.
//!
//! Towards the client it holds *arrays*: numbered payloads that stay until they are acknowledged, so that whatever a
//! lost answer took with it is told again. From the client it takes *maps*: numbered messages, each handed on once and in
//! order, however often it comes. Whatever a client says about either number is checked against what happened.
//!
//! Nothing here grows with a client that does not read: see [`Channel::has_room`].

use std::collections::VecDeque;
use std::time::Duration;

use super::form::{Maps, Way};
use super::frame;
use crate::status::Refusal;

/// What a session keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// How long a server is silent to an attached client before it says that it is there.
    pub(super) keep_alive: Duration,
    /// How long a session lives without an attached client and without a request.
    pub(super) idle_max: Duration,
    /// How long one answer goes on, and how much it brings: the next one acknowledges it, and what a page has received it
    /// keeps until the answer ends.
    pub(super) answer_time_max: Duration,
    pub(super) answer_bytes_max: usize,
    /// Bytes that wait to be acknowledged.
    pub(super) arrays_bytes_max: usize,
    /// Bytes of a client's messages that wait to be dealt with, before the body that goes beyond it.
    pub(super) messages_bytes_max: usize,
}

impl Limits {
    /// Longest and shortest time that a polling client may ask to be held.
    const HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

    pub(super) fn new(arrays_bytes_max: usize, messages_bytes_max: usize) -> Self {
        Self {
            keep_alive: Duration::from_secs(30),
            idle_max: Duration::from_secs(150),
            answer_time_max: Duration::from_secs(300),
            answer_bytes_max: arrays_bytes_max / 2,
            arrays_bytes_max,
            messages_bytes_max,
        }
    }
}

/// Why a request to a session is refused. The session stands as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lie {
    #[error("AID says {ack}, and the last array that was sent is {said}")]
    NotSaid { ack: u64, said: u64 },
    /// A client that needs them can only begin anew.
    #[error("the arrays after {ack} are gone: {kept} were acknowledged")]
    Gone { ack: u64, kept: u64 },
    #[error("map {id} comes before map {next}")]
    Gap { id: u64, next: u64 },
    #[error("too many messages wait already")]
    Full,
}

/// One session.
#[derive(Debug)]
pub(super) struct Channel {
    limits: Limits,
    /// What was not acknowledged: the payloads of the arrays after `acked`, up to `last`.
    arrays: VecDeque<String>,
    arrays_bytes: usize,
    acked: u64,
    last: u64,
    /// The number of the client's next map.
    next_map: u64,
    messages: VecDeque<String>,
    messages_bytes: usize,
    back: Option<Back>,
    /// The last array that any answer brought.
    said: u64,
    /// The array that says how the stream ended, after which there are none.
    ending: Option<u64>,
    /// When the client was last heard.
    heard_at: Duration,
}

/// The answer to a GET that is being written.
#[derive(Debug)]
struct Back {
    way: Way,
    began_at: Duration,
    spoke_at: Duration,
    /// The last array that was written.
    sent: u64,
    bytes: usize,
}

/// What is written into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) chunk: String,
    /// Whether the answer ends with it.
    pub(super) is_last: bool,
}

impl Channel {
    /// A session, with what its first request brought. Array 0 is the one that [`Channel::opening`] makes.
    pub(super) fn open(now: Duration, limits: Limits, maps: Maps) -> Self {
        let mut channel = Self {
            limits,
            arrays: VecDeque::new(),
            arrays_bytes: 0,
            acked: 0,
            last: 0,
            next_map: 0,
            messages: VecDeque::new(),
            messages_bytes: 0,
            back: None,
            said: 0,
            ending: None,
            heard_at: now,
        };
        for (id, text) in maps.into_inner() {
            channel.next_map = id + 1;
            channel.take(text);
        }
        channel
    }

    /// The body that answers the first request.
    pub(super) fn opening(&self, sid: &str) -> String {
        frame::chunk(&frame::opening(sid, self.limits.keep_alive.as_millis()))
    }

    // ---- requests

    /// Takes what a client sends, and returns the body that answers it: whether an answer is open to it, the last array,
    /// and how much was not acknowledged.
    pub(super) fn send(&mut self, now: Duration, ack: Option<u64>, maps: Maps) -> Result<String, Lie> {
        let maps: Vec<_> = maps.into_inner().into_iter().filter(|(id, _)| *id >= self.next_map).collect();
        for (next, (id, _)) in (self.next_map..).zip(&maps) {
            if *id != next {
                return Err(Lie::Gap { id: *id, next });
            }
        }
        if !maps.is_empty() && self.messages_bytes > self.limits.messages_bytes_max {
            return Err(Lie::Full);
        }
        self.acknowledge(ack)?;
        self.heard_at = now;
        for (id, text) in maps {
            self.next_map = id + 1;
            self.take(text);
        }
        let attached = u8::from(self.back.is_some());
        Ok(frame::chunk(&format!("[{attached},{},{}]", self.last, self.arrays_bytes)))
    }

    /// Attaches an answer, in place of the one before, which ends: everything after `ack` is written into it.
    pub(super) fn receive(&mut self, now: Duration, ack: Option<u64>, way: Way) -> Result<(), Lie> {
        let ack = ack.unwrap_or(0);
        if ack < self.acked {
            return Err(Lie::Gone { ack, kept: self.acked });
        }
        self.acknowledge(Some(ack))?;
        self.heard_at = now;
        self.back = Some(Back { way, began_at: now, spoke_at: now, sent: ack, bytes: 0 });
        // The first answer begins at once: clients take silence for a proxy that holds answers back.
        if way == Way::Stream && self.said == 0 && self.last == ack {
            self.push(frame::NOOP.into());
        }
        Ok(())
    }

    /// The attached answer's client has hung up.
    pub(super) fn gone(&mut self, now: Duration) {
        if self.back.take().is_some() {
            self.heard_at = now;
        }
    }

    fn acknowledge(&mut self, ack: Option<u64>) -> Result<(), Lie> {
        let Some(ack) = ack else { return Ok(()) };
        if ack > self.said {
            return Err(Lie::NotSaid { ack, said: self.said });
        }
        while self.acked < ack {
            self.arrays_bytes -= self.arrays.pop_front().map_or(0, |payload| payload.len());
            self.acked += 1;
        }
        if let Some(back) = &mut self.back {
            back.sent = back.sent.max(ack);
        }
        Ok(())
    }

    fn take(&mut self, text: String) {
        // After its end a stream hears nothing more; what is sent to it is still answered.
        if self.ending.is_none() {
            self.messages_bytes += text.len();
            self.messages.push_back(text);
        }
    }

    // ---- the stream behind it

    /// The client's next message.
    pub(super) fn message(&mut self) -> Option<String> {
        let text = self.messages.pop_front()?;
        self.messages_bytes -= text.len();
        Some(text)
    }

    /// Whether a message waits.
    pub(super) fn has_message(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Whether the stream may say more. While it may not, nothing is asked of it: a client that does not read is told later.
    pub(super) fn has_room(&self) -> bool {
        self.arrays_bytes < self.limits.arrays_bytes_max && self.ending.is_none()
    }

    /// Queues a message of the stream.
    pub(super) fn say(&mut self, json: &str) {
        self.push(frame::message(json));
    }

    /// Ends the stream: with an error, or in order, after which the client asks anew if it wants to.
    pub(super) fn end(&mut self, why: Option<&Refusal>) {
        self.push(why.map_or_else(|| frame::CLOSE.into(), frame::error));
        self.ending = Some(self.last);
        self.messages.clear();
        self.messages_bytes = 0;
    }

    fn push(&mut self, payload: String) {
        self.last += 1;
        self.arrays_bytes += payload.len();
        self.arrays.push_back(payload);
    }

    // ---- the answer

    /// Whether there is something to write.
    pub(super) fn has_news(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.sent < self.last)
    }

    /// What is to be written now: everything that the attached answer has not brought yet.
    pub(super) fn write(&mut self, now: Duration) -> Option<Written> {
        let back = self.back.as_mut().filter(|back| back.sent < self.last)?;
        let mut json = String::from("[");
        let skip = usize::try_from(back.sent.saturating_sub(self.acked)).unwrap_or(usize::MAX);
        for (id, payload) in (back.sent + 1..).zip(self.arrays.iter().skip(skip)) {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&format!("[{id},{payload}]"));
        }
        json.push(']');
        let says_the_end = self.ending.is_some_and(|ending| back.sent < ending);
        back.sent = self.last;
        back.spoke_at = now;
        back.bytes += json.len();
        self.said = self.said.max(self.last);
        let is_last = says_the_end
            || back.way != Way::Stream
            || back.bytes >= self.limits.answer_bytes_max
            || now.saturating_sub(back.began_at) >= self.limits.answer_time_max;
        if is_last {
            self.back = None;
            self.heard_at = now;
        }
        Some(Written { chunk: frame::chunk(&json), is_last })
    }

    // ---- time

    /// When [`Channel::tick`] has something to do.
    pub(super) fn wakes_at(&self) -> Duration {
        match &self.back {
            Some(back) => back.spoke_at + self.silence(back.way),
            None => self.heard_at + self.limits.idle_max,
        }
    }

    /// Speaks where there was silence for long.
    pub(super) fn tick(&mut self, now: Duration) {
        if let Some(back) = &self.back
            && back.sent == self.last
            && now >= self.wakes_at()
        {
            self.push(frame::NOOP.into());
        }
    }

    /// Whether the client is taken to be gone for good.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.back.is_none() && now >= self.wakes_at()
    }

    fn silence(&self, way: Way) -> Duration {
        let (min, max) = Limits::HOLD;
        match way {
            Way::Stream | Way::Poll { hold: None } => self.limits.keep_alive,
            Way::Poll { hold: Some(hold) } => hold.clamp(min, max),
        }
    }
}

#[cfg(test)]
mod tests;
