//! A disk of its own for a server: a small file system in a file, from which the power can be taken.
//!
//! Needs root, loop devices, `mkfs.ext4` and a C compiler; where one is missing it says which, and the tests that need it are
//! skipped with that reason.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::c;

/// A file system of ext4 in a file, mounted.
pub(crate) struct Disk {
    image: PathBuf,
    mounted: PathBuf,
    cutter: PathBuf,
    // Last, so that it goes when nothing is mounted in it any more.
    _kept: TempDir,
}

impl Disk {
    /// Makes one of so many bytes, or says what this machine lacks for it.
    pub(crate) fn new(bytes: u64) -> Result<Self, String> {
        let cutter = c::program("cut.c")?;
        let kept = TempDir::with_prefix("hearth-disk-").expect("the temporary folder is writable");
        let disk = Self { image: kept.path().join("image"), mounted: kept.path().join("mounted"), cutter, _kept: kept };
        let image = File::create(&disk.image).expect("the temporary folder is writable");
        image.set_len(bytes).expect("a file with a hole takes no space");
        fs::create_dir(&disk.mounted).expect("the temporary folder is writable");
        run(Command::new("mkfs.ext4").arg("-q").arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where files go.
    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mounted))
    }

    /// Takes the power away: from now on nothing reaches the disk, not even what programs believe to have written, and every
    /// write fails. The programs themselves go on.
    pub(crate) fn cut(&self) -> Result<(), String> {
        run(Command::new(&self.cutter).arg(&self.mounted))
    }

    /// Gives the power back: what is there now is what had reached the disk. No program may have a file open on it.
    pub(crate) fn restore(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mounted))?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test leaves behind is killed, and must not keep it mounted for good.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mounted));
    }
}

/// A file system in memory of so many bytes, mounted.
pub(crate) struct Memory {
    mounted: PathBuf,
    _kept: TempDir,
}

impl Memory {
    /// Makes one, or says what this machine lacks for it.
    pub(crate) fn new(bytes: u64) -> Result<Self, String> {
        let kept = TempDir::with_prefix("hearth-disk-").expect("the temporary folder is writable");
        let disk = Self { mounted: kept.path().join("mounted"), _kept: kept };
        fs::create_dir(&disk.mounted).expect("the temporary folder is writable");
        let size = format!("size={bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "hearth-test"]).arg(&disk.mounted))?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mounted));
    }
}

/// Runs a command to its end. The error says what it was and what it said.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", said.trim())) }
}
