//! `hearth restore`: a new data directory with everything as it was at some moment of a backup.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hearth_core::{DatabaseName, Value, Version};
use hearth_engine::{Restoring, ids, restore};
use hearth_native::json::{Context, from_value, to_value};
use hearth_store::{DatabaseId, Home, HomeOptions, Snapshots};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::RestoreArgs;
use crate::backup::repository::Repository;
use crate::backup::{Manifest, Needed, Saved};
use crate::config::Settings;
use crate::exit::{Exit, say};
use crate::open;

/// Where files of a backup are put on their way, inside the directory that is being restored.
const FETCHED: &str = "fetched";

/// Runs the command.
pub(crate) async fn run(args: &RestoreArgs, settings: &Settings) -> Result<(), Exit> {
    let repository = Repository::open(&args.from).await?;
    if args.list {
        return list(&repository, args.json).await;
    }
    let at = args.at.as_deref().map(moment).transpose()?;
    let manifest = choose(&repository, at).await?;
    let at = at.unwrap_or(Version::MAX);
    // Known before anything is made.
    let planned = plan(&manifest, at, &args.from)?;
    let folder = &settings.data;
    let options = HomeOptions { id_if_new: ids::random(), boot_id: open::boot_id() };
    let home = Home::begin_restore(folder, options).map_err(Exit::start)?;
    let done = bring_back(&repository, &manifest, &planned, at, &home, folder).await;
    let done = match done {
        Ok(done) => done,
        Err(exit) => {
            // It was empty before. What cannot be removed is refused by whoever opens it.
            if let Err(error) = home.undo_restore() {
                tracing::warn!(%error, "what was restored so far could not be removed");
            }
            return Err(exit);
        }
    };
    home.end_restore().map_err(Exit::failed)?;
    let (count, entries) = (done.len(), done.iter().map(|one| one.1.entries).sum::<u64>());
    if args.json {
        let databases: Vec<_> = done
            .iter()
            .map(|(name, one)| {
                json!({
                    "project": name.project(), "database": name.database(), "version": one.version.to_string(),
                    "records": one.records, "entries": one.entries,
                })
            })
            .collect();
        say(json!({ "data": folder, "databases": databases }));
    } else {
        let from = time(manifest.taken.min(at.micros()));
        say(format_args!(
            "restored {count} databases as of {from} into {} ({entries} entries of the log)",
            folder.display()
        ));
        say(format_args!("check it with: hearth check --data {}", folder.display()));
    }
    Ok(())
}

/// Prints which backups there are, and how far each goes back.
async fn list(repository: &Repository, as_json: bool) -> Result<(), Exit> {
    let mut listed = Vec::new();
    for name in repository.names().await? {
        let taken = Repository::moment(&name);
        match repository.manifest(&name).await {
            Ok(manifest) => {
                let oldest = manifest.databases.iter().map(Saved::oldest).max().unwrap_or_default();
                if as_json {
                    let databases = manifest.databases.len();
                    listed.push(
                        json!({ "taken": taken.to_string(), "oldest": oldest.to_string(), "databases": databases }),
                    );
                } else {
                    let back = if oldest == Version::ZERO { "the beginning".into() } else { time(oldest.micros()) };
                    let count = manifest.databases.len();
                    say(format_args!("{taken}  {}  {count} databases, back to {back}", time(taken)));
                }
            }
            Err(error) if as_json => listed.push(json!({ "taken": taken.to_string(), "damaged": error.message })),
            Err(error) => say(format_args!("{taken}  {}  {}", time(taken), error.message)),
        }
    }
    if as_json {
        say(json!(listed));
    }
    Ok(())
}

/// The first backup that holds everything up to a moment and goes back so far, or the newest.
async fn choose(repository: &Repository, at: Option<Version>) -> Result<Manifest, Exit> {
    let names = repository.names().await?;
    let Some(newest) = names.last() else {
        return Err(Exit::failed(format!("{repository} holds no backup yet; `hearth backup {repository}` makes one")));
    };
    let Some(at) = at else { return repository.manifest(newest).await };
    let mut refused = None;
    for name in names.iter().filter(|name| Repository::moment(name) >= at.micros()) {
        let read = repository.manifest(name).await;
        match read.and_then(|manifest| plan(&manifest, at, &repository.to_string()).map(drop).map(|()| manifest)) {
            Ok(manifest) => return Ok(manifest),
            // A later one may do as well.
            Err(exit) => drop(refused.get_or_insert(exit)),
        }
    }
    let newest = Repository::moment(newest);
    Err(refused.unwrap_or_else(|| {
        Exit::failed(format!(
            "the newest backup in {repository} was taken at {} (version {newest}), and {} lies behind it; nothing was \
             changed: restore without --at for the newest that there is",
            time(newest),
            time(at.micros())
        ))
    }))
}

/// The files that each database is restored from.
fn plan<'a>(manifest: &'a Manifest, at: Version, from: &str) -> Result<Vec<(&'a Saved, Needed<'a>)>, Exit> {
    let one = |saved: &'a Saved| saved.needed(at).map(|needed| (saved, needed)).ok_or_else(|| too_old(saved, at, from));
    manifest.databases.iter().map(one).collect()
}

