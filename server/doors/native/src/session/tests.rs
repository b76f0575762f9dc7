//! The session on plain values: no socket, no engine, any order.

use super::*;
use expect_test::{Expect, expect};
use hearth_auth::{TokenError, User};
use hearth_core::query::{QuerySpec, Source};
use hearth_core::{CollectionPath, DatabaseName, DocPath, Document, Map, Value};
use hearth_engine::{Answer, Database};
use proptest::prelude::*;
use std::sync::LazyLock;

const LIMITS: Limits =
    Limits { listeners_max: 3, messages_max: 8, messages_bytes_max: 1_000, reads_max: 4, queue_bytes_max: 4_000_000 };

fn source() -> Source {
    Source::Collection(CollectionPath::parse("rooms").unwrap())
}

fn query() -> Arc<Query> {
    Arc::new(Query::build(QuerySpec::all(source())).unwrap())
}

fn asked() -> Box<Asked> {
    Box::new(Asked::all_of(source()))
}

fn token(version: u64) -> Token {
    Token { version: Version::from_micros(version), epoch: 1, query: 1 }
}

/// A result of so many documents.
fn rows(version: u64, docs: usize) -> Rows {
    let version = Version::from_micros(version);
    let doc = |n: usize| {
        let path = DocPath::parse(&format!("rooms/{n:05}")).unwrap();
        let fields = Map::from([("n".into(), Value::Integer(n as i64))]);
        Arc::new(Document { path, fields, created: version, updated: version })
    };
    let answer = Answer {
        version,
        token: token(version.micros()),
        docs: (0..docs).map(doc).collect(),
        aggregates: None,
        more: false,
        scanned: 0,
        read: 0,
        micros: 0,
    };
    Rows::new(
        query(),
        answer,
        DatabaseName::parse("demo", "(default)").unwrap(),
        hearth_engine::Limits::default().parts(),
    )
}

fn members(version: u64) -> Bytes {
    format!("\"version\":\"{version}\",\"changes\":[]").into()
}

fn user(uid: &str, expires_seconds: Option<u64>) -> Caller {
    Caller::user(User { uid: uid.into(), issuer: "i".into(), claims: Map::new(), expires_seconds })
}

/// A difference of a real engine: a session hands it on as it is.
fn difference() -> Difference {
    static ENGINE: LazyLock<(tokio::runtime::Runtime, Database, Arc<Query>, Token)> = LazyLock::new(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let entered = runtime.enter();
        let house = crate::drive::testing::House::open();
        let database = house.setting.database.clone();
        let asked = database.authorize_query(&Caller::Anonymous, query()).unwrap();
        let token = runtime.block_on(database.query(&asked, None)).unwrap().token;
        drop(entered);
        (runtime, database, query(), token)
    });
    let (runtime, database, query, token) = &*ENGINE;
    let asked = database.authorize_query(&Caller::Anonymous, query.clone()).unwrap();
    match runtime.block_on(database.since_in_parts(&asked, token)).unwrap() {
        hearth_engine::Opening::Since(difference) => difference,
        whole => panic!("{whole:?}"),
    }
}

/// A session with a clock that is moved by hand, and what it says, in short.
struct Rig {
    session: Session,
    now: Now,
}

impl Rig {
    fn new() -> Self {
        Self::of(Caller::Anonymous, LIMITS)
    }

    fn of(caller: Caller, limits: Limits) -> Self {
        let now = Now { elapsed: Duration::ZERO, seconds: 1_000 };
        Self { session: Session::new(now, caller, limits, Liveness::Pings), now }
    }

    fn tell(&mut self, input: Input) -> &mut Self {
        self.session.input(self.now, input);
        self
    }

    fn say(&mut self, id: u64, op: Op) -> &mut Self {
        self.tell(Input::Message(Ok(ClientMessage { id, op, bytes: 10 })))
    }

    fn listen(&mut self, id: u64) -> &mut Self {
        self.say(id, Op::Listen { asked: asked(), since: None })
    }

    fn get(&mut self, id: u64) -> &mut Self {
        self.say(id, Op::Get { asked: asked(), at: None })
    }

    fn commit(&mut self, id: u64) -> &mut Self {
        self.say(id, Op::Commit(Box::default()))
    }

    fn auth(&mut self, id: u64) -> &mut Self {
        self.say(id, Op::Auth { token: Secret("t".into()) })
    }

