//! Differences between two results, as steps that turn the array of one into that of the other.

use std::collections::HashMap;

use super::{EventChange, Kind};
use crate::path::DocPath;
use crate::query::Row;

/// The steps from `old` to `new`, both in the query's order: what is gone first, then the rest in the new order.
///
/// Positions hold at the moment of each step: to apply one, take out at `from`, then put in at `to`. No documents are
/// given. A document whose version and place are the same is no step.
pub fn diff(old: &[Row], new: &[Row]) -> Vec<EventChange> {
    let Slots { old: old_slots, new: new_slots, count } = Slots::merge(old, new);
    let changed = |old: &Row, new: &Row| old.version != new.version;
    // Which old row a new one was. Rows that kept their place share a slot; only the others are looked up by path.
    let mut stayed = vec![None; count];
    old_slots.iter().enumerate().for_each(|(index, slot)| stayed[*slot] = Some(index));
    let mut moved: HashMap<&DocPath, usize> = HashMap::new();
    let mut kept = vec![false; count];
    new_slots.iter().for_each(|slot| kept[*slot] = true);
    for (index, row) in old.iter().enumerate() {
        if !kept[old_slots[index]] {
            moved.insert(&row.path, index);
        }
    }
    let mut rest = Vec::new();
    for (row, slot) in new.iter().zip(&new_slots) {
        match stayed[*slot] {
            Some(index) if changed(&old[index], row) => rest.push((row, *slot, Some(*slot))),
            Some(_) => {}
            None => rest.push((row, *slot, moved.remove(&row.path).map(|index| old_slots[index]))),
        }
    }
    if rest.is_empty() && moved.is_empty() {
        return Vec::new();
    }
    let mut array = Present::new(count, &old_slots);
    let mut gone: Vec<usize> = moved.into_values().collect();
    gone.sort_unstable();
    let mut changes = Vec::with_capacity(gone.len() + rest.len());
    for index in gone {
        let from = array.take(old_slots[index]);
        changes.push(EventChange::new(Kind::Removed, &old[index].path, Some(from), None));
    }
    for (row, slot, was) in rest {
        let from = was.map(|was| array.take(was));
        let to = array.put(slot);
        let kind = if from.is_some() { Kind::Modified } else { Kind::Added };
        changes.push(EventChange::new(kind, &row.path, from, Some(to)));
    }
    changes
}

/// Both results laid over one line: each key has a slot, and rows with one key share it.
struct Slots {
    old: Vec<usize>,
    new: Vec<usize>,
    count: usize,
}

impl Slots {
    fn merge(old: &[Row], new: &[Row]) -> Self {
        let mut slots = Self { old: Vec::with_capacity(old.len()), new: Vec::with_capacity(new.len()), count: 0 };
        while slots.old.len() < old.len() || slots.new.len() < new.len() {
            let (a, b) = (old.get(slots.old.len()), new.get(slots.new.len()));
            let first = |x: Option<&Row>, y: Option<&Row>| match (x, y) {
                (Some(x), Some(y)) => x.key <= y.key,
                (x, _) => x.is_some(),
            };
            let (from_old, from_new) = (first(a, b), first(b, a));
            if from_old {
                slots.old.push(slots.count);
            }
            if from_new {
                slots.new.push(slots.count);
            }
            slots.count += 1;
        }
        slots
    }
}

/// Which slots are filled, with positions by prefix sums (a Fenwick tree), so that many changes to a large result do
/// not take quadratic time.
struct Present(Vec<u32>);

impl Present {
    fn new(count: usize, filled: &[usize]) -> Self {
        let mut tree = vec![0; count + 1];
        filled.iter().for_each(|slot| tree[slot + 1] = 1);
        for index in 1..tree.len() {
            let parent = index + (index & index.wrapping_neg());
            if parent < tree.len() {
                tree[parent] += tree[index];
            }
        }
        Self(tree)
    }

