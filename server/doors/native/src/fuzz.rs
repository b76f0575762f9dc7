//! What fuzzing needs of this crate (`tests/fuzz`): the parsers of a connection's bytes that are otherwise private.

use crate::frame::ClientMessage;
use crate::json::Context;

/// Reads one message of a WebSocket or a link; `None` where it is refused, and otherwise its id.
pub fn message(text: &[u8], context: &Context<'_>) -> Option<u64> {
    ClientMessage::parse(text, context).ok().map(|message| message.id)
}
