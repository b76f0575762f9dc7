//! Events as JSON: how a result changed, for everyone who hears of it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hearth_core::query::Query;
use hearth_core::watch::{EventChange, Kind};
use hearth_core::{DatabaseName, DocPath, Document, FieldPath, Map, Value, size};
use hearth_engine::{Answer, Format, SharedEvent, Token};

use super::Context;
use super::write::{print, separated, write_document, write_removed, write_text, write_value};

/// Documents as they were before an event, for telling what of them changed.
pub(crate) type Before = HashMap<DocPath, Arc<Document>>;

/// The members of an event, without braces; made once for all who hear it.
pub fn event_members(event: &SharedEvent, database: &DatabaseName) -> Bytes {
    event.encoded(Format::NativeJson, |event| {
        let mut out = Vec::new();
        write_event(&mut out, event, &Context::new(database));
        out.into()
    })
}

/// The members of an event with patches in place of modified documents; made once for all who hear it.
///
/// A document that `before` lacks is told whole.
pub(crate) fn patch_members(event: &SharedEvent, before: &Before, database: &DatabaseName) -> Bytes {
    event.encoded(Format::NativePatch, |event| {
        let mut out = Vec::new();
        write_members(&mut out, event, before, &Context::new(database));
        out.into()
    })
}

/// Appends the members of an event, without braces.
pub fn write_event(out: &mut Vec<u8>, event: &SharedEvent, context: &Context<'_>) {
    write_members(out, event, &Before::new(), context);
}

fn write_members(out: &mut Vec<u8>, event: &SharedEvent, before: &Before, context: &Context<'_>) {
    let SharedEvent { query, token, event, .. } = event;
    print(out, format_args!("\"version\":\"{}\",\"token\":\"{token}\",\"reset\":false", event.version));
    if let Some(values) = &event.aggregates {
        out.extend_from_slice(b",\"aggregates\":");
        return write_aggregates(out, query, values, context);
    }
    print(out, format_args!(",\"size\":{},\"changes\":[", event.size));
    separated(out, &event.changes, |out, change| write_change(out, change, query, before.get(&change.path), context));
    out.push(b']');
}

fn write_change(
    out: &mut Vec<u8>,
    change: &EventChange,
    query: &Query,
    before: Option<&Arc<Document>>,
    context: &Context<'_>,
) {
    let kind = match change.kind {
        Kind::Added => "added",
        Kind::Modified => "modified",
        Kind::Removed => "removed",
    };
    print(out, format_args!("{{\"type\":\"{kind}\",\"doc\":"));
    match (change.kind, &change.doc, before) {
        (Kind::Modified, Some(document), Some(before)) => {
            out.extend_from_slice(b"{\"path\":");
            write_text(out, document.path.as_str());
            print(out, format_args!(",\"updated\":\"{}\"}},\"patch\":", document.updated));
            write_patch(out, &query.project(before), &query.project(document), context);
        }
        (Kind::Added | Kind::Modified, Some(document), _) => {
            write_document(out, document, &query.project(document), context);
        }
        // What is added or modified has its document in an event that is shared; a path alone would still be true.
        (Kind::Removed, _, _) | (Kind::Added | Kind::Modified, None, _) => write_removed(out, &change.path),
    }
    let position = |at: Option<u32>| at.map_or(-1, i64::from);
    print(out, format_args!(",\"from\":{},\"to\":{}}}", position(change.from), position(change.to)));
}

/// Appends what makes `after` of `before`: field path to value, `{"$delete":true}` where a field went.
fn write_patch(out: &mut Vec<u8>, before: &Map, after: &Map, context: &Context<'_>) {
    let mut steps = Vec::new();
    differences(before, after, &mut Vec::new(), &mut steps);
    out.push(b'{');
    separated(out, steps, |out, (names, value)| {
        // Names of stored fields make a path: they were checked when they were written.
        let path = FieldPath::from_names(names).map(|path| path.to_string()).unwrap_or_default();
        write_text(out, &path);
        out.push(b':');
        match value {
            Some(value) => write_value(out, value, context),
            None => out.extend_from_slice(b"{\"$delete\":true}"),
        }
    });
    out.push(b'}');
}

