//! Writes: what a caller wants to become of documents, checked for shape.
//!
//! Whether a write may be carried out depends on the state and is decided in [`crate::decide`].

use std::collections::BTreeSet;

use crate::field::FieldPath;
use crate::order;
use crate::path::DocPath;
use crate::value::{self, Map, Timestamp, Value, ValueError};
use crate::version::Version;

/// One write to one document.
///
/// Source: google.firestore.v1 `Write`; the verify operation is the one that web SDKs send.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    path: DocPath,
    operation: Operation,
    precondition: Precondition,
    transforms: Vec<FieldTransform>,
}

/// What is done to the document, before the transforms.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Replaces all fields; makes the document where it is missing.
    Set(Map),
    /// For each path of the mask: sets it from `fields`, or deletes it where it is absent there. Fields outside the
    /// mask stay; makes the document where it is missing. An update is this with [`Precondition::Exists`]`(true)`.
    Merge {
        /// Where the values come from.
        fields: Map,
        /// The paths that are written.
        mask: Vec<FieldPath>,
    },
    /// Takes the document away; a missing one is no fault.
    Delete,
    /// Changes nothing: only the precondition counts.
    Verify,
}

/// What must be true of the document before the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Anything.
    None,
    /// The document exists, or does not.
    Exists(bool),
    /// The document exists and was last changed at this version.
    Updated(Version),
}

/// A field whose new value is worked out from the old one.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldTransform {
    /// The field.
    pub path: FieldPath,
    /// How its value comes about.
    pub transform: Transform,
}

/// How a field's value comes about.
///
/// Source: google.firestore.v1 `DocumentTransform.FieldTransform`.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// The time of the commit.
    ServerTimestamp,
    /// The sum of the stored number and this one; integers saturate, a double makes it a double.
    Increment(Value),
    /// The larger of the stored number and this one; where equal, the stored one.
    Maximum(Value),
    /// The smaller of the stored number and this one; where equal, the stored one.
    Minimum(Value),
    /// The stored array with those of these that it does not hold.
    ArrayUnion(Vec<Value>),
    /// The stored array without any of these.
    ArrayRemove(Vec<Value>),
}

/// What a write did.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteResult {
    /// The document's last change: this commit, or an earlier one where the write changed nothing. `None` where the
    /// document does not exist afterwards.
    pub updated: Option<Version>,
    /// The value of each transform, in order; null for array transforms.
    pub transforms: Vec<Value>,
}

