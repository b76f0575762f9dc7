//! The writer on a log that fails: whatever fails and whoever races, what was acknowledged is there, what was refused is
//! not, what is unknown is there at most once, and no version is used twice.

use std::collections::{BTreeMap, BTreeSet};

use hearth_core::write::{FieldTransform, Transform};
use proptest::prelude::*;

use super::*;

/// What one append does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Works,
    /// As on a full disk: taken back, and there may be space again.
    TakenBack,
    /// The sync fails, and the group is on disk all the same.
    UnknownAndKept,
    /// The sync fails, and the group is not on disk.
    UnknownAndLost,
}

/// A disk that survives the process: entries in their order, and every version that was ever tried.
#[derive(Default)]
struct Platter {
    entries: Vec<Entry>,
    tried: Vec<Version>,
    turns: VecDeque<Turn>,
}

/// A log on such a disk, for one life of the process.
struct Scripted {
    platter: Arc<Mutex<Platter>>,
    ended: Option<Arc<str>>,
}

impl CommitLog for Scripted {
    fn append(&mut self, group: &[Entry]) -> Result<(), AppendError> {
        if let Some(cause) = self.ended.clone() {
            return Err(AppendError::ReadOnly { cause });
        }
        if group.is_empty() {
            return Ok(());
        }
        let mut platter = self.platter.lock().unwrap();
        platter.tried.extend(group.iter().map(|entry| entry.version));
        assert!(group[0].version > self::last(&platter), "versions rise");
        let turn = platter.turns.pop_front().unwrap_or(Turn::Works);
        if matches!(turn, Turn::Works | Turn::UnknownAndKept) {
            platter.entries.extend_from_slice(group);
        }
        match turn {
            Turn::Works => Ok(()),
            Turn::TakenBack => Err(full()),
            Turn::UnknownAndKept | Turn::UnknownAndLost => {
                self.ended = Some("the disk is gone".into());
                Err(AppendError::Unknown { cause: io::ErrorKind::Other.into() })
            }
        }
    }

