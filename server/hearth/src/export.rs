//! `hearth export`: documents as they stood at one version, written so that `hearth import` reads them back.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use hearth_core::{CollectionPath, DocPath};
use hearth_native::json::{Context, write_fields, write_text};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Cells, ExportArgs, Format};
use crate::cells::cell;
use crate::config::Settings;
use crate::exit::Exit;
use crate::place::{Item, Place, Wanted, write_item};
use crate::records::ID_COLUMN;
use crate::source::{Sink, format_of};

/// Runs the command.
pub(crate) async fn run(args: &ExportArgs, settings: &Settings) -> Result<(), Exit> {
    let format = args.format.or_else(|| format_of(&args.path)).unwrap_or(Format::Ndjson);
    let collection = args.collection.as_deref().map(CollectionPath::parse).transpose();
    let collection = collection.map_err(|error| Exit::usage(format!("--collection: {error}")))?;
    if collection.is_none() && format == Format::Csv {
        return Err(Exit::usage("a CSV file holds one collection; name it with --collection"));
    }
    let mut place = Place::open(Wanted { args: &args.place, settings, create: false }).await?;
    let exported = export(&mut place, args, format, collection.as_ref()).await;
    let closed = place.close().await;
    let count = match exported {
        Ok(count) => count,
        // Whoever reads has seen enough, as behind `| head`.
        Err(Ended::Closed) => return closed,
        Err(Ended::Exit(exit)) => return Err(exit),
    };
    closed?;
    eprintln!("exported {count} documents");
    Ok(())
}

/// Why an export did not come to its end.
enum Ended {
    /// The other end of a pipe is gone.
    Closed,
    Exit(Exit),
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

async fn export(
    place: &mut Place,
    args: &ExportArgs,
    format: Format,
    collection: Option<&CollectionPath>,
) -> Result<u64, Ended> {
    let name = place.name().clone();
    let context = Context::new(&name);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ended::Closed,
        _ => Exit::failed(format!("{}: {error}", args.path.display())).into(),
    };
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} {msg} {human_pos}").expect("the template is well formed"));
    progress.enable_steady_tick(Duration::from_millis(250));
    let mut pages = Pages { place, collection, after: None, at: None, ended: false };

    // A table has columns, and which ones is known only when every document was seen: CSV reads twice, at one version.
    let mut columns = BTreeSet::new();
    if format == Format::Csv {
        progress.set_message("looking for columns");
        while let Some(items) = pages.next().await? {
            columns.extend(items.iter().flat_map(|item| item.fields.keys().cloned()));
            progress.inc(items.len() as u64);
        }
        (pages.after, pages.ended) = (None, false);
        progress.set_position(0);
    }
    // Only when reading works is a file made or replaced.
    let mut items = pages.next().await?;
    let mut sink = Sink::create(&args.path).map_err(failed)?;
    let mut out = Vec::new();
    match format {
        Format::Ndjson => {}
        Format::Json if collection.is_some() => out.extend_from_slice(b"{"),
        Format::Json => out.extend_from_slice(b"["),
        Format::Csv => {
            let names = columns.iter().map(|name| name.as_bytes());
            write_row(&mut out, std::iter::once(ID_COLUMN.as_bytes()).chain(names));
        }
    }
    progress.set_message("exported");
    let mut count = 0;
    while let Some(page) = items {
        for item in &page {
            match format {
                Format::Ndjson => {
                    write_item(&mut out, item, &context);
                    out.push(b'\n');
                }
                Format::Json => {
                    out.extend_from_slice(if count > 0 { b",\n" } else { b"\n" });
                    write_json(&mut out, item, collection.is_some(), &context);
                }
                Format::Csv => write_cells(&mut out, item, &columns, args.cells, &context),
            }
            count += 1;
        }
        sink.write_all(&out).map_err(failed)?;
        out.clear();
        progress.set_position(count);
        items = pages.next().await?;
    }
    match format {
        Format::Ndjson | Format::Csv => {}
        Format::Json if collection.is_some() => out.extend_from_slice(b"\n}\n"),
        Format::Json => out.extend_from_slice(b"\n]\n"),
    }
    sink.write_all(&out).map_err(failed)?;
    sink.finish().map_err(failed)?;
    progress.finish_and_clear();
    Ok(count)
}

/// All documents, page by page, at the version of the first.
struct Pages<'a> {
    place: &'a mut Place,
    collection: Option<&'a CollectionPath>,
    after: Option<DocPath>,
    at: Option<hearth_core::Version>,
    ended: bool,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Item>>, Exit> {
        if self.ended {
            return Ok(None);
        }
        let (version, items) = self.place.page(self.collection, self.after.as_ref(), self.at).await?;
        self.at = Some(version);
        match items.last() {
            Some(last) => self.after = Some(last.path.clone()),
            None => self.ended = true,
        }
        Ok((!self.ended).then_some(items))
    }
}

/// A member of the object of a collection, or an element of the array of everything.
fn write_json(out: &mut Vec<u8>, item: &Item, in_collection: bool, context: &Context<'_>) {
    if in_collection {
        write_text(out, item.path.id());
        out.push(b':');
        write_fields(out, &item.fields, context);
    } else {
        write_item(out, item, context);
    }
}

fn write_cells(out: &mut Vec<u8>, item: &Item, columns: &BTreeSet<Box<str>>, cells: Cells, context: &Context<'_>) {
    let fields = columns.iter().map(|name| cell(&item.fields, name, cells, context));
    write_row(out, std::iter::once(item.path.id().as_bytes().to_vec()).chain(fields));
}

fn write_row<T: AsRef<[u8]>>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = T>) {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(cells).and_then(|()| Ok(writer.flush()?)).expect("rows are written into memory");
}
