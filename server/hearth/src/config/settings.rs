//! The configuration as the program uses it: every text read once, into what it means.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hearth_core::DatabaseName;
use hearth_engine::{Limits, SignedIn};
use hearth_firestore::Bounds;

use super::known::LIMITS;
use super::{Config, ConfigError, Origin, Value};
use crate::config::IssuerSetting;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    /// Whether nobody said where to listen.
    pub(crate) listen_is_default: bool,
    pub(crate) data: PathBuf,
    pub(crate) ephemeral: bool,
    /// Whether a data directory may not be made.
    pub(crate) existing: bool,
    pub(crate) project: Option<String>,
    pub(crate) projects: Vec<String>,
    pub(crate) public: Option<PathBuf>,
    pub(crate) seed: Option<PathBuf>,
    /// The export to begin with.
    pub(crate) import: Option<PathBuf>,
    /// Where to export to at the end; empty for the folder of the import.
    pub(crate) export_on_exit: Option<PathBuf>,
    pub(crate) allow_origin: Vec<String>,
    pub(crate) expose: Expose,
    /// Whether `hearth dev` looks for a firebase.json.
    pub(crate) firebase_json: bool,
    pub(crate) behind_proxy: Vec<Network>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) signed_in: SignedIn,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) admin_key: Option<Secret>,
    pub(crate) admin_key_file: Option<PathBuf>,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) connection_idle_max: Duration,
    pub(crate) limits: Limits,
    /// Whose limits Firestore's clients find.
    pub(crate) bounds: Bounds,
    pub(crate) issuers: Vec<IssuerSetting>,
}

/// Who may reach a dev server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expose {
    /// This machine.
    Off,
    /// Others too, with a key that is generated at each start.
    Key,
    /// Everybody.
    Unsafe,
}

/// A certificate and its key, each a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A text that is not to be printed.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads an address with or without `/BITS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(Self { address, bits })
    }

    /// Whether an address lies in it. An IPv4 address that came over IPv6 counts as IPv4.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        let shifted = |number: u128, width: u32| number.checked_shr(width - u32::from(self.bits)).unwrap_or(0);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => shifted(a.to_bits().into(), 32) == shifted(b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => shifted(a.to_bits(), 128) == shifted(b.to_bits(), 128),
            _ => false,
        }
    }
}

/// Reads `ADDRESS:PORT`, `localhost:PORT`, or a port of this machine.
pub(crate) fn listen_address(text: &str) -> Option<SocketAddr> {
    let local = |port: &str| port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')) {
        Some(port) => local(port),
        None => text.parse().ok().or_else(|| local(text)),
    }
}

impl Settings {
    /// Reads every setting.
    pub(crate) fn read(config: &Config) -> Result<Self, ConfigError> {
        let text = |key| match config.get(key).map(|held| &held.value) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let path = |key| text(key).map(PathBuf::from);
        let flag = |key| config.get(key).is_some_and(|held| held.value == Value::Flag(true));
        let list = |key| match config.get(key).map(|held| &held.value) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        };
        let count = |key| match config.get(key).map(|held| &held.value) {
            Some(Value::Count(0)) => Err(config.error(key, "a limit is at least 1")),
            Some(Value::Count(count)) => Ok(*count),
            _ => Ok(u64::MAX),
        };
        let small = |key| count(key).map(|count| usize::try_from(count).unwrap_or(usize::MAX));

