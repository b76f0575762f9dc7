//! What a command says, and how it ends when it does not end well: a sentence for a person and a code for a script.

use std::fmt;
use std::io::Write as _;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// What was asked for could not be done, or not all of it.
    Failed = 1,
    /// The command line or the configuration makes no sense.
    Usage = 2,
    /// The server cannot start: the data directory is in use or damaged, the address is taken, a key cannot be read.
    Start = 3,
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Exit {
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { code: Code::Failed, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: Code::Usage, message: message.to_string() }
    }

    pub(crate) fn start(message: impl fmt::Display) -> Self {
        Self { code: Code::Start, message: message.to_string() }
    }
}

/// Prints a line on standard output. That nobody reads it any more, as behind `| head -1`, is no fault.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
