//! Judges a history: replays the commits by version and holds against them all that anybody was told.
//!
//! Every answer carries a version, so there is one order to check and nothing to search for: an answer must be what the
//! commits up to its version make, and versions must agree with time as clients saw it pass.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::record::{
    Commit, Effect, History, Look, Outcome, Question, Result as Answer, Seen, Told, Write, hash, path, thing,
};

/// What there is after some commit.
type State = BTreeMap<String, Document>;

#[derive(Clone, Debug)]
struct Document {
    data: Value,
    updated: u64,
}

impl Document {
    fn seen(&self, thing: u16) -> Seen {
        Seen { thing, updated: self.updated, data: hash(&self.data) }
    }
}

/// A fault, in words.
pub(crate) type Fault = String;

/// Looks for what contradicts the promises; `commits` is the change feed from the beginning.
pub(crate) fn check(history: &History, commits: &[Commit]) -> Result<(), Fault> {
    let told = Floor::of(history);
    let writes: BTreeMap<&str, &Write> = history.writes.iter().map(|write| (&*write.tag, write)).collect();
    let mut results: Vec<&Answer> = history.results.iter().collect();
    results.sort_by_key(|result| result.version);
    let mut results = results.into_iter().peekable();
    let mut state = State::new();
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    let mut lives: BTreeMap<u16, Vec<(u64, Option<Seen>)>> = BTreeMap::new();
    let mut last = 0;
    for commit in commits {
        if commit.version <= last {
            return Err(format!("the feed goes from {last} to {}", commit.version));
        }
        last = commit.version;
        while let Some(result) = results.next_if(|result| result.version < commit.version) {
            is_right(result, &state)?;
        }
        let tag = tag_of(commit)?;
        let write = writes.get(tag).ok_or_else(|| format!("nobody asked for the commit {tag}"))?;
        if let Some(before) = happened.insert(&write.tag, commit.version) {
            return Err(format!("{tag} was committed at {before} and again at {}", commit.version));
        }
        apply(write, commit, &mut state)?;
        for (path, _) in &write.effects {
            if let Some(thing) = thing(path) {
                let now = state.get(path).map(|document| document.seen(thing));
                lives.entry(thing).or_default().push((commit.version, now));
            }
        }
    }
    for result in results {
        is_right(result, &state)?;
    }
    for write in &history.writes {
        let tag = &write.tag;
        match (write.outcome, happened.get(&**tag)) {
            (Outcome::Committed(told), Some(version)) if told == *version => {}
            (Outcome::Committed(told), found) => {
                return Err(format!("{tag} was acknowledged at {told}; the feed has it at {found:?}"));
            }
            (Outcome::Refused, Some(version)) => {
                return Err(format!("{tag} was refused; the feed has it at {version}"));
            }
            (Outcome::Refused, None) | (Outcome::Unknown, _) => {}
        }
        if let Outcome::Committed(version) = write.outcome
            && version <= told.before(write.span.begun)
        {
            let known = told.before(write.span.begun);
            return Err(format!("{tag} got version {version} and {known} was known before it was asked for"));
        }
    }
    for result in &history.results {
        let known = result.fresh_since.map_or(0, |begun| told.before(begun));
        if result.version < known {
            return Err(format!("{} is of version {}, and {known} was known before", result.who, result.version));
        }
    }
    history.looks.iter().try_for_each(|look| is_current(look, lives.get(&look.thing).map_or(&[], |life| life), &told))
}

/// The highest version that anybody was told before some moment.
struct Floor(Vec<(Instant, u64)>);

impl Floor {
    fn of(history: &History) -> Self {
        let writes = history.writes.iter().filter_map(|write| match write.outcome {
            Outcome::Committed(version) => Some((write.span.ended, version)),
            Outcome::Refused | Outcome::Unknown => None,
        });
        let mut told: Vec<_> =
            writes.chain(history.results.iter().map(|result| (result.ended, result.version))).collect();
        told.sort();
        let mut highest = 0;
        for (_, version) in &mut told {
            highest = highest.max(*version);
            *version = highest;
        }
        Self(told)
    }

    fn before(&self, moment: Instant) -> u64 {
        let count = self.0.partition_point(|(when, _)| *when < moment);
        count.checked_sub(1).map_or(0, |index| self.0[index].1)
    }
}

fn tag_of(commit: &Commit) -> Result<&str, Fault> {
    let logged = commit.images.keys().find_map(|path| path.strip_prefix("log/"));
    logged.ok_or_else(|| format!("the commit at {} is torn: its log entry is missing", commit.version))
}

