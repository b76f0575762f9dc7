//! The scheduler: whose step is next, on one thread, as the seed says.
//!
//! Workers of the engine, its jobs and the clients all wait here for their turns. At each operation on disk or state a
//! turn can be interrupted by turns of others, as threads are, unless they would have to wait for a lock that is held
//! below. Here a process also ends: from the point on that the seed has chosen, nothing that it does has an effect.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use hearth_engine::crew::{Crew, Hired, Job, Pace, Turn, Worker};
use hearth_tests::Random;

use crate::points::{Fault, Point, Who};

/// Turns that are interrupted by each other at one time.
const DEPTH_MAX: usize = 4;
/// Turns after which whoever waits for an end waits for ever.
const JOIN_TURNS_MAX: usize = 100_000;

/// Somebody who uses the database from outside the process.
pub(crate) trait Client: Send {
    /// Does the next thing, if there is one to do.
    fn step(&mut self) -> Turn;
    /// The process is gone, and every connection with it.
    fn cut(&mut self);
    /// What it still waits for.
    fn waits_for(&self) -> Option<String>;
}

/// Which locks of the database are held by somebody below.
#[derive(Clone, Copy, Default)]
pub(crate) struct Busy {
    pub(crate) telling: bool,
    pub(crate) applying: bool,
}

type Probe = Arc<dyn Fn() -> Busy + Send + Sync>;

/// What goes wrong with the disk for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Nothing can be written.
    pub(crate) full: bool,
    /// One in so many operations fails; none at zero.
    pub(crate) broken_one_in: usize,
    /// One in so many changes of the state fails; none at zero.
    pub(crate) state_broken_one_in: usize,
}

/// The end of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) at: Point,
    /// How often the point is passed before.
    pub(crate) passes: usize,
    /// Before what is done there, or after.
    pub(crate) before: bool,
}

pub(crate) struct Scheduler {
    // Held to choose or to note, never during a turn.
    inside: Mutex<Inside>,
}

struct Inside {
    random: Random,
    slots: Vec<Slot>,
    jobs: Vec<Job>,
    clients: Vec<Option<Box<dyn Client>>>,
    /// Who has a turn, and who it has interrupted.
    stack: Vec<Who>,
    probe: Option<Probe>,
    faults: Faults,
    crash: Option<Crash>,
    crashed: bool,
    interrupts: bool,
    trace: Trace,
    crashes: BTreeMap<Point, usize>,
    /// What is done the next time that a point is passed.
    aside: Option<(Point, Aside)>,
}

type Aside = Box<dyn FnOnce() + Send>;

/// A worker of the engine; gone while it has a turn.
struct Slot {
    name: String,
    who: Who,
    worker: Option<Box<dyn Worker>>,
    over: Arc<AtomicBool>,
}

/// Whose turn it can be.
#[derive(Clone, Copy)]
enum Next {
    Slot(usize),
    Job(usize),
    Client(usize),
}

/// All that happened, as one number; and as lines where `TEST_TRACE` is set.
struct Trace {
    hash: u64,
    lines: u64,
    prints: bool,
}

impl Trace {
    fn note(&mut self, line: &str) {
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.prints {
            eprintln!("{:>6} {line}", self.lines);
        }
    }
}

