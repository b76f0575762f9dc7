//! `--import` and `--export-on-exit`: begin with what Firebase's emulators have exported, and leave an export to them.

use std::path::{Path, PathBuf};

use hearth_auth::Caller;
use hearth_core::DatabaseName;
use hearth_engine::{Database, Engine};
use hearth_firestore::export::{self, Documents, ExportError, Exported};
use tokio::sync::mpsc;

use crate::config::Settings;
use crate::exit::{Exit, say};
use crate::import::{BATCH_BYTES, BATCH_DOCS};
use crate::open;
use crate::place::{Item, Place, PutError};

/// Documents that wait to be written while others are read.
const AHEAD_MAX: usize = 500;

/// Where from, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folders {
    pub(crate) import: Option<PathBuf>,
    pub(crate) export: Option<PathBuf>,
}

impl Folders {
    /// Reads what was asked for, and refuses what cannot be done before anything is opened.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Exit> {
        let (mut import, export) = (settings.import.clone(), settings.export_on_exit.clone());
        let export = match export {
            // The flag by itself.
            Some(folder) if folder.as_os_str().is_empty() => Some(import.clone().ok_or_else(|| {
                Exit::usage("--export-on-exit has nowhere to export to: name a folder, or one with --import")
            })?),
            export => export,
        };
        if let Some(folder) = &export
            && folder.exists()
            && !folder.is_dir()
        {
            return Err(Exit::usage(format!("--export-on-exit: {} is no folder", folder.display())));
        }
        if let Some(folder) = &import
            && !folder.is_dir()
        {
            // As Firebase's tools have it: the first time there is nothing to begin with yet.
            let is_first = export.as_ref() == Some(folder) && !folder.exists();
            if !is_first {
                let is = if folder.exists() { "is no folder" } else { "is not there" };
                return Err(Exit::usage(format!(
                    "--import: {} {is}; name the folder that `firebase emulators:export`, `gcloud firestore export` or \
                     --export-on-exit has written",
                    folder.display()
                )));
            }
            import = None;
        }
        Ok(Self { import, export })
    }

    /// Brings the export in where there are no documents yet. `otherwise` is the project where neither settings nor the
    /// export name one.
    pub(crate) async fn bring_in(&self, settings: &Settings, engine: &Engine, otherwise: &str) -> Result<(), Exit> {
        let unfinished = if settings.ephemeral { None } else { open::importing(&settings.data) };
        let Some(folder) = self.import.clone() else {
            // From now on it is written to, and nothing of that is to go with the part.
            return unfinished.map_or(Ok(()), |_| keep_part(settings));
        };
        let failed = |error: &dyn std::fmt::Display| Exit::failed(format!("--import: {error}"));
        let opened = folder.clone();
        let read = tokio::task::spawn_blocking(move || first(&opened)).await.map_err(Exit::failed)?;
        let (found, documents) = read.map_err(|error| failed(&error))?;
        let exported = found.as_ref().map(|found| found.database.project());
        let project = match engine.default_project() {
            Some(project) => project,
            None => engine.claim_default_project(exported.unwrap_or(otherwise)),
        };
        let database = open_database(engine, &project).await?;
        if unfinished.as_deref() == Some(project.as_str()) {
            let wipe = database.authorize_wipe(&Caller::Admin).map_err(Exit::failed)?;
            database.wipe(&wipe).await.map_err(|error| failed(&error))?;
        } else if unfinished.is_some() {
            keep_part(settings)?;
        }
        let mut place = Place::of(engine.clone(), database);
        if !place.page(None, None, None).await?.1.is_empty() {
            tracing::warn!(
                "there are documents in {project} already, so {} was not imported; with --ephemeral, or another --data, a server \
                 begins with it",
                folder.display()
            );
            return Ok(());
        }
        if !settings.ephemeral {
            open::mark_importing(&settings.data, Some(project.as_str()))?;
        }
        let count = put(&mut place, found, documents).await.map_err(|error| failed(&error))?;
        if !settings.ephemeral {
            open::mark_importing(&settings.data, None)?;
        }
        say(format_args!("  imported  {count} documents of {} into {project}", folder.display()));
        Ok(())
    }

    /// Exports the database that is meant where none is named, when nobody writes any more.
    pub(crate) async fn leave(&self, database: &Database, others: &[DatabaseName]) -> Result<(), Exit> {
        let Some(folder) = &self.export else { return Ok(()) };
        let written = export::write_for_firebase(database, folder).await;
        let count = written
            .map_err(|error| Exit::failed(format!("--export-on-exit: {error}; an earlier export is as it was")))?;
        say(format_args!("exported {count} documents of {} to {}", database.name().project(), folder.display()));
        let others: Vec<String> =
            others.iter().filter(|other| *other != database.name()).map(ToString::to_string).collect();
        if !others.is_empty() {
            tracing::warn!("not exported, since an export holds one database: {}", others.join(", "));
        }
        Ok(())
    }
}

/// Goes on with what an import has left that did not come to its end, and says so.
fn keep_part(settings: &Settings) -> Result<(), Exit> {
    tracing::warn!(
        "an import into {} did not come to its end: what is there is a part of it, and is kept; to begin anew, start with \
         --import and an empty --data",
        settings.data.display()
    );
    open::mark_importing(&settings.data, None)
}

/// The database of a project that is meant where none is named.
pub(crate) async fn open_database(engine: &Engine, project: &str) -> Result<Database, Exit> {
    let name = DatabaseName::parse(project, DatabaseName::DEFAULT).map_err(Exit::usage)?;
    let opening = engine.clone();
    let database = tokio::task::spawn_blocking(move || opening.database(&name)).await.map_err(Exit::start)?;
    database.map_err(Exit::start)
}

/// The first document of an export, which says whose it is, and the others.
fn first(folder: &Path) -> Result<(Option<Exported>, Documents), ExportError> {
    let mut documents = export::open(folder)?;
    Ok((documents.next().transpose()?, documents))
}

/// Writes documents in batches while others are read.
async fn put(place: &mut Place, found: Option<Exported>, documents: Documents) -> Result<u64, String> {
    let (send, mut read) = mpsc::channel(AHEAD_MAX);
    let reader = tokio::task::spawn_blocking(move || {
        // Sending fails when the other side has ended with an error.
        for document in found.map(Ok).into_iter().chain(documents) {
            if send.blocking_send(document).is_err() {
                return;
            }
        }
    });
    let (mut count, mut batch, mut bytes) = (0, Vec::new(), 0);
    while let Some(document) = read.recv().await {
        let Exported { path, fields, .. } = document.map_err(|error| error.to_string())?;
        let item = Item { path, fields };
        if batch.len() == BATCH_DOCS || bytes + item.bytes() > BATCH_BYTES {
            flush(place, &mut batch).await?;
            bytes = 0;
        }
        bytes += item.bytes();
        count += 1;
        batch.push(item);
    }
    flush(place, &mut batch).await?;
    reader.await.map_err(|error| error.to_string())?;
    Ok(count)
}

async fn flush(place: &mut Place, batch: &mut Vec<Item>) -> Result<(), String> {
    let batch = std::mem::take(batch);
    if batch.is_empty() {
        return Ok(());
    }
    place.put(&batch).await.map_err(|(PutError::Refused(detail) | PutError::Failed(detail))| detail)
}
