//! The file operations of logs and snapshots, and no others: the seam at which tests let a disk fail, and at which a
//! simulation puts one of its own.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::durable;

/// Where logs and snapshots are kept.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Creates an empty file to be written, in place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that is there, to be written.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that is there, to be read from its start.
    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskReader>>;
    /// How long a file is.
    fn file_bytes(&self, path: &Path) -> io::Result<u64>;
    /// The names in a folder, in no order.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Creates a folder and those above it, as far as they are not there. Durable on return.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of one that may have it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written where `path` is; none where that cannot be told.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}

/// A file that is being written.
pub trait DiskFile: Send {
    /// Writes all `bytes` at `offset`; after an error, any part of them may be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file, or takes back what stands behind `bytes`.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes contents and length durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is being read.
pub trait DiskReader: Read + Seek + Send {}

impl<T: Read + Seek + Send> DiskReader for T {}

/// The disk of this machine.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        Ok(Box::new(File::open(path)?))
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into());
        fs::read_dir(folder)?.map(name).collect()
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        durable::create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        durable::sync_folder(path)
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        durable::free_bytes(path)
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.write_all(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Writes a new file from its start to its end.
pub(crate) struct Appending {
    file: Box<dyn DiskFile>,
    bytes: u64,
}

impl Appending {
    pub(crate) fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, bytes: 0 }
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.bytes, bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
