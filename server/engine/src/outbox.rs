//! The outbox of one connection: events that wait for it, bounded, one delivery per version.
//!
//! Events of one commit become visible to the reader together. Where something of a version is still being worked out
//! (a limit window that is read again), the outbox holds that version and all above it back. A reader that is too
//! slow loses its queue: the targets concerned lag, and catch up from history when it reads again.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Poll;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hearth_core::query::Query;
use hearth_core::watch::{Event, EventChange};
use hearth_core::{Version, size};
use tokio::sync::Notify;

use crate::Engine;
use crate::feed::Feed;
use crate::metrics::{EncodedAs, Format, Metrics};
use crate::token::Token;

/// A listener's number, chosen by the connection and its own there.
pub type TargetId = u64;

/// An event with everything that is the same for all who hear it, its encodings included.
#[derive(Debug)]
pub struct SharedEvent {
    /// The query that the event is of.
    pub query: Arc<Query>,
    /// Where a listener that has heard this event goes on.
    pub token: Token,
    /// The event; added and modified documents are present.
    pub event: Event,
    weight: usize,
    encoded: [OnceLock<Bytes>; Format::COUNT],
    metrics: Arc<Metrics>,
}

impl SharedEvent {
    /// Bytes that an event takes up beside its documents, about.
    const CHANGE_BYTES: usize = 64;

    /// Bytes that a change takes up, about.
    pub(crate) fn change_bytes(change: &EventChange) -> usize {
        let document = change.doc.as_ref().map_or(0, |doc| size::document_bytes(&doc.path, &doc.fields));
        document + change.path.as_str().len() + Self::CHANGE_BYTES
    }

    pub(crate) fn new(query: Arc<Query>, token: Token, event: Event, metrics: Arc<Metrics>) -> Self {
        let weight = Self::CHANGE_BYTES + event.changes.iter().map(Self::change_bytes).sum::<usize>();
        Self { query, token, event, weight, encoded: Default::default(), metrics }
    }

    /// The event in a wire format, encoded at most once whoever asks.
    pub fn encoded(&self, format: Format, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let slot = &self.encoded[format as usize];
        slot.get_or_init(|| {
            self.metrics.events_encoded.get_or_create(&EncodedAs { format }).inc();
            encode(self)
        })
        .clone()
    }

    /// Bytes that the event takes up, about: what an outbox counts.
    pub fn weight(&self) -> usize {
        self.weight
    }
}

/// What a connection hears next.
#[derive(Debug)]
pub enum Delivery {
    /// All events of one commit for this connection: to be written together.
    Events {
        /// The commit.
        version: Version,
        /// Which listener hears what.
        events: Vec<(TargetId, Arc<SharedEvent>)>,
    },
    /// What waited for this listener was dropped, since the reader was slow. To be caught up.
    Lagged(TargetId),
    /// The server stops, or the database is gone: the connection is to be closed.
    Closing,
}

/// The events of one connection. Dropping the last clone ends its listeners.
#[derive(Clone)]
pub struct Outbox {
    handle: Arc<Handle>,
}

struct Handle {
    inbox: Arc<Inbox>,
    /// Where each listener is registered.
    feeds: Mutex<HashMap<TargetId, Weak<Feed>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let feeds = std::mem::take(&mut *self.feeds.lock().unwrap_or_else(PoisonError::into_inner));
        for (target, feed) in feeds {
            if let Some(feed) = feed.upgrade() {
                feed.unlisten(&self.inbox, target);
            }
        }
        self.inbox.clear();
    }
}

impl Outbox {
    /// An outbox without listeners.
    pub fn new(engine: &Engine) -> Self {
        Self::bounded(engine.limits().outbox_bytes_max, engine.metrics_shared())
    }

    pub(crate) fn bounded(bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        let inbox =
            Inbox { bytes_max, metrics, inside: Mutex::default(), reader: AtomicWaker::new(), released: Notify::new() };
        Self { handle: Arc::new(Handle { inbox: Arc::new(inbox), feeds: Mutex::default() }) }
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.handle.inbox
    }

    pub(crate) fn register(&self, target: TargetId, feed: Weak<Feed>) {
        self.handle.feeds.lock().unwrap_or_else(PoisonError::into_inner).insert(target, feed);
    }

    pub(crate) fn deregister(&self, target: TargetId) {
        self.handle.feeds.lock().unwrap_or_else(PoisonError::into_inner).remove(&target);
    }

