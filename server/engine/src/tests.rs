//! The engine as a door sees it, in memory and on disk, with a clock that is moved by hand.

mod durability;
mod failures;
mod parts;
mod space;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hearth_auth::Caller;
use hearth_core::decide::{DocumentRead, WriteError};
use hearth_core::entry::RequestKey;
use hearth_core::query::{Aggregate, Filter, Limit, Operator, Order, Query, QuerySpec, Source};
use hearth_core::watch::{EventChange, Kind};
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{CollectionPath, DatabaseName, DocPath, FieldPath, Id, Map, Value, Version, keys::Direction};
use hearth_store::{AppendError, CommitLog, Entry, Home, HomeOptions, LogError, Memory, NoLog, ReplayError, Store};
use tokio::sync::Semaphore;

use crate::applier::Applier;
use crate::crew::{Crew, Threads};
use crate::database::{Common, Opened};
use crate::time::Time;
use crate::{
    Access, Backing, CommitError, CommitRequest, Database, Delivery, Engine, Format, Limits, ManualClock, Opening,
    Options, Outbox, Projects, QueryRead, ReadError, Token,
};

const NOW: u64 = 1_700_000_000_000_000;

fn options(limits: Limits) -> Options {
    Options { limits, access: Access::Open, projects: Projects::Any, default_project: None }
}

fn in_memory(limits: Limits) -> Engine {
    Engine::start(Backing::Memory, options(limits), Arc::new(ManualClock::at(NOW))).unwrap().0
}

fn on_disk(folder: &Path, clock: Arc<ManualClock>) -> Engine {
    let home = Home::open(folder, HomeOptions { id_if_new: [7; 16], boot_id: Some("boot".into()) }).unwrap();
    Engine::start(Backing::Disk(Box::new(home)), options(Limits::default()), clock).unwrap().0
}

fn main_database(engine: &Engine) -> Database {
    engine.database(&DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap()).unwrap()
}

fn path(text: &str) -> DocPath {
    DocPath::parse(text).unwrap()
}

fn set(at: &str, n: i64) -> Write {
    let fields = Map::from([("n".into(), Value::Integer(n))]);
    Write::build(path(at), Operation::Set(fields), Precondition::None, vec![]).unwrap()
}

fn delete(at: &str) -> Write {
    Write::build(path(at), Operation::Delete, Precondition::None, vec![]).unwrap()
}

async fn request(database: &Database, request: CommitRequest) -> Result<Version, CommitError> {
    let request = database.authorize_commit(&Caller::Anonymous, request).unwrap();
    database.commit(request).await.map(|committed| committed.version)
}

async fn commit(database: &Database, writes: Vec<Write>) -> Version {
    request(database, CommitRequest { writes, ..CommitRequest::default() }).await.unwrap()
}

fn rooms() -> QuerySpec {
    QuerySpec::all(Source::Collection(CollectionPath::parse("rooms").unwrap()))
}

fn by_n(limit: u32) -> QuerySpec {
    let field = FieldPath::parse("n").unwrap();
    QuerySpec {
        orders: vec![Order { field, direction: Direction::Ascending }],
        limit: Some(Limit::First(limit)),
        ..rooms()
    }
}

fn counted() -> QuerySpec {
    QuerySpec {
        aggregates: vec![Aggregate::Count { up_to: None }, Aggregate::Sum(FieldPath::parse("n").unwrap())],
        ..rooms()
    }
}

fn asked(database: &Database, spec: QuerySpec) -> crate::Authorized<Arc<Query>> {
    database.authorize_query(&Caller::Anonymous, Arc::new(Query::build(spec).unwrap())).unwrap()
}

/// A result as a client keeps it: `room n`, in order.
#[derive(Debug, Default, PartialEq, Clone)]
struct Shown(Vec<String>);

impl Shown {
    fn line(document: &hearth_core::Document) -> String {
        let n = match document.fields.get("n") {
            Some(Value::Integer(n)) => *n,
            _ => -1,
        };
        format!("{} {n}", document.path.id())
    }

    fn open(&mut self, opening: &Opening) {
        match opening {
            Opening::Whole { answer, .. } => self.0 = answer.docs.iter().map(|doc| Self::line(doc)).collect(),
            Opening::Since(event) => self.fold(&event.event.changes, event.event.size),
        }
    }

    fn fold(&mut self, changes: &[EventChange], size: usize) {
        for change in changes {
            if let Some(from) = change.from {
                self.0.remove(from as usize);
            }
            if let Some(to) = change.to {
                let document = change.doc.as_ref().expect("added and modified documents are present");
                self.0.insert(to as usize, Self::line(document));
            }
            assert_eq!(change.kind == Kind::Removed, change.to.is_none());
        }
        assert_eq!(self.0.len(), size);
    }
}

