//! The data directory: whose it is, which databases it holds, and whether the state in it can be trusted.
//!
//! ```text
//! LOCK            held by the one process that uses the directory
//! CREATED         says that the directory is ours; written last when it is made
//! RESTORING       a backup is being brought back into it: not all of it is there yet
//! catalog         the databases, and the default project
//! RUNNING         the machine's boot at which it was last opened
//! CLEAN           the last stop was clean, and how far each log reached; gone while the directory is open
//! state/          the state of all databases; disposable
//! db/N/CREATED    says that database N was made; written when its log is there
//! db/N/log/       its commit log
//! db/N/ttl        which of its documents expire, where any do
//! db/N/snapshots/ all that was live in it at some version, so that the log before can go
//! ```
//!
//! It opens neither the state nor, unasked, a log. An unreadable directory is never taken for an empty one: where a
//! marker says that there was something and it is not there, opening is refused.

mod catalog;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hearth_core::Version;

use self::catalog::Catalog;
pub use self::catalog::DatabaseRecord;
use crate::disk::RealDisk;
use crate::durable;
use crate::log::{DatabaseId, FileLog, LogError, LogOptions, Recovered};
use crate::note::{self, Kind, Line, NOTE_BYTES_MAX, NoteError};
use crate::snapshot::{SnapshotError, Snapshots};

const LOCK: &str = "LOCK";
const CREATED: &str = "CREATED";
const CATALOG: &str = "catalog";
const RUNNING: &str = "RUNNING";
const CLEAN: &str = "CLEAN";
const STATE: &str = "state";
const DATABASES: &str = "db";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";
const TTL: &str = "ttl";
const RESTORING: &str = "RESTORING";
const LOST_AND_FOUND: &str = "lost+found";

const HOME_KIND: Kind = Kind { name: "home", format: 1 };
const CATALOG_KIND: Kind = Kind { name: "catalog", format: 1 };
const RUNNING_KIND: Kind = Kind { name: "running", format: 1 };
const RESTORING_KIND: Kind = Kind { name: "restoring", format: 1 };
const CLEAN_KIND: Kind = Kind { name: "clean", format: 1 };
const TTL_KIND: Kind = Kind { name: "ttl", format: 1 };
const DATABASE_KIND: Kind = Kind { name: "database", format: 1 };

/// What opening a data directory must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeOptions {
    /// The id of the directory should it be new; drawn at random.
    pub id_if_new: [u8; 16],
    /// What names this boot of the machine (Linux: `/proc/sys/kernel/random/boot_id`); none where nothing does.
    pub boot_id: Option<String>,
}

/// A data directory, held by this process until it is dropped.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    id: [u8; 16],
    state: StateFound,
    /// How far each log reached at a clean stop.
    clean: BTreeMap<u32, Version>,
    // Held while the catalog is replaced on disk, which is rare: a database is made, a default changed.
    catalog: Mutex<Catalog>,
    // Locked; the system lets go of it however the process ends.
    _lock: File,
}

/// A data directory that is only looked at: held as by [`Home`], and not changed.
#[derive(Debug)]
pub struct HomeView {
    home: Home,
}

/// What became of the state that the last process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFound {
    /// There was none.
    Absent,
    /// It is there, whole: the last stop was clean.
    CleanStop,
    /// It is there: the last process was ended, but the system went on and has lost nothing.
    SameBoot,
    /// It was removed: the machine has restarted without a clean stop, so parts of it may never have reached the disk.
    RemovedAfterRestart,
    /// It was removed: the last stop was not clean, and whether the machine has restarted since cannot be known.
    RemovedAsUnknown,
}

