//! Clients that do things at random, over every transport, and write down what they did and were told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use hearth_tests::{Ask, Fold, PATIENCE, Random, Socket, Sse, number};
use serde_json::{Value, json};

use super::record::{
    Effect, History, Look, Outcome, Question, Result as Result_, Seen, Span, Told, Write, hash, path, thing,
};

/// How many things there are to quarrel over.
const THINGS: usize = 24;

/// What all clients share.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// How many operations are still to be done, and those who wait until there are fewer.
    left: Mutex<u64>,
    fewer: Condvar,
    /// Of how many events a listener writes down one: a long history would not fit the memory.
    pub(crate) every: usize,
    /// The highest version that anybody was told.
    version: AtomicU64,
    /// How often the server was started, and those who wait for the next time.
    life: Mutex<u64>,
    started: Condvar,
    over: AtomicBool,
}

impl World {
    pub(crate) fn new(address: SocketAddr, operations: u64) -> Self {
        Self {
            address,
            left: Mutex::new(operations),
            fewer: Condvar::new(),
            every: usize::try_from(operations / 20_000).unwrap_or(0).max(1),
            version: AtomicU64::new(0),
            life: Mutex::new(1),
            started: Condvar::new(),
            over: AtomicBool::new(false),
        }
    }

    /// The server was started again.
    pub(crate) fn is_back(&self) {
        *self.life.lock().unwrap() += 1;
        self.started.notify_all();
    }

    /// Nothing is left to do.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.started.notify_all();
    }

    fn life(&self) -> u64 {
        *self.life.lock().unwrap()
    }

    /// Waits for a life after this one.
    fn after(&self, life: u64) {
        let lives = self.life.lock().unwrap();
        let over = || self.over.load(Ordering::SeqCst);
        let (lives, late) =
            self.started.wait_timeout_while(lives, PATIENCE * 2, |now| *now <= life && !over()).unwrap();
        assert!(!late.timed_out(), "the connection was lost in life {lives}, and the server was not killed");
    }

    /// Takes one of the operations that are left.
    fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        let taken = *left > 0;
        *left = left.saturating_sub(1);
        self.fewer.notify_all();
        taken
    }

    /// Waits until no more than so many operations are left.
    pub(crate) fn await_left(&self, most: u64) {
        let left = self.left.lock().unwrap();
        let (left, late) = self.fewer.wait_timeout_while(left, PATIENCE * 6, |left| *left > most).unwrap();
        assert!(!late.timed_out(), "{left} operations are left, and nobody does them");
    }

    fn told(&self, version: u64) {
        self.version.fetch_max(version, Ordering::SeqCst);
    }
}

/// Writes until nothing is left, by HTTP or by a WebSocket.
pub(crate) fn write(world: &World, name: &str, mut random: Random, by_socket: bool) -> History {
    let mut history = History::default();
    let mut socket = None;
    let mut n = 0;
    while world.take() {
        n += 1;
        let tag = format!("{name}-{n}");
        let life = world.life();
        let Some((effects, reads)) = intent(world, &mut random, &tag, &mut history) else {
            world.after(life);
            continue;
        };
        // Half of those that get no answer are asked again under their key, the others stay unknown.
        let (again, mut begun) = (random.chance(1, 2), Instant::now());
        let first = begun;
        let outcome = loop {
            let life = world.life();
            let answer = match by_socket {
                true => commit_by_socket(&mut socket, world, n, &tag, &effects, &reads),
                false => commit(world.address, &tag, &effects, &reads),
            };
            match answer {
                Some(outcome) => break outcome,
                None if again && begun.duration_since(first) < PATIENCE * 2 => {
                    socket = None;
                    world.after(life);
                    begun = Instant::now();
                }
                None => {
                    socket = None;
                    world.after(life);
                    break Outcome::Unknown;
                }
            }
        };
        if let Outcome::Committed(version) = outcome {
            world.told(version);
        }
        let span = Span { begun: first, ended: Instant::now() };
        history.writes.push(Write { tag, effects, reads, span, outcome });
    }
    history
}

type Intent = (Vec<(String, Effect)>, Vec<(String, u64)>);