async fn listen(database: &Database, spec: QuerySpec, outbox: &Outbox, target: u64) -> (Shown, Opening) {
    let opening = database.listen(asked(database, spec), outbox, target, None).await.unwrap();
    let mut shown = Shown::default();
    shown.open(&opening);
    (shown, opening)
}

async fn next(outbox: &Outbox) -> (Version, Vec<(u64, Arc<crate::SharedEvent>)>) {
    match tokio::time::timeout(Duration::from_secs(10), outbox.next()).await.expect("an event comes") {
        Delivery::Events { version, events } => (version, events),
        other => panic!("events were expected, not {other:?}"),
    }
}

#[tokio::test]
async fn what_is_committed_can_be_read_listened_to_and_resumed() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1), set("rooms/b", 2)]).await;
    let outbox = Outbox::new(&engine);
    let (mut shown, opening) = listen(&database, rooms(), &outbox, 5).await;
    assert_eq!(shown.0, ["a 1", "b 2"]);
    let Opening::Whole { answer, reset: false } = opening else { panic!("a first answer is whole") };

    let version = commit(&database, vec![set("rooms/c", 3), delete("rooms/a"), set("other/x", 1)]).await;
    let (told, events) = next(&outbox).await;
    assert_eq!((told, events.len(), events[0].0), (version, 1, 5));
    shown.fold(&events[0].1.event.changes, events[0].1.event.size);
    assert_eq!(shown.0, ["b 2", "c 3"]);

    // A second connection goes on from the first one's first answer, and hears only what has changed.
    let second = Outbox::new(&engine);
    let opening = database.listen(asked(&database, rooms()), &second, 1, Some(&answer.token)).await.unwrap();
    let Opening::Since(event) = &opening else { panic!("a token inside the history is honoured") };
    let kinds: Vec<_> = event.event.changes.iter().map(|change| (change.kind, change.path.as_str())).collect();
    assert_eq!(kinds, [(Kind::Removed, "rooms/a"), (Kind::Added, "rooms/c")]);
    assert_eq!(engine.metrics().resets.get(), 0);
    assert!(second.try_next().is_none());
}

#[tokio::test]
async fn an_event_is_encoded_once_however_many_listen() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let mut outboxes = Vec::new();
    for _ in 0..50 {
        let outbox = Outbox::new(&engine);
        listen(&database, rooms(), &outbox, 1).await;
        outboxes.push(outbox);
    }
    let calls = AtomicUsize::new(0);
    commit(&database, vec![set("rooms/a", 1)]).await;
    for outbox in &outboxes {
        let (_, events) = next(outbox).await;
        events[0].1.encoded(Format::NativeJson, |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            Bytes::from_static(b"x")
        });
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(engine.metrics().watches_examined.get(), 1);
}

#[tokio::test]
async fn polling_an_unchanged_result_runs_no_query() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    let query = asked(&database, rooms());
    let token = database.query(&query, None).await.unwrap().token;
    let run = engine.metrics().queries_run.get();
    for n in 0..20 {
        commit(&database, vec![set("others/x", n)]).await;
        assert!(database.unchanged(&query, &token).is_some_and(|newer| newer.version > token.version));
    }
    assert_eq!(engine.metrics().queries_run.get(), run);
    let changed = database.changed(&query, &token);
    let waiting = async { (changed.await, "woken") };
    let (woken, _) = tokio::join!(waiting, commit(&database, vec![set("rooms/b", 1)]));
    assert_eq!(woken, (Ok(()), "woken"));
    assert!(database.unchanged(&query, &token).is_none());
}

#[tokio::test]
async fn limit_windows_are_refilled_in_order_with_what_comes_after() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let writes = (0..200).map(|n| set(&format!("rooms/r{n:03}"), n)).collect();
    commit(&database, writes).await;
    let outbox = Outbox::new(&engine);
    let (mut shown, _) = listen(&database, by_n(3), &outbox, 1).await;
    assert_eq!(shown.0, ["r000 0", "r001 1", "r002 2"]);
    // More than the spare holds go at once: the window has to be read again.
    commit(&database, (0..150).map(|n| delete(&format!("rooms/r{n:03}"))).collect()).await;
    let last = commit(&database, vec![set("rooms/zero", 0)]).await;
    let mut versions = VecDeque::new();
    while versions.back() != Some(&last) {
        let (version, events) = next(&outbox).await;
        versions.push_back(version);
        events.iter().for_each(|(_, event)| shown.fold(&event.event.changes, event.event.size));
    }
    assert_eq!(shown.0, ["zero 0", "r150 150", "r151 151"]);
    assert_eq!(engine.metrics().refills.get(), 1);
    assert!(versions.iter().is_sorted());
}

