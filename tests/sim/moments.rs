//! Moments that stories have found to be dangerous, each put together by hand: a story changes with every change of the
//! simulation, and these stay.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_auth::Caller;
use hearth_core::query::{Aggregate, Limit, QuerySpec, Source};
use hearth_core::{CollectionPath, DocPath, Value, Version};
use hearth_engine::{Answer, CommitError, Committed, Delivery, Opening, Outbox, ReadError, Single, Token};
use hearth_tests::Random;

use crate::points::{Point, Who};
use crate::scheduler::Scheduler;
use crate::story::{Machine, NOW};
use crate::work::{Deed, Work};
use crate::world::{Pending, asked};

/// A database whose workers stand still until they are told to work.
struct Moment {
    scheduler: Arc<Scheduler>,
    machine: Machine,
    single: Single,
    outbox: Outbox,
    commits: i64,
}

impl Moment {
    fn new() -> Self {
        let scheduler = Scheduler::new(Random::new(1));
        scheduler.take_in_order();
        // Each stage takes its own turns, so that a moment between two of them can be looked at.
        let limits = hearth_engine::Limits { lone_commits_max: 0, ..hearth_engine::Limits::default() };
        let machine = Machine::new(&scheduler, limits);
        scheduler.begin_life(None);
        let single = Single::open(&machine.parts, &machine.place, |log| Box::new(log)).unwrap();
        let outbox = single.outbox();
        Self { scheduler, machine, single, outbox, commits: 0 }
    }

    /// Commits a new room; its commit is visible, and nobody was told of it.
    fn commit_untold(&mut self) -> Pending<Result<Committed, CommitError>> {
        let answer = self.commit_asked();
        make_visible(&self.scheduler);
        answer
    }

    /// Asks for a new room, which nobody has looked at yet.
    fn commit_asked(&mut self) -> Pending<Result<Committed, CommitError>> {
        let (path, by) = (room(self.commits + 1), self.commits + 1);
        self.asked(vec![Deed::Set { path, n: 1, by }])
    }

    fn asked(&mut self, deeds: Vec<Deed>) -> Pending<Result<Committed, CommitError>> {
        self.commits += 1;
        let work = Work::new(self.commits, false, deeds);
        let database = self.single.database().clone();
        let request = database.authorize_commit(&Caller::Anonymous, work.request()).unwrap();
        let mut answer = Pending::new(async move { database.commit(request).await });
        assert!(answer.poll().is_none());
        answer
    }

    fn tell(&self, mut answer: Pending<Result<Committed, CommitError>>) -> Version {
        self.scheduler.turns_of(Who::Tell);
        answer.poll().expect("it was told").unwrap().version
    }

    /// Asks to listen, which nobody has looked at yet.
    fn listen_asked(&self, spec: &QuerySpec, target: u64, token: Option<Token>) -> Pending<Result<Opening, ReadError>> {
        let (database, outbox) = (self.single.database().clone(), self.outbox.clone());
        let query = asked(&database, spec);
        let mut answer = Pending::new(async move { database.listen(query, &outbox, target, token.as_ref()).await });
        assert!(answer.poll().is_none());
        answer
    }

    fn listen(&self, spec: &QuerySpec, target: u64, token: Option<Token>) -> Opening {
        let mut answer = self.listen_asked(spec, target, token);
        self.scheduler.do_jobs();
        answer.poll().expect("the job is done").unwrap()
    }

    /// What asks for a result at a version, which then nobody has looked at yet.
    fn reader(&self, spec: &QuerySpec, at: Version) -> impl FnOnce() -> Pending<Result<Answer, ReadError>> + use<> {
        let database = self.single.database().clone();
        let query = asked(&database, spec);
        move || {
            let mut answer = Pending::new(async move { database.query(&query, Some(at)).await });
            assert!(answer.poll().is_none());
            answer
        }
    }

    fn token(&self, spec: &QuerySpec) -> Token {
        let database = self.single.database().clone();
        let query = asked(&database, spec);
        let mut answer = Pending::new(async move { database.query(&query, None).await });
        assert!(answer.poll().is_none());
        self.scheduler.do_jobs();
        answer.poll().expect("the job is done").unwrap().token
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        self.scheduler.end();
    }
}

