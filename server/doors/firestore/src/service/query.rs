//! Running queries, for documents and for numbers.

use std::sync::Arc;

use hearth_auth::Caller;
use hearth_core::query::{Limit, Query};
use hearth_core::{Direction, Document, Map};
use hearth_engine::{Answer, Database, QueryRead};
use hearth_schema::v1::{
    self, run_aggregation_query_request, run_query_request, run_query_response::ContinuationSelector,
};
use hearth_schema::well_known::{Duration, Struct, Value as Json, value::Kind as JsonKind};

use super::{Answers, Consistency, Door, Snapshot};
use crate::convert::query::{Asked, aggregation_from, asked_from};
use crate::convert::{document, time, value};
use crate::names;
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
            return Err(Refusal::invalid("A structured query is missing"));
        };
        let Asked { query, near } = asked_from(&parent, query)?;
        let consistency = match request.consistency_selector {
            None => Consistency::Newest,
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
        };
        let database = self.database(&parent.database).await?;
        let plan = request.explain_options.map(|options| (options.analyze, plan(&query)));
        if let Some((false, plan)) = plan {
            database.authorize_query(caller, query)?;
            let explain_metrics = Some(v1::ExplainMetrics { plan_summary: Some(plan), execution_stats: None });
            return Ok(Box::new([v1::RunQueryResponse { explain_metrics, ..Default::default() }].into_iter()));
        }
        let (snapshot, answer) = self.answer(caller, &database, &query, consistency).await?;
        let stats = plan.map(|(_, plan)| (plan, stats(&answer)));
        let read_time = Some(time(snapshot.at));
        let name = parent.database;
        let shown: Box<dyn Iterator<Item = (Arc<Document>, Option<Map>)> + Send> = match near {
            None => Box::new(answer.docs.into_iter().map(|document| (document, None))),
            Some(near) => {
                Box::new(near.among(&answer.docs).into_iter().map(|(document, shown)| (document, Some(shown))))
            }
        };
        let mut shown = shown.peekable();
        let is_empty = shown.peek().is_none();
        let first = (!snapshot.began.is_empty())
            .then_some(v1::RunQueryResponse { transaction: snapshot.began, ..Default::default() });
        let mut skipped = if is_empty { 0 } else { i32::try_from(query.offset()).unwrap_or(i32::MAX) };
        let documents = shown.map(move |(whole, shown)| v1::RunQueryResponse {
            document: Some(match shown {
                Some(shown) => document(&name, &whole, &shown),
                None => document(&name, &whole, &query.project(&whole)),
            }),
            read_time,
            skipped_results: std::mem::take(&mut skipped),
            ..Default::default()
        });
        // Clients need the time also of nothing, and the cost where they asked for it.
        let last = (is_empty || stats.is_some()).then(|| v1::RunQueryResponse {
            read_time,
            continuation_selector: Some(ContinuationSelector::Done(true)),
            explain_metrics: stats
                .map(|(plan, stats)| v1::ExplainMetrics { plan_summary: Some(plan), execution_stats: Some(stats) }),
            ..Default::default()
        });
        Ok(Box::new(first.into_iter().chain(documents).chain(last)))
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
            return Err(Refusal::invalid("A structured aggregation query is missing"));
        };
        let (query, aliases) = aggregation_from(&parent, query)?;
        let consistency = match request.consistency_selector {
            None => Consistency::Newest,
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::NewTransaction(options)) => Consistency::New(options),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
        };
        let database = self.database(&parent.database).await?;
        let plan = request.explain_options.map(|options| (options.analyze, plan(&query)));
        if let Some((false, plan)) = plan {
            database.authorize_query(caller, query)?;
            let explain_metrics = Some(v1::ExplainMetrics { plan_summary: Some(plan), execution_stats: None });
            return Ok(Box::new(
                [v1::RunAggregationQueryResponse { explain_metrics, ..Default::default() }].into_iter(),
            ));
        }
        let (snapshot, answer) = self.answer(caller, &database, &query, consistency).await?;
        let explain_metrics = plan.map(|(_, plan)| v1::ExplainMetrics {
            plan_summary: Some(plan),
            execution_stats: Some(v1::ExecutionStats { results_returned: 1, ..stats(&answer) }),
        });
        let numbers = answer.aggregates.unwrap_or_default();
        let aggregate_fields = aliases.into_iter().zip(numbers.iter().map(value)).collect();
        let response = v1::RunAggregationQueryResponse {
            result: Some(v1::AggregationResult { aggregate_fields }),
            transaction: snapshot.began,
            read_time: Some(time(snapshot.at)),
            explain_metrics,
        };
        Ok(Box::new([response].into_iter()))
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

/// What a transaction has seen by a query.
fn seen(query: &Arc<Query>, answer: &Answer) -> QueryRead {
    let last_returned = answer.docs.last().and_then(|document| {
        let Ok(key) = query.row_key(&document.path, &**document);
        key
    });
    let filled = match query.limit() {
        Some(Limit::First(limit) | Limit::Last(limit)) => answer.docs.len() >= limit as usize,
        None => false,
    };
    QueryRead { query: query.clone(), version: answer.version, last_returned, filled }
}

fn text(text: impl Into<String>) -> Json {
    Json { kind: Some(JsonKind::StringValue(text.into())) }
}

/// What a query would read by: the order of names within its source.
fn plan(query: &Query) -> v1::PlanSummary {
    use hearth_core::query::Source;
    let scope = match query.source() {
        Source::Collection(_) | Source::Documents(_) => "Collection",
        Source::Group { .. } | Source::Below(_) => "Collection group",
    };
    let descending =
        query.orders().first().is_some_and(|order| order.field.is_name() && order.direction == Direction::Descending);
    let properties = if descending { "(__name__ DESC)" } else { "(__name__ ASC)" };
    let fields = [("query_scope".to_owned(), text(scope)), ("properties".to_owned(), text(properties))];
    v1::PlanSummary { indexes_used: vec![Struct { fields: fields.into() }] }
}

/// What a query cost.
fn stats(answer: &Answer) -> v1::ExecutionStats {
    let debug = [
        ("documents_scanned".to_owned(), text(answer.read.to_string())),
        ("index_entries_scanned".to_owned(), text(answer.scanned.to_string())),
    ];
    v1::ExecutionStats {
        results_returned: answer.docs.len() as i64,
        execution_duration: Some(Duration {
            seconds: (answer.micros / 1_000_000) as i64,
            nanos: (answer.micros % 1_000_000 * 1_000) as i32,
        }),
        read_operations: answer.docs.len().max(1) as i64,
        debug_stats: Some(Struct { fields: debug.into() }),
    }
}