/// What to do next. A transaction reads first: none where the server was gone.
fn intent(world: &World, random: &mut Random, tag: &str, history: &mut History) -> Option<Intent> {
    let any = |random: &mut Random| random.index(THINGS) as u16;
    let set = |random: &mut Random| Effect::Set(json!({"n": random.index(100), "tag": tag}));
    let mut reads = Vec::new();
    let mut effects = Vec::new();
    let one = any(random);
    match random.index(10) {
        0..3 => effects.push((path(one), set(random))),
        3..5 => effects.push((path(one), Effect::Add(random.index(21) as i64 - 10))),
        5 => effects.push((path(one), Effect::Delete)),
        6..8 => {
            let other = (one + 1 + random.index(THINGS - 1) as u16) % THINGS as u16;
            effects.push((path(one), set(random)));
            effects.push((path(other), if random.chance(1, 3) { Effect::Delete } else { set(random) }));
        }
        _ => {
            let (found, data) = look(world, one, history)?;
            reads.push((path(one), found));
            let n = data["n"].as_i64().unwrap_or(0);
            effects.push((path(one), Effect::Set(json!({"n": n + 1, "tag": tag}))));
        }
    }
    effects.push((format!("log/{tag}"), Effect::Set(json!({ "tag": tag }))));
    Some((effects, reads))
}

/// The members of a commit.
fn members(tag: &str, effects: &[(String, Effect)], reads: &[(String, u64)]) -> Value {
    let writes: Vec<Value> = effects
        .iter()
        .map(|(path, effect)| match effect {
            Effect::Set(data) if path.starts_with("log/") => json!({"create": path, "data": data}),
            Effect::Set(data) => json!({"set": path, "data": data}),
            Effect::Add(n) => json!({"update": path, "data": {"n": {"$increment": n}, "tag": tag}}),
            Effect::Delete => json!({ "delete": path }),
        })
        .collect();
    let version = |version: u64| if version == 0 { Value::Null } else { version.to_string().into() };
    let reads: serde_json::Map<_, _> = reads.iter().map(|(path, at)| (path.clone(), version(*at))).collect();
    json!({"writes": writes, "reads": reads})
}

fn commit(address: SocketAddr, tag: &str, effects: &[(String, Effect)], reads: &[(String, u64)]) -> Option<Outcome> {
    let ask = Ask::new(address, "POST", "/db").header("Idempotency-Key", tag).json(&members(tag, effects, reads));
    let answer = ask.try_send()?;
    match answer.status {
        200 => Some(Outcome::Committed(number(&answer.json()["version"]))),
        504 => None,
        404 | 409 | 412 | 429 | 503 => Some(Outcome::Refused),
        _ => panic!("{tag} was answered with {}: {}", answer.status, answer.text()),
    }
}

fn commit_by_socket(
    socket: &mut Option<(u64, Socket)>,
    world: &World,
    id: u64,
    tag: &str,
    effects: &[(String, Effect)],
    reads: &[(String, u64)],
) -> Option<Outcome> {
    // One of an earlier life is gone, even where nobody has noticed.
    let life = world.life();
    if socket.as_ref().is_none_or(|(opened, _)| *opened != life) {
        *socket = Some((life, Socket::reach(world.address)?));
    }
    let (_, socket) = socket.as_mut()?;
    let mut message = members(tag, effects, reads);
    message["id"] = id.into();
    message["op"] = "commit".into();
    message["key"] = tag.into();
    if !socket.try_send(&message) {
        return None;
    }
    let answer = loop {
        let answer = socket.try_next()?;
        if answer["id"] == id {
            break answer;
        }
    };
    match answer["ev"].as_str() {
        Some("committed") => Some(Outcome::Committed(number(&answer["version"]))),
        _ if answer["problem"]["code"] == "unknown-outcome" => None,
        _ => Some(Outcome::Refused),
    }
}

/// Reads one document: when it was changed (0: it is not there), and its data.
fn look(world: &World, thing: u16, history: &mut History) -> Option<(u64, Value)> {
    let begun = Instant::now();
    let answer = Ask::new(world.address, "GET", &format!("/db/{}", path(thing))).try_send()?;
    let span = Span { begun, ended: Instant::now() };
    let doc = match answer.status {
        200 => Some(answer.json()),
        404 => None,
        503 => return None,
        _ => panic!("{}", answer.text()),
    };
    history.looks.push(Look { thing, found: doc.as_ref().map(seen), span });
    Some(doc.map_or((0, Value::Null), |doc| (number(&doc["updated"]), doc["data"].clone())))
}

fn seen(doc: &Value) -> Seen {
    let path = doc["path"].as_str().expect("a document has a path");
    Seen {
        thing: thing(path).expect("only things are asked for"),
        updated: number(&doc["updated"]),
        data: hash(&doc["data"]),
    }
}

