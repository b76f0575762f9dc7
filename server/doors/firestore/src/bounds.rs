//! What Firestore refuses and this server need not: more than its own limits allow, and filters that it does not join.
//!
//! Counted on the query as it came, as Firestore counts it, and refused in its words: apps and their tests match on them.
//! Limits that hold in both cases (sizes, depths, names) are the core's.

use std::collections::BTreeSet;

use hearth_core::Query;
use hearth_core::field::FieldPath;
use hearth_schema::v1;
use hearth_schema::v1::structured_query::filter::FilterType;
use hearth_schema::v1::structured_query::unary_filter::OperandType;
use hearth_schema::v1::structured_query::{self as wire, composite_filter, field_filter, unary_filter};
use hearth_schema::v1::value::ValueType;

use crate::names::Parent;
use crate::status::Refusal;

/// Whose limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounds {
    /// This server's own: larger, and still bounded.
    #[default]
    Relaxed,
    /// Those of Firestore's cloud.
    Cloud,
}

/// Most alternatives of a filter as an `or` of `and`s. Source: Firestore documentation, "Query limitations", like all below.
const DISJUNCTIONS_MAX: usize = 30;
/// Most values of an `in` and of an `array-contains-any`.
const LIST_MAX: usize = DISJUNCTIONS_MAX;
/// Most values of a `not-in`.
const NOT_IN_MAX: usize = 10;
/// Most filters and orders together, and an ancestor.
const CONDITIONS_MAX: usize = 100;
/// Most fields with an inequality.
const INEQUALITIES_MAX: usize = 10;
/// Most writes of one `BatchWrite`. Source: Firestore's answer, in use since there was such a limit for commits too.
const BATCH_WRITES_MAX: usize = 500;

impl Bounds {
    /// Refuses a query that the cloud would.
    pub(crate) fn check_query(self, parent: &Parent, query: &v1::StructuredQuery) -> Result<(), Refusal> {
        if self == Self::Relaxed {
            return Ok(());
        }
        let mut seen = Seen::default();
        if let Some(filter) = &query.r#where {
            seen.look(filter, 0)?;
        }
        seen.check_joined()?;
        let disjunctions = query.r#where.as_ref().map_or(1, disjunctions);
        if disjunctions > DISJUNCTIONS_MAX {
            return Err(Refusal::invalid(format!(
                "Too many disjunctions after normalization. Result had {disjunctions} disjunctions which is more than the maximum of {DISJUNCTIONS_MAX}"
            )));
        }
        if query.r#where.as_ref().map_or(0, arrays) > 1 {
            return Err(Refusal::invalid("A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."));
        }
        let count = seen.inequalities.len();
        if count > INEQUALITIES_MAX {
            let fields: Vec<&str> = seen.inequalities.iter().copied().collect();
            return Err(Refusal::invalid(format!(
                "The query contains {count} distinct inequality fields: [{}]. A query may not have more than {} distinct inequality fields.",
                fields.join(", "),
                INEQUALITIES_MAX
            )));
        }
        let (filters, orders) = (seen.filters, query.order_by.len());
        if filters + orders + usize::from(parent.document.is_some()) > CONDITIONS_MAX {
            let ancestor = if parent.document.is_some() { "one ancestor filter" } else { "no ancestor filter" };
            return Err(Refusal::invalid(format!(
                "The query may not have more than {} filters + sort orders + ancestor total. Currently there are {filters} filters, {orders} sort orders, and {ancestor}.",
                CONDITIONS_MAX
            )));
        }
        Ok(())
    }

    /// Refuses a batch of as many writes if the cloud would.
    pub(crate) fn check_batch(self, writes: usize) -> Result<(), Refusal> {
        match self {
            Self::Cloud if writes > BATCH_WRITES_MAX => {
                Err(Refusal::invalid(format!("maximum {BATCH_WRITES_MAX} writes allowed per request")))
            }
            Self::Cloud | Self::Relaxed => Ok(()),
        }
    }
}

/// What stands in a filter, wherever.
#[derive(Default)]
struct Seen<'a> {
    filters: usize,
    inequalities: BTreeSet<&'a str>,
    /// `!=`, `not-in` and the unary filters that mean the same.
    others: usize,
    not_in: bool,
    /// `in`, `array-contains-any` and `or`.
    alternatives: bool,
}

