//! Verifying tokens: the one place that decides whether a signed token is believed.
//!
//! `jsonwebtoken` does the signatures only. Which issuer, which key, which algorithm and what the claims must say is
//! decided here, because the library's defaults leave much unchecked. Source: RFC 7519, RFC 8725, Firebase's rules
//! for ID tokens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hearth_core::{Map, Value};

use crate::admin::sha256;
use crate::cache::Cache;
use crate::caller::{Caller, User};
use crate::claims;
use crate::jwt::{self, Unverified};
use crate::keys::{Algorithm, Found, KeyError, KeySet, KeySource};

/// One issuer whose tokens are believed.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What `iss` must say, to the letter.
    pub issuer: String,
    /// Of these, `aud` must name at least one. Not empty.
    pub audiences: Vec<String>,
    /// The only algorithm that is accepted.
    pub algorithm: Algorithm,
    /// Where its keys come from.
    pub keys: KeySource,
    /// The claim that holds the user's id, where it is not `sub`.
    pub uid_claim: Option<String>,
    /// By how much its clock and ours may differ, at most [`Issuer::LEEWAY_SECONDS_MAX`].
    pub leeway_seconds: u64,
}

impl Issuer {
    /// The leeway to take when none is configured.
    pub const LEEWAY_SECONDS_DEFAULT: u64 = 5;
    /// Largest leeway.
    pub const LEEWAY_SECONDS_MAX: u64 = 60;

    /// Firebase's own tokens have rules of their own: RS256, a key id, and one audience as plain text.
    fn is_firebase(&self) -> bool {
        ["https://securetoken.google.com/", "https://session.firebase.google.com/"]
            .iter()
            .any(|prefix| self.issuer.starts_with(prefix))
    }
}

/// Why the configured issuers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("an issuer without a name")]
    NoName,
    #[error("the issuer {issuer} is configured twice")]
    Twice { issuer: String },
    #[error("the issuer {issuer} has no audience, or an empty one")]
    NoAudience { issuer: String },
    #[error("the issuer {issuer} has an empty uid claim")]
    NoUidClaim { issuer: String },
    #[error("the issuer {issuer} has a leeway of {seconds} s, over the limit of {} s", Issuer::LEEWAY_SECONDS_MAX)]
    Leeway { issuer: String, seconds: u64 },
    #[error("Firebase signs with RS256, and the issuer {issuer} is configured with {algorithm}")]
    Firebase { issuer: String, algorithm: Algorithm },
    #[error("the keys of the issuer {issuer}: {error}")]
    Keys { issuer: String, error: KeyError },
}

/// Why a credential is not believed. The message may be told to anybody: it repeats nothing of token or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The header asks for something other than `Bearer`.
    #[error("only the scheme Bearer is understood")]
    Scheme,
    #[error("the token has {bytes} bytes, over the limit of {}", jwt::TOKEN_BYTES_MAX)]
    TooLong { bytes: usize },
    /// Not three parts of base64url with a JSON object in the first two, each name once.
    #[error("malformed token")]
    Malformed,
    /// Nobody signed it, and here that is not enough.
    #[error("unsigned token")]
    Unsigned,
    /// `iss` names nobody who is configured.
    #[error("unknown issuer")]
    UnknownIssuer,
    /// In dev: signed by somebody who is not configured.
    #[error(
        "unknown issuer: in dev, use an unsigned token or one that `hearth token` made, or configure the issuer and its keys in hearth.toml"
    )]
    NotConfigured,
    /// Signed in another way than its issuer signs.
    #[error("wrong algorithm")]
    Algorithm,
    /// No such key. `may_arrive`: a fetch that may bring it is to come (see [`Verifier::refreshes`]); ask again then.
    #[error("unknown key")]
    UnknownKey { may_arrive: bool },
    /// The issuer's keys were not fetched yet. Our fault and not the caller's: try again later.
    #[error("the issuer's keys are not loaded yet")]
    KeysNotLoaded,
    #[error("bad signature")]
    BadSignature,
    #[error("expired")]
    Expired,
    /// `nbf`, `iat` or `auth_time` lies in the future.
    #[error("not valid yet")]
    NotYetValid,
    /// A claim is missing, or is not what it must be.
    #[error("the claim {claim} is missing or is not what it must be")]
    Claim { claim: &'static str },
    #[error("wrong audience")]
    Audience,
    /// The user's id is missing, empty, too long or no text.
    #[error("no usable subject")]
    Subject,
}

impl TokenError {
    /// Whether the same token may be believed a little later without the caller doing anything.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::KeysNotLoaded | Self::UnknownKey { may_arrive: true })
    }
}

