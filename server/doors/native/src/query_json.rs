//! Queries as JSON: the object of `docs/query.md`, as it stands in messages and in the body of `~query`.
//!
//! What comes out is [`Asked`]: all that the client said. A cursor may be a document's path, whose values only the
//! database knows; whoever holds the database reads those documents and calls [`Asked::build`].

use std::sync::Arc;

use axum::http::StatusCode;
use hearth_core::keys::Direction;
use hearth_core::query::{Aggregate, Cursor, Filter, Limit, Operator, Order, Query, QuerySpec, Source};
use hearth_core::{CollectionPath, DatabaseName, DocPath, Document, FieldPath, Id, Reference, Value};
use hearth_engine::Limits;
use serde_json::Value as Json;

use crate::address::Place;
use crate::json::{Context, JsonError, kind, to_value};
use crate::problem::Problem;

/// A query as it was asked, but for what only the database knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub(crate) spec: QuerySpec,
    pub(crate) start: Option<Edge>,
    pub(crate) end: Option<Edge>,
    /// Whether everything up to the server's bound is wanted.
    pub(crate) all: bool,
}

/// A cursor as it was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    /// The key or parameter that it came in.
    pub(crate) name: &'static str,
    pub(crate) place: EdgePlace,
}

/// Where a cursor stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EdgePlace {
    Values(Vec<Value>),
    /// Where this document stands in the order.
    Document(DocPath),
}

impl Edge {
    /// Whether the place is before what equals it: so for the start that keeps it and the end that does not.
    fn before(&self) -> bool {
        matches!(self.name, "startAt" | "endBefore")
    }
}

impl Asked {
    /// All documents of a source.
    pub fn all_of(source: Source) -> Self {
        Self { spec: QuerySpec::all(source), start: None, end: None, all: false }
    }

    /// The documents whose values [`Asked::build`] needs.
    pub fn documents(&self) -> Vec<DocPath> {
        let edges = [&self.start, &self.end].into_iter().flatten();
        edges
            .filter_map(|edge| match &edge.place {
                EdgePlace::Document(path) => Some(path.clone()),
                EdgePlace::Values(_) => None,
            })
            .collect()
    }

    /// The query. `document` gives those of [`Asked::documents`] that exist.
    pub fn build(
        mut self,
        limits: &Limits,
        database: &DatabaseName,
        document: impl Fn(&DocPath) -> Option<Arc<Document>>,
    ) -> Result<Query, Problem> {
        let max = u32::try_from(limits.result_docs_max).unwrap_or(u32::MAX);
        let is_cut = matches!(self.spec.source, Source::Collection(_) | Source::Group { .. } | Source::Below(_));
        match self.spec.limit {
            Some(Limit::First(count) | Limit::Last(count)) if count > max => {
                let detail = format!("a limit of {count} documents is over the bound of {max}");
                return Err(
                    Problem::over(StatusCode::BAD_REQUEST, "result_docs_max", u64::from(max), detail).at("limit")
                );
            }
            None if self.spec.aggregates.is_empty() && is_cut => {
                self.spec.limit = Some(Limit::First(if self.all { max } else { limits.result_docs_default.min(max) }));
            }
            _ => {}
        }
        // The order that documents give values for is known once the query is built, so it is built twice for those.
        let orders = match self.documents().is_empty() {
            true => Vec::new(),
            false => Query::build(self.spec.clone())?.orders().to_vec(),
        };
        let cursor = |edge: Edge| {
            let before = edge.before();
            let values = match edge.place {
                EdgePlace::Values(values) => values,
                EdgePlace::Document(path) => {
                    let found = document(&path);
                    let values = found.ok_or_else(|| format!("{path}, where the result is cut, does not exist"));
                    let values = values.and_then(|document| values_of(&document, &orders, database));
                    values.map_err(|detail| Problem::invalid(detail).at(edge.name))?
                }
            };
            Ok::<_, Problem>(Cursor { values, before })
        };
        self.spec.start = self.start.map(cursor).transpose()?;
        self.spec.end = self.end.map(cursor).transpose()?;
        Ok(Query::build(self.spec)?)
    }
}

