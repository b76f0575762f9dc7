//! The rules of the house, checked over our own files: nothing here starts a server.
//!
//! Each rule is a function over plain text or JSON that lists what breaks it, so that each is shown to fail on made-up
//! bad input before it is run on the repository.

mod arrows;
mod compatibility;
mod docs;
mod performance;
mod purity;
mod schemas;
mod tracked;
