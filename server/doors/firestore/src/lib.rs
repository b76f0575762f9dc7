//! Firestore's protocol: what the official SDKs speak, unmodified.
//!
//! `convert` and `status` translate, `bounds` says what Firestore refuses, `session` and `writes` are the two streams as state machines, `service` does what
//! each method does whatever wire it came by. `serve` is the wire of gRPC, `rest` that of plain HTTP, `webchannel` that of
//! streams in web pages, `emulator` what tools ask of a server for development,
//! and `export` the files that Firebase's emulator and the cloud write.

mod bloom;
mod bounds;
mod convert;
mod emulator;
pub mod export;
pub mod fuzz;
mod names;
mod near;
mod rest;
mod serve;
mod service;
mod session;
mod status;
mod transaction;
mod webchannel;
mod writes;

pub use bounds::Bounds;
pub use serve::{Peer, routes};
pub use service::{Authenticate, Door};
pub use status::Refusal;
