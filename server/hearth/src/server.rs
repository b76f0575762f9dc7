//! `hearth dev` and `hearth serve`: from a configuration to a running server, and down again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::header;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use hearth_auth::{AdminKey, Mode, Tickets, mint};
use hearth_engine::{Access, Backing, DatabaseError, Engine, Options, Projects, SignedIn, ids};
use hearth_native::origin::Origins;
use hearth_native::problem::Problem;
use hearth_native::{Door, DoorOptions, Peer};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::args::ExecArgs;
use crate::config::Settings;
use crate::config::settings::Expose;
use crate::connections::{self, ConnectionLimits, Seats};
use crate::emulated::Folders;
use crate::exit::{Exit, say};
use crate::firebase::Firebase;
use crate::forwarded::Forwarded;
use crate::issuers::Keys;
use crate::place::Place;
use crate::public::Public;
use crate::signals::Signals;
use crate::tls::Tls;
use crate::{assets, emulated, exec, import, log, open};

/// How long connections may take to end when the server stops.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// How often old history is looked at.
const MAINTAIN_EVERY: Duration = Duration::from_secs(30);
/// How often it is said how far a database is that must be rebuilt.
const OPENING_SAID_EVERY: Duration = Duration::from_secs(5);
/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);
/// The project whose name stands in hints as long as nobody has named another.
const PROJECT_DEFAULT: &str = "demo";

/// Serves until a signal says stop.
pub(crate) async fn run(mode: Mode, settings: Settings) -> Result<(), Exit> {
    serve(mode, settings, None).await.map(drop)
}

/// Serves on this machine until a command has ended, and answers its code.
pub(crate) async fn run_command(args: &ExecArgs, mut settings: Settings) -> Result<u8, Exit> {
    // What is configured for a server that stays is not for this one.
    (settings.tls, settings.public) = (None, None);
    settings.project.get_or_insert_with(|| PROJECT_DEFAULT.into());
    serve(Mode::Dev, settings, Some(args)).await
}

/// A server as a command is to find it.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) project: String,
}

