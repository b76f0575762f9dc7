//! Keys that verify tokens: secrets, PEM files, key sets from a file or an address, and when to fetch those again.
//!
//! Each key is pinned to one algorithm and tried when it is loaded, so that a key that could never verify anything is
//! an error of the configuration and not a riddle later. Nothing is fetched here: a key set says when it wants to be
//! refreshed and is told what came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};

use crate::jwt::KEY_ID_BYTES_MAX;

/// How tokens of one issuer are signed. ES512, secp256k1 and Ed448 are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// RSA, PSS, with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in the order in which documentation lists them.
    pub const ALL: [Self; 6] = [Self::Hs256, Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// The algorithm of that name, exactly as a token's `alg` spells it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name in a token's `alg`. Source: RFC 7518 §3.1, RFC 8037.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn for_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an issuer's keys come from. Files are read by the program; here are their bytes.
#[derive(Clone)]
pub enum KeySource {
    /// The secret of HS256: its bytes as they stand, at least 32 of them. One line break at the end is no part of it.
    Secret(Vec<u8>),
    /// One public key or X.509 certificate in PEM form.
    Pem(Vec<u8>),
    /// A JSON Web Key Set, or an object of X.509 certificates by key id.
    Jwks(Vec<u8>),
    /// The address of such a set: `https`, or `http` on this machine.
    JwksUrl(String),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(…)"),
            Self::Pem(_) => f.write_str("Pem(…)"),
            Self::Jwks(_) => f.write_str("Jwks(…)"),
            Self::JwksUrl(url) => f.debug_tuple("JwksUrl").field(url).finish(),
        }
    }
}

/// Why keys cannot be used. None of these repeats any part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a secret is for HS256 alone, and {algorithm} wants a public key")]
    SecretForPublic { algorithm: Algorithm },
    #[error("HS256 wants a secret, and a public key was given: whoever knows it could sign")]
    PublicForSecret,
    #[error("the secret has {bytes} bytes, fewer than the {} that HS256 needs", KeySet::SECRET_BYTES_MIN)]
    SecretTooShort { bytes: usize },
    #[error("no PEM block with a public key or certificate for {algorithm} (RSA keys have 2048 to 8192 bits)")]
    Pem { algorithm: Algorithm },
    #[error("neither a JSON Web Key Set nor an object of certificates")]
    NoSet,
    #[error("the key set has {bytes} bytes, over the limit of {}", KeySet::SET_BYTES_MAX)]
    SetTooLarge { bytes: usize },
    #[error("the key set has {keys} keys, over the limit of {}", KeySet::KEYS_MAX)]
    TooManyKeys { keys: usize },
    #[error("none of the {keys} keys of the set verifies {algorithm}")]
    NoneFits { keys: usize, algorithm: Algorithm },
    #[error("the address of a key set begins with https://, or with http:// and a loopback host")]
    Url,
}

