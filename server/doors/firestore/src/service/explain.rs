//! What a query that is explained tells of itself: its plan in Firestore's terms, and its cost in Hearth's.
//!
//! Hearth needs no index and reads by name. What the plan names is the index that Firestore would serve the query by, for
//! that is what its users tune their queries with. The numbers beside it are what was done here.

use hearth_core::query::{Aggregate, Filter, Operator, Query, Source};
use hearth_core::{Direction, FieldPath};
use hearth_engine::Cost;
use hearth_schema::v1;
use hearth_schema::well_known::{Duration, Struct, Value as Json, value::Kind as JsonKind};

use crate::near::Near;

/// The indexes by which Firestore would serve a query: fields that are equal first, then the order, the name, and a vector.
/// Where only equal fields are asked for, it joins the indexes that every field has by itself.
pub(super) fn plan(query: &Query, near: Option<&Near>) -> v1::PlanSummary {
    let scope = match query.source() {
        Source::Collection(_) | Source::Documents(_) => "Collection",
        Source::Group { .. } | Source::Below(_) => "Collection group",
    };
    let is_ordered = |field: &FieldPath| query.orders().iter().any(|order| &order.field == field);
    let mut equal = Vec::new();
    if let Some(filter) = query.filter() {
        gather(filter, &mut equal);
    }
    equal.retain(|(field, _)| !field.is_name() && !is_ordered(field));
    let mut ordered = Vec::new();
    let mut last = Direction::Ascending;
    let mut by_name = None;
    for order in query.orders() {
        last = order.direction;
        if order.field.is_name() {
            by_name = Some(last);
        } else {
            ordered.push((&order.field, word(last)));
        }
    }
    for aggregate in query.aggregates() {
        if let Aggregate::Sum(field) | Aggregate::Average(field) = aggregate {
            let is_there = equal.iter().chain(&ordered).any(|(known, _)| *known == field);
            if !is_there && !field.is_name() {
                ordered.push((field, word(Direction::Ascending)));
            }
        }
    }
    let end = format!("__name__ {}", word(by_name.unwrap_or(last)));
    let vector = near.map(|near| format!(", {} VECTOR<{}>", near.field, near.vector.len())).unwrap_or_default();
    let index = |fields: &mut dyn Iterator<Item = &(&FieldPath, &str)>| {
        let fields: String = fields.map(|(field, how)| format!("{field} {how}, ")).collect();
        let properties = format!("({fields}{end}{vector})");
        let fields = [("query_scope".to_owned(), text(scope)), ("properties".to_owned(), text(properties))];
        Struct { fields: fields.into() }
    };
    let joins = equal.len() > 1 && ordered.is_empty() && near.is_none();
    let indexes_used = match joins {
        true => equal.iter().map(|field| index(&mut [*field].iter())).collect(),
        false => vec![index(&mut equal.iter().chain(&ordered))],
    };
    v1::PlanSummary { indexes_used }
}

