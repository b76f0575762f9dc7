//! The change feed: every commit in order, for whoever administers the server. Plain, held, or as a stream of events;
//! as a WebSocket in `socket`.

mod socket;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_core::{Change, Commit, Version};
use hearth_engine::{Authorized, Database, FeedAccess, FeedPage, Token};

use super::read::read_headers;
use super::stream::{Life, Wake, response};
use super::{Asking, Door, JSON};
use crate::address::Place;
use crate::json::{Context, print, separated, write_document, write_removed};
use crate::poll::{held, preferred_wait};
use crate::problem::Problem;
use crate::respond::Form;
use crate::{sse, writes};

/// Changes of one page, about.
const CHANGES_MAX: usize = 1_000;

/// What is read of the feed.
struct Reading {
    database: Database,
    access: Authorized<FeedAccess>,
    /// Only changes at or below this path.
    path: Option<String>,
    /// Everything up to here is told.
    after: Version,
    /// Whether the reader must be told that it has missed something.
    reset: bool,
}

pub(super) use socket::upgrade;

/// Answers `GET /feed`.
pub(super) async fn answer(door: &Arc<Door>, mut asking: Asking, database: Database) -> Result<Response, Problem> {
    let mut reading = Reading::new(&asking, database)?;
    if asking.form() == Form::Events {
        if asking.is_head() {
            return Ok(response(Body::empty()));
        }
        let life = Life::new(door, &mut asking);
        let stream = Stream { life, reading, ready: vec![sse::opening()], marked: None, ended: false };
        let body = futures_util::stream::unfold(stream, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, Infallible>(bytes), stream))
        });
        return Ok(response(Body::from_stream(body)));
    }
    let wait = preferred_wait(asking.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()));
    let deadline = wait
        .map(|seconds| tokio::time::Instant::now() + held(seconds, u64::from_be_bytes(hearth_engine::ids::random())));
    loop {
        let (page, commits) = reading.page().await?;
        let Some(deadline) = deadline.filter(|_| commits.is_empty() && !reading.reset) else {
            return Ok(read_headers(reading.print(&page, &commits, wait)));
        };
        // Where there is more already, of which this page held nothing that concerns the reader, nobody waits.
        reading.after = page.version;
        tokio::select! {
            () = reading.database.committed_after(page.version) => {}
            () = tokio::time::sleep_until(deadline) => return Ok(read_headers(reading.print(&page, &commits, wait))),
            () = door.stopped() => return Ok(read_headers(reading.print(&page, &commits, wait))),
        }
    }
}

impl Reading {
    /// What is asked for, where the caller may hear it.
    fn new(asking: &Asking, database: Database) -> Result<Self, Problem> {
        asking.params.only(&[&["since", "path", "ticket"]])?;
        let access = database.authorize_feed(&asking.caller)?;
        let path = match asking.params.one("path")? {
            None => None,
            Some(path) => Some(Place::parse(path).map_err(|problem| problem.at("path"))?.path().into_owned()),
        };
        let given = match (asking.form(), asking.header("last-event-id").filter(|id| !id.is_empty())) {
            (Form::Events, Some(id)) => Some((id, "Last-Event-ID")),
            _ => asking.params.one("since")?.map(|since| (since, "since")),
        };
        let mut reading = Self { after: database.visible(), reset: false, database, access, path };
        if let Some((text, name)) = given {
            let token = Token::parse(text).map_err(|error| Problem::from(error).at(name))?;
            let own = reading.token(token.version);
            match token == own && token.version <= reading.after {
                true => reading.after = token.version,
                // Another life of the database, or the token of something else.
                false => reading.reset = true,
            }
        }
        Ok(reading)
    }

    /// From where to go on behind a version. A feed has no query; its own mark keeps its tokens from being one's.
    fn token(&self, version: Version) -> Token {
        Token { version, epoch: self.database.epoch(), query: writes::hash64(&[b"feed"]) }
    }

    /// The next commits, narrowed; those of which nothing is left are not there.
    async fn page(&mut self) -> Result<(FeedPage, Vec<Arc<Commit>>), Problem> {
        let page = self.database.feed(&self.access, self.after, CHANGES_MAX).await?;
        self.reset |= page.reset;
        let commits = self.narrow(&page);
        Ok((page, commits))
    }