/// One key, for one algorithm, known to be usable.
pub(crate) struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Key {
    /// Whether that signature (base64url) is this key's over the message.
    pub(crate) fn verifies(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.for_jsonwebtoken();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm).unwrap_or(false)
    }

    fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        let secret = without_line_break(secret);
        if secret.len() < KeySet::SECRET_BYTES_MIN {
            return Err(KeyError::SecretTooShort { bytes: secret.len() });
        }
        Ok(Self { algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret) })
    }

    fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::PublicForSecret),
            Algorithm::Rs256 | Algorithm::Ps256 => DecodingKey::from_rsa_pem(pem),
            Algorithm::Es256 | Algorithm::Es384 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        };
        key.ok().and_then(|key| Self::tried(algorithm, key)).ok_or(KeyError::Pem { algorithm })
    }

    /// A key of a set; `None` if it is not meant for this algorithm or for signatures, or is broken.
    ///
    /// Secrets (`oct`) are never taken from a set: what is published is no secret. Source: RFC 7517 §4, RFC 7518 §6.
    fn jwk(algorithm: Algorithm, jwk: &serde_json::Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(serde_json::Value::as_str);
        let absent_or = |name: &str, want: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some(want));
        let may_verify = |operations: &serde_json::Value| {
            operations.as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some("verify")))
        };
        if !absent_or("use", "sig") || !absent_or("alg", algorithm.name()) || !jwk.get("key_ops").is_none_or(may_verify)
        {
            return None;
        }
        let (kind, curve) = match algorithm {
            Algorithm::Hs256 => return None,
            Algorithm::Rs256 | Algorithm::Ps256 => ("RSA", None),
            Algorithm::Es256 => ("EC", Some("P-256")),
            Algorithm::Es384 => ("EC", Some("P-384")),
            Algorithm::EdDsa => ("OKP", Some("Ed25519")),
        };
        if text("kty") != Some(kind) || curve.is_some_and(|curve| text("crv") != Some(curve)) {
            return None;
        }
        let key = match kind {
            "RSA" => DecodingKey::from_rsa_components(text("n")?, text("e")?),
            "EC" => DecodingKey::from_ec_components(text("x")?, text("y")?),
            _ => DecodingKey::from_ed_components(text("x")?),
        };
        Self::tried(algorithm, key.ok()?)
    }

    /// Keeps a key only if the cryptography takes it for this algorithm: `jsonwebtoken` finds out at the first token.
    fn tried(algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
        let parses =
            |wanted: &'static dyn VerificationAlgorithm, bytes: &[u8]| ParsedPublicKey::new(wanted, bytes).ok();
        match algorithm {
            Algorithm::Hs256 => return None,
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let AlgorithmParameters::RSA(parts) = Jwk::from_decoding_key(&key, None).ok()?.algorithm else {
                    return None;
                };
                let n = URL_SAFE_NO_PAD.decode(&parts.n).ok()?;
                let e = URL_SAFE_NO_PAD.decode(&parts.e).ok()?;
                let leading = n.iter().take_while(|byte| **byte == 0).count();
                if !(256..=1024).contains(&(n.len() - leading)) {
                    return None;
                }
                let der = RsaPublicKeyComponents { n: &n[leading..], e: e.as_slice() }.as_der().ok()?;
                parses(&RSA_PKCS1_2048_8192_SHA256, der.as_ref())?;
            }
            Algorithm::Es256 => drop(parses(&ECDSA_P256_SHA256_FIXED, key.try_get_as_bytes().ok()?)?),
            Algorithm::Es384 => drop(parses(&ECDSA_P384_SHA384_FIXED, key.try_get_as_bytes().ok()?)?),
            Algorithm::EdDsa => drop(parses(&ED25519, key.try_get_as_bytes().ok()?)?),
        }
        Some(Self { algorithm, key })
    }
}

/// A key with its id in a set, if it has one.
type Named = (Option<Box<str>>, Arc<Key>);

/// What looking for a key came to.
pub(crate) enum Found {
    /// Here it is.
    Key(Arc<Key>),
    /// There is none of that id; `may_arrive` when a fetch that may bring it is due or under way.
    Unknown { may_arrive: bool },
    /// The set was never fetched, so nothing can be said.
    NotLoaded,
}

/// The keys of one issuer, and the state of their refreshing. It fetches nothing and reads no clock.
pub(crate) struct KeySet {
    algorithm: Algorithm,
    /// Keys with their ids, in the set's order.
    keys: Vec<Named>,
    origin: Origin,
}

enum Origin {
    /// One key; ids in tokens mean nothing.
    Secret,
    /// Likewise.
    Pem,
    /// A set that changes only when somebody brings another.
    File,
    /// A set that is fetched.
    Url(Fetching),
}

/// When a set is fetched, and which ids were asked for meanwhile. All times in seconds since 1970.
#[derive(Default)]
struct Fetching {
    url: Box<str>,
    due_seconds: u64,
    tried_seconds: Option<u64>,
    under_way: bool,
    loaded: bool,
    failures: u32,
    /// Ids for which the next fetch is wanted.
    wanted: BTreeSet<Box<str>>,
    /// Ids for which the fetch under way was begun.
    asked: BTreeSet<Box<str>>,
    /// Ids that a fetch did not bring, each until when it is not asked for again.
    missing: BTreeMap<Box<str>, u64>,
}

