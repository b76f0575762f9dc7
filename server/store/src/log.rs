//! The commit log: the truth, in the order of its versions, durable before anyone is answered.
//!
//! It keeps entries in groups and hands them back. What an entry says it does not know: kinds and bodies are the
//! engine's. [`FileLog`] keeps them in a folder, [`NoLog`] nowhere.

mod copy;
mod file;
mod frame;
mod segment;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hearth_core::Version;

pub use self::copy::{CopyError, LogCopy, LogPart};
pub use self::file::{Check, FileLog, LogOptions, Recovered};
pub(crate) use self::frame::seal_segment;

/// Most bytes that one group takes in the log: bodies and [`Entry::EXTRA_BYTES`] for each.
pub const GROUP_BYTES_MAX: usize = 64 << 20;

/// Names one database for good, whatever it is called. Drawn at random by whoever creates it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

impl DatabaseId {
    /// Reads what [`fmt::Display`] writes: 32 hexadecimal digits, in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let id = u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))?;
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseId({self})")
    }
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// When and where in the order. Above the version of every entry before it.
    pub version: Version,
    /// What the body is. The log does not look at it.
    pub kind: u8,
    /// The entry itself.
    pub body: Vec<u8>,
}

impl Entry {
    /// What an entry takes of a group beside its body.
    pub const EXTRA_BYTES: usize = 13;
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, kind, bytes) = (self.version, self.kind, self.body.len());
        write!(f, "Entry({version}, kind {kind}, {bytes} bytes)")
    }
}

/// The log of one database. It has one writer, which also closes it.
pub trait CommitLog: Send {
    /// Writes the group and returns when it is durable, as a whole. An empty group is nothing to write.
    fn append(&mut self, group: &[Entry]) -> Result<(), AppendError>;

    /// Calls `each` with every entry above `after`, in order, and stops at its first error.
    fn replay(
        &self,
        after: Version,
        each: &mut dyn FnMut(Entry) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<(), ReplayError>;

    /// The log holds every entry above this version; [`Version::ZERO`] where nothing was dropped.
    fn start(&self) -> Version;

    /// The version of the last durable entry; [`Version::ZERO`] where there is none.
    fn last(&self) -> Version;

    /// What the log takes up on disk.
    fn size_bytes(&self) -> u64;

    /// Whether there is an entry of this version, or the log begins right behind it: whether who has applied the log up to
    /// there has applied this log.
    fn holds(&self, version: Version) -> Result<bool, LogError>;

    /// About how many bytes stand above `version`: never fewer than do, and at most those of one segment more.
    fn bytes_above(&self, version: Version) -> u64;

    /// Why nothing is written any more, if that is so: what [`AppendError::ReadOnly`] says, for `/health`.
    fn read_only(&self) -> Option<Arc<str>>;

    /// Forgets entries at or below `version`, as far as that is cheap, and says how many bytes that has freed. What is
    /// above it stays, and so does the log's last version.
    fn drop_before(&mut self, version: Version) -> Result<u64, LogError>;

    /// Lets go of the files. All that was acknowledged is durable already. Every later append is refused.
    fn close(&mut self);
}

/// Why a group was not written.
///
/// All but [`AppendError::Unknown`] say that it is certainly not in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Writing failed, and what was written of it has been taken back. Another append may succeed, with space made.
    #[error("the commit log could not be written: {cause}; nothing of it was kept")]
    NotApplied {
        /// What the system said.
        cause: io::Error,
    },
    /// Writing failed in a way that leaves open what is on disk. Only opening the log again can tell, and until then
    /// it is read-only.
    #[error("the commit log could not be synced: {cause}; whether this commit lasts is unknown until the next start")]
    Unknown {
        /// What the system said.
        cause: io::Error,
    },
    /// An earlier append ended in [`AppendError::Unknown`].
    #[error("the commit log is read-only since an earlier failure ({cause}): check the disk, then start hearth again")]
    ReadOnly {
        /// What the system said then.
        cause: Arc<str>,
    },
    /// The group is over [`GROUP_BYTES_MAX`].
    #[error("the group takes {bytes} bytes, over the limit of {GROUP_BYTES_MAX}")]
    TooLarge {
        /// What it takes.
        bytes: usize,
    },
    /// The versions of the group do not rise, or not from the last one.
    #[error("version {version} does not stand above {last}, the one before it")]
    OutOfOrder {
        /// The version that comes too late.
        version: Version,
        /// The version before it.
        last: Version,
    },
    /// The log was closed.
    #[error("the commit log is closed")]
    Closed,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log is damaged or cannot be read; what was handed out before is right.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Whoever takes the entries refused one.
    #[error("the entry at version {version} cannot be replayed: {cause}")]
    Stopped {
        /// Which entry.
        version: Version,
        /// What was wrong with it.
        cause: Box<dyn Error + Send + Sync>,
    },
}

/// Why a log could not be opened or read. No entry was changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is damaged where no crash can have done it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The log is in a format of which this hearth knows nothing.
    #[error(
        "{} has format {found}, and this hearth reads format {known}; nothing was changed: \
         use the hearth that wrote it, or a newer one",
        path.display()
    )]
    Format {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that is understood.
        known: u32,
    },
    /// The log could not be read or written.
    #[error(transparent)]
    Io(#[from] LogIoError),
}

