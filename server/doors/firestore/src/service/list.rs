//! Listing: documents of a collection, collections of a document, and where to cut a group into parts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_auth::Caller;
use hearth_core::query::{Cursor, Limit, Query, QuerySpec, Source};
use hearth_core::{DatabaseName, DocPath, Reference, Value, Version};
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
        Err(_) => Err(Refusal::invalid(format!("Invalid page_size {size}: it must not be negative"))),
    }
}

/// Where a page ended: the version that all pages see, and the last thing that was told.
struct PageToken {
    at: Version,
    last: String,
}

impl PageToken {
    fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let (version, last) = bytes.split_first_chunk::<8>()?;
            let last = std::str::from_utf8(last).ok()?.to_owned();
            Some(Self { at: Version::from_micros(u64::from_be_bytes(*version)), last })
        };
        read().map(Some).ok_or_else(|| Refusal::invalid("Invalid page_token: it is not one of this server"))
    }

    fn print(&self) -> String {
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
        let path = collection(parent.document.as_ref(), &collection_id_from(&request.collection_id)?)?;
        let size = page_size(request.page_size, PAGE_DEFAULT)?;
        let mask = mask_from(request.mask)?;
        let page = PageToken::parse(&request.page_token)?;
        let mut spec = QuerySpec::all(Source::Collection(path));
        spec.orders = orders_from(&request.order_by)?;
        let consistency = match request.consistency_selector {
            Some(ConsistencySelector::Transaction(id)) => Consistency::Transaction(id),
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
            None => Consistency::Newest,
        };
        let database = self.database(&parent.database).await?;
        let plain = Arc::new(Query::build(spec.clone())?);
        if request.show_missing {
            if plain.orders().len() > 1 || plain.orders()[0].direction != hearth_core::Direction::Ascending {
                return Err(Refusal::invalid("Missing documents can be listed in the order of their names only"));
            }
            return self.list_places(caller, &database, &plain, size, page, mask.as_deref(), consistency).await;
        }
        if let Some(page) = &page {
            spec.start = self.behind(caller, &database, &plain, page).await?;
        }
        spec.limit = Some(Limit::First(size as u32));
        let query = Arc::new(Query::build(spec)?);
        let consistency = self.page_consistency(&database, consistency, page.as_ref());
        let (snapshot, answer) = self.answer(caller, &database, &query, consistency).await?;
        let next = match answer.docs.last() {
            Some(last) if answer.more => PageToken { at: snapshot.at, last: last.path.to_string() }.print(),
            _ => String::new(),
        };
        let name = database.name();
        let documents = answer.docs.iter().map(|document| masked(name, document, mask.as_deref())).collect();
        Ok(v1::ListDocumentsResponse { documents, next_page_token: next })
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
        let gone = || Refusal::invalid("Invalid page_token: its place is gone; list from the beginning");
        let values = query.orders().iter().map(|order| match order.field.is_name() {
            true => Ok(Value::Reference(Reference { database: database.name().clone(), path: path.clone() })),
            false => {
                let value = got.document.as_ref().and_then(|document| document.get(&order.field));
                value.cloned().ok_or_else(gone)
            }
        });
        Ok(Some(Cursor { values: values.collect::<Result<_, _>>()?, before: false }))
    }

    #[allow(clippy::too_many_arguments)]
    async fn list_places(
        &self,
        caller: &Caller,
        database: &Database,
        query: &Arc<Query>,
        size: usize,
        page: Option<PageToken>,
        mask: Option<&[hearth_core::FieldPath]>,
        consistency: Consistency,
    ) -> Result<v1::ListDocumentsResponse, Refusal> {
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
            return Err(Refusal::invalid("A structured query is missing"));
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
        let query = Arc::new(Query::build(QuerySpec { orders: Vec::new(), select: None, ..spec })?);
        let consistency = match request.consistency_selector {
            Some(ConsistencySelector::ReadTime(time)) => Consistency::At(time),
            None => Consistency::Newest,
        };
        let database = self.database(&parent.database).await?;
        let consistency = self.page_consistency(&database, consistency, page.as_ref());
        let (snapshot, answer) = self.answer(caller, &database, &query, consistency).await?;
        let paths: Vec<&DocPath> = answer.docs.iter().map(|document| &document.path).collect();
        let mut cuts = cuts(&paths, wanted);
        if let Some(page) = &page {
            let last = DocPath::parse(&page.last)?;
            cuts.retain(|path| **path > last);
        }
        let more = cuts.len() > size;
        cuts.truncate(size);
        let next = match cuts.last() {
            Some(last) if more => PageToken { at: snapshot.at, last: last.to_string() }.print(),
            _ => String::new(),
        };
        let partitions = cuts.into_iter().map(|path| cursor(database.name(), path)).collect();
        Ok(v1::PartitionQueryResponse { partitions, next_page_token: next })
    }
}

/// At most `wanted` places between sorted names, evenly spread; each is the first name of a part.
fn cuts<'a>(paths: &[&'a DocPath], wanted: usize) -> Vec<&'a DocPath> {
    let parts = wanted.saturating_add(1).min(paths.len());
    (1..parts).map(|part| paths[part * paths.len() / parts]).collect()
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
        let paths: Vec<DocPath> = (0..10).map(|n| DocPath::parse(&format!("a/{n}")).unwrap()).collect();
        let paths: Vec<&DocPath> = paths.iter().collect();
        let check = |count: usize, wanted: usize, want: &[&str]| {
            let got: Vec<&str> = cuts(&paths[..count], wanted).into_iter().map(DocPath::as_str).collect();
            assert_eq!(got, want);
        };
        check(10, 1, &["a/5"]);
        check(10, 4, &["a/2", "a/4", "a/6", "a/8"]);
        check(3, 9, &["a/1", "a/2"]);
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
