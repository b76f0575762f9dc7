//! The files that ship inside the program.

use std::borrow::Cow;

use hearth_native::Asset;

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The file of this name, such as `sdk/hearth.js`.
pub(crate) fn file(name: &str) -> Option<Asset> {
    let index = FILES.binary_search_by_key(&name, |(name, _)| name).ok()?;
    Some(Asset { bytes: Cow::Borrowed(FILES[index].1), media_type: media_type(name) })
}

/// What a file of this name holds.
pub(crate) fn media_type(name: &str) -> &'static str {
    let extension =
        name.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_the_demo_and_the_live_page_are_inside() {
        for name in [
            "sdk/hearth.js",
            "sdk/src/link/sse.js",
            "sdk/live/live.js",
            "sdk/firebase-defaults.js",
            "demo/index.html",
            "demo/chat.js",
        ] {
            assert!(file(name).is_some_and(|file| !file.bytes.is_empty()), "{name}");
        }
        assert_eq!(file("sdk/hearth.js").unwrap().media_type, "text/javascript; charset=utf-8");
        assert_eq!(file("sdk/package.json"), None);
        assert_eq!(file(""), None);
    }

    #[test]
    fn every_file_has_a_type_that_browsers_run() {
        for (name, _) in FILES {
            assert_ne!(media_type(name), "application/octet-stream", "{name}");
        }
    }
}
