//! Records: from the text of a file to documents, one at a time, so that memory does not grow with the file.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;

use hearth_core::size::document_bytes;
use hearth_core::value::{Value, lookup};
use hearth_core::{CollectionPath, DatabaseName, DocPath, Document, FieldPath, Id, Map};
use hearth_native::json::{Context, parse, to_fields, to_value};
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::args::{Cells, Format};
use crate::cells::Columns;
use crate::source::{Lines, Source};

/// Longest line of NDJSON: a document of the largest size, with room for escapes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// The column of CSV that holds ids. No field can have this name.
pub(crate) const ID_COLUMN: &str = "__id__";

/// What to make of a file.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) format: Format,
    pub(crate) cells: Cells,
    /// The database that the documents are for; references without one mean it.
    pub(crate) database: DatabaseName,
    pub(crate) literal: bool,
    /// Where records go; none means that the file says so.
    pub(crate) collection: Option<CollectionPath>,
    /// The field that holds the id; none means a fresh one where the file has none.
    pub(crate) id: Option<FieldPath>,
}

/// A record that was read.
#[derive(Debug)]
pub(crate) enum Found {
    Document {
        path: DocPath,
        fields: Map,
        place: Place,
    },
    /// One that cannot be a document; reading goes on behind it.
    Bad(Bad),
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its line; in a JSON file the one in which it ends.
    pub(crate) line: u64,
}

/// A record that cannot be imported, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) place: Place,
    pub(crate) detail: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.place.line, self.detail)
    }
}

/// Why reading ended before the end of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The text makes no sense from here on.
    #[error("{0}")]
    Text(String),
    /// Whoever takes the records wants no more.
    #[error("stopped")]
    Stopped,
}

/// Reads a file and hands each record to `take`, which says whether it wants more. Blocks.
pub(crate) fn read(source: &Source, plan: &Plan, take: &mut dyn FnMut(Found) -> bool) -> Result<(), ReadError> {
    let reader = Reader { plan, context: Context { database: &plan.database, literal: plan.literal } };
    match plan.format {
        Format::Ndjson => reader.lines(source.open()?, take),
        Format::Json => reader.json(source.open()?, take),
        Format::Csv => reader.csv(source, take),
    }
}

struct Reader<'a> {
    plan: &'a Plan,
    context: Context<'a>,
}

