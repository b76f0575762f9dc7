//! The Listen stream by its rules: a session before a real engine in memory, told in lines of text.
//!
//! Versions count from the clock's fixed time, in microseconds.

use std::sync::Arc;

use expect_test::{Expect, expect};
use hearth_auth::Caller;
use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{Map, Value};
use hearth_engine::{
    Access, Backing, CommitRequest, Database, Delivery, Engine, Limits, ManualClock, Options, Outbox, Projects,
};
use hearth_schema::v1::structured_query::{
    CollectionSelector, FieldFilter, FieldReference, Filter, field_filter, filter,
};
use hearth_schema::well_known::Int32Value;

use super::*;

const NOW: u64 = 1_700_000_000_000_000;

struct Stream {
    database: Database,
    clock: Arc<ManualClock>,
    engine: Engine,
    outbox: Outbox,
    session: Session,
    lines: Vec<String>,
    /// Openings that wait until they are let in.
    held: Option<Vec<Input>>,
}

fn root() -> String {
    "projects/p/databases/(default)/documents".into()
}

impl Stream {
    async fn new(limits: Limits) -> Self {
        let options = Options { limits, access: Access::Open, projects: Projects::Any, default_project: None };
        let clock = Arc::new(ManualClock::at(NOW));
        let (engine, _) = Engine::start(Backing::Memory, options, clock.clone()).unwrap();
        let database = engine.database(&DatabaseName::parse("p", "(default)").unwrap()).unwrap();
        let session = Session::new(database.name().clone(), database.epoch(), Bounds::Relaxed);
        let outbox = Outbox::new(&engine);
        let stream = Self { database, clock, engine, outbox, session, lines: Vec::new(), held: None };
        stream.write(&[("other/x", Some(0))]).await;
        stream
    }

    /// The same database, another stream.
    fn reconnect(&mut self) {
        self.session = Session::new(self.database.name().clone(), self.database.epoch(), Bounds::Relaxed);
        self.outbox = Outbox::new(&self.engine);
    }

    async fn write(&self, documents: &[(&str, Option<i64>)]) -> Version {
        let writes = documents.iter().map(|(path, n)| {
            let operation = match n {
                Some(n) => Operation::Set(Map::from([("n".into(), Value::Integer(*n))])),
                None => Operation::Delete,
            };
            Write::build(DocPath::parse(path).unwrap(), operation, Precondition::None, vec![]).unwrap()
        });
        let request = CommitRequest { writes: writes.collect(), ..CommitRequest::default() };
        let request = self.database.authorize_commit(&Caller::Admin, request).unwrap();
        self.database.commit(request).await.unwrap().version
    }

    async fn left(&self, events: impl Iterator<Item = &Arc<SharedEvent>>, version: Version) -> Left {
        let mut left = Left::new();
        for change in events.flat_map(|event| &event.event.changes).filter(|change| change.kind == Kind::Removed) {
            let path = self.database.authorize_get(&Caller::Admin, change.path.clone()).unwrap();
            let got = self.database.get(&path, Some(version)).await.unwrap();
            left.insert(change.path.clone(), got.document.map_or(Leaving::Deleted, Leaving::Changed));
        }
        left
    }

    async fn drain(&mut self) {
        while let Some(delivery) = self.outbox.try_next() {
            let input = match delivery {
                Delivery::Events { version, events } => {
                    let left = self.left(events.iter().map(|(_, event)| event), version).await;
                    Input::Events { version, events, left }
                }
                Delivery::Lagged(target) => Input::Lagged(target),
                Delivery::Closing => Input::Closing,
            };
            self.session.input(input);
        }
    }

