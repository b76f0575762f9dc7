//! Writes, from Firestore's messages to the core's.

use hearth_core::write::{FieldTransform, Operation, Precondition, Transform, Write, WriteResult};
use hearth_core::{DatabaseName, Map};
use hearth_schema::v1::document_transform::field_transform::{ServerValue, TransformType};
use hearth_schema::v1::{self, precondition::ConditionType, write::Operation as Wire};

use super::together::together;
use super::{document_from, mask_from, path_from, time, value_from, version_from};
use crate::bounds::Bounds;
use crate::names;
use crate::status::Refusal;

/// The writes of one commit, all to documents of `database`.
pub(crate) fn commit_from(
    database: &DatabaseName,
    writes: Vec<v1::Write>,
    bounds: Bounds,
) -> Result<Vec<Write>, Refusal> {
    together(writes_from(database, writes, bounds)?)
}

/// The writes of one request, each for itself.
pub(crate) fn writes_from(
    database: &DatabaseName,
    writes: Vec<v1::Write>,
    bounds: Bounds,
) -> Result<Vec<Write>, Refusal> {
    writes.into_iter().map(|write| write_from(database, write, bounds)).collect()
}

/// One write.
pub(crate) fn write_from(database: &DatabaseName, write: v1::Write, bounds: Bounds) -> Result<Write, Refusal> {
    let v1::Write { update_mask, update_transforms, current_document, operation } = write;
    let precondition = precondition_from(current_document)?;
    let Some(operation) = operation else { return Err(Refusal::invalid("empty write operation")) };
    let what = match operation {
        Wire::Update(_) => None,
        Wire::Delete(_) => Some("delete"),
        Wire::Verify(_) => Some("verify"),
        Wire::Transform(_) => Some("transform"),
    };
    if let Some(what) = what
        && update_mask.is_some()
    {
        return Err(Refusal::invalid(format!("a {what} must not specify a document mask.")));
    }
    let (name, operation, transforms) = match operation {
        Wire::Update(v1::Document { name, fields, .. }) => {
            (name, update_from(document_from(fields, bounds)?, update_mask)?, update_transforms)
        }
        Wire::Delete(name) => (name, Operation::Delete, update_transforms),
        Wire::Verify(name) => (name, Operation::Verify, update_transforms),
        Wire::Transform(v1::DocumentTransform { field_transforms, .. }) if field_transforms.is_empty() => {
            return Err(Refusal::invalid("The list of FieldTransform must not be empty."));
        }
        Wire::Transform(v1::DocumentTransform { document, mut field_transforms }) => {
            field_transforms.extend(update_transforms);
            (document, Operation::Merge { fields: Map::new(), mask: Vec::new() }, field_transforms)
        }
    };
    let path = names::document_in(database, &name)?;
    let transforms = transforms.into_iter().map(transform_from).collect::<Result<Vec<_>, _>>()?;
    if transforms.len() > TRANSFORMS_MAX {
        return Err(Refusal::invalid(format!(
            "{} transforms of {name} are over the limit of {TRANSFORMS_MAX}",
            transforms.len()
        )));
    }
    Ok(Write::build(path, operation, precondition, transforms)?)
}

/// What an update does: without a mask it replaces the document.
///
/// A path of the mask that stands twice, or within another one, adds nothing: SDKs send such masks for `mergeFields`.
pub(crate) fn update_from(fields: Map, mask: Option<v1::DocumentMask>) -> Result<Operation, Refusal> {
    let Some(mut mask) = mask_from(mask)? else { return Ok(Operation::Set(fields)) };
    // Sorted by names, a path stands directly before all that it holds.
    mask.sort();
    mask.dedup_by(|path, before| before.is_prefix_of(path));
    Ok(Operation::Merge { fields, mask })
}

/// Most transforms of one write. Source: Firestore documentation, "Usage and limits".
const TRANSFORMS_MAX: usize = 500;

/// What must be true of a document before.
pub(crate) fn precondition_from(precondition: Option<v1::Precondition>) -> Result<Precondition, Refusal> {
    Ok(match precondition.and_then(|precondition| precondition.condition_type) {
        None => Precondition::None,
        Some(ConditionType::Exists(exists)) => Precondition::Exists(exists),
        Some(ConditionType::UpdateTime(time)) => Precondition::Updated(version_from(time)?),
    })
}