impl Reader<'_> {
    fn lines(&self, mut lines: Lines, take: &mut dyn FnMut(Found) -> bool) -> Result<(), ReadError> {
        let breaks = lines.breaks();
        let mut line = Vec::new();
        let mut number = 0;
        while lines.next_line(&mut line, LINE_BYTES_MAX)? {
            number = breaks.get().max(number + 1);
            if !line.trim_ascii().is_empty() {
                // To the parser each line is the first.
                let json = parse(&line).map_err(|error| error.to_string().replace(" at line 1 column", " at column"));
                let found = json.and_then(|json| self.record(None, &json));
                if !take(to_found(found, Place { line: number })) {
                    return Err(ReadError::Stopped);
                }
            }
            line.clear();
        }
        Ok(())
    }

    fn json(&self, lines: Lines, take: &mut dyn FnMut(Found) -> bool) -> Result<(), ReadError> {
        let breaks = lines.breaks();
        let mut stopped = false;
        let mut json = serde_json::Deserializer::from_reader(lines);
        let whole = Whole { reader: self, breaks: &breaks, take, stopped: &mut stopped };
        let read = json.deserialize_any(whole).and_then(|()| json.end());
        match read {
            Err(_) if stopped => Err(ReadError::Stopped),
            Err(error) if error.is_io() => Err(ReadError::Io(error.into())),
            Err(error) => {
                let lines = "; where each line is a record of its own, say --format ndjson";
                let hint = if error.to_string().starts_with("trailing characters") { lines } else { "" };
                Err(ReadError::Text(format!("{error}{hint}")))
            }
            Ok(()) => Ok(()),
        }
    }

    fn csv(&self, source: &Source, take: &mut dyn FnMut(Found) -> bool) -> Result<(), ReadError> {
        let text = |error: csv::Error| match error.into_kind() {
            csv::ErrorKind::Io(error) => ReadError::Io(error),
            kind => ReadError::Text(csv_error(&kind)),
        };
        let mut builder = csv::ReaderBuilder::new();
        builder.flexible(true);
        let mut rows = builder.from_reader(source.open()?);
        let names = rows.headers().map_err(text)?.clone();
        let mut columns = Columns::new(&names, self.plan.cells).map_err(ReadError::Text)?;
        let mut row = csv::StringRecord::new();
        // Rows that were looked at to tell the types of columns, where the file passes only once.
        let mut seen = Vec::new();
        if columns.must_look() {
            while rows.read_record(&mut row).map_err(text)? {
                columns.look(&row);
                if source.is_stdin() {
                    seen.push(row.clone());
                    if seen.len() == Columns::ROWS_MAX {
                        break;
                    }
                }
            }
            if !source.is_stdin() {
                rows = builder.from_reader(source.open()?);
                rows.headers().map_err(text)?;
            }
        }
        for row in seen {
            if !take(self.row(&columns, &names, &row)) {
                return Err(ReadError::Stopped);
            }
        }
        while rows.read_record(&mut row).map_err(text)? {
            if !take(self.row(&columns, &names, &row)) {
                return Err(ReadError::Stopped);
            }
        }
        Ok(())
    }

    fn row(&self, columns: &Columns, names: &csv::StringRecord, row: &csv::StringRecord) -> Found {
        let place = Place { line: row.position().map_or(0, csv::Position::line) };
        let read = || {
            if row.len() > names.len() {
                return Err(format!("{} cells stand under {} names", row.len(), names.len()));
            }
            let mut fields = Map::new();
            let mut id = None;
            for (index, (name, cell)) in names.iter().zip(row).enumerate() {
                if name == ID_COLUMN {
                    id = Some(cell).filter(|cell| !cell.is_empty());
                } else if let Some(json) = columns.value(index, cell).map_err(|detail| format!("{name}: {detail}"))? {
                    let value = to_value(&json, &self.context).map_err(|error| format!("{name}: {error}"))?;
                    fields.insert(name.into(), value);
                }
            }
            self.document(id.map(Key::Id), fields)
        };
        to_found(read(), place)
    }

    /// What a JSON value says, which stood under `key` where it stood in an object.
    fn record(&self, key: Option<Key<'_>>, json: &Json) -> Result<(DocPath, Map), String> {
        if self.plan.collection.is_some() || key.is_some() {
            return self.document(key, to_fields(json, &self.context).map_err(pointed)?);
        }
        let expected = || {
            let form = r#"{"path": "messages/abc", "data": {…}} is expected, as `hearth export` writes it"#;
            format!("{form}; for other records, say --collection")
        };
        let path = json.get("path").and_then(Json::as_str).ok_or_else(expected)?;
        let fields = to_fields(json.get("data").ok_or_else(expected)?, &self.context).map_err(pointed)?;
        self.document(Some(Key::Path(path)), fields)
    }

    fn document(&self, key: Option<Key<'_>>, fields: Map) -> Result<(DocPath, Map), String> {
        let id = |text: &str| Id::parse(text).map_err(|error| format!("the id {text:?}: {error}"));
        let collection = self.plan.collection.as_ref();
        let path = match (&self.plan.id, key, collection) {
            (Some(field), _, Some(collection)) => {
                let text = match lookup(&fields, field) {
                    Some(Value::Text(text)) => text.to_string(),
                    Some(Value::Integer(number)) => number.to_string(),
                    Some(_) => {
                        return Err(format!(
                            "the field {field} is to be the id, and holds neither text nor an integer"
                        ));
                    }
                    None => return Err(format!("the field {field} is to be the id, and is absent")),
                };
                collection.doc(&id(&text)?)
            }
            (None, Some(Key::Id(text)), Some(collection)) => collection.doc(&id(text)?),
            (_, Some(Key::InCollection(collection, text)), _) => collection.doc(&id(text)?),
            (_, Some(Key::Path(path)), _) => DocPath::parse(path),
            (None, None, Some(collection)) => collection.doc(&hearth_engine::ids::fresh_id()),
            (_, _, None) => return Err("nothing says where this belongs".into()),
        };
        let path = path.map_err(|error| error.to_string())?;
        let bytes = document_bytes(&path, &fields);
        if bytes > Document::BYTES_MAX {
            return Err(format!("the document has {bytes} bytes, over the limit of {}", Document::BYTES_MAX));
        }
        Ok((path, fields))
    }
}

