//! Every limit of the engine, by name, with its unit. What is over a limit is refused; nothing grows without one.

use std::time::Duration;

/// The limits of one process. All are per what their comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Writes of one commit.
    pub commit_writes_max: usize,
    /// Bytes of one commit: names and fields of all its writes, as document sizes are counted.
    pub commit_bytes_max: usize,
    /// Commits that wait for a database's writer; one more is refused with a hint when to come again.
    pub queue_commits_max: usize,
    /// Commits that share one frame of the log.
    pub group_commits_max: usize,
    /// Commits of a group that its planner writes, syncs and tells itself, where the other stages of the writer have nothing
    /// to do and nothing more is asked; with 0 it never does.
    pub lone_commits_max: usize,
    /// Bytes of pages, as sled counts them, that the state keeps at hand, for the whole process. In memory it is several
    /// times as much (docs/decisions/0007).
    pub cache_bytes_max: u64,
    /// Bytes that a generation of the memtable gathers before it is applied to the state.
    pub generation_bytes_max: usize,
    /// Generations that wait until a burst is over before they are applied: applying takes more of the processors than
    /// committing does. What has waited for a second is applied in any case.
    pub generations_applied_min: usize,
    /// Generations that wait to be applied; then the writer waits too.
    pub generations_max: usize,
    /// Documents of one answer.
    pub result_docs_max: usize,
    /// Documents of one answer where the query names no limit.
    pub result_docs_default: u32,
    /// Documents that are read and held at one time of an answer that is handed on in pages, so that it may be of any length.
    pub page_docs_max: usize,
    /// Rows that are sorted at one time for such an answer, where it has to be; what is behind them takes another run.
    pub page_rows_max: u32,
    /// How long a query may run.
    pub query_time_max: Duration,
    /// Queries that run at one time, over all databases.
    pub queries_running_max: usize,
    /// Documents, or changes, of one part of a large answer or event.
    pub part_docs_max: usize,
    /// Bytes of documents, as their sizes are counted, with which a part of a large answer or event ends.
    pub part_bytes_max: usize,
    /// Bytes that wait for one connection; then its diffs are dropped and caught up when it reads again.
    pub outbox_bytes_max: usize,
    /// Listeners of one connection.
    pub listeners_per_connection_max: usize,
    /// Changed documents that a resumed listener is told one by one; with more, the query is run at both versions.
    pub resume_changes_max: usize,
    /// Commits kept in memory to answer "has anything changed?" without reading.
    pub recent_commits_max: usize,
    /// Bytes of log entries whose commits are kept so.
    pub recent_bytes_max: usize,
    /// Databases that are open at one time; those idle the longest are closed.
    pub databases_open_max: usize,
    /// How long superseded versions are kept.
    pub history: Duration,
    /// Bytes of superseded versions that are kept of one database, however young; the oldest go first.
    pub history_bytes_max: u64,
    /// Bytes that a log grows at least between two snapshots, however small the database.
    pub snapshot_log_bytes_min: u64,
    /// Bytes that are left free on the disk of the data directory; commits that would take of them are refused until there is
    /// space again.
    pub disk_free_bytes_min: u64,
    /// How far the wall clock may leap ahead of the boot clock and still be followed.
    pub clock_leap_max: Duration,
    /// How far the newest commit of a database may be ahead of the clock when it is opened. `--accept-clock` lifts it.
    pub clock_ahead_max: Duration,
    /// Idempotency keys that are remembered of one caller.
    pub request_keys_per_scope_max: usize,
    /// Idempotency keys that are remembered of one database.
    pub request_keys_max: usize,
    /// How long an idempotency key is remembered.
    pub request_key_life: Duration,
    /// Links that are open at one time.
    pub links_max: usize,
    /// Bytes of one message or request body.
    pub message_bytes_max: usize,
    /// Bytes of a request's address.
    pub url_bytes_max: usize,
}

/// How large answers and events are cut into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// [`Limits::part_docs_max`].
    pub docs_max: usize,
    /// [`Limits::part_bytes_max`].
    pub bytes_max: usize,
}

impl Limits {
    /// How large answers and events are cut into parts.
    pub fn parts(&self) -> PartLimits {
        PartLimits { docs_max: self.part_docs_max, bytes_max: self.part_bytes_max }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commit_writes_max: 10_000,
            commit_bytes_max: 10 << 20,
            queue_commits_max: 1_024,
            group_commits_max: 256,
            lone_commits_max: 1,
            cache_bytes_max: 48 << 20,
            generation_bytes_max: 8 << 20,
            generations_applied_min: 3,
            generations_max: 4,
            result_docs_max: 100_000,
            result_docs_default: 1_000,
            page_docs_max: 1_000,
            page_rows_max: 1_000_000,
            query_time_max: Duration::from_secs(30),
            queries_running_max: 8,
            part_docs_max: 1_000,
            part_bytes_max: 1 << 20,
            outbox_bytes_max: 4 << 20,
            listeners_per_connection_max: 1_000,
            resume_changes_max: 10_000,
            recent_commits_max: 4_096,
            recent_bytes_max: 2 << 20,
            databases_open_max: 64,
            history: Duration::from_secs(3_600),
            history_bytes_max: 4 << 30,
            snapshot_log_bytes_min: 4 << 20,
            disk_free_bytes_min: 64 << 20,
            clock_leap_max: Duration::from_secs(300),
            clock_ahead_max: Duration::from_secs(300),
            request_keys_per_scope_max: 10_000,
            request_keys_max: 100_000,
            request_key_life: Duration::from_secs(24 * 3_600),
            links_max: 10_000,
            message_bytes_max: 11 << 20,
            url_bytes_max: 16 << 10,
        }
    }
}
