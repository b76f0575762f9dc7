//! The change feed: every commit in its order, read out of history page by page.

use std::sync::Arc;

use hearth_auth::Caller;
use hearth_core::change::{Change, Commit};
use hearth_core::{Version, keys, size};

use super::Database;
use crate::authorize::{Act, Authorized, Denied};
use crate::feed::Feed;
use crate::keyspace::Keyspace;
use crate::read::ReadError;
use crate::view::{StateError, View};

/// A page of the change feed ends with the commit that takes it over so many bytes, as document sizes are counted: what
/// was and what is.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// The right to hear every commit.
#[derive(Clone, Copy, Debug)]
pub struct FeedAccess;

/// A part of the change feed.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// Commits that changed documents, oldest first.
    pub commits: Vec<Arc<Commit>>,
    /// Everything up to this version has been told.
    pub version: Version,
    /// Whether commits before these are no longer kept: the reader has missed some.
    pub reset: bool,
}

impl Database {
    /// Asks whether a caller may hear every commit.
    pub fn authorize_feed(&self, caller: &Caller) -> Result<Authorized<FeedAccess>, Denied> {
        self.inner.access.authorize(caller, Act::Administer, FeedAccess)
    }

    /// Commits after a version, oldest first: at least one where there is one, and about `changes_max` changes.
    pub async fn feed(
        &self,
        _access: &Authorized<FeedAccess>,
        after: Version,
        changes_max: usize,
    ) -> Result<FeedPage, ReadError> {
        let inner = self.inner.clone();
        self.blocking(move || {
            // Held while it is read: what a commit changed is looked up at the version before.
            let (view, from, _held) = loop {
                let view = inner.shared.view();
                let from = after.max(inner.shared.history_start()).min(view.version());
                let held = inner.shared.view_at(from);
                if inner.shared.history_start() <= from {
                    break (view, from, held);
                }
            };
            read_feed(&inner.feed, &view, from, changes_max, after < from)
        })
        .await
    }

    /// Returns when something newer than `version` can be read.
    pub async fn committed_after(&self, version: Version) {
        self.inner.shared.visible.above(version).await;
    }
}

fn read_feed(feed: &Feed, view: &View, after: Version, changes_max: usize, reset: bool) -> Result<FeedPage, ReadError> {
    let version_of = |key: &[u8]| Keyspace::change_version(key).unwrap_or_default();
    let mut entries = view.change_entries(after);
    let mut next = entries.next()?;
    let (mut commits, mut count, mut bytes, mut told) = (Vec::new(), 0, 0, view.version());
    while let Some(version) = next.as_ref().map(|(key, _)| version_of(key)) {
        let (then, now) = (feed.view_at(Version::from_micros(version.micros() - 1)), feed.view_at(version));
        let mut changes = Vec::new();
        while let Some((_, doc_key)) = next.take_if(|(key, _)| version_of(key) == version) {
            let path = keys::decode_doc(&doc_key).map_err(StateError::from)?;
            let change = Change { before: then.document(&path)?, after: now.document(&path)?, path };
            let sides = [&change.before, &change.after].into_iter().flatten();
            bytes += sides.map(|document| size::document_bytes(&document.path, &document.fields)).sum::<usize>();
            count += 1;
            changes.push(change);
            next = entries.next()?;
        }
        commits.push(Arc::new(Commit { version, changes }));
        if next.is_some() && (count >= changes_max || bytes >= PAGE_BYTES_MAX) {
            told = version;
            break;
        }
    }
    Ok(FeedPage { commits, version: told, reset })
}
