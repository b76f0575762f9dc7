//! A client with a connection of several listeners: it hears events, drops them, drops the connection, goes on with its
//! tokens, and at times reads slowly.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_core::Version;
use hearth_core::query::QuerySpec;
use hearth_engine::crew::Turn;
use hearth_engine::{Delivery, Opening, Outbox, ReadError, SharedEvent, TargetId};

use crate::scheduler::Client;
use crate::shown::Shown;
use crate::work;
use crate::world::{Pending, World, asked};

/// Listeners of one connection.
const TARGETS: u64 = 3;

pub(crate) struct Connection {
    name: usize,
    world: Arc<World>,
    outbox: Option<Outbox>,
    next: Option<Pending<Delivery>>,
    targets: BTreeMap<TargetId, Target>,
    targets_made: TargetId,
    /// Turns in which nothing is read.
    sleeps: usize,
}

struct Target {
    spec: QuerySpec,
    shown: Option<Shown>,
    stage: Stage,
}

enum Stage {
    /// Nothing is heard; what is held stays.
    Off,
    /// The first answer, or what was missed, is waited for; events that come meanwhile wait.
    Opening {
        answer: Pending<Result<Opening, ReadError>>,
        with_token: bool,
        events: Vec<(Version, Arc<SharedEvent>)>,
    },
    Live,
}

impl Connection {
    pub(crate) fn new(name: usize, world: &Arc<World>) -> Self {
        let (outbox, next, targets) = (None, None, BTreeMap::new());
        Self { name, world: world.clone(), outbox, next, targets, targets_made: 0, sleeps: 0 }
    }

    fn note(&self, text: &str) {
        self.world.scheduler.note(&format!("connection {}: {text}", self.name));
    }

    /// Opens a listener that is off, mostly from where it was.
    fn open(&mut self) -> Turn {
        let Some(single) = self.world.single() else { return Turn::Nothing };
        let off: Vec<TargetId> =
            self.targets.iter().filter(|(_, target)| matches!(target.stage, Stage::Off)).map(|(id, _)| *id).collect();
        if off.is_empty() {
            return Turn::Nothing;
        }
        let id = off[self.world.below(off.len())];
        let database = single.database().clone();
        let outbox = self.outbox.get_or_insert_with(|| single.outbox()).clone();
        let forgets = self.world.chance(1, 6);
        let target = self.targets.get_mut(&id).expect("it is there");
        if forgets {
            target.shown = None;
        }
        let token = target.shown.as_ref().map(|shown| shown.token);
        let with_token = token.is_some();
        let query = asked(&database, &target.spec);
        let answer = Pending::new(async move { database.listen(query, &outbox, id, token.as_ref()).await });
        target.stage = Stage::Opening { answer, with_token, events: Vec::new() };
        self.note(&format!("listener {id} opens, {}", if with_token { "with its token" } else { "anew" }));
        Turn::Worked
    }

    fn add(&mut self) -> Turn {
        if self.targets.len() as u64 >= TARGETS {
            return Turn::Nothing;
        }
        self.targets_made += 1;
        let spec = self.world.scheduler.random(work::query);
        self.note(&format!("listener {} is for {spec:?}", self.targets_made));
        self.targets.insert(self.targets_made, Target { spec, shown: None, stage: Stage::Off });
        Turn::Worked
    }

    /// Ends a listener and keeps what it knows.
    fn leave(&mut self) -> Turn {
        let (Some(database), Some(outbox)) = (self.world.database(), &self.outbox) else { return Turn::Nothing };
        let live: Vec<TargetId> =
            self.targets.iter().filter(|(_, target)| matches!(target.stage, Stage::Live)).map(|(id, _)| *id).collect();
        if live.is_empty() {
            return Turn::Nothing;
        }
        let id = live[self.world.below(live.len())];
        database.unlisten(outbox, id);
        self.note(&format!("listener {id} leaves"));
        if self.world.chance(1, 3) {
            self.targets.remove(&id);
        } else if let Some(target) = self.targets.get_mut(&id) {
            target.stage = Stage::Off;
        }
        Turn::Worked
    }

    fn drop_connection(&mut self) -> Turn {
        if self.outbox.is_none() {
            return Turn::Nothing;
        }
        self.note("the connection drops");
        self.cut();
        Turn::Worked
    }

    /// Looks after the listeners that are being opened.
    fn answers(&mut self) -> Turn {
        let ids: Vec<TargetId> = self.targets.keys().copied().collect();
        let mut turn = Turn::Nothing;
        for id in ids {
            let Some(Target { stage: Stage::Opening { answer, .. }, .. }) = self.targets.get_mut(&id) else { continue };
            let Some(answer) = answer.poll() else { continue };
            turn = Turn::Worked;
            self.opened(id, answer);
        }
        turn
    }

