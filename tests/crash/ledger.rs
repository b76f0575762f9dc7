//! Load whose every answer is written down, and the proof that the server holds what it answered.
//!
//! Each writer sends one commit after the other and notes whether it was acknowledged (then it lasts), refused (then it never
//! happened) or neither (then either, but all of it or nothing, and for good). From these notes follows every document of the
//! database, with its versions: what is served must be exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use hearth_tests::{Answer, Ask, PATIENCE, Random, Server, number};
use serde_json::{Map, Value, json};

const WRITERS: u64 = 4;
/// Where they write.
const COLLECTIONS: [&str; 4] = ["log", "pairs", "count", "slots"];
/// Documents that each writer writes over and deletes again.
const SLOTS: u64 = 6;
/// Refusals in a row after which a writer gives up: with a server that takes nothing more, the others only repeat it.
const REFUSALS_MAX: u32 = 5;

/// All that was sent and what became of it, over all lives of the server.
pub(crate) struct Ledger {
    writers: Vec<Writer>,
    /// The highest version that anyone was told.
    version: AtomicU64,
    /// Bytes of text that a commit carries at most.
    text_bytes_max: u64,
}

struct Writer {
    id: u64,
    random: Random,
    commits: Vec<Commit>,
}

struct Commit {
    writes: Vec<Value>,
    /// The highest version that anyone was told before it was sent.
    after: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It lasts, at this version.
    Acknowledged(u64),
    /// It has certainly not happened.
    Refused,
    /// No answer came, or one that says that it is not known.
    Unknown,
}

/// What a load has come to so far, for whoever ends it.
pub(crate) struct Progress {
    counts: Mutex<Counts>,
    changed: Condvar,
    over: AtomicBool,
    /// The power is going.
    failing: AtomicBool,
    /// It is gone.
    gone: AtomicBool,
}

/// How many commits ended how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Writers that have given up, or whose connection was lost.
    pub(crate) ended: u64,
}

impl Progress {
    /// Waits until so many commits were acknowledged, or every writer has ended.
    pub(crate) fn acknowledged(&self, count: u64) -> Counts {
        self.wait(|counts| counts.acknowledged >= count)
    }

    /// Waits until so many commits were refused, or every writer has ended.
    pub(crate) fn refused(&self, count: u64) -> Counts {
        self.wait(|counts| counts.refused >= count)
    }

    /// Waits until no writer has anything more to say.
    pub(crate) fn ended(&self) -> Counts {
        self.wait(|_| false)
    }

    /// Takes the power with `cut`. What is acknowledged while that goes on may or may not have reached the disk (the kernel lets
    /// a sync of that moment succeed); what is asked for afterwards must not be acknowledged.
    pub(crate) fn without_power(&self, cut: impl FnOnce()) {
        self.failing.store(true, Ordering::SeqCst);
        cut();
        self.gone.store(true, Ordering::SeqCst);
    }

    fn wait(&self, enough: impl Fn(&Counts) -> bool) -> Counts {
        let counts = self.counts.lock().unwrap();
        let goes_on = |counts: &mut Counts| !enough(counts) && counts.ended < WRITERS;
        let (counts, late) = self.changed.wait_timeout_while(counts, PATIENCE * 3, goes_on).unwrap();
        assert!(!late.timed_out(), "the load stands still: {counts:?}");
        *counts
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap());
        self.changed.notify_all();
    }
}

/// What a document must be: its fields, and when it was made and last written.
#[derive(Clone, Debug)]
struct Expected {
    data: Map<String, Value>,
    created: u64,
    updated: u64,
}

impl Ledger {
    /// Nothing was sent yet. Commits carry so many bytes of text at most.
    pub(crate) fn new(random: &mut Random, text_bytes_max: u64) -> Self {
        let writer = |id| Writer { id, random: Random::new(random.number()), commits: Vec::new() };
        Self { writers: (0..WRITERS).map(writer).collect(), version: AtomicU64::new(0), text_bytes_max }
    }

