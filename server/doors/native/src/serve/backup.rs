//! What `hearth backup` asks a running server for: which databases there are, up to where each can be copied, and its
//! files. For admins; see `docs/decisions/`.

use std::io::{self, Write};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hearth_auth::{Caller, Mode};
use hearth_core::{DatabaseName, Version};
use hearth_engine::{Access, Database, Denied, LogPart, SnapshotFile};
use serde_json::{Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Asking, Door, JSON};
use crate::address::Part;
use crate::problem::{Code, Problem};

/// Files that are handed out at one time, each by a thread of its own.
pub(super) const DOWNLOADS_MAX: usize = 4;
/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for a slow reader.
const PIECES_MAX: usize = 4;

/// Answers `GET /backup`.
pub(super) fn list(door: &Door, asking: &Asking) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    if asking.caller != Caller::Admin && door.engine.access() != Access::Open {
        return Err(Denied::Forbidden.into());
    }
    let name = |name: &DatabaseName| json!({ "project": name.project(), "database": name.database() });
    let answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "served": door.mode == Mode::Serve,
        "default_project": door.engine.default_project(),
        "databases": door.engine.database_names().iter().map(name).collect::<Vec<Json>>(),
    });
    Ok(([JSON], answer.to_string()).into_response())
}

/// Answers `GET /p/PROJECT/backup@NAME`, and what stands below it.
pub(super) async fn answer(door: &Door, asking: &Asking, database: Database, part: Part) -> Result<Response, Problem> {
    let access = database.authorize_backup(&asking.caller)?;
    match part {
        Part::Point => {
            asking.params.only(&[])?;
            let point = database.backup_point(&access).await?;
            let snapshot =
                |(version, bytes): &(Version, u64)| json!({ "version": version.to_string(), "bytes": bytes });
            let answer = json!({
                "id": point.id.to_string(),
                "version": point.version.to_string(),
                "snapshots": point.snapshots.iter().map(snapshot).collect::<Vec<Json>>(),
            });
            Ok(([JSON], answer.to_string()).into_response())
        }
        Part::Snapshot => {
            asking.params.only(&[&["version"]])?;
            let version = wanted(asking, "version")?;
            let permit = permit(door)?;
            let opened = blocking(move || database.backup_snapshot(&access, version)).await??;
            let SnapshotFile { mut file, bytes } = opened;
            let mut response = download(permit, move |out| io::copy(&mut file, out).map(drop));
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
            Ok(response)
        }
        Part::Log => {
            asking.params.only(&[&["after", "upto", "segment"]])?;
            let segment = asking.params.one("segment")?.and_then(|text| text.parse().ok());
            let segment =
                segment.ok_or_else(|| Problem::parameter("segment", 1, "the number of a segment is expected"))?;
            let part = LogPart { after: wanted(asking, "after")?, upto: wanted(asking, "upto")?, segment };
            let permit = permit(door)?;
            let copy = blocking(move || database.backup_log(&access, part)).await??;
            Ok(download(permit, move |out| copy.write_to(out).map(drop).map_err(io::Error::other)))
        }
    }
}

fn wanted(asking: &Asking, name: &str) -> Result<Version, Problem> {
    asking.params.version(name)?.ok_or_else(|| Problem::parameter(name, 1, "a version is expected"))
}

fn permit(door: &Door) -> Result<OwnedSemaphorePermit, Problem> {
    door.downloads.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{DOWNLOADS_MAX} files of backups are being handed out already");
        Problem::new(Code::ResourceExhausted, detail).retry_after_ms(1_000)
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::new(Code::Internal, "a thread ended early"))
}

/// Hands out what is written on a thread of its own. Should that fail, the answer is cut off, which its reader sees.
fn download(
    permit: OwnedSemaphorePermit,
    write: impl FnOnce(&mut Pieces) -> io::Result<()> + Send + 'static,
) -> Response {
    let (send, receive) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut pieces = Pieces { send, piece: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = write(&mut pieces).and_then(|()| pieces.flush()) {
            tracing::warn!(%error, "a file of a backup was not handed out to its end");
            // Whoever reads may be gone; then nobody is to be told.
            let _ = pieces.send.blocking_send(Err(error));
        }
    });
    let pieces =
        stream::unfold(receive, |mut receive| async move { receive.recv().await.map(|piece| (piece, receive)) });
    let media_type = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, media_type)], Body::from_stream(pieces)).into_response()
}

/// Gathers what is written into pieces and waits while too many are unread.
struct Pieces {
    send: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
