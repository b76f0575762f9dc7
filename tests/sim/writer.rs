//! A client that commits: plain writes, transactions on documents and queries that it has read, and requests under a
//! key that are asked again and again until it knows what became of them.

use std::sync::Arc;

use hearth_auth::Caller;
use hearth_core::decide::{DocumentRead, WriteError};
use hearth_core::query::{Limit, QuerySpec};
use hearth_core::{DocPath, Version};
use hearth_engine::crew::Turn;
use hearth_engine::{Answer, CommitError, Committed, GetAnswer, ReadError};

use crate::scheduler::Client;
use crate::work::{self, Deed, Read, Work};
use crate::world::{Pending, World, asked};

pub(crate) struct Writer {
    name: usize,
    world: Arc<World>,
    stage: Stage,
}

// One at a time is held.
#[expect(clippy::large_enum_variant)]
enum Stage {
    Idle,
    /// Reads a document that its commit will rest on.
    Getting {
        work: Work,
        path: DocPath,
        answer: Pending<Result<GetAnswer, ReadError>>,
    },
    /// Runs a query that its commit will rest on.
    Querying {
        work: Work,
        spec: QuerySpec,
        answer: Pending<Result<Answer, ReadError>>,
    },
    Committing {
        work: Work,
        from: Version,
        answer: Pending<Result<Committed, CommitError>>,
    },
    /// Does not know what became of it, and will ask again.
    Unsure {
        work: Work,
    },
}

impl Writer {
    pub(crate) fn new(name: usize, world: &Arc<World>) -> Self {
        Self { name, world: world.clone(), stage: Stage::Idle }
    }

    fn note(&self, text: &str) {
        self.world.scheduler.note(&format!("writer {}: {text}", self.name));
    }

    fn begin(&mut self) -> Turn {
        let (world, number) = (self.world.clone(), self.world.next_commit());
        let is_keyed = world.chance(1, 2);
        let deeds = world.scheduler.random(|random| {
            let count = random.index(4);
            (0..count).map(|_| Deed::random(random, number)).collect()
        });
        let work = Work::new(number, is_keyed, deeds);
        match world.below(6) {
            0 | 1 => {
                let path = world.scheduler.random(work::path);
                self.get(work, path)
            }
            2 => {
                let spec = world.scheduler.random(work::query);
                self.query(work, spec)
            }
            _ => self.commit(work),
        }
    }

    fn get(&mut self, work: Work, path: DocPath) -> Turn {
        let Some(database) = self.world.database() else { return Turn::Nothing };
        let authorized = database.authorize_get(&Caller::Anonymous, path.clone()).unwrap();
        let answer = Pending::new(async move { database.get(&authorized, None).await });
        self.stage = Stage::Getting { work, path, answer };
        Turn::Worked
    }

    fn query(&mut self, work: Work, spec: QuerySpec) -> Turn {
        let Some(database) = self.world.database() else { return Turn::Nothing };
        if !spec.aggregates.is_empty() || spec.offset > 0 {
            return self.commit(work);
        }
        let authorized = asked(&database, &spec);
        let answer = Pending::new(async move { database.query(&authorized, None).await });
        self.stage = Stage::Querying { work, spec, answer };
        Turn::Worked
    }

    fn commit(&mut self, work: Work) -> Turn {
        let Some(database) = self.world.database() else {
            self.stage = Stage::Unsure { work };
            return Turn::Nothing;
        };
        self.note(&format!("commit {} {:?}", work.number, work.deeds));
        self.world.model().ask(&work);
        let request = database.authorize_commit(&Caller::Anonymous, work.request()).unwrap();
        let from = database.visible();
        let answer = Pending::new(async move { database.commit(request).await });
        self.stage = Stage::Committing { work, from, answer };
        Turn::Worked
    }

    fn answered(&mut self, work: Work, from: Version, answer: Result<Committed, CommitError>) {
        let number = work.number;
        self.note(&format!("commit {number} is answered {answer:?}"));
        match answer {
            Ok(committed) => {
                self.world.model().acknowledged(number, committed.version);
                assert!(committed.replayed || committed.version > from, "a new commit stands above what was visible");
            }
            Err(CommitError::Refused(why)) => self.refused(&work, from, &why),
            Err(CommitError::QueryMoved) => self.world.model().dead(number, "a query has moved"),
            Err(CommitError::Unknown { .. }) if work.is_keyed => self.stage = Stage::Unsure { work },
            Err(CommitError::Unknown { .. }) => {}
            Err(
                error @ (CommitError::NotApplied { .. }
                | CommitError::Overloaded { .. }
                | CommitError::ReadOnly { .. }
                | CommitError::Closed),
            ) => {
                // Certainly not applied this time; an earlier time nobody knows of.
                if work.is_keyed && self.world.chance(4, 5) {
                    self.stage = Stage::Unsure { work };
                } else if !work.is_keyed {
                    self.world.model().dead(number, &error.to_string());
                }
            }
            Err(error) => panic!("commit {number} is answered with {error:?}"),
        }
    }

