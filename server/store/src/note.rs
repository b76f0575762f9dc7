//! A note: a small text file that is replaced as a whole, durably, and that says when it is damaged.
//!
//! The first line names its kind and format, the last holds a checksum of all before it, and between them stand lines
//! of fields parted by tabs. All small files of a data directory are notes, so a person can read them.

use std::fs;
use std::io;
use std::path::Path;

use crate::durable;

/// What a note is about, and in which format it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) format: u32,
}

/// The fields of one line.
pub(crate) type Line = Vec<String>;

/// Longest note, in bytes: room for tens of thousands of databases in a catalog.
pub(crate) const NOTE_BYTES_MAX: usize = 16 << 20;

/// Why a note could not be read or written.
#[derive(Debug)]
pub(crate) enum NoteError {
    Io(io::Error),
    /// The checksum or the shape is wrong.
    Damaged,
    /// It is whole enough to say that it has this format.
    Format(u32),
    /// It would be over [`NOTE_BYTES_MAX`].
    TooLong,
}

/// Writes the note at `path`, in place of one that is there. Durable on return.
pub(crate) fn write(path: &Path, kind: Kind, lines: &[Line]) -> Result<(), NoteError> {
    let text = print(kind, lines);
    if text.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLong);
    }
    durable::replace(path, text.as_bytes()).map_err(NoteError::Io)
}

/// Reads the note at `path`; `None` where there is no file.
pub(crate) fn read(path: &Path, kind: Kind) -> Result<Option<Vec<Line>>, NoteError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(NoteError::Io)?,
    };
    if metadata.len() > NOTE_BYTES_MAX as u64 {
        return Err(NoteError::Damaged);
    }
    let bytes = fs::read(path).map_err(NoteError::Io)?;
    parse(kind, &bytes).map(Some)
}

fn print(kind: Kind, lines: &[Line]) -> String {
    let mut text = format!("hearth {} {}\n", kind.name, kind.format);
    for line in lines {
        let fields: Vec<String> = line.iter().map(|field| escape(field)).collect();
        text.push_str(&fields.join("\t"));
        text.push('\n');
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("crc32c {crc:08x}\n"));
    text
}

fn parse(kind: Kind, bytes: &[u8]) -> Result<Vec<Line>, NoteError> {
    let text = std::str::from_utf8(bytes).map_err(|_| NoteError::Damaged)?;
    let (first, _) = text.split_once('\n').ok_or(NoteError::Damaged)?;
    let start = format!("hearth {} ", kind.name);
    let format = first.strip_prefix(&start).and_then(|format| format.parse().ok());
    match format {
        None => return Err(NoteError::Damaged),
        // Before the checksum: another format may have another one.
        Some(found) if found != kind.format => return Err(NoteError::Format(found)),
        Some(_) => {}
    }
    let whole = text.strip_suffix('\n').ok_or(NoteError::Damaged)?;
    let at = whole.rfind('\n').ok_or(NoteError::Damaged)? + 1;
    let (body, last) = (&text[..at], &whole[at..]);
    if last != format!("crc32c {:08x}", crc32c::crc32c(body.as_bytes())) {
        return Err(NoteError::Damaged);
    }
    let lines = body.split_terminator('\n').skip(1);
    lines.map(|line| line.split('\t').map(unescape).collect::<Option<Line>>().ok_or(NoteError::Damaged)).collect()
}

fn escape(field: &str) -> String {
    field.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn unescape(field: &str) -> Option<String> {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(char) = chars.next() {
        text.push(match char {
            '\\' => match chars.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                _ => return None,
            },
            char => char,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind { name: "test", format: 3 };

    #[test]
    fn a_note_is_text_that_a_person_can_read() {
        let text = print(KIND, &[vec!["name".into(), "with\ttab \\ and\nline".into()], vec!["end".into()]]);
        expect![[r#"
            hearth test 3
            name	with\ttab \\ and\nline
            end
            crc32c 5658ee17
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_note_that_is_changed_anywhere_is_refused() {
        let text = print(KIND, &[vec!["a".into(), "b".into()], vec!["c".into()]]);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(parse(KIND, &bytes).is_err(), "byte {at}");
            assert!(parse(KIND, &text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
        let newer = print(Kind { format: 4, ..KIND }, &[]);
        assert!(matches!(parse(KIND, newer.as_bytes()), Err(NoteError::Format(4))));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_what_is_parsed(
            lines in prop::collection::vec(prop::collection::vec("[a\\\\\t\né]{0,5}", 1..4), 0..5),
        ) {
            prop_assert_eq!(parse(KIND, print(KIND, &lines).as_bytes()).unwrap(), lines);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "hearth test 3\n.*\n") {
            let _ = parse(KIND, &bytes);
            let _ = parse(KIND, text.as_bytes());
        }
    }
}
