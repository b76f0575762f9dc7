//! Running: from candidates to the rows of a result, in memory bounded by the limit.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::{Candidate, Limit, Query};
use crate::aggregate::{self, Tally};
use crate::path::DocPath;
use crate::version::Version;

/// One document of a result: where it stands in the order, and as of which commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the query's order; bytes compare. No two documents share one.
    pub key: Arc<[u8]>,
    /// The document.
    pub path: DocPath,
    /// The commit that last changed it.
    pub version: Version,
}

/// How a query is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Whether the candidates come in the sequence that [`crate::index::Access`] promised, so that reading stops early.
    pub sorted: bool,
    /// How many rows behind the limit are kept, for a watch to refill its window from.
    pub spare: usize,
    /// How many documents are kept with their rows, counted from where the limit counts.
    pub docs_max: usize,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<D> {
    /// In the query's order: the result, what its offset skips, and the spare.
    rows: Vec<Row>,
    /// One for each row, where it was kept.
    docs: Vec<Option<D>>,
    window: Range<usize>,
    exhausted: bool,
    tally: Option<Tally>,
}

impl<D> Rows<D> {
    /// The result: rows in the query's order. Empty for a query that answers with numbers.
    pub fn window(&self) -> &[Row] {
        &self.rows[self.window.clone()]
    }

    /// The result with the documents that were kept.
    pub fn into_window(mut self) -> impl Iterator<Item = (Row, Option<D>)> {
        self.rows.truncate(self.window.end);
        self.rows.into_iter().zip(self.docs).skip(self.window.start)
    }

    /// How many documents the offset skipped.
    pub fn skipped(&self, query: &Query) -> u32 {
        // From the end, what stands before the window may be beyond what was kept; with an offset, all that is skipped
        // is the whole offset unless everything is known.
        if self.exhausted { self.rows.len().min(query.offset as usize) as u32 } else { query.offset }
    }

    /// Whether nothing lies behind what was kept.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether the query's limit cut something off, the spare aside.
    pub fn is_cut_by(&self, query: &Query) -> bool {
        let kept_beyond = match query.limit {
            None => false,
            Some(Limit::First(_)) => self.rows.len() > self.window.end,
            Some(Limit::Last(_)) => self.window.start > (query.offset as usize),
        };
        kept_beyond || (query.limit.is_some() && !self.exhausted)
    }

    /// The numbers, for a query that asks for them.
    pub fn tally(&self) -> Option<&Tally> {
        self.tally.as_ref()
    }

    /// All that was kept, in the query's order, and the tally.
    pub fn into_parts(self) -> (Vec<Row>, bool, Option<Tally>) {
        (self.rows, self.exhausted, self.tally)
    }
}

impl Query {
    /// The query's result among candidates: filtered, ordered, cut. Candidates need not belong to it, but each stands
    /// there once.
    ///
    /// With a limit, memory is bounded by it; the first error ends the run.
    pub fn run<D, E>(&self, candidates: impl IntoIterator<Item = Result<D, E>>, run: Run) -> Result<Rows<D>, E>
    where
        D: Candidate,
        E: From<D::Error>,
    {
        if self.aggregates.is_empty() {
            let mut nearest = Nearest::new(self, run, Some(run.docs_max.saturating_add(self.offset as usize)));
            self.collect(candidates, run.sorted, &mut nearest, |document| Ok(document))?;
            let (rows, exhausted) = nearest.finish();
            let window = self.window_of(rows.len(), exhausted);
            let (rows, docs) = rows.into_iter().unzip();
            return Ok(Rows { rows, docs, window, exhausted, tally: None });
        }
        let mut tally = Tally::new(&self.aggregates);
        if self.is_cut() {
            let mut nearest = Nearest::new(self, Run { spare: 0, ..run }, None);
            self.collect(candidates, run.sorted, &mut nearest, |document| {
                Ok(aggregate::numbers(&self.aggregates, &document)?)
            })?;
            let (rows, exhausted) = nearest.finish();
            rows[self.window_of(rows.len(), exhausted)]
                .iter()
                .for_each(|(_, numbers)| tally.add_numbers(numbers.as_deref().unwrap_or_default()));
        } else {
            for candidate in candidates {
                let document = candidate?;
                if self.place(document.path(), &document)?.is_some() {
                    tally.add(&self.aggregates, &document)?;
                }
            }
        }
        Ok(Rows { rows: Vec::new(), docs: Vec::new(), window: 0..0, exhausted: true, tally: Some(tally) })
    }

