//! Large events: a whole result, or a difference, in parts of bounded size or as one object written piece by piece.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hearth_core::query::Query;
use hearth_core::{DatabaseName, Document, size};
use hearth_engine::{Answer, Difference, Part, PartLimits, Token};

use super::Context;
use super::event::{Before, part_members, write_aggregates, write_changes, write_head};
use super::write::{print, separated, write_document};

/// A whole result as an event in which everything was added; in parts where it is large, encoded one by one.
pub(crate) struct Parts {
    query: Arc<Query>,
    database: DatabaseName,
    answer: Answer,
    reset: bool,
    limits: PartLimits,
    told: usize,
    parts: usize,
    done: bool,
}

/// One part of an event.
pub(crate) struct PartText {
    /// Its members, without braces.
    pub(crate) members: Vec<u8>,
    /// Whether it is the last one, which bears the token.
    pub(crate) last: bool,
}

impl Parts {
    pub(crate) fn new(
        query: Arc<Query>,
        database: DatabaseName,
        answer: Answer,
        reset: bool,
        limits: PartLimits,
    ) -> Self {
        Self { query, database, answer, reset, limits, told: 0, parts: 0, done: false }
    }

    /// The event as the text of one object, piece by piece.
    pub(crate) fn into_pieces(mut self) -> impl Iterator<Item = Bytes> {
        std::iter::from_fn(move || {
            if self.done {
                return None;
            }
            let (begins, docs) = (self.parts == 0, self.next_docs());
            let mut out = Vec::new();
            if begins {
                out.push(b'{');
                write_head(&mut out, self.answer.version, Some(&self.answer.token), self.reset);
                if self.write_numbers(&mut out) {
                    out.push(b'}');
                    return Some(out.into());
                }
                print(&mut out, format_args!(",\"size\":{},\"changes\":[", self.answer.docs.len()));
            } else {
                out.push(b',');
            }
            self.write_docs(&mut out, docs);
            if self.done {
                out.extend_from_slice(b"]}");
            }
            Some(out.into())
        })
    }

    /// Where a reader goes on who has heard all parts.
    pub(crate) fn token(&self) -> Token {
        self.answer.token
    }

    /// The documents of the next part.
    fn next_docs(&mut self) -> Range<usize> {
        let docs = part_of(&self.answer.docs, self.told, self.limits);
        self.told = docs.end;
        self.done = docs.end == self.answer.docs.len();
        self.parts += 1;
        docs
    }

    /// Appends the numbers, where the query asks for some: these are all there is to tell.
    fn write_numbers(&self, out: &mut Vec<u8>) -> bool {
        let Some(values) = &self.answer.aggregates else { return false };
        out.extend_from_slice(b",\"aggregates\":");
        write_aggregates(out, &self.query, values, &Context::new(&self.database));
        true
    }

    fn write_docs(&self, out: &mut Vec<u8>, docs: Range<usize>) {
        let context = Context::new(&self.database);
        separated(out, docs.clone().zip(&self.answer.docs[docs]), |out, (at, doc)| {
            out.extend_from_slice(b"{\"type\":\"added\",\"doc\":");
            write_document(out, doc, &self.query.project(doc), &context);
            print(out, format_args!(",\"from\":-1,\"to\":{at}}}"));
        });
    }
}

impl Iterator for Parts {
    type Item = PartText;

    fn next(&mut self) -> Option<PartText> {
        if self.done {
            return None;
        }
        let docs = self.next_docs();
        let mut out = Vec::new();
        write_head(&mut out, self.answer.version, self.done.then_some(&self.answer.token), self.reset);
        if !self.write_numbers(&mut out) {
            print(&mut out, format_args!(",\"size\":{}", docs.end));
            if !self.done || self.parts > 1 {
                print(&mut out, format_args!(",\"part\":{},\"more\":{}", self.parts, !self.done));
            }
            out.extend_from_slice(b",\"changes\":[");
            self.write_docs(&mut out, docs);
            out.push(b']');
        }
        Some(PartText { members: out, last: self.done })
    }
}