/// Does what the write says, and compares with what the feed says was done.
fn apply(write: &Write, commit: &Commit, state: &mut State) -> Result<(), Fault> {
    let Write { tag, effects, reads, .. } = write;
    for (path, version) in reads {
        let found = state.get(path).map_or(0, |document| document.updated);
        if found != *version {
            return Err(format!("{tag} was committed on {path} of {version}; it was of {found}"));
        }
    }
    for (path, effect) in effects {
        let after = match effect {
            Effect::Set(data) => Some(data.clone()),
            Effect::Delete => None,
            Effect::Add(amount) => {
                let before = state.get(path).ok_or_else(|| format!("{tag} updated {path}, which was not there"))?;
                let mut data = before.data.clone();
                data["n"] = (data["n"].as_i64().unwrap_or_default() + amount).into();
                data["tag"] = tag.clone().into();
                Some(data)
            }
        };
        let was_there = state.contains_key(path);
        match (commit.images.get(path), &after) {
            (Some(Some(image)), Some(data)) if image == data => {}
            (Some(None), None) => {}
            // Deleting what is not there is no change.
            (None, None) if !was_there => {}
            (image, after) => return Err(format!("{tag} leaves {path} as {after:?}, and the feed has {image:?}")),
        }
        match after {
            None => drop(state.remove(path)),
            Some(data) => drop(state.insert(path.clone(), Document { data, updated: commit.version })),
        }
    }
    match commit.images.keys().find(|path| !effects.iter().any(|(known, _)| known == *path)) {
        Some(path) => Err(format!("{tag} has nothing to do with {path}, which the feed says it changed")),
        None => Ok(()),
    }
}

/// Whether a result is that of its question at its version.
fn is_right(result: &Answer, state: &State) -> Result<(), Fault> {
    let want = ask(result.question, state);
    match want == result.told {
        true => Ok(()),
        false => Err(format!(
            "{} of {:?} at {} is {:?}, and should be {want:?}",
            result.who, result.question, result.version, result.told
        )),
    }
}

fn ask(question: Question, state: &State) -> Told {
    let n = |document: &Document| document.data["n"].as_i64().unwrap_or_default();
    let things = state.range("things/".to_owned().."things0".to_owned());
    let mut things: Vec<(u16, &Document)> =
        things.filter_map(|(path, document)| thing(path).map(|thing| (thing, document))).collect();
    match question {
        Question::All => {}
        Question::AtLeast(least) => {
            things.retain(|(_, document)| n(document) >= least);
            things.sort_by_key(|(_, document)| n(document));
        }
        Question::Highest(count) => {
            // Names follow the direction of the last order.
            things.reverse();
            things.sort_by_key(|(_, document)| std::cmp::Reverse(n(document)));
            things.truncate(count);
        }
        Question::Numbers => {
            return Told::Numbers {
                count: things.len() as u64,
                sum: things.iter().map(|(_, document)| n(document)).sum(),
            };
        }
    }
    Told::Documents(things.into_iter().map(|(thing, document)| document.seen(thing)).collect())
}

/// Whether a document was as it was found at some moment between asking and answer.
fn is_current(look: &Look, life: &[(u64, Option<Seen>)], told: &Floor) -> Result<(), Fault> {
    let known = told.before(look.span.begun);
    // As of each version from the last that was known when it was asked for.
    let first = life.partition_point(|(version, _)| *version <= known).checked_sub(1);
    let mut states = life[first.unwrap_or(0)..].iter().map(|(_, seen)| *seen);
    match (first.is_none() && look.found.is_none()) || states.any(|seen| seen == look.found) {
        true => Ok(()),
        false => Err(format!("{} was read as {:?} when {known} was known", path(look.thing), look.found)),
    }
}

mod tests {
    //! Each promise, broken by hand: what would not be noticed here would not be noticed of the server either.

    use std::time::Duration;

    use serde_json::json;

    use super::super::record::Span;
    use super::*;

    struct Story {
        zero: Instant,
        history: History,
        commits: Vec<Commit>,
    }

