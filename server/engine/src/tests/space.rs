//! A disk on which the state finds no space for a while: nothing fails for good, and everything goes on when there is some.

use std::sync::atomic::AtomicBool;

use hearth_store::{Batch, Blob, Direction, KeyRange, StoreError};

use super::failures::open_on;
use super::*;

/// A state that takes nothing while its disk is full.
#[derive(Default)]
struct Crowded {
    inside: Memory,
    full: AtomicBool,
}

impl Store for Crowded {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        self.inside.get(key)
    }

    fn scan(&self, range: &KeyRange, way: Direction, keys_max: usize) -> Result<Vec<(Vec<u8>, Blob)>, StoreError> {
        self.inside.scan(range, way, keys_max)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(StoreError::NoSpace { free: 1, least: 2 }),
            false => self.inside.apply(batch),
        }
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.inside.size_bytes()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inside.close()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_without_space_waits_for_it_and_fails_nobody() {
    let store = Arc::new(Crowded::default());
    // Every commit is a generation of its own, and one may wait.
    let limits = Limits { generation_bytes_max: 1, generations_max: 1, ..Limits::default() };
    let database = open_on(store.clone(), limits, Box::new(NoLog::new()));
    commit(&database, vec![set("rooms/a", 1)]).await;
    database.apply_all();
    store.full.store(true, Ordering::SeqCst);
    // The first is durable in the log and waits for the state. With it waiting, there is no room for a second.
    commit(&database, vec![set("rooms/b", 2)]).await;
    let waits = database.try_apply().unwrap_err();
    assert!(matches!(waits, StoreError::NoSpace { .. }), "{waits}");
    let third = || CommitRequest { writes: vec![set("rooms/c", 3)], ..CommitRequest::default() };
    let refused = request(&database, third()).await.unwrap_err();
    assert!(matches!(&refused, CommitError::NotApplied { cause } if cause.contains("make space")), "{refused}");
    assert_eq!((listed(&database).await, database.read_only()), (2, None));

    store.full.store(false, Ordering::SeqCst);
    database.apply_all();
    request(&database, third()).await.unwrap();
    database.apply_all();
    assert_eq!(listed(&database).await, 3);
}

async fn listed(database: &Database) -> usize {
    database.query(&asked(database, rooms()), None).await.unwrap().docs.len()
}