/// What an answer tells, whole or as it was put together from events.
fn told(docs: &[Value], aggregates: Option<&Value>) -> Told {
    match aggregates {
        Some(numbers) => Told::Numbers {
            count: numbers["count"].as_u64().expect("a count"),
            sum: numbers["sum(n)"].as_i64().expect("a sum of integers"),
        },
        None => Told::Documents(docs.iter().map(seen).collect()),
    }
}

/// Reads until nothing is left: results as they are, results as they were, single documents.
pub(crate) fn read(world: &World, name: &str, mut random: Random) -> History {
    let mut history = History::default();
    while world.take() {
        let life = world.life();
        let question = *random.pick(&Question::EVERY);
        let old = world.version.load(Ordering::SeqCst);
        let read = match random.index(4) {
            0 => look(world, random.index(THINGS) as u16, &mut history).map(|_| ()),
            1 if old > 0 => result(world, name, question, Some(old), &mut history),
            _ => result(world, name, question, None, &mut history),
        };
        if read.is_none() {
            world.after(life);
        }
    }
    history
}

fn result(world: &World, who: &str, question: Question, at: Option<u64>, history: &mut History) -> Option<()> {
    let begun = Instant::now();
    let at_parameter = at.map(|version| format!("&at={version}")).unwrap_or_default();
    let target = format!("/db/things{}{at_parameter}", question.parameters());
    let answer = Ask::new(world.address, "GET", &target).try_send()?;
    if answer.status == 503 {
        return None;
    }
    let body = answer.expect_status(200).json();
    let version = number(&body["version"]);
    assert!(at.is_none_or(|at| at == version), "asked for {at:?}: {body}");
    world.told(version);
    let docs = body["docs"].as_array().map_or(&[][..], |docs| docs);
    history.results.push(Result_ {
        who: who.into(),
        question,
        version,
        told: told(docs, body.get("aggregates")),
        fresh_since: at.is_none().then_some(begun),
        ended: Instant::now(),
    });
    Some(())
}

/// A way of listening.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Socket,
    Stream,
    LongPoll,
}

/// Listens through all lives of the server until the thing that says that it is over, and resumes where it was.
pub(crate) fn listen(world: &World, name: &str, mut random: Random, way: Way, question: Question) -> History {
    let mut listener =
        Listener { world, name, question, fold: Fold::new(), history: History::default(), random: random.clone() };
    let target = format!("/db/things{}", question.parameters());
    while !listener.is_over() {
        let life = world.life();
        // A listener that hangs up now and then, and one that reads slowly, must be told the same.
        let patience = 20 + random.index(400);
        let going_on = match way {
            Way::Socket => listener.by_socket(patience),
            Way::Stream => listener.by_stream(&target, patience),
            Way::LongPoll => listener.by_long_poll(&target, patience),
        };
        if !going_on && !listener.is_over() {
            world.after(life);
        }
    }
    assert_eq!(listener.fold.resets, 0, "{name} was reset inside the kept history");
    listener.history
}

struct Listener<'a> {
    world: &'a World,
    name: &'a str,
    question: Question,
    fold: Fold,
    history: History,
    random: Random,
}

