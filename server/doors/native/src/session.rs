//! One connection of a client, whichever link carries it: what it listens to, what it asked, and in which order it hears.
//!
//! It opens no socket, reads no clock and asks no engine: its shell does, and tells it what came of that.

mod ids;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_auth::Caller;
use hearth_core::Version;
use hearth_core::query::Query;
use hearth_engine::{CommitRequest, Difference, Token};
use serde_json::json;

use crate::frame::{self, ClientMessage, FrameError, Op, Rows, Secret, Telling};
use crate::problem::{Code, Problem};
use crate::query_json::Asked;
use crate::status::unauthenticated;
use ids::{IdRefusal, Ids};

/// The time, told with every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Time since some fixed moment; never goes back. For silence.
    pub(crate) elapsed: Duration,
    /// Seconds since 1970. For the end of a caller's authority.
    pub(crate) seconds: u64,
}

/// What one connection may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Listeners at one time.
    pub(crate) listeners_max: usize,
    /// Messages that are not answered yet; with as many, no more are read.
    pub(crate) messages_max: usize,
    /// Bytes of the messages that are not answered yet.
    pub(crate) messages_bytes_max: usize,
    /// Reads and openings of listeners that run at one time; others wait their turn.
    pub(crate) reads_max: usize,
    /// Bytes on their way to the client beyond which nothing more is read for it.
    pub(crate) queue_bytes_max: usize,
}

/// Whose task it is to find out that the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// The session asks for pings of the transport.
    Pings,
    /// The link sees to it in its own way.
    Link,
}

/// What the shell tells a session.
#[derive(Debug)]
pub(crate) enum Input {
    /// A message came, or something that is none.
    Message(Result<ClientMessage, FrameError>),
    /// The peer gave a sign of life that is no message.
    Heard,
    /// What became of an [`Ask`].
    Reply(Reply),
    /// What one commit means for listeners: the members of a `snapshot` message for each.
    Events { version: Version, events: Vec<(u64, Bytes)> },
    /// Events of this listener were dropped, since the client read too slowly.
    Lagged(u64),
    /// All events of a version named by [`Session::awaited`] have been told, and none is being worked out.
    Passed(Version),
    /// The server stops.
    Closing,
    /// Time passed.
    Tick,
}

/// What became of an [`Ask`], by the id of the message that it stems from.
#[derive(Debug)]
pub(crate) enum Reply {
    /// To [`Ask::Listen`] and [`Ask::CatchUp`].
    Opened { id: u64, opening: Result<Opening, Problem> },
    /// To [`Ask::Part`]: the members of the next `snapshot` message, and what is left then.
    Part { id: u64, outcome: Result<(Bytes, Option<Difference>), Problem> },
    /// To [`Ask::Get`].
    Read { id: u64, rows: Result<Rows, Problem> },
    /// To [`Ask::Commit`]: the commit's version and, as a JSON array, what each write did.
    Committed { id: u64, outcome: Result<(Version, Bytes), Problem> },
    /// To [`Ask::Auth`].
    Authed { id: u64, caller: Result<Caller, Problem> },
    /// To [`Ask::Recheck`].
    Rechecked { id: u64, outcome: Result<(), Problem> },
}

/// How a listener begins, or goes on after it lagged.
#[derive(Debug)]
pub(crate) enum Opening {
    /// The whole result. `reset` where a token was given that leads nowhere.
    Whole { rows: Rows, reset: bool },
    /// What changed since: the members of a `snapshot` message, and what is left where it comes in parts.
    Since { query: Arc<Query>, version: Version, members: Bytes, rest: Option<Difference> },
}

impl Opening {
    fn query(&self) -> &Arc<Query> {
        match self {
            Self::Whole { rows, .. } => rows.query(),
            Self::Since { query, .. } => query,
        }
    }

    fn version(&self) -> Version {
        match self {
            Self::Whole { rows, .. } => rows.version(),
            Self::Since { version, .. } => *version,
        }
    }
}

