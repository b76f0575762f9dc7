//! Connections: one port that takes HTTP/1.1, HTTP/2 and upgrades, with limits that hold before a request is understood.
//!
//! hyper-util's own choice between the two versions waits for the first bytes without end, so the choice is made here,
//! under the same time limit as the headers.

mod answering;
mod unfinished;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request};
use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::config::settings::Network;
use crate::tls::Tls;
use answering::{Answering, Asked, Stage};
use unfinished::Unfinished;

/// How long a peer may take for a TLS handshake, and for its first bytes.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the headers of one request, its address included.
const HEADERS_BYTES_MAX: usize = 64 << 10;
/// Header lines of one request.
const HEADERS_MAX: usize = 100;
/// Requests that one HTTP/2 connection may have open. All of Firestore's clients in one process of Node share a connection, two
/// streams each that stay for a minute, and wait in silence where it is full.
const STREAMS_MAX: u32 = 4_096;
/// What [`ConnectionLimits::unfinished_bytes_max`] is. In memory it was up to twice as much (half messages of 10 MiB on 2,048 streams:
/// a peak of 568 MiB, and 8 GiB without).
pub(crate) const UNFINISHED_BYTES_MAX: usize = 256 << 20;
/// Streams that a peer may have reset before we looked at them; beyond that it is attacking. Source: CVE-2023-44487.
const STREAMS_RESET_MAX: usize = 64;
/// How long a peer may take nothing of what is sent to it. Whoever stalls for longer is cut off, whatever it listens to.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// How long a peer that has said all it wants may wait for the answer: longer than any answer is held.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long it may take from the last byte of a peer that says no more until whoever answers has read it. Where it has not
/// by then, the request is cut off in its middle.
const LAST_BYTES_MAX: Duration = Duration::from_secs(5);
/// How often a silent HTTP/2 peer is asked for a sign of life, and how long it may take to give one.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Connections that may wait to be accepted; the system may allow fewer. When a server starts again its clients come all
/// at once, and whoever finds no place here tries again only after a second.
const WAITING_MAX: u32 = 4_096;
/// How long nothing is accepted after the system could not give a connection, most likely for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that connections are refused.
const REFUSED_EVERY: Duration = Duration::from_secs(10);
/// What an HTTP/2 connection begins with. Source: RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many connections there may be.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) total_max: usize,
    /// Of one address, or one IPv6 network of 64 bits. Connections of this machine and of trusted proxies do not count.
    pub(crate) per_address_max: usize,
    pub(crate) proxies: Vec<Network>,
    /// How long a connection of HTTP/1.1 may go without a request, or take for the headers of one. Browsers and proxies keep
    /// connections for a minute or longer, and one that is closed just when it is used again costs them a failed request.
    pub(crate) idle_max: Duration,
    /// Bytes of messages that have not come whole, over all requests of one HTTP/2 connection.
    pub(crate) unfinished_bytes_max: usize,
}

#[cfg(test)]
impl ConnectionLimits {
    /// Limits for tests of something else.
    pub(crate) fn of_a_test() -> Self {
        let (idle_max, unfinished_bytes_max) = (HEADERS_TIME_MAX, UNFINISHED_BYTES_MAX);
        Self { total_max: 9, per_address_max: 9, proxies: Vec::new(), idle_max, unfinished_bytes_max }
    }
}

/// All connections that are open, upgraded ones included.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    inner: Arc<SeatsInner>,
}

#[derive(Debug)]
struct SeatsInner {
    limits: ConnectionLimits,
    // Held to count one connection in or out.
    taken: Mutex<HashMap<IpAddr, usize>>,
    total: watch::Sender<usize>,
}

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    group: Option<IpAddr>,
}

impl Seats {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let inner = SeatsInner { limits, taken: Mutex::default(), total: watch::Sender::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// A seat for a connection of this peer, unless too many are taken.
    fn take(&self, peer: IpAddr) -> Option<Seat> {
        let limits = &self.inner.limits;
        let group = group(peer, &limits.proxies);
        let mut taken = self.taken();
        if *self.inner.total.borrow() >= limits.total_max {
            return None;
        }
        if let Some(group) = group {
            let count = taken.entry(group).or_default();
            if *count >= limits.per_address_max {
                return None;
            }
            *count += 1;
        }
        self.inner.total.send_modify(|total| *total += 1);
        Some(Seat { seats: self.clone(), group })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every connection has ended.
    pub(crate) async fn empty(&self) {
        // The sender lives in `self`.
        let _ = self.inner.total.subscribe().wait_for(|total| *total == 0).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(group) = self.group
            && let Some(count) = taken.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                taken.remove(&group);
            }
        }
        self.seats.inner.total.send_modify(|total| *total -= 1);
    }
}

