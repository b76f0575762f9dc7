//! The files of records: LevelDB's log format, in which exports are written.
//!
//! ```text
//! file    blocks of 32,768 bytes, the last one shorter
//! block   (masked crc32c u32 · length u16 · kind u8 · piece)*, then fewer than 7 bytes that say nothing
//! kind    1 whole record · 2 first, 3 middle, 4 last piece of one; 0 with length 0: nothing more in this block
//! ```
//!
//! Numbers are little-endian; the checksum is over kind and piece. Source: LevelDB, doc/log_format.md. The crates that read this
//! format are whole databases around it, or open nothing but their own files, so these hundred lines are ours.

use std::io::{self, Read, Write};

/// Bytes of a block.
const BLOCK_BYTES: usize = 32_768;
/// Bytes before a piece.
const HEAD_BYTES: usize = 7;
/// Longest record that is read or written. A document of a mebibyte may grow: each element of an array carries its field's name.
pub(crate) const RECORD_BYTES_MAX: usize = 32 << 20;

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Why a file is no log, or no whole one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is cut off: the record at byte {at} is not whole")]
    Cut { at: u64 },
    #[error("it is damaged: the checksum at byte {at} is wrong")]
    Checksum { at: u64 },
    #[error("it is damaged: byte {at} begins a piece of a record that does not fit to what stands before")]
    Order { at: u64 },
    #[error("the record at byte {at} has more than {RECORD_BYTES_MAX} bytes")]
    TooLong { at: u64 },
}

fn checksum(kind: u8, piece: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), piece);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads the records of a log, holding one of them and one block at a time.
pub(crate) struct Reader<R> {
    from: R,
    block: Vec<u8>,
    /// Where in the block reading goes on.
    at: usize,
    /// Where in the file the block begins.
    start: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, block: Vec::new(), at: 0, start: 0 }
    }

    /// The next record; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        let mut record = Vec::new();
        let mut began = None;
        loop {
            if self.block.len() - self.at < HEAD_BYTES && !self.next_block()? {
                return began.map_or(Ok(None), |at| Err(LogError::Cut { at }));
            }
            let at = self.start + self.at as u64;
            let rest = &self.block[self.at..];
            let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else {
                return Err(LogError::Cut { at });
            };
            let [c0, c1, c2, c3, l0, l1, kind] = *head;
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            if (kind, length) == (0, 0) {
                // Room that a writer has taken and not used.
                self.at = self.block.len();
                continue;
            }
            let piece = rest.get(..length).ok_or(LogError::Cut { at })?;
            if checksum(kind, piece) != u32::from_le_bytes([c0, c1, c2, c3]) {
                return Err(LogError::Checksum { at });
            }
            match (kind, began) {
                (WHOLE | FIRST, None) | (MIDDLE | LAST, Some(_)) => {}
                _ => return Err(LogError::Order { at }),
            }
            if record.len() + length > RECORD_BYTES_MAX {
                return Err(LogError::TooLong { at: began.unwrap_or(at) });
            }
            record.extend_from_slice(piece);
            self.at += HEAD_BYTES + length;
            if matches!(kind, WHOLE | LAST) {
                return Ok(Some(record));
            }
            began = began.or(Some(at));
        }
    }

    /// Reads the next block; says whether there is one.
    fn next_block(&mut self) -> Result<bool, LogError> {
        // Only a last block is short, and what is too short for a head there was not written whole.
        if self.block.len() < BLOCK_BYTES && self.at < self.block.len() {
            return Err(LogError::Cut { at: self.start + self.at as u64 });
        }
        self.start += self.block.len() as u64;
        self.block.clear();
        self.at = 0;
        self.from.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut self.block)?;
        Ok(!self.block.is_empty())
    }
}

