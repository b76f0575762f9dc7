//! What each method does, whatever wire it came by: from a request's message to its answer's.
//!
//! gRPC, REST and WebChannel call these and add nothing but their framing. Streams stand in `session` and `writes`.

mod explain;
mod list;
mod query;
mod read;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use hearth_auth::{Caller, Gate, Mode, TokenError};
use hearth_core::{DatabaseName, DocPath, Version};
use hearth_engine::{Database, Engine, QueryRead, ids};
use hearth_schema::v1::{self, transaction_options};
use hearth_schema::well_known::Empty;
use hearth_schema::wkt;
use tokio::sync::watch;

pub(crate) use list::PageToken;
pub(crate) use write::Batch;

use crate::bounds::Bounds;
use crate::convert::version_from;
use crate::emulator::Ruleset;
use crate::names;
use crate::status::Refusal;
use crate::transaction::{Book, Kind, Manners, Number, Reads, Subject, Turn, What};

/// Turns what a request shows into its caller.
pub trait Authenticate: Send + Sync {
    /// The caller behind a credential; without one, [`Caller::Anonymous`].
    fn caller(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError>;
}

impl Authenticate for Gate {
    fn caller(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError> {
        self.admit(mode, credential, now_seconds)
    }
}

/// The answers of a streaming method, made one by one as they are sent. The first error is the last answer.
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Refusal>>;

/// Answers that are all there.
fn answers<T: Send + 'static>(all: impl IntoIterator<Item = T, IntoIter: Send + 'static>) -> Answers<T> {
    stream::iter(all.into_iter().map(Ok)).boxed()
}

/// Firestore's door. Shared by all its connections.
pub struct Door {
    engine: Engine,
    gate: Arc<dyn Authenticate>,
    mode: Mode,
    bounds: Bounds,
    rules: OnceLock<Ruleset>,
    stopping: watch::Sender<bool>,
    // Held for one look or note, never while anything is read or awaited.
    book: Mutex<Book>,
}

/// From when a request wants to read.
#[derive(Clone, Debug, Default)]
pub(crate) enum Consistency {
    /// Now.
    #[default]
    Newest,
    /// As this transaction sees it.
    Transaction(Vec<u8>),
    /// As a transaction sees it that begins with this request.
    New(v1::TransactionOptions),
    /// As it was then.
    At(wkt::Timestamp),
}

/// What a request reads from.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The version.
    pub(crate) at: Version,
    /// The transaction that has to remember what is read.
    pub(crate) noting: Option<Number>,
    /// The id of the transaction that the request began; empty where it began none.
    pub(crate) began: Vec<u8>,
}

impl Door {
    /// How long a reader waits for its turn before it reads anyway.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A door before the engine. `mode` is how much is believed of those for whom nothing else is said, `bounds` whose limits
    /// hold.
    pub fn new(engine: Engine, gate: Arc<dyn Authenticate>, mode: Mode, bounds: Bounds) -> Arc<Self> {
        let book = Mutex::new(Book::new(ids::random()));
        Arc::new(Self { engine, gate, mode, bounds, rules: OnceLock::new(), stopping: watch::Sender::new(false), book })
    }

    /// Tells the sessions of web pages that the server stops, so that they end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns when the door stops.
    pub(crate) async fn stopped(&self) {
        // An error means that the door is gone, which is as good as stopped.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How much is believed of those for whom nothing else is said.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Keeps the rules of a folder, once: those of every project that brings none of its own. Nobody asks them yet.
    pub fn keep_rules(&self, name: &str, content: &str) -> Result<(), Refusal> {
        let ruleset = Ruleset::of(name, content)?;
        // A second folder would change what the first has said.
        let _ = self.rules.set(ruleset);
        Ok(())
    }

    pub(crate) fn rules(&self) -> Option<&Ruleset> {
        self.rules.get()
    }

    /// Whose limits hold.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.engine.clock().elapsed()
    }

    pub(crate) fn now_seconds(&self) -> u64 {
        self.engine.clock().micros() / 1_000_000
    }

    /// The caller behind an `authorization` header.
    pub(crate) fn caller(&self, mode: Option<Mode>, header: Option<&str>) -> Result<Caller, Refusal> {
        let credential = header.map(hearth_auth::gate::credential).transpose()?;
        Ok(self.gate.caller(mode.unwrap_or(self.mode), credential, self.now_seconds())?)
    }

