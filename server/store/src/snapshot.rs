//! Snapshots: all that is live in a database at one version, in one file, so that the log before it can go.
//!
//! A file is a head and numbered blocks of records, each compressed and with its own checksum; the last block says how
//! many came before it. It is written under another name, synced, and only then renamed into place, so one that a
//! crash has left unfinished never has the name of a snapshot. What sections, keys and values mean is the engine's
//! matter.
//!
//! ```text
//! head    "HEARTHSN"  format u32  zero u32  database 16 bytes  epoch u64  version u64  history start u64  crc u32
//! block   "BLCK"  section u8  zero 3 bytes  plain bytes u32  stored bytes u32  records u32  payload crc u32  crc u32
//!         payload: zstd of  (key bytes u32  value bytes u32  key  value)…
//! ```
//!
//! Numbers have their low end first. The checksums of a block start from the head's and the block's number, so a block
//! of elsewhere is none here.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_core::Version;

use crate::disk::{Appending, Disk, DiskReader, RealDisk};
use crate::durable;
use crate::log::DatabaseId;

#[cfg(test)]
mod tests;

/// The one format of snapshots so far.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"HEARTHSN";
const MARK: &[u8; 4] = b"BLCK";
const HEAD_BYTES: usize = 60;
const BLOCK_HEAD_BYTES: usize = 28;
/// Plain bytes at which a block is written. A single larger record makes a larger block.
const BLOCK_BYTES: usize = 256 << 10;
/// Most plain bytes of a block.
const BLOCK_BYTES_MAX: usize = 128 << 20;
/// Bytes after which what is written is synced, so that the last sync is short and nobody's sync waits for it.
const SYNC_BYTES: u64 = 8 << 20;
/// zstd's fastest: a snapshot is written beside the work of others.
const LEVEL: i32 = 1;
/// The section of the last block.
const END: u8 = 0;
const NAME_END: &str = ".snap";

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Whose it is.
    pub database: DatabaseId,
    /// The database's life at that version.
    pub epoch: u64,
    /// Everything up to this version is in it.
    pub version: Version,
    /// The oldest version that could be read when it was written.
    pub history_start: Version,
}

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// What it is about; never zero.
    pub section: u8,
    /// Its name within the section.
    pub key: Vec<u8>,
    /// What stands there.
    pub value: Vec<u8>,
}

/// What a snapshot comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotSize {
    /// How many records it holds.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why a snapshot could not be read or written. Nothing else was changed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not as it was written.
    #[error("the snapshot {} is damaged at byte {offset}: {fault}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        fault: SnapshotFault,
    },
    /// It is in a format of which this hearth knows nothing.
    #[error(
        "the snapshot {} has format {found}, and this hearth reads format {FORMAT}: \
         use the hearth that wrote it, or a newer one",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The system refused an operation.
    #[error("could not {act} {}: {cause}", path.display())]
    Io {
        /// What was tried, as in "read".
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFault {
    /// Something else has the name of one.
    #[error("this is not a snapshot, or its head is damaged")]
    Head,
    /// It belongs elsewhere.
    #[error("it belongs to database {found}, and this is {expected}")]
    OtherDatabase {
        /// Whose it is.
        found: DatabaseId,
        /// Whose it should be.
        expected: DatabaseId,
    },
    /// It has the name of another.
    #[error("it is of version {found} under the name of version {expected}")]
    OtherVersion {
        /// What the file says.
        found: Version,
        /// What its name says.
        expected: Version,
    },
    /// The file ends too soon.
    #[error("it ends before its last block")]
    CutOff,
    /// A block is not what was written.
    #[error("a block is damaged")]
    Block,
    /// A block is whole but makes no sense.
    #[error("a block is whole but not well formed")]
    Malformed,
    /// Something follows the last block.
    #[error("something stands behind its last block")]
    Trailing,
}

/// The snapshots of one database, in a folder that is theirs.
#[derive(Clone, Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    database: DatabaseId,
    free_bytes_min: u64,
}

impl Snapshots {
    /// The snapshots in `folder`, which need not be there.
    pub fn new(folder: PathBuf, database: DatabaseId) -> Self {
        Self::on(Arc::new(RealDisk), folder, database)
    }

