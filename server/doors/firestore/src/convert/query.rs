//! Queries, from Firestore's messages to the core's.

use std::collections::BTreeSet;
use std::sync::Arc;

use hearth_core::query::{Aggregate, Cursor, Filter, Limit, Operator, Order, QuerySpec, Source};
use hearth_core::{CollectionPath, DatabaseName, Direction, DocPath, FieldPath, Id, Query, Value};
use hearth_schema::v1::structured_aggregation_query::aggregation::Operator as WireAggregate;
use hearth_schema::v1::structured_query::filter::FilterType;
use hearth_schema::v1::structured_query::unary_filter::OperandType;
use hearth_schema::v1::structured_query::{composite_filter, field_filter, unary_filter};
use hearth_schema::v1::{self, structured_query as wire};

use super::named::check_named;
use super::{path_from, value_from};
use crate::bounds::Bounds;
use crate::names::Parent;
use crate::near::{Measure, Near};
use crate::status::Refusal;

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The query; with a search for neighbours without its projection.
    pub(crate) query: Arc<Query>,
    /// The neighbours that are wanted among its result.
    pub(crate) near: Option<Near>,
}

/// A query below `parent`.
pub(crate) fn asked_from(parent: &Parent, query: v1::StructuredQuery, bounds: Bounds) -> Result<Asked, Refusal> {
    bounds.check_query(parent, &query)?;
    let near = query.find_nearest.clone();
    for (is_given, what) in [(query.limit.is_some(), "limit"), (query.offset != 0, "offset")] {
        if near.is_some() && is_given {
            return Err(Refusal::invalid(format!("A query {what} cannot be used with FindNearest")));
        }
    }
    let mut spec = spec_from(parent, query)?;
    let near = match near {
        None => None,
        Some(near) => Some(near_from(near, spec.select.take())?),
    };
    Ok(Asked { query: Arc::new(Query::build(spec)?), near })
}