    fn opened(&mut self, id: u64, version: u64) -> &mut Self {
        let opening = Ok(Opening::Whole { rows: rows(version, 1), reset: false });
        self.tell(Input::Reply(Reply::Opened { id, opening }))
    }

    /// Caught up with a difference of which this is the first part.
    fn begun(&mut self, id: u64, version: u64) -> &mut Self {
        let (query, rest) = (query(), Some(difference()));
        let opening =
            Ok(Opening::Since { query, version: Version::from_micros(version), members: members(version), rest });
        self.tell(Input::Reply(Reply::Opened { id, opening }))
    }

    fn part(&mut self, id: u64, version: u64, last: bool) -> &mut Self {
        let outcome = Ok((members(version), (!last).then(difference)));
        self.tell(Input::Reply(Reply::Part { id, outcome }))
    }

    fn caught_up(&mut self, id: u64, version: u64) -> &mut Self {
        let opening = Ok(Opening::Since {
            query: query(),
            version: Version::from_micros(version),
            members: members(version),
            rest: None,
        });
        self.tell(Input::Reply(Reply::Opened { id, opening }))
    }

    fn committed(&mut self, id: u64, version: u64) -> &mut Self {
        let outcome = Ok((Version::from_micros(version), Bytes::from_static(b"[]")));
        self.tell(Input::Reply(Reply::Committed { id, outcome }))
    }

    fn authed(&mut self, id: u64, caller: Caller) -> &mut Self {
        self.tell(Input::Reply(Reply::Authed { id, caller: Ok(caller) }))
    }

    fn events(&mut self, version: u64, ids: &[u64]) -> &mut Self {
        let events = ids.iter().map(|id| (*id, members(version))).collect();
        self.tell(Input::Events { version: Version::from_micros(version), events })
    }

    fn passed(&mut self, version: u64) -> &mut Self {
        self.tell(Input::Passed(Version::from_micros(version)))
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now.elapsed += Duration::from_secs(seconds);
        self.now.seconds += seconds;
        self.tell(Input::Tick)
    }

    /// What it has to say by now.
    fn check(&mut self, want: Expect) -> &mut Self {
        let said: Vec<String> = std::iter::from_fn(|| self.session.output()).map(|output| short(&output)).collect();
        want.assert_eq(&said.join("; "));
        self
    }

    /// Leaves out what it has said so far.
    fn skip(&mut self) -> &mut Self {
        while self.session.output().is_some() {}
        self
    }
}

fn short(output: &Output) -> String {
    let who = |caller: &Caller| caller.uid().map_or(String::new(), |uid| format!(" as {uid}"));
    match output {
        Output::Send(message) => short_message(message),
        Output::Ping => "ping".into(),
        Output::Close(close) => format!("close {} {}", close.code, close.reason),
        Output::Ask(Ask::Listen { id, caller, .. }) => format!("ask listen {id}{}", who(caller)),
        Output::Ask(Ask::CatchUp { id, .. }) => format!("ask catch up {id}"),
        Output::Ask(Ask::Part { id, .. }) => format!("ask part {id}"),
        Output::Ask(Ask::Unlisten { id }) => format!("ask unlisten {id}"),
        Output::Ask(Ask::Recheck { id, caller, .. }) => format!("ask recheck {id}{}", who(caller)),
        Output::Ask(Ask::Get { id, caller, .. }) => format!("ask get {id}{}", who(caller)),
        Output::Ask(Ask::Commit { id, caller, .. }) => format!("ask commit {id}{}", who(caller)),
        Output::Ask(Ask::Auth { id, .. }) => format!("ask auth {id}"),
    }
}

fn short_message(message: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(message).unwrap();
    let mut text = format!("{} {}", json["ev"].as_str().unwrap(), json["id"]);
    if let Some(version) = json["version"].as_str() {
        text += &format!(" @{version}");
    }
    for list in ["changes", "docs"] {
        match json[list].as_array() {
            Some(items) if !items.is_empty() => text += &format!(" {} {list}", items.len()),
            _ => {}
        }
    }
    if json["reset"] == true {
        text += " reset";
    }
    if let Some(part) = json["part"].as_u64() {
        text += &format!(" part {part}");
    }
    if json["more"] == true {
        text += " more";
    }
    if let Some(detail) = json["problem"]["detail"].as_str() {
        text += &format!(" ({detail})");
    }
    text
}

