//! What deletes the documents whose time has come: one task for each open database.
//!
//! It looks at all documents of the groups once, and from then on at what commits change. It sleeps until the next one goes, and
//! while there are no policies it does nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hearth_core::codec::Record;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{DocPath, Timestamp, Value, Version, keys};
use hearth_store::Blob;
use tokio::sync::watch;

use super::TtlPolicy;
use super::schedule::{Expiry, Schedule};
use crate::database::{Database, WeakDatabase};
use crate::keyspace::PAST;
use crate::request::{CommitError, CommitRequest};
use crate::view::{StateError, View};
use crate::writer::Shared;

/// Documents whose times are known at once, for one database.
const DOCS_MAX: usize = 20_000;
/// Documents that are deleted at once, each by a commit of its own: one that was changed meanwhile keeps none of the others.
const DELETED_AT_ONCE_MAX: usize = 64;
/// Changed documents that are looked at one by one; with more, all are looked at again.
const CHANGED_MAX: usize = 100_000;
/// How long it sleeps at most: a wall clock may be set ahead meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How long it waits when documents can be neither read nor deleted.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Sweeper {
    /// Not held while it sleeps: a database that nobody uses may be closed.
    database: WeakDatabase,
    shared: Arc<Shared>,
    policies: watch::Receiver<Arc<[TtlPolicy]>>,
}

/// What is known of a database.
struct Known {
    schedule: Schedule,
    /// As of when; none where nothing is known.
    upto: Option<Version>,
}

/// What comes next.
enum Next {
    /// Sleep as long, unless something is committed.
    Sleep(Duration),
    /// Nothing can be done right now.
    Retry,
    /// The database is closed.
    End,
}

impl Known {
    fn nothing() -> Self {
        Self { schedule: Schedule::new(DOCS_MAX), upto: None }
    }

    /// Looks at what was changed, or at everything.
    fn bring_up(&mut self, shared: &Shared, policies: &[TtlPolicy]) -> Result<(), StateError> {
        let view = shared.view();
        let changed = match self.upto {
            Some(upto) if !self.schedule.is_used_up(now(shared)) => {
                // Held while it is read: what lies above it is not removed.
                let _held = shared.view_at(upto);
                match shared.history_start() <= upto {
                    true => view.changed_since(upto, CHANGED_MAX)?,
                    false => None,
                }
            }
            Some(_) | None => None,
        };
        match changed {
            Some(paths) => {
                for path in paths {
                    let Some(policy) = policies.iter().find(|policy| policy.group.as_str() == path.collection_id())
                    else {
                        continue;
                    };
                    let record = view.live_record(&keys::doc(&path))?;
                    let goes = record.map(|record| goes(&record, policy)).transpose()?.flatten();
                    self.schedule.tell(path, goes);
                }
            }
            None => {
                self.schedule = Schedule::new(DOCS_MAX);
                policies.iter().try_for_each(|policy| self.look_at_all(&view, policy))?;
            }
        }
        self.upto = Some(view.version());
        Ok(())
    }

    fn look_at_all(&mut self, view: &View, policy: &TtlPolicy) -> Result<(), StateError> {
        let prefix = keys::group(policy.group.as_str());
        let mut entries = view.group_keys(&prefix, &[prefix.as_slice(), &[PAST]].concat());
        while let Some((key, _)) = entries.next()? {
            let doc_key = View::group_doc_key(&key, prefix.len());
            let Some(record) = view.live_record(doc_key)? else { continue };
            if let Some(goes) = goes(&record, policy)? {
                self.schedule.tell(keys::decode_doc(doc_key)?, Some(goes));
            }
        }
        Ok(())
    }
}

/// When a document goes, and which commit said so.
fn goes(record: &Blob, policy: &TtlPolicy) -> Result<Option<(Timestamp, Version)>, StateError> {
    let Record::Document(document) = Record::read(record)? else { return Ok(None) };
    Ok(match document.get(&policy.field)? {
        Some(Value::Timestamp(at)) => Some((at, document.updated())),
        Some(_) | None => None,
    })
}