#[tokio::test]
async fn a_live_count_reads_no_document() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    commit(&database, (0..2_000).map(|n| set(&format!("rooms/r{n}"), 1)).collect()).await;
    let outbox = Outbox::new(&engine);
    listen(&database, counted(), &outbox, 1).await;
    let read = engine.metrics().documents_read.get();
    commit(&database, vec![set("rooms/new", 5), delete("rooms/r7")]).await;
    let (_, events) = next(&outbox).await;
    assert_eq!(events[0].1.event.aggregates, Some(vec![Value::Integer(2_000), Value::Integer(2_004)]));
    assert_eq!(engine.metrics().documents_read.get(), read);
}

#[tokio::test]
async fn listing_rooms_does_not_walk_their_messages() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    for room in 0..10 {
        let mut writes = vec![set(&format!("rooms/r{room}"), room)];
        writes.extend((0..1_000).map(|n| set(&format!("rooms/r{room}/messages/m{n:04}"), n)));
        commit(&database, writes).await;
    }
    let answer = database.query(&asked(&database, rooms()), None).await.unwrap();
    assert_eq!(answer.docs.len(), 10);
    assert!(answer.scanned <= 30, "{} keys were looked at", answer.scanned);
    let group = QuerySpec::all(Source::Group { below: None, id: Id::parse("messages").unwrap() });
    assert_eq!(database.query(&asked(&database, group), None).await.unwrap().docs.len(), 10_000);
    let below = database.authorize_list(&Caller::Anonymous, Some(path("rooms/r3"))).unwrap();
    assert_eq!(database.collections(&below, None).await.unwrap().1, [Id::parse("messages").unwrap()]);
}

#[tokio::test]
async fn places_are_documents_and_what_is_missing_above_others() {
    let database = main_database(&in_memory(Limits::default()));
    let writes = ["rooms/b", "rooms/a/in/x", "rooms/a/in/y", "rooms/c/in/x", "rooms/c", "rooms!/z", "room/a"];
    let version = commit(&database, writes.iter().map(|at| set(at, 1)).collect()).await;
    commit(&database, vec![delete("rooms/b"), set("rooms/d", 1)]).await;
    let query = asked(&database, rooms());
    let shown = |places: Vec<(DocPath, Option<Arc<hearth_core::Document>>)>| {
        let each = places.iter().map(|(path, document)| match document {
            Some(_) => path.to_string(),
            None => format!("({path})"),
        });
        each.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(database.places(&query, None, 9, None).await.unwrap()), "(rooms/a) rooms/c rooms/d");
    let then = database.places(&query, Some(&path("rooms/a")), 1, Some(version)).await.unwrap();
    assert_eq!(shown(then), "rooms/b");
}

#[tokio::test]
async fn what_is_passed_is_in_every_outbox() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let outbox = Outbox::new(&engine);
    listen(&database, rooms(), &outbox, 1).await;
    let version = commit(&database, vec![set("rooms/a", 1)]).await;
    database.passed(version).await;
    assert!(matches!(outbox.try_next(), Some(Delivery::Events { version: told, .. }) if told == version));
    database.passed(Version::ZERO).await;
}

#[tokio::test]
async fn a_slow_reader_is_bounded_and_catches_up() {
    let limits = Limits { outbox_bytes_max: 2_000, ..Limits::default() };
    let engine = in_memory(limits.clone());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    let (slow, quick) = (Outbox::new(&engine), Outbox::new(&engine));
    let (mut shown, _) = listen(&database, rooms(), &slow, 1).await;
    let (mut kept, _) = listen(&database, rooms(), &quick, 1).await;
    for n in 0..100 {
        commit(&database, vec![set(&format!("rooms/r{}", n % 7), n)]).await;
        assert!(slow.bytes() <= limits.outbox_bytes_max);
        let (_, events) = next(&quick).await;
        events.iter().for_each(|(_, event)| kept.fold(&event.event.changes, event.event.size));
    }
    let Delivery::Lagged(1) = slow.next().await else { panic!("the reader was too slow") };
    let opening = database.catch_up(&slow, 1).await.unwrap();
    assert!(matches!(opening, Opening::Since(_)));
    shown.open(&opening);
    assert_eq!(shown, kept);
    commit(&database, vec![delete("rooms/a")]).await;
    let (_, events) = next(&slow).await;
    events.iter().for_each(|(_, event)| shown.fold(&event.event.changes, event.event.size));
    assert!(!shown.0.contains(&"a 1".to_owned()));
}

#[tokio::test]
async fn nothing_is_heard_after_unlisten_and_listeners_end_with_their_outbox() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let outbox = Outbox::new(&engine);
    listen(&database, rooms(), &outbox, 1).await;
    listen(&database, by_n(3), &outbox, 2).await;
    commit(&database, vec![set("rooms/a", 1)]).await;
    database.unlisten(&outbox, 1);
    let (_, events) = next(&outbox).await;
    assert_eq!(events.iter().map(|(target, _)| *target).collect::<Vec<_>>(), [2]);
    assert_eq!(engine.metrics().listeners.get(), 1);
    drop(outbox);
    assert_eq!(engine.metrics().listeners.get(), 0);
    assert_eq!(engine.metrics().outbox_bytes.get(), 0);
}

