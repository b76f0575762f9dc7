//! The shell around a Listen session: it waits for whatever happens first, puts it in, and does what the session wants.
//!
//! The stream of responses is the loop: nothing is read or told while nobody takes them, so a slow client fills its
//! outbox, which is bounded, and catches up later. Dropping the stream ends everything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{Stream, StreamExt as _, future, stream};
use hearth_auth::Caller;
use hearth_core::watch::Kind;
use hearth_core::{DocPath, Query, Version};
use hearth_engine::{Database, Delivery, Opening, Outbox, SharedEvent, TargetId, Token};
use hearth_schema::v1;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::names;
use crate::service::Door;
use crate::session::{Input, Leaving, Left, Output, Session};
use crate::status::Refusal;

/// How often a stream on which nothing happens says so. Server SDKs drop one that is silent for 120 s.
const BEAT_EVERY: Duration = Duration::from_secs(30);

/// What a client asks, as it comes.
pub(crate) type Requests = BoxStream<'static, Result<Box<v1::ListenRequest>, Refusal>>;

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The responses to a stream of requests.
pub(crate) fn responses(
    door: Arc<Door>,
    caller: Caller,
    requests: Requests,
) -> impl Stream<Item = Result<v1::ListenResponse, Refusal>> + Send {
    stream::try_unfold(State::Fresh { door, caller, requests }, |state| async move {
        let mut link = match state {
            State::Open(link) => link,
            State::Fresh { door, caller, mut requests } => {
                let Some(first) = requests.next().await.transpose()? else { return Ok(None) };
                let database = door.database(&names::database(&first.database)?).await?;
                Box::new(Link::new(door, caller, database, requests, first))
            }
        };
        Ok(link.next().await?.map(|response| (response, State::Open(link))))
    })
}

enum State {
    Fresh { door: Arc<Door>, caller: Caller, requests: Requests },
    Open(Box<Link>),
}

/// One stream with all that it waits for.
struct Link {
    reader: Reader,
    door: Arc<Door>,
    session: Session,
    requests: Requests,
    outbox: Outbox,
    openings: FuturesUnordered<Waiting<Input>>,
    /// Everything up to a version being told.
    settling: Option<Waiting<Version>>,
    beat: Interval,
    expiry: Waiting<()>,
}

/// Reads for a caller.
#[derive(Clone)]
struct Reader {
    caller: Caller,
    database: Database,
}

/// What woke the loop.
enum Woken {
    Request(Option<Result<Box<v1::ListenRequest>, Refusal>>),
    Input(Input),
    Delivery(Delivery),
    Settled(Version),
    Beat,
    Expired,
}

