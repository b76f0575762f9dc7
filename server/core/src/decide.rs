//! Deciding: from the state and a commit's writes to what changes, or why nothing does.
//!
//! [`decide`] and [`project`] are pure and total: the same state, writes and version give the same plan, on any
//! machine and at any time. Replaying a log never calls them; it takes what was decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::Change;
use crate::document::Document;
use crate::path::DocPath;
use crate::size;
use crate::value::{self, Map, ValueError, insert, lookup, remove};
use crate::version::Version;
use crate::write::{FieldTransform, Operation, Precondition, Write, WriteResult};

/// What a caller read before it decided to write: the commit stands only if this still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRead {
    /// The document.
    pub path: DocPath,
    /// Its last change as it was read; `None` where it was missing.
    pub updated: Option<Version>,
}

/// What a commit does, decided and not yet durable.
///
/// Small writes to large documents make a large plan, since the log keeps what each document became: all that a plan
/// writes is bounded by [`Plan::BYTES_MAX`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What changes, each document at most once, sorted by path.
    pub changes: Vec<Change>,
    /// One for each write, in order.
    pub results: Vec<WriteResult>,
}

impl Plan {
    /// Most bytes of documents that the writes of one commit leave, each write counted.
    pub const BYTES_MAX: usize = 24 << 20;
}

/// Why a commit was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("no document at {path}")]
    NotFound { path: DocPath },
    #[error("there is already a document at {path}")]
    AlreadyExists { path: DocPath },
    #[error("{path} was last changed at {actual}, the write expected {expected}")]
    Stale { path: DocPath, expected: Version, actual: Version },
    #[error("{path} does not exist, the write expected it as changed at {expected}")]
    Gone { path: DocPath, expected: Version },
    #[error("{path} has changed since it was read")]
    Moved { path: DocPath },
    #[error("{path} would hold {bytes} bytes, over the limit of {}", Document::BYTES_MAX)]
    TooLarge { path: DocPath, bytes: usize },
    #[error("the commit would write documents of more than {} bytes in all; split it", Plan::BYTES_MAX)]
    TooMuch { path: DocPath },
    #[error("{path}: {error}")]
    Value { path: DocPath, error: ValueError },
}

/// Decides a commit at `version`, on the documents that `state` gives.
///
/// Writes take effect in order, and each sees those before it. A write that changes nothing leaves the document's
/// last change as it was.
pub fn decide<E>(
    reads: &[DocumentRead],
    writes: Vec<Write>,
    version: Version,
    mut state: impl FnMut(&DocPath) -> Result<Option<Arc<Document>>, E>,
) -> Result<Result<Plan, WriteError>, E> {
    for read in reads {
        if state(&read.path)?.map(|document| document.updated) != read.updated {
            return Ok(Err(WriteError::Moved { path: read.path.clone() }));
        }
    }
    let mut images = Images::default();
    let mut results = Vec::with_capacity(writes.len());
    let mut bytes_left = Plan::BYTES_MAX;
    for write in writes {
        let path = write.path().clone();
        images.load(&path, &mut state)?;
        let before = images.now(&path);
        if let Err(error) = check_precondition(&write, before, images.at_first(&path)) {
            return Ok(Err(error));
        }
        match apply(write, before, version, &mut bytes_left) {
            Err(error) => return Ok(Err(error)),
            Ok((after, result)) => {
                images.put(&path, after);
                results.push(result);
            }
        }
    }
    Ok(Ok(Plan { changes: images.changes(), results }))
}

/// What the documents of a commit would become if every precondition held: what rules are asked about.
///
/// Each document of the commit once, sorted by path, even where it would not change.
pub fn project<E>(
    writes: &[Write],
    version: Version,
    mut state: impl FnMut(&DocPath) -> Result<Option<Arc<Document>>, E>,
) -> Result<Result<Vec<Change>, WriteError>, E> {
    let mut images = Images::default();
    let mut bytes_left = Plan::BYTES_MAX;
    for write in writes {
        images.load(write.path(), &mut state)?;
        match apply(write.clone(), images.now(write.path()), version, &mut bytes_left) {
            Err(error) => return Ok(Err(error)),
            Ok((after, _)) => images.put(write.path(), after),
        }
    }
    Ok(Ok(images.all()))
}

