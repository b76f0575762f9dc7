//! What can go wrong between a server and its machine, made to happen: failing writes and syncs, a kill at one of them, a
//! wrong clock, another boot. The library that does it is `mishap.c`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use hearth_tests::{Launch, Server};
use tempfile::TempDir;

use crate::c;

/// Operations on the files concerned, to be joined by `|`.
pub(crate) const WRITE: u64 = 1;
pub(crate) const SYNC: u64 = 2;
pub(crate) const TRUNCATE: u64 = 4;
pub(crate) const RENAME: u64 = 8;
pub(crate) const CREATE: u64 = 16;
pub(crate) const SYNC_FOLDER: u64 = 32;

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It fails: there is no space.
    NoSpace = 1,
    /// It fails as on a broken disk.
    IoError = 2,
    /// A write is half done and says so. What is no write fails: there is no space.
    Half = 3,
    /// A sync fails, and what was written last is gone. What is no sync fails as on a broken disk.
    Lost = 4,
    /// The process is killed first, in the midst of a write.
    KillBefore = 5,
    /// The process is killed behind it.
    KillAfter = 6,
    /// A sync does nothing and says that it has: a disk that lies.
    Pretend = 7,
}

/// The places of the numbers in the file by which the library is told.
enum Place {
    Loaded,
    Clock,
    Which,
    From,
    Times,
    How,
    Seen,
    Hits,
}

/// A server's misfortune, to be told what to do while it runs.
pub(crate) struct Mishap {
    library: PathBuf,
    matches: String,
    control: File,
    folder: TempDir,
}

impl Mishap {
    /// One for files whose path contains `matches`, or the reason why there can be none here.
    pub(crate) fn new(matches: &str) -> Result<Self, String> {
        let library = c::library("mishap.c")?;
        let folder = TempDir::with_prefix("hearth-mishap-").expect("the temporary folder is writable");
        let control = File::options().read(true).write(true).create_new(true).open(folder.path().join("control"));
        let control = control.expect("the folder is fresh");
        control.set_len(64).expect("a few bytes");
        Ok(Self { library, matches: matches.into(), control, folder })
    }

    /// Lets a server be started into it.
    pub(crate) fn under(&self, launch: Launch) -> Launch {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let boot = if self.folder.path().join("boot").exists() { path("boot") } else { String::new() };
        let launch = launch
            .env("LD_PRELOAD", &self.library.display().to_string())
            .env("MISHAP_CONTROL", &path("control"))
            .env("MISHAP_MATCH", &self.matches);
        if boot.is_empty() { launch } else { launch.env("MISHAP_BOOT", &boot) }
    }

    /// From the next start on, and for launches made after this one, the machine is in this boot.
    pub(crate) fn boot(&self, id: &str) {
        fs::write(self.folder.path().join("boot"), id).expect("the folder is writable");
    }

    /// Sets the wall clock wrong by so many microseconds, from now on.
    pub(crate) fn set_clock(&self, micros: i64) {
        self.set(Place::Clock, micros);
    }

    /// Lets something happen to `times` operations after `at` others, counted from now on.
    pub(crate) fn arm(&self, which: u64, at: u64, times: u64, how: How) {
        self.set(Place::Which, 0);
        self.set(Place::From, at as i64);
        self.set(Place::Times, times as i64);
        self.set(Place::How, how as i64);
        self.set(Place::Seen, 0);
        self.set(Place::Hits, 0);
        self.set(Place::Which, which as i64);
    }

    /// Lets everything be from now on, and says to how many operations something has happened.
    pub(crate) fn disarm(&self) -> i64 {
        self.set(Place::Which, 0);
        self.get(Place::Hits)
    }

    /// Panics where a server that was started has not taken the library: then nothing is tested.
    #[track_caller]
    pub(crate) fn expect_loaded(&self, server: &Server) {
        assert_eq!(self.get(Place::Loaded), 1, "LD_PRELOAD has no effect on the program: {:?}", server.output());
    }

    fn set(&self, at: Place, number: i64) {
        self.control.write_all_at(&number.to_ne_bytes(), at as u64 * 8).expect("a file of our own");
    }

    fn get(&self, at: Place) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at as u64 * 8).expect("a file of our own");
        i64::from_ne_bytes(bytes)
    }
}