#[test]
fn a_listener_hears_its_result_and_then_each_event() {
    let mut rig = Rig::new();
    rig.listen(1).check(expect!["ask listen 1"]);
    rig.opened(1, 5).check(expect!["snapshot 1 @5 1 changes"]);
    rig.events(6, &[1]).check(expect!["snapshot 1 @6"]);
}

#[test]
fn what_comes_before_the_first_snapshot_waits_for_it_and_what_that_holds_is_not_told_twice() {
    let mut rig = Rig::new();
    rig.listen(1).skip().events(5, &[1]).events(6, &[1]).check(expect![""]);
    rig.opened(1, 5).check(expect!["snapshot 1 @5 1 changes; snapshot 1 @6"]);
}

#[test]
fn a_connection_that_is_flooded_before_a_first_snapshot_ends_and_resumes() {
    let mut rig = Rig::new();
    rig.listen(1).skip();
    (10..11 + Early::EVENTS_MAX as u64).for_each(|version| {
        rig.events(version, &[1]);
    });
    rig.check(expect!["close 1013 overloaded"]);
}

#[test]
fn a_listener_that_lags_while_it_opens_catches_up_afterwards() {
    let mut rig = Rig::new();
    rig.listen(1).skip().events(6, &[1]).tell(Input::Lagged(1)).check(expect![""]);
    rig.opened(1, 5).check(expect!["snapshot 1 @5 1 changes; snapshot 1 @6; ask catch up 1"]);
    rig.caught_up(1, 9).check(expect!["snapshot 1 @9"]);
}

#[test]
fn all_snapshots_of_one_commit_follow_each_other() {
    let mut rig = Rig::new();
    rig.listen(1).listen(2).skip().opened(1, 5).opened(2, 5).skip();
    rig.events(6, &[1, 2]).check(expect!["snapshot 1 @6; snapshot 2 @6"]);
}

#[test]
fn nothing_is_heard_after_unlisten_even_of_what_was_on_its_way() {
    let mut rig = Rig::new();
    rig.listen(1).skip().opened(1, 5).events(6, &[1]);
    rig.say(1, Op::Unlisten).check(expect!["ask unlisten 1"]);
    rig.events(7, &[1]).say(1, Op::Unlisten).check(expect![""]);
}

#[test]
fn a_listener_that_is_ended_while_it_opens_is_taken_away_when_it_has_opened() {
    let mut rig = Rig::new();
    rig.listen(1).skip();
    rig.say(1, Op::Unlisten).check(expect![""]);
    rig.opened(1, 5).check(expect!["ask unlisten 1"]);
}

#[test]
fn the_answer_to_a_commit_waits_for_its_snapshots() {
    let mut rig = Rig::new();
    rig.listen(1).skip().opened(1, 5).skip();
    rig.commit(2).check(expect!["ask commit 2"]);
    rig.committed(2, 6).check(expect![""]);
    assert_eq!(rig.session.awaited().collect::<Vec<_>>(), [Version::from_micros(6)]);
    rig.events(6, &[1]).passed(6).check(expect!["snapshot 1 @6; committed 2 @6"]);
    assert_eq!(rig.session.awaited().count(), 0);
}

#[test]
fn the_answer_to_a_commit_waits_for_listeners_that_are_behind_but_for_each_only_once() {
    let mut rig = Rig::new();
    rig.listen(1).listen(2).skip().opened(1, 5).skip();
    rig.commit(3).tell(Input::Lagged(1)).check(expect!["ask commit 3; ask catch up 1"]);
    rig.committed(3, 6).passed(6).check(expect![""]);
    assert_eq!(rig.session.awaited().count(), 0, "two listeners are behind");
    rig.caught_up(1, 7).opened(2, 5).check(expect!["snapshot 1 @7; snapshot 2 @5 1 changes"]);
    rig.tell(Input::Lagged(1)).events(6, &[2]).passed(6);
    rig.check(expect!["ask catch up 1; snapshot 2 @6; committed 3 @6"]);
}

#[test]
fn a_commit_does_not_wait_for_listeners_that_were_asked_for_after_it() {
    let mut rig = Rig::new();
    rig.commit(1).listen(2).skip();
    rig.committed(1, 6).passed(6).check(expect!["ask listen 2; committed 1 @6"]);
}

#[test]
fn a_refused_commit_is_told_at_once() {
    let mut rig = Rig::new();
    let problem = Problem::new(Code::Aborted, "it moved");
    rig.commit(1).skip().tell(Input::Reply(Reply::Committed { id: 1, outcome: Err(problem) }));
    rig.check(expect!["problem 1 (it moved)"]);
}