/// What stands beside a record and names it.
#[derive(Clone, Copy)]
enum Key<'a> {
    Id(&'a str),
    InCollection(&'a CollectionPath, &'a str),
    Path(&'a str),
}

fn to_found(read: Result<(DocPath, Map), String>, place: Place) -> Found {
    match read {
        Ok((path, fields)) => Found::Document { path, fields, place },
        Err(detail) => Found::Bad(Bad { place, detail }),
    }
}

fn pointed(error: hearth_native::json::JsonError) -> String {
    if error.pointer.is_empty() { error.detail } else { format!("{}: {}", error.pointer, error.detail) }
}

fn csv_error(kind: &csv::ErrorKind) -> String {
    match kind {
        csv::ErrorKind::Utf8 { pos, err } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line}: this is not UTF-8: {err}")
        }
        other => format!("{other:?}"),
    }
}

/// The whole of a JSON file: an array of records, or an object of them by id, or, where no collection is given, an
/// object of such objects by collection.
struct Whole<'a, 'p> {
    reader: &'a Reader<'p>,
    breaks: &'a Rc<Cell<u64>>,
    take: &'a mut dyn FnMut(Found) -> bool,
    stopped: &'a mut bool,
}

impl Whole<'_, '_> {
    fn take<E: serde::de::Error>(&mut self, key: Option<Key<'_>>, json: &Json) -> Result<(), E> {
        let place = Place { line: self.breaks.get() + 1 };
        if (self.take)(to_found(self.reader.record(key, json), place)) {
            return Ok(());
        }
        *self.stopped = true;
        Err(E::custom("stopped"))
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(json) = items.next_element::<Json>()? {
            self.take(None, &json)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if self.reader.plan.collection.is_some() {
                let json = members.next_value::<Json>()?;
                self.take(Some(Key::Id(&name)), &json)?;
                continue;
            }
            match CollectionPath::parse(&name) {
                Ok(collection) => members.next_value_seed(Collection { whole: &mut self, collection })?,
                Err(error) => {
                    members.next_value::<IgnoredAny>()?;
                    let detail = format!("{name:?} is to name a collection: {error}");
                    return Err(A::Error::custom(detail));
                }
            }
        }
        Ok(())
    }
}

/// One collection of a file: documents by id, or an array of those that get fresh ids.
struct Collection<'w, 'a, 'p> {
    whole: &'w mut Whole<'a, 'p>,
    collection: CollectionPath,
}