/// The parts of a query below `parent`.
pub(crate) fn spec_from(parent: &Parent, query: v1::StructuredQuery) -> Result<QuerySpec, Refusal> {
    let v1::StructuredQuery { select, from, r#where, order_by, start_at, end_at, offset, limit, find_nearest: _ } =
        query;
    let database = &parent.database;
    let filter = r#where.filter(|filter| !is_everything(filter));
    let filter = filter.map(|filter| filter_from(database, filter, 0)).transpose()?;
    let orders = order_by.into_iter().map(order_from).collect::<Result<Vec<_>, _>>()?;
    let mut limit = match limit {
        None => None,
        Some(limit) => Some(Limit::First(count_from(limit.value, "limit")?)),
    };
    // A cursor without values stands before or behind everything.
    let is_empty = |cursor: &Option<v1::Cursor>, before: bool| {
        cursor.as_ref().is_some_and(|cursor| cursor.values.is_empty() && cursor.before == before)
    };
    if is_empty(&start_at, false) || is_empty(&end_at, true) {
        limit = Some(Limit::First(0));
    }
    // A projection of nothing is one of everything; of the name alone it leaves no field.
    let select = match select {
        Some(projection) if !projection.fields.is_empty() => {
            let paths = projection.fields.iter().map(|field| path_from(&field.field_path, "selected field"));
            Some(paths.collect::<Result<Vec<_>, _>>()?)
        }
        _ => None,
    };
    let spec = QuerySpec {
        source: source_from(parent, from)?,
        filter,
        start: start_at.map(|cursor| cursor_from(database, &orders, cursor)).transpose()?.flatten(),
        end: end_at.map(|cursor| cursor_from(database, &orders, cursor)).transpose()?.flatten(),
        orders,
        limit,
        offset: count_from(offset, "offset")?,
        select,
        aggregates: Vec::new(),
    };
    check_named(&spec)?;
    Ok(spec)
}

fn count_from(count: i32, what: &str) -> Result<u32, Refusal> {
    u32::try_from(count).map_err(|_| Refusal::invalid(format!("{what} is negative: {count}")))
}

fn source_from(parent: &Parent, from: Vec<wire::CollectionSelector>) -> Result<Source, Refusal> {
    let below = parent.document.clone();
    match &from[..] {
        [] => Ok(Source::Below(below)),
        [wire::CollectionSelector { collection_id, all_descendants: true }] if collection_id.is_empty() => {
            Ok(Source::Below(below))
        }
        [wire::CollectionSelector { collection_id, all_descendants }] => {
            let id = collection_id_from(collection_id)?;
            match all_descendants {
                true => Ok(Source::Group { below, id }),
                false => Ok(Source::Collection(collection(below.as_ref(), &id)?)),
            }
        }
        _ => Err(Refusal::invalid("StructuredQuery.from cannot have more than one collection selector.")),
    }
}

/// A collection's id as a client sent it.
pub(crate) fn collection_id_from(text: &str) -> Result<Id, Refusal> {
    Id::parse(text).map_err(|error| Refusal::collection_id(text, error))
}

/// A collection below a document or at the root.
pub(crate) fn collection(below: Option<&DocPath>, id: &Id) -> Result<CollectionPath, Refusal> {
    Ok(match below {
        None => CollectionPath::parse(id.as_str())?,
        Some(document) => document.collection(id)?,
    })
}

fn field_from(field: Option<wire::FieldReference>) -> Result<FieldPath, Refusal> {
    let field = field.ok_or_else(Refusal::empty_path)?;
    path_from(&field.field_path, "field path")
}

/// Whether a filter asks for nothing: an `and` of no parts.
fn is_everything(filter: &wire::Filter) -> bool {
    matches!(&filter.filter_type, Some(FilterType::CompositeFilter(wire::CompositeFilter { op, filters }))
        if filters.is_empty() && *op == composite_filter::Operator::And as i32)
}

fn filter_from(database: &DatabaseName, filter: wire::Filter, depth: usize) -> Result<Filter, Refusal> {
    if depth > Query::FILTER_DEPTH_MAX {
        return Err(hearth_core::QueryError::FilterTooDeep.into());
    }
    match filter.filter_type {
        None => Err(Refusal::invalid("Unknown Filter type.")),
        Some(FilterType::CompositeFilter(wire::CompositeFilter { op, filters })) => {
            let op = composite_filter::Operator::try_from(op).unwrap_or_default();
            let parts = filters.into_iter().map(|part| filter_from(database, part, depth + 1));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            match op {
                composite_filter::Operator::And => Ok(Filter::And(parts)),
                composite_filter::Operator::Or => Ok(Filter::Or(parts)),
                composite_filter::Operator::Unspecified => {
                    Err(Refusal::invalid("Unsupported CompositeFilter operator."))
                }
            }
        }
        Some(FilterType::FieldFilter(wire::FieldFilter { field, op, value })) => {
            let field = field_from(field)?;
            let operator = operator_from(op)?;
            let value = value_from(value.unwrap_or_default())?;
            if field.is_name() {
                check_database(database, &value)?;
            }
            // On this wire null and NaN are looked for by unary filters. A comparison finds neither of them, which is
            // what lists do with them.
            let is_lone = matches!(value, Value::Null) || matches!(value, Value::Double(number) if number.is_nan());
            let (operator, value) = match operator {
                Operator::Equal if is_lone => (Operator::In, Value::Array(vec![value])),
                Operator::NotEqual if is_lone => (Operator::NotIn, Value::Array(vec![value])),
                operator => (operator, value),
            };
            Ok(Filter::Field { field, operator, value })
        }
        Some(FilterType::UnaryFilter(wire::UnaryFilter { op, operand_type })) => {
            let field = match operand_type {
                Some(OperandType::Field(field)) => field_from(Some(field))?,
                None => return Err(Refusal::invalid("Unsupported UnaryFilter operand type (non-FIELD).")),
            };
            match unary_filter::Operator::try_from(op).unwrap_or_default() {
                unary_filter::Operator::IsNan => Ok(Filter::IsNan(field)),
                unary_filter::Operator::IsNull => Ok(Filter::IsNull(field)),
                unary_filter::Operator::IsNotNan => Ok(Filter::IsNotNan(field)),
                unary_filter::Operator::IsNotNull => Ok(Filter::IsNotNull(field)),
                unary_filter::Operator::Unspecified => Err(Refusal::invalid("Unknown UnaryFilter operator.")),
            }
        }
    }
}

fn operator_from(op: i32) -> Result<Operator, Refusal> {
    use field_filter::Operator as Wire;
    Ok(match Wire::try_from(op).unwrap_or_default() {
        Wire::LessThan => Operator::Less,
        Wire::LessThanOrEqual => Operator::LessOrEqual,
        Wire::GreaterThan => Operator::Greater,
        Wire::GreaterThanOrEqual => Operator::GreaterOrEqual,
        Wire::Equal => Operator::Equal,
        Wire::NotEqual => Operator::NotEqual,
        Wire::ArrayContains => Operator::ArrayContains,
        Wire::In => Operator::In,
        Wire::ArrayContainsAny => Operator::ArrayContainsAny,
        Wire::NotIn => Operator::NotIn,
        Wire::Unspecified => return Err(Refusal::invalid("Unknown FieldFilter operator.")),
    })
}

/// Documents that are compared with names must be of the query's database: the core knows no other.
fn check_database(database: &DatabaseName, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Reference(reference) if reference.database != *database => {
            Err(Refusal::invalid(format!("{} is not in the query's database {database}", reference.path)))
        }
        Value::Array(values) => values.iter().try_for_each(|value| check_database(database, value)),
        _ => Ok(()),
    }
}