    /// The same on any disk.
    pub fn on(disk: Arc<dyn Disk>, folder: PathBuf, database: DatabaseId) -> Self {
        Self { disk, folder, database, free_bytes_min: 0 }
    }

    /// The same, of which one that is written gives up when it would leave less free on the disk.
    #[must_use]
    pub fn leaving_free(self, bytes: u64) -> Self {
        Self { free_bytes_min: bytes, ..self }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the snapshot of a version.
    pub fn path(&self, version: Version) -> PathBuf {
        self.folder.join(format!("{:020}{NAME_END}", version.micros()))
    }

    /// The versions of which a file says by its name that it is a snapshot, oldest first.
    pub fn list(&self) -> Result<Vec<Version>, SnapshotError> {
        let mut versions: Vec<Version> = self.names()?.iter().filter_map(|name| self.named(name)).collect();
        versions.sort();
        Ok(versions)
    }

    /// The version in a name that [`Snapshots::path`] has made, and none in one that only resembles it.
    fn named(&self, name: &str) -> Option<Version> {
        let version = Version::from_micros(name.strip_suffix(NAME_END)?.parse().ok()?);
        (self.path(version).file_name()? == name).then_some(version)
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        match self.disk.names(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(io_error("read", &self.folder)),
        }
    }

    /// How large the file of a snapshot is.
    pub fn file_bytes(&self, version: Version) -> Result<u64, SnapshotError> {
        let path = self.path(version);
        self.disk.file_bytes(&path).map_err(io_error("read", &path))
    }

    /// Removes what a crash has left of snapshots that were being written. Only while none is being written.
    pub fn remove_unfinished(&self) -> Result<(), SnapshotError> {
        for name in self.names()? {
            let ours = name.strip_suffix(durable::NEW).is_some_and(|name| self.named(name).is_some());
            if ours {
                self.remove_file(&self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes the snapshot of a version, if it is there.
    pub fn remove(&self, version: Version) -> Result<(), SnapshotError> {
        self.remove_file(&self.path(version))
    }

    fn remove_file(&self, path: &Path) -> Result<(), SnapshotError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.disk.sync_folder(&self.folder)).map_err(io_error("remove", path)),
        }
    }

    /// Begins a snapshot. It is not there until it is finished.
    pub fn begin(&self, head: SnapshotHead) -> Result<SnapshotWriter, SnapshotError> {
        self.disk.create_folder(&self.folder).map_err(io_error("create", &self.folder))?;
        let path = self.path(head.version);
        let prepared = durable::prepared(&path);
        let file = self.disk.create(&prepared).map_err(io_error("create", &prepared))?;
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(io_error("write", &prepared))?;
        let encoded = encode_head(&head);
        let mut writer = SnapshotWriter {
            disk: self.disk.clone(),
            path,
            prepared,
            file: Some(BufWriter::with_capacity(1 << 16, Appending::new(file))),
            seed: crc32c::crc32c(&encoded),
            compressor,
            section: END,
            plain: Vec::new(),
            records_in_block: 0,
            blocks: 0,
            size: SnapshotSize::default(),
            unsynced: 0,
            free_bytes_min: self.free_bytes_min,
        };
        writer.leave_free()?;
        writer.write(&encoded)?;
        Ok(writer)
    }

    /// What the snapshot of a version says of itself. The rest of it is not read.
    pub fn head(&self, version: Version) -> Result<SnapshotHead, SnapshotError> {
        self.read(version).map(|reader| reader.head)
    }

    /// Begins to read the snapshot of a version.
    pub fn read(&self, version: Version) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&*self.disk, self.path(version), self.database, version)
    }

    /// Reads all of a snapshot and believes nothing, without unpacking it.
    pub fn verify(&self, version: Version) -> Result<(SnapshotHead, SnapshotSize), SnapshotError> {
        let mut reader = self.read(version)?;
        let mut stored = Vec::new();
        while reader.block(&mut stored)?.is_some() {}
        Ok((reader.head, reader.size))
    }
}

