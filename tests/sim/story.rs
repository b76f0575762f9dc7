//! One story: a machine, a database on it through several lives of its process, and clients that outlive them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hearth_auth::Caller;
use hearth_core::query::{QuerySpec, Source};
use hearth_core::{DatabaseName, Version};
use hearth_engine::{CommitError, Limits, ManualClock, OpenError, Parts, Place, Single, SingleError};
use hearth_store::{DatabaseId, FileLog};
use hearth_tests::Random;

use crate::disk::SimDisk;
use crate::listener::Connection;
use crate::points::{Point, Who};
use crate::reader::Reader;
use crate::scheduler::{Busy, Crash, Faults, Scheduler, SimCrew};
use crate::store::SimStore;
use crate::tap::Tap;
use crate::world::{Pending, World, asked};
use crate::writer::Writer;

pub(crate) const NOW: u64 = 1_700_000_000_000_000;
/// Turns in which everything that is under way comes to its end.
const SETTLE_TURNS_MAX: usize = 40_000;
/// Turns that a process goes on with a database that takes no writes.
const READ_ONLY_TURNS: usize = 40;
const HISTORY: Duration = Duration::from_secs(20);

/// What a story came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// All that happened, as one number.
    pub(crate) trace: u64,
    /// How many entries the log took.
    pub(crate) commits: usize,
    /// Where processes ended.
    pub(crate) crashes: BTreeMap<Point, usize>,
}

struct Story {
    scheduler: Arc<Scheduler>,
    world: Arc<World>,
    machine: Machine,
    trims_by_bytes: bool,
    wipe: Option<Pending<Result<Version, CommitError>>>,
}

/// A disk with the empty log of a database, a state, a clock.
pub(crate) struct Machine {
    clock: Arc<ManualClock>,
    disk: SimDisk,
    store: Arc<SimStore>,
    pub(crate) parts: Parts,
    pub(crate) place: Place,
}

impl Machine {
    pub(crate) fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(crate) fn new(scheduler: &Arc<Scheduler>, limits: Limits) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let disk = SimDisk::new(scheduler);
        let store = Arc::new(SimStore::new(scheduler));
        let place = Place {
            name: DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap(),
            number: 1,
            id: DatabaseId([7; 16]),
            epoch: 1,
            log: PathBuf::from("/db/log"),
            snapshots: PathBuf::from("/db/snapshots"),
        };
        FileLog::create_on(&disk, &place.log, place.id).unwrap();
        let parts = Parts {
            disk: Arc::new(disk.clone()),
            store: store.clone(),
            clock: clock.clone(),
            crew: Arc::new(SimCrew(scheduler.clone())),
            limits,
            segment_bytes_first: 1 << 20,
            segment_bytes_max: 1 << 20,
        };
        Self { clock, disk, store, parts, place }
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Killed,
    PowerLost,
}

pub(crate) fn tell(seed: u64) -> Told {
    let story = &mut Story::new(seed);
    let lives = 1 + story.below(5);
    for _ in 0..lives {
        story.open(true);
        story.live();
        story.end();
    }
    story.last_life();
    let told = Told {
        trace: story.scheduler.trace(),
        commits: story.world.model().commits(),
        crashes: story.scheduler.crashes(),
    };
    story.scheduler.end();
    told
}

