//! Opening listeners and catching up: a result at a version, or what has changed since a token.
//!
//! All of this blocks (queries are run) and is called from threads that may.

use std::collections::HashMap;
use std::sync::Arc;

use hearth_core::query::{Query, Row, Rows};
use hearth_core::watch::{self, Event, Watch};
use hearth_core::{DocPath, Version};

use crate::difference::Difference;
use crate::feed::{Feed, spare};
use crate::index::EntryId;
use crate::outbox::{Inbox, SharedEvent, TargetId};
use crate::read::{Answer, Found, ReadError, Stored};
use crate::token::Token;
use crate::view::View;

/// How a listener begins, or goes on. Differences are whole, or come in parts as [`Difference`].
#[derive(Debug)]
pub enum Opening<D = Arc<SharedEvent>> {
    /// With the whole result.
    Whole {
        /// The result.
        answer: Answer,
        /// Whether a token was shown that could not be honoured: its database is gone, or its history is.
        reset: bool,
    },
    /// With what has changed since its token; maybe nothing.
    Since(D),
}

impl Opening {
    /// The version up to which it tells.
    pub fn version(&self) -> Version {
        match self {
            Self::Whole { answer, .. } => answer.version,
            Self::Since(event) => event.event.version,
        }
    }
}

impl Opening<Difference> {
    /// The version up to which it tells.
    pub fn version(&self) -> Version {
        match self {
            Self::Whole { answer, .. } => answer.version,
            Self::Since(difference) => difference.version(),
        }
    }
}

/// From where a listener begins.
enum Start {
    Whole { reset: bool },
    After(Version),
}

impl Feed {
    /// Begins to listen. The reader sees events of later versions after this has returned and, where it goes on with a
    /// difference, all parts of that were read.
    pub(crate) fn listen(
        self: &Arc<Self>,
        query: &Arc<Query>,
        inbox: &Arc<Inbox>,
        target: TargetId,
        since: Option<&Token>,
    ) -> Result<Opening<Difference>, ReadError> {
        let limit = self.shared.limits.listeners_per_connection_max;
        if inbox.listeners() >= limit {
            return Err(ReadError::TooManyListeners { limit });
        }
        inbox.add(target, query);
        self.open(query, inbox, target, since)
    }

    /// Catches a lagging listener up with what it has missed.
    pub(crate) fn catch_up(
        self: &Arc<Self>,
        inbox: &Arc<Inbox>,
        target: TargetId,
    ) -> Result<Opening<Difference>, ReadError> {
        let (query, told) = inbox.gate(target).ok_or(ReadError::Closed)?;
        let token = self.token(&query, told);
        self.open(&query, inbox, target, Some(&token))
    }

    fn open(
        self: &Arc<Self>,
        query: &Arc<Query>,
        inbox: &Arc<Inbox>,
        target: TargetId,
        since: Option<&Token>,
    ) -> Result<Opening<Difference>, ReadError> {
        let mut opened = self.begin(query, inbox, target, since);
        match &mut opened {
            // What comes meanwhile waits, bounded, until the reader has all parts.
            Ok(Opening::Since(difference)) if !difference.is_read() => difference.gate(inbox, target),
            Ok(opening) => inbox.open(target, opening.version()),
            Err(_) => self.unlisten(inbox, target),
        }
        opened
    }

    fn begin(
        self: &Arc<Self>,
        query: &Arc<Query>,
        inbox: &Arc<Inbox>,
        target: TargetId,
        since: Option<&Token>,
    ) -> Result<Opening<Difference>, ReadError> {
        let (id, is_new, view) = {
            let mut registry = self.registry();
            if registry.is_closed() {
                return Err(ReadError::Closed);
            }
            let (id, is_new) = registry.join(query, inbox, target);
            if let Some(token) = since
                && let Start::After(after) = self.start(query, Some(token))?
                && let Some(watch) = registry.live(id)
                && registry.unchanged(query, after)
                // Neither who asks nor the watch knows of a commit that is visible and not passed yet.
                && after.max(watch.version()) <= registry.passed()
            {
                let event = Event {
                    version: registry.passed(),
                    changes: Vec::new(),
                    size: watch.size(),
                    aggregates: watch.aggregates(),
                };
                let size = event.size;
                return Ok(Opening::Since(self.begin_difference(query, event, size)?));
            }
            // Every commit that is not passed yet will be, and what this view shows already is then left out.
            (id, is_new, self.shared.view())
        };
        let opened = self.fill(query, id, is_new, &view, since);
        match &opened {
            Err(_) if is_new => self.unfilled(id),
            // Somebody else has filled the watch at a later version, so it says nothing of the commits in between: they are
            // caught up from history.
            Ok(opening) if self.registry().filled_at(id) > Some(opening.version()) => inbox.lag(target),
            Ok(_) | Err(_) => {}
        }
        opened
    }

