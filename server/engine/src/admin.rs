//! Entries of the log by which a database is administered.

use hearth_core::codec::{DecodeError, Reader, Writer};

/// The kind of these entries in the log.
pub(crate) const KIND: u8 = 8;

const WIPE: u8 = 1;

/// What was done to a database as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminEntry {
    /// Everything at or below the entry's version is gone, idempotency keys included, and a new epoch begins.
    Wipe {
        /// The new epoch.
        epoch: u64,
    },
}

impl AdminEntry {
    /// The body of the entry.
    pub(crate) fn encode(self) -> Vec<u8> {
        let Self::Wipe { epoch } = self;
        let mut writer = Writer::default();
        writer.byte(WIPE);
        writer.fixed(epoch);
        writer.finish()
    }

    /// Reads a body back.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let entry = match reader.byte()? {
            WIPE => Self::Wipe { epoch: reader.fixed()? },
            tag => return Err(DecodeError::Tag { what: "an act of administration", tag }),
        };
        reader.end()?;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_wipe_stay_as_they_are() {
        let wipe = AdminEntry::Wipe { epoch: 0x0102_0304_0506_0708 };
        assert_eq!(wipe.encode(), [1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(AdminEntry::decode(&wipe.encode()), Ok(wipe));
        assert!(AdminEntry::decode(&[2]).is_err() && AdminEntry::decode(&[1, 0]).is_err());
    }
}