impl KeySet {
    /// Shortest secret for HS256, in bytes. Source: RFC 7518 §3.2.
    pub(crate) const SECRET_BYTES_MIN: usize = 32;
    /// Largest set that is read.
    pub(crate) const SET_BYTES_MAX: usize = 1024 * 1024;
    /// Most keys of a set.
    pub(crate) const KEYS_MAX: usize = 100;
    /// Fetches of one set stand at least this far apart, however many unknown ids are asked for.
    const FETCH_GAP_SECONDS: u64 = 30;
    /// A fetch that has not ended by then is taken for lost.
    const FETCH_SECONDS_MAX: u64 = 60;
    /// Bounds for how long a set is fresh, whatever its server says; and what is taken when it says nothing.
    const FRESH_SECONDS_MIN: u64 = 5 * 60;
    const FRESH_SECONDS_MAX: u64 = 24 * 60 * 60;
    const FRESH_SECONDS_DEFAULT: u64 = 60 * 60;
    /// Longest wait after failures.
    const RETRY_SECONDS_MAX: u64 = 5 * 60;
    /// How long an id that a fetch did not bring is not asked for again.
    const MISSING_SECONDS: u64 = 5 * 60;
    const WANTED_MAX: usize = 64;
    const MISSING_MAX: usize = 1_000;

    pub(crate) fn new(algorithm: Algorithm, source: &KeySource) -> Result<Self, KeyError> {
        let (keys, origin) = match source {
            KeySource::Secret(_) if algorithm != Algorithm::Hs256 => {
                return Err(KeyError::SecretForPublic { algorithm });
            }
            KeySource::Secret(secret) => (vec![(None, Arc::new(Key::secret(secret)?))], Origin::Secret),
            KeySource::Pem(_) | KeySource::Jwks(_) | KeySource::JwksUrl(_) if algorithm == Algorithm::Hs256 => {
                return Err(KeyError::PublicForSecret);
            }
            KeySource::Pem(pem) => (vec![(None, Arc::new(Key::pem(algorithm, pem)?))], Origin::Pem),
            KeySource::Jwks(set) => (read_set(algorithm, set)?, Origin::File),
            KeySource::JwksUrl(url) if !is_fetchable(url) => return Err(KeyError::Url),
            KeySource::JwksUrl(url) => {
                (Vec::new(), Origin::Url(Fetching { url: url.as_str().into(), ..Fetching::default() }))
            }
        };
        Ok(Self { algorithm, keys, origin })
    }

    /// The key for a token with that id.
    ///
    /// Without an id a set answers only if it has just one key. An unknown id makes a fetch wanted, at most one per
    /// [`Self::FETCH_GAP_SECONDS`]: else whoever sends made-up ids would have us hammer the issuer.
    pub(crate) fn find(&mut self, id: Option<&str>, now_seconds: u64) -> Found {
        let single = matches!(self.origin, Origin::Secret | Origin::Pem) || (id.is_none() && self.keys.len() == 1);
        let fetching = match &mut self.origin {
            Origin::Secret | Origin::Pem | Origin::File => None,
            Origin::Url(fetching) if !fetching.loaded => return Found::NotLoaded,
            Origin::Url(fetching) => Some(fetching),
        };
        let place = match id {
            _ if single => self.keys.first(),
            Some(id) => self.keys.iter().find(|(name, _)| name.as_deref() == Some(id)),
            None => None,
        };
        match (place, id, fetching) {
            (Some((_, key)), ..) => Found::Key(Arc::clone(key)),
            (None, Some(id), Some(fetching)) => Found::Unknown { may_arrive: fetching.want(id, now_seconds) },
            (None, ..) => Found::Unknown { may_arrive: false },
        }
    }