type Step<'a> = (Vec<&'a str>, Option<&'a Value>);

fn differences<'a>(before: &'a Map, after: &'a Map, names: &mut Vec<&'a str>, steps: &mut Vec<Step<'a>>) {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let all: std::collections::BTreeSet<&str> = after.keys().chain(gone).map(AsRef::as_ref).collect();
    for name in all {
        names.push(name);
        match (before.get(name), after.get(name)) {
            (Some(Value::Map(before)), Some(Value::Map(after))) => differences(before, after, names, steps),
            (before, after) if before != after => steps.push((names.clone(), after)),
            _ => {}
        }
        names.pop();
    }
}

/// Appends the numbers of a query that asks for some, as an object of their names.
pub(crate) fn write_aggregates(out: &mut Vec<u8>, query: &Query, values: &[Value], context: &Context<'_>) {
    out.push(b'{');
    separated(out, query.aggregates().iter().zip(values), |out, (aggregate, value)| {
        write_text(out, &crate::query_json::aggregate_name(aggregate));
        out.push(b':');
        write_value(out, value, context);
    });
    out.push(b'}');
}

/// A whole result as an event in which everything was added; in parts where it is large, encoded one by one.
pub(crate) struct Parts {
    query: Arc<Query>,
    database: DatabaseName,
    answer: Answer,
    reset: bool,
    told: usize,
    parts: usize,
    done: bool,
    docs_max: usize,
    bytes_max: usize,
}

impl Parts {
    /// Most documents of one part.
    const DOCS_MAX: usize = 1_000;
    /// A part ends with the document that takes it over so many bytes, as document sizes are counted.
    const BYTES_MAX: usize = 1 << 20;

    pub(crate) fn new(query: Arc<Query>, database: DatabaseName, answer: Answer, reset: bool) -> Self {
        let (docs_max, bytes_max) = (Self::DOCS_MAX, Self::BYTES_MAX);
        Self { query, database, answer, reset, told: 0, parts: 0, done: false, docs_max, bytes_max }
    }

    /// The whole event, in one.
    pub(crate) fn whole(mut self) -> Vec<u8> {
        (self.docs_max, self.bytes_max) = (usize::MAX, usize::MAX);
        self.next().map(|part| part.members).unwrap_or_default()
    }

    /// Where a reader goes on who has heard all parts.
    pub(crate) fn token(&self) -> Token {
        self.answer.token
    }
}