fn direction_from(direction: i32) -> Direction {
    match wire::Direction::try_from(direction).unwrap_or_default() {
        wire::Direction::Descending => Direction::Descending,
        wire::Direction::Ascending | wire::Direction::Unspecified => Direction::Ascending,
    }
}

fn order_from(order: wire::Order) -> Result<Order, Refusal> {
    Ok(Order { field: field_from(order.field)?, direction: direction_from(order.direction) })
}

/// A cursor, which has values for orders that the query spells out: for those that are implied, Firestore takes none. One
/// without values is none.
fn cursor_from(database: &DatabaseName, orders: &[Order], cursor: v1::Cursor) -> Result<Option<Cursor>, Refusal> {
    if cursor.values.len() > orders.len() {
        return Err(Refusal::invalid("Cursor has too many values."));
    }
    let values = cursor.values.into_iter().map(value_from).collect::<Result<Vec<_>, _>>()?;
    values.iter().zip(orders).try_for_each(|(value, order)| match value {
        Value::Reference(_) => check_database(database, value),
        _ if order.field.is_name() => Err(Refusal::invalid("Cursor __key__ value is not a document reference.")),
        _ => Ok(()),
    })?;
    Ok((!values.is_empty()).then_some(Cursor { values, before: cursor.before }))
}

/// The order of `ListDocuments`: `a desc, b.c`.
pub(crate) fn orders_from(text: &str) -> Result<Vec<Order>, Refusal> {
    let mut orders = Vec::new();
    if text.is_empty() {
        return Ok(orders);
    }
    for part in text.split(',').map(str::trim) {
        if part.is_empty() {
            return Err(Refusal::invalid(format!("Invalid order by clause {text:?}.")));
        }
        let (field, direction) = match part.rsplit_once(char::is_whitespace) {
            Some((field, word)) if word.eq_ignore_ascii_case("desc") => (field.trim(), Direction::Descending),
            Some((field, word)) if word.eq_ignore_ascii_case("asc") => (field.trim(), Direction::Ascending),
            _ => (part, Direction::Ascending),
        };
        orders.push(Order { field: path_from(field, "field in order_by")?, direction });
    }
    Ok(orders)
}

/// A field that is summed or averaged.
fn number_from(field: Option<wire::FieldReference>) -> Result<FieldPath, Refusal> {
    match field_from(field)? {
        field if field.is_name() => Err(Refusal::invalid("Aggregations are not supported for the property: __key__")),
        field => Ok(field),
    }
}

/// Names of the form `__…__` are Firestore's own.
fn check_unreserved(name: &str, what: &str) -> Result<(), Refusal> {
    match name.len() >= 4 && name.starts_with("__") && name.ends_with("__") {
        true => Err(Refusal::invalid(format!("The {what} {name:?} is reserved."))),
        false => Ok(()),
    }
}

/// Most numbers of one request. Source: Firestore documentation, "Summarize data with aggregation queries".
const AGGREGATES_MAX: usize = 5;