/// The values of a document for each step of an order: a cursor that stands where it stands.
pub(crate) fn values_of(document: &Document, orders: &[Order], database: &DatabaseName) -> Result<Vec<Value>, String> {
    let value = |order: &Order| {
        if order.field.is_name() {
            return Ok(Value::Reference(Reference { database: database.clone(), path: document.path.clone() }));
        }
        let value = document.get(&order.field).cloned();
        value.ok_or_else(|| format!("{} has no field {}, which the result is ordered by", document.path, order.field))
    };
    orders.iter().map(value).collect()
}

/// Reads the `path` and `query` of a message. Faults are told with pointers into the message.
pub fn parse(path: &str, query: Option<&Json>, context: &Context<'_>) -> Result<Asked, Problem> {
    let place = |problem: Problem| problem.at("/path");
    let group = query.and_then(|query| query.get("group")).is_some_and(|group| group == &Json::Bool(true));
    let source = match Place::parse(path).map_err(place)? {
        Place::Group(id) => Source::Group { below: None, id },
        Place::Collection(path) if group => Source::Group { below: None, id: bare(&path).map_err(place)? },
        Place::Collection(path) => Source::Collection(path),
        Place::Document(_) if group => {
            return Err(place(Problem::invalid("with group, the path is the bare id of the collections")));
        }
        Place::Document(path) => Source::Documents(vec![path]),
        Place::Database => return Err(place(Problem::invalid("a path is expected"))),
    };
    match query {
        None => Ok(Asked::all_of(source)),
        Some(query) => read(query, source, context).map_err(|error| Problem::json("/query", error)),
    }
}

/// Reads the body of `~query`. Faults are told with pointers into the body.
pub fn parse_body(place: &Place, body: &Json, context: &Context<'_>) -> Result<Asked, Problem> {
    let group = body.get("group") == Some(&Json::Bool(true));
    let source = match place {
        Place::Group(id) => Source::Group { below: None, id: id.clone() },
        Place::Collection(path) if group => Source::Group { below: None, id: bare(path)? },
        Place::Collection(path) => Source::Collection(path.clone()),
        Place::Document(path) => Source::Documents(vec![path.clone()]),
        Place::Database if group => return Err(Problem::invalid("with group, the id of the collections is expected")),
        Place::Database => Source::Below(None),
    };
    read(body, source, context).map_err(|error| Problem::json("", error))
}

/// Reads a query of the collection at `path`, with the usual limits and no cursor that is a document.
pub fn to_spec(path: &str, query: &Json, context: &Context<'_>) -> Result<QuerySpec, Problem> {
    parse(path, Some(query), context).map(|asked| asked.spec)
}

fn bare(path: &CollectionPath) -> Result<Id, Problem> {
    Id::parse(path.as_str()).map_err(|_| Problem::invalid("with group, the path is the bare id of the collections"))
}

fn read(json: &Json, source: Source, context: &Context<'_>) -> Result<Asked, JsonError> {
    let Json::Object(members) = json else {
        return Err(JsonError::new(format!("a query is an object, this is {}", kind(json))));
    };
    let mut asked = Asked::all_of(source);
    for (name, json) in members {
        // A member that is null is as if it were absent.
        if !json.is_null() {
            member(&mut asked, name, json, context).map_err(|error| error.within(name))?;
        }
    }
    let both =
        |a: &str, b: &str| members.get(a).is_some_and(|a| !a.is_null()) && members.get(b).is_some_and(|b| !b.is_null());
    for (a, b) in
        [("startAt", "startAfter"), ("endAt", "endBefore"), ("limit", "limitToLast"), ("select", "aggregates")]
    {
        if both(a, b) {
            return Err(JsonError::new(format!("{a} excludes {b}")).within(b));
        }
    }
    check(&asked).map_err(|(name, detail)| JsonError::new(detail).within(name))?;
    Ok(asked)
}

