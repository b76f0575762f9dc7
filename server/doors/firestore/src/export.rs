//! Exports as Firebase's emulator and the cloud write them: read, and written so that these read them.
//!
//! An export holds one database at one version. It is written beside where it is to stand and put there in one step, so that
//! whatever happens the one before it is there, or the new one, and never a half.

mod entity;
mod folder;
mod log;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use hearth_auth::Caller;
use hearth_core::query::Source;
use hearth_core::{DocPath, Query, QuerySpec};
use hearth_engine::{Database, ReadError};
use serde_json::{Value as Json, json};

pub use entity::Exported;
pub use folder::Documents;

use self::folder::Writing;

/// The file in which Firebase's tools note which emulator has put what into a folder.
const FIREBASE_FILE: &str = "firebase-export-metadata.json";
/// What they call the export of Firestore. Source: firebase-tools, `HubExport`.
const FIREBASE_NAME: &str = "firestore_export";

/// Why an export cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: {detail}", path = path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("{folder} holds no export of Firestore: neither {FIREBASE_FILE} nor a file that ends in .overall_export_metadata is there", folder = folder.display())]
    None { folder: PathBuf },
    #[error("{name:?} is no name of an export: it is that of a folder")]
    Name { name: String },
    #[error("{path} is there and no export; it is not replaced: name another, or move it away", path = path.display())]
    Occupied { path: PathBuf },
    #[error("{path} cannot be exported: {error}")]
    Document { path: DocPath, error: String },
    #[error("the database cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the export was given up: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

impl ExportError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }

    fn damaged(path: &Path, detail: &(impl ToString + ?Sized)) -> Self {
        Self::Damaged { path: path.into(), detail: detail.to_string() }
    }
}

/// Opens the export that lies in a folder: one of Firebase's tools, or that of Firestore by itself. Blocks.
pub fn open(folder: &Path) -> Result<Documents, ExportError> {
    let noted = folder.join(FIREBASE_FILE);
    let overall = match noted.exists() {
        true => {
            let text = fs::read_to_string(&noted).map_err(|error| ExportError::io(&noted, error))?;
            let json: Json = serde_json::from_str(&text).map_err(|error| ExportError::damaged(&noted, &error))?;
            match json.get("firestore").map(|firestore| &firestore["metadata_file"]) {
                // Other emulators have exported, and Firestore's has not.
                None => return Err(ExportError::None { folder: folder.into() }),
                Some(Json::String(file)) => folder::beside(&noted, file)?,
                Some(_) => {
                    return Err(ExportError::damaged(
                        &noted,
                        "firestore.metadata_file: the name of a file is expected",
                    ));
                }
            }
        }
        false => alone(folder)?,
    };
    Ok(Documents::new(folder::outputs(&overall)?))
}

/// The export of Firestore by itself, as `gcloud firestore export` leaves it.
fn alone(folder: &Path) -> Result<PathBuf, ExportError> {
    let failed = |error| ExportError::io(folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(folder::OVERALL)) {
            return Ok(path);
        }
    }
    Err(ExportError::None { folder: folder.into() })
}

/// Exports a database as it is now to `folder/name`, in place of an earlier export. Answers how many documents it holds.
pub async fn write(database: &Database, folder: &Path, name: &str) -> Result<u64, ExportError> {
    let at = database.visible();
    let query =
        Query::build(QuerySpec::all(Source::Below(None))).expect("a query without conditions has none to refuse");
    let query = database.authorize_query(&Caller::Admin, query.into()).expect("an admin may read everything");
    let mut pages = database.pages(&query, at);
    let (to, named) = (folder.to_owned(), name.to_owned());
    let mut writing = tokio::task::spawn_blocking(move || Writing::begin(&to, &named)).await??;
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        let name = database.name().clone();
        let appending = tokio::task::spawn_blocking(move || writing.append(&name, &page).map(|()| writing));
        writing = appending.await??;
    }
    tokio::task::spawn_blocking(move || writing.finish(at)).await?
}

/// Exports a database to a folder as Firebase's tools do, beside what other emulators have put there.
pub async fn write_for_firebase(database: &Database, folder: &Path) -> Result<u64, ExportError> {
    fs::create_dir_all(folder).map_err(|error| ExportError::io(folder, error))?;
    let noted = folder.join(FIREBASE_FILE);
    let mut json = match fs::read_to_string(&noted) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| ExportError::damaged(&noted, &error))?,
        Err(error) if error.kind() == ErrorKind::NotFound => json!({}),
        Err(error) => return Err(ExportError::io(&noted, error)),
    };
    let Json::Object(members) = &mut json else {
        return Err(ExportError::damaged(&noted, "an object is expected"));
    };
    let count = write(database, folder, FIREBASE_NAME).await?;
    let version = env!("CARGO_PKG_VERSION");
    members.entry("version").or_insert_with(|| version.into());
    let file = format!("{FIREBASE_NAME}/{FIREBASE_NAME}{}", folder::OVERALL);
    members.insert("firestore".into(), json!({ "version": version, "path": FIREBASE_NAME, "metadata_file": file }));
    let beside = folder.join(format!(".{FIREBASE_FILE}.new"));
    folder::write_synced(&beside, format!("{json:#}\n").as_bytes())?;
    fs::rename(&beside, &noted).map_err(|error| ExportError::io(&noted, error))?;
    Ok(count)
}

/// Reads what a file of records may hold, for fuzzing: what is read is written as something that reads as the same.
pub(crate) fn read_records(bytes: &[u8]) {
    let check = |record: &[u8]| {
        if let Ok(read) = entity::decode(record) {
            let again =
                entity::encode(&read.database, &read.path, &read.fields).expect("a short document is a short record");
            assert_eq!(entity::decode(&again).as_ref(), Ok(&read));
        }
    };
    check(bytes);
    let mut records = log::Reader::new(bytes);
    while let Ok(Some(record)) = records.next() {
        check(&record);
    }
}
