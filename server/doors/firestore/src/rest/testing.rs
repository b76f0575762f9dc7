//! The door before an engine in memory: a request as it comes, the answer as it goes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use expect_test::Expect;
use hearth_auth::{Caller, Mode, TokenError, User};
use hearth_core::Map;
use hearth_engine::{Access, Backing, Engine, Limits, ManualClock, Options, Projects, SignedIn};
use tower::ServiceExt as _;

use crate::bounds::Bounds;
use crate::serve::Peer;
use crate::service::{Authenticate, Door};

/// 2026-01-01, in microseconds.
const NOW: u64 = 1_767_225_600_000_000;

/// Believes `owner` and `ada`, and that `old` has expired.
struct Names;

impl Authenticate for Names {
    fn caller(&self, _: Mode, credential: Option<&str>, _: u64) -> Result<Caller, TokenError> {
        match credential {
            None => Ok(Caller::Anonymous),
            Some("owner") => Ok(Caller::Admin),
            Some("ada") => {
                let user = User { uid: "ada".into(), issuer: "i".into(), claims: Map::new(), expires_seconds: None };
                Ok(Caller::user(user))
            }
            Some("old") => Err(TokenError::Expired),
            Some(_) => Err(TokenError::Malformed),
        }
    }
}

pub(crate) struct Server {
    router: Router,
    /// Stands until it is told to go on.
    pub(crate) clock: Arc<ManualClock>,
}

impl Server {
    /// Everybody may do everything.
    pub(crate) fn dev() -> Self {
        Self::with(Mode::Dev, Access::Open, Limits::default())
    }

    /// Who has signed in may read, an admin everything.
    pub(crate) fn serve() -> Self {
        Self::with(Mode::Serve, Access::Closed { signed_in: SignedIn::Read }, Limits::default())
    }

    pub(crate) fn with(mode: Mode, access: Access, limits: Limits) -> Self {
        let options = Options { limits, access, projects: Projects::Any, default_project: None };
        let clock = Arc::new(ManualClock::at(NOW));
        let (engine, _) = Engine::start(Backing::Memory, options, clock.clone()).unwrap();
        let door = Door::new(engine, Arc::new(Names), mode, Bounds::Relaxed);
        Self { router: crate::routes(door), clock }
    }

    /// `request` is a method and an address, and on further lines headers. The headers `Peer` and `From` are what whoever
    /// accepts connections says.
    pub(crate) async fn ask(&self, request: &str, body: impl Into<Body>) -> Response {
        let mut lines = request.lines();
        let (method, address) = lines.next().unwrap().split_once(' ').unwrap();
        let mut built = axum::http::Request::builder().method(method).uri(address.trim());
        for line in lines {
            built = match line.trim().split_once(": ").unwrap() {
                ("Peer", _) => built.extension(Peer(Mode::Serve)),
                ("From", address) => built.extension(ConnectInfo(address.parse::<SocketAddr>().unwrap())),
                (name, value) => built.header(name, value),
            };
        }
        self.router.clone().oneshot(built.body(body.into()).unwrap()).await.unwrap()
    }

    /// The status and the body of an answer.
    pub(crate) async fn text(&self, request: &str, body: &str) -> String {
        let response = self.ask(request, body.to_owned()).await;
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        format!("{status}\n{}", std::str::from_utf8(&bytes).unwrap())
    }

    pub(crate) async fn check(&self, request: &str, body: &str, want: Expect) {
        want.assert_eq(&self.text(request, body).await);
    }

    /// The body of an answer that must be good.
    pub(crate) async fn json(&self, request: &str, body: &str) -> serde_json::Value {
        let text = self.text(request, body).await;
        serde_json::from_str(text.strip_prefix("200\n").unwrap_or_else(|| panic!("{request}: {text}"))).unwrap()
    }
}
