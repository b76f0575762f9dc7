//! Queries as bytes: equal bytes, equal queries. The hash of them stands in tokens, so neither ever changes.
//!
//! Values stand as their keys, so `== 1` and `== 1.0`, which mean the same, are the same. Every part carries its
//! length or closes itself, so no two queries share bytes by accident.

use super::{Aggregate, Filter, Limit, Operator, Query, Source};
use crate::field::FieldPath;
use crate::keys::{self, Direction};
use crate::path::DocPath;
use crate::value::Value;

/// The form of these bytes. A new form makes all tokens of older ones start over.
const FORM: u8 = 1;

/// FNV-1a with 64 bits, written out because a library's may change.
/// Source: Fowler, Noll and Vo, "The FNV Non-Cryptographic Hash Algorithm".
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) fn encode(query: &Query) -> Box<[u8]> {
    let mut out = vec![FORM];
    source(&query.source, &mut out);
    match &query.filter {
        None => out.push(0),
        Some(filter) => push_filter(filter, &mut out),
    }
    count(query.orders.len(), &mut out);
    for order in &query.orders {
        field(&order.field, &mut out);
        out.push(match order.direction {
            Direction::Ascending => 1,
            Direction::Descending => 2,
        });
    }
    for bound in [&query.lower, &query.upper] {
        optional(bound.as_deref(), &mut out, bytes);
    }
    let (kind, limit) = match query.limit {
        None => (0, 0),
        Some(Limit::First(limit)) => (1, limit),
        Some(Limit::Last(limit)) => (2, limit),
    };
    out.push(kind);
    out.extend(limit.to_be_bytes());
    out.extend(query.offset.to_be_bytes());
    optional(query.select.as_ref(), &mut out, |fields, out| {
        count(fields.len(), out);
        fields.iter().for_each(|path| field(path, out));
    });
    count(query.aggregates.len(), &mut out);
    for aggregate in &query.aggregates {
        match aggregate {
            Aggregate::Count { up_to } => {
                out.push(1);
                optional(*up_to, &mut out, |up_to, out| out.extend(up_to.to_be_bytes()));
            }
            Aggregate::Sum(path) => {
                out.push(2);
                field(path, &mut out);
            }
            Aggregate::Average(path) => {
                out.push(3);
                field(path, &mut out);
            }
        }
    }
    out.into()
}

/// One filter's bytes; by them the parts of a composite are sorted.
pub(super) fn of_filter(filter: &Filter) -> Vec<u8> {
    let mut out = Vec::new();
    push_filter(filter, &mut out);
    out
}

fn push_filter(filter: &Filter, out: &mut Vec<u8>) {
    let unary = |kind: u8, path: &FieldPath, out: &mut Vec<u8>| {
        out.push(kind);
        field(path, out);
    };
    match filter {
        Filter::And(parts) | Filter::Or(parts) => {
            out.push(if matches!(filter, Filter::And(_)) { 1 } else { 2 });
            count(parts.len(), out);
            parts.iter().for_each(|part| push_filter(part, out));
        }
        Filter::Field { field: path, operator: how, value } => {
            out.push(3);
            field(path, out);
            out.push(operator(*how));
            match value {
                Value::Array(values) if how.takes_list() => {
                    count(values.len(), out);
                    values.iter().for_each(|value| operand(path, value, out));
                }
                value => operand(path, value, out),
            }
        }
        Filter::IsNull(path) => unary(4, path, out),
        Filter::IsNotNull(path) => unary(5, path, out),
        Filter::IsNan(path) => unary(6, path, out),
        Filter::IsNotNan(path) => unary(7, path, out),
    }
}

/// A value; compared with the name, only the path of a reference counts.
fn operand(path: &FieldPath, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Reference(reference) if path.is_name() => doc(&reference.path, out),
        value => keys::encode_value(value, Direction::Ascending, out),
    }
}

fn operator(operator: Operator) -> u8 {
    match operator {
        Operator::Less => 1,
        Operator::LessOrEqual => 2,
        Operator::Greater => 3,
        Operator::GreaterOrEqual => 4,
        Operator::Equal => 5,
        Operator::NotEqual => 6,
        Operator::ArrayContains => 7,
        Operator::In => 8,
        Operator::ArrayContainsAny => 9,
        Operator::NotIn => 10,
    }
}

fn source(source: &Source, out: &mut Vec<u8>) {
    match source {
        Source::Collection(path) => {
            out.push(1);
            bytes(path.as_str().as_bytes(), out);
        }
        Source::Group { below, id } => {
            out.push(2);
            optional(below.as_ref(), out, doc);
            bytes(id.as_str().as_bytes(), out);
        }
        Source::Below(below) => {
            out.push(3);
            optional(below.as_ref(), out, doc);
        }
        Source::Documents(paths) => {
            out.push(4);
            count(paths.len(), out);
            paths.iter().for_each(|path| doc(path, out));
        }
    }
}

fn doc(path: &DocPath, out: &mut Vec<u8>) {
    bytes(path.as_str().as_bytes(), out);
}

fn field(path: &FieldPath, out: &mut Vec<u8>) {
    count(path.names().len(), out);
    path.names().iter().for_each(|name| bytes(name.as_bytes(), out));
}

fn optional<T>(value: Option<T>, out: &mut Vec<u8>, push: impl Fn(T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        push(value, out);
    }
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn count(count: usize, out: &mut Vec<u8>) {
    out.extend((count as u64).to_be_bytes());
}