fn limits(random: &mut Random) -> Limits {
    Limits {
        queue_commits_max: 5,
        group_commits_max: 1 + random.index(4),
        lone_commits_max: random.index(3),
        generation_bytes_max: 300 + random.index(1_500),
        generations_applied_min: 1,
        generations_max: 1 + random.index(3),
        queries_running_max: 3,
        outbox_bytes_max: 600 + random.index(2_000),
        resume_changes_max: random.index(12),
        recent_commits_max: 1 + random.index(20),
        history: HISTORY,
        history_bytes_max: if random.chance(1, 4) { 4_000 } else { 1 << 30 },
        snapshot_log_bytes_min: 500 + random.index(3_000) as u64,
        disk_free_bytes_min: 0,
        ..Limits::default()
    }
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let limits = limits(&mut random);
        let segment_bytes_first = 400 + random.index(2_000) as u64;
        let (writers, readers, connections) = (1 + random.index(4), 1 + random.index(2), 1 + random.index(3));
        let scheduler = Scheduler::new(random);
        let world = World::new(scheduler.clone());
        for name in 0..writers {
            scheduler.add(Box::new(Writer::new(name, &world)));
        }
        for name in 0..readers {
            scheduler.add(Box::new(Reader::new(name, &world)));
        }
        for name in 0..connections {
            scheduler.add(Box::new(Connection::new(name, &world)));
        }
        let trims_by_bytes = limits.history_bytes_max < 1 << 30;
        let mut machine = Machine::new(&scheduler, limits);
        machine.parts.segment_bytes_first = segment_bytes_first;
        machine.parts.segment_bytes_max = segment_bytes_first * 4;
        Self { scheduler, world, machine, trims_by_bytes, wipe: None }
    }

    fn below(&self, end: usize) -> usize {
        self.world.below(end)
    }

    fn chance(&self, times: u64, of: u64) -> bool {
        self.world.chance(times, of)
    }

    // ---- lives

    /// Starts processes until one has opened the database.
    fn open(&mut self, may_crash: bool) {
        loop {
            let crash = (may_crash && self.chance(3, 4)).then(|| self.scheduler.random(crash));
            self.scheduler.begin_life(crash);
            let (scheduler, world) = (self.scheduler.clone(), self.world.clone());
            let opened = scheduler.act_as(Who::Open, || {
                Single::open(&self.machine.parts, &self.machine.place, |log| Box::new(Tap::new(log, &world)))
            });
            match opened {
                Ok(single) if !scheduler.is_crashed() => return self.opened(single),
                _ if scheduler.is_crashed() => {
                    let end = if self.chance(1, 2) { End::Killed } else { End::PowerLost };
                    self.restart(end);
                }
                Ok(_) => unreachable!("it was looked at above"),
                Err(SingleError::Open(OpenError::ClockBehind { newest, .. })) => {
                    let ahead = newest.micros().saturating_sub(hearth_engine::Clock::micros(&*self.machine.clock));
                    assert!(ahead > 300_000_000, "the clock is right, and {newest} is refused");
                    self.scheduler.note("the clock is accepted");
                    self.machine.parts.limits.clock_ahead_max = Duration::MAX;
                    self.scheduler.end_life();
                }
                Err(error) => panic!("the database cannot be opened: {error}"),
            }
        }
    }

    fn opened(&mut self, single: Single) {
        self.machine.parts.limits.clock_ahead_max = Duration::from_secs(300);
        let database = single.database();
        let (visible, last, shown) = {
            let model = self.world.model();
            (database.visible(), model.last(), model.shown)
        };
        assert_eq!(visible, last, "what lasts is visible");
        assert!(visible >= shown, "{visible} undercuts {shown}, which was told");
        self.scheduler.note(&format!("opened at {visible}, history starts at {}", database.history_start()));
        let single = Arc::new(single);
        let held: Weak<Single> = Arc::downgrade(&single);
        let probe = move || match held.upgrade() {
            Some(single) => Busy { telling: single.is_telling(), applying: single.is_applying() },
            None => Busy::default(),
        };
        self.scheduler.set_probe(Arc::new(probe));
        self.world.set_database(Some(single));
    }

    /// Lets everybody have turns, until the process is to end or has ended.
    fn live(&mut self) {
        let turns = 60 + self.below(500);
        let mut read_only = 0;
        for _ in 0..turns {
            if self.scheduler.is_crashed() {
                return;
            }
            self.pass_time();
            match self.below(400) {
                0..=4 => self.maintain(),
                5..=7 => self.change_faults(),
                8 if self.chance(1, 3) => self.begin_wipe(),
                _ => drop(self.scheduler.turn()),
            }
            self.look_after_wipe();
            let database = self.world.database();
            read_only += usize::from(database.is_some_and(|database| database.read_only().is_some()));
            if read_only > READ_ONLY_TURNS {
                return;
            }
        }
    }

    fn pass_time(&self) {
        match self.below(1_000) {
            0..=5 => self.machine.clock.pass(Duration::from_secs(1 + self.below(15) as u64)),
            6 => {
                let now = hearth_engine::Clock::micros(&*self.machine.clock);
                let (seconds, back) = (self.below(1_200) as u64, self.chance(1, 2));
                let micros = if back { now - seconds * 1_000_000 } else { now + seconds * 1_000_000 };
                self.scheduler.note(&format!("the clock leaps to {micros}"));
                self.machine.clock.leap_to(micros);
            }
            _ => self.machine.clock.pass(Duration::from_micros(self.below(3_000) as u64)),
        }
    }

    fn change_faults(&self) {
        let faults = match self.below(8) {
            0 => Faults { full: true, ..Faults::default() },
            1 => Faults { broken_one_in: 4 + self.below(20), ..Faults::default() },
            2 => Faults { state_broken_one_in: 10, ..Faults::default() },
            _ => Faults::default(),
        };
        self.scheduler.note(&format!("the machine: {faults:?}"));
        self.scheduler.set_faults(faults);
    }

    fn maintain(&self) {
        let Some(single) = self.world.single() else { return };
        let database = single.database();
        let before = database.history_start();
        let old = hearth_engine::Clock::micros(&*self.machine.clock).max(self.world.model().last().micros());
        let maintained = self.scheduler.act_as(Who::Maintain, || single.maintain());
        if self.scheduler.is_crashed() {
            return;
        }
        if let Err(error) = maintained {
            self.scheduler.note(&format!("history cannot be trimmed: {error}"));
        }
        let start = database.history_start();
        self.scheduler.note(&format!("history starts at {start}"));
        assert!(start >= before, "the start of history goes back");
        let floor = self.world.model().floor();
        let allowed = Version::from_micros(old - HISTORY.as_micros() as u64).max(before).max(floor);
        assert!(
            self.trims_by_bytes || start <= allowed,
            "history starts at {start}, and was to be kept from {allowed}"
        );
    }

    fn begin_wipe(&mut self) {
        let Some(database) = self.world.database() else { return };
        if self.wipe.is_some() {
            return;
        }
        self.scheduler.note("a wipe is asked for");
        let wipe = database.authorize_wipe(&Caller::Anonymous).unwrap();
        self.wipe = Some(Pending::new(async move { database.wipe(&wipe).await }));
    }

    fn look_after_wipe(&mut self) {
        let Some(answer) = self.wipe.as_mut().and_then(Pending::poll) else { return };
        self.wipe = None;
        self.scheduler.note(&format!("the wipe is answered {answer:?}"));
        if let Ok(version) = answer {
            let mut model = self.world.model();
            assert!(model.floor() >= version, "a wipe is acknowledged at {version}, and is not there");
            model.show(version);
        }
    }

    /// Ends the process, if it has not ended by itself, and with it maybe more.
    fn end(&mut self) {
        let mut end = match self.below(3) {
            0 => End::Killed,
            1 => End::PowerLost,
            _ => End::Clean,
        };
        if end == End::Clean && !self.scheduler.is_crashed() {
            self.close();
        }
        if end == End::Clean && self.scheduler.is_crashed() {
            end = End::Killed;
        }
        self.restart(end);
    }

    fn close(&self) {
        let Some(single) = self.world.single() else { return };
        self.scheduler.act_as(Who::Close, || single.close());
        // Those who wait hear what became of it.
        for _ in 0..self.below(30) {
            self.scheduler.turn();
        }
    }

    /// Leaves of the machine what is left after such an end.
    fn restart(&mut self, end: End) {
        self.wipe = None;
        self.scheduler.set_faults(Faults::default());
        self.world.set_database(None);
        self.scheduler.end_life();
        let reboots = self.chance(1, 3);
        let loses_state = self.chance(1, 6);
        self.scheduler.note(&format!("{end:?}, reboots: {reboots}, loses the state: {loses_state}"));
        self.scheduler.random(|random| {
            match end {
                End::Clean => self.machine.store.keep_all(),
                End::Killed => self.machine.store.lose_some(random),
                End::PowerLost => self.machine.store.lose_all(),
            }
            if end == End::PowerLost || end == End::Clean && reboots {
                self.machine.disk.lose_power(random);
            }
            if loses_state {
                self.machine.store.lose_all();
            }
        });
    }

    // ---- the end

    /// Everything comes to rest, and everything is as it should be; and so it is when the state is built anew.
    fn last_life(&mut self) {
        self.open(false);
        for _ in 0..100 {
            self.pass_time();
            self.scheduler.turn();
        }
        self.world.drain(true);
        self.settle();
        self.maintain();
        self.settle();
        self.compare();
        self.close();
        self.restart(End::PowerLost);
        self.open(false);
        self.settle();
        self.compare();
        self.close();
        self.world.set_database(None);
    }

    fn settle(&mut self) {
        let settled = self.scheduler.settle(SETTLE_TURNS_MAX);
        let waits = self.scheduler.waits();
        assert!(settled && waits.is_empty(), "nothing more happens: {settled}, and {waits:#?}");
    }

    /// Reads everything there is.
    fn compare(&self) {
        let database = self.world.database().expect("it is open");
        let everything = QuerySpec::all(Source::Below(None));
        let authorized = asked(&database, &everything);
        let mut answer = Pending::new(async move { database.query(&authorized, None).await });
        let mut result = None;
        for _ in 0..1_000 {
            result = self.scheduler.act_as(Who::Client, || answer.poll());
            if result.is_some() {
                break;
            }
            self.scheduler.turn();
        }
        let answer = result.expect("the query is answered").unwrap();
        assert_eq!(answer.version, self.world.model().last());
        self.world.check("everything", &everything, answer.version, &answer.docs, None);
    }
}

/// Where a process will end.
fn crash(random: &mut Random) -> Crash {
    // Few lives come to it, and pass it once: it is aimed at more often than the others.
    if random.chance(1, 8) {
        return Crash { at: Point::Apply(Who::Close), passes: 0, before: random.chance(1, 2) };
    }
    let at = *random.pick(&Point::CRASHES);
    let often = matches!(at, Point::Turn(_) | Point::Write(_) | Point::Sync(_) | Point::Apply(Who::Apply));
    let passes = 1 << random.index(if often { 8 } else { 3 });
    Crash { at, passes: random.index(passes), before: random.chance(1, 2) }
}