    /// Writes to the server from several connections until `end` returns, or nobody can any more.
    pub(crate) fn load<T>(&mut self, address: SocketAddr, end: impl FnOnce(&Progress) -> T) -> Counts {
        let progress = Progress {
            counts: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        };
        await_open(address);
        let (version, text_bytes_max) = (&self.version, self.text_bytes_max);
        thread::scope(|scope| {
            for writer in &mut self.writers {
                let progress = &progress;
                scope.spawn(move || {
                    writer.write(address, version, text_bytes_max, progress);
                    progress.count(|counts| counts.ended += 1);
                });
            }
            end(&progress);
            progress.over.store(true, Ordering::SeqCst);
        });
        progress.counts.into_inner().unwrap()
    }

    /// Takes back what the server is known not to have kept, and holds the rest against what it serves: every document, its
    /// versions, and the order of the commits.
    #[track_caller]
    pub(crate) fn verify(&mut self, server: &Server) {
        await_open(server.address());
        let version = number(&server.get("/db").send().expect_status(200).json()["version"]);
        let told = self.version.load(Ordering::SeqCst);
        assert!(version >= told, "the version went back from {told} to {version}");
        let mut served = BTreeMap::new();
        for collection in COLLECTIONS {
            served.extend(docs(&server.get(&format!("/db/{collection}?limit=all")).send()));
        }
        for writer in &mut self.writers {
            writer.settle(&served);
        }
        compare(&self.expected(), &served);
    }

    /// Whether a server serves at all, once it has made again what it can.
    pub(crate) fn is_served(&self, server: &Server) -> bool {
        await_open(server.address())
    }

    /// Holds against what it serves a server whose files were changed: each answer is right, or says that data is damaged.
    /// Says whether all were right. Everything must be settled already.
    #[track_caller]
    pub(crate) fn verify_damaged(&self, server: &Server) -> bool {
        await_open(server.address());
        let expected = self.expected();
        let mut right = true;
        let mut whole_or_damaged = |answer: &Answer| {
            let is_damaged = answer.status == 500 && answer.json()["code"] == "data-loss";
            right &= !is_damaged;
            !is_damaged
        };
        for collection in COLLECTIONS {
            let answer = server.get(&format!("/db/{collection}?limit=all")).send();
            if whole_or_damaged(&answer) {
                let is_here = |path: &str| path.split('/').next() == Some(collection);
                let here = expected.iter().filter(|(path, _)| is_here(path));
                compare(&here.map(|(path, doc)| (path.clone(), doc.clone())).collect(), &docs(&answer));
            }
        }
        for (path, want) in expected.iter().step_by(7) {
            let answer = server.get(&format!("/db/{path}")).send();
            if whole_or_damaged(&answer) {
                let served = BTreeMap::from([(path.clone(), answer.expect_status(200).json())]);
                compare(&BTreeMap::from([(path.clone(), want.clone())]), &served);
            }
        }
        right
    }

    /// Whether a server serves what there was before one of the last commits, and nothing after it.
    pub(crate) fn is_earlier(&self, server: &Server) -> bool {
        /// More commits than any group of these few writers has.
        const COMMITS_MAX: usize = 64;
        await_open(server.address());
        let mut served = BTreeMap::new();
        for collection in COLLECTIONS {
            let answer = server.get(&format!("/db/{collection}?limit=all")).send();
            if answer.status != 200 {
                return false;
            }
            served.extend(docs(&answer).into_iter().map(|(path, doc)| (path, number(&doc["updated"]))));
        }
        let kept = self.writers.iter().flat_map(|writer| &writer.commits).filter_map(|commit| match commit.outcome {
            Outcome::Acknowledged(version) => Some(version),
            _ => None,
        });
        let kept: BTreeSet<u64> = kept.collect();
        kept.iter().rev().skip(1).take(COMMITS_MAX).any(|until| {
            let docs = self.expected_until(*until);
            docs.into_iter().map(|(path, doc)| (path, doc.updated)).eq(served.clone())
        })
    }

    /// Every document, as it follows from what was acknowledged and settled.
    fn expected(&self) -> BTreeMap<String, Expected> {
        self.expected_until(u64::MAX)
    }