/// Has what was asked planned, logged and made visible, and nobody told of it.
fn make_visible(scheduler: &Arc<Scheduler>) {
    scheduler.turns_of(Who::Plan);
    scheduler.turns_of(Who::Log);
    assert!(scheduler.turn_of(Who::Tell), "there is a group to be made visible");
}

/// Does something when a point is passed again after so many times.
fn interrupt_after(scheduler: &Arc<Scheduler>, times: usize, point: Point, aside: impl FnOnce() + Send + 'static) {
    let later = scheduler.clone();
    let aside: Box<dyn FnOnce() + Send> = Box::new(aside);
    scheduler.interrupt_at(point, move || match times {
        0 => aside(),
        _ => interrupt_after(&later, times - 1, point, aside),
    });
}

fn room(number: i64) -> DocPath {
    DocPath::parse(&format!("rooms/r{number}")).unwrap()
}

fn counted() -> QuerySpec {
    let rooms = Source::Collection(CollectionPath::parse("rooms").unwrap());
    QuerySpec { aggregates: vec![Aggregate::Count { up_to: None }], ..QuerySpec::all(rooms) }
}

/// What an opening says that is counted, and at which version.
fn count(opening: &Opening) -> (Version, i64) {
    let (version, numbers) = match opening {
        Opening::Whole { answer, .. } => (answer.version, &answer.aggregates),
        Opening::Since(event) => (event.event.version, &event.event.aggregates),
    };
    match numbers.as_deref() {
        Some([Value::Integer(count)]) => (version, *count),
        other => panic!("no count: {other:?}"),
    }
}

/// Seed 347 of the first simulation: a watch that was filled at a version which the feed had not passed yet told its
/// numbers as if they were older.
#[test]
fn a_watch_that_is_ahead_of_the_feed_tells_nobody_its_numbers_under_an_older_version() {
    let mut moment = Moment::new();
    let first = moment.commit_untold();
    let first = moment.tell(first);
    let token = moment.token(&counted());
    let second = moment.commit_untold();
    let ahead = moment.listen(&counted(), 1, None);
    let resumed = moment.listen(&counted(), 2, Some(token));
    let second = moment.tell(second);
    assert!(first.micros() >= NOW && second > first);
    assert_eq!([count(&ahead), count(&resumed)], [(second, 2), (second, 2)]);
}

/// The same the other way round: a token that is ahead of the feed, and a watch that is not.
#[test]
fn a_token_that_is_ahead_of_the_feed_is_not_answered_with_older_numbers() {
    let mut moment = Moment::new();
    let first = moment.commit_untold();
    let first = moment.tell(first);
    let behind = moment.listen(&counted(), 1, None);
    let second = moment.commit_untold();
    let token = moment.token(&counted());
    let resumed = moment.listen(&counted(), 2, Some(token));
    let second = moment.tell(second);
    assert_eq!([count(&behind), count(&resumed)], [(first, 1), (second, 2)]);
}

/// Seeds 710, 803, 1013 and 1185: two listeners open the same query; the one who came later reads a later version and
/// fills the watch first. The other had missed what lay between.
#[test]
fn a_listener_whose_watch_was_filled_at_a_later_version_misses_nothing() {
    let mut moment = Moment::new();
    let first = moment.commit_untold();
    let first = moment.tell(first);
    let mut slow = moment.listen_asked(&counted(), 1, None);
    let mut quick = moment.listen_asked(&counted(), 2, None);
    let second = moment.commit_asked();
    let scheduler = moment.scheduler.clone();
    moment.scheduler.interrupt_at(Point::Read(Who::Job), move || {
        make_visible(&scheduler);
        scheduler.do_jobs();
    });
    moment.scheduler.do_jobs();
    let opened = [&mut slow, &mut quick].map(|answer| count(&answer.poll().expect("it is open").unwrap()));
    let second = moment.tell(second);
    assert_eq!(opened, [(first, 1), (second, 2)]);
    // It is sent to history for what it has not seen.
    assert!(matches!(moment.outbox.try_next(), Some(Delivery::Lagged(1))));
    let (database, outbox) = (moment.single.database().clone(), moment.outbox.clone());
    let mut answer = Pending::new(async move { database.catch_up(&outbox, 1).await });
    assert!(answer.poll().is_none());
    moment.scheduler.do_jobs();
    assert_eq!(count(&answer.poll().expect("the job is done").unwrap()), (second, 2));
    assert!(moment.outbox.try_next().is_none());
}