    fn replay(
        &self,
        after: Version,
        each: &mut dyn FnMut(Entry) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<(), ReplayError> {
        let entries = self.platter.lock().unwrap().entries.clone();
        for entry in entries.into_iter().filter(|entry| entry.version > after) {
            let version = entry.version;
            each(entry).map_err(|cause| ReplayError::Stopped { version, cause })?;
        }
        Ok(())
    }

    fn start(&self) -> Version {
        Version::ZERO
    }

    fn last(&self) -> Version {
        last(&self.platter.lock().unwrap())
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

    fn read_only(&self) -> Option<Arc<str>> {
        self.ended.clone()
    }

    fn drop_before(&mut self, _: Version) -> Result<u64, LogError> {
        Ok(0)
    }

    fn close(&mut self) {}
}

fn last(platter: &Platter) -> Version {
    platter.entries.last().map_or(Version::ZERO, |entry| entry.version)
}

/// A database with an empty state on what is on the disk.
fn open(platter: &Arc<Mutex<Platter>>) -> Database {
    open_on(Arc::new(Memory::new()), Limits::default(), Box::new(Scripted { platter: platter.clone(), ended: None }))
}

/// A database of this state and log.
pub(super) fn open_on(store: Arc<dyn Store>, limits: Limits, log: Box<dyn CommitLog>) -> Database {
    let (limits, metrics) = (Arc::new(limits), Arc::default());
    let clock = Arc::new(ManualClock::at(NOW));
    let crew: Arc<dyn Crew> = Arc::new(Threads::new(|job| job()));
    let common = Common {
        store,
        time: Arc::new(Time::new(clock.clone(), limits.clock_leap_max, Arc::clone(&metrics))),
        clock,
        limits,
        metrics,
        access: Access::Open,
        applier: Applier::start(&*crew).unwrap(),
        crew,
        queries: Arc::new(Semaphore::new(4)),
    };
    let name = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
    Database::open(opened(name, log), &common).unwrap()
}

/// What one writer was told of one commit.
#[derive(Debug)]
struct Told {
    writer: usize,
    n: usize,
    verdict: Result<Version, CommitError>,
}

/// A commit of a writer: a document of its own, one that it races for, and a sum that counts commits.
fn work(writer: usize, n: usize) -> CommitRequest {
    let own = set(&format!("own/w{writer}n{n}"), n as i64);
    let fields = Map::from([("n".into(), Value::Integer(writer as i64))]);
    let raced = Write::build(path(&format!("raced/r{n}")), Operation::Set(fields), Precondition::Exists(false), vec![])
        .unwrap();
    let mut writes = vec![own, sum()];
    // Every other commit is nobody's rival.
    if n.is_multiple_of(2) {
        writes.push(raced);
    }
    CommitRequest {
        key: Some(RequestKey { key: format!("w{writer}n{n}").into(), request: 1 }),
        writes,
        ..CommitRequest::default()
    }
}

fn sum() -> Write {
    let field = FieldPath::parse("n").unwrap();
    let plus = FieldTransform { path: field, transform: Transform::Increment(Value::Integer(1)) };
    let nothing = Operation::Merge { fields: Map::new(), mask: vec![] };
    Write::build(path("sums/all"), nothing, Precondition::None, vec![plus]).unwrap()
}

async fn integer(database: &Database, at: &str) -> Option<i64> {
    let at = database.authorize_get(&Caller::Anonymous, path(at)).unwrap();
    let document = database.get(&at, None).await.unwrap().document?;
    match document.fields.get("n") {
        Some(Value::Integer(n)) => Some(*n),
        _ => None,
    }
}

async fn story(turns: Vec<Turn>, writers: usize, commits: usize) {
    let platter = Arc::new(Mutex::new(Platter { turns: turns.into(), ..Platter::default() }));
    let database = open(&platter);
    let work_of = |writer: usize| {
        let database = database.clone();
        tokio::spawn(async move {
            let mut told = Vec::new();
            for n in 0..commits {
                let verdict = request(&database, work(writer, n)).await;
                told.push(Told { writer, n, verdict });
            }
            told
        })
    };
    let tasks: Vec<_> = (0..writers).map(work_of).collect();
    let mut told = Vec::new();
    for task in tasks {
        let of_one = task.await.unwrap();
        let acknowledged: Vec<_> = of_one.iter().filter_map(|told| told.verdict.as_ref().ok()).collect();
        assert!(acknowledged.is_sorted_by(|a, b| a < b), "what is acknowledged later is later");
        told.extend(of_one);
    }
    database.close();
    drop(database);

    // The machine comes up again, in order, with what is on its disk.
    platter.lock().unwrap().turns.clear();
    let database = open(&platter);
    let mut acknowledged = BTreeMap::new();
    for Told { writer, n, verdict } in &told {
        let own = integer(&database, &format!("own/w{writer}n{n}")).await;
        let raced = integer(&database, &format!("raced/r{n}")).await;
        match verdict {
            Ok(version) => {
                assert_eq!(acknowledged.insert(*version, (*writer, *n)), None, "one version for one commit");
                assert_eq!(own, Some(*n as i64), "what was acknowledged is there");
                assert!(!n.is_multiple_of(2) || raced == Some(*writer as i64));
            }
            Err(CommitError::Refused(WriteError::AlreadyExists { .. })) => {
                assert_eq!(own, None);
                assert!(raced.is_some_and(|winner| winner != *writer as i64), "what a refusal rests on is there");
            }
            Err(CommitError::NotApplied { .. } | CommitError::ReadOnly { .. }) => {
                assert_eq!(own, None, "what was not applied is not there");
            }
            Err(CommitError::Unknown { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let kept = {
        let platter = platter.lock().unwrap();
        let tried: BTreeSet<_> = platter.tried.iter().collect();
        assert_eq!(tried.len(), platter.tried.len(), "no version is used twice");
        platter.entries.len()
    };
    assert_eq!(integer(&database, "sums/all").await.unwrap_or(0), kept as i64);

    // Everybody asks again, with the same key: what is there is not done twice, what is not is done now, or refused.
    for Told { writer, n, verdict } in &told {
        let again = request(&database, work(*writer, *n)).await;
        match (verdict, again) {
            (Ok(first), again) => assert_eq!(again.as_ref(), Ok(first)),
            (Err(_), Ok(_) | Err(CommitError::Refused(WriteError::AlreadyExists { .. }))) => {}
            (Err(_), other) => panic!("{other:?}"),
        }
    }
    let entries = platter.lock().unwrap().entries.len();
    assert_eq!(integer(&database, "sums/all").await.unwrap_or(0), entries as i64);
    database.close();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_verdict_is_true_whatever_the_log_does(
        turns in prop::collection::vec(
            prop_oneof![
                6 => Just(Turn::Works),
                3 => Just(Turn::TakenBack),
                1 => prop::sample::select(vec![Turn::UnknownAndKept, Turn::UnknownAndLost]),
            ],
            0..24,
        ),
        writers in 1..6usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(story(turns, writers, 8));
    }
}
