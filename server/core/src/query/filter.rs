//! Filters: when a document passes. They are evaluated as they stand, without a disjunctive normal form.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use super::canonical;
use super::{Fields, Query, QueryError, Source};
use crate::field::FieldPath;
use crate::order::{Class, compare, equal};
use crate::path::DocPath;
use crate::value::Value;

/// What a document must fulfil.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of these; at least one.
    And(Vec<Filter>),
    /// Any of these; at least one.
    Or(Vec<Filter>),
    /// A field compared with a value. A field that is missing fulfils no comparison.
    Field {
        /// The field; `__name__` is the document's path, compared with references.
        field: FieldPath,
        /// How they are compared.
        operator: Operator,
        /// The value; for `In`, `NotIn` and `ArrayContainsAny` an array of values, which itself may hold arrays.
        value: Value,
    },
    /// The field is null. The same as `Equal` null.
    IsNull(FieldPath),
    /// The field is there and not null. The same as `NotEqual` null.
    IsNotNull(FieldPath),
    /// The field is NaN. The same as `Equal` NaN.
    IsNan(FieldPath),
    /// The field is there, not null and not NaN. The same as `NotEqual` NaN.
    IsNotNan(FieldPath),
}

/// How a field is compared. Equal is what stands in one place of the order: `1` equals `1.0`.
///
/// Null and NaN are found by `Equal` and what it implies, never by a rank or as one of many: a field that holds one is
/// neither below nor above a value, no `In` finds it and no array is said to contain it. Within arrays and maps they
/// equal themselves. Source: Google's emulator for Firestore, asked with each operator and value; where the SDKs' own tests
/// speak of it ("can use IN filters"), they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Below the value, among values of its class. Nothing is below null or NaN.
    Less,
    /// Below or equal, among values of its class. Nothing is below or equal to null or NaN.
    LessOrEqual,
    /// Above the value, among values of its class. Nothing is said to be above null or NaN.
    Greater,
    /// Above or equal, among values of its class. Nothing is said to be above or equal to null or NaN.
    GreaterOrEqual,
    /// Equal.
    Equal,
    /// There, not null and not equal.
    NotEqual,
    /// An array with an equal element.
    ArrayContains,
    /// Equal to any of the list.
    In,
    /// An array with an element equal to any of the list.
    ArrayContainsAny,
    /// There, not null and equal to none of the list, in which NaN stands for nothing. A list with null is fulfilled by
    /// nothing.
    NotIn,
}

impl Operator {
    /// Whether the field is implied as a step of the order.
    pub fn is_inequality(self) -> bool {
        match self {
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual | Self::NotEqual | Self::NotIn => {
                true
            }
            Self::Equal | Self::ArrayContains | Self::In | Self::ArrayContainsAny => false,
        }
    }

    /// Whether the value is a list of values.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::NotIn | Self::ArrayContainsAny)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::ArrayContains => "array-contains",
            Self::In => "in",
            Self::ArrayContainsAny => "array-contains-any",
            Self::NotIn => "not-in",
        })
    }
}

impl Filter {
    /// A comparison.
    pub fn field(field: FieldPath, operator: Operator, value: Value) -> Self {
        Self::Field { field, operator, value }
    }

