//! The places of a collection: its documents, and those that are missing and have others below them.

use hearth_core::{CollectionPath, DocPath, keys};

use crate::database::Place;
use crate::keyspace::{END, PAST};
use crate::view::{StateError, View};

/// Places behind `after`, in the order of names. What lies below one is sought past, not walked.
pub(crate) fn of(
    view: &View,
    collection: &CollectionPath,
    after: Option<&DocPath>,
    places_max: usize,
) -> Result<Vec<Place>, StateError> {
    let prefix = keys::collection(collection);
    let past = [prefix.as_slice(), &[PAST]].concat();
    let behind = |key: &[u8]| -> Result<Vec<u8>, StateError> {
        let end = keys::segment_end(key, prefix.len())?;
        Ok([&key[..end], &[PAST]].concat())
    };
    let mut from = match after {
        Some(path) if collection.holds(path) => behind(&keys::doc(path))?,
        _ => [prefix.as_slice(), &[END + 1]].concat(),
    };
    let mut places = Vec::new();
    while places.len() < places_max {
        let Some((key, _)) = view.scan(&from, &past, None).next()? else { break };
        from = behind(&key)?;
        let own = [&from[..from.len() - 1], &[END]].concat();
        let path = keys::decode_doc(&own)?;
        let document = view.document(&path)?;
        places.push((path, document));
    }
    Ok(places)
}
