//! An export as it lies on disk: metadata that lead to files of records. Blocks.
//!
//! ```text
//! NAME/NAME.overall_export_metadata                                          a log of two records; the second names the next file
//! NAME/all_namespaces/all_kinds/all_namespaces_all_kinds.export_metadata     names the next one
//! NAME/all_namespaces/all_kinds/output-0                                     a log of documents; the cloud has several
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use hearth_core::{DatabaseName, Document, Version};
use hearth_schema::onestore::{Overall, Section, SectionMetadata, section, section_metadata};
use prost::Message as _;
use tempfile::TempDir;

use super::entity::{self, Exported};
use super::{ExportError, log};

/// The folder and the file of an export that was not split by collection.
const SECTION_PATH: &str = "all_namespaces/all_kinds/all_namespaces_all_kinds.export_metadata";
const OUTPUT: &str = "output-0";
/// The end of the name of the file by which an export is found.
pub(super) const OVERALL: &str = ".overall_export_metadata";
/// The first record of that file; Google writes it so and never says why.
const OVERALL_HEAD: &[u8] = b"3";
/// Longest metadata that are read.
const METADATA_BYTES_MAX: u64 = 16 << 20;

// ---- reading

/// The files of records to which metadata lead.
pub(super) fn outputs(overall: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let damaged = |path: &Path, detail: &dyn ToString| ExportError::damaged(path, detail);
    let bytes = whole(overall)?;
    let mut records = log::Reader::new(bytes.as_slice());
    let mut outputs = Vec::new();
    let mut is_head = true;
    while let Some(record) = records.next().map_err(|error| damaged(overall, &error))? {
        if std::mem::take(&mut is_head) && record == OVERALL_HEAD {
            continue;
        }
        let described = Overall::decode(record.as_slice()).map_err(|error| damaged(overall, &error))?;
        for section in described.section {
            let path = beside(overall, &section.metadata_path)?;
            let metadata = SectionMetadata::decode(whole(&path)?.as_slice()).map_err(|error| damaged(&path, &error))?;
            for file in metadata.file {
                outputs.push(beside(&path, &file.path)?);
            }
        }
    }
    if outputs.is_empty() {
        return Err(damaged(overall, &"it names no file of documents"));
    }
    Ok(outputs)
}

/// A file that metadata name, from the folder in which these lie; never one elsewhere.
pub(super) fn beside(metadata: &Path, named: &str) -> Result<PathBuf, ExportError> {
    let named = Path::new(named);
    if !named.components().all(|part| matches!(part, Component::Normal(_))) || named.as_os_str().is_empty() {
        return Err(ExportError::damaged(metadata, &format!("it names {named:?}, which is no file of this export")));
    }
    Ok(metadata.parent().unwrap_or(Path::new("")).join(named))
}