/// The documents of one commit, before and as the writes so far left them.
#[derive(Default)]
struct Images(BTreeMap<DocPath, Change>);

impl Images {
    fn load<E>(
        &mut self,
        path: &DocPath,
        state: &mut impl FnMut(&DocPath) -> Result<Option<Arc<Document>>, E>,
    ) -> Result<(), E> {
        if !self.0.contains_key(path) {
            let before = state(path)?;
            self.0.insert(path.clone(), Change { path: path.clone(), before: before.clone(), after: before });
        }
        Ok(())
    }

    fn now(&self, path: &DocPath) -> Option<&Arc<Document>> {
        self.0.get(path).and_then(|change| change.after.as_ref())
    }

    /// As the document stood before the commit.
    fn at_first(&self, path: &DocPath) -> Option<&Arc<Document>> {
        self.0.get(path).and_then(|change| change.before.as_ref())
    }

    fn put(&mut self, path: &DocPath, after: Option<Arc<Document>>) {
        if let Some(change) = self.0.get_mut(path) {
            change.after = after;
        }
    }

    fn all(self) -> Vec<Change> {
        self.0.into_values().collect()
    }

    fn changes(self) -> Vec<Change> {
        let mut changes = self.all();
        changes.retain(|change| change.before != change.after);
        changes
    }
}

/// Whether a write's precondition holds of `before`, which earlier writes of the commit may have changed.
///
/// A refusal speaks of the document as it was `at_first`: the version of a commit that is refused is told to nobody.
fn check_precondition(
    write: &Write,
    before: Option<&Arc<Document>>,
    at_first: Option<&Arc<Document>>,
) -> Result<(), WriteError> {
    let path = || write.path().clone();
    match (write.precondition(), before) {
        (Precondition::None, _) | (Precondition::Exists(true), Some(_)) | (Precondition::Exists(false), None) => Ok(()),
        (Precondition::Exists(true), None) => Err(WriteError::NotFound { path: path() }),
        (Precondition::Exists(false), Some(_)) => Err(WriteError::AlreadyExists { path: path() }),
        (Precondition::Updated(expected), Some(before)) if before.updated == expected => Ok(()),
        (Precondition::Updated(expected), _) => match at_first {
            None => Err(WriteError::Gone { path: path(), expected }),
            Some(at_first) => Err(WriteError::Stale { path: path(), expected, actual: at_first.updated }),
        },
    }
}

type Applied = (Option<Arc<Document>>, WriteResult);

/// What one write makes of a document. `bytes_left` is what the commit may still write.
fn apply(
    write: Write,
    before: Option<&Arc<Document>>,
    version: Version,
    bytes_left: &mut usize,
) -> Result<Applied, WriteError> {
    let unchanged = |document: Option<&Arc<Document>>| {
        let updated = document.map(|document| document.updated);
        (document.cloned(), WriteResult { updated, transforms: Vec::new() })
    };
    let (path, operation, transforms) = write.into_parts();
    let mut fields = match operation {
        Operation::Verify => return Ok(unchanged(before)),
        Operation::Delete => return Ok(unchanged(None)),
        Operation::Set(fields) => fields,
        Operation::Merge { fields, mask } => {
            let mut merged = before.map(|document| document.fields.clone()).unwrap_or_default();
            for path in &mask {
                match lookup(&fields, path) {
                    Some(value) => insert(&mut merged, path, value.clone()),
                    None => drop(remove(&mut merged, path)),
                }
            }
            merged
        }
    };
    let transforms = transform(&transforms, &mut fields, version);
    value::check_map(&fields, 0).map_err(|error| WriteError::Value { path: path.clone(), error })?;
    let bytes = size::document_bytes(&path, &fields);
    if bytes > Document::BYTES_MAX {
        return Err(WriteError::TooLarge { path, bytes });
    }
    *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(|| WriteError::TooMuch { path: path.clone() })?;
    if let Some(before) = before.filter(|document| document.fields == fields) {
        return Ok((Some(before.clone()), WriteResult { updated: Some(before.updated), transforms }));
    }
    let created = before.map_or(version, |document| document.created);
    let after = Document { path, fields, created, updated: version };
    Ok((Some(Arc::new(after)), WriteResult { updated: Some(version), transforms }))
}

