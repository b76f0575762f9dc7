//! A result kept current from events, as a client keeps it. It believes no event that contradicts it.

use serde_json::{Map, Value};

use crate::check_schema;

/// What a listener knows. [`Fold::apply`] panics with the event where that breaks a promise of the protocol.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// The documents in their order.
    pub docs: Vec<Value>,
    /// The last aggregates, of a query that asks for some.
    pub aggregates: Option<Value>,
    /// The version that this is the state of.
    pub version: u64,
    /// Where to resume.
    pub token: Option<String>,
    /// How many changes came.
    pub changes: usize,
    /// How many events said that what was known is void.
    pub resets: usize,
    fresh: bool,
    part: u64,
    /// What was known before the event of which parts have come.
    whole: Option<Box<Fold>>,
}

impl Fold {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self { fresh: true, ..Self::default() }
    }

    /// The connection was lost: the next event may be of the version that is known, and half an event is forgotten.
    pub fn reopen(&mut self) {
        if let Some(whole) = self.whole.take() {
            *self = *whole;
        }
        self.fresh = true;
    }

    /// Takes an event, bare or as a `snapshot` message.
    #[track_caller]
    pub fn apply(&mut self, event: &Value) {
        let mut bare = event.clone();
        let members = bare.as_object_mut().expect("an event is an object");
        if members.remove("ev").is_some() {
            members.remove("id");
        }
        check_schema("event", &bare);
        if event["more"] == true && self.whole.is_none() {
            self.whole = Some(Box::new(self.clone()));
        }
        let version = number(&event["version"]);
        let later_part = self.part > 0;
        match (self.fresh, later_part) {
            (true, false) => assert!(version >= self.version, "versions go back from {}: {event}", self.version),
            (_, true) => assert_eq!(version, self.version, "the parts of an event are of several versions: {event}"),
            (false, false) => assert!(version > self.version, "versions do not rise from {}: {event}", self.version),
        }
        (self.version, self.fresh) = (version, false);
        if let Some(part) = event["part"].as_u64() {
            assert_eq!(part, self.part + 1, "a part is missing: {event}");
        }
        self.part = if event["more"] == true { self.part + 1 } else { 0 };
        if event["reset"] == true && !later_part {
            self.resets += 1;
            self.docs.clear();
        }
        if event["more"] != true {
            self.whole = None;
        }
        assert_eq!(event.get("token").is_some(), event["more"] != true, "a token is for what is whole: {event}");
        if let Some(token) = event["token"].as_str() {
            self.token = Some(token.into());
        }
        if let Some(aggregates) = event.get("aggregates") {
            self.aggregates = Some(aggregates.clone());
            return;
        }
        for change in event["changes"].as_array().expect("checked by the schema") {
            self.change(change);
        }
        assert_eq!(event["size"], self.docs.len(), "the size is another: {event}");
    }

    #[track_caller]
    fn change(&mut self, change: &Value) {
        self.changes += 1;
        let (from, to) = (change["from"].as_i64(), change["to"].as_i64());
        let before = match usize::try_from(from.expect("a position")) {
            Ok(from) => {
                assert!(from < self.docs.len(), "nothing stands at {from}: {change}");
                let before = self.docs.remove(from);
                assert_eq!(before["path"], change["doc"]["path"], "another document stands there: {change}");
                Some(before)
            }
            Err(_) => None,
        };
        let Ok(to) = usize::try_from(to.expect("a position")) else { return };
        assert!(to <= self.docs.len(), "{to} lies behind the end: {change}");
        let after = match (change.get("patch"), before) {
            (Some(patch), Some(before)) => patched(before, &change["doc"], patch),
            (None, Some(before)) => {
                assert!(number(&change["doc"]["updated"]) > number(&before["updated"]), "no newer: {change}");
                change["doc"].clone()
            }
            (_, None) => {
                let path = &change["doc"]["path"];
                assert!(self.docs.iter().all(|doc| doc["path"] != *path), "added twice: {change}");
                change["doc"].clone()
            }
        };
        self.docs.insert(to, after);
    }

    /// The last segments of the documents' paths.
    pub fn ids(&self) -> Vec<String> {
        ids(&self.docs)
    }
}

