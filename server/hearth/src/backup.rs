//! `hearth backup`: everything that is committed up to a moment, copied while the server goes on.
//!
//! The first backup copies each database's newest snapshot and the log behind it; the next ones only the log since the last.
//! A new snapshot is copied when the log behind the last has grown as large as it, so that a restore does not take ever
//! longer. Every file is read back and checked before it is stored.

mod manifest;
pub(crate) mod repository;
mod source;

use std::path::Path;
use std::time::Duration;

use hearth_core::{DatabaseName, Version};
use hearth_engine::{BackupPoint, LogPart};
use hearth_store::{CommitLog as _, DatabaseId, FileLog, LogOptions, Snapshots};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::manifest::{Base, FORMAT, Part};
pub(crate) use self::manifest::{Manifest, Needed, Saved};
use self::repository::Repository;
use self::source::{NotCopied, Source};
use crate::args::BackupArgs;
use crate::config::Settings;
use crate::exit::{Exit, say};

/// Parts of the log after which a chain is ended and another begun with a snapshot, so that manifests stay short.
const CHAIN_PARTS_MAX: usize = 1_000;
/// Bytes of log for which no snapshot is copied, however small the last one was.
const BASE_LOG_BYTES_MIN: u64 = 4 << 20;
/// How often a database is looked at again whose snapshot was replaced while it was to be copied.
const TRIES_MAX: u32 = 5;

/// Runs the command.
pub(crate) async fn run(args: &BackupArgs, settings: &Settings) -> Result<(), Exit> {
    let repository = Repository::open_or_create(&args.to).await?;
    let previous = newest(&repository).await?;
    let mut source = Source::open(args, settings).await?;
    let taken = take(&mut source, &repository, previous.as_ref(), args.full).await;
    let closed = source.close().await;
    let (manifest, copied) = taken?;
    closed?;
    if args.json {
        let databases: Vec<_> = manifest
            .databases
            .iter()
            .map(|saved| json!({ "project": saved.project, "database": saved.database, "version": saved.version.to_string() }))
            .collect();
        say(json!({
            "taken": manifest.taken.to_string(), "databases": databases, "files": copied.files, "bytes": copied.bytes,
        }));
    } else {
        let (count, Copied { files, bytes }) = (manifest.databases.len(), copied);
        say(format_args!("backed up {count} databases to {repository}: {files} new files with {bytes} bytes"));
        say(format_args!("restore with: hearth restore {repository} --data DIR --at {}", manifest.taken));
    }
    Ok(())
}

/// The newest backup that there is, for the next to go on from.
async fn newest(repository: &Repository) -> Result<Option<Manifest>, Exit> {
    for name in repository.names().await?.iter().rev() {
        match repository.manifest(name).await {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(error) => tracing::error!("{}; this backup goes on from the one before it", error.message),
        }
    }
    Ok(None)
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    files: u64,
    bytes: u64,
}

async fn take(
    source: &mut Source,
    repository: &Repository,
    previous: Option<&Manifest>,
    full: bool,
) -> Result<(Manifest, Copied), Exit> {
    let listing = source.list().await?;
    let spool = tempfile::Builder::new().prefix("hearth-backup-").tempdir().map_err(Exit::failed)?;
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed"));
    progress.enable_steady_tick(Duration::from_millis(250));
    let mut taking = Taking { source, repository, full, spool: spool.path(), copied: Copied::default() };
    // Each at a version of its own: commits never span databases. The backup is as old as the oldest of them.
    let (mut databases, mut taken) = (Vec::new(), u64::MAX);
    for name in &listing.databases {
        progress.set_message(format!("copying {name}"));
        let saved = taking.database(name, previous).await?;
        taken = taken.min(saved.version);
        databases.push(saved);
    }
    progress.finish_and_clear();
    let copied = taking.copied;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let manifest = Manifest {
        format: FORMAT,
        hearth: listing.hearth,
        taken: if databases.is_empty() { now().as_micros() as u64 } else { taken },
        served: listing.served,
        default_project: listing.default_project,
        databases,
    };
    repository.add(&manifest).await?;
    Ok((manifest, copied))
}

/// A backup that is being taken.
struct Taking<'a> {
    source: &'a mut Source,
    repository: &'a Repository,
    /// Whether everything is copied again.
    full: bool,
    /// A folder for files on their way.
    spool: &'a Path,
    copied: Copied,
}