/// What a session wants of its shell. Asks are to be begun in their order; each but `Unlisten` gets one reply.
#[derive(Debug)]
pub(crate) enum Output {
    /// A message for the client. Those that come without a pause leave together.
    Send(Bytes),
    /// Find out whether the peer is there.
    Ping,
    /// Have the engine do this.
    Ask(Ask),
    /// End the connection, after what was sent before.
    Close(Close),
}

/// Something for the engine to do, with the authority in force.
#[derive(Debug)]
pub(crate) enum Ask {
    Listen {
        id: u64,
        caller: Caller,
        asked: Box<Asked>,
        since: Option<Token>,
    },
    CatchUp {
        id: u64,
        query: Arc<Query>,
    },
    /// The next part of a difference. Events of later versions come when the last was told.
    Part {
        id: u64,
        rest: Difference,
    },
    Unlisten {
        id: u64,
    },
    /// Whether this caller, too, may hear what a listener hears.
    Recheck {
        id: u64,
        caller: Caller,
        query: Arc<Query>,
    },
    Get {
        id: u64,
        caller: Caller,
        asked: Box<Asked>,
        at: Option<Version>,
    },
    Commit {
        id: u64,
        caller: Caller,
        commit: Box<CommitRequest>,
    },
    Auth {
        id: u64,
        token: Secret,
    },
}

/// Why a connection ends, as the client hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// A close code of `docs/links.md`.
    pub(crate) code: u16,
    /// For people; at most 123 bytes, which is what a close frame holds.
    pub(crate) reason: &'static str,
}

impl Close {
    /// Binary frames are not spoken here.
    pub(crate) const BINARY: u16 = 1003;
    /// Text frames hold UTF-8.
    pub(crate) const NOT_TEXT: u16 = 1007;
    /// The client does what cannot be answered.
    pub(crate) const REFUSED: u16 = 1008;
    /// A message was too big.
    pub(crate) const TOO_BIG: u16 = 1009;
    /// The server stops or restarts.
    pub(crate) const RESTART: u16 = 1012;
    /// The client reads too slowly, or the server is overloaded.
    pub(crate) const LATER: u16 = 1013;
    /// The token is not, or no longer, valid.
    pub(crate) const TOKEN: u16 = 4401;

    /// An end with a reason.
    pub(crate) const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// As links over HTTP tell it.
    pub(crate) fn to_json(self) -> serde_json::Value {
        json!({ "code": self.code, "reason": self.reason })
    }

    /// The end of a connection that has this problem.
    pub(crate) fn of(problem: &Problem) -> Self {
        match problem.code {
            Code::Unauthenticated => Self::new(Self::TOKEN, "the token was refused"),
            Code::Unavailable | Code::ResourceExhausted => Self::new(Self::LATER, "not now"),
            _ => Self::new(Self::REFUSED, "refused"),
        }
    }
}

/// One native connection. After each [`Session::input`], take what [`Session::output`] gives, and see to it that a
/// [`Input::Tick`] comes after [`Session::tick_after`].
#[derive(Debug)]
pub(crate) struct Session {
    limits: Limits,
    liveness: Liveness,
    closed: bool,
    caller: Caller,
    /// Whether the client knows that the authority is about to end.
    warned: bool,
    heard_at: Duration,
    pinged_at: Option<Duration>,
    ids: Ids,
    /// How many messages came; tells which of two came first.
    messages: u64,
    /// Messages that were not carried out yet, in their order.
    waiting: VecDeque<ClientMessage>,
    /// The `auth` that is being verified; what came after it waits.
    proving: Option<u64>,
    /// Messages that are not answered yet.
    under_way: BTreeMap<u64, UnderWay>,
    under_way_bytes: usize,
    /// Reads and openings that run; one whose parts are being told runs until the last.
    reads_running: usize,
    /// Listeners that wait for their turn to catch up.
    behind: VecDeque<u64>,
    /// Commits that the engine has not answered; reads that came after them wait, so that they see them.
    commits_running: usize,
    listeners: BTreeMap<u64, Listener>,
    /// Listeners that were ended while the engine was opening them: they are taken away when it has.
    leaving: BTreeSet<u64>,
    /// Commits that are durable and whose events are on their way.
    held: Vec<Held>,
    queue: VecDeque<Queued>,
    queue_bytes: usize,
}