#[tokio::test]
async fn reads_that_a_commit_rests_on_are_validated() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let first = commit(&database, vec![set("rooms/a", 1)]).await;
    let read = |updated| CommitRequest {
        reads: vec![DocumentRead { path: path("rooms/a"), updated }],
        writes: vec![set("rooms/b", 1)],
        ..CommitRequest::default()
    };
    let moved = Err(CommitError::Refused(WriteError::Moved { path: path("rooms/a") }));
    assert_eq!(request(&database, read(None)).await, moved);
    let version = request(&database, read(Some(first))).await.unwrap();
    let ranged = |version| CommitRequest {
        queries: vec![QueryRead {
            query: Arc::new(Query::build(by_n(5)).unwrap()),
            version,
            last_returned: None,
            filled: false,
        }],
        writes: vec![set("log/x", 1)],
        ..CommitRequest::default()
    };
    assert_eq!(request(&database, ranged(first)).await, Err(CommitError::QueryMoved));
    assert!(request(&database, ranged(version)).await.is_ok());
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_a_key_writes_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let keyed = |n| CommitRequest {
        key: Some(RequestKey { key: "k".into(), request: 1 }),
        writes: vec![set("rooms/keyed", n)],
        ..CommitRequest::default()
    };
    let (version, token) = {
        let engine = on_disk(folder.path(), clock.clone());
        let database = main_database(&engine);
        commit(&database, vec![set("rooms/a", 1)]).await;
        let token = database.query(&asked(&database, rooms()), None).await.unwrap().token;
        let version = request(&database, keyed(7)).await.unwrap();
        assert_eq!(request(&database, keyed(8)).await, Ok(version));
        drop(database);
        tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
        (version, token)
    };
    // A clock set back does not undercut what was handed out.
    clock.set(NOW - 1_000_000);
    let engine = on_disk(folder.path(), clock);
    let database = main_database(&engine);
    assert_eq!(database.visible(), version);
    assert_eq!(request(&database, keyed(9)).await, Ok(version));
    let other = CommitRequest { key: Some(RequestKey { key: "k".into(), request: 2 }), ..CommitRequest::default() };
    assert_eq!(request(&database, other).await, Err(CommitError::KeyReused { key: "k".into() }));
    assert!(commit(&database, vec![set("rooms/b", 2)]).await > version);
    let Opening::Since(event) = database.since(&asked(&database, rooms()), &token).await.unwrap() else {
        panic!("a token outlives a restart")
    };
    assert_eq!(event.event.changes.len(), 2);
}

#[tokio::test]
async fn a_state_that_is_gone_is_rebuilt_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = on_disk(folder.path(), clock.clone());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1), set("rooms/b", 1)]).await;
    let version = commit(&database, vec![delete("rooms/b")]).await;
    drop(database);
    let state = {
        let closing = engine.clone();
        tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
        drop(engine);
        folder.path().join("state")
    };
    std::fs::remove_dir_all(&state).unwrap();
    let engine = on_disk(folder.path(), clock);
    let database = main_database(&engine);
    let answer = database.query(&asked(&database, rooms()), None).await.unwrap();
    assert_eq!((answer.version, answer.docs.len()), (version, 1));
    let earlier = Version::from_micros(version.micros() - 1);
    assert_eq!(database.query(&asked(&database, rooms()), Some(earlier)).await.unwrap().docs.len(), 2);
}

#[tokio::test]
async fn history_goes_when_it_is_old_and_what_is_current_stays() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = on_disk(folder.path(), clock.clone());
    let database = main_database(&engine);
    let first = commit(&database, vec![set("rooms/a", 1), set("rooms/gone", 1)]).await;
    let token = database.query(&asked(&database, rooms()), None).await.unwrap().token;
    commit(&database, vec![set("rooms/a", 2), delete("rooms/gone")]).await;
    clock.set(NOW + 2 * 3_600 * 1_000_000);
    let kept = commit(&database, vec![set("rooms/a", 3)]).await;
    // What is not applied is not removed: wait for the applier's next round.
    let start = |database: &Database| database.history_start();
    while start(&database) <= first {
        tokio::task::yield_now().await;
        let one = database.clone();
        tokio::task::spawn_blocking(move || one.maintain()).await.unwrap().unwrap();
    }
    assert!(engine.metrics().versions_removed.get() >= 2);
    let query = asked(&database, rooms());
    let forgotten = database.query(&query, Some(first)).await;
    assert!(matches!(forgotten, Err(ReadError::Forgotten { at, .. }) if at == first), "{forgotten:?}");
    let answer = database.query(&query, None).await.unwrap();
    assert_eq!((answer.version, answer.docs.len()), (kept, 1));
    let Opening::Whole { reset: true, .. } = database.since(&query, &token).await.unwrap() else {
        panic!("a token before the history starts anew")
    };
    let group = asked(&database, QuerySpec::all(Source::Group { below: None, id: Id::parse("rooms").unwrap() }));
    assert_eq!(database.query(&group, None).await.unwrap().docs.len(), 1);
}

