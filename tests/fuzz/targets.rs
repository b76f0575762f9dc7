//! The parsers and decoders that see bytes from outside, each as a function that any bytes may be given to.
//!
//! A target panics where something is wrong: a reader that panics, or a promise between reader and writer that does not
//! hold. The same functions run under libFuzzer (`./soak fuzz`) and, on the corpora, in `./test`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_auth::{Algorithm, Issuer, KeySource, Verifier};
use hearth_core::codec::{self, Record};
use hearth_core::entry::CommitEntry;
use hearth_core::query::{Run, Source};
use hearth_core::{CollectionPath, DatabaseName, DocPath, Document, FieldPath, Id, Map, Reference, Value, Version};
use hearth_core::{Direction, keys, order};
use hearth_engine::{Limits, Token};
use hearth_native::address::{Address, Place, encode_path};
use hearth_native::json::{self, Context};
use hearth_native::params::Params;
use hearth_native::{fuzz as native, poll, query_json, writes};
use hearth_schema::v1;
use hearth_store::{CommitLog, FileLog, LogOptions, Snapshots, fuzz as sealed};
use prost::Message as _;

/// A parser, given any bytes.
pub(crate) type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("address", address),
    ("codec", codec),
    ("field_path", field_path),
    ("firestore_export", hearth_firestore::fuzz::export),
    ("firestore_grpc", firestore_grpc),
    ("firestore_listen", hearth_firestore::fuzz::listen),
    ("firestore_rest", firestore_rest),
    ("firestore_token", hearth_firestore::fuzz::token),
    ("firestore_value", hearth_firestore::fuzz::value),
    ("firestore_write", hearth_firestore::fuzz::write),
    ("headers", headers),
    ("json_query", json_query),
    ("json_value", json_value),
    ("json_writes", json_writes),
    ("jwt", jwt),
    ("jwt_claims", jwt_claims),
    ("key", key),
    ("log_entry", log_entry),
    ("log_segment", log_segment),
    ("message", message),
    ("params", params),
    ("path", path),
    ("snapshot", snapshot),
    ("token", token),
    ("webchannel", webchannel),
];

fn database() -> DatabaseName {
    DatabaseName::parse("demo", DatabaseName::DEFAULT).expect("both names are valid")
}

/// What the URL of a request names.
fn address(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for is_post in [false, true] {
        if let Ok(Some(Address::Data(scope, place))) = Address::parse(text, is_post) {
            let _ = scope.name("demo");
            let again = Address::parse(&format!("/db/{}", encode_path(&place.path())), false);
            let same = matches!(&again, Ok(Some(Address::Data(_, again))) if *again == place);
            assert!(same || place == Place::Database, "{place:?} is printed as {again:?}");
        }
    }
    let _ = (hearth_auth::ticket::split(text), hearth_auth::gate::credential(text));
}

/// A document as the log and the state hold it.
fn codec(bytes: &[u8]) {
    let path = DocPath::parse("rooms/lobby").expect("it is a path");
    if let Ok(Record::Document(encoded)) = Record::read(bytes) {
        for field in ["a", "a.b", "`x y`.z"] {
            let _ = encoded.get(&FieldPath::parse(field).expect("it is a field path"));
        }
    }
    if let Ok(document) = codec::decode_record(&path, bytes) {
        let again = codec::encode_record(document.as_deref());
        let read = codec::decode_record(&path, &again).expect("what is encoded can be read");
        assert_eq!(codec::encode_record(read.as_deref()), again);
    }
}

fn field_path(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(path) = FieldPath::parse(text) {
        assert_eq!(FieldPath::parse(&path.to_string()), Ok(path));
    }
}

/// Messages of Firestore's protocol in its binary form, and what they mean.
fn firestore_grpc(bytes: &[u8]) {
    if let Ok(request) = v1::RunQueryRequest::decode(bytes) {
        hearth_firestore::fuzz::run_query(request);
    }
    if let Ok(request) = v1::CommitRequest::decode(bytes) {
        hearth_firestore::fuzz::commit(request);
    }
}

/// The address of a REST request in the first line, its body in the others.
fn firestore_rest(bytes: &[u8]) {
    let (line, body) = first_line(bytes);
    if let Ok(line) = str::from_utf8(line) {
        hearth_firestore::fuzz::rest_address(line);
    }
    hearth_firestore::fuzz::rest_body(body);
}

