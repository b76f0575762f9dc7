//! What queries find where one could think otherwise. What is wanted here is what Google's emulator answers to the same.

use super::*;

const NULL: &str = r#"{"nullValue":null}"#;
const NAN: &str = r#"{"doubleValue":"NaN"}"#;

/// Documents by their ids alone.
fn ids(named: &str) -> String {
    let id = |name: &str| name.rsplit('/').next().and_then(|id| id.split('=').next()).unwrap_or_default().to_owned();
    named.split(' ').map(id).collect::<Vec<_>>().join(" ")
}

async fn numbers() -> Server {
    let server = Server::dev();
    let documents = [
        ("a", r#""n":{"doubleValue":"NaN"},"m":{"integerValue":"1"}"#),
        ("b", r#""n":{"integerValue":"1"}"#),
        ("c", r#""n":{"nullValue":null},"m":{"integerValue":"2"}"#),
        ("d", r#""n":{"stringValue":"x"},"m":{"stringValue":"y"}"#),
        ("e", r#""m":{"integerValue":"7"}"#),
        ("f", r#""n":{"doubleValue":"-Infinity"}"#),
        ("g", r#""n":{"integerValue":"5"},"m":{"integerValue":"5"}"#),
        ("h", r#""n":{"arrayValue":{"values":[{"doubleValue":"NaN"},{"nullValue":null},{"integerValue":"1"}]}}"#),
    ];
    for (id, fields) in documents {
        let body = format!(r#"{{"fields":{{{fields}}}}}"#);
        assert!(server.text(&format!("PATCH {ROOT}/numbers/{id}"), &body).await.starts_with("200"));
    }
    server
}

#[tokio::test]
async fn null_and_nan_are_found_by_unary_filters_only() {
    let server = numbers().await;
    let compared = async |op: &str, value: &str| {
        let filter = format!(r#"{{"fieldFilter":{{"field":{{"fieldPath":"n"}},"op":"{op}","value":{value}}}}}"#);
        let query = format!(r#"{{"from":[{{"collectionId":"numbers"}}],"where":{filter}}}"#);
        ids(&found(&server, "", serde_json::from_str(&query).unwrap()).await)
    };
    let list = |values: &str| format!(r#"{{"arrayValue":{{"values":[{values}]}}}}"#);
    for value in [NULL, NAN] {
        for op in ["EQUAL", "LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"] {
            assert_eq!(compared(op, value).await, "", "{op} {value}");
        }
        assert_eq!(compared("ARRAY_CONTAINS", value).await, "", "{value}");
        assert_eq!(compared("IN", &list(value)).await, "", "{value}");
        assert_eq!(compared("ARRAY_CONTAINS_ANY", &list(value)).await, "", "{value}");
    }
    let three = r#"{"integerValue":"3"}"#;
    let one = r#"{"integerValue":"1"}"#;
    assert_eq!(compared("LESS_THAN", three).await, "f b");
    assert_eq!(compared("IN", &list(&format!("{NAN},{one}"))).await, "b");
    assert_eq!(compared("NOT_EQUAL", NULL).await, "");
    assert_eq!(compared("NOT_EQUAL", NAN).await, "a f b g d h");
    assert_eq!(compared("NOT_IN", &list(&format!("{NAN},{one}"))).await, "a f g d h");
    assert_eq!(compared("EQUAL", &list(&format!("{NAN},{NULL},{one}"))).await, "h");
}

#[tokio::test]
async fn numbers_are_of_documents_that_have_every_field_that_is_asked_for() {
    let server = numbers().await;
    let asked = async |query: &str, aggregations: &[&str]| {
        let aggregations: Vec<String> = aggregations
            .iter()
            .map(|one| match one.split_once(' ') {
                None => format!(r#"{{"alias":"{one}","count":{{}}}}"#),
                Some((how, field)) => {
                    format!(r#"{{"alias":"{how}_{field}","{how}":{{"field":{{"fieldPath":"{field}"}}}}}}"#)
                }
            })
            .collect();
        let body = format!(
            r#"{{"structuredAggregationQuery":{{"structuredQuery":{{"from":[{{"collectionId":"numbers"}}]{query}}},"aggregations":[{}]}}}}"#,
            aggregations.join(",")
        );
        let answer = server.json(&format!("POST {ROOT}:runAggregationQuery"), &body).await;
        answer[0]["result"]["aggregateFields"].to_string()
    };
    assert_eq!(asked("", &["count"]).await, r#"{"count":{"integerValue":"8"}}"#);
    assert_eq!(
        asked("", &["count", "avg m"]).await,
        r#"{"avg_m":{"doubleValue":3.75},"count":{"integerValue":"5"}}"#,
        "a text is no number, but it is there"
    );
    assert_eq!(
        asked("", &["count", "avg m", "sum n"]).await,
        r#"{"avg_m":{"doubleValue":2.6666666666666665},"count":{"integerValue":"4"},"sum_n":{"doubleValue":"NaN"}}"#
    );
    assert_eq!(asked("", &["count", "sum z"]).await, r#"{"count":{"integerValue":"0"},"sum_z":{"integerValue":"0"}}"#);
    let by_n = r#","orderBy":[{"field":{"fieldPath":"n"},"direction":"DESCENDING"}],"limit":2"#;
    assert_eq!(
        asked(by_n, &["count", "sum m"]).await,
        r#"{"count":{"integerValue":"2"},"sum_m":{"integerValue":"5"}}"#,
        "d and g: the order and the limit are those of the query"
    );
}

#[tokio::test]
async fn an_offset_says_how_much_it_skipped() {
    let server = numbers().await;
    for (offset, want) in [(0, "-"), (3, "3"), (50, "8")] {
        let body = format!(r#"{{"structuredQuery":{{"from":[{{"collectionId":"numbers"}}],"offset":{offset}}}}}"#);
        let answers = server.json(&format!("POST {ROOT}:runQuery"), &body).await;
        let skipped: Vec<String> = answers
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one.get("skippedResults"))
            .map(Json::to_string)
            .collect();
        assert_eq!(if skipped.is_empty() { "-".to_owned() } else { skipped.join(" ") }, want);
    }
}

#[tokio::test]
async fn a_result_may_be_longer_than_what_is_held_at_one_time() {
    let limits = Limits { page_docs_max: 3, page_rows_max: 4, result_docs_max: 5, ..Limits::default() };
    let server = Server::with(Mode::Dev, Access::Open, limits);
    for n in 0..20 {
        let body = format!(r#"{{"fields":{{"n":{{"integerValue":"{}"}}}}}}"#, 19 - n);
        assert!(server.text(&format!("PATCH {ROOT}/rooms/{n:02}"), &body).await.starts_with("200"));
    }
    let by_n = r#"{"from":[{"collectionId":"rooms"}],"orderBy":[{"field":{"fieldPath":"n"}}]}"#;
    let want: Vec<String> = (0..20).rev().map(|n| format!("{n:02}")).collect();
    assert_eq!(ids(&found(&server, "", serde_json::from_str(by_n).unwrap()).await), want.join(" "));
    let body = r#"{"structuredQuery":{"from":[{"collectionId":"rooms","allDescendants":true}]},"partitionCount":"3"}"#;
    let parts = server.json(&format!("POST {ROOT}:partitionQuery"), body).await;
    let cuts: Vec<&str> = parts["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["values"][0]["referenceValue"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(cuts, ["05", "10", "15"]);
}

#[tokio::test]
async fn without_a_collection_the_documents_of_all_are_listed() {
    let server = Server::dev();
    for path in ["r/a", "r/b", "s/x", "t/y", "r/a/deep/z", "t/missing/deep/z"] {
        assert!(server.text(&format!("PATCH {ROOT}/{path}"), "{}").await.starts_with("200"));
    }
    let listed = async |address: &str| {
        let (mut page, mut pages) = (String::new(), Vec::new());
        loop {
            let mark = if address.contains('?') { '&' } else { '?' };
            let answer = server.json(&format!("GET {ROOT}{address}{mark}pageToken={page}"), "").await;
            pages.push(ids(&names(&answer["documents"])));
            match answer["nextPageToken"].as_str() {
                Some(next) => page = next.to_owned(),
                None => return pages.join(" | "),
            }
        }
    };
    assert_eq!(listed("/").await, "a b x y");
    assert_eq!(listed("").await, "a b x y");
    assert_eq!(listed("?pageSize=2").await, "a b | x y");
    assert_eq!(listed("?pageSize=3").await, "a b x | y");
    assert_eq!(listed("?showMissing=true").await, "a b x missing y");
    assert_eq!(listed("/r/a/").await, "z");
    let refused = server.text(&format!("GET {ROOT}/?orderBy=n"), "").await;
    assert!(refused.starts_with("400"), "{refused}");
}