/// The last segments of the paths of these documents.
#[track_caller]
pub fn ids(docs: &[Value]) -> Vec<String> {
    docs.iter()
        .map(|doc| {
            let path = doc["path"].as_str().unwrap_or_else(|| panic!("no document: {doc}"));
            path.rsplit('/').next().unwrap_or(path).to_owned()
        })
        .collect()
}

/// A version as a number.
#[track_caller]
pub fn number(version: &Value) -> u64 {
    version.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no version: {version}"))
}

fn patched(mut doc: Value, meta: &Value, patch: &Value) -> Value {
    doc["updated"] = meta["updated"].clone();
    for (path, value) in patch.as_object().expect("checked by the schema") {
        // The fields of our tests have plain names.
        let mut names: Vec<&str> = path.split('.').collect();
        let last = names.pop().expect("a path has a name");
        let mut map: &mut Map<String, Value> = doc["data"].as_object_mut().expect("checked by the schema");
        for name in names {
            map = map.entry(name).or_insert_with(|| Map::new().into()).as_object_mut().expect("a patch goes into maps");
        }
        if *value == serde_json::json!({ "$delete": true }) {
            map.remove(last);
        } else {
            map.insert(last.into(), value.clone());
        }
    }
    doc
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn doc(id: &str, version: &str, n: i64) -> Value {
        json!({"path": format!("c/{id}"), "data": {"n": n, "m": {"a": 1}}, "created": "1", "updated": version})
    }

    #[test]
    fn changes_are_applied_in_sequence() {
        let mut fold = Fold::new();
        fold.apply(&json!({"version": "5", "token": "t", "reset": false, "size": 2, "changes": [
            {"type": "added", "doc": doc("a", "5", 1), "from": -1, "to": 0},
            {"type": "added", "doc": doc("b", "5", 2), "from": -1, "to": 0},
        ]}));
        assert_eq!(fold.ids(), ["b", "a"]);
        fold.apply(&json!({"version": "6", "token": "u", "reset": false, "size": 1, "changes": [
            {"type": "removed", "doc": {"path": "c/b"}, "from": 0, "to": -1},
            {"type": "modified", "doc": {"path": "c/a", "updated": "6"}, "patch": {"m.b": 7, "n": {"$delete": true}}, "from": 0, "to": 0},
        ]}));
        assert_eq!(fold.docs[0]["data"], json!({"m": {"a": 1, "b": 7}}));
        assert_eq!((fold.token.as_deref(), fold.changes), (Some("u"), 4));
    }

    #[test]
    fn parts_that_are_cut_off_leave_what_was_known() {
        let mut fold = Fold::new();
        let added = |id: &str, to: i64| json!({"type": "added", "doc": doc(id, "5", 1), "from": -1, "to": to});
        fold.apply(&json!({"version": "5", "token": "t", "reset": false, "size": 1, "changes": [added("a", 0)]}));
        let removed = json!({"type": "removed", "doc": {"path": "c/a"}, "from": 0, "to": -1});
        fold.reopen();
        fold.apply(&json!({"version": "9", "reset": false, "size": 0, "part": 1, "more": true, "changes": [removed]}));
        assert_eq!((fold.docs.len(), fold.token.as_deref()), (0, Some("t")));
        fold.reopen();
        assert_eq!((fold.ids(), fold.version, fold.changes), (vec!["a".to_owned()], 5, 1));
    }

    #[test]
    #[should_panic(expected = "versions do not rise")]
    fn an_event_that_comes_twice_is_noticed() {
        let event = json!({"version": "5", "token": "t", "reset": false, "size": 0, "changes": []});
        let mut fold = Fold::new();
        fold.apply(&event);
        fold.apply(&event);
    }

    #[test]
    #[should_panic(expected = "another document stands there")]
    fn a_gap_is_noticed() {
        let mut fold = Fold { docs: vec![doc("a", "5", 1)], ..Fold::new() };
        fold.apply(&json!({"version": "6", "token": "t", "reset": false, "size": 0, "changes": [
            {"type": "removed", "doc": {"path": "c/b"}, "from": 0, "to": -1}]}));
    }
}