/// Writes records as a log.
pub(crate) struct Writer<W> {
    to: W,
    /// Bytes of the block that are written.
    at: usize,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, at: 0, bytes: 0 }
    }

    /// Bytes that were written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let (mut rest, mut is_first) = (record, true);
        loop {
            let left = BLOCK_BYTES - self.at;
            if left < HEAD_BYTES {
                self.write(&[0; HEAD_BYTES][..left])?;
                continue;
            }
            let (piece, behind) = rest.split_at(rest.len().min(left - HEAD_BYTES));
            let kind = match (is_first, behind.is_empty()) {
                (true, true) => WHOLE,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            let length = u16::try_from(piece.len()).expect("a piece is shorter than a block");
            self.write(&checksum(kind, piece).to_le_bytes())?;
            self.write(&length.to_le_bytes())?;
            self.write(&[kind])?;
            self.write(piece)?;
            if behind.is_empty() {
                return Ok(());
            }
            (rest, is_first) = (behind, false);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.at = (self.at + bytes.len()) % BLOCK_BYTES;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// What was written to.
    pub(crate) fn into_inner(self) -> W {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(records: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        records.iter().for_each(|record| writer.append(record).unwrap());
        assert_eq!(writer.bytes(), writer.to.len() as u64);
        writer.into_inner()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut reader = Reader::new(bytes);
        std::iter::from_fn(|| reader.next().transpose()).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    /// Records that end at, shortly before and behind the end of a block.
    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0..40_usize, (BLOCK_BYTES - 40)..(BLOCK_BYTES + 40), 0..(3 * BLOCK_BYTES)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn records_come_back_as_they_went(lengths in proptest::collection::vec(lengths(), 0..6)) {
            let records: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(n, length)| (0..*length).map(|i| (i + n) as u8).collect()).collect();
            prop_assert_eq!(read(&written(&records)).unwrap(), records);
        }

        #[test]
        fn a_log_that_is_cut_off_within_a_record_or_changed_is_refused(
            length in lengths(), place in any::<prop::sample::Index>(), bit in 0..8_u8
        ) {
            let mut whole = written(&[b"first".to_vec(), vec![7; length]]);
            let first = HEAD_BYTES + 5;
            let cut = first + 1 + place.index(whole.len() - first - 1);
            prop_assert!(read(&whole[..cut]).unwrap_err().contains("cut off"));
            whole[place.index(first)] ^= 1_u8 << bit;
            prop_assert!(read(&whole).is_err());
        }
    }

    #[test]
    fn a_log_is_laid_out_as_leveldb_says() {
        // The first record of an `overall_export_metadata` of Google's emulator.
        assert_eq!(written(&[b"3".to_vec()]), [0xb8, 0x6d, 0x44, 0x4e, 1, 0, 1, b'3']);
        // A piece of no bytes stands where just a head fits.
        let whole = written(&[vec![1; BLOCK_BYTES - 2 * HEAD_BYTES], vec![2; 3]]);
        assert_eq!(whole[BLOCK_BYTES - 3..BLOCK_BYTES], [0, 0, FIRST]);
        assert_eq!(whole[BLOCK_BYTES + 4..], [3, 0, LAST, 2, 2, 2]);
    }

    #[test]
    fn room_that_was_taken_and_not_used_is_passed_over() {
        let mut bytes = written(&[b"a".to_vec()]);
        bytes.resize(BLOCK_BYTES, 0);
        bytes.extend(written(&[b"b".to_vec()]));
        assert_eq!(read(&bytes).unwrap(), [b"a", b"b"]);
    }

    #[test]
    fn pieces_out_of_order_and_records_without_end_are_refused() {
        let piece = |kind: u8, piece: &[u8]| {
            let mut bytes = checksum(kind, piece).to_le_bytes().to_vec();
            bytes.extend((piece.len() as u16).to_le_bytes());
            bytes.push(kind);
            bytes.extend(piece);
            bytes
        };
        for wrong in
            [piece(MIDDLE, b"x"), piece(LAST, b"x"), piece(9, b"x"), [piece(FIRST, b"x"), piece(WHOLE, b"x")].concat()]
        {
            assert!(read(&wrong).unwrap_err().contains("does not fit"), "{wrong:?}");
        }
        assert!(read(&piece(FIRST, b"x")).unwrap_err().contains("cut off"));
        let block = |kind| piece(kind, &[0; BLOCK_BYTES - HEAD_BYTES]);
        let mut endless = block(FIRST);
        (0..RECORD_BYTES_MAX / BLOCK_BYTES + 1).for_each(|_| endless.extend(block(MIDDLE)));
        assert!(read(&endless).unwrap_err().contains("more than"));
    }
}
