//! The messages of `docs/links.md`: what clients say, as types that cannot be wrong, and what is said to them, as bytes.
//!
//! Nothing here knows how messages travel.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hearth_auth::Caller;
use hearth_core::query::Query;
use hearth_core::{DatabaseName, Version, size};
use hearth_engine::{Answer, CommitRequest, PartLimits, Token};
use serde_json::Value as Json;

use crate::json::{self, Context, JsonError, Parts, print};
use crate::params::parse_version;
use crate::problem::Problem;
use crate::query_json::{self, Asked};
use crate::writes;

/// What a client says.
#[derive(Debug)]
pub(crate) struct ClientMessage {
    /// Chosen by the client; 0 for what belongs to the connection itself.
    pub(crate) id: u64,
    pub(crate) op: Op,
    /// How long the message was.
    pub(crate) bytes: usize,
}

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Op {
    Listen { asked: Box<Asked>, since: Option<Token> },
    Unlisten,
    Get { asked: Box<Asked>, at: Option<Version> },
    Commit(Box<CommitRequest>),
    Auth { token: Secret },
    Ping,
}

/// Text that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Box<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Why something that came is no message.
#[derive(Debug)]
pub(crate) struct FrameError {
    /// Whose answer the problem is; none where that cannot be made out.
    pub(crate) id: Option<u64>,
    pub(crate) problem: Problem,
}

impl ClientMessage {
    /// The largest id: what a JavaScript number holds without doubt.
    pub(crate) const ID_MAX: u64 = (1 << 53) - 1;

    /// Reads one message.
    pub(crate) fn parse(text: &[u8], context: &Context<'_>) -> Result<Self, FrameError> {
        match json::parse(text) {
            Ok(json) => Self::read(&json, text.len(), context),
            Err(error) => Err(FrameError { id: None, problem: Problem::json("", error) }),
        }
    }

    /// Reads one message that was parsed as JSON from so many bytes.
    pub(crate) fn read(json: &Json, bytes: usize, context: &Context<'_>) -> Result<Self, FrameError> {
        let Json::Object(members) = json else {
            let problem = Problem::invalid(format!("a message is an object, this is {}", json::kind(json)));
            return Err(FrameError { id: None, problem });
        };
        let Some(id) = members.get("id").and_then(Json::as_u64).filter(|id| *id <= Self::ID_MAX) else {
            let problem = Problem::invalid("a message has an id, an integer from 0 to 2^53 - 1").at("/id");
            return Err(FrameError { id: None, problem });
        };
        match (Members { members, context }).op(id) {
            Ok(op) => Ok(Self { id, op, bytes }),
            // Under id 0 nothing is answered but a ping.
            Err(problem) => Err(FrameError { id: Some(id).filter(|id| *id > 0), problem }),
        }
    }
}

/// The members of one message.
struct Members<'a> {
    members: &'a serde_json::Map<String, Json>,
    context: &'a Context<'a>,
}

impl<'a> Members<'a> {
    fn op(&self, id: u64) -> Result<Op, Problem> {
        let op = self.needed("op")?;
        let allowed: &[&str] = match op {
            "listen" => &["path", "query", "since"],
            "unlisten" | "ping" => &[],
            "get" => &["path", "query", "at"],
            "commit" => &["writes", "reads", "key"],
            "auth" => &["token"],
            other => return Err(Problem::invalid(format!("{other:?} is not an op of hearth.v1")).at("/op")),
        };
        if let Some(unknown) =
            self.members.keys().find(|name| !["id", "op"].contains(&name.as_str()) && !allowed.contains(&name.as_str()))
        {
            let problem = Problem::invalid(format!("{unknown:?} is not a member of a message with op {op:?}"));
            return Err(problem.at(JsonError::new("").within(unknown).pointer));
        }
        if (op == "ping") != (id == 0) {
            let rule = "the id of a ping is 0, that of any other message 1 or more";
            return Err(Problem::invalid(rule).at("/id"));
        }
        Ok(match op {
            "listen" => Op::Listen { asked: self.asked()?, since: self.since()? },
            "unlisten" => Op::Unlisten,
            "get" => Op::Get { asked: self.asked()?, at: self.at()? },
            "commit" => Op::Commit(Box::new(self.commit()?)),
            "auth" => Op::Auth { token: Secret(self.needed("token")?.into()) },
            _ => Op::Ping,
        })
    }

