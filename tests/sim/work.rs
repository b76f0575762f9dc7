//! What clients ask: commits in the words of the simulation, which the engine's words are made of, and queries.

use std::sync::Arc;

use hearth_core::decide::DocumentRead;
use hearth_core::entry::RequestKey;
use hearth_core::query::{Aggregate, Filter, Limit, Operator, Order, Query, QuerySpec, Source};
use hearth_core::write::{FieldTransform, Operation, Precondition, Transform, Write};
use hearth_core::{CollectionPath, Direction, DocPath, Document, FieldPath, Id, Map, Value, Version};
use hearth_engine::{CommitRequest, QueryRead};
use hearth_tests::Random;

use crate::model::Docs;

/// Documents that commits keep their numbers in.
const MARKS: i64 = 12;

/// One commit.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Names it among all commits of the story.
    pub(crate) number: i64,
    pub(crate) is_keyed: bool,
    pub(crate) reads: Vec<DocumentRead>,
    pub(crate) queries: Vec<Read>,
    pub(crate) deeds: Vec<Deed>,
}

/// A query that a commit rests on, and what it found.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) spec: QuerySpec,
    pub(crate) version: Version,
    pub(crate) found: Vec<(DocPath, Version)>,
    pub(crate) last_returned: Option<Box<[u8]>>,
    pub(crate) filled: bool,
}

/// What is done to one document.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Set {
        path: DocPath,
        n: i64,
        by: i64,
    },
    /// Only where there is none.
    Create {
        path: DocPath,
        n: i64,
        by: i64,
    },
    Delete {
        path: DocPath,
    },
    Add {
        path: DocPath,
        n: i64,
    },
}

impl Work {
    pub(crate) fn new(number: i64, is_keyed: bool, mut deeds: Vec<Deed>) -> Self {
        let path = DocPath::parse(&format!("marks/m{}", number % MARKS)).unwrap();
        deeds.push(Deed::Set { path, n: 0, by: number });
        Self { number, is_keyed, reads: Vec::new(), queries: Vec::new(), deeds }
    }