/// A query for numbers, and the names under which they are answered.
pub(crate) fn aggregation_from(
    parent: &Parent,
    query: v1::StructuredAggregationQuery,
    bounds: Bounds,
) -> Result<(Arc<Query>, Vec<String>), Refusal> {
    let Some(v1::structured_aggregation_query::QueryType::StructuredQuery(documents)) = query.query_type else {
        return Err(Refusal::invalid("Only structured aggregation queries are supported."));
    };
    bounds.check_query(parent, &documents)?;
    let count = query.aggregations.len();
    if count == 0 {
        return Err(Refusal::invalid("Aggregations can not be empty."));
    }
    if count > AGGREGATES_MAX {
        return Err(Refusal::invalid(format!(
            "The maximum number of aggregations allowed in an aggregation query is {AGGREGATES_MAX}. Received: {count}"
        )));
    }
    if documents.find_nearest.is_some() {
        return Err(Refusal::invalid("Neighbours of a vector cannot be aggregated"));
    }
    let mut spec = spec_from(parent, documents)?;
    let (mut aliases, mut unnamed) = (Vec::with_capacity(count), 0);
    for aggregation in query.aggregations {
        let alias = match aggregation.alias {
            alias if alias.is_empty() => {
                unnamed += 1;
                format!("field_{unnamed}")
            }
            alias => alias,
        };
        check_unreserved(&alias, "property.name")?;
        aliases.push(alias);
        spec.aggregates.push(match aggregation.operator {
            Some(WireAggregate::Count(count)) => {
                let up_to = count.up_to.map(|up_to| match u64::try_from(up_to.value) {
                    Ok(up_to) if up_to > 0 => Ok(up_to),
                    _ => Err(Refusal::invalid(format!("Invalid up_to {}: it must be above zero", up_to.value))),
                });
                Aggregate::Count { up_to: up_to.transpose()? }
            }
            Some(WireAggregate::Sum(sum)) => Aggregate::Sum(number_from(sum.field)?),
            Some(WireAggregate::Avg(avg)) => Aggregate::Average(number_from(avg.field)?),
            None => return Err(Refusal::invalid("Operator field in Aggregation is not set.")),
        });
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = aliases.iter().find(|alias| !seen.insert(*alias)) {
        return Err(Refusal::invalid(format!("Aggregation aliases contain duplicate alias: {twice}.")));
    }
    spec.select = None;
    // Only documents that have every field that is summed or averaged are seen, also by a count beside it, and they stand in
    // the order of these fields where the query says no other: it matters to a limit or an offset. Google's emulator does so.
    let is_named = spec.orders.iter().any(|order| order.field.is_name());
    let mut orders = Query::build(spec.clone())?.orders().to_vec();
    // The query's own last step is its name, unless it goes on behind one that was asked for.
    let direction = orders.last().map_or(Direction::Ascending, |last| last.direction);
    let mut place = if is_named { orders.len() } else { orders.len().saturating_sub(1) };
    for aggregate in &spec.aggregates {
        match aggregate {
            Aggregate::Sum(field) | Aggregate::Average(field) if !orders.iter().any(|order| order.field == *field) => {
                orders.insert(place, Order { field: field.clone(), direction });
                place += 1;
            }
            Aggregate::Sum(_) | Aggregate::Average(_) | Aggregate::Count { .. } => {}
        }
    }
    spec.orders = orders;
    Ok((Arc::new(Query::build(spec)?), aliases))
}

/// Most neighbours. Source: Firestore documentation, "Search with vector embeddings".
const NEAR_MAX: i32 = 1_000;

fn near_from(near: wire::FindNearest, select: Option<Vec<FieldPath>>) -> Result<Near, Refusal> {
    let field = field_from(near.vector_field)?;
    let vector = match value_from(near.query_vector.unwrap_or_default())? {
        Value::Vector(vector) if vector.is_empty() => {
            return Err(Refusal::invalid("Cannot have a zero length vector."));
        }
        Value::Vector(vector) if vector.len() > Value::VECTOR_DIMENSIONS_MAX => {
            let max = Value::VECTOR_DIMENSIONS_MAX;
            return Err(Refusal::invalid(format!("Vectors must be at most {max} dimensions.")));
        }
        Value::Vector(vector) => vector,
        _ => return Err(Refusal::invalid("Query Value must be of type vector.")),
    };
    use wire::find_nearest::DistanceMeasure;
    let measure = match DistanceMeasure::try_from(near.distance_measure).unwrap_or_default() {
        DistanceMeasure::Euclidean => Measure::Euclidean,
        DistanceMeasure::Cosine => Measure::Cosine,
        DistanceMeasure::DotProduct => Measure::DotProduct,
        DistanceMeasure::Unspecified => {
            return Err(Refusal::invalid("Unknown Distance Measure."));
        }
    };
    let limit = near.limit.map_or(0, |limit| limit.value);
    if !(1..=NEAR_MAX).contains(&limit) {
        return Err(Refusal::invalid(format!(
            "FindNearest.limit must be a positive integer of no more than {NEAR_MAX}"
        )));
    }
    let result_field = match near.distance_result_field.as_str() {
        "" => None,
        text => {
            check_unreserved(text, "distanceResultField.property.name")?;
            Some(path_from(text, "distance_result_field")?)
        }
    };
    let threshold = near.distance_threshold.map(|threshold| threshold.value);
    Ok(Near { field, vector, measure, limit: limit as usize, result_field, threshold, select })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn parent() -> Parent {
        crate::names::parent("projects/p/databases/(default)/documents").unwrap()
    }

    fn from(id: &str, all_descendants: bool) -> v1::StructuredQuery {
        let selector = wire::CollectionSelector { collection_id: id.into(), all_descendants };
        v1::StructuredQuery { from: vec![selector], ..Default::default() }
    }

    fn check(query: v1::StructuredQuery, want: Expect) {
        want.assert_eq(&match asked_from(&parent(), query, Bounds::Relaxed) {
            Ok(Asked { query, near }) => format!(
                "{} filter {:?} orders {:?} limit {:?} select {:?}{}",
                query.source(),
                query.filter(),
                query.orders().iter().map(|order| format!("{} {:?}", order.field, order.direction)).collect::<Vec<_>>(),
                query.limit(),
                query.select(),
                if near.is_some() { " near" } else { "" },
            ),
            Err(refusal) => refusal.to_string(),
        });
    }

    #[test]
    fn the_source_is_a_collection_a_group_or_everything() {
        check(
            from("rooms", false),
            expect![[r#"the collection rooms filter None orders ["__name__ Ascending"] limit None select None"#]],
        );
        check(
            from("rooms", true),
            expect![[
                r#"the collections named rooms filter None orders ["__name__ Ascending"] limit None select None"#
            ]],
        );
        check(
            v1::StructuredQuery::default(),
            expect![[r#"the database filter None orders ["__name__ Ascending"] limit None select None"#]],
        );
        check(
            from("a/b", false),
            expect![[r#"InvalidArgument: Collection id "a/b" is invalid because it contains "/"."#]],
        );
    }

    #[test]
    fn a_projection_of_nothing_is_everything_and_one_of_the_name_is_no_field() {
        let select = |paths: &[&str]| {
            let fields = paths.iter().map(|path| wire::FieldReference { field_path: (*path).into() }).collect();
            v1::StructuredQuery { select: Some(wire::Projection { fields }), ..from("rooms", false) }
        };
        check(
            select(&[]),
            expect![[r#"the collection rooms filter None orders ["__name__ Ascending"] limit None select None"#]],
        );
        check(
            select(&["__name__"]),
            expect![[
                r#"the collection rooms filter None orders ["__name__ Ascending"] limit None select Some([FieldPath(["__name__"])])"#
            ]],
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut query = from("rooms", false);
        query.offset = -1;
        check(query, expect!["InvalidArgument: offset is negative: -1"]);
        let filter = wire::Filter { filter_type: None };
        check(
            v1::StructuredQuery { r#where: Some(filter), ..from("rooms", false) },
            expect!["InvalidArgument: Unknown Filter type."],
        );
    }

    fn order(path: &str) -> wire::Order {
        wire::Order { field: Some(wire::FieldReference { field_path: path.into() }), direction: 1 }
    }

    fn cursor(before: bool, values: &[Value]) -> Option<v1::Cursor> {
        Some(v1::Cursor { values: values.iter().map(crate::convert::value).collect(), before })
    }

    #[test]
    fn a_cursor_has_values_for_orders_that_are_spelled_out() {
        let by_n = || v1::StructuredQuery { order_by: vec![order("n")], ..from("rooms", false) };
        let name = Value::Reference(
            hearth_core::Reference::parse("projects/p/databases/(default)/documents/rooms/a").unwrap(),
        );
        check(
            v1::StructuredQuery { start_at: cursor(true, &[Value::Integer(1), name.clone()]), ..by_n() },
            expect!["InvalidArgument: Cursor has too many values."],
        );
        check(
            v1::StructuredQuery { end_at: cursor(true, &[name]), ..from("rooms", false) },
            expect!["InvalidArgument: Cursor has too many values."],
        );
        let by_name = v1::StructuredQuery { order_by: vec![order("__name__")], ..from("rooms", false) };
        check(
            v1::StructuredQuery { start_at: cursor(true, &[Value::text("a")]), ..by_name },
            expect!["InvalidArgument: Cursor __key__ value is not a document reference."],
        );
    }

    #[test]
    fn a_cursor_without_values_stands_before_or_behind_everything() {
        let limit = |start_at, end_at| {
            let query = v1::StructuredQuery { start_at, end_at, order_by: vec![order("n")], ..from("rooms", false) };
            asked_from(&parent(), query, Bounds::Relaxed).unwrap().query.limit()
        };
        assert_eq!(limit(cursor(true, &[]), cursor(false, &[])), None);
        assert_eq!(limit(cursor(false, &[]), None), Some(Limit::First(0)));
        assert_eq!(limit(None, cursor(true, &[])), Some(Limit::First(0)));
    }

    #[test]
    fn an_and_of_nothing_is_everything_and_an_or_of_nothing_is_refused() {
        let of_nothing = |op: composite_filter::Operator| {
            let filter = wire::CompositeFilter { op: op as i32, filters: Vec::new() };
            let filter = wire::Filter { filter_type: Some(FilterType::CompositeFilter(filter)) };
            v1::StructuredQuery { r#where: Some(filter), ..from("rooms", false) }
        };
        check(
            of_nothing(composite_filter::Operator::And),
            expect![[r#"the collection rooms filter None orders ["__name__ Ascending"] limit None select None"#]],
        );
        check(
            of_nothing(composite_filter::Operator::Or),
            expect!["InvalidArgument: Composite filter must have at least one sub-filter."],
        );
    }

    #[test]
    fn a_search_for_neighbours_has_its_own_limit_and_no_reserved_field() {
        let near = |distance_result_field: &str| {
            let near = wire::FindNearest {
                vector_field: Some(wire::FieldReference { field_path: "at".into() }),
                query_vector: Some(crate::convert::value(&Value::Vector([1.0].into()))),
                distance_measure: 1,
                limit: Some(3.into()),
                distance_result_field: distance_result_field.into(),
                distance_threshold: None,
            };
            v1::StructuredQuery { find_nearest: Some(near), ..from("rooms", false) }
        };
        check(
            v1::StructuredQuery { limit: Some(2.into()), ..near("") },
            expect!["InvalidArgument: A query limit cannot be used with FindNearest"],
        );
        check(
            v1::StructuredQuery { offset: 1, ..near("") },
            expect!["InvalidArgument: A query offset cannot be used with FindNearest"],
        );
        check(
            near("__x__"),
            expect![[r#"InvalidArgument: The distanceResultField.property.name "__x__" is reserved."#]],
        );
    }

    #[test]
    fn one_to_five_numbers_are_answered_under_names_of_their_own() {
        let check = |aliases: &[&str], want: &str| {
            let count = |alias: &&str| wire_aggregation(alias);
            let query_type = v1::structured_aggregation_query::QueryType::StructuredQuery(from("rooms", false));
            let query = v1::StructuredAggregationQuery {
                query_type: Some(query_type),
                aggregations: aliases.iter().map(count).collect(),
            };
            let got = match aggregation_from(&parent(), query, Bounds::Relaxed) {
                Ok((_, aliases)) => aliases.join(" "),
                Err(refusal) => refusal.to_string(),
            };
            assert_eq!(got, want);
        };
        check(&["", "all", ""], "field_1 all field_2");
        check(&["__all__"], r#"InvalidArgument: The property.name "__all__" is reserved."#);
        check(&["a", "a"], "InvalidArgument: Aggregation aliases contain duplicate alias: a.");
        check(
            &[""; 6],
            "InvalidArgument: The maximum number of aggregations allowed in an aggregation query is 5. Received: 6",
        );
        check(&[], "InvalidArgument: Aggregations can not be empty.");
    }

    fn wire_aggregation(alias: &str) -> v1::structured_aggregation_query::Aggregation {
        let operator = Some(WireAggregate::Count(v1::structured_aggregation_query::aggregation::Count::default()));
        v1::structured_aggregation_query::Aggregation { alias: alias.into(), operator }
    }

    #[test]
    fn the_order_of_a_list_is_read_from_text() {
        let text = |orders: Vec<Order>| {
            orders.iter().map(|order| format!("{} {:?}", order.field, order.direction)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            text(orders_from("a desc,b.c , `d e` ASC").unwrap()),
            "a Descending, b.c Ascending, `d e` Ascending"
        );
        assert!(orders_from("a b c").is_err());
        assert!(orders_from("").unwrap().is_empty());
        assert!(orders_from("a,").is_err() && orders_from(",").is_err());
    }
}
