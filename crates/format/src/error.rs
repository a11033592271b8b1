//! What can be wrong: with a table's declaration ([`FormatError`]), or with one message ([`BadPayload`]).

use std::fmt;

use arrow::error::ArrowError;

use crate::config::Format;

/// A format that cannot be used as declared, or a batch that cannot be built or written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The table has no `format`.
    #[error("missing option 'format'; one of {}", format_names())]
    MissingFormat,
    /// A column has a type that the format has no notation for.
    #[error(
        "column '{column}' has the type {data_type}, which format '{format}' cannot {direction}; {remedy}"
    )]
    UnsupportedType {
        /// The column, with the path inside it (`position.lat`).
        column: String,
        /// Its Arrow type.
        data_type: String,
        /// The format's name.
        format: &'static str,
        /// `read` or `write`.
        direction: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The format takes exactly one column, of certain types.
    #[error("{format} needs exactly one payload column, of type {types}; the table has {found}")]
    SingleColumn {
        /// The format, or the option that makes it so.
        format: &'static str,
        /// The types it may have.
        types: &'static str,
        /// What the table has.
        found: String,
    },
    /// A batch has other columns than those the encoder was made for.
    #[error("the rows to write have the columns ({found}), but the table has ({expected})")]
    SchemaMismatch {
        /// The encoder's columns.
        expected: String,
        /// The batch's.
        found: String,
    },
    /// What an earlier decoder has learnt, and this one does not understand.
    #[error("what an earlier run has learnt of its messages cannot be taken up: {0}")]
    Memory(String),
    /// Options that do not go together, or a value that cannot be used; says which, and what to do.
    #[error("{0}")]
    Option(String),
    /// A row that the format cannot express.
    #[error("row {row} of a batch cannot be written: {reason}")]
    Row {
        /// Its number in the batch, from 0.
        row: usize,
        /// The column, and what is wrong.
        reason: String,
    },
    /// The zstd library refused.
    #[error("cannot compress with zstd")]
    Zstd(#[source] std::io::Error),
    /// The deflate library refused.
    #[error("cannot compress with gzip")]
    Deflate(#[source] flate2::CompressError),
    /// Arrow refused the columns.
    #[error("cannot build the columns of a batch")]
    Arrow(#[from] ArrowError),
}

impl FormatError {
    /// The same, of a format that shares the code that found it.
    pub(crate) fn of_format(mut self, name: &'static str) -> Self {
        if let Self::UnsupportedType { format, .. } = &mut self {
            *format = name;
        }
        self
    }
}

/// All formats, quoted.
fn format_names() -> String {
    let names: Vec<_> = Format::ALL
        .iter()
        .map(|format| format!("'{format}'"))
        .collect();
    names.join(", ")
}

/// How much of a payload an error quotes, in bytes.
const EXCERPT_BYTES: usize = 120;
/// The same of a payload that is not text.
const HEX_BYTES: usize = 60;

/// A payload that does not fit the format or the table: bad data, not a fault of the system.
///
/// Displayed as the reason, the place, and a bounded excerpt of the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} in {excerpt}")]
pub struct BadPayload {
    reason: String,
    excerpt: String,
    part: Option<Box<[u8]>>,
}

impl BadPayload {
    pub(crate) fn new(reason: impl Into<String>, payload: &[u8]) -> Self {
        Self {
            reason: reason.into(),
            excerpt: Excerpt(payload, EXCERPT_BYTES).to_string(),
            part: None,
        }
    }

    /// The same, of a payload that is not text: its excerpt is in hexadecimal.
    pub(crate) fn in_hex(self, payload: &[u8]) -> Self {
        use fmt::Write;

        let mut excerpt = String::new();
        for byte in payload.iter().take(HEX_BYTES) {
            // Writing to a string cannot fail.
            let written = write!(excerpt, "{byte:02x}");
            debug_assert!(written.is_ok());
        }
        match payload.len() {
            0 => return self,
            len if len > HEX_BYTES => excerpt.push_str(&format!("… ({len} bytes)")),
            _ => {}
        }
        Self { excerpt, ..self }
    }

    /// The same, of one line of a payload; lines are counted from 1.
    pub(crate) fn in_line(self, line: usize, part: &[u8]) -> Self {
        Self {
            reason: format!("line {line}: {}", self.reason),
            excerpt: self.excerpt,
            part: Some(part.into()),
        }
    }

    /// The bytes that do not fit, if they are not the whole payload: with `framing`, one line of it.
    #[must_use]
    pub fn part(&self) -> Option<&[u8]> {
        self.part.as_deref()
    }

    /// What is wrong, at which field and byte, without the excerpt.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The beginning of the payload, as text: control characters are escaped, what is not UTF-8 is replaced.
    #[must_use]
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }
}

/// What of one payload does not fit. Without `framing` that is the payload, and there are no rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many rows the rest of the payload has brought, which stay.
    pub rows: usize,
    /// What does not fit, in the order of the payload: at least one.
    pub bad: Vec<BadPayload>,
}

impl From<BadPayload> for Rejected {
    #[cold]
    fn from(bad: BadPayload) -> Self {
        Self {
            rows: 0,
            bad: vec![bad],
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, bad) in self.bad.iter().enumerate() {
            f.write_str(if index > 0 { "; " } else { "" })?;
            bad.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

/// Displays at most so many bytes of something, without invisible characters.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8], pub(crate) usize);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes, limit) = *self;
        if bytes.is_empty() {
            return f.write_str("an empty payload");
        }
        let shown = &bytes[..floor_char(bytes, limit)];
        for c in String::from_utf8_lossy(shown).chars() {
            match c {
                c if c.is_control() || c == '\u{feff}' => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        if shown.len() < bytes.len() {
            write!(f, "… ({} bytes)", bytes.len())?;
        }
        Ok(())
    }
}

/// The longest prefix of at most `limit` bytes that does not cut a UTF-8 character.
fn floor_char(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    let is_boundary = |&at: &usize| bytes[at] & 0xC0 != 0x80;
    (limit.saturating_sub(3)..=limit)
        .rev()
        .find(is_boundary)
        .unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_bounded_and_printable() {
        let check = |bytes: &[u8], limit, expect: &str| {
            assert_eq!(Excerpt(bytes, limit).to_string(), expect);
        };
        check(b"", 10, "an empty payload");
        check(b"short", 10, "short");
        check(b"longer than that", 6, "longer… (16 bytes)");
        check("aäöü".as_bytes(), 4, "aä… (7 bytes)");
        check(b"a\x00\n\x1b\xffb", 10, "a\\u{0}\\n\\u{1b}\u{fffd}b");
    }
}
