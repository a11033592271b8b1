//! Writes strings and numbers as JSON.

use super::scan::{Scanner, special};

/// How each byte below 0x20 is escaped.
const HEX: [u8; 16] = *b"0123456789abcdef";

/// Writes a string with its quotes.
#[inline]
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut start = 0;
    loop {
        let end = plain_end(bytes, start);
        out.extend_from_slice(&bytes[start..end]);
        let Some(&byte) = bytes.get(end) else {
            break;
        };
        write_escape(out, byte);
        start = end + 1;
    }
    out.push(b'"');
}

/// The index of the next byte that must be escaped, or the end.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let stops = special(u64::from_le_bytes(*chunk));
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0C => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes text that should be JSON as it is, or else as a string: a payload is always one valid document.
pub(crate) fn write_document(out: &mut Vec<u8>, text: &str) {
    let mut scanner = Scanner::new(text.as_bytes());
    scanner.skip_space();
    if scanner.skip_value().and_then(|()| scanner.end()).is_ok() {
        out.extend_from_slice(text.trim_ascii().as_bytes());
    } else {
        write_string(out, text);
    }
}

/// Writes an integer.
#[inline]
pub(crate) fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a float in its shortest form that reads back the same; what is not finite is null.
#[inline]
pub(crate) fn write_float(out: &mut Vec<u8>, value: impl zmij::Float + Into<f64> + Copy) {
    if value.into().is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Writes `value / 10^scale`, with all digits of the scale if `whole`, or without zeros at the end.
pub(crate) fn write_scaled(out: &mut Vec<u8>, value: i128, scale: i8, whole: bool) {
    if value < 0 {
        out.push(b'-');
    }
    let magnitude = value.unsigned_abs();
    if scale <= 0 {
        write_integer(out, magnitude);
        if magnitude != 0 {
            let zeros = usize::from(scale.unsigned_abs());
            out.resize(out.len() + zeros, b'0');
        }
        return;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(magnitude).as_bytes();
    let places = usize::from(scale.unsigned_abs());
    let (integral, fraction) = digits.split_at(digits.len().saturating_sub(places));
    out.extend_from_slice(if integral.is_empty() { b"0" } else { integral });
    let point = out.len();
    out.push(b'.');
    out.resize(out.len() + places - fraction.len(), b'0');
    out.extend_from_slice(fraction);
    if !whole {
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.len() == point + 1 {
            out.truncate(point);
        }
    }
}
