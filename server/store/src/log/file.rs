//! A commit log in a folder: numbered segments, one frame a group, synced before anyone hears of it.
//!
//! The order that makes recovery simple: a frame is begun when the one before it is durable, and a segment is begun
//! when the one before it is. So a crash can only have torn the very last frame; everything else is damage.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_core::Version;

use super::frame::{self, FRAME_HEAD_BYTES, HEAD_BYTES, Head};
use super::segment::{self, Named, Next, Reader};
use super::{AppendError, CommitLog, Damage, DatabaseId, Entry, Fault, LogError, LogIoError, ReplayError, admit};
use crate::disk::{Disk, DiskFile, RealDisk};

/// Above this, the memory of a frame is given back after it was written.
const FRAME_KEPT_BYTES_MAX: usize = 4 << 20;

/// How a log is opened and grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// How much is read before the log is believed.
    pub check: Check,
    /// Size of the first segment. Each further one is twice as large as the one before it.
    pub segment_bytes_first: u64,
    /// Size of the largest segments. Only a single group that is larger still makes a larger one.
    pub segment_bytes_max: u64,
    /// Bytes that are left free on the disk: a group that would take of them is not written. The state, which is on the same
    /// disk, does not survive a full one.
    pub free_bytes_min: u64,
    /// What lies at or below this version may be missing, because something else holds it: a snapshot. Zero allows
    /// nothing to be missing.
    pub covered: Version,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            check: Check::Whole,
            segment_bytes_first: 1 << 20,
            segment_bytes_max: 64 << 20,
            free_bytes_min: 0,
            covered: Version::ZERO,
        }
    }
}

/// How much of a log is read when it is opened. Damage is never handed out either way: replay checks what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Everything.
    Whole,
    /// The heads of all segments and all of the last: right for a log of which nothing, or everything, is then replayed.
    Tail,
}

/// What opening found, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last version in the log; zero in an empty one.
    pub last: Version,
    /// Bytes of a group that a crash had torn, now cut off. No one was told of that group.
    pub cut_bytes: u64,
    /// How many segments there are.
    pub segments: u32,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// A commit log in a folder that is its own.
pub struct FileLog {
    folder: PathBuf,
    database: DatabaseId,
    options: LogOptions,
    disk: Arc<dyn Disk>,
    /// The number of the first segment; those before it were dropped.
    first: u32,
    /// From which version each segment continues.
    starts: Vec<Version>,
    /// Bytes of each segment but the last.
    sealed_bytes: Vec<u64>,
    /// The last segment; none when the log is closed.
    file: Option<Box<dyn DiskFile>>,
    /// Durable bytes of the last segment.
    bytes: u64,
    last: Version,
    /// A next segment was begun and may be there: this one takes nothing more.
    sealed: bool,
    /// Why nothing is written any more.
    ended: Option<Arc<str>>,
    frame: Vec<u8>,
}

impl FileLog {
    /// Begins the log of a new database in `folder`, which may be there but must hold no segment. Durable on return.
    pub fn create(folder: &Path, database: DatabaseId) -> Result<(), LogError> {
        Self::create_on(&RealDisk, folder, database)
    }

    /// The same on any disk.
    pub fn create_on(disk: &dyn Disk, folder: &Path, database: DatabaseId) -> Result<(), LogError> {
        Self::create_behind(disk, folder, database, Version::ZERO)
    }

    /// The same for a database of which a snapshot holds everything up to `after`: there the log begins.
    pub(crate) fn create_behind(
        disk: &dyn Disk,
        folder: &Path,
        database: DatabaseId,
        after: Version,
    ) -> Result<(), LogError> {
        disk.create_folder(folder).map_err(io_error("create", folder))?;
        if !list(disk, folder)?.segments.is_empty() {
            let cause = io::ErrorKind::AlreadyExists.into();
            return Err(io_error("create a log in", folder)(cause).into());
        }
        // Only the first segment of all begins at zero.
        let segment = if after == Version::ZERO { 1 } else { 2 };
        let head = Head { database, segment, after };
        match begin(disk, folder, head) {
            Ok(_) => Ok(()),
            Err(NotBegun::Undone(cause) | NotBegun::Unsynced(cause)) => {
                Err(io_error("create a log in", folder)(cause).into())
            }
        }
    }