    /// Whether a key found before is still one of these.
    pub(crate) fn holds(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|(_, held)| Arc::ptr_eq(held, key))
    }

    /// Takes other bytes from the same kind of file; on an error the old keys stay.
    pub(crate) fn replace(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        self.keys = match self.origin {
            Origin::Secret => vec![(None, Arc::new(Key::secret(bytes)?))],
            Origin::Pem => vec![(None, Arc::new(Key::pem(self.algorithm, bytes)?))],
            Origin::File | Origin::Url(_) => read_set(self.algorithm, bytes)?,
        };
        Ok(())
    }

    /// The earliest second at which [`Self::begin`] may have something to do; `None` if it never will.
    pub(crate) fn refresh_at(&self) -> Option<u64> {
        let Origin::Url(fetching) = &self.origin else { return None };
        let spaced = |gap: u64| fetching.tried_seconds.map_or(0, |tried| tried.saturating_add(gap));
        Some(match fetching {
            Fetching { under_way: true, .. } => spaced(Self::FETCH_SECONDS_MAX),
            Fetching { wanted, .. } if !wanted.is_empty() => spaced(Self::FETCH_GAP_SECONDS),
            Fetching { due_seconds, .. } => spaced(Self::FETCH_GAP_SECONDS).max(*due_seconds),
        })
    }

    /// The address to fetch now, if a fetch is due or wanted and none is under way. It counts as begun.
    pub(crate) fn begin(&mut self, now_seconds: u64) -> Option<&str> {
        let Origin::Url(fetching) = &mut self.origin else { return None };
        let ready = match fetching.under_way {
            true => fetching.rested(now_seconds, Self::FETCH_SECONDS_MAX),
            false => {
                fetching.rested(now_seconds, Self::FETCH_GAP_SECONDS)
                    && (now_seconds >= fetching.due_seconds || !fetching.wanted.is_empty())
            }
        };
        if !ready {
            return None;
        }
        fetching.under_way = true;
        fetching.tried_seconds = Some(now_seconds);
        fetching.asked = std::mem::take(&mut fetching.wanted);
        Some(&fetching.url)
    }

    /// A fetch brought this body, fresh for `max_age_seconds` as its server says. On an error the old keys stay.
    pub(crate) fn refreshed(
        &mut self,
        now_seconds: u64,
        body: &[u8],
        max_age_seconds: Option<u64>,
    ) -> Result<(), KeyError> {
        let keys = match read_set(self.algorithm, body) {
            Ok(keys) => keys,
            Err(error) => {
                self.failed(now_seconds);
                return Err(error);
            }
        };
        self.keys = keys;
        let Origin::Url(fetching) = &mut self.origin else { return Ok(()) };
        let fresh = max_age_seconds.unwrap_or(Self::FRESH_SECONDS_DEFAULT);
        let fresh = fresh.clamp(Self::FRESH_SECONDS_MIN, Self::FRESH_SECONDS_MAX);
        fetching.due_seconds = now_seconds.saturating_add(fresh);
        (fetching.under_way, fetching.loaded, fetching.failures) = (false, true, 0);
        let known: BTreeSet<&str> = self.keys.iter().filter_map(|(id, _)| id.as_deref()).collect();
        fetching.missing.retain(|id, until| *until > now_seconds && !known.contains(id.as_ref()));
        for id in std::mem::take(&mut fetching.asked) {
            if !known.contains(id.as_ref()) && fetching.missing.len() < Self::MISSING_MAX {
                fetching.missing.insert(id, now_seconds.saturating_add(Self::MISSING_SECONDS));
            }
        }
        fetching.wanted.retain(|id| !known.contains(id.as_ref()));
        Ok(())
    }

    /// A fetch brought nothing usable. The old keys stay, and the next attempt waits longer each time.
    pub(crate) fn failed(&mut self, now_seconds: u64) {
        let Origin::Url(fetching) = &mut self.origin else { return };
        let wait = Self::FETCH_GAP_SECONDS << fetching.failures.min(8);
        fetching.failures = fetching.failures.saturating_add(1);
        fetching.due_seconds = now_seconds.saturating_add(wait.min(Self::RETRY_SECONDS_MAX));
        fetching.under_way = false;
        fetching.asked.clear();
    }
}

