//! Many clients of one server, over every transport, while it is killed and held up; afterwards all they were told is
//! held against one order of all commits (`check`).
//!
//! `TEST_SEED=N` repeats the clients' choices, `TEST_OPERATIONS` asks for more of them (`./soak history`). What the
//! threads and the kernel do to their order is not repeated.

mod check;
mod clients;
mod record;

use std::thread;
use std::time::{Duration, Instant};

use clients::{Way, World, feed, last, listen, now, read, write};
use hearth_tests::{Launch, Random, seed, setting};
use record::{History, Question};
use rustix::process::{Pid, Signal, kill_process};

/// Commits and readings of the run in `./test`.
const OPERATIONS: u64 = 10_000;
/// How many operations lie between two disturbances.
const BETWEEN: u64 = 1_500;
/// How long a server is held up.
const HELD: Duration = Duration::from_millis(150);

#[test]
fn what_clients_are_told_fits_one_order_of_commits() {
    let operations = setting("TEST_OPERATIONS").unwrap_or(OPERATIONS);
    let seed = seed("history");
    println!("TEST_SEED={seed}");
    let mut server = Launch::dev().start();
    let world = World::new(server.address(), operations);
    let beginning = now(world.address);
    let mut history = History::default();
    thread::scope(|scope| {
        let world = &world;
        let random = |n: u64| Random::new(seed ^ (n << 40));
        let mut clients = Vec::new();
        for n in 0..6 {
            clients.push(scope.spawn(move || write(world, &format!("w{n}"), random(n), n % 2 == 1)));
        }
        for n in 6..9 {
            clients.push(scope.spawn(move || read(world, &format!("reader {n}"), random(n))));
        }
        let ways = [Way::Socket, Way::Stream, Way::LongPoll];
        let listeners: Vec<_> = Question::EVERY
            .into_iter()
            .zip(10..)
            .flat_map(|(question, n)| ways.map(|way| (question, way, n)))
            .map(|(question, way, n)| {
                scope.spawn(move || listen(world, &format!("{way:?} of {question:?}"), random(n), way, question))
            })
            .collect();

        let mut next = operations.saturating_sub(BETWEEN);
        let mut choices = random(99);
        let mut disturbed = 0;
        while next > 0 {
            world.await_left(next);
            match choices.index(2) {
                0 => {
                    server.restart();
                    world.is_back();
                }
                _ => hold(server.id()),
            }
            disturbed += 1;
            next = next.saturating_sub(BETWEEN);
        }
        for client in clients {
            history.join(client.join().expect("a client fails with a message of its own"));
        }
        history.join(last(world));
        for listener in listeners {
            history.join(listener.join().expect("a listener fails with a message of its own"));
        }
        world.end();
        println!("{disturbed} disturbances");
    });
    let commits = feed(world.address, beginning);
    let (writes, results, looks) = (history.writes.len(), history.results.len(), history.looks.len());
    println!("{} commits of {writes} that were asked for, {results} results, {looks} documents", commits.len());
    if let Err(fault) = check::check(&history, &commits) {
        panic!("{fault} (TEST_SEED={seed})");
    }
}

/// Stops the server for a while, as a machine does that has other things to do.
fn hold(id: u32) {
    let pid = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("it is not 0");
    kill_process(pid, Signal::STOP).expect("it runs");
    let until = Instant::now() + HELD;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    kill_process(pid, Signal::CONT).expect("it is there");
}
