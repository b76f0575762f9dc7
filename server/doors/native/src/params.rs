//! Query parameters: form-encoded text that can be typed, as strict as JSON about what it means.
//!
//! Every fault names its parameter and the column, in characters from 1 of the decoded text, where it stopped making
//! sense. What parameters a request may bear is up to the request.

use std::borrow::Cow;

use hearth_core::keys::Direction;
use hearth_core::query::{Aggregate, Filter, Limit, Order, Source};
use hearth_core::{DocPath, FieldPath, FieldPathError, Version};
use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use crate::json::{Context, to_value};
use crate::problem::Problem;
use crate::query_json::{Asked, Edge, EdgePlace, OPERATORS, check, operand, operator};

/// The parameters that make a query.
pub(crate) const QUERY: [&str; 14] = [
    "where",
    "or",
    "orderBy",
    "limit",
    "limitToLast",
    "offset",
    "startAt",
    "startAfter",
    "endAt",
    "endBefore",
    "select",
    "count",
    "sum",
    "avg",
];

/// The parameters of one request, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Takes the query of a URL apart: `&` between, `=` inside, `+` for a space, `%` for the rest.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let pairs = query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name).ok_or_else(|| Problem::invalid("the name of a parameter is not UTF-8"))?;
            let value = decode(value).ok_or_else(|| Problem::parameter(&name, 1, "this is not UTF-8"))?;
            Ok((name, value))
        });
        Ok(Self { pairs: pairs.collect::<Result<_, Problem>>()? })
    }

    /// Refuses any parameter but those of `sets`.
    pub fn only(&self, sets: &[&[&str]]) -> Result<(), Problem> {
        match self.pairs.iter().find(|(name, _)| !sets.iter().any(|set| set.contains(&name.as_str()))) {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(format!("the parameter {name:?} means nothing here")).at(name)),
        }
    }

    /// A parameter that may stand once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.every(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Problem::invalid("this parameter may stand only once").at(name)),
            (value, None) => Ok(value),
        }
    }

    /// A parameter that stands there or not, without a value. `true` and `false` are understood too.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::parameter(name, 1, "this parameter takes no value")),
        }
    }

    /// A parameter that is a version.
    pub fn version(&self, name: &str) -> Result<Option<Version>, Problem> {
        self.one(name)?
            .map(|text| parse_version(text).ok_or_else(|| Problem::parameter(name, 1, "a version is expected")))
            .transpose()
    }

    /// Every value of a parameter, in order.
    pub fn every(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The query that the parameters ask for.
    pub fn asked(&self, source: Source, context: &Context<'_>) -> Result<Asked, Problem> {
        let mut asked = Asked::all_of(source);
        let mut filters = Vec::new();
        for (name, value) in &self.pairs {
            let reader = Reader { name, text: value, context };
            match name.as_str() {
                "where" => filters.push(reader.comparison(value, 0)?),
                "or" => filters.push(reader.group()?),
                "orderBy" => asked.spec.orders.push(reader.order()?),
                "sum" => asked.spec.aggregates.push(Aggregate::Sum(reader.field(value, 0)?)),
                "avg" => asked.spec.aggregates.push(Aggregate::Average(reader.field(value, 0)?)),
                "select" => {
                    let fields = asked.spec.select.get_or_insert_default();
                    if !value.is_empty() {
                        fields.push(reader.field(value, 0)?);
                    }
                }
                _ => {}
            }
        }
        if self.flag("count")? {
            asked.spec.aggregates.insert(0, Aggregate::Count { up_to: None });
        }
        asked.spec.filter = match filters.len() {
            0 => None,
            1 => filters.pop(),
            _ => Some(Filter::And(filters)),
        };
        for (a, b) in [("startAt", "startAfter"), ("endAt", "endBefore"), ("limit", "limitToLast")] {
            if self.one(a)?.is_some() && self.one(b)?.is_some() {
                return Err(Problem::invalid(format!("{a} excludes {b}")).at(b));
            }
        }
        asked.spec.limit = self.count("limitToLast", 1)?.map(Limit::Last);
        match self.one("limit")? {
            Some("all") => asked.all = true,
            Some(_) => asked.spec.limit = self.count("limit", 1)?.map(Limit::First),
            None => {}
        }
        asked.spec.offset = self.count("offset", 0)?.unwrap_or(0);
        asked.start = self.edge("startAt", context)?.or(self.edge("startAfter", context)?);
        asked.end = self.edge("endAt", context)?.or(self.edge("endBefore", context)?);
        check(&asked).map_err(|(name, detail)| Problem::invalid(detail).at(name))?;
        Ok(asked)
    }

    fn count(&self, name: &str, min: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let count = text.parse().ok().filter(|count: &u32| *count >= min && text.bytes().all(|b| b.is_ascii_digit()));
        count.map(Some).ok_or_else(|| Problem::parameter(name, 1, format!("an integer from {min} is expected")))
    }

    fn edge(&self, name: &'static str, context: &Context<'_>) -> Result<Option<Edge>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let reader = Reader { name, text, context };
        let place = if text.starts_with('[') {
            let Json::Array(items) = reader.json(text, 0)? else {
                return Err(reader.fault(0, "a JSON array or a document's path is expected"));
            };
            let values =
                items.iter().map(|item| to_value(item, context).map_err(|error| reader.fault(0, error.detail)));
            EdgePlace::Values(values.collect::<Result<_, _>>()?)
        } else {
            EdgePlace::Document(DocPath::parse(text).map_err(|error| reader.fault(0, error.to_string()))?)
        };
        Ok(Some(Edge { name, place }))
    }

    /// The parameters again as the query of a URL, but for those that `drop` names, and with `add` behind them.
    pub(crate) fn print(&self, drop: &[&str], add: &[(&str, String)]) -> String {
        let kept = self.pairs.iter().filter(|(name, _)| !drop.contains(&name.as_str()));
        let pairs =
            kept.map(|(name, value)| (name.as_str(), value)).chain(add.iter().map(|(name, value)| (*name, value)));
        let parts: Vec<String> = pairs
            .map(|(name, value)| match value.as_str() {
                "" => encode(name),
                value => format!("{}={}", encode(name), encode(value)),
            })
            .collect();
        parts.join("&")
    }
}

