//! What is held of messages that have not come whole. HTTP/2's windows do not bound it: whoever reads a body gathers what it has
//! read and gives the window back, and a connection has many bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes before each message of gRPC: whether it is compressed, and its length.
/// Source: PROTOCOL-HTTP2.md of gRPC, "Length-Prefixed-Message".
const HEAD_BYTES: usize = 5;
/// Whoever reads a message makes room for all of it when its head has come. That costs nothing yet, but for the first page
/// that is written, and the system's pages are so large where it hands out huge ones.
const PAGE_BYTES_MAX: usize = 2 << 20;

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
    /// Goes on by these bytes; what is held now of a message that is not whole.
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
        match self.bytes < HEAD_BYTES {
            true => self.bytes,
            false => self.bytes.max(self.length().min(PAGE_BYTES_MAX)),
        }
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
        let messages = [(0, 3), (8, 0), (13, 300), (318, 1), (324, 0)];
        for piece in 1..=stream.len() {
            let mut message = Message::default();
            let mut come = 0;
            for data in stream.chunks(piece) {
                come += data.len();
                let (start, length) = messages.into_iter().rev().find(|(start, _)| *start <= come).unwrap();
                let unfinished = come - start;
                let held = if unfinished < HEAD_BYTES { unfinished } else { unfinished.max(length) };
                assert_eq!(message.follow(data), held, "{come} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_held_counts_over_all_bodies_and_what_is_whole_does_not() {
        let unfinished = Unfinished::new(30);
        let (mut call, mut plain) = (unfinished.begin(true), unfinished.begin(false));
        // Its head makes room for 10.
        let long = framed(10);
        for _ in 0..9 {
            call.add(&long[..14]).unwrap();
            call.add(&long[14..]).unwrap();
        }
        plain.add(&[7; 20]).unwrap();
        call.add(&long[..10]).unwrap();
        let refused = call.add(&long[10..11]).unwrap_err().to_string();
        assert!(refused.contains("30 bytes"), "{refused}");
        drop(plain);
        call.add(&long[11..14]).unwrap();
        drop(call);
        let mut large = unfinished.begin(true);
        large.add(&framed(10 << 20)[..HEAD_BYTES]).unwrap_err();
        drop(large);
        unfinished.begin(false).add(&[7; 30]).unwrap();
        unfinished.begin(false).add(&[7; 31]).unwrap_err();
    }
}
