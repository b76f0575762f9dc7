//! A client that reads: documents and results, at the newest version and at others, and what has changed since its last
//! look, for which it also waits.

use std::sync::Arc;

use hearth_auth::Caller;
use hearth_core::query::QuerySpec;
use hearth_core::{DocPath, Version};
use hearth_engine::crew::Turn;
use hearth_engine::{Answer, GetAnswer, Opening, ReadError};

use crate::scheduler::Client;
use crate::shown::Shown;
use crate::work;
use crate::world::{Pending, World, asked};

pub(crate) struct Reader {
    name: usize,
    world: Arc<World>,
    stage: Stage,
    /// What it polls for.
    polled: Option<(QuerySpec, Shown)>,
}

/// What was asked, at which version, and what everybody knew then.
struct Asked {
    at: Option<Version>,
    known: Version,
}

// One at a time is held.
#[expect(clippy::large_enum_variant)]
enum Stage {
    Idle,
    Getting {
        path: DocPath,
        asked: Asked,
        answer: Pending<Result<GetAnswer, ReadError>>,
    },
    Querying {
        spec: QuerySpec,
        asked: Asked,
        answer: Pending<Result<Answer, ReadError>>,
    },
    Polling {
        answer: Pending<Result<Opening, ReadError>>,
    },
    /// A long poll: returns when something has changed.
    Waiting {
        answer: Pending<Result<(), ReadError>>,
    },
}

impl Reader {
    pub(crate) fn new(name: usize, world: &Arc<World>) -> Self {
        Self { name, world: world.clone(), stage: Stage::Idle, polled: None }
    }

    fn note(&self, text: &str) {
        self.world.scheduler.note(&format!("reader {}: {text}", self.name));
    }

    fn begin(&mut self) -> Turn {
        let Some(single) = self.world.single() else { return Turn::Nothing };
        let database = single.database().clone();
        let (oldest, visible) = (database.history_start(), database.visible());
        let between = visible.micros().saturating_sub(oldest.micros());
        let at = match self.world.below(6) {
            0 => Some(oldest.micros() + self.world.below(between as usize + 1) as u64),
            1 => Some(visible.micros().saturating_sub(self.world.below(3_000_000) as u64)),
            // Time may have passed since the last commit.
            2 => Some(visible.micros() + self.world.below(2_000) as u64),
            _ => None,
        };
        let at = at.map(Version::from_micros);
        let asked_now = Asked { at, known: self.world.model().shown };
        match self.world.below(4) {
            0 => {
                let path = self.world.scheduler.random(work::path);
                let authorized = database.authorize_get(&Caller::Anonymous, path.clone()).unwrap();
                let answer = Pending::new(async move { database.get(&authorized, at).await });
                self.stage = Stage::Getting { path, asked: asked_now, answer };
            }
            1 | 2 => {
                let spec = self.world.scheduler.random(work::query);
                let authorized = asked(&database, &spec);
                let answer = Pending::new(async move { database.query(&authorized, at).await });
                self.stage = Stage::Querying { spec, asked: asked_now, answer };
            }
            _ => match &self.polled {
                None => {
                    let spec = self.world.scheduler.random(work::query);
                    let authorized = asked(&database, &spec);
                    let answer = Pending::new(async move { database.query(&authorized, None).await });
                    self.stage = Stage::Querying { spec, asked: Asked { at: None, ..asked_now }, answer };
                }
                Some((spec, shown)) => {
                    let (authorized, token) = (asked(&database, spec), shown.token);
                    self.stage = if self.world.chance(1, 2) {
                        Stage::Polling {
                            answer: Pending::new(async move { database.since(&authorized, &token).await }),
                        }
                    } else {
                        Stage::Waiting {
                            answer: Pending::new(async move { database.changed(&authorized, &token).await }),
                        }
                    };
                }
            },
        }
        Turn::Worked
    }

    /// Whether a version may be the answer to a read.
    fn check_version(&self, asked: &Asked, version: Version) {
        match asked.at {
            Some(at) => assert_eq!(version, at, "a read at {at} is answered at another version"),
            None => {
                assert!(version >= asked.known, "a read at {version} undercuts {}, which was told before", asked.known)
            }
        }
    }

