//! The door on WebChannel: Listen and Write for web pages, which have no streams in both directions.
//!
//! `webchannel::form` reads requests, `webchannel::session` is one session as a state machine, `webchannel::frame` its
//! framing; `webchannel::channels` runs sessions, `webchannel::streams` is what stands behind them, and `webchannel::serve`
//! answers HTTP. Everything else that a page needs is REST.

mod channels;
pub(crate) mod form;
mod frame;
mod serve;
mod session;
mod streams;

pub(crate) use serve::routes;
