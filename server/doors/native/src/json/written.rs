//! The data of a write: fields, and what changes them where they stand (`{"$increment": 1}`, `{"$delete": true}`).

use std::borrow::Cow;

use hearth_core::write::{FieldTransform, Transform};
use hearth_core::{FieldPath, Map, Value, value};
use serde_json::Value as Json;

use super::read::{self, TRANSFORMS, check_name, object, tag, too_deep};
use super::{Context, JsonError, kind};

/// What kind of write the data belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The whole document, as set and create take it. Nothing to delete.
    Whole,
    /// A merge: every leaf is written, the rest stays.
    Merge,
    /// An update: the outermost names are field paths.
    Update,
}

/// The data of a write, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// The values.
    pub fields: Map,
    /// The paths that a merge or an update sets, or deletes where `fields` has nothing there. Empty for a whole document.
    pub mask: Vec<FieldPath>,
    /// What is worked out from the stored value.
    pub transforms: Vec<FieldTransform>,
}

/// Reads the data of a write.
pub fn to_written(json: &Json, shape: Shape, context: &Context<'_>) -> Result<Written, JsonError> {
    let data = object(json)?;
    let mut walk = Walk { context, shape, names: Vec::new(), key_names: 0, mask: Vec::new(), transforms: Vec::new() };
    let mut fields = Map::new();
    if shape == Shape::Update {
        for (key, json) in data {
            walk.update(key, json, &mut fields).map_err(|error| error.within(key))?;
        }
    } else {
        fields = walk.map(data, 0)?;
    }
    Ok(Written { fields, mask: walk.mask, transforms: walk.transforms })
}

/// The way through the data, with the names that led here.
struct Walk<'a> {
    context: &'a Context<'a>,
    shape: Shape,
    names: Vec<Cow<'a, str>>,
    /// In an update: how many of the names are its key.
    key_names: usize,
    mask: Vec<FieldPath>,
    transforms: Vec<FieldTransform>,
}

impl<'a> Walk<'a> {
    /// One entry of an update: what stands there replaces what stood there, as a whole.
    fn update(&mut self, key: &str, json: &'a Json, fields: &mut Map) -> Result<(), JsonError> {
        let path = FieldPath::parse(key).map_err(|error| JsonError::new(error.to_string()))?;
        if path.is_name() {
            return Err(JsonError::new("a document's path cannot be changed"));
        }
        self.names = path.names().iter().map(|name| Cow::Owned(name.to_string())).collect();
        self.key_names = self.names.len();
        if let Some(value) = self.field(json, self.key_names - 1)? {
            value::insert(fields, &path, value);
            self.mask.push(path);
        }
        Ok(())
    }

    fn map(&mut self, data: &'a serde_json::Map<String, Json>, depth: usize) -> Result<Map, JsonError> {
        let mut map = Map::new();
        for (name, json) in data {
            check_name(name).map_err(|error| error.within(name))?;
            self.names.push(Cow::Borrowed(name));
            let found = self.field(json, depth).map_err(|error| error.within(name))?;
            self.names.pop();
            if let Some(value) = found {
                map.insert(name.as_str().into(), value);
            }
        }
        Ok(map)
    }

    /// The value of a field that stands inside `depth` maps, or none where something else becomes of it.
    fn field(&mut self, json: &'a Json, depth: usize) -> Result<Option<Value>, JsonError> {
        let Json::Object(data) = json else { return self.leaf(json, depth) };
        match tag(data, self.context) {
            None => self.inner(data, depth),
            Some(("$map", Json::Object(data))) => self.inner(data, depth).map_err(|error| error.within("$map")),
            Some((name, operand)) if TRANSFORMS.contains(&name) => {
                self.transform(name, operand).map(|()| None).map_err(|error| error.within(name))
            }
            Some(_) => self.leaf(json, depth),
        }
    }

    fn inner(&mut self, data: &'a serde_json::Map<String, Json>, depth: usize) -> Result<Option<Value>, JsonError> {
        if depth >= Value::DEPTH_MAX {
            return Err(too_deep());
        }
        if data.is_empty() {
            self.written()?;
        }
        Ok(Some(Value::Map(self.map(data, depth + 1)?)))
    }

    fn leaf(&mut self, json: &Json, depth: usize) -> Result<Option<Value>, JsonError> {
        let value = read::value(json, self.context, depth)?;
        self.written()?;
        Ok(Some(value))
    }

    fn written(&mut self) -> Result<(), JsonError> {
        if self.shape == Shape::Merge {
            let path = self.path()?;
            self.mask.push(path);
        }
        Ok(())
    }

    fn path(&self) -> Result<FieldPath, JsonError> {
        FieldPath::from_names(self.names.iter().map(AsRef::as_ref)).map_err(|error| JsonError::new(error.to_string()))
    }

    fn transform(&mut self, name: &str, operand: &Json) -> Result<(), JsonError> {
        let path = self.path()?;
        let transform = match name {
            "$delete" => {
                only_true(operand)?;
                return self.delete(path);
            }
            "$serverTimestamp" => {
                only_true(operand)?;
                Transform::ServerTimestamp
            }
            "$increment" => Transform::Increment(self.number(operand)?),
            "$max" => Transform::Maximum(self.number(operand)?),
            "$min" => Transform::Minimum(self.number(operand)?),
            "$arrayUnion" => Transform::ArrayUnion(self.elements(operand)?),
            _ => Transform::ArrayRemove(self.elements(operand)?),
        };
        self.transforms.push(FieldTransform { path, transform });
        Ok(())
    }

