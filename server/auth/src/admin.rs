//! The admin key: one secret that opens everything. Only its hash is kept, and compared in constant time.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The admin key, as its SHA-256. The key itself is not in here and cannot be printed.
#[derive(Clone)]
pub struct AdminKey {
    hash: [u8; 32],
}

/// Why text cannot be an admin key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminKeyError {
    #[error("the admin key has {characters} characters, fewer than {}", AdminKey::CHARACTERS_MIN)]
    TooShort { characters: usize },
    #[error("the admin key has {characters} characters, more than {}", AdminKey::CHARACTERS_MAX)]
    TooLong { characters: usize },
    #[error(
        "the admin key holds a character that a header cannot carry: only printable ASCII without spaces may stand in it"
    )]
    Character,
}

impl AdminKey {
    /// Shortest key: 24 characters of a random base64 text are 144 bits.
    pub const CHARACTERS_MIN: usize = 24;
    /// Longest key.
    pub const CHARACTERS_MAX: usize = 512;

    /// Takes the key that was configured. One line break at its end, as files have it, is no part of it.
    pub fn parse(text: &str) -> Result<Self, AdminKeyError> {
        let key = crate::keys::without_line_break(text.as_bytes());
        match key.len() {
            _ if !key.iter().all(u8::is_ascii_graphic) => Err(AdminKeyError::Character),
            characters if characters < Self::CHARACTERS_MIN => Err(AdminKeyError::TooShort { characters }),
            characters if characters > Self::CHARACTERS_MAX => Err(AdminKeyError::TooLong { characters }),
            _ => Ok(Self { hash: sha256(key) }),
        }
    }

    /// Whether a credential is the key. The time it takes does not tell how much of it was right.
    pub fn matches(&self, credential: &str) -> bool {
        verify_slices_are_equal(&self.hash, &sha256(credential.as_bytes())).is_ok()
    }

    /// Tells one admin key from another without telling the key.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.hash)
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "test-only-admin-key-0123456789";

    #[test]
    fn only_the_very_key_matches() {
        let key = AdminKey::parse(&format!("{KEY}\n")).unwrap();
        assert!(key.matches(KEY));
        for other in ["", "owner", &KEY[1..], &format!("{KEY}x"), &KEY.to_uppercase(), &format!("{KEY}\n")] {
            assert!(!key.matches(other), "{other}");
        }
    }

    #[test]
    fn short_long_and_unprintable_keys_are_refused_without_being_repeated() {
        assert_eq!(AdminKey::parse("owner").unwrap_err(), AdminKeyError::TooShort { characters: 5 });
        assert_eq!(AdminKey::parse("").unwrap_err(), AdminKeyError::TooShort { characters: 0 });
        assert_eq!(AdminKey::parse(&"a".repeat(513)).unwrap_err(), AdminKeyError::TooLong { characters: 513 });
        assert_eq!(AdminKey::parse("a key with spaces in the middle").unwrap_err(), AdminKeyError::Character);
        assert_eq!(AdminKey::parse(&"ä".repeat(30)).unwrap_err(), AdminKeyError::Character);
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", AdminKey::parse(KEY).unwrap()), "AdminKey(…)");
    }
}
