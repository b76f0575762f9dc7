//! Kills: the real process ends in the midst of its work, as often as a test wants, and nothing that was promised is lost.

mod load;
mod once;
mod tail;