#[tokio::test]
async fn the_start_of_history_stays_where_nothing_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = on_disk(folder.path(), clock.clone());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    drop(database);
    // What was committed is applied when it is opened again.
    tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
    // The hour that is kept begins before the first commit. Before that there was nothing, and that can still be read.
    clock.set(NOW + 3_599_000_000);
    let engine = on_disk(folder.path(), clock);
    let database = main_database(&engine);
    let one = database.clone();
    tokio::task::spawn_blocking(move || one.maintain()).await.unwrap().unwrap();
    assert_eq!(database.history_start(), Version::ZERO);
    let beginning = database.query(&asked(&database, rooms()), Some(Version::from_micros(1))).await.unwrap();
    assert!(beginning.docs.is_empty());
}

#[tokio::test]
async fn a_read_of_a_time_that_has_passed_is_never_undercut() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    let at = Version::from_micros(engine.clock().micros());
    let answer = database.query(&asked(&database, rooms()), Some(at)).await.unwrap();
    assert_eq!(answer.version, at);
    assert!(commit(&database, vec![set("rooms/a", 2)]).await > at);
    let future = Version::from_micros(NOW + 5_000_000);
    let refused = database.query(&asked(&database, rooms()), Some(future)).await;
    assert!(matches!(refused, Err(ReadError::NotYet { .. })));
}

fn subtree(database: &Database, at: &str) -> crate::Authorized<crate::Subtree> {
    let subtree = match at.split('/').count() % 2 {
        0 => crate::Subtree::Document(path(at)),
        _ => crate::Subtree::Collection(CollectionPath::parse(at).unwrap()),
    };
    database.authorize_subtree(&Caller::Anonymous, subtree).unwrap()
}

async fn left(database: &Database) -> String {
    let answer = database.query(&asked(database, QuerySpec::all(Source::Below(None))), None).await.unwrap();
    answer.docs.iter().map(|document| document.path.as_str()).collect::<Vec<_>>().join(" ")
}

/// How many changes each commit above a version made.
async fn commits_after(database: &Database, mut after: Version) -> Vec<usize> {
    let (feed, mut commits) = (database.authorize_feed(&Caller::Admin).unwrap(), Vec::new());
    while after < database.visible() {
        let page = database.feed(&feed, after, 1).await.unwrap();
        commits.extend(page.commits.iter().map(|commit| commit.changes.len()));
        after = page.version;
    }
    commits
}

fn text_of(at: &str, bytes: usize) -> Write {
    let fields = Map::from([("t".into(), Value::Text("x".repeat(bytes).into()))]);
    Write::build(path(at), Operation::Set(fields), Precondition::None, vec![]).unwrap()
}

#[tokio::test]
async fn a_subtree_goes_as_one_commit_with_all_that_lies_under_missing_documents() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let all = ["a/x", "a/x/b/y", "a/x/b/y/c/z", "a/missing/b/y/c/z", "a/x1/b/y", "a!/x", "aa/x", "b/x"];
    commit(&database, all.iter().map(|at| set(at, 1)).collect()).await;
    let deleted = database.delete_subtree(&subtree(&database, "a/x")).await.unwrap();
    assert_eq!((deleted.docs, deleted.version), (3, database.visible()));
    assert_eq!(left(&database).await, "a/missing/b/y/c/z a/x1/b/y a!/x aa/x b/x");
    assert_eq!(database.delete_subtree(&subtree(&database, "a/missing/b")).await.unwrap().docs, 1);
    commit(&database, vec![set("a/missing/b/y/c/z", 1), set("a/x", 1)]).await;
    let before = database.visible();
    let deleted = database.delete_subtree(&subtree(&database, "a")).await.unwrap();
    assert_eq!((deleted.docs, left(&database).await.as_str()), (3, "a!/x aa/x b/x"));
    assert_eq!(commits_after(&database, before).await, [3]);
    let nothing = database.delete_subtree(&subtree(&database, "a")).await.unwrap();
    assert_eq!((nothing.docs, nothing.version), (0, database.visible()));
}

