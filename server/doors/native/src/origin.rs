//! Hosts and origins: which pages may talk to this server.
//!
//! In dev everything is open, so any web page could read and wipe a developer's database if it could reach it; what
//! keeps it out is the name under which it reached us (`Host`: a foreign name that was made to point here) and the
//! page's own origin. In serve credentials are headers that no browser sends by itself, so any origin may call.

use crate::problem::{Code, Problem};

/// Which hosts and origins are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Whether only loopback names are served, and only pages from there: dev, unless it is exposed.
    pub loopback_only: bool,
    /// Origins that are served all the same, such as `https://app.example`. Where `loopback_only` does not hold and
    /// this is empty, every origin is served.
    pub allowed: Vec<String>,
}

impl Origins {
    /// Whether a request may be answered that came to `host` (with or without a port) from a page of `origin`.
    ///
    /// Also for WebSockets, which browsers let every page open.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Problem> {
        if self.loopback_only && !host.is_some_and(|host| is_loopback(host_name(host))) {
            let host = host.unwrap_or("nothing");
            let detail = format!(
                "dev answers only on loopback names such as localhost, and this request asked for {host:?}; --expose answers on others"
            );
            return Err(Problem::new(Code::PermissionDenied, detail).at("Host"));
        }
        match origin {
            Some(origin) if !self.serves(host, origin) => {
                let detail = format!(
                    "pages of {origin:?} may not talk to this server; --allow-origin or [cors] origins allows them"
                );
                Err(Problem::new(Code::PermissionDenied, detail).at("Origin"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn serves(&self, host: Option<&str>, origin: &str) -> bool {
        if self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let own = origin.split_once("://").map(|(_, authority)| authority);
        match self.loopback_only {
            true => own.is_some_and(|authority| is_loopback(host_name(authority))),
            false => self.allowed.is_empty() || (own.is_some() && own == host),
        }
    }

    /// What `Access-Control-Allow-Origin` says to a page of `origin`: itself, where it is served.
    pub fn allow<'a>(&self, host: Option<&str>, origin: &'a str) -> Option<&'a str> {
        self.serves(host, origin).then_some(origin)
    }
}

/// The host without its port; an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether a name always means this machine. Source: RFC 6761 §6.3 for `localhost` and what lies below it.
fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let last = name.rsplit('.').next().unwrap_or(name);
            last.eq_ignore_ascii_case("localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> Origins {
        Origins { loopback_only: true, allowed: vec!["https://app.example".into()] }
    }

    #[test]
    fn dev_answers_only_under_loopback_names() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "app.localhost:1",
            "LOCALHOST.",
        ] {
            assert_eq!(dev().check(Some(host), None), Ok(()), "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "192.168.1.2:8080",
            "0.0.0.0:8080",
            "",
            "[::2]:80",
            "127.0.0.1.nip.io",
            "notlocalhost",
        ] {
            assert!(dev().check(Some(host), None).is_err(), "{host}");
        }
        assert!(dev().check(None, None).is_err());
    }

    #[test]
    fn dev_answers_only_loopback_pages_and_those_that_were_named() {
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:5", "https://app.example"] {
            assert_eq!(dev().check(Some("localhost:8080"), Some(origin)), Ok(()), "{origin}");
        }
        for origin in
            ["null", "https://evil.example", "http://localhost.evil.example", "https://app.example.evil", "file://", ""]
        {
            assert!(dev().check(Some("localhost:8080"), Some(origin)).is_err(), "{origin}");
        }
    }

    #[test]
    fn serve_answers_every_page_unless_origins_are_named() {
        let open = Origins::default();
        assert_eq!(open.check(Some("db.example"), Some("https://any.example")), Ok(()));
        assert_eq!(open.allow(Some("db.example"), "https://any.example"), Some("https://any.example"));
        let narrow = Origins { loopback_only: false, allowed: vec!["https://app.example".into()] };
        assert_eq!(narrow.check(Some("db.example"), Some("https://app.example")), Ok(()));
        assert_eq!(narrow.check(Some("db.example"), Some("https://db.example")), Ok(()), "its own pages");
        assert!(narrow.check(Some("db.example"), Some("https://any.example")).is_err());
        assert_eq!(narrow.check(Some("db.example"), None), Ok(()));
    }
}
