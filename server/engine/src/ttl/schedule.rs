//! When which document goes: those that go first, a bounded number of them. Told everything, the time too.

use std::collections::{BTreeSet, HashMap};

use hearth_core::{DocPath, Timestamp, Version};

/// A document that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) path: DocPath,
    /// When.
    pub(super) at: Timestamp,
    /// The commit that said so.
    pub(super) updated: Version,
}

/// The documents that go first.
#[derive(Debug)]
pub(super) struct Schedule {
    docs_max: usize,
    order: BTreeSet<(Timestamp, DocPath)>,
    by_path: HashMap<DocPath, (Timestamp, Version)>,
    /// From this time on there are documents that are not known here: there was no room for them.
    horizon: Option<Timestamp>,
}

impl Schedule {
    /// One that knows at most so many documents.
    pub(super) fn new(docs_max: usize) -> Self {
        Self { docs_max, order: BTreeSet::new(), by_path: HashMap::new(), horizon: None }
    }

    /// A document is as it is now: with a time at which it goes, or without one, or gone.
    pub(super) fn tell(&mut self, path: DocPath, goes: Option<(Timestamp, Version)>) {
        if let Some((at, _)) = self.by_path.remove(&path) {
            self.order.remove(&(at, path.clone()));
        }
        let Some((at, updated)) = goes.filter(|(at, _)| self.horizon.is_none_or(|horizon| *at < horizon)) else {
            return;
        };
        self.order.insert((at, path.clone()));
        self.by_path.insert(path, (at, updated));
        if self.order.len() > self.docs_max
            && let Some((at, path)) = self.order.pop_last()
        {
            self.by_path.remove(&path);
            self.horizon = Some(at);
        }
    }

    /// Takes out documents whose time has come, those that go first, at most so many.
    pub(super) fn take_due(&mut self, now: Timestamp, docs_max: usize) -> Vec<Expiry> {
        let mut due = Vec::new();
        while due.len() < docs_max
            && let Some((at, path)) = self.order.pop_first()
        {
            if at > now {
                self.order.insert((at, path));
                break;
            }
            if let Some((at, updated)) = self.by_path.remove(&path) {
                due.push(Expiry { path, at, updated });
            }
        }
        due
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at).or(self.horizon)
    }

    /// Whether documents may be due that are not known here, so that all must be looked at again.
    pub(super) fn is_used_up(&self, now: Timestamp) -> bool {
        self.order.is_empty() && self.horizon.is_some_and(|horizon| horizon <= now)
    }
}

#[cfg(test)]
mod tests {
    use hearth_core::Version;
    use proptest::prelude::*;

    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    fn tell(schedule: &mut Schedule, path: &str, at: Option<i64>) {
        let goes = at.map(|at| (time(at), Version::from_micros(7)));
        schedule.tell(DocPath::parse(&format!("s/{path}")).unwrap(), goes);
    }

    fn due(schedule: &mut Schedule, now: i64) -> String {
        let due = schedule.take_due(time(now), 2);
        due.iter().map(|due| format!("{}@{}", due.path.id(), due.at.micros())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_goes_first_is_taken_first_when_its_time_has_come() {
        let mut schedule = Schedule::new(10);
        for (path, at) in [("c", 30), ("a", 10), ("b", 20), ("d", 5)] {
            tell(&mut schedule, path, Some(at));
        }
        assert_eq!(schedule.next(), Some(time(5)));
        assert_eq!(due(&mut schedule, 4), "");
        assert_eq!(due(&mut schedule, 20), "d@5 a@10");
        assert_eq!(due(&mut schedule, 20), "b@20");
        assert_eq!(due(&mut schedule, 20), "");
        assert_eq!(schedule.next(), Some(time(30)));
        assert!(!schedule.is_used_up(time(100)));
    }

    #[test]
    fn a_document_goes_by_what_was_told_last() {
        let mut schedule = Schedule::new(10);
        tell(&mut schedule, "later", Some(10));
        tell(&mut schedule, "later", Some(50));
        tell(&mut schedule, "never", Some(10));
        tell(&mut schedule, "never", None);
        tell(&mut schedule, "sooner", Some(50));
        tell(&mut schedule, "sooner", Some(3));
        assert_eq!(due(&mut schedule, 49), "sooner@3");
        assert_eq!(due(&mut schedule, 50), "later@50");
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn what_has_no_room_is_looked_for_again_when_the_rest_is_gone() {
        let mut schedule = Schedule::new(2);
        for (path, at) in [("a", 10), ("b", 20), ("c", 15), ("d", 25), ("e", 20)] {
            tell(&mut schedule, path, Some(at));
        }
        assert!(!schedule.is_used_up(time(100)));
        assert_eq!(due(&mut schedule, 100), "a@10 c@15");
        assert_eq!(schedule.next(), Some(time(20)));
        assert!(!schedule.is_used_up(time(19)) && schedule.is_used_up(time(20)));
    }

    proptest! {
        /// However little room there is: what is taken, with looking at all again when it is used up, is what is due.
        #[test]
        fn with_any_room_all_that_is_due_is_taken(
            told in prop::collection::vec((0_u8..8, prop::option::of(0_i64..20)), 0..40), now in 0_i64..20, room in 1_usize..6,
        ) {
            let mut all = HashMap::new();
            let mut schedule = Schedule::new(room);
            for (path, at) in told {
                tell(&mut schedule, &path.to_string(), at);
                all.insert(path.to_string(), at);
            }
            loop {
                if schedule.is_used_up(time(now)) {
                    schedule = Schedule::new(room);
                    all.iter().for_each(|(path, at)| tell(&mut schedule, path, *at));
                }
                let due = schedule.take_due(time(now), 2);
                if due.is_empty() {
                    break;
                }
                for due in due {
                    prop_assert_eq!(all.remove(due.path.id()), Some(Some(due.at.micros())));
                }
            }
            prop_assert!(all.values().all(|at| at.is_none_or(|at| at > now)));
        }
    }
}
