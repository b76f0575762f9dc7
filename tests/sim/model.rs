//! The model: what the database must hold at each version, told by the log and by nobody else.
//!
//! It listens in on every group that is written. What the log acknowledged holds from then on; what it refused never
//! does; what is left open is settled by what is there when the next process opens the log. Each commit is worked out
//! a second time here, from what its client asked, in the plainest way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_core::entry::{CommitEntry, kind};
use hearth_core::query::QuerySpec;
use hearth_core::{DocPath, Document, Value, Version};
use hearth_store::Entry;

use crate::naive;
use crate::work::{Deed, Work};

/// The kind of an entry that wipes, as numbered in the log.
const WIPE: u8 = 8;

/// All documents at one version.
pub(crate) type Docs = BTreeMap<DocPath, Arc<Document>>;

#[derive(Default)]
pub(crate) struct Model {
    states: BTreeMap<Version, Arc<Docs>>,
    entries: BTreeMap<Version, Entry>,
    wipes: BTreeSet<Version>,
    /// What clients have asked, by the number of the commit.
    asked: BTreeMap<i64, Asked>,
    /// A group of which nobody knows whether it lasts.
    doubtful: Vec<Entry>,
    /// The highest version that anybody was told.
    pub(crate) shown: Version,
}

struct Asked {
    work: Work,
    versions: Vec<Version>,
    /// Whether its client knows that it was not done, and does not ask again.
    is_dead: bool,
}

impl Model {
    /// The documents at a version.
    pub(crate) fn at(&self, version: Version) -> Arc<Docs> {
        self.states.range(..=version).next_back().map(|(_, docs)| docs.clone()).unwrap_or_default()
    }

    /// The version of the last commit that lasts.
    pub(crate) fn last(&self) -> Version {
        self.entries.last_key_value().map_or(Version::ZERO, |(version, _)| *version)
    }

    /// The last wipe.
    pub(crate) fn floor(&self) -> Version {
        self.wipes.last().copied().unwrap_or_default()
    }

    /// How many commits last.
    pub(crate) fn commits(&self) -> usize {
        self.entries.len()
    }

    /// The result of a query at a version.
    pub(crate) fn result(&self, spec: &QuerySpec, version: Version) -> (Vec<Arc<Document>>, Option<Vec<Value>>) {
        let docs = self.at(version);
        let found = naive::result(spec, docs.values().map(|doc| &**doc));
        let numbers = (!spec.aggregates.is_empty()).then(|| naive::numbers(spec, &found));
        let found = if numbers.is_some() { Vec::new() } else { found };
        (found.into_iter().map(|doc| docs[&doc.path].clone()).collect(), numbers)
    }

    // ---- what clients tell

    /// A client is about to ask for a commit.
    pub(crate) fn ask(&mut self, work: &Work) {
        let asked = Asked { work: work.clone(), versions: Vec::new(), is_dead: false };
        self.asked.entry(work.number).or_insert(asked);
    }

    /// A commit was acknowledged.
    pub(crate) fn acknowledged(&mut self, number: i64, version: Version) {
        let versions = &self.asked[&number].versions;
        assert!(
            versions.contains(&version),
            "commit {number} is acknowledged at {version}, and is there at {versions:?}"
        );
        self.show(version);
    }

    /// A commit was certainly not done, and is not asked for again.
    pub(crate) fn dead(&mut self, number: i64, why: &str) {
        let floor = self.floor();
        let asked = self.asked.get_mut(&number).expect("it was asked");
        let alive = asked.versions.iter().find(|version| **version > floor);
        assert_eq!(alive, None, "commit {number} is there, and was answered with: {why}");
        asked.is_dead = true;
    }

    /// Whether a state between two versions fits.
    pub(crate) fn any_between(&self, from: Version, to: Version, fits: impl Fn(&Docs) -> bool) -> bool {
        fits(&self.at(from)) || self.states.range(from..=to.max(from)).any(|(_, docs)| fits(docs))
    }

    /// Somebody was told of a version.
    pub(crate) fn show(&mut self, version: Version) {
        self.shown = self.shown.max(version);
    }

