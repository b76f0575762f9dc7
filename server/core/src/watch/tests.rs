//! What watches promise, told as stories: documents of one collection with a number each.

use super::*;
use crate::FieldPath;
use crate::keys::Direction;
use crate::path::CollectionPath;
use crate::query::{Aggregate, Limit, Order, QuerySpec, Run};
use crate::query::{Filter, Operator, Source};
use crate::value::Map;
use expect_test::{Expect, expect};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Documents and the one watch on them.
struct Story {
    docs: BTreeMap<DocPath, Arc<Document>>,
    version: Version,
    watch: Watch,
    array: Vec<DocPath>,
    spare: usize,
}

fn n() -> FieldPath {
    FieldPath::parse("n").unwrap()
}

fn by_n() -> QuerySpec {
    QuerySpec {
        orders: vec![Order { field: n(), direction: Direction::Ascending }],
        ..QuerySpec::all(Source::Collection(CollectionPath::parse("c").unwrap()))
    }
}

impl Story {
    fn new(spec: QuerySpec, spare: usize, start: &str) -> Self {
        let query = Arc::new(Query::build(spec).unwrap());
        let empty: [Result<Document, Infallible>; 0] = [];
        let rows = query.run(empty, Run::default()).unwrap();
        let watch = Watch::new(query, Version::ZERO, rows);
        let mut story = Self { docs: BTreeMap::new(), version: Version::ZERO, watch, array: Vec::new(), spare };
        story.write(start);
        story.watch = Watch::new(story.watch.query().clone(), story.version, story.run());
        story.array = story.watch.window().iter().map(|row| row.path.clone()).collect();
        story
    }

    fn run(&self) -> Rows<Arc<Document>> {
        let docs = self.docs.values().cloned().map(Ok::<_, Infallible>);
        self.watch.query().run(docs, Run { spare: self.spare, ..Run::default() }).unwrap()
    }

