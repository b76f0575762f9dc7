//! Every setting by name: what it holds, what it is where nobody sets it, and which limit of the engine it stands for.

use std::sync::LazyLock;
use std::time::Duration;

use hearth_engine::Limits;

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A file or folder; one in `hearth.toml` is relative to that file.
    Path,
    Flag,
    Count,
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text that is never printed and stands in no file but its own.
    Secret,
}

/// A setting.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its name: dots stand for tables of `hearth.toml`.
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    /// What it is where nobody sets it, as text; none means that it is absent.
    pub(crate) default: Option<String>,
}

impl Known {
    /// The variable of the environment that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("HEARTH_{}", self.key.replace('.', "_").to_uppercase())
    }
}

/// All settings, in the order in which they are shown.
pub(crate) static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let known = |key, kind, default: &str| Known { key, kind, default: Some(default.into()) };
    let absent = |key, kind| Known { key, kind, default: None };
    let mut all = vec![
        known("listen", Kind::Text, "127.0.0.1:8080"),
        known("data", Kind::Path, "./hearth-data"),
        known("ephemeral", Kind::Flag, "false"),
        absent("project", Kind::Text),
        known("projects", Kind::List, ""),
        absent("public", Kind::Path),
        absent("seed", Kind::Path),
        absent("import", Kind::Path),
        absent("export_on_exit", Kind::Path),
        known("allow_origin", Kind::List, ""),
        known("expose", Kind::Choice(&["off", "key", "unsafe"]), "off"),
        known("firebase_json", Kind::Flag, "true"),
        known("behind_proxy", Kind::List, ""),
        absent("tls.cert", Kind::Path),
        absent("tls.key", Kind::Path),
        known("access.signed_in", Kind::Choice(&["nothing", "read", "write"]), "nothing"),
        known("cors.origins", Kind::List, ""),
        absent("admin_key", Kind::Secret),
        absent("admin_key_file", Kind::Path),
        known("existing", Kind::Flag, "false"),
        known("accept_clock", Kind::Flag, "false"),
        known("log", Kind::Text, "info"),
        known("log_format", Kind::Choice(&["text", "json"]), "text"),
        known("limits.profile", Kind::Choice(&["relaxed", "cloud"]), "relaxed"),
        known("limits.connections_max", Kind::Count, "10000"),
        known("limits.connections_per_address_max", Kind::Count, "256"),
        known("limits.connection_idle_seconds_max", Kind::Count, "75"),
    ];
    let defaults = Limits::default();
    all.extend(LIMITS.iter().map(|limit| known(limit.key, Kind::Count, &(limit.get)(&defaults).to_string())));
    all
});

/// A limit of the engine as a setting.
pub(crate) struct Limit {
    pub(crate) key: &'static str,
    get: fn(&Limits) -> u64,
    /// Sets it; a number that this machine cannot count becomes the largest that it can.
    pub(crate) set: fn(&mut Limits, u64),
}

macro_rules! limits {
    (counts: $($count:ident),*; seconds: $($seconds:ident = $key:literal),*;) => {
        &[
            $(Limit {
                key: concat!("limits.", stringify!($count)),
                get: |limits| limits.$count as u64,
                set: |limits, number| limits.$count = number.try_into().unwrap_or(!0),
            },)*
            $(Limit {
                key: concat!("limits.", $key),
                get: |limits| limits.$seconds.as_secs(),
                set: |limits, number| limits.$seconds = Duration::from_secs(number),
            },)*
        ]
    };
}

/// The limits of the engine, by the names they have there; those that are times say their unit.
pub(crate) const LIMITS: &[Limit] = limits! {
    counts: commit_writes_max, commit_bytes_max, queue_commits_max, group_commits_max, lone_commits_max, cache_bytes_max, generation_bytes_max,
        generations_applied_min, generations_max, result_docs_max, result_docs_default, queries_running_max, part_docs_max, part_bytes_max,
        outbox_bytes_max, listeners_per_connection_max, resume_changes_max, recent_commits_max, recent_bytes_max,
        history_bytes_max, snapshot_log_bytes_min, disk_free_bytes_min, databases_open_max,
        request_keys_per_scope_max, request_keys_max, links_max, message_bytes_max, url_bytes_max;
    seconds: query_time_max = "query_seconds_max", history = "history_seconds", request_key_life = "request_key_seconds",
        clock_leap_max = "clock_leap_seconds_max", clock_ahead_max = "clock_ahead_seconds_max";
};

/// The known name nearest to a wrong one, if any is near.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &'a str| (distance(wrong, name), name);
    let (steps, name) = names.into_iter().map(near).min()?;
    // Up to a third of it mistyped is a slip; more is another word.
    (steps * 3 <= wrong.chars().count().max(3)).then_some(name)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let names = || KNOWN.iter().map(|known| known.key);
        assert_eq!(nearest("lisen", names()), Some("listen"));
        assert_eq!(nearest("allow_orgiin", names()), Some("allow_origin"));
        assert_eq!(nearest("limits.commit_write_max", names()), Some("limits.commit_writes_max"));
        assert_eq!(nearest("colour", names()), None);
    }

    #[test]
    fn every_limit_takes_what_it_is_told() {
        for limit in LIMITS {
            let mut limits = Limits::default();
            (limit.set)(&mut limits, 7);
            assert_eq!((limit.get)(&limits), 7, "{}", limit.key);
        }
    }
}