#[derive(Debug)]
struct UnderWay {
    bytes: usize,
    /// When it came, among all messages.
    serial: u64,
}

#[derive(Debug)]
struct Listener {
    /// Known once it was opened.
    query: Option<Arc<Query>>,
    state: State,
    /// Whether another token came since the engine was asked to open it.
    recheck: bool,
    /// The version that the client was told last.
    told: Version,
    /// When its message came, among all messages.
    serial: u64,
}

/// How a listener stands with the engine.
#[derive(Debug)]
enum State {
    /// Its message waits to be carried out.
    Waiting,
    /// The engine works out where it begins.
    Opening(Early),
    /// It has missed something, and waits for its turn to be told.
    Behind,
    /// The engine works out what it missed.
    CatchingUp(Early),
    /// What it missed is being told in parts.
    Telling(Early),
    /// It hears events as they come.
    Current,
}

/// What came for a listener before the answer on which it builds.
#[derive(Debug, Default)]
struct Early {
    events: Vec<(Version, Bytes)>,
    /// The engine dropped something, so that it has to catch up afterwards.
    lagged: bool,
}

impl Early {
    /// Most events that are kept. The engine holds events back until it has answered, so a few are the most there are.
    const EVENTS_MAX: usize = 256;
}

/// The answer to a commit, until the client has seen what it did.
#[derive(Debug)]
struct Held {
    id: u64,
    version: Version,
    serial: u64,
    answer: Bytes,
    /// Listeners whose next snapshot may hold the commit.
    waits: BTreeSet<u64>,
    /// Listeners that were waited for once; not again, else a slow reader might never hear of its commit.
    waited: BTreeSet<u64>,
}

#[derive(Debug)]
enum Queued {
    Message(Bytes),
    /// Leaves only while the listener is there.
    Event(u64, Bytes),
    /// A whole answer; the first of a listener leaves only while that is there.
    Telling {
        listener: Option<u64>,
        telling: Telling,
    },
    Ping,
    Ask(Ask),
    Close(Close),
}

impl Queued {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) | Self::Event(_, message) => message.len(),
            Self::Telling { telling, .. } => telling.bytes(),
            Self::Ping | Self::Ask(_) | Self::Close(_) => 0,
        }
    }
}

impl Session {
    /// How long before the authority ends the client is told.
    pub(crate) const EXPIRING_SECONDS: u64 = 300;
    /// Silence after which the peer is asked for a sign of life, and how long it has for it.
    pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(20);

    /// A connection that speaks for `caller`.
    pub(crate) fn new(now: Now, caller: Caller, limits: Limits, liveness: Liveness) -> Self {
        Self {
            limits,
            liveness,
            closed: false,
            caller,
            warned: false,
            heard_at: now.elapsed,
            pinged_at: None,
            ids: Ids::default(),
            messages: 0,
            waiting: VecDeque::new(),
            proving: None,
            under_way: BTreeMap::new(),
            under_way_bytes: 0,
            reads_running: 0,
            behind: VecDeque::new(),
            commits_running: 0,
            listeners: BTreeMap::new(),
            leaving: BTreeSet::new(),
            held: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
        }
    }

    /// Whose authority is in force.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether messages of the client are to be left unread for now.
    pub(crate) fn is_full(&self) -> bool {
        self.under_way.len() >= self.limits.messages_max
            || self.under_way_bytes >= self.limits.messages_bytes_max
            || self.queue_bytes >= self.limits.queue_bytes_max
    }

