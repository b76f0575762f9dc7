//! Tokens that were verified already, by their SHA-256: a client sends the same one with every request.
//!
//! Bounded in entries and in bytes; when it is full, the oldest go. It holds no token, only hashes.

use std::collections::{HashMap, VecDeque};

use crate::caller::Caller;

/// Verified tokens, until they expire. All times in seconds since 1970.
#[derive(Default)]
pub(crate) struct Cache {
    entries: HashMap<[u8; 32], Entry>,
    /// Hashes in the order in which they came.
    order: VecDeque<[u8; 32]>,
    bytes: usize,
}

struct Entry {
    caller: Caller,
    /// When it was verified. With a clock set back to before that, `nbf` and `iat` must be looked at anew.
    since_seconds: u64,
    /// Length of the token, which bounds what its claims occupy.
    bytes: usize,
}

impl Cache {
    /// Most tokens.
    const ENTRIES_MAX: usize = 4_096;
    /// Most bytes of all tokens whose callers are kept.
    const BYTES_MAX: usize = 8 * 1024 * 1024;

    /// The caller of a token verified before, if it still holds at that time.
    pub(crate) fn get(&self, hash: &[u8; 32], now_seconds: u64) -> Option<Caller> {
        let entry = self.entries.get(hash)?;
        let holds = now_seconds >= entry.since_seconds && !entry.caller.is_expired(now_seconds);
        holds.then(|| entry.caller.clone())
    }

    /// Keeps what was verified just now.
    pub(crate) fn put(&mut self, hash: [u8; 32], bytes: usize, caller: Caller, now_seconds: u64) {
        match self.entries.insert(hash, Entry { caller, since_seconds: now_seconds, bytes }) {
            Some(old) => self.bytes -= old.bytes,
            None => self.order.push_back(hash),
        }
        self.bytes += bytes;
        while self.entries.len() > Self::ENTRIES_MAX || self.bytes > Self::BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }

    /// Forgets everything: a key may have been withdrawn.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use hearth_core::Map;

    use super::*;
    use crate::caller::User;

    fn caller(expires_seconds: u64) -> Caller {
        let expires_seconds = Some(expires_seconds);
        Caller::user(User { uid: "ada".into(), issuer: "i".into(), claims: Map::new(), expires_seconds })
    }

    #[test]
    fn what_was_verified_holds_until_it_expires_and_not_before_it_was_verified() {
        let mut cache = Cache::default();
        cache.put([1; 32], 100, caller(200), 100);
        assert_eq!(cache.get(&[1; 32], 199), Some(caller(200)));
        assert_eq!(cache.get(&[1; 32], 200), None);
        assert_eq!(cache.get(&[1; 32], 99), None);
        assert_eq!(cache.get(&[2; 32], 150), None);
    }

    #[test]
    fn entries_and_bytes_stay_bounded_and_the_oldest_go() {
        let hash = |n: usize| crate::admin::sha256(&n.to_le_bytes());
        let mut cache = Cache::default();
        for n in 0..=Cache::ENTRIES_MAX {
            cache.put(hash(n), 10, caller(200), 100);
            cache.put(hash(n), 10, caller(200), 100);
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (Cache::ENTRIES_MAX, Cache::ENTRIES_MAX));
        assert!(cache.get(&hash(0), 150).is_none() && cache.get(&hash(Cache::ENTRIES_MAX), 150).is_some());
        for n in 0..3_000 {
            cache.put(hash(n), 8 * 1024, caller(200), 100);
        }
        assert!(cache.bytes <= Cache::BYTES_MAX);
        assert_eq!(cache.bytes, cache.entries.values().map(|entry| entry.bytes).sum::<usize>());
    }
}