async fn serve(mode: Mode, mut settings: Settings, command: Option<&ExecArgs>) -> Result<u8, Exit> {
    if mode == Mode::Dev && settings.expose != Expose::Off && settings.listen_is_default {
        // To be exposed on this machine alone is not what anybody asks for.
        settings.listen.set_ip(Ipv4Addr::UNSPECIFIED.into());
    }
    // A command has a server of its own, whatever lies around it.
    let firebase = match mode == Mode::Dev && command.is_none() && settings.firebase_json {
        true => Firebase::read(Path::new("."))
            .map_err(|error| Exit::usage(format!("{error}; put it right, or start with --no-firebase-json")))?,
        false => None,
    };
    check(mode, &settings, settings.listen)?;
    let beside = firebase.as_ref().and_then(|firebase| firebase.listen).filter(|beside| {
        let listen = settings.listen;
        listen.port() != beside.port() || !(listen.ip() == beside.ip() || listen.ip().is_unspecified())
    });
    if let Some(beside) = beside {
        check(mode, &settings, beside)?;
    }
    let folders = Folders::of(&settings)?;
    raise_file_limit();
    let admin = admin_key(mode, &settings)?;
    // Before anything is opened, so that a port in use changes nothing.
    let listener = listen(settings.listen, "choose another with --listen")?;
    let beside =
        beside.map(|beside| listen(beside, "choose another in firebase.json, or start with --no-firebase-json"));
    let beside = beside.transpose()?;
    let address = listener.local_addr().map_err(Exit::start)?;
    let tls = settings.tls.clone().map(Tls::open).transpose().map_err(Exit::start)?;
    let public = settings.public.as_deref().map(Public::open).transpose();
    let public = public.map_err(|error| Exit::start(format!("--public: {error}")))?;

    let exposed_key = (settings.expose == Expose::Key && mode == Mode::Dev).then(|| mint::new_secret(ids::random()));
    let admin = match &exposed_key {
        Some(key) => Some(AdminKey::parse(key).expect("a new secret is a key")),
        None => admin,
    };
    let keys = Arc::new(Keys::open(&settings, admin)?);
    let (engine, ticket_key) = start_engine(mode, &settings).await?;
    seed(mode, &settings, &engine).await?;
    folders.bring_in(&settings, &engine, PROJECT_DEFAULT).await?;

    let is_exposed = mode == Mode::Dev && settings.expose != Expose::Off;
    let loopback = Origins { loopback_only: true, allowed: settings.allow_origin.clone() };
    let origins = match mode {
        Mode::Dev if is_exposed => Origins::default(),
        Mode::Dev => loopback.clone(),
        Mode::Serve => Origins { loopback_only: false, allowed: settings.cors_origins.clone() },
    };
    let door = Door::new(DoorOptions {
        engine: engine.clone(),
        gate: keys.clone(),
        mode,
        origins: origins.clone(),
        files: assets::file,
        tickets: Tickets::new(ticket_key, ids::random(), mode, keys.admin()),
        metrics_open: false,
    });
    let front = Front { public, loopback: is_exposed.then_some(loopback), expose: settings.expose };
    let firestore = hearth_firestore::Door::new(engine.clone(), keys.clone(), mode, settings.bounds);
    if let Some((content, name)) = firebase.as_ref().and_then(|firebase| firebase.rules.as_ref()) {
        firestore.keep_rules(name, content).map_err(|error| Exit::usage(format!("{name}: {}", error.message)))?;
    }
    let firestore_routes = only_for(origins, hearth_firestore::routes(firestore.clone()));
    let router = front.before(hearth_native::router(door.clone()).merge(firestore_routes));
    // Before everything else: what a proxy says of a request is what all others go by.
    let router = Forwarded::new(settings.behind_proxy.clone()).before(router);

    let mut signals = Signals::start()?;
    let (stop, stopped) = watch::channel(false);
    let seats = Seats::new(ConnectionLimits {
        total_max: settings.connections_max,
        per_address_max: settings.connections_per_address_max,
        proxies: settings.behind_proxy.clone(),
        idle_max: settings.connection_idle_max,
        unfinished_bytes_max: connections::UNFINISHED_BYTES_MAX,
    });
    let accept = |listener| connections::accept(listener, tls.clone(), router.clone(), seats.clone(), stopped.clone());
    let beside_at = beside.as_ref().and_then(|beside| beside.local_addr().ok());
    let accepting = tokio::spawn(accept(listener));
    let accepting_beside = beside.map(|beside| tokio::spawn(accept(beside)));
    let (refuse, mut refused) = oneshot::channel();
    let background = [
        tokio::spawn(open_databases(engine.clone(), refuse)),
        tokio::spawn(maintain(engine.clone())),
        tokio::spawn(keys.keep()),
        tokio::spawn(reload(tls.clone())),
    ];
    let ended = match command {
        Some(args) => {
            let project = settings.project.clone().unwrap_or_default();
            let ended = exec::run(args, &Running { address, project }).await;
            signals.forget();
            ended
        }
        None => {
            greet(mode, &settings, &engine, address, exposed_key.as_deref());
            if let Some(firebase) = &firebase {
                greet_firebase(firebase, beside_at);
            }
            tokio::select! {
                () = signals.next() => {
                    tracing::info!("stopping; a second signal ends at once");
                    Ok(0)
                }
                Ok(refusal) = &mut refused => {
                    tracing::error!("stopping, since a person has to decide");
                    Err(refusal)
                }
            }
        }
    };
    stop.send_replace(true);
    let stopping = async {
        for task in &background {
            task.abort();
        }
        // What is left of it ends with the runtime.
        let mut open = vec![accepting.await.map_err(Exit::failed)?];
        if let Some(accepting) = accepting_beside {
            open.push(accepting.await.map_err(Exit::failed)?);
        }
        door.stop();
        firestore.stop();
        let left = match folders.export.is_some() && ended.is_ok() {
            true => leave(&folders, &engine).await,
            false => Ok(()),
        };
        let closing = engine.clone();
        let closing = tokio::task::spawn_blocking(move || closing.close());
        if tokio::time::timeout(DRAIN_TIME_MAX, seats.empty()).await.is_err() {
            tracing::warn!("some connections did not end in {} s and are cut off", DRAIN_TIME_MAX.as_secs());
        }
        open.iter_mut().for_each(JoinSet::abort_all);
        closing.await.map_err(Exit::failed)?;
        left
    };
    tokio::select! {
        stopped = stopping => stopped?,
        () = signals.next() => return Err(Exit::failed("ended by a second signal; nothing acknowledged is lost")),
    }
    tracing::info!("stopped");
    ended
}