/// Why a write has no sound shape. It is refused whatever the state is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteShapeError {
    #[error("{path}: {error}")]
    Value { path: DocPath, error: ValueError },
    #[error("{path}: the fields {first} and {second} overlap; name one of them")]
    Overlap { path: DocPath, first: FieldPath, second: FieldPath },
    #[error("{path}: the document's own path cannot be written as a field")]
    Name { path: DocPath },
    #[error("{path}: {field} is changed by {transform}, which takes a number")]
    NotANumber { path: DocPath, field: FieldPath, transform: &'static str },
    #[error("{path}: {what} cannot transform fields; set, update or create can")]
    TransformsWithout { path: DocPath, what: &'static str },
}

impl Write {
    /// Checks the shape of a write: values, field names, mask and transforms.
    ///
    /// The paths of the mask must not overlap, nor those of the transforms; but one field may be transformed several
    /// times, in order. A transform of a field that is also written comes after it.
    pub fn build(
        path: DocPath,
        operation: Operation,
        precondition: Precondition,
        transforms: Vec<FieldTransform>,
    ) -> Result<Self, WriteShapeError> {
        match &operation {
            Operation::Set(fields) => check_fields(&path, fields)?,
            Operation::Merge { fields, mask } => {
                check_fields(&path, fields)?;
                check_paths(&path, mask.iter())?;
            }
            Operation::Delete if !transforms.is_empty() => {
                return Err(WriteShapeError::TransformsWithout { path, what: "a delete" });
            }
            Operation::Verify if !transforms.is_empty() => {
                return Err(WriteShapeError::TransformsWithout { path, what: "a verify" });
            }
            Operation::Delete | Operation::Verify => {}
        }
        let transformed: BTreeSet<&FieldPath> = transforms.iter().map(|transform| &transform.path).collect();
        check_paths(&path, transformed.into_iter())?;
        for FieldTransform { path: field, transform } in &transforms {
            let not_a_number =
                |transform| Err(WriteShapeError::NotANumber { path: path.clone(), field: field.clone(), transform });
            let number = |value: &Value| matches!(value, Value::Integer(_) | Value::Double(_));
            match transform {
                Transform::Increment(value) if !number(value) => return not_a_number("increment"),
                Transform::Maximum(value) if !number(value) => return not_a_number("maximum"),
                Transform::Minimum(value) if !number(value) => return not_a_number("minimum"),
                Transform::ArrayUnion(elements) | Transform::ArrayRemove(elements) => {
                    let array = elements.iter().try_for_each(|element| match element {
                        Value::Array(_) => Err(ValueError::ArrayInArray),
                        element => element.check(field.names().len()),
                    });
                    array.map_err(|error| WriteShapeError::Value { path: path.clone(), error })?;
                }
                _ => {}
            }
        }
        Ok(Self { path, operation, precondition, transforms })
    }

    /// The document.
    pub fn path(&self) -> &DocPath {
        &self.path
    }

    /// What is done to it.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What must be true before.
    pub fn precondition(&self) -> Precondition {
        self.precondition
    }

    /// The transforms, in order.
    pub fn transforms(&self) -> &[FieldTransform] {
        &self.transforms
    }

    /// The same write, whatever the document is. Not for [`Operation::Verify`], which does nothing else than ask.
    #[must_use]
    pub fn without_precondition(self) -> Self {
        Self { precondition: Precondition::None, ..self }
    }

    /// What is done, where, and the transforms, to be used up.
    pub(crate) fn into_parts(self) -> (DocPath, Operation, Vec<FieldTransform>) {
        (self.path, self.operation, self.transforms)
    }
}

fn check_fields(path: &DocPath, fields: &Map) -> Result<(), WriteShapeError> {
    value::check_map(fields, 0).map_err(|error| WriteShapeError::Value { path: path.clone(), error })
}

/// Refuses `__name__` and paths of which one is, or holds, another.
fn check_paths<'a>(doc: &DocPath, paths: impl Iterator<Item = &'a FieldPath>) -> Result<(), WriteShapeError> {
    let mut sorted: Vec<&FieldPath> = paths.collect();
    sorted.sort();
    if sorted.iter().any(|path| path.is_name()) {
        return Err(WriteShapeError::Name { path: doc.clone() });
    }
    // Sorted by names, a path stands directly before what it holds.
    match sorted.windows(2).find(|pair| pair[0].is_prefix_of(pair[1])) {
        None => Ok(()),
        Some(pair) => {
            Err(WriteShapeError::Overlap { path: doc.clone(), first: pair[0].clone(), second: pair[1].clone() })
        }
    }
}

impl Transform {
    /// The new value of a field that holds `stored`, and what the write's result says of it.
    pub(crate) fn apply(&self, stored: Option<&Value>, version: Version) -> (Value, Value) {
        let number = stored.filter(|value| matches!(value, Value::Integer(_) | Value::Double(_)));
        let both = |value: Value| (value.clone(), value);
        match self {
            Self::ServerTimestamp => both(Value::Timestamp(Timestamp::from(version))),
            Self::Increment(operand) => both(number.map_or_else(|| operand.clone(), |stored| add(stored, operand))),
            Self::Maximum(operand) => both(pick(number, operand, std::cmp::Ordering::Greater)),
            Self::Minimum(operand) => both(pick(number, operand, std::cmp::Ordering::Less)),
            Self::ArrayUnion(elements) => {
                let mut array = array_of(stored);
                for element in elements {
                    if !array.iter().any(|held| order::equal(held, element)) {
                        array.push(element.clone());
                    }
                }
                (Value::Array(array), Value::Null)
            }
            Self::ArrayRemove(elements) => {
                let mut array = array_of(stored);
                array.retain(|held| !elements.iter().any(|element| order::equal(held, element)));
                (Value::Array(array), Value::Null)
            }
        }
    }
}

fn array_of(stored: Option<&Value>) -> Vec<Value> {
    match stored {
        Some(Value::Array(elements)) => elements.clone(),
        _ => Vec::new(),
    }
}

fn as_double(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Double(number) => *number,
        _ => f64::NAN,
    }
}

fn add(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.saturating_add(*b)),
        (a, b) => Value::Double(as_double(a) + as_double(b)),
    }
}

