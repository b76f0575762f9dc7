//! What is backed up: the databases of a running server, or of a data directory that no server uses.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use axum::http::Method;
use bytes::Bytes;
use hearth_auth::Caller;
use hearth_core::{DatabaseName, Version};
use hearth_engine::{BackupError, BackupPoint, CopyError, Database, Engine, LogPart};
use hearth_store::DatabaseId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::args::BackupArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::open;
use crate::place::{Connection, Refused, Spot, spot};

/// Where the data are that are backed up.
pub(super) enum Source {
    Server { server: Box<Connection>, base: String },
    Directory { engine: Engine, served: bool },
}

/// What there is.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) hearth: String,
    pub(super) served: bool,
    pub(super) default_project: Option<String>,
    pub(super) databases: Vec<DatabaseName>,
}

/// Why something was not copied.
pub(super) enum NotCopied {
    /// It is no longer there, or never was: another way may be found.
    Gone(String),
    /// There is no way.
    Failed(Exit),
}

impl From<Exit> for NotCopied {
    fn from(exit: Exit) -> Self {
        Self::Failed(exit)
    }
}

impl From<Refused> for NotCopied {
    fn from(refused: Refused) -> Self {
        match refused.code.as_str() {
            "not-found" | "out-of-range" | "failed-precondition" => Self::Gone(refused.detail),
            _ => Self::Failed(Exit::failed(refused.detail)),
        }
    }
}

impl From<BackupError> for NotCopied {
    fn from(error: BackupError) -> Self {
        match &error {
            BackupError::NoSnapshot { .. }
            | BackupError::Log(CopyError::Dropped { .. } | CopyError::Foreign { .. }) => Self::Gone(error.to_string()),
            BackupError::InMemory
            | BackupError::NoSuchPart { .. }
            | BackupError::Log(CopyError::Log(_) | CopyError::Write(_))
            | BackupError::Snapshots(_)
            | BackupError::Closed => Self::Failed(Exit::failed(error)),
        }
    }
}

impl Source {
    pub(super) async fn open(args: &BackupArgs, settings: &Settings) -> Result<Self, Exit> {
        match spot(args.server.as_deref(), args.data.as_deref(), settings).await? {
            Spot::Server(url, text) => {
                let server = Connection::open(&url, args.token.as_ref(), settings).await;
                let server = server.map_err(|error| Exit::failed(format!("the server at {text}: {error}")))?;
                Ok(Self::Server { server: Box::new(server), base: url.base().into() })
            }
            Spot::Directory => {
                let folder = &settings.data;
                if !open::is_there(folder) {
                    let folder = folder.display();
                    return Err(Exit::start(format!(
                        "{folder} is no data directory; name one with --data, or a server with --server"
                    )));
                }
                Ok(Self::Directory { engine: open::for_tools(folder, settings)?, served: open::was_served(folder) })
            }
        }
    }

    /// Which databases there are.
    pub(super) async fn list(&mut self) -> Result<Listing, Exit> {
        match self {
            Self::Server { server, base } => {
                let answer = server.ask(Method::GET, &format!("{base}/backup"), Bytes::new()).await;
                let answer = answer.map_err(Exit::failed)?;
                let name =
                    |json: &Json| DatabaseName::parse(json["project"].as_str()?, json["database"].as_str()?).ok();
                let databases = answer["databases"].as_array().and_then(|all| all.iter().map(name).collect());
                Ok(Listing {
                    hearth: answer["version"].as_str().unwrap_or_default().into(),
                    served: answer["served"].as_bool().unwrap_or(true),
                    default_project: answer["default_project"].as_str().map(String::from),
                    databases: databases.ok_or_else(strange)?,
                })
            }
            Self::Directory { engine, served } => Ok(Listing {
                hearth: env!("CARGO_PKG_VERSION").into(),
                served: *served,
                default_project: engine.default_project(),
                databases: engine.database_names(),
            }),
        }
    }