#[test]
fn what_follows_an_auth_waits_for_it_and_what_came_before_does_not() {
    let mut rig = Rig::new();
    rig.commit(1).auth(2).commit(3).get(4).say(0, Op::Ping);
    rig.check(expect!["ask commit 1; ask auth 2; pong 0"]);
    rig.authed(2, user("ada", Some(9_000))).check(expect!["authed 2; ask commit 3 as ada"]);
}

#[test]
fn a_read_waits_for_the_commits_before_it_and_a_commit_for_no_read_that_runs() {
    let mut rig = Rig::new();
    rig.get(1).commit(2).commit(3).get(4).commit(5).check(expect!["ask get 1; ask commit 2; ask commit 3"]);
    rig.committed(3, 7).check(expect![""]);
    rig.committed(2, 6).check(expect!["ask get 4; ask commit 5"]);
}

#[test]
fn listeners_are_checked_again_under_a_new_token_and_end_where_it_does_not_reach() {
    let mut rig = Rig::new();
    rig.listen(1).listen(2).skip().opened(1, 5).skip();
    rig.auth(3).skip().authed(3, user("ada", None));
    rig.check(expect!["authed 3; ask recheck 1 as ada"]);
    let denied = || Err(Problem::new(Code::PermissionDenied, "no"));
    rig.tell(Input::Reply(Reply::Rechecked { id: 1, outcome: denied() }));
    rig.check(expect!["ask unlisten 1; problem 1 (no)"]);
    rig.events(6, &[1]).opened(2, 6);
    rig.session.input(rig.now, Input::Tick);
    assert_eq!(short(&rig.session.output().unwrap()), "ask recheck 2 as ada");
    rig.tell(Input::Reply(Reply::Rechecked { id: 2, outcome: denied() }));
    rig.check(expect!["ask unlisten 2; problem 2 (no)"]);
}

#[test]
fn a_refused_token_ends_the_connection_after_what_is_on_its_way() {
    let mut rig = Rig::new();
    rig.listen(1).skip().opened(1, 5).auth(2).get(3);
    rig.tell(Input::Reply(Reply::Authed { id: 2, caller: Err(TokenError::BadSignature.into()) }));
    rig.check(expect![
        "snapshot 1 @5 1 changes; ask auth 2; problem 2 (bad signature); close 4401 the token was refused"
    ]);
    rig.listen(4).after(100).check(expect![""]);
}

#[test]
fn the_client_is_warned_five_minutes_before_its_token_ends_and_then_cut_off_without_grace() {
    let mut rig = Rig::of(user("ada", Some(1_600)), LIMITS);
    rig.listen(1).skip().opened(1, 5).skip();
    rig.tell(Input::Heard).after(299).skip();
    rig.tell(Input::Heard);
    assert_eq!(rig.session.tick_after(rig.now), Duration::from_secs(1));
    rig.after(1).check(expect!["expiring 0"]);
    rig.after(299).skip().events(6, &[1]);
    rig.now.seconds += 1;
    rig.events(7, &[1]).check(expect!["problem 0 (the token has expired); close 4401 the token has expired"]);
}

#[test]
fn a_token_that_is_renewed_in_time_goes_on() {
    let mut rig = Rig::of(user("ada", Some(1_300)), LIMITS);
    rig.tell(Input::Tick).check(expect!["expiring 0"]);
    rig.auth(1).skip().authed(1, user("ada", Some(5_000))).check(expect!["authed 1"]);
    rig.tell(Input::Heard);
    assert_eq!(rig.session.tick_after(rig.now), Session::SILENCE_MAX);
}

#[test]
fn silence_is_asked_about_and_then_taken_for_the_end() {
    let mut rig = Rig::new();
    rig.after(19).check(expect![""]);
    rig.after(1).check(expect!["ping"]);
    rig.after(19).tell(Input::Heard).check(expect![""]);
    rig.after(20).check(expect!["ping"]);
    rig.after(20).check(expect!["close 1013 no sign of life"]);
}

#[test]
fn an_id_that_comes_twice_ends_the_connection() {
    let mut rig = Rig::new();
    rig.listen(1).skip().opened(1, 5).get(1);
    rig.check(expect!["problem 0 (the id 1 was used before on this connection); close 1008 an id was used twice"]);
}

