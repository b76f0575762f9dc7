//! Where backups are kept: a directory, or a bucket of an S3-compatible store.
//!
//! ```text
//! hearth-backup                                says that this is one of ours
//! backups/MOMENT.json                          a manifest for each backup
//! databases/ID/CHAIN/VERSION.snap              a snapshot
//! databases/ID/CHAIN/SEGMENT-AFTER-UPTO.seg    a part of the log
//! ```
//!
//! Nothing is ever changed or removed. `object_store` is Apache Arrow's; its stores for directories and for S3 are what is
//! used of it.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, WriteMultipart};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::manifest::{Manifest, Stored};
use crate::exit::Exit;

const MARKER: &str = "hearth-backup";
const MARKER_TEXT: &str = "Backups of hearth. `hearth restore` reads them; nothing in here is ever changed.\n";
const BACKUPS: &str = "backups";
/// Bytes of one part of an upload. S3 takes no smaller ones, and 10,000 of them at most: files of up to 160 GiB.
const PART_BYTES: usize = 16 << 20;
/// Parts that are on their way at one time.
const PARTS_AT_ONCE_MAX: usize = 4;
/// Bytes of a manifest.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A place with backups.
pub(crate) struct Repository {
    store: Arc<dyn ObjectStore>,
    name: String,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Repository {
    /// Opens one to read it.
    pub(crate) async fn open(text: &str) -> Result<Self, Exit> {
        let repository = Self::connect(text, false)?;
        match repository.store.head(&Path::from(MARKER)).await {
            Ok(_) => Ok(repository),
            Err(object_store::Error::NotFound { .. }) => Err(Exit::failed(format!(
                "there are no backups of hearth at {text}; name the directory or bucket that `hearth backup` was given"
            ))),
            Err(error) => Err(repository.failed("read", &error)),
        }
    }

    /// Opens one, or begins one where there is nothing.
    pub(crate) async fn open_or_create(text: &str) -> Result<Self, Exit> {
        let repository = Self::connect(text, true)?;
        let marker = Path::from(MARKER);
        match repository.store.head(&marker).await {
            Ok(_) => return Ok(repository),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(repository.failed("read", &error)),
        }
        if let Some(found) = repository.store.list(None).next().await {
            let found = found.map_err(|error| repository.failed("read", &error))?;
            return Err(Exit::failed(format!(
                "{text} holds {} and no backups of hearth; nothing was changed: name an empty directory or prefix",
                found.location
            )));
        }
        let written = repository.store.put(&marker, PutPayload::from_static(MARKER_TEXT.as_bytes())).await;
        written.map_err(|error| repository.failed("write", &error))?;
        Ok(repository)
    }

    fn connect(text: &str, create: bool) -> Result<Self, Exit> {
        let name = text.to_string();
        if let Some(rest) = text.strip_prefix("s3://") {
            return Ok(Self { store: bucket(rest)?, name });
        }
        if text.contains("://") {
            return Err(Exit::usage(format!("{text}: backups go to a directory or to s3://BUCKET/PREFIX")));
        }
        if create {
            create_private(FilePath::new(text)).map_err(|error| Exit::failed(format!("{text}: {error}")))?;
        }
        let store = LocalFileSystem::new_with_prefix(text);
        let store = store.map_err(|error| Exit::failed(format!("{text} cannot be opened: {error}")))?;
        // A backup that a power loss takes away was none.
        Ok(Self { store: Arc::new(store.with_fsync(true)), name })
    }

    /// The names of all backups, oldest first.
    pub(crate) async fn names(&self) -> Result<Vec<String>, Exit> {
        let found = self.store.list(Some(&Path::from(BACKUPS))).try_collect::<Vec<_>>().await;
        let found = found.map_err(|error| self.failed("read", &error))?;
        let mut names: Vec<String> = found
            .iter()
            .filter_map(|meta| meta.location.filename())
            .filter(|name| name.strip_suffix(".json").is_some_and(|moment| moment.parse::<u64>().is_ok()))
            .map(String::from)
            .collect();
        names.sort();
        Ok(names)
    }

    /// The moment that a name stands for.
    pub(crate) fn moment(name: &str) -> u64 {
        name.trim_end_matches(".json").parse().unwrap_or_default()
    }

    /// Reads one backup's manifest.
    pub(crate) async fn manifest(&self, name: &str) -> Result<Manifest, Exit> {
        let path = Path::from_iter([BACKUPS, name]);
        let got = self.store.get(&path).await.map_err(|error| self.failed("read", &error))?;
        if got.meta.size > MANIFEST_BYTES_MAX {
            return Err(self.damaged(path.as_ref(), "it is larger than any manifest"));
        }
        let bytes = got.bytes().await.map_err(|error| self.failed("read", &error))?;
        Manifest::decode(&bytes).map_err(|fault| self.damaged(path.as_ref(), &fault))
    }

    /// Adds a backup, when all its files are there.
    pub(crate) async fn add(&self, manifest: &Manifest) -> Result<(), Exit> {
        let path = Path::from_iter([BACKUPS.to_string(), format!("{:020}.json", manifest.taken)]);
        let options = PutOptions::from(PutMode::Create);
        let written = self.store.put_opts(&path, PutPayload::from(manifest.encode()), options).await;
        written.map(drop).map_err(|error| self.failed("write", &error))
    }

    /// Stores a file under a name; there when this returns, whole.
    pub(crate) async fn put(&self, name: String, file: &FilePath) -> Result<Stored, Exit> {
        let failed = |error: &dyn fmt::Display| self.failed("write", error);
        let mut file = File::open(file).await.map_err(|error| failed(&error))?;
        let upload = self.store.put_multipart(&Path::from(name.as_str())).await.map_err(|error| failed(&error))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let (mut crc, mut bytes) = (0, 0);
        let mut piece = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut piece).await.map_err(|error| failed(&error))?;
            if read == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &piece[..read]);
            bytes += read as u64;
            writer.wait_for_capacity(PARTS_AT_ONCE_MAX).await.map_err(|error| failed(&error))?;
            writer.write(&piece[..read]);
        }
        writer.finish().await.map_err(|error| failed(&error))?;
        Ok(Stored { file: name, bytes, crc32c: crc })
    }

    /// Fetches a file, which must be as it was stored.
    pub(crate) async fn fetch(&self, stored: &Stored, to: &FilePath) -> Result<(), Exit> {
        let path = Path::from(stored.file.as_str());
        let got = match self.store.get(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Err(self.damaged(&stored.file, "it is not there")),
            got => got.map_err(|error| self.failed("read", &error))?,
        };
        let wrote = |error: std::io::Error| Exit::failed(format!("{}: {error}", to.display()));
        let mut file = File::create(to).await.map_err(wrote)?;
        let (mut crc, mut bytes) = (0, 0);
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.failed("read", &error))?;
            crc = crc32c::crc32c_append(crc, &piece);
            bytes += piece.len() as u64;
            file.write_all(&piece).await.map_err(wrote)?;
        }
        file.flush().await.map_err(wrote)?;
        match (bytes, crc) == (stored.bytes, stored.crc32c) {
            true => Ok(()),
            false => Err(self.damaged(&stored.file, "it is not as it was written: its checksum is another")),
        }
    }

    fn failed(&self, act: &str, error: &dyn fmt::Display) -> Exit {
        Exit::failed(format!("could not {act} {}: {error}", self.name))
    }

    /// A file that is not to be used.
    pub(crate) fn damaged(&self, file: &str, fault: &str) -> Exit {
        Exit::failed(format!(
            "the backup is damaged: {file} of {}: {fault}; nothing was restored from it, and nothing was changed: bring the \
             file back from another copy, or restore an older backup (`hearth restore {} --list` shows which there are)",
            self.name, self.name
        ))
    }
}

/// A bucket, by its name and a prefix in it. Credentials, region and endpoint come from the usual variables of AWS.
#[cfg(feature = "s3")]
fn bucket(text: &str) -> Result<Arc<dyn ObjectStore>, Exit> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let store = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let store = store.map_err(|error| Exit::usage(format!("s3://{text}: {error}")))?;
    Ok(Arc::new(object_store::prefix::PrefixStore::new(store, Path::from(prefix))))
}

#[cfg(not(feature = "s3"))]
fn bucket(text: &str) -> Result<Arc<dyn ObjectStore>, Exit> {
    Err(Exit::usage(format!("s3://{text}: this hearth was built without the feature s3")))
}

/// Makes a folder that only its owner may enter: in it is everything that is in the databases.
fn create_private(folder: &FilePath) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