impl Scheduler {
    pub(crate) fn new(random: Random) -> Arc<Self> {
        let trace = Trace { hash: 0xcbf2_9ce4_8422_2325, lines: 0, prints: std::env::var_os("TEST_TRACE").is_some() };
        let inside = Inside {
            random,
            slots: Vec::new(),
            jobs: Vec::new(),
            clients: Vec::new(),
            stack: Vec::new(),
            probe: None,
            faults: Faults::default(),
            crash: None,
            crashed: false,
            interrupts: true,
            trace,
            crashes: BTreeMap::new(),
            aside: None,
        };
        Arc::new(Self { inside: Mutex::new(inside) })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.inside().random)
    }

    pub(crate) fn note(&self, line: &str) {
        self.inside().trace.note(line);
    }

    /// What happened, as one number.
    pub(crate) fn trace(&self) -> u64 {
        self.inside().trace.hash
    }

    /// At which points processes ended.
    pub(crate) fn crashes(&self) -> BTreeMap<Point, usize> {
        self.inside().crashes.clone()
    }

    pub(crate) fn add(&self, client: Box<dyn Client>) {
        self.inside().clients.push(Some(client));
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.inside().faults = faults;
    }

    /// A process is there, which is to end so; and may be looked into so.
    pub(crate) fn begin_life(&self, crash: Option<Crash>) {
        let mut inside = self.inside();
        inside.crash = crash;
        inside.crashed = false;
    }

    pub(crate) fn set_probe(&self, probe: Probe) {
        self.inside().probe = Some(probe);
    }

    /// The process is gone. Clients hear of it.
    pub(crate) fn end_life(&self) {
        let (slots, jobs, probe, mut clients) = {
            let mut inside = self.inside();
            inside.crashed = true;
            inside.crash = None;
            let clients = std::mem::take(&mut inside.clients);
            (std::mem::take(&mut inside.slots), std::mem::take(&mut inside.jobs), inside.probe.take(), clients)
        };
        clients.iter_mut().flatten().for_each(|client| client.cut());
        // What is dropped here may come back to us.
        drop((slots, jobs, probe));
        self.inside().clients = clients;
    }

    /// Ends everything, so that nobody is held by a circle.
    pub(crate) fn end(&self) {
        self.end_life();
        let clients = std::mem::take(&mut self.inside().clients);
        drop(clients);
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.inside().crashed
    }

    /// Who has the turn.
    pub(crate) fn who(&self) -> Who {
        self.inside().stack.last().copied().unwrap_or(Who::Open)
    }

    /// Whatever is done in `turn` is done by `who`.
    pub(crate) fn act_as<T>(&self, who: Who, turn: impl FnOnce() -> T) -> T {
        self.inside().stack.push(who);
        let done = turn();
        self.inside().stack.pop();
        done
    }

    // ---- points

    /// Whatever may happen before something is done.
    pub(crate) fn before(self: &Arc<Self>, point: Point) -> Result<(), Fault> {
        let aside = self.inside().aside.take_if(|(at, _)| *at == point);
        if let Some((_, aside)) = aside {
            aside();
        }
        self.interrupt();
        let mut inside = self.inside();
        inside.crash_at(point, true);
        if inside.crashed {
            return Err(Fault::Crashed);
        }
        let faults = inside.faults;
        let mut fails = |one_in: usize| one_in > 0 && inside.random.chance(1, one_in as u64);
        match point {
            Point::Write(_) | Point::Create(_) if faults.full => Err(Fault::Full),
            Point::Apply(who) if who != Who::Open && fails(faults.state_broken_one_in) => Err(Fault::Broken),
            Point::Read(_) | Point::Apply(_) | Point::Turn(_) => Ok(()),
            _ if fails(faults.broken_one_in) => Err(Fault::Broken),
            _ => Ok(()),
        }
    }

    /// Whatever may happen after something was done.
    pub(crate) fn after(&self, point: Point) -> Result<(), Fault> {
        let mut inside = self.inside();
        inside.crash_at(point, false);
        if inside.crashed { Err(Fault::Crashed) } else { Ok(()) }
    }

    fn interrupt(self: &Arc<Self>) {
        let turns = {
            let mut inside = self.inside();
            let may = inside.interrupts && !inside.crashed && (1..DEPTH_MAX).contains(&inside.stack.len());
            if !may || inside.slots.is_empty() || !inside.random.chance(1, 6) {
                return;
            }
            1 + inside.random.index(4)
        };
        for _ in 0..turns {
            self.turn();
        }
    }

    // ---- turns

    /// Gives somebody a turn. Says whether anything was done.
    pub(crate) fn turn(self: &Arc<Self>) -> bool {
        let next = {
            let probe = self.inside().probe.clone();
            let busy = probe.map_or_else(Busy::default, |probe| probe());
            let mut inside = self.inside();
            let able = inside.able(busy, true);
            if able.is_empty() || inside.crashed {
                return false;
            }
            let chosen = inside.random.index(able.len());
            able[chosen]
        };
        self.take(next)
    }

    /// Gives the workers of one trade turns, and nobody else, until they have nothing to do.
    pub(crate) fn turns_of(self: &Arc<Self>, who: Who) {
        while self.turn_of(who) {}
    }

    /// Gives a worker of a trade one turn. Says whether it had something to do.
    pub(crate) fn turn_of(self: &Arc<Self>, who: Who) -> bool {
        let found = self.inside().slots.iter().position(|slot| slot.who == who && slot.worker.is_some());
        found.is_some_and(|index| self.take_slot(index) != Turn::Nothing)
    }

    /// Does all jobs that wait.
    pub(crate) fn do_jobs(self: &Arc<Self>) {
        while !self.inside().jobs.is_empty() {
            self.take(Next::Job(0));
        }
    }

    /// Does something the next time that a point is passed, before what is done there.
    pub(crate) fn interrupt_at(&self, point: Point, aside: impl FnOnce() + Send + 'static) {
        self.inside().aside = Some((point, Box::new(aside)));
    }

    /// Turns are taken as they are asked for, and nobody interrupts another.
    pub(crate) fn take_in_order(&self) {
        self.inside().interrupts = false;
    }

    /// Gives everybody turns until nobody has anything to do. Says whether that is reached.
    pub(crate) fn settle(self: &Arc<Self>, turns_max: usize) -> bool {
        let mut turns = 0;
        while turns < turns_max && !self.is_crashed() {
            // By chance first, and then everybody in a row, to be sure. What those do who interrupt others counts, too.
            let before = self.inside().trace.lines;
            for _ in 0..8 {
                self.turn();
            }
            turns += 8;
            if self.inside().trace.lines == before {
                let all = self.inside().able(Busy::default(), true);
                let done = all.into_iter().rev().any(|next| self.take(next));
                let inside = self.inside();
                if !done && inside.trace.lines == before && inside.jobs.is_empty() {
                    return true;
                }
            }
        }
        false
    }

    fn take(self: &Arc<Self>, next: Next) -> bool {
        let turn = match next {
            Next::Slot(index) => self.take_slot(index),
            Next::Job(index) => {
                let job = {
                    let mut inside = self.inside();
                    inside.begin(Who::Job);
                    if inside.crashed {
                        inside.stack.pop();
                        return false;
                    }
                    inside.jobs.remove(index)
                };
                job();
                self.inside().finish(&format!("job {index}"), Turn::Worked)
            }
            Next::Client(index) => {
                let mut client = {
                    let mut inside = self.inside();
                    inside.begin(Who::Client);
                    if inside.crashed {
                        inside.stack.pop();
                        return false;
                    }
                    inside.clients[index].take().expect("a client has one turn at a time")
                };
                let turn = client.step();
                let mut inside = self.inside();
                inside.clients[index] = Some(client);
                inside.finish(&format!("client {index}"), turn)
            }
        };
        turn != Turn::Nothing
    }

    fn take_slot(self: &Arc<Self>, index: usize) -> Turn {
        let mut worker = {
            let mut inside = self.inside();
            let who = inside.slots[index].who;
            inside.begin(who);
            // It may have come to its end in between, in a turn that interrupted another.
            match inside.slots[index].worker.take() {
                Some(worker) if !inside.crashed => worker,
                worker => {
                    inside.slots[index].worker = worker;
                    inside.stack.pop();
                    return Turn::Nothing;
                }
            }
        };
        let turn = worker.step(Pace::Try);
        let mut inside = self.inside();
        let slot = &mut inside.slots[index];
        let name = slot.name.clone();
        match turn {
            Turn::Over => slot.over.store(true, Ordering::Release),
            Turn::Worked | Turn::Nothing => slot.worker = Some(worker),
        }
        inside.finish(&name, turn)
        // A worker that is over is dropped here, with nothing held.
    }

    fn join(self: &Arc<Self>, over: &AtomicBool) -> bool {
        for _ in 0..JOIN_TURNS_MAX {
            if over.load(Ordering::Acquire) || self.is_crashed() {
                return true;
            }
            let able = {
                let mut inside = self.inside();
                let mut able = inside.able(Busy::default(), false);
                let first = inside.random.index(able.len().max(1));
                able.rotate_left(first);
                able
            };
            // What those do who interrupt others counts, too.
            let before = self.inside().trace.lines;
            let done = able.into_iter().any(|next| self.take(next)) || self.inside().trace.lines > before;
            let ended = over.load(Ordering::Acquire) || self.is_crashed();
            assert!(done || ended, "somebody waits for an end that never comes");
        }
        panic!("somebody waits for an end that does not come");
    }

    /// What clients still wait for.
    pub(crate) fn waits(&self) -> Vec<String> {
        self.inside().clients.iter().flatten().filter_map(|client| client.waits_for()).collect()
    }
}