    fn delete(&mut self, path: FieldPath) -> Result<(), JsonError> {
        match self.shape {
            Shape::Whole => Err(JsonError::new("there is nothing to delete in a write of the whole document")),
            Shape::Update if self.names.len() > self.key_names => Err(JsonError::new(
                "an update deletes by the field's full path, such as {\"a.b\": {\"$delete\": true}}",
            )),
            Shape::Update | Shape::Merge => {
                self.mask.push(path);
                Ok(())
            }
        }
    }

    fn number(&self, json: &Json) -> Result<Value, JsonError> {
        match read::value(json, self.context, 0)? {
            number @ (Value::Integer(_) | Value::Double(_)) => Ok(number),
            _ => Err(JsonError::new(format!("a number is expected, this is {}", kind(json)))),
        }
    }

    fn elements(&self, json: &Json) -> Result<Vec<Value>, JsonError> {
        let Json::Array(items) = json else {
            return Err(JsonError::new(format!("an array is expected, this is {}", kind(json))));
        };
        let depth = self.names.len();
        let elements = items.iter().enumerate();
        elements
            .map(|(index, item)| read::element(item, self.context, depth).map_err(|error| error.at_index(index)))
            .collect()
    }
}

fn only_true(json: &Json) -> Result<(), JsonError> {
    match json {
        Json::Bool(true) => Ok(()),
        _ => Err(JsonError::new("only true may stand here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::database;
    use expect_test::{Expect, expect};

    fn check(shape: Shape, json: Json, want: Expect) {
        let database = database();
        want.assert_eq(&match to_written(&json, shape, &Context::new(&database)) {
            Err(error) => format!("refused at {:?}: {}", error.pointer, error.detail),
            Ok(written) => {
                let list = |paths: Vec<String>| paths.join(", ");
                let mask = list(written.mask.iter().map(ToString::to_string).collect());
                let transforms = written.transforms.iter().map(|t| format!("{} {:?}", t.path, t.transform)).collect();
                format!("{:?} mask [{mask}] transforms [{}]", written.fields, list(transforms))
            }
        });
    }

    #[test]
    fn a_whole_document_has_fields_and_transforms() {
        check(
            Shape::Whole,
            serde_json::json!({"a": 1, "m": {"n": {"$increment": 2}, "o": true}, "t": {"$serverTimestamp": true}}),
            expect![[
                r#"{"a": Integer(1), "m": Map({"o": Bool(true)})} mask [] transforms [m.n Increment(Integer(2)), t ServerTimestamp]"#
            ]],
        );
        check(
            Shape::Whole,
            serde_json::json!({"m": {"$map": {"$x": {"$arrayUnion": [1]}}}}),
            expect![[r#"{"m": Map({})} mask [] transforms [m.`$x` ArrayUnion([Integer(1)])]"#]],
        );
    }

    #[test]
    fn a_merge_writes_its_leaves() {
        check(
            Shape::Merge,
            serde_json::json!({"a": {"b": 1, "c": {"$delete": true}}, "d": {}, "e": [1], "f": {"g": {"$max": 3}}}),
            expect![[
                r#"{"a": Map({"b": Integer(1)}), "d": Map({}), "e": Array([Integer(1)]), "f": Map({})} mask [a.b, a.c, d, e] transforms [f.g Maximum(Integer(3))]"#
            ]],
        );
    }

    #[test]
    fn an_update_replaces_what_stands_at_its_paths() {
        check(
            Shape::Update,
            serde_json::json!({"a.b": {"x": 1, "n": {"$increment": 1}}, "c": {"$delete": true}, "`d.e`": {"$min": 1.5}}),
            expect![[
                r#"{"a": Map({"b": Map({"x": Integer(1)})})} mask [a.b, c] transforms [`d.e` Minimum(Double(1.5)), a.b.n Increment(Integer(1))]"#
            ]],
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        check(
            Shape::Whole,
            serde_json::json!([1]),
            expect![[r#"refused at "": the data of a document is an object, this is an array"#]],
        );
        check(
            Shape::Whole,
            serde_json::json!({"a": {"$delete": true}}),
            expect![[r#"refused at "/a/$delete": there is nothing to delete in a write of the whole document"#]],
        );
        check(
            Shape::Update,
            serde_json::json!({"a": {"b": {"$delete": true}}}),
            expect![[
                r#"refused at "/a/b/$delete": an update deletes by the field's full path, such as {"a.b": {"$delete": true}}"#
            ]],
        );
        check(
            Shape::Update,
            serde_json::json!({"a..b": 1}),
            expect![[r#"refused at "/a..b": a field name is empty at column 3"#]],
        );
        check(
            Shape::Whole,
            serde_json::json!({"a": [{"$increment": 1}]}),
            expect![[r#"refused at "/a/0/$increment": $increment stands only where a field of a document is written"#]],
        );
        check(
            Shape::Whole,
            serde_json::json!({"a": {"$increment": "1"}}),
            expect![[r#"refused at "/a/$increment": a number is expected, this is text"#]],
        );
        check(
            Shape::Whole,
            serde_json::json!({"a": {"$serverTimestamp": 1}}),
            expect![[r#"refused at "/a/$serverTimestamp": only true may stand here"#]],
        );
        check(
            Shape::Whole,
            serde_json::json!({"a": {"$arrayUnion": [[1]]}}),
            expect![[
                r#"refused at "/a/$arrayUnion/0": an array stands directly in an array; wrap the inner one in a map"#
            ]],
        );
    }
}