    /// The filter checked and in normal form: no unary tests, composites flattened, their parts sorted and each once, lists
    /// sorted by value. `depth` is how many composites stand around it.
    pub(super) fn normal(self, source: &Source, depth: usize) -> Result<Self, QueryError> {
        if depth > Query::FILTER_DEPTH_MAX {
            return Err(QueryError::FilterTooDeep);
        }
        let compared = |field, operator, value| Self::Field { field, operator, value };
        match self {
            Self::And(parts) => Self::composite(parts, source, depth, Self::And, |part| match part {
                Self::And(parts) => Ok(parts),
                other => Err(other),
            }),
            Self::Or(parts) => Self::composite(parts, source, depth, Self::Or, |part| match part {
                Self::Or(parts) => Ok(parts),
                other => Err(other),
            }),
            Self::IsNull(field) => compared(field, Operator::Equal, Value::Null).normal(source, depth),
            Self::IsNotNull(field) => compared(field, Operator::NotEqual, Value::Null).normal(source, depth),
            Self::IsNan(field) => compared(field, Operator::Equal, Value::Double(f64::NAN)).normal(source, depth),
            Self::IsNotNan(field) => compared(field, Operator::NotEqual, Value::Double(f64::NAN)).normal(source, depth),
            Self::Field { field, operator, value } => {
                let value = match value {
                    Value::Array(values) if operator.takes_list() => {
                        check_list(&field, operator, &values)?;
                        Value::Array(values)
                    }
                    _ if operator.takes_list() => return Err(QueryError::ListExpected { field, operator }),
                    value if field.is_name() => value,
                    value => {
                        value.check(0).map_err(|error| QueryError::Unstorable { field: field.clone(), error })?;
                        value
                    }
                };
                if field.is_name() {
                    check_names(operator, &value, source)?;
                }
                let value = match value {
                    Value::Array(mut values) if operator.takes_list() => {
                        if field.is_name() {
                            values.sort_by(|a, b| name_of(a).cmp(&name_of(b)));
                            values.dedup_by(|a, b| name_of(a) == name_of(b));
                        } else {
                            values.sort_by(compare);
                            values.dedup_by(|a, b| equal(a, b));
                        }
                        Value::Array(values)
                    }
                    value => value,
                };
                Ok(Self::Field { field, operator, value })
            }
        }
    }

