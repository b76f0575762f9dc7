//! Writes: from JSON to what the engine commits, and what came of it back to JSON.

use hearth_core::decide::DocumentRead;
use hearth_core::entry::RequestKey;
use hearth_core::write::{Operation, Precondition, Write, WriteResult};
use hearth_core::{DocPath, FieldPath, Id};
use hearth_engine::CommitRequest;
use serde_json::Value as Json;

use crate::json::{Context, JsonError, Shape, Written, kind, separated, to_written, write_value};
use crate::params::parse_version;
use crate::problem::Problem;

/// Longest idempotency key, in characters.
pub const KEY_CHARACTERS_MAX: usize = 64;

/// Reads `{"writes": […], "reads": {…}, "key": "…"}`.
pub fn to_commit(json: &Json, context: &Context<'_>) -> Result<CommitRequest, Problem> {
    let Json::Object(members) = json else {
        return Err(Problem::invalid(format!("a commit is an object, this is {}", kind(json))));
    };
    if let Some(name) = members.keys().find(|name| !["writes", "reads", "key"].contains(&name.as_str())) {
        return Err(Problem::json("", JsonError::new("this is not a member of a commit").within(name)));
    }
    let key = match members.get("key") {
        None | Some(Json::Null) => None,
        Some(Json::String(key)) => Some(key.as_str()),
        Some(other) => {
            return Err(Problem::invalid(format!("text is expected, this is {}", kind(other))).at("/key"));
        }
    };
    read_commit(members.get("writes"), members.get("reads"), key, context)
}

/// Reads the members of a commit. Faults are told with pointers into the object that holds them.
pub fn read_commit(
    writes: Option<&Json>,
    reads: Option<&Json>,
    key: Option<&str>,
    context: &Context<'_>,
) -> Result<CommitRequest, Problem> {
    let items = match writes {
        Some(Json::Array(items)) => items.as_slice(),
        None | Some(Json::Null) => return Err(Problem::invalid("writes are expected").at("/writes")),
        Some(other) => {
            return Err(Problem::invalid(format!("an array is expected, this is {}", kind(other))).at("/writes"));
        }
    };
    let mut built = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("/writes/{index}");
        built.push(write(item, context).map_err(|fault| fault.at(&pointer))?);
    }
    let read = match reads {
        None | Some(Json::Null) => Vec::new(),
        Some(reads) => self::reads(reads).map_err(|error| Problem::json("/reads", error))?,
    };
    let key = match key {
        None => None,
        Some(key) => {
            let request = [writes, reads].map(|part| part.unwrap_or(&Json::Null).to_string());
            Some(
                request_key(key, &[b"commit", request[0].as_bytes(), request[1].as_bytes()])
                    .map_err(|p| p.at("/key"))?,
            )
        }
    };
    Ok(CommitRequest { key, reads: read, queries: Vec::new(), writes: built })
}

/// An idempotency key, bound to what was asked under it.
pub(crate) fn request_key(key: &str, request: &[&[u8]]) -> Result<RequestKey, Problem> {
    if !(1..=KEY_CHARACTERS_MAX).contains(&key.chars().count()) {
        return Err(Problem::invalid(format!("an idempotency key has 1 to {KEY_CHARACTERS_MAX} characters")));
    }
    Ok(RequestKey { key: key.into(), request: hash64(request) })
}

/// Tells what was asked from what was asked otherwise; the same in every release.
pub(crate) fn hash64(parts: &[&[u8]]) -> u64 {
    let hash = hash(parts);
    (hash >> 64) as u64 ^ hash as u64
}

/// The id of a document that is created under an idempotency key: the same for the same key, so that a repetition
/// means the same document. As hard to meet by chance as a fresh one.
pub(crate) fn keyed_id(parts: &[&[u8]]) -> Id {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut left = hash(parts);
    let text: String = (0..20)
        .map(|_| {
            let letter = LETTERS[(left % 62) as usize];
            left /= 62;
            letter as char
        })
        .collect();
    Id::parse(&text).expect("letters and digits make an id")
}

/// FNV-1a over parts and their lengths, with its bits mixed. Not for secrets; the same in every release, since it is stored.
/// Source: the FNV hash by Fowler, Noll and Vo, 128 bits.
fn hash(parts: &[&[u8]]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let eat = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    let hash = parts.iter().fold(OFFSET, |hash, part| {
        let hash = (part.len() as u64).to_be_bytes().into_iter().fold(hash, eat);
        part.iter().copied().fold(hash, eat)
    });
    let mixed = (hash ^ (hash >> 67)).wrapping_mul(PRIME | 1 << 90);
    mixed ^ (mixed >> 61)
}

