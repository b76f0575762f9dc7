//! Changes to files and folders that are on disk when the call returns: creating, replacing, removing, syncing.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The end of the name under which a file is prepared. One that is found at start was never finished.
pub(crate) const NEW: &str = ".new";
/// The end of the name under which a folder is removed. One that is found at start is not needed.
const OLD: &str = ".old";

/// Replaces the file at `path`, or creates it: after a crash it has the old contents or the new, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let prepared = prepared(path);
    let mut file = File::create(&prepared)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&prepared, path)?;
    sync_folder(parent(path))
}

/// Removes the file at `path`, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(parent(path)),
    }
}

/// Removes the folder at `path` with all that is in it, if it is there. A crash leaves it whole or not at all.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    let going = beside(path, OLD);
    // Left over from a removal that a crash has ended.
    match fs::remove_dir_all(&going) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    match fs::rename(path, &going) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    sync_folder(parent(path))?;
    fs::remove_dir_all(&going)
}

/// Creates the folder at `path` and those above it, as far as they are not there; only their owner may enter them.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    create_folder(parent(path))?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    sync_folder(parent(path))
}

/// Makes the names in a folder durable. Where the system has no such call, names are durable of themselves.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// Makes every file and folder under `path` durable, if it is there.
pub(crate) fn sync_all_in(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => sync_all_in(&entry.path())?,
            kind if kind.is_file() => File::open(entry.path())?.sync_all()?,
            _ => {}
        }
    }
    sync_folder(path)
}

/// The name under which the file at `path` is prepared.
pub(crate) fn prepared(path: &Path) -> PathBuf {
    beside(path, NEW)
}

/// Bytes that this user may still write on the disk of `path`; none where the system does not tell.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    let told = rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    let told = None;
    told
}

/// The name of `path` with another end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The folder that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
