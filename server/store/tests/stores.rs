//! One suite for every store, and a property: two kinds of store that are told the same answer the same.

use std::collections::BTreeMap;

use hearth_store::{Batch, Direction, KeyRange, Memory, Sled, SledOptions, Store, StoreError};
use proptest::prelude::*;

/// A store that lives in a folder of its own, removed with it.
fn sled() -> (tempfile::TempDir, Sled) {
    let folder = tempfile::tempdir().unwrap();
    let opened = Sled::open(&folder.path().join("state"), &SledOptions::default()).unwrap();
    assert_eq!(opened.set_aside, None);
    (folder, opened.store)
}

/// Everything that a store promises, one sentence a function.
macro_rules! promises {
    ($($name:ident)*) => {
        mod memory {
            $(#[test] fn $name() { super::$name(&super::Memory::new()); })*
        }
        mod sled {
            $(#[test] fn $name() { let (_folder, store) = super::sled(); super::$name(&store); })*
        }
    };
}

promises! {
    a_key_that_was_put_is_got_until_it_is_deleted
    of_two_changes_of_one_key_in_a_batch_the_later_holds
    a_range_holds_its_start_and_not_its_end
    a_page_has_at_most_as_many_keys_as_asked
    pages_join_without_gap_or_repetition_in_both_directions
    keys_are_compared_byte_by_byte
    an_empty_or_inverted_range_holds_nothing
    empty_and_long_keys_and_values_are_kept
    a_batch_shows_entirely_or_not_at_all
    a_closed_store_says_so
}

fn fill(store: &impl Store, keys: &[&[u8]]) {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(*key, key.to_vec());
    }
    store.apply(batch).unwrap();
}

fn range(from: &[u8], to: &[u8]) -> KeyRange {
    KeyRange { from: from.to_vec(), to: to.to_vec() }
}

fn keys(store: &impl Store, range: &KeyRange, direction: Direction, keys_max: usize) -> Vec<Vec<u8>> {
    let pairs = store.scan(range, direction, keys_max).unwrap();
    pairs.into_iter().map(|(key, _)| key).collect()
}

fn a_key_that_was_put_is_got_until_it_is_deleted(store: &impl Store) {
    assert_eq!(store.get(b"k"), Ok(None));
    fill(store, &[b"k"]);
    assert_eq!(store.get(b"k").unwrap().as_deref(), Some(b"k".as_slice()));
    assert_eq!(store.get(b"kk"), Ok(None));
    let mut batch = Batch::new();
    batch.delete(b"k");
    batch.delete(b"never there");
    store.apply(batch).unwrap();
    assert_eq!(store.get(b"k"), Ok(None));
}

fn of_two_changes_of_one_key_in_a_batch_the_later_holds(store: &impl Store) {
    let mut batch = Batch::new();
    batch.put(b"a", b"1".to_vec());
    batch.put(b"a", b"2".to_vec());
    batch.put(b"b", b"1".to_vec());
    batch.delete(b"b");
    batch.delete(b"c");
    batch.put(b"c", b"3".to_vec());
    store.apply(batch).unwrap();
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"2".as_slice()));
    assert_eq!(store.get(b"b"), Ok(None));
    assert_eq!(store.get(b"c").unwrap().as_deref(), Some(b"3".as_slice()));
}

fn a_range_holds_its_start_and_not_its_end(store: &impl Store) {
    fill(store, &[b"a", b"b", b"c", b"d"]);
    for direction in [Direction::Forward, Direction::Backward] {
        let mut found = keys(store, &range(b"b", b"d"), direction, 10);
        found.sort();
        assert_eq!(found, [b"b", b"c"]);
    }
}

fn a_page_has_at_most_as_many_keys_as_asked(store: &impl Store) {
    fill(store, &[b"a", b"b", b"c"]);
    let all = range(b"", b"z");
    assert_eq!(keys(store, &all, Direction::Forward, 2), [b"a", b"b"]);
    assert_eq!(keys(store, &all, Direction::Backward, 2), [b"c", b"b"]);
    assert!(keys(store, &all, Direction::Forward, 0).is_empty());
}

fn pages_join_without_gap_or_repetition_in_both_directions(store: &impl Store) {
    let all: Vec<Vec<u8>> = (0..500u16).map(|n| n.to_be_bytes()[..].repeat(1 + usize::from(n) % 3)).collect();
    let mut batch = Batch::new();
    for key in &all {
        batch.put(key.clone(), vec![7; 100]);
    }
    store.apply(batch).unwrap();
    let mut want = all;
    want.sort();
    for direction in [Direction::Forward, Direction::Backward] {
        let mut left = range(b"", &[0xff]);
        let mut found = Vec::new();
        loop {
            let page = keys(store, &left, direction, 7);
            let Some(last) = page.last() else { break };
            left = left.rest(direction, last);
            found.extend(page);
        }
        if direction == Direction::Backward {
            found.reverse();
        }
        assert_eq!(found, want);
    }
}

