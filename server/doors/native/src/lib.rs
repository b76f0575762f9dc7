//! The native API: one address for the same data, every transport.
//!
//! What a request means and what an answer looks like are pure functions here, from text to the core's types and
//! back; only `serve` and what stands below it touch sockets, and they decide nothing. Protocol: `docs/`.

pub mod address;
mod drive;
mod frame;
pub mod fuzz;
pub mod json;
mod links;
pub mod origin;
pub mod page;
pub mod params;
pub mod poll;
pub mod problem;
pub mod query_json;
pub mod respond;
mod serve;
mod session;
mod socket;
pub mod sse;
pub mod status;
pub mod writes;

pub use serve::{Asset, Authenticate, Door, DoorOptions, Peer, Route, router, routes, ttl_json};
