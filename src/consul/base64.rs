//! Base64, as Consul wraps values and payloads in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes to text.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Text to bytes; Consul writes null for no bytes.
pub(super) fn decode(text: Option<&str>) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_empty_and_bytes_survive() {
        assert_eq!(decode(None).unwrap(), b"");
        let bytes = [0, 255, 10, 13];
        assert_eq!(decode(Some(&encode(&bytes))).unwrap(), bytes);
        assert!(decode(Some("*")).is_err());
    }
}