    /// Writes from texts such as `a=3 b=`: sets c/a to 3, deletes c/b.
    fn write(&mut self, text: &str) -> Commit {
        self.version = Version::from_micros(self.version.micros() + 1);
        let mut changes = Vec::new();
        for word in text.split_whitespace() {
            let (id, number) = word.split_once('=').unwrap();
            let path = DocPath::parse(&format!("c/{id}")).unwrap();
            let after = (!number.is_empty()).then(|| {
                let number = number.parse().map_or_else(|_| Value::Double(number.parse().unwrap()), Value::Integer);
                let (created, updated) = (self.version, self.version);
                Arc::new(Document { path: path.clone(), fields: Map::from([("n".into(), number)]), created, updated })
            });
            let before = match &after {
                None => self.docs.remove(&path),
                Some(after) => self.docs.insert(path.clone(), after.clone()),
            };
            changes.push(Change { path, before, after });
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Commit { version: self.version, changes }
    }

    /// One commit, what the watch says of it, and that folding that gives the result.
    fn check(&mut self, text: &str, want: Expect) {
        want.assert_eq(&self.follow(text));
    }

    fn follow(&mut self, text: &str) -> String {
        let commit = self.write(text);
        let said = match self.watch.apply(&commit) {
            Outcome::Nothing => "nothing".to_string(),
            Outcome::Event(event) => self.told(&event),
            Outcome::Refill => {
                let rows = self.run();
                let event = self.watch.refill(self.version, rows);
                format!("refill: {}", event.map_or("nothing".to_string(), |event| self.told(&event)))
            }
        };
        let now: Vec<DocPath> = self.run().window().iter().map(|row| row.path.clone()).collect();
        assert_eq!(self.array, now);
        said
    }

    fn told(&mut self, event: &Event) -> String {
        assert_eq!(event.version, self.version);
        fold(&mut self.array, &event.changes);
        let mut text: Vec<String> = event
            .changes
            .iter()
            .map(|change| {
                let load = change.doc.is_none() && change.kind != Kind::Removed;
                format!("{change}{}", if load { " (load)" } else { "" })
            })
            .collect();
        if let Some(values) = &event.aggregates {
            text.push(format!("{values:?}"));
        }
        format!("{} of {}", text.join(", "), event.size)
    }
}

#[test]
fn a_watch_without_a_limit_tells_what_moved() {
    let mut story = Story::new(by_n(), 0, "a=1 b=2 c=3");
    story.check("b=9", expect!["modified c/b 1 to 2 of 3"]);
    story.check("a= d=0 c=3", expect!["removed c/a 0, added c/d 0, modified c/c 1 to 1 of 3"]);
    story.check("x=", expect!["nothing"]);
    story.check("", expect!["nothing"]);
}

#[test]
fn many_moves_in_one_commit_are_told_as_few_are() {
    let mut story = Story::new(by_n(), 0, "a=1 b=2");
    let many: Vec<String> = (0..40).map(|id| format!("x{id:02}={}", 100 - id)).collect();
    let commit = story.write(&format!("a= {}", many.join(" ")));
    let Outcome::Event(event) = story.watch.apply(&commit) else { panic!("no event") };
    fold(&mut story.array, &event.changes);
    let now: Vec<DocPath> = story.run().window().iter().map(|row| row.path.clone()).collect();
    assert_eq!(story.array, now);
    assert!(event.changes.iter().all(|change| change.doc.is_some() == (change.kind != Kind::Removed)));
}

#[test]
fn a_limit_is_filled_from_the_spare_and_then_refilled() {
    let spec = QuerySpec { limit: Some(Limit::First(2)), ..by_n() };
    let mut story = Story::new(spec, 1, "a=1 b=2 c=3 d=4 e=5");
    story.check("e=6", expect!["nothing"]);
    story.check("a=", expect!["removed c/a 0, added c/c 1 (load) of 2"]);
    story.check("b=", expect!["refill: removed c/b 0, added c/d 1 (load) of 2"]);
    story.check("x=0", expect!["removed c/d 1, added c/x 0 of 2"]);
    story.check("x=9", expect!["removed c/x 0, added c/d 1 (load) of 2"]);
}

#[test]
fn a_limit_from_the_end_is_told_in_the_querys_order() {
    let spec = QuerySpec { limit: Some(Limit::Last(2)), ..by_n() };
    let mut story = Story::new(spec, 1, "a=1 b=2 c=3 d=4");
    story.check("a=0", expect!["nothing"]);
    story.check("d=", expect!["removed c/d 1, added c/b 0 (load) of 2"]);
    story.check("x=9", expect!["removed c/b 0, added c/x 1 of 2"]);
    story.check("c= x=", expect!["refill: removed c/c 0, removed c/x 0, added c/a 0 (load), added c/b 1 (load) of 2"]);
}

#[test]
fn an_offset_moves_others_in_and_out() {
    let spec = QuerySpec { offset: 1, ..by_n() };
    let mut story = Story::new(spec, 0, "a=1 b=2 c=3");
    story.check("x=0", expect!["added c/a 0 (load) of 3"]);
    story.check("b=", expect!["removed c/b 1 of 2"]);
    let spec = QuerySpec { offset: 1, limit: Some(Limit::Last(2)), ..by_n() };
    let mut story = Story::new(spec, 0, "a=1 b=2");
    story.check("x=0", expect!["added c/a 0 (load) of 2"]);
    story.check("a=", expect!["removed c/a 0 of 1"]);
}

#[test]
fn a_window_that_only_grows_lets_go_of_what_is_far_and_reads_it_again_when_needed() {
    for (limit, sign) in [(Limit::First(1), 1), (Limit::Last(1), -1)] {
        let mut story = Story::new(QuerySpec { limit: Some(limit), ..by_n() }, 0, "");
        for number in (0..100).rev() {
            story.follow(&format!("x{number}={}", number * sign));
            assert!(story.watch.rows_held() <= 18);
        }
        let refills = (0..100).filter(|number| story.follow(&format!("x{number}=")).starts_with("refill")).count();
        assert!((20..100).contains(&refills), "{refills}");
    }
}

#[test]
fn numbers_are_told_when_they_change() {
    let aggregates = vec![Aggregate::Count { up_to: None }, Aggregate::Sum(n()), Aggregate::Average(n())];
    let mut story = Story::new(QuerySpec { aggregates, ..by_n() }, 0, "a=1 b=2");
    story.check("c=6", expect!["[Integer(3), Integer(9), Double(3.0)] of 3"]);
    story.check("a=2 b=1", expect!["nothing"]);
    story.check("a=NaN", expect!["[Integer(3), Double(NaN), Double(NaN)] of 3"]);
    story.check("a=", expect!["[Integer(2), Integer(7), Double(3.5)] of 2"]);
}

#[test]
fn numbers_of_a_cut_result_are_asked_for_again() {
    let aggregates = vec![Aggregate::Sum(n())];
    let spec = QuerySpec { aggregates, limit: Some(Limit::First(2)), ..by_n() };
    let mut story = Story::new(spec, 0, "a=1 b=2 c=3");
    story.check("d=4", expect!["refill: nothing"]);
    story.check("a=", expect!["refill: [Integer(5)] of 2"]);
}

#[test]
fn a_commit_that_was_seen_means_nothing_and_a_stale_watch_waits() {
    let spec = QuerySpec { limit: Some(Limit::First(1)), ..by_n() };
    let mut story = Story::new(spec, 0, "a=1 b=2");
    let first = story.write("a=");
    assert_eq!(story.watch.apply(&first), Outcome::Refill);
    assert_eq!(story.watch.apply(&first), Outcome::Nothing);
    let second = story.write("");
    assert_eq!(story.watch.apply(&second), Outcome::Refill);
    let event = story.watch.refill(story.version, story.run()).unwrap();
    assert_eq!(event.changes.len(), 2);
}

#[test]
fn rows_that_contradict_a_commit_are_read_again() {
    let mut story = Story::new(by_n(), 0, "a=1");
    let missed = story.write("b=2");
    drop(missed);
    let next = story.write("b=3");
    assert_eq!(story.watch.apply(&next), Outcome::Refill);
    assert_eq!(story.watch.window().len(), 1);
}

#[test]
fn a_result_is_rewound_by_what_changed_since() {
    let mut story = Story::new(by_n(), 0, "a=1 b=2 c=3");
    let then: Vec<Row> = story.watch.window().to_vec();
    let commits = [story.write("a=5 d=1"), story.write("a= b=7"), story.write("b=8 c=")];
    let now: Vec<Row> = story.run().window().to_vec();
    // The first change of a document since then shows what it was then.
    let query = story.watch.query();
    let mut firsts = HashMap::new();
    for change in commits.iter().flat_map(|commit| &commit.changes) {
        firsts.entry(change.path.clone()).or_insert_with(|| query.row(change.before.as_deref()?));
    }
    assert!(can_rewind(query));
    assert_eq!(rewind(query, &now, &firsts), then);
}

#[test]
fn a_watch_says_by_what_to_find_it() {
    let filter = Filter::And(vec![
        Filter::field(n(), Operator::Equal, Value::Integer(1)),
        Filter::field(FieldPath::parse("m").unwrap(), Operator::Less, Value::Integer(1)),
    ]);
    let story = Story::new(QuerySpec { filter: Some(filter), ..by_n() }, 0, "");
    let interest = story.watch.query().interest();
    assert_eq!(interest.source.to_string(), "the collection c");
    assert_eq!(interest.equals, [(&n(), &Value::Integer(1))]);
}