    fn collect<D, E, P>(
        &self,
        candidates: impl IntoIterator<Item = Result<D, E>>,
        sorted: bool,
        nearest: &mut Nearest<P>,
        payload: impl Fn(D) -> Result<P, E>,
    ) -> Result<(), E>
    where
        D: Candidate,
        E: From<D::Error>,
    {
        for candidate in candidates {
            let document = candidate?;
            let Some(key) = self.place(document.path(), &document)? else { continue };
            if !nearest.wants(&key) {
                if sorted {
                    break;
                }
                continue;
            }
            let row = Row { key: key.into(), path: document.path().clone(), version: document.updated() };
            let payload = if nearest.wants_payload(&row.key) { Some(payload(document)?) } else { None };
            nearest.push(row, payload);
            if sorted && nearest.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Which of the kept rows are the result.
    pub(crate) fn window_of(&self, kept: usize, exhausted: bool) -> Range<usize> {
        let offset = (self.offset as usize).min(kept);
        match self.limit {
            None => offset..kept,
            Some(Limit::First(limit)) => offset..kept.min(offset.saturating_add(limit as usize)),
            Some(Limit::Last(limit)) => {
                // Where rows before the kept ones exist, there are at least as many as the offset skips.
                let free = if exhausted { offset } else { 0 };
                kept.saturating_sub(limit as usize).max(free)..kept
            }
        }
    }
}

/// The rows nearest to where the limit counts. Holds at most about twice the bound: when the buffer is full, the
/// farther half is cut off, which costs a constant per row.
struct Nearest<P> {
    rows: Vec<(Row, Option<P>)>,
    takes_last: bool,
    rows_max: Option<usize>,
    /// The farthest row still wanted, once one was cut off.
    edge: Option<Arc<[u8]>>,
    /// Whether a row was turned away or cut off.
    over: bool,
    payloads_max: Option<usize>,
    payloads: usize,
    payload_edge: Option<Arc<[u8]>>,
}

impl<P> Nearest<P> {
    const SLACK: usize = 16;

    fn new(query: &Query, run: Run, payloads_max: Option<usize>) -> Self {
        Self {
            rows: Vec::new(),
            takes_last: query.takes_last(),
            rows_max: query.reach().map(|reach| reach.saturating_add(run.spare)),
            edge: None,
            over: false,
            payloads_max,
            payloads: 0,
            payload_edge: None,
        }
    }

    fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        if self.takes_last { b.cmp(a) } else { a.cmp(b) }
    }

    /// Whether a row may still belong to the nearest; if not, that is remembered.
    fn wants(&mut self, key: &[u8]) -> bool {
        let wanted = self.rows_max != Some(0) && self.edge.as_ref().is_none_or(|edge| self.compare(key, edge).is_lt());
        self.over |= !wanted;
        wanted
    }

    fn wants_payload(&self, key: &[u8]) -> bool {
        self.payloads_max != Some(0) && self.payload_edge.as_ref().is_none_or(|edge| self.compare(key, edge).is_lt())
    }

    fn is_over(&self) -> bool {
        self.rows_max.is_some_and(|max| self.rows.len() > max)
    }

    fn push(&mut self, row: Row, payload: Option<P>) {
        self.payloads += usize::from(payload.is_some());
        self.rows.push((row, payload));
        if let Some(max) = self.rows_max
            && self.rows.len() >= max.saturating_mul(2).saturating_add(Self::SLACK)
        {
            self.cut(max);
        }
        if let Some(max) = self.payloads_max
            && self.payloads >= max.saturating_mul(2).saturating_add(Self::SLACK)
        {
            self.drop_payloads(max);
        }
    }

    fn cut(&mut self, max: usize) {
        let takes_last = self.takes_last;
        let (_, (edge, _), _) =
            self.rows.select_nth_unstable_by(
                max - 1,
                |(a, _), (b, _)| {
                    if takes_last { b.key.cmp(&a.key) } else { a.key.cmp(&b.key) }
                },
            );
        self.edge = Some(edge.key.clone());
        self.rows.truncate(max);
        self.over = true;
        self.payloads = self.rows.iter().filter(|(_, payload)| payload.is_some()).count();
    }

    fn drop_payloads(&mut self, max: usize) {
        let mut keys: Vec<Arc<[u8]>> =
            self.rows.iter().filter(|(_, payload)| payload.is_some()).map(|(row, _)| row.key.clone()).collect();
        if keys.len() > max {
            let (_, edge, _) = keys.select_nth_unstable_by(max, |a, b| self.compare(a, b));
            let (edge, takes_last) = (edge.clone(), self.takes_last);
            for (row, payload) in &mut self.rows {
                let near = if takes_last { row.key > edge } else { row.key < edge };
                if !near {
                    *payload = None;
                }
            }
            self.payload_edge = Some(edge);
        }
        self.payloads = keys.len().min(max);
    }

    /// The rows in the query's order, and whether they are all there are.
    fn finish(mut self) -> (Vec<(Row, Option<P>)>, bool) {
        self.rows.sort_unstable_by(
            |(a, _), (b, _)| {
                if self.takes_last { b.key.cmp(&a.key) } else { a.key.cmp(&b.key) }
            },
        );
        if let Some(max) = self.rows_max
            && self.rows.len() > max
        {
            self.rows.truncate(max);
            self.over = true;
        }
        if let Some(max) = self.payloads_max {
            self.rows.iter_mut().skip(max).for_each(|(_, payload)| *payload = None);
        }
        if self.takes_last {
            self.rows.reverse();
        }
        (self.rows, !self.over)
    }
}
