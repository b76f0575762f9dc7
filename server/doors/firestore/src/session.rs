//! The Listen stream as a state machine: it opens no socket, reads no clock, runs no query.
//!
//! After each [`Session::input`], call [`Session::output`] until it returns `None`.
//!
//! A client shows its app nothing until a *global snapshot*: a target change without targets, with a time. One at T
//! promises every change up to T of all targets of the stream. So documents are sent as they come, and the snapshot when the
//! engine has told everything up to its time ([`Output::Settle`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use hearth_core::query::{QuerySpec, Source};
use hearth_core::watch::Kind;
use hearth_core::{DatabaseName, DocPath, Document, Query, Version};
use hearth_engine::{Opening, SharedEvent, TargetId, Token};
use hearth_schema::v1::{self, listen_request, listen_response::ResponseType, target, target_change::TargetChangeType};

use crate::bloom;
use crate::bounds::Bounds;
use crate::convert::{self, query::asked_from, time, version_from};
use crate::names;
use crate::status::{Code, Refusal};

/// One Listen stream.
pub(crate) struct Session {
    database: DatabaseName,
    epoch: u64,
    bounds: Bounds,
    targets: BTreeMap<TargetId, Target>,
    /// The client's numbers for targets, and ours. Ours are never used again, so a target that is removed and added anew
    /// does not hear what was meant for the old one.
    ids: HashMap<i32, TargetId>,
    next: TargetId,
    /// The time of the last global snapshot.
    told: Version,
    /// The time of the one that is to follow when everything before it is told.
    wanted: Option<Version>,
    outbox: VecDeque<Output>,
}

/// What happens to a session.
#[derive(Debug)]
pub(crate) enum Input {
    /// The client asks.
    Request(Box<v1::ListenRequest>),
    /// A listener begins, or has caught up; what became of the documents that left its result.
    Opened(TargetId, Result<Opening, Refusal>, Left),
    /// All that one commit changed for this stream.
    Events { version: Version, events: Vec<(TargetId, Arc<SharedEvent>)>, left: Left },
    /// A listener has lost what waited for it.
    Lagged(TargetId),
    /// Everything up to this version was put in.
    Settled(Version),
    /// Some time went by, and this is the newest version.
    Beat(Version),
    /// The caller's token ran out.
    Expired,
    /// The server stops.
    Closing,
}

/// What a session wants.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send this.
    Send(v1::ListenResponse),
    /// Begin to listen, and put in [`Input::Opened`].
    Open { target: TargetId, query: Arc<Query>, since: Option<Token> },
    /// Catch up, and put in [`Input::Opened`].
    CatchUp(TargetId),
    /// Listen no more.
    Close(TargetId),
    /// Put in everything up to this version, then [`Input::Settled`]. A later one takes its place.
    Settle(Version),
    /// End the stream.
    End(Refusal),
}

/// Documents that left a result, and what became of them.
pub(crate) type Left = HashMap<DocPath, Leaving>;

/// What became of a document that left a result.
#[derive(Clone, Debug)]
pub(crate) enum Leaving {
    /// It was deleted.
    Deleted,
    /// It is there still.
    Changed(Arc<Document>),
    /// The caller may not know.
    Hidden,
}

struct Target {
    id: i32,
    once: bool,
    stage: Stage,
    query: Arc<Query>,
    /// From where the client wanted to go on.
    since: Option<Resume>,
    /// How many documents the client has.
    expected: Option<i32>,
}

enum Stage {
    /// Its first answer is being worked out; what came meanwhile waits.
    Opening(Vec<(Version, Arc<SharedEvent>, Left)>),
    /// Told everything so far.
    Current,
    /// What it has missed is being worked out.
    Lagging,
}

/// A resume token: what a client has been told up to. The same for all targets of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    version: Version,
    epoch: u64,
}

impl Resume {
    const FORMAT: u8 = 1;

