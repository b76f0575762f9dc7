//! Stories: the real program on a loopback port, read and written in every way that the native API offers.

mod bad;
mod common;
mod counters;
mod export;
mod feed;
mod links;
mod many;
mod origins;
mod parts;
mod plain;
mod polling;
mod preconditions;
mod query;
mod readme;
mod serve;
mod socket;
mod sse;
mod ttl;
mod writes;