    /// Whether `folder` is not there or holds no segment.
    pub(crate) fn is_empty(folder: &Path) -> Result<bool, LogError> {
        match list(&RealDisk, folder) {
            Ok(listed) => Ok(listed.segments.is_empty()),
            Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the log of `database` in `folder`.
    ///
    /// `known` is the highest version of which anyone can know that it was durable (what the state has applied, what
    /// a clean stop has noted); a log that ends before it is refused. A last frame that a crash has torn is cut off and
    /// reported. Anything else that is wrong is refused, and then nothing has been changed.
    pub fn open(
        folder: &Path,
        database: DatabaseId,
        known: Version,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        Self::open_on(Arc::new(RealDisk), folder, database, known, options)
    }

    /// The same on any disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        database: DatabaseId,
        known: Version,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        let listed = list(&*disk, folder)?;
        let mut found = survey(&*disk, folder, database, &listed.segments, known, &options)?;

        // From here on the log is believed, and changed. What a killed process had written and not yet synced is
        // about to be shown, so it is synced now, cut or not.
        for path in &listed.unfinished {
            disk.remove(path).map_err(io_error("remove", path))?;
        }
        let bytes = found.tail.offset();
        let last_group = found.tail.last_group()?;
        let path = found.tail.path();
        let mut file = disk.open(path).map_err(io_error("open", path))?;
        // Its sync may be what has failed in the process before. Then the system goes on showing what it never brought to
        // the disk, and calls the next sync a success; only what is written again is written at all.
        if let Some((offset, group)) = last_group {
            file.write_at(offset, &group).map_err(io_error("write", path))?;
        }
        // The same goes for a cut: the process before may have made one that only the system has seen.
        file.truncate(bytes).map_err(io_error("cut", path))?;
        file.sync().map_err(io_error("sync", path))?;
        disk.sync_folder(folder).map_err(io_error("sync", folder))?;

        Ok(Self::found(disk, folder, database, options, found, Some(file)))
    }

    /// Looks at the log of `database` in `folder` as [`FileLog::open`] does, and changes nothing: it can be replayed, up
    /// to a torn end, and takes no group.
    pub fn open_to_read(
        folder: &Path,
        database: DatabaseId,
        known: Version,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let found = survey(&*disk, folder, database, &list(&*disk, folder)?.segments, known, &options)?;
        Ok(Self::found(disk, folder, database, options, found, None))
    }

    fn found(
        disk: Arc<dyn Disk>,
        folder: &Path,
        database: DatabaseId,
        options: LogOptions,
        found: Survey,
        file: Option<Box<dyn DiskFile>>,
    ) -> (Self, Recovered) {
        let log = Self {
            folder: folder.to_path_buf(),
            database,
            options,
            disk,
            first: found.first,
            sealed_bytes: found.sealed_bytes,
            file,
            bytes: found.tail.offset(),
            last: found.tail.last(),
            sealed: false,
            ended: None,
            frame: Vec::new(),
            starts: found.starts,
        };
        let segments = u32::try_from(log.starts.len()).expect("segments have 32-bit numbers");
        let bytes = log.size_bytes();
        let recovered = Recovered { last: log.last, cut_bytes: found.cut_bytes, segments, bytes };
        (log, recovered)
    }

    /// The number of the last segment.
    fn segment(&self) -> u32 {
        let behind = u32::try_from(self.starts.len() - 1).expect("segments have 32-bit numbers");
        self.first + behind
    }

    #[cfg(test)]
    pub(super) fn segment_count(&self) -> u32 {
        self.segment()
    }

    #[cfg(test)]
    pub(super) fn tail_bytes(&self) -> u64 {
        self.bytes
    }

    /// The size at which the last segment is left for another.
    fn segment_bytes_max(&self) -> u64 {
        let doublings = self.segment() - 1;
        let first = self.options.segment_bytes_first;
        let grown = first.checked_mul(1u64.checked_shl(doublings).unwrap_or(u64::MAX));
        grown.unwrap_or(u64::MAX).min(self.options.segment_bytes_max)
    }

    /// Begins the next segment. The last one is durable: every append has synced it.
    fn roll(&mut self) -> Result<(), AppendError> {
        let Some(segment) = self.segment().checked_add(1) else {
            let cause = io::Error::other("there are no more segment numbers");
            return Err(AppendError::NotApplied { cause });
        };
        // Whatever comes of it: the next segment may be there now and say that this one ends here.
        self.sealed = true;
        let head = Head { database: self.database, segment, after: self.last };
        match begin(&*self.disk, &self.folder, head) {
            Ok(file) => {
                self.sealed_bytes.push(self.bytes);
                self.starts.push(self.last);
                self.file = Some(file);
                self.bytes = HEAD_BYTES as u64;
                self.sealed = false;
                Ok(())
            }
            Err(NotBegun::Undone(cause)) => Err(AppendError::NotApplied { cause }),
            Err(NotBegun::Unsynced(cause)) => Err(self.end(cause)),
        }
    }

    /// Refuses a group that would take of the space that is to be left.
    fn leave_free(&self, bytes: u64) -> Result<(), AppendError> {
        let least = self.options.free_bytes_min;
        if least == 0 {
            return Ok(());
        }
        match self.disk.free_bytes(&self.folder) {
            Some(free) if free < least.saturating_add(bytes) => {
                let text = format!("only {free} bytes are free on the disk, and {least} are to be left: make space");
                Err(AppendError::NotApplied { cause: io::Error::new(io::ErrorKind::StorageFull, text) })
            }
            // Where the system does not tell, the write will.
            Some(_) | None => Ok(()),
        }
    }

    /// Writes no more: what is on disk is not known.
    fn end(&mut self, cause: io::Error) -> AppendError {
        self.ended = Some(cause.to_string().into());
        AppendError::Unknown { cause }
    }
}

impl CommitLog for FileLog {
    fn append(&mut self, group: &[Entry]) -> Result<(), AppendError> {
        if self.file.is_none() {
            return Err(AppendError::Closed);
        }
        if let Some(cause) = self.ended.clone() {
            return Err(AppendError::ReadOnly { cause });
        }
        if group.is_empty() {
            return Ok(());
        }
        let admitted = admit(self.last, group)?;
        self.leave_free(admitted.bytes as u64)?;
        let frame_bytes = (FRAME_HEAD_BYTES + admitted.bytes) as u64;
        let has_groups = self.bytes > HEAD_BYTES as u64;
        let fits = self.bytes + frame_bytes <= self.segment_bytes_max();
        if self.sealed || (has_groups && !fits) {
            self.roll()?;
        }

        let head = Head {
            database: self.database,
            segment: self.segment(),
            after: self.starts.last().copied().unwrap_or_default(),
        };
        frame::encode(&mut self.frame, head.seed(self.bytes), group);
        let file = self.file.as_mut().expect("it was there at the start");
        let written = file.write_at(self.bytes, &self.frame);
        if self.frame.capacity() > FRAME_KEPT_BYTES_MAX {
            self.frame = Vec::new();
        }
        if let Err(cause) = written {
            return Err(match file.truncate(self.bytes).and_then(|()| file.sync()) {
                Ok(()) => AppendError::NotApplied { cause },
                Err(_) => self.end(cause),
            });
        }
        // A sync that failed is never tried again: the system may have dropped what it could not write, and then
        // report success.
        if let Err(cause) = file.sync() {
            return Err(self.end(cause));
        }
        self.bytes += frame_bytes;
        self.last = admitted.last;
        Ok(())
    }

