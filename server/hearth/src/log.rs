//! What the program says on standard error while it runs. Credentials are taken out of every line, whoever logs it.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Settings;
use crate::exit::Exit;

/// Sets logging up for the rest of the process.
pub(crate) fn start(settings: &Settings) -> Result<(), Exit> {
    let filter = EnvFilter::try_new(&settings.log);
    let filter = filter.map_err(|error| Exit::usage(format!("log: {:?} is no filter: {error}", settings.log)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Redacted);
    // Only the first call counts, and there is only one.
    let _ = match settings.log_json {
        true => builder.json().try_init(),
        false => builder.with_ansi(is_coloured(&io::stderr())).try_init(),
    };
    Ok(())
}

/// Whether colours may go there. Source: no-color.org.
pub(crate) fn is_coloured(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Standard error without credentials.
#[derive(Clone, Copy, Debug)]
struct Redacted;

impl<'a> MakeWriter<'a> for Redacted {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Redacted {
    /// Takes one whole line, which is how the formatter writes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(redact(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Replaces what follows `ticket=` and `Bearer `, and everything that looks like a token.
fn redact(line: &str) -> String {
    let is_secret = |c: char| c.is_ascii_alphanumeric() || "-_.~+/=".contains(c);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let marks = ["ticket=", "Bearer ", "bearer ", "bearer.", "eyJ"];
    while let Some((at, mark)) = marks.iter().filter_map(|mark| Some((rest.find(mark)?, *mark))).min() {
        // The beginning of a token is part of it; the others only announce one.
        let kept = if mark == "eyJ" { at } else { at + mark.len() };
        out += &rest[..kept];
        out += "…";
        rest = rest[kept..].trim_start_matches(is_secret);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_reach_the_log() {
        let check = |line: &str, want: &str| assert_eq!(redact(line), want);
        check("GET /db/a?ticket=abc-_9&limit=5 200", "GET /db/a?ticket=…&limit=5 200");
        check("authorization: Bearer eyJh.eyJi.sig\n", "authorization: Bearer …\n");
        check("token \"eyJhbGciOi.eyJzdWIi.c2ln\" expired", "token \"…\" expired");
        check("protocols hearth.v1, bearer.ZXlK", "protocols hearth.v1, bearer.…");
        check("nothing to hide", "nothing to hide");
        check("ticket=", "ticket=…");
    }
}
