//! What only dev does: believing tokens that nobody signed, as the emulators of Firebase do.

use crate::caller::{Caller, User};
use crate::jwt::{self, Unverified};
use crate::token::TokenError;
use crate::{claims, mint};

/// The credential that makes an admin in dev. Source: firebase-admin with an emulator's address set.
pub(crate) const OWNER: &str = "owner";

/// The caller whom an unsigned token names: `alg` none and an empty signature. Its expiry is not looked at.
///
/// Source: tokens that firebase-admin and the rules test kit make for emulators; some say `user_id` without `sub`.
pub(crate) fn believe(token: Unverified<'_>) -> Result<Caller, TokenError> {
    if !token.signature.is_empty() {
        return Err(TokenError::BadSignature);
    }
    if claims::text(&token.claims, "aud") == Some(mint::CUSTOM_TOKEN_AUDIENCE) {
        return Err(TokenError::Audience);
    }
    let name = if token.claims.contains_key("sub") { "sub" } else { "user_id" };
    let uid = jwt::uid(&token.claims, name)?;
    let issuer = claims::text(&token.claims, "iss").unwrap_or_default().into();
    Ok(Caller::user(User { uid, issuer, claims: token.claims, expires_seconds: None }))
}
