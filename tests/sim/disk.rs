//! The disk of the simulation: files in memory that remember which of their bytes, and which of their names, would
//! survive a power loss.
//!
//! What was written and not synced survives the end of the process. A power loss keeps any part of it: whole writes,
//! torn ones, later ones without earlier ones, a length without its contents; the same goes for names that were not
//! synced with their folder. A sync that fails may have kept anything, and the next one does not make up for it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use hearth_store::{Disk, DiskFile, DiskReader};
use hearth_tests::Random;

use crate::points::{Fault, On, Point};
use crate::scheduler::Scheduler;

/// What a disk keeps or loses as one.
const SECTOR_BYTES: usize = 32;

#[derive(Clone)]
pub(crate) struct SimDisk {
    scheduler: Arc<Scheduler>,
    // Held for one operation, never while anybody else has a turn.
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    /// As every process sees them.
    names: BTreeMap<PathBuf, u64>,
    /// As they were last synced.
    durable: BTreeMap<PathBuf, u64>,
    /// What was done to names since.
    pending: Vec<Naming>,
    files: BTreeMap<u64, Contents>,
    files_made: u64,
}

#[derive(Clone)]
enum Naming {
    Put { path: PathBuf, file: u64 },
    Move { from: PathBuf, to: PathBuf, file: u64 },
    Remove { path: PathBuf },
}

#[derive(Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut { bytes: usize },
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    pub(crate) fn new(scheduler: &Arc<Scheduler>) -> Self {
        Self { scheduler: scheduler.clone(), inside: Arc::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// The machine lost its power, and has it again.
    pub(crate) fn lose_power(&self, random: &mut Random) {
        let mut inside = self.inside();
        let inside = &mut *inside;
        for naming in std::mem::take(&mut inside.pending) {
            if random.chance(1, 2) {
                naming.take_effect(&mut inside.durable);
            }
        }
        inside.names = inside.durable.clone();
        for file in inside.files.values_mut() {
            file.keep_some(random);
            file.seen = file.durable.clone();
        }
    }

    /// Does something between what may happen before and what may happen after.
    fn act<T>(
        &self,
        point: Point,
        act: impl FnOnce(&mut Inside) -> io::Result<T>,
        fail: impl FnOnce(&mut Inside, &mut Random),
    ) -> io::Result<T> {
        match self.scheduler.before(point) {
            Ok(()) => {}
            Err(Fault::Crashed) => return Err(io::Error::other("the process is gone")),
            Err(fault) => {
                self.scheduler.random(|random| fail(&mut self.inside(), random));
                return Err(match fault {
                    Fault::Full => io::ErrorKind::StorageFull.into(),
                    _ => io::Error::other("the disk is broken"),
                });
            }
        }
        let done = act(&mut self.inside())?;
        match self.scheduler.after(point) {
            Ok(()) => Ok(done),
            Err(_) => Err(io::Error::other("the process is gone")),
        }
    }

    fn named(path: &Path, act: impl FnOnce(On) -> Point) -> Point {
        act(if path.to_string_lossy().contains("snapshots") { On::Snapshots } else { On::Log })
    }

    /// Reads without a turn for anybody else.
    fn look<T>(&self, look: impl FnOnce(&Inside) -> io::Result<T>) -> io::Result<T> {
        if self.scheduler.is_crashed() {
            return Err(io::Error::other("the process is gone"));
        }
        look(&self.inside())
    }
}

impl Inside {
    fn file(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().take_effect(&mut self.names);
        self.pending.push(naming);
    }

    fn contents(&mut self, file: u64) -> &mut Contents {
        self.files.entry(file).or_default()
    }
}

impl Naming {
    fn folder(&self) -> &Path {
        let (Self::Put { path, .. } | Self::Move { to: path, .. } | Self::Remove { path }) = self;
        path.parent().unwrap_or(path)
    }

    fn take_effect(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Put { path, file } => drop(names.insert(path, file)),
            Self::Move { from, to, file } => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Remove { path } => drop(names.remove(&path)),
        }
    }
}