/// Seeds 1625 and 7074: who joined a limit window while that was read again got what waited there in a delivery of its
/// own, behind what the other listeners of the connection had already heard of the same commit.
#[test]
fn who_joins_a_window_that_is_read_again_hears_of_a_commit_in_one_delivery() {
    let mut moment = Moment::new();
    let rooms = Source::Collection(CollectionPath::parse("rooms").unwrap());
    let window = QuerySpec { limit: Some(Limit::First(1)), ..QuerySpec::all(rooms) };
    let made = moment.asked((101..=120).map(|number| Deed::Set { path: room(number), n: 1, by: 1 }).collect());
    moment.scheduler.turns_of(Who::Plan);
    moment.scheduler.turns_of(Who::Log);
    moment.tell(made);
    // Another connection holds the window; ours listens to the number of all rooms.
    let other = moment.single.outbox();
    let ours = std::mem::replace(&mut moment.outbox, other);
    moment.listen(&window, 1, None);
    let _other = std::mem::replace(&mut moment.outbox, ours);
    moment.listen(&counted(), 2, None);
    // So many rooms go that the window has to be read again.
    let gone = moment.asked((101..=115).map(|number| Deed::Delete { path: room(number) }).collect());
    moment.scheduler.turns_of(Who::Plan);
    moment.scheduler.turns_of(Who::Log);
    moment.tell(gone);
    assert!(matches!(moment.outbox.try_next(), Some(Delivery::Events { .. })));
    // While that goes on we listen to the window, too, and its first room goes.
    let mut joins = moment.listen_asked(&window, 1, None);
    let mut last = moment.asked(vec![Deed::Delete { path: room(116) }]);
    let scheduler = moment.scheduler.clone();
    let outbox = moment.outbox.clone();
    let (told, heard) = std::sync::mpsc::channel();
    moment.scheduler.interrupt_at(Point::Read(Who::Job), move || {
        scheduler.do_jobs();
        assert!(joins.poll().expect("the job is done").is_ok());
        scheduler.turns_of(Who::Plan);
        scheduler.turns_of(Who::Log);
        scheduler.turns_of(Who::Tell);
        told.send(outbox.try_next().is_none()).unwrap();
    });
    moment.scheduler.do_jobs();
    assert!(heard.recv().unwrap(), "a part of the commit is told before the window is read");
    let version = last.poll().expect("it was told").unwrap().version;
    match moment.outbox.try_next() {
        Some(Delivery::Events { version: of, events }) => {
            let targets: Vec<u64> = events.iter().map(|(target, _)| *target).collect();
            assert_eq!((of, targets.len()), (version, 2), "{targets:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(moment.outbox.try_next().is_none());
}

/// Seed 6667: a reader of an old version came between the look at who holds what and the start of history's moving on, and
/// was answered with holes.
#[test]
fn a_reader_that_comes_while_history_is_trimmed_finds_all_or_is_refused() {
    let mut moment = Moment::new();
    let rooms = QuerySpec::all(Source::Collection(CollectionPath::parse("rooms").unwrap()));
    let old = moment.commit_untold();
    let old = moment.tell(old);
    moment.machine.clock().pass(Duration::from_secs(3_600));
    let changed = moment.asked(vec![Deed::Set { path: room(1), n: 2, by: 2 }]);
    moment.scheduler.turns_of(Who::Plan);
    moment.scheduler.turns_of(Who::Log);
    moment.tell(changed);
    moment.scheduler.turns_of(Who::Apply);
    moment.machine.clock().pass(2 * hearth_engine::Limits::default().history);
    let read = Arc::new(Mutex::new(None));
    let (place, ask) = (read.clone(), moment.reader(&rooms, old));
    // At the third read, of what was changed: it has looked by then who holds what.
    interrupt_after(&moment.scheduler, 2, Point::Read(Who::Maintain), move || *place.lock().unwrap() = Some(ask()));
    let scheduler = moment.scheduler.clone();
    scheduler.act_as(Who::Maintain, || moment.single.maintain()).unwrap();
    moment.scheduler.do_jobs();
    let mut read = read.lock().unwrap().take().expect("history was trimmed");
    match read.poll().expect("the job is done") {
        Ok(answer) => assert_eq!(answer.docs.len(), 1),
        Err(error) => assert!(matches!(error, ReadError::Forgotten { .. }), "{error}"),
    }
}
