//! What stands behind a session: a stream of messages as JSON, from messages as JSON.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, future, stream};
use hearth_auth::Caller;
use hearth_core::DatabaseName;
use hearth_schema::v1;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::names;
use crate::rest::json::{Unknown, read};
use crate::serve::{listen, write};
use crate::service::Door;
use crate::status::{Code, Refusal};

/// Which of the two streams a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Listen,
    Write,
}

/// What a stream says.
pub(super) type Texts = BoxStream<'static, Result<String, Refusal>>;

/// A stream that hears `requests`. Its database is that of the session.
pub(super) fn open(
    kind: Kind,
    door: Arc<Door>,
    caller: Caller,
    database: DatabaseName,
    requests: mpsc::Receiver<String>,
) -> Texts {
    let requests = stream::unfold(requests, async |mut requests| Some((requests.recv().await?, requests)));
    let stopping = door.clone();
    let texts = match kind {
        Kind::Listen => {
            let requests = requests.map(move |text| {
                let mut request: v1::ListenRequest = read(text.as_bytes(), Unknown::PassedOver)?;
                keep_to(&database, &mut request.database)?;
                Ok(Box::new(request))
            });
            listen::responses(door, caller, requests.boxed()).map(|response| print(&response?)).boxed()
        }
        Kind::Write => {
            let requests = requests.map(move |text| {
                let mut request: v1::WriteRequest = read(text.as_bytes(), Unknown::PassedOver)?;
                keep_to(&database, &mut request.database)?;
                Ok(request)
            });
            write::responses(door, caller, requests.boxed()).map(|response| print(&response?)).boxed()
        }
    };
    // A stream of writes waits for its client alone, so it would not notice.
    let stopped = stream::once(future::ready(Err(Refusal::new(Code::Unavailable, "the server is stopping"))));
    texts.take_until(async move { stopping.stopped().await }).chain(stopped).boxed()
}

/// A stream that says only why there is none.
pub(super) fn refused(refusal: Refusal) -> Texts {
    stream::once(future::ready(Err(refusal))).boxed()
}

/// Holds a request to the database that the session was opened on; it need not repeat it.
fn keep_to(database: &DatabaseName, named: &mut String) -> Result<(), Refusal> {
    if named.is_empty() {
        *named = database.to_string();
    } else if names::database(named)? != *database {
        return Err(Refusal::invalid(format!("All requests of a session are of one database, here {database}")));
    }
    Ok(())
}

fn print<M: Serialize>(message: &M) -> Result<String, Refusal> {
    serde_json::to_string(message).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_to_the_database_of_its_session() {
        let database = DatabaseName::parse("p", "(default)").unwrap();
        for (named, is_taken) in [
            ("", true),
            ("projects/p/databases/(default)", true),
            ("projects/q/databases/(default)", false),
            ("p", false),
        ] {
            let mut name = named.to_string();
            assert_eq!(keep_to(&database, &mut name).is_ok(), is_taken, "{named}");
            assert!(!is_taken || name == database.to_string());
        }
    }

    #[test]
    fn a_message_that_is_none_is_named() {
        let refusal = read::<v1::ListenRequest>(br#"{"addTarget": 7}"#, Unknown::PassedOver).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidArgument);
        assert!(refusal.message.starts_with("Invalid JSON payload received. "), "{}", refusal.message);
        let deep = format!("{{\"addTarget\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read::<v1::ListenRequest>(deep.as_bytes(), Unknown::PassedOver).is_err());
    }

    #[test]
    fn a_token_keeps_its_bytes_in_base64() {
        let text = r#"{"streamToken":"MTc5NQ==","writes":[]}"#;
        assert_eq!(read::<v1::WriteRequest>(text.as_bytes(), Unknown::PassedOver).unwrap().stream_token, b"1795");
    }
}