    fn narrow(&self, page: &FeedPage) -> Vec<Arc<Commit>> {
        let concerns = |commit: &&Arc<Commit>| commit.changes.iter().any(|change| self.concerns(change));
        page.commits.iter().filter(concerns).cloned().collect()
    }

    fn concerns(&self, change: &Change) -> bool {
        match &self.path {
            None => true,
            Some(path) => {
                let below = change.path.as_str().strip_prefix(path.as_str());
                below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            }
        }
    }

    fn write_commit(&self, out: &mut Vec<u8>, commit: &Commit) {
        let context = Context::new(self.database.name());
        print(out, format_args!("\"version\":\"{}\",\"changes\":[", commit.version));
        let changes = commit.changes.iter().filter(|change| self.concerns(change));
        separated(out, changes, |out, change| {
            let kind = match (&change.before, &change.after) {
                (None, _) => "added",
                (Some(_), Some(_)) => "modified",
                (Some(_), None) => "removed",
            };
            print(out, format_args!("{{\"type\":\"{kind}\",\"doc\":"));
            match &change.after {
                Some(document) => write_document(out, document, &document.fields, &context),
                None => write_removed(out, &change.path),
            }
            out.push(b'}');
        });
        out.push(b']');
    }

    fn print(&self, page: &FeedPage, commits: &[Arc<Commit>], wait: Option<u64>) -> Response {
        let mut out = Vec::new();
        let token = self.token(page.version);
        print(
            &mut out,
            format_args!(
                "{{\"version\":\"{}\",\"token\":\"{token}\",\"reset\":{},\"commits\":[",
                page.version, self.reset
            ),
        );
        separated(&mut out, commits, |out, commit| {
            out.push(b'{');
            self.write_commit(out, commit);
            out.push(b'}');
        });
        print(&mut out, format_args!("],\"more\":{}}}", page.version < self.database.visible()));
        let mut response = ([JSON], out).into_response();
        if let Some(applied) = wait.and_then(|seconds| format!("wait={seconds}").try_into().ok()) {
            response.headers_mut().insert("preference-applied", applied);
        }
        response
    }
}

struct Stream {
    life: Life,
    reading: Reading,
    /// What is to be sent, the next last.
    ready: Vec<Bytes>,
    /// From where the reader knows that it can take up the stream.
    marked: Option<Version>,
    ended: bool,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            match self.reading.page().await {
                Ok((page, commits)) => self.tell(&page, &commits),
                Err(problem) => {
                    self.ended = true;
                    return Some(self.life.farewell(&problem));
                }
            }
            if !self.ready.is_empty() || self.reading.after < self.reading.database.visible() {
                continue;
            }
            tokio::select! {
                () = self.reading.database.committed_after(self.reading.after) => {}
                wake = self.life.wake() => match wake {
                    Wake::Comment => {
                        self.mark();
                        return Some(self.life.comment());
                    }
                    Wake::End(problem) => {
                        self.ended = true;
                        self.ready.extend(problem.map(|problem| self.life.farewell(&problem)));
                    }
                },
            }
        }
    }

    fn tell(&mut self, page: &FeedPage, commits: &[Arc<Commit>]) {
        let mut events = Vec::new();
        if std::mem::take(&mut self.reading.reset) {
            let token = self.reading.token(self.reading.after);
            let members =
                format!("\"version\":\"{}\",\"token\":\"{token}\",\"reset\":true,\"changes\":[]", self.reading.after);
            events.push(sse::event(Some(&token.to_string()), members.as_bytes()));
        }
        for commit in commits {
            let token = self.reading.token(commit.version);
            let mut members = format!("\"token\":\"{token}\",\"reset\":false,").into_bytes();
            self.reading.write_commit(&mut members, commit);
            events.push(sse::event(Some(&token.to_string()), &members));
        }
        self.reading.after = page.version;
        let is_first = self.marked.is_none();
        match events.is_empty() {
            true if is_first => self.mark(),
            true => {}
            false => self.marked = Some(commits.last().map_or(page.version, |commit| commit.version)),
        }
        self.ready.extend(events.into_iter().rev());
    }

    /// Tells from where to go on, where the last event does not: what concerns the reader may be rare, and history ends.
    fn mark(&mut self) {
        if self.marked.replace(self.reading.after) != Some(self.reading.after) {
            self.ready.push(sse::mark(&self.reading.token(self.reading.after).to_string()));
        }
    }
}
