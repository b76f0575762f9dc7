//! Fresh ids for documents, links and epochs: random, and long enough never to meet.

use hearth_core::Id;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Length of a fresh id. Source: Firestore's SDKs, automatic ids.
const LETTERS_COUNT: usize = 20;

/// Fills a buffer with random bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A fresh id: 20 of `A`–`Z`, `a`–`z`, `0`–`9`, each as likely as the others.
pub fn fresh_id() -> Id {
    let mut text = String::with_capacity(LETTERS_COUNT);
    while text.len() < LETTERS_COUNT {
        // 248 = 4 × 62: bytes above would make the first letters likelier.
        text.extend(
            random::<32>().iter().filter(|byte| **byte < 248).map(|byte| LETTERS[(byte % 62) as usize] as char),
        );
    }
    text.truncate(LETTERS_COUNT);
    Id::parse(&text).expect("letters and digits make an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_twenty_letters_and_differ() {
        let (a, b) = (fresh_id(), fresh_id());
        assert_eq!(a.as_str().len(), LETTERS_COUNT);
        assert!(a.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
