//! A small HTTP client, for key sets and for talking to another server of ours: HTTP/1.1 over TCP or TLS.
//!
//! `ureq` and `reqwest` were weighed. hyper and rustls are in the binary anyway, so this costs one crate of root
//! certificates; and what a fetch of keys must not do (follow a redirect, read without end, wait without end) is simply
//! not there.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long connecting, and then answering a fetch, may take.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long a file that is being handed out may stand still.
const STALL_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that says why there is no file.
const REFUSAL_BYTES_MAX: usize = 1 << 20;

/// An address of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    is_tls: bool,
    host: String,
    port: u16,
    /// Path and query, or the base of paths.
    path: String,
}

impl Url {
    /// Reads `http://…` or `https://…`.
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        let wrong = || FetchError::Url { text: text.into() };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        // Credentials in an address would be sent nowhere and logged everywhere.
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { is_tls, host: authority.host().into(), port, path: path.into() })
    }

    /// Another path of the same server.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    /// The path, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        self.path.trim_end_matches('/')
    }
}

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{text:?} is no address that begins with http:// or https://")]
    Url { text: String },
    #[error("no answer within {} s", TIME_MAX.as_secs())]
    Time,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection was cut off: {0}")]
    Http(#[from] hyper::Error),
    #[error("nothing came for {} s", STALL_TIME_MAX.as_secs())]
    Stalled,
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer has more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("{0}")]
    Body(String),
}

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The certificate authorities that browsers trust.
pub(crate) fn public_roots() -> Arc<ClientConfig> {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    });
    CONFIG.clone()
}

/// Trusts one certificate, in DER form, and nobody else.
#[cfg(test)]
pub(crate) fn trusting(certificate: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.to_vec().into()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// One connection to one server.
pub(crate) struct Client {
    url: Url,
    send: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(url: &Url, tls: &Arc<ClientConfig>) -> Result<Self, FetchError> {
        let connecting = async {
            let host = url.host.trim_start_matches('[').trim_end_matches(']');
            let socket = TcpStream::connect((host, url.port)).await?;
            socket.set_nodelay(true)?;
            if !url.is_tls {
                return handshake(socket).await;
            }
            let name = ServerName::try_from(host.to_string());
            let name = name.map_err(|_| FetchError::Url { text: url.host.clone() })?;
            handshake(TlsConnector::from(tls.clone()).connect(name, socket).await?).await
        };
        let send = tokio::time::timeout(TIME_MAX, connecting).await.map_err(|_| FetchError::Time)??;
        Ok(Self { url: url.clone(), send })
    }

    /// Sends a request and reads the whole answer, whatever its status. The connection serves one request at a time.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Answer, FetchError> {
        let (parts, body) = self.request(method, path, headers, body).await?.into_parts();
        let body =
            Limited::new(body, bytes_max).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                true => FetchError::TooLarge { bytes_max },
                false => FetchError::Body(error.to_string()),
            })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes().into() })
    }

    /// Whether the server has ended the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }

    /// Gets what stands at a path into a file, as it comes. An answer of another status than 200 is read whole, and no file
    /// is made.
    pub(crate) async fn download(
        &mut self,
        path: &str,
        headers: &[(header::HeaderName, String)],
        file: &std::path::Path,
    ) -> Result<Answer, FetchError> {
        let (parts, mut body) = self.request(Method::GET, path, headers, Bytes::new()).await?.into_parts();
        if parts.status != StatusCode::OK {
            let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
            let body = body.map_err(|error| FetchError::Body(error.to_string()))?;
            return Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes().into() });
        }
        let mut file = tokio::fs::File::create(file).await?;
        loop {
            let frame = tokio::time::timeout(STALL_TIME_MAX, body.frame()).await.map_err(|_| FetchError::Stalled)?;
            let Some(frame) = frame else { break };
            if let Ok(piece) = frame?.into_data() {
                file.write_all(&piece).await?;
            }
        }
        file.flush().await?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: Vec::new() })
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, String)],
        body: Bytes,
    ) -> Result<hyper::Response<hyper::body::Incoming>, FetchError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.authority());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| FetchError::Body(error.to_string()))?;
        self.send.ready().await?;
        Ok(self.send.send_request(request).await?)
    }

    fn authority(&self) -> String {
        let Url { is_tls, host, port, .. } = &self.url;
        if *port == (if *is_tls { 443 } else { 80 }) { host.clone() } else { format!("{host}:{port}") }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, FetchError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with `send`; what goes wrong on it is told to whoever sends.
    tokio::spawn(connection);
    Ok(send)
}

/// Gets what stands at an address, if the answer is 200. Follows no redirect.
pub(crate) async fn get(url: &Url, tls: &Arc<ClientConfig>, bytes_max: usize) -> Result<Answer, FetchError> {
    let mut client = Client::connect(url, tls).await?;
    let headers = [(header::ACCEPT, "application/json".to_string())];
    let answer = client.send(Method::GET, &url.path, &headers, Bytes::new(), bytes_max);
    let answer = tokio::time::timeout(TIME_MAX, answer).await.map_err(|_| FetchError::Time)??;
    if answer.status != StatusCode::OK {
        return Err(FetchError::Status(answer.status));
    }
    Ok(answer)
}

/// For how many seconds an answer is fresh, where its headers say so. Source: RFC 9111 §5.2.2.1.
pub(crate) fn max_age_seconds(headers: &HeaderMap) -> Option<u64> {
    let directives = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    directives.flat_map(|value| value.split(',')).find_map(|one| one.trim().strip_prefix("max-age=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get as route;

    async fn start() -> u16 {
        let router = Router::new()
            .route("/keys", route(|| async { ([("cache-control", "public, max-age=60")], "[1]") }))
            .route("/away", route(|| async { Redirect::temporary("/keys") }))
            .route("/large", route(|| async { "x".repeat(1_000) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seats = crate::connections::Seats::new(crate::connections::ConnectionLimits::of_a_test());
        let (stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            crate::connections::accept(listener, None, router, seats, stopped).await;
            drop(stop);
        });
        port
    }

    #[tokio::test]
    async fn a_fetch_follows_nothing_and_reads_no_more_than_it_may() {
        hearth_auth::install_crypto();
        let port = start().await;
        let get = async |path: &str| {
            let url = Url::parse(&format!("http://127.0.0.1:{port}{path}")).unwrap();
            match get(&url, &public_roots(), 100).await {
                Ok(answer) => {
                    format!("{} {:?}", String::from_utf8_lossy(&answer.body), max_age_seconds(&answer.headers))
                }
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(get("/keys").await, "[1] Some(60)");
        assert_eq!(get("/away").await, "the answer is 307 Temporary Redirect");
        assert_eq!(get("/large").await, "the answer has more than 100 bytes");
        assert_eq!(get("/nothing").await, "the answer is 404 Not Found");
    }

    #[test]
    fn only_addresses_of_http_without_credentials_are_read() {
        let read = |text| Url::parse(text).map(|url| (url.is_tls, url.host, url.port, url.path)).ok();
        assert_eq!(read("https://a.example/k?x=1"), Some((true, "a.example".into(), 443, "/k?x=1".into())));
        assert_eq!(read("http://[::1]:80"), Some((false, "[::1]".into(), 80, "/".into())));
        for wrong in ["", "a.example", "ftp://a.example", "https://", "https://u:p@a.example", "http:///x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