fn reads(json: &Json) -> Result<Vec<DocumentRead>, JsonError> {
    let Json::Object(reads) = json else {
        return Err(JsonError::new(format!("an object of paths is expected, this is {}", kind(json))));
    };
    let read = |(path, updated): (&String, &Json)| {
        let path = DocPath::parse(path).map_err(|error| JsonError::new(error.to_string()))?;
        let updated = match updated {
            Json::Null => None,
            Json::String(text) => Some(version(text)?),
            _ => return Err(JsonError::new("a version or null is expected")),
        };
        Ok(DocumentRead { path, updated })
    };
    reads.iter().map(|entry| read(entry).map_err(|error| error.within(entry.0))).collect()
}

fn version(text: &str) -> Result<hearth_core::Version, JsonError> {
    parse_version(text).ok_or_else(|| JsonError::new(format!("{text:?} is not a version")))
}

/// What is wrong with a write: its JSON, or what it would do.
enum Fault {
    Json(JsonError),
    Other(Problem),
}

impl Fault {
    fn at(self, pointer: &str) -> Problem {
        match self {
            Self::Json(error) => Problem::json(pointer, error),
            Self::Other(problem) => problem.at(pointer),
        }
    }
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<hearth_core::write::WriteShapeError> for Fault {
    fn from(error: hearth_core::write::WriteShapeError) -> Self {
        Self::Other(error.into())
    }
}

/// What a write is called.
const OPERATIONS: [&str; 5] = ["set", "update", "create", "delete", "verify"];

fn write(json: &Json, context: &Context<'_>) -> Result<Write, Fault> {
    let Json::Object(members) = json else {
        return Err(JsonError::new(format!("a write is an object, this is {}", kind(json))).into());
    };
    let mut named = OPERATIONS.iter().filter_map(|name| members.get(*name).map(|path| (*name, path)));
    let (Some((operation, path)), None) = (named.next(), named.next()) else {
        return Err(JsonError::new("exactly one of set, update, create, delete and verify is expected").into());
    };
    let takes: &[&str] = match operation {
        "set" => &["data", "merge", "if"],
        "update" | "create" => &["data", "if"],
        _ => &["if"],
    };
    if let Some(name) = members.keys().find(|name| *name != operation && !takes.contains(&name.as_str())) {
        return Err(JsonError::new(format!("this is not a member of a {operation}")).within(name).into());
    }
    let path = path.as_str().ok_or_else(|| format!("a path is expected, this is {}", kind(path)));
    let path = path.and_then(|path| DocPath::parse(path).map_err(|error| error.to_string()));
    let path = path.map_err(|detail| JsonError::new(detail).within(operation))?;
    let condition = match members.get("if") {
        None | Some(Json::Null) => None,
        Some(json) => Some(precondition(json).map_err(|error| error.within("if"))?),
    };
    let data = |shape| {
        let data = members.get("data").ok_or_else(|| JsonError::new("data is expected"))?;
        to_written(data, shape, context).map_err(|error| error.within("data"))
    };
    let contradicts =
        || JsonError::new(format!("a {operation} has its own condition, which this contradicts")).within("if");
    let write = match operation {
        "set" => {
            let condition = condition.unwrap_or(Precondition::None);
            match members.get("merge") {
                None | Some(Json::Null | Json::Bool(false)) => set(path, data(Shape::Whole)?, condition)?,
                Some(Json::Bool(true)) => merge(path, data(Shape::Merge)?, condition)?,
                Some(list) => {
                    let paths = merge_paths(list).map_err(|error| error.within("merge"))?;
                    let written = narrow(data(Shape::Merge)?, &paths).map_err(|error| error.within("merge"))?;
                    merge(path, written, condition)?
                }
            }
        }
        "update" => match condition {
            Some(Precondition::Exists(false)) => return Err(contradicts().into()),
            condition => merge(path, data(Shape::Update)?, condition.unwrap_or(Precondition::Exists(true)))?,
        },
        "create" => match condition {
            None | Some(Precondition::Exists(false)) => set(path, data(Shape::Whole)?, Precondition::Exists(false))?,
            Some(_) => return Err(contradicts().into()),
        },
        "delete" => Write::build(path, Operation::Delete, condition.unwrap_or(Precondition::None), Vec::new())?,
        _ => {
            let condition = condition.ok_or_else(|| JsonError::new("a verify needs an \"if\""))?;
            Write::build(path, Operation::Verify, condition, Vec::new())?
        }
    };
    Ok(write)
}

/// A write of a whole document.
pub(crate) fn set(
    path: DocPath,
    written: Written,
    condition: Precondition,
) -> Result<Write, hearth_core::write::WriteShapeError> {
    Write::build(path, Operation::Set(written.fields), condition, written.transforms)
}

/// A write of the fields that are named, as a merge or an update has them.
pub(crate) fn merge(
    path: DocPath,
    written: Written,
    condition: Precondition,
) -> Result<Write, hearth_core::write::WriteShapeError> {
    let Written { fields, mask, transforms } = written;
    Write::build(path, Operation::Merge { fields, mask }, condition, transforms)
}

fn precondition(json: &Json) -> Result<Precondition, JsonError> {
    let Some((name, inner)) =
        json.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next())
    else {
        return Err(JsonError::new("{\"exists\": true}, {\"exists\": false} or {\"updated\": version} is expected"));
    };
    match (name.as_str(), inner) {
        ("exists", Json::Bool(exists)) => Ok(Precondition::Exists(*exists)),
        ("updated", Json::String(text)) => {
            version(text).map(Precondition::Updated).map_err(|error| error.within("updated"))
        }
        ("exists", _) => Err(JsonError::new("true or false is expected").within("exists")),
        ("updated", _) => Err(JsonError::new("a version is expected").within("updated")),
        _ => Err(JsonError::new("this is not a condition").within(name)),
    }
}

