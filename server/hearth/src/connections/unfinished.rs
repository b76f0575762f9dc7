//! What is held of messages that have not come whole. HTTP/2's windows do not bound it: whoever reads a body gathers what it has
//! read and gives the window back, and a connection has many bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes before each message of gRPC: whether it is compressed, and its length.
/// Source: PROTOCOL-HTTP2.md of gRPC, "Length-Prefixed-Message".
const HEAD_BYTES: usize = 5;

/// The unfinished messages of one connection.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// A peer began more than it finished.
#[derive(Debug, thiserror::Error)]
#[error(
    "this connection holds {bytes_max} bytes of messages that have not come whole: finish some before beginning others"
)]
pub(super) struct TooMuch {
    bytes_max: usize,
}

impl Unfinished {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Arc::default(), bytes_max }
    }

    /// Begins to count one body: of gRPC what is unfinished of its present message, else all of it.
    pub(super) fn begin(&self, is_grpc: bool) -> Held {
        Held { of: self.clone(), held: 0, message: is_grpc.then(Message::default) }
    }
}

/// What one body holds. Dropped, it holds nothing.
#[derive(Debug)]
pub(super) struct Held {
    of: Unfinished,
    held: usize,
    message: Option<Message>,
}

impl Held {
    /// Counts what has come.
    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), TooMuch> {
        let now = match &mut self.message {
            Some(message) => message.follow(data),
            None => self.held + data.len(),
        };
        self.of.bytes.fetch_sub(self.held, Ordering::AcqRel);
        let all = self.of.bytes.fetch_add(now, Ordering::AcqRel) + now;
        self.held = now;
        let bytes_max = self.of.bytes_max;
        if all > bytes_max { Err(TooMuch { bytes_max }) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.held, Ordering::AcqRel);
    }
}

/// How far a body is with its present message.
#[derive(Debug, Default)]
struct Message {
    head: [u8; HEAD_BYTES],
    bytes: usize,
}

impl Message {
    /// Goes on by these bytes; how many there are now of a message that is not whole.
    fn follow(&mut self, mut data: &[u8]) -> usize {
        while !data.is_empty() {
            let left = match HEAD_BYTES.checked_sub(self.bytes) {
                Some(left @ 1..) => left,
                _ => self.length() + HEAD_BYTES - self.bytes,
            };
            let (now, rest) = data.split_at(left.min(data.len()));
            if let Some(place) = self.head.get_mut(self.bytes..self.bytes + now.len()) {
                place.copy_from_slice(now);
            }
            self.bytes += now.len();
            data = rest;
            if self.bytes >= HEAD_BYTES && self.bytes == HEAD_BYTES + self.length() {
                self.bytes = 0;
            }
        }
        self.bytes
    }

    /// What the head says.
    fn length(&self) -> usize {
        let [_, length @ ..] = self.head;
        u32::from_be_bytes(length) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of so many bytes, as gRPC frames it.
    fn framed(length: u32) -> Vec<u8> {
        [&[0][..], &length.to_be_bytes(), &vec![7; length as usize]].concat()
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let stream = [framed(3), framed(0), framed(300), framed(1)].concat();
        let ends = [0, 8, 13, 318, 324];
        for piece in 1..=stream.len() {
            let mut message = Message::default();
            let mut come = 0;
            for data in stream.chunks(piece) {
                come += data.len();
                let last_end = ends.into_iter().rev().find(|end| *end <= come).unwrap();
                assert_eq!(message.follow(data), come - last_end, "{come} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_held_counts_over_all_bodies_and_what_is_whole_does_not() {
        let unfinished = Unfinished::new(30);
        let (mut call, mut plain) = (unfinished.begin(true), unfinished.begin(false));
        let long = framed(20);
        for _ in 0..9 {
            call.add(&long[..24]).unwrap();
            call.add(&long[24..]).unwrap();
        }
        plain.add(&[7; 20]).unwrap();
        call.add(&long[..10]).unwrap();
        let refused = call.add(&long[10..11]).unwrap_err().to_string();
        assert!(refused.contains("30 bytes"), "{refused}");
        drop(plain);
        call.add(&long[11..24]).unwrap();
        drop(call);
        unfinished.begin(false).add(&[7; 30]).unwrap();
        unfinished.begin(false).add(&[7; 31]).unwrap_err();
    }
}
