//! Running queries, for documents and for numbers.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hearth_auth::Caller;
use hearth_core::query::{Limit, Query};
use hearth_core::{DatabaseName, Document, Map, Version};
use hearth_engine::{Answer, Cost, Database, Pages, QueryRead};
use hearth_schema::v1::{
    self, run_aggregation_query_request, run_query_request, run_query_response::ContinuationSelector,
};
use hearth_schema::wkt;

use super::explain::{plan, stats};
use super::{Answers, Consistency, Door, Snapshot, answers};
use crate::convert::query::{Asked, aggregation_from, asked_from};
use crate::convert::{document, time, value};
use crate::names;
use crate::near::Nearest;
use crate::status::Refusal;
use crate::transaction::What;

impl Door {
    /// `RunQuery`: a message a document; without documents one that says the time.
    pub(crate) async fn run_query(
        &self,
        caller: &Caller,
        request: v1::RunQueryRequest,
    ) -> Result<Answers<v1::RunQueryResponse>, Refusal> {
        use run_query_request::{ConsistencySelector, QueryType};
        let parent = names::parent(&request.parent)?;
        let Some(QueryType::StructuredQuery(query)) = request.query_type else {
            return Err(Refusal::invalid("only structured queries are supported"));
        };
        let Asked { query, near } = asked_from(&parent, query, self.bounds)?;
        let consistency = match request.consistency_selector {
            None => Consistency::Newest,
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
        };
        let database = self.database(&parent.database).await?;
        let plan = request.explain_options.map(|options| (options.analyze, plan(&query, near.as_ref())));
        if let Some((false, plan)) = plan {
            database.authorize_query(caller, query)?;
            let explain_metrics = Some(v1::ExplainMetrics { plan_summary: Some(plan), execution_stats: None });
            return Ok(answers([v1::RunQueryResponse { explain_metrics, ..Default::default() }]));
        }
        let authorized = database.authorize_query(caller, query.clone())?;
        let snapshot = self.snapshot(caller, &database, consistency, [What::Query(query.hash())]).await?;
        let mut pages = database.pages(&authorized, snapshot.at);
        // The first page is read here, so that most of what goes wrong is an answer of its own.
        let mut first = pages.next().await?;
        self.note_query(&snapshot, seen_first(&query, snapshot.at, &first, pages.is_over()));
        if let Some(near) = near {
            // The nearest may stand anywhere: all have to be looked at first.
            let mut nearest = Nearest::default();
            while !first.is_empty() {
                near.look(&mut nearest, &first);
                first = pages.next().await?;
            }
            let mut told = Told::new(query, parent.database, &snapshot, plan.map(|(_, plan)| plan));
            let mut responses: Vec<_> =
                near.shown_of(nearest).iter().map(|(whole, shown)| told.document(whole, Some(shown))).collect();
            told.end(&mut responses, &pages);
            return Ok(answers(began(&snapshot).into_iter().chain(responses)));
        }
        let told = Told::new(query, parent.database, &snapshot, plan.map(|(_, plan)| plan));
        let responses = stream::try_unfold(Some((told, pages, first)), async |reading| {
            let Some((mut told, mut pages, page)) = reading else { return Ok(None) };
            told.skipped = pages.skipped();
            let mut responses: Vec<_> = page.iter().map(|document| told.document(document, None)).collect();
            // The page behind is read first: the last document tells what the query cost.
            let next = if page.is_empty() { page } else { pages.next().await? };
            if next.is_empty() {
                told.end(&mut responses, &pages);
                return Ok(Some((responses, None)));
            }
            Ok::<_, Refusal>(Some((responses, Some((told, pages, next)))))
        });
        let responses = responses.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten();
        Ok(answers(began(&snapshot)).chain(responses).boxed())
    }

    /// `RunAggregationQuery`: one message.
    pub(crate) async fn run_aggregation_query(
        &self,
        caller: &Caller,
        request: v1::RunAggregationQueryRequest,
    ) -> Result<Answers<v1::RunAggregationQueryResponse>, Refusal> {
        use run_aggregation_query_request::{ConsistencySelector, QueryType};
        let parent = names::parent(&request.parent)?;
        let Some(QueryType::StructuredAggregationQuery(query)) = request.query_type else {
            return Err(Refusal::invalid("Only structured aggregation queries are supported."));
        };
        let (query, aliases) = aggregation_from(&parent, query, self.bounds)?;
        let consistency = match request.consistency_selector {
            None => Consistency::Newest,
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
        };
        let database = self.database(&parent.database).await?;
        let plan = request.explain_options.map(|options| (options.analyze, plan(&query, None)));
        if let Some((false, plan)) = plan {
            database.authorize_query(caller, query)?;
            let explain_metrics = Some(v1::ExplainMetrics { plan_summary: Some(plan), execution_stats: None });
            return Ok(answers([v1::RunAggregationQueryResponse { explain_metrics, ..Default::default() }]));
        }
        let (snapshot, answer) = self.answer(caller, &database, &query, consistency).await?;
        let explain_metrics = plan.map(|(_, plan)| v1::ExplainMetrics {
            plan_summary: Some(plan),
            execution_stats: Some(stats(1, Cost { scanned: answer.scanned, read: answer.read, micros: answer.micros })),
        });
        let numbers = answer.aggregates.unwrap_or_default();
        let aggregate_fields = aliases.into_iter().zip(numbers.iter().map(value)).collect();
        let response = v1::RunAggregationQueryResponse {
            result: Some(v1::AggregationResult { aggregate_fields }),
            transaction: snapshot.began,
            read_time: Some(time(snapshot.at)),
            explain_metrics,
        };
        Ok(answers([response]))
    }