    /// The versions of commits whose answer waits for the events of the same version.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = Version> + '_ {
        self.held.iter().filter(|held| held.waits.is_empty()).map(|held| held.version)
    }

    /// When the next tick is due, from `now` on.
    pub(crate) fn tick_after(&self, now: Now) -> Duration {
        let silence = match self.liveness {
            Liveness::Pings => {
                (self.pinged_at.unwrap_or(self.heard_at) + Self::SILENCE_MAX).saturating_sub(now.elapsed)
            }
            Liveness::Link => Self::SILENCE_MAX,
        };
        let authority = self.caller.expires_seconds().map(|end| {
            let moment = if self.warned { end } else { end.saturating_sub(Self::EXPIRING_SECONDS) };
            Duration::from_secs(moment.saturating_sub(now.seconds))
        });
        authority.map_or(silence, |authority| authority.min(silence))
    }

    /// Takes one input.
    pub(crate) fn input(&mut self, now: Now, input: Input) {
        // Authority first: what comes in the second in which it ends is not done any more.
        self.mind_authority(now);
        match input {
            _ if self.closed => {}
            Input::Message(Ok(message)) => {
                self.hear(now);
                self.take(message);
            }
            Input::Message(Err(error)) => {
                self.hear(now);
                self.refuse(error);
            }
            Input::Heard => self.hear(now),
            Input::Reply(Reply::Opened { id, opening: Ok(opening) }) => self.opened(id, opening),
            Input::Reply(Reply::Opened { id, opening: Err(problem) }) => self.not_opened(id, &problem),
            Input::Reply(Reply::Part { id, outcome: Ok((members, rest)) }) => self.part(id, &members, rest),
            Input::Reply(Reply::Part { id, outcome: Err(problem) }) => self.not_opened(id, &problem),
            Input::Reply(Reply::Read { id, rows }) => self.read(id, rows),
            Input::Reply(Reply::Committed { id, outcome }) => self.committed(id, outcome),
            Input::Reply(Reply::Authed { id, caller }) => self.authed(now, id, caller),
            Input::Reply(Reply::Rechecked { id, outcome }) => self.rechecked(id, outcome),
            Input::Events { version, events } => self.events(version, events),
            Input::Lagged(id) => self.lagged(id),
            Input::Passed(version) => self.passed(version),
            Input::Closing => self.end(None, Close::new(Close::RESTART, "restart")),
            Input::Tick => self.mind_silence(now),
        }
        self.carry_out();
    }

    /// The next thing to do, if there is one.
    pub(crate) fn output(&mut self) -> Option<Output> {
        loop {
            if self.queue.is_empty() {
                // Room in the queue may be what a read waited for.
                self.carry_out();
            }
            let queued = self.queue.pop_front()?;
            self.queue_bytes -= queued.bytes();
            match queued {
                Queued::Message(message) => return Some(Output::Send(message)),
                Queued::Event(id, message) if self.listeners.contains_key(&id) => return Some(Output::Send(message)),
                Queued::Event(..) => {}
                Queued::Telling { listener: Some(id), .. } if !self.listeners.contains_key(&id) => {}
                Queued::Telling { listener, mut telling } => {
                    let (part, last) = telling.next_part();
                    if !last {
                        self.queue_bytes += telling.bytes();
                        self.queue.push_front(Queued::Telling { listener, telling });
                    }
                    return Some(Output::Send(part));
                }
                Queued::Ask(Ask::Part { id, .. }) if !self.listeners.contains_key(&id) => {
                    self.reads_running = self.reads_running.saturating_sub(1);
                    self.leaving.remove(&id);
                    return Some(Output::Ask(Ask::Unlisten { id }));
                }
                Queued::Ping => return Some(Output::Ping),
                Queued::Ask(ask) => return Some(Output::Ask(ask)),
                Queued::Close(close) => return Some(Output::Close(close)),
            }
        }
    }

    // What the client says.

    fn take(&mut self, message: ClientMessage) {
        self.messages += 1;
        match &message.op {
            Op::Ping => return self.send(frame::pong()),
            // Even while a token is being verified: there is nothing in an unlisten that authority could change.
            Op::Unlisten => return self.forget(message.id),
            Op::Listen { .. } => {
                if !self.claim(message.id) {
                    return;
                }
                if self.listeners.len() + self.leaving.len() >= self.limits.listeners_max {
                    return self.send(frame::problem(message.id, &too_many_listeners(self.limits.listeners_max)));
                }
                let (query, state, told, serial) = (None, State::Waiting, Version::ZERO, self.messages);
                self.listeners.insert(message.id, Listener { query, state, recheck: false, told, serial });
            }
            Op::Get { .. } | Op::Commit(_) | Op::Auth { .. } => {
                if !self.claim(message.id) {
                    return;
                }
            }
        }
        self.under_way_bytes += message.bytes;
        self.under_way.insert(message.id, UnderWay { bytes: message.bytes, serial: self.messages });
        self.waiting.push_back(message);
    }

    /// Marks an id as used. An answer under an id that was used before would be taken for another's, so the client is
    /// told under id 0 and the connection ends.
    fn claim(&mut self, id: u64) -> bool {
        match self.ids.claim(id) {
            Ok(()) => true,
            Err(refusal) => {
                let problem = match refusal {
                    IdRefusal::Used => {
                        Problem::invalid(format!("the id {id} was used before on this connection")).at("/id")
                    }
                    IdRefusal::Scattered => {
                        Problem::invalid("the ids of this connection are too scattered; count upwards").at("/id")
                    }
                };
                self.end(Some(&problem), Close::new(Close::REFUSED, "an id was used twice"));
                false
            }
        }
    }

    fn refuse(&mut self, error: FrameError) {
        match error.id {
            Some(id) => {
                if self.claim(id) {
                    self.send(frame::problem(id, &error.problem));
                }
            }
            None => self.end(Some(&error.problem), Close::new(Close::REFUSED, "what came is no message")),
        }
    }

    /// Carries out what waits, in order, as far as it may be now.
    fn carry_out(&mut self) {
        // Before what is new, and whatever is being verified: these listeners were promised all there is.
        while !self.is_busy()
            && let Some(id) = self.behind.pop_front()
        {
            let Some(listener) = self.listeners.get_mut(&id) else { continue };
            let Some(query) = listener.query.clone() else { continue };
            listener.state = State::CatchingUp(Early::default());
            self.reads_running += 1;
            self.ask(Ask::CatchUp { id, query });
        }
        while !self.closed && self.proving.is_none() {
            let full = self.is_busy();
            let early = self.commits_running > 0;
            match self.waiting.front() {
                None => return,
                Some(ClientMessage { op: Op::Listen { .. } | Op::Get { .. }, .. }) if full || early => return,
                Some(_) => {}
            }
            let Some(ClientMessage { id, op, .. }) = self.waiting.pop_front() else { return };
            let caller = self.caller.clone();
            match op {
                Op::Listen { asked, since } => {
                    if let Some(listener) = self.listeners.get_mut(&id) {
                        listener.state = State::Opening(Early::default());
                    }
                    self.reads_running += 1;
                    self.ask(Ask::Listen { id, caller, asked, since });
                }
                Op::Get { asked, at } => {
                    self.reads_running += 1;
                    self.ask(Ask::Get { id, caller, asked, at });
                }
                Op::Commit(commit) => {
                    self.commits_running += 1;
                    self.ask(Ask::Commit { id, caller, commit });
                }
                Op::Auth { token } => {
                    self.proving = Some(id);
                    self.ask(Ask::Auth { id, token });
                }
                Op::Unlisten | Op::Ping => unreachable!("these never wait"),
            }
        }
    }

    /// Whether no further read is to be begun for now.
    fn is_busy(&self) -> bool {
        self.closed || self.reads_running >= self.limits.reads_max || self.queue_bytes >= self.limits.queue_bytes_max
    }

    /// Ends a listener without a word.
    fn forget(&mut self, id: u64) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        self.no_wait_for(id);
        match listener.state {
            State::Waiting => {
                self.waiting.retain(|message| message.id != id);
                self.finish(id);
            }
            State::Opening(_) | State::CatchingUp(_) | State::Telling(_) => {
                self.leaving.insert(id);
            }
            State::Behind => {
                self.behind.retain(|behind| *behind != id);
                self.ask(Ask::Unlisten { id });
            }
            State::Current => self.ask(Ask::Unlisten { id }),
        }
    }

    /// Ends a listener and says why.
    fn fail(&mut self, id: u64, problem: &Problem) {
        self.forget(id);
        self.send(frame::problem(id, problem));
    }

    /// A message is answered.
    fn finish(&mut self, id: u64) {
        if let Some(UnderWay { bytes, .. }) = self.under_way.remove(&id) {
            self.under_way_bytes -= bytes;
        }
    }

    // What the engine says.

    fn opened(&mut self, id: u64, opening: Opening) {
        self.finish(id);
        if self.leaves(id) {
            return;
        }
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let (again, early) = match std::mem::replace(&mut listener.state, State::Current) {
            State::Opening(early) => (false, early),
            State::CatchingUp(early) => (true, early),
            State::Waiting | State::Behind | State::Telling(_) | State::Current => {
                unreachable!("a reply comes only to what was asked")
            }
        };
        let (query, version) = (opening.query().clone(), opening.version());
        listener.query = Some(query.clone());
        if std::mem::take(&mut listener.recheck) {
            // Before the snapshot: if the listener ends, that is not sent either.
            let caller = self.caller.clone();
            self.push(Queued::Ask(Ask::Recheck { id, caller, query }));
        }
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        // A listener that caught up with nothing has been told all of it.
        let in_parts = matches!(opening, Opening::Since { rest: Some(_), .. });
        let tells = !again || version > listener.told || in_parts;
        listener.told = listener.told.max(version);
        match opening {
            _ if !tells => self.current(id, early),
            Opening::Whole { rows, reset } => {
                let telling = rows.into_event(id, again || reset);
                self.push(Queued::Telling { listener: Some(id), telling });
                self.current(id, early);
            }
            Opening::Since { members, rest, .. } => self.tell(id, &members, rest, early),
        }
    }

    /// A part of what a listener missed is there.
    fn part(&mut self, id: u64, members: &[u8], rest: Option<Difference>) {
        if self.leaves(id) {
            return;
        }
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let early = match std::mem::replace(&mut listener.state, State::Current) {
            State::Telling(early) => early,
            _ => unreachable!("a part comes only to who is being told in parts"),
        };
        self.tell(id, members, rest, early);
    }

    /// Tells a part. The next one is asked for when this one has left: that one is not read for a client that does not
    /// read.
    fn tell(&mut self, id: u64, members: &[u8], rest: Option<Difference>, early: Early) {
        self.push(Queued::Event(id, frame::snapshot(id, members)));
        match rest {
            None => self.current(id, early),
            Some(rest) => {
                if let Some(listener) = self.listeners.get_mut(&id) {
                    listener.state = State::Telling(early);
                }
                self.push(Queued::Ask(Ask::Part { id, rest }));
            }
        }
    }

    /// A listener has been told all that the engine was asked for.
    fn current(&mut self, id: u64, early: Early) {
        self.reads_running = self.reads_running.saturating_sub(1);
        for (version, members) in early.events {
            self.event(id, version, &members);
        }
        self.no_wait_for(id);
        if early.lagged {
            self.lagged(id);
        }
    }

    /// Whether a listener was ended while the engine was asked for it; then it is taken away there, too.
    fn leaves(&mut self, id: u64) -> bool {
        let leaves = self.leaving.remove(&id);
        if leaves {
            self.reads_running = self.reads_running.saturating_sub(1);
            self.ask(Ask::Unlisten { id });
        }
        leaves
    }

    fn not_opened(&mut self, id: u64, problem: &Problem) {
        self.finish(id);
        if self.leaves(id) {
            return;
        }
        self.reads_running = self.reads_running.saturating_sub(1);
        if is_temporary(problem) {
            // A problem would end the listener for good; after a new connection it takes up where it was.
            return self.end(Some(problem), Close::new(Close::LATER, "a listener cannot be served now"));
        }
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = State::Current;
            self.fail(id, problem);
        }
    }

    fn read(&mut self, id: u64, rows: Result<Rows, Problem>) {
        self.reads_running = self.reads_running.saturating_sub(1);
        self.finish(id);
        match rows {
            Ok(rows) => self.push(Queued::Telling { listener: None, telling: rows.into_result(id) }),
            Err(problem) => self.send(frame::problem(id, &problem)),
        }
    }

    fn committed(&mut self, id: u64, outcome: Result<(Version, Bytes), Problem>) {
        self.commits_running = self.commits_running.saturating_sub(1);
        match outcome {
            Ok((version, results)) => {
                let serial = self.under_way.get(&id).map_or(self.messages, |message| message.serial);
                let answer = frame::committed(id, version, &results);
                let (waits, waited) = (BTreeSet::new(), BTreeSet::new());
                self.held.push(Held { id, version, serial, answer, waits, waited });
            }
            Err(problem) => {
                self.finish(id);
                self.send(frame::problem(id, &problem));
            }
        }
    }

    fn passed(&mut self, version: Version) {
        let behind: Vec<(u64, u64)> = self
            .listeners
            .iter()
            .filter_map(|(id, listener)| match listener.state {
                // One that fell behind: whatever came after the commit, its next snapshot may hold it.
                State::Behind | State::CatchingUp(_) | State::Telling(_) => Some((*id, 0)),
                State::Waiting | State::Opening(_) => Some((*id, listener.serial)),
                State::Current => None,
            })
            .collect();
        let mut answered = Vec::new();
        for held in self.held.iter_mut().filter(|held| held.version == version && held.waits.is_empty()) {
            let before = behind.iter().filter(|(_, serial)| *serial < held.serial).map(|(id, _)| *id);
            held.waits = before.filter(|id| !held.waited.contains(id)).collect();
            if held.waits.is_empty() {
                answered.push(held.id);
            }
        }
        for id in answered {
            if let Some(at) = self.held.iter().position(|held| held.id == id) {
                let held = self.held.remove(at);
                self.finish(id);
                self.send(held.answer);
            }
        }
    }

    /// A listener has heard what it was behind with, or is gone: commits need not wait for it any more.
    fn no_wait_for(&mut self, id: u64) {
        for held in &mut self.held {
            if held.waits.remove(&id) {
                held.waited.insert(id);
            }
        }
    }

    fn authed(&mut self, now: Now, id: u64, caller: Result<Caller, Problem>) {
        self.proving = None;
        self.finish(id);
        match caller {
            Err(problem) => {
                self.send(frame::problem(id, &problem));
                self.close(Close::of(&problem));
            }
            Ok(caller) => {
                self.caller = caller;
                self.warned = false;
                self.send(frame::authed(id, &self.caller));
                self.mind_authority(now);
                if self.closed {
                    return;
                }
                // What was allowed to one need not be to another, nor to the same with new claims.
                let mut rechecks = Vec::new();
                for (id, listener) in &mut self.listeners {
                    match (&listener.state, &listener.query) {
                        (State::Waiting, _) => {}
                        (State::Opening(_), _) | (_, None) => listener.recheck = true,
                        (_, Some(query)) => rechecks.push((*id, query.clone())),
                    }
                }
                for (id, query) in rechecks {
                    self.ask(Ask::Recheck { id, caller: self.caller.clone(), query });
                }
            }
        }
    }

    fn rechecked(&mut self, id: u64, outcome: Result<(), Problem>) {
        if let Err(problem) = outcome
            && self.listeners.contains_key(&id)
        {
            self.fail(id, &problem);
        }
    }

    fn events(&mut self, version: Version, events: Vec<(u64, Bytes)>) {
        for (id, members) in events {
            match self.listeners.get_mut(&id).map(|listener| &mut listener.state) {
                Some(State::Opening(early) | State::CatchingUp(early) | State::Telling(early)) => {
                    // The engine thinks these told, so none may be dropped.
                    if early.events.len() >= Early::EVENTS_MAX {
                        return self.end(None, Close::new(Close::LATER, "overloaded"));
                    }
                    early.events.push((version, members));
                }
                Some(State::Behind | State::Current) => self.event(id, version, &members),
                Some(State::Waiting) | None => {}
            }
        }
    }

    /// Tells a listener of an event, unless it was told of that version already.
    fn event(&mut self, id: u64, version: Version, members: &[u8]) {
        if let Some(listener) = self.listeners.get_mut(&id)
            && version > listener.told
        {
            listener.told = version;
            self.push(Queued::Event(id, frame::snapshot(id, members)));
        }
    }

    fn lagged(&mut self, id: u64) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        match &mut listener.state {
            State::Opening(early) | State::CatchingUp(early) | State::Telling(early) => early.lagged = true,
            State::Current => {
                listener.state = State::Behind;
                self.behind.push_back(id);
            }
            State::Waiting | State::Behind => {}
        }
    }

    // Time.

    fn hear(&mut self, now: Now) {
        self.heard_at = now.elapsed;
        self.pinged_at = None;
    }

    fn mind_authority(&mut self, now: Now) {
        let Some(end) = self.caller.expires_seconds().filter(|_| !self.closed) else { return };
        if self.caller.is_expired(now.seconds) {
            // Without authority nothing leaves, whatever it is.
            self.queue.clear();
            let problem = unauthenticated("invalid_token", "the token has expired");
            self.end(Some(&problem), Close::new(Close::TOKEN, "the token has expired"));
        } else if !self.warned && now.seconds + Self::EXPIRING_SECONDS >= end {
            self.warned = true;
            self.send(frame::expiring(end));
        }
    }

    fn mind_silence(&mut self, now: Now) {
        // While nothing is read, a sign of life could not be seen.
        if self.liveness == Liveness::Link || self.is_full() {
            return self.hear(now);
        }
        match self.pinged_at {
            None if now.elapsed >= self.heard_at + Self::SILENCE_MAX => {
                self.pinged_at = Some(now.elapsed);
                self.push(Queued::Ping);
            }
            Some(pinged_at) if now.elapsed >= pinged_at + Self::SILENCE_MAX => {
                self.end(None, Close::new(Close::LATER, "no sign of life"));
            }
            _ => {}
        }
    }

    // How things leave.

    fn send(&mut self, message: Bytes) {
        self.push(Queued::Message(message));
    }

    fn ask(&mut self, ask: Ask) {
        self.push(Queued::Ask(ask));
    }

    fn push(&mut self, queued: Queued) {
        self.queue_bytes += queued.bytes();
        self.queue.push_back(queued);
    }

    /// Ends the connection now. Answers still leave, lest what was done be asked for again; listeners take up where
    /// they were.
    fn end(&mut self, problem: Option<&Problem>, close: Close) {
        self.queue.retain(|queued| matches!(queued, Queued::Message(_)));
        self.queue_bytes = self.queue.iter().map(Queued::bytes).sum();
        if let Some(problem) = problem {
            self.send(frame::problem(0, problem));
        }
        self.close(close);
    }

    /// Ends the connection after what is on its way.
    fn close(&mut self, close: Close) {
        self.push(Queued::Close(close));
        self.closed = true;
        self.waiting.clear();
        self.behind.clear();
    }
}

/// Whether the same may well work a little later.
fn is_temporary(problem: &Problem) -> bool {
    problem.code == Code::Unavailable
}

fn too_many_listeners(limit: usize) -> Problem {
    let detail = format!("this connection has {limit} listeners, which is the limit");
    let limit = json!({ "name": "listeners_per_connection_max", "value": limit });
    Problem::new(Code::ResourceExhausted, detail).with("limit", limit)
}