/// Headers that shape a reading.
fn headers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let caller = hearth_auth::Caller::Anonymous;
    if let Ok(tags) = poll::Tags::parse("If-None-Match", text) {
        let _ = (tags.hold(None), tags.tokens(&caller));
    }
    let _ = poll::precondition(Some(text), None);
    let _ = poll::precondition(None, Some(text));
    let _ = poll::preferred_wait([text]);
}

/// A query in a body, and its run over a few documents.
fn json_query(bytes: &[u8]) {
    let database = database();
    let context = Context::new(&database);
    let Ok(json) = json::parse(bytes) else { return };
    let place = Place::parse("rooms").expect("it is a collection");
    if let Ok(asked) = query_json::parse_body(&place, &json, &context) {
        run(asked);
    }
}

/// A value as JSON: what was read is printed as something that reads as the same.
fn json_value(bytes: &[u8]) {
    let database = database();
    let Ok(parsed) = json::parse(bytes) else { return };
    for context in [Context::new(&database), Context { database: &database, literal: true }] {
        if let Ok(value) = json::to_value(&parsed, &context) {
            let printed = json::from_value(&value, &Context::new(&database));
            let again = json::to_value(&printed, &Context::new(&database)).expect("what is printed can be read");
            assert_eq!(order::compare(&again, &value), std::cmp::Ordering::Equal, "{printed}");
            let mut text = Vec::new();
            json::write_value(&mut text, &value, &Context::new(&database));
            assert_eq!(json::parse(&text).expect("it is JSON"), printed);
            let mut key = Vec::new();
            keys::encode_value(&value, Direction::Ascending, &mut key);
        }
        let _ = json::to_written(&parsed, json::Shape::Update, &context);
    }
}

/// The body of a commit.
fn json_writes(bytes: &[u8]) {
    let database = database();
    for literal in [false, true] {
        if let Ok(json) = json::parse(bytes) {
            let _ = writes::to_commit(&json, &Context { database: &database, literal });
        }
    }
}

/// A secret under which tokens of the targets are signed.
const SECRET: &[u8; 32] = b"a secret that only fuzzing knows";
/// When the targets look at tokens, in seconds since 1970.
const NOW: u64 = 1_700_000_000;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    Verifier::new(vec![Issuer {
        issuer: "fuzz".into(),
        audiences: vec!["demo".into()],
        algorithm: Algorithm::Hs256,
        keys: KeySource::Secret(SECRET.to_vec()),
        uid_claim: None,
        leeway_seconds: 0,
    }])
    .expect("the issuer is sound")
});

/// The text of a token, signed by nobody who knows the secret.
fn jwt(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        assert!(VERIFIER.verify(text, NOW).is_err(), "a token was forged: {text}");
    }
}

/// The claims of a token that is signed as it should be.
fn jwt_claims(bytes: &[u8]) {
    let signed = format!("{}.{}", encoded(br#"{"alg":"HS256","typ":"JWT"}"#), encoded(bytes));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let token = format!("{signed}.{}", encoded(tag.as_ref()));
    if VERIFIER.verify(&token, NOW).is_ok() {
        let claims = hearth_auth::claims::parse(bytes).expect("the claims of a token that is believed can be read");
        hearth_auth::claims::print(&claims).expect("and printed");
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key of a document in the state.
fn key(bytes: &[u8]) {
    if let Ok(path) = keys::decode_doc(bytes) {
        assert_eq!(keys::decode_doc(&keys::doc(&path)), Ok(path));
    }
}

/// The body of a commit's entry.
fn log_entry(bytes: &[u8]) {
    if let Ok(entry) = CommitEntry::decode(bytes) {
        let again = entry.encode();
        assert_eq!(CommitEntry::decode(&again).expect("what is encoded can be read").encode(), again);
    }
}

thread_local! {
    /// A folder for the targets that read files.
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("there is a place for it"));
}

/// Puts `bytes` under a name into an otherwise empty folder.
fn with_file(name: &str, bytes: &[u8], act: impl FnOnce(&Path)) {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("it can be written");
        act(folder.path());
        fs::remove_file(path).expect("it is there");
    });
}

/// A segment of the log: as a file, and as what stands in a frame that is whole.
fn log_segment(bytes: &[u8]) {
    let entries = u32::from(bytes.first().copied().unwrap_or_default() & 7);
    let payload = bytes.get(1..).unwrap_or_default();
    for file in [bytes.to_vec(), sealed::segment(payload, entries)] {
        with_file(sealed::SEGMENT_NAME, &file, |folder| {
            let opened = FileLog::open_to_read(folder, sealed::DATABASE, Version::ZERO, LogOptions::default());
            if let Ok((log, _)) = opened {
                let mut last = Version::ZERO;
                let _ = log.replay(Version::ZERO, &mut |entry| {
                    assert!(entry.version > last, "versions rise");
                    last = entry.version;
                    let _ = CommitEntry::decode(&entry.body);
                    Ok(())
                });
            }
        });
    }
}

/// A message of a WebSocket or a link.
fn message(bytes: &[u8]) {
    let database = database();
    let _ = native::message(bytes, &Context::new(&database));
}

/// What stands behind the question mark, and the run of the query that it asks.
fn params(bytes: &[u8]) {
    let database = database();
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(params) = Params::parse(text) {
        let source = Source::Collection(CollectionPath::parse("rooms").expect("it is a path"));
        let _ = (params.flag("explain"), params.version("at"), params.one("since"));
        if let Ok(asked) = params.asked(source, &Context::new(&database)) {
            run(asked);
        }
    }
}

/// Paths and names of every kind.
fn path(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(path) = DocPath::parse(text) {
        assert_eq!(path.as_str(), text);
        assert_eq!(keys::decode_doc(&keys::doc(&path)), Ok(path.clone()));
        assert!(path.parent().holds(&path));
    }
    if let Ok(path) = CollectionPath::parse(text) {
        assert_eq!(path.as_str(), text);
        let _ = keys::collection(&path);
    }
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
    }
    let _ = (Id::parse(text), Place::parse(text), hearth_core::path::numeric_id(text));
}

