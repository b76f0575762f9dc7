//! Where records come from and go to: a file or a standard stream, compressed or not. Counts what passes.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::args::Format;

const BUFFER_BYTES: usize = 128 << 10;

/// A file to read, maybe more than once.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// Bytes of the file as it stands that were read so far, for showing progress.
    pub(crate) read: Arc<AtomicU64>,
}

impl Source {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.into(), read: Arc::default() }
    }

    /// Whether this is standard input, which passes once.
    pub(crate) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> String {
        if self.is_stdin() { "standard input".into() } else { self.path.display().to_string() }
    }

    /// Its size, where it is a file.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let metadata = std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        (!self.is_stdin()).then_some(metadata.len())
    }

    /// Opens it from the beginning.
    pub(crate) fn open(&self) -> io::Result<Lines> {
        self.read.store(0, Ordering::Relaxed);
        let plain: Box<dyn Read> =
            if self.is_stdin() { Box::new(io::stdin().lock()) } else { Box::new(File::open(&self.path)?) };
        let mut counted = BufReader::with_capacity(BUFFER_BYTES, Counted { inner: plain, read: self.read.clone() });
        // By what it begins with and not by its name: then standard input may be compressed too. Source: RFC 1952 §2.3.1.
        let is_gzip = counted.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let inner: Box<dyn BufRead> = match is_gzip {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(counted))),
            false => Box::new(counted),
        };
        let mut lines = Lines { inner, line: Rc::default() };
        // A byte order mark says only that this is UTF-8, which it is anyway.
        if lines.inner.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            lines.inner.consume(3);
        }
        Ok(lines)
    }
}

/// The format that a file's name tells, with or without `.gz`.
pub(crate) fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        _ => None,
    }
}

/// A file or standard output to write to; `finish` makes sure that everything is there.
pub(crate) enum Sink {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(Box<GzEncoder<BufWriter<Box<dyn Write>>>>),
}

impl Sink {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let inner: Box<dyn Write> =
            if path.as_os_str() == "-" { Box::new(io::stdout()) } else { Box::new(File::create(path)?) };
        let inner = BufWriter::with_capacity(BUFFER_BYTES, inner);
        Ok(match path.extension().is_some_and(|extension| extension == "gz") {
            true => Self::Gzip(Box::new(GzEncoder::new(inner, Compression::default()))),
            false => Self::Plain(inner),
        })
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut inner) => inner.flush(),
            Self::Gzip(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}

struct Counted {
    inner: Box<dyn Read>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A text that knows in which line it is.
pub(crate) struct Lines {
    inner: Box<dyn BufRead>,
    line: Rc<Cell<u64>>,
}

impl Lines {
    /// The number of line breaks that were read, kept current.
    pub(crate) fn breaks(&self) -> Rc<Cell<u64>> {
        self.line.clone()
    }

    fn count(&self, bytes: &[u8]) {
        let breaks = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.line.set(self.line.get() + breaks as u64);
    }

    /// Appends the next line without its break; false at the end. A line beyond `bytes_max` is an error.
    pub(crate) fn next_line(&mut self, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
        loop {
            let available = self.inner.fill_buf()?;
            if available.is_empty() {
                return Ok(!line.is_empty());
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.inner.consume(used);
            if line.len() > bytes_max {
                let line = self.line.get() + 1;
                let detail = format!("line {line} is longer than {bytes_max} bytes; is this one object a line?");
                return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
            }
            if end.is_some() {
                self.line.set(self.line.get() + 1);
                return Ok(true);
            }
        }
    }
}

impl Read for Lines {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.count(&bytes[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_names_and_compression_by_content() {
        assert_eq!(format_of(Path::new("a/cities.ndjson.gz")), Some(Format::Ndjson));
        assert_eq!(format_of(Path::new("a.JSON")), Some(Format::Json));
        assert_eq!(format_of(Path::new("-")), None);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let mut sink = Sink::create(&path).unwrap();
        sink.write_all(b"\xef\xbb\xbfone\ntwo").unwrap();
        sink.finish().unwrap();
        let mut lines = Source::new(&path).open().unwrap();
        let mut line = Vec::new();
        assert!(lines.next_line(&mut line, 9).unwrap());
        assert_eq!((line.as_slice(), lines.breaks().get()), (b"one".as_slice(), 1));
        line.clear();
        assert!(lines.next_line(&mut line, 9).unwrap());
        assert_eq!(line, b"two");
        line.clear();
        assert!(!lines.next_line(&mut line, 9).unwrap());
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "a\n".to_string() + &"b".repeat(1_000)).unwrap();
        let mut lines = Source::new(&path).open().unwrap();
        let mut line = Vec::new();
        lines.next_line(&mut line, 100).unwrap();
        line.clear();
        assert!(lines.next_line(&mut line, 100).unwrap_err().to_string().starts_with("line 2 is longer"));
    }
}
