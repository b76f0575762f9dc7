//! `hearth import`: records of a file become documents, in batches, each of which is durable or not there.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hearth_core::{CollectionPath, FieldPath};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokio::sync::mpsc;

use crate::args::{Cells, Format, ImportArgs};
use crate::config::Settings;
use crate::exit::{Exit, say};
use crate::place::{Item, Place, PutError, Wanted};
use crate::records::{self, Bad, Found, Plan, ReadError};
use crate::source::{Source, format_of};

/// Documents of one commit.
pub(crate) const BATCH_DOCS: usize = 500;
/// Bytes of one commit.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// Records that wait to be written while others are read.
const AHEAD_MAX: usize = 2_000;
/// Bad records that are named; more are only counted.
const NAMED_MAX: u64 = 20;

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) documents: u64,
    pub(crate) skipped: u64,
}

/// Runs the command.
pub(crate) async fn run(args: &ImportArgs, settings: &Settings) -> Result<(), Exit> {
    let source = Source::new(&args.path);
    let format = args.format.or_else(|| format_of(&args.path)).ok_or_else(|| {
        Exit::usage(format!(
            "{}: its name does not tell how it is written; say --format ndjson, json or csv",
            source.name()
        ))
    })?;
    let collection = args.collection.as_deref().map(CollectionPath::parse).transpose();
    let collection = collection.map_err(|error| Exit::usage(format!("--collection: {error}")))?;
    if collection.is_none() && format == Format::Csv {
        return Err(Exit::usage("rows of CSV do not say where they belong; name the collection with --collection"));
    }
    let id = args.id.as_deref().map(FieldPath::parse).transpose();
    let id = id.map_err(|error| Exit::usage(format!("--id: {error}")))?;
    if !source.is_stdin() {
        // Before a data directory is made for nothing.
        std::fs::File::open(&args.path).map_err(|error| Exit::failed(format!("{}: {error}", source.name())))?;
    }
    let mut place = Place::open(Wanted { args: &args.place, settings, create: true }).await?;
    let plan =
        Plan { format, cells: args.cells, database: place.name().clone(), literal: args.literal, collection, id };

    let start = Instant::now();
    let done = import(&mut place, &source, plan, args.skip_bad).await;
    let took = start.elapsed();
    let name = place.name().clone();
    let closed = place.close().await;
    let done = done?;
    closed?;
    let per_second = (done.documents as f64 / took.as_secs_f64().max(0.001)).round() as u64;
    if args.json {
        let summary = json!({
            "project": name.project(), "database": name.database(), "documents": done.documents, "skipped": done.skipped,
            "seconds": took.as_secs_f64(), "documents_per_second": per_second,
        });
        say(summary);
    } else {
        let Done { documents, skipped } = done;
        let left_out = if skipped > 0 { format!(", {skipped} bad records left out") } else { String::new() };
        let seconds = took.as_secs_f64();
        say(format_args!(
            "imported {documents} documents into {name} in {seconds:.1} s ({per_second} a second){left_out}"
        ));
    }
    Ok(())
}

/// Imports the documents that a new database is to begin with: a JSON object of collections, or any form that
/// `hearth export` writes.
pub(crate) async fn seed(place: &mut Place, path: &std::path::Path) -> Result<Done, Exit> {
    let format = format_of(path).unwrap_or(Format::Json);
    if format == Format::Csv {
        return Err(Exit::usage("a seed is JSON or NDJSON: CSV does not say which collections its rows belong to"));
    }
    let plan = Plan {
        format,
        cells: Cells::Guess,
        database: place.name().clone(),
        literal: false,
        collection: None,
        id: None,
    };
    import(place, &Source::new(path), plan, false).await
}