    /// Does what the session wants until it wants nothing more.
    async fn pump(&mut self) {
        while let Some(output) = self.session.output() {
            match output {
                Output::Send(response) => self.lines.push(line(response)),
                Output::End(refusal) => self.lines.push(format!("end {refusal}")),
                Output::Close(target) => self.database.unlisten(&self.outbox, target),
                Output::Open { target, query, since } => {
                    let query = self.database.authorize_query(&Caller::Admin, query).unwrap();
                    let opening = self.database.listen(query, &self.outbox, target, since.as_ref()).await;
                    self.let_in(target, opening.map_err(Refusal::from)).await;
                }
                Output::CatchUp(target) => {
                    let opening = self.database.catch_up(&self.outbox, target).await;
                    self.let_in(target, opening.map_err(Refusal::from)).await;
                }
                Output::Settle(version) => {
                    self.database.passed(version).await;
                    self.outbox.settled(version).await;
                    self.drain().await;
                    self.session.input(Input::Settled(version));
                }
            }
        }
    }

    async fn let_in(&mut self, target: TargetId, opening: Result<Opening, Refusal>) {
        let left = match &opening {
            Ok(Opening::Since(event)) => self.left([event].into_iter(), event.event.version).await,
            _ => Left::new(),
        };
        let input = Input::Opened(target, opening, left);
        match &mut self.held {
            Some(held) => held.push(input),
            None => self.session.input(input),
        }
    }

    async fn ask(&mut self, change: listen_request::TargetChange) {
        let request = v1::ListenRequest { target_change: Some(change), ..Default::default() };
        self.session.input(Input::Request(Box::new(request)));
        self.pump().await;
    }

    async fn add(&mut self, target: v1::Target) {
        self.ask(listen_request::TargetChange::AddTarget(target)).await;
    }

    async fn remove(&mut self, id: i32) {
        self.ask(listen_request::TargetChange::RemoveTarget(id)).await;
    }

    /// Takes what came since, up to a commit.
    async fn hear(&mut self, version: Version) {
        self.database.passed(version).await;
        self.outbox.settled(version).await;
        self.drain().await;
        self.pump().await;
    }

    #[track_caller]
    fn check(&mut self, want: Expect) {
        want.assert_eq(&(std::mem::take(&mut self.lines).join("\n") + "\n"));
    }
}

fn line(response: v1::ListenResponse) -> String {
    let at = |time: Option<hearth_schema::wkt::Timestamp>| match time {
        Some(time) => format!(" @{}", time.micros().unwrap() - NOW as i64),
        None => String::new(),
    };
    let short = |name: &str| name.strip_prefix(&(root() + "/")).unwrap().to_owned();
    match response.response_type.unwrap() {
        ResponseType::TargetChange(change) => {
            let kind = change.target_change_type().as_str_name();
            let cause = change.cause.map(|cause| format!(" {} {}", cause.code, cause.message)).unwrap_or_default();
            let token = if change.resume_token.is_empty() { "" } else { " token" };
            format!("{kind} {:?}{}{token}{cause}", change.target_ids, at(change.read_time))
        }
        ResponseType::DocumentChange(change) => {
            let document = change.document.unwrap();
            let n = document
                .fields
                .get("n")
                .map(|value| format!("{:?}", crate::convert::value_from(value.clone()).unwrap()));
            let n = n.unwrap_or_default();
            format!("{} {n} in {:?} out {:?}", short(&document.name), change.target_ids, change.removed_target_ids)
        }
        ResponseType::DocumentDelete(change) => {
            format!("{} deleted{} out {:?}", short(&change.document), at(change.read_time), change.removed_target_ids)
        }
        ResponseType::DocumentRemove(change) => {
            format!("{} removed{} out {:?}", short(&change.document), at(change.read_time), change.removed_target_ids)
        }
        ResponseType::Filter(filter) => {
            let bits = filter.unchanged_names.unwrap().bits.unwrap().bitmap.len() * 8;
            format!("filter {} count {} of {bits} bits", filter.target_id, filter.count)
        }
    }
}

