//! Results of any length, read in pages: what is held at one time does not grow with the result.
//!
//! All pages are of one version. It is not pinned between two pages, so that a reader who never comes back keeps nothing
//! alive: should it be forgotten meanwhile, the next page is refused.

use std::sync::Arc;

use hearth_core::query::{Limit, Query, Row};
use hearth_core::{Document, Version, index};

use super::Database;
use crate::authorize::Authorized;
use crate::read::{ReadError, Stored};

/// The pages of a query's documents.
pub struct Pages {
    database: Database,
    query: Arc<Query>,
    at: Version,
    /// What was found and not handed out yet.
    found: std::vec::IntoIter<(Row, Option<Stored>)>,
    /// The last row that was found.
    last: Option<Row>,
    /// How many documents the query's limit leaves; none where it has no limit.
    left: Option<u32>,
    is_found: bool,
    skipped: u32,
    cost: Cost,
}

/// What reading cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Keys that were looked at.
    pub scanned: u64,
    /// Documents that were looked at.
    pub read: u64,
    /// Microseconds that it took.
    pub micros: u64,
}

impl Database {
    /// The documents of a query at a version, in pages. A query for numbers has none.
    pub fn pages(&self, query: &Authorized<Arc<Query>>, at: Version) -> Pages {
        let query = Arc::clone(query);
        let left = match query.limit() {
            Some(Limit::First(limit)) => Some(limit),
            Some(Limit::Last(_)) | None => None,
        };
        let (found, last, is_found) = (Vec::new().into_iter(), None, !query.aggregates().is_empty());
        let (database, skipped, cost) = (self.clone(), 0, Cost::default());
        Pages { database, query, at, found, last, left, is_found, skipped, cost }
    }
}

impl Pages {
    /// The next documents in the query's order; none at all when there are no more.
    pub async fn next(&mut self) -> Result<Vec<Arc<Document>>, ReadError> {
        if self.found.len() == 0 && !self.is_found {
            self.find().await?;
        }
        let page: Vec<_> = self.found.by_ref().take(self.database.inner.budget.limits.page_docs_max).collect();
        if page.is_empty() {
            return Ok(Vec::new());
        }
        let view = match page.iter().all(|(_, stored)| stored.is_some()) {
            true => None,
            false => Some(self.database.view(Some(self.at)).await?),
        };
        self.database
            .blocking(move || {
                let documents = page.into_iter().filter_map(|(row, stored)| match (stored, &view) {
                    (Some(stored), _) => Some(stored.document().map_err(ReadError::from)),
                    (None, Some(view)) => view.document(&row.path).map_err(ReadError::from).transpose(),
                    (None, None) => None,
                });
                documents.collect()
            })
            .await
    }

    /// Whether all of the result was handed out, as far as that is known.
    pub fn is_over(&self) -> bool {
        self.is_found && self.found.len() == 0
    }

    /// How many documents the query's offset skipped; known with the first page.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// What reading cost so far.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Finds rows behind the last one: of a sorted access a page, otherwise as many as may be sorted at one time.
    async fn find(&mut self) -> Result<(), ReadError> {
        let takes_last = matches!(self.query.limit(), Some(Limit::Last(_)));
        let limits = &self.database.inner.budget.limits;
        let docs_max = limits.page_docs_max;
        let rows_max = match index::choose(&self.query).sorted {
            true => u32::try_from(docs_max).unwrap_or(u32::MAX).max(1),
            false => limits.page_rows_max.max(1),
        };
        let wanted = self.left.map_or(rows_max, |left| left.min(rows_max));
        let query = match &self.last {
            // The end of an order is found in one run.
            _ if takes_last => self.query.clone(),
            None => Arc::new(self.query.up_to(wanted)),
            Some(last) => Arc::new(self.query.behind(last, wanted)),
        };
        let view = self.database.view(Some(self.at)).await?;
        let (budget, asked) = (self.database.inner.budget.clone(), query.clone());
        let found = self.database.blocking(move || budget.run_for(&view, &asked, 0, docs_max)).await?;
        self.cost.scanned += found.scanned;
        self.cost.read += found.read;
        self.cost.micros += found.micros;
        if self.last.is_none() {
            self.skipped = found.rows.skipped(&query);
        }
        let rows: Vec<_> = found.rows.into_window().collect();
        if let Some(left) = &mut self.left {
            *left -= u32::try_from(rows.len()).unwrap_or(u32::MAX).min(*left);
        }
        self.is_found = takes_last || rows.len() < wanted as usize || self.left == Some(0);
        self.last = rows.last().map(|(row, _)| row.clone()).or(self.last.take());
        self.found = rows.into_iter();
        Ok(())
    }
}