impl Taking<'_> {
    async fn database(&mut self, name: &DatabaseName, previous: Option<&Manifest>) -> Result<Saved, Exit> {
        let mut tries_left = TRIES_MAX;
        loop {
            let point = self.source.point(name).await?;
            let id = point.id.to_string();
            let before = previous.and_then(|manifest| manifest.databases.iter().find(|saved| saved.id == id));
            let copied = match before {
                Some(saved)
                    if !self.full && saved.log.len() < CHAIN_PARTS_MAX && saved.version <= point.version.micros() =>
                {
                    match self.go_on(name, &point, saved).await {
                        // The log since then is dropped, or the data are those of an older copy.
                        Err(NotCopied::Gone(cause)) => {
                            tracing::warn!(%name, cause, "the last backup cannot be gone on from; everything is copied");
                            self.begin(name, &point, None).await
                        }
                        copied => copied,
                    }
                }
                before => self.begin(name, &point, before).await,
            };
            match copied {
                Ok(saved) => return Ok(saved),
                Err(NotCopied::Failed(exit)) => return Err(exit),
                Err(NotCopied::Gone(cause)) if tries_left == 0 => return Err(Exit::failed(format!("{name}: {cause}"))),
                Err(NotCopied::Gone(_)) => tries_left -= 1,
            }
        }
    }

    /// Copies everything, into a folder of its own. It goes back to where the backup before it ends, as far as that is to be
    /// had, so that no moment is lost between the two.
    async fn begin(
        &mut self,
        name: &DatabaseName,
        point: &BackupPoint,
        before: Option<&Saved>,
    ) -> Result<Saved, NotCopied> {
        let mut saved = Saved {
            project: name.project().into(),
            database: name.database().into(),
            id: point.id.to_string(),
            folder: format!("databases/{}/{:020}", point.id, point.version.micros()),
            version: 0,
            bases: Vec::new(),
            log: Vec::new(),
        };
        let reaching = before
            .and_then(|before| point.snapshots.iter().rev().find(|(version, _)| version.micros() <= before.version));
        if let Some((version, _)) = reaching.or(point.snapshots.last()) {
            let base = self.base(name, point, *version, &saved.folder).await?;
            saved.bases.push(base);
            saved.version = version.micros();
        }
        self.log_to(name, point, &mut saved).await?;
        Ok(saved)
    }

    /// Copies what came since the last backup.
    async fn go_on(&mut self, name: &DatabaseName, point: &BackupPoint, before: &Saved) -> Result<Saved, NotCopied> {
        let mut saved = before.clone();
        (saved.project, saved.database) = (name.project().into(), name.database().into());
        self.log_to(name, point, &mut saved).await?;
        let last = saved.bases.last().map_or((0, 0), |base| (base.version, base.stored.bytes));
        if let Some((version, _)) = point.snapshots.last()
            && version.micros() > last.0
            && saved.log_bytes_behind_base() >= last.1.max(BASE_LOG_BYTES_MIN)
        {
            let base = self.base(name, point, *version, &saved.folder).await?;
            saved.bases.push(base);
        }
        Ok(saved)
    }

    /// Copies the log from where the backup ends to where the database is.
    async fn log_to(&mut self, name: &DatabaseName, point: &BackupPoint, saved: &mut Saved) -> Result<(), NotCopied> {
        let (after, upto) = (Version::from_micros(saved.version), point.version);
        if after == upto {
            return Ok(());
        }
        // A log that begins at zero begins with segment 1, and no other does.
        let first = if after == Version::ZERO { 1 } else { 2 };
        let segment = saved.log.last().map_or(first, |part| part.segment + 1);
        let file = self.spool.join(format!("{segment:010}.seg"));
        self.source.log(name, LogPart { after, upto, segment }, &file).await?;
        self.checked(verify_part(self.spool, point.id, after, upto), name)?;
        let (after, upto) = (after.micros(), upto.micros());
        let stored = format!("{}/{segment:010}-{after}-{upto}.seg", saved.folder);
        let stored = self.store(stored, &file).await?;
        saved.log.push(Part { stored, segment, after, upto });
        saved.version = upto;
        Ok(())
    }

    /// Copies a snapshot.
    async fn base(
        &mut self,
        name: &DatabaseName,
        point: &BackupPoint,
        version: Version,
        folder: &str,
    ) -> Result<Base, NotCopied> {
        let snapshots = Snapshots::new(self.spool.into(), point.id);
        let file = snapshots.path(version);
        self.source.snapshot(name, version, &file).await?;
        self.checked(snapshots.verify(version).map(drop).map_err(|error| error.to_string()), name)?;
        let stored = self.store(format!("{folder}/{:020}.snap", version.micros()), &file).await?;
        Ok(Base { stored, version: version.micros() })
    }

    fn checked(&self, verified: Result<(), String>, name: &DatabaseName) -> Result<(), Exit> {
        verified.map_err(|fault| {
            Exit::failed(format!(
                "{name}: what was copied is not whole: {fault}; no backup was added, and those that are there are as they \
                 were: try again, and if it comes again run `hearth check` on the data"
            ))
        })
    }

    async fn store(&mut self, name: String, file: &Path) -> Result<manifest::Stored, Exit> {
        let stored = self.repository.put(name, file).await?;
        // It is in the system's folder for such things: what stays is only in the way.
        let _ = std::fs::remove_file(file);
        self.copied.files += 1;
        self.copied.bytes += stored.bytes;
        Ok(stored)
    }
}

/// Whether the only segment in a folder is a whole part of a log, from one version to another.
fn verify_part(folder: &Path, id: DatabaseId, after: Version, upto: Version) -> Result<(), String> {
    let options = LogOptions { covered: after, ..LogOptions::default() };
    let (log, found) = FileLog::open_to_read(folder, id, upto, options).map_err(|error| error.to_string())?;
    match (log.start() == after, found.last == upto, found.cut_bytes) {
        (true, true, 0) => Ok(()),
        _ => Err(format!("it goes from {} to {} and not from {after} to {upto}", log.start(), found.last)),
    }
}