/// Which documents behind `told` make up the next part: it ends with the one that takes it over its bytes.
pub(crate) fn part_of(docs: &[Arc<Document>], told: usize, limits: PartLimits) -> Range<usize> {
    let mut bytes = 0;
    let in_part = docs[told..].iter().take(limits.docs_max).take_while(|doc| {
        let fits = bytes < limits.bytes_max;
        bytes += size::document_bytes(&doc.path, &doc.fields);
        fits
    });
    told..told + in_part.count()
}

/// A difference as the text of one object, made piece by piece of its parts.
pub(crate) struct DifferenceText {
    token: Token,
    size: usize,
    database: DatabaseName,
}

impl DifferenceText {
    pub(crate) fn new(difference: &Difference, database: DatabaseName) -> Self {
        Self { token: difference.token(), size: difference.size(), database }
    }

    /// The text of the next part.
    pub(crate) fn piece(&self, part: &Part, before: Option<&Before>) -> Bytes {
        let mut out = Vec::new();
        if part.is_whole() {
            out.push(b'{');
            out.extend_from_slice(&part_members(part, before, &self.database));
            out.push(b'}');
            return out.into();
        }
        if part.number == 1 {
            out.push(b'{');
            write_head(&mut out, self.token.version, Some(&self.token), false);
            print(&mut out, format_args!(",\"size\":{},\"changes\":[", self.size));
        } else {
            out.push(b',');
        }
        write_changes(&mut out, part, before, &Context::new(&self.database));
        if part.last {
            out.extend_from_slice(b"]}");
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::database;
    use expect_test::expect;
    use hearth_core::{DocPath, Map, Version};

    const LIMITS: PartLimits = PartLimits { docs_max: 1_000, bytes_max: 1 << 20 };

    #[test]
    fn a_large_result_comes_in_parts_and_the_last_bears_the_token() {
        let source = hearth_core::query::Source::Collection(hearth_core::CollectionPath::parse("c").unwrap());
        let query = Arc::new(Query::build(hearth_core::query::QuerySpec::all(source)).unwrap());
        let doc = |at: usize| {
            let path = DocPath::parse(&format!("c/{at:04}")).unwrap();
            Arc::new(Document {
                path,
                fields: Map::new(),
                created: Version::from_micros(1),
                updated: Version::from_micros(2),
            })
        };
        let token = hearth_engine::Token { version: Version::from_micros(9), epoch: 1, query: 2 };
        let answer = |count: usize| Answer {
            version: token.version,
            token,
            docs: (0..count).map(doc).collect(),
            aggregates: None,
            more: false,
            scanned: 0,
            read: 0,
            micros: 0,
        };
        let texts = |count| -> Vec<String> {
            let parts = Parts::new(query.clone(), database(), answer(count), false, LIMITS);
            parts.map(|part| String::from_utf8(part.members).unwrap()).collect()
        };
        assert_eq!(texts(0), [format!(r#""version":"9","token":"{token}","reset":false,"size":0,"changes":[]"#)]);
        expect![[r#""version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","reset":false,"size":1,"changes":[{"type":"added","doc":{"path":"c/0000","data":{},"created":"1","updated":"2"},"from":-1,"to":0}]"#]]
            .assert_eq(&texts(1)[0]);
        let large = texts(1_001);
        assert_eq!(large.len(), 2);
        assert!(large[0].starts_with(r#""version":"9","reset":false,"size":1000,"part":1,"more":true,"changes":["#));
        assert!(large[1].starts_with(&format!(
            r#""version":"9","token":"{token}","reset":false,"size":1001,"part":2,"more":false,"changes":["#
        )));
        assert!(large[1].ends_with(r#""from":-1,"to":1000}]"#));
        // In one object there are no parts, whatever the pieces it is made of.
        for count in [0, 1, 1_001] {
            let pieces = Parts::new(query.clone(), database(), answer(count), true, LIMITS).into_pieces();
            let text: Vec<u8> = pieces.flatten().collect();
            let event: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!((&event["size"], &event["reset"]), (&count.into(), &true.into()));
            assert_eq!(event["changes"].as_array().unwrap().len(), count);
            assert_eq!((event.get("part"), event["token"].as_str()), (None, Some(token.to_string().as_str())));
        }
    }
}
