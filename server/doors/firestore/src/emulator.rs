//! What tools ask of an emulator: to wipe a database, to take security rules, to export, and, of this server alone, to save and
//! restore the state of a test. In dev only.
//!
//! Rules are kept and given back; nobody asks them yet. `GET /` and what streams are other doors' and skins' business.

mod snapshots;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use axum::response::Response;
use axum::routing::any;
use hearth_auth::{Caller, Mode};
use hearth_core::DatabaseName;
use hearth_schema::well_known::Empty;
use serde::{Deserialize, Serialize};

use self::snapshots::Snapshots;
use crate::export;
use crate::names;
use crate::rest;
use crate::serve::Peer;
use crate::service::Door;
use crate::status::{Code, Refusal};

/// Projects whose rules are kept. Tests name a new one each time.
const PROJECTS_MAX: usize = 1_000;
/// Longest source of a project's rules. Source: Firebase documentation, "Security Rules limits", size of a ruleset.
const RULES_BYTES_MAX: usize = 256 << 10;

/// The body that rules come in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ruleset {
    rules: Files,
}

impl Ruleset {
    /// Rules of one file.
    pub(crate) fn of(name: &str, content: &str) -> Result<Self, Refusal> {
        let file = File { name: name.into(), content: content.into() };
        let ruleset = Self { rules: Files { files: vec![file] } };
        ruleset.check()?;
        Ok(ruleset)
    }

    fn check(&self) -> Result<(), Refusal> {
        let length: usize = self.rules.files.iter().map(|file| file.name.len() + file.content.len()).sum();
        if self.rules.files.is_empty() {
            return Err(Refusal::invalid("Rules are missing: rules.files is empty"));
        }
        if length > RULES_BYTES_MAX {
            return Err(Refusal::invalid(format!(
                "The rules have {length} bytes, over the limit of {RULES_BYTES_MAX}"
            )));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Files {
    files: Vec<File>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    content: String,
}

/// What is to be exported, and where to. Source: firebase-tools, `HubExport`.
#[derive(Clone, Debug, Default, Deserialize)]
struct Export {
    #[serde(default)]
    database: String,
    #[serde(default)]
    export_directory: String,
    #[serde(default)]
    export_name: String,
}

struct Emulator {
    door: Arc<Door>,
    // Held to look one up or to put one in.
    rules: Mutex<BTreeMap<String, Arc<Ruleset>>>,
    snapshots: Snapshots,
}

/// What answers under `/emulator/v1/`; nothing on a server that is not for development.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    if door.mode() != Mode::Dev {
        return Router::new();
    }
    let emulator = Arc::new(Emulator { door, rules: Mutex::default(), snapshots: Snapshots::default() });
    let handler = move |request: Request| {
        let emulator = emulator.clone();
        async move { emulator.answer(request).await }
    };
    Router::new().route("/emulator/v1/{*rest}", any(handler))
}

fn nothing() -> Refusal {
    Refusal::new(Code::NotFound, "The emulator has nothing at this address")
}

impl Emulator {
    async fn answer(&self, request: Request) -> Response {
        let headers = request.headers().clone();
        let response = match *request.method() {
            Method::OPTIONS => rest::preflight(&headers),
            _ => self.serve(request).await.unwrap_or_else(|refusal| rest::refused(&refusal, false)),
        };
        rest::share(&headers, response)
    }

    async fn serve(&self, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        // A peer that has to show who it is does not find this surface: it asks nobody.
        if parts.extensions.get::<Peer>().is_some_and(|peer| peer.0 != Mode::Dev) {
            return Err(nothing());
        }
        let path = parts.uri.path().strip_prefix("/emulator/v1/").unwrap_or_default();
        let segments = path.split('/').map(rest::decoded).collect::<Result<Vec<_>, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (&parts.method, &segments[..]) {
            (&Method::DELETE, ["projects", project, "databases", database, "documents"]) => {
                self.wipe(&DatabaseName::parse(project, database)?).await
            }
            (method, ["projects", project, "snapshots", id]) => {
                self.snapshot(method, DatabaseName::parse(project, DatabaseName::DEFAULT)?, id).await
            }
            (method, ["projects", project, "databases", database, "snapshots", id]) => {
                self.snapshot(method, DatabaseName::parse(project, database)?, id).await
            }
            (&Method::POST, ["projects", named]) if named.ends_with(":export") => {
                // It writes where it is told to: that is for those who could do so themselves.
                let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
                if peer.is_some_and(|peer| !peer.0.ip().to_canonical().is_loopback()) {
                    return Err(Refusal::new(
                        Code::PermissionDenied,
                        "Exports are for clients on the server's own machine",
                    ));
                }
                let bytes = rest::body_bytes(&self.door, &parts.headers, body).await?;
                self.export(rest::json::read(&bytes, rest::json::Unknown::PassedOver)?).await
            }
            (method, ["projects", named]) => {
                let project = named.strip_suffix(":securityRules").ok_or_else(nothing)?;
                DatabaseName::parse(project, DatabaseName::DEFAULT)?;
                match *method {
                    Method::PUT => {
                        let bytes = rest::body_bytes(&self.door, &parts.headers, body).await?;
                        self.take_rules(project, &bytes)
                    }
                    Method::GET => self.rules(project),
                    _ => Err(nothing()),
                }
            }
            _ => Err(nothing()),
        }
    }

