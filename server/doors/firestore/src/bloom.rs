//! Bloom filters of document names: how a client learns which of its documents are gone, when nobody remembers which
//! were deleted.
//!
//! Source: google.firestore.v1 `BloomFilter` as web SDKs read it: MD5 of the name gives two numbers, little-endian, and
//! the i-th bit is (first + i × second) mod 2⁶⁴ mod the number of bits.

use hearth_schema::v1;
use md5::{Digest, Md5};

/// Bits for each name: with seven hashes one name in a thousand is taken for another.
const BITS_PER_NAME: usize = 16;
/// Bits of the last byte that do not count. Any number of them would do but none: the web SDK's own tests ask for some.
const PADDING: u64 = 3;
const HASHES: u64 = 7;

/// The filter that holds these names.
pub(crate) fn of_names(names: impl ExactSizeIterator<Item = String>) -> v1::BloomFilter {
    if names.len() == 0 {
        return v1::BloomFilter { bits: Some(v1::BitSequence::default()), hash_count: 0 };
    }
    let mut bitmap = vec![0_u8; names.len() * BITS_PER_NAME / 8];
    let bits = bitmap.len() as u64 * 8 - PADDING;
    for name in names {
        for bit in places(&name, bits) {
            bitmap[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
    v1::BloomFilter { bits: Some(v1::BitSequence { bitmap, padding: PADDING as i32 }), hash_count: HASHES as i32 }
}

fn places(name: &str, bits: u64) -> impl Iterator<Item = u64> {
    let hash: [u8; 16] = Md5::digest(name.as_bytes()).into();
    let half = |from: usize| u64::from_le_bytes(hash[from..from + 8].try_into().expect("eight of sixteen bytes"));
    let (first, second) = (half(0), half(8));
    (0..HASHES).map(move |i| first.wrapping_add(i.wrapping_mul(second)) % bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nearly_nothing_else() {
        let name = |n: usize| format!("projects/p/databases/(default)/documents/rooms/{n}");
        let filter = of_names((0..1_000).map(name).collect::<Vec<_>>().into_iter());
        let v1::BitSequence { bitmap, padding } = filter.bits.unwrap();
        assert!((1..8).contains(&padding));
        let holds = |name: &str| {
            places(name, bitmap.len() as u64 * 8 - padding as u64)
                .all(|bit| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1)
        };
        assert!((0..1_000).all(|n| holds(&name(n))));
        assert!((1_000..11_000).filter(|n| holds(&name(*n))).count() < 50);
    }

    #[test]
    fn a_filter_of_nothing_has_no_bits_and_no_hashes() {
        let filter = of_names(std::iter::empty::<String>());
        assert_eq!((filter.bits.unwrap().bitmap.len(), filter.hash_count), (0, 0));
    }
}