/// What a query cannot be, in whatever form it was asked: which member, and why.
pub(crate) fn check(asked: &Asked) -> Result<(), (&'static str, String)> {
    if matches!(asked.spec.limit, Some(Limit::Last(_))) && asked.spec.orders.is_empty() {
        return Err(("limitToLast", "limitToLast needs orderBy".into()));
    }
    let plain = QuerySpec { select: asked.spec.select.clone(), ..QuerySpec::all(asked.spec.source.clone()) };
    if matches!(asked.spec.source, Source::Documents(_))
        && (asked.spec != plain || asked.start.is_some() || asked.end.is_some())
    {
        return Err(("where", "a document is read as it is; only select may narrow it".into()));
    }
    let aggregates = &asked.spec.aggregates;
    if let Some(twice) = aggregates.iter().enumerate().find(|(at, one)| aggregates[..*at].contains(one)) {
        return Err(("aggregates", format!("{} is asked for twice", aggregate_name(twice.1))));
    }
    Ok(())
}

/// Under which name an aggregate is answered.
pub fn aggregate_name(aggregate: &Aggregate) -> String {
    match aggregate {
        Aggregate::Count { .. } => "count".into(),
        Aggregate::Sum(field) => format!("sum({field})"),
        Aggregate::Average(field) => format!("avg({field})"),
    }
}

fn member(asked: &mut Asked, name: &str, json: &Json, context: &Context<'_>) -> Result<(), JsonError> {
    match name {
        "where" => asked.spec.filter = Some(filter(json, context)?),
        "orderBy" => asked.spec.orders = each(json, order)?,
        "limit" if json == "all" => asked.all = true,
        "limit" => asked.spec.limit = Some(Limit::First(count(json, 1)?)),
        "limitToLast" => asked.spec.limit = Some(Limit::Last(count(json, 1)?)),
        "offset" => asked.spec.offset = count(json, 0)?,
        "startAt" => asked.start = Some(edge("startAt", json, context)?),
        "startAfter" => asked.start = Some(edge("startAfter", json, context)?),
        "endAt" => asked.end = Some(edge("endAt", json, context)?),
        "endBefore" => asked.end = Some(edge("endBefore", json, context)?),
        "select" => asked.spec.select = Some(each(json, field)?),
        "group" => {
            json.as_bool().ok_or_else(|| JsonError::new("true or false is expected"))?;
        }
        "aggregates" => {
            asked.spec.aggregates = each(json, aggregate)?;
            if asked.spec.aggregates.is_empty() {
                return Err(JsonError::new("at least one aggregate is expected"));
            }
        }
        _ => return Err(JsonError::new("this is not a key of a query")),
    }
    Ok(())
}

fn each<T>(json: &Json, read: impl Fn(&Json) -> Result<T, JsonError>) -> Result<Vec<T>, JsonError> {
    let Json::Array(items) = json else {
        return Err(JsonError::new(format!("an array is expected, this is {}", kind(json))));
    };
    items.iter().enumerate().map(|(index, item)| read(item).map_err(|error| error.at_index(index))).collect()
}

fn filter(json: &Json, context: &Context<'_>) -> Result<Filter, JsonError> {
    match json {
        Json::Array(parts) => {
            let [field_json, operator_json, value] = parts.as_slice() else {
                return Err(JsonError::new("[field, operator, value] is expected"));
            };
            let field = field(field_json).map_err(|error| error.at_index(0))?;
            let operator = operator_json.as_str().and_then(operator);
            let operator = operator.ok_or_else(|| {
                JsonError::new(format!("{operator_json} is not an operator; {OPERATORS}")).at_index(1)
            })?;
            let value = operand(operator, value, context).map_err(|error| error.at_index(2))?;
            Ok(Filter::field(field, operator, value))
        }
        Json::Object(object) if object.len() == 1 => {
            let filters = |json: &Json, name: &str| {
                let filters = each(json, |json| filter(json, context)).map_err(|error| error.within(name))?;
                if filters.is_empty() {
                    Err(JsonError::new("at least one filter is expected").within(name))
                } else {
                    Ok(filters)
                }
            };
            match (object.get("and"), object.get("or")) {
                (Some(json), _) => Ok(Filter::And(filters(json, "and")?)),
                (_, Some(json)) => Ok(Filter::Or(filters(json, "or")?)),
                (None, None) => {
                    Err(JsonError::new("[field, operator, value], {\"and\": […]} or {\"or\": […]} is expected"))
                }
            }
        }
        _ => Err(JsonError::new("[field, operator, value], {\"and\": […]} or {\"or\": […]} is expected")),
    }
}

