//! Tokens: from where a listener goes on.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_core::Version;

/// What a client hands back to hear of everything since: the version it has seen, the epoch of the database, and the
/// query that it was given for. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The version of the last answer.
    pub version: Version,
    /// Drawn anew when a database is created, restored or wiped: a token of another epoch leads to a reset.
    pub epoch: u64,
    /// The hash of the query.
    pub query: u64,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token of this server; start without one")]
pub struct TokenError;

impl Token {
    const FORMAT: u8 = 1;
    const BYTES: usize = 1 + 3 * 8;

    /// Reads a token back from its text.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError)?;
        let bytes: [u8; Self::BYTES] = bytes.try_into().map_err(|_| TokenError)?;
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[0] != Self::FORMAT {
            return Err(TokenError);
        }
        Ok(Self { version: Version::from_micros(number(1)), epoch: number(9), query: number(17) })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [Self::FORMAT; Self::BYTES];
        bytes[1..9].copy_from_slice(&self.version.micros().to_be_bytes());
        bytes[9..17].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[17..].copy_from_slice(&self.query.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn the_text_of_a_token_stays_as_it_is() {
        let token = Token { version: Version::from_micros(1_700_000_000_000_000), epoch: 7, query: u64::MAX };
        expect!["AQAGCiQYHkAAAAAAAAAAAAf__________w"].assert_eq(&token.to_string());
        assert_eq!(Token::parse(&token.to_string()), Ok(token));
    }

    proptest! {
        #[test]
        fn other_text_is_refused_and_never_panics(text in "\\PC{0,40}") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}
