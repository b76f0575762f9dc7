//! The gate: what a request shows, and whom that makes its caller. Every door asks here and nowhere else.

use crate::admin::AdminKey;
use crate::caller::Caller;
use crate::dev;
use crate::jwt::{TOKEN_BYTES_MAX, Unverified};
use crate::token::{TokenError, Verifier};

/// How much is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As Firebase's emulators do: unsigned tokens and those of Firebase Auth, whatever their expiry says, and as admins the
    /// credential `owner` and those of Google's servers. Whoever is configured is verified also here.
    Dev,
    /// Signed tokens of configured issuers and the admin key, nothing else.
    Serve,
}

/// Turns a credential into a caller.
pub struct Gate {
    verifier: Verifier,
    admin: Option<AdminKey>,
}

impl Gate {
    /// A gate that believes these issuers and, if there is one, this admin key.
    pub fn new(verifier: Verifier, admin: Option<AdminKey>) -> Self {
        Self { verifier, admin }
    }

    /// The caller behind a credential; none shown means [`Caller::Anonymous`]. What is shown and not believed is an
    /// error, never an anonymous caller: a client with an expired token must learn it.
    ///
    /// The mode is the request's, not the process's: with `--expose` some peers of a dev server get [`Mode::Serve`].
    pub fn admit(&self, mode: Mode, credential: Option<&str>, now_seconds: u64) -> Result<Caller, TokenError> {
        let Some(credential) = credential else { return Ok(Caller::Anonymous) };
        if credential.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: credential.len() });
        }
        if self.admin.as_ref().is_some_and(|key| key.matches(credential)) {
            return Ok(Caller::Admin);
        }
        if mode == Mode::Dev && dev::is_admin(credential) {
            return Ok(Caller::Admin);
        }
        if mode == Mode::Serve {
            return self.verifier.verify(credential, now_seconds);
        }
        let parts = Unverified::parse(credential)?;
        if parts.says_none() {
            return dev::believe(parts);
        }
        self.verifier.verify(credential, now_seconds).or_else(|error| match error {
            TokenError::UnknownIssuer if dev::is_service_account(&parts) => Ok(Caller::Admin),
            TokenError::UnknownIssuer if dev::is_firebase(&parts) => dev::named(parts.claims),
            TokenError::UnknownIssuer => Err(TokenError::NotConfigured),
            error => Err(error),
        })
    }

    /// The verifier, for bringing it keys.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The admin key, if there is one.
    pub fn admin(&self) -> Option<&AdminKey> {
        self.admin.as_ref()
    }
}

/// The credential of an `Authorization` header. Source: RFC 6750 §2.1; the scheme's case does not matter.
pub fn credential(header: &str) -> Result<&str, TokenError> {
    let (scheme, rest) = header.trim().split_once(' ').ok_or(TokenError::Scheme)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(rest.trim_start()) } else { Err(TokenError::Scheme) }
}

#[cfg(test)]
mod tests {
    use hearth_core::{Map, Value};

    use super::*;
    use crate::keys::Algorithm;
    use crate::mint::{self, Grant};
    use crate::testing::{self, NOW};
    use crate::token::Issuer;

    const KEY: &str = "test-only-admin-key-0123456789";

    fn gate() -> Gate {
        Gate::new(Verifier::new(vec![testing::secret_issuer()]).unwrap(), Some(AdminKey::parse(KEY).unwrap()))
    }

    fn check(mode: Mode, credential: &str, want: &str) {
        let got = match gate().admit(mode, Some(credential), NOW) {
            Ok(Caller::User(user)) => format!("user {}", user.uid),
            Ok(caller) => format!("{caller:?}"),
            Err(error) => format!("refused: {error}"),
        };
        assert_eq!(got, want, "{mode:?} {credential}");
    }

    #[test]
    fn nothing_shown_is_anonymous_and_something_wrong_is_not() {
        assert_eq!(gate().admit(Mode::Serve, None, NOW), Ok(Caller::Anonymous));
        check(Mode::Serve, "", "refused: malformed token");
        check(Mode::Dev, "", "refused: malformed token");
    }

