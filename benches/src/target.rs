//! What is to be reached, and whether a number does.

/// On which side of a number the measured one is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Bound {
    /// Whether a measured number is on the right side.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One target: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// How it is called on the command line and in the table.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// The bound of its number.
    pub bound: Bound,
    /// The unit of its number.
    pub unit: &'static str,
    /// What is known of why it is not met, for as long as it is not.
    pub because: &'static str,
}

const fn row(name: &'static str, says: &'static str, bound: Bound, unit: &'static str) -> Target {
    Target { name, says, bound, unit, because: "the cause is not known yet" }
}

impl Target {
    const fn because(self, because: &'static str) -> Self {
        Self { because, ..self }
    }
}

/// Why an event costs more than a write.
const WAKING: &str = "the plain server is one loop; here each event goes through the outbox of a connection and wakes its task, \
    which costs about as much again as the write";

/// Why Google's client hides what a server does.
const CLIENT: &str = "the client is what is busy: its one thread has little or no time left, whatever the server does; by gRPC, without that \
    client, the target is met";

/// Every target, in the order of the table.
pub const TARGETS: [Target; 33] = [
    row(
        "burst",
        "a burst of durable commits by 64 writers: at least half the rate of the bare log",
        Bound::AtLeast(0.5),
        "×",
    )
    .because(
        "64 writers who wait for their answers share a frame by some 32, since half of them are planned or told while the log \
        syncs, and a commit takes 16 µs of two processors: 7 of planning, 4 of making it visible and telling it, 2 of the log \
        beside the sync, 3 of the caller (decisions/0012)",
    ),
    row(
        "sustained",
        "10⁶ documents by 64 writers: at least 0.9 of the rate of log and sled driven by hand",
        Bound::AtLeast(0.9),
        "×",
    )
    .because(
        "the loop by hand has no planner, no feed and no 64 callers, which here share two processors with sled's background \
        work, as in a burst",
    ),
    row("one-writer", "one writer: at least 0.6 of the rate of bare `fdatasync`", Bound::AtLeast(0.6), "×").because(
        "a commit is handed over four times (caller, planner, log, feed, caller), and each waking of a thread takes its time; \
        it would be met on a disk that takes 0.4 ms for a sync",
    ),
    row(
        "hot-document",
        "64 writers incrementing one document: at least half the rate of 64 documents, nothing lost",
        Bound::AtLeast(0.5),
        "×",
    ),
    row(
        "ws-1000",
        "1,000 WebSocket listeners: at most 1.3 of the server CPU of plain TCP writes",
        Bound::AtMost(1.3),
        "×",
    )
    .because(WAKING),
    row("sse-1000", "1,000 SSE listeners: the same", Bound::AtMost(1.3), "×").because(WAKING),
    row("ws-10000", "10,000 WebSocket listeners: the same", Bound::AtMost(1.3), "×").because(WAKING),
    row("sse-10000", "10,000 SSE listeners: the same", Bound::AtMost(1.3), "×").because(WAKING),
    row("http-commit", "64 HTTP clients: at most 100 µs of server CPU for a commit", Bound::AtMost(100.0), "µs"),
    row("http-read", "64 HTTP clients: at most 40 µs of server CPU for a read", Bound::AtMost(40.0), "µs"),
    row("million-ready", "10⁶ documents, `kill -9`: ready in at most 25 s", Bound::AtMost(25.0), "s"),
    row("million-resident", "10⁶ documents: at most 300 MB resident", Bound::AtMost(300.0), "MB").because(
        "sled keeps a multiple of what its cache is set to, 48 MiB (decisions/0007)",
    ),
    row(
        "stalled",
        "500 of 1,000 readers stall: memory grows by at most 500 × `outbox_bytes_max` and 10 %",
        Bound::AtMost(1.1),
        "×",
    ),
    row("compare-node-write-1", "through Google's client for Node, single writes by 1 client: at least 2 × the emulator's rate", Bound::AtLeast(2.0), "×").because(
        "most of the time of a write is the client's own work, and the rest is one durable commit, as in compare-grpc-write-1",
    ),
    row("compare-node-write-64", "through Google's client for Node, single writes by 64 clients: the same", Bound::AtLeast(2.0), "×").because(CLIENT),
    row("compare-node-get", "through Google's client for Node, gets by 64 clients: the same", Bound::AtLeast(2.0), "×").because(CLIENT),
    row("compare-node-query", "through Google's client for Node, queries of 100 documents by 8 clients: the same", Bound::AtLeast(2.0), "×").because(CLIENT),
    row("compare-node-listen", "through Google's client for Node, 1 writer and 100 listeners, events heard: the same", Bound::AtLeast(2.0), "×").because(CLIENT),
    row("compare-node-increment", "through Google's client for Node, 64 clients incrementing one document: the same", Bound::AtLeast(2.0), "×").because(CLIENT),
    row("compare-grpc-write-1", "by gRPC, single writes by 1 client: at least 2 × the emulator's rate", Bound::AtLeast(2.0), "×").because(
        "one client waits for one durable commit at a time: for `fdatasync`, which is a third of its time, and four wakings of threads \
        (row one-writer), where the emulator writes nothing to disk",
    ),
    row("compare-grpc-write-64", "by gRPC, single writes by 64 clients: the same", Bound::AtLeast(2.0), "×"),
    row("compare-grpc-get", "by gRPC, gets by 64 clients: the same", Bound::AtLeast(2.0), "×"),
    row("compare-grpc-query", "by gRPC, queries of 100 documents by 8 clients: the same", Bound::AtLeast(2.0), "×"),
    row("compare-grpc-listen", "by gRPC, 1 writer and 100 listeners, events heard: the same", Bound::AtLeast(2.0), "×"),
    row("compare-grpc-increment", "by gRPC, 64 clients incrementing one document: the same", Bound::AtLeast(2.0), "×"),
    row("compare-cpu-write-1", "by gRPC, single writes by 1 client: at most 1/5 of the emulator's server CPU an operation", Bound::AtMost(0.2), "×").because(
        "a commit that is alone pays for its own frame, sync and wakings of threads, two thirds of it within the kernel (perf); 64 that wait \
        together share them (compare-cpu-write-64)",
    ),
    row("compare-cpu-write-64", "by gRPC, single writes by 64 clients: the same", Bound::AtMost(0.2), "×"),
    row("compare-cpu-get", "by gRPC, gets by 64 clients: the same", Bound::AtMost(0.2), "×"),
    row("compare-cpu-query", "by gRPC, queries of 100 documents by 8 clients: the same", Bound::AtMost(0.2), "×"),
    row("compare-cpu-listen", "by gRPC, 1 writer and 100 listeners, events heard: the same", Bound::AtMost(0.2), "×"),
    row("compare-cpu-increment", "by gRPC, 64 clients incrementing one document: the same", Bound::AtMost(0.2), "×"),
    row("compare-start", "from nothing to the first answer: at most 1/20 of the emulator's time", Bound::AtMost(0.05), "×"),
    row("compare-memory", "100,000 documents: at most 1/10 of the emulator's resident memory", Bound::AtMost(0.1), "×"),
];

/// The target of this name.
///
/// # Panics
/// When there is none: names are written in this crate only.
pub fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("every measurement names a target")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_at_its_number_and_on_one_side() {
        assert_eq!([0.4, 0.5, 0.6].map(|value| Bound::AtLeast(0.5).holds(value)), [false, true, true]);
        assert_eq!([0.4, 0.5, 0.6].map(|value| Bound::AtMost(0.5).holds(value)), [true, true, false]);
        assert!(!Bound::AtLeast(0.5).holds(f64::NAN) && !Bound::AtMost(0.5).holds(f64::NAN), "no number is no success");
    }
}