/// Whose connections are counted together; none where they are not counted.
fn group(peer: IpAddr, proxies: &[Network]) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if peer.is_loopback() || proxies.iter().any(|network| network.holds(peer)) {
        return None;
    }
    Some(match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    })
}

/// Listens on an address. Must be called within a runtime.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that starts again gets its port although connections of the last one are not quite over. Elsewhere this
    // would mean that two may have one port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

/// Accepts connections until `stop` says so, and answers their requests. On return nothing more is accepted; those that
/// are open go on until they have answered what was asked, and [`Seats::empty`] waits for them.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    seats: Seats,
    mut stop: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut refused = None;
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => return tasks,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seats.take(peer.ip()) else {
            // Not for each of them: whoever floods the port should not flood the log as well.
            if refused.is_none_or(|said: Instant| said.elapsed() >= REFUSED_EVERY) {
                tracing::warn!(%peer, "refused a connection: limits.connections_max or limits.connections_per_address_max are open");
                refused = Some(Instant::now());
            }
            continue;
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = connection(socket, peer, seat, tls, router, stop).await {
                tracing::debug!(%peer, error = &*error, "a connection ended");
            }
        });
    }
}

/// Returns when the server is to stop, or when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The value that was waited for is a lock, and must not be held by whoever waits.
    let _ = stop.wait_for(|stop| *stop).await.map(drop);
}

/// Whether a failed accept says something about that one connection only.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    tls: Option<Tls>,
    router: Router,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    match tls {
        None => begun(socket, peer, seat, router, stop).await,
        Some(tls) => {
            let stream = tokio::time::timeout(HEADERS_TIME_MAX, tls.acceptor().accept(socket)).await??;
            begun(stream, peer, seat, router, stop).await
        }
    }
}

async fn begun<S>(
    mut stream: S,
    peer: SocketAddr,
    seat: Seat,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let read = tokio::select! {
        read = tokio::time::timeout(HEADERS_TIME_MAX, first_bytes(&mut stream)) => read,
        () = stopped(&mut stop) => return Ok(()),
    };
    let Some(first) = read?? else { return Ok(()) };
    let idle_max = seat.seats.inner.limits.idle_max;
    let is_http2 = first == PREFACE;
    let answering = Answering::default();
    let unfinished = Unfinished::new(seat.seats.inner.limits.unfinished_bytes_max);
    let io = TokioIo::new(Begun::new(first, stream, answering.clone(), seat));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        // Of HTTP/2 several requests share a connection, and its frames say themselves how each of them ends.
        let under_way = (!is_http2).then(|| answering.begin());
        let held = is_http2.then(|| unfinished.begin(is_grpc(request.headers())));
        let answer = router.call(request.map(|body| Asked::new(body, under_way.clone(), held)));
        async move { answer.await.map(|response| answering::until_sent(response, under_way)) }
    });
    // Both kinds of connection stop in the same way, and share no trait that says so.
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => ended?,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await?;
                }
            }
        }};
    }
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(STREAMS_RESET_MAX)
            .max_header_list_size(HEADERS_BYTES_MAX as u32)
            .keep_alive_interval(SILENCE_MAX)
            .keep_alive_timeout(SILENCE_MAX);
        drive!(builder.serve_connection(io, service));
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(idle_max)
            .max_buf_size(HEADERS_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // Who leaves is noticed at once; that who only stops speaking gets its answer, `Begun` sees to.
            .half_close(false);
        drive!(builder.serve_connection(io, service).with_upgrades());
    }
    Ok(())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Reads until it is known whether they are HTTP/2's; none where the peer left without a word.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::with_capacity(PREFACE.len());
    loop {
        // Never more than the preface, so that what was read is all of it or the beginning of a request.
        let left = PREFACE.len() - bytes.len();
        let read = (&mut *stream).take(left as u64).read_buf(&mut bytes).await?;
        if read == 0 && bytes.is_empty() {
            return Ok(None);
        }
        if read == 0 || bytes.len() == PREFACE.len() || !PREFACE.starts_with(&bytes) {
            return Ok(Some(bytes.into()));
        }
    }
}

/// A stream of which the first bytes were read already. Holds the connection's seat as long as anybody has the stream.
///
/// hyper takes the end of what a peer says for its leaving, and gives up the answer that is under way. Many a small
/// program stops speaking and waits, so the end is kept back until it has been answered.
struct Begun<S> {
    first: Bytes,
    stream: S,
    answering: Answering,
    /// Set since the peer says no more.
    silent: Option<Silent>,
    /// Set since the peer takes nothing: until when that is borne.
    stalled: Option<Pin<Box<Sleep>>>,
    _seat: Seat,
}