/// A fetch that is to be made now. Answer with [`Verifier::refreshed`] or [`Verifier::refresh_failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Whose keys.
    pub issuer: Box<str>,
    /// From where; redirects must not be followed to `http`.
    pub url: Box<str>,
}

/// Verifies tokens of the configured issuers. Shared by everybody who serves.
///
/// It fetches no keys. The program asks for [`Verifier::refreshes`] at start, at [`Verifier::refresh_at`], and
/// whenever an error is temporary; it brings what it fetched and lets the waiting caller try once more.
pub struct Verifier {
    issuers: BTreeMap<Box<str>, Trusted>,
    // Held for a look-up or an insertion, never while a signature is checked.
    cache: Mutex<Cache>,
}

/// An issuer, checked, with its keys.
struct Trusted {
    issuer: Issuer,
    firebase: bool,
    // Held for a look-up or while a new set is read, never while a signature is checked.
    keys: Mutex<KeySet>,
}

impl Verifier {
    /// A verifier for these issuers. With none, it refuses everything.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, ConfigError> {
        crate::install_token_crypto();
        let mut trusted = BTreeMap::new();
        for config in issuers {
            let issuer = config.issuer.clone();
            if issuer.is_empty() {
                return Err(ConfigError::NoName);
            }
            if config.audiences.is_empty() || config.audiences.iter().any(String::is_empty) {
                return Err(ConfigError::NoAudience { issuer });
            }
            if config.uid_claim.as_deref() == Some("") {
                return Err(ConfigError::NoUidClaim { issuer });
            }
            if config.leeway_seconds > Issuer::LEEWAY_SECONDS_MAX {
                return Err(ConfigError::Leeway { issuer, seconds: config.leeway_seconds });
            }
            let firebase = config.is_firebase();
            if firebase && config.algorithm != Algorithm::Rs256 {
                return Err(ConfigError::Firebase { issuer, algorithm: config.algorithm });
            }
            let keys = KeySet::new(config.algorithm, &config.keys)
                .map_err(|error| ConfigError::Keys { issuer: issuer.clone(), error })?;
            let entry = Trusted { issuer: config, firebase, keys: Mutex::new(keys) };
            if trusted.insert(issuer.as_str().into(), entry).is_some() {
                return Err(ConfigError::Twice { issuer });
            }
        }
        Ok(Self { issuers: trusted, cache: Mutex::default() })
    }

    /// The caller whom a signed token names, or why it is not believed.
    pub fn verify(&self, token: &str, now_seconds: u64) -> Result<Caller, TokenError> {
        if token.len() > jwt::TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let hash = sha256(token.as_bytes());
        if let Some(caller) = held(&self.cache).get(&hash, now_seconds) {
            return Ok(caller);
        }
        let parts = Unverified::parse(token)?;
        if parts.says_none() {
            return Err(TokenError::Unsigned);
        }
        // The issuer's own word chooses by whose rules the token is judged; it is then held to exactly those.
        let name = claims::text(&parts.claims, "iss").ok_or(TokenError::Claim { claim: "iss" })?;
        let trusted = self.issuers.get(name).ok_or(TokenError::UnknownIssuer)?;
        if parts.algorithm.as_ref() != trusted.issuer.algorithm.name() {
            return Err(TokenError::Algorithm);
        }
        if trusted.firebase && parts.key_id.is_none() {
            return Err(TokenError::UnknownKey { may_arrive: false });
        }
        let found = held(&trusted.keys).find(parts.key_id.as_deref(), now_seconds);
        let key = match found {
            Found::Key(key) => key,
            Found::Unknown { may_arrive } => return Err(TokenError::UnknownKey { may_arrive }),
            Found::NotLoaded => return Err(TokenError::KeysNotLoaded),
        };
        if !key.verifies(parts.message, parts.signature) {
            return Err(TokenError::BadSignature);
        }
        let caller = trusted.caller(parts.claims, now_seconds)?;
        // A set that was replaced meanwhile has cleared the cache before; a key that is gone must not come back in.
        let keys = held(&trusted.keys);
        if keys.holds(&key) {
            held(&self.cache).put(hash, token.len(), caller.clone(), now_seconds);
        }
        Ok(caller)
    }

    /// The fetches to make now. Each counts as begun; one that is never answered is asked for again after a minute.
    pub fn refreshes(&self, now_seconds: u64) -> Vec<Refresh> {
        let begin = |trusted: &Trusted| {
            let url = held(&trusted.keys).begin(now_seconds)?.into();
            Some(Refresh { issuer: trusted.issuer.issuer.as_str().into(), url })
        };
        self.issuers.values().filter_map(begin).collect()
    }

    /// When to ask for [`Verifier::refreshes`] next, in seconds since 1970; `None` if no keys are ever fetched.
    pub fn refresh_at(&self) -> Option<u64> {
        self.issuers.values().filter_map(|trusted| held(&trusted.keys).refresh_at()).min()
    }

    /// A fetch brought this body, and its server called it fresh for so long. On an error the old keys stay.
    pub fn refreshed(
        &self,
        issuer: &str,
        now_seconds: u64,
        body: &[u8],
        max_age_seconds: Option<u64>,
    ) -> Result<(), KeyError> {
        self.change_keys(issuer, |keys| keys.refreshed(now_seconds, body, max_age_seconds))
    }

    /// A fetch failed. The old keys stay.
    pub fn refresh_failed(&self, issuer: &str, now_seconds: u64) {
        if let Some(trusted) = self.issuers.get(issuer) {
            held(&trusted.keys).failed(now_seconds);
        }
    }

    /// The file with an issuer's keys changed, and this is in it now. On an error the old keys stay.
    pub fn replace_keys(&self, issuer: &str, bytes: &[u8]) -> Result<(), KeyError> {
        self.change_keys(issuer, |keys| keys.replace(bytes))
    }

    fn change_keys(
        &self,
        issuer: &str,
        change: impl FnOnce(&mut KeySet) -> Result<(), KeyError>,
    ) -> Result<(), KeyError> {
        let Some(trusted) = self.issuers.get(issuer) else { return Ok(()) };
        let mut keys = held(&trusted.keys);
        change(&mut keys)?;
        // Inside the lock: whoever verified by an old key and comes to cache the outcome finds the new set.
        held(&self.cache).clear();
        Ok(())
    }
}