impl Inside {
    fn crash_at(&mut self, point: Point, before: bool) {
        let Some(crash) = &mut self.crash else { return };
        if crash.at != point || crash.before != before {
            return;
        }
        match crash.passes.checked_sub(1) {
            Some(passes) => crash.passes = passes,
            None => {
                self.crash = None;
                self.crashed = true;
                *self.crashes.entry(point).or_default() += 1;
                self.trace.note(&format!("crash {} {point:?}", if before { "before" } else { "after" }));
            }
        }
    }

    fn begin(&mut self, who: Who) {
        self.crash_at(Point::Turn(who), true);
        self.stack.push(who);
    }

    fn finish(&mut self, name: &str, turn: Turn) -> Turn {
        let who = self.stack.pop().expect("a turn ends once");
        if turn != Turn::Nothing {
            self.trace.note(&format!("{name} {turn:?}"));
        }
        self.crash_at(Point::Turn(who), false);
        turn
    }

    /// Who can have a turn.
    fn able(&mut self, busy: Busy, with_clients: bool) -> Vec<Next> {
        let mut able = Vec::new();
        for (index, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.worker.is_some()) {
            let waits = match slot.who {
                Who::Tell => busy.telling,
                Who::Apply | Who::Keep => busy.applying,
                _ => false,
            };
            if !waits {
                able.push(Next::Slot(index));
            }
        }
        if !busy.telling {
            able.extend((0..self.jobs.len()).map(Next::Job));
            if with_clients {
                let there = self.clients.iter().enumerate().filter(|(_, client)| client.is_some());
                able.extend(there.map(|(index, _)| Next::Client(index)));
            }
        }
        able
    }
}

