//! The bytes of the log: the head of a segment, the frame of a group. Pure; files are `segment`'s and `file`'s.
//!
//! All numbers are little-endian.
//!
//! ```text
//! head    magic "HEARTHLG" · format u32 · segment u32 · database id [16] · continues from version u64 · crc32c u32
//! frame   mark "GRUP" · payload bytes u32 · entries u32 · crc32c of the payload u32 · crc32c of these four u32 · payload
//! payload (version u64 · kind u8 · body bytes u32 · body)*
//! ```
//!
//! Both checksums of a frame are seeded with the database id, the segment's number and the frame's offset: a frame
//! that was copied from elsewhere, or that stands in the body of a document, is no frame here. The head of a frame has
//! its own checksum so that its length can be believed before the payload is read.

use hearth_core::Version;

use super::{DatabaseId, Entry, Fault, GROUP_BYTES_MAX};

/// The one format of segments so far.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a segment's head.
pub(super) const HEAD_BYTES: usize = 44;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEAD_BYTES: usize = 20;
/// Most bytes of a frame.
pub(super) const FRAME_BYTES_MAX: u64 = (FRAME_HEAD_BYTES + GROUP_BYTES_MAX) as u64;

const MAGIC: &[u8; 8] = b"HEARTHLG";
const MARK: &[u8; 4] = b"GRUP";

/// Whose a segment is, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) database: DatabaseId,
    pub(super) segment: u32,
    /// The last version of the segment before it; zero for the first.
    pub(super) after: Version,
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.database.0);
        bytes[32..40].copy_from_slice(&self.after.micros().to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, NoHead> {
        if !bytes.starts_with(MAGIC) {
            return Err(NoHead::Damaged);
        }
        // Before the checksum: another format may have it elsewhere.
        let found = u32_at(bytes, 8);
        if found != FORMAT {
            return Err(NoHead::Format(found));
        }
        if u32_at(bytes, 40) != crc32c::crc32c(&bytes[..40]) {
            return Err(NoHead::Damaged);
        }
        let mut database = [0; 16];
        database.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            database: DatabaseId(database),
            segment: u32_at(bytes, 12),
            after: Version::from_micros(u64_at(bytes, 32)),
        })
    }

    /// What the checksums of a frame at `offset` of this segment start from.
    pub(super) fn seed(&self, offset: u64) -> u32 {
        let seed = crc32c::crc32c(&self.database.0);
        let seed = crc32c::crc32c_append(seed, &self.segment.to_le_bytes());
        crc32c::crc32c_append(seed, &offset.to_le_bytes())
    }
}

/// Why these bytes are not the head of a segment.
pub(super) enum NoHead {
    Damaged,
    /// It is one, of this other format.
    Format(u32),
}

/// What stands before the payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) payload_bytes: u32,
    entries: u32,
    payload_crc: u32,
}

impl FrameHead {
    /// `None` when these are not the first bytes of a frame, or damaged.
    pub(super) fn decode(bytes: &[u8; FRAME_HEAD_BYTES], seed: u32) -> Option<Self> {
        let whole = bytes.starts_with(MARK) && u32_at(bytes, 16) == crc32c::crc32c_append(seed, &bytes[..16]);
        whole.then(|| Self {
            payload_bytes: u32_at(bytes, 4),
            entries: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 12),
        })
    }

    /// Whether `payload` is what was written.
    pub(super) fn matches(&self, payload: &[u8], seed: u32) -> bool {
        crc32c::crc32c_append(seed, payload) == self.payload_crc
    }
}

/// Writes a group over `out`: what it is, and nothing else. The caller has checked that it is not too large.
pub(super) fn encode(out: &mut Vec<u8>, seed: u32, group: &[Entry]) {
    out.clear();
    out.resize(FRAME_HEAD_BYTES, 0);
    for entry in group {
        out.extend_from_slice(&entry.version.micros().to_le_bytes());
        out.push(entry.kind);
        out.extend_from_slice(&length(entry.body.len()).to_le_bytes());
        out.extend_from_slice(&entry.body);
    }
    seal(out, seed, length(group.len()));
}

/// Writes the head of a frame in front of its payload, for which `frame` has left the room.
pub(super) fn seal(frame: &mut [u8], seed: u32, entries: u32) {
    let payload_bytes = length(frame.len() - FRAME_HEAD_BYTES);
    let payload_crc = crc32c::crc32c_append(seed, &frame[FRAME_HEAD_BYTES..]);
    frame[..4].copy_from_slice(MARK);
    frame[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    frame[8..12].copy_from_slice(&entries.to_le_bytes());
    frame[12..16].copy_from_slice(&payload_crc.to_le_bytes());
    let head_crc = crc32c::crc32c_append(seed, &frame[..16]);
    frame[16..FRAME_HEAD_BYTES].copy_from_slice(&head_crc.to_le_bytes());
}

/// A whole first segment with one frame around `payload`, whatever that is; for `fuzz`.
pub(crate) fn seal_segment(database: DatabaseId, payload: &[u8], entries: u32) -> Vec<u8> {
    let head = Head { database, segment: 1, after: Version::ZERO };
    let mut frame = vec![0; FRAME_HEAD_BYTES];
    frame.extend_from_slice(payload);
    seal(&mut frame, head.seed(HEAD_BYTES as u64), entries);
    [&head.encode()[..], &frame].concat()
}

/// The versions of a payload, checked: the whole payload is well formed, and they rise from `last`. Answers the last.
pub(super) fn verify(head: &FrameHead, payload: &[u8], last: Version) -> Result<Version, Fault> {
    let (mut last, mut entries) = (last, 0);
    for part in parts(payload) {
        let (version, _, _) = part.ok_or(Fault::Malformed)?;
        if version <= last {
            return Err(Fault::Order { found: version, last });
        }
        last = version;
        entries += 1;
    }
    match entries {
        0 => Err(Fault::Malformed),
        n if n != head.entries => Err(Fault::Malformed),
        _ => Ok(last),
    }
}

/// The entries of a payload that [`verify`] has passed.
pub(super) fn entries(payload: &[u8]) -> impl Iterator<Item = Entry> {
    parts(payload).flatten().map(|(version, kind, body)| Entry { version, kind, body: body.to_vec() })
}

type Part<'a> = (Version, u8, &'a [u8]);

/// The parts of a payload, ending with `None` where it is not well formed.
fn parts(payload: &[u8]) -> impl Iterator<Item = Option<Part<'_>>> {
    let mut rest = Some(payload);
    std::iter::from_fn(move || {
        let bytes = rest.take().filter(|bytes| !bytes.is_empty())?;
        let part = split(bytes);
        rest = part.map(|(_, rest)| rest);
        Some(part.map(|(part, _)| part))
    })
}

fn split(bytes: &[u8]) -> Option<(Part<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(Entry::EXTRA_BYTES)?;
    let (body, rest) = rest.split_at_checked(u32_at(head, 9) as usize)?;
    Some(((Version::from_micros(u64_at(head, 0)), head[8], body), rest))
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("GROUP_BYTES_MAX fits 32 bits")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were cut"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut"))
}
