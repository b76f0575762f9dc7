//! The keys that prove callers: read at start, read again when a file changes, fetched again when their time comes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_auth::{AdminKey, Algorithm, Caller, Gate, Issuer, KeySource, Mode, Refresh, TokenError, Verifier};
use hearth_native::Authenticate;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::{IssuerSetting, KeyPlace, Settings};
use crate::exit::Exit;
use crate::fetch::{self, Url};

/// Bytes of a fetched key set.
const SET_BYTES_MAX: usize = 256 << 10;
/// How often files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(10);
/// The least time between two looks at what is to be fetched: callers with unknown keys ask for one each.
const PAUSE: Duration = Duration::from_millis(100);

/// The gate, and what keeps its keys current.
pub(crate) struct Keys {
    gate: Gate,
    /// Somebody waits for a key that a fetch may bring.
    wanted: Notify,
    /// What was last read of each issuer's file. Held to compare and replace, by one task.
    files: Mutex<BTreeMap<String, (PathBuf, Vec<u8>)>>,
    tls: Arc<ClientConfig>,
}

impl Authenticate for Keys {
    fn caller(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError> {
        self.admit(mode, credential, now_seconds)
    }
}

impl hearth_firestore::Authenticate for Keys {
    fn caller(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError> {
        self.admit(mode, credential, now_seconds)
    }
}

impl Keys {
    fn admit(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError> {
        let caller = self.gate.admit(mode, credential, now_seconds);
        if caller.as_ref().is_err_and(|error| error.is_temporary()) {
            self.wanted.notify_one();
        }
        caller
    }

    /// Reads all keys of files. Blocks.
    pub(crate) fn open(settings: &Settings, admin: Option<AdminKey>) -> Result<Self, Exit> {
        let mut files = BTreeMap::new();
        let mut issuers = Vec::new();
        for setting in &settings.issuers {
            let failed = |detail: &dyn std::fmt::Display| Exit::start(format!("{}: {detail}", setting.origin));
            let source = match setting.key.file() {
                None => KeySource::JwksUrl(setting.key.to_string()),
                Some(path) => {
                    let bytes = read(path).map_err(|error| failed(&error))?;
                    files.insert(setting.issuer.clone(), (path.to_path_buf(), bytes.clone()));
                    source(&setting.key, bytes)
                }
            };
            issuers.push(issuer(setting, source).map_err(|detail| failed(&detail))?);
        }
        let verifier = Verifier::new(issuers).map_err(|error| Exit::start(format!("[[issuers]]: {error}")))?;
        Ok(Self {
            gate: Gate::new(verifier, admin),
            wanted: Notify::new(),
            files: Mutex::new(files),
            tls: fetch::public_roots(),
        })
    }

    /// The admin key, if there is one.
    pub(crate) fn admin(&self) -> Option<&AdminKey> {
        self.gate.admin()
    }

    /// Keeps keys current, for as long as it is polled.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut looked = tokio::time::Instant::now();
        loop {
            self.fetch_due().await;
            if looked.elapsed() >= FILES_EVERY {
                let keys = self.clone();
                // An error would mean that reading panicked, which is told by then; the old keys stay.
                let _ = tokio::task::spawn_blocking(move || keys.reread()).await;
                looked = tokio::time::Instant::now();
            }
            let due = self.gate.verifier().refresh_at().map(|at| Duration::from_secs(at.saturating_sub(now_seconds())));
            let wait = due.unwrap_or(FILES_EVERY).min(FILES_EVERY).max(PAUSE);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wanted.notified() => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Makes all fetches that are due, side by side.
    async fn fetch_due(&self) {
        let mut fetches = JoinSet::new();
        for Refresh { issuer, url } in self.gate.verifier().refreshes(now_seconds()) {
            let tls = self.tls.clone();
            fetches.spawn(async move {
                let got = match Url::parse(&url) {
                    Ok(url) => fetch::get(&url, &tls, SET_BYTES_MAX).await,
                    Err(error) => Err(error),
                };
                (issuer, url, got)
            });
        }
        while let Some(fetched) = fetches.join_next().await {
            let Ok((issuer, url, got)) = fetched else { continue };
            let verifier = self.gate.verifier();
            match got {
                Ok(answer) => {
                    let max_age = fetch::max_age_seconds(&answer.headers);
                    match verifier.refreshed(&issuer, now_seconds(), &answer.body, max_age) {
                        Ok(()) => tracing::info!(%issuer, "fetched its keys"),
                        Err(error) => {
                            tracing::error!(%issuer, %url, %error, "its keys cannot be used; the old ones stay")
                        }
                    }
                }
                Err(error) => {
                    verifier.refresh_failed(&issuer, now_seconds());
                    tracing::error!(%issuer, %url, %error, "its keys could not be fetched; the old ones stay");
                }
            }
        }
    }

    /// Looks at all files and takes those that have changed. Blocks.
    fn reread(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (issuer, (path, held)) in files.iter_mut() {
            let bytes = match read(path) {
                Ok(bytes) if bytes == *held => continue,
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::error!(%issuer, %error, "its keys could not be read; the old ones stay");
                    continue;
                }
            };
            match self.gate.verifier().replace_keys(issuer, &bytes) {
                Ok(()) => tracing::info!(%issuer, "took its changed keys"),
                Err(error) => tracing::error!(%issuer, %error, "its changed keys cannot be used; the old ones stay"),
            }
            // Remembered either way, so that it is said once.
            *held = bytes;
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a file with a key.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn source(place: &KeyPlace, bytes: Vec<u8>) -> KeySource {
    match place {
        KeyPlace::SecretFile(_) => KeySource::Secret(bytes),
        KeyPlace::PemFile(_) => KeySource::Pem(bytes),
        KeyPlace::JwksFile(_) => KeySource::Jwks(bytes),
        KeyPlace::JwksUrl(url) => KeySource::JwksUrl(url.clone()),
    }
}

/// The algorithm of an issuer.
pub(crate) fn algorithm(setting: &IssuerSetting) -> Result<Algorithm, String> {
    let name = &setting.algorithm;
    Algorithm::parse(name).ok_or_else(|| {
        let all: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        format!("there is no algorithm {name:?}; choose one of {}", all.join(", "))
    })
}

fn issuer(setting: &IssuerSetting, keys: KeySource) -> Result<Issuer, String> {
    Ok(Issuer {
        issuer: setting.issuer.clone(),
        audiences: setting.audiences.clone(),
        algorithm: algorithm(setting)?,
        keys,
        uid_claim: setting.uid_claim.clone(),
        leeway_seconds: setting.leeway_seconds.unwrap_or(Issuer::LEEWAY_SECONDS_DEFAULT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use axum::routing::get;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hearth_auth::{Grant, Minter};

    fn settings(file: &str) -> Settings {
        let config = Config::build(Some((Path::new("/hearth.toml"), file)), [], vec![]).unwrap();
        Settings::read(&config).unwrap()
    }

    fn grant() -> Grant {
        Grant {
            issuer: "i".into(),
            audience: "a".into(),
            uid: "ada".into(),
            claims: hearth_core::Map::new(),
            lifetime_seconds: 600,
        }
    }

    #[test]
    fn a_changed_secret_is_taken_and_a_broken_one_is_not() {
        hearth_auth::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let [first, second] = ["a", "b"].map(|letter| letter.repeat(40));
        std::fs::write(&path, &first).unwrap();
        let file = format!(
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithm = \"HS256\"\nkey = {{ secret_file = {path:?} }}"
        );
        let keys = Keys::open(&settings(&file), None).unwrap();
        let believed = |secret: &str| {
            let token = Minter::secret(secret.as_bytes()).unwrap().mint(&grant(), now_seconds()).unwrap();
            keys.caller(Mode::Serve, Some(&token), now_seconds()).is_ok()
        };
        assert!(believed(&first) && !believed(&second));
        std::fs::write(&path, "short").unwrap();
        keys.reread();
        assert!(believed(&first), "the old one stays");
        std::fs::write(&path, &second).unwrap();
        keys.reread();
        assert!(!believed(&first) && believed(&second));
        std::fs::remove_file(&path).unwrap();
        keys.reread();
        assert!(believed(&second));
    }

    #[test]
    fn what_cannot_be_used_says_where_it_stands() {
        hearth_auth::install_crypto();
        let open = |lines: &str| Keys::open(&settings(lines), None).err().map(|exit| exit.message).unwrap_or_default();
        let issuer = |algorithm: &str, key: &str| {
            open(&format!(
                "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithm = \"{algorithm}\"\nkey = {{ {key} }}"
            ))
        };
        assert!(
            issuer("RS257", "jwks_url = \"https://x\"").contains("/hearth.toml:1: there is no algorithm \"RS257\"")
        );
        assert!(issuer("RS256", "pem_file = \"/nowhere/key.pem\"").contains("/nowhere/key.pem: "));
        assert!(issuer("RS256", "jwks_url = \"http://example.com\"").contains("the address of a key set begins with"));
    }

    /// A key that signs, and the set that a server hands out for it.
    fn key_pair() -> (Minter, String) {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = rcgen::PublicKeyData::der_bytes(&pair);
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","kid":"k","x":"{x}","y":"{y}"}}]}}"#);
        let minter = Minter::pem(Algorithm::Es256, pair.serialize_pem().as_bytes()).unwrap();
        (minter.with_key_id("k").unwrap(), set)
    }

    #[tokio::test]
    async fn keys_are_fetched_from_an_address() {
        hearth_auth::install_crypto();
        let (minter, set) = key_pair();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = axum::Router::new().route("/keys", get(|| async { set }));
        let limits = crate::connections::ConnectionLimits::of_a_test();
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let seats = crate::connections::Seats::new(limits);
        tokio::spawn(crate::connections::accept(listener, None, router, seats, stopped));

        let file = format!(
            "[[issuers]]\nissuer = \"i\"\naudience = \"a\"\nalgorithm = \"ES256\"\n\
             key = {{ jwks_url = \"http://127.0.0.1:{port}/keys\" }}"
        );
        let keys = Keys::open(&settings(&file), None).unwrap();
        let token = minter.mint(&grant(), now_seconds()).unwrap();
        let ask = || keys.caller(Mode::Serve, Some(&token), now_seconds());
        assert_eq!(ask(), Err(TokenError::KeysNotLoaded));
        keys.fetch_due().await;
        assert_eq!(ask().unwrap().uid(), Some("ada"));
    }
}