    fn failed(&self, asked: &Asked, error: &ReadError) {
        self.note(&format!("reading at {:?} fails: {error}", asked.at));
        if let ReadError::Forgotten { at, oldest } = error {
            assert!(at < oldest);
            let start = self.world.single().map(|single| single.database().history_start());
            assert!(
                start.is_none_or(|start| start > *at),
                "version {at} is not forgotten: history starts at {start:?}"
            );
        }
    }
}

impl Client for Reader {
    fn step(&mut self) -> Turn {
        match &mut self.stage {
            Stage::Idle if self.world.is_draining() || !self.world.chance(1, 4) => return Turn::Nothing,
            Stage::Idle => return self.begin(),
            Stage::Getting { answer, .. } => {
                let Some(answer) = answer.poll() else { return Turn::Nothing };
                let Stage::Getting { path, asked, .. } = std::mem::replace(&mut self.stage, Stage::Idle) else {
                    unreachable!("it was a moment ago")
                };
                match answer {
                    Err(error) => self.failed(&asked, &error),
                    Ok(got) => {
                        self.check_version(&asked, got.version);
                        let mut model = self.world.model();
                        let wanted = model.at(got.version).get(&path).cloned();
                        assert_eq!(got.document, wanted, "{path} at {}", got.version);
                        model.show(got.version);
                    }
                }
            }
            Stage::Querying { answer, .. } => {
                let Some(answer) = answer.poll() else { return Turn::Nothing };
                let Stage::Querying { spec, asked, .. } = std::mem::replace(&mut self.stage, Stage::Idle) else {
                    unreachable!("it was a moment ago")
                };
                match answer {
                    Err(error) => self.failed(&asked, &error),
                    Ok(answer) => {
                        self.check_version(&asked, answer.version);
                        self.world.check("a result", &spec, answer.version, &answer.docs, answer.aggregates.as_deref());
                        if self.world.chance(1, 4) {
                            let Answer { version, token, docs, aggregates, .. } = answer;
                            self.polled = Some((spec, Shown { version, token, docs, numbers: aggregates }));
                        }
                    }
                }
            }
            Stage::Polling { answer } => {
                let Some(answer) = answer.poll() else { return Turn::Nothing };
                self.stage = Stage::Idle;
                match answer {
                    Err(error) => self.note(&format!("a poll fails: {error}")),
                    Ok(opening) => {
                        let (spec, shown) = self.polled.take().expect("it polls for something");
                        let shown = Shown::opened(Some(shown), &opening, &spec, &self.world);
                        self.note(&format!("a poll is answered at {}", shown.version));
                        self.polled = Some((spec, shown));
                    }
                }
            }
            Stage::Waiting { answer } => {
                let Some(answer) = answer.poll() else {
                    // Long polls are given up after a while.
                    if !self.world.is_draining() && self.world.chance(1, 40) {
                        self.stage = Stage::Idle;
                        return Turn::Worked;
                    }
                    return Turn::Nothing;
                };
                self.stage = Stage::Idle;
                self.note(&format!("a long poll is answered {answer:?}"));
            }
        }
        Turn::Worked
    }

    fn cut(&mut self) {
        self.stage = Stage::Idle;
    }

    fn waits_for(&self) -> Option<String> {
        let what = match &self.stage {
            Stage::Idle => return None,
            Stage::Getting { path, asked, .. } => format!("{path} at {:?}", asked.at),
            Stage::Querying { spec, asked, .. } => format!("the result at {:?} of {spec:?}", asked.at),
            Stage::Polling { .. } => "what has changed".into(),
            // Right where nothing has changed.
            Stage::Waiting { .. } => {
                let (spec, shown) = self.polled.as_ref()?;
                let model = self.world.model();
                let is_same = model.result(spec, model.last()) == (shown.docs.clone(), shown.numbers.clone());
                if is_same {
                    return None;
                }
                format!("a change of {spec:?}, which has come")
            }
        };
        Some(format!("reader {} waits for {what}", self.name))
    }
}