    /// Opens a database, on a thread that may block where it is not open yet.
    pub(crate) async fn database(&self, name: &DatabaseName) -> Result<Database, Refusal> {
        if self.mode == Mode::Dev {
            // The first project that a client names becomes the one that the native API means without a name.
            self.engine.claim_default_project(name.project());
        }
        let (engine, name) = (self.engine.clone(), name.clone());
        if engine.is_open(&name) {
            return Ok(engine.database(&name)?);
        }
        match tokio::task::spawn_blocking(move || engine.database(&name)).await {
            Ok(database) => Ok(database?),
            Err(_) => Err(Refusal::new(tonic::Code::Internal, "the database could not be opened")),
        }
    }

    /// The newest version of a database that clients can be told.
    ///
    /// A database in which nothing was ever committed stands at version zero, which web clients take for "never"; then time
    /// is let pass in it first.
    pub(crate) async fn newest(&self, database: &Database, caller: &Caller) -> Result<Version, Refusal> {
        let visible = database.visible();
        if visible > Version::ZERO {
            return Ok(visible);
        }
        let clock = Version::from_micros(self.engine.clock().micros());
        self.readable(database, caller, clock).await?;
        Ok(database.visible())
    }

    /// The version of a time that a request wants to read at. One from before all that is sure to be kept is refused, also
    /// where nothing has been forgotten yet, or nothing was there: as in Firestore, for clients are to meet it at once. What
    /// was not changed since, however long ago, is as it is now, and that time is handed out as the time of reads.
    fn version_at(&self, database: &Database, time: wkt::Timestamp) -> Result<Version, Refusal> {
        let version = version_from(time)?;
        let kept = u64::try_from(self.engine.history().as_micros()).unwrap_or(u64::MAX);
        let oldest = Version::from_micros(self.engine.clock().micros().saturating_sub(kept));
        let newest = database.visible();
        match version < oldest && (version < newest || newest == Version::ZERO) {
            true => Err(Refusal::too_old(&format!("history is kept for {} s", kept / 1_000_000))),
            false => Ok(version),
        }
    }

    /// A version, if it can be read: it has come, and is not forgotten.
    async fn readable(&self, database: &Database, caller: &Caller, at: Version) -> Result<Version, Refusal> {
        let any = DocPath::parse("a/a").expect("two short ids make a path");
        database.get(&database.authorize_get(caller, any)?, Some(at)).await?;
        Ok(at)
    }

    // ---- transactions

    /// `BeginTransaction`.
    pub(crate) async fn begin_transaction(
        &self,
        caller: &Caller,
        request: v1::BeginTransactionRequest,
    ) -> Result<v1::BeginTransactionResponse, Refusal> {
        let database = self.database(&names::database(&request.database)?).await?;
        let (_, transaction) = self.begin(caller, &database, request.options.unwrap_or_default()).await?;
        Ok(v1::BeginTransactionResponse { transaction })
    }

    /// `Rollback`. One that is over already is as good as rolled back.
    pub(crate) async fn rollback(&self, caller: &Caller, request: v1::RollbackRequest) -> Result<Empty, Refusal> {
        use crate::status::TransactionError;
        let name = names::database(&request.database)?;
        let mut book = self.book();
        match book.find(self.now(), &request.transaction, &name, &caller.scope()) {
            Ok(number) => {
                let transaction = book.take(number)?;
                book.release(number, &transaction);
            }
            Err(TransactionError::Over | TransactionError::Lost) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Empty {})
    }

    async fn begin(
        &self,
        caller: &Caller,
        database: &Database,
        options: v1::TransactionOptions,
    ) -> Result<(Number, Vec<u8>), Refusal> {
        use transaction_options::{ConcurrencyMode, Mode, read_only::ConsistencySelector};
        // The id of the attempt before this one.
        let mut attempt = Vec::new();
        let kind = match options.mode {
            Some(Mode::ReadOnly(read_only)) => Kind::ReadOnly(match read_only.consistency_selector {
                Some(ConsistencySelector::ReadTime(time)) => {
                    self.readable(database, caller, self.version_at(database, time)?).await?
                }
                None => self.newest(database, caller).await?,
            }),
            mode => {
                let concurrency = match &mode {
                    Some(Mode::ReadWrite(read_write)) => {
                        attempt.clone_from(&read_write.retry_transaction);
                        read_write.concurrency_mode
                    }
                    _ => 0,
                };
                let manners = match ConcurrencyMode::try_from(concurrency).unwrap_or_default() {
                    ConcurrencyMode::Unspecified => Manners::WhereContended,
                    ConcurrencyMode::Optimistic => Manners::Never,
                    ConcurrencyMode::Pessimistic => Manners::Always,
                };
                Kind::ReadWrite(Reads { manners, ..Reads::default() })
            }
        };
        let scope = caller.scope();
        Ok(self.book().begin(self.now(), ids::random(), database.name(), scope, kind, &attempt)?)
    }

