//! Server-sent events, as bytes. Source: the HTML standard, "Server-sent events".
//!
//! Events bear no name, so that `onmessage` gets them; the one that does is `problem`, and the stream ends with it.

use std::time::Duration;

use bytes::Bytes;

use crate::problem::Problem;

/// How often a stream that has nothing to say says so, lest somebody on the way takes it for dead.
pub const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// What a stream begins with: how soon to come back, and a comment that makes proxies and browsers see it open.
pub fn opening() -> Bytes {
    Bytes::from_static(b"retry: 2000\n: hearth\n\n")
}

/// A sign of life.
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// Says from where a stream can be taken up, where there is no event to say it: the standard keeps the id of an event
/// without data, and tells nobody of the event.
pub fn mark(id: &str) -> Bytes {
    format!("id: {id}\n\n").into()
}

/// An event that holds a JSON object, given by its members. With an id the stream can be taken up behind it.
///
/// JSON as we write it has no line breaks, and a token consists of letters, digits, `-` and `_`: neither can end a line.
pub fn event(id: Option<&str>, members: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(members.len() + 64);
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: {");
    out.extend_from_slice(members);
    out.extend_from_slice(b"}\n\n");
    out.into()
}

/// Why the stream ends.
pub fn problem(problem: &Problem, request: &str) -> Bytes {
    format!("event: problem\ndata: {}\n\n", problem.to_json(Some(request))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_event_is_one_line_of_data_behind_its_id() {
        expect![[r#"
            id: AQ
            data: {"size":0}

        "#]]
        .assert_eq(std::str::from_utf8(&event(Some("AQ"), b"\"size\":0")).unwrap());
        expect![[r#"
            event: problem
            data: {"code":"unauthenticated","detail":"expired\nand over","request":"r","status":401,"title":"Unauthorized","type":"about:blank"}

        "#]]
        .assert_eq(
            std::str::from_utf8(&problem(
                &Problem::new(crate::problem::Code::Unauthenticated, "expired\nand over"),
                "r",
            ))
            .unwrap(),
        );
    }
}