fn whole(path: &Path) -> Result<Vec<u8>, ExportError> {
    let failed = |error| ExportError::io(path, error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(METADATA_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 <= METADATA_BYTES_MAX {
        true => Ok(bytes),
        false => Err(ExportError::damaged(path, &format!("it has more than {METADATA_BYTES_MAX} bytes"))),
    }
}

/// The documents of an export, one after the other; one is held at a time.
pub struct Documents {
    outputs: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, log::Reader<BufReader<File>>, u64)>,
}

impl Documents {
    pub(super) fn new(outputs: Vec<PathBuf>) -> Self {
        Self { outputs: outputs.into_iter(), open: None }
    }

    fn read(&mut self) -> Result<Option<Exported>, ExportError> {
        loop {
            let Some((path, records, count)) = &mut self.open else {
                let Some(path) = self.outputs.next() else { return Ok(None) };
                let file = File::open(&path).map_err(|error| ExportError::io(&path, error))?;
                self.open = Some((path, log::Reader::new(BufReader::new(file)), 0));
                continue;
            };
            match records.next().map_err(|error| ExportError::damaged(path, &error))? {
                Some(record) => {
                    *count += 1;
                    let found = entity::decode(&record);
                    let found =
                        found.map_err(|error| ExportError::damaged(path, &format!("document {count}: {error}")));
                    return found.map(Some);
                }
                None => self.open = None,
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Exported, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.read().transpose();
        if let Some(Err(_)) = found {
            // What follows on what is damaged is anybody's guess.
            (self.outputs, self.open) = (Vec::new().into_iter(), None);
        }
        found
    }
}

// ---- writing

/// An export that is being written, beside where it is to stand. Dropped before its end it leaves nothing.
pub(super) struct Writing {
    folder: TempDir,
    /// Where it is to stand.
    to: PathBuf,
    name: String,
    output: PathBuf,
    log: log::Writer<BufWriter<File>>,
    documents: u64,
}

impl Writing {
    pub(super) fn begin(folder: &Path, name: &str) -> Result<Self, ExportError> {
        let is_plain =
            matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(part)] if part == name);
        if !is_plain {
            return Err(ExportError::Name { name: name.chars().take(200).collect() });
        }
        let to = folder.join(name);
        // What is replaced must be an export: a name is quickly mistyped.
        if to.exists() && !to.join(format!("{name}{OVERALL}")).exists() {
            return Err(ExportError::Occupied { path: to });
        }
        let beside = temporary(folder, name).map_err(|error| ExportError::io(folder, error))?;
        let output = beside.path().join(SECTION_PATH).with_file_name(OUTPUT);
        let made = output.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create_new(&output));
        let file = made.map_err(|error| ExportError::io(&output, error))?;
        let log = log::Writer::new(BufWriter::new(file));
        Ok(Self { folder: beside, to, name: name.into(), output, log, documents: 0 })
    }

    pub(super) fn append(&mut self, database: &DatabaseName, documents: &[Arc<Document>]) -> Result<(), ExportError> {
        for document in documents {
            let record = entity::encode(database, &document.path, &document.fields);
            let record = record
                .map_err(|error| ExportError::Document { path: document.path.clone(), error: error.to_string() })?;
            self.log.append(&record).map_err(|error| ExportError::io(&self.output, error))?;
            self.documents += 1;
        }
        Ok(())
    }

    /// Writes the metadata and puts the export where it is to stand, in one step. Answers how many documents it holds.
    pub(super) fn finish(self, at: Version) -> Result<u64, ExportError> {
        let Self { folder, to, name, output, log, documents } = self;
        let bytes = log.bytes();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| ExportError::io(&path, error)
        };
        let file = log.into_inner().into_inner().map_err(|error| ExportError::io(&output, error.into_error()))?;
        file.sync_all().map_err(failed(&output))?;

        let (count, time) =
            (i64::try_from(documents).unwrap_or(i64::MAX), i64::try_from(at.micros()).unwrap_or(i64::MAX));
        let file = section_metadata::File { name_space: Some(String::new()), path: OUTPUT.into() };
        let export =
            section_metadata::Export { name: Some(name.clone()), started_micros: Some(time), ended_micros: Some(time) };
        let metadata = SectionMetadata { export: Some(export), file: vec![file] };
        write_synced(&folder.path().join(SECTION_PATH), &metadata.encode_to_vec())?;

        let section = Section {
            selected: Some(section::Selected { name_spaces: Some(2), kinds: Some(3) }),
            metadata_path: SECTION_PATH.into(),
            entities: Some(count),
            bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
        };
        let mut overall = log::Writer::new(Vec::new());
        let records = [OVERALL_HEAD.to_vec(), Overall { section: vec![section] }.encode_to_vec()];
        records.iter().try_for_each(|record| overall.append(record)).expect("memory takes all");
        write_synced(&folder.path().join(format!("{name}{OVERALL}")), &overall.into_inner())?;
        put(folder, &to).map_err(failed(&to))?;
        Ok(documents)
    }
}

/// Writes a file that is on disk when this returns.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| ExportError::io(path, error))
}

/// A folder of its own beside where its content will stand, and as open as any that is made here.
fn temporary(folder: &Path, name: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let prefix = format!(".{name}-");
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(folder)
}

/// Puts a folder where it is to stand. What stood there goes in the same step.
fn put(folder: TempDir, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if to.exists() {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, folder.path(), CWD, to, RenameFlags::EXCHANGE) {
            Ok(()) => return folder.close(),
            // Some file systems cannot.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let old = to.exists().then(|| folder.path().with_extension("old"));
    if let Some(old) = &old {
        fs::rename(to, old)?;
    }
    fs::rename(folder.keep(), to)?;
    old.map_or(Ok(()), fs::remove_dir_all)
}