#[test]
fn a_bad_message_is_answered_under_its_id_and_ends_the_connection_only_where_it_has_none() {
    let mut rig = Rig::new();
    let bad = |id| Input::Message(Err(FrameError { id, problem: Problem::invalid("bad") }));
    rig.tell(bad(Some(7))).check(expect!["problem 7 (bad)"]);
    rig.tell(bad(None)).check(expect!["problem 0 (bad); close 1008 what came is no message"]);
}

#[test]
fn one_listener_too_many_is_refused_and_an_ended_one_makes_room() {
    let mut rig = Rig::new();
    rig.listen(1).listen(2).listen(3).skip().listen(4);
    rig.check(expect!["problem 4 (this connection has 3 listeners, which is the limit)"]);
    rig.opened(3, 5).say(3, Op::Unlisten).skip().listen(5).check(expect!["ask listen 5"]);
}

#[test]
fn reads_beyond_the_limit_wait_their_turn_and_keep_the_order() {
    let mut rig = Rig::new();
    (1..=5).for_each(|id| {
        rig.get(id);
    });
    rig.commit(6).check(expect!["ask get 1; ask get 2; ask get 3; ask get 4"]);
    rig.tell(Input::Reply(Reply::Read { id: 2, rows: Ok(rows(9, 2)) }));
    rig.check(expect!["result 2 @9 2 docs; ask get 5; ask commit 6"]);
}

#[test]
fn a_client_that_asks_faster_than_it_is_answered_is_not_read_on() {
    let mut rig = Rig::new();
    (1..8).for_each(|id| {
        rig.commit(id);
    });
    assert!(!rig.session.is_full());
    rig.commit(8);
    assert!(rig.session.is_full());
    rig.skip().committed(3, 6).passed(6);
    assert!(!rig.session.is_full());
    rig.tell(Input::Message(Ok(ClientMessage { id: 9, op: Op::Commit(Box::default()), bytes: 990 })));
    assert!(rig.session.is_full());
}

#[test]
fn a_large_result_leaves_in_parts_and_a_reader_that_stops_keeps_the_rest_waiting() {
    let mut rig = Rig::of(Caller::Anonymous, Limits { queue_bytes_max: 10_000, ..LIMITS });
    rig.listen(1).get(2).skip();
    let opening = Ok(Opening::Whole { rows: rows(5, 2_001), reset: false });
    rig.tell(Input::Reply(Reply::Opened { id: 1, opening }));
    assert!(rig.session.is_full(), "a result on its way counts");
    rig.get(3).tell(Input::Reply(Reply::Read { id: 2, rows: Ok(rows(5, 1_001)) }));
    rig.events(6, &[1]).check(expect!["snapshot 1 @5 1000 changes part 1 more; snapshot 1 @5 1000 changes part 2 more; snapshot 1 @5 1 changes part 3; result 2 @5 1000 docs part 1 more; result 2 @5 1 docs; snapshot 1 @6; ask get 3"]);
    assert_eq!(rig.session.queue_bytes, 0);
}

#[test]
fn a_listener_that_cannot_be_served_now_closes_the_connection_so_that_it_resumes() {
    let mut rig = Rig::new();
    rig.listen(1).skip();
    let opening = Err(Problem::new(Code::Unavailable, "rebuilding"));
    rig.tell(Input::Reply(Reply::Opened { id: 1, opening }));
    rig.check(expect!["problem 0 (rebuilding); close 1013 a listener cannot be served now"]);
}

#[test]
fn a_listener_that_lagged_is_caught_up_by_a_difference_or_a_reset() {
    let mut rig = Rig::new();
    rig.listen(1).skip().opened(1, 5).skip();
    rig.tell(Input::Lagged(1)).check(expect!["ask catch up 1"]);
    rig.caught_up(1, 5).check(expect![""]);
    rig.tell(Input::Lagged(1)).skip().caught_up(1, 8).check(expect!["snapshot 1 @8"]);
    rig.tell(Input::Lagged(1)).skip().opened(1, 9).check(expect!["snapshot 1 @9 1 changes reset"]);
}

#[test]
fn a_server_that_stops_still_answers_and_leaves_listeners_to_resume() {
    let mut rig = Rig::new();
    rig.listen(1).commit(2).skip().opened(1, 5).committed(2, 6).passed(6).events(7, &[1]);
    rig.tell(Input::Closing).check(expect!["committed 2 @6; close 1012 restart"]);
    assert_eq!(rig.session.queue_bytes, 0);
}

