//! The messages of a poll link that were not acknowledged yet: numbered from 1, and given again until they are.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::problem::Problem;
use crate::session::Close;

/// Messages on their way to a client that polls.
#[derive(Debug)]
pub(super) struct Kept {
    frames: VecDeque<Bytes>,
    bytes: usize,
    bytes_max: usize,
    /// The last message that the client has dealt with. The first one kept follows it.
    acked: u64,
    /// The last message that was in an answer.
    given: u64,
    close: Option<Close>,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, bytes_max, acked: 0, given: 0, close: None }
    }

    /// Whether more may be kept.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.bytes_max && self.close.is_none()
    }

    /// Whether a poll has something to bring.
    pub(super) fn has_news(&self) -> bool {
        !self.frames.is_empty() || self.close.is_some()
    }

    /// Keeps one more message.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Nothing follows what is kept.
    pub(super) fn close(&mut self, close: Close) {
        self.close = Some(close);
    }

    /// Whether the session is over.
    pub(super) fn is_closed(&self) -> bool {
        self.close.is_some()
    }

    /// Lets go of what the client has dealt with.
    pub(super) fn ack(&mut self, ack: u64) -> Result<(), Problem> {
        if ack < self.acked || ack > self.given {
            let detail = format!("messages {} to {} can be acknowledged, not {ack}", self.acked, self.given);
            return Err(Problem::invalid(detail).at("/ack"));
        }
        while self.acked < ack {
            self.bytes -= self.frames.pop_front().map_or(0, |frame| frame.len());
            self.acked += 1;
        }
        Ok(())
    }

    /// The last acknowledged message.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// The body of an answer with all that is kept.
    pub(super) fn answer(&mut self) -> Vec<u8> {
        self.given = self.acked + self.frames.len() as u64;
        let mut body = Vec::with_capacity(self.bytes + self.frames.len() + 64);
        body.extend_from_slice(format!("{{\"from\":{},\"frames\":[", self.acked + 1).as_bytes());
        for (index, frame) in self.frames.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(frame);
        }
        body.push(b']');
        if let Some(close) = &self.close {
            body.extend_from_slice(b",\"close\":");
            body.extend_from_slice(close.to_json().to_string().as_bytes());
        }
        body.push(b'}');
        body
    }

    /// The body of an answer without messages, for a poll that acknowledged `ack`.
    pub(super) fn nothing(ack: u64) -> Vec<u8> {
        format!("{{\"from\":{},\"frames\":[]}}", ack + 1).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(kept: &mut Kept, want: Expect) {
        want.assert_eq(&String::from_utf8(kept.answer()).unwrap());
    }

    fn kept(frames: &[&'static str]) -> Kept {
        let mut kept = Kept::new(10);
        frames.iter().for_each(|frame| kept.push(Bytes::from_static(frame.as_bytes())));
        kept
    }

    #[test]
    fn messages_come_again_until_they_are_acknowledged() {
        let mut kept = kept(&["1", "2"]);
        check(&mut kept, expect![[r#"{"from":1,"frames":[1,2]}"#]]);
        kept.push(Bytes::from_static(b"3"));
        check(&mut kept, expect![[r#"{"from":1,"frames":[1,2,3]}"#]]);
        kept.ack(2).unwrap();
        check(&mut kept, expect![[r#"{"from":3,"frames":[3]}"#]]);
        kept.ack(3).unwrap();
        assert!(!kept.has_news());
        check(&mut kept, expect![[r#"{"from":4,"frames":[]}"#]]);
    }

    #[test]
    fn only_what_was_given_and_not_acknowledged_can_be_acknowledged() {
        let mut kept = kept(&["1", "2"]);
        expect!["messages 0 to 0 can be acknowledged, not 1"].assert_eq(&kept.ack(1).unwrap_err().detail);
        kept.answer();
        kept.ack(2).unwrap();
        kept.ack(2).unwrap();
        expect!["messages 2 to 2 can be acknowledged, not 1"].assert_eq(&kept.ack(1).unwrap_err().detail);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_end_comes_with_the_last() {
        let mut kept = kept(&["12345"]);
        assert!(kept.has_room());
        kept.push(Bytes::from_static(b"67890"));
        assert!(!kept.has_room());
        kept.answer();
        kept.ack(1).unwrap();
        assert!(kept.has_room());
        kept.close(Close::new(Close::RESTART, "restart"));
        assert!(!kept.has_room());
        check(&mut kept, expect![[r#"{"from":2,"frames":[67890],"close":{"code":1012,"reason":"restart"}}"#]]);
    }
}
