//! Events as JSON: how a result changed, for everyone who hears of it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hearth_core::query::Query;
use hearth_core::watch::{EventChange, Kind};
use hearth_core::{DatabaseName, DocPath, Document, FieldPath, Map, Value, Version};
use hearth_engine::{Format, Part, SharedEvent, Token};

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

/// The members of one part of a difference. With `before`, patches stand in place of modified documents.
pub(crate) fn part_members(part: &Part, before: Option<&Before>, database: &DatabaseName) -> Bytes {
    let format = if before.is_some() { Format::NativePatch } else { Format::NativeJson };
    part.event.encoded(format, |event| {
        let mut out = Vec::new();
        let none = Before::new();
        write_members(&mut out, event, before.unwrap_or(&none), Some(part), &Context::new(database));
        out.into()
    })
}

/// Appends the changes of a part, with commas between them.
pub(crate) fn write_changes(out: &mut Vec<u8>, part: &Part, before: Option<&Before>, context: &Context<'_>) {
    let SharedEvent { query, event, .. } = &*part.event;
    separated(out, &event.changes, |out, change| {
        write_change(out, change, query, before.and_then(|before| before.get(&change.path)), context);
    });
}

/// The members of an event with patches in place of modified documents; made once for all who hear it.
///
/// A document that `before` lacks is told whole.
pub(crate) fn patch_members(event: &SharedEvent, before: &Before, database: &DatabaseName) -> Bytes {
    event.encoded(Format::NativePatch, |event| {
        let mut out = Vec::new();
        write_members(&mut out, event, before, None, &Context::new(database));
        out.into()
    })
}

/// Appends the members of an event, without braces.
pub fn write_event(out: &mut Vec<u8>, event: &SharedEvent, context: &Context<'_>) {
    write_members(out, event, &Before::new(), None, context);
}

fn write_members(out: &mut Vec<u8>, event: &SharedEvent, before: &Before, part: Option<&Part>, context: &Context<'_>) {
    let SharedEvent { query, token, event, .. } = event;
    let token = part.is_none_or(|part| part.last).then_some(token);
    write_head(out, event.version, token, false);
    if let Some(values) = &event.aggregates {
        out.extend_from_slice(b",\"aggregates\":");
        return write_aggregates(out, query, values, context);
    }
    print(out, format_args!(",\"size\":{}", event.size));
    if let Some(part) = part.filter(|part| !part.is_whole()) {
        print(out, format_args!(",\"part\":{},\"more\":{}", part.number, !part.last));
    }
    out.extend_from_slice(b",\"changes\":[");
    separated(out, &event.changes, |out, change| write_change(out, change, query, before.get(&change.path), context));
    out.push(b']');
}

/// Appends what every event begins with; the token stands on its last part.
pub(crate) fn write_head(out: &mut Vec<u8>, version: Version, token: Option<&Token>, reset: bool) {
    print(out, format_args!("\"version\":\"{version}\""));
    if let Some(token) = token {
        print(out, format_args!(",\"token\":\"{token}\""));
    }
    print(out, format_args!(",\"reset\":{reset}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::{any_value, database};
    use expect_test::expect;
    use hearth_core::value;
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
