//! What Firestore refuses of documents' names in queries, since none of its indexes could answer it. Ours could; but the tests of
//! Firestore's own SDKs ask for these refusals, in these words.
//!
//! Source: the answers of Google's emulator, and what the web SDK expects of the cloud.

use hearth_core::query::{Filter, Operator, QuerySpec};

use crate::status::Refusal;

/// Refuses a query by what it asks of names.
pub(crate) fn check_named(spec: &QuerySpec) -> Result<(), Refusal> {
    let mut asked = Asked::default();
    if let Some(filter) = &spec.filter {
        asked.look(filter);
    }
    let is_ordered = |name: &hearth_core::FieldPath| spec.orders.iter().any(|order| order.field == *name);
    if let Some(place) = spec.orders.iter().position(|order| order.field.is_name()) {
        // Fields with an inequality are ordered by behind those that are spelled out.
        let is_last = place + 1 == spec.orders.len() && asked.unequal.iter().all(|field| is_ordered(field));
        if !is_last {
            return Err(Refusal::invalid("order by clause cannot contain more fields after the key"));
        }
    }
    if asked.equal_name && !asked.unequal_name && !asked.unequal.is_empty() {
        return Err(Refusal::invalid(
            "Equality on key is not allowed if there are other inequality fields and key does not appear in inequalities.",
        ));
    }
    Ok(())
}

/// How a filter asks for names and for other fields.
#[derive(Default)]
struct Asked<'a> {
    equal_name: bool,
    unequal_name: bool,
    /// The other fields with an inequality.
    unequal: Vec<&'a hearth_core::FieldPath>,
}

impl<'a> Asked<'a> {
    fn look(&mut self, filter: &'a Filter) {
        let (field, is_inequality) = match filter {
            Filter::And(parts) | Filter::Or(parts) => return parts.iter().for_each(|part| self.look(part)),
            Filter::Field { field, operator, .. } => {
                self.equal_name |= field.is_name() && matches!(operator, Operator::Equal | Operator::In);
                (field, operator.is_inequality())
            }
            Filter::IsNotNull(field) | Filter::IsNotNan(field) => (field, true),
            Filter::IsNull(field) | Filter::IsNan(field) => (field, false),
        };
        match is_inequality {
            true if field.is_name() => self.unequal_name = true,
            true => self.unequal.push(field),
            false => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_core::query::{Order, Source};
    use hearth_core::{Direction, FieldPath, Value};

    fn field(text: &str) -> FieldPath {
        if text == "__name__" { FieldPath::name() } else { FieldPath::parse(text).unwrap() }
    }

    /// `a>`, `a=`, `a in`, `__name__=`: a field and how it is compared.
    fn filter(text: &str) -> Filter {
        let split = text.find([' ', '=', '>', '!']).unwrap_or(text.len());
        let field = field(&text[..split]);
        let operator = match text[split..].trim() {
            "=" => Operator::Equal,
            ">" => Operator::Greater,
            "!=" => Operator::NotEqual,
            "in" => Operator::In,
            "not-in" => Operator::NotIn,
            "is there" => return Filter::IsNotNull(field),
            "is null" => return Filter::IsNull(field),
            other => panic!("{other} is no operator of this test"),
        };
        Filter::Field { field, operator, value: Value::Integer(1) }
    }

    fn check(filters: &[&str], orders: &[&str], want: &str) {
        for join in [Filter::And, Filter::Or] {
            let parts: Vec<_> = filters.iter().map(|text| filter(text)).collect();
            let orders = orders.iter().map(|text| Order { field: field(text), direction: Direction::Ascending });
            let filter = (!parts.is_empty()).then(|| join(parts));
            let spec = QuerySpec { filter, orders: orders.collect(), ..QuerySpec::all(Source::Below(None)) };
            let got = check_named(&spec).map_or_else(|refusal| refusal.to_string(), |()| "ok".to_owned());
            assert_eq!(got, want, "{filters:?} by {:?}", spec.orders);
        }
    }

    #[test]
    fn nothing_is_ordered_by_behind_the_name() {
        const BEHIND: &str = "InvalidArgument: order by clause cannot contain more fields after the key";
        for orders in [&["__name__", "a"][..], &["a", "__name__", "b"], &["__name__", "__name__"]] {
            check(&[], orders, BEHIND);
        }
        for filters in ["a!=", "a>", "a not-in", "a is there"] {
            check(&[filters], &["__name__"], BEHIND);
            check(&[filters], &["a", "__name__"], "ok");
        }
        check(&["a>", "b>"], &["a", "__name__"], BEHIND);
        check(&["__name__>", "a>"], &["__name__"], BEHIND);
        for filters in ["a=", "a in", "a is null", "__name__>"] {
            check(&[filters], &["__name__"], "ok");
        }
        check(&["__name__>"], &["a"], "ok");
    }

    #[test]
    fn a_name_that_is_equal_stands_beside_no_inequality_of_others_alone() {
        const EQUAL: &str = "InvalidArgument: Equality on key is not allowed if there are other inequality fields and key does not appear in inequalities.";
        for filters in
            [["__name__=", "a>"], ["__name__ in", "a!="], ["__name__=", "a is there"], ["a not-in", "__name__="]]
        {
            check(&filters, &[], EQUAL);
            check(&filters, &["a"], EQUAL);
        }
        check(&["__name__=", "a>", "__name__>"], &[], "ok");
        check(&["__name__=", "__name__>"], &[], "ok");
        check(&["__name__=", "a="], &["b"], "ok");
        check(&["__name__!=", "a>"], &[], "ok");
    }
}