    // ---- what the log tells

    /// A group is durable.
    pub(crate) fn lasts(&mut self, group: &[Entry]) {
        for entry in group {
            let version = entry.version;
            assert!(version > self.last(), "version {version} does not stand above {}", self.last());
            assert!(version > self.shown, "version {version} undercuts {}, which was told", self.shown);
            let before = self.at(version);
            match entry.kind {
                kind::COMMIT => {
                    let commit = CommitEntry::decode(&entry.body).unwrap();
                    let after = self.commit(version, &commit, &before);
                    self.states.insert(version, Arc::new(after));
                }
                WIPE => {
                    self.wipes.insert(version);
                    self.states.insert(version, Arc::default());
                }
                kind => assert_eq!(kind, kind::TICK, "an entry of an unknown kind"),
            }
            self.entries.insert(version, entry.clone());
        }
    }

    /// A group may last or not.
    pub(crate) fn doubt(&mut self, group: &[Entry]) {
        self.doubtful = group.to_vec();
    }

    /// What a log holds that was opened anew, above the version that it starts with.
    pub(crate) fn found(&mut self, start: Version, found: &[Entry]) {
        let known: Vec<&Entry> =
            self.entries.range(start..).map(|(_, entry)| entry).filter(|entry| entry.version > start).collect();
        let (before, behind) = found.split_at(known.len().min(found.len()));
        assert!(before.iter().eq(known.iter().copied()), "the log lost or changed commits:\n{before:?}\n{known:?}");
        let doubtful = std::mem::take(&mut self.doubtful);
        if !behind.is_empty() {
            assert_eq!(behind, doubtful, "the log holds what was never acknowledged, or a part of a group");
            self.lasts(&doubtful);
        }
    }

    /// Works a commit out again, and finds the same.
    fn commit(&mut self, version: Version, entry: &CommitEntry, before: &Docs) -> Docs {
        let number = entry.images.iter().find_map(|(path, image)| Work::number_in(path, image.as_deref()));
        let number = number.expect("each commit has its number in it");
        let floor = self.floor();
        let asked = self.asked.get_mut(&number).expect("what is committed was asked");
        assert!(!asked.is_dead, "commit {number} was refused, and is done at {version}");
        let twice = asked.versions.iter().find(|earlier| **earlier > floor);
        assert_eq!(twice, None, "commit {number} is done a second time at {version}");
        asked.versions.push(version);
        let work = &asked.work;
        assert_eq!(entry.key.is_some(), work.is_keyed);
        for read in &work.reads {
            let now = before.get(&read.path).map(|doc| doc.updated);
            assert_eq!(now, read.updated, "commit {number} at {version} rests on another {}", read.path);
        }
        for read in &work.queries {
            let now = naive::result(&read.spec, before.values().map(|doc| &**doc));
            let now: Vec<(&DocPath, Version)> = now.into_iter().map(|doc| (&doc.path, doc.updated)).collect();
            let then: Vec<(&DocPath, Version)> = read.found.iter().map(|(path, updated)| (path, *updated)).collect();
            assert_eq!(now, then, "commit {number} at {version} rests on another result of {:?}", read.spec);
        }
        let mut after = before.clone();
        for deed in &work.deeds {
            deed.check(&after);
            let path = deed.path();
            let old = after.get(path).cloned();
            match deed.apply(old.as_deref(), version) {
                Some(document) => drop(after.insert(path.clone(), Arc::new(document))),
                None => drop(after.remove(path)),
            }
        }
        let touched: BTreeSet<&DocPath> = work.deeds.iter().map(Deed::path).collect();
        let changed = touched.into_iter().filter(|path| before.get(*path) != after.get(*path));
        let wanted: BTreeMap<&DocPath, Option<&Document>> =
            changed.map(|path| (path, after.get(path).map(|doc| &**doc))).collect();
        let images: BTreeMap<&DocPath, Option<&Document>> =
            entry.images.iter().map(|(path, image)| (path, image.as_deref())).collect();
        assert_eq!(images, wanted, "commit {number} at {version} did something else than was asked");
        after
    }
}
