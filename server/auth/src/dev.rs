//! What only dev does, as the emulators of Firebase do: believing tokens that nobody signed, those of Firebase Auth without
//! their signature, and the credentials of Google's own servers, which a client sends by REST although an emulator is named.

use hearth_core::Map;

use crate::caller::{Caller, User};
use crate::jwt::{self, Unverified};
use crate::token::TokenError;
use crate::{claims, mint};

/// The credential that makes an admin in dev. Source: firebase-admin with an emulator's address set.
pub(crate) const OWNER: &str = "owner";

/// How an access token of Google's OAuth begins. Nobody but Google can say whose it is; its emulator takes each for an admin's.
const ACCESS: &str = "ya29.";

/// How Firebase Auth names itself; what follows is the project.
const FIREBASE: &str = "https://securetoken.google.com/";

/// How the mail address of a service account ends.
const SERVICE_ACCOUNT: &str = ".gserviceaccount.com";

/// Whether a credential is one that makes an admin in dev, whoever shows it.
pub(crate) fn is_admin(credential: &str) -> bool {
    credential == OWNER || credential.starts_with(ACCESS)
}

/// Whether a token is the one that a service account signs for itself, in place of an access token: an admin's, for it is
/// one in the cloud, past all rules. One that is for exchange names its audience and is none.
///
/// Source: `@google-cloud/firestore` and firebase-admin with `preferRest` and a key, which they also use before an emulator.
pub(crate) fn is_service_account(token: &Unverified<'_>) -> bool {
    let text = |name| claims::text(&token.claims, name);
    let is_own = text("iss").is_some_and(|issuer| issuer.ends_with(SERVICE_ACCOUNT) && text("sub") == Some(issuer));
    is_own && text("aud") != Some(mint::CUSTOM_TOKEN_AUDIENCE)
}

/// Whether a token says that Firebase Auth made it for a user. An app in development that signs in there shows it to an
/// emulator as well.
///
/// Source: Google's emulator of Firestore, tried: it believes one of any project, also when it has expired.
pub(crate) fn is_firebase(token: &Unverified<'_>) -> bool {
    let text = |name| claims::text(&token.claims, name);
    text("iss").is_some_and(|issuer| issuer.starts_with(FIREBASE)) && text("aud") != Some(mint::CUSTOM_TOKEN_AUDIENCE)
}

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
    named(token.claims)
}

/// The caller whom these claims name, for as long as it likes.
pub(crate) fn named(claims: Map) -> Result<Caller, TokenError> {
    let name = if claims.contains_key("sub") { "sub" } else { "user_id" };
    let uid = jwt::uid(&claims, name)?;
    let issuer = claims::text(&claims, "iss").unwrap_or_default().into();
    Ok(Caller::user(User { uid, issuer, claims, expires_seconds: None }))
}