    /// The number of the commit that made this image, where it is told there.
    pub(crate) fn number_in(path: &DocPath, image: Option<&Document>) -> Option<i64> {
        if path.collection_id() != "marks" {
            return None;
        }
        match image?.fields.get("by") {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn request(&self) -> CommitRequest {
        let query = |read: &Read| QueryRead {
            query: Arc::new(Query::build(read.spec.clone()).unwrap()),
            version: read.version,
            last_returned: read.last_returned.clone(),
            filled: read.filled,
        };
        CommitRequest {
            key: self.is_keyed.then(|| RequestKey { key: format!("k{}", self.number).into(), request: 1 }),
            reads: self.reads.clone(),
            queries: self.queries.iter().map(query).collect(),
            writes: self.deeds.iter().map(Deed::write).collect(),
        }
    }
}

impl Deed {
    pub(crate) fn random(random: &mut Random, number: i64) -> Self {
        let path = path(random);
        let n = random.index(9) as i64;
        match random.index(10) {
            0 | 1 => Self::Delete { path },
            2 => Self::Create { path, n, by: number },
            3 | 4 => Self::Add { path, n: n + 1 },
            _ => Self::Set { path, n, by: number },
        }
    }

    pub(crate) fn path(&self) -> &DocPath {
        let (Self::Set { path, .. } | Self::Create { path, .. } | Self::Delete { path } | Self::Add { path, .. }) =
            self;
        path
    }

    fn write(&self) -> Write {
        let path = self.path().clone();
        let fields = |n: i64, by: i64| {
            Operation::Set(Map::from([("n".into(), Value::Integer(n)), ("by".into(), Value::Integer(by))]))
        };
        let write = match self {
            Self::Set { n, by, .. } => Write::build(path, fields(*n, *by), Precondition::None, vec![]),
            Self::Create { n, by, .. } => Write::build(path, fields(*n, *by), Precondition::Exists(false), vec![]),
            Self::Delete { .. } => Write::build(path, Operation::Delete, Precondition::None, vec![]),
            Self::Add { n, .. } => {
                let plus = FieldTransform { path: field("n"), transform: Transform::Increment(Value::Integer(*n)) };
                let nothing = Operation::Merge { fields: Map::new(), mask: vec![] };
                Write::build(path, nothing, Precondition::None, vec![plus])
            }
        };
        write.unwrap()
    }

    /// What has to be true before.
    pub(crate) fn check(&self, before: &Docs) {
        if let Self::Create { path, by, .. } = self {
            assert!(!before.contains_key(path), "commit {by} created {path}, which was there");
        }
    }

    /// What becomes of the document.
    pub(crate) fn apply(&self, before: Option<&Document>, version: Version) -> Option<Document> {
        let created = before.map_or(version, |before| before.created);
        let mut fields = before.map(|before| before.fields.clone()).unwrap_or_default();
        match self {
            Self::Delete { .. } => return None,
            Self::Set { n, by, .. } | Self::Create { n, by, .. } => {
                fields = Map::from([("n".into(), Value::Integer(*n)), ("by".into(), Value::Integer(*by))]);
            }
            Self::Add { n, .. } => {
                let old = match fields.get("n") {
                    Some(Value::Integer(old)) => *old,
                    _ => 0,
                };
                fields.insert("n".into(), Value::Integer(old + n));
            }
        }
        Some(Document { path: self.path().clone(), fields, created, updated: version })
    }
}

fn field(name: &str) -> FieldPath {
    FieldPath::parse(name).unwrap()
}

/// A document of the story: few, so that clients meet.
pub(crate) fn path(random: &mut Random) -> DocPath {
    let room = random.index(7);
    let text = match random.index(4) {
        0 => format!("rooms/r{}/posts/p{}", room % 2, random.index(4)),
        _ => format!("rooms/r{room}"),
    };
    DocPath::parse(&text).unwrap()
}

/// A query of the story.
pub(crate) fn query(random: &mut Random) -> QuerySpec {
    let rooms = Source::Collection(CollectionPath::parse("rooms").unwrap());
    let by_n = |direction| vec![Order { field: field("n"), direction }];
    let filter = |operator, n| Some(Filter::Field { field: field("n"), operator, value: Value::Integer(n) });
    match random.index(11) {
        0 => QuerySpec::all(rooms),
        1 => QuerySpec::all(Source::Documents(vec![path(random)])),
        2 => QuerySpec::all(Source::Group { below: None, id: Id::parse("posts").unwrap() }),
        3 => QuerySpec { orders: by_n(Direction::Descending), limit: Some(Limit::First(2)), ..QuerySpec::all(rooms) },
        4 => QuerySpec { orders: by_n(Direction::Ascending), limit: Some(Limit::Last(2)), ..QuerySpec::all(rooms) },
        5 => QuerySpec {
            orders: by_n(Direction::Ascending),
            limit: Some(Limit::First(3)),
            offset: 1,
            ..QuerySpec::all(rooms)
        },
        6 => QuerySpec { filter: filter(Operator::GreaterOrEqual, 4), ..QuerySpec::all(rooms) },
        7 => QuerySpec { filter: filter(Operator::Equal, random.index(4) as i64), ..QuerySpec::all(rooms) },
        8 => QuerySpec {
            aggregates: vec![Aggregate::Count { up_to: None }, Aggregate::Sum(field("n"))],
            ..QuerySpec::all(rooms)
        },
        9 => QuerySpec {
            aggregates: vec![Aggregate::Sum(field("n"))],
            limit: Some(Limit::First(3)),
            ..QuerySpec::all(rooms)
        },
        _ => QuerySpec { limit: Some(Limit::First(3)), ..QuerySpec::all(Source::Below(None)) },
    }
}