/// A snapshot: as a file, and as what stands in a block that is whole.
fn snapshot(bytes: &[u8]) {
    let [section, records, plain @ ..] = bytes else { return };
    for file in [bytes.to_vec(), sealed::snapshot(*section, plain, u32::from(*records))] {
        with_file("unnamed", &[], |folder| {
            let snapshots = Snapshots::new(folder.to_path_buf(), sealed::DATABASE);
            fs::write(snapshots.path(sealed::VERSION), &file).expect("it can be written");
            if let Ok(mut reader) = snapshots.read(sealed::VERSION) {
                while let Ok(Some(record)) = reader.next_record() {
                    let _ = (keys::decode_doc(&record.key), Record::read(&record.value));
                }
            }
            let _ = snapshots.verify(sealed::VERSION);
            fs::remove_file(snapshots.path(sealed::VERSION)).expect("it is there");
        });
    }
}

/// A token to resume from.
fn token(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(token) = Token::parse(text) {
        assert_eq!(token.to_string(), text);
    }
}

/// A request of WebChannel: the address in the first line, the body in the others.
fn webchannel(bytes: &[u8]) {
    let (line, body) = first_line(bytes);
    if let Ok(line) = str::from_utf8(line) {
        hearth_firestore::fuzz::webchannel(line, body);
    }
}

fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// Builds a query and runs it over a few documents.
fn run(asked: query_json::Asked) {
    let Ok(query) = asked.build(&Limits::default(), &database(), |path| document(path.as_str(), 0)) else { return };
    let documents: Vec<Arc<Document>> = (0..4).filter_map(|n| document(&format!("rooms/r{n}"), n)).collect();
    let rows = query.run(documents.iter().map(|document| Ok::<_, Infallible>(document.clone())), Run::default());
    let rows = rows.expect("nothing can fail");
    for document in &documents {
        let matched = query.matches(&document.path, document).expect("nothing can fail");
        let listed = rows.window().iter().any(|row| row.path == document.path);
        assert!(matched || !listed, "{} is in the result and does not match", document.path);
        let _: Cow<'_, Map> = query.project(document);
    }
    let _ = (query.hash(), query.interest());
}

fn document(path: &str, n: i64) -> Option<Arc<Document>> {
    let value = match n {
        0 => Value::Integer(n),
        1 => Value::Double(f64::NAN),
        2 => Value::Text("a".into()),
        _ => Value::Array(vec![Value::Null, Value::Integer(n)]),
    };
    let fields =
        Map::from_iter([("a".into(), value.clone()), ("n".into(), Value::Map(Map::from_iter([("b".into(), value)])))]);
    let version = Version::from_micros(1_000 + n.unsigned_abs());
    Some(Arc::new(Document { path: DocPath::parse(path).ok()?, fields, created: version, updated: version }))
}