/// The fields that are compared for being equal or being in an array, each once.
fn gather<'a>(filter: &'a Filter, fields: &mut Vec<(&'a FieldPath, &'static str)>) {
    let (field, how) = match filter {
        Filter::And(filters) | Filter::Or(filters) => {
            for filter in filters {
                gather(filter, fields);
            }
            return;
        }
        Filter::Field { field, operator, .. } => match operator {
            Operator::Equal | Operator::In => (field, word(Direction::Ascending)),
            Operator::ArrayContains | Operator::ArrayContainsAny => (field, "CONTAINS"),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual
            | Operator::NotEqual
            | Operator::NotIn => return,
        },
        Filter::IsNull(field) | Filter::IsNan(field) => (field, word(Direction::Ascending)),
        Filter::IsNotNull(_) | Filter::IsNotNan(_) => return,
    };
    if !fields.contains(&(field, how)) {
        fields.push((field, how));
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

/// What a query cost. Nothing is billed here: what would be are the documents that are told of, and one read where there is none.
pub(super) fn stats(results: usize, cost: Cost) -> v1::ExecutionStats {
    let billing = [
        ("documents_billable", results),
        ("index_entries_billable", 0),
        ("small_ops", 0),
        ("min_query_cost", usize::from(results == 0)),
    ];
    let billing = billing.map(|(name, number)| (name.to_owned(), text(number.to_string())));
    let debug = [
        ("documents_scanned".to_owned(), text(cost.read.to_string())),
        ("index_entries_scanned".to_owned(), text(cost.scanned.to_string())),
        ("billing_details".to_owned(), Json { kind: Some(JsonKind::StructValue(Struct { fields: billing.into() })) }),
    ];
    v1::ExecutionStats {
        results_returned: results as i64,
        execution_duration: Some(Duration {
            seconds: (cost.micros / 1_000_000) as i64,
            nanos: (cost.micros % 1_000_000 * 1_000) as i32,
        }),
        read_operations: results.max(1) as i64,
        debug_stats: Some(Struct { fields: debug.into() }),
    }
}

fn text(text: impl Into<String>) -> Json {
    Json { kind: Some(JsonKind::StringValue(text.into())) }
}

#[cfg(test)]
mod tests {
    use hearth_core::query::{Order, QuerySpec};
    use hearth_core::{CollectionPath, Id, Value};

    use super::*;

    fn field(text: &str) -> FieldPath {
        FieldPath::parse(text).unwrap()
    }

    fn is(name: &str, operator: Operator) -> Filter {
        let one = Value::Integer(1);
        let value = if operator.takes_list() { Value::Array(vec![one]) } else { one };
        Filter::field(field(name), operator, value)
    }

    fn by(name: &str, direction: Direction) -> Order {
        Order { field: field(name), direction }
    }

    fn all() -> QuerySpec {
        QuerySpec::all(Source::Collection(CollectionPath::parse("rooms").unwrap()))
    }

    fn check(spec: QuerySpec, near: Option<&Near>, want: &[&str]) {
        let told = plan(&Query::build(spec).unwrap(), near);
        let said = |name: &str| -> Vec<String> {
            let text = |index: &Struct| match &index.fields[name].kind {
                Some(JsonKind::StringValue(text)) => text.clone(),
                kind => panic!("{name} is {kind:?}"),
            };
            told.indexes_used.iter().map(text).collect()
        };
        assert_eq!(said("properties"), want);
    }

    // Source: the system tests of Google's client for Python, and Firestore's documentation of Query Explain.
    #[test]
    fn a_plan_names_the_index_that_firestore_would_use() {
        use Operator::{ArrayContains, Equal, Greater, In};
        check(all(), None, &["(__name__ ASC)"]);
        let filtered = |filter| QuerySpec { filter: Some(filter), ..all() };
        check(filtered(is("a", In)), None, &["(a ASC, __name__ ASC)"]);
        check(filtered(is("a", Greater)), None, &["(a ASC, __name__ ASC)"]);
        check(filtered(is("a", ArrayContains)), None, &["(a CONTAINS, __name__ ASC)"]);
        let both = || Filter::And(vec![is("a", Equal), is("b", Equal)]);
        check(filtered(both()), None, &["(a ASC, __name__ ASC)", "(b ASC, __name__ ASC)"]);
        let order = || vec![by("c", Direction::Descending)];
        check(
            QuerySpec { filter: Some(both()), orders: order(), ..all() },
            None,
            &["(a ASC, b ASC, c DESC, __name__ DESC)"],
        );
        let mean = QuerySpec { aggregates: vec![Aggregate::Average(field("in.n"))], ..all() };
        check(mean, None, &["(in.n ASC, __name__ ASC)"]);
    }

    #[test]
    fn a_plan_for_neighbours_ends_with_their_vector() {
        let near = Near {
            field: field("v"),
            vector: [1.0, 2.0, 3.0].into(),
            measure: crate::near::Measure::Euclidean,
            limit: 1,
            result_field: None,
            threshold: None,
            select: None,
        };
        let group = Source::Group { below: None, id: Id::parse("rooms").unwrap() };
        let spec = QuerySpec { filter: Some(is("color", Operator::Equal)), ..QuerySpec::all(group) };
        check(spec, Some(&near), &["(color ASC, __name__ ASC, v VECTOR<3>)"]);
    }
}
