//! The applier: one worker that brings frozen generations of all databases into the state.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use hearth_store::StoreError;

use crate::crew::{Crew, Found, Pace, Turn, Worker};
use crate::memtable::Memtable;

/// How long what is in no full generation may wait.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// A handle of the applier. It ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Applier {
    memtables: Arc<Mutex<Vec<Weak<Memtable>>>>,
    /// A waking that nobody has seen yet is enough.
    wake: mpsc::SyncSender<()>,
}

struct Applying {
    woken: mpsc::Receiver<()>,
    memtables: Arc<Mutex<Vec<Weak<Memtable>>>>,
}

impl Applier {
    pub(crate) fn start(crew: &dyn Crew) -> io::Result<Self> {
        let (wake, woken) = mpsc::sync_channel(1);
        let memtables = Arc::new(Mutex::new(Vec::new()));
        // Nobody waits for its end: what is not applied is in the log.
        drop(crew.hire("apply".into(), Box::new(Applying { woken, memtables: memtables.clone() }))?);
        Ok(Self { memtables, wake })
    }

    /// Takes care of a memtable for as long as it lives.
    pub(crate) fn add(&self, memtable: &Arc<Memtable>) {
        let mut memtables = self.memtables.lock().unwrap_or_else(PoisonError::into_inner);
        memtables.retain(|held| held.strong_count() > 0);
        memtables.push(Arc::downgrade(memtable));
    }

    /// Says that something is frozen.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

impl Worker for Applying {
    fn step(&mut self, pace: Pace) -> Turn {
        let idle = match pace.receive_within(&self.woken, IDLE_MAX) {
            Found::Work(()) => false,
            Found::Nothing => true,
            Found::Closed => return Turn::Over,
        };
        let held: Vec<Weak<Memtable>> = self.memtables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut turn = if idle && pace == Pace::Try { Turn::Nothing } else { Turn::Worked };
        for memtable in held.iter().filter_map(Weak::upgrade) {
            let failed_before = memtable.failure().is_some();
            if idle && !failed_before && memtable.freeze(1) > 0 {
                turn = Turn::Worked;
            }
            match memtable.apply_frozen() {
                // It has been said; the next turn comes when nothing else has for a second.
                Ok(()) | Err(StoreError::NoSpace { .. }) => {}
                Err(error) => {
                    tracing::error!(%error, "the state takes nothing more; the database is read-only until the next start");
                    turn = if failed_before { turn } else { Turn::Worked };
                }
            }
        }
        turn
    }
}