    pub(crate) fn bytes(self) -> Vec<u8> {
        [&[Self::FORMAT][..], &self.version.micros().to_be_bytes(), &self.epoch.to_be_bytes()].concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (version, epoch) = rest.split_first_chunk::<8>()?;
        let epoch: [u8; 8] = epoch.try_into().ok()?;
        let version = Version::from_micros(u64::from_be_bytes(*version));
        (*format == Self::FORMAT).then_some(Self { version, epoch: u64::from_be_bytes(epoch) })
    }
}

impl Session {
    /// A stream without targets.
    pub(crate) fn new(database: DatabaseName, epoch: u64, bounds: Bounds) -> Self {
        Self {
            database,
            bounds,
            epoch,
            targets: BTreeMap::new(),
            ids: HashMap::new(),
            next: 1,
            told: Version::ZERO,
            wanted: None,
            outbox: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub(crate) fn input(&mut self, input: Input) {
        match input {
            Input::Request(request) => self.request(*request),
            Input::Opened(target, Ok(opening), left) => self.opened(target, &opening, &left),
            Input::Opened(target, Err(refusal), _) => self.refused(target, &refusal),
            Input::Events { version, events, left } => self.events(version, events, left),
            Input::Lagged(target) => self.lagged(target),
            Input::Settled(version) => self.settled(version),
            Input::Beat(version) if !self.targets.is_empty() => self.want(version),
            Input::Beat(_) => {}
            Input::Expired => self.end(Refusal::new(Code::Unauthenticated, "the token has expired")),
            Input::Closing => self.end(Refusal::new(Code::Unavailable, "the server is stopping")),
        }
    }

    /// The next thing that is wanted.
    pub(crate) fn output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn end(&mut self, refusal: Refusal) {
        self.outbox.push_back(Output::End(refusal));
    }

    fn send(&mut self, response: ResponseType) {
        self.outbox.push_back(Output::Send(v1::ListenResponse { response_type: Some(response) }));
    }

    // ---- what the client asks

    fn request(&mut self, request: v1::ListenRequest) {
        if !request.database.is_empty() && request.database != self.database.to_string() {
            let message = format!("All targets of a stream are of one database, here {}", self.database);
            return self.end(Refusal::invalid(message));
        }
        match request.target_change {
            Some(listen_request::TargetChange::AddTarget(target)) => self.add(target),
            Some(listen_request::TargetChange::RemoveTarget(id)) => self.remove(id),
            None => self.end(Refusal::invalid("A listen request adds or removes a target")),
        }
    }

    fn add(&mut self, target: v1::Target) {
        let id = match target.target_id {
            0 => (1..).find(|id| !self.ids.contains_key(id)).expect("fewer targets than numbers"),
            id => id,
        };
        if self.ids.contains_key(&id) {
            return self.end(Refusal::invalid(format!("There is a target {id} already; remove it first")));
        }
        let read = self.query(target.target_type).and_then(|query| Ok((query, self.resume(target.resume_type)?)));
        let (query, since) = match read {
            Ok(read) => read,
            Err(refusal) => return self.end_target(id, Some(&refusal)),
        };
        self.change(TargetChangeType::Add, id, None);
        let key = self.next;
        self.next += 1;
        self.ids.insert(id, key);
        let token = since.filter(|since| since.epoch == self.epoch).map(|since| Token {
            version: since.version,
            epoch: since.epoch,
            query: query.hash(),
        });
        self.outbox.push_back(Output::Open { target: key, query: query.clone(), since: token });
        let expected = target.expected_count.map(|count| count.value);
        let stage = Stage::Opening(Vec::new());
        self.targets.insert(key, Target { id, once: target.once, stage, query, since, expected });
    }

    fn query(&self, target: Option<target::TargetType>) -> Result<Arc<Query>, Refusal> {
        match target {
            Some(target::TargetType::Documents(target::DocumentsTarget { documents })) => {
                let paths = documents.iter().map(|name| names::document_in(&self.database, name));
                let source = Source::Documents(paths.collect::<Result<_, _>>()?);
                Ok(Arc::new(Query::build(QuerySpec::all(source))?))
            }
            Some(target::TargetType::Query(target::QueryTarget { parent, query_type })) => {
                let parent = names::parent(&parent)?;
                if parent.database != self.database {
                    return Err(Refusal::invalid(format!(
                        "The target is not in the stream's database {}",
                        self.database
                    )));
                }
                let Some(target::query_target::QueryType::StructuredQuery(query)) = query_type else {
                    return Err(Refusal::new(Code::Unimplemented, "Only structured queries can be listened to"));
                };
                let asked = asked_from(&parent, query, self.bounds)?;
                match asked.near {
                    None => Ok(asked.query),
                    Some(_) => Err(Refusal::invalid("Neighbours of a vector cannot be listened to")),
                }
            }
            None => Err(Refusal::new(Code::Unimplemented, "Only queries and documents can be listened to")),
        }
    }

    /// From where a client goes on. A token that cannot be read is one of a database that is gone.
    fn resume(&self, resume: Option<target::ResumeType>) -> Result<Option<Resume>, Refusal> {
        match resume {
            None => Ok(None),
            Some(target::ResumeType::ResumeToken(token)) if token.is_empty() => Ok(None),
            Some(target::ResumeType::ResumeToken(token)) => {
                let unknown = Resume { version: Version::ZERO, epoch: !self.epoch };
                Ok(Some(Resume::parse(&token).unwrap_or(unknown)))
            }
            Some(target::ResumeType::ReadTime(time)) => {
                Ok(Some(Resume { version: version_from(time)?, epoch: self.epoch }))
            }
        }
    }

    fn remove(&mut self, id: i32) {
        // One that is not there has ended with a cause, on which no acknowledgement follows.
        if let Some(key) = self.ids.get(&id).copied() {
            self.forget(key);
            self.outbox.push_back(Output::Close(key));
            self.end_target(id, None);
        }
    }

    fn forget(&mut self, key: TargetId) -> Option<Target> {
        let target = self.targets.remove(&key)?;
        self.ids.remove(&target.id);
        if self.targets.is_empty() {
            self.wanted = None;
        } else if let Some(wanted) = self.wanted
            && matches!(target.stage, Stage::Lagging)
        {
            // It kept the others from their snapshot.
            self.want(wanted);
        }
        Some(target)
    }

    fn end_target(&mut self, id: i32, cause: Option<&Refusal>) {
        self.send(ResponseType::TargetChange(v1::TargetChange {
            target_change_type: TargetChangeType::Remove as i32,
            target_ids: vec![id],
            cause: cause.map(Refusal::status),
            ..Default::default()
        }));
    }

    fn change(&mut self, kind: TargetChangeType, id: i32, at: Option<Version>) {
        self.send(ResponseType::TargetChange(v1::TargetChange {
            target_change_type: kind as i32,
            target_ids: vec![id],
            cause: None,
            resume_token: at.map(|version| Resume { version, epoch: self.epoch }.bytes()).unwrap_or_default(),
            read_time: at.map(time),
        }));
    }

    // ---- what the engine tells

    fn refused(&mut self, key: TargetId, refusal: &Refusal) {
        if let Some(target) = self.forget(key) {
            self.outbox.push_back(Output::Close(key));
            self.end_target(target.id, Some(refusal));
        }
    }

    fn opened(&mut self, key: TargetId, opening: &Opening, left: &Left) {
        let Some(target) = self.targets.get_mut(&key) else { return };
        let (id, query, since, expected) =
            (target.id, target.query.clone(), target.since.take(), target.expected.take());
        let waited = match std::mem::replace(&mut target.stage, Stage::Current) {
            Stage::Opening(waited) => waited,
            Stage::Current | Stage::Lagging => Vec::new(),
        };
        let version = opening.version();
        // A wipe begins a new epoch.
        self.epoch = match opening {
            Opening::Whole { answer, .. } => answer.token.epoch,
            Opening::Since(event) => event.token.epoch,
        };
        match opening {
            Opening::Whole { answer, reset } => {
                let foreign = since.filter(|since| since.epoch != self.epoch);
                // What did not change since the token the client has already, and whatever else it has is gone: that
                // holds where no limit lets unchanged documents in.
                let known = since.filter(|since| since.epoch == self.epoch && expected.is_some() && !query.is_cut());
                let after = match known {
                    Some(since) if *reset => since.version,
                    _ if *reset || foreign.is_some() => {
                        self.change(TargetChangeType::Reset, id, None);
                        Version::ZERO
                    }
                    _ => Version::ZERO,
                };
                let (same, changed): (Vec<_>, Vec<_>) =
                    answer.docs.iter().partition(|document| document.updated <= after);
                for document in changed {
                    self.send_document(document, &query, vec![id], Vec::new());
                }
                if after > Version::ZERO {
                    let names = same.iter().map(|document| names::print(&self.database, &document.path));
                    let unchanged_names = Some(bloom::of_names(names));
                    let count = i32::try_from(answer.docs.len()).unwrap_or(i32::MAX);
                    self.send(ResponseType::Filter(v1::ExistenceFilter { target_id: id, count, unchanged_names }));
                }
            }
            Opening::Since(event) => self.differences(&[(key, event.clone())], left, version),
        }
        self.change(TargetChangeType::Current, id, Some(version));
        let mut newest = version;
        for (at, event, left) in waited.into_iter().filter(|(at, ..)| *at > version) {
            self.differences(&[(key, event)], &left, at);
            newest = newest.max(at);
        }
        self.want(newest);
    }

    fn events(&mut self, version: Version, events: Vec<(TargetId, Arc<SharedEvent>)>, left: Left) {
        let mut now = Vec::with_capacity(events.len());
        for (key, event) in events {
            match self.targets.get_mut(&key).map(|target| &mut target.stage) {
                Some(Stage::Opening(waiting)) => waiting.push((version, event, left.clone())),
                Some(Stage::Current | Stage::Lagging) => now.push((key, event)),
                None => {}
            }
        }
        if now.is_empty() {
            return;
        }
        self.differences(&now, &left, version);
        match self.wanted {
            Some(wanted) if version <= wanted => {}
            _ if self.is_lagging() => self.wanted = Some(version),
            _ if version > self.told => self.tell(version),
            _ => self.want(self.told),
        }
    }

    /// Sends what changed for targets in one commit, each document once.
    fn differences(&mut self, events: &[(TargetId, Arc<SharedEvent>)], left: &Left, version: Version) {
        #[derive(Default)]
        struct Changed<'a> {
            document: Option<(&'a Arc<Document>, &'a Arc<Query>)>,
            into: Vec<i32>,
            out_of: Vec<i32>,
        }
        let mut changed: BTreeMap<&DocPath, Vec<Changed<'_>>> = BTreeMap::new();
        for (key, event) in events {
            let Some(target) = self.targets.get(key) else { continue };
            for change in &event.event.changes {
                // A step that only moves a document to another position is none here: clients order by themselves.
                let ways = changed.entry(&change.path).or_default();
                match (&change.doc, change.kind) {
                    (Some(document), Kind::Added | Kind::Modified) => {
                        // Targets that project differently cannot share a message.
                        let select = event.query.select();
                        let same =
                            |way: &&mut Changed<'_>| way.document.is_none_or(|(_, query)| query.select() == select);
                        let way = match ways.iter_mut().find(same) {
                            Some(way) => way,
                            None => {
                                ways.push(Changed::default());
                                ways.last_mut().expect("just pushed")
                            }
                        };
                        way.document = Some((document, &event.query));
                        way.into.push(target.id);
                    }
                    (None, Kind::Added | Kind::Modified) => {}
                    (_, Kind::Removed) => match ways.first_mut() {
                        Some(way) => way.out_of.push(target.id),
                        None => ways.push(Changed { out_of: vec![target.id], ..Changed::default() }),
                    },
                }
            }
        }
        let mut responses = Vec::new();
        for (path, ways) in changed {
            for Changed { document, into, out_of } in ways {
                // A document that comes back into a result within one event has not left it.
                let out_of: Vec<i32> = out_of.into_iter().filter(|id| !into.contains(id)).collect();
                let name = || names::print(&self.database, path);
                responses.push(match (document, left.get(path)) {
                    (Some((document, query)), _) => self.document_change(document, query, into, out_of),
                    (None, Some(Leaving::Changed(document))) => ResponseType::DocumentChange(v1::DocumentChange {
                        document: Some(convert::document(&self.database, document, &document.fields)),
                        target_ids: Vec::new(),
                        removed_target_ids: out_of,
                    }),
                    (None, Some(Leaving::Deleted)) => ResponseType::DocumentDelete(v1::DocumentDelete {
                        document: name(),
                        read_time: Some(time(version)),
                        removed_target_ids: out_of,
                    }),
                    (None, Some(Leaving::Hidden) | None) => ResponseType::DocumentRemove(v1::DocumentRemove {
                        document: name(),
                        removed_target_ids: out_of,
                        read_time: Some(time(version)),
                    }),
                });
            }
        }
        responses.into_iter().for_each(|response| self.send(response));
    }

    fn document_change(&self, document: &Document, query: &Query, into: Vec<i32>, out_of: Vec<i32>) -> ResponseType {
        ResponseType::DocumentChange(v1::DocumentChange {
            document: Some(convert::document(&self.database, document, &query.project(document))),
            target_ids: into,
            removed_target_ids: out_of,
        })
    }

    fn send_document(&mut self, document: &Document, query: &Query, into: Vec<i32>, out_of: Vec<i32>) {
        let response = self.document_change(document, query, into, out_of);
        self.send(response);
    }

    fn lagged(&mut self, key: TargetId) {
        if let Some(target) = self.targets.get_mut(&key)
            && !matches!(target.stage, Stage::Opening(_))
        {
            target.stage = Stage::Lagging;
            self.outbox.push_back(Output::CatchUp(key));
        }
    }

    // ---- global snapshots

    fn is_lagging(&self) -> bool {
        self.targets.values().any(|target| matches!(target.stage, Stage::Lagging))
    }

    /// Has a global snapshot follow when everything before it is told; never before the last one.
    fn want(&mut self, at: Version) {
        let at = at.max(self.told).max(self.wanted.unwrap_or_default());
        self.wanted = Some(at);
        self.outbox.push_back(Output::Settle(at));
    }

    fn settled(&mut self, version: Version) {
        if self.wanted == Some(version) && !self.is_lagging() {
            self.tell(version);
        }
    }

    fn tell(&mut self, version: Version) {
        self.told = version;
        self.wanted = None;
        self.send(ResponseType::TargetChange(v1::TargetChange {
            target_change_type: TargetChangeType::NoChange as i32,
            target_ids: Vec::new(),
            cause: None,
            resume_token: Resume { version, epoch: self.epoch }.bytes(),
            read_time: Some(time(version)),
        }));
        let done: Vec<(TargetId, i32)> = self
            .targets
            .iter()
            .filter(|(_, target)| target.once && matches!(target.stage, Stage::Current))
            .map(|(key, target)| (*key, target.id))
            .collect();
        for (key, id) in done {
            self.forget(key);
            self.outbox.push_back(Output::Close(key));
            self.end_target(id, None);
        }
    }
}

#[cfg(test)]
mod tests;
