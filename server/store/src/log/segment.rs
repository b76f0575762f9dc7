//! Reading one segment from its head to its end, and telling a torn end from damage.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hearth_core::Version;

use super::frame::{self, FORMAT, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameHead, HEAD_BYTES, Head, NoHead};
use super::{Damage, DatabaseId, Fault, LogError, LogIoError};
use crate::disk::{Disk, DiskReader};

/// The end of a segment's name.
const NAME_END: &str = ".seg";
/// The end of a segment's name until its head is durable.
const NAME_END_NEW: &str = ".new";

/// The name of a segment's file.
pub(super) fn name(segment: u32) -> String {
    format!("{segment:010}{NAME_END}")
}

/// The name under which a segment is prepared.
pub(super) fn name_new(segment: u32) -> String {
    format!("{segment:010}{NAME_END_NEW}")
}

/// What a name in the folder of a log stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    Segment(u32),
    /// A segment that was being prepared when the process ended. It never held a commit.
    New,
    /// Not ours.
    Other,
}

/// Reads a name that [`name`] or [`name_new`] has made, and nothing that only resembles one.
pub(super) fn named(text: &str) -> Named {
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    if let Some(segment) = text.strip_suffix(NAME_END).and_then(number)
        && name(segment) == text
    {
        return Named::Segment(segment);
    }
    if let Some(segment) = text.strip_suffix(NAME_END_NEW).and_then(number)
        && name_new(segment) == text
    {
        return Named::New;
    }
    Named::Other
}

/// Reads the groups of one segment, in order, and believes none that is not whole.
pub(super) struct Reader {
    path: PathBuf,
    head: Head,
    file: BufReader<Box<dyn DiskReader>>,
    /// Where the next frame begins.
    offset: u64,
    /// Where the group before it begins, if there is one.
    group: Option<u64>,
    /// Where the segment ends.
    bytes: u64,
    last: Version,
    payload: Vec<u8>,
}

/// What stands next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A whole group; [`Reader::payload`] has it.
    Group,
    /// Nothing: here the segment ends.
    End,
    /// Something that is no whole group. [`Reader::is_torn`] tells more.
    Bad,
}