/// The crew of one process.
pub(crate) struct SimCrew(pub(crate) Arc<Scheduler>);

struct SimHired {
    scheduler: Arc<Scheduler>,
    over: Arc<AtomicBool>,
}

impl Crew for SimCrew {
    fn job(&self, job: Job) {
        self.0.inside().jobs.push(job);
    }

    fn hire(&self, name: String, worker: Box<dyn Worker>) -> io::Result<Box<dyn Hired>> {
        let who = match name.split(' ').next() {
            Some("plan") => Who::Plan,
            Some("log") => Who::Log,
            Some("tell") => Who::Tell,
            Some("apply") => Who::Apply,
            Some("keep") => Who::Keep,
            _ => panic!("a worker of an unknown trade: {name}"),
        };
        let over = Arc::new(AtomicBool::new(false));
        let slot = Slot { name, who, worker: Some(worker), over: over.clone() };
        let mut inside = self.0.inside();
        // Those that are over make room, unless their places are counted on below.
        if inside.stack.is_empty() {
            inside.slots.retain(|slot| !slot.over.load(Ordering::Acquire));
        }
        inside.slots.push(slot);
        Ok(Box::new(SimHired { scheduler: self.0.clone(), over }))
    }
}

impl Hired for SimHired {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn join(self: Box<Self>) -> bool {
        self.scheduler.join(&self.over)
    }
}