    /// What comes next; waits for it. Nothing is lost when the wait is given up. An outbox has one reader: only the last
    /// that waits is woken.
    pub async fn next(&self) -> Delivery {
        poll_fn(|cx| {
            // Registered before the look, so that what comes in between is not missed.
            self.handle.inbox.reader.register(cx.waker());
            self.try_next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// What comes next, if it is there.
    pub fn try_next(&self) -> Option<Delivery> {
        self.handle.inbox.take()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.handle.inbox.inside().bytes
    }

    /// Returns when nothing of `version` or below is being worked out any more, see [`Outbox::holds`].
    pub async fn settled(&self, version: Version) {
        loop {
            // Registered before the look, so that a release in between is not missed.
            let released = self.handle.inbox.released.notified();
            if !self.holds(version) {
                return;
            }
            released.await;
        }
    }

    /// Whether something of `version` or below is still being worked out. The reply to one's own commit at that version
    /// is to wait until it is not, and until [`Outbox::try_next`] has nothing.
    pub fn holds(&self, version: Version) -> bool {
        self.handle.inbox.inside().holds.first().is_some_and(|(held, _)| *held <= version)
    }
}

/// The side of an outbox that the feed puts into.
pub(crate) struct Inbox {
    bytes_max: usize,
    metrics: Arc<Metrics>,
    // Held to move events in or out, never while anything is read or encoded.
    inside: Mutex<Inside>,
    reader: AtomicWaker,
    released: Notify,
}

/// Events of one version that wait.
type Waiting = Vec<(TargetId, Arc<SharedEvent>)>;

#[derive(Default)]
struct Inside {
    /// By version, rising. Lists and not maps: they are short, and keep their memory from one event to the next.
    queue: VecDeque<(Version, Waiting)>,
    /// How often each version is held, by version, rising.
    holds: Vec<(Version, usize)>,
    targets: HashMap<TargetId, Target>,
    lagged: VecDeque<TargetId>,
    bytes: usize,
    closing: bool,
}

struct Target {
    query: Arc<Query>,
    /// Up to which version the reader has been told.
    told: Version,
    stage: Stage,
}

impl Inside {
    fn hold(&mut self, version: Version) {
        match self.holds.binary_search_by_key(&version, |(held, _)| *held) {
            Ok(at) => self.holds[at].1 += 1,
            Err(at) => self.holds.insert(at, (version, 1)),
        }
    }

    fn enqueue(&mut self, version: Version, event: (TargetId, Arc<SharedEvent>)) {
        // Versions come in their order, but for what was worked out late.
        let at = self.queue.iter().rposition(|(waiting, _)| *waiting <= version);
        match at.map(|at| (at, &mut self.queue[at])) {
            Some((_, (waiting, events))) if *waiting == version => events.push(event),
            Some((at, _)) => self.queue.insert(at + 1, (version, vec![event])),
            None => self.queue.push_front((version, vec![event])),
        }
    }
}

/// Where a listener stands.
enum Stage {
    /// Its first answer, or its catching up, is being worked out: events wait.
    Gated,
    /// The same, and what waited was dropped: it lags as soon as it is opened.
    GatedAndDropped,
    /// Events go into the queue.
    Open,
    /// Its queue was dropped: events are, too, until it catches up.
    Lagging,
}

impl Stage {
    fn is_gated(&self) -> bool {
        matches!(self, Self::Gated | Self::GatedAndDropped)
    }
}

impl Inbox {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a listener, gated.
    pub(crate) fn add(&self, target: TargetId, query: &Arc<Query>) {
        let state = Target { query: query.clone(), told: Version::ZERO, stage: Stage::Gated };
        self.inside().targets.insert(target, state);
    }

    /// Gates a listener that lags, and says what it listens to and up to which version its reader has been told.
    pub(crate) fn gate(&self, target: TargetId) -> Option<(Arc<Query>, Version)> {
        let mut inside = self.inside();
        inside.lagged.retain(|lagged| *lagged != target);
        let target = inside.targets.get_mut(&target)?;
        target.stage = Stage::Gated;
        Some((target.query.clone(), target.told))
    }

    /// How many listeners there are.
    pub(crate) fn listeners(&self) -> usize {
        self.inside().targets.len()
    }

    /// Opens a listener whose reader is now told everything up to `version`.
    pub(crate) fn open(&self, target: TargetId, version: Version) {
        let mut inside = self.inside();
        let inside = &mut *inside;
        if let Some(state) = inside.targets.get_mut(&target) {
            state.told = version;
            match state.stage {
                Stage::GatedAndDropped => {
                    state.stage = Stage::Lagging;
                    inside.lagged.push_back(target);
                }
                Stage::Gated | Stage::Open | Stage::Lagging => state.stage = Stage::Open,
            }
        }
        self.reader.wake();
    }

    /// Forgets a listener and what waits for it.
    pub(crate) fn close(&self, target: TargetId) {
        let mut inside = self.inside();
        inside.targets.remove(&target);
        inside.lagged.retain(|lagged| *lagged != target);
        self.drop_events(&mut inside, |of| of == target);
    }

    fn clear(&self) {
        let mut inside = self.inside();
        inside.targets.clear();
        self.drop_events(&mut inside, |_| true);
    }

    fn drop_events(&self, inside: &mut Inside, unwanted: impl Fn(TargetId) -> bool) {
        let mut freed = 0;
        inside.queue.retain_mut(|(_, events)| {
            events.retain(|(target, event)| {
                let drops = unwanted(*target);
                freed += if drops { event.weight } else { 0 };
                !drops
            });
            !events.is_empty()
        });
        inside.bytes -= freed;
        self.metrics.outbox_bytes.dec_by(freed as i64);
    }

    /// Puts an event in and holds its version back, which is to be released once all events of the version are in.
    pub(crate) fn put_held(&self, version: Version, target: TargetId, event: &Arc<SharedEvent>) {
        let mut inside = self.inside();
        inside.hold(version);
        match inside.targets.get(&target) {
            None => return,
            Some(Target { stage: Stage::Lagging | Stage::GatedAndDropped, .. }) => return,
            Some(Target { told, .. }) if *told >= version => return,
            Some(_) => {}
        }
        inside.enqueue(version, (target, event.clone()));
        inside.bytes += event.weight;
        self.metrics.outbox_bytes.inc_by(event.weight as i64);
        if inside.bytes > self.bytes_max {
            self.overflow(&mut inside);
        }
    }

    /// Drops everything that waits; its listeners lag.
    fn overflow(&self, inside: &mut Inside) {
        let mut dropped: Vec<TargetId> =
            inside.queue.iter().flat_map(|(_, events)| events).map(|(target, _)| *target).collect();
        dropped.sort_unstable();
        dropped.dedup();
        self.drop_events(inside, |_| true);
        for id in dropped {
            let Some(target) = inside.targets.get_mut(&id) else { continue };
            self.metrics.lags.inc();
            if matches!(target.stage, Stage::Gated | Stage::GatedAndDropped) {
                target.stage = Stage::GatedAndDropped;
            } else {
                target.stage = Stage::Lagging;
                inside.lagged.push_back(id);
            }
        }
    }

    /// Makes a listener catch up: what it listens to has to be begun anew.
    pub(crate) fn lag(&self, target: TargetId) {
        let mut inside = self.inside();
        self.drop_events(&mut inside, |of| of == target);
        let inside = &mut *inside;
        if let Some(state) = inside.targets.get_mut(&target) {
            match state.stage {
                Stage::Open => {
                    state.stage = Stage::Lagging;
                    inside.lagged.push_back(target);
                }
                Stage::Gated | Stage::GatedAndDropped => state.stage = Stage::GatedAndDropped,
                Stage::Lagging => {}
            }
        }
        self.reader.wake();
    }

    /// Holds back `version` and all above it.
    pub(crate) fn hold(&self, version: Version) {
        self.inside().hold(version);
    }

    /// Takes one hold of `version` away, and wakes the reader when it was the last.
    pub(crate) fn release(&self, version: Version) {
        {
            let holds = &mut self.inside().holds;
            if let Ok(at) = holds.binary_search_by_key(&version, |(held, _)| *held) {
                holds[at].1 -= 1;
                if holds[at].1 > 0 {
                    return;
                }
                holds.remove(at);
            }
        }
        self.released.notify_waiters();
        self.reader.wake();
    }

    /// Tells the reader to close.
    pub(crate) fn shut(&self) {
        self.inside().closing = true;
        self.reader.wake();
    }

    fn take(&self) -> Option<Delivery> {
        let mut inside = self.inside();
        let inside = &mut *inside;
        if let Some(target) = inside.lagged.pop_front() {
            return Some(Delivery::Lagged(target));
        }
        let hold = inside.holds.first().map_or(Version::MAX, |(version, _)| *version);
        let mut at = 0;
        while let Some((version, waiting)) = inside.queue.get_mut(at).filter(|(version, _)| *version < hold) {
            let version = *version;
            let targets = &inside.targets;
            let gated = |target: &TargetId| targets.get(target).is_some_and(|target| target.stage.is_gated());
            let mut events: Vec<_> = match waiting.iter().any(|(target, _)| gated(target)) {
                false => std::mem::take(waiting),
                true => waiting.extract_if(.., |(target, _)| !gated(target)).collect(),
            };
            if waiting.is_empty() {
                inside.queue.remove(at);
            } else {
                at += 1;
            }
            let freed: usize = events.iter().map(|(_, event)| event.weight).sum();
            inside.bytes -= freed;
            self.metrics.outbox_bytes.dec_by(freed as i64);
            // What a listener's first answer already told, it is not told again.
            events.retain(|(target, _)| match inside.targets.get_mut(target) {
                Some(target) if target.told < version => {
                    target.told = version;
                    true
                }
                _ => false,
            });
            if !events.is_empty() {
                return Some(Delivery::Events { version, events });
            }
        }
        inside.closing.then_some(Delivery::Closing)
    }
}
