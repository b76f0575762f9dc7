//! What a client sends into a link: numbered, so that a request may be repeated when its answer was lost.

use std::collections::VecDeque;

use axum::http::StatusCode;
use serde_json::Value as Json;

use crate::json::{self, JsonError};
use crate::problem::{Code, Problem};

/// The body of `POST /links/ID`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Posted {
    /// The last message that the client has dealt with.
    pub(super) ack: Option<u64>,
    pub(super) messages: Vec<Numbered>,
}

/// A message and its place among all that are sent into the link.
#[derive(Debug, PartialEq)]
pub(super) struct Numbered {
    /// None for what came with the opening.
    n: Option<u64>,
    message: Json,
    bytes: usize,
}

/// Reads the body of `POST /links`: an array of messages; nothing counts as none.
pub(super) fn read_opening(body: &[u8]) -> Result<Vec<Numbered>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    match json::parse(body).map_err(|error| Problem::json("", error))? {
        Json::Array(messages) => {
            let bytes = body.len() / messages.len().max(1);
            Ok(messages.into_iter().map(|message| Numbered { n: None, message, bytes }).collect())
        }
        other => Err(Problem::invalid(format!("an array of messages is expected, this is {}", json::kind(&other)))),
    }
}

/// Reads the body of `POST /links/ID`.
pub(super) fn read_posted(body: &[u8]) -> Result<Posted, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Posted::default());
    }
    posted(body).map_err(|error| Problem::json("", error))
}

fn posted(body: &[u8]) -> Result<Posted, JsonError> {
    let mut object = members(json::parse(body)?, &["ack", "send"])?;
    let ack = match object.remove("ack") {
        None | Some(Json::Null) => None,
        Some(ack) => Some(number(&ack).map_err(|error| error.within("ack"))?),
    };
    let send = match object.remove("send") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(send)) => send,
        Some(_) => return Err(JsonError::new("an array is expected").within("send")),
    };
    let bytes = body.len() / send.len().max(1);
    let messages = send
        .into_iter()
        .enumerate()
        .map(|(index, entry)| numbered(entry, bytes).map_err(|error| error.at_index(index).within("send")));
    Ok(Posted { ack, messages: messages.collect::<Result<_, _>>()? })
}

fn numbered(json: Json, bytes: usize) -> Result<Numbered, JsonError> {
    let mut object = members(json, &["n", "m"])?;
    let n = object.remove("n").ok_or_else(|| JsonError::new("the number n is missing"))?;
    let n = number(&n).map_err(|error| error.within("n"))?;
    let message = object.remove("m").ok_or_else(|| JsonError::new("the message m is missing"))?;
    Ok(Numbered { n: Some(n), message, bytes })
}

fn members(json: Json, known: &[&str]) -> Result<serde_json::Map<String, Json>, JsonError> {
    let Json::Object(object) = json else {
        return Err(JsonError::new(format!("an object is expected, this is {}", json::kind(&json))));
    };
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(object),
        Some(unknown) => Err(JsonError::new(format!("{unknown:?} is unknown here")).within(unknown)),
    }
}

fn number(json: &Json) -> Result<u64, JsonError> {
    json.as_u64().ok_or_else(|| JsonError::new("a whole number is expected"))
}

/// Messages on their way into the session, request by request.
#[derive(Debug)]
pub(super) struct Sends<T> {
    waiting: VecDeque<(VecDeque<Numbered>, Option<T>)>,
    /// The number of the last message that was taken.
    last: u64,
}

/// What there is to do next.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// Tell the session of this message.
    Take(Json, usize),
    /// All messages of a request were taken.
    Done(T),
    /// The numbers have a gap: a message is lost, and the link with it.
    Gap(Option<T>, Problem),
}

impl<T> Sends<T> {
    /// Requests whose messages may wait; a client sends one at a time, and polls beside it.
    const REQUESTS_MAX: usize = 4;

    /// Begins with what came with the opening.
    pub(super) fn begin(first: Vec<Numbered>) -> Self {
        Self { waiting: VecDeque::from([(first.into(), None)]), last: 0 }
    }

    /// The messages of one more request. `done` comes back when they were taken.
    pub(super) fn push(&mut self, messages: Vec<Numbered>, done: Option<T>) {
        self.waiting.push_back((messages.into(), done));
    }

