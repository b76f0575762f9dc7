//! The signals by which the system, or a person at a terminal, asks the program to stop.

use tokio::sync::watch;

use crate::exit::Exit;

/// The signals that ask the process to stop.
pub(crate) struct Signals {
    count: watch::Receiver<u32>,
    /// How many of them somebody was told of.
    told: u32,
}

impl Signals {
    /// Must be called within a runtime, in which a task counts them from now on.
    #[cfg(unix)]
    pub(crate) fn start() -> Result<Self, Exit> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(Exit::start)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Exit::start)?;
        let (sender, count) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count, told: 0 })
    }

    /// Must be called within a runtime, in which a task counts them from now on.
    #[cfg(not(unix))]
    pub(crate) fn start() -> Result<Self, Exit> {
        let (sender, count) = watch::channel(0);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|count| *count += 1);
            }
            // Where there is no such signal, nothing comes.
            std::future::pending::<()>().await;
        });
        Ok(Self { count, told: 0 })
    }

    /// Returns when there is a signal that nobody was told of.
    pub(crate) async fn next(&mut self) {
        let told = self.told;
        // The task that counts lives as long as the runtime.
        let _ = self.count.wait_for(|count| *count > told).await.map(drop);
        self.told += 1;
    }

    /// Forgets those that came so far: they were meant for somebody else.
    pub(crate) fn forget(&mut self) {
        self.told = *self.count.borrow();
    }
}