impl<'de> DeserializeSeed<'de> for Collection<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collection<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the documents of {}", self.collection)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((id, json)) = members.next_entry::<String, Json>()? {
            self.whole.take(Some(Key::InCollection(&self.collection, &id)), &json)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(json) = items.next_element::<Json>()? {
            let id = hearth_engine::ids::fresh_id();
            self.whole.take(Some(Key::InCollection(&self.collection, id.as_str())), &json)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use hearth_native::json::from_value;

    fn check(format: Format, options: &str, text: &str, want: Expect) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, text).unwrap();
        let mut plan = Plan {
            format,
            cells: Cells::Guess,
            database: DatabaseName::parse("demo", "(default)").unwrap(),
            literal: false,
            collection: None,
            id: None,
        };
        for option in options.split_whitespace() {
            match option.split_once('=').unwrap_or((option, "")) {
                ("collection", path) => plan.collection = Some(CollectionPath::parse(path).unwrap()),
                ("id", field) => plan.id = Some(FieldPath::parse(field).unwrap()),
                ("cells", "json") => plan.cells = Cells::Json,
                ("cells", "text") => plan.cells = Cells::Text,
                other => panic!("{other:?}"),
            }
        }
        let mut out = String::new();
        let context = Context::new(&plan.database);
        let read = read(&Source::new(&path), &plan, &mut |found| {
            out += &match found {
                Found::Document { path, fields, place } => {
                    let fields = from_value(&Value::Map(fields), &context);
                    let id = path.id();
                    let fresh = id.len() == 20 && !id.contains('-');
                    format!("{}: {}/{} {fields}\n", place.line, path.parent(), if fresh { "(fresh)" } else { id })
                }
                Found::Bad(bad) => format!("bad, {bad}\n"),
            };
            true
        });
        if let Err(error) = read {
            out += &format!("ended: {error}\n");
        }
        want.assert_eq(&out);
    }

    #[test]
    fn a_line_is_a_record_and_a_bad_one_is_named() {
        let text = "{\"n\":1}\n\n{\"n\":}\n[1]\n{\"n\":{\"$nope\":1}}\n{\"n\":3.0}";
        check(
            Format::Ndjson,
            "collection=a",
            text,
            expect![[r#"
                1: a/(fresh) {"n":1}
                bad, line 3: this is not JSON: expected value at column 6
                bad, line 4: the data of a document is an object, this is an array
                bad, line 5: /n/$nope: "$nope" is not a type; a map with this one key is written {"$map": {…}}
                6: a/(fresh) {"n":3.0}
            "#]],
        );
    }

    #[test]
    fn a_field_may_be_the_id() {
        let text =
            "{\"k\":{\"id\":\"x\"}}\n{\"k\":{\"id\":7}}\n{\"k\":{}}\n{\"k\":{\"id\":1.5}}\n{\"k\":{\"id\":\"a/b\"}}";
        check(
            Format::Ndjson,
            "collection=a/b/c id=k.id",
            text,
            expect![[r#"
            1: a/b/c/x {"k":{"id":"x"}}
            2: a/b/c/7 {"k":{"id":7}}
            bad, line 3: the field k.id is to be the id, and is absent
            bad, line 4: the field k.id is to be the id, and holds neither text nor an integer
            bad, line 5: the id "a/b": an id holds a slash
        "#]],
        );
    }

    #[test]
    fn without_a_collection_a_line_says_where_it_belongs() {
        let text = "{\"path\":\"a/b\",\"data\":{\"n\":1},\"created\":\"1\"}\n{\"n\":1}\n{\"path\":\"a\",\"data\":{}}";
        check(
            Format::Ndjson,
            "",
            text,
            expect![[r#"
            1: a/b {"n":1}
            bad, line 2: {"path": "messages/abc", "data": {…}} is expected, as `hearth export` writes it; for other records, say --collection
            bad, line 3: "a" has 1 segments; a document's path has an even number of them
        "#]],
        );
    }

    #[test]
    fn arrays_and_objects_are_read_element_by_element() {
        check(
            Format::Json,
            "collection=a",
            "[{\"n\":1},\n {\"n\":2}]",
            expect![[r#"
            1: a/(fresh) {"n":1}
            2: a/(fresh) {"n":2}
        "#]],
        );
        check(
            Format::Json,
            "collection=a",
            "{\"x\":{\"n\":1},\n\"y\":2}",
            expect![[r#"
            1: a/x {"n":1}
            bad, line 2: the data of a document is an object, this is a number
        "#]],
        );
        check(
            Format::Json,
            "",
            "{\"a\":{\"x\":{\"n\":1}},\n\"a/x/b\":[{\"n\":2}]}",
            expect![[r#"
            1: a/x {"n":1}
            2: a/x/b/(fresh) {"n":2}
        "#]],
        );
        check(
            Format::Json,
            "",
            "[{\"path\":\"a/b\",\"data\":{}}]",
            expect![[r#"
            1: a/b {}
        "#]],
        );
        check(
            Format::Json,
            "",
            "{\"a/b\":{}}",
            expect![[r#"
            ended: "a/b" is to name a collection: "a/b" has 2 segments; a collection's path has an odd number of them at line 1 column 10
        "#]],
        );
        check(
            Format::Json,
            "",
            "{\"a\":3}",
            expect![[r#"
            ended: invalid type: integer `3`, expected the documents of a at line 1 column 7
        "#]],
        );
        check(
            Format::Json,
            "collection=a",
            "3",
            expect![[r#"
            ended: invalid type: integer `3`, expected an array or an object of records at line 1 column 1
        "#]],
        );
        check(
            Format::Json,
            "collection=a",
            "[{\"n\":1},{\"n\":",
            expect![[r#"
            1: a/(fresh) {"n":1}
            ended: EOF while parsing a value at line 1 column 14
        "#]],
        );
        check(
            Format::Json,
            "collection=a",
            "[] []",
            expect![[r#"
                ended: trailing characters at line 1 column 4; where each line is a record of its own, say --format ndjson
            "#]],
        );
    }

    #[test]
    fn columns_of_csv_have_the_type_that_fits_all_their_cells() {
        let text = "name,n,x,zip,ok,note\nAda,1,1,01234,true,\n\"B\nB\",2,1.5,5,false,hi\n";
        check(
            Format::Csv,
            "collection=a",
            text,
            expect![[r#"
            2: a/(fresh) {"n":1,"name":"Ada","ok":true,"x":1.0,"zip":"01234"}
            3: a/(fresh) {"n":2,"name":"B\nB","note":"hi","ok":false,"x":1.5,"zip":"5"}
        "#]],
        );
        check(
            Format::Csv,
            "collection=a cells=text",
            text,
            expect![[r#"
            2: a/(fresh) {"n":"1","name":"Ada","ok":"true","x":"1","zip":"01234"}
            3: a/(fresh) {"n":"2","name":"B\nB","note":"hi","ok":"false","x":"1.5","zip":"5"}
        "#]],
        );
    }

    #[test]
    fn cells_of_json_are_read_exactly_and_ids_have_a_column() {
        let text = "__id__,a,b\nx,\"\"\"1\"\"\",\"{\"\"$geo\"\":[1,2]}\"\ny,,\nz,nope,1\nw,1,2,3\n";
        check(
            Format::Csv,
            "collection=a cells=json",
            text,
            expect![[r#"
                2: a/x {"a":"1","b":{"$geo":[1.0,2.0]}}
                3: a/y {}
                bad, line 4: a: "nope" is not JSON
                bad, line 5: 4 cells stand under 3 names
            "#]],
        );
    }

    #[test]
    fn csv_that_cannot_be_documents_is_refused() {
        check(
            Format::Csv,
            "collection=a",
            "a,a\n1,2\n",
            expect![[r#"
            ended: two columns are called "a"
        "#]],
        );
        check(
            Format::Csv,
            "collection=a",
            "a,__b__\n1,2\n",
            expect![[r#"
            ended: column 2: the field name "__b__" is reserved
        "#]],
        );
        check(
            Format::Csv,
            "collection=a",
            "a,\n1,2\n",
            expect![[r#"
            ended: column 2: a field name is empty at column 1
        "#]],
        );
        check(Format::Csv, "collection=a", "", expect![""]);
    }

    #[test]
    fn a_document_over_the_limit_is_bad() {
        let text = format!("{{\"n\":\"{}\"}}", "x".repeat(1 << 20));
        check(
            Format::Ndjson,
            "collection=a id=n",
            "{\"n\":\"\"}",
            expect![[r#"
            bad, line 1: the id "": an id is empty
        "#]],
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, text).unwrap();
        let plan = Plan {
            format: Format::Ndjson,
            cells: Cells::Guess,
            database: DatabaseName::parse("demo", "(default)").unwrap(),
            literal: false,
            collection: Some(CollectionPath::parse("a").unwrap()),
            id: None,
        };
        let mut bad = 0;
        read(&Source::new(&path), &plan, &mut |found| {
            bad += usize::from(matches!(found, Found::Bad(_)));
            true
        })
        .unwrap();
        assert_eq!(bad, 1);
    }
}
