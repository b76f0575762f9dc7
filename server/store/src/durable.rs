//! Changes to files and folders that are on disk when the call returns: creating, replacing, removing, syncing.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates the folder at `path` and those above it, as far as they are not there.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    create_folder(parent(path))?;
    match fs::create_dir(path) {
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

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