#[test]
fn a_difference_leaves_part_by_part_as_the_client_reads_and_later_events_wait_for_the_last() {
    let mut rig = Rig::new();
    rig.listen(1).skip().opened(1, 5).skip();
    rig.tell(Input::Lagged(1)).skip().begun(1, 8);
    // The next part is asked for behind this one: not before this one has left.
    rig.check(expect!["snapshot 1 @8; ask part 1"]);
    rig.commit(2).events(9, &[1]).skip().committed(2, 9).passed(9).part(1, 8, false);
    rig.check(expect!["snapshot 1 @8; ask part 1"]);
    rig.part(1, 8, true).passed(9).check(expect!["snapshot 1 @8; snapshot 1 @9; committed 2 @9"]);
    assert_eq!(rig.session.reads_running, 0);
    // What was lost meanwhile is caught up afterwards.
    rig.tell(Input::Lagged(1)).skip().begun(1, 12).tell(Input::Lagged(1)).check(expect!["snapshot 1 @12; ask part 1"]);
    rig.part(1, 12, true).check(expect!["snapshot 1 @12; ask catch up 1"]);
}

#[test]
fn a_listener_that_ends_between_parts_is_told_no_more_of_them() {
    let mut rig = Rig::new();
    rig.listen(1).listen(2).skip().begun(1, 5).say(1, Op::Unlisten).check(expect!["ask unlisten 1"]);
    rig.begun(2, 5).check(expect!["snapshot 2 @5; ask part 2"]);
    rig.say(2, Op::Unlisten).check(expect![""]);
    rig.part(2, 5, false).check(expect!["ask unlisten 2"]);
    assert_eq!((rig.session.reads_running, rig.session.leaving.len()), (0, 0));
}

#[test]
fn where_a_part_cannot_be_read_the_connection_ends_and_resumes_from_its_token() {
    let mut rig = Rig::new();
    rig.listen(1).skip().begun(1, 5).skip();
    let outcome = Err(Problem::new(Code::Unavailable, "no longer kept"));
    rig.tell(Input::Reply(Reply::Part { id: 1, outcome }));
    rig.check(expect!["problem 0 (no longer kept); close 1013 a listener cannot be served now"]);
}

#[test]
fn listeners_that_lag_catch_up_a_few_at_a_time_and_one_told_in_parts_counts_until_its_last() {
    let limits = Limits { listeners_max: 9, reads_max: 2, ..LIMITS };
    let mut rig = Rig::of(Caller::Anonymous, limits);
    for id in 1..=4 {
        rig.listen(id).skip().opened(id, 5).skip();
    }
    (1..=4).for_each(|id| {
        rig.tell(Input::Lagged(id));
    });
    rig.check(expect!["ask catch up 1; ask catch up 2"]);
    rig.begun(1, 8).caught_up(2, 8).check(expect!["snapshot 1 @8; ask part 1; snapshot 2 @8; ask catch up 3"]);
    rig.say(4, Op::Unlisten).get(5).check(expect!["ask unlisten 4"]);
    rig.part(1, 8, true).check(expect!["snapshot 1 @8; ask get 5"]);
}

/// One step of a random run. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Listen,
    Get,
    Commit,
    Auth,
    Unlisten(usize),
    Reply(usize),
    Deliver,
    Lag(usize),
    Settle,
    Drain(usize),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Listen),
        1 => Just(Step::Get),
        3 => Just(Step::Commit),
        1 => Just(Step::Auth),
        1 => (0..8_usize).prop_map(Step::Unlisten),
        6 => (0..8_usize).prop_map(Step::Reply),
        3 => Just(Step::Deliver),
        1 => (0..8_usize).prop_map(Step::Lag),
        3 => Just(Step::Settle),
        4 => (1..9_usize).prop_map(Step::Drain),
        1 => (0..5_u64).prop_map(Step::Wait),
    ]
}

/// An engine in small: it answers in any order, and its events come early, late or not at all.
#[derive(Default)]
struct Engine {
    version: u64,
    asks: Vec<Job>,
    /// Listeners that were opened, with the version up to which each was told.
    targets: BTreeMap<u64, u64>,
    /// Events that wait, by version.
    outbox: BTreeMap<u64, BTreeSet<u64>>,
    /// Listeners that are told a difference in parts: their events wait until the last.
    gated: BTreeSet<u64>,
}

#[derive(Debug)]
enum Job {
    /// The result is read at this version; what changes afterwards comes as events.
    Open {
        id: u64,
        at: u64,
    },
    CatchUp {
        id: u64,
    },
    /// The next part of a difference up to this version.
    Part {
        id: u64,
        at: u64,
    },
    Other {
        id: u64,
        what: &'static str,
    },
}