impl Reader {
    /// Opens a segment, of which `bytes_max` bytes are read at most, and checks its head. `intact` is only for the
    /// error: what stands in the segments before this one.
    pub(super) fn open(
        disk: &dyn Disk,
        folder: &Path,
        database: DatabaseId,
        segment: u32,
        bytes_max: Option<u64>,
        intact: Version,
    ) -> Result<Self, LogError> {
        let path = folder.join(name(segment));
        let io_error = |cause| LogIoError { act: "read", path: path.clone(), cause };
        let bytes = disk.file_bytes(&path).map_err(io_error)?;
        let file = disk.read(&path).map_err(io_error)?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut head = [0; HEAD_BYTES];
        let decoded = match file.read_exact(&mut head) {
            Ok(()) => Head::decode(&head),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NoHead::Damaged),
            Err(error) => return Err(io_error(error).into()),
        };
        let fault = match decoded {
            Err(NoHead::Format(found)) => return Err(LogError::Format { path, found, known: FORMAT }),
            Err(NoHead::Damaged) => Fault::Head,
            Ok(Head { database: found, .. }) if found != database => Fault::OtherDatabase { found, expected: database },
            Ok(Head { segment: found, .. }) if found != segment => Fault::OtherSegment { found, expected: segment },
            Ok(head) => {
                return Ok(Self {
                    path,
                    head,
                    file,
                    offset: HEAD_BYTES as u64,
                    group: None,
                    bytes: bytes_max.map_or(bytes, |max| max.min(bytes)),
                    last: head.after,
                    payload: Vec::new(),
                });
            }
        };
        Err(Damage { path, offset: Some(0), fault, intact }.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// The last version read so far.
    pub(super) fn last(&self) -> Version {
        self.last
    }

    /// Where what has been read ends.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How long the segment is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The payload of the group that [`Reader::next`] has just found.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Damage at the place that was read last.
    pub(super) fn damage(&self, fault: Fault) -> LogError {
        LogError::Damaged(Damage { path: self.path.clone(), offset: Some(self.offset), fault, intact: self.last })
    }

    /// Reads the next group and steps behind it. A group that is whole but wrong is damage at once: no crash does that.
    pub(super) fn next(&mut self) -> Result<Next, LogError> {
        let left = self.bytes.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < FRAME_HEAD_BYTES as u64 {
            return Ok(Next::Bad);
        }
        let seed = self.head.seed(self.offset);
        let mut head = [0; FRAME_HEAD_BYTES];
        self.read(&mut head)?;
        let Some(head) = FrameHead::decode(&head, seed) else {
            return Ok(Next::Bad);
        };
        let frame_bytes = FRAME_HEAD_BYTES as u64 + u64::from(head.payload_bytes);
        if frame_bytes > FRAME_BYTES_MAX {
            return Err(self.damage(Fault::Malformed));
        }
        if frame_bytes > left {
            return Ok(Next::Bad);
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(head.payload_bytes as usize, 0);
        self.read(&mut payload)?;
        if !head.matches(&payload, seed) {
            return Ok(Next::Bad);
        }
        match frame::verify(&head, &payload, self.last) {
            Ok(last) => self.last = last,
            Err(fault) => return Err(self.damage(fault)),
        }
        self.payload = payload;
        self.group = Some(self.offset);
        self.offset += frame_bytes;
        Ok(Next::Group)
    }

    /// The bytes of the last whole group, and where they stand; none where there is no group.
    pub(super) fn last_group(&mut self) -> Result<Option<(u64, Vec<u8>)>, LogIoError> {
        let Some(start) = self.group else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(self.offset - start).expect("a frame fits the memory")];
        self.file.seek(SeekFrom::Start(start)).map_err(|cause| self.io_error(cause))?;
        self.read(&mut bytes)?;
        Ok(Some((start, bytes)))
    }

    /// Whether the bad frame at [`Reader::offset`] can be what a crash leaves of the very last write.
    ///
    /// The next group is only begun when this one is durable. So this was not the last write if anything follows it: more
    /// bytes than one frame has, bytes behind its own end, or the head of another frame.
    pub(super) fn is_torn(&mut self) -> Result<bool, LogError> {
        let left = self.bytes - self.offset;
        if left > FRAME_BYTES_MAX {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(self.offset)).map_err(|cause| self.io_error(cause))?;
        let mut bytes = vec![0; usize::try_from(left).expect("a frame fits the memory")];
        self.read(&mut bytes)?;
        let mut heads = bytes.windows(FRAME_HEAD_BYTES).enumerate();
        let head_at = |(at, window): (usize, &[u8])| {
            let window = window.try_into().expect("a window has its length");
            FrameHead::decode(window, self.head.seed(self.offset + at as u64))
        };
        let ends_early = heads
            .next()
            .and_then(head_at)
            .is_some_and(|head| FRAME_HEAD_BYTES as u64 + u64::from(head.payload_bytes) < left);
        Ok(!ends_early && heads.all(|place| head_at(place).is_none()))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), LogIoError> {
        self.file.read_exact(bytes).map_err(|cause| self.io_error(cause))
    }

    fn io_error(&self, cause: io::Error) -> LogIoError {
        LogIoError { act: "read", path: self.path.clone(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_ours() {
        assert_eq!(named(&name(1)), Named::Segment(1));
        assert_eq!(named(&name(u32::MAX)), Named::Segment(u32::MAX));
        assert_eq!(named(&name_new(7)), Named::New);
        for other in ["1.seg", "0000000000.seg", "0000000001.seg.bak", "+000000001.seg", "9999999999.seg", ".new", "x"]
        {
            assert_eq!(named(other), Named::Other, "{other}");
        }
    }
}
