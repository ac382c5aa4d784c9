//! What a glTF file's URIs name: base64 data in the URI itself, or a neighbour, percent-encoded.
//! Leaves out the network.

use super::MeshFileError;
use super::load::Load;

/// The bytes behind a URI.
pub(super) fn fetch(uri: &str, load: &mut Load) -> Result<Vec<u8>, MeshFileError> {
    let Some(data) = uri.strip_prefix("data:") else {
        return load.neighbour(&percent_decoded(uri));
    };
    let base64 = data.split_once(";base64,").map(|(_, base64)| base64);
    base64
        .and_then(base64_decoded)
        .ok_or_else(|| load.broken("glTF", "a data URI is not base64"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0u32, 0);
    for symbol in text.trim_end().trim_end_matches('=').bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
            bits &= (1 << n_bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        // RFC 4648, section 10.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64_decoded(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64_decoded("Zm9v!"), None);
    }

    #[test]
    fn names_are_percent_decoded() {
        assert_eq!(percent_decoded("a%20b%C3%A9%zz%2"), "a bé%zz%2");
    }
}
