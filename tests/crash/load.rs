//! Kills under load: writers that repeat what was not answered, listeners that resume, and what must hold at the end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use hearth_tests::{Ask, Fold, Launch, PATIENCE, Server, Socket, Sse, number};
use serde_json::{Value, json};

/// `TEST_KILLS` kills more often.
const KILLS: u64 = 10;
const WRITERS: usize = 4;
/// Commits that are acknowledged between two kills, over all writers.
const COMMITS: u64 = 150;

/// What all threads share.
struct World {
    address: SocketAddr,
    /// How often the server was started, and those who wait for the next time.
    life: Mutex<u64>,
    started: Condvar,
    /// The last commit of each writer that was acknowledged.
    acknowledged: [AtomicU64; WRITERS],
    /// The highest version that anyone was told.
    version: AtomicU64,
    total: Mutex<u64>,
    more: Condvar,
    over: AtomicBool,
}

impl World {
    fn life(&self) -> u64 {
        *self.life.lock().unwrap()
    }

    /// Waits for a life after this one.
    fn after(&self, life: u64) {
        let lives = self.life.lock().unwrap();
        let (lives, late) =
            self.started.wait_timeout_while(lives, PATIENCE, |now| *now <= life && !self.is_over()).unwrap();
        assert!(!late.timed_out(), "the connection was lost in life {lives}, and the server was not killed");
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn acknowledge(&self, writer: usize, n: u64, version: &Value) {
        self.acknowledged[writer].store(n, Ordering::SeqCst);
        self.version.fetch_max(number(version), Ordering::SeqCst);
        *self.total.lock().unwrap() += 1;
        self.more.notify_all();
    }

    fn await_total(&self, total: u64) {
        let seen = self.total.lock().unwrap();
        let (seen, late) = self.more.wait_timeout_while(seen, PATIENCE * 3, |seen| *seen < total).unwrap();
        assert!(!late.timed_out(), "only {seen} of {total} commits were acknowledged");
    }
}

/// The `n`th commit of a writer: both halves and the log show `n`, the count is raised.
fn writes(writer: usize, n: u64) -> Value {
    json!([
        {"set": format!("pairs/{writer}-left"), "data": {"n": n, "of": writer}},
        {"create": format!("log/{writer}-{n:06}"), "data": {"n": n, "of": writer}},
        {"set": format!("count/{writer}"), "data": {"n": {"$increment": 1}}, "merge": true},
        {"set": format!("pairs/{writer}-right"), "data": {"n": n, "of": writer}},
    ])
}

/// Writes one commit after the other; each is repeated under its key until it is answered.
fn write(world: &World, writer: usize) {
    let mut socket = None;
    let mut n = 1;
    while !world.is_over() {
        let life = world.life();
        let (key, writes) = (format!("{writer}-{n}"), writes(writer, n));
        // Half of the writers speak HTTP.
        let version = if writer.is_multiple_of(2) {
            let ask = Ask::new(world.address, "POST", "/db").json(&json!({ "writes": writes }));
            ask.header("Idempotency-Key", &key).try_send().map(|answer| {
                assert_eq!(answer.status, 200, "{}", answer.text());
                answer.json()["version"].clone()
            })
        } else {
            by_socket(&mut socket, world.address, &json!({"id": n, "op": "commit", "writes": writes, "key": key}))
        };
        match version {
            Some(version) => {
                world.acknowledge(writer, n, &version);
                n += 1;
            }
            None => {
                socket = None;
                world.after(life);
            }
        }
    }
}

fn by_socket(socket: &mut Option<Socket>, address: SocketAddr, commit: &Value) -> Option<Value> {
    if socket.is_none() {
        *socket = Socket::reach(address);
    }
    let socket = socket.as_mut()?;
    // The id repeats only on another connection.
    if !socket.try_send(commit) {
        return None;
    }
    let answer = socket.try_next()?;
    assert_eq!(answer["ev"], "committed", "{answer}");
    Some(answer["version"].clone())
}

/// Listens through all lives, until a commit that says so. Panics where an event is torn, repeated or out of order.
fn listen(world: &World, path: &str, query: &Value) -> Fold {
    let mut fold = Fold::new();
    loop {
        let life = world.life();
        if let Some(mut socket) = Socket::reach(world.address) {
            fold.reopen();
            socket.try_send(&json!({"id": 1, "op": "listen", "path": path, "query": query, "since": fold.token}));
            while let Some(message) = socket.try_next() {
                assert_eq!(message["ev"], "snapshot", "{message}");
                fold.apply(&message);
                if path == "pairs" {
                    check_pairs(&fold.docs);
                }
                if fold.docs.iter().any(|doc| doc["data"]["last"] == true) {
                    return fold;
                }
            }
        }
        world.after(life);
    }
}

/// The same by a stream of events, as a browser resumes it.
fn stream(world: &World, target: &str) -> Fold {
    let mut fold = Fold::new();
    loop {
        let life = world.life();
        let ask = Ask::new(world.address, "GET", target);
        let ask = fold.token.as_ref().map_or(ask.clone(), |token| ask.header("Last-Event-ID", token));
        if let Some(mut sse) = Sse::reach(ask) {
            fold.reopen();
            while let Ok(Some(event)) = sse.poll(PATIENCE) {
                if event.event == "problem" {
                    break;
                }
                fold.apply(&event.json());
                check_pairs(&fold.docs);
                if fold.docs.iter().any(|doc| doc["data"]["last"] == true) {
                    return fold;
                }
            }
        }
        world.after(life);
    }
}

/// Both halves of every pair were written by one commit.
fn check_pairs(docs: &[Value]) {
    for doc in docs.iter().filter(|doc| doc["data"]["of"].is_u64()) {
        let writer = &doc["data"]["of"];
        let alike = docs.iter().filter(|other| other["data"]["of"] == *writer);
        let versions: Vec<(&Value, &Value)> = alike.map(|doc| (&doc["data"]["n"], &doc["updated"])).collect();
        assert!(versions.len() == 2 && versions[0] == versions[1], "a torn commit of writer {writer}: {docs:#?}");
    }
}

#[track_caller]
fn docs(server: &Server, collection: &str) -> Vec<Value> {
    let result = server.get(&format!("/db/{collection}?limit=all")).send().expect_status(200).json();
    result["docs"].as_array().expect("a result has documents").clone()
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let kills = std::env::var("TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    survive(Launch::dev(), kills, |_| {});
}

/// Kills a server as often, and calls `before` while it still runs. What was acknowledged must be there each time, no version
/// be undercut, no commit torn or repeated, and no listener miss anything.
pub(crate) fn survive(launch: Launch, kills: u64, mut before: impl FnMut(&Server)) {
    let mut server = launch.start();
    let world = World {
        address: server.address(),
        life: Mutex::new(1),
        started: Condvar::new(),
        acknowledged: Default::default(),
        version: AtomicU64::new(0),
        total: Mutex::new(0),
        more: Condvar::new(),
        over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let listeners = [
            ("pairs", json!({})),
            ("log", json!({"limit": "all"})),
            ("log", json!({"orderBy": [["n", "desc"]], "limit": 7})),
        ];
        let world = &world;
        let mut listeners: Vec<_> = listeners
            .into_iter()
            .map(|(path, query)| (path, scope.spawn(move || listen(world, path, &query))))
            .collect();
        listeners.push(("pairs", scope.spawn(|| stream(world, "/db/pairs"))));
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(world, writer))).collect();

        for kill in 1..=kills {
            world.await_total(kill * COMMITS);
            let acknowledged: Vec<u64> = world.acknowledged.iter().map(|n| n.load(Ordering::SeqCst)).collect();
            let version = world.version.load(Ordering::SeqCst);
            before(&server);
            server.restart();
            let now = number(&server.get("/db").send().expect_status(200).json()["version"]);
            assert!(now >= version, "after kill {kill} the version went back from {version} to {now}");
            let pairs = docs(&server, "pairs");
            check_pairs(&pairs);
            for (writer, n) in acknowledged.iter().enumerate().filter(|(_, n)| **n > 0) {
                let kept =
                    pairs.iter().find(|doc| doc["data"]["of"] == writer).unwrap_or_else(|| panic!("{writer} is gone"));
                let kept = kept["data"]["n"].as_u64().expect("a number");
                assert!(kept >= *n, "after kill {kill} commit {n} of writer {writer} is lost: {kept} is there");
            }
            *world.life.lock().unwrap() += 1;
            world.started.notify_all();
        }
        world.over.store(true, Ordering::SeqCst);
        world.started.notify_all();
        for writer in writers {
            writer.join().expect("a writer fails with a message of its own");
        }
        let last = json!({"n": u32::MAX, "last": true});
        let last = json!({"writes": [{"set": "pairs/last", "data": last}, {"set": "log/last", "data": last}]});
        server.post("/db", &last).send().expect_status(200);

        let (pairs, log) = (docs(&server, "pairs"), docs(&server, "log"));
        check_pairs(&pairs);
        for writer in 0..WRITERS {
            let acknowledged = world.acknowledged[writer].load(Ordering::SeqCst);
            let kept: Vec<u64> = log
                .iter()
                .filter(|doc| doc["data"]["of"] == writer)
                .filter_map(|doc| doc["data"]["n"].as_u64())
                .collect();
            let newest = kept.len() as u64;
            assert_eq!(kept, (1..=newest).collect::<Vec<u64>>(), "writer {writer} has a hole");
            // The one behind may have happened too: its answer was lost, and then it was over.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&newest),
                "{newest} of writer {writer}, told {acknowledged}"
            );
            let count = server.get(&format!("/db/count/{writer}")).send().expect_status(200).json();
            assert_eq!(count["data"]["n"], newest, "a repeated commit of writer {writer} counted twice");
        }
        for (path, listener) in listeners {
            let fold = listener.join().expect("a listener fails with a message of its own");
            assert_eq!(fold.resets, 0, "a reset inside the history, of {path}");
            let want = match (path, fold.docs.len()) {
                ("pairs", _) => pairs.clone(),
                (_, 7) => {
                    let mut newest = log.clone();
                    newest.sort_by_key(|doc| (doc["data"]["n"].as_u64(), doc["path"].to_string()));
                    newest.into_iter().rev().take(7).collect()
                }
                _ => log.clone(),
            };
            assert_eq!(fold.docs, want, "a listener of {path} missed something");
        }
    });
}