impl<'a> Seen<'a> {
    fn look(&mut self, filter: &'a wire::Filter, depth: usize) -> Result<(), Refusal> {
        if depth > Query::FILTER_DEPTH_MAX {
            return Err(hearth_core::QueryError::FilterTooDeep.into());
        }
        match &filter.filter_type {
            Some(FilterType::CompositeFilter(composite)) => {
                self.alternatives |= composite.op == composite_filter::Operator::Or as i32;
                composite.filters.iter().try_for_each(|part| self.look(part, depth + 1))
            }
            Some(FilterType::FieldFilter(compared)) => self.compared(compared),
            Some(FilterType::UnaryFilter(tested)) => {
                self.filters += 1;
                use unary_filter::Operator as Op;
                if matches!(Op::try_from(tested.op), Ok(Op::IsNotNan | Op::IsNotNull))
                    && let Some(OperandType::Field(field)) = &tested.operand_type
                {
                    self.others += 1;
                    self.inequalities.insert(&field.field_path);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn compared(&mut self, compared: &'a wire::FieldFilter) -> Result<(), Refusal> {
        use field_filter::Operator as Op;
        self.filters += 1;
        let field = compared.field.as_ref().map_or("", |field| &field.field_path);
        if field.len() > FieldPath::NAME_BYTES_MAX {
            return Err(Refusal::invalid(format!("property path is longer than {} bytes.", FieldPath::NAME_BYTES_MAX)));
        }
        let few = |name: &str, max: usize| match listed(compared) > max {
            true => Err(Refusal::invalid(format!("'{name}' supports up to {max} comparison values."))),
            false => Ok(()),
        };
        match Op::try_from(compared.op).unwrap_or_default() {
            Op::In => {
                self.alternatives = true;
                few("IN", LIST_MAX)
            }
            Op::ArrayContainsAny => {
                self.alternatives = true;
                few("ARRAY_CONTAINS_ANY", LIST_MAX)
            }
            Op::NotIn => {
                (self.not_in, self.others) = (true, self.others + 1);
                self.inequalities.insert(field);
                few("NOT_IN", NOT_IN_MAX)
            }
            Op::NotEqual => {
                self.others += 1;
                self.inequalities.insert(field);
                Ok(())
            }
            Op::LessThan | Op::LessThanOrEqual | Op::GreaterThan | Op::GreaterThanOrEqual => {
                self.inequalities.insert(field);
                Ok(())
            }
            Op::Equal | Op::ArrayContains | Op::Unspecified => Ok(()),
        }
    }

    /// Whether what stands in the filter may stand in one.
    fn check_joined(&self) -> Result<(), Refusal> {
        if self.others > 1 {
            return Err(Refusal::invalid(
                "Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed per query.",
            ));
        }
        if self.not_in && self.alternatives {
            return Err(Refusal::invalid(
                "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'.",
            ));
        }
        Ok(())
    }
}

/// The length of the list that a field is compared with.
fn listed(compared: &wire::FieldFilter) -> usize {
    match compared.value.as_ref().and_then(|value| value.value_type.as_ref()) {
        Some(ValueType::ArrayValue(array)) => array.values.len(),
        _ => 1,
    }
}

/// How many alternatives a filter has as an `or` of `and`s. One that stands twice in an `or` counts once, as it does there.
fn disjunctions(filter: &wire::Filter) -> usize {
    match &filter.filter_type {
        Some(FilterType::CompositeFilter(composite)) => {
            let mut distinct: Vec<&wire::Filter> = Vec::with_capacity(composite.filters.len());
            for part in &composite.filters {
                // A filter has few parts by now, or many that are alike.
                if !distinct.contains(&part) {
                    distinct.push(part);
                }
                if distinct.len() > Query::CONDITIONS_MAX {
                    break;
                }
            }
            let counts = distinct.into_iter().map(disjunctions);
            match composite.op == composite_filter::Operator::Or as i32 {
                true => counts.fold(0, usize::saturating_add),
                false => counts.fold(1, usize::saturating_mul),
            }
        }
        Some(FilterType::FieldFilter(compared)) => match field_filter::Operator::try_from(compared.op) {
            Ok(field_filter::Operator::In | field_filter::Operator::ArrayContainsAny) => listed(compared).max(1),
            _ => 1,
        },
        _ => 1,
    }
}

/// Most filters that look into arrays which stand in one alternative.
fn arrays(filter: &wire::Filter) -> usize {
    match &filter.filter_type {
        Some(FilterType::CompositeFilter(composite)) => {
            let counts = composite.filters.iter().map(arrays);
            match composite.op == composite_filter::Operator::Or as i32 {
                true => counts.max().unwrap_or(0),
                false => counts.fold(0, usize::saturating_add),
            }
        }
        Some(FilterType::FieldFilter(compared)) => usize::from(matches!(
            field_filter::Operator::try_from(compared.op),
            Ok(field_filter::Operator::ArrayContains | field_filter::Operator::ArrayContainsAny)
        )),
        _ => 0,
    }
}