    /// Settles what a request reads from. `whats` is what it is about to read.
    async fn snapshot(
        &self,
        caller: &Caller,
        database: &Database,
        consistency: Consistency,
        whats: impl IntoIterator<Item = What>,
    ) -> Result<Snapshot, Refusal> {
        let (number, began) = match consistency {
            Consistency::Newest => {
                let at = self.newest(database, caller).await?;
                return Ok(Snapshot { at, noting: None, began: Vec::new() });
            }
            Consistency::At(time) => {
                return Ok(Snapshot { at: self.version_at(database, time)?, noting: None, began: Vec::new() });
            }
            Consistency::Transaction(id) => {
                (self.book().find(self.now(), &id, database.name(), &caller.scope())?, Vec::new())
            }
            Consistency::New(options) => self.begin(caller, database, options).await?,
        };
        let read_only = match &self.book().get(number)?.kind {
            Kind::ReadOnly(at) => Some(*at),
            Kind::ReadWrite(_) => None,
        };
        if let Some(at) = read_only {
            return Ok(Snapshot { at, noting: None, began });
        }
        let waited = self.take_turns(number, database.name(), whats).await;
        let newest = self.newest(database, caller).await?;
        let seen = match &mut self.book().get(number)?.kind {
            Kind::ReadWrite(reads) => match reads.at {
                // Who waited sees what it waited for, if what it saw before is still so.
                Some(at) if waited && reads.queries.is_empty() => Some((at, reads.documents.clone())),
                Some(at) => return Ok(Snapshot { at, noting: Some(number), began }),
                None => {
                    reads.at = Some(newest);
                    None
                }
            },
            Kind::ReadOnly(at) => return Ok(Snapshot { at: *at, noting: None, began }),
        };
        let at = match seen {
            None => newest,
            Some((at, documents)) => {
                let mut is_same = true;
                for (path, updated) in documents {
                    let got = database.get(&database.authorize_get(caller, path)?, Some(newest)).await?;
                    is_same &= got.document.map(|document| document.updated) == updated;
                }
                let at = if is_same { newest } else { at };
                if let Kind::ReadWrite(reads) = &mut self.book().get(number)?.kind {
                    reads.at = Some(at);
                }
                at
            }
        };
        Ok(Snapshot { at, noting: Some(number), began })
    }

    /// Waits until a transaction may have what it wants to read; says whether it had to wait.
    async fn take_turns(&self, number: Number, database: &DatabaseName, whats: impl IntoIterator<Item = What>) -> bool {
        let mut subjects: Vec<Subject> =
            whats.into_iter().map(|what| Subject { database: database.clone(), what }).collect();
        // In one order for all, so that two do not wait for each other.
        subjects.sort_unstable();
        let (start, mut waited) = (self.now(), false);
        for subject in subjects {
            let mut place = InLine { door: self, number, subject: &subject, waits: false };
            loop {
                let now = self.now();
                let turn = self.book().turn(now, number, &subject);
                place.waits = matches!(turn, Turn::After(..));
                match turn {
                    Turn::After(at_most, bell) if now.saturating_sub(start) < Self::PATIENCE => {
                        waited = true;
                        // Rung or not: it is asked again. A ring before the wait is not lost.
                        let _ = tokio::time::timeout(at_most, bell.notified()).await;
                    }
                    Turn::After(..) | Turn::Now => break,
                }
            }
        }
        waited
    }

    fn note_document(&self, snapshot: &Snapshot, path: DocPath, updated: Option<Version>) {
        if let Some(number) = snapshot.noting
            && let Ok(transaction) = self.book().get(number)
            && let Kind::ReadWrite(reads) = &mut transaction.kind
        {
            reads.documents.insert(path, updated);
        }
    }

    fn note_query(&self, snapshot: &Snapshot, read: QueryRead) {
        if let Some(number) = snapshot.noting
            && let Ok(transaction) = self.book().get(number)
            && let Kind::ReadWrite(reads) = &mut transaction.kind
        {
            reads.queries.push(read);
        }
    }
}

/// A place in a line, given up when whoever waits goes away.
struct InLine<'a> {
    door: &'a Door,
    number: Number,
    subject: &'a Subject,
    waits: bool,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.door.book().leave(self.number, self.subject);
        }
    }
}