fn query(id: i32, collection: &str, below: Option<i64>, limit: Option<i32>) -> v1::Target {
    let filter = below.map(|n| Filter {
        filter_type: Some(filter::FilterType::FieldFilter(FieldFilter {
            field: Some(FieldReference { field_path: "n".into() }),
            op: field_filter::Operator::LessThan as i32,
            value: Some(crate::convert::value(&Value::Integer(n))),
        })),
    });
    let structured = v1::StructuredQuery {
        from: vec![CollectionSelector { collection_id: collection.into(), all_descendants: false }],
        r#where: filter,
        limit: limit.map(|value| Int32Value { value }),
        ..Default::default()
    };
    let query_type = Some(target::query_target::QueryType::StructuredQuery(structured));
    let target_type = Some(target::TargetType::Query(target::QueryTarget { parent: root(), query_type }));
    v1::Target { target_id: id, target_type, ..Default::default() }
}

fn documents(id: i32, paths: &[&str]) -> v1::Target {
    let documents = paths.iter().map(|path| format!("{}/{path}", root())).collect();
    let target_type = Some(target::TargetType::Documents(target::DocumentsTarget { documents }));
    v1::Target { target_id: id, target_type, ..Default::default() }
}

fn token(version: Version, stream: &Stream) -> Option<target::ResumeType> {
    Some(target::ResumeType::ResumeToken(Resume { version, epoch: stream.database.epoch() }.bytes()))
}