    /// Runs the query for a listener, and for its watch where that has no rows yet.
    fn fill(
        self: &Arc<Self>,
        query: &Arc<Query>,
        id: EntryId,
        is_new: bool,
        view: &View,
        since: Option<&Token>,
    ) -> Result<Opening<Difference>, ReadError> {
        let start = self.start(query, since)?;
        let found = self.find(query, &start, view, spare(query))?;
        // Whoever is done first fills the watch: nobody's later changes wait for another's slower answer.
        let rows = (is_new || self.registry().live(id).is_none()).then(|| found.rows.clone());
        let opening = self.tell_from(query, start, view, found)?;
        if let Some(rows) = rows {
            self.filled(id, Watch::new(query.clone(), view.version(), rows));
        }
        Ok(opening)
    }

    /// What has changed in a result since a token, or the whole result where that cannot be told.
    pub(crate) fn since(&self, query: &Arc<Query>, token: &Token) -> Result<Opening<Difference>, ReadError> {
        let start = self.start(query, Some(token))?;
        let view = self.shared.view();
        let found = self.find(query, &start, &view, 0)?;
        self.tell_from(query, start, &view, found)
    }

    /// Runs the query; documents are kept only where all of them are going to be told.
    fn find(&self, query: &Query, start: &Start, view: &View, spare: usize) -> Result<Found, ReadError> {
        match start {
            Start::Whole { .. } => self.budget.run(view, query, spare),
            Start::After(_) => self.budget.run_for_rows(view, query, spare),
        }
    }

    /// Whether a token can be honoured.
    fn start(&self, query: &Query, since: Option<&Token>) -> Result<Start, ReadError> {
        let Some(token) = since else { return Ok(Start::Whole { reset: false }) };
        if token.query != query.hash() {
            return Err(ReadError::ForeignToken);
        }
        let kept = token.version >= self.shared.history_start() && token.version <= self.shared.visible.version();
        if token.epoch == self.shared.lives.now().epoch && kept {
            return Ok(Start::After(token.version));
        }
        Ok(Start::Whole { reset: true })
    }

    fn tell_from(
        &self,
        query: &Arc<Query>,
        start: Start,
        view: &View,
        found: Found,
    ) -> Result<Opening<Difference>, ReadError> {
        match start {
            Start::Whole { reset } => {
                // Here and not where it is decided: an opening decides twice.
                if reset {
                    self.shared.metrics.resets.inc();
                }
                let answer = found.answer(query, self.token(query, view.version()))?;
                Ok(Opening::Whole { answer, reset })
            }
            Start::After(after) => self.difference(query, after, view, &found.rows),
        }
    }

    /// The steps from the result at `after` to the one that was found on `view`.
    fn difference(
        &self,
        query: &Arc<Query>,
        after: Version,
        view: &View,
        found: &Rows<Stored>,
    ) -> Result<Opening<Difference>, ReadError> {
        // What a token was given for was visible; a view that is older misses nothing of it.
        let then = self.view_at(after.min(view.version()));
        let now = found.window();
        let aggregates = found.tally().map(|tally| tally.values(query.aggregates()));
        let rows_then = if watch::can_rewind(query) { self.rows_then(query, &then, view)? } else { None };
        let earlier = match rows_then {
            Some(rows_then) => watch::rewind(query, now, &rows_then),
            None if aggregates.is_some() => Vec::new(),
            None => self.budget.run_for_rows(&then, query, 0)?.rows.window().to_vec(),
        };
        if then.version() < self.shared.history_start() {
            return Err(ReadError::Forgotten { at: then.version(), oldest: self.shared.history_start() });
        }
        let size = found.tally().map_or(now.len(), |tally| usize::try_from(tally.documents()).unwrap_or(usize::MAX));
        let version = view.version().max(after);
        let event = Event { version, changes: watch::diff(&earlier, now), size, aggregates };
        Ok(Opening::Since(self.begin_difference(query, event, earlier.len())?))
    }

    /// The documents of a query's source that differ between two views, with the rows that they had on the older one;
    /// `None` where there are too many to look at. Their content is let go at once: they may be large.
    fn rows_then(
        &self,
        query: &Query,
        then: &View,
        now: &View,
    ) -> Result<Option<HashMap<DocPath, Option<Row>>>, ReadError> {
        let docs_max = self.shared.limits.resume_changes_max;
        let Some(paths) = now.changed_since(then.version(), docs_max)? else { return Ok(None) };
        let mut rows = HashMap::new();
        for path in paths.into_iter().filter(|path| query.source().holds(path)) {
            let before = then.document(&path)?;
            self.shared.metrics.documents_read.inc();
            rows.insert(path, before.and_then(|document| query.row(&document)));
        }
        Ok(Some(rows))
    }
}