fn transform_from(transform: v1::document_transform::FieldTransform) -> Result<FieldTransform, Refusal> {
    let v1::document_transform::FieldTransform { field_path, transform_type } = transform;
    let path = path_from(&field_path, "field path of a transform")?;
    let elements =
        |array: v1::ArrayValue| array.values.into_iter().map(value_from).collect::<Result<Vec<_>, Refusal>>();
    let transform = match transform_type {
        Some(TransformType::SetToServerValue(value)) if value == ServerValue::RequestTime as i32 => {
            Transform::ServerTimestamp
        }
        Some(TransformType::SetToServerValue(value)) => {
            return Err(Refusal::invalid(format!(
                "ServerValue type must be specified for set_to_server_value transformation, and is {value}."
            )));
        }
        Some(TransformType::Increment(value)) => Transform::Increment(value_from(value)?),
        Some(TransformType::Maximum(value)) => Transform::Maximum(value_from(value)?),
        Some(TransformType::Minimum(value)) => Transform::Minimum(value_from(value)?),
        Some(TransformType::AppendMissingElements(array)) => Transform::ArrayUnion(elements(array)?),
        Some(TransformType::RemoveAllFromArray(array)) => Transform::ArrayRemove(elements(array)?),
        None => return Err(Refusal::invalid("Operation type must be specified for field transformation.")),
    };
    Ok(FieldTransform { path, transform })
}

/// What a write did, as it is sent. A verified document is not said to have been updated.
pub(crate) fn result(write: &Write, result: &WriteResult) -> v1::WriteResult {
    let updated = if matches!(write.operation(), Operation::Verify) { None } else { result.updated };
    v1::WriteResult {
        update_time: updated.map(time),
        transform_results: result.transforms.iter().map(super::value).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::collections::BTreeMap;

    fn check(write: v1::Write, want: Expect) {
        let database = DatabaseName::parse("p", "(default)").unwrap();
        want.assert_eq(&match write_from(&database, write, Bounds::Relaxed) {
            Ok(write) => format!("{:?} {:?} {:?}", write.path(), write.operation(), write.precondition()),
            Err(refusal) => refusal.to_string(),
        });
    }

    fn name(path: &str) -> String {
        format!("projects/p/databases/(default)/documents/{path}")
    }

    fn update(mask: Option<&[&str]>) -> v1::Write {
        let fields = BTreeMap::from([("a".into(), super::super::value(&hearth_core::Value::Integer(1)))]);
        let document = v1::Document { name: name("rooms/a"), fields, ..Default::default() };
        let mask =
            mask.map(|paths| v1::DocumentMask { field_paths: paths.iter().map(|path| (*path).into()).collect() });
        v1::Write { operation: Some(Wire::Update(document)), update_mask: mask, ..Default::default() }
    }

    #[test]
    fn a_mask_makes_a_merge_and_an_empty_one_writes_nothing() {
        check(update(None), expect![[r#""rooms/a" Set({"a": Integer(1)}) None"#]]);
        check(
            update(Some(&["a", "b.`c d`"])),
            expect![[
                r#""rooms/a" Merge { fields: {"a": Integer(1)}, mask: [FieldPath(["a"]), FieldPath(["b", "c d"])] } None"#
            ]],
        );
        check(update(Some(&[])), expect![[r#""rooms/a" Merge { fields: {"a": Integer(1)}, mask: [] } None"#]]);
    }

    #[test]
    fn a_path_of_a_mask_within_another_adds_nothing() {
        check(
            update(Some(&["b.c", "a", "a.b", "b.c.d", "a", "b1"])),
            expect![[
                r#""rooms/a" Merge { fields: {"a": Integer(1)}, mask: [FieldPath(["a"]), FieldPath(["b", "c"]), FieldPath(["b1"])] } None"#
            ]],
        );
    }

    #[test]
    fn a_verify_write_checks_and_changes_nothing() {
        let write = v1::Write {
            operation: Some(Wire::Verify(name("rooms/a"))),
            current_document: Some(v1::Precondition { condition_type: Some(ConditionType::Exists(false)) }),
            ..Default::default()
        };
        check(write, expect![[r#""rooms/a" Verify Exists(false)"#]]);
    }

    #[test]
    fn writes_without_sense_are_refused() {
        check(v1::Write::default(), expect!["InvalidArgument: empty write operation"]);
        let transform = v1::DocumentTransform { document: name("rooms/a"), field_transforms: Vec::new() };
        check(
            v1::Write { operation: Some(Wire::Transform(transform)), ..Default::default() },
            expect!["InvalidArgument: The list of FieldTransform must not be empty."],
        );
        check(
            update(Some(&["a..b"])),
            expect![[
                r#"InvalidArgument: Invalid property path "a..b". Unquoted property paths must match regex ([a-zA-Z_][a-zA-Z_0-9]*), and quoted property paths must match regex (`(?:[^`\\]|(?:\\.))+`) (field path in a mask: a field name is empty at column 3)"#
            ]],
        );
        let delete = v1::Write { operation: Some(Wire::Delete(name("rooms"))), ..Default::default() };
        check(
            delete,
            expect![[
                r#"InvalidArgument: Document name "projects/p/databases/(default)/documents/rooms" lacks "/" at index 46."#
            ]],
        );
    }
}