    /// Up to where a database can be copied.
    pub(super) async fn point(&mut self, name: &DatabaseName) -> Result<BackupPoint, Exit> {
        match self {
            Self::Server { server, base } => {
                let answer =
                    server.ask(Method::GET, &path(base, name, ""), Bytes::new()).await.map_err(Exit::failed)?;
                let version = |json: &Json| Some(Version::from_micros(json["version"].as_str()?.parse().ok()?));
                let snapshot = |json: &Json| Some((version(json)?, json["bytes"].as_u64()?));
                let snapshots = answer["snapshots"].as_array().and_then(|all| all.iter().map(snapshot).collect());
                Ok(BackupPoint {
                    id: answer["id"].as_str().and_then(DatabaseId::parse).ok_or_else(strange)?,
                    version: version(&answer).ok_or_else(strange)?,
                    snapshots: snapshots.ok_or_else(strange)?,
                })
            }
            Self::Directory { engine, .. } => {
                let database = open_database(engine, name).await?;
                let access = database.authorize_backup(&Caller::Admin).map_err(Exit::failed)?;
                database.backup_point(&access).await.map_err(Exit::failed)
            }
        }
    }

    /// Copies a snapshot into a file.
    pub(super) async fn snapshot(&mut self, name: &DatabaseName, at: Version, file: &Path) -> Result<(), NotCopied> {
        match self {
            Self::Server { server, base } => {
                Ok(server.download(&path(base, name, &format!("/snapshot?version={at}")), file).await?)
            }
            Self::Directory { engine, .. } => {
                let database = open_database(engine, name).await?;
                let access = database.authorize_backup(&Caller::Admin).map_err(Exit::failed)?;
                let file = file.to_path_buf();
                blocking(move || {
                    let mut from = database.backup_snapshot(&access, at)?.file;
                    let copied = std::fs::File::create(&file).and_then(|mut to| std::io::copy(&mut from, &mut to));
                    copied.map(drop).map_err(|error| NotCopied::from(Exit::failed(error)))
                })
                .await
            }
        }
    }

    /// Copies a part of the log into a file.
    pub(super) async fn log(&mut self, name: &DatabaseName, part: LogPart, file: &Path) -> Result<(), NotCopied> {
        match self {
            Self::Server { server, base } => {
                let LogPart { after, upto, segment } = part;
                let query = format!("/log?after={after}&upto={upto}&segment={segment}");
                Ok(server.download(&path(base, name, &query), file).await?)
            }
            Self::Directory { engine, .. } => {
                let database = open_database(engine, name).await?;
                let access = database.authorize_backup(&Caller::Admin).map_err(Exit::failed)?;
                let file = file.to_path_buf();
                blocking(move || {
                    let copy = database.backup_log(&access, part)?;
                    let mut to = BufWriter::new(std::fs::File::create(&file).map_err(Exit::failed)?);
                    copy.write_to(&mut to).map_err(BackupError::from)?;
                    Ok(to.flush().map_err(Exit::failed)?)
                })
                .await
            }
        }
    }

    pub(super) async fn close(self) -> Result<(), Exit> {
        match self {
            Self::Server { .. } => Ok(()),
            Self::Directory { engine, .. } => {
                tokio::task::spawn_blocking(move || engine.close()).await.map_err(Exit::failed)
            }
        }
    }
}

fn path(base: &str, name: &DatabaseName, rest: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let database = match name.database() {
        DatabaseName::DEFAULT => String::new(),
        other => format!("@{}", encode(other)),
    };
    format!("{base}/p/{}/backup{database}{rest}", encode(name.project()))
}

fn strange() -> Exit {
    Exit::failed("the server's answer makes no sense: is it a hearth that can be backed up, and not an older one?")
}

async fn open_database(engine: &Engine, name: &DatabaseName) -> Result<Database, Exit> {
    let (engine, name) = (engine.clone(), name.clone());
    let opened = tokio::task::spawn_blocking(move || engine.database(&name)).await.map_err(Exit::start)?;
    opened.map_err(Exit::start)
}

async fn blocking(work: impl FnOnce() -> Result<(), NotCopied> + Send + 'static) -> Result<(), NotCopied> {
    tokio::task::spawn_blocking(work).await.map_err(Exit::failed)?
}