    /// A member; one that is null is as if it were absent.
    fn member(&self, name: &str) -> Option<&'a Json> {
        self.members.get(name).filter(|json| !json.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Problem> {
        match self.member(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => {
                Err(Problem::invalid(format!("text is expected, this is {}", json::kind(other))).at(format!("/{name}")))
            }
        }
    }

    fn needed(&self, name: &str) -> Result<&'a str, Problem> {
        self.text(name)?
            .ok_or_else(|| Problem::invalid(format!("the member {name:?} is missing")).at(format!("/{name}")))
    }

    fn asked(&self) -> Result<Box<Asked>, Problem> {
        query_json::parse(self.needed("path")?, self.member("query"), self.context).map(Box::new)
    }

    fn since(&self) -> Result<Option<Token>, Problem> {
        let token = self.text("since")?.map(Token::parse).transpose();
        token.map_err(|error| Problem::invalid(error.to_string()).at("/since"))
    }

    fn at(&self) -> Result<Option<Version>, Problem> {
        let Some(text) = self.text("at")? else { return Ok(None) };
        let version = parse_version(text);
        version.map(Some).ok_or_else(|| Problem::invalid(format!("{text:?} is not a version")).at("/at"))
    }

    fn commit(&self) -> Result<CommitRequest, Problem> {
        writes::read_commit(self.member("writes"), self.members.get("reads"), self.text("key")?, self.context)
    }
}

// What is said to clients.

/// An event of a listener. `members` are those of the event itself, without braces.
pub(crate) fn snapshot(id: u64, members: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(members.len() + 48);
    head(&mut out, id, "snapshot");
    out.push(b',');
    out.extend_from_slice(members);
    finish(out)
}

/// A commit is durable. `results` is the JSON array of what each write did.
pub(crate) fn committed(id: u64, version: Version, results: &[u8]) -> Bytes {
    let mut out = Vec::new();
    head(&mut out, id, "committed");
    print(&mut out, format_args!(",\"version\":\"{version}\",\"results\":"));
    out.extend_from_slice(results);
    finish(out)
}

/// The connection speaks for this caller from now on.
pub(crate) fn authed(id: u64, caller: &Caller) -> Bytes {
    let mut out = Vec::new();
    head(&mut out, id, "authed");
    out.extend_from_slice(b",\"uid\":");
    match caller.uid() {
        Some(uid) => json::write_text(&mut out, uid),
        None => out.extend_from_slice(b"null"),
    }
    match caller.expires_seconds() {
        Some(end) => print(&mut out, format_args!(",\"expires\":{end}")),
        None => out.extend_from_slice(b",\"expires\":null"),
    }
    finish(out)
}

/// A request failed, a listener ended or, under id 0, the connection is about to.
pub(crate) fn problem(id: u64, problem: &Problem) -> Bytes {
    let mut out = Vec::new();
    head(&mut out, id, "problem");
    print(&mut out, format_args!(",\"problem\":{}", problem.to_json(None)));
    finish(out)
}

/// The authority of the connection ends in this second.
pub(crate) fn expiring(end_seconds: u64) -> Bytes {
    let mut out = Vec::new();
    head(&mut out, 0, "expiring");
    print(&mut out, format_args!(",\"expires\":{end_seconds}"));
    finish(out)
}

/// Answer to a ping.
pub(crate) fn pong() -> Bytes {
    Bytes::from_static(b"{\"id\":0,\"ev\":\"pong\"}")
}

