//! Counters: the proof of what was done, and of what was not.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A wire format of events, for [`Metrics::events_encoded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Format {
    /// The native API's JSON, with whole documents.
    NativeJson,
    /// The native API's JSON, with patches.
    NativePatch,
}

impl Format {
    /// How many formats there are.
    pub(crate) const COUNT: usize = 2;
}

/// The label of [`Metrics::events_encoded`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EncodedAs {
    /// Which format.
    pub format: Format,
}

/// The label of [`Metrics::http_requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
}

/// All counters of a process. Those that only rise are shown with `_total` behind their name.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Queries run on the state, for whatever purpose.
    pub queries_run: Counter,
    /// Documents of which a field was looked at, or that were handed out.
    pub documents_read: Counter,
    /// Documents that were deleted because their time had come.
    pub documents_expired: Counter,
    /// Keys of the state and the memtable that scans looked at.
    pub index_entries_scanned: Counter,
    /// Events encoded, by wire format.
    pub events_encoded: Family<EncodedAs, Counter>,
    /// Watches that a commit was shown to.
    pub watches_examined: Counter,
    /// Listeners that could not be resumed and were told everything anew.
    pub resets: Counter,
    /// Listeners that read too slowly and were caught up from history.
    pub lags: Counter,
    /// Limit windows that had to be read again.
    pub refills: Counter,
    /// Bytes that wait for slow readers.
    pub outbox_bytes: Gauge,
    /// Listeners that are open.
    pub listeners: Gauge,
    /// Connections and streams that are open.
    pub connections: Gauge,
    /// Databases that are open.
    pub databases_open: Gauge,
    /// Commits that became durable, ticks included.
    pub commits: Counter,
    /// Frames written to commit logs; each is synced once.
    pub log_groups: Counter,
    /// Bytes of entries written to commit logs.
    pub log_bytes: Counter,
    /// Times that a commit log could not be written.
    pub log_failures: Counter,
    /// Superseded versions that were removed.
    pub versions_removed: Counter,
    /// Snapshots that were written.
    pub snapshots: Counter,
    /// Snapshots that could not be written, or were damaged when they were needed.
    pub snapshot_failures: Counter,
    /// Bytes of commit logs that were dropped behind snapshots and history.
    pub log_bytes_dropped: Counter,
    /// Bytes that the state takes up on disk, or in memory.
    pub state_bytes: Gauge,
    /// Databases that were wiped.
    pub wipes: Counter,
    /// Leaps of the wall clock that were not followed.
    pub clock_leaps: Counter,
    /// 1 while a leap of the wall clock is held back.
    pub clock_held: Gauge,
    /// Requests answered, by HTTP status.
    pub http_requests: Family<Answered, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("hearth"),
            queries_run: Counter::default(),
            documents_read: Counter::default(),
            documents_expired: Counter::default(),
            index_entries_scanned: Counter::default(),
            events_encoded: Family::default(),
            watches_examined: Counter::default(),
            resets: Counter::default(),
            lags: Counter::default(),
            refills: Counter::default(),
            outbox_bytes: Gauge::default(),
            listeners: Gauge::default(),
            connections: Gauge::default(),
            databases_open: Gauge::default(),
            commits: Counter::default(),
            log_groups: Counter::default(),
            log_bytes: Counter::default(),
            log_failures: Counter::default(),
            versions_removed: Counter::default(),
            snapshots: Counter::default(),
            snapshot_failures: Counter::default(),
            log_bytes_dropped: Counter::default(),
            state_bytes: Gauge::default(),
            wipes: Counter::default(),
            clock_leaps: Counter::default(),
            clock_held: Gauge::default(),
            http_requests: Family::default(),
        };
        let r = &mut metrics.registry;
        r.register("queries_run", "Queries run on the state", metrics.queries_run.clone());
        r.register("documents_read", "Documents looked at or handed out", metrics.documents_read.clone());
        let expired = metrics.documents_expired.clone();
        r.register("documents_expired", "Documents deleted because their time had come", expired);
        r.register("index_entries_scanned", "Keys that scans looked at", metrics.index_entries_scanned.clone());
        r.register("events_encoded", "Events encoded, by wire format", metrics.events_encoded.clone());
        r.register("watches_examined", "Watches that commits were shown to", metrics.watches_examined.clone());
        r.register("resets", "Listeners told everything anew", metrics.resets.clone());
        r.register("lags", "Slow listeners caught up from history", metrics.lags.clone());
        r.register("refills", "Limit windows read again", metrics.refills.clone());
        r.register("outbox_bytes", "Bytes that wait for slow readers", metrics.outbox_bytes.clone());
        r.register("listeners", "Listeners open", metrics.listeners.clone());
        r.register("connections", "Connections and streams open", metrics.connections.clone());
        r.register("databases_open", "Databases open", metrics.databases_open.clone());
        r.register("commits", "Commits that became durable", metrics.commits.clone());
        r.register("log_groups", "Frames written to commit logs", metrics.log_groups.clone());
        r.register("log_bytes", "Bytes of entries written to commit logs", metrics.log_bytes.clone());
        r.register("log_failures", "Times a commit log could not be written", metrics.log_failures.clone());
        r.register("versions_removed", "Superseded versions removed", metrics.versions_removed.clone());
        r.register("snapshots", "Snapshots written", metrics.snapshots.clone());
        r.register("snapshot_failures", "Snapshots that failed", metrics.snapshot_failures.clone());
        r.register("log_bytes_dropped", "Bytes of commit logs dropped", metrics.log_bytes_dropped.clone());
        r.register("state_bytes", "Bytes that the state takes up", metrics.state_bytes.clone());
        r.register("wipes", "Databases wiped", metrics.wipes.clone());
        r.register("clock_leaps", "Leaps of the wall clock not followed", metrics.clock_leaps.clone());
        r.register("clock_held", "1 while a leap of the wall clock is held back", metrics.clock_held.clone());
        r.register("http_requests", "Requests answered, by status", metrics.http_requests.clone());
        metrics
    }
}

impl Metrics {
    /// The text that Prometheus reads. Content type: `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn render(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string cannot fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown_under_their_names() {
        let metrics = Metrics::default();
        metrics.queries_run.inc_by(3);
        metrics.events_encoded.get_or_create(&EncodedAs { format: Format::NativeJson }).inc();
        let text = metrics.render();
        assert!(text.contains("\nhearth_queries_run_total 3\n"), "{text}");
        assert!(text.contains("hearth_events_encoded_total{format=\"NativeJson\"} 1\n"), "{text}");
    }
}