        let listen = text("listen").unwrap_or_default();
        let listen = listen_address(&listen).ok_or_else(|| {
            config.error("listen", format!("{listen:?} is no address and port, such as 127.0.0.1:8080"))
        })?;
        let mut limits = Limits::default();
        for limit in LIMITS {
            (limit.set)(&mut limits, count(limit.key)?);
        }
        if flag("accept_clock") {
            limits.clock_ahead_max = Duration::MAX;
        }
        let project = text("project");
        let projects = list("projects");
        for (key, name) in project.iter().map(|name| ("project", name)).chain(projects.iter().map(|n| ("projects", n)))
        {
            DatabaseName::parse(name, DatabaseName::DEFAULT).map_err(|error| config.error(key, error))?;
        }
        let network = |text: &String| {
            let wrong = || config.error("behind_proxy", format!("{text:?} is no range such as 10.0.0.0/8"));
            Network::parse(text).ok_or_else(wrong)
        };
        let tls = match (path("tls.cert"), path("tls.key")) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (Some(_), None) => return Err(config.error("tls.cert", "a certificate needs its key: set tls.key too")),
            (None, Some(_)) => return Err(config.error("tls.key", "a key needs its certificate: set tls.cert too")),
        };
        Ok(Self {
            listen,
            listen_is_default: config.get("listen").is_none_or(|held| held.origin == Origin::Default),
            data: path("data").unwrap_or_default(),
            ephemeral: flag("ephemeral"),
            existing: flag("existing"),
            project,
            projects,
            public: path("public"),
            seed: path("seed"),
            import: path("import"),
            export_on_exit: path("export_on_exit"),
            allow_origin: list("allow_origin"),
            expose: match text("expose").as_deref() {
                Some("key") => Expose::Key,
                Some("unsafe") => Expose::Unsafe,
                _ => Expose::Off,
            },
            firebase_json: flag("firebase_json"),
            behind_proxy: list("behind_proxy").iter().map(network).collect::<Result<_, _>>()?,
            tls,
            signed_in: match text("access.signed_in").as_deref() {
                Some("read") => SignedIn::Read,
                Some("write") => SignedIn::Write,
                _ => SignedIn::Nothing,
            },
            cors_origins: list("cors.origins"),
            admin_key: text("admin_key").map(Secret),
            admin_key_file: path("admin_key_file"),
            log: text("log").unwrap_or_default(),
            log_json: text("log_format").as_deref() == Some("json"),
            connections_max: small("limits.connections_max")?,
            connections_per_address_max: small("limits.connections_per_address_max")?,
            connection_idle_max: Duration::from_secs(count("limits.connection_idle_seconds_max")?),
            limits,
            bounds: match text("limits.profile").as_deref() {
                Some("cloud") => Bounds::Cloud,
                _ => Bounds::Relaxed,
            },
            issuers: config.issuers.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(file: &str) -> Result<Settings, String> {
        let config = Config::build(Some((Path::new("hearth.toml"), file)), [], vec![]).unwrap();
        Settings::read(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_read_in_their_usual_shapes() {
        let read = |text| listen_address(text).map(|address| address.to_string());
        assert_eq!(read("0.0.0.0:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(read("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(read("localhost:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(read(":80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(read("8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(read("example.com:80"), None);
        assert_eq!(read("127.0.0.1"), None);
    }

    #[test]
    fn networks_hold_what_shares_their_first_bits() {
        let holds = |network, address: &str| Network::parse(network).unwrap().holds(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.1.2"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(holds("fd00::/8", "fd12::1"));
        assert!(holds("::/0", "fd12::1"));
        for wrong in ["", "10.0.0.0/33", "::/129", "ten/8", "10.0.0.0/"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_place() {
        assert_eq!(
            read("[tls]\ncert = \"c.pem\"").unwrap_err(),
            "hearth.toml:2: tls.cert: a certificate needs its key: set tls.key too"
        );
        assert_eq!(
            read("[limits]\nlinks_max = 0").unwrap_err(),
            "hearth.toml:2: limits.links_max: a limit is at least 1"
        );
        assert!(read("project = \"a b\"").unwrap_err().starts_with("hearth.toml:1: project: \"a b\" is not the name"));
        assert!(read("listen = \"here\"").unwrap_err().contains("such as 127.0.0.1:8080"));
    }

    #[test]
    fn an_issuer_is_read_whole() {
        let file = "[[issuers]]\nissuer = \"https://id.example\"\naudience = [\"a\", \"b\"]\nalgorithm = \"ES256\"\n\
                    key = { jwks_url = \"https://id.example/keys\" }\nleeway_seconds = 3";
        let issuer = &read(file).unwrap().issuers[0];
        assert_eq!(issuer.audiences, ["a", "b"]);
        assert_eq!(issuer.key, crate::config::KeyPlace::JwksUrl("https://id.example/keys".into()));
        assert_eq!(issuer.leeway_seconds, Some(3));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = Config::build(None, [("HEARTH_ADMIN_KEY".into(), "hidden-hidden".into())], vec![]).unwrap();
        assert!(!format!("{:?}", Settings::read(&config).unwrap()).contains("hidden"));
    }
}