impl Listener<'_> {
    /// Whether the last commit of all has come: it is in the result of each question.
    fn is_over(&self) -> bool {
        match &self.fold.aggregates {
            Some(numbers) => numbers["sum(n)"].as_i64().is_some_and(|sum| sum >= LAST_N),
            None => self.fold.docs.iter().any(|doc| doc["data"]["n"] == LAST_N),
        }
    }

    fn event(&mut self, event: &Value) {
        self.fold.apply(event);
        if event["more"] == true {
            return;
        }
        if self.random.index(self.world.every) == 0 || self.is_over() {
            self.history.results.push(Result_ {
                who: self.name.into(),
                question: self.question,
                version: self.fold.version,
                told: told(&self.fold.docs, self.fold.aggregates.as_ref()),
                fresh_since: None,
                ended: Instant::now(),
            });
        }
        self.world.told(self.fold.version);
    }

    /// Hears so many events. False where the server was gone.
    fn by_socket(&mut self, events: usize) -> bool {
        let Some(mut socket) = Socket::reach(self.world.address) else { return false };
        self.fold.reopen();
        let query = match self.question {
            Question::All => json!({"limit": "all"}),
            Question::AtLeast(n) => json!({"where": ["n", "ge", n], "orderBy": [["n", "asc"]], "limit": "all"}),
            Question::Highest(count) => json!({"orderBy": [["n", "desc"]], "limit": count}),
            Question::Numbers => json!({"aggregates": [{"count": true}, {"sum": "n"}]}),
        };
        socket.try_send(&json!({"id": 1, "op": "listen", "path": "things", "query": query, "since": self.fold.token}));
        for _ in 0..events {
            let Some(message) = socket.try_next() else { return false };
            if message["ev"] == "problem" && message["problem"]["status"] == 503 {
                return false;
            }
            assert_eq!(message["ev"], "snapshot", "{message}");
            self.event(&message);
            if self.is_over() {
                break;
            }
        }
        true
    }

    fn by_stream(&mut self, target: &str, events: usize) -> bool {
        let ask = Ask::new(self.world.address, "GET", target);
        let ask = self.fold.token.as_ref().map_or(ask.clone(), |token| ask.header("Last-Event-ID", token));
        let Some(mut sse) = Sse::reach(ask) else { return false };
        self.fold.reopen();
        for _ in 0..events {
            match sse.poll(PATIENCE) {
                Ok(Some(event)) if event.event == "problem" => return false,
                Ok(Some(event)) => self.event(&event.json()),
                Ok(None) | Err(_) => return false,
            }
            if self.is_over() {
                break;
            }
        }
        true
    }

    /// A whole result first, then one difference after the other.
    fn by_long_poll(&mut self, target: &str, rounds: usize) -> bool {
        for _ in 0..rounds {
            if self.is_over() {
                break;
            }
            let token = self.fold.token.clone();
            let since = token.map(|token| format!("&since={token}")).unwrap_or_default();
            let ask = Ask::new(self.world.address, "GET", &format!("{target}{since}")).header("Prefer", "wait=5");
            let Some(answer) = ask.try_send() else { return false };
            match answer.status {
                304 => continue,
                503 => return false,
                _ => {}
            }
            let body = answer.expect_status(200).json();
            self.fold.reopen();
            match since.is_empty() {
                true => self.whole(&body),
                false => self.event(&body),
            }
        }
        true
    }

    /// The result with which a long poll begins.
    fn whole(&mut self, body: &Value) {
        self.fold.docs = body["docs"].as_array().cloned().unwrap_or_default();
        self.fold.aggregates = body.get("aggregates").cloned();
        self.fold.version = number(&body["version"]);
        self.fold.token = body["token"].as_str().map(Into::into);
    }
}

/// The `n` of the last thing that is written, far above all others.
pub(crate) const LAST_N: i64 = 1_000_000_000;

/// The commit that tells listeners that it is over, written like any other.
pub(crate) fn last(world: &World) -> History {
    let tag = "last".to_owned();
    let effects = vec![
        (path(0), Effect::Set(json!({"n": LAST_N, "tag": tag}))),
        (format!("log/{tag}"), Effect::Set(json!({ "tag": tag }))),
    ];
    let begun = Instant::now();
    let outcome = commit(world.address, &tag, &effects, &[]).expect("the server runs");
    let span = Span { begun, ended: Instant::now() };
    History { writes: vec![Write { tag, effects, reads: vec![], span, outcome }], ..History::default() }
}

/// From where the change feed goes on: what is committed from now on.
pub(crate) fn now(address: SocketAddr) -> String {
    let page = Ask::new(address, "GET", "/feed").send().expect_status(200).json();
    page["token"].as_str().expect("a page has a token").into()
}

/// Reads the change feed from this token to its end.
pub(crate) fn feed(address: SocketAddr, mut since: String) -> Vec<super::record::Commit> {
    let mut commits = Vec::new();
    loop {
        let page = Ask::new(address, "GET", &format!("/feed?since={since}")).send().expect_status(200).json();
        for commit in page["commits"].as_array().expect("a page has commits") {
            let changes = commit["changes"].as_array().expect("a commit has changes");
            let images = changes.iter().map(|change| {
                let doc = &change["doc"];
                (doc["path"].as_str().expect("a path").to_owned(), doc.get("data").cloned())
            });
            commits.push(super::record::Commit { version: number(&commit["version"]), images: images.collect() });
        }
        since = page["token"].as_str().expect("a page has a token").into();
        if page["more"] != true {
            return commits;
        }
    }
}
