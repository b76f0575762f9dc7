//! What both servers are asked, and how often a second they answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hearth_schema::v1::{self, listen_response::ResponseType, value::ValueType, write::Operation};
use tokio::task::JoinSet;

use super::grpc::{Client, DATABASE, Refused, name};
use crate::material;

/// Documents of a query.
const QUERIED: usize = 100;
const QUERIED_COLLECTION: &str = "hundred";
/// Who hears of each write.
const LISTENERS: usize = 100;
const HEARD: &str = "heard/it";
const HOT: &str = "hot/it";
/// Writes of one commit while documents are prepared.
const BATCH: usize = 100;
/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients who prepare them.
const FILLERS: usize = 4;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Write1,
    Write64,
    Get,
    Query,
    Listen,
    Increment,
}

impl Load {
    pub(crate) const ALL: [Self; 6] =
        [Self::Write1, Self::Write64, Self::Get, Self::Query, Self::Listen, Self::Increment];

    /// Its name in the names of rows, and to the script.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Write1 => "write-1",
            Self::Write64 => "write-64",
            Self::Get => "get",
            Self::Query => "query",
            Self::Listen => "listen",
            Self::Increment => "increment",
        }
    }

    /// Who asks at one time, each with a connection of its own.
    fn clients(self) -> usize {
        match self {
            Self::Write1 | Self::Listen => 1,
            Self::Query => 8,
            Self::Write64 | Self::Get | Self::Increment => 64,
        }
    }

    /// How many operations one answer is: of what is heard every event counts.
    pub(crate) fn weight(self) -> u64 {
        if self == Self::Listen { LISTENERS as u64 } else { 1 }
    }

    /// Whether there is work left when all is answered.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Query)
    }
}

/// For how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Before anything counts: a virtual machine has to see what it is to compile.
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
}

/// What is asked, of how many documents, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) load: Load,
    /// Documents that are there to be got.
    pub(crate) documents: usize,
    pub(crate) times: Times,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Operations while it was measured.
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    /// CPU of the server meanwhile.
    pub(crate) cpu: Duration,
    /// Operations from the first, the warm-up's among them.
    pub(crate) all: u64,
    pub(crate) refused: u64,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

fn value(json: &serde_json::Value) -> v1::Value {
    let value = match json {
        serde_json::Value::Number(number) => ValueType::IntegerValue(number.as_i64().unwrap_or_default()),
        other => ValueType::StringValue(other.as_str().unwrap_or_default().into()),
    };
    v1::Value { value_type: Some(value) }
}

/// The commit that makes the n-th document, at this path.
fn set(path: &str, n: usize) -> v1::Write {
    let json = material::json(n);
    let fields = json.as_object().into_iter().flatten().map(|(name, json)| (name.clone(), value(json))).collect();
    let document = v1::Document { name: name(path), fields, ..v1::Document::default() };
    v1::Write { operation: Some(Operation::Update(document)), ..v1::Write::default() }
}

fn commit(writes: Vec<v1::Write>) -> v1::CommitRequest {
    v1::CommitRequest { database: DATABASE.into(), writes, ..v1::CommitRequest::default() }
}

fn increment(path: &str) -> v1::Write {
    use v1::document_transform::{FieldTransform, field_transform::TransformType};
    let one = v1::Value { value_type: Some(ValueType::IntegerValue(1)) };
    let transform = FieldTransform { field_path: "n".into(), transform_type: Some(TransformType::Increment(one)) };
    let document = v1::Document { name: name(path), ..v1::Document::default() };
    v1::Write {
        operation: Some(Operation::Update(document)),
        update_mask: Some(v1::DocumentMask::default()),
        update_transforms: vec![transform],
        ..v1::Write::default()
    }
}

fn query() -> v1::RunQueryRequest {
    use v1::run_query_request::QueryType;
    use v1::structured_query::CollectionSelector;
    let from = vec![CollectionSelector { collection_id: QUERIED_COLLECTION.into(), all_descendants: false }];
    let query = v1::StructuredQuery { from, ..v1::StructuredQuery::default() };
    v1::RunQueryRequest {
        parent: format!("{DATABASE}/documents"),
        query_type: Some(QueryType::StructuredQuery(query)),
        ..v1::RunQueryRequest::default()
    }
}

