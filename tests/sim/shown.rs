//! A result as a client keeps it, from what it is told.

use std::sync::Arc;

use hearth_core::query::QuerySpec;
use hearth_core::watch::{Event, Kind};
use hearth_core::{Document, Value, Version};
use hearth_engine::{Answer, Opening, Token};

use crate::world::World;

#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) version: Version,
    pub(crate) token: Token,
    pub(crate) docs: Vec<Arc<Document>>,
    pub(crate) numbers: Option<Vec<Value>>,
}

impl Shown {
    /// The result that a listener or a poller has after an answer, which has been found right.
    pub(crate) fn opened(before: Option<Self>, opening: &Opening, spec: &QuerySpec, world: &World) -> Self {
        let told = before.as_ref().map(|before| before.version).unwrap_or_default();
        let shown = match opening {
            Opening::Whole { answer, .. } => {
                let Answer { version, token, docs, aggregates, .. } = answer.clone();
                Self { version, token, docs, numbers: aggregates }
            }
            Opening::Since(event) => {
                let mut shown = before.expect("who is told differences has something");
                shown.fold(&event.event);
                shown.token = event.token;
                shown
            }
        };
        assert!(shown.version >= told, "an opening goes back from {told} to {}", shown.version);
        assert_eq!(shown.token.version, shown.version);
        world.check("an opening", spec, shown.version, &shown.docs, shown.numbers.as_deref());
        shown
    }

    /// Takes an event in, which comes after what is held.
    pub(crate) fn fold(&mut self, event: &Event) {
        assert!(event.version >= self.version, "an event goes back from {} to {}", self.version, event.version);
        self.version = event.version;
        for change in &event.changes {
            let old = change.from.map(|from| self.docs.remove(from as usize));
            assert!(old.is_none_or(|old| old.path == change.path), "{event:?}");
            if let Some(to) = change.to {
                let doc = change.doc.clone().expect("what is added or modified is present");
                self.docs.insert(to as usize, doc);
            }
            assert_eq!(change.kind == Kind::Removed, change.to.is_none());
        }
        if event.aggregates.is_some() {
            self.numbers.clone_from(&event.aggregates);
        } else {
            assert_eq!(self.docs.len(), event.size);
        }
    }
}
