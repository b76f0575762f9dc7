//! Queries evaluated from their specification in the plainest way: look at everything, sort, cut.

use std::cmp::Ordering;

use hearth_core::order::{Class, compare, equal};
use hearth_core::query::{Aggregate, Cursor, Filter, Limit, Operator, Order, QuerySpec, Source};
use hearth_core::value::{Map, Value, lookup};
use hearth_core::{Direction, DocPath, Document, FieldPath};

/// The result, in order.
pub(crate) fn result<'a>(spec: &QuerySpec, docs: impl Iterator<Item = &'a Document>) -> Vec<&'a Document> {
    let orders = orders(spec);
    let mut found: Vec<&Document> = docs
        .filter(|doc| stands_in(&spec.source, &doc.path))
        .filter(|doc| spec.filter.as_ref().is_none_or(|filter| passes(filter, doc)))
        .filter(|doc| orders.iter().all(|order| order.field.is_name() || doc.get(&order.field).is_some()))
        .filter(|doc| spec.start.as_ref().is_none_or(|start| is_behind(&orders, doc, start)))
        .filter(|doc| spec.end.as_ref().is_none_or(|end| !is_behind(&orders, doc, end)))
        .collect();
    found.sort_by(|a, b| {
        let step = |order: &Order| {
            let rising = match (a.get(&order.field), b.get(&order.field)) {
                (Some(a), Some(b)) => compare(a, b),
                _ => a.path.cmp(&b.path),
            };
            turned(rising, order.direction)
        };
        orders.iter().map(step).find(|step| step.is_ne()).unwrap_or(Ordering::Equal)
    });
    found.drain(..found.len().min(spec.offset as usize));
    match spec.limit {
        None => {}
        Some(Limit::First(limit)) => found.truncate(limit as usize),
        Some(Limit::Last(limit)) => {
            found.drain(..found.len().saturating_sub(limit as usize));
        }
    }
    found
}

/// The full order, the implied steps included.
pub(crate) fn orders(spec: &QuerySpec) -> Vec<Order> {
    let mut orders = spec.orders.clone();
    let direction = orders.last().map_or(Direction::Ascending, |order| order.direction);
    let mut fields = Vec::new();
    spec.filter.iter().for_each(|filter| inequalities(filter, &mut fields));
    fields.sort();
    fields.retain(|field| !field.is_name());
    fields.push(FieldPath::name());
    for field in fields {
        if orders.iter().all(|order| order.field != field) {
            orders.push(Order { field, direction });
        }
    }
    orders
}

fn inequalities(filter: &Filter, fields: &mut Vec<FieldPath>) {
    use Operator::{Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual, NotIn};
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| inequalities(part, fields)),
        Filter::IsNotNull(field) | Filter::IsNotNan(field) => fields.push(field.clone()),
        Filter::Field { field, operator, .. }
            if [Less, LessOrEqual, Greater, GreaterOrEqual, NotEqual, NotIn].contains(operator) =>
        {
            fields.push(field.clone());
        }
        _ => {}
    }
}

fn stands_in(source: &Source, path: &DocPath) -> bool {
    let names: Vec<&str> = path.segments().collect();
    let below = |ancestor: &Option<DocPath>| {
        ancestor.as_ref().is_none_or(|ancestor| {
            let above: Vec<&str> = ancestor.segments().collect();
            names.len() > above.len() && names.starts_with(&above)
        })
    };
    match source {
        Source::Collection(collection) => {
            let above: Vec<&str> = collection.segments().collect();
            names.len() == above.len() + 1 && names.starts_with(&above)
        }
        Source::Group { below: ancestor, id } => below(ancestor) && names[names.len() - 2] == id.as_str(),
        Source::Below(ancestor) => below(ancestor),
        Source::Documents(paths) => paths.contains(path),
    }
}

fn turned(order: Ordering, direction: Direction) -> Ordering {
    match direction {
        Direction::Ascending => order,
        Direction::Descending => order.reverse(),
    }
}

/// Whether a document stands behind the cursor's place.
fn is_behind(orders: &[Order], doc: &Document, cursor: &Cursor) -> bool {
    let step = |(order, value): (&Order, &Value)| {
        let rising = match (doc.get(&order.field), value) {
            (None, Value::Reference(name)) => doc.path.cmp(&name.path),
            (Some(found), value) => compare(found, value),
            other => panic!("a cursor's value meets nothing: {other:?}"),
        };
        turned(rising, order.direction)
    };
    match orders.iter().zip(&cursor.values).map(step).find(|step| step.is_ne()) {
        Some(step) => step.is_gt(),
        None => cursor.before,
    }
}