    fn composite(
        parts: Vec<Self>,
        source: &Source,
        depth: usize,
        join: impl Fn(Vec<Self>) -> Self,
        open: impl Fn(Self) -> Result<Vec<Self>, Self>,
    ) -> Result<Self, QueryError> {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match open(part.normal(source, depth + 1)?) {
                Ok(inner) => flat.extend(inner),
                Err(part) => flat.push(part),
            }
        }
        flat.sort_by_cached_key(canonical::of_filter);
        flat.dedup_by(|a, b| canonical::of_filter(a) == canonical::of_filter(b));
        match flat.len() {
            0 => Err(QueryError::EmptyComposite),
            1 => Ok(flat.remove(0)),
            _ => Ok(join(flat)),
        }
    }

    /// Whether a document passes. Only for a filter in normal form.
    pub(super) fn passes<F: Fields>(&self, path: &DocPath, fields: &F) -> Result<bool, F::Error> {
        match self {
            Self::And(parts) => {
                for part in parts {
                    if !part.passes(path, fields)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(parts) => {
                for part in parts {
                    if part.passes(path, fields)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Field { field, operator, value } if field.is_name() => Ok(name_fulfils(path, *operator, value)),
            Self::Field { field, operator, value } => {
                let found = fields.get(field)?;
                Ok(found.is_some_and(|found: Cow<'_, Value>| fulfils(&found, *operator, value)))
            }
            Self::IsNull(field) => Ok(fields.get(field)?.is_some_and(|found| is_null(&found))),
            Self::IsNotNull(field) => Ok(fields.get(field)?.is_some_and(|found| !is_null(&found))),
            Self::IsNan(field) => Ok(fields.get(field)?.is_some_and(|found| is_nan(&found))),
            Self::IsNotNan(field) => Ok(fields.get(field)?.is_some_and(|found| !is_null(&found) && !is_nan(&found))),
        }
    }

    /// How many comparisons stand in the filter.
    pub(super) fn leaves(&self) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::leaves).sum(),
            _ => 1,
        }
    }

    /// The fields with an inequality, by the paths' order.
    pub(super) fn inequalities(&self) -> BTreeSet<&FieldPath> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::inequalities).collect(),
            Self::Field { field, operator, .. } if operator.is_inequality() => BTreeSet::from([field]),
            Self::IsNotNull(field) | Self::IsNotNan(field) => BTreeSet::from([field]),
            _ => BTreeSet::new(),
        }
    }

    /// The comparisons that every matching document fulfils: the parts of an outermost `and`, or the filter itself.
    pub(crate) fn conjuncts(&self) -> &[Self] {
        match self {
            Self::And(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }
}

fn check_list(field: &FieldPath, operator: Operator, values: &[Value]) -> Result<(), QueryError> {
    let field = || field.clone();
    match values.len() {
        0 => return Err(QueryError::ListEmpty { field: field(), operator }),
        count if count > Query::LIST_MAX => return Err(QueryError::ListTooLong { field: field(), operator, count }),
        _ => {}
    }
    values.iter().try_for_each(|value| value.check(0)).map_err(|error| QueryError::Unstorable { field: field(), error })
}

/// Checks what `__name__` is compared with: references, for a collection only to documents of it. The bound of a range is a
/// place in the order of names, which may lie anywhere.
fn check_names(operator: Operator, value: &Value, source: &Source) -> Result<(), QueryError> {
    if matches!(operator, Operator::ArrayContains | Operator::ArrayContainsAny) {
        return Err(QueryError::NameOperator { operator });
    }
    let values = match value {
        Value::Array(values) if operator.takes_list() => values,
        value => std::slice::from_ref(value),
    };
    for value in values {
        let path = name_of(value).ok_or(QueryError::NameValue { operator })?;
        let is_bound =
            matches!(operator, Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual);
        if !is_bound && matches!(source, Source::Collection(collection) if !collection.holds(path)) {
            return Err(QueryError::NameOutside { path: path.clone(), within: source.clone() });
        }
    }
    Ok(())
}

/// The document that a reference names. Which database it names is its door's to check; a query knows only its own.
pub(crate) fn name_of(value: &Value) -> Option<&DocPath> {
    match value {
        Value::Reference(reference) => Some(&reference.path),
        _ => None,
    }
}

fn name_fulfils(path: &DocPath, operator: Operator, value: &Value) -> bool {
    let among = |value: &Value| match value {
        Value::Array(values) => values.binary_search_by(|value| name_of(value).cmp(&Some(path))).is_ok(),
        _ => false,
    };
    let against = || name_of(value).map(|other| path.cmp(other));
    match operator {
        Operator::Less => against().is_some_and(Ordering::is_lt),
        Operator::LessOrEqual => against().is_some_and(Ordering::is_le),
        Operator::Greater => against().is_some_and(Ordering::is_gt),
        Operator::GreaterOrEqual => against().is_some_and(Ordering::is_ge),
        Operator::Equal => against().is_some_and(Ordering::is_eq),
        Operator::NotEqual => against().is_some_and(Ordering::is_ne),
        Operator::In => among(value),
        Operator::NotIn => !among(value),
        Operator::ArrayContains | Operator::ArrayContainsAny => false,
    }
}

fn fulfils(found: &Value, operator: Operator, value: &Value) -> bool {
    let among = |found: &Value| match value {
        Value::Array(values) => !is_unranked(found) && values.binary_search_by(|value| compare(value, found)).is_ok(),
        _ => false,
    };
    let has_null = || matches!(value, Value::Array(values) if values.iter().any(is_null));
    match operator {
        Operator::Less => ranks(found, value, Ordering::is_lt),
        Operator::LessOrEqual => ranks(found, value, Ordering::is_le),
        Operator::Greater => ranks(found, value, Ordering::is_gt),
        Operator::GreaterOrEqual => ranks(found, value, Ordering::is_ge),
        Operator::Equal => equal(found, value),
        Operator::NotEqual => !is_null(found) && !equal(found, value),
        Operator::In => among(found),
        Operator::NotIn => !is_null(found) && !has_null() && !among(found),
        Operator::ArrayContains => {
            !is_unranked(value)
                && matches!(found, Value::Array(elements) if elements.iter().any(|element| equal(element, value)))
        }
        Operator::ArrayContainsAny => matches!(found, Value::Array(elements) if elements.iter().any(among)),
    }
}

fn ranks(found: &Value, value: &Value, wanted: impl Fn(Ordering) -> bool) -> bool {
    !is_unranked(found) && Class::of(found) == Class::of(value) && !is_nan(value) && wanted(compare(found, value))
}

/// Whether a value takes no part in comparisons with others.
fn is_unranked(value: &Value) -> bool {
    is_null(value) || is_nan(value)
}

fn is_null(value: &Value) -> bool {
    matches!(value, Value::Null)
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Double(number) if number.is_nan())
}