/// Reads on a thread of its own and writes as it comes. Stops at the first bad record unless they may be skipped.
async fn import(place: &mut Place, source: &Source, plan: Plan, skip_bad: bool) -> Result<Done, Exit> {
    let progress = progress(source);
    let (send, mut records) = mpsc::channel::<Found>(AHEAD_MAX);
    let reading = source.clone();
    let reader = tokio::task::spawn_blocking(move || {
        // Sending fails when the other side has ended with an error.
        records::read(&reading, &plan, &mut |found| send.blocking_send(found).is_ok())
    });
    let mut writer =
        Writer { place, source, skip_bad, progress: &progress, done: Done::default(), batch: Vec::new(), bytes: 0 };
    let written = writer.take_all(&mut records).await;
    // The reader ends at its next record when nobody takes it.
    drop(records);
    let done = writer.done;
    let read = reader.await.map_err(Exit::failed)?;
    progress.finish_and_clear();
    let so_far = |detail: String| {
        let count = done.documents;
        Exit::failed(format!("{}: {detail} ({count} documents were imported before)", source.name()))
    };
    written.map_err(so_far)?;
    match read {
        Ok(()) => Ok(done),
        Err(error @ (ReadError::Io(_) | ReadError::Text(_) | ReadError::Stopped)) => Err(so_far(error.to_string())),
    }
}

struct Writer<'a> {
    place: &'a mut Place,
    source: &'a Source,
    skip_bad: bool,
    progress: &'a ProgressBar,
    done: Done,
    batch: Vec<(Item, records::Place)>,
    bytes: usize,
}

impl Writer<'_> {
    async fn take_all(&mut self, records: &mut mpsc::Receiver<Found>) -> Result<(), String> {
        while let Some(found) = records.recv().await {
            match found {
                Found::Bad(bad) => {
                    // What stands before it is written first, so that what was imported is a whole beginning.
                    if !self.skip_bad {
                        self.flush().await?;
                    }
                    self.bad(&bad)?;
                }
                Found::Document { path, fields, place } => {
                    let item = Item { path, fields };
                    let bytes = item.bytes();
                    if self.batch.len() == BATCH_DOCS || self.bytes + bytes > BATCH_BYTES {
                        self.flush().await?;
                    }
                    self.bytes += bytes;
                    self.batch.push((item, place));
                }
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), String> {
        let (items, places): (Vec<Item>, Vec<records::Place>) = std::mem::take(&mut self.batch).into_iter().unzip();
        self.bytes = 0;
        if items.is_empty() {
            return Ok(());
        }
        match self.place.put(&items).await {
            Ok(()) => self.done.documents += items.len() as u64,
            Err(PutError::Failed(detail)) => return Err(detail),
            Err(PutError::Refused(_)) => {
                // One of them spoils the batch: alone each tells for itself.
                for (item, place) in items.iter().zip(places) {
                    match self.place.put(std::slice::from_ref(item)).await {
                        Ok(()) => self.done.documents += 1,
                        Err(PutError::Failed(detail)) => return Err(detail),
                        Err(PutError::Refused(detail)) => self.bad(&Bad { place, detail })?,
                    }
                }
            }
        }
        self.progress.set_position(self.source.read.load(Ordering::Relaxed));
        self.progress.set_message(format!("{} documents", self.done.documents));
        Ok(())
    }

    fn bad(&mut self, bad: &Bad) -> Result<(), String> {
        if !self.skip_bad {
            return Err(format!("{bad}; --skip-bad leaves such records out"));
        }
        self.done.skipped += 1;
        let name = self.source.name();
        self.progress.suspend(|| match self.done.skipped {
            count if count <= NAMED_MAX => eprintln!("{name}: {bad}"),
            count if count == NAMED_MAX + 1 => eprintln!("{name}: more bad records follow; they are only counted"),
            _ => {}
        });
        Ok(())
    }
}

/// A bar where a person waits and the end is known, a count where it is not, nothing where nobody looks.
fn progress(source: &Source) -> ProgressBar {
    let template = match source.bytes() {
        Some(_) => "{wide_bar} {bytes}/{total_bytes}, {msg}, {eta} left",
        None => "{spinner} {bytes}, {msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let progress = ProgressBar::with_draw_target(source.bytes(), ProgressDrawTarget::stderr()).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(250));
    progress
}
