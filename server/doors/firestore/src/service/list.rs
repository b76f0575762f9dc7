//! Listing: documents of a collection, collections of a document, and where to cut a group into parts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_auth::Caller;
use hearth_core::query::{Aggregate, Cursor, Limit, Query, QuerySpec, Source};
use hearth_core::{DatabaseName, DocPath, FieldPath, Reference, Value, Version};
use hearth_engine::{Database, ReadError};
use hearth_schema::v1::{self, list_collection_ids_request, list_documents_request, partition_query_request};

use super::{Consistency, Door};
use crate::convert::query::{collection, collection_id_from, orders_from, spec_from};
use crate::convert::{self, mask_from, masked};
use crate::names;
use crate::status::Refusal;
use crate::transaction::What;

/// Documents of a page where the request names no size.
const PAGE_DEFAULT: usize = 100;
/// Most documents or collections of a page.
const PAGE_MAX: usize = 10_000;

fn page_size(size: i32, default: usize) -> Result<usize, Refusal> {
    match usize::try_from(size) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(PAGE_MAX)),
        Err(_) => Err(Refusal::invalid(format!("Page size must be nonnegative, and is {size}."))),
    }
}

/// What is listed for whom, and how much of it.
#[derive(Clone, Copy)]
struct Listed<'a> {
    caller: &'a Caller,
    database: &'a Database,
    size: usize,
    mask: Option<&'a [FieldPath]>,
    show_missing: bool,
}

/// Where a page ended: the version that all pages see, and the last thing that was told.
#[derive(Clone)]
pub(crate) struct PageToken {
    at: Version,
    last: String,
}

impl PageToken {
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let (version, last) = bytes.split_first_chunk::<8>()?;
            let last = std::str::from_utf8(last).ok()?.to_owned();
            Some(Self { at: Version::from_micros(u64::from_be_bytes(*version)), last })
        };
        read().map(Some).ok_or_else(|| Refusal::invalid("invalid page token: it is not one of this server"))
    }

    pub(crate) fn print(&self) -> String {
        URL_SAFE_NO_PAD.encode([&self.at.micros().to_be_bytes(), self.last.as_bytes()].concat())
    }
}

impl Door {
    /// `ListDocuments`.
    pub(crate) async fn list_documents(
        &self,
        caller: &Caller,
        request: v1::ListDocumentsRequest,
    ) -> Result<v1::ListDocumentsResponse, Refusal> {
        use list_documents_request::ConsistencySelector;
        let parent = names::parent(&request.parent)?;
        let size = page_size(request.page_size, PAGE_DEFAULT)?;
        let mask = mask_from(request.mask)?;
        let page = PageToken::parse(&request.page_token)?;
        let orders = orders_from(&request.order_by)?;
        let consistency = match request.consistency_selector {
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
            None => Consistency::Newest,
        };
        let database = self.database(&parent.database).await?;
        let listed =
            Listed { caller, database: &database, size, mask: mask.as_deref(), show_missing: request.show_missing };
        if request.collection_id.is_empty() {
            if !orders.is_empty() {
                return Err(Refusal::invalid(
                    "The documents of all collections can be listed in the order of their names only",
                ));
            }
            return self.list_all(&listed, parent.document, page, consistency).await;
        }
        let path = collection(parent.document.as_ref(), &collection_id_from(&request.collection_id)?)?;
        let spec = QuerySpec { orders, ..QuerySpec::all(Source::Collection(path)) };
        self.list_one(&listed, spec, page, consistency).await
    }