    /// A refusal rests on a state that was there while the client waited, and that lasts.
    fn refused(&self, work: &Work, from: Version, why: &WriteError) {
        let to = self.world.database().map_or(from, |database| database.visible());
        let mut model = self.world.model();
        let was_so = match why {
            WriteError::AlreadyExists { path } => {
                let within = work.deeds.iter().filter(|deed| deed.path() == path).count() > 1;
                within || model.any_between(from, to, |docs| docs.contains_key(path))
            }
            WriteError::Moved { path } => {
                let read = work.reads.iter().find(|read| read.path == *path).expect("what has moved was read");
                model.any_between(from, to, |docs| docs.get(path).map(|doc| doc.updated) != read.updated)
            }
            other => panic!("commit {} is refused with {other:?}", work.number),
        };
        assert!(was_so, "commit {} is refused with {why:?}, and that was not so", work.number);
        model.dead(work.number, &why.to_string());
    }
}

impl Client for Writer {
    fn step(&mut self) -> Turn {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle if self.world.is_draining() || !self.world.chance(1, 3) => Turn::Nothing,
            Stage::Idle => self.begin(),
            Stage::Unsure { work } => self.commit(work),
            Stage::Getting { mut work, path, mut answer } => match answer.poll() {
                None => {
                    self.stage = Stage::Getting { work, path, answer };
                    Turn::Nothing
                }
                Some(Err(error)) => {
                    self.note(&format!("a document cannot be read: {error}"));
                    Turn::Worked
                }
                Some(Ok(got)) => {
                    let document = got.document.as_deref();
                    {
                        let mut model = self.world.model();
                        assert_eq!(
                            document,
                            model.at(got.version).get(&path).map(|doc| &**doc),
                            "{path} at {}",
                            got.version
                        );
                        model.show(got.version);
                    }
                    work.reads.push(DocumentRead { path: path.clone(), updated: document.map(|doc| doc.updated) });
                    let n = got.version.micros() as i64 % 7;
                    work.deeds.push(Deed::Set { path, n, by: work.number });
                    self.commit(work)
                }
            },
            Stage::Querying { mut work, spec, mut answer } => match answer.poll() {
                None => {
                    self.stage = Stage::Querying { work, spec, answer };
                    Turn::Nothing
                }
                Some(Err(error)) => {
                    self.note(&format!("a query fails: {error}"));
                    Turn::Worked
                }
                Some(Ok(answer)) => {
                    self.world.check("what a transaction read", &spec, answer.version, &answer.docs, None);
                    let query = hearth_core::Query::build(spec.clone()).unwrap();
                    let limit = match spec.limit {
                        Some(Limit::First(limit) | Limit::Last(limit)) => Some(limit as usize),
                        None => None,
                    };
                    let farthest = match spec.limit {
                        Some(Limit::Last(_)) => answer.docs.first(),
                        _ => answer.docs.last(),
                    };
                    work.queries.push(Read {
                        version: answer.version,
                        found: answer.docs.iter().map(|doc| (doc.path.clone(), doc.updated)).collect(),
                        last_returned: farthest.and_then(|doc| {
                            let Ok(place) = query.place(&doc.path, &**doc);
                            place
                        }),
                        filled: limit == Some(answer.docs.len()),
                        spec,
                    });
                    self.commit(work)
                }
            },
            Stage::Committing { work, from, mut answer } => match answer.poll() {
                Some(answer) => {
                    self.answered(work, from, answer);
                    Turn::Worked
                }
                // The connection drops, and with it the reply.
                None if !self.world.is_draining() && self.world.chance(1, 60) => {
                    self.note(&format!("the reply to commit {} is lost", work.number));
                    if work.is_keyed {
                        self.stage = Stage::Unsure { work };
                    }
                    Turn::Worked
                }
                None => {
                    self.stage = Stage::Committing { work, from, answer };
                    Turn::Nothing
                }
            },
        }
    }

    fn cut(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Committing { work, .. } | Stage::Unsure { work } if work.is_keyed => Stage::Unsure { work },
            _ => Stage::Idle,
        };
    }

    fn waits_for(&self) -> Option<String> {
        let what = match &self.stage {
            Stage::Idle => return None,
            Stage::Getting { path, .. } => format!("the document {path}"),
            Stage::Querying { spec, .. } => format!("the result of {spec:?}"),
            Stage::Committing { work, .. } => format!("the verdict on commit {}", work.number),
            Stage::Unsure { work } => format!("commit {} to be asked for again", work.number),
        };
        Some(format!("writer {} waits for {what}", self.name))
    }
}