impl Contents {
    fn change(&mut self, change: Change) {
        change.take_effect(&mut self.seen, |_| true);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.take_effect(&mut self.durable, |_| true);
        }
    }

    /// Brings any part of what was not synced to the disk, and forgets the rest.
    fn keep_some(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.pending) {
            match random.index(5) {
                0 => {}
                1 => change.take_effect(&mut self.durable, |_| true),
                2 => {
                    let kept = random.index(change.sectors() + 1);
                    change.take_effect(&mut self.durable, |sector| sector < kept);
                }
                3 => {
                    let lost = random.index(change.sectors() + 1);
                    change.take_effect(&mut self.durable, |sector| sector >= lost);
                }
                _ => {
                    let kept = random.number();
                    change.take_effect(&mut self.durable, |sector| kept >> (sector % 64) & 1 == 1);
                }
            }
        }
    }
}

impl Change {
    fn sectors(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => bytes.len().div_ceil(SECTOR_BYTES),
            Self::Cut { .. } => 1,
        }
    }

    /// Takes effect where `keeps` says so of a sector, counted from the start of what was written.
    fn take_effect(&self, contents: &mut Vec<u8>, keeps: impl Fn(usize) -> bool) {
        match self {
            Self::Write { offset, bytes } => {
                for (sector, part) in bytes.chunks(SECTOR_BYTES).enumerate().filter(|(sector, _)| keeps(*sector)) {
                    let start = offset + sector * SECTOR_BYTES;
                    if contents.len() < start + part.len() {
                        contents.resize(start + part.len(), 0);
                    }
                    contents[start..start + part.len()].copy_from_slice(part);
                }
            }
            Self::Cut { bytes } if keeps(0) => contents.resize(*bytes, 0),
            Self::Cut { .. } => {}
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let point = Self::named(path, Point::Create);
        let create = |inside: &mut Inside| {
            inside.files_made += 1;
            let file = inside.files_made;
            inside.name(Naming::Put { path: path.into(), file });
            Ok(file)
        };
        let file = self.act(point, create, |_, _| {})?;
        Ok(Box::new(SimFile { disk: self.clone(), path: path.into(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.look(|inside| inside.file(path))?;
        Ok(Box::new(SimFile { disk: self.clone(), path: path.into(), file }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        let bytes = self.look(|inside| Ok(inside.files[&inside.file(path)?].seen.clone()))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        self.look(|inside| Ok(inside.files[&inside.file(path)?].seen.len() as u64))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        self.look(|inside| Ok(inside.names.keys().filter(|path| path.parent() == Some(folder)).map(name).collect()))
    }

    fn create_folder(&self, _path: &Path) -> io::Result<()> {
        // Folders are there as soon as something is in them.
        self.look(|_| Ok(()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = |inside: &mut Inside| {
            let file = inside.file(from)?;
            inside.name(Naming::Move { from: from.into(), to: to.into(), file });
            Ok(())
        };
        self.act(Self::named(from, Point::Rename), rename, |_, _| {})
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let remove = |inside: &mut Inside| {
            inside.file(path)?;
            inside.name(Naming::Remove { path: path.into() });
            Ok(())
        };
        self.act(Self::named(path, Point::Remove), remove, |_, _| {})
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let sync = |inside: &mut Inside| {
            let pending = std::mem::take(&mut inside.pending);
            let (synced, left) = pending.into_iter().partition(|naming| naming.folder() == folder);
            inside.pending = left;
            let synced: Vec<Naming> = synced;
            synced.into_iter().for_each(|naming| naming.take_effect(&mut inside.durable));
            Ok(())
        };
        self.act(Self::named(folder, Point::SyncFolder), sync, |_, _| {})
    }

    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        None
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: u64,
}

impl DiskFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (file, offset) = (self.file, offset as usize);
        let write = |inside: &mut Inside| {
            inside.contents(file).change(Change::Write { offset, bytes: bytes.to_vec() });
            Ok(())
        };
        let fail = |inside: &mut Inside, random: &mut Random| {
            let part = bytes[..random.index(bytes.len() + 1)].to_vec();
            inside.contents(file).change(Change::Write { offset, bytes: part });
        };
        self.disk.act(SimDisk::named(&self.path, Point::Write), write, fail)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let file = self.file;
        let cut = |inside: &mut Inside| {
            inside.contents(file).change(Change::Cut { bytes: bytes as usize });
            Ok(())
        };
        self.disk.act(SimDisk::named(&self.path, Point::Truncate), cut, |_, _| {})
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file;
        let sync = |inside: &mut Inside| {
            inside.contents(file).sync();
            Ok(())
        };
        // Processes go on seeing what may be lost.
        let fail = |inside: &mut Inside, random: &mut Random| inside.contents(file).keep_some(random);
        self.disk.act(SimDisk::named(&self.path, Point::Sync), sync, fail)
    }
}