#[tokio::test]
async fn what_is_more_than_a_commit_goes_in_several_each_within_its_limits() {
    const DOCS: usize = 25_000;
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    for chunk in (0..DOCS).collect::<Vec<_>>().chunks(9_000) {
        commit(&database, chunk.iter().map(|n| set(&format!("a/{}/b/{n}", n % 7), *n as i64)).collect()).await;
    }
    commit(&database, vec![set("b/x", 1)]).await;
    let before = database.visible();
    let deleted = database.delete_subtree(&subtree(&database, "a")).await.unwrap();
    assert_eq!((deleted.docs, left(&database).await.as_str()), (DOCS as u64, "b/x"));
    assert_eq!(commits_after(&database, before).await, [10_000, 10_000, 5_000]);
    // Large documents count as what they hold, since an event may have to tell what was there.
    let engine = in_memory(Limits { commit_bytes_max: 2_000, ..Limits::default() });
    let database = main_database(&engine);
    for at in ["a/1", "a/2", "a/3"] {
        commit(&database, vec![text_of(at, 900)]).await;
    }
    let before = database.visible();
    assert_eq!(database.delete_subtree(&subtree(&database, "a")).await.unwrap().docs, 3);
    assert_eq!(commits_after(&database, before).await, [2, 1]);
}

#[tokio::test]
async fn the_change_feed_comes_in_pages_of_whole_commits_and_few_bytes() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let feed = database.authorize_feed(&Caller::Admin).unwrap();
    for n in 0..8 {
        commit(&database, vec![text_of(&format!("a/{n}"), 1_000_000)]).await;
    }
    let (mut after, mut pages) = (Version::ZERO, Vec::new());
    while after < database.visible() {
        let page = database.feed(&feed, after, 1_000).await.unwrap();
        pages.push(page.commits.len());
        after = page.version;
    }
    assert_eq!(pages, [5, 3]);
}

#[tokio::test]
async fn the_change_feed_tells_each_commit_with_both_sides() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    let feed = database.authorize_feed(&Caller::Anonymous).unwrap();
    let first = commit(&database, vec![set("rooms/a", 1), set("rooms/b", 1)]).await;
    let second = commit(&database, vec![set("rooms/a", 2)]).await;
    let page = database.feed(&feed, Version::ZERO, 1).await.unwrap();
    assert_eq!((page.commits.len(), page.version, page.reset), (1, first, false));
    let page = database.feed(&feed, page.version, 10).await.unwrap();
    assert_eq!((page.commits.len(), page.version), (1, second));
    let change = &page.commits[0].changes[0];
    let n = |side: &Option<Arc<hearth_core::Document>>| side.as_ref().and_then(|doc| doc.fields.get("n").cloned());
    assert_eq!((n(&change.before), n(&change.after)), (Some(Value::Integer(1)), Some(Value::Integer(2))));
}

#[tokio::test]
async fn a_token_of_another_query_is_refused_and_one_of_another_life_starts_anew() {
    let engine = in_memory(Limits::default());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    let token = database.query(&asked(&database, rooms()), None).await.unwrap().token;
    let foreign = database.since(&asked(&database, by_n(1)), &token).await;
    assert!(matches!(foreign, Err(ReadError::ForeignToken)));
    let earlier_life = Token { epoch: token.epoch ^ 1, ..token };
    let anew = database.since(&asked(&database, rooms()), &earlier_life).await.unwrap();
    assert!(matches!(anew, Opening::Whole { reset: true, .. }));
}

#[tokio::test]
async fn databases_are_apart_and_idle_ones_make_room() {
    let engine = in_memory(Limits { databases_open_max: 2, ..Limits::default() });
    let name = |project: &str| DatabaseName::parse(project, DatabaseName::DEFAULT).unwrap();
    let one = engine.database(&name("one")).unwrap();
    commit(&one, vec![set("rooms/a", 1)]).await;
    let two = engine.database(&name("two")).unwrap();
    assert!(two.query(&asked(&two, rooms()), None).await.unwrap().docs.is_empty());
    assert!(engine.database(&name("three")).is_err());
    drop(two);
    let opening = engine.clone();
    let three = tokio::task::spawn_blocking(move || opening.database(&name("three"))).await.unwrap();
    assert!(three.is_ok());
    assert_eq!(one.query(&asked(&one, rooms()), None).await.unwrap().docs.len(), 1);
}

fn opened(name: DatabaseName, log: Box<dyn CommitLog>) -> Opened {
    Opened { name, number: 1, epoch: 1, log, archive: None, progress: Arc::default() }
}

/// A log that fails when it is told to.
struct Failing {
    inner: NoLog,
    failures: Arc<Mutex<VecDeque<Option<AppendError>>>>,
}

impl CommitLog for Failing {
    fn append(&mut self, group: &[Entry]) -> Result<(), AppendError> {
        match self.failures.lock().unwrap().pop_front().flatten() {
            Some(error) => Err(error),
            None => self.inner.append(group),
        }
    }