/// The first message of an SSE link.
pub(crate) fn link(link: &str) -> Bytes {
    let mut out = Vec::new();
    head(&mut out, 0, "link");
    out.extend_from_slice(b",\"link\":");
    json::write_text(&mut out, link);
    finish(out)
}

fn head(out: &mut Vec<u8>, id: u64, ev: &str) {
    print(out, format_args!("{{\"id\":{id},\"ev\":\"{ev}\""));
}

fn finish(mut out: Vec<u8>) -> Bytes {
    out.push(b'}');
    out.into()
}

/// An answer that nobody was told yet.
#[derive(Debug)]
pub(crate) struct Rows {
    query: Arc<Query>,
    database: DatabaseName,
    answer: Answer,
    limits: PartLimits,
}

impl Rows {
    pub(crate) fn new(query: Arc<Query>, answer: Answer, database: DatabaseName, limits: PartLimits) -> Self {
        Self { query, database, answer, limits }
    }

    /// The query that this answers.
    pub(crate) fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// The version of the answer.
    pub(crate) fn version(&self) -> Version {
        self.answer.version
    }

    /// To be told as the first event of a listener, or as a reset: everything was added.
    pub(crate) fn into_event(self, id: u64, reset: bool) -> Telling {
        let bytes = self.bytes();
        let Self { query, database, answer, limits } = self;
        Telling { id, bytes, shape: Shape::Event(Parts::new(query, database, answer, reset, limits)) }
    }

    /// To be told as the result of a read.
    pub(crate) fn into_result(self, id: u64) -> Telling {
        Telling { id, bytes: self.bytes(), shape: Shape::Result { rows: self, told: 0, parts: 0 } }
    }

    fn bytes(&self) -> usize {
        self.answer.docs.iter().map(|doc| size::document_bytes(&doc.path, &doc.fields)).sum()
    }
}

/// An answer on its way, encoded part by part as it leaves.
pub(crate) struct Telling {
    id: u64,
    bytes: usize,
    shape: Shape,
}

enum Shape {
    Event(Parts),
    Result { rows: Rows, told: usize, parts: usize },
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").field("id", &self.id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Telling {
    /// What the answer takes up, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next message, and whether it is the last.
    pub(crate) fn next_part(&mut self) -> (Bytes, bool) {
        match &mut self.shape {
            Shape::Event(parts) => match parts.next() {
                Some(part) => (snapshot(self.id, &part.members), part.last),
                None => (Bytes::new(), true),
            },
            Shape::Result { rows, told, parts } => result_part(self.id, rows, told, parts),
        }
    }
}

fn result_part(id: u64, rows: &Rows, told: &mut usize, parts: &mut usize) -> (Bytes, bool) {
    let Rows { query, database, answer, limits } = rows;
    let docs = &answer.docs;
    let end = json::part_of(docs, *told, *limits).end;
    let last = end == docs.len();
    *parts += 1;
    let context = Context::new(database);
    let mut out = Vec::new();
    head(&mut out, id, "result");
    print(&mut out, format_args!(",\"version\":\"{}\"", answer.version));
    if last {
        print(&mut out, format_args!(",\"token\":\"{}\"", answer.token));
    }
    if let Some(values) = &answer.aggregates {
        out.extend_from_slice(b",\"aggregates\":");
        json::write_aggregates(&mut out, query, values, &context);
        return (finish(out), true);
    }
    out.extend_from_slice(b",\"docs\":[");
    json::separated(&mut out, &docs[*told..end], |out, doc| {
        json::write_document(out, doc, &query.project(doc), &context);
    });
    match last {
        false => print(&mut out, format_args!("],\"part\":{parts},\"more\":true")),
        // Without a part: there `more` says that a limit cut something off.
        true => print(&mut out, format_args!("],\"size\":{},\"more\":{}", docs.len(), answer.more)),
    }
    *told = end;
    (finish(out), last)
}