struct Run {
    rig: Rig,
    engine: Engine,
    id: u64,
    /// What the client heard last of each listener.
    heard: BTreeMap<u64, u64>,
    listening: BTreeSet<u64>,
    /// Listeners that ended, or of which the engine dropped something: for those a commit waits only once.
    exempt: BTreeSet<u64>,
    /// Listeners that each commit was asked after.
    before: BTreeMap<u64, BTreeSet<u64>>,
    answered: BTreeSet<u64>,
    /// The version of the last difference in parts of each listener.
    parts: BTreeMap<u64, u64>,
}

impl Run {
    fn step(&mut self, step: Step) {
        match step {
            Step::Listen => {
                self.id += 1;
                self.listening.insert(self.id);
                let id = self.id;
                self.rig.listen(id);
            }
            Step::Get => {
                self.id += 1;
                let id = self.id;
                self.rig.get(id);
            }
            Step::Commit => {
                self.id += 1;
                self.before.insert(self.id, self.listening.clone());
                let id = self.id;
                self.rig.commit(id);
            }
            Step::Auth => {
                self.id += 1;
                let id = self.id;
                self.rig.auth(id);
            }
            Step::Unlisten(nth) => {
                if let Some(id) = nth_of(&self.listening, nth) {
                    self.listening.remove(&id);
                    self.rig.say(id, Op::Unlisten);
                }
            }
            Step::Reply(nth) => self.reply(nth),
            Step::Deliver => drop(self.deliver()),
            Step::Lag(nth) => {
                let opened: BTreeSet<u64> = self.engine.targets.keys().copied().collect();
                if let Some(id) = nth_of(&opened, nth) {
                    self.engine.outbox.values_mut().for_each(|ids| {
                        ids.remove(&id);
                    });
                    self.exempt.insert(id);
                    self.rig.tell(Input::Lagged(id));
                }
            }
            Step::Settle => {
                let awaited: Vec<u64> = self.rig.session.awaited().map(Version::micros).collect();
                while self.deliver() {}
                for version in awaited {
                    self.rig.passed(version);
                }
            }
            Step::Drain(count) => self.drain(count),
            Step::Wait(seconds) => {
                self.rig.tell(Input::Heard).after(seconds);
            }
        }
    }

    fn reply(&mut self, nth: usize) {
        if self.engine.asks.is_empty() {
            return;
        }
        let at = nth % self.engine.asks.len();
        match self.engine.asks.remove(at) {
            Job::Open { id, at } => {
                self.rig.opened(id, at);
            }
            Job::CatchUp { id } => {
                self.engine.targets.insert(id, self.engine.version);
                let version = self.engine.version;
                if nth.is_multiple_of(2) {
                    self.rig.caught_up(id, version);
                } else {
                    self.engine.gated.insert(id);
                    self.parts.insert(id, version);
                    self.rig.begun(id, version);
                }
            }
            Job::Part { id, at } => {
                let last = !nth.is_multiple_of(3);
                if last {
                    self.engine.gated.remove(&id);
                }
                self.rig.part(id, at, last);
            }
            Job::Other { id, what: "commit" } => {
                self.engine.version += 1;
                let version = self.engine.version;
                for id in self.engine.targets.keys() {
                    self.engine.outbox.entry(version).or_default().insert(*id);
                }
                self.rig.committed(id, version);
            }
            Job::Other { id, what: "auth" } => {
                self.rig.authed(id, user("ada", None));
            }
            Job::Other { id, what: "recheck" } => {
                let outcome = if id % 4 == 0 { Err(Problem::new(Code::PermissionDenied, "no")) } else { Ok(()) };
                if outcome.is_err() {
                    // What was on its way to it is not sent; a commit's answer may overtake the word of its end.
                    self.exempt.insert(id);
                }
                self.rig.tell(Input::Reply(Reply::Rechecked { id, outcome }));
            }
            Job::Other { id, .. } => {
                let rows = Ok(rows(self.engine.version, 1));
                self.rig.tell(Input::Reply(Reply::Read { id, rows }));
            }
        }
    }

    /// Delivers the events of one commit to those whose gate is open, if there are any.
    fn deliver(&mut self) -> bool {
        let Engine { outbox, gated, .. } = &mut self.engine;
        outbox.retain(|_, ids| !ids.is_empty());
        let Some((version, waiting)) = outbox.iter_mut().find(|(_, ids)| !ids.is_subset(gated)) else { return false };
        let ids: Vec<u64> = waiting.extract_if(.., |id| !gated.contains(id)).collect();
        self.rig.events(*version, &ids);
        true
    }