fn now(shared: &Shared) -> Timestamp {
    i64::try_from(shared.time.micros()).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::MAX)
}

impl Sweeper {
    pub(super) fn new(database: &Database, policies: watch::Receiver<Arc<[TtlPolicy]>>) -> Self {
        Self { database: database.downgrade(), shared: database.shared().clone(), policies }
    }

    /// Runs until the database closes.
    pub(super) async fn run(mut self) {
        let mut known = Known::nothing();
        let mut failed_before = false;
        let mut meant: Arc<[TtlPolicy]> = Arc::default();
        loop {
            let policies = self.policies.borrow_and_update().clone();
            if policies != meant {
                // Other documents than before are meant. Seen here, for what wakes it may also be a commit of the same moment.
                known = Known::nothing();
                meant = policies.clone();
            }
            if policies.is_empty() {
                match self.policies.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            let (brought, next) = self.round(known, &policies, failed_before).await;
            known = brought;
            failed_before = matches!(next, Next::Retry);
            let (sleep, is_awake) = match next {
                Next::Sleep(sleep) => (sleep, true),
                Next::Retry => (RETRY, false),
                Next::End => return,
            };
            let upto = known.upto.unwrap_or_default();
            tokio::select! {
                changed = self.policies.changed() => if changed.is_err() {
                    return;
                },
                () = self.shared.visible.above(upto), if is_awake => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Deletes all that is due.
    async fn round(&self, mut known: Known, policies: &Arc<[TtlPolicy]>, failed_before: bool) -> (Known, Next) {
        let Some(database) = WeakDatabase::upgrade(&self.database) else { return (known, Next::End) };
        loop {
            let (shared, meant) = (self.shared.clone(), policies.clone());
            let brought = database.blocking(move || {
                known.bring_up(&shared, &meant)?;
                Ok(known)
            });
            known = match brought.await {
                Ok(known) => known,
                Err(error) => {
                    if !failed_before {
                        tracing::warn!(name = %database.name(), %error, "what expires cannot be looked for; trying on");
                    }
                    return (Known::nothing(), Next::Retry);
                }
            };
            let due = known.schedule.take_due(now(&self.shared), DELETED_AT_ONCE_MAX);
            if due.is_empty() {
                let wait = known.schedule.next().map(|at| at.micros().saturating_sub(now(&self.shared).micros()));
                // Something may be due by now.
                let wait = wait.map(|micros| Duration::from_micros(micros.try_into().unwrap_or(0)));
                return (known, Next::Sleep(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)));
            }
            let commits = join_all(due.iter().map(|expiry| expire(&database, expiry))).await;
            let mut failure = None;
            for (expiry, commit) in due.into_iter().zip(commits) {
                match commit {
                    Ok(()) => self.shared.metrics.documents_expired.inc(),
                    // It was changed or deleted meanwhile: what became of it is among the changes that are read next.
                    Err(CommitError::Refused(_)) => continue,
                    Err(CommitError::Closed) => return (known, Next::End),
                    Err(error) => {
                        known.schedule.tell(expiry.path, Some((expiry.at, expiry.updated)));
                        failure = Some(error);
                        continue;
                    }
                };
            }
            if let Some(error) = failure {
                if !failed_before {
                    tracing::warn!(name = %database.name(), %error, "what has expired cannot be deleted; trying on");
                }
                return (known, Next::Retry);
            }
        }
    }
}

/// Deletes a document, if it is what it was.
async fn expire(database: &Database, expiry: &Expiry) -> Result<(), CommitError> {
    let write = delete(expiry.path.clone(), expiry.updated);
    let request = CommitRequest { writes: vec![write], ..CommitRequest::default() };
    database.commit_as_engine(request).await
}

fn delete(path: DocPath, updated: Version) -> Write {
    Write::build(path, Operation::Delete, Precondition::Updated(updated), Vec::new())
        .expect("a delete without more has its shape")
}
