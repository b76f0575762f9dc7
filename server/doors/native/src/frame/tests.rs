//! Each message of `docs/links.md`, read and written.

use super::*;
use expect_test::{Expect, expect};
use hearth_auth::User;
use hearth_core::query::{Aggregate, QuerySpec, Source};
use hearth_core::{CollectionPath, DocPath, Document, FieldPath, Map, Value};
use proptest::prelude::*;

fn database() -> DatabaseName {
    DatabaseName::parse("demo", "(default)").unwrap()
}

fn read(text: &str, want: Expect) {
    want.assert_eq(&match ClientMessage::parse(text.as_bytes(), &Context::new(&database())) {
        Ok(message) => format!("{}: {}", message.id, short(&message.op)),
        Err(FrameError { id, problem }) => {
            let whose = id.map_or("nobody".into(), |id| id.to_string());
            format!("problem for {whose} at {}: {}", problem.at.as_deref().unwrap_or("-"), problem.detail)
        }
    });
}

fn short(op: &Op) -> String {
    let query = |asked: &Asked| {
        let filter = asked.spec.filter.as_ref().map_or("", |_| ", filtered");
        format!("{}{filter}", asked.spec.source)
    };
    match op {
        Op::Listen { asked, since } => {
            format!("listen to {} since {:?}", query(asked), since.map(|token| token.version.micros()))
        }
        Op::Get { asked, at } => format!("get {} at {at:?}", query(asked)),
        Op::Commit(commit) => {
            let key = commit.key.as_ref().map(|key| &key.key);
            format!("commit {} writes, {} reads, key {key:?}", commit.writes.len(), commit.reads.len())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn every_message_of_a_client_is_read() {
    read(r#"{"id":1,"op":"listen","path":"messages"}"#, expect!["1: listen to the collection messages since None"]);
    read(
        r#"{"id":1,"op":"listen","path":"~/messages","query":{"where":["n","==",1]},"since":"AQAGCiQYHgAAAAAAAAAAAAf__________w"}"#,
        expect!["1: listen to the collections named messages, filtered since Some(1699999999983616)"],
    );
    read(
        r#"{"id":1,"op":"listen","path":"messages/abc","query":null,"since":null}"#,
        expect!["1: listen to 1 documents since None"],
    );
    read(r#"{"id":1,"op":"unlisten"}"#, expect!["1: Unlisten"]);
    read(
        r#"{"id":2,"op":"get","path":"messages","query":{},"at":"17"}"#,
        expect!["2: get the collection messages at Some(Version(17))"],
    );
    read(
        r#"{"id":3,"op":"commit","writes":[{"set":"a/b","data":{}},{"delete":"a/c"}],"reads":{"a/d":null,"a/e":"7"},"key":"k"}"#,
        expect![[r#"3: commit 2 writes, 2 reads, key Some("k")"#]],
    );
    read(r#"{"id":4,"op":"auth","token":"secret"}"#, expect!["4: Auth { token: … }"]);
    read(r#"{"id":0,"op":"ping"}"#, expect!["0: Ping"]);
}

#[test]
fn what_is_wrong_is_told_under_the_id_with_its_place() {
    read(r#"{"id":1,"op":"shout"}"#, expect![[r#"problem for 1 at /op: "shout" is not an op of hearth.v1"#]]);
    read(r#"{"id":1}"#, expect![[r#"problem for 1 at /op: the member "op" is missing"#]]);
    read(r#"{"id":1,"op":7}"#, expect!["problem for 1 at /op: text is expected, this is a number"]);
    read(
        r#"{"id":1,"op":"listen","path":"a","sinse":"x"}"#,
        expect![[r#"problem for 1 at /sinse: "sinse" is not a member of a message with op "listen""#]],
    );
    read(
        r#"{"id":1,"op":"unlisten","a/b":1}"#,
        expect![[r#"problem for 1 at /a~1b: "a/b" is not a member of a message with op "unlisten""#]],
    );
    read(r#"{"id":1,"op":"listen"}"#, expect![[r#"problem for 1 at /path: the member "path" is missing"#]]);
    read(
        r#"{"id":1,"op":"listen","path":"a//b"}"#,
        expect!["problem for 1 at /path: segment 2 of the path: an id is empty"],
    );
    read(
        r#"{"id":1,"op":"listen","path":"a","query":{"limitt":1}}"#,
        expect!["problem for 1 at /query/limitt: this is not a key of a query"],
    );
    read(
        r#"{"id":1,"op":"listen","path":"a","since":"x"}"#,
        expect!["problem for 1 at /since: this is not a token of this server; start without one"],
    );
    read(r#"{"id":1,"op":"get","path":"a","at":"-1"}"#, expect![[r#"problem for 1 at /at: "-1" is not a version"#]]);
    read(r#"{"id":1,"op":"commit"}"#, expect!["problem for 1 at /writes: writes are expected"]);
    read(
        r#"{"id":1,"op":"commit","writes":[{"delete":"a"}]}"#,
        expect![[
            r#"problem for 1 at /writes/0/delete: "a" has 1 segments; a document's path has an even number of them"#
        ]],
    );
    read(
        r#"{"id":1,"op":"commit","writes":[],"reads":{"a/b":7}}"#,
        expect!["problem for 1 at /reads/a~1b: a version or null is expected"],
    );
    read(r#"{"id":1,"op":"auth"}"#, expect![[r#"problem for 1 at /token: the member "token" is missing"#]]);
    read(
        r#"{"id":1,"op":"ping"}"#,
        expect!["problem for 1 at /id: the id of a ping is 0, that of any other message 1 or more"],
    );
}

#[test]
fn what_has_no_id_is_nobodys_problem() {
    read(
        r#"{"id":0,"op":"unlisten"}"#,
        expect!["problem for nobody at /id: the id of a ping is 0, that of any other message 1 or more"],
    );
    for id in ["-1", "1.0", "\"1\"", "9007199254740992", "null"] {
        read(
            &format!(r#"{{"id":{id},"op":"ping"}}"#),
            expect!["problem for nobody at /id: a message has an id, an integer from 0 to 2^53 - 1"],
        );
    }
    read("[]", expect!["problem for nobody at -: a message is an object, this is an array"]);
    read("{", expect!["problem for nobody at -: this is not JSON: EOF while parsing an object at line 1 column 1"]);
}

fn said(message: &Bytes, want: Expect) {
    let text = std::str::from_utf8(message).unwrap();
    assert!(serde_json::from_str::<Json>(text).is_ok(), "{text}");
    want.assert_eq(text);
}

#[test]
fn every_message_to_a_client_is_written() {
    said(
        &snapshot(7, br#""version":"9","changes":[]"#),
        expect![[r#"{"id":7,"ev":"snapshot","version":"9","changes":[]}"#]],
    );
    said(
        &committed(3, Version::from_micros(9), b"[{}]"),
        expect![[r#"{"id":3,"ev":"committed","version":"9","results":[{}]}"#]],
    );
    let user = User { uid: "a\"da".into(), issuer: "i".into(), claims: Map::new(), expires_seconds: Some(77) };
    said(&authed(4, &Caller::user(user)), expect![[r#"{"id":4,"ev":"authed","uid":"a\"da","expires":77}"#]]);
    said(&authed(4, &Caller::Admin), expect![[r#"{"id":4,"ev":"authed","uid":null,"expires":null}"#]]);
    said(
        &problem(5, &Problem::invalid("bad").at("/path")),
        expect![[
            r#"{"id":5,"ev":"problem","problem":{"at":"/path","code":"invalid-argument","detail":"bad","status":400,"title":"Bad Request","type":"about:blank"}}"#
        ]],
    );
    said(&expiring(77), expect![[r#"{"id":0,"ev":"expiring","expires":77}"#]]);
    said(&pong(), expect![[r#"{"id":0,"ev":"pong"}"#]]);
    said(&link("h3Jq"), expect![[r#"{"id":0,"ev":"link","link":"h3Jq"}"#]]);
}

fn rows(docs: usize, aggregates: Vec<Aggregate>, more: bool) -> Rows {
    let source = Source::Collection(CollectionPath::parse("c").unwrap());
    let values = aggregates.iter().map(|_| Value::Integer(3)).collect();
    let numbers = (!aggregates.is_empty()).then_some(values);
    let query = Arc::new(Query::build(QuerySpec { aggregates, ..QuerySpec::all(source) }).unwrap());
    let version = Version::from_micros(9);
    let doc = |at: usize| {
        let path = DocPath::parse(&format!("c/{at:04}")).unwrap();
        Arc::new(Document { path, fields: Map::new(), created: version, updated: version })
    };
    let token = Token { version, epoch: 1, query: 2 };
    let docs = (0..docs).map(doc).collect();
    let answer = Answer { version, token, docs, aggregates: numbers, more, scanned: 0, read: 0, micros: 0 };
    Rows::new(query, answer, database(), hearth_engine::Limits::default().parts())
}

#[test]
fn a_result_is_told_with_its_token() {
    let (result, last) = rows(1, vec![], true).into_result(2).next_part();
    assert!(last);
    said(
        &result,
        expect![[
            r#"{"id":2,"ev":"result","version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","docs":[{"path":"c/0000","data":{},"created":"9","updated":"9"}],"size":1,"more":true}"#
        ]],
    );
    let field = FieldPath::parse("price").unwrap();
    let numbers = vec![Aggregate::Count { up_to: None }, Aggregate::Sum(field)];
    let (result, last) = rows(0, numbers, false).into_result(2).next_part();
    assert!(last);
    said(
        &result,
        expect![[
            r#"{"id":2,"ev":"result","version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","aggregates":{"count":3,"sum(price)":3}}"#
        ]],
    );
    let (event, last) = rows(0, vec![], false).into_event(1, true).next_part();
    assert!(last);
    said(
        &event,
        expect![[
            r#"{"id":1,"ev":"snapshot","version":"9","token":"AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg","reset":true,"size":0,"changes":[]}"#
        ]],
    );
}

#[test]
fn a_large_result_comes_in_parts_of_which_the_last_has_no_number() {
    let mut telling = rows(2_001, vec![], true).into_result(2);
    let parts: Vec<Json> = std::iter::from_fn(|| {
        let (part, last) = telling.next_part();
        Some((serde_json::from_slice(&part).unwrap(), last))
    })
    .scan(false, |done, (part, last)| (!std::mem::replace(done, last)).then_some(part))
    .collect();
    let told: Vec<_> = parts
        .iter()
        .map(|part: &Json| {
            let docs = part["docs"].as_array().unwrap().len();
            format!("{docs} docs, part {}, more {}, size {}", part["part"], part["more"], part["size"])
        })
        .collect();
    expect!["1000 docs, part 1, more true, size null; 1000 docs, part 2, more true, size null; 1 docs, part null, more true, size 2001"]
        .assert_eq(&told.join("; "));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = ClientMessage::parse(&bytes, &Context::new(&database()));
    }

    #[test]
    fn nothing_like_a_message_makes_the_reader_panic(
        id in "[0-9.e-]{1,20}|null|\\{\\}",
        op in "listen|unlisten|get|commit|auth|ping",
        members in proptest::collection::vec(
            ("path|query|since|at|writes|reads|key|token", "null|[0-9]{1,3}|\"[a-z/~]{0,8}\"|\\[\\{\"set\":\"a/b\",\"data\":\\{\"a\":[1-9]\\}\\}\\]|\\{\"(where|limit|a/b)\":[1-9]\\}"),
            0..4,
        ),
    ) {
        let members: String = members.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        let text = format!("{{\"id\":{id},\"op\":\"{op}\"{members}}}");
        let _ = ClientMessage::parse(text.as_bytes(), &Context::new(&database()));
    }
}