/// That a peer says no more.
struct Silent {
    /// Until when that is kept back.
    wait: Pin<Box<Sleep>>,
    /// Whether its last request has come whole.
    was_understood: bool,
}

impl<S> Begun<S> {
    fn new(first: Bytes, stream: S, answering: Answering, seat: Seat) -> Self {
        Self { first, stream, answering, silent: None, stalled: None, _seat: seat }
    }

    /// Passes on what became of sending, unless nothing has become of it for too long.
    fn sent<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED_MAX)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing any more")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..count]);
            self.first.advance(count);
            return Poll::Ready(Ok(()));
        }
        if self.silent.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            self.silent = Some(Silent { wait: Box::pin(tokio::time::sleep(LAST_BYTES_MAX)), was_understood: false });
        }
        let stage = match self.answering.stage(context) {
            Stage::Over if self.stalled.is_some() => Stage::Answering,
            stage => stage,
        };
        let Some(silent) = self.silent.as_mut().filter(|_| stage != Stage::Over) else { return Poll::Ready(Ok(())) };
        if stage == Stage::Answering && !silent.was_understood {
            silent.was_understood = true;
            silent.wait.as_mut().reset(tokio::time::Instant::now() + LAST_ANSWER_MAX);
        }
        silent.wait.as_mut().poll(context).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(context, sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(context);
        self.sent(context, sent)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_shutdown(context);
        self.sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.sent(context, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::AsyncWriteExt as _;

    fn limits(total_max: usize, per_address_max: usize) -> ConnectionLimits {
        let proxies = vec![Network::parse("10.0.0.0/8").unwrap()];
        let idle_max = Duration::from_secs(75);
        ConnectionLimits { total_max, per_address_max, proxies, idle_max, unfinished_bytes_max: 100_000 }
    }

    #[test]
    fn seats_are_counted_by_address_and_in_all() {
        let seats = Seats::new(limits(5, 2));
        let take = |address: &str| seats.take(address.parse().unwrap());
        let (a, _b) = (take("1.1.1.1").unwrap(), take("1.1.1.1").unwrap());
        assert!(take("1.1.1.1").is_none(), "a third of one address");
        drop(a);
        let _c = take("::ffff:1.1.1.1").unwrap();
        assert!(take("1.1.1.1").is_none(), "IPv4 over IPv6 is the same address");
        let _d = (take("127.0.0.1").unwrap(), take("10.1.1.1").unwrap(), take("10.1.1.1").unwrap());
        assert!(take("2.2.2.2").is_none(), "five in all");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let seats = Seats::new(limits(9, 1));
        let take = |address: &str| seats.take(address.parse().unwrap());
        let _a = take("2001:db8::1").unwrap();
        assert!(take("2001:db8::2").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
    }

    async fn start() -> (SocketAddr, watch::Sender<bool>, Seats, tokio::task::JoinHandle<JoinSet<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }));
        let seats = Seats::new(limits(100, 100));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, None, router, seats.clone(), stopped));
        (address, stop, seats, task)
    }

    #[tokio::test]
    async fn hundreds_may_come_at_once_and_wait_to_be_accepted() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts: one that found no place would never be connected.
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
        let waiting: Vec<std::net::TcpStream> = (0..300).map(|_| connect()).collect();
        assert_eq!(waiting.len(), 300);
    }

    #[tokio::test]
    async fn both_versions_of_http_are_spoken_on_one_port_and_stopping_ends_idle_connections() {
        let (address, stop, seats, task) = start().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");

        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut send, http2) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let http2 = tokio::spawn(http2);
        let request = Request::get(format!("http://{address}/")).body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let answer = send.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, hyper::Version::HTTP_2));

        let silent = TcpStream::connect(address).await.unwrap();
        stop.send(true).unwrap();
        task.await.unwrap();
        seats.empty().await;
        drop((silent, send));
        http2.await.unwrap().unwrap();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
    }

    /// The first part of a body; the rest never comes.
    struct Part(Option<Bytes>);

    impl hyper::body::Body for Part {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(hyper::body::Frame::data(data)))))
        }
    }

    #[tokio::test]
    async fn requests_of_one_connection_hold_no_more_than_so_much_together() {
        let read = |body: Bytes| async move { body.len().to_string() };
        let (socket, _seats, _stop) = connected(axum::routing::post(read)).await;
        let (mut send, http2) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(http2);
        let mut begin = |bytes| {
            let part = Part(Some(vec![7; bytes].into()));
            send.send_request(Request::post("http://x/").body(part).unwrap())
        };
        let refused = tokio::select! {
            // Either may be read first; the other is one too many.
            refused = begin(60_000) => refused,
            refused = begin(60_000) => refused,
        };
        assert_eq!(refused.unwrap().status(), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_half_a_word_is_not_waited_for() {
        for words in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: "] {
            let (address, _stop, seats, _task) = start().await;
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(words.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            // The clock runs ahead as soon as everybody waits: the server ends this, or nothing does.
            let _ = slow.read_to_end(&mut rest).await;
            seats.empty().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_a_while_and_then_closed() {
        let (address, _stop, seats, _task) = start().await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 12];
            kept.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, b"HTTP/1.1 200");
            // What is left of the answer, and then nothing: the time that passes here is the clock's that runs ahead.
            let mut rest = [0; 1 << 10];
            while tokio::time::timeout(Duration::from_secs(74), kept.read(&mut rest)).await.is_ok_and(|read| {
                assert_ne!(read.unwrap(), 0, "closed too soon");
                true
            }) {}
        }
        let mut rest = Vec::new();
        kept.read_to_end(&mut rest).await.unwrap();
        seats.empty().await;
    }

    /// Serves this, and hands back a connection on which the request was sent.
    async fn asked(answer: axum::routing::MethodRouter) -> (TcpStream, Seats, watch::Sender<bool>) {
        let (mut socket, seats, stop) = connected(answer).await;
        socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        (socket, seats, stop)
    }

    async fn connected(answer: axum::routing::MethodRouter) -> (TcpStream, Seats, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seats, (stop, stopped)) = (Seats::new(limits(100, 100)), watch::channel(false));
        tokio::spawn(accept(listener, None, Router::new().route("/", answer), seats.clone(), stopped));
        let socket = TcpStream::connect(address).await.unwrap();
        // Until then there is no seat whose end could be waited for.
        seats.inner.total.subscribe().wait_for(|total| *total == 1).await.unwrap();
        (socket, seats, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_speaking_gets_its_answer_however_late() {
        let late = get(|| async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            "late"
        });
        let (mut socket, seats, _stop) = asked(late).await;
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nlate"), "{answer}");
        seats.empty().await;
    }

    #[tokio::test]
    async fn who_stops_speaking_gets_its_answer_however_long() {
        // More than the system takes at once, in pieces.
        let long = get(|| async {
            let pieces = (0..500).map(|_| Ok::<_, io::Error>(Bytes::from(vec![b'x'; 100_000])));
            axum::body::Body::from_stream(futures_util::stream::iter(pieces))
        });
        let (mut socket, seats, _stop) = asked(long).await;
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > 50_000_000 && answer.ends_with(b"x\r\n0\r\n\r\n"), "{}", answer.len());
        seats.empty().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_speaking_in_the_midst_of_a_request_is_not_waited_for() {
        let echo = get(|body: String| async { body });
        for (sent, whole) in [("one two", true), ("one t", false)] {
            let (mut socket, seats, _stop) = connected(echo.clone()).await;
            let request = format!("GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n{sent}");
            socket.write_all(request.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
            let begun = tokio::time::Instant::now();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            seats.empty().await;
            assert_eq!(answer.ends_with("one two"), whole, "{answer}");
            assert!(begun.elapsed() <= LAST_BYTES_MAX + Duration::from_millis(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_speaking_is_not_waited_for_without_end_nor_kept_on_a_stream_of_events() {
        let begun = tokio::time::Instant::now();
        let (mut socket, seats, _stop) = asked(get(std::future::pending::<()>)).await;
        socket.shutdown().await.unwrap();
        seats.empty().await;
        assert!(begun.elapsed() >= LAST_ANSWER_MAX);
        let events = get(|| async {
            let never = futures_util::stream::pending::<Result<Bytes, io::Error>>();
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(never))
        });
        let begun = tokio::time::Instant::now();
        let (mut socket, seats, _stop) = asked(events).await;
        let mut head = vec![0; 12];
        socket.read_exact(&mut head).await.unwrap();
        socket.shutdown().await.unwrap();
        seats.empty().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "who leaves a stream is gone at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        let begun = tokio::time::Instant::now();
        let endless = get(|| async {
            let event = futures_util::stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[b'\n'; 10_000])));
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(event))
        });
        let (socket, seats, _stop) = asked(endless).await;
        seats.empty().await;
        assert!(begun.elapsed() >= STALLED_MAX);
        drop(socket);
    }

    #[tokio::test]
    async fn headers_that_are_too_large_are_refused() {
        let (address, _stop, _seats, _task) = start().await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let header = "a".repeat(HEADERS_BYTES_MAX);
        let _ = socket.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\nx: {header}\r\n\r\n").as_bytes()).await;
        let mut answer = vec![0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 431");
    }
}
