//! A small server around the links, for their tests: an engine in memory, and tokens that say whom they mean.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse as _, Response};
use hearth_auth::{Caller, TokenError, User};
use hearth_core::{DatabaseName, Map};
use hearth_engine::{Access, Backing, Engine, Limits, ManualClock, Options, Projects};
use http_body_util::BodyExt as _;
use tokio::sync::watch;

use super::Setting;
use crate::links::{self, Links};
use crate::problem::Problem;
use crate::socket;

/// The time at which every test begins, in microseconds.
pub(crate) const START: u64 = 1_000_000_000;

#[derive(Clone)]
pub(crate) struct House {
    pub(crate) setting: Setting,
    pub(crate) links: Links,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) stopping: watch::Sender<bool>,
}

impl House {
    pub(crate) fn open() -> Self {
        Self::of(Limits::default(), Access::Open)
    }

    pub(crate) fn of(limits: Limits, access: Access) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let options = Options { limits, access, projects: Projects::Any, default_project: None };
        let (engine, _) = Engine::start(Backing::Memory, options, clock.clone()).unwrap();
        let database = engine.database(&DatabaseName::parse("demo", "(default)").unwrap()).unwrap();
        let links = Links::new(&engine);
        let (stopping, stopped) = watch::channel(false);
        Self {
            setting: Setting { engine, database, admit: Arc::new(admit), stopping: stopped },
            links,
            clock,
            stopping,
        }
    }

    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// Serves on a loopback port.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Closes the engine, as a server does when nothing is open any more.
    pub(crate) async fn close(&self) {
        let engine = self.setting.engine.clone();
        tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
    }
}

/// A token is a name, perhaps with the second in which it ends: `ada@2000`.
fn admit(token: &str) -> Result<Caller, Problem> {
    let (uid, end) = token.split_once('@').map_or((token, None), |(uid, end)| (uid, Some(end)));
    if uid == "bad" {
        return Err(TokenError::BadSignature.into());
    }
    let expires_seconds = end.map(|end| end.parse().unwrap());
    Ok(Caller::user(User { uid: uid.into(), issuer: "test".into(), claims: Map::new(), expires_seconds }))
}

async fn answer(State(house): State<House>, request: Request<Body>) -> Response {
    match try_answer(&house, request).await {
        Ok(response) => response,
        Err(problem) => {
            let mut response = (problem.status, problem.to_json(None).to_string()).into_response();
            response.headers_mut().extend(problem.headers);
            response
        }
    }
}

async fn try_answer(house: &House, request: Request<Body>) -> Result<Response, Problem> {
    let House { setting, links, .. } = house;
    let (mut parts, body) = request.into_parts();
    let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let caller = token.map_or(Ok(Caller::Anonymous), |token| (setting.admit)(token))?;
    let path = parts.uri.path().to_owned();
    if path == "/db" {
        return socket::upgrade(setting.clone(), caller, &mut parts).await;
    }
    let body = body.collect().await.unwrap().to_bytes();
    let (base, id) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let name = base.split_once('@').map_or("(default)", |(_, name)| name);
    let database = DatabaseName::parse("demo", name).unwrap();
    match (parts.method, id) {
        (Method::POST, "") => links::open(links, setting.clone(), caller, &path, &parts.headers, &body),
        (Method::POST, id) => links::send(links, &database, &caller, id, &parts.headers, &body).await,
        (_, id) => links::end(links, &database, &caller, id).await,
    }
}

/// Waits for something that must come soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it comes soon")
}

/// A message to a client in short. The first commit of a test has version 1, what was before has 0.
pub(crate) fn short(message: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(message).unwrap();
    let mut text = format!("{} {}", json["ev"].as_str().unwrap(), json["id"]);
    if let Some(version) = json["version"].as_str() {
        let version: u64 = version.parse().unwrap();
        text += &format!(" @{}", (version + 1).saturating_sub(START));
    }
    if let Some(uid) = json["uid"].as_str() {
        text += &format!(" {uid}");
    }
    for list in ["changes", "docs"] {
        match json[list].as_array() {
            Some(items) if !items.is_empty() => text += &format!(" {} {list}", items.len()),
            _ => {}
        }
    }
    if json["reset"] == true {
        text += " reset";
    }
    if let Some(part) = json["part"].as_u64() {
        text += &format!(" part {part}");
    }
    if json["more"] == true {
        text += " more";
    }
    if let Some(detail) = json["problem"]["detail"].as_str() {
        text += &format!(" ({detail})");
    }
    text
}