/// The value that an operator compares with; a list where it takes one, whose items may be arrays.
pub(crate) fn operand(operator: Operator, json: &Json, context: &Context<'_>) -> Result<Value, JsonError> {
    if operator.takes_list() {
        each(json, |item| to_value(item, context)).map(Value::Array)
    } else {
        to_value(json, context)
    }
}

/// Said to whoever wrote another operator.
pub(crate) const OPERATORS: &str = "the operators are eq ne lt le gt ge in not-in array-contains array-contains-any";

/// An operator by its word or sign.
pub(crate) fn operator(text: &str) -> Option<Operator> {
    Some(match text {
        "eq" | "==" => Operator::Equal,
        "ne" | "!=" => Operator::NotEqual,
        "lt" | "<" => Operator::Less,
        "le" | "<=" => Operator::LessOrEqual,
        "gt" | ">" => Operator::Greater,
        "ge" | ">=" => Operator::GreaterOrEqual,
        "in" => Operator::In,
        "not-in" => Operator::NotIn,
        "array-contains" => Operator::ArrayContains,
        "array-contains-any" => Operator::ArrayContainsAny,
        _ => return None,
    })
}

fn field(json: &Json) -> Result<FieldPath, JsonError> {
    let text =
        json.as_str().ok_or_else(|| JsonError::new(format!("a field path is expected, this is {}", kind(json))))?;
    FieldPath::parse(text).map_err(|error| JsonError::new(error.to_string()))
}

fn order(json: &Json) -> Result<Order, JsonError> {
    let Some([name, direction]) = json.as_array().map(Vec::as_slice) else {
        return Err(JsonError::new("[field, \"asc\" or \"desc\"] is expected"));
    };
    let field = field(name).map_err(|error| error.at_index(0))?;
    let direction = match direction.as_str() {
        Some("asc") => Direction::Ascending,
        Some("desc") => Direction::Descending,
        _ => return Err(JsonError::new("\"asc\" or \"desc\" is expected").at_index(1)),
    };
    Ok(Order { field, direction })
}

fn count(json: &Json, min: u32) -> Result<u32, JsonError> {
    let count = json.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count >= min);
    count.ok_or_else(|| JsonError::new(format!("an integer from {min} is expected")))
}

fn edge(name: &'static str, json: &Json, context: &Context<'_>) -> Result<Edge, JsonError> {
    let place = match json {
        Json::Array(_) => EdgePlace::Values(each(json, |item| to_value(item, context))?),
        Json::String(path) => {
            EdgePlace::Document(DocPath::parse(path).map_err(|error| JsonError::new(error.to_string()))?)
        }
        other => {
            return Err(JsonError::new(format!(
                "an array of values or a document's path is expected, this is {}",
                kind(other)
            )));
        }
    };
    Ok(Edge { name, place })
}

fn aggregate(json: &Json) -> Result<Aggregate, JsonError> {
    let wrong = || JsonError::new("{\"count\": true}, {\"sum\": field} or {\"avg\": field} is expected");
    let Some((name, inner)) =
        json.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next())
    else {
        return Err(wrong());
    };
    match name.as_str() {
        "count" if inner == &Json::Bool(true) => Ok(Aggregate::Count { up_to: None }),
        "sum" => field(inner).map(Aggregate::Sum).map_err(|error| error.within(name)),
        "avg" => field(inner).map(Aggregate::Average).map_err(|error| error.within(name)),
        _ => Err(wrong()),
    }
}