    fn replay(
        &self,
        _: Version,
        _: &mut dyn FnMut(Entry) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<(), ReplayError> {
        Ok(())
    }

    fn start(&self) -> Version {
        Version::ZERO
    }

    fn last(&self) -> Version {
        self.inner.last()
    }

    fn size_bytes(&self) -> u64 {
        0
    }

    fn holds(&self, _: Version) -> Result<bool, LogError> {
        Ok(true)
    }

    fn bytes_above(&self, _: Version) -> u64 {
        0
    }

    fn drop_before(&mut self, _: Version) -> Result<u64, LogError> {
        Ok(0)
    }

    fn read_only(&self) -> Option<Arc<str>> {
        None
    }

    fn close(&mut self) {}
}

/// What the log is to fail with, append by append.
type Failures = Arc<Mutex<VecDeque<Option<AppendError>>>>;

fn full() -> AppendError {
    AppendError::NotApplied { cause: io::ErrorKind::StorageFull.into() }
}

/// A database in memory on a log that fails as told.
fn on_failing(failures: &Failures) -> (Database, Arc<crate::Metrics>) {
    let limits = Arc::new(Limits::default());
    let clock = Arc::new(ManualClock::at(NOW));
    let crew: Arc<dyn Crew> = Arc::new(Threads::new(|job| job()));
    let common = Common {
        store: Arc::new(Memory::new()),
        time: Arc::new(Time::new(clock.clone(), limits.clock_leap_max, Arc::default())),
        clock,
        limits: limits.clone(),
        metrics: Arc::default(),
        access: Access::Open,
        applier: Applier::start(&*crew).unwrap(),
        crew,
        queries: Arc::new(Semaphore::new(1)),
    };
    let log = Box::new(Failing { inner: NoLog::new(), failures: failures.clone() });
    let name = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
    (Database::open(opened(name, log), &common).unwrap(), common.metrics)
}

#[tokio::test]
async fn a_commit_whose_log_write_failed_is_as_if_it_never_was() {
    let failures = Failures::default();
    let (database, metrics) = on_failing(&failures);
    let outbox = Outbox::bounded(1 << 20, metrics);
    listen(&database, rooms(), &outbox, 1).await;
    let keyed = || CommitRequest {
        key: Some(RequestKey { key: "k".into(), request: 1 }),
        writes: vec![set("rooms/a", 1)],
        ..CommitRequest::default()
    };
    failures.lock().unwrap().push_back(Some(full()));
    assert!(matches!(request(&database, keyed()).await, Err(CommitError::NotApplied { .. })));
    let nobody = database.authorize_get(&Caller::Anonymous, path("rooms/a")).unwrap();
    assert_eq!(database.get(&nobody, None).await.unwrap().document, None);
    assert!(outbox.try_next().is_none());
    // The same key again is a first time, and a create finds nothing in its way.
    assert!(request(&database, keyed()).await.is_ok());
    next(&outbox).await;
    let unknown = AppendError::Unknown { cause: io::ErrorKind::Other.into() };
    failures.lock().unwrap().push_back(Some(unknown));
    let told = request(&database, CommitRequest { writes: vec![set("rooms/b", 1)], ..CommitRequest::default() }).await;
    assert!(matches!(told, Err(CommitError::Unknown { .. })));
    assert!(outbox.try_next().is_none());
}

#[tokio::test]
async fn a_read_of_a_version_that_the_log_cannot_reach_is_refused_and_not_kept_waiting() {
    let failures = Failures::default();
    let (database, _) = on_failing(&failures);
    let nobody = database.authorize_get(&Caller::Anonymous, path("rooms/a")).unwrap();
    let now = Version::from_micros(NOW);
    failures.lock().unwrap().push_back(Some(full()));
    let refused = database.get(&nobody, Some(now)).await;
    assert!(matches!(refused, Err(ReadError::NotReached { at, .. }) if at == now), "{refused:?}");
    // Where there is space again it is reached.
    assert_eq!(database.get(&nobody, Some(now)).await.unwrap().version, now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_and_listeners_agree_at_every_version() {
    let engine = in_memory(Limits { outbox_bytes_max: 6_000, ..Limits::default() });
    let database = main_database(&engine);
    // However busy the machine: some commits come before the listeners, and most after.
    let listening = Arc::new(Semaphore::new(0));
    let writers = (0..4).map(|writer| {
        let (database, listening) = (database.clone(), listening.clone());
        tokio::spawn(async move {
            let mut last = Version::ZERO;
            for n in 0..150_i64 {
                if n == 30 {
                    listening.acquire().await.unwrap().forget();
                }
                let room = format!("rooms/r{}", (n * 7 + writer * 3) % 13);
                let write = if (n + writer) % 5 == 0 { delete(&room) } else { set(&room, n % 9) };
                last = commit(&database, vec![write]).await;
            }
            last
        })
    });
    let writers: Vec<_> = writers.collect();
    let specs = [rooms(), by_n(3), QuerySpec { limit: Some(Limit::Last(4)), ..by_n(1) }, {
        let field = FieldPath::parse("n").unwrap();
        QuerySpec {
            filter: Some(Filter::Field { field, operator: Operator::Greater, value: Value::Integer(4) }),
            ..rooms()
        }
    }];
    let outbox = Outbox::new(&engine);
    let mut shown = Vec::new();
    for (target, spec) in (0..).zip(&specs) {
        let (one, opening) = listen(&database, spec.clone(), &outbox, target).await;
        shown.push((one, opening.version()));
    }
    listening.add_permits(4);
    let mut done = tokio::spawn(async move {
        let mut last = Version::ZERO;
        for writer in writers {
            last = last.max(writer.await.unwrap());
        }
        last
    });
    let mut checked = 0;
    let mut last = None;
    loop {
        let delivery = match last {
            None => tokio::select! {
                delivery = outbox.next() => delivery,
                finished = &mut done => {
                    last = Some(finished.unwrap());
                    continue;
                }
            },
            Some(version) => match outbox.try_next() {
                Some(delivery) => delivery,
                None if outbox.holds(version) => {
                    outbox.settled(version).await;
                    continue;
                }
                None => break,
            },
        };
        let mut touched = Vec::new();
        match delivery {
            Delivery::Events { version, events } => {
                for (target, event) in events {
                    let (one, at) = &mut shown[target as usize];
                    assert!(version > *at, "versions rise");
                    one.fold(&event.event.changes, event.event.size);
                    *at = version;
                    touched.push(target);
                }
            }
            Delivery::Lagged(target) => {
                let opening = database.catch_up(&outbox, target).await.unwrap();
                let (one, at) = &mut shown[target as usize];
                assert!(opening.version() >= *at);
                one.open(&opening);
                *at = opening.version();
                touched.push(target);
            }
            Delivery::Closing => panic!("nobody closes"),
        }
        for target in touched {
            let (one, at) = &shown[target as usize];
            let answer = database.query(&asked(&database, specs[target as usize].clone()), Some(*at)).await.unwrap();
            let truth: Vec<String> = answer.docs.iter().map(|doc| Shown::line(doc)).collect();
            assert_eq!(one.0, truth, "listener {target} at {at}");
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} snapshots were checked");
    for (target, spec) in specs.iter().enumerate() {
        let answer = database.query(&asked(&database, spec.clone()), None).await.unwrap();
        let truth: Vec<String> = answer.docs.iter().map(|doc| Shown::line(doc)).collect();
        assert_eq!(shown[target].0.0, truth);
    }
}

#[tokio::test]
async fn a_long_result_comes_in_pages_of_one_version() {
    let limits = Limits { page_docs_max: 3, page_rows_max: 5, result_docs_max: 4, ..Limits::default() };
    let engine = in_memory(limits);
    let database = main_database(&engine);
    let writes = |n: i64| (0..20).map(move |id| set(&format!("rooms/{id:02}"), (id * 7 + n) % 20)).collect();
    let at = commit(&database, writes(0)).await;
    let n = || FieldPath::parse("n").unwrap();
    let by_n = |direction| vec![Order { field: n(), direction }];
    let specs = [
        rooms(),
        QuerySpec { orders: by_n(Direction::Ascending), ..rooms() },
        QuerySpec { orders: by_n(Direction::Descending), limit: Some(Limit::First(11)), offset: 4, ..rooms() },
        QuerySpec { orders: by_n(Direction::Ascending), limit: Some(Limit::Last(13)), ..rooms() },
        QuerySpec { limit: Some(Limit::First(3)), ..rooms() },
        QuerySpec { limit: Some(Limit::First(0)), ..rooms() },
        QuerySpec { offset: 50, ..rooms() },
        QuerySpec { filter: Some(Filter::field(n(), Operator::Greater, Value::Integer(9))), ..rooms() },
    ];
    let shown = |docs: &[Arc<hearth_core::Document>]| docs.iter().map(|doc| Shown::line(doc)).collect::<Vec<_>>();
    for spec in specs {
        let mut pages = database.pages(&asked(&database, spec.clone()), at);
        let (mut got, mut longest) = (Vec::new(), 0);
        loop {
            let page = pages.next().await.unwrap();
            // What is written meanwhile is not seen.
            commit(&database, writes(got.len() as i64 + 1)).await;
            longest = longest.max(page.len());
            if page.is_empty() {
                break;
            }
            got.extend(shown(&page));
        }
        assert!(pages.is_over());
        let whole = in_memory(Limits::default());
        let whole = main_database(&whole);
        commit(&whole, writes(0)).await;
        let answer = whole.query(&asked(&whole, spec.clone()), None).await.unwrap();
        assert_eq!(got, shown(&answer.docs), "{spec:?}");
        assert!(longest <= 3, "{longest}");
        assert_eq!(pages.skipped(), spec.offset.min(20));
    }
    assert!(matches!(database.query(&asked(&database, rooms()), Some(at)).await, Err(ReadError::TooMany { .. })));
}
