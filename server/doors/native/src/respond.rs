//! Answers: which form a reader accepts, and a result as the text of it, encoded as it leaves.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use hearth_core::DatabaseName;
use hearth_core::query::Query;
use hearth_engine::Answer;
use serde_json::json;

use crate::json::{Context, print, write_aggregates, write_document, write_text};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Json,
    /// A document a line.
    Lines,
    /// Server-sent events.
    Events,
    /// A page for a person.
    Page,
}

impl Form {
    const ALL: [(&'static str, Self); 4] = [
        ("application/json", Self::Json),
        ("application/x-ndjson", Self::Lines),
        ("text/event-stream", Self::Events),
        ("text/html", Self::Page),
    ];

    /// The form that an `Accept` header likes best. One that likes nothing of ours gets JSON: better than nothing.
    ///
    /// Source: RFC 9110 §12.5.1, without parameters of media types. Among equals JSON is first.
    pub fn accepted(accept: Option<&str>) -> Self {
        let mut best = (Self::Json, 0.0);
        for (media, form) in Self::ALL {
            let ranges = accept.unwrap_or("*/*").split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next()?.to_ascii_lowercase();
                let closeness = match name.as_str() {
                    name if name == media => 2,
                    "*/*" => 0,
                    name if name.strip_suffix("/*").is_some_and(|kind| media.split('/').next() == Some(kind)) => 1,
                    _ => return None,
                };
                let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
                Some((closeness, weight.unwrap_or(0.0)))
            });
            // The closest range decides, and a wildcard means whatever we like: JSON.
            let closest = ranges.max_by_key(|(closeness, _)| *closeness);
            if let Some((closeness, weight)) = closest
                && (closeness > 0 || form == Self::Json)
                && weight > best.1
            {
                best = (form, weight);
            }
        }
        best.0
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
            Self::Page => "text/html; charset=utf-8",
        }
    }
}

/// That a reader wants to be told how its answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explain {
    /// What allowed it, for those who may know.
    pub(crate) rule: Option<&'static str>,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) scanned: u64,
    pub(crate) read: u64,
    pub(crate) returned: u64,
    pub(crate) micros: u64,
}

impl Explain {
    /// The object that is told, where `index` says what was looked through; nothing in particular is `null`.
    pub(crate) fn to_json(self, index: Option<&str>, cost: Cost) -> serde_json::Value {
        let Cost { scanned, read, returned, micros } = cost;
        let mut told =
            json!({ "index": index, "scanned": scanned, "read": read, "returned": returned, "micros": micros });
        if let Some(rule) = self.rule {
            told["rule"] = rule.into();
        }
        told
    }
}

/// A result on its way out.
pub(crate) struct ResultText {
    pub(crate) query: Arc<Query>,
    pub(crate) database: DatabaseName,
    pub(crate) answer: Answer,
    /// In dev: where a collection of this name exists.
    pub(crate) hint: Option<String>,
    /// Whether to say how the query was run, and by which rule it was allowed.
    pub(crate) explain: Option<Explain>,
    /// A document a line instead of one object.
    pub(crate) lines: bool,
}

impl ResultText {
    /// A piece ends with the document that takes it over so many bytes.
    const PIECE_BYTES: usize = 64 << 10;

    /// The body of the answer; of known length where it is short.
    pub(crate) fn into_body(self) -> Body {
        let mut pieces = Pieces { text: self, told: 0, done: false };
        let first = pieces.next().unwrap_or_default();
        if pieces.done {
            return Body::from(first);
        }
        let all = std::iter::once(first).chain(pieces).map(Ok::<_, Infallible>);
        Body::from_stream(futures_util::stream::iter(all))
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let Answer { version, token, .. } = &self.answer;
        print(out, format_args!("{{\"version\":\"{version}\",\"token\":\"{token}\""));
        match &self.answer.aggregates {
            Some(values) => {
                out.extend_from_slice(b",\"aggregates\":");
                write_aggregates(out, &self.query, values, &Context::new(&self.database));
            }
            None => out.extend_from_slice(b",\"docs\":["),
        }
    }

    fn write_tail(&self, out: &mut Vec<u8>) {
        let Answer { docs, aggregates, more, scanned, read, micros, .. } = &self.answer;
        if aggregates.is_none() {
            print(out, format_args!("],\"size\":{},\"more\":{more}", docs.len()));
        }
        if let Some(hint) = &self.hint {
            out.extend_from_slice(b",\"hint\":");
            write_text(out, hint);
        }
        if let Some(explain) = &self.explain {
            // Every query reads the range of its source for now; indexes are to come.
            let cost = Cost { scanned: *scanned, read: *read, returned: docs.len() as u64, micros: *micros };
            print(out, format_args!(",\"explain\":{}", explain.to_json(None, cost)));
        }
        out.push(b'}');
    }
}

