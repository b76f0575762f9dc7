//! The newest version that may be read: everything up to it is durable.

use hearth_core::Version;
use tokio::sync::watch;

/// A version that only rises, and can be waited for.
#[derive(Debug)]
pub(crate) struct Visible {
    version: watch::Sender<Version>,
}

impl Visible {
    pub(crate) fn new(version: Version) -> Self {
        Self { version: watch::Sender::new(version) }
    }

    pub(crate) fn version(&self) -> Version {
        *self.version.borrow()
    }

    /// Moves up. A version below the present one changes nothing.
    pub(crate) fn advance(&self, to: Version) {
        self.version.send_if_modified(|version| {
            let rises = to > *version;
            *version = to.max(*version);
            rises
        });
    }

    /// Returns when the version is above `version`.
    pub(crate) async fn above(&self, version: Version) {
        let mut changes = self.version.subscribe();
        // The sender lives as long as `self`, which is borrowed.
        let _ = changes.wait_for(|visible| *visible > version).await;
    }
}