/// The system refused an operation on a file of the log.
#[derive(Debug, thiserror::Error)]
#[error("could not {act} {}: {cause}; nothing in the log is lost by this: see to the cause and try again", path.display())]
pub struct LogIoError {
    /// What was tried, as in "read".
    pub act: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

/// Damage to the log that no crash explains: a disk, a copy or a hand has changed or lost files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the commit log is damaged: {}{}: {fault}; {}; nothing was changed: \
     keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`",
    path.display(), place(*offset), safe(*intact)
)]
pub struct Damage {
    /// The file, or the folder where a file is missing.
    pub path: PathBuf,
    /// Where in the file; none where a file is missing.
    pub offset: Option<u64>,
    /// What is wrong there.
    pub fault: Fault,
    /// The damage lies behind this version. What comes up to it is not touched by it.
    pub intact: Version,
}

fn place(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(", byte {offset}"))
}

fn held(upto: Version) -> String {
    match upto {
        Version::ZERO => "nothing else holds what lies before".into(),
        version => format!("what lies before is held elsewhere only up to version {version}"),
    }
}

fn safe(intact: Version) -> String {
    match intact {
        Version::ZERO => "nothing before it is known to be whole".into(),
        version => format!("what was written up to version {version} is not touched by it"),
    }
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The folder holds no segment at all.
    #[error("there is no log segment here, though the database was created")]
    Empty,
    /// The log begins later than what is had elsewhere ends. Its first segments were dropped, or are lost.
    #[error("the log begins behind version {begins}, and {}", held(*needed))]
    Dropped {
        /// From where the log goes on.
        begins: Version,
        /// Up to where the rest is had.
        needed: Version,
    },
    /// A segment is not there, but a later one is.
    #[error("segment {segment} is missing")]
    SegmentMissing {
        /// Its number.
        segment: u32,
    },
    /// Something that is not a segment has the name of one.
    #[error("this is not a segment of a hearth log, or its head is damaged")]
    Head,
    /// The file belongs elsewhere.
    #[error("this belongs to database {found}, and the log here is that of {expected}")]
    OtherDatabase {
        /// Whose segment it is.
        found: DatabaseId,
        /// Whose log this is.
        expected: DatabaseId,
    },
    /// The file has the name of another segment.
    #[error("this is segment {found} under the name of segment {expected}")]
    OtherSegment {
        /// What the file says.
        found: u32,
        /// What its name says.
        expected: u32,
    },
    /// Segments do not meet.
    #[error("this segment continues from version {found}, but the one before it ends at version {expected}")]
    Gap {
        /// Where the segment says it begins.
        found: Version,
        /// Where the one before it ends.
        expected: Version,
    },
    /// A group is damaged, and later ones were written: they were only begun when this one was durable.
    #[error("a group of commits is damaged, and it is not the last thing that was written")]
    Group,
    /// A group is whole but makes no sense.
    #[error("a group of commits is whole but not well formed")]
    Malformed,
    /// Versions do not rise.
    #[error("version {found} does not stand above {last}, the one before it")]
    Order {
        /// The version that comes too late.
        found: Version,
        /// The version before it.
        last: Version,
    },
    /// The log ends before a version that was durable.
    #[error("the log ends with version {last}, but version {known} was durable")]
    Short {
        /// Where it ends.
        last: Version,
        /// What is known to have been written.
        known: Version,
    },
}

/// A log that keeps nothing, for `--ephemeral`: it takes every group and replays none.
#[derive(Debug, Default)]
pub struct NoLog {
    last: Version,
    closed: bool,
}

impl NoLog {
    /// A log without entries.
    pub fn new() -> Self {
        Self::default()
    }
}

impl CommitLog for NoLog {
    fn append(&mut self, group: &[Entry]) -> Result<(), AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        self.last = admit(self.last, group)?.last;
        Ok(())
    }

    fn replay(
        &self,
        _after: Version,
        _each: &mut dyn FnMut(Entry) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<(), ReplayError> {
        Ok(())
    }

    fn start(&self) -> Version {
        Version::ZERO
    }

    fn last(&self) -> Version {
        self.last
    }

    fn size_bytes(&self) -> u64 {
        0
    }

    fn holds(&self, _version: Version) -> Result<bool, LogError> {
        Ok(true)
    }

    fn bytes_above(&self, _version: Version) -> u64 {
        0
    }

    fn drop_before(&mut self, _version: Version) -> Result<u64, LogError> {
        Ok(0)
    }

    fn read_only(&self) -> Option<Arc<str>> {
        None
    }

    fn close(&mut self) {
        self.closed = true;
    }
}

/// What a group comes to, once it is known to be fit for the log.
struct Admitted {
    last: Version,
    bytes: usize,
}

/// The one place that decides what may follow `last`, for every log alike.
fn admit(last: Version, group: &[Entry]) -> Result<Admitted, AppendError> {
    let mut admitted = Admitted { last, bytes: 0 };
    for entry in group {
        if entry.version <= admitted.last {
            return Err(AppendError::OutOfOrder { version: entry.version, last: admitted.last });
        }
        admitted.last = entry.version;
        admitted.bytes += Entry::EXTRA_BYTES + entry.body.len();
    }
    match admitted.bytes {
        bytes if bytes > GROUP_BYTES_MAX => Err(AppendError::TooLarge { bytes }),
        _ => Ok(admitted),
    }
}