#[tokio::test]
async fn a_target_is_added_filled_current_and_then_told_by_one_snapshot_a_commit() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.write(&[("rooms/a", Some(1)), ("rooms/b", Some(2))]).await;
    stream.add(query(2, "rooms", None, None)).await;
    stream.check(expect![[r#"
        ADD [2]
        rooms/a Integer(1) in [2] out []
        rooms/b Integer(2) in [2] out []
        CURRENT [2] @1 token
        NO_CHANGE [] @1 token
    "#]]);
    let version = stream.write(&[("rooms/b", Some(3)), ("rooms/a", None), ("rooms/c", Some(4))]).await;
    stream.hear(version).await;
    stream.check(expect![[r#"
        rooms/a deleted @2 out [2]
        rooms/b Integer(3) in [2] out []
        rooms/c Integer(4) in [2] out []
        NO_CHANGE [] @2 token
    "#]]);
}

#[tokio::test]
async fn a_document_of_many_targets_is_sent_once_and_says_which_it_left() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.write(&[("rooms/a", Some(1))]).await;
    stream.add(query(2, "rooms", None, None)).await;
    stream.add(query(4, "rooms", Some(5), None)).await;
    stream.add(documents(6, &["rooms/a", "rooms/z"])).await;
    stream.check(expect![[r#"
        ADD [2]
        rooms/a Integer(1) in [2] out []
        CURRENT [2] @1 token
        NO_CHANGE [] @1 token
        ADD [4]
        rooms/a Integer(1) in [4] out []
        CURRENT [4] @1 token
        NO_CHANGE [] @1 token
        ADD [6]
        rooms/a Integer(1) in [6] out []
        CURRENT [6] @1 token
        NO_CHANGE [] @1 token
    "#]]);
    let version = stream.write(&[("rooms/a", Some(9))]).await;
    stream.hear(version).await;
    stream.check(expect![[r#"
        rooms/a Integer(9) in [2, 6] out [4]
        NO_CHANGE [] @2 token
    "#]]);
    let version = stream.write(&[("rooms/a", None)]).await;
    stream.hear(version).await;
    stream.check(expect![[r#"
        rooms/a deleted @3 out [2, 6]
        NO_CHANGE [] @3 token
    "#]]);
}

#[tokio::test]
async fn a_removed_target_is_acknowledged_once_and_its_number_is_free_again() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.add(query(2, "rooms", None, None)).await;
    stream.lines.clear();
    stream.remove(2).await;
    stream.remove(2).await;
    stream.add(query(2, "rooms", None, None)).await;
    stream.check(expect![[r#"
        REMOVE [2]
        ADD [2]
        CURRENT [2] @0 token
        NO_CHANGE [] @0 token
    "#]]);
    stream.add(query(2, "rooms", None, None)).await;
    stream.check(expect![[r#"
        end InvalidArgument: There is a target 2 already; remove it first
    "#]]);
}

#[tokio::test]
async fn a_target_that_cannot_be_served_ends_alone_and_with_its_cause() {
    let mut stream = Stream::new(Limits { listeners_per_connection_max: 1, ..Limits::default() }).await;
    stream.add(query(2, "rooms", None, None)).await;
    stream.lines.clear();
    stream.add(query(4, "rooms", None, Some(-1))).await;
    stream.add(query(6, "other", None, None)).await;
    stream.add(v1::Target { target_id: 8, ..Default::default() }).await;
    stream.check(expect![[r#"
        REMOVE [4] 3 limit is negative: -1
        ADD [6]
        REMOVE [6] 8 the connection has 1 listeners already
        REMOVE [8] 12 Only queries and documents can be listened to
    "#]]);
    let version = stream.write(&[("rooms/a", Some(1))]).await;
    stream.hear(version).await;
    stream.check(expect![[r#"
        rooms/a Integer(1) in [2] out []
        NO_CHANGE [] @1 token
    "#]]);
}

#[tokio::test]
async fn once_ends_with_the_first_snapshot_and_number_zero_is_chosen_here() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.add(v1::Target { once: true, ..query(0, "rooms", None, None) }).await;
    stream.check(expect![[r#"
        ADD [1]
        CURRENT [1] @0 token
        NO_CHANGE [] @0 token
        REMOVE [1]
    "#]]);
}

#[tokio::test]
async fn a_token_brings_what_has_changed_and_a_foreign_one_everything() {
    let mut stream = Stream::new(Limits::default()).await;
    let then = stream.write(&[("rooms/a", Some(1)), ("rooms/b", Some(2)), ("rooms/c", Some(3))]).await;
    stream.write(&[("rooms/a", None), ("rooms/b", Some(9)), ("rooms/d", Some(4))]).await;
    let resume_type = token(then, &stream);
    stream.add(v1::Target { resume_type, ..query(2, "rooms", Some(5), None) }).await;
    stream.check(expect![[r#"
        ADD [2]
        rooms/a deleted @2 out [2]
        rooms/b Integer(9) in [] out [2]
        rooms/d Integer(4) in [2] out []
        CURRENT [2] @2 token
        NO_CHANGE [] @2 token
    "#]]);
    let mut told = Vec::new();
    for resume in [b"garbage".to_vec(), Resume { version: then, epoch: 1 }.bytes()] {
        stream.reconnect();
        let resume_type = Some(target::ResumeType::ResumeToken(resume));
        stream.add(v1::Target { resume_type, ..query(2, "rooms", Some(5), None) }).await;
        told.push(std::mem::take(&mut stream.lines));
    }
    stream.lines = told.remove(0);
    assert_eq!(stream.lines, told[0]);
    stream.check(expect![[r#"
        ADD [2]
        RESET [2]
        rooms/c Integer(3) in [2] out []
        rooms/d Integer(4) in [2] out []
        CURRENT [2] @2 token
        NO_CHANGE [] @2 token
    "#]]);
    stream.reconnect();
    let resume_type = Some(target::ResumeType::ReadTime(time(then)));
    stream.add(v1::Target { resume_type, ..documents(2, &["rooms/a"]) }).await;
    stream.check(expect![[r#"
        ADD [2]
        rooms/a deleted @2 out [2]
        CURRENT [2] @2 token
        NO_CHANGE [] @2 token
    "#]]);
}

#[tokio::test]
async fn where_history_is_gone_a_filter_says_what_is_left() {
    let mut stream = Stream::new(Limits::default()).await;
    let then = stream.write(&[("rooms/a", Some(1)), ("rooms/b", Some(2)), ("rooms/c", Some(3))]).await;
    stream.clock.set(NOW + 10 * 3_600_000_000);
    stream.write(&[("rooms/a", None), ("rooms/b", Some(9))]).await;
    stream.write(&[("other/y", Some(0))]).await;
    while stream.database.history_start() <= then {
        let engine = stream.engine.clone();
        tokio::task::spawn_blocking(move || engine.maintain()).await.unwrap();
    }
    let resume_type = token(then, &stream);
    let counted =
        v1::Target { expected_count: Some(Int32Value { value: 3 }), resume_type, ..query(2, "rooms", None, None) };
    stream.add(counted.clone()).await;
    stream.check(expect![[r#"
        ADD [2]
        rooms/b Integer(9) in [2] out []
        filter 2 count 2 of 16 bits
        CURRENT [2] @36000000001 token
        NO_CHANGE [] @36000000001 token
    "#]]);
    stream.reconnect();
    stream.add(v1::Target { expected_count: None, ..counted }).await;
    stream.check(expect![[r#"
        ADD [2]
        RESET [2]
        rooms/b Integer(9) in [2] out []
        rooms/c Integer(3) in [2] out []
        CURRENT [2] @36000000001 token
        NO_CHANGE [] @36000000001 token
    "#]]);
}

#[tokio::test]
async fn what_leaves_a_limit_is_sent_with_its_content() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.write(&[("rooms/b", Some(1)), ("rooms/c", Some(2))]).await;
    stream.add(query(2, "rooms", None, Some(2))).await;
    stream.lines.clear();
    let version = stream.write(&[("rooms/a", Some(0))]).await;
    stream.hear(version).await;
    stream.check(expect![[r#"
        rooms/a Integer(0) in [2] out []
        rooms/c Integer(2) in [] out [2]
        NO_CHANGE [] @2 token
    "#]]);
    let version = stream.write(&[("rooms/b", None)]).await;
    stream.hear(version).await;
    stream.check(expect![[r#"
        rooms/b deleted @3 out [2]
        rooms/c Integer(2) in [2] out []
        NO_CHANGE [] @3 token
    "#]]);
}

#[tokio::test]
async fn what_happens_while_a_target_opens_comes_after_its_beginning() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.add(query(2, "other", None, None)).await;
    stream.lines.clear();
    stream.held = Some(Vec::new());
    stream.add(query(4, "rooms", None, None)).await;
    let first = stream.write(&[("rooms/a", Some(1)), ("other/x", Some(1))]).await;
    stream.hear(first).await;
    stream.check(expect![[r#"
        ADD [4]
        other/x Integer(1) in [2] out []
        NO_CHANGE [] @1 token
    "#]]);
    for input in stream.held.take().unwrap() {
        stream.session.input(input);
    }
    stream.pump().await;
    stream.check(expect![[r#"
        CURRENT [4] @0 token
        rooms/a Integer(1) in [4] out []
        NO_CHANGE [] @1 token
    "#]]);
}

#[tokio::test]
async fn a_slow_reader_gets_no_snapshot_until_it_has_caught_up() {
    let mut stream = Stream::new(Limits { outbox_bytes_max: 500, ..Limits::default() }).await;
    stream.add(query(2, "rooms", None, None)).await;
    stream.lines.clear();
    let mut last = Version::ZERO;
    for n in 0..10 {
        last = stream.write(&[("rooms/a", Some(n))]).await;
    }
    stream.hear(last).await;
    stream.check(expect![[r#"
        rooms/a Integer(9) in [2] out []
        CURRENT [2] @10 token
        NO_CHANGE [] @10 token
    "#]]);
}

#[tokio::test]
async fn silence_is_broken_by_a_snapshot_and_a_stop_ends_the_stream() {
    let mut stream = Stream::new(Limits::default()).await;
    stream.session.input(Input::Beat(Version::from_micros(NOW)));
    stream.pump().await;
    assert!(stream.lines.is_empty(), "nobody listens");
    stream.add(query(2, "rooms", None, None)).await;
    stream.lines.clear();
    stream.session.input(Input::Beat(stream.database.visible()));
    stream.pump().await;
    stream.session.input(Input::Expired);
    stream.session.input(Input::Closing);
    stream.pump().await;
    stream.check(expect![[r#"
        NO_CHANGE [] @0 token
        end Unauthenticated: the token has expired
        end Unavailable: the server is stopping
    "#]]);
}
