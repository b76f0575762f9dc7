//! Minting tokens: what `hearth token` does, and tests. The keys are the operator's own; nothing is stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_core::{Map, Value};
use jsonwebtoken::EncodingKey;

use crate::claims::{self, ClaimsError};
use crate::jwt::{self, KEY_ID_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::keys::{Algorithm, KeyError, KeySet, without_line_break};

/// The `aud` of custom tokens, which are exchanged for an ID token and never believed by a door.
/// Source: firebase-admin, `createCustomToken`.
pub(crate) const CUSTOM_TOKEN_AUDIENCE: &str =
    "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit";

/// Claims that a token's maker sets and nobody else. Source: firebase-admin, reserved claims; `user_id` repeats `sub`.
const RESERVED: [&str; 17] = [
    "iss",
    "aud",
    "sub",
    "iat",
    "exp",
    "nbf",
    "jti",
    "nonce",
    "azp",
    "acr",
    "amr",
    "cnf",
    "auth_time",
    "firebase",
    "at_hash",
    "c_hash",
    "user_id",
];

/// What a token is to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Its `iss`; the verifying side has it configured.
    pub issuer: String,
    /// Its `aud`.
    pub audience: String,
    /// Its `sub`: 1 to 128 characters, none of them a control character.
    pub uid: String,
    /// Further claims, at top level; none of the reserved ones.
    pub claims: Map,
    /// How long it holds, from 1 s to [`Grant::LIFETIME_SECONDS_MAX`].
    pub lifetime_seconds: u64,
}

impl Grant {
    /// Longest life: ten years.
    pub const LIFETIME_SECONDS_MAX: u64 = 10 * 366 * 24 * 60 * 60;
}

/// Why no token was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    #[error("a uid has 1 to 128 characters, none of them a control character")]
    Uid,
    #[error("issuer and audience must not be empty")]
    Empty,
    #[error("a lifetime of {seconds} s is not between 1 s and {} s", Grant::LIFETIME_SECONDS_MAX)]
    Lifetime { seconds: u64 },
    #[error("the claim {claim} is reserved")]
    Reserved { claim: String },
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error("the token would have {bytes} bytes, over the limit of {TOKEN_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("no PEM block with a PKCS #8 private key for {algorithm}")]
    Key { algorithm: Algorithm },
    #[error("a key id has 1 to {KEY_ID_BYTES_MAX} bytes")]
    KeyId,
    #[error(transparent)]
    Secret(#[from] KeyError),
}

/// Signs tokens with one key.
pub struct Minter {
    algorithm: Algorithm,
    key: EncodingKey,
    key_id: Option<Box<str>>,
}

impl Minter {
    /// Signs with HS256 and this secret, taken exactly as [`crate::KeySource::Secret`] takes it.
    pub fn secret(secret: &[u8]) -> Result<Self, MintError> {
        crate::install_token_crypto();
        let secret = without_line_break(secret);
        if secret.len() < KeySet::SECRET_BYTES_MIN {
            return Err(KeyError::SecretTooShort { bytes: secret.len() }.into());
        }
        Ok(Self { algorithm: Algorithm::Hs256, key: EncodingKey::from_secret(secret), key_id: None })
    }

    /// Signs with this private key.
    pub fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, MintError> {
        crate::install_token_crypto();
        let key = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::PublicForSecret.into()),
            Algorithm::Rs256 | Algorithm::Ps256 => EncodingKey::from_rsa_pem(pem),
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_pem(pem),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem),
        };
        let minter = Self { algorithm, key: key.map_err(|_| MintError::Key { algorithm })?, key_id: None };
        // A public key, or one of another curve, is found out only by signing.
        minter.sign("test").map(|_| minter)
    }

    /// Names its key in the tokens it makes.
    pub fn with_key_id(self, key_id: &str) -> Result<Self, MintError> {
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX {
            return Err(MintError::KeyId);
        }
        Ok(Self { key_id: Some(key_id.into()), ..self })
    }

    /// Makes a token that holds from now on.
    pub fn mint(&self, grant: &Grant, now_seconds: u64) -> Result<String, MintError> {
        let message = message(self.algorithm.name(), self.key_id.as_deref(), grant, now_seconds)?;
        let signature = self.sign(&message)?;
        bounded(format!("{message}.{signature}"))
    }

    fn sign(&self, message: &str) -> Result<String, MintError> {
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm.for_jsonwebtoken())
            .map_err(|_| MintError::Key { algorithm: self.algorithm })
    }
}

/// A token that nobody signed: good for dev and for emulators alone.
pub fn unsigned(grant: &Grant, now_seconds: u64) -> Result<String, MintError> {
    bounded(message("none", None, grant, now_seconds)? + ".")
}