fn merge_paths(json: &Json) -> Result<Vec<FieldPath>, JsonError> {
    let Json::Array(items) = json else {
        return Err(JsonError::new(format!("true or an array of field paths is expected, this is {}", kind(json))));
    };
    let paths = items.iter().enumerate().map(|(index, item)| {
        let path = item.as_str().ok_or_else(|| JsonError::new("a field path is expected"));
        let path = path.and_then(|path| FieldPath::parse(path).map_err(|error| JsonError::new(error.to_string())));
        path.map_err(|error| error.at_index(index))
    });
    paths.collect()
}

/// What a merge of only these paths writes. Each must be in the data, as a value, a deletion or a transform.
fn narrow(written: Written, paths: &[FieldPath]) -> Result<Written, JsonError> {
    let Written { fields, mask, mut transforms } = written;
    for (index, path) in paths.iter().enumerate() {
        let there = hearth_core::value::lookup(&fields, path).is_some()
            || mask.contains(path)
            || transforms.iter().any(|transform| transform.path == *path);
        if !there {
            return Err(JsonError::new(format!("the data has no field {path}")).at_index(index));
        }
    }
    transforms.retain(|transform| paths.iter().any(|path| path.is_prefix_of(&transform.path)));
    let is_transform = |path: &FieldPath| transforms.iter().any(|transform| transform.path == *path);
    let mask = paths.iter().filter(|path| !is_transform(path)).cloned().collect();
    Ok(Written { fields, mask, transforms })
}