/// A snapshot that is being written. Dropped before it is finished, it leaves nothing.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    prepared: PathBuf,
    /// None when it is finished.
    file: Option<BufWriter<Appending>>,
    seed: u32,
    compressor: zstd::bulk::Compressor<'static>,
    section: u8,
    plain: Vec<u8>,
    records_in_block: u32,
    blocks: u64,
    size: SnapshotSize,
    unsynced: u64,
    free_bytes_min: u64,
}

impl SnapshotWriter {
    /// Adds a record. `section` is not zero; a section that changes ends a block, so they are best kept together.
    ///
    /// # Panics
    /// When section is zero, or the record takes more than 64 MiB: no entry of the log is that large.
    pub fn put(&mut self, section: u8, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        assert_ne!(section, END, "section zero ends a snapshot");
        let bytes = 8 + key.len() + value.len();
        assert!(bytes <= BLOCK_BYTES_MAX / 2, "a record fits a group of the log, and so a block");
        if section != self.section || self.plain.len() + bytes > BLOCK_BYTES {
            self.flush()?;
            self.section = section;
        }
        self.plain.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.plain.extend_from_slice(key);
        self.plain.extend_from_slice(value);
        self.records_in_block += 1;
        self.size.records += 1;
        Ok(())
    }

    /// How much there is so far.
    pub fn size(&self) -> SnapshotSize {
        self.size
    }

    /// Makes the snapshot be there, durably.
    pub fn finish(mut self) -> Result<SnapshotSize, SnapshotError> {
        self.flush()?;
        self.section = END;
        let mut totals = Vec::with_capacity(16);
        totals.extend_from_slice(&self.blocks.to_le_bytes());
        totals.extend_from_slice(&self.size.records.to_le_bytes());
        self.write_block(&totals, totals.len(), 0)?;
        let file = self.file.take().expect("it is finished once");
        let mut file = file.into_inner().map_err(|error| io_error("write", &self.prepared)(error.into_error()))?;
        file.sync().map_err(io_error("sync", &self.prepared))?;
        self.disk.rename(&self.prepared, &self.path).map_err(io_error("rename", &self.prepared))?;
        self.disk.sync_folder(durable::parent(&self.path)).map_err(io_error("sync", &self.path))?;
        Ok(self.size)
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let stored = self.compressor.compress(&self.plain).map_err(io_error("write", &self.prepared))?;
        let (plain_bytes, records) = (self.plain.len(), self.records_in_block);
        self.plain.clear();
        self.records_in_block = 0;
        self.write_block(&stored, plain_bytes, records)
    }

    fn write_block(&mut self, stored: &[u8], plain_bytes: usize, records: u32) -> Result<(), SnapshotError> {
        let seed = block_seed(self.seed, self.blocks);
        let head = encode_block_head(seed, self.section, plain_bytes, stored, records);
        self.blocks += 1;
        self.write(&head)?;
        self.write(stored)
    }