    /// A query's answer, remembered where a transaction asks.
    pub(super) async fn answer(
        &self,
        caller: &Caller,
        database: &Database,
        query: &Arc<Query>,
        consistency: Consistency,
    ) -> Result<(Snapshot, Answer), Refusal> {
        let authorized = database.authorize_query(caller, query.clone())?;
        let snapshot = self.snapshot(caller, database, consistency, [What::Query(query.hash())]).await?;
        let answer = database.query(&authorized, Some(snapshot.at)).await?;
        self.note_query(&snapshot, seen(query, &answer));
        Ok((snapshot, answer))
    }
}

/// A query's responses as they are told.
struct Told {
    query: Arc<Query>,
    database: DatabaseName,
    read_time: Option<wkt::Timestamp>,
    plan: Option<v1::PlanSummary>,
    documents: usize,
    /// What the offset skipped, until it is told.
    skipped: u32,
}

impl Told {
    fn new(query: Arc<Query>, database: DatabaseName, snapshot: &Snapshot, plan: Option<v1::PlanSummary>) -> Self {
        Self { query, database, read_time: Some(time(snapshot.at)), plan, documents: 0, skipped: 0 }
    }

    /// A document, or what is shown of it.
    fn document(&mut self, whole: &Document, shown: Option<&Map>) -> v1::RunQueryResponse {
        // What was skipped, was skipped before the first.
        let skipped = if self.documents == 0 { self.skipped } else { 0 };
        self.documents += 1;
        v1::RunQueryResponse {
            document: Some(match shown {
                Some(shown) => document(&self.database, whole, shown),
                None => document(&self.database, whole, &self.query.project(whole)),
            }),
            read_time: self.read_time,
            skipped_results: i32::try_from(skipped).unwrap_or(i32::MAX),
            ..Default::default()
        }
    }

    /// What is told when all documents are: the cost where somebody asked for it, with the last of them, as Firestore does;
    /// of nothing the time, for clients need it.
    fn end(self, responses: &mut Vec<v1::RunQueryResponse>, pages: &Pages) {
        if self.documents == 0 {
            responses.push(v1::RunQueryResponse {
                read_time: self.read_time,
                skipped_results: i32::try_from(pages.skipped()).unwrap_or(i32::MAX),
                continuation_selector: Some(ContinuationSelector::Done(true)),
                ..Default::default()
            });
        }
        if let (Some(plan), Some(last)) = (self.plan, responses.last_mut()) {
            last.continuation_selector = Some(ContinuationSelector::Done(true));
            last.explain_metrics = Some(v1::ExplainMetrics {
                plan_summary: Some(plan),
                execution_stats: Some(stats(self.documents, pages.cost())),
            });
        }
    }
}

/// The id of the transaction that a request began stands in front, alone.
fn began(snapshot: &Snapshot) -> Option<v1::RunQueryResponse> {
    let transaction = snapshot.began.clone();
    (!transaction.is_empty()).then_some(v1::RunQueryResponse { transaction, ..Default::default() })
}

/// What a transaction has seen by a query.
fn seen(query: &Arc<Query>, answer: &Answer) -> QueryRead {
    seen_first(query, answer.version, &answer.docs, true)
}

/// The same where the first page of the result is known: unless that is all of it, any change of what the query matches
/// is held to be a change of what was seen.
fn seen_first(query: &Arc<Query>, version: Version, first: &[Arc<Document>], is_all: bool) -> QueryRead {
    let last_returned = first.last().filter(|_| is_all).and_then(|document| {
        let Ok(key) = query.row_key(&document.path, &**document);
        key
    });
    let filled = match query.limit() {
        Some(Limit::First(limit) | Limit::Last(limit)) => is_all && first.len() >= limit as usize,
        None => false,
    };
    QueryRead { query: query.clone(), version, last_returned, filled }
}
