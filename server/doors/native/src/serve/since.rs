//! What has changed since a token, as one object: a plain `GET`, or one that is held until something has.
//!
//! The object is whole, however large. It is written as it is read, part by part, so that it costs the server no more
//! than a part.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use hearth_auth::Caller;
use hearth_core::query::Query;
use hearth_core::watch::Kind;
use hearth_core::{Version, size};
use hearth_engine::{Authorized, Database, Difference, Opening, ReadError, SharedEvent, Token};

use super::read::{held_of, read_headers, wait_for_change, wait_of, with_wait};
use super::{Asking, Door, JSON};
use crate::json::{Before, DifferenceText, Parts};
use crate::problem::Problem;

/// Answers with what has changed since a token.
pub(super) async fn changes(
    door: &Door,
    asking: &Asking,
    database: &Database,
    query: &Authorized<Arc<Query>>,
    token: Token,
    patches: bool,
) -> Result<Response, Problem> {
    let mut applied = None;
    if let Some(seconds) = wait_of(asking)
        && let Some(newer) = database.unchanged(query, &token)
    {
        wait_for_change(door, database, query, newer, held_of(door, asking, seconds)).await?;
        applied = Some(seconds);
    }
    let opening = match database.since_in_parts(query, &token).await {
        // A token of another query is like one of a lost history: start anew.
        Err(ReadError::ForeignToken) => Opening::Whole { answer: database.query(query, None).await?, reset: true },
        opening => opening?,
    };
    let body = match opening {
        Opening::Whole { answer, reset } => {
            let limits = door.engine.limits().parts();
            let mut pieces =
                Parts::new(Arc::clone(query), database.name().clone(), answer, reset, limits).into_pieces();
            let first = pieces.next().unwrap_or_default();
            match pieces.next() {
                None => Body::from(first),
                Some(second) => {
                    let pieces = [first, second].into_iter().chain(pieces);
                    Body::from_stream(stream::iter(pieces.map(Ok::<_, io::Error>)))
                }
            }
        }
        Opening::Since(difference) => {
            let text = DifferenceText::new(&difference, database.name().clone());
            let since = patches.then_some(token.version);
            let (database, caller) = (database.clone(), query.caller().clone());
            told(Telling { text, database, caller, since }, difference).await?
        }
    };
    Ok(read_headers(with_wait(([JSON], body).into_response(), applied)))
}

/// What it takes to tell a difference.
struct Telling {
    text: DifferenceText,
    database: Database,
    caller: Caller,
    /// Where patches are told: the version before the difference.
    since: Option<Version>,
}

/// A difference as a body; of known length where it is one part.
async fn told(telling: Telling, difference: Difference) -> Result<Body, Problem> {
    let (first, rest) = telling.piece(difference).await?;
    if rest.is_none() {
        return Ok(Body::from(first));
    }
    let rest = stream::try_unfold((telling, rest), |(telling, rest)| async move {
        let Some(difference) = rest else { return Ok(None) };
        // Nothing can be said any more but that the answer is cut off.
        let (piece, rest) = telling.piece(difference).await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(Some((piece, (telling, rest))))
    });
    let first = stream::once(std::future::ready(Ok::<_, io::Error>(first)));
    Ok(Body::from_stream(futures_util::StreamExt::chain(first, rest)))
}

impl Telling {
    async fn piece(&self, difference: Difference) -> Result<(bytes::Bytes, Option<Difference>), ReadError> {
        let (part, rest) = self.database.part(difference).await?;
        let before = match self.since {
            Some(since) => Some(before(&self.database, &self.caller, &part.event, since).await),
            None => None,
        };
        Ok((self.text.piece(&part, before.as_ref()), rest))
    }
}

/// Bytes of earlier documents beyond which no more are read for one event: changes of the others are told whole.
const BEFORE_BYTES_MAX: usize = 8 << 20;

/// The documents that an event modified, as they were at a version. One that cannot be had any more is left out.
pub(super) async fn before(database: &Database, caller: &Caller, event: &SharedEvent, at: Version) -> Before {
    let (mut before, mut bytes) = (Before::new(), 0);
    for change in event.event.changes.iter().filter(|change| change.kind == Kind::Modified) {
        if bytes > BEFORE_BYTES_MAX {
            break;
        }
        let Ok(authorized) = database.authorize_get(caller, change.path.clone()) else { continue };
        if let Ok(found) = database.get(&authorized, Some(at)).await
            && let Some(document) = found.document
        {
            bytes += size::document_bytes(&document.path, &document.fields);
            before.insert(change.path.clone(), document);
        }
    }
    before
}