impl Fetching {
    /// Notes an unknown id. True if a fetch that may bring it is to come.
    fn want(&mut self, id: &str, now_seconds: u64) -> bool {
        if self.asked.contains(id) && self.under_way {
            return true;
        }
        let known_missing = self.missing.get(id).is_some_and(|until| now_seconds < *until);
        if known_missing || !(self.under_way || self.rested(now_seconds, KeySet::FETCH_GAP_SECONDS)) {
            return false;
        }
        if self.wanted.len() < KeySet::WANTED_MAX {
            self.wanted.insert(id.into());
        }
        self.wanted.contains(id)
    }

    /// Whether the last attempt lies that far back. A clock that was set back counts as far.
    fn rested(&self, now_seconds: u64, gap_seconds: u64) -> bool {
        self.tried_seconds.is_none_or(|tried| now_seconds.abs_diff(tried) >= gap_seconds)
    }
}

/// Reads a set in either form in which issuers publish one; keys that do not fit are skipped, for sets hold keys for
/// other purposes too. Source: RFC 7517 §5; Google's certificates by key id.
fn read_set(algorithm: Algorithm, bytes: &[u8]) -> Result<Vec<Named>, KeyError> {
    if bytes.len() > KeySet::SET_BYTES_MAX {
        return Err(KeyError::SetTooLarge { bytes: bytes.len() });
    }
    let set: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| KeyError::NoSet)?;
    let set = set.as_object().ok_or(KeyError::NoSet)?;
    let found: Vec<(Option<&str>, Option<Key>)> = match set.get("keys") {
        Some(serde_json::Value::Array(keys)) => bounded(keys)?
            .iter()
            .map(|jwk| (jwk.get("kid").and_then(serde_json::Value::as_str), Key::jwk(algorithm, jwk)))
            .collect(),
        Some(_) => return Err(KeyError::NoSet),
        None if set.is_empty() || !set.values().all(serde_json::Value::is_string) => return Err(KeyError::NoSet),
        None => {
            let certificates: Vec<_> = set.iter().collect();
            let pem = |value: &serde_json::Value| Key::pem(algorithm, value.as_str()?.as_bytes()).ok();
            bounded(&certificates)?.iter().map(|(id, value)| (Some(id.as_str()), pem(value))).collect()
        }
    };
    let count = found.len();
    let mut keys: Vec<Named> = Vec::new();
    for (id, key) in found {
        let Some(key) = key else { continue };
        // Of two keys with one id the first counts; an id that no token may carry makes a key unreachable.
        let taken = id.is_some() && keys.iter().any(|(other, _)| other.as_deref() == id);
        if !taken && id.is_none_or(|id| id.len() <= KEY_ID_BYTES_MAX) {
            keys.push((id.map(Into::into), Arc::new(key)));
        }
    }
    if keys.is_empty() { Err(KeyError::NoneFits { keys: count, algorithm }) } else { Ok(keys) }
}

fn bounded<T>(keys: &[T]) -> Result<&[T], KeyError> {
    if keys.len() > KeySet::KEYS_MAX { Err(KeyError::TooManyKeys { keys: keys.len() }) } else { Ok(keys) }
}

/// Whether keys may be fetched from there: nobody on the way must be able to swap them.
fn is_fetchable(url: &str) -> bool {
    let plain = !url.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    let of_loopback = |authority: &str| {
        let name = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        !authority.contains('@') && matches!(name, "localhost" | "127.0.0.1" | "::1")
    };
    plain
        && match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => !host(rest).is_empty(),
            (None, Some(rest)) => of_loopback(&host(rest)),
            (None, None) => false,
        }
}

/// Text from a file without the one line break that editors put at its end.
pub(crate) fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests;
