//! Who asks: tokens, their keys, the admin key, and tickets for those that cannot send a header.
//!
//! Nothing here reads a clock, draws randomness, opens a file or speaks HTTP: the time, random bytes and the bodies of
//! fetched key sets are arguments. What a caller may do is the rules' business, not this crate's.

pub mod admin;
mod cache;
pub mod caller;
pub mod claims;
mod dev;
pub mod gate;
mod jwt;
pub mod keys;
pub mod mint;
#[cfg(test)]
mod testing;
pub mod ticket;
pub mod token;

pub use admin::{AdminKey, AdminKeyError};
pub use caller::{Caller, Scope, User};
pub use gate::{Gate, Mode};
pub use keys::{Algorithm, KeyError, KeySource};
pub use mint::{Grant, MintError, Minter};
pub use ticket::{Opened, Pass, Ticket, TicketError, Tickets};
pub use token::{ConfigError, Issuer, Refresh, TokenError, Verifier};

/// Settles which cryptography this process uses, for tokens and for TLS. Call it first thing in `main`.
///
/// Both libraries look at their compile-time features when nobody chose, and panic at first use when two backends are
/// compiled in, which any dependency can cause. Calling this again does nothing.
pub fn install_crypto() {
    install_token_crypto();
    // An error means that a provider is installed already, which is all that is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The half of [`install_crypto`] without which no token can be read; whoever reads or makes one calls it.
pub(crate) fn install_token_crypto() {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
