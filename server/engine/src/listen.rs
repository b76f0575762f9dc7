//! Opening listeners and catching up: a result at a version, or what has changed since a token.
//!
//! All of this blocks (queries are run) and is called from threads that may.

use std::sync::Arc;

use hearth_core::query::{Query, Row, Rows};
use hearth_core::watch::{self, Event, Watch};
use hearth_core::{Change, Version};

use crate::feed::{Feed, spare};
use crate::index::EntryId;
use crate::outbox::{Inbox, SharedEvent, TargetId};
use crate::read::{Answer, Found, ReadError, Stored};
use crate::token::Token;
use crate::view::View;

/// How a listener begins, or goes on.
#[derive(Clone, Debug)]
pub enum Opening {
    /// With the whole result.
    Whole {
        /// The result.
        answer: Answer,
        /// Whether a token was shown that could not be honoured: its database is gone, or its history is.
        reset: bool,
    },
    /// With what has changed since its token; maybe nothing.
    Since(Arc<SharedEvent>),
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

/// From where a listener begins.
enum Start {
    Whole { reset: bool },
    After(Version),
}

impl Feed {
    /// Begins to listen. The reader sees events of later versions after this has returned.
    pub(crate) fn listen(
        self: &Arc<Self>,
        query: &Arc<Query>,
        inbox: &Arc<Inbox>,
        target: TargetId,
        since: Option<&Token>,
    ) -> Result<Opening, ReadError> {
        let limit = self.shared.limits.listeners_per_connection_max;
        if inbox.listeners() >= limit {
            return Err(ReadError::TooManyListeners { limit });
        }
        inbox.add(target, query);
        self.open(query, inbox, target, since)
    }

    /// Catches a lagging listener up with what it has missed.
    pub(crate) fn catch_up(self: &Arc<Self>, inbox: &Arc<Inbox>, target: TargetId) -> Result<Opening, ReadError> {
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
    ) -> Result<Opening, ReadError> {
        let opened = self.begin(query, inbox, target, since);
        match &opened {
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
    ) -> Result<Opening, ReadError> {
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
                return Ok(Opening::Since(self.share(query, event)));
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
    ) -> Result<Opening, ReadError> {
        let start = self.start(query, since)?;
        let found = self.budget.run(view, query, spare(query))?;
        // Whoever is done first fills the watch: nobody's later changes wait for another's slower answer.
        let rows = (is_new || self.registry().live(id).is_none()).then(|| found.rows.clone());
        let opening = self.tell_from(query, start, view, found)?;
        if let Some(rows) = rows {
            self.filled(id, Watch::new(query.clone(), view.version(), rows));
        }
        Ok(opening)
    }

    /// What has changed in a result since a token, or the whole result where that cannot be told.
    pub(crate) fn since(&self, query: &Arc<Query>, token: &Token) -> Result<Opening, ReadError> {
        let start = self.start(query, Some(token))?;
        let view = self.shared.view();
        let found = self.budget.run(&view, query, 0)?;
        self.tell_from(query, start, &view, found)
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

    fn tell_from(&self, query: &Arc<Query>, start: Start, view: &View, found: Found) -> Result<Opening, ReadError> {
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
    ) -> Result<Opening, ReadError> {
        // What a token was given for was visible; a view that is older misses nothing of it.
        let then = self.view_at(after.min(view.version()));
        let now: Vec<Row> = found.window().to_vec();
        let earlier = match self.changes_between(query, &then, view)? {
            Some(changes) => watch::rewind(query, &now, &changes),
            None => None,
        };
        let aggregates = found.tally().map(|tally| tally.values(query.aggregates()));
        let earlier = match earlier {
            Some(rows) => rows,
            None if aggregates.is_some() => Vec::new(),
            None => self.budget.run(&then, query, 0)?.rows.window().to_vec(),
        };
        if then.version() < self.shared.history_start() {
            return Err(ReadError::Forgotten { at: then.version(), oldest: self.shared.history_start() });
        }
        let size = found.tally().map_or(now.len(), |tally| usize::try_from(tally.documents()).unwrap_or(usize::MAX));
        let version = view.version().max(after);
        let mut event = Event { version, changes: watch::diff(&earlier, &now), size, aggregates };
        self.load(&mut event)?;
        Ok(Opening::Since(self.share(query, event)))
    }

    /// The documents of a query's source that differ between two views; `None` where there are too many to say.
    fn changes_between(&self, query: &Query, then: &View, now: &View) -> Result<Option<Vec<Change>>, ReadError> {
        let docs_max = self.shared.limits.resume_changes_max;
        let Some(paths) = now.changed_since(then.version(), docs_max)? else { return Ok(None) };
        let mut changes = Vec::new();
        for path in paths.into_iter().filter(|path| query.source().holds(path)) {
            let (before, after) = (then.document(&path)?, now.document(&path)?);
            self.shared.metrics.documents_read.inc_by(2);
            changes.push(Change { path, before, after });
        }
        Ok(Some(changes))
    }

    fn share(&self, query: &Arc<Query>, event: Event) -> Arc<SharedEvent> {
        let token = self.token(query, event.version);
        Arc::new(SharedEvent::new(query.clone(), token, event, self.shared.metrics.clone()))
    }
}
