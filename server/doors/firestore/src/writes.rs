//! The Write stream as a state machine: batches come in order and are answered in order, one at a time.

use hearth_core::DatabaseName;
use hearth_core::write::Write;
use hearth_schema::v1;

use crate::bounds::Bounds;
use crate::convert::write::commit_from;
use crate::names;
use crate::service::Batch;
use crate::status::Refusal;

/// One Write stream, after its first request.
pub(crate) struct Writes {
    database: DatabaseName,
    answered: u64,
}

impl Writes {
    /// Begins a stream from its first request, which names the database and writes nothing.
    pub(crate) fn greet(stream_id: &str, first: &v1::WriteRequest) -> Result<(Self, v1::WriteResponse), Refusal> {
        if first.database.is_empty() {
            return Err(Refusal::invalid("'database' must be set on an initial write request."));
        }
        let database = names::database(&first.database)?;
        if !first.stream_id.is_empty() {
            return Err(Refusal::invalid("Resuming streams is not supported, do not set stream ID."));
        }
        if !first.writes.is_empty() {
            return Err(Refusal::invalid("'writes' must not be set on an initial write request."));
        }
        let mut stream = Self { database, answered: 0 };
        // The first answer alone says which stream it is.
        let response = v1::WriteResponse { stream_id: stream_id.into(), ..stream.response() };
        Ok((stream, response))
    }

    /// The database of the stream.
    pub(crate) fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// A batch, to be committed at once and answered before the next. Its token acknowledges answers, and nothing hangs
    /// on it: several batches on the way carry the same one.
    pub(crate) fn batch(&self, request: v1::WriteRequest, bounds: Bounds) -> Result<Vec<Write>, Refusal> {
        if !request.database.is_empty() && request.database != self.database.to_string() {
            let message = format!("All writes of a stream are of one database, here {}", self.database);
            return Err(Refusal::invalid(message));
        }
        commit_from(&self.database, request.writes, bounds)
    }

    /// The answer to a batch.
    pub(crate) fn answer(&mut self, batch: Batch) -> v1::WriteResponse {
        let Batch { write_results, commit_time } = batch;
        v1::WriteResponse { write_results, commit_time: Some(commit_time), ..self.response() }
    }

    fn response(&mut self) -> v1::WriteResponse {
        self.answered += 1;
        let stream_token = self.answered.to_be_bytes().to_vec();
        v1::WriteResponse { stream_token, ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_schema::wkt::Timestamp;

    const DATABASE: &str = "projects/p/databases/(default)";

    fn first() -> v1::WriteRequest {
        v1::WriteRequest { database: DATABASE.into(), ..Default::default() }
    }

    fn delete(path: &str) -> v1::Write {
        let operation = v1::write::Operation::Delete(format!("{DATABASE}/documents/{path}"));
        v1::Write { operation: Some(operation), ..Default::default() }
    }

    #[test]
    fn the_greeting_has_a_token_and_no_results_and_every_answer_a_newer_token() {
        let (mut stream, greeting) = Writes::greet("s1", &first()).unwrap();
        assert_eq!((greeting.stream_id.as_str(), greeting.write_results.len()), ("s1", 0));
        assert!(greeting.commit_time.is_none() && !greeting.stream_token.is_empty());
        let request =
            v1::WriteRequest { writes: vec![delete("a/b")], stream_token: greeting.stream_token.clone(), ..first() };
        assert_eq!(stream.batch(request, Bounds::Relaxed).unwrap().len(), 1);
        let batch = Batch { write_results: vec![v1::WriteResult::default()], commit_time: Timestamp::from_micros(7) };
        let answer = stream.answer(batch);
        assert!(answer.stream_token > greeting.stream_token);
        assert_eq!(answer.commit_time, Some(Timestamp::from_micros(7)));
        assert_eq!(answer.stream_id, "");
    }

    #[test]
    fn a_stream_begins_with_a_database_and_keeps_to_it() {
        assert!(Writes::greet("s1", &v1::WriteRequest::default()).is_err());
        assert!(Writes::greet("s1", &v1::WriteRequest { writes: vec![delete("a/b")], ..first() }).is_err());
        assert!(Writes::greet("s1", &v1::WriteRequest { stream_id: "s0".into(), ..first() }).is_err());
        let (stream, _) = Writes::greet("s1", &first()).unwrap();
        let other = v1::WriteRequest { database: "projects/q/databases/(default)".into(), ..Default::default() };
        assert!(stream.batch(other, Bounds::Relaxed).is_err());
        assert!(stream.batch(v1::WriteRequest::default(), Bounds::Relaxed).unwrap().is_empty());
    }
}
