//! What clients share: the way to the database, the model, the clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use hearth_auth::Caller;
use hearth_core::query::{Query, QuerySpec};
use hearth_core::{Document, Value, Version};
use hearth_engine::{Authorized, Database, Single};

use crate::model::Model;
use crate::scheduler::Scheduler;

pub(crate) struct World {
    pub(crate) scheduler: Arc<Scheduler>,
    database: Mutex<Option<Arc<Single>>>,
    model: Mutex<Model>,
    commits: AtomicI64,
    /// Whether clients finish what they have begun, and begin nothing.
    draining: AtomicBool,
}

impl World {
    pub(crate) fn new(scheduler: Arc<Scheduler>) -> Arc<Self> {
        Arc::new(Self {
            scheduler,
            database: Mutex::default(),
            model: Mutex::default(),
            commits: AtomicI64::new(0),
            draining: AtomicBool::new(false),
        })
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    pub(crate) fn set_database(&self, database: Option<Arc<Single>>) {
        *self.database.lock().unwrap() = database;
    }

    pub(crate) fn single(&self) -> Option<Arc<Single>> {
        self.database.lock().unwrap().clone()
    }

    pub(crate) fn database(&self) -> Option<Database> {
        self.single().map(|single| single.database().clone())
    }

    pub(crate) fn next_commit(&self) -> i64 {
        self.commits.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn drain(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.scheduler.random(|random| random.index(end))
    }

    pub(crate) fn chance(&self, times: u64, of: u64) -> bool {
        self.scheduler.random(|random| random.chance(times, of))
    }

    /// Holds what was told of a query against the model.
    pub(crate) fn check(
        &self,
        what: &str,
        spec: &QuerySpec,
        version: Version,
        docs: &[Arc<Document>],
        numbers: Option<&[Value]>,
    ) {
        let mut model = self.model();
        let (wanted, numbers_wanted) = model.result(spec, version);
        assert_eq!(docs, wanted, "{what} at {version} is wrong: {spec:?}");
        assert_eq!(numbers, numbers_wanted.as_deref(), "{what} at {version} is wrong: {spec:?}");
        model.show(version);
    }
}

pub(crate) fn asked(database: &Database, spec: &QuerySpec) -> Authorized<Arc<Query>> {
    let query = Arc::new(Query::build(spec.clone()).unwrap());
    database.authorize_query(&Caller::Anonymous, query).unwrap()
}

/// Something that is waited for. It is looked at only when it has called.
pub(crate) struct Pending<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    called: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Box::pin(future), called: Arc::new(Flag(AtomicBool::new(true))) }
    }

    /// What has come of it, if it is done.
    pub(crate) fn poll(&mut self) -> Option<T> {
        if !self.called.0.swap(false, Ordering::AcqRel) {
            return None;
        }
        match self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(self.called.clone()))) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}