    /// Empties a slot and tells at which position it stood.
    fn take(&mut self, slot: usize) -> u32 {
        self.add(slot, u32::MAX);
        self.before(slot)
    }

    /// Fills a slot and tells at which position it stands.
    fn put(&mut self, slot: usize) -> u32 {
        self.add(slot, 1);
        self.before(slot)
    }

    fn add(&mut self, slot: usize, by: u32) {
        let mut index = slot + 1;
        while index < self.0.len() {
            self.0[index] = self.0[index].wrapping_add(by);
            index += index & index.wrapping_neg();
        }
    }

    fn before(&self, slot: usize) -> u32 {
        let (mut index, mut sum) = (slot, 0);
        while index > 0 {
            sum += self.0[index];
            index &= index - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;
    use crate::watch::fold;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Rows from texts such as `a3` or `a3*`: the document a at place 3; with a star as of a later commit.
    fn rows(text: &str) -> Vec<Row> {
        text.split_whitespace()
            .map(|word| {
                let (word, version) = word.strip_suffix('*').map_or((word, 1), |word| (word, 2));
                row(&word[..1], word[1..].parse().unwrap(), version)
            })
            .collect()
    }

    fn row(id: &str, place: u8, version: u64) -> Row {
        Row {
            key: [&[place], id.as_bytes()].concat().into(),
            path: DocPath::parse(&format!("c/{id}")).unwrap(),
            version: Version::from_micros(version),
        }
    }

    fn check(old: &str, new: &str, want: Expect) {
        let (old, new) = (rows(old), rows(new));
        let changes = diff(&old, &new);
        let text: Vec<String> = changes.iter().map(ToString::to_string).collect();
        want.assert_eq(&text.join(", "));
    }

    #[test]
    fn what_is_gone_comes_first_then_the_new_order() {
        check("a1 b2 c3", "a1 c3 d4", expect!["removed c/b 1, added c/d 2"]);
        check("a1 b2 c3", "", expect!["removed c/a 0, removed c/b 0, removed c/c 0"]);
        check("", "a1 b2", expect!["added c/a 0, added c/b 1"]);
        check("a1 b2", "a1 b2", expect![""]);
    }

    #[test]
    fn what_moved_is_modified_from_where_it_stood() {
        check("a1 b2 c3", "b2 c3 a4*", expect!["modified c/a 0 to 2"]);
        check("a1 b2 c3", "a1 b2* c3", expect!["modified c/b 1 to 1"]);
        // While a still stands in front, x comes behind it.
        check("a1 b2", "b2 x3 a4*", expect!["added c/x 2, modified c/a 0 to 2"]);
    }

    proptest! {
        #[test]
        fn folding_the_steps_gives_the_new_result(
            old in prop::collection::btree_map(0_u8..40, 0_u8..9, 0..30),
            new in prop::collection::btree_map(0_u8..40, (0_u8..9, any::<bool>()), 0..30),
        ) {
            let result = |docs: &BTreeMap<u8, (u8, u64)>| {
                let mut rows: Vec<Row> =
                    docs.iter().map(|(id, (place, version))| row(&id.to_string(), *place, *version)).collect();
                rows.sort_by(|a, b| a.key.cmp(&b.key));
                rows
            };
            let before: BTreeMap<u8, (u8, u64)> = old.iter().map(|(id, place)| (*id, (*place, 1))).collect();
            // A document that did not change its version cannot have changed its place.
            let after = new.iter().map(|(id, (place, keep))| (*id, match before.get(id) {
                Some(same) if *keep => *same,
                _ => (*place, 2),
            })).collect();
            let (before, after) = (result(&before), result(&after));
            let mut array: Vec<DocPath> = before.iter().map(|row| row.path.clone()).collect();
            fold(&mut array, &diff(&before, &after));
            prop_assert_eq!(array, after.iter().map(|row| row.path.clone()).collect::<Vec<_>>());
        }
    }
}