struct Pieces {
    text: ResultText,
    told: usize,
    done: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let (text, mut out) = (&self.text, Vec::new());
        if self.told == 0 && !text.lines {
            text.write_head(&mut out);
        }
        let context = Context::new(&text.database);
        for doc in &text.answer.docs[self.told..] {
            if out.len() >= ResultText::PIECE_BYTES {
                return Some(out.into());
            }
            if self.told > 0 && !text.lines {
                out.push(b',');
            }
            write_document(&mut out, doc, &text.query.project(doc), &context);
            if text.lines {
                out.push(b'\n');
            }
            self.told += 1;
        }
        if !text.lines {
            text.write_tail(&mut out);
        }
        self.done = true;
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::database;
    use expect_test::{Expect, expect};
    use hearth_core::query::{Aggregate, QuerySpec, Source};
    use hearth_core::{CollectionPath, DocPath, Document, Map, Value, Version};
    use hearth_engine::Token;

    #[test]
    fn the_form_that_is_liked_best_is_chosen() {
        let cases = [
            (None, Form::Json),
            (Some("*/*"), Form::Json),
            (Some("text/event-stream"), Form::Events),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Form::Page),
            (Some("application/json, text/html;q=0.5"), Form::Json),
            (Some("application/json;q=0.2, application/x-ndjson;q=0.3"), Form::Lines),
            (Some("image/png"), Form::Json),
            (Some("text/html;q=0"), Form::Json),
            (Some("application/*"), Form::Json),
            (Some(";;,q=,"), Form::Json),
        ];
        for (accept, want) in cases {
            assert_eq!(Form::accepted(accept), want, "{accept:?}");
        }
    }

    async fn check(docs: usize, aggregates: bool, lines: bool, want: Expect) -> usize {
        let mut spec = QuerySpec::all(Source::Collection(CollectionPath::parse("c").unwrap()));
        if aggregates {
            spec.aggregates = vec![
                Aggregate::Count { up_to: None },
                Aggregate::Average(hearth_core::FieldPath::parse("a.b").unwrap()),
            ];
        }
        let doc = |at: usize| {
            let path = DocPath::parse(&format!("c/{at}")).unwrap();
            let fields = Map::from([("n".into(), Value::Integer(at as i64))]);
            Arc::new(Document { path, fields, created: Version::from_micros(1), updated: Version::from_micros(2) })
        };
        let version = Version::from_micros(9);
        let answer = Answer {
            version,
            token: Token { version, epoch: 1, query: 2 },
            docs: (0..docs).map(doc).collect(),
            aggregates: aggregates.then(|| vec![Value::Integer(3), Value::Null]),
            more: true,
            scanned: 5,
            read: 4,
            micros: 3,
        };
        let text = ResultText {
            query: Arc::new(Query::build(spec).unwrap()),
            database: database(),
            answer,
            hint: None,
            explain: (docs == 1).then_some(Explain { rule: Some("open") }),
            lines,
        };
        let bytes = axum::body::to_bytes(text.into_body(), usize::MAX).await.unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        want.assert_eq(&text[..text.len().min(400)]);
        if !lines {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
        }
        bytes.len()
    }

    #[tokio::test]
    async fn a_result_has_one_shape_however_large() {
        check(
            0,
            false,
            false,
            expect![[r#"{"version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","docs":[],"size":0,"more":true}"#]],
        )
        .await;
        check(1, false, false, expect![[r#"{"version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","docs":[{"path":"c/0","data":{"n":0},"created":"1","updated":"2"}],"size":1,"more":true,"explain":{"index":null,"micros":3,"read":4,"returned":1,"rule":"open","scanned":5}}"#]]).await;
        check(0, true, false, expect![[r#"{"version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","aggregates":{"count":3,"avg(a.b)":null}}"#]]).await;
        check(
            2,
            false,
            true,
            expect![[r#"
            {"path":"c/0","data":{"n":0},"created":"1","updated":"2"}
            {"path":"c/1","data":{"n":1},"created":"1","updated":"2"}
        "#]],
        )
        .await;
        let bytes = check(5_000, false, false, expect![[r#"{"version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","docs":[{"path":"c/0","data":{"n":0},"created":"1","updated":"2"},{"path":"c/1","data":{"n":1},"created":"1","updated":"2"},{"path":"c/2","data":{"n":2},"created":"1","updated":"2"},{"path":"c/3","data":{"n":3},"created":"1","updated":"2"},{"path":"c/4","data":{"n":4},"created":"1","updated":"2"},{"path":"c/5","data":{"n":5},"created":"1""#]]).await;
        assert!(bytes > 4 * ResultText::PIECE_BYTES);
    }
}