    fn opened(&mut self, id: TargetId, answer: Result<Opening, ReadError>) {
        let oldest = self.world.single().map(|single| (single.database().history_start(), single.database().epoch()));
        let target = self.targets.get_mut(&id).expect("it is there");
        let stage = std::mem::replace(&mut target.stage, Stage::Off);
        let Stage::Opening { with_token, events, .. } = stage else { panic!("listener {id} was not being opened") };
        let opening = match answer {
            Ok(opening) => opening,
            Err(error) => return self.note(&format!("listener {id} is not opened: {error}")),
        };
        let is_kept = |shown: &Shown| {
            oldest.is_some_and(|(oldest, epoch)| shown.token.version >= oldest && shown.token.epoch == epoch)
        };
        if let Opening::Whole { reset, .. } = &opening {
            let kept = with_token && target.shown.as_ref().is_some_and(is_kept);
            assert!(!kept, "listener {id} begins anew, though its token lies within the kept history");
            assert_eq!(*reset, with_token, "a reset is told where a token was shown");
        }
        let shown = Shown::opened(target.shown.take(), &opening, &target.spec, &self.world);
        let version = shown.version;
        target.shown = Some(shown);
        target.stage = Stage::Live;
        self.note(&format!("listener {id} is opened at {version}"));
        for (version, event) in events {
            self.hear(id, version, &event);
        }
    }

    fn hear(&mut self, id: TargetId, version: Version, event: &SharedEvent) {
        let target = self.targets.get_mut(&id).expect("it is there");
        let shown = target.shown.as_mut().expect("who is live has something");
        assert_eq!(event.event.version, version);
        assert!(version > shown.version, "listener {id} hears of {version} after {}", shown.version);
        shown.fold(&event.event);
        shown.token = event.token;
        let (version, shown) = (shown.version, shown.clone());
        self.world.check("what a listener holds", &target.spec, version, &shown.docs, shown.numbers.as_deref());
        self.note(&format!("listener {id} hears of {version}"));
    }

    /// Looks whether something was delivered.
    fn read(&mut self) -> Turn {
        let Some(outbox) = self.outbox.clone() else { return Turn::Nothing };
        let next = self.next.get_or_insert_with(|| Pending::new(async move { outbox.next().await }));
        let Some(delivery) = next.poll() else { return Turn::Nothing };
        self.next = None;
        match delivery {
            Delivery::Events { version, events } => self.deliver(version, events),
            Delivery::Lagged(id) => self.catch_up(id),
            Delivery::Closing => {
                self.note("the server closes the connection");
                self.cut();
            }
        }
        Turn::Worked
    }

    fn deliver(&mut self, version: Version, events: Vec<(TargetId, Arc<SharedEvent>)>) {
        for (id, event) in events {
            match self.targets.get_mut(&id) {
                Some(Target { stage: Stage::Live, .. }) => self.hear(id, version, &event),
                Some(Target { stage: Stage::Opening { events, .. }, .. }) => events.push((version, event)),
                Some(Target { stage: Stage::Off, .. }) | None => {
                    panic!("listener {id} has left, and hears of {version}")
                }
            }
        }
        // One commit, one delivery: all that it changed for this connection was in it.
        for target in self.targets.values().filter(|target| matches!(target.stage, Stage::Live)) {
            let Some(shown) = target.shown.as_ref().filter(|shown| shown.version <= version) else { continue };
            self.world.check(
                "what another listener holds",
                &target.spec,
                version,
                &shown.docs,
                shown.numbers.as_deref(),
            );
        }
    }

    fn catch_up(&mut self, id: TargetId) {
        let (Some(database), Some(outbox)) = (self.world.database(), self.outbox.clone()) else { return };
        self.note(&format!("listener {id} lags"));
        let Some(target) = self.targets.get_mut(&id) else { panic!("listener {id} has left, and lags") };
        let answer = Pending::new(async move { database.catch_up(&outbox, id).await });
        let with_token = target.shown.is_some();
        match &mut target.stage {
            // What it waits for comes, and what follows is caught up then.
            Stage::Opening { .. } => panic!("listener {id} lags before it is opened"),
            Stage::Off => panic!("listener {id} is off, and lags"),
            stage @ Stage::Live => *stage = Stage::Opening { answer, with_token, events: Vec::new() },
        }
    }
}

impl Client for Connection {
    fn step(&mut self) -> Turn {
        let answered = self.answers();
        if self.world.is_draining() {
            self.sleeps = 0;
            let turns = [answered, self.read(), self.open()];
            return if turns.contains(&Turn::Worked) { Turn::Worked } else { Turn::Nothing };
        }
        if self.sleeps > 0 {
            self.sleeps -= 1;
            return answered;
        }
        let turn = match self.world.below(60) {
            0..=4 => self.add(),
            5..=19 => self.open(),
            20 => self.leave(),
            21 if self.world.chance(1, 3) => self.drop_connection(),
            22 if self.world.chance(1, 2) => {
                self.sleeps = 20 + self.world.below(60);
                Turn::Nothing
            }
            _ => self.read(),
        };
        if answered == Turn::Worked { answered } else { turn }
    }

    fn cut(&mut self) {
        self.next = None;
        for target in self.targets.values_mut() {
            target.stage = Stage::Off;
        }
        self.outbox = None;
    }

    fn waits_for(&self) -> Option<String> {
        // At rest nothing lies where nobody was called for it.
        if let Some(outbox) = &self.outbox
            && let Some(delivery) = outbox.try_next()
        {
            return Some(format!("connection {} was not told of {delivery:?}", self.name));
        }
        let last = self.world.model().last();
        for (id, target) in &self.targets {
            match (&target.stage, &target.shown) {
                (Stage::Live, Some(shown)) => {
                    self.world.check(
                        "what a listener holds in the end",
                        &target.spec,
                        last,
                        &shown.docs,
                        shown.numbers.as_deref(),
                    );
                }
                (Stage::Off, _) => return Some(format!("connection {} could not open listener {id}", self.name)),
                _ => return Some(format!("connection {} waits for listener {id} to be opened", self.name)),
            }
        }
        None
    }
}