    /// Gives up where the disk is getting full: the log and the state need what is left.
    fn leave_free(&self) -> Result<(), SnapshotError> {
        match self.disk.free_bytes(durable::parent(&self.path)) {
            Some(free) if free < self.free_bytes_min.saturating_add(SYNC_BYTES) && self.free_bytes_min > 0 => {
                let text =
                    format!("only {free} bytes are free on the disk, and {} are to be left", self.free_bytes_min);
                Err(io_error("write", &self.prepared)(io::Error::new(io::ErrorKind::StorageFull, text)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let file = self.file.as_mut().expect("nothing is written when it is finished");
        file.write_all(bytes).map_err(io_error("write", &self.prepared))?;
        self.size.bytes += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.leave_free()?;
            let file = self.file.as_mut().expect("it was there a moment ago");
            let synced = file.flush().and_then(|()| file.get_mut().sync());
            synced.map_err(io_error("sync", &self.prepared))?;
        }
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // Also after a failed finish, unless the new name holds. What cannot be removed is removed at the next start.
        let _ = self.disk.remove(&self.prepared);
    }
}

/// Reads a snapshot from its head to its end, a block at a time.
pub struct SnapshotReader {
    path: PathBuf,
    file: BufReader<Box<dyn DiskReader>>,
    head: SnapshotHead,
    seed: u32,
    offset: u64,
    blocks: u64,
    size: SnapshotSize,
    ended: bool,
    decompressor: zstd::bulk::Decompressor<'static>,
    records: std::vec::IntoIter<SnapshotRecord>,
}

/// What a block holds, still packed.
struct Block {
    section: u8,
    plain_bytes: usize,
    records: u32,
}

impl SnapshotReader {
    fn open(disk: &dyn Disk, path: PathBuf, database: DatabaseId, version: Version) -> Result<Self, SnapshotError> {
        let file = disk.read(&path).map_err(io_error("read", &path))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let damaged = |fault| SnapshotError::Damaged { path: path.clone(), offset: 0, fault };
        let mut bytes = [0; HEAD_BYTES];
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged(SnapshotFault::Head)),
            read => read.map_err(io_error("read", &path))?,
        }
        if !bytes.starts_with(MAGIC) {
            return Err(damaged(SnapshotFault::Head));
        }
        // Before the checksum: another format may have it elsewhere.
        let found = u32_at(&bytes, 8);
        if found != FORMAT {
            return Err(SnapshotError::Format { path, found });
        }
        let head = decode_head(&bytes).ok_or_else(|| damaged(SnapshotFault::Head))?;
        if head.database != database {
            return Err(damaged(SnapshotFault::OtherDatabase { found: head.database, expected: database }));
        }
        if head.version != version {
            return Err(damaged(SnapshotFault::OtherVersion { found: head.version, expected: version }));
        }
        Ok(Self {
            decompressor: zstd::bulk::Decompressor::new().map_err(io_error("read", &path))?,
            file,
            head,
            seed: crc32c::crc32c(&bytes),
            offset: HEAD_BYTES as u64,
            blocks: 0,
            size: SnapshotSize { records: 0, bytes: HEAD_BYTES as u64 },
            ended: false,
            records: Vec::new().into_iter(),
            path,
        })
    }

    /// What it is of.
    pub fn head(&self) -> SnapshotHead {
        self.head
    }

    /// What was read so far.
    pub fn size(&self) -> SnapshotSize {
        self.size
    }

    /// The next record; `None` at the end, when everything has proved whole.
    pub fn next_record(&mut self) -> Result<Option<SnapshotRecord>, SnapshotError> {
        loop {
            if let Some(record) = self.records.next() {
                return Ok(Some(record));
            }
            let mut stored = Vec::new();
            let Some(block) = self.block(&mut stored)? else { return Ok(None) };
            let plain = self.decompressor.decompress(&stored, block.plain_bytes);
            let plain = plain.ok().filter(|plain| plain.len() == block.plain_bytes);
            let records = plain.and_then(|plain| records(block.section, &plain));
            let records = records.filter(|records| records.len() == block.records as usize);
            self.records = records.ok_or_else(|| self.damaged(SnapshotFault::Malformed))?.into_iter();
        }
    }

    /// Reads the next block as it is stored and checks it; `None` behind the last.
    fn block(&mut self, stored: &mut Vec<u8>) -> Result<Option<Block>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let seed = block_seed(self.seed, self.blocks);
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.fill(&mut head)?;
        if !head.starts_with(MARK) || u32_at(&head, 24) != crc32c::crc32c_append(seed, &head[..24]) {
            return Err(self.damaged(SnapshotFault::Block));
        }
        let block = Block { section: head[4], plain_bytes: u32_at(&head, 8) as usize, records: u32_at(&head, 16) };
        let stored_bytes = u32_at(&head, 12) as usize;
        if block.plain_bytes > BLOCK_BYTES_MAX || stored_bytes > BLOCK_BYTES_MAX + (1 << 20) {
            return Err(self.damaged(SnapshotFault::Malformed));
        }
        stored.resize(stored_bytes, 0);
        self.fill(stored)?;
        if u32_at(&head, 20) != crc32c::crc32c_append(seed, stored) {
            return Err(self.damaged(SnapshotFault::Block));
        }
        self.offset += (BLOCK_HEAD_BYTES + stored_bytes) as u64;
        self.size.bytes = self.offset;
        if block.section != END {
            self.blocks += 1;
            self.size.records += u64::from(block.records);
            return Ok(Some(block));
        }
        let whole = stored_bytes == 16 && u64_at(stored, 0) == self.blocks && u64_at(stored, 8) == self.size.records;
        if !whole {
            return Err(self.damaged(SnapshotFault::Malformed));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => {
                self.ended = true;
                Ok(None)
            }
            Ok(_) => Err(self.damaged(SnapshotFault::Trailing)),
            Err(cause) => Err(io_error("read", &self.path)(cause)),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        match self.file.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged(SnapshotFault::CutOff)),
            read => read.map_err(io_error("read", &self.path)),
        }
    }

    fn damaged(&self, fault: SnapshotFault) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), offset: self.offset, fault }
    }
}

