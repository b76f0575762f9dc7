//! Firestore's protocol: what the official SDKs speak, unmodified.
//!
//! `convert` and `status` translate, `session` and `writes` are the two streams as state machines, `service` does what
//! each method does whatever wire it came by, and `serve` is the one wire so far, gRPC.

mod bloom;
mod convert;
mod names;
mod near;
mod serve;
mod service;
mod session;
mod status;
mod transaction;
mod writes;

pub use serve::{Peer, routes};
pub use service::{Authenticate, Door};
