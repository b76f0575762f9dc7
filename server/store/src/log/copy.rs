//! A part of a log, copied while the log is being written: for backups.
//!
//! The copy is a segment like any other, so whatever reads a log reads it, with the same checksums. Nothing is asked of
//! who writes the log: what is durable does not change any more, and nothing beyond it is looked at.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hearth_core::Version;

use super::file::list;
use super::frame::{self, HEAD_BYTES, Head};
use super::segment::{Next, Reader};
use super::{Damage, DatabaseId, Entry, Fault, LogError};
use crate::disk::RealDisk;

#[cfg(test)]
mod tests;

/// How often the folder is listed again when a segment was dropped meanwhile.
const TRIES_MAX: u32 = 5;

/// Which part of a log, and as which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Entries above this version, at which there is one, or at which the log begins.
    pub after: Version,
    /// Entries up to this version, which must be durable.
    pub upto: Version,
    /// The number of the segment that is made of it; the first of a log that begins at zero is 1.
    pub segment: u32,
}

/// Why a part of a log cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It was dropped, behind a snapshot.
    #[error("the log goes back to version {begins}, and what was asked for begins at {after}")]
    Dropped {
        /// From where on there is a log.
        begins: Version,
        /// What was asked for.
        after: Version,
    },
    /// There is no entry of the version behind which the copy is to begin.
    #[error("the log has no entry at version {after}: it is not the log that this was copied from before")]
    Foreign {
        /// What was asked for.
        after: Version,
    },
    /// The log is damaged, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What takes the copy does not.
    #[error("the copy could not be written: {0}")]
    Write(#[from] io::Error),
}

/// A part of a log that is about to be copied.
pub struct LogCopy {
    folder: PathBuf,
    database: DatabaseId,
    part: LogPart,
    segments: Vec<u32>,
    reader: Reader,
    /// Entries of the group that was read last and belong to the part.
    group: Vec<Entry>,
}

impl LogCopy {
    /// Finds the beginning of a part in the log of `database` in `folder`.
    pub fn open(folder: &Path, database: DatabaseId, part: LogPart) -> Result<Self, CopyError> {
        let mut tries = TRIES_MAX;
        loop {
            match Self::try_open(folder, database, part) {
                // Dropped between listing and opening.
                Err(CopyError::Log(LogError::Io(error)))
                    if error.cause.kind() == io::ErrorKind::NotFound && tries > 0 =>
                {
                    tries -= 1;
                }
                opened => return opened,
            }
        }
    }

    fn try_open(folder: &Path, database: DatabaseId, part: LogPart) -> Result<Self, CopyError> {
        let after = part.after;
        let mut segments: Vec<u32> = list(&RealDisk, folder).map_err(LogError::from)?.segments.into_iter().collect();
        let mut found: Option<(usize, Reader)> = None;
        for (index, segment) in segments.iter().enumerate() {
            let reader = Reader::open(&RealDisk, folder, database, *segment, None, Version::ZERO)?;
            match (reader.head().after, &found) {
                (begins, None) if begins > after => return Err(CopyError::Dropped { begins, after }),
                (begins, Some(_)) if begins > after => break,
                _ => found = Some((index, reader)),
            }
        }
        let Some((index, mut reader)) = found else {
            let path = folder.to_path_buf();
            let damage = Damage { path, offset: None, fault: Fault::Empty, intact: Version::ZERO };
            return Err(LogError::from(damage).into());
        };
        // Whether the version is one of this log is seen on the way to it.
        let mut is_ours = reader.head().after == after;
        let mut group = Vec::new();
        while !is_ours && reader.last() < after {
            match reader.next()? {
                Next::Group => {}
                Next::End => break,
                Next::Bad => return Err(reader.damage(Fault::Group).into()),
            }
            for entry in frame::entries(reader.payload()) {
                is_ours |= entry.version == after;
                if entry.version > after && entry.version <= part.upto {
                    group.push(entry);
                }
            }
        }
        if !is_ours {
            return Err(CopyError::Foreign { after });
        }
        segments.drain(..=index);
        Ok(Self { folder: folder.to_path_buf(), database, part, segments, reader, group })
    }

    /// Writes the part, and answers how many bytes it has.
    pub fn write_to(mut self, out: &mut dyn Write) -> Result<u64, CopyError> {
        let LogPart { after, upto, segment } = self.part;
        let head = Head { database: self.database, segment, after };
        out.write_all(&head.encode())?;
        let mut bytes = HEAD_BYTES as u64;
        let mut frame = Vec::new();
        let mut next = self.segments.into_iter();
        loop {
            if !self.group.is_empty() {
                frame::encode(&mut frame, head.seed(bytes), &self.group);
                out.write_all(&frame)?;
                bytes += frame.len() as u64;
                self.group.clear();
            }
            // Not a byte beyond it: what stands there may be half written.
            if self.reader.last() >= upto {
                return Ok(bytes);
            }
            match self.reader.next()? {
                Next::Group => {
                    let entries = frame::entries(self.reader.payload());
                    self.group.extend(entries.filter(|entry| entry.version > after && entry.version <= upto));
                }
                Next::Bad => return Err(self.reader.damage(Fault::Group).into()),
                Next::End => {
                    let last = self.reader.last();
                    let Some(segment) = next.next() else {
                        return Err(self.reader.damage(Fault::Short { last, known: upto }).into());
                    };
                    let reader = Reader::open(&RealDisk, &self.folder, self.database, segment, None, last)?;
                    if reader.head().after != last {
                        let found = reader.head().after;
                        return Err(reader.damage(Fault::Gap { found, expected: last }).into());
                    }
                    self.reader = reader;
                }
            }
        }
    }
}
