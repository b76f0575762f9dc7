//! `--public DIR`: files of a folder, handed out at addresses that are none of the API's.
//!
//! Nothing outside the folder is reached, also through symbolic links, and nothing hidden (`.git`, `.env`) is handed out.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use hearth_native::address::Address;
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::assets::media_type;

/// What a folder's address shows.
const INDEX: &str = "index.html";
/// Bytes that are read at one time.
const CHUNK_BYTES: usize = 64 << 10;

/// A folder of files.
#[derive(Clone, Debug)]
pub(crate) struct Public {
    /// Without symbolic links.
    root: PathBuf,
}

impl Public {
    /// Takes a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, String> {
        let root = std::fs::canonicalize(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if root.is_dir() { Ok(Self { root }) } else { Err(format!("{} is no folder", folder.display())) }
    }

    /// The answer from a file; none where the address is the API's or nothing is there.
    ///
    /// At `/` programs are answered by the API, and browsers find the folder's `index.html`.
    pub(crate) async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let is_page = headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
        match Address::parse(uri.path(), false) {
            Ok(None) => {}
            Ok(Some(Address::Root)) if is_page => {}
            _ => return None,
        }
        let path = self.find(uri.path()).await?;
        let mut file = File::open(&path).await.ok()?;
        let metadata = file.metadata().await.ok()?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let tag = HeaderValue::try_from(format!("\"{changed:x}-{:x}\"", metadata.len())).ok()?;
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => {
                let mut first = vec![0; CHUNK_BYTES.min(usize::try_from(metadata.len()).unwrap_or(CHUNK_BYTES))];
                file.read_exact(&mut first).await.ok()?;
                let length = HeaderValue::from(metadata.len());
                let body = if *method == Method::HEAD { Body::empty() } else { body(first, file, metadata.len()) };
                ([(header::CONTENT_LENGTH, length)], body).into_response()
            }
        };
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&name)));
        answer.insert(header::ETAG, tag);
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Some(response)
    }

    /// The file that an address names.
    async fn find(&self, address: &str) -> Option<PathBuf> {
        let mut path = self.root.clone();
        for segment in address.split('/').filter(|segment| !segment.is_empty()) {
            let segment = percent_decode_str(segment).decode_utf8().ok()?;
            // Also `.` and `..`; the others would be separators or drives somewhere.
            if segment.starts_with('.') || segment.contains(['/', '\\', '\0', ':']) {
                return None;
            }
            path.push(&*segment);
        }
        if tokio::fs::metadata(&path).await.ok()?.is_dir() {
            path.push(INDEX);
        }
        let path = tokio::fs::canonicalize(&path).await.ok()?;
        let is_file = tokio::fs::metadata(&path).await.ok()?.is_file();
        let hidden = path.strip_prefix(&self.root).ok()?.iter().any(|name| name.to_string_lossy().starts_with('.'));
        (is_file && !hidden).then_some(path)
    }
}

/// A body that reads a file as it is sent. Ends at `length`: a file that grows meanwhile would break the answer.
fn body(first: Vec<u8>, file: File, length: u64) -> Body {
    let left = length - first.len() as u64;
    let rest = stream::unfold((file, left), |(mut file, left)| async move {
        if left == 0 {
            return None;
        }
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
        match file.read_exact(&mut chunk).await {
            Ok(_) => {
                let left = left - chunk.len() as u64;
                Some((Ok(Bytes::from(chunk)), (file, left)))
            }
            Err(error) => Some((Err(error), (file, 0))),
        }
    });
    Body::from_stream(stream::StreamExt::chain(stream::iter([Ok(Bytes::from(first))]), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::fs;

    async fn check(target: &str, headers: &[(&str, &str)], want: Expect) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("www");
        fs::create_dir_all(root.join("a b")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(root.join("db")).unwrap();
        for (name, text) in [("index.html", "home"), ("a b/index.html", "inner"), (".git/config", "x"), ("db/x", "x")] {
            fs::write(root.join(name), text).unwrap();
        }
        fs::write(root.join("large.js"), "j".repeat(200_000)).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
        let public = Public::open(&root).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let answer = public.answer(&Method::GET, &target.parse().unwrap(), &map).await;
        want.assert_eq(&match answer {
            None => "not ours".to_string(),
            Some(answer) => {
                let media_type = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_string();
                let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
                format!("{media_type}, {} bytes", bytes.len())
            }
        });
    }

    #[tokio::test]
    async fn files_and_indexes_are_handed_out() {
        let page = [("accept", "text/html,*/*")];
        check("/", &page, expect!["text/html; charset=utf-8, 4 bytes"]).await;
        check("/", &[], expect!["not ours"]).await;
        check("/index.html", &[], expect!["text/html; charset=utf-8, 4 bytes"]).await;
        check("/a%20b/", &page, expect!["text/html; charset=utf-8, 5 bytes"]).await;
        check("/large.js?v=1", &[], expect!["text/javascript; charset=utf-8, 200000 bytes"]).await;
        check("/nothing", &[], expect!["not ours"]).await;
    }

    #[tokio::test]
    async fn nothing_outside_nothing_hidden_and_nothing_of_the_api() {
        for target in ["/../secret", "/%2e%2e/secret", "/a%20b/..%2f..%2fsecret", "/..%5csecret", "/link", "/%00"] {
            check(target, &[], expect!["not ours"]).await;
        }
        for target in ["/.git/config", "/%2egit/config", "/db/x", "/db", "/health", "/sdk/hearth.js"] {
            check(target, &[], expect!["not ours"]).await;
        }
    }
}