/// A new secret for HS256, as text for a file or the configuration. `random` comes from the system's generator.
pub fn new_secret(random: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// Header and claims, as they are signed.
fn message(algorithm: &str, key_id: Option<&str>, grant: &Grant, now_seconds: u64) -> Result<String, MintError> {
    if !jwt::is_uid(&grant.uid) {
        return Err(MintError::Uid);
    }
    if grant.issuer.is_empty() || grant.audience.is_empty() {
        return Err(MintError::Empty);
    }
    if !(1..=Grant::LIFETIME_SECONDS_MAX).contains(&grant.lifetime_seconds) {
        return Err(MintError::Lifetime { seconds: grant.lifetime_seconds });
    }
    if let Some(claim) = RESERVED.iter().find(|claim| grant.claims.contains_key(**claim)) {
        return Err(MintError::Reserved { claim: (*claim).into() });
    }
    let time = |seconds: u64| Value::Integer(i64::try_from(seconds).unwrap_or(i64::MAX));
    let mut claims = grant.claims.clone();
    claims.extend([
        ("iss".into(), Value::text(&grant.issuer)),
        ("aud".into(), Value::text(&grant.audience)),
        ("sub".into(), Value::text(&grant.uid)),
        ("user_id".into(), Value::text(&grant.uid)),
        ("iat".into(), time(now_seconds)),
        ("auth_time".into(), time(now_seconds)),
        ("exp".into(), time(now_seconds.saturating_add(grant.lifetime_seconds))),
    ]);
    let mut header = Map::from([("alg".into(), Value::text(algorithm)), ("typ".into(), Value::text("JWT"))]);
    header.extend(key_id.map(|id| ("kid".into(), Value::text(id))));
    let encode = |map: &Map| Ok::<_, MintError>(URL_SAFE_NO_PAD.encode(claims::print(map)?));
    Ok(format!("{}.{}", encode(&header)?, encode(&claims)?))
}

fn bounded(token: String) -> Result<String, MintError> {
    if token.len() > TOKEN_BYTES_MAX { Err(MintError::TooLong { bytes: token.len() }) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, NOW};
    use crate::token::Verifier;

    #[test]
    fn what_is_minted_is_believed_with_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let verifier = Verifier::new(vec![testing::issuer(algorithm)]).unwrap();
            let token = testing::minter(algorithm).mint(&testing::grant("ada"), NOW).unwrap();
            let caller = verifier.verify(&token, NOW);
            assert_eq!(caller.as_ref().map(|caller| caller.uid()), Ok(Some("ada")), "{algorithm}");
            assert_eq!(caller.unwrap().expires_seconds(), Some(NOW + 3_600 + 5));
        }
    }

    #[test]
    fn nonsense_is_not_minted() {
        let minter = testing::secret_minter();
        let refused = |grant: Grant| minter.mint(&grant, NOW).unwrap_err();
        assert_eq!(refused(testing::grant("")), MintError::Uid);
        assert_eq!(refused(testing::grant(&"u".repeat(129))), MintError::Uid);
        assert_eq!(refused(testing::grant("a\u{0}b")), MintError::Uid);
        assert_eq!(refused(Grant { audience: String::new(), ..testing::grant("ada") }), MintError::Empty);
        let lifetime = |lifetime_seconds| Grant { lifetime_seconds, ..testing::grant("ada") };
        assert_eq!(refused(lifetime(0)), MintError::Lifetime { seconds: 0 });
        assert_eq!(refused(lifetime(u64::MAX)), MintError::Lifetime { seconds: u64::MAX });
        let claims = |name: &str, value| Grant { claims: Map::from([(name.into(), value)]), ..testing::grant("ada") };
        assert_eq!(refused(claims("exp", Value::Integer(1))), MintError::Reserved { claim: "exp".into() });
        assert!(matches!(refused(claims("a", Value::Double(f64::NAN))), MintError::Claims(_)));
        assert!(matches!(refused(claims("a", Value::text(&"x".repeat(8_000)))), MintError::TooLong { .. }));
    }

    #[test]
    fn keys_that_cannot_sign_are_refused_at_once() {
        assert!(matches!(Minter::secret(b"short\n"), Err(MintError::Secret(KeyError::SecretTooShort { bytes: 5 }))));
        let public = testing::public_pem(Algorithm::Rs256);
        assert!(matches!(Minter::pem(Algorithm::Rs256, public.as_bytes()), Err(MintError::Key { .. })));
        let other_curve = testing::private_pem(Algorithm::Es384);
        assert!(matches!(Minter::pem(Algorithm::Es256, other_curve.as_bytes()), Err(MintError::Key { .. })));
        assert!(matches!(Minter::pem(Algorithm::EdDsa, b"no pem"), Err(MintError::Key { .. })));
        assert!(testing::secret_minter().with_key_id(&"k".repeat(257)).is_err());
    }

    #[test]
    fn a_new_secret_is_long_enough_as_it_stands() {
        let secret = new_secret([7; 32]);
        assert!(Minter::secret(secret.as_bytes()).is_ok());
        assert_ne!(secret, new_secret([8; 32]));
    }
}