/// Why a data directory could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another hearth{}; nothing was changed: \
         stop that one, or give this one another directory",
        path.display(), process.map_or_else(String::new, |id| format!(" (process {id})"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that says it has it.
        process: Option<u32>,
    },
    /// There is something in it, and nothing says that it is a data directory.
    #[error(
        "{} holds {found:?} but no {CREATED} file, so it is no data directory of hearth; nothing was changed: \
         give a new or an empty directory, or bring the {CREATED} file back if it was lost",
        path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// A restore into it has not come to its end.
    #[error(
        "a restore into {} did not come to its end, so not everything is there; nothing was changed and nothing is served: \
         the backup is as it was, so remove what is in the directory and restore again with \
         `hearth restore BACKUP --data {}`", path.display(), path.display()
    )]
    HalfRestored {
        /// The directory.
        path: PathBuf,
    },
    /// A backup would be brought back to where there is something.
    #[error(
        "{} holds {found:?}, and a backup is restored into a new or an empty directory only; nothing was changed: \
         name another directory with --data, or move what is there away", path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// There is no data directory.
    #[error("there is no data directory at {}; nothing was changed: name the one that is meant", path.display())]
    Nothing {
        /// Where there is none.
        path: PathBuf,
    },
    /// A marker says that it was made, and it is not there.
    #[error(
        "{} is missing, though {} says that it was made; nothing was changed and nothing is served: \
         bring it back (is its disk mounted?), or restore a backup into another directory with \
         `hearth restore BACKUP --data DIR`",
        path.display(), marker.display()
    )]
    Gone {
        /// What is missing.
        path: PathBuf,
        /// What says so.
        marker: PathBuf,
    },
    /// A small file is not as it was written.
    #[error(
        "{} is damaged; nothing was changed and nothing is served: \
         bring it back, or restore a backup into another directory with `hearth restore BACKUP --data DIR`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Another hearth wrote this.
    #[error(
        "{} has format {found}, and this hearth reads format {known}; nothing was changed: \
         use the hearth that wrote it, or a newer one",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that is understood.
        known: u32,
    },
    /// The folder of a database holds another one.
    #[error(
        "{} belongs to another database than the catalog says ({found} instead of {expected}); nothing was changed: \
         put the folders of this data directory back as they were",
        path.display()
    )]
    OtherDatabase {
        /// The marker in the folder.
        path: PathBuf,
        /// Which database it names.
        found: DatabaseId,
        /// Which database it should name.
        expected: DatabaseId,
    },
    /// There is a database of this name.
    #[error("project {project:?} has a database {database:?} already")]
    Exists {
        /// The project.
        project: String,
        /// The database.
        database: String,
    },
    /// There is no database of this number.
    #[error("there is no database {number} in this data directory")]
    NoDatabase {
        /// The number.
        number: u32,
    },
    /// The catalog has no room for another database.
    #[error("the catalog of this data directory is full ({NOTE_BYTES_MAX} bytes); nothing was changed")]
    CatalogFull,
    /// The log of a database is damaged, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshots of a database cannot be read.
    #[error("{0}; nothing was changed: see to the cause and start again")]
    Snapshots(SnapshotError),
    /// The system refused an operation.
    #[error("could not {act} {}: {cause}; no data is lost by this: see to the cause and start again", path.display())]
    Io {
        /// What was tried, as in "read".
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl Home {
    /// Takes the data directory at `folder`, which is made where it is missing or empty.
    ///
    /// A state that may have lost writes with the machine is removed; [`Home::state_found`] tells.
    pub fn open(folder: &Path, options: HomeOptions) -> Result<Self, HomeError> {
        // Before there is a lock: nothing is written into a folder that is somebody else's.
        look(folder)?;
        durable::create_folder(folder).map_err(io_error("create", folder))?;
        let lock = lock(folder)?;
        if look(folder)? == Looks::New {
            make(folder, options.id_if_new)?;
        }
        let home = Self::read(folder, lock, options.boot_id.as_deref())?;
        enter(folder, home.state, options.boot_id.as_deref())?;
        Ok(home)
    }

    /// Makes a data directory to restore a backup into. Until [`Home::end_restore`] nobody opens it. There may be a folder,
    /// with nothing in it.
    pub fn begin_restore(folder: &Path, options: HomeOptions) -> Result<Self, HomeError> {
        if look(folder)? == Looks::Ours {
            return Err(HomeError::NotEmpty { path: folder.into(), found: CREATED.into() });
        }
        durable::create_folder(folder).map_err(io_error("create", folder))?;
        let lock = lock(folder)?;
        note_write(&folder.join(RESTORING), RESTORING_KIND, &[])?;
        make(folder, options.id_if_new)?;
        let home = Self::read(folder, lock, options.boot_id.as_deref())?;
        enter(folder, home.state, options.boot_id.as_deref())?;
        Ok(home)
    }

    /// Everything is there: from now on it is a data directory like any other. Durable on return.
    pub fn end_restore(self) -> Result<(), HomeError> {
        let path = self.folder.join(RESTORING);
        durable::remove(&path).map_err(io_error("remove", &path))
    }

    /// Takes everything away again that a restore has made: its folder is empty, as it was.
    pub fn undo_restore(self) -> Result<(), HomeError> {
        let last = [RESTORING, LOCK];
        let all = names(&self.folder)?;
        let order = all.iter().map(String::as_str).filter(|name| !last.contains(name) && *name != LOST_AND_FOUND);
        for name in order.chain(last) {
            let path = self.folder.join(name);
            let removed = if path.is_dir() { durable::remove_folder(&path) } else { durable::remove(&path) };
            removed.map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Takes the data directory at `folder` to look at it, and changes nothing. What [`Home::state_found`] would tell of is
    /// what opening it would find, and has not been done.
    pub fn look_at(folder: &Path, boot_id: Option<&str>) -> Result<HomeView, HomeError> {
        if look(folder)? == Looks::New {
            return Err(HomeError::Nothing { path: folder.into() });
        }
        let home = Self::read(folder, lock(folder)?, boot_id)?;
        Ok(HomeView { home })
    }

    /// Reads what a directory says of itself.
    fn read(folder: &Path, lock: File, boot_id: Option<&str>) -> Result<Self, HomeError> {
        let marker = folder.join(CREATED);
        let id = read_marker(&marker)?.ok_or_else(|| HomeError::Damaged { path: marker.clone() })?;
        let catalog_path = folder.join(CATALOG);
        let lines = note_read(&catalog_path, CATALOG_KIND)?;
        let lines = lines.ok_or_else(|| HomeError::Gone { path: catalog_path.clone(), marker })?;
        let catalog = Catalog::parse(&lines).ok_or(HomeError::Damaged { path: catalog_path })?;

        let clean = read_clean(folder)?;
        let state = judge_state(folder, clean.is_some(), boot_id)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            id: id.0,
            state,
            clean: clean.unwrap_or_default(),
            catalog: Mutex::new(catalog),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that may still be written on its disk; none where the system does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        durable::free_bytes(&self.folder)
    }

    /// Refuses a directory of which a database is missing, though the catalog says that it was made.
    pub fn expect_all(&self) -> Result<(), HomeError> {
        self.databases().iter().try_for_each(|record| self.log_dir(record.number).map(drop))
    }

    /// Names the directory for good.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Where the state belongs: what [`crate::Sled::open`] is given.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    /// What became of the state that the last process left.
    pub fn state_found(&self) -> StateFound {
        self.state
    }

    /// Whether the state holds what was last applied to it. Otherwise there is none, and it is rebuilt by replay.
    pub fn trusts_state(&self) -> bool {
        matches!(self.state, StateFound::CleanStop | StateFound::SameBoot)
    }

    /// All databases, by rising number.
    pub fn databases(&self) -> Vec<DatabaseRecord> {
        self.catalog().databases.clone()
    }

    /// The database of this name, if there is one.
    pub fn database(&self, project: &str, database: &str) -> Option<DatabaseRecord> {
        self.catalog().find_named(project, database).cloned()
    }

    /// Makes a database with an empty log. `id` and `epoch` are drawn at random. Durable on return; after an error or a
    /// crash there is no such database.
    pub fn create_database(
        &self,
        project: &str,
        database: &str,
        id: DatabaseId,
        epoch: u64,
    ) -> Result<DatabaseRecord, HomeError> {
        self.create_database_behind(project, database, id, epoch, Version::ZERO, |_| Ok(()))
    }

    /// The same for a database whose log begins behind `after`; `fill` writes the snapshot that holds what comes before.
    pub fn create_database_behind<E: From<HomeError>>(
        &self,
        project: &str,
        database: &str,
        id: DatabaseId,
        epoch: u64,
        after: Version,
        fill: impl FnOnce(&Snapshots) -> Result<(), E>,
    ) -> Result<DatabaseRecord, E> {
        let mut catalog = self.catalog();
        if catalog.find_named(project, database).is_some() {
            return Err(HomeError::Exists { project: project.into(), database: database.into() }.into());
        }
        let number = self.number_next(&catalog)?;
        let (project, database) = (project.into(), database.into());
        let record = DatabaseRecord { number, project, database, id, epoch };
        let folder = self.database_dir(number);
        FileLog::create_behind(&RealDisk, &folder.join(LOG), id, after).map_err(HomeError::from)?;
        fill(&Snapshots::new(folder.join(SNAPSHOTS), id))?;
        note_write(&folder.join(CREATED), DATABASE_KIND, &[vec!["id".into(), id.to_string()]])?;
        let mut changed = catalog.clone();
        changed.databases.push(record.clone());
        self.replace_catalog(&mut catalog, changed)?;
        Ok(record)
    }

    /// Notes that the history of a database begins anew. Durable on return.
    pub fn set_epoch(&self, number: u32, epoch: u64) -> Result<(), HomeError> {
        let mut catalog = self.catalog();
        let mut changed = catalog.clone();
        let record = changed.databases.iter_mut().find(|record| record.number == number);
        record.ok_or(HomeError::NoDatabase { number })?.epoch = epoch;
        self.replace_catalog(&mut catalog, changed)
    }

    /// The folder of a database's log, which has been checked to hold one.
    pub fn log_dir(&self, number: u32) -> Result<PathBuf, HomeError> {
        let expected = self.catalog().find(number).ok_or(HomeError::NoDatabase { number })?.id;
        let folder = self.database_dir(number);
        let path = folder.join(CREATED);
        let lines = note_read(&path, DATABASE_KIND)?;
        let lines = lines.ok_or_else(|| HomeError::Gone { path: path.clone(), marker: self.folder.join(CATALOG) })?;
        match parse_id(&lines) {
            None => return Err(HomeError::Damaged { path }),
            Some(found) if found != expected => return Err(HomeError::OtherDatabase { path, found, expected }),
            Some(_) => {}
        }
        let log = folder.join(LOG);
        match FileLog::is_empty(&log) {
            Ok(false) => Ok(log),
            Ok(true) => Err(HomeError::Gone { path: log, marker: path }),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the log of a database. `known` is what else is known to be durable: the state's applied version, a
    /// snapshot's. What a clean stop has noted is known as well.
    pub fn open_log(
        &self,
        number: u32,
        known: Version,
        options: LogOptions,
    ) -> Result<(FileLog, Recovered), HomeError> {
        let folder = self.log_dir(number)?;
        let id = self.catalog().find(number).ok_or(HomeError::NoDatabase { number })?.id;
        let known = known.max(self.clean_version(number));
        Ok(FileLog::open(&folder, id, known, options)?)
    }

    /// The snapshots of a database.
    pub fn snapshots(&self, number: u32) -> Result<Snapshots, HomeError> {
        let id = self.catalog().find(number).ok_or(HomeError::NoDatabase { number })?.id;
        Ok(Snapshots::new(self.database_dir(number).join(SNAPSHOTS), id))
    }

    /// Which documents of a database expire: a collection group and a field each, as they were kept.
    pub fn ttl_policies(&self, number: u32) -> Result<Vec<(String, String)>, HomeError> {
        let path = self.database_dir(number).join(TTL);
        let policy = |line: Line| match <[String; 3]>::try_from(line) {
            Ok([kind, group, field]) if kind == "policy" => Some((group, field)),
            Ok(_) | Err(_) => None,
        };
        let policies = note_read(&path, TTL_KIND)?.unwrap_or_default().into_iter().map(policy).collect();
        Option::ok_or(policies, HomeError::Damaged { path })
    }

    /// Keeps which documents of a database expire. Durable on return.
    pub fn set_ttl_policies(&self, number: u32, policies: &[(String, String)]) -> Result<(), HomeError> {
        let line = |(group, field): &(String, String)| vec!["policy".into(), group.clone(), field.clone()];
        let lines: Vec<Line> = policies.iter().map(line).collect();
        note_write(&self.database_dir(number).join(TTL), TTL_KIND, &lines)
    }

    /// How far the log of a database reached when the directory was last stopped cleanly; zero where that is not known.
    pub fn clean_version(&self, number: u32) -> Version {
        self.clean.get(&number).copied().unwrap_or_default()
    }

    /// The project that is meant where none is named.
    pub fn default_project(&self) -> Option<String> {
        self.catalog().default_project.clone()
    }

    /// Remembers the project that is meant where none is named. Durable on return.
    pub fn set_default_project(&self, project: &str) -> Result<(), HomeError> {
        let mut catalog = self.catalog();
        let changed = Catalog { default_project: Some(project.into()), databases: catalog.databases.clone() };
        self.replace_catalog(&mut catalog, changed)
    }

    /// Notes that everything was applied and closed: the state is trusted at the next start, even after the machine was
    /// switched off. `lasts` is the number of each database that was open, and how far its log reached.
    ///
    /// The very last call, when the state and all logs are closed. The files of the state are synced first, because
    /// sled has not done so.
    pub fn mark_clean(&self, lasts: &[(u32, Version)]) -> Result<(), HomeError> {
        let state = self.state_dir();
        durable::sync_all_in(&state).map_err(io_error("sync", &state))?;
        let mut clean = self.clean.clone();
        clean.extend(lasts.iter().copied());
        let line = |(number, version): (&u32, &Version)| {
            vec!["database".to_string(), number.to_string(), version.micros().to_string()]
        };
        let lines: Vec<Line> = clean.iter().map(line).collect();
        note_write(&self.folder.join(CLEAN), CLEAN_KIND, &lines)
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First on disk, then here: what is answered is durable.
    fn replace_catalog(&self, catalog: &mut Catalog, changed: Catalog) -> Result<(), HomeError> {
        note_write(&self.folder.join(CATALOG), CATALOG_KIND, &changed.lines())?;
        *catalog = changed;
        Ok(())
    }

    fn database_dir(&self, number: u32) -> PathBuf {
        self.folder.join(DATABASES).join(number.to_string())
    }

    /// Above every number of the catalog, and above every folder: one that a crash has left is never used again.
    fn number_next(&self, catalog: &Catalog) -> Result<u32, HomeError> {
        let folder = self.folder.join(DATABASES);
        let mut last = catalog.databases.last().map_or(0, |record| record.number);
        for name in names(&folder)? {
            last = last.max(name.parse().unwrap_or(0));
        }
        last.checked_add(1).ok_or(HomeError::CatalogFull)
    }
}

impl HomeView {
    /// All databases, by rising number.
    pub fn databases(&self) -> Vec<DatabaseRecord> {
        self.home.databases()
    }

    /// What opening the directory would find of the state, and do with it.
    pub fn state_found(&self) -> StateFound {
        self.home.state_found()
    }

    /// Whether opening the directory would go on with the state.
    pub fn trusts_state(&self) -> bool {
        self.home.trusts_state()
    }

    /// Where the state is.
    pub fn state_dir(&self) -> PathBuf {
        self.home.state_dir()
    }

    /// How far the log of a database reached at a clean stop; zero where that is not known.
    pub fn clean_version(&self, number: u32) -> Version {
        self.home.clean_version(number)
    }

    /// The snapshots of a database.
    pub fn snapshots(&self, number: u32) -> Result<Snapshots, HomeError> {
        self.home.snapshots(number)
    }

    /// The log of a database, to be read only; see [`Home::open_log`].
    pub fn open_log(
        &self,
        number: u32,
        known: Version,
        options: LogOptions,
    ) -> Result<(FileLog, Recovered), HomeError> {
        let folder = self.home.log_dir(number)?;
        let id = self.home.catalog().find(number).ok_or(HomeError::NoDatabase { number })?.id;
        let known = known.max(self.clean_version(number));
        Ok(FileLog::open_to_read(&folder, id, known, options)?)
    }
}

/// Makes a data directory without databases. The marker last: until it is there, the directory counts as empty.
fn make(folder: &Path, id: [u8; 16]) -> Result<(), HomeError> {
    note_write(&folder.join(CATALOG), CATALOG_KIND, &Catalog::default().lines())?;
    note_write(&folder.join(CREATED), HOME_KIND, &[vec!["id".to_string(), DatabaseId(id).to_string()]])
}

#[derive(Debug, PartialEq, Eq)]
enum Looks {
    /// Nothing, or what a crash has left of making it.
    New,
    Ours,
}

/// What a folder looks like, refusing one that is somebody else's.
fn look(folder: &Path) -> Result<Looks, HomeError> {
    let names = names(folder)?;
    if names.iter().any(|name| name == RESTORING) {
        return Err(HomeError::HalfRestored { path: folder.into() });
    }
    if names.iter().any(|name| name == CREATED) {
        return Ok(Looks::Ours);
    }
    let foreign = |name: &String| match name.as_str() {
        LOCK => false,
        // The root of a fresh file system has one.
        LOST_AND_FOUND => false,
        // A catalog without databases is what we write first.
        CATALOG => !matches!(note::read(&folder.join(CATALOG), CATALOG_KIND), Ok(Some(lines)) if lines.is_empty()),
        name => name.strip_suffix(durable::NEW).is_none_or(|name| name != CATALOG && name != CREATED),
    };
    match names.into_iter().find(foreign) {
        Some(found) => Err(HomeError::NotOurs { path: folder.into(), found }),
        None => Ok(Looks::New),
    }
}

/// The names in a folder, sorted; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, HomeError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("read", folder))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.map(name).collect::<io::Result<_>>().map_err(io_error("read", folder))?;
    names.sort();
    Ok(names)
}

/// Takes the lock, and leaves in it who has it.
fn lock(folder: &Path) -> Result<File, HomeError> {
    let path = folder.join(LOCK);
    let mut options = File::options();
    let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(HomeError::InUse { path: folder.into(), process });
        }
        Err(TryLockError::Error(cause)) => return Err(io_error("lock", &path)(cause)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(io_error("write", &path))?;
    Ok(file)
}

/// How far each log reached at a clean stop, if the last stop was one. A note that cannot be read was none.
fn read_clean(folder: &Path) -> Result<Option<BTreeMap<u32, Version>>, HomeError> {
    let path = folder.join(CLEAN);
    let lines = match note::read(&path, CLEAN_KIND) {
        Ok(lines) => lines,
        Err(NoteError::Io(cause)) => return Err(io_error("read", &path)(cause)),
        Err(NoteError::Damaged | NoteError::Format(_) | NoteError::TooLong) => None,
    };
    let pair = |line: &Line| match line.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["database", number, version] => Some((number.parse().ok()?, Version::from_micros(version.parse().ok()?))),
        _ => None,
    };
    Ok(lines.and_then(|lines| lines.iter().map(pair).collect()))
}

/// Decides whether the state can be kept.
fn judge_state(folder: &Path, is_clean: bool, boot_id: Option<&str>) -> Result<StateFound, HomeError> {
    let (state, running) = (folder.join(STATE), folder.join(RUNNING));
    let boot_before = match note::read(&running, RUNNING_KIND) {
        Ok(lines) => lines.and_then(|lines| match lines.first().map(Vec::as_slice) {
            Some([name, id]) if name == "boot" => Some(id.clone()),
            _ => None,
        }),
        Err(NoteError::Io(cause)) => return Err(io_error("read", &running)(cause)),
        Err(NoteError::Damaged | NoteError::Format(_) | NoteError::TooLong) => None,
    };
    Ok(match (state.exists(), is_clean, boot_before.as_deref(), boot_id) {
        (false, ..) => StateFound::Absent,
        (true, true, ..) => StateFound::CleanStop,
        (true, false, Some(before), Some(now)) if before == now => StateFound::SameBoot,
        (true, false, Some(_), Some(_)) => StateFound::RemovedAfterRestart,
        (true, false, ..) => StateFound::RemovedAsUnknown,
    })
}

/// Removes a state that cannot be kept. From here on the stop that will come is not clean.
fn enter(folder: &Path, found: StateFound, boot_id: Option<&str>) -> Result<(), HomeError> {
    let (state, running) = (folder.join(STATE), folder.join(RUNNING));
    // In this order a crash at any point leaves a directory that is judged the same, or worse, the next time: an
    // untrusted state is gone before this boot is noted, and this boot is noted before the clean stop is forgotten.
    match found {
        StateFound::CleanStop | StateFound::SameBoot => {}
        StateFound::Absent | StateFound::RemovedAfterRestart | StateFound::RemovedAsUnknown => {
            durable::remove_folder(&state).map_err(io_error("remove", &state))?;
        }
    }
    let boot: Vec<Line> = boot_id.map(|id| vec!["boot".into(), id.into()]).into_iter().collect();
    note_write(&running, RUNNING_KIND, &boot)?;
    let clean = folder.join(CLEAN);
    durable::remove(&clean).map_err(io_error("remove", &clean))
}

/// The id that a marker holds; `None` when it holds none.
fn read_marker(path: &Path) -> Result<Option<DatabaseId>, HomeError> {
    Ok(note_read(path, HOME_KIND)?.and_then(|lines| parse_id(&lines)))
}

fn parse_id(lines: &[Line]) -> Option<DatabaseId> {
    match lines {
        [line] => match line.as_slice() {
            [name, id] if name == "id" => DatabaseId::parse(id),
            _ => None,
        },
        _ => None,
    }
}

fn note_read(path: &Path, kind: Kind) -> Result<Option<Vec<Line>>, HomeError> {
    note::read(path, kind).map_err(note_error("read", path, kind))
}

fn note_write(path: &Path, kind: Kind, lines: &[Line]) -> Result<(), HomeError> {
    note::write(path, kind, lines).map_err(note_error("write", path, kind))
}

fn note_error(act: &'static str, path: &Path, kind: Kind) -> impl Fn(NoteError) -> HomeError {
    let path = path.to_path_buf();
    move |error| {
        let path = path.clone();
        match error {
            NoteError::Io(cause) => HomeError::Io { act, path, cause },
            NoteError::Damaged => HomeError::Damaged { path },
            NoteError::Format(found) => HomeError::Format { path, found, known: kind.format },
            // Only the catalog grows.
            NoteError::TooLong => HomeError::CatalogFull,
        }
    }
}

fn io_error(act: &'static str, path: &Path) -> impl Fn(io::Error) -> HomeError {
    move |cause| HomeError::Io { act, path: path.to_path_buf(), cause }
}
