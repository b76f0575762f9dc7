//! What the end-to-end tests stand on: the real program as a child process, and small clients of its protocols.
//!
//! Everything blocks and everything has a deadline ([`PATIENCE`]): a test that waits for what never comes fails with
//! what it saw, it does not hang. Nothing here sleeps to let something happen; it waits for a line, a byte or an exit.
//! The clients are small on purpose: they show bytes, follow no redirect, retry nothing, and know no type of the server.

use std::time::Duration;

pub mod compatibility;

mod cities;
mod fold;
mod http;
mod process;
mod random;
mod schema;
mod server;
mod socket;
mod sse;

pub use cities::{CITIES, cities_file};
pub use fold::{Fold, ids, number};
pub use http::{Answer, Ask, Connection, Stream};
pub use process::{Finished, Process};
pub use random::{Random, cycles, seed, setting};
pub use schema::{check_schema, repository, schema_faults};
pub use server::{Launch, Server, hearth, hearth_path};
pub use socket::{Socket, SocketEnd};
pub use sse::{Sse, SseEvent};

/// How long a test waits for what must come. Generous: CI has two cores and compiles beside.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test listens to be sure that nothing comes. Never the proof of anything by itself: pair it with an event
/// that would have come later.
pub const SILENCE: Duration = Duration::from_millis(200);