    async fn wipe(&self, name: &DatabaseName) -> Result<Response, Refusal> {
        let database = self.door.database(name).await?;
        // Tools show no credential.
        let wipe = database.authorize_wipe(&Caller::Admin)?;
        database.wipe(&wipe).await.map_err(|error| Refusal::commit(name, error))?;
        Ok(rest::one(&Empty {}))
    }

    async fn export(&self, asked: Export) -> Result<Response, Refusal> {
        let name = names::database(&asked.database)?;
        let folder = Path::new(&asked.export_directory);
        if !folder.is_dir() {
            return Err(Refusal::new(Code::FailedPrecondition, "export_directory must be a directory"));
        }
        let export = match asked.export_name.as_str() {
            "" => format!("firestore_export_{}", self.door.now_seconds()),
            name => name.to_owned(),
        };
        let database = self.door.database(&name).await?;
        export::write(&database, folder, &export).await.map_err(Refusal::export)?;
        Ok(rest::one(&Empty {}))
    }

    async fn snapshot(&self, method: &Method, name: DatabaseName, id: &str) -> Result<Response, Refusal> {
        Ok(match *method {
            Method::POST => rest::one(&self.snapshots.save(&self.door, name, id).await?),
            Method::PUT => rest::one(&self.snapshots.restore(&self.door, name, id).await?),
            Method::DELETE => {
                self.snapshots.forget(name, id)?;
                rest::one(&Empty {})
            }
            _ => return Err(nothing()),
        })
    }

    fn take_rules(&self, project: &str, bytes: &[u8]) -> Result<Response, Refusal> {
        let ruleset: Ruleset = rest::json::read(bytes, rest::json::Unknown::PassedOver)?;
        ruleset.check()?;
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.len() >= PROJECTS_MAX && !rules.contains_key(project) {
            let text = format!("Rules of {PROJECTS_MAX} projects are kept already");
            return Err(Refusal::new(Code::ResourceExhausted, text));
        }
        rules.insert(project.to_owned(), Arc::new(ruleset));
        Ok(rest::one(&Empty {}))
    }