    fn replay(
        &self,
        after: Version,
        each: &mut dyn FnMut(Entry) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<(), ReplayError> {
        if after < self.start() {
            let fault = Fault::Dropped { begins: self.start(), needed: after };
            let damage = Damage { path: self.folder.clone(), offset: None, fault, intact: Version::ZERO };
            return Err(LogError::from(damage).into());
        }
        for (index, start) in self.starts.iter().enumerate() {
            let segment = self.first + index as u32;
            let next = self.starts.get(index + 1).copied();
            if next.is_some_and(|next| next <= after) {
                continue;
            }
            let bytes_max = next.is_none().then_some(self.bytes);
            let mut reader = Reader::open(&*self.disk, &self.folder, self.database, segment, bytes_max, *start)?;
            expect_start(&reader, *start)?;
            loop {
                match reader.next()? {
                    Next::Group if reader.last() <= after => {}
                    Next::Group => {
                        for entry in frame::entries(reader.payload()) {
                            let version = entry.version;
                            if version > after {
                                each(entry).map_err(|cause| ReplayError::Stopped { version, cause })?;
                            }
                        }
                    }
                    Next::End => break,
                    Next::Bad => return Err(reader.damage(Fault::Group).into()),
                }
            }
            let known = next.unwrap_or(self.last);
            if reader.last() != known {
                let last = reader.last();
                return Err(reader.damage(Fault::Short { last, known }).into());
            }
        }
        Ok(())
    }

    fn start(&self) -> Version {
        self.starts.first().copied().unwrap_or_default()
    }

    fn last(&self) -> Version {
        self.last
    }

    fn size_bytes(&self) -> u64 {
        self.sealed_bytes.iter().sum::<u64>() + self.bytes
    }

    fn holds(&self, version: Version) -> Result<bool, LogError> {
        if version == self.start() || version == self.last {
            return Ok(true);
        }
        if version < self.start() || version > self.last {
            return Ok(false);
        }
        // The last segment that continues from before it; at its very end stands the start of the next.
        let index = self.starts.partition_point(|start| *start < version) - 1;
        let next = self.starts.get(index + 1);
        if next == Some(&version) {
            return Ok(true);
        }
        let bytes_max = next.is_none().then_some(self.bytes);
        let segment = self.first + index as u32;
        let mut reader =
            Reader::open(&*self.disk, &self.folder, self.database, segment, bytes_max, self.starts[index])?;
        loop {
            match reader.next()? {
                Next::Group if reader.last() < version => {}
                Next::Group => return Ok(frame::entries(reader.payload()).any(|entry| entry.version == version)),
                Next::End => return Ok(false),
                Next::Bad => return Err(reader.damage(Fault::Group)),
            }
        }
    }

    fn bytes_above(&self, version: Version) -> u64 {
        if version >= self.last {
            return 0;
        }
        let sizes = self.sealed_bytes.iter().chain([&self.bytes]);
        let below = |next: Option<&Version>| next.is_some_and(|next| *next <= version);
        sizes.enumerate().filter(|(index, _)| !below(self.starts.get(index + 1))).map(|(_, bytes)| bytes).sum()
    }

    fn drop_before(&mut self, version: Version) -> Result<u64, LogError> {
        let mut freed = 0;
        // A segment holds nothing above the version from which the next one continues.
        while self.file.is_some() && self.starts.get(1).is_some_and(|next| *next <= version) {
            let path = self.folder.join(segment::name(self.first));
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
            self.first += 1;
            self.starts.remove(0);
            freed += self.sealed_bytes.remove(0);
            // Before the next goes: a power loss that undoes the first removal and not the second would leave a hole.
            self.disk.sync_folder(&self.folder).map_err(io_error("sync", &self.folder))?;
        }
        Ok(freed)
    }

    fn read_only(&self) -> Option<Arc<str>> {
        self.ended.clone()
    }

    fn close(&mut self) {
        self.file = None;
    }
}

/// What is in the folder of a log.
pub(super) struct Listed {
    pub(super) segments: BTreeSet<u32>,
    unfinished: Vec<PathBuf>,
}

pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Listed, LogIoError> {
    let mut listed = Listed { segments: BTreeSet::new(), unfinished: Vec::new() };
    for name in disk.names(folder).map_err(io_error("read", folder))? {
        match segment::named(&name) {
            Named::Segment(segment) => drop(listed.segments.insert(segment)),
            Named::New => listed.unfinished.push(folder.join(name)),
            Named::Other => {}
        }
    }
    Ok(listed)
}

/// What the segments hold, before anything is changed.
struct Survey {
    /// The number of the first segment.
    first: u32,
    starts: Vec<Version>,
    sealed_bytes: Vec<u64>,
    /// The last segment, read to the end of its last whole group.
    tail: Reader,
    /// What stands behind that end.
    cut_bytes: u64,
}

fn survey(
    disk: &dyn Disk,
    folder: &Path,
    database: DatabaseId,
    segments: &BTreeSet<u32>,
    known: Version,
    options: &LogOptions,
) -> Result<Survey, LogError> {
    let damage = |fault, intact| LogError::Damaged(Damage { path: folder.to_path_buf(), offset: None, fault, intact });
    let (Some(&first), Some(&segment_last)) = (segments.first(), segments.last()) else {
        return Err(damage(Fault::Empty, Version::ZERO));
    };
    let check = options.check;
    let mut starts = Vec::new();
    let mut sealed_bytes = Vec::new();
    // How far the segments so far are known to reach, and whether exactly to there.
    let (mut reach, mut exactly) = (Version::ZERO, true);
    for (segment, &found) in (first..).zip(segments) {
        if found != segment {
            return Err(damage(Fault::SegmentMissing { segment }, reach));
        }
        let mut reader = Reader::open(disk, folder, database, segment, None, reach)?;
        let start = reader.head().after;
        match exactly {
            // What lies before was dropped, and must be had elsewhere.
            _ if segment == first && first > 1 => {
                if start > options.covered {
                    return Err(damage(Fault::Dropped { begins: start, needed: options.covered }, Version::ZERO));
                }
            }
            true => expect_start(&reader, reach)?,
            // The segment before has at least one group.
            false if start > reach => {}
            false => return Err(gap(&reader, reach)),
        }
        starts.push(start);
        let is_tail = segment == segment_last;
        if is_tail || check == Check::Whole {
            while reader.next()? == Next::Group {}
        }
        if is_tail {
            let cut_bytes = reader.bytes() - reader.offset();
            if cut_bytes > 0 && !reader.is_torn()? {
                return Err(reader.damage(Fault::Group));
            }
            if reader.last() < known {
                let last = reader.last();
                return Err(reader.damage(Fault::Short { last, known }));
            }
            return Ok(Survey { first, starts, sealed_bytes, tail: reader, cut_bytes });
        }
        sealed_bytes.push(reader.bytes());
        reach = reader.last();
        exactly = check == Check::Whole;
        if exactly && reader.offset() < reader.bytes() {
            return Err(reader.damage(Fault::Group));
        }
    }
    unreachable!("the last segment ends the loop")
}

fn expect_start(reader: &Reader, expected: Version) -> Result<(), LogError> {
    match reader.head().after == expected {
        true => Ok(()),
        false => Err(gap(reader, expected)),
    }
}

/// Damage at the head of a segment that does not continue from where the one before it ends.
fn gap(reader: &Reader, expected: Version) -> LogError {
    LogError::Damaged(Damage {
        path: reader.path().to_path_buf(),
        offset: Some(0),
        fault: Fault::Gap { found: reader.head().after, expected },
        intact: expected.min(reader.head().after),
    })
}

/// Why a segment was not begun.
enum NotBegun {
    /// It may be tried again.
    Undone(io::Error),
    /// A sync failed, after which nothing is certain.
    Unsynced(io::Error),
}

/// Begins a segment: prepared under another name, so that a segment never lacks its head, and there for good on return.
fn begin(disk: &dyn Disk, folder: &Path, head: Head) -> Result<Box<dyn DiskFile>, NotBegun> {
    let (prepared, path) = (folder.join(segment::name_new(head.segment)), folder.join(segment::name(head.segment)));
    let undone = |cause| {
        // It is written over at the next try and removed at the next start; this only makes room sooner.
        let _ = disk.remove(&prepared);
        NotBegun::Undone(cause)
    };
    let mut file = disk.create(&prepared).map_err(undone)?;
    file.write_at(0, &head.encode()).map_err(undone)?;
    file.sync().map_err(NotBegun::Unsynced)?;
    disk.rename(&prepared, &path).map_err(undone)?;
    disk.sync_folder(folder).map_err(NotBegun::Unsynced)?;
    Ok(file)
}

fn io_error(act: &'static str, path: &Path) -> impl Fn(io::Error) -> LogIoError {
    move |cause| LogIoError { act, path: path.to_path_buf(), cause }
}