impl Trusted {
    /// Judges the claims of a token whose signature is this issuer's.
    fn caller(&self, claims: Map, now_seconds: u64) -> Result<Caller, TokenError> {
        let leeway = self.issuer.leeway_seconds;
        let exp = time(&claims, "exp", f64::floor)?.ok_or(TokenError::Claim { claim: "exp" })?;
        let expires_seconds = exp.saturating_add(leeway);
        if now_seconds >= expires_seconds {
            return Err(TokenError::Expired);
        }
        for name in ["nbf", "iat", "auth_time"] {
            if time(&claims, name, f64::ceil)?.is_some_and(|time| time > now_seconds.saturating_add(leeway)) {
                return Err(TokenError::NotYetValid);
            }
        }
        if !self.hears(&claims) {
            return Err(TokenError::Audience);
        }
        let uid = match &self.issuer.uid_claim {
            None => jwt::uid(&claims, "sub")?,
            Some(claim) => {
                // `sub` is then not the id, but if it stands there it must still make sense.
                if claims.contains_key("sub") {
                    jwt::uid(&claims, "sub")?;
                }
                jwt::uid(&claims, claim)?
            }
        };
        let issuer = self.issuer.issuer.as_str().into();
        Ok(Caller::user(User { uid, issuer, claims, expires_seconds: Some(expires_seconds) }))
    }

    /// Whether the token is meant for us.
    fn hears(&self, claims: &Map) -> bool {
        let ours = |text: &str| self.issuer.audiences.iter().any(|audience| audience == text);
        match claims.get("aud") {
            Some(Value::Text(text)) => ours(text),
            Some(Value::Array(all)) if !self.firebase => {
                let texts: Option<Vec<&str>> = all
                    .iter()
                    .map(|one| if let Value::Text(text) = one { Some(text.as_ref()) } else { None })
                    .collect();
                texts.is_some_and(|texts| texts.into_iter().any(ours))
            }
            _ => false,
        }
    }
}

/// 9999-12-31T23:59:59Z. What lies behind it is no time in seconds, but most likely one in milliseconds.
const TIME_SECONDS_MAX: u64 = 253_402_300_799;

/// A time claim in whole seconds since 1970; `None` if it is absent. A fraction is rounded towards refusal.
fn time(claims: &Map, claim: &'static str, round: fn(f64) -> f64) -> Result<Option<u64>, TokenError> {
    let seconds = match claims.get(claim) {
        None => return Ok(None),
        Some(Value::Integer(seconds)) => u64::try_from(*seconds).ok(),
        // The cast saturates, and NaN does not come out of JSON; the bound below refuses what is too large.
        Some(Value::Double(seconds)) if *seconds >= 0.0 => Some(round(*seconds) as u64),
        Some(_) => None,
    };
    seconds.filter(|seconds| *seconds <= TIME_SECONDS_MAX).map(Some).ok_or(TokenError::Claim { claim })
}

/// What these locks guard is whole at every step, so a panic elsewhere while one was held does not spoil it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