    fn rules(&self, project: &str) -> Result<Response, Refusal> {
        let kept = self.rules.lock().unwrap_or_else(PoisonError::into_inner).get(project).cloned();
        match (kept, self.door.rules()) {
            (Some(ruleset), _) => Ok(rest::one(&*ruleset)),
            (None, Some(ruleset)) => Ok(rest::one(ruleset)),
            (None, None) => Err(nothing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::rest::testing::Server;

    const ROOM: &str = "/v1/projects/p/databases/(default)/documents/rooms/a";

    #[tokio::test]
    async fn a_wipe_takes_all_documents_of_one_database() {
        let server = Server::dev();
        server.text(&format!("PATCH {ROOM}"), "{}").await;
        server.text("PATCH /v1/projects/p/databases/other/documents/rooms/a", "{}").await;
        server
            .check(
                "DELETE /emulator/v1/projects/p/databases/(default)/documents",
                "",
                expect![[r#"200
{}"#]],
            )
            .await;
        server
            .check(&format!("GET {ROOM}"), "", expect![[r#"
                404
                {"error":{"code":404,"message":"Document \"projects/p/databases/(default)/documents/rooms/a\" not found.","status":"NOT_FOUND"}}"#]])
            .await;
        assert!(server.text("GET /v1/projects/p/databases/other/documents/rooms/a", "").await.starts_with("200"));
    }

    #[tokio::test]
    async fn rules_are_kept_project_by_project() {
        let server = Server::dev();
        let put = r#"{"rules":{"files":[{"name":"firestore.rules","content":"service cloud.firestore {}"}]},"ignore_errors":true}"#;
        server
            .check(
                "PUT /emulator/v1/projects/p:securityRules",
                put,
                expect![[r#"
            200
            {}"#]],
            )
            .await;
        server
            .check(
                "GET /emulator/v1/projects/p:securityRules",
                "",
                expect![[r#"
            200
            {"rules":{"files":[{"name":"firestore.rules","content":"service cloud.firestore {}"}]}}"#]],
            )
            .await;
        server
            .check(
                "GET /emulator/v1/projects/q:securityRules",
                "",
                expect![[r#"
            404
            {"error":{"code":404,"message":"The emulator has nothing at this address","status":"NOT_FOUND"}}"#]],
            )
            .await;
        server.check("PUT /emulator/v1/projects/p:securityRules", "{}", expect![[r#"
            400
            {"error":{"code":400,"message":"Invalid JSON payload received. missing field `rules` at line 1 column 2","status":"INVALID_ARGUMENT"}}"#]]).await;
        server
            .check(
                "PUT /emulator/v1/projects/p:securityRules",
                r#"{"rules":{"files":[]}}"#,
                expect![[r#"
            400
            {"error":{"code":400,"message":"Rules are missing: rules.files is empty","status":"INVALID_ARGUMENT"}}"#]],
            )
            .await;
        server
            .check(
                "PUT /emulator/v1/projects/p%2Fq:securityRules",
                put,
                expect![[r#"
            400
            {"error":{"code":400,"message":"An id in the address holds a slash","status":"INVALID_ARGUMENT"}}"#]],
            )
            .await;
        server
            .check(
                "GET /emulator/v1/projects/p:ruleCoverage",
                "",
                expect![[r#"
            404
            {"error":{"code":404,"message":"The emulator has nothing at this address","status":"NOT_FOUND"}}"#]],
            )
            .await;
        let long = format!(r#"{{"rules":{{"files":[{{"content":"{}"}}]}}}}"#, "x".repeat(300_000));
        server.check("PUT /emulator/v1/projects/p:securityRules", &long, expect![[r#"
            400
            {"error":{"code":400,"message":"The rules have 300000 bytes, over the limit of 262144","status":"INVALID_ARGUMENT"}}"#]]).await;
    }

    const DOCUMENTS: &str = "/v1/projects/p/databases/(default)/documents";
    const SNAPSHOT: &str = "/emulator/v1/projects/p/snapshots/start";

    #[tokio::test]
    async fn a_snapshot_brings_back_what_there_was_and_leaves_alone_what_is_so_already() {
        let server = Server::dev();
        let number = |n: i64| format!(r#"{{"fields":{{"n":{{"integerValue":"{n}"}}}}}}"#);
        let done =
            |documents: usize, changed: usize| format!("200\n{{\"documents\":{documents},\"changed\":{changed}}}");
        for (path, n) in [("rooms/a", 1), ("rooms/b", 2), ("rooms/b/deep/c", 3)] {
            server.text(&format!("PATCH {DOCUMENTS}/{path}"), &number(n)).await;
        }
        let before = server.text(&format!("GET {DOCUMENTS}/rooms/a"), "").await;
        assert_eq!(server.text(&format!("POST {SNAPSHOT}"), "").await, done(3, 0));
        // Changed, deleted, and new.
        server.text(&format!("PATCH {DOCUMENTS}/rooms/b"), &number(9)).await;
        server.text(&format!("DELETE {DOCUMENTS}/rooms/b/deep/c"), "").await;
        server.text(&format!("PATCH {DOCUMENTS}/rooms/new"), &number(4)).await;
        assert_eq!(server.text(&format!("PUT {SNAPSHOT}"), "").await, done(3, 3));
        assert_eq!(server.text(&format!("GET {DOCUMENTS}/rooms/a"), "").await, before);
        assert!(server.text(&format!("GET {DOCUMENTS}/rooms/b"), "").await.contains(r#""integerValue":"2""#));
        assert!(server.text(&format!("GET {DOCUMENTS}/rooms/b/deep/c"), "").await.contains(r#""integerValue":"3""#));
        assert!(server.text(&format!("GET {DOCUMENTS}/rooms/new"), "").await.starts_with("404"));
        assert_eq!(server.text(&format!("PUT {SNAPSHOT}"), "").await, done(3, 0));
        // Each database has its own.
        let other = "/emulator/v1/projects/p/databases/other/snapshots/start";
        server.check(&format!("PUT {other}"), "", expect![[r#"
            404
            {"error":{"code":404,"message":"There is no snapshot start of projects/p/databases/other; POST saves one","status":"NOT_FOUND"}}"#]]).await;
        server
            .check(
                &format!("DELETE {SNAPSHOT}"),
                "",
                expect![[r#"
            200
            {}"#]],
            )
            .await;
        assert!(server.text(&format!("PUT {SNAPSHOT}"), "").await.starts_with("404"));
        assert!(server.text(&format!("POST {}", SNAPSHOT.replace("start", "__x__")), "").await.starts_with("400"));
    }

    #[tokio::test]
    async fn a_snapshot_is_never_more_than_one_commit_brings_back() {
        let limits = hearth_engine::Limits { commit_writes_max: 2, ..Default::default() };
        let server = Server::with(hearth_auth::Mode::Dev, hearth_engine::Access::Open, limits);
        for id in ["a", "b", "c"] {
            server.text(&format!("PATCH {DOCUMENTS}/rooms/{id}"), "{}").await;
        }
        server.check(&format!("POST {SNAPSHOT}"), "", expect![[r#"
            429
            {"error":{"code":429,"message":"projects/p/databases/(default) holds more than 2 documents or 10485760 bytes, which is the most that a snapshot keeps and one commit brings back","status":"RESOURCE_EXHAUSTED"}}"#]]).await;
    }

    #[tokio::test]
    async fn an_export_is_written_where_a_tool_on_this_machine_wants_it_and_over_nothing_else() {
        let server = Server::dev();
        server.text(&format!("PATCH {ROOM}"), r#"{"fields":{"n":{"integerValue":"7"}}}"#).await;
        let folder = tempfile::tempdir().unwrap();
        let post = "POST /emulator/v1/projects/p:export";
        let asked = |name: &str| {
            let (database, directory) = ("projects/p/databases/(default)", folder.path());
            serde_json::json!({"database": database, "export_directory": directory, "export_name": name}).to_string()
        };
        let exported = |name: &str| {
            let documents = crate::export::open(&folder.path().join(name)).unwrap();
            documents.map(|document| document.unwrap().fields["n"].clone()).collect::<Vec<_>>()
        };
        // The second time in place of the first.
        for n in [7, 8] {
            server.text(&format!("PATCH {ROOM}"), &format!(r#"{{"fields":{{"n":{{"integerValue":"{n}"}}}}}}"#)).await;
            assert_eq!(server.text(post, &asked("mine")).await, "200\n{}");
            assert_eq!(exported("mine"), [hearth_core::Value::Integer(n)]);
        }
        assert_eq!(server.text(post, &asked("")).await, "200\n{}");
        std::fs::create_dir(folder.path().join("photos")).unwrap();
        let occupied = server.text(post, &asked("photos")).await;
        assert!(occupied.starts_with("400") && occupied.contains("is there and no export"), "{occupied}");
        for name in ["..", "a/b", "/", "."] {
            let refused = server.text(post, &asked(name)).await;
            assert!(refused.starts_with("400") && refused.contains("is no name of an export"), "{refused}");
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "nothing half is left: {left:?}");
        server
            .check(
                post,
                r#"{"database":"projects/p/databases/(default)","export_name":"x"}"#,
                expect![[r#"
            400
            {"error":{"code":400,"message":"export_directory must be a directory","status":"FAILED_PRECONDITION"}}"#]],
            )
            .await;
        assert!(server.text(post, "{}").await.starts_with("400"));
        assert!(Server::serve().text(post, &asked("mine")).await.starts_with("404"));
        assert!(server.text(&format!("{post}\nPeer: serve"), &asked("mine")).await.starts_with("404"));
        assert!(server.text(&format!("{post}\nFrom: 192.168.1.7:9"), &asked("mine")).await.starts_with("403"));
    }

    #[tokio::test]
    async fn outside_of_development_there_is_no_such_surface() {
        let wipe = "DELETE /emulator/v1/projects/p/databases/(default)/documents";
        assert_eq!(Server::serve().text(wipe, "").await, "404\n");
        assert_eq!(Server::serve().text(&format!("POST {SNAPSHOT}"), "").await, "404\n");
        Server::dev()
            .check(
                &format!("{wipe}\nPeer: serve"),
                "",
                expect![[r#"
            404
            {"error":{"code":404,"message":"The emulator has nothing at this address","status":"NOT_FOUND"}}"#]],
            )
            .await;
    }
}
