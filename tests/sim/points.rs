//! The points at which a simulated process can be interrupted, crash or meet a broken machine.

/// Whose files something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    Log,
    Snapshots,
}

/// Who has a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Opening the database: rebuilding and replaying.
    Open,
    Plan,
    Log,
    Tell,
    Apply,
    Keep,
    /// Trims history.
    Maintain,
    Job,
    Client,
    Close,
}

/// Where a process is when something happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Create(On),
    Write(On),
    Truncate(On),
    Sync(On),
    Rename(On),
    Remove(On),
    SyncFolder(On),
    /// Somebody reads the state.
    Read(Who),
    /// Somebody changes the state.
    Apply(Who),
    /// Somebody has a turn.
    Turn(Who),
}

impl Point {
    /// Those at which a process is ended, before or after what is done there. The seeds of `./test` pass all of them.
    pub(crate) const CRASHES: [Self; 25] = [
        Self::Write(On::Log),
        Self::Sync(On::Log),
        Self::Truncate(On::Log),
        Self::Create(On::Log),
        Self::Rename(On::Log),
        Self::SyncFolder(On::Log),
        Self::Remove(On::Log),
        Self::Create(On::Snapshots),
        Self::Write(On::Snapshots),
        Self::Sync(On::Snapshots),
        Self::Rename(On::Snapshots),
        Self::SyncFolder(On::Snapshots),
        Self::Remove(On::Snapshots),
        Self::Apply(Who::Open),
        Self::Apply(Who::Apply),
        Self::Apply(Who::Keep),
        Self::Apply(Who::Maintain),
        Self::Apply(Who::Close),
        Self::Turn(Who::Plan),
        Self::Turn(Who::Log),
        // Between the sync and the replies.
        Self::Turn(Who::Tell),
        Self::Turn(Who::Apply),
        Self::Turn(Who::Keep),
        Self::Turn(Who::Job),
        Self::Turn(Who::Client),
    ];
}

/// What goes wrong at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone: nothing it does has an effect any more.
    Crashed,
    /// The disk is full.
    Full,
    /// The machine refuses.
    Broken,
}
