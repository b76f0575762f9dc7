//! The JSON of whole requests, as web SDKs send them and expect them back.

use expect_test::{Expect, expect};
use hearth_schema::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a message and writes it again.
fn check<M: DeserializeOwned + Serialize>(json: &str, want: Expect) {
    want.assert_eq(&match serde_json::from_str::<M>(json) {
        Ok(message) => serde_json::to_string(&message).unwrap(),
        Err(error) => format!("refused: {error}"),
    });
}

#[test]
fn a_verify_write_and_an_empty_mask_are_kept() {
    let verify = r#"{"verify":"projects/p/databases/(default)/documents/rooms/a","currentDocument":{"updateTime":"2026-10-18T03:09:39.541000000Z"}}"#;
    check::<v1::Write>(
        verify,
        expect![[
            r#"{"currentDocument":{"updateTime":"2026-10-18T03:09:39.541000Z"},"verify":"projects/p/databases/(default)/documents/rooms/a"}"#
        ]],
    );
    check::<v1::Write>(
        r#"{"update":{"name":"n","fields":{}},"updateMask":{},"currentDocument":{"exists":false}}"#,
        expect![[r#"{"updateMask":{},"currentDocument":{"exists":false},"update":{"name":"n"}}"#]],
    );
}

#[test]
fn a_query_has_bare_limits_and_enums_by_name_or_number() {
    check::<v1::StructuredQuery>(
        r#"{"from":[{"collectionId":"rooms"}],"limit":5,"orderBy":[{"field":{"fieldPath":"n"},"direction":2}],"where":{"fieldFilter":{"field":{"fieldPath":"n"},"op":"LESS_THAN","value":{"integerValue":"3"}}}}"#,
        expect![[
            r#"{"from":[{"collectionId":"rooms"}],"where":{"fieldFilter":{"field":{"fieldPath":"n"},"op":"LESS_THAN","value":{"integerValue":"3"}}},"orderBy":[{"field":{"fieldPath":"n"},"direction":"DESCENDING"}],"limit":5}"#
        ]],
    );
}

#[test]
fn tokens_are_base64_and_unknown_members_are_passed_over() {
    check::<v1::ListenRequest>(
        r#"{"database":"d","addTarget":{"documents":{"documents":["n"]},"targetId":2,"resumeToken":"AQ==","expectedCount":3,"novelty":{"a":[1]}}}"#,
        expect![[
            r#"{"database":"d","addTarget":{"targetId":2,"expectedCount":3,"documents":{"documents":["n"]},"resumeToken":"AQ=="}}"#
        ]],
    );
}

#[test]
fn what_goes_out_reads_as_web_clients_want_it() {
    let change = v1::TargetChange {
        target_change_type: v1::target_change::TargetChangeType::Current as i32,
        target_ids: vec![2],
        cause: None,
        resume_token: vec![1, 2, 3],
        read_time: Some(hearth_schema::wkt::Timestamp { seconds: 1, nanos: 500_000_000 }),
    };
    expect![[r#"{"targetChangeType":"CURRENT","targetIds":[2],"resumeToken":"AQID","readTime":"1970-01-01T00:00:01.500000Z"}"#]]
        .assert_eq(&serde_json::to_string(&change).unwrap());
}