fn encode_head(head: &SnapshotHead) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..32].copy_from_slice(&head.database.0);
    bytes[32..40].copy_from_slice(&head.epoch.to_le_bytes());
    bytes[40..48].copy_from_slice(&head.version.micros().to_le_bytes());
    bytes[48..56].copy_from_slice(&head.history_start.micros().to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..56]);
    bytes[56..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// `None` where the checksum is wrong.
fn decode_head(bytes: &[u8; HEAD_BYTES]) -> Option<SnapshotHead> {
    if u32_at(bytes, 56) != crc32c::crc32c(&bytes[..56]) {
        return None;
    }
    let mut database = [0; 16];
    database.copy_from_slice(&bytes[16..32]);
    Some(SnapshotHead {
        database: DatabaseId(database),
        epoch: u64_at(bytes, 32),
        version: Version::from_micros(u64_at(bytes, 40)),
        history_start: Version::from_micros(u64_at(bytes, 48)),
    })
}

/// What the checksums of a block start from.
fn block_seed(seed: u32, block: u64) -> u32 {
    crc32c::crc32c_append(seed, &block.to_le_bytes())
}

/// What stands before a block.
fn encode_block_head(
    seed: u32,
    section: u8,
    plain_bytes: usize,
    stored: &[u8],
    records: u32,
) -> [u8; BLOCK_HEAD_BYTES] {
    let mut head = [0; BLOCK_HEAD_BYTES];
    head[..4].copy_from_slice(MARK);
    head[4] = section;
    let numbers = [plain_bytes as u32, stored.len() as u32, records, crc32c::crc32c_append(seed, stored)];
    for (number, at) in numbers.iter().zip((8..).step_by(4)) {
        head[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(seed, &head[..24]);
    head[24..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// A whole snapshot with one block around `plain`, whatever that is; for `fuzz`.
pub(crate) fn seal_snapshot(head: &SnapshotHead, section: u8, plain: &[u8], records: u32) -> Vec<u8> {
    let mut file = encode_head(head).to_vec();
    let seed = crc32c::crc32c(&file);
    let stored = zstd::bulk::compress(plain, LEVEL).expect("what is in memory can be compressed");
    file.extend(encode_block_head(block_seed(seed, 0), section, plain.len(), &stored, records));
    file.extend(stored);
    let totals = [1u64.to_le_bytes(), u64::from(records).to_le_bytes()].concat();
    file.extend(encode_block_head(block_seed(seed, 1), END, totals.len(), &totals, 0));
    file.extend(totals);
    file
}

/// The records of a block; `None` where it is not well formed.
fn records(section: u8, plain: &[u8]) -> Option<Vec<SnapshotRecord>> {
    let mut records = Vec::new();
    let mut rest = plain;
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(8)?;
        let (key, behind) = behind.split_at_checked(u32_at(head, 0) as usize)?;
        let (value, behind) = behind.split_at_checked(u32_at(head, 4) as usize)?;
        records.push(SnapshotRecord { section, key: key.to_vec(), value: value.to_vec() });
        rest = behind;
    }
    Some(records)
}

fn io_error(act: &'static str, path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    move |cause| SnapshotError::Io { act, path: path.to_path_buf(), cause }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were cut"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut"))
}