    fn drain(&mut self, count: usize) {
        for _ in 0..count {
            match self.rig.session.output() {
                None => return,
                Some(Output::Send(message)) => self.hear(&serde_json::from_slice(&message).unwrap()),
                Some(Output::Ask(ask)) => self.ask(ask),
                Some(Output::Ping) => {}
                Some(Output::Close(close)) => panic!("closed: {close:?}"),
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let asked = match ask {
            Ask::Listen { id, .. } => {
                self.engine.targets.insert(id, self.engine.version);
                Job::Open { id, at: self.engine.version }
            }
            Ask::CatchUp { id, .. } => Job::CatchUp { id },
            Ask::Part { id, .. } => Job::Part { id, at: self.parts[&id] },
            Ask::Unlisten { id } => {
                self.engine.targets.remove(&id);
                self.engine.gated.remove(&id);
                return;
            }
            Ask::Recheck { id, .. } => Job::Other { id, what: "recheck" },
            Ask::Get { id, .. } => Job::Other { id, what: "get" },
            Ask::Commit { id, .. } => Job::Other { id, what: "commit" },
            Ask::Auth { id, .. } => Job::Other { id, what: "auth" },
        };
        self.engine.asks.push(asked);
    }

    fn hear(&mut self, message: &serde_json::Value) {
        let id = message["id"].as_u64().unwrap();
        let version = message["version"].as_str().map(|version| version.parse::<u64>().unwrap());
        match message["ev"].as_str().unwrap() {
            "snapshot" => {
                assert!(self.listening.contains(&id), "nothing after unlisten");
                let before = self.heard.insert(id, version.unwrap());
                let is_part = self.parts.get(&id) == version.as_ref();
                let rises = before.is_none_or(|before| before < version.unwrap());
                assert!(rises || (is_part && before == version), "versions rise");
            }
            "committed" => {
                for listener in self.before[&id].intersection(&self.listening).filter(|id| !self.exempt.contains(id)) {
                    let heard = self.heard.get(listener).copied();
                    assert!(heard >= version, "{listener} had heard {heard:?} when {id} was answered at {version:?}");
                }
                assert!(self.answered.insert(id), "answered once");
            }
            "problem" => {
                self.listening.remove(&id);
            }
            _ => assert!(self.answered.insert(id), "answered once"),
        }
    }
}

fn nth_of(ids: &BTreeSet<u64>, nth: usize) -> Option<u64> {
    ids.iter().copied().nth(nth % ids.len().max(1))
}

proptest! {
    #[test]
    fn in_every_order_versions_rise_commits_come_last_and_everything_is_answered(
        steps in proptest::collection::vec(any_step(), 0..120),
    ) {
        let limits = Limits { listeners_max: 1_000, messages_max: 1_000, messages_bytes_max: 1_000_000, reads_max: 3, ..LIMITS };
        let mut run = Run {
            rig: Rig::of(Caller::Anonymous, limits),
            engine: Engine { version: 1, ..Engine::default() },
            id: 0,
            heard: BTreeMap::new(),
            listening: BTreeSet::new(),
            exempt: BTreeSet::new(),
            before: BTreeMap::new(),
            answered: BTreeSet::new(),
            parts: BTreeMap::new(),
        };
        steps.into_iter().for_each(|step| run.step(step));
        // Given time, all is answered and everybody has heard of the last version.
        for nth in 0..2_000 {
            [Step::Drain(100), Step::Reply(nth), Step::Settle].into_iter().for_each(|step| run.step(step));
        }
        run.drain(10_000);
        let session = &run.rig.session;
        prop_assert!(session.under_way.is_empty() && session.held.is_empty() && session.leaving.is_empty());
        prop_assert_eq!((session.reads_running, session.commits_running, session.under_way_bytes, session.queue_bytes), (0, 0, 0, 0));
        for id in &run.listening {
            prop_assert_eq!(run.heard.get(id), Some(&run.engine.version));
        }
        prop_assert_eq!(run.engine.targets.keys().copied().collect::<BTreeSet<_>>(), run.listening.clone());
        prop_assert_eq!(run.rig.session.listeners.keys().copied().collect::<BTreeSet<_>>(), run.listening);
    }
}
