//! What self-describing formats have in common: a payload is a sequence of tokens.
//!
//! ```text
//! payload bytes ── Source (msgpack, cbor, csv, avro, protobuf) ──► Token ──► json::column ──► Arrow
//! ```
//!
//! A format only has to take its own bytes apart; what a column makes of a token is the same for all of them
//! ([`convert`](crate::convert)), and the same as for JSON. Nothing is gathered in between: tokens go straight into the
//! vectors that become Arrow buffers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;

use crate::config::{JsonOptions, TimestampFormat};
use crate::error::{BadPayload, Excerpt, FormatError};
use crate::json::fault::{Fault, Result};
use crate::json::fields::Fields;

/// How deep values may be nested, as in JSON.
pub(crate) use crate::json::scan::DEPTH_MAX;

/// One value, or the beginning of a list or map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Boolean(bool),
    Integer(i128),
    Single(f32),
    Double(f64),
    /// `value / 10^scale`.
    Decimal(i128, i32),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Days since 1970.
    Date(i32),
    /// Nanoseconds since midnight.
    Time(i64),
    Text(Cow<'a, str>),
    /// Text that is one JSON document.
    Json(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    /// Items follow, each announced by [`Source::more`].
    List,
    /// Members follow, each announced by [`Source::more`] and begun by [`Source::name`].
    Map,
}

/// How much of a text an error quotes, in bytes.
const QUOTE_BYTES: usize = 40;

impl fmt::Display for Token<'_> {
    /// In the words of an error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Single(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Decimal(..) => f.write_str("a decimal"),
            Self::Timestamp(_) => f.write_str("a timestamp"),
            Self::Date(_) => f.write_str("a date"),
            Self::Time(_) => f.write_str("a time"),
            Self::Text(text) | Self::Json(text) if text.is_empty() => f.write_str("\"\""),
            Self::Text(text) | Self::Json(text) => {
                write!(f, "\"{}\"", Excerpt(text.as_bytes(), QUOTE_BYTES))
            }
            Self::Binary(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::List => f.write_str("a list"),
            Self::Map => f.write_str("a map"),
        }
    }
}

impl<'a> Token<'a> {
    /// A map's key, which began at this byte, as the name of a member.
    pub(crate) fn into_name(self, at: usize) -> Result<Cow<'a, str>> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Integer(value) => Ok(Cow::Owned(value.to_string())),
            other => {
                let reason = format!("a map's key must be a string or an integer, not {other}");
                Err(Fault::new(at, reason))
            }
        }
    }
}

/// Refuses a payload that goes on behind its value.
pub(crate) fn expect_end(bytes: &[u8], at: usize) -> Result<()> {
    if at == bytes.len() {
        return Ok(());
    }
    let reason = "expected the end of the payload, found more bytes";
    Err(Fault::new(at, reason))
}

/// Takes tokens off one payload.
///
/// Never panics, whatever the bytes; lists and maps are nested at most [`DEPTH_MAX`] deep; and each token takes bytes
/// of the payload, or is one of a bounded number that take none.
pub(crate) trait Source<'a> {
    /// The next byte's index.
    fn position(&self) -> usize;

    /// The next value; for a list or map only its beginning.
    fn token(&mut self) -> Result<Token<'a>>;

    /// Whether the list or map that was begun last has another item or member; ends it if not.
    fn more(&mut self) -> Result<bool>;

    /// The name of the member that [`more`](Self::more) announced.
    fn name(&mut self) -> Result<Cow<'a, str>>;

    /// Ends the payload: nothing may follow.
    fn end(&mut self) -> Result<()>;

    /// Goes over one value of any kind.
    fn skip(&mut self) -> Result<()> {
        match self.token()? {
            Token::List => {
                while self.more()? {
                    self.skip()?;
                }
            }
            Token::Map => {
                while self.more()? {
                    self.name()?;
                    self.skip()?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether every column of a table is a field of what describes its messages.
///
/// # Errors
/// The first column that is not; `what` is the description's name.
pub(crate) fn check_columns(
    what: &str,
    schema: &Schema,
    fields: &[&str],
) -> std::result::Result<(), FormatError> {
    let is_unknown = |field: &&Arc<Field>| !fields.contains(&field.name().as_str());
    match schema.fields().iter().find(is_unknown) {
        None => Ok(()),
        Some(field) => Err(FormatError::Option(format!(
            "column '{}' is no field of the {what}, which has '{}'",
            field.name(),
            fields.join("', '")
        ))),
    }
}

/// Reads one map a payload, one member a column.
#[derive(Debug)]
pub(crate) struct TokenDecoder {
    fields: Fields,
    rows: usize,
}

impl TokenDecoder {
    /// No rows yet. `format` is named in the error.
    ///
    /// # Errors
    /// A column of a type that tokens cannot be read into.
    pub(crate) fn new(
        format: &'static str,
        timestamp_format: TimestampFormat,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        let options = JsonOptions {
            timestamp_format,
            ..JsonOptions::default()
        };
        let fields = Fields::new(schema.fields(), &options, "").map_err(|e| e.of_format(format))?;
        Ok(Self { fields, rows: 0 })
    }

    /// Appends the row of one payload, or nothing.
    pub(crate) fn push<'a>(
        &mut self,
        payload: &[u8],
        source: &mut impl Source<'a>,
    ) -> std::result::Result<usize, BadPayload> {
        match self.read(source) {
            Ok(()) => {
                self.rows += 1;
                Ok(1)
            }
            Err(fault) => {
                self.fields.truncate(self.rows);
                Err(fault.into_bad_payload(payload))
            }
        }
    }

    /// Appends the rows of one payload that holds several, all of them or none.
    /// `next` appends one of them through [`Self::append`], and answers `false` when there are no more.
    pub(crate) fn push_each(
        &mut self,
        payload: &[u8],
        mut next: impl FnMut(&mut Self) -> Result<bool>,
    ) -> std::result::Result<usize, BadPayload> {
        let before = self.rows;
        loop {
            match next(self) {
                Ok(true) => {}
                Ok(false) => return Ok(self.rows - before),
                Err(fault) => {
                    self.rows = before;
                    self.fields.truncate(before);
                    return Err(fault.into_bad_payload(payload));
                }
            }
        }
    }

    /// Appends one row, which stays only if [`Self::push_each`] is told of no fault.
    pub(crate) fn append<'a>(&mut self, source: &mut impl Source<'a>) -> Result<()> {
        self.read(source)?;
        self.rows += 1;
        Ok(())
    }

    fn read<'a>(&mut self, source: &mut impl Source<'a>) -> Result<()> {
        let at = source.position();
        match source.token()? {
            Token::Map => self.fields.append_members(source, at, self.rows)?,
            other => return Err(Fault::new(at, format!("expected a map, found {other}"))),
        }
        source.end()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.rows = 0;
        self.fields.finish()
    }
}