    #[test]
    fn the_admin_key_opens_both_modes_and_owner_only_dev() {
        check(Mode::Serve, KEY, "Admin");
        check(Mode::Dev, KEY, "Admin");
        check(Mode::Dev, "owner", "Admin");
        check(Mode::Serve, "owner", "refused: malformed token");
        check(Mode::Serve, &KEY[1..], "refused: malformed token");
        check(Mode::Serve, &"a".repeat(8 * 1024 + 1), "refused: the token has 8193 bytes, over the limit of 8192");
        check(Mode::Dev, "Owner", "refused: malformed token");
    }

    #[test]
    fn unsigned_tokens_are_believed_in_dev_alone() {
        let grant = testing::grant("ada");
        let token = mint::unsigned(&grant, NOW).unwrap();
        check(Mode::Dev, &token, "user ada");
        check(Mode::Serve, &token, "refused: unsigned token");
        check(Mode::Dev, &format!("{token}c2ln"), "refused: bad signature");
    }

    #[test]
    fn unsigned_tokens_never_expire_in_dev() {
        let token = mint::unsigned(&testing::grant("ada"), 1_000).unwrap();
        let caller = gate().admit(Mode::Dev, Some(&token), NOW).unwrap();
        assert_eq!(caller.expires_seconds(), None);
    }

