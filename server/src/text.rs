//! Bytes of a program as JSON strings, the way the clients of SandboxFusion get them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use executor::Captured;

/// A stream that is UTF-8 as it is; any other becomes one line that says what Python's strict
/// decoder says of it.
pub(crate) fn decoded(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let (at, kind) = (error.utf8_error().valid_up_to(), error.utf8_error());
        format!(
            "[DecodeError] {}",
            complaint(error.as_bytes(), at, kind.error_len())
        )
    })
}

/// Python's message for the first bytes that are no UTF-8.
fn complaint(bytes: &[u8], at: usize, length: Option<usize>) -> String {
    let first = bytes[at];
    let (length, reason) = match length {
        None => (bytes.len() - at, "unexpected end of data"),
        Some(_) if !matches!(first, 0xC2..=0xF4) => (1, "invalid start byte"),
        Some(length) => (length, "invalid continuation byte"),
    };
    if length == 1 {
        format!("'utf-8' codec can't decode byte 0x{first:02x} in position {at}: {reason}")
    } else {
        let last = at + length - 1;
        format!("'utf-8' codec can't decode bytes in position {at}-{last}: {reason}")
    }
}

/// A captured stream. What was cut is decoded loosely, since the cut may go through a character.
pub(crate) fn captured(stream: Captured) -> String {
    if stream.truncated {
        let mut text = String::from_utf8_lossy(&stream.bytes).into_owned();
        if text.ends_with('\u{FFFD}') {
            text.pop();
        }
        text
    } else {
        decoded(stream.bytes)
    }
}

/// Base64 as Python decodes it by default: characters outside the alphabet are skipped, padding
/// must be complete.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    let mut kept = Vec::with_capacity(text.len());
    let mut padding = 0;
    for byte in text.bytes() {
        match byte {
            // Padding counts only where it can stand; once complete, nothing more is read.
            b'=' if kept.len() % 4 >= 2 => {
                padding += 1;
                if kept.len() % 4 + padding >= 4 {
                    break;
                }
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                padding = 0;
                kept.push(byte);
            }
            _ => {}
        }
    }
    let rest = kept.len() % 4;
    if rest == 1 {
        return Err(format!(
            "Invalid base64-encoded string: number of data characters ({}) cannot be 1 more than a multiple of 4",
            kept.len()
        ));
    }
    if rest != 0 && rest + padding < 4 {
        return Err("Incorrect padding".to_owned());
    }
    // Bits past the last byte are dropped, as Python does.
    let lenient = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    lenient.decode(&kept).map_err(|error| error.to_string())
}

/// Base64 for answers.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_become_pythons_complaint() {
        let cases: [(&[u8], &str); 6] = [
            (b"\xff", "byte 0xff in position 0: invalid start byte"),
            (
                b"a\xc3(",
                "byte 0xc3 in position 1: invalid continuation byte",
            ),
            (
                b"ab\xe2\x82",
                "bytes in position 2-3: unexpected end of data",
            ),
            (
                b"\xe2\x82(",
                "bytes in position 0-1: invalid continuation byte",
            ),
            (b"\xc3", "byte 0xc3 in position 0: unexpected end of data"),
            (
                b"\xed\xa0\x80",
                "byte 0xed in position 0: invalid continuation byte",
            ),
        ];
        for (bytes, end) in cases {
            let expected = format!("[DecodeError] 'utf-8' codec can't decode {end}");
            assert_eq!(decoded(bytes.to_vec()), expected);
        }
        assert_eq!(decoded(b"a\r\n\0".to_vec()), "a\r\n\0");
    }

    #[test]
    fn base64_is_read_as_python_reads_it() {
        assert_eq!(from_base64("aGk="), Ok(b"hi".to_vec()));
        assert_eq!(from_base64(" a-G*k=\n"), Ok(b"hi".to_vec()));
        assert_eq!(from_base64("aGk=zzzz"), Ok(b"hi".to_vec()));
        assert_eq!(from_base64(""), Ok(vec![]));
        assert_eq!(from_base64("====aGk="), Ok(b"hi".to_vec()));
        assert!(from_base64("aGk").unwrap_err().contains("padding"));
        assert!(from_base64("aGkxa").unwrap_err().contains("(5)"));
    }
}