impl Link {
    fn new(
        door: Arc<Door>,
        caller: Caller,
        database: Database,
        requests: Requests,
        first: Box<v1::ListenRequest>,
    ) -> Self {
        let mut session = Session::new(database.name().clone(), database.epoch(), door.bounds());
        session.input(Input::Request(first));
        let mut beat = interval_at(Instant::now() + BEAT_EVERY, BEAT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let expiry: Waiting<()> = match caller.expires_seconds() {
            Some(end) => {
                let left = Duration::from_secs(end.saturating_sub(door.now_seconds()));
                Box::pin(tokio::time::sleep(left))
            }
            None => Box::pin(future::pending()),
        };
        let outbox = Outbox::new(door.engine());
        let reader = Reader { caller, database };
        let openings = FuturesUnordered::new();
        Self { reader, door, session, requests, outbox, openings, settling: None, beat, expiry }
    }

    /// The next response; `None` when the client has nothing more to say.
    async fn next(&mut self) -> Result<Option<v1::ListenResponse>, Refusal> {
        loop {
            while let Some(output) = self.session.output() {
                match output {
                    Output::Send(response) => return Ok(Some(response)),
                    Output::End(refusal) => return Err(refusal),
                    Output::Open { target, query, since } => self.open(target, query, since),
                    Output::CatchUp(target) => {
                        let (reader, outbox) = (self.reader.clone(), self.outbox.clone());
                        self.openings.push(Box::pin(async move {
                            let opening = reader.database.catch_up(&outbox, target).await.map_err(Refusal::from);
                            reader.opened(target, opening).await
                        }));
                    }
                    Output::Close(target) => self.reader.database.unlisten(&self.outbox, target),
                    Output::Settle(version) => {
                        let (database, outbox) = (self.reader.database.clone(), self.outbox.clone());
                        self.settling = Some(Box::pin(async move {
                            database.passed(version).await;
                            outbox.settled(version).await;
                            version
                        }));
                    }
                }
            }
            match self.wait().await {
                Woken::Request(None) => return Ok(None),
                Woken::Request(Some(request)) => self.session.input(Input::Request(request?)),
                Woken::Input(input) => self.session.input(input),
                Woken::Delivery(delivery) => self.deliver(delivery).await,
                Woken::Settled(version) => {
                    self.settling = None;
                    while let Some(delivery) = self.outbox.try_next() {
                        self.deliver(delivery).await;
                    }
                    self.session.input(Input::Settled(version));
                }
                Woken::Beat => self.session.input(Input::Beat(self.reader.database.visible())),
                Woken::Expired => self.session.input(Input::Expired),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let settled = async {
            match &mut self.settling {
                Some(settling) => settling.await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            // Answers first: a client that asks without end does not starve them.
            biased;
            () = &mut self.expiry => Woken::Expired,
            Some(input) = self.openings.next() => Woken::Input(input),
            version = settled => Woken::Settled(version),
            delivery = self.outbox.next() => Woken::Delivery(delivery),
            request = self.requests.next() => Woken::Request(request),
            _ = self.beat.tick() => Woken::Beat,
        }
    }

    fn open(&mut self, target: TargetId, query: Arc<Query>, since: Option<Token>) {
        let (reader, outbox, door) = (self.reader.clone(), self.outbox.clone(), self.door.clone());
        self.openings.push(Box::pin(async move {
            let opening = reader.open(&door, &outbox, target, query, since).await;
            reader.opened(target, opening).await
        }));
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let input = match delivery {
            Delivery::Events { version, events } => {
                let left = self.reader.left(events.iter().map(|(_, event)| event), version).await;
                Input::Events { version, events, left }
            }
            Delivery::Lagged(target) => Input::Lagged(target),
            Delivery::Closing => Input::Closing,
        };
        self.session.input(input);
    }
}

impl Reader {
    async fn open(
        &self,
        door: &Door,
        outbox: &Outbox,
        target: TargetId,
        query: Arc<Query>,
        since: Option<Token>,
    ) -> Result<Opening, Refusal> {
        let query = self.database.authorize_query(&self.caller, query)?;
        door.newest(&self.database, &self.caller).await?;
        Ok(self.database.listen(query, outbox, target, since.as_ref()).await?)
    }

    async fn opened(&self, target: TargetId, opening: Result<Opening, Refusal>) -> Input {
        let left = match &opening {
            Ok(Opening::Since(event)) => self.left([event].into_iter(), event.event.version).await,
            Ok(Opening::Whole { .. }) | Err(_) => Left::new(),
        };
        Input::Opened(target, opening, left)
    }

    /// What became of documents that left results at a version.
    async fn left(&self, events: impl Iterator<Item = &Arc<SharedEvent>>, version: Version) -> Left {
        let changes = events.flat_map(|event| &event.event.changes);
        let paths: Vec<DocPath> =
            changes.filter(|change| change.kind == Kind::Removed).map(|change| change.path.clone()).collect();
        let mut left = Left::new();
        for path in paths {
            let leaving = self.leaving(&path, version).await;
            left.insert(path, leaving);
        }
        left
    }

    async fn leaving(&self, path: &DocPath, version: Version) -> Leaving {
        let Ok(authorized) = self.database.authorize_get(&self.caller, path.clone()) else { return Leaving::Hidden };
        match self.database.get(&authorized, Some(version)).await {
            Ok(got) => got.document.map_or(Leaving::Deleted, Leaving::Changed),
            // The client will look for itself.
            Err(_) => Leaving::Hidden,
        }
    }
}