    /// The same, of the commits up to a version.
    fn expected_until(&self, until: u64) -> BTreeMap<String, Expected> {
        let mut docs = BTreeMap::new();
        for commit in self.writers.iter().flat_map(|writer| &writer.commits) {
            if let Outcome::Acknowledged(version) = commit.outcome
                && version <= until
            {
                commit.writes.iter().for_each(|write| apply(&mut docs, write, version));
            }
        }
        docs
    }

    /// How many commits were acknowledged, or turned out to be there.
    pub(crate) fn kept(&self) -> usize {
        let commits = self.writers.iter().flat_map(|writer| &writer.commits);
        commits.filter(|commit| matches!(commit.outcome, Outcome::Acknowledged(_))).count()
    }
}

/// Every document that must be there is, as it must be, and no other.
#[track_caller]
fn compare(expected: &BTreeMap<String, Expected>, served: &BTreeMap<String, Value>) {
    let missing: Vec<&String> = expected.keys().filter(|path| !served.contains_key(*path)).collect();
    assert!(missing.is_empty(), "{} documents are lost: {missing:?}", missing.len());
    for (path, doc) in served {
        let want = expected.get(path).unwrap_or_else(|| panic!("{path} was never kept, and is served: {doc}"));
        let (created, updated) = (number(&doc["created"]), number(&doc["updated"]));
        let is_right =
            doc["data"].as_object() == Some(&want.data) && (created, updated) == (want.created, want.updated);
        assert!(is_right, "{path} is to be {want:?}, and is {doc}");
    }
}

/// Waits until the database is not being rebuilt any more; it says so to whoever asks meanwhile. Says whether it is open: on a full
/// disk it cannot be, and who asks again begins anew.
#[track_caller]
fn await_open(address: SocketAddr) -> bool {
    let deadline = Instant::now() + PATIENCE * 3;
    let ask = Ask::new(address, "GET", "/db/log?limit=1");
    loop {
        let answer = ask.try_send();
        if !answer.as_ref().is_some_and(|answer| answer.status == 503 && answer.text().contains("being rebuilt")) {
            return answer.is_some_and(|answer| answer.status == 200);
        }
        assert!(Instant::now() < deadline, "it is being rebuilt for too long");
        thread::yield_now();
    }
}

/// The documents of a result, by their paths.
#[track_caller]
fn docs(answer: &Answer) -> BTreeMap<String, Value> {
    let result = answer.clone().expect_status(200).json();
    let docs = result["docs"].as_array().expect("a result has documents").iter();
    docs.map(|doc| (doc["path"].as_str().expect("a path is text").to_owned(), doc.clone())).collect()
}

fn apply(docs: &mut BTreeMap<String, Expected>, write: &Value, version: u64) {
    let path = |of: &str| write[of].as_str().map(str::to_owned);
    if let Some(path) = path("delete") {
        docs.remove(&path);
        return;
    }
    let path = path("set").or_else(|| path("create")).expect("a write has one of these");
    let data = write["data"].as_object().expect("a write has data");
    let fresh = || Expected { data: Map::new(), created: version, updated: version };
    let doc = docs.entry(path).or_insert_with(fresh);
    doc.updated = version;
    if write["merge"] != true {
        doc.data.clear();
    }
    for (name, value) in data {
        let value = match value["$increment"].as_i64() {
            Some(by) => json!(doc.data.get(name).and_then(Value::as_i64).unwrap_or(0) + by),
            None => value.clone(),
        };
        doc.data.insert(name.clone(), value);
    }
}

