//! What a proxy says of the requests that it passes on: who asked, for which host, and how.
//!
//! `X-Forwarded-For`, `-Host` and `-Proto` are believed of the proxies that were named, and of nobody else: whoever reaches
//! the server directly could write anything there. `Forwarded` (RFC 7239) is not read, since hardly a proxy writes it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};

use crate::config::settings::Network;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Reads what trusted proxies say.
#[derive(Debug)]
pub(crate) struct Forwarded {
    proxies: Vec<Network>,
    /// Whether it was said already that a request came in the clear.
    warned: AtomicBool,
}

impl Forwarded {
    pub(crate) fn new(proxies: Vec<Network>) -> Self {
        Self { proxies, warned: AtomicBool::new(false) }
    }

    /// What stands behind it sees each request as it came to the first of the proxies.
    pub(crate) fn before(self, router: Router) -> Router {
        let forwarded = Arc::new(self);
        router.layer(from_fn(move |mut request: Request, next: Next| {
            forwarded.read(&mut request);
            next.run(request)
        }))
    }

    /// Puts in the place of the proxy whom it speaks for, and takes away what nobody is to believe.
    fn read(&self, request: &mut Request) {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
        if peer.is_some_and(|peer| self.trusts(peer.ip())) {
            let headers = request.headers_mut();
            let client = self.client(headers);
            if let Some(host) = nearest(headers, &HOST).and_then(|host| HeaderValue::try_from(host).ok()) {
                headers.insert(header::HOST, host);
            }
            if nearest(headers, &PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("http"))
                && !self.warned.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(
                    "the proxy passes on a request that came to it by plain http: everybody on the way could read its \
                     token; let the proxy answer http with a redirect to https"
                );
            }
            if let Some(client) = client {
                // Which port it came from is not told.
                request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
            }
        }
        for name in [FOR, HOST, PROTO, header::FORWARDED] {
            request.headers_mut().remove(name);
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.holds(address))
    }

    /// Who asked the first of our proxies. Each proxy adds at the end whom it was asked by, so only what stands behind the
    /// last stranger was written by one that is trusted.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = None;
        for text in values(headers, &FOR).rev() {
            let address = address(text)?;
            client = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// The members of a list that may stand on several lines.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a str> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?")).collect();
    lines.into_iter().flat_map(|line| line.split(',')).map(str::trim)
}

/// What the proxy next to us says, where others said something before it.
fn nearest(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    values(headers, name).next_back().filter(|text| !text.is_empty()).map(ToString::to_string)
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip())).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// Who asked and for which host, as all behind it see them.
    #[track_caller]
    fn check(peer: &str, lines: &[(&str, &str)], want: &str) {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).unwrap());
        let forwarded = Forwarded::new(networks.to_vec());
        let mut request = Request::get("/db").header("host", "inner");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        forwarded.read(&mut request);
        let ConnectInfo(client) = request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap();
        let headers = request.headers();
        assert_eq!(format!("{} {}", client.ip(), headers["host"].to_str().unwrap()), want);
        assert_eq!(headers.len(), 1, "nothing else is handed on: {headers:?}");
    }

    #[test]
    fn only_proxies_that_were_named_are_believed() {
        let lines = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-host", "app.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=9.9.9.9"),
        ];
        check("10.1.1.1", &lines, "9.9.9.9 app.example");
        check("::ffff:10.1.1.1", &lines, "9.9.9.9 app.example");
        check("fd00::1", &lines, "9.9.9.9 app.example");
        check("11.1.1.1", &lines, "11.1.1.1 inner");
        check("127.0.0.1", &lines, "127.0.0.1 inner");
        check("10.1.1.1", &[], "10.1.1.1 inner");
    }

    #[test]
    fn what_a_client_has_written_itself_is_not_believed() {
        let check = |text, want| check("10.1.1.1", &[("x-forwarded-for", text)], want);
        check("127.0.0.1, 9.9.9.9", "9.9.9.9 inner");
        check("127.0.0.1, 9.9.9.9, 10.2.2.2", "9.9.9.9 inner");
        check("10.3.3.3, 10.2.2.2", "10.3.3.3 inner");
        check("9.9.9.9:1234", "9.9.9.9 inner");
        check("[2001:db8::1]:1234", "2001:db8::1 inner");
        check("[2001:db8::1]", "2001:db8::1 inner");
        check("unknown", "10.1.1.1 inner");
        check("9.9.9.9, , 10.2.2.2", "10.1.1.1 inner");
    }

    #[test]
    fn the_lines_of_a_list_belong_together_and_the_last_counts() {
        let lines = [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-host", "evil.example, app.example"),
        ];
        check("10.1.1.1", &lines, "9.9.9.9 app.example");
    }
}
