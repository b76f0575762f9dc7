//! What is written: documents of about 500 bytes under random names, the same in every run.

use hearth_core::write::{Operation, Precondition, Write};
use hearth_core::{DocPath, Map, Value};
use serde_json::{Value as Json, json};

/// The collection that everything is written to.
pub const COLLECTION: &str = "bench";
/// Bytes of the field that fills a document up to about 500, as document sizes are counted.
const BODY_BYTES: usize = 400;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Well mixed bits of a number. Source: the output function of SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(seed: u64, bytes: usize) -> String {
    let mut out = String::with_capacity(bytes);
    let mut bits = 0;
    for n in 0..bytes {
        if n % 12 == 0 {
            bits = mix(seed ^ (n as u64) << 40);
        }
        out.push(char::from(LETTERS[(bits & 31) as usize]));
        bits >>= 5;
    }
    out
}

/// The name of the n-th document: 20 random letters, as the server draws them.
pub fn id(n: usize) -> String {
    text(n as u64, 20)
}

/// The path of the n-th document.
pub fn path(n: usize) -> DocPath {
    DocPath::parse(&format!("{COLLECTION}/{}", id(n))).expect("two short segments of letters")
}

/// Its fields.
pub fn fields(n: usize) -> Map {
    let text = |salt: u64, bytes| Value::text(&text(mix(salt) ^ n as u64, bytes));
    Map::from([
        ("body".into(), text(1, BODY_BYTES)),
        ("n".into(), Value::Integer(n as i64)),
        ("room".into(), Value::text(&format!("room-{}", n % 100))),
        ("title".into(), text(2, 24)),
    ])
}

/// The same as JSON.
pub fn json(n: usize) -> Json {
    let text = |salt: u64, bytes| text(mix(salt) ^ n as u64, bytes);
    json!({ "body": text(1, BODY_BYTES), "n": n, "room": format!("room-{}", n % 100), "title": text(2, 24) })
}

/// The write that makes it.
pub fn set(n: usize) -> Write {
    Write::build(path(n), Operation::Set(fields(n)), Precondition::None, Vec::new()).expect("a plain write")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn documents_have_about_500_bytes_and_names_of_their_own() {
        for n in [0, 7, 999_999] {
            let bytes = hearth_core::size::document_bytes(&path(n), &fields(n));
            assert!((480..=540).contains(&bytes), "{bytes}");
        }
        assert_eq!((0..10_000).map(id).collect::<BTreeSet<_>>().len(), 10_000);
    }

    #[test]
    fn both_forms_say_the_same() {
        let (fields, json) = (fields(12), json(12));
        assert_eq!(json["n"], 12);
        for name in ["body", "room", "title"] {
            assert_eq!(fields[name], Value::text(json[name].as_str().unwrap()), "{name}");
        }
    }
}