/// The operand where it stands on the `wanted` side of the stored number, else the stored one. NaN wins over all.
fn pick(stored: Option<&Value>, operand: &Value, wanted: std::cmp::Ordering) -> Value {
    match stored {
        None => operand.clone(),
        Some(stored) if as_double(stored).is_nan() => stored.clone(),
        Some(_) if as_double(operand).is_nan() => operand.clone(),
        Some(stored) if order::compare(operand, stored) == wanted => operand.clone(),
        Some(stored) => stored.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(transform: Transform, stored: Option<Value>, want: Expect) {
        let (value, result) = transform.apply(stored.as_ref(), Version::from_micros(7));
        want.assert_eq(&format!("{value:?} answers {result:?}"));
    }

    #[test]
    fn increments_saturate_and_turn_to_doubles_by_a_double() {
        let one = || Transform::Increment(Value::Integer(1));
        check(one(), None, expect!["Integer(1) answers Integer(1)"]);
        check(one(), Some(Value::text("x")), expect!["Integer(1) answers Integer(1)"]);
        check(
            one(),
            Some(Value::Integer(i64::MAX)),
            expect!["Integer(9223372036854775807) answers Integer(9223372036854775807)"],
        );
        check(one(), Some(Value::Double(0.5)), expect!["Double(1.5) answers Double(1.5)"]);
    }

    #[test]
    fn equal_numbers_keep_the_stored_one_and_nan_wins() {
        let three = || Transform::Maximum(Value::Double(3.0));
        check(three(), Some(Value::Integer(3)), expect!["Integer(3) answers Integer(3)"]);
        check(three(), Some(Value::Integer(2)), expect!["Double(3.0) answers Double(3.0)"]);
        check(three(), Some(Value::Double(f64::NAN)), expect!["Double(NaN) answers Double(NaN)"]);
        check(Transform::Minimum(Value::Integer(2)), Some(Value::Integer(3)), expect!["Integer(2) answers Integer(2)"]);
    }

    #[test]
    fn array_transforms_compare_as_queries_do() {
        let held = Some(Value::Array(vec![Value::Integer(3), Value::Double(f64::NAN)]));
        let these = vec![Value::Double(3.0), Value::Double(f64::NAN), Value::Null];
        check(
            Transform::ArrayUnion(these.clone()),
            held.clone(),
            expect!["Array([Integer(3), Double(NaN), Null]) answers Null"],
        );
        check(Transform::ArrayRemove(these), held, expect!["Array([]) answers Null"]);
    }

    fn refused(operation: Operation, transforms: Vec<FieldTransform>, want: Expect) {
        let path = DocPath::parse("a/b").unwrap();
        let error = Write::build(path, operation, Precondition::None, transforms).unwrap_err();
        want.assert_eq(&error.to_string());
    }

    #[test]
    fn one_field_may_be_transformed_several_times_but_none_within_it() {
        let count = |path: &str| FieldTransform {
            path: FieldPath::parse(path).unwrap(),
            transform: Transform::Increment(Value::Integer(1)),
        };
        let path = DocPath::parse("a/b").unwrap();
        let set = || Operation::Set(Map::new());
        assert!(Write::build(path, set(), Precondition::None, vec![count("n"), count("m"), count("n")]).is_ok());
        refused(
            set(),
            vec![count("n"), count("n.x"), count("n")],
            expect!["a/b: the fields n and n.x overlap; name one of them"],
        );
    }

    #[test]
    fn contradictory_writes_are_refused() {
        let field = |text: &str| FieldPath::parse(text).unwrap();
        refused(
            Operation::Merge { fields: Map::new(), mask: vec![field("a.b"), field("a"), field("a1")] },
            vec![],
            expect!["a/b: the fields a and a.b overlap; name one of them"],
        );
        refused(
            Operation::Delete,
            vec![FieldTransform { path: field("a"), transform: Transform::ServerTimestamp }],
            expect!["a/b: a delete cannot transform fields; set, update or create can"],
        );
        refused(
            Operation::Set(Map::new()),
            vec![FieldTransform { path: field("n"), transform: Transform::Increment(Value::Null) }],
            expect!["a/b: n is changed by increment, which takes a number"],
        );
        refused(
            Operation::Merge { fields: Map::new(), mask: vec![FieldPath::name()] },
            vec![],
            expect!["a/b: the document's own path cannot be written as a field"],
        );
        refused(
            Operation::Set(Map::from([("__x__".into(), Value::Null)])),
            vec![],
            expect![[r#"a/b: the field name "__x__" is reserved"#]],
        );
    }
}