/// What each write of a commit came to, as a JSON array.
pub fn results_json(results: &[WriteResult], context: &Context<'_>) -> Vec<u8> {
    let mut out = vec![b'['];
    separated(&mut out, results, |out, result| {
        out.push(b'{');
        if let Some(updated) = result.updated {
            crate::json::print(out, format_args!("\"updated\":\"{updated}\""));
        }
        if !result.transforms.is_empty() {
            out.extend_from_slice(if result.updated.is_some() { b",\"transforms\":[" } else { b"\"transforms\":[" });
            separated(out, &result.transforms, |out, value| write_value(out, value, context));
            out.push(b']');
        }
        out.push(b'}');
    });
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::database;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(writes: Json, want: Expect) {
        let database = database();
        want.assert_eq(&match to_commit(&json!({ "writes": writes }), &Context::new(&database)) {
            Err(problem) => format!("{}: {}", problem.at.unwrap_or_default(), problem.detail),
            Ok(commit) => {
                let print = |write: &Write| {
                    let transforms: Vec<_> = write.transforms().iter().map(|t| t.path.to_string()).collect();
                    let operation = match write.operation() {
                        Operation::Set(fields) => format!("set {fields:?}"),
                        Operation::Merge { fields, mask } => {
                            let mask: Vec<_> = mask.iter().map(ToString::to_string).collect();
                            format!("merge {fields:?} of {mask:?}")
                        }
                        other => format!("{other:?}"),
                    };
                    format!("{} {operation} {transforms:?} if {:?}", write.path(), write.precondition())
                };
                commit.writes.iter().map(print).collect::<Vec<_>>().join("\n")
            }
        });
    }

    #[test]
    fn each_operation_has_its_own_condition() {
        check(json!([{"set": "a/b", "data": {"n": 1}}]), expect![[r#"a/b set {"n": Integer(1)} [] if None"#]]);
        check(json!([{"create": "a/b", "data": {}}]), expect!["a/b set {} [] if Exists(false)"]);
        check(
            json!([{"update": "a/b", "data": {"m.n": 1}}]),
            expect![[r#"a/b merge {"m": Map({"n": Integer(1)})} of ["m.n"] [] if Exists(true)"#]],
        );
        check(json!([{"delete": "a/b", "if": {"updated": "7"}}]), expect!["a/b Delete [] if Updated(Version(7))"]);
        check(json!([{"verify": "a/b", "if": {"exists": false}}]), expect!["a/b Verify [] if Exists(false)"]);
        check(json!([{"verify": "a/b"}]), expect![[r#"/writes/0: a verify needs an "if""#]]);
        check(
            json!([{"update": "a/b", "data": {}, "if": {"exists": false}}]),
            expect!["/writes/0/if: a update has its own condition, which this contradicts"],
        );
    }

    #[test]
    fn a_merge_writes_leaves_or_only_what_it_names() {
        check(
            json!([{"set": "a/b", "data": {"m": {"n": 1}, "d": {"$delete": true}}, "merge": true}]),
            expect![[r#"a/b merge {"m": Map({"n": Integer(1)})} of ["d", "m.n"] [] if None"#]],
        );
        check(
            json!([{"set": "a/b", "data": {"m": {"n": 1, "t": {"$increment": 1}}, "x": 2, "u": {"$increment": 1}}, "merge": ["m"]}]),
            expect![[r#"a/b merge {"m": Map({"n": Integer(1)}), "x": Integer(2)} of ["m"] ["m.t"] if None"#]],
        );
        check(
            json!([{"set": "a/b", "data": {"x": 1}, "merge": ["x", "y"]}]),
            expect!["/writes/0/merge/1: the data has no field y"],
        );
    }

    #[test]
    fn a_fault_is_told_with_the_writes_pointer() {
        check(
            json!([{"set": "a/b", "data": {"n": 1}}, {"set": "a", "data": {}}]),
            expect![[r#"/writes/1/set: "a" has 1 segments; a document's path has an even number of them"#]],
        );
        check(
            json!([{"set": "a/b", "data": {"n": {"$foo": 1}}}]),
            expect![[
                r#"/writes/0/data/n/$foo: "$foo" is not a type; a map with this one key is written {"$map": {…}}"#
            ]],
        );
        check(json!([{"set": "a/b"}]), expect!["/writes/0: data is expected"]);
        check(
            json!([{"set": "a/b", "update": "a/b", "data": {}}]),
            expect!["/writes/0: exactly one of set, update, create, delete and verify is expected"],
        );
        check(json!([{"delete": "a/b", "data": {}}]), expect!["/writes/0/data: this is not a member of a delete"]);
        check(
            json!([{"update": "a/b", "data": {"a": 1, "a.b": 2}}]),
            expect!["/writes/0: a/b: the fields a and a.b overlap; name one of them"],
        );
        check(json!({}), expect!["/writes: an array is expected, this is an object"]);
    }

    #[test]
    fn a_key_is_bound_to_its_request() {
        let database = database();
        let context = Context::new(&database);
        let key = |json: Json| to_commit(&json, &context).unwrap().key.unwrap();
        let first = json!({"writes": [{"delete": "a/b"}], "key": "k"});
        assert_eq!(key(first.clone()), key(first.clone()));
        assert_ne!(key(first), key(json!({"writes": [{"delete": "a/c"}], "key": "k"})));
        let long = json!({"writes": [], "key": "é".repeat(65)});
        assert_eq!(to_commit(&long, &context).unwrap_err().at.as_deref(), Some("/key"));
    }

    #[test]
    fn the_hash_of_a_request_stays_as_it_is() {
        expect!["13e96b1725d89275"]
            .assert_eq(&format!("{:x}", request_key("k", &[b"PUT", b"/db/a/b"]).unwrap().request));
        expect!["HI9fGrRiSLHn8nxY8kbz"].assert_eq(keyed_id(&[b"anonymous", b"k", b"a"]).as_str());
        assert_ne!(keyed_id(&[b"a", b"bc"]), keyed_id(&[b"ab", b"c"]));
    }

    #[test]
    fn results_tell_what_the_document_is_now() {
        let database = database();
        let results = [
            WriteResult {
                updated: Some(hearth_core::Version::from_micros(7)),
                transforms: vec![hearth_core::Value::Integer(2)],
            },
            WriteResult { updated: None, transforms: Vec::new() },
        ];
        let text = results_json(&results, &Context::new(&database));
        expect![[r#"[{"updated":"7","transforms":[2]},{}]"#]].assert_eq(std::str::from_utf8(&text).unwrap());
    }
}