/// One part of an event.
pub(crate) struct Part {
    /// Its members, without braces.
    pub(crate) members: Vec<u8>,
    /// Whether it is the last one, which bears the token.
    pub(crate) last: bool,
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        if self.done {
            return None;
        }
        let context = Context::new(&self.database);
        let (docs, mut bytes) = (&self.answer.docs, 0);
        let in_part = docs[self.told..].iter().take(self.docs_max).take_while(|doc| {
            let fits = bytes < self.bytes_max;
            bytes += size::document_bytes(&doc.path, &doc.fields);
            fits
        });
        let end = self.told + in_part.count();
        self.done = end == docs.len();
        self.parts += 1;
        let mut out = Vec::with_capacity(bytes + 256);
        print(&mut out, format_args!("\"version\":\"{}\"", self.answer.version));
        if self.done {
            print(&mut out, format_args!(",\"token\":\"{}\"", self.answer.token));
        }
        print(&mut out, format_args!(",\"reset\":{}", self.reset));
        if let Some(values) = &self.answer.aggregates {
            self.done = true;
            out.extend_from_slice(b",\"aggregates\":");
            write_aggregates(&mut out, &self.query, values, &context);
            return Some(Part { members: out, last: true });
        }
        print(&mut out, format_args!(",\"size\":{end}"));
        if !self.done || self.parts > 1 {
            print(&mut out, format_args!(",\"part\":{},\"more\":{}", self.parts, !self.done));
        }
        out.extend_from_slice(b",\"changes\":[");
        separated(&mut out, (self.told..).zip(&docs[self.told..end]), |out, (at, doc)| {
            out.extend_from_slice(b"{\"type\":\"added\",\"doc\":");
            write_document(out, doc, &self.query.project(doc), &context);
            print(out, format_args!(",\"from\":-1,\"to\":{at}}}"));
        });
        out.push(b']');
        self.told = end;
        Some(Part { members: out, last: self.done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{any_value, database};
    use expect_test::expect;
    use hearth_core::{Version, value};
    use proptest::prelude::*;
    use serde_json::json;

    fn fields(json: serde_json::Value) -> Map {
        super::super::to_fields(&json, &Context::new(&database())).unwrap()
    }

    fn patch(before: &Map, after: &Map) -> String {
        let mut out = Vec::new();
        write_patch(&mut out, before, after, &Context::new(&database()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_patch_names_what_changed_and_nothing_else() {
        let before = fields(json!({"a": 1, "m": {"x": 1, "y": 2}, "gone": 1, "same": [1], "kind": {"x": 1}}));
        let after = fields(
            json!({"a": 1.0, "m": {"x": 1, "y z": 3}, "same": [1], "new": {"$map": {"$delete": true}}, "kind": 1}),
        );
        expect![[r#"{"a":1.0,"gone":{"$delete":true},"kind":1,"m.y":{"$delete":true},"m.`y z`":3,"new":{"$map":{"$delete":true}}}"#]]
            .assert_eq(&patch(&before, &after));
        assert_eq!(patch(&after, &after), "{}");
    }

    #[test]
    fn a_large_result_comes_in_parts_and_the_last_bears_the_token() {
        let source = hearth_core::query::Source::Collection(hearth_core::CollectionPath::parse("c").unwrap());
        let query = Arc::new(Query::build(hearth_core::query::QuerySpec::all(source)).unwrap());
        let doc = |at: usize| {
            let path = DocPath::parse(&format!("c/{at:04}")).unwrap();
            Arc::new(Document {
                path,
                fields: Map::new(),
                created: Version::from_micros(1),
                updated: Version::from_micros(2),
            })
        };
        let token = hearth_engine::Token { version: Version::from_micros(9), epoch: 1, query: 2 };
        let answer = |count: usize| Answer {
            version: token.version,
            token,
            docs: (0..count).map(doc).collect(),
            aggregates: None,
            more: false,
            scanned: 0,
            read: 0,
            micros: 0,
        };
        let texts = |count| -> Vec<String> {
            let parts = Parts::new(query.clone(), database(), answer(count), false);
            parts.map(|part| String::from_utf8(part.members).unwrap()).collect()
        };
        assert_eq!(texts(0), [format!(r#""version":"9","token":"{token}","reset":false,"size":0,"changes":[]"#)]);
        expect![[r#""version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","reset":false,"size":1,"changes":[{"type":"added","doc":{"path":"c/0000","data":{},"created":"1","updated":"2"},"from":-1,"to":0}]"#]]
            .assert_eq(&texts(1)[0]);
        let large = texts(1_001);
        assert_eq!(large.len(), 2);
        assert!(large[0].starts_with(r#""version":"9","reset":false,"size":1000,"part":1,"more":true,"changes":["#));
        assert!(large[1].starts_with(&format!(
            r#""version":"9","token":"{token}","reset":false,"size":1001,"part":2,"more":false,"changes":["#
        )));
        assert!(large[1].ends_with(r#""from":-1,"to":1000}]"#));
    }

    proptest! {
        #[test]
        fn a_patch_makes_the_new_of_the_old(
            before in proptest::collection::btree_map("[a-c. ]{1,2}".prop_map(Box::from), any_value(), 0..4),
            after in proptest::collection::btree_map("[a-c. ]{1,2}".prop_map(Box::from), any_value(), 0..4),
        ) {
            let mut steps = Vec::new();
            differences(&before, &after, &mut Vec::new(), &mut steps);
            let mut patched = before.clone();
            for (names, new) in steps {
                let path = FieldPath::from_names(names).unwrap();
                match new {
                    Some(new) => value::insert(&mut patched, &path, new.clone()),
                    None => drop(value::remove(&mut patched, &path)),
                }
            }
            prop_assert_eq!(patched, after);
        }
    }
}
