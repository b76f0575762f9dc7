//! The shell around a Write session: it reads a batch, has it committed and answers it, one after the other.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, stream};
use hearth_auth::Caller;
use hearth_engine::Database;
use hearth_schema::v1;

use crate::service::Door;
use crate::status::{Code, Refusal};
use crate::writes::Writes;

/// What a client asks, as it comes.
pub(crate) type Requests = BoxStream<'static, Result<v1::WriteRequest, Refusal>>;

/// The responses to a stream of requests.
pub(crate) fn responses(
    door: Arc<Door>,
    caller: Caller,
    requests: Requests,
) -> impl Stream<Item = Result<v1::WriteResponse, Refusal>> + Send {
    stream::try_unfold(State { door, caller, requests, open: None }, next)
}

struct State {
    door: Arc<Door>,
    caller: Caller,
    requests: Requests,
    open: Option<(Writes, Database)>,
}

/// The order of batches is the order of commits.
async fn next(mut state: State) -> Result<Option<(v1::WriteResponse, State)>, Refusal> {
    let Some(request) = state.requests.next().await.transpose()? else { return Ok(None) };
    if state.caller.is_expired(state.door.now_seconds()) {
        return Err(Refusal::new(Code::Unauthenticated, "the token has expired"));
    }
    let response = match &mut state.open {
        None => {
            let (writes, greeting) = Writes::greet(state.door.engine().fresh_id().as_str(), &request)?;
            let database = state.door.database(writes.database()).await?;
            state.open = Some((writes, database));
            greeting
        }
        Some((writes, database)) => {
            let batch = writes.batch(request, state.door.bounds())?;
            writes.answer(state.door.commit_batch(&state.caller, database, batch).await?)
        }
    };
    Ok(Some((response, state)))
}