fn passes(filter: &Filter, doc: &Document) -> bool {
    let is_nan = |value: &Value| matches!(value, Value::Double(number) if number.is_nan());
    match filter {
        Filter::And(parts) => parts.iter().all(|part| passes(part, doc)),
        Filter::Or(parts) => parts.iter().any(|part| passes(part, doc)),
        Filter::IsNull(field) => doc.get(field) == Some(&Value::Null),
        Filter::IsNotNull(field) => doc.get(field).is_some_and(|value| *value != Value::Null),
        Filter::IsNan(field) => doc.get(field).is_some_and(is_nan),
        Filter::IsNotNan(field) => doc.get(field).is_some_and(|value| *value != Value::Null && !is_nan(value)),
        Filter::Field { field, operator, value } if field.is_name() => named(&doc.path, *operator, value),
        Filter::Field { field, operator, value } => {
            let Some(found) = doc.get(field) else { return false };
            let lone = |value: &Value| *value == Value::Null || is_nan(value);
            let ordered = Class::of(found) == Class::of(value) && !lone(value) && !lone(found);
            let order = compare(found, value);
            let list = |value: &Value| match value {
                Value::Array(values) => values.clone(),
                _ => Vec::new(),
            };
            let contains =
                |values: &[Value], value: &Value| !lone(value) && values.iter().any(|other| equal(other, value));
            match operator {
                Operator::Less => ordered && order.is_lt(),
                Operator::LessOrEqual => ordered && order.is_le(),
                Operator::Greater => ordered && order.is_gt(),
                Operator::GreaterOrEqual => ordered && order.is_ge(),
                Operator::Equal => order.is_eq(),
                Operator::NotEqual => *found != Value::Null && order.is_ne(),
                Operator::ArrayContains => contains(&list(found), value),
                Operator::In => contains(&list(value), found),
                Operator::ArrayContainsAny => list(value).iter().any(|value| contains(&list(found), value)),
                Operator::NotIn => {
                    *found != Value::Null && !list(value).contains(&Value::Null) && !contains(&list(value), found)
                }
            }
        }
    }
}

fn named(path: &DocPath, operator: Operator, value: &Value) -> bool {
    let order = |value: &Value| match value {
        Value::Reference(name) => path.cmp(&name.path),
        other => panic!("a name is compared with {other:?}"),
    };
    let any = || match value {
        Value::Array(values) => values.iter().any(|value| order(value).is_eq()),
        other => panic!("a name is looked for in {other:?}"),
    };
    match operator {
        Operator::Less => order(value).is_lt(),
        Operator::LessOrEqual => order(value).is_le(),
        Operator::Greater => order(value).is_gt(),
        Operator::GreaterOrEqual => order(value).is_ge(),
        Operator::Equal => order(value).is_eq(),
        Operator::NotEqual => order(value).is_ne(),
        Operator::In => any(),
        Operator::NotIn => !any(),
        Operator::ArrayContains | Operator::ArrayContainsAny => panic!("{operator} of a name"),
    }
}

/// The numbers of a result. Exact, since `model/draw.rs` makes no doubles but infinities, NaN and whole quarters.
pub(crate) fn numbers(spec: &QuerySpec, result: &[&Document]) -> Vec<Value> {
    let of = |field: &FieldPath| Numbers::of(result.iter().map(|doc| &doc.fields), field);
    spec.aggregates
        .iter()
        .map(|aggregate| match aggregate {
            Aggregate::Count { up_to } => Value::Integer((result.len() as u64).min(up_to.unwrap_or(u64::MAX)) as i64),
            Aggregate::Sum(field) => of(field).sum(),
            Aggregate::Average(field) => of(field).average(),
        })
        .collect()
}

struct Numbers {
    quarters: i128,
    count: i128,
    has_double: bool,
    /// What NaN and infinities add up to, where there are any.
    special: Option<f64>,
}

impl Numbers {
    fn of<'a>(docs: impl Iterator<Item = &'a Map>, field: &FieldPath) -> Self {
        let mut numbers = Self { quarters: 0, count: 0, has_double: false, special: None };
        for value in docs.filter_map(|fields| lookup(fields, field)) {
            match value {
                Value::Integer(number) => numbers.quarters += i128::from(*number) * 4,
                Value::Double(number) => {
                    numbers.has_double = true;
                    if number.is_finite() {
                        numbers.quarters += (number * 4.0) as i128;
                    } else {
                        numbers.special = Some(numbers.special.unwrap_or(0.0) + number);
                    }
                }
                _ => continue,
            }
            numbers.count += 1;
        }
        numbers
    }

    fn sum(&self) -> Value {
        let whole = i64::try_from(self.quarters / 4);
        match (self.special, whole) {
            (Some(special), _) => Value::Double(special),
            (None, Ok(whole)) if !self.has_double => Value::Integer(whole),
            (None, _) => Value::Double(self.quarters as f64 / 4.0),
        }
    }

    fn average(&self) -> Value {
        match self.special {
            _ if self.count == 0 => Value::Null,
            Some(special) => Value::Double(special),
            // The sum as it is told, divided: rounded twice.
            None => Value::Double(self.quarters as f64 / 4.0 / self.count as f64),
        }
    }
}