    #[test]
    fn unsigned_tokens_may_name_their_user_as_the_rules_test_kit_does() {
        let token = |claims: &str| format!("{}.{}.", testing::part(r#"{"alg":"none"}"#), testing::part(claims));
        check(Mode::Dev, &token(r#"{"user_id":"bob"}"#), "user bob");
        check(Mode::Dev, &token(r#"{"sub":"ada","user_id":"bob"}"#), "user ada");
        check(Mode::Dev, &token(r#"{"sub":"","user_id":"bob"}"#), "refused: no usable subject");
        check(Mode::Dev, &token("{}"), "refused: no usable subject");
        check(Mode::Dev, &token("[]"), "refused: malformed token");
    }

    #[test]
    fn custom_tokens_are_for_exchange_and_open_no_door() {
        let claims = format!(r#"{{"sub":"mail@example.com","uid":"ada","aud":"{}"}}"#, mint::CUSTOM_TOKEN_AUDIENCE);
        let token = format!("{}.{}.", testing::part(r#"{"alg":"none"}"#), testing::part(&claims));
        check(Mode::Dev, &token, "refused: wrong audience");
    }

    #[test]
    fn signed_tokens_are_verified_in_dev_too() {
        let minter = testing::secret_minter();
        let good = minter.mint(&testing::grant("ada"), NOW).unwrap();
        check(Mode::Dev, &good, "user ada");
        check(Mode::Serve, &good, "user ada");
        let old = minter.mint(&testing::grant("ada"), NOW - 7_200).unwrap();
        check(Mode::Dev, &old, "refused: expired");
        let strange = minter.mint(&Grant { issuer: "strange".into(), ..testing::grant("ada") }, NOW).unwrap();
        check(Mode::Serve, &strange, "refused: unknown issuer");
        let error = gate().admit(Mode::Dev, Some(&strange), NOW).unwrap_err();
        assert_eq!(error, TokenError::NotConfigured);
        assert!(error.to_string().contains("hearth.toml"));
    }

    /// A token with these claims and a signature of nobody we know.
    fn signed_by_a_stranger(claims: &str) -> String {
        format!("{}.{}.c2ln", testing::part(r#"{"alg":"RS256","kid":"a","typ":"JWT"}"#), testing::part(claims))
    }

    #[test]
    fn credentials_of_googles_servers_make_an_admin_in_dev_alone() {
        check(Mode::Dev, "ya29.a0Af_by-nobody", "Admin");
        check(Mode::Serve, "ya29.a0Af_by-nobody", "refused: malformed token");
        let account = "server@shop.iam.gserviceaccount.com";
        let own = signed_by_a_stranger(&format!(r#"{{"iss":"{account}","sub":"{account}","exp":{}}}"#, NOW + 60));
        check(Mode::Dev, &own, "Admin");
        check(Mode::Serve, &own, "refused: unknown issuer");
        let not_configured = format!("refused: {}", TokenError::NotConfigured);
        for claims in [
            format!(r#"{{"iss":"{account}","sub":"{account}","uid":"ada","aud":"{}"}}"#, mint::CUSTOM_TOKEN_AUDIENCE),
            format!(r#"{{"iss":"{account}","sub":"ada"}}"#),
            r#"{"iss":"ada@example.com","sub":"ada@example.com"}"#.to_owned(),
        ] {
            check(Mode::Dev, &signed_by_a_stranger(&claims), &not_configured);
        }
    }

    #[test]
    fn tokens_of_firebase_auth_are_believed_in_dev_alone() {
        let token = |project: &str, exp: u64| {
            let issuer = format!("https://securetoken.google.com/{project}");
            signed_by_a_stranger(&format!(
                r#"{{"iss":"{issuer}","aud":"{project}","sub":"ada","user_id":"ada","exp":{exp}}}"#
            ))
        };
        for token in [token("shop", NOW + 60), token("shop", NOW - 60), token("another", NOW + 60)] {
            check(Mode::Dev, &token, "user ada");
            check(Mode::Serve, &token, "refused: unknown issuer");
            let caller = gate().admit(Mode::Dev, Some(&token), NOW).unwrap();
            assert_eq!(caller.expires_seconds(), None, "as an unsigned token never does");
        }
        check(
            Mode::Dev,
            &signed_by_a_stranger(r#"{"iss":"https://securetoken.google.com/shop"}"#),
            "refused: no usable subject",
        );
        let not_configured = format!("refused: {}", TokenError::NotConfigured);
        for issuer in ["https://securetoken.google.com.example.org/shop", "https://example.org/securetoken.google.com/"]
        {
            let claims = format!(r#"{{"iss":"{issuer}","aud":"shop","sub":"ada"}}"#);
            check(Mode::Dev, &signed_by_a_stranger(&claims), &not_configured);
        }
        let claims = format!(
            r#"{{"iss":"https://securetoken.google.com/shop","aud":"{}","sub":"ada"}}"#,
            mint::CUSTOM_TOKEN_AUDIENCE
        );
        check(Mode::Dev, &signed_by_a_stranger(&claims), &not_configured);
    }

    #[test]
    fn tokens_of_firebase_auth_are_verified_in_dev_where_it_is_configured() {
        let firebase = Issuer {
            issuer: "https://securetoken.google.com/shop".into(),
            audiences: vec!["shop".into()],
            ..testing::issuer(Algorithm::Rs256)
        };
        let gate = Gate::new(Verifier::new(vec![firebase]).unwrap(), None);
        let claims = |project: &str, exp: u64| {
            format!(r#"{{"iss":"https://securetoken.google.com/{project}","aud":"{project}","sub":"ada","exp":{exp}}}"#)
        };
        let signed = |exp| testing::signed(Algorithm::Rs256, r#"{"alg":"RS256","kid":"a"}"#, &claims("shop", exp));
        let error = |token: &str| gate.admit(Mode::Dev, Some(token), NOW).map(|_| ());
        assert_eq!(error(&signed(NOW + 60)), Ok(()));
        assert_eq!(error(&signed(NOW - 60)), Err(TokenError::Expired));
        assert_eq!(error(&signed_by_a_stranger(&claims("shop", NOW + 60))), Err(TokenError::BadSignature));
        assert_eq!(error(&signed_by_a_stranger(&claims("another", NOW + 60))), Ok(()), "that one is not configured");
    }

    #[test]
    fn claims_reach_the_caller_raw() {
        let claims = Map::from([("roles".into(), Value::Array(vec![Value::text("editor")]))]);
        let token = mint::unsigned(&Grant { claims, ..testing::grant("ada") }, NOW).unwrap();
        let Caller::User(user) = gate().admit(Mode::Dev, Some(&token), NOW).unwrap() else { panic!("no user") };
        assert_eq!(user.claims["roles"], Value::Array(vec![Value::text("editor")]));
        assert_eq!(user.claims["sub"], Value::text("ada"));
        assert_eq!(user.claims["iat"], Value::Integer(NOW as i64));
    }

    #[test]
    fn the_header_is_read_leniently_in_form_and_strictly_in_scheme() {
        assert_eq!(credential("Bearer abc"), Ok("abc"));
        assert_eq!(credential("bEARER   abc "), Ok("abc"));
        for header in ["", "Bearer", "abc", "Basic dTpw", "Bearerabc"] {
            assert_eq!(credential(header), Err(TokenError::Scheme), "{header}");
        }
    }
}
