//! What has changed in a result since a token, told in parts of bounded size.
//!
//! A difference holds steps, which are paths and positions, and no documents. Those of a part are read when it is asked
//! for, as they stood at the difference's version, so that a slow reader costs one part however much it has missed.

use std::fmt;
use std::sync::Arc;

use hearth_core::Version;
use hearth_core::query::Query;
use hearth_core::watch::{Event, EventChange, Kind};

use crate::feed::Feed;
use crate::outbox::{Inbox, SharedEvent, TargetId};
use crate::read::ReadError;
use crate::token::Token;

/// What has changed in a result from one version to another.
///
/// To be asked for its parts ([`crate::Database::part`]) until none is left. Whoever gives it up before ends its
/// listener, or the outbox of that: events of later versions wait until the last part was read.
pub struct Difference {
    query: Arc<Query>,
    token: Token,
    /// Steps of which no part was read.
    steps: std::vec::IntoIter<EventChange>,
    aggregates: Option<Vec<hearth_core::Value>>,
    /// How long the result is after the steps that were read.
    size_read: usize,
    /// How long the result is in the end.
    size: usize,
    /// How many parts were read.
    parts: u32,
    /// The part that was read ahead.
    ready: Option<Part>,
    /// The listener whose later events wait.
    gate: Option<(Arc<Inbox>, TargetId)>,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.steps.len();
        f.debug_struct("Difference").field("token", &self.token).field("left", &left).finish_non_exhaustive()
    }
}

/// A part of a difference.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its steps. Its `size` is the length of the result after them, and its token is good only of the last part.
    pub event: Arc<SharedEvent>,
    /// Counted from 1.
    pub number: u32,
    /// Whether nothing follows.
    pub last: bool,
}

impl Part {
    /// Whether the difference has no other part.
    pub fn is_whole(&self) -> bool {
        self.number == 1 && self.last
    }
}

impl Difference {
    /// The version up to which it tells.
    pub fn version(&self) -> Version {
        self.token.version
    }

    /// The query whose result changed.
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// Where a reader goes on who has heard all parts.
    pub fn token(&self) -> Token {
        self.token
    }

    /// How many documents the result has after all steps.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether all documents were read.
    pub(crate) fn is_read(&self) -> bool {
        self.parts > 0 && self.steps.as_slice().is_empty()
    }

    /// Has the later events of a listener wait for the last part.
    pub(crate) fn gate(&mut self, inbox: &Arc<Inbox>, target: TargetId) {
        self.gate = Some((inbox.clone(), target));
    }

    /// The part that was read ahead.
    pub(crate) fn take_ready(&mut self) -> Option<Part> {
        self.ready.take()
    }

    /// Itself, where something is left to be told.
    pub(crate) fn rest(self) -> Option<Self> {
        (!self.is_read() || self.ready.is_some()).then_some(self)
    }
}

impl Feed {
    /// A difference, its first part read: most have one only.
    ///
    /// `size_before` is the length of the result before it.
    pub(crate) fn begin_difference(
        &self,
        query: &Arc<Query>,
        event: Event,
        size_before: usize,
    ) -> Result<Difference, ReadError> {
        let Event { version, changes, size, aggregates } = event;
        let mut difference = Difference {
            query: query.clone(),
            token: self.token(query, version),
            steps: changes.into_iter(),
            aggregates,
            size_read: size_before,
            size,
            parts: 0,
            ready: None,
            gate: None,
        };
        difference.ready = Some(self.read_part(&mut difference)?);
        Ok(difference)
    }

    /// Reads the next part of a difference.
    pub(crate) fn read_part(&self, difference: &mut Difference) -> Result<Part, ReadError> {
        let limits = self.shared.limits.parts();
        let version = difference.version();
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let mut view = None;
        while changes.len() < limits.docs_max
            && bytes < limits.bytes_max
            && let Some(mut step) = difference.steps.next()
        {
            if step.kind != Kind::Removed {
                step.doc = view.get_or_insert_with(|| self.view_at(version)).document(&step.path)?;
                self.shared.metrics.documents_read.inc();
            }
            match step.kind {
                Kind::Added => difference.size_read += 1,
                Kind::Removed => difference.size_read -= 1,
                Kind::Modified => {}
            }
            bytes += SharedEvent::change_bytes(&step);
            changes.push(step);
        }
        // Looked at while the view still pins what was read: what had been removed before would be missing from it.
        let oldest = self.shared.history_start();
        if view.is_some() && version < oldest {
            return Err(ReadError::Forgotten { at: version, oldest });
        }
        difference.parts += 1;
        let last = difference.is_read();
        let size = if difference.aggregates.is_some() { difference.size } else { difference.size_read };
        let event = Event { version, changes, size, aggregates: difference.aggregates.clone() };
        let metrics = self.shared.metrics.clone();
        let event = Arc::new(SharedEvent::new(difference.query.clone(), difference.token, event, metrics));
        if last && let Some((inbox, target)) = difference.gate.take() {
            inbox.open(target, version);
        }
        Ok(Part { event, number: difference.parts, last })
    }

    /// All parts of a difference as one event, for those who need it whole.
    pub(crate) fn read_whole(&self, mut difference: Difference) -> Result<Arc<SharedEvent>, ReadError> {
        let mut changes = Vec::new();
        loop {
            let part = match difference.take_ready() {
                Some(part) => part,
                None => self.read_part(&mut difference)?,
            };
            if part.is_whole() {
                return Ok(part.event);
            }
            changes.extend_from_slice(&part.event.event.changes);
            if part.last {
                let event = Event { changes, ..part.event.event.clone() };
                let metrics = self.shared.metrics.clone();
                return Ok(Arc::new(SharedEvent::new(difference.query, difference.token, event, metrics)));
            }
        }
    }
}
