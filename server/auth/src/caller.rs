//! The caller: who asks, once that is proved. How it is proved stands in `gate` and `token`.

use std::fmt;
use std::sync::Arc;

use hearth_core::Map;

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: no credential was shown. `request.auth` is null.
    #[default]
    Anonymous,
    /// Someone whose token was verified.
    User(Arc<User>),
    /// The holder of the admin key. Rules do not apply.
    Admin,
}

/// A user, as a token tells.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Who it is, within the issuer: 1 to 128 characters, none of them a control character.
    pub uid: Box<str>,
    /// The token's `iss`; empty for an unsigned token without one.
    pub issuer: Box<str>,
    /// Every claim of the token, raw: `request.auth.token` in rules. Whole numbers are integers, others doubles.
    pub claims: Map,
    /// From this second since 1970 on the token is refused: its `exp` and the issuer's leeway. `None` for unsigned
    /// tokens in dev, whose expiry is not checked.
    pub expires_seconds: Option<u64>,
}

impl fmt::Debug for User {
    /// Claims are personal and stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("uid", &self.uid)
            .field("issuer", &self.issuer)
            .field("expires_seconds", &self.expires_seconds)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// A user as a caller.
    pub fn user(user: User) -> Self {
        Self::User(Arc::new(user))
    }

    /// The user's id; `None` for anonymous callers and admins.
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::User(user) => Some(&user.uid),
            Self::Anonymous | Self::Admin => None,
        }
    }

    /// When this authority ends, in seconds since 1970: from that second on it must not be used. `None`: it does not.
    pub fn expires_seconds(&self) -> Option<u64> {
        match self {
            Self::User(user) => user.expires_seconds,
            Self::Anonymous | Self::Admin => None,
        }
    }

    /// Whether this authority has ended.
    pub fn is_expired(&self, now_seconds: u64) -> bool {
        self.expires_seconds().is_some_and(|end| now_seconds >= end)
    }

    /// Whose idempotency keys and links these are: the same for every token of one user of one issuer.
    ///
    /// All anonymous callers share one scope, so what they own must also be hard to guess.
    pub fn scope(&self) -> Scope {
        Scope(match self {
            Self::Anonymous => "anonymous".into(),
            Self::Admin => "admin".into(),
            // The length in front keeps ("a", "b c") and ("a b", "c") apart.
            Self::User(user) => format!("user {} {} {}", user.issuer.len(), user.issuer, user.uid).into(),
        })
    }
}

/// A stable name for a caller, under which things are kept for it. Survives restarts and new tokens; not for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The name, for storing and comparing.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(issuer: &str, uid: &str) -> Caller {
        Caller::user(User { uid: uid.into(), issuer: issuer.into(), claims: Map::new(), expires_seconds: Some(100) })
    }

    #[test]
    fn one_user_has_one_scope_and_no_two_callers_share_it() {
        let Caller::User(ada) = user("a", "ada") else { unreachable!() };
        let renewed = Caller::user(User { expires_seconds: Some(900), ..(*ada).clone() });
        assert_eq!(renewed.scope(), user("a", "ada").scope());
        let all = [
            Caller::Anonymous.scope(),
            Caller::Admin.scope(),
            user("a", "ada").scope(),
            user("b", "ada").scope(),
            user("a", "b c").scope(),
            user("a b", "c").scope(),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn authority_ends_at_its_second_and_admins_have_no_end() {
        assert!(!user("a", "ada").is_expired(99));
        assert!(user("a", "ada").is_expired(100));
        assert!(!Caller::Admin.is_expired(u64::MAX));
    }

    #[test]
    fn claims_stay_out_of_debug_output() {
        let claims = Map::from([("email".into(), hearth_core::Value::text("ada@example.com"))]);
        let user = User { uid: "ada".into(), issuer: "i".into(), claims, expires_seconds: None };
        assert!(!format!("{user:?}").contains("example.com"));
    }
}