    /// Whether so many requests wait that no more should.
    pub(super) fn is_behind(&self) -> bool {
        self.waiting.len() >= Self::REQUESTS_MAX
    }

    /// What is next, if anything waits.
    pub(super) fn next(&mut self) -> Option<Step<T>> {
        loop {
            let (messages, done) = self.waiting.front_mut()?;
            let Some(Numbered { n, message, bytes }) = messages.pop_front() else {
                match self.waiting.pop_front() {
                    Some((_, Some(done))) => return Some(Step::Done(done)),
                    _ => continue,
                }
            };
            match n {
                Some(n) if n <= self.last => {}
                Some(n) if n == self.last + 1 => {
                    self.last = n;
                    return Some(Step::Take(message, bytes));
                }
                Some(n) => {
                    let detail = format!("message {n} came where {} was due; open another link", self.last + 1);
                    let problem = Problem::new(Code::Aborted, detail).status(StatusCode::CONFLICT).at("/send");
                    return Some(Step::Gap(done.take(), problem));
                }
                None => return Some(Step::Take(message, bytes)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn read(body: &str, want: Expect) {
        want.assert_eq(&match read_posted(body.as_bytes()) {
            Ok(posted) => {
                let messages = posted.messages.iter().map(|one| format!("{:?} {}", one.n, one.message));
                format!("ack {:?}, {}", posted.ack, messages.collect::<Vec<_>>().join(", "))
            }
            Err(problem) => format!("{} at {:?}", problem.detail, problem.at.unwrap_or_default()),
        });
    }

    #[test]
    fn a_body_holds_an_ack_and_numbered_messages() {
        read("", expect!["ack None, "]);
        read(r#"{"ack":3}"#, expect!["ack Some(3), "]);
        read(r#"{"ack":null,"send":[{"n":1,"m":{"id":0}}]}"#, expect![[r#"ack None, Some(1) {"id":0}"#]]);
    }

    #[test]
    fn what_is_wrong_in_a_body_is_told_with_its_place() {
        read("[]", expect![[r#"an object is expected, this is an array at """#]]);
        read(r#"{"acc":1}"#, expect![[r#""acc" is unknown here at "/acc""#]]);
        read(r#"{"ack":-1}"#, expect![[r#"a whole number is expected at "/ack""#]]);
        read(r#"{"send":{}}"#, expect![[r#"an array is expected at "/send""#]]);
        read(r#"{"send":[{"n":1,"m":1},{"n":2}]}"#, expect![[r#"the message m is missing at "/send/1""#]]);
        read(r#"{"send":[{"n":"1","m":1}]}"#, expect![[r#"a whole number is expected at "/send/0/n""#]]);
    }

    fn numbers(sends: &mut Sends<&'static str>, ns: &[u64], name: &'static str) {
        let one = |n: &u64| Numbered { n: Some(*n), message: Json::from(*n), bytes: 1 };
        sends.push(ns.iter().map(one).collect(), Some(name));
    }

    fn steps(sends: &mut Sends<&'static str>, want: Expect) {
        let steps = std::iter::from_fn(|| sends.next()).map(|step| match step {
            Step::Take(message, _) => message.to_string(),
            Step::Done(name) => name.to_string(),
            Step::Gap(name, problem) => format!("{name:?}: {}", problem.detail),
        });
        want.assert_eq(&steps.collect::<Vec<_>>().join(", "));
    }

    #[test]
    fn what_was_taken_before_is_skipped_and_a_gap_is_refused() {
        let mut sends = Sends::begin(vec![Numbered { n: None, message: Json::from("first"), bytes: 1 }]);
        numbers(&mut sends, &[1, 2], "a");
        numbers(&mut sends, &[1, 2, 3], "b");
        numbers(&mut sends, &[3], "c");
        steps(&mut sends, expect![[r#""first", 1, 2, a, 3, b, c"#]]);
        numbers(&mut sends, &[5], "d");
        steps(&mut sends, expect![[r#"Some("d"): message 5 came where 4 was due; open another link"#]]);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in "[\\[\\]{}\",:nmacksend0-9]{0,40}") {
            let _ = (read_posted(body.as_bytes()), read_opening(body.as_bytes()));
        }
    }
}
