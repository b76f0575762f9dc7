//! The framing of WebChannel's bodies: chunks of a length and a JSON text. It knows nothing of sessions.
//!
//! Source: captures of `firebase` 10 to 12; the format is Closure's WebChannel, channel version 8.

use crate::status::Refusal;

/// A chunk: the length of the text in decimal, a line feed, the text.
///
/// The length counts UTF-16 code units, not bytes and not characters: clients cut their received string by it.
pub(super) fn chunk(json: &str) -> String {
    format!("{}\n{json}", json.encode_utf16().count())
}

/// The array that opens a session, always number 0: the session's id, no other host, the channel's version, the server's
/// version, and how often a silent server speaks.
pub(super) fn opening(sid: &str, keep_alive_ms: u128) -> String {
    const CHANNEL_VERSION: u8 = 8;
    const SERVER_VERSION: u8 = 14;
    format!(r#"[[0,["c","{sid}","",{CHANNEL_VERSION},{SERVER_VERSION},{keep_alive_ms}]]]"#)
}

/// The payload that says nothing but that the server is there.
pub(super) const NOOP: &str = r#"["noop"]"#;

/// The payload that ends a session in order.
pub(super) const CLOSE: &str = r#"["close"]"#;

/// The payload of one message: an array that holds it.
pub(super) fn message(json: &str) -> String {
    format!("[{json}]")
}

/// The payload that ends a stream with an error. Clients go by its status, the code's name.
pub(super) fn error(refusal: &Refusal) -> String {
    message(&crate::rest::error(refusal).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;
    use proptest::prelude::*;

    #[test]
    fn lengths_count_utf_16_code_units() {
        assert_eq!(chunk("abc"), "3\nabc");
        assert_eq!(chunk("é"), "1\né");
        assert_eq!(chunk("😀"), "2\n😀");
    }

    #[test]
    fn a_session_opens_with_its_id_and_version_8() {
        assert_eq!(opening("s1", 30_000), r#"[[0,["c","s1","",8,14,30000]]]"#);
    }

    #[test]
    fn an_error_carries_its_canonical_name() {
        let refusal = Refusal::new(Code::PermissionDenied, r#"no "way""#);
        let want = r#"[{"error":{"code":403,"message":"no \"way\"","status":"PERMISSION_DENIED"}}]"#;
        assert_eq!(error(&refusal), want);
    }

    proptest! {
        #[test]
        fn a_client_that_cuts_by_code_units_finds_every_text(texts in prop::collection::vec("\\PC{0,20}", 0..6)) {
            let body: String = texts.iter().map(|text| chunk(text)).collect();
            let mut rest: Vec<u16> = body.encode_utf16().collect();
            for text in texts {
                let end = rest.iter().position(|unit| *unit == u16::from(b'\n')).unwrap();
                let length: usize = String::from_utf16(&rest[..end]).unwrap().parse().unwrap();
                let after = rest.split_off(end + 1);
                prop_assert_eq!(String::from_utf16(&after[..length]).unwrap(), text);
                rest = after[length..].to_vec();
            }
            prop_assert!(rest.is_empty());
        }
    }
}