fn transform(transforms: &[FieldTransform], fields: &mut Map, version: Version) -> Vec<value::Value> {
    let each = transforms.iter().map(|transform| {
        let (value, result) = transform.transform.apply(lookup(fields, &transform.path), version);
        insert(fields, &transform.path, value);
        result
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldPath;
    use crate::value::Value;
    use crate::write::Transform;
    use expect_test::{Expect, expect};
    use std::convert::Infallible;

    fn path(text: &str) -> DocPath {
        DocPath::parse(text).unwrap()
    }

    fn fields(pairs: &[(&str, i64)]) -> Map {
        pairs.iter().map(|(name, number)| ((*name).into(), Value::Integer(*number))).collect()
    }

    fn write(at: &str, operation: Operation, precondition: Precondition) -> Write {
        Write::build(path(at), operation, precondition, vec![]).unwrap()
    }

    fn merge(at: &str, given: &[(&str, i64)], mask: &[&str], precondition: Precondition) -> Write {
        let mask = mask.iter().map(|text| FieldPath::parse(text).unwrap()).collect();
        write(at, Operation::Merge { fields: fields(given), mask }, precondition)
    }

    /// The state holds `a/one {n: 1, m: 2}` since version 5; the commit is version 9.
    fn check(reads: &[DocumentRead], writes: &[Write], want: Expect) {
        let one = Arc::new(Document {
            path: path("a/one"),
            fields: fields(&[("m", 2), ("n", 1)]),
            created: Version::from_micros(3),
            updated: Version::from_micros(5),
        });
        let state = |at: &DocPath| Ok::<_, Infallible>((*at == one.path).then(|| one.clone()));
        let Ok(decided) = decide(reads, writes.to_vec(), Version::from_micros(9), state);
        let text = match decided {
            Err(error) => format!("refused: {error}\n"),
            Ok(plan) => {
                let side = |side: &Option<Arc<Document>>| match side {
                    None => "nothing".to_owned(),
                    Some(document) => format!("{:?}@{}/{}", document.fields, document.created, document.updated),
                };
                let changes = plan
                    .changes
                    .iter()
                    .map(|change| format!("{}: {} -> {}\n", change.path, side(&change.before), side(&change.after)));
                let results = plan.results.iter().map(|result| {
                    let updated = result.updated.map_or("none".to_owned(), |version| version.to_string());
                    format!("result {updated} {:?}\n", result.transforms)
                });
                changes.chain(results).collect()
            }
        };
        want.assert_eq(&text);
    }

    #[test]
    fn a_merge_sets_deletes_and_keeps() {
        check(
            &[],
            &[merge("a/one", &[("n", 7), ("x", 1)], &["n", "m", "x"], Precondition::Exists(true))],
            expect![[r#"
            a/one: {"m": Integer(2), "n": Integer(1)}@3/5 -> {"n": Integer(7), "x": Integer(1)}@3/9
            result 9 []
        "#]],
        );
    }

    #[test]
    fn a_write_that_changes_nothing_keeps_the_last_change() {
        let same = Operation::Set(fields(&[("m", 2), ("n", 1)]));
        check(
            &[],
            &[write("a/one", same, Precondition::None)],
            expect![[r#"
            result 5 []
        "#]],
        );
        check(
            &[],
            &[write("a/none", Operation::Delete, Precondition::None)],
            expect![[r#"
            result none []
        "#]],
        );
    }

    #[test]
    fn later_writes_see_earlier_ones_and_a_document_changes_once() {
        let increment =
            FieldTransform { path: FieldPath::parse("n").unwrap(), transform: Transform::Increment(Value::Integer(1)) };
        let add = || {
            let touch = Operation::Merge { fields: Map::new(), mask: vec![] };
            Write::build(path("a/two"), touch, Precondition::None, vec![increment.clone()]).unwrap()
        };
        check(
            &[],
            &[add(), add(), write("a/one", Operation::Delete, Precondition::Exists(true))],
            expect![[r#"
            a/one: {"m": Integer(2), "n": Integer(1)}@3/5 -> nothing
            a/two: nothing -> {"n": Integer(2)}@9/9
            result 9 [Integer(1)]
            result 9 [Integer(2)]
            result none []
        "#]],
        );
    }

    #[test]
    fn delete_and_create_makes_a_new_document() {
        let again = Operation::Set(fields(&[("m", 2), ("n", 1)]));
        let writes =
            [write("a/one", Operation::Delete, Precondition::None), write("a/one", again, Precondition::Exists(false))];
        check(
            &[],
            &writes,
            expect![[r#"
            a/one: {"m": Integer(2), "n": Integer(1)}@3/5 -> {"m": Integer(2), "n": Integer(1)}@9/9
            result none []
            result 9 []
        "#]],
        );
    }

    #[test]
    fn preconditions_and_reads_refuse_the_whole_commit() {
        let set = |at, precondition| write(at, Operation::Set(Map::new()), precondition);
        let v = Version::from_micros;
        check(
            &[],
            &[set("a/two", Precondition::Exists(true))],
            expect![[r#"
            refused: no document at a/two
        "#]],
        );
        check(
            &[],
            &[set("a/new", Precondition::None), set("a/one", Precondition::Exists(false))],
            expect![[r#"
            refused: there is already a document at a/one
        "#]],
        );
        check(
            &[],
            &[set("a/one", Precondition::Updated(v(4)))],
            expect![[r#"
            refused: a/one was last changed at 5, the write expected 4
        "#]],
        );
        check(
            &[],
            &[write("a/two", Operation::Verify, Precondition::Updated(v(4)))],
            expect![[r#"
            refused: a/two does not exist, the write expected it as changed at 4
        "#]],
        );
        check(
            &[],
            &[set("a/one", Precondition::None), set("a/one", Precondition::Updated(v(9)))],
            expect![[r#"
                a/one: {"m": Integer(2), "n": Integer(1)}@3/5 -> {}@3/9
                result 9 []
                result 9 []
            "#]],
        );
        // The commit's own version, 9, is not told when it is refused.
        check(
            &[],
            &[set("a/one", Precondition::None), set("a/one", Precondition::Updated(v(4)))],
            expect![[r#"
            refused: a/one was last changed at 5, the write expected 4
        "#]],
        );
        let read = |at, updated| DocumentRead { path: path(at), updated };
        check(&[read("a/one", Some(v(5))), read("a/two", None)], &[], expect![""]);
        check(
            &[read("a/one", None)],
            &[],
            expect![[r#"
            refused: a/one has changed since it was read
        "#]],
        );
    }

    #[test]
    fn a_document_over_the_limit_is_refused() {
        let text = Value::text(&"x".repeat(Document::BYTES_MAX));
        check(
            &[],
            &[write("a/two", Operation::Set(Map::from([("t".into(), text)])), Precondition::None)],
            expect![[r#"
            refused: a/two would hold 1048633 bytes, over the limit of 1048576
        "#]],
        );
    }

    #[test]
    fn small_writes_to_large_documents_are_bounded_in_all() {
        let text = |path: &DocPath| {
            let fields = Map::from([("t".into(), Value::text(&"x".repeat(1_000_000)))]);
            Document { path: path.clone(), fields, created: Version::ZERO, updated: Version::ZERO }
        };
        let writes: Vec<Write> =
            (0..30).map(|n| merge(&format!("a/d{n}"), &[("n", 1)], &["n"], Precondition::None)).collect();
        let state = |at: &DocPath| Ok::<_, Infallible>(Some(Arc::new(text(at))));
        let Ok(refused) = decide(&[], writes.clone(), Version::from_micros(9), state);
        assert_eq!(refused, Err(WriteError::TooMuch { path: path("a/d25") }));
        let Ok(decided) = decide(&[], writes[..20].to_vec(), Version::from_micros(9), state);
        assert_eq!(decided.unwrap().changes.len(), 20);
    }

    #[test]
    fn projecting_ignores_preconditions_and_shows_unchanged_documents() {
        let verify = write("a/none", Operation::Verify, Precondition::Exists(true));
        let set = write("a/two", Operation::Set(fields(&[("n", 1)])), Precondition::Updated(Version::from_micros(1)));
        let nothing = |_: &DocPath| Ok::<_, Infallible>(None);
        let Ok(images) = project(&[verify, set], Version::from_micros(9), nothing);
        let images = images.unwrap();
        assert_eq!(images.len(), 2);
        assert_eq!((&images[0].before, &images[0].after), (&None, &None));
        assert!(images[1].after.is_some());
    }
}
