//! The three parts of a token, read but not believed. Who believes them, and why, stands in `token` and `dev`.
//!
//! Source: RFC 7515 (compact serialization), RFC 7519.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_core::{Map, Value};

use crate::claims;
use crate::token::TokenError;

/// Longest token that is looked at, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest key id that is looked up, in bytes.
pub(crate) const KEY_ID_BYTES_MAX: usize = 256;

/// A well-formed token of which nothing is proved.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    /// The header's `alg`, whatever it says.
    pub(crate) algorithm: Box<str>,
    /// The header's `kid`. A name to look up among keys we have, never a path or an address.
    pub(crate) key_id: Option<Box<str>>,
    pub(crate) claims: Map,
    /// What was signed: header and claims as they came.
    pub(crate) message: &'a str,
    /// The signature as it came, in base64url.
    pub(crate) signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Reads the parts. `jku`, `x5u`, `jwk` and `x5c` in the header are not even looked at: a token does not get to
    /// say by which key it wants to be judged.
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = object(header)?;
        // RFC 7515 §4.1.11: what a token calls critical must be understood, and we understand none of it.
        if header.contains_key("crit") {
            return Err(TokenError::Malformed);
        }
        let algorithm = claims::text(&header, "alg").ok_or(TokenError::Malformed)?.into();
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::Text(id)) if id.len() <= KEY_ID_BYTES_MAX => Some(id.as_ref().into()),
            Some(_) => return Err(TokenError::Malformed),
        };
        Ok(Self { algorithm, key_id, claims: object(payload)?, message, signature })
    }

    /// Whether the header says that nobody signed this.
    pub(crate) fn says_none(&self) -> bool {
        self.algorithm.eq_ignore_ascii_case("none")
    }
}

/// The caller's id out of the claim of that name: 1 to 128 characters, none of them a control character.
pub(crate) fn uid(claims: &Map, name: &str) -> Result<Box<str>, TokenError> {
    claims::text(claims, name).filter(|uid| is_uid(uid)).map(Into::into).ok_or(TokenError::Subject)
}

/// Whether text can be a user's id. Source: Firebase ID tokens, `sub`.
pub(crate) fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control)
}

fn object(part: &str) -> Result<Map, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    claims::parse(&json).map_err(|_| TokenError::Malformed)
}