/// Each connection is a file to the system, which by default allows a process fewer of them than it could.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

fn listen(address: SocketAddr, otherwise: &str) -> Result<TcpListener, Exit> {
    connections::listen(address).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("; another program has it: stop that one, or {otherwise}"),
            _ => String::new(),
        };
        Exit::start(format!("cannot listen on {address}: {error}{hint}"))
    })
}

/// Refuses what is not safe, before anything is opened.
fn check(mode: Mode, settings: &Settings, listen: SocketAddr) -> Result<(), Exit> {
    let is_local = listen.ip().to_canonical().is_loopback();
    match mode {
        Mode::Dev if !is_local && settings.expose == Expose::Off => Err(Exit::usage(format!(
            "{listen} can be reached from other machines, and a dev server is open to whoever reaches it; \
             --expose lets others in with a key that is generated"
        ))),
        Mode::Dev if settings.expose == Expose::Unsafe && !settings.ephemeral && open::was_served(&settings.data) => {
            Err(Exit::usage(format!(
                "hearth serve has used {}, so it is not opened to everybody; use --expose without =unsafe, or another directory",
                settings.data.display()
            )))
        }
        Mode::Serve if !is_local && settings.tls.is_none() && settings.behind_proxy.is_empty() => {
            Err(Exit::usage(format!(
                "{listen} can be reached from other machines, and without TLS everybody on the way reads every token; \
                 give --tls-cert and --tls-key, or name the proxy that does TLS with --behind-proxy CIDR"
            )))
        }
        Mode::Serve if settings.seed.is_some() => Err(Exit::usage("a seed is for hearth dev; use hearth import")),
        Mode::Serve if settings.import.is_some() || settings.export_on_exit.is_some() => {
            Err(Exit::usage("import and export_on_exit are for hearth dev; use hearth import and hearth export"))
        }
        Mode::Dev | Mode::Serve => Ok(()),
    }
}

/// The admin key that is configured. Serving needs it, or issuers.
fn admin_key(mode: Mode, settings: &Settings) -> Result<Option<AdminKey>, Exit> {
    let (text, from) = match (&settings.admin_key, &settings.admin_key_file) {
        (Some(key), _) => (Some(key.0.clone()), "HEARTH_ADMIN_KEY".to_string()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Exit::start(format!("{}: {error}", path.display())))?;
            warn_if_readable(path);
            (Some(text), path.display().to_string())
        }
        (None, None) => (None, String::new()),
    };
    match text {
        Some(text) => {
            let key = AdminKey::parse(&text);
            key.map(Some).map_err(|error| Exit::usage(format!("{from}: {error}; `hearth token --admin-key` makes one")))
        }
        None if mode == Mode::Serve && settings.issuers.is_empty() => Err(Exit::usage(
            "nobody could ever sign in: there is neither an admin key nor an issuer of tokens.\n\
             Make an admin key:    hearth token --admin-key > admin-key && chmod 600 admin-key\n\
             and serve with it:    hearth serve --admin-key-file admin-key\n\
             or set HEARTH_ADMIN_KEY, or configure [[issuers]] in hearth.toml",
        )),
        None => Ok(None),
    }
}