    /// A page of one collection.
    async fn list_one(
        &self,
        listed: &Listed<'_>,
        mut spec: QuerySpec,
        page: Option<PageToken>,
        consistency: Consistency,
    ) -> Result<v1::ListDocumentsResponse, Refusal> {
        let Listed { caller, database, size, mask, show_missing } = *listed;
        let plain = Arc::new(Query::build(spec.clone())?);
        if show_missing {
            if !spec.orders.is_empty() {
                return Err(Refusal::invalid("cannot specify an order when show_missing is true"));
            }
            return self.list_places(listed, &plain, page, consistency).await;
        }
        if let Some(page) = &page {
            spec.start = self.behind(caller, database, &plain, page).await?;
        }
        spec.limit = Some(Limit::First(size as u32));
        let query = Arc::new(Query::build(spec)?);
        let consistency = self.page_consistency(database, consistency, page.as_ref());
        let (snapshot, answer) = self.answer(caller, database, &query, consistency).await?;
        let next = match answer.docs.last() {
            Some(last) if answer.more => PageToken { at: snapshot.at, last: last.path.to_string() }.print(),
            _ => String::new(),
        };
        let documents = answer.docs.iter().map(|document| masked(database.name(), document, mask)).collect();
        Ok(v1::ListDocumentsResponse { documents, next_page_token: next })
    }

    /// A page of all collections below a document or at the root: one collection after the other, in the order of names,
    /// all at one version.
    async fn list_all(
        &self,
        listed: &Listed<'_>,
        below: Option<DocPath>,
        page: Option<PageToken>,
        consistency: Consistency,
    ) -> Result<v1::ListDocumentsResponse, Refusal> {
        let Listed { caller, database, size, .. } = *listed;
        let list = database.authorize_list(caller, below)?;
        let consistency = self.page_consistency(database, consistency, page.as_ref());
        // In a transaction every collection is read as the transaction reads.
        let each = match &consistency {
            Consistency::Transaction(_) => Some(consistency.clone()),
            Consistency::Newest | Consistency::New(_) | Consistency::At(_) => None,
        };
        let snapshot = self.snapshot(caller, database, consistency, []).await?;
        let (_, ids) = database.collections(&list, Some(snapshot.at)).await?;
        let last = page.as_ref().map(|page| DocPath::parse(&page.last)).transpose()?;
        let (mut documents, mut token) = (Vec::new(), None);
        for id in ids {
            let path = collection(list.as_ref(), &id)?;
            let page = match &last {
                Some(last) if path.holds(last) => page.clone(),
                // Its names come before the last one that was told.
                Some(last) if path.doc(&id)? < *last => continue,
                _ => None,
            };
            if documents.len() == size {
                token = documents.last().map(|last: &v1::Document| last.name.clone());
                break;
            }
            let part = Listed { size: size - documents.len(), ..*listed };
            let consistency = each.clone().unwrap_or_else(|| Consistency::At(convert::time(snapshot.at)));
            let found = self.list_one(&part, QuerySpec::all(Source::Collection(path)), page, consistency).await?;
            documents.extend(found.documents);
            if !found.next_page_token.is_empty() {
                return Ok(v1::ListDocumentsResponse { documents, next_page_token: found.next_page_token });
            }
        }
        let next_page_token = match token {
            Some(name) => PageToken { at: snapshot.at, last: names::document(&name)?.path.to_string() }.print(),
            None => String::new(),
        };
        Ok(v1::ListDocumentsResponse { documents, next_page_token })
    }

    /// Later pages see what the first one saw, as long as that is kept.
    fn page_consistency(&self, database: &Database, consistency: Consistency, page: Option<&PageToken>) -> Consistency {
        match (consistency, page) {
            (Consistency::Newest, Some(page)) if page.at >= database.history_start() => {
                Consistency::At(convert::time(page.at))
            }
            (consistency, _) => consistency,
        }
    }

    /// The place behind the last document of a page, as that stood then.
    async fn behind(
        &self,
        caller: &Caller,
        database: &Database,
        query: &Query,
        page: &PageToken,
    ) -> Result<Option<Cursor>, Refusal> {
        let path = DocPath::parse(&page.last)?;
        let authorized = database.authorize_get(caller, path.clone())?;
        let got = match database.get(&authorized, Some(page.at)).await {
            // It is looked at as it is now where that is all there is.
            Err(ReadError::Forgotten { .. }) => database.get(&authorized, None).await?,
            other => other?,
        };
        let gone = || Refusal::invalid("invalid page token: its place is gone; list from the beginning");
        let values = query.orders().iter().map(|order| match order.field.is_name() {
            true => Ok(Value::Reference(Reference { database: database.name().clone(), path: path.clone() })),
            false => {
                let value = got.document.as_ref().and_then(|document| document.get(&order.field));
                value.cloned().ok_or_else(gone)
            }
        });
        Ok(Some(Cursor { values: values.collect::<Result<_, _>>()?, before: false }))
    }