fn too_old(saved: &Saved, at: Version, from: &str) -> Exit {
    let Saved { project, database, .. } = saved;
    let oldest = saved.oldest();
    Exit::failed(format!(
        "the backup of {project}/{database} goes back to {} (version {oldest}), and {} lies before that; nothing was \
         changed: `hearth restore {from} --list` shows how far each backup goes back",
        time(oldest.micros()),
        time(at.micros())
    ))
}

type Done = Vec<(DatabaseName, hearth_engine::Restored)>;

async fn bring_back(
    repository: &Repository,
    manifest: &Manifest,
    planned: &[(&Saved, Needed<'_>)],
    at: Version,
    home: &Home,
    folder: &Path,
) -> Result<Done, Exit> {
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed"));
    progress.enable_steady_tick(Duration::from_millis(250));
    let mut done = Vec::new();
    for (saved, needed) in planned {
        let name = DatabaseName::parse(&saved.project, &saved.database);
        let name = name.map_err(|error| repository.damaged("a manifest", &error.to_string()))?;
        progress.set_message(format!("fetching {name}"));
        let restoring = fetch(repository, saved, needed, at, &folder.join(FETCHED)).await?;
        progress.set_message(format!("restoring {name}"));
        let restored = tokio::task::block_in_place(|| restore(home, &restoring));
        let restored = restored.map_err(|error| repository.damaged(&saved.folder, &error.to_string()))?;
        fs::remove_dir_all(folder.join(FETCHED)).map_err(Exit::failed)?;
        done.push((name, restored));
    }
    progress.finish_and_clear();
    if let Some(project) = &manifest.default_project {
        home.set_default_project(project).map_err(Exit::failed)?;
    }
    if manifest.served {
        open::mark_served(folder)?;
    }
    Ok(done)
}

/// Fetches the files of one database, under the names that a log and snapshots have.
async fn fetch(
    repository: &Repository,
    saved: &Saved,
    needed: &Needed<'_>,
    at: Version,
    folder: &Path,
) -> Result<Restoring, Exit> {
    let (log, snapshots) = (folder.join("log"), folder.join("snapshots"));
    for folder in [&log, &snapshots] {
        fs::create_dir_all(folder).map_err(|error| Exit::failed(format!("{}: {error}", folder.display())))?;
    }
    let id = DatabaseId::parse(&saved.id);
    let id = id.ok_or_else(|| repository.damaged("a manifest", "it names a database as none is named"))?;
    let base = match needed.base {
        None => None,
        Some(base) => {
            let version = Version::from_micros(base.version);
            let files = Snapshots::new(snapshots.clone(), id);
            repository.fetch(&base.stored, &files.path(version)).await?;
            Some((snapshots, version))
        }
    };
    for part in needed.log {
        repository.fetch(&part.stored, &log.join(format!("{:010}.seg", part.segment))).await?;
    }
    Ok(Restoring {
        project: saved.project.clone(),
        database: saved.database.clone(),
        id,
        base,
        log: (!needed.log.is_empty()).then_some(log),
        at: at.min(Version::from_micros(saved.version)),
    })
}

/// A version, or a time as in `2026-01-31T10:00:00Z`.
fn moment(text: &str) -> Result<Version, Exit> {
    if let Ok(micros) = text.parse() {
        return Ok(Version::from_micros(micros));
    }
    let name = some_name();
    let value = to_value(&json!({ "$timestamp": text }), &Context::new(&name));
    match value {
        Ok(Value::Timestamp(moment)) if moment.micros() >= 0 => Ok(Version::from_micros(moment.micros() as u64)),
        _ => Err(Exit::usage(format!("--at: {text:?} is neither a version nor a time such as 2026-01-31T10:00:00Z"))),
    }
}

/// A version as a time, in UTC.
fn time(micros: u64) -> String {
    let moment = i64::try_from(micros).ok().and_then(hearth_core::Timestamp::from_micros);
    let name = some_name();
    let json = moment.map(|moment| from_value(&Value::Timestamp(moment), &Context::new(&name)));
    let text = json.as_ref().and_then(|json| json["$timestamp"].as_str());
    text.map_or_else(|| micros.to_string(), String::from)
}

/// Times are read and written as in documents, where references name a database.
fn some_name() -> DatabaseName {
    DatabaseName::parse("p", DatabaseName::DEFAULT).expect("a letter is a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_versions_or_times() {
        let read = |text| moment(text).map(Version::micros).map_err(|exit| exit.message);
        assert_eq!(read("1767225600000001"), Ok(1_767_225_600_000_001));
        assert_eq!(read("2026-01-01T00:00:00.000001Z"), Ok(1_767_225_600_000_001));
        assert_eq!(read("2026-01-01T01:00:00+01:00"), Ok(1_767_225_600_000_000));
        assert!(read("yesterday").unwrap_err().contains("2026-01-31T10:00:00Z"));
        assert!(read("1969-12-31T00:00:00Z").is_err());
        assert_eq!(time(1_767_225_600_000_001), "2026-01-01T00:00:00.000001Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }
}