/// Says so where others on this machine may read a file with a secret.
fn warn_if_readable(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path)
        && std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
    {
        let path = path.display();
        tracing::warn!("{path} may be read by others on this machine; chmod 600 {path} keeps it from them");
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Starts the engine, and gives the key of tickets along.
async fn start_engine(mode: Mode, settings: &Settings) -> Result<(Engine, [u8; 32]), Exit> {
    let known = settings.projects.iter().chain(&settings.project).cloned().collect();
    let options = Options {
        limits: settings.limits.clone(),
        access: match mode {
            Mode::Dev => Access::Open,
            Mode::Serve => Access::Closed { signed_in: settings.signed_in },
        },
        projects: if mode == Mode::Dev { Projects::Any } else { Projects::Known(known) },
        default_project: settings.project.clone(),
    };
    if settings.ephemeral {
        return Ok((open::start(Backing::Memory, options)?, ids::random()));
    }
    if settings.existing {
        open::expect_existing(&settings.data)?;
    }
    let is_new = !open::is_there(&settings.data);
    let home = open::home(&settings.data)?;
    if mode == Mode::Serve {
        if is_new {
            let folder = settings.data.display();
            tracing::warn!("{folder} was empty and is a new data directory now; --existing refuses to begin one");
        }
        open::mark_served(&settings.data)?;
    }
    let ticket_key = open::ticket_key(&settings.data)?;
    Ok((open::start(Backing::Disk(Box::new(home)), options)?, ticket_key))
}

/// Imports the seed where there is nothing yet.
async fn seed(mode: Mode, settings: &Settings, engine: &Engine) -> Result<(), Exit> {
    let Some(path) = settings.seed.as_deref().filter(|_| mode == Mode::Dev) else { return Ok(()) };
    let project = engine.claim_default_project(PROJECT_DEFAULT);
    let database = emulated::open_database(engine, &project).await?;
    let mut place = Place::of(engine.clone(), database);
    let (_, items) = place.page(None, None, None).await?;
    if !items.is_empty() {
        tracing::info!("there are documents already, so the seed is left alone");
        return Ok(());
    }
    let done = import::seed(&mut place, path).await?;
    say(format_args!("  seeded with {} documents of {}", done.documents, path.display()));
    Ok(())
}

/// Exports what everybody was told is done: after this nobody writes any more.
async fn leave(folders: &Folders, engine: &Engine) -> Result<(), Exit> {
    let project = engine.claim_default_project(PROJECT_DEFAULT);
    let database = emulated::open_database(engine, &project).await?;
    let ending = engine.clone();
    tokio::task::spawn_blocking(move || ending.end_writes()).await.map_err(Exit::failed)?;
    folders.leave(&database, &engine.database_names()).await
}

/// Lets only those in whom the native door would let in too: doors of other protocols answer pages of any origin.
fn only_for(origins: Origins, router: Router) -> Router {
    let origins = Arc::new(origins);
    router.layer(from_fn(move |request: Request, next: Next| {
        let checked = check_origin(&origins, &request);
        async move {
            match checked {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        }
    }))
}

fn check_origin(origins: &Origins, request: &Request) -> Result<(), Problem> {
    // What is no text is no name that is served.
    let text = |name: header::HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).or(request.uri().authority().map(|authority| authority.as_str()));
    origins.check(host, text(header::ORIGIN))
}

/// What stands before the door: who a peer is to a dev server that others reach, and files of a folder.
#[derive(Clone)]
struct Front {
    public: Option<Public>,
    /// On an exposed dev server: what is asked of peers on this machine, who get in without a key.
    loopback: Option<Origins>,
    expose: Expose,
}

impl Front {
    fn before(self, router: Router) -> Router {
        if self.public.is_none() && self.loopback.is_none() {
            return router;
        }
        let front = Arc::new(self);
        router.layer(from_fn(move |request: Request, next: Next| {
            let front = front.clone();
            async move { front.answer(request, next).await }
        }))
    }

    async fn answer(&self, mut request: Request, next: Next) -> Response {
        if let Some(loopback) = &self.loopback {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
            if peer.is_some_and(|peer| peer.is_loopback()) {
                // A page elsewhere may have had its own name point here: to it this machine is not open.
                if let Err(problem) = check_origin(loopback, &request) {
                    return problem.into_response();
                }
            } else if self.expose == Expose::Key {
                request.extensions_mut().insert(Peer(Mode::Serve));
                request.extensions_mut().insert(hearth_firestore::Peer(Mode::Serve));
            }
        }
        if let Some(public) = &self.public
            && let Some(answer) = public.answer(request.method(), request.uri(), request.headers()).await
        {
            return answer;
        }
        next.run(request).await
    }
}

/// Says where the server is, and what to do with it. The line that begins with `hearth: listening on` is for scripts.
fn greet(mode: Mode, settings: &Settings, engine: &Engine, address: SocketAddr, key: Option<&str>) {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    say(format_args!("hearth: listening on {scheme}://{address}"));
    // An address that stands for all of them is none to open.
    let host = if address.ip().is_unspecified() { "localhost".to_string() } else { address.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("{scheme}://{host}:{}", address.port());
    let data = match settings.ephemeral {
        true => "in memory, gone when this ends".to_string(),
        false => std::path::absolute(&settings.data).unwrap_or(settings.data.clone()).display().to_string(),
    };
    say(format_args!("  data      {data}"));
    match engine.default_project() {
        Some(project) => say(format_args!("  project   {project}")),
        None if mode == Mode::Dev => say(format_args!("  project   the first that is named, else {PROJECT_DEFAULT}")),
        None => {
            say(format_args!("  project   none: name one with --project, or addresses name it as in /p/PROJECT/db"))
        }
    }
    match mode {
        Mode::Dev => {
            say(format_args!("  demo      {url}/demo (open it twice)"));
            say(format_args!("  data API  curl {url}/db/messages --json '{{\"text\": \"hi\"}}'"));
            say(format_args!("  live      curl -N -H 'Accept: text/event-stream' {url}/db/messages"));
        }
        Mode::Serve => match settings.signed_in {
            SignedIn::Nothing => say(format_args!("  access    the admin key only")),
            signed_in => {
                let may = if signed_in == SignedIn::Read { "read" } else { "read and write" };
                say(format_args!("  access    whoever is signed in may {may} everything"));
                tracing::warn!("[access] signed_in: every user who is signed in may {may} every document");
            }
        },
    }
    if mode == Mode::Serve && settings.ephemeral {
        tracing::warn!("--ephemeral: nothing is kept on disk");
    }
    let red = |text: &str| match log::is_coloured(&std::io::stdout()) {
        true => say(format_args!("\x1b[1;31m{text}\x1b[0m")),
        false => say(text),
    };
    match (mode, settings.expose, key) {
        (Mode::Dev, Expose::Key, Some(key)) => {
            red("  Other machines can reach this server. They need the header");
            red(&format!("  Authorization: Bearer {key}"));
        }
        (Mode::Dev, Expose::Unsafe, _) => red("  Whoever reaches this server can read and change everything in it."),
        _ => {}
    }
}

/// Says what was taken from firebase.json, and what was not.
fn greet_firebase(firebase: &Firebase, beside: Option<SocketAddr>) {
    if let Some(beside) = beside {
        say(format_args!("  firebase  also listening on {beside}, as firebase.json says"));
    }
    if let Some((_, name)) = &firebase.rules {
        say(format_args!("  rules     {name} is kept and not evaluated yet: everybody may do everything"));
    }
    if let Some((count, name)) = &firebase.indexes {
        say(format_args!("  indexes   {count} of {name}, none of which is needed: every query is answered without"));
    }
    if !firebase.others.is_empty() {
        say(format_args!(
            "  not here  emulators of firebase.json that Hearth does not serve: {}",
            firebase.others.join(", ")
        ));
    }
}

/// Opens what is there before anybody asks for it, and says how far that is where it takes its time. Where the clock does
/// not fit what is there, a person has to say which of the two is right, and until then nothing is served.
async fn open_databases(engine: Engine, refuse: oneshot::Sender<Exit>) {
    let opening = engine.clone();
    let mut opening = tokio::task::spawn_blocking(move || opening.open_all());
    loop {
        tokio::select! {
            opened = &mut opening => {
                let failed = opened.unwrap_or_default();
                let clock = failed.into_iter().find(|(_, error)| matches!(error, DatabaseError::ClockBehind { .. }));
                if let Some((name, error)) = clock {
                    // Nobody listens when the server stops anyway.
                    let _ = refuse.send(Exit::start(format!("{}/{}: {error}", name.project(), name.database())));
                    return;
                }
                break;
            }
            () = tokio::time::sleep(OPENING_SAID_EVERY) => {}
        }
        for (name, progress) in engine.opening() {
            tracing::info!(%name, percent = progress.percent(), "rebuilding from its snapshot and log");
        }
    }
    // A snapshot that was lost or found damaged is written again at once; what was opened hangs on one thing less.
    if let Err(error) = tokio::task::spawn_blocking(move || engine.maintain()).await {
        tracing::error!(%error, "maintenance ended early");
    }
}

async fn maintain(engine: Engine) {
    let mut ticks = tokio::time::interval(MAINTAIN_EVERY);
    loop {
        ticks.tick().await;
        let engine = engine.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || engine.maintain()).await {
            tracing::error!(%error, "maintenance ended early");
        }
    }
}

async fn reload(tls: Option<Tls>) {
    let Some(tls) = tls else { return };
    let mut ticks = tokio::time::interval(CERTIFICATES_EVERY);
    let mut said = None;
    loop {
        ticks.tick().await;
        let tls = tls.clone();
        let Ok(reloaded) = tokio::task::spawn_blocking(move || tls.reload()).await else { continue };
        match &reloaded {
            Ok(true) => tracing::info!("took the changed certificate"),
            Err(error) if said.as_ref() != Some(error) => {
                tracing::error!(%error, "the certificate cannot be taken; the old one stays");
            }
            Ok(false) | Err(_) => {}
        }
        said = reloaded.err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;

    /// Whom the door takes a peer for that came to `host`.
    async fn check(expose: Expose, peer: &str, host: &str, want: &str) {
        let loopback = Origins { loopback_only: true, allowed: vec!["https://app.example".into()] };
        let front = Front { public: None, loopback: Some(loopback), expose };
        let door = Router::new().fallback(|request: Request| async move {
            match request.extensions().get::<Peer>() {
                Some(Peer(mode)) => format!("{mode:?}"),
                None => "the door's own".to_string(),
            }
        });
        let mut request = Request::get("/db").header(header::HOST, host).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        let service = hyper_util::service::TowerToHyperService::new(front.before(door));
        let answer = hyper::service::Service::call(&service, request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
        let got =
            if status == StatusCode::OK { String::from_utf8_lossy(&body).into_owned() } else { status.to_string() };
        assert_eq!(got, want, "{expose:?} {peer} {host}");
    }

    #[tokio::test]
    async fn an_exposed_server_opens_itself_to_this_machine_and_to_others_by_key() {
        let (ours, foreign) = ("127.0.0.1:8080", "evil.example");
        check(Expose::Key, "127.0.0.1", ours, "the door's own").await;
        check(Expose::Key, "::ffff:127.0.0.1", ours, "the door's own").await;
        check(Expose::Key, "127.0.0.1", foreign, "403 Forbidden").await;
        check(Expose::Key, "192.168.1.7", ours, "Serve").await;
        check(Expose::Key, "192.168.1.7", foreign, "Serve").await;
        check(Expose::Unsafe, "192.168.1.7", foreign, "the door's own").await;
        check(Expose::Unsafe, "::1", foreign, "403 Forbidden").await;
    }
}