    impl Story {
        /// `a` is set at 10, raised at 20; everything was told in time.
        fn sound() -> Self {
            let zero = Instant::now();
            let mut story = Self { zero, history: History::default(), commits: Vec::new() };
            story.write("t1", Effect::Set(json!({"n": 60, "tag": "t1"})), 10, json!({"n": 60, "tag": "t1"}));
            story.write("t2", Effect::Add(5), 20, json!({"n": 65, "tag": "t2"}));
            story.result(Question::All, 20, vec![story.seen(20, &json!({"n": 65, "tag": "t2"}))], Some(40));
            story.result(Question::AtLeast(62), 10, vec![], None);
            let found = Some(story.seen(20, &json!({"n": 65, "tag": "t2"})));
            let span = story.span(45, 46);
            story.history.looks.push(Look { thing: 1, found, span });
            story
        }

        fn span(&self, begun: u64, ended: u64) -> Span {
            let at = |ms| self.zero + Duration::from_millis(ms);
            Span { begun: at(begun), ended: at(ended) }
        }

        fn seen(&self, updated: u64, data: &Value) -> Seen {
            Seen { thing: 1, updated, data: hash(data) }
        }

        fn write(&mut self, tag: &str, effect: Effect, version: u64, after: Value) {
            let log = json!({ "tag": tag });
            let effects = vec![("things/001".into(), effect), (format!("log/{tag}"), Effect::Set(log.clone()))];
            let outcome = Outcome::Committed(version);
            let span = self.span(version, version + 5);
            self.history.writes.push(Write { tag: tag.into(), effects, reads: vec![], span, outcome });
            let images = BTreeMap::from([("things/001".into(), Some(after)), (format!("log/{tag}"), Some(log))]);
            self.commits.push(Commit { version, images });
        }

        fn result(&mut self, question: Question, version: u64, seen: Vec<Seen>, fresh_since: Option<u64>) {
            let at = |ms| self.zero + Duration::from_millis(ms);
            self.history.results.push(Answer {
                who: "a reading".into(),
                question,
                version,
                told: Told::Documents(seen),
                fresh_since: fresh_since.map(at),
                ended: at(fresh_since.unwrap_or(100) + 1),
            });
        }

        #[track_caller]
        fn expect(self, want: &str) {
            match check(&self.history, &self.commits) {
                Ok(()) => assert_eq!("sound", want),
                Err(fault) => assert!(fault.contains(want), "{fault}"),
            }
        }
    }

    #[test]
    fn a_sound_history_passes() {
        Story::sound().expect("sound");
    }

    #[test]
    fn a_lost_commit_is_noticed() {
        let mut story = Story::sound();
        story.write("t3", Effect::Add(1), 30, json!({"n": 66, "tag": "t3"}));
        story.commits.pop();
        story.expect("t3 was acknowledged at 30; the feed has it at None");
    }

    #[test]
    fn a_torn_commit_is_noticed() {
        let mut story = Story::sound();
        story.commits[1].images.remove("things/001");
        story.expect("leaves things/001 as");
    }

    #[test]
    fn a_commit_that_happens_twice_is_noticed() {
        let mut story = Story::sound();
        let mut again = story.commits[1].clone();
        again.version = 25;
        story.commits.push(again);
        story.expect("and again at 25");
    }

    #[test]
    fn a_refused_commit_that_happens_is_noticed() {
        let mut story = Story::sound();
        story.history.writes[1].outcome = Outcome::Refused;
        story.expect("t2 was refused");
    }

    #[test]
    fn a_lost_update_is_noticed() {
        let mut story = Story::sound();
        story.history.writes[1].reads.push(("things/001".into(), 9));
        story.expect("t2 was committed on things/001 of 9; it was of 10");
    }

    #[test]
    fn a_stale_reading_is_noticed() {
        let mut story = Story::sound();
        story.history.results[0].version = 10;
        story.history.results[0].told = Told::Documents(vec![story.seen(10, &json!({"n": 60, "tag": "t1"}))]);
        story.expect("is of version 10, and 20 was known before");
    }

    #[test]
    fn a_result_of_no_version_is_noticed() {
        let mut story = Story::sound();
        story.history.results[0].told = Told::Documents(vec![]);
        story.expect("a reading of All at 20 is");
    }

    #[test]
    fn a_version_below_one_that_was_told_is_noticed() {
        let mut story = Story::sound();
        story.history.writes[1].span = story.span(60, 61);
        story.expect("t2 got version 20 and 20 was known");
    }

    #[test]
    fn a_stale_document_is_noticed() {
        let mut story = Story::sound();
        story.history.looks[0].found = None;
        story.expect("things/001 was read as None when 20 was known");
    }
}