/// Writes so many documents of the collection of all, and those that are queried.
pub(crate) async fn fill(address: SocketAddr, count: usize) -> Result<()> {
    let mut tasks = JoinSet::new();
    for filler in 0..FILLERS {
        let mut client = Client::connect(address).await?;
        tasks.spawn(async move {
            for first in (filler * BATCH..count).step_by(FILLERS * BATCH) {
                let writes = (first..(first + BATCH).min(count))
                    .map(|n| set(&format!("{}/{}", material::COLLECTION, material::id(n)), n));
                client.call::<v1::CommitResponse>("Commit", &commit(writes.collect())).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let writes =
        (0..QUERIED).map(|n| set(&format!("{QUERIED_COLLECTION}/{}", material::id(n)), n)).chain([set(HOT, 0)]);
    Client::connect(address).await?.call::<v1::CommitResponse>("Commit", &commit(writes.collect())).await?;
    Ok(())
}

/// The first answer of a server: that there is no such document.
pub(crate) async fn is_ready(address: SocketAddr) -> Result<()> {
    let request = v1::GetDocumentRequest { name: name("none/none"), ..v1::GetDocumentRequest::default() };
    let answer = Client::connect(address).await?.call::<v1::Document>("GetDocument", &request).await;
    const NOT_FOUND: &str = "5";
    match answer.map_err(|error| error.downcast::<Refused>()) {
        Err(Ok(refused)) if refused.code == NOT_FOUND => Ok(()),
        Ok(_) => anyhow::bail!("a document is there that nobody wrote"),
        Err(Ok(refused)) => Err(refused.into()),
        Err(Err(error)) => Err(error),
    }
}

/// What all clients of a load share.
struct Shared {
    load: Load,
    documents: usize,
    /// Whatever is numbered: no document is written twice.
    number: AtomicU64,
    operations: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// Has the clients of a load ask again and again. `cpu` tells what the server has used.
pub(crate) async fn run(address: SocketAddr, asked: Asked, cpu: impl Fn() -> Result<Duration>) -> Result<Outcome> {
    let Asked { load, documents, times } = asked;
    let shared = Arc::new(Shared {
        load,
        documents,
        number: AtomicU64::new(1_000_000),
        operations: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    // Whoever connects and begins to listen takes no time from what is measured.
    let mut sides = Vec::new();
    for _ in 0..load.clients() {
        let mut ears = Vec::new();
        for _ in 0..if load == Load::Listen { LISTENERS } else { 0 } {
            ears.push(Ear::open(address).await?);
        }
        sides.push((Client::connect(address).await?, ears));
    }
    let mut tasks = JoinSet::new();
    for (client, ears) in sides {
        tasks.spawn(shared.clone().ask(client, ears));
    }
    let counted = || shared.operations.load(Ordering::Relaxed);
    tokio::time::sleep(times.warm).await;
    let (before, cpu_before, start) = (counted(), cpu()?, Instant::now());
    tokio::time::sleep(times.measured).await;
    while counted() == before && start.elapsed() < PATIENCE {
        tokio::time::sleep(times.measured).await;
    }
    let (after, cpu_after, seconds) = (counted(), cpu()?, start.elapsed().as_secs_f64());
    shared.is_over.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let operations = after - before;
    anyhow::ensure!(operations > 0, "nothing was answered in {seconds} s of {}", load.name());
    let refused = shared.refused.load(Ordering::Relaxed);
    Ok(Outcome { operations, seconds, cpu: cpu_after - cpu_before, all: counted(), refused })
}

impl Shared {
    async fn ask(self: Arc<Self>, mut client: Client, mut ears: Vec<Ear>) -> Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            match self.once(&mut client, &mut ears).await {
                Ok(()) => drop(self.operations.fetch_add(self.load.weight(), Ordering::Relaxed)),
                // A server may ask that writes of one document come more slowly.
                Err(error) if self.load == Load::Increment && error.is::<Refused>() => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn once(&self, client: &mut Client, ears: &mut [Ear]) -> Result<()> {
        let n = self.number.fetch_add(1, Ordering::Relaxed) as usize;
        match self.load {
            Load::Write1 | Load::Write64 => {
                let path = format!("{}-{}/{}", material::COLLECTION, self.load.name(), material::id(n));
                client.call::<v1::CommitResponse>("Commit", &commit(vec![set(&path, n)])).await?;
            }
            Load::Get => {
                let path = format!("{}/{}", material::COLLECTION, material::id(n * 7_919 % self.documents));
                let request = v1::GetDocumentRequest { name: name(&path), ..v1::GetDocumentRequest::default() };
                client.call::<v1::Document>("GetDocument", &request).await?;
            }
            Load::Query => {
                let answers = client.call::<v1::RunQueryResponse>("RunQuery", &query()).await?;
                let found = answers.iter().filter(|answer| answer.document.is_some()).count();
                anyhow::ensure!(found == QUERIED, "a query found {found} documents");
            }
            Load::Increment => drop(client.call::<v1::CommitResponse>("Commit", &commit(vec![increment(HOT)])).await?),
            Load::Listen => {
                client.call::<v1::CommitResponse>("Commit", &commit(vec![set(HEARD, n)])).await?;
                for ear in ears {
                    ear.hear(n).await?;
                }
            }
        }
        Ok(())
    }
}

/// A listener to one document.
struct Ear {
    call: super::grpc::Call,
    _client: Client,
}

impl Ear {
    async fn open(address: SocketAddr) -> Result<Self> {
        use v1::listen_request::TargetChange;
        use v1::target::{DocumentsTarget, TargetType};
        let mut client = Client::connect(address).await?;
        let documents = TargetType::Documents(DocumentsTarget { documents: vec![name(HEARD)] });
        let target = v1::Target { target_id: 1, target_type: Some(documents), ..v1::Target::default() };
        let request = v1::ListenRequest {
            database: DATABASE.into(),
            target_change: Some(TargetChange::AddTarget(target)),
            ..v1::ListenRequest::default()
        };
        let call = client.open("Listen", &request, false).await?;
        Ok(Self { call, _client: client })
    }

    /// Waits until it has heard of the n-th write.
    async fn hear(&mut self, n: usize) -> Result<()> {
        let wanted = ValueType::IntegerValue(n as i64);
        loop {
            let heard: v1::ListenResponse = self.call.next().await?.context("a listener was ended")?;
            if let Some(ResponseType::DocumentChange(change)) = heard.response_type
                && let Some(document) = change.document
                && document.fields.get("n").and_then(|value| value.value_type.as_ref()) == Some(&wanted)
            {
                return Ok(());
            }
        }
    }
}