    async fn list_places(
        &self,
        listed: &Listed<'_>,
        query: &Arc<Query>,
        page: Option<PageToken>,
        consistency: Consistency,
    ) -> Result<v1::ListDocumentsResponse, Refusal> {
        let Listed { caller, database, size, mask, .. } = *listed;
        let authorized = database.authorize_query(caller, query.clone())?;
        let consistency = self.page_consistency(database, consistency, page.as_ref());
        let snapshot = self.snapshot(caller, database, consistency, [What::Query(query.hash())]).await?;
        let after = page.map(|page| DocPath::parse(&page.last)).transpose()?;
        let mut places = database.places(&authorized, after.as_ref(), size + 1, Some(snapshot.at)).await?;
        let more = places.len() > size;
        places.truncate(size);
        let next = match places.last() {
            Some((last, _)) if more => PageToken { at: snapshot.at, last: last.to_string() }.print(),
            _ => String::new(),
        };
        let name = database.name();
        let documents = places.into_iter().map(|(path, document)| match document {
            Some(document) => masked(name, &document, mask),
            None => v1::Document { name: names::print(name, &path), ..Default::default() },
        });
        Ok(v1::ListDocumentsResponse { documents: documents.collect(), next_page_token: next })
    }

    /// `ListCollectionIds`.
    pub(crate) async fn list_collection_ids(
        &self,
        caller: &Caller,
        request: v1::ListCollectionIdsRequest,
    ) -> Result<v1::ListCollectionIdsResponse, Refusal> {
        use list_collection_ids_request::ConsistencySelector;
        let parent = names::parent(&request.parent)?;
        let size = page_size(request.page_size, PAGE_MAX)?;
        let page = PageToken::parse(&request.page_token)?;
        let consistency = match request.consistency_selector {
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
            None => Consistency::Newest,
        };
        let database = self.database(&parent.database).await?;
        let below = database.authorize_list(caller, parent.document)?;
        let consistency = self.page_consistency(&database, consistency, page.as_ref());
        let snapshot = self.snapshot(caller, &database, consistency, []).await?;
        let (_, ids) = database.collections(&below, Some(snapshot.at)).await?;
        let mut ids: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
        if let Some(page) = &page
            && let Some(last) = ids.iter().position(|id| *id == page.last)
        {
            ids.drain(..=last);
        }
        let more = ids.len() > size;
        ids.truncate(size);
        let next = match ids.last() {
            Some(last) if more => PageToken { at: snapshot.at, last: last.clone() }.print(),
            _ => String::new(),
        };
        Ok(v1::ListCollectionIdsResponse { collection_ids: ids, next_page_token: next })
    }

