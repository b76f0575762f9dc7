//! Bytes in JSON: written as standard base64 with padding; read in either alphabet, padded or not.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const READ_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const READ_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The text of bytes.
pub(crate) fn write(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a text; `None` where it is not base64.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    let url_safe = text.contains(['-', '_']);
    if url_safe { READ_URL_SAFE.decode(text) } else { READ_STANDARD.decode(text) }.ok()
}
