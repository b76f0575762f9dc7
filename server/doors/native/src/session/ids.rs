//! The ids that a client has used on one connection: none may come twice.

use std::collections::BTreeMap;

/// A set of ids, kept as ranges: a client that counts upwards costs one entry, whatever the number of its messages.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// First to last id of each range; ranges neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
}

/// Why an id cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdRefusal {
    /// It was used before on this connection.
    Used,
    /// Ids are so scattered that remembering them all has no bound.
    Scattered,
}

impl Ids {
    /// Most ranges that are remembered.
    pub(super) const RANGES_MAX: usize = 1_024;

    /// Takes an id out of the unused ones.
    pub(super) fn claim(&mut self, id: u64) -> Result<(), IdRefusal> {
        let below = self.ranges.range(..=id).next_back().map(|(first, last)| (*first, *last));
        let above = id.checked_add(1).and_then(|next| self.ranges.get(&next).copied());
        match (below, above) {
            (Some((_, last)), _) if last >= id => Err(IdRefusal::Used),
            (Some((first, last)), Some(end)) if last + 1 == id => {
                self.ranges.remove(&(id + 1));
                self.ranges.insert(first, end);
                Ok(())
            }
            (Some((first, last)), None) if last + 1 == id => {
                self.ranges.insert(first, id);
                Ok(())
            }
            (_, Some(end)) => {
                self.ranges.remove(&(id + 1));
                self.ranges.insert(id, end);
                Ok(())
            }
            (_, None) if self.ranges.len() >= Self::RANGES_MAX => Err(IdRefusal::Scattered),
            (_, None) => {
                self.ranges.insert(id, id);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn counting_upwards_costs_one_range() {
        let mut ids = Ids::default();
        (1..=10_000).for_each(|id| assert_eq!(ids.claim(id), Ok(())));
        assert_eq!(ids.ranges.len(), 1);
        assert_eq!(ids.claim(77), Err(IdRefusal::Used));
        assert_eq!(ids.claim(u64::MAX), Ok(()));
        assert_eq!(ids.claim(u64::MAX), Err(IdRefusal::Used));
    }

    #[test]
    fn scattered_ids_are_refused_before_they_grow_without_bound() {
        let mut ids = Ids::default();
        (0..Ids::RANGES_MAX as u64).for_each(|n| assert_eq!(ids.claim(n * 2), Ok(())));
        assert_eq!(ids.claim(1_000_000), Err(IdRefusal::Scattered));
        assert_eq!(ids.claim(1), Ok(()), "an id that closes a gap needs no room");
    }

    proptest! {
        #[test]
        fn an_id_is_used_exactly_when_it_came_before(ids in proptest::collection::vec(0..40_u64, 0..80)) {
            let (mut set, mut seen) = (Ids::default(), BTreeSet::new());
            for id in ids {
                prop_assert_eq!(set.claim(id).is_ok(), seen.insert(id));
            }
        }
    }
}