impl Writer {
    fn write(&mut self, address: SocketAddr, version: &AtomicU64, text_bytes_max: u64, progress: &Progress) {
        let mut refusals = 0;
        while !progress.over.load(Ordering::SeqCst) && refusals < REFUSALS_MAX {
            let writes = self.writes(text_bytes_max);
            let after = version.load(Ordering::SeqCst);
            let is_hopeless = progress.gone.load(Ordering::SeqCst);
            let answer = Ask::new(address, "POST", "/db").json(&json!({ "writes": writes })).try_send();
            let status = answer.as_ref().map(|answer| answer.status);
            let outcome = match (answer, status) {
                (Some(answer), Some(200)) => Outcome::Acknowledged(number(&answer.json()["version"])),
                // Said only of what has certainly not been applied.
                (Some(answer), Some(503)) => {
                    assert_eq!(answer.json()["code"], "unavailable", "{}", answer.text());
                    Outcome::Refused
                }
                // The database could not be opened, or made, at all.
                (Some(answer), Some(500)) => {
                    assert_eq!(answer.json()["code"], "data-loss", "{}", answer.text());
                    Outcome::Refused
                }
                (Some(answer), Some(504)) => {
                    assert_eq!(answer.json()["code"], "unknown-outcome", "{}", answer.text());
                    Outcome::Unknown
                }
                (Some(answer), _) => panic!("a commit is answered {} {}", answer.status, answer.text()),
                (None, _) => Outcome::Unknown,
            };
            let outcome = match outcome {
                Outcome::Acknowledged(at) if is_hopeless => panic!("{at} was acknowledged without power"),
                Outcome::Acknowledged(_) if progress.failing.load(Ordering::SeqCst) => Outcome::Unknown,
                told => told,
            };
            self.commits.push(Commit { writes, after, outcome });
            refusals = if outcome == Outcome::Refused { refusals + 1 } else { 0 };
            match outcome {
                Outcome::Acknowledged(at) => {
                    assert!(at > after, "{at} was told after {after}");
                    version.fetch_max(at, Ordering::SeqCst);
                    progress.count(|counts| counts.acknowledged += 1);
                }
                Outcome::Refused => progress.count(|counts| counts.refused += 1),
                Outcome::Unknown => progress.count(|counts| counts.unknown += 1),
            }
            if status.is_none() {
                return;
            }
        }
    }

    /// The next commit: one document by which it is known, two that only ever change together, a count, and some that are
    /// written over and deleted.
    fn writes(&mut self, text_bytes_max: u64) -> Vec<Value> {
        let (id, n) = (self.id, self.commits.len());
        let text = |random: &mut Random| {
            let letter = char::from(b'a' + random.below(26) as u8);
            String::from(letter).repeat(random.below(text_bytes_max) as usize)
        };
        let mut writes = vec![
            json!({"set": format!("pairs/{id}-left"), "data": {"n": n}}),
            json!({"create": self.mark(n), "data": {"of": id, "text": text(&mut self.random)}}),
            json!({"set": format!("count/{id}"), "data": {"n": {"$increment": 1}}, "merge": true}),
        ];
        let first = self.random.below(SLOTS);
        for slot in first..first + self.random.below(3) {
            let path = format!("slots/{id}-{}", slot % SLOTS);
            writes.push(match self.random.below(4) {
                0 => json!({ "delete": path }),
                1 => json!({"set": path, "data": {format!("f{}", n % 3): n}, "merge": true}),
                _ => json!({"set": path, "data": {"n": n, "text": text(&mut self.random)}}),
            });
        }
        writes.push(json!({"set": format!("pairs/{id}-right"), "data": {"n": n}}));
        writes
    }

    /// The document that only commit `n` makes.
    fn mark(&self, n: usize) -> String {
        format!("log/{}-{n:06}", self.id)
    }

    /// Decides by its mark what became of each commit of which that was not known. From then on it is held to that.
    #[track_caller]
    fn settle(&mut self, served: &BTreeMap<String, Value>) {
        let mut last = 0;
        for n in 0..self.commits.len() {
            let mark = self.mark(n);
            let commit = &mut self.commits[n];
            let found = served.get(&mark).map(|doc| number(&doc["updated"]));
            match (commit.outcome, found) {
                (Outcome::Unknown, Some(version)) => commit.outcome = Outcome::Acknowledged(version),
                (Outcome::Unknown, None) => commit.outcome = Outcome::Refused,
                (Outcome::Acknowledged(version), None) => panic!("{mark}, acknowledged at {version}, is lost"),
                (Outcome::Acknowledged(told), Some(found)) => assert_eq!(found, told, "{mark} has another version"),
                (Outcome::Refused, Some(version)) => panic!("{mark} was refused, and is there at {version}"),
                (Outcome::Refused, None) => {}
            }
            if let Outcome::Acknowledged(version) = commit.outcome {
                assert!(version > last && version > commit.after, "{mark} is out of order: {version} after {last}");
                last = version;
            }
        }
    }
}
