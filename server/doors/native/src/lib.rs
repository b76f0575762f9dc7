//! The native API: one address for the same data, every transport.
//!
//! What a request means and what an answer looks like are pure functions here, from text to the core's types and
//! back; only `serve` and what stands below it touch sockets, and they decide nothing. Protocol: `docs/`.

pub mod json;
pub mod problem;
pub mod status;
pub mod address;
pub mod params;
pub mod query_json;
pub mod writes;