/// A version as it is written: digits without leading zeros.
pub(crate) fn parse_version(text: &str) -> Option<Version> {
    let micros: u64 = text.parse().ok()?;
    (micros.to_string() == text).then_some(Version::from_micros(micros))
}

fn decode(text: &str) -> Option<String> {
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// One parameter that is being read.
struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    context: &'a Context<'a>,
}

impl Reader<'_> {
    /// A fault at a byte of the parameter's text.
    fn fault(&self, byte: usize, detail: impl Into<String>) -> Problem {
        let column = self.text.get(..byte).map_or(1, |before| before.chars().count() + 1);
        Problem::parameter(self.name, column, detail)
    }

    /// `a eq 1|b eq 2`: any of these.
    fn group(&self) -> Result<Filter, Problem> {
        let parts = split_outside_quotes(self.text, '|').into_iter();
        let filters = parts.map(|(start, part)| self.comparison(part, start)).collect::<Result<_, _>>()?;
        Ok(Filter::Or(filters))
    }

    /// `field operator value`, beginning at a byte of the parameter.
    fn comparison(&self, text: &str, start: usize) -> Result<Filter, Problem> {
        let words = Words { text, at: 0 };
        let (field_at, field_text, words) = words.next();
        if field_text.is_empty() {
            return Err(self.fault(start + field_at, "a field, an operator and a value are expected"));
        }
        let field = self.field(field_text, start + field_at)?;
        let (operator_at, operator_text, words) = words.next();
        let operator = operator(operator_text).ok_or_else(|| {
            let what = if operator_text.is_empty() {
                "an operator is expected".into()
            } else {
                format!("{operator_text:?} is not an operator")
            };
            self.fault(start + operator_at, format!("{what}; {OPERATORS}"))
        })?;
        let (value_at, value_text) = words.rest();
        if value_text.is_empty() {
            return Err(self.fault(start + value_at, "a value is expected"));
        }
        let json = self.value(value_text, start + value_at)?;
        let value =
            operand(operator, &json, self.context).map_err(|error| self.fault(start + value_at, error.detail))?;
        Ok(Filter::field(field, operator, value))
    }

    /// A bare word begins with a letter and is text; anything else is JSON, and so are `true`, `false` and `null`.
    fn value(&self, text: &str, at: usize) -> Result<Json, Problem> {
        let bare = text.chars().next().is_some_and(char::is_alphabetic) && !matches!(text, "true" | "false" | "null");
        if !bare {
            return self.json(text, at);
        }
        match text.find(char::is_whitespace) {
            None => Ok(Json::String(text.to_owned())),
            Some(space) => Err(self.fault(at + space, "a bare word has no spaces; put the text in quotes")),
        }
    }

    fn json(&self, text: &str, at: usize) -> Result<Json, Problem> {
        serde_json::from_str(text).map_err(|error| {
            // The parser counts bytes within a line, and says where behind the last byte it gave up.
            let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
            let byte = (lines.sum::<usize>() + error.column().saturating_sub(1)).min(text.len());
            let byte = (0..=byte).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0);
            let told = error.to_string();
            let what = told.split(" at line ").next().unwrap_or(&told);
            self.fault(at + byte, format!("this is neither a bare word nor JSON: {what}"))
        })
    }

    fn field(&self, text: &str, at: usize) -> Result<FieldPath, Problem> {
        FieldPath::parse(text).map_err(|error| {
            let column = match &error {
                FieldPathError::EmptyName { column }
                | FieldPathError::Unexpected { column, .. }
                | FieldPathError::Unclosed { column } => *column,
                FieldPathError::Empty
                | FieldPathError::Reserved { .. }
                | FieldPathError::TooLong { .. }
                | FieldPathError::TooDeep { .. } => 1,
            };
            let before = text.char_indices().nth(column - 1).map_or(text.len(), |(byte, _)| byte);
            let told = error.to_string();
            // The column within the field would contradict the one within the parameter.
            let what = told.replace(&format!(" at column {column}"), "");
            self.fault(at + before, what)
        })
    }

    fn order(&self) -> Result<Order, Problem> {
        let (field_at, field, words) = Words { text: self.text, at: 0 }.next();
        let field = self.field(field, field_at)?;
        let (direction_at, direction, words) = words.next();
        let direction = match direction {
            "" | "asc" => Direction::Ascending,
            "desc" => Direction::Descending,
            _ => return Err(self.fault(direction_at, "asc or desc is expected")),
        };
        match words.rest() {
            (_, "") => Ok(Order { field, direction }),
            (at, _) => Err(self.fault(at, "nothing more is expected; give orderBy again for the next field")),
        }
    }
}

