//! Who may: the one place that a request passes before it can learn or change anything.
//!
//! [`Authorized`] cannot be made outside this file, and reading and writing demand one: a door that forgets to ask does
//! not compile.

use std::ops::Deref;

use hearth_auth::Caller;

/// What callers may do where no rules are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone may do everything: for development.
    Open,
    /// Admins may do everything, and users who are signed in what is said here; others nothing.
    Closed {
        /// What users may.
        signed_in: SignedIn,
    },
}

/// What users who are signed in may do without rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// Nothing.
    Nothing,
    /// Read every document.
    Read,
    /// Read and write every document.
    Write,
}

/// Why a caller may not. Says nothing about the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is signed in; with a token it might be allowed.
    #[error("sign in: this needs a token")]
    SignIn,
    /// The caller is known, and may not.
    #[error("this is not allowed to you; what users may do is set in hearth.toml under [access]")]
    Forbidden,
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Read,
    Write,
    /// What only the owner of the server may: see everything that happens.
    Administer,
}

/// Something that its caller was found to be allowed.
#[derive(Clone, Debug)]
pub struct Authorized<T> {
    subject: T,
    caller: Caller,
}

impl<T> Authorized<T> {
    /// Who asked.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn into_parts(self) -> (T, Caller) {
        (self.subject, self.caller)
    }
}

impl<T> Deref for Authorized<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.subject
    }
}

impl Access {
    pub(crate) fn authorize<T>(self, caller: &Caller, act: Act, subject: T) -> Result<Authorized<T>, Denied> {
        let allowed = match (self, caller, act) {
            (Self::Open, _, _) | (_, Caller::Admin, _) => true,
            (Self::Closed { signed_in }, Caller::User(_), Act::Read) => signed_in != SignedIn::Nothing,
            (Self::Closed { signed_in }, Caller::User(_), Act::Write) => signed_in == SignedIn::Write,
            (Self::Closed { .. }, Caller::User(_), Act::Administer) => false,
            (Self::Closed { .. }, Caller::Anonymous, _) => return Err(Denied::SignIn),
        };
        match allowed {
            true => Ok(Authorized { subject, caller: caller.clone() }),
            false => Err(Denied::Forbidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_auth::User;
    use hearth_core::Map;

    #[test]
    fn without_rules_only_what_the_setting_says_is_allowed() {
        let user = User { uid: "ada".into(), issuer: "i".into(), claims: Map::new(), expires_seconds: None };
        let callers = [Caller::Anonymous, Caller::user(user), Caller::Admin];
        let acts = [Act::Read, Act::Write, Act::Administer];
        let table = |access: Access| -> Vec<String> {
            let row = |caller| {
                let cell = |act| match access.authorize(caller, act, ()) {
                    Ok(_) => "yes",
                    Err(Denied::SignIn) => "sign in",
                    Err(Denied::Forbidden) => "no",
                };
                acts.map(cell).join(" ")
            };
            callers.iter().map(row).collect()
        };
        let closed = |signed_in| table(Access::Closed { signed_in });
        assert_eq!(table(Access::Open), ["yes yes yes", "yes yes yes", "yes yes yes"]);
        assert_eq!(closed(SignedIn::Nothing), ["sign in sign in sign in", "no no no", "yes yes yes"]);
        assert_eq!(closed(SignedIn::Read), ["sign in sign in sign in", "yes no no", "yes yes yes"]);
        assert_eq!(closed(SignedIn::Write), ["sign in sign in sign in", "yes yes no", "yes yes yes"]);
    }
}