fn keys_are_compared_byte_by_byte(store: &impl Store) {
    fill(store, &[b"b", b"a", b"a\0", b"a\xff", b"\x7f", b"\x80", b"aa"]);
    let want: [&[u8]; 7] = [b"a", b"a\0", b"aa", b"a\xff", b"b", b"\x7f", b"\x80"];
    assert_eq!(keys(store, &range(b"", b"\xff"), Direction::Forward, 10), want);
}

fn an_empty_or_inverted_range_holds_nothing(store: &impl Store) {
    fill(store, &[b"a", b"b", b"c"]);
    for direction in [Direction::Forward, Direction::Backward] {
        assert!(keys(store, &range(b"b", b"b"), direction, 10).is_empty());
        assert!(keys(store, &range(b"c", b"a"), direction, 10).is_empty());
        assert!(keys(store, &range(b"b\0", b"c"), direction, 10).is_empty());
    }
}

fn empty_and_long_keys_and_values_are_kept(store: &impl Store) {
    let (long_key, long_value) = (vec![9; 6_000], vec![5; 3 << 20]);
    let mut batch = Batch::new();
    batch.put(b"", b"at the empty key".to_vec());
    batch.put(b"nothing", Vec::new());
    batch.put(long_key.clone(), long_value.clone());
    store.apply(batch).unwrap();
    assert_eq!(store.get(b"").unwrap().as_deref(), Some(b"at the empty key".as_slice()));
    assert_eq!(store.get(b"nothing").unwrap().as_deref(), Some(b"".as_slice()));
    assert_eq!(store.get(&long_key).unwrap().as_deref(), Some(long_value.as_slice()));
    assert_eq!(keys(store, &range(b"", &[0xff]), Direction::Forward, 10)[0], b"");
}

fn a_batch_shows_entirely_or_not_at_all(store: &impl Store) {
    // A reader that sees the first key of round n must not then find an older round at the last key.
    let number = |key: &[u8]| {
        let value = store.get(key).unwrap();
        value.map_or(0, |value| u32::from_le_bytes(value[..].try_into().unwrap()))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=200u32 {
                let mut batch = Batch::new();
                for key in [b"a", b"m", b"z"] {
                    batch.put(key, round.to_le_bytes().to_vec());
                }
                store.apply(batch).unwrap();
            }
        });
        while number(b"z") < 200 {
            let first = number(b"a");
            assert!(number(b"z") >= first);
        }
    });
}

fn a_closed_store_says_so(store: &impl Store) {
    fill(store, &[b"k"]);
    store.size_bytes().unwrap();
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(store.get(b"k"), Err(StoreError::Closed));
    assert_eq!(store.scan(&range(b"", b"z"), Direction::Forward, 1), Err(StoreError::Closed));
    assert_eq!(store.apply(Batch::new()), Err(StoreError::Closed));
    assert_eq!(store.size_bytes(), Err(StoreError::Closed));
}

type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Clone, Debug)]
enum Step {
    Apply(Changes),
    Scan(Vec<u8>, Vec<u8>, bool, usize),
    Reopen,
}

/// Few letters, so that keys meet, share prefixes and are deleted again.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&[0u8, 1, b'a', b'b', 0xff][..]), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    let value =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..40).prop_map(Some), Just(Some(vec![3; 9_000])), Just(None),];
    prop_oneof![
        4 => prop::collection::vec((key(), value), 0..30).prop_map(Step::Apply),
        4 => (key(), key(), any::<bool>(), 0..12usize)
            .prop_map(|(from, to, back, keys_max)| Step::Scan(from, to, back, keys_max)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sled_and_memory_and_a_plain_map_agree(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let open = || Sled::open(&path, &SledOptions { cache_bytes_max: 1 << 20, ..SledOptions::default() }).unwrap().store;
        let (memory, mut disk, mut model) = (Memory::new(), open(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Apply(changes) => {
                    for (key, value) in &changes {
                        match value {
                            Some(value) => drop(model.insert(key.clone(), value.clone())),
                            None => drop(model.remove(key)),
                        }
                    }
                    let batch: Batch = changes.into_iter().map(|(key, value)| (key, value.map(Into::into))).collect();
                    memory.apply(batch.clone()).unwrap();
                    disk.apply(batch).unwrap();
                }
                Step::Scan(from, to, back, keys_max) => {
                    let direction = if back { Direction::Backward } else { Direction::Forward };
                    let range = KeyRange { from, to };
                    let inside = model.iter().filter(|(key, _)| range.contains(key));
                    let mut want: Vec<_> = inside.map(|(key, value)| (key.clone(), value[..].into())).collect();
                    if back {
                        want.reverse();
                    }
                    want.truncate(keys_max);
                    prop_assert_eq!(&memory.scan(&range, direction, keys_max).unwrap(), &want);
                    prop_assert_eq!(&disk.scan(&range, direction, keys_max).unwrap(), &want);
                }
                Step::Reopen => {
                    disk.close().unwrap();
                    disk = open();
                }
            }
        }
        for (key, value) in &model {
            prop_assert_eq!(&memory.get(key).unwrap().unwrap()[..], &value[..]);
            prop_assert_eq!(&disk.get(key).unwrap().unwrap()[..], &value[..]);
        }
    }
}
