//! The applier: one thread that brings frozen generations of all databases into the state.

use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Duration;

use crate::memtable::Memtable;

/// How long what is in no full generation may wait.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// A handle of the applier. It ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Applier {
    inner: Arc<Inner>,
}

struct Inner {
    memtables: Arc<Mutex<Vec<Weak<Memtable>>>>,
    /// A waking that nobody has seen yet is enough.
    wake: mpsc::SyncSender<()>,
}

impl Applier {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (wake, woken) = mpsc::sync_channel(1);
        let memtables = Arc::new(Mutex::new(Vec::new()));
        let all = memtables.clone();
        thread::Builder::new().name("apply".into()).spawn(move || run(&woken, &all))?;
        Ok(Self { inner: Arc::new(Inner { memtables, wake }) })
    }

    /// Takes care of a memtable for as long as it lives.
    pub(crate) fn add(&self, memtable: &Arc<Memtable>) {
        let mut memtables = self.inner.memtables.lock().unwrap_or_else(PoisonError::into_inner);
        memtables.retain(|held| held.strong_count() > 0);
        memtables.push(Arc::downgrade(memtable));
    }

    /// Says that something is frozen.
    pub(crate) fn wake(&self) {
        let _ = self.inner.wake.try_send(());
    }
}

fn run(woken: &mpsc::Receiver<()>, memtables: &Mutex<Vec<Weak<Memtable>>>) {
    loop {
        let idle = match woken.recv_timeout(IDLE_MAX) {
            Ok(()) => false,
            Err(mpsc::RecvTimeoutError::Timeout) => true,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let held: Vec<Weak<Memtable>> = memtables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for memtable in held.iter().filter_map(Weak::upgrade) {
            if idle && memtable.failure().is_none() {
                memtable.freeze(1);
            }
            if let Err(error) = memtable.apply_frozen() {
                tracing::error!(%error, "the state takes nothing more; the database is read-only until the next start");
            }
        }
    }
}