/// Words separated by spaces; a space in back-ticks is part of a word.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word, where it stands, and what follows. Empty at the end.
    fn next(self) -> (usize, &'a str, Self) {
        let (start, rest) = self.rest();
        let mut quoted = false;
        let mut escaped = false;
        let end = rest.find(|c: char| {
            let ends = c.is_whitespace() && !quoted;
            quoted ^= c == '`' && !escaped;
            escaped = c == '\\' && quoted && !escaped;
            ends
        });
        let end = end.unwrap_or(rest.len());
        (start, &rest[..end], Self { text: self.text, at: start + end })
    }

    /// All that is left, without spaces at either end, and where it stands.
    fn rest(&self) -> (usize, &'a str) {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        (self.at + rest.len() - trimmed.len(), trimmed.trim_end())
    }
}

/// The parts of a text between separators that stand neither in quotes nor in back-ticks, with where each begins.
fn split_outside_quotes(text: &str, separator: char) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut quote, mut escaped) = (0, None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '`' => quote = Some(c),
            None if c == separator => {
                parts.push((start, &text[start..at]));
                start = at + c.len_utf8();
            }
            Some(_) | None => {}
        }
    }
    parts.push((start, &text[start..]));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::database;
    use expect_test::{Expect, expect};
    use hearth_core::CollectionPath;
    use proptest::prelude::*;

    fn ask(query: &str) -> Result<Asked, Problem> {
        let database = database();
        let params = Params::parse(query)?;
        params.only(&[&QUERY])?;
        params.asked(Source::Collection(CollectionPath::parse("messages").unwrap()), &Context::new(&database))
    }

    fn check(query: &str, want: Expect) {
        want.assert_eq(&match ask(query) {
            Err(problem) => format!("{}: {}", problem.at.unwrap_or_default(), problem.detail),
            Ok(asked) => {
                let mut parts = Vec::new();
                parts.extend(asked.spec.filter.map(|filter| print_filter(&filter)));
                parts.extend(
                    asked.spec.orders.iter().map(|order| format!("order {} {:?}", order.field, order.direction)),
                );
                parts.extend(asked.spec.limit.map(|limit| format!("{limit:?}")));
                parts.extend(asked.all.then(|| "all".into()));
                parts.extend((asked.spec.offset > 0).then(|| format!("offset {}", asked.spec.offset)));
                parts.extend(
                    [asked.start, asked.end]
                        .into_iter()
                        .flatten()
                        .map(|edge| format!("{} {:?}", edge.name, edge.place)),
                );
                parts.extend(asked.spec.select.map(|fields| format!("select {fields:?}")));
                parts.extend(asked.spec.aggregates.iter().map(crate::query_json::aggregate_name));
                parts.join("; ")
            }
        });
    }

    fn print_filter(filter: &Filter) -> String {
        let list = |filters: &[Filter]| filters.iter().map(print_filter).collect::<Vec<_>>().join(", ");
        match filter {
            Filter::And(filters) => format!("and({})", list(filters)),
            Filter::Or(filters) => format!("or({})", list(filters)),
            Filter::Field { field, operator, value } => format!("{field} {operator} {value:?}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_bare_word_is_text_and_everything_else_is_json() {
        check("where=room+eq+lobby", expect![[r#"room == Text("lobby")"#]]);
        check("where=room%20%3D%3D%20%22my%20lobby%22", expect![[r#"room == Text("my lobby")"#]]);
        check("where=likes+gt+9&where=done+eq+true", expect![[r#"and(likes > Integer(9), done == Bool(true))"#]]);
        check("where=code+eq+%2201234%22", expect![[r#"code == Text("01234")"#]]);
        check(
            "where=code+eq+01234",
            expect![[r#"where, column 10: this is neither a bare word nor JSON: invalid number"#]],
        );
        check("where=`a b`.c+in+[1,\"x\"]", expect![[r#"`a b`.c in Array([Integer(1), Text("x")])"#]]);
        check(
            "where=at+ge+{\"$timestamp\":\"2026-01-31T10:00:00Z\"}",
            expect![[r#"at >= Timestamp(Timestamp(1769853600000000))"#]],
        );
    }

    #[test]
    fn or_takes_alternatives_and_leaves_bars_in_quotes_alone() {
        check("or=room+eq+lobby|likes+gt+9", expect![[r#"or(room == Text("lobby"), likes > Integer(9))"#]]);
        check("or=room+eq+\"a|b\"|`x|y`+lt+1", expect![[r#"or(room == Text("a|b"), `x|y` < Integer(1))"#]]);
        check("or=room+eq+lobby|", expect![[r#"or, column 15: a field, an operator and a value are expected"#]]);
    }

    #[test]
    fn the_rest_of_a_query_is_typed_too() {
        check(
            "orderBy=sentAt+desc&orderBy=n&limit=50&offset=20&startAt=[5]&endBefore=messages/abc",
            expect![[
                r#"order sentAt Descending; order n Ascending; First(50); offset 20; startAt Values([Integer(5)]); endBefore Document("messages/abc")"#
            ]],
        );
        check(
            "limit=all&select=text&select=author.name",
            expect![[r#"all; select [FieldPath(["text"]), FieldPath(["author", "name"])]"#]],
        );
        check("select=", expect!["select []"]);
        check("count&sum=price&avg=price", expect!["count; sum(price); avg(price)"]);
        check("limitToLast=2&orderBy=n", expect!["order n Ascending; Last(2)"]);
    }

    #[test]
    fn a_fault_names_the_parameter_and_the_column() {
        check(
            "where=room+like+x",
            expect![[
                r#"where, column 6: "like" is not an operator; the operators are eq ne lt le gt ge in not-in array-contains array-contains-any"#
            ]],
        );
        check(
            "where=r%C3%A9+eq+x",
            expect![[r#"where, column 2: unexpected 'é'; put names that are not plain words in back-ticks"#]],
        );
        check("where=`r%C3%A9`+eq", expect![[r#"where, column 8: a value is expected"#]]);
        check(
            "where=room",
            expect![[
                r#"where, column 5: an operator is expected; the operators are eq ne lt le gt ge in not-in array-contains array-contains-any"#
            ]],
        );
        check(
            "where=room+eq+my+lobby",
            expect![[r#"where, column 11: a bare word has no spaces; put the text in quotes"#]],
        );
        check("where=tags+in+x", expect![[r#"where, column 9: an array is expected, this is text"#]]);
        check("where=a+eq+[1,]", expect![[r#"where, column 9: this is neither a bare word nor JSON: trailing comma"#]]);
        check("orderBy=n+down", expect![[r#"orderBy, column 3: asc or desc is expected"#]]);
        check("limit=0", expect![[r#"limit, column 1: an integer from 1 is expected"#]]);
        check("limit=1&limit=2", expect![[r#"limit: this parameter may stand only once"#]]);
        check("limit=1&limitToLast=2", expect![[r#"limitToLast: limit excludes limitToLast"#]]);
        check("limitToLast=2", expect![[r#"limitToLast: limitToLast needs orderBy"#]]);
        check(
            "startAt=a",
            expect![[r#"startAt, column 1: "a" has 1 segments; a document's path has an even number of them"#]],
        );
        check("order=n", expect![[r#"order: the parameter "order" means nothing here"#]]);
        check("where=%FF", expect![[r#"where, column 1: this is not UTF-8"#]]);
        check("count=3", expect![[r#"count, column 1: this parameter takes no value"#]]);
        check("sum=a&sum=a", expect![[r#"aggregates: sum(a) is asked for twice"#]]);
    }

    #[test]
    fn parameters_print_so_that_they_parse_again() {
        let params = Params::parse("where=a+eq+%22x%26y%22&count&at=7").unwrap();
        let printed = params.print(&["at"], &[("startAfter", "[1]".into())]);
        assert_eq!(printed, "where=a%20eq%20%22x%26y%22&count&startAfter=%5B1%5D");
        assert_eq!(Params::parse(&printed).unwrap().one("where").unwrap(), Some("a eq \"x&y\""));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(query in "((where|or|orderBy|startAt|limit|select|sum)=(\\PC|[`\"\\\\|+ %\\[\\]{}0-9a-f]| eq | in ){0,12}&?){0,3}") {
            let _ = ask(&query);
        }
    }
}