    /// `PartitionQuery`: places that cut a group into parts of about one size.
    pub(crate) async fn partition_query(
        &self,
        caller: &Caller,
        request: v1::PartitionQueryRequest,
    ) -> Result<v1::PartitionQueryResponse, Refusal> {
        use partition_query_request::{ConsistencySelector, QueryType};
        let parent = names::parent(&request.parent)?;
        let Some(QueryType::StructuredQuery(query)) = request.query_type else {
            return Err(Refusal::invalid("only structured queries are supported"));
        };
        let wanted = usize::try_from(request.partition_count).ok().filter(|count| *count > 0);
        let wanted = wanted.ok_or_else(|| Refusal::invalid("Invalid partition_count: it must be above zero"))?;
        let size = page_size(request.page_size, PAGE_MAX)?;
        let page = PageToken::parse(&request.page_token)?;
        let spec = spec_from(&parent, query)?;
        let by_name = spec.orders.iter().all(|order| order.field.is_name());
        let is_whole = spec.filter.is_none() && spec.limit.is_none() && spec.offset == 0 && by_name;
        if !matches!(spec.source, Source::Group { .. }) || !is_whole || spec.start.is_some() || spec.end.is_some() {
            return Err(Refusal::invalid(
                "Only a query of a whole collection group, ordered by name, can be cut into partitions",
            ));
        }
        let count = vec![Aggregate::Count { up_to: None }];
        let spec = QuerySpec { orders: Vec::new(), select: None, ..spec };
        let counted = Arc::new(Query::build(QuerySpec { aggregates: count, ..spec.clone() })?);
        let query = Arc::new(Query::build(spec)?);
        let consistency = match request.consistency_selector {
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
            None => Consistency::Newest,
        };
        let database = self.database(&parent.database).await?;
        let consistency = self.page_consistency(&database, consistency, page.as_ref());
        let (snapshot, answer) = self.answer(caller, &database, &counted, consistency).await?;
        let count = match answer.aggregates.as_deref() {
            Some([Value::Integer(count)]) => u64::try_from(*count).unwrap_or_default(),
            _ => 0,
        };
        // Counted first, then walked through: both at one version, and neither holds the result.
        let mut places = cuts(count, wanted).peekable();
        let mut pages = database.pages(&database.authorize_query(caller, query)?, snapshot.at);
        let (mut passed, mut cuts) = (0, Vec::new());
        while places.peek().is_some() {
            let documents = pages.next().await?;
            if documents.is_empty() {
                break;
            }
            let before = passed;
            passed += documents.len() as u64;
            while let Some(place) = places.next_if(|place| *place < passed) {
                cuts.extend(
                    usize::try_from(place - before).ok().and_then(|at| documents.get(at)).map(|doc| doc.path.clone()),
                );
            }
        }
        if let Some(page) = &page {
            let last = DocPath::parse(&page.last)?;
            cuts.retain(|path| *path > last);
        }
        let more = cuts.len() > size;
        cuts.truncate(size);
        let next = match cuts.last() {
            Some(last) if more => PageToken { at: snapshot.at, last: last.to_string() }.print(),
            _ => String::new(),
        };
        let partitions = cuts.iter().map(|path| cursor(database.name(), path)).collect();
        Ok(v1::PartitionQueryResponse { partitions, next_page_token: next })
    }
}

/// At most `wanted` places among so many names in their order, evenly spread; each is that of the first name of a part.
fn cuts(count: u64, wanted: usize) -> impl Iterator<Item = u64> {
    let parts = (wanted as u64).saturating_add(1).min(count);
    // In 128 bits, which no product of two leaves.
    (1..parts).map(move |part| (u128::from(part) * u128::from(count) / u128::from(parts)) as u64)
}

fn cursor(database: &DatabaseName, path: &DocPath) -> v1::Cursor {
    let reference = Value::Reference(Reference { database: database.clone(), path: path.clone() });
    v1::Cursor { values: vec![convert::value(&reference)], before: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_even_and_never_more_than_there_are_documents() {
        let check = |count: u64, wanted: usize, want: &[u64]| {
            assert_eq!(cuts(count, wanted).collect::<Vec<_>>(), want);
        };
        check(10, 1, &[5]);
        check(10, 4, &[2, 4, 6, 8]);
        check(3, 9, &[1, 2]);
        check(1, 9, &[]);
        check(0, 9, &[]);
    }

    #[test]
    fn a_page_token_is_ours_or_refused() {
        let token = PageToken { at: Version::from_micros(7), last: "rooms/ä".into() };
        let back = PageToken::parse(&token.print()).unwrap().unwrap();
        assert_eq!((back.at, back.last), (token.at, token.last));
        assert!(PageToken::parse("").unwrap().is_none());
        for text in ["a", "!", "AAAA", "AAAAAAAAAAD_"] {
            assert!(PageToken::parse(text).is_err(), "{text}");
        }
    }
}
