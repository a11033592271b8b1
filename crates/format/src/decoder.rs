//! Payload bytes to Arrow columns, whatever the format.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use crate::config::{Format, FormatConfig};
use crate::error::{BadPayload, FormatError};
use crate::json::decode::JsonDecoder;
use crate::raw::{Content, RawDecoder};

/// Turns payloads into rows, one after the other, and all of them into columns.
///
/// A payload that is bad leaves nothing behind: the rows before it stay as they are, and the next ones follow them.
/// Memory grows with the rows until [`Decoder::finish`]; the caller bounds rows and bytes (see [`Decoder::bytes`]).
#[derive(Debug)]
pub struct Decoder {
    inner: Inner,
    bytes: usize,
}

#[derive(Debug)]
enum Inner {
    Json(JsonDecoder),
    Raw(RawDecoder),
}

impl Decoder {
    /// A decoder without rows. `schema` holds the columns that come out of the payload, and no others.
    ///
    /// # Errors
    /// No format, a column type that the format cannot read, or not the one column that an unstructured format needs.
    pub fn new(config: &FormatConfig, schema: SchemaRef) -> Result<Self, FormatError> {
        let format = config.format.ok_or(FormatError::MissingFormat)?;
        let inner = match (Content::of(format, config), format) {
            (Some(content), _) => Inner::Raw(RawDecoder::new(content, &schema)?),
            (None, Format::Json | Format::RawString | Format::RawBytes) => {
                Inner::Json(JsonDecoder::new(&config.json, &schema)?)
            }
        };
        Ok(Self { inner, bytes: 0 })
    }

    /// Appends what one payload holds; answers the number of rows, which is 1 with today's formats.
    ///
    /// # Errors
    /// A payload that does not fit. Nothing was appended then.
    #[inline]
    pub fn push(&mut self, payload: &[u8]) -> Result<usize, BadPayload> {
        let rows = match &mut self.inner {
            Inner::Json(decoder) => decoder.push(payload)?,
            Inner::Raw(decoder) => decoder.push(payload)?,
        };
        self.bytes += payload.len();
        Ok(rows)
    }

    /// The number of rows since the last [`Decoder::finish`].
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.inner {
            Inner::Json(decoder) => decoder.rows(),
            Inner::Raw(decoder) => decoder.rows(),
        }
    }

    /// The bytes of the payloads that those rows came from. A column of one batch holds at most 2 GiB of text; finish
    /// long before that, or the payloads that no longer fit are refused.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The columns of all rows, in the order of the schema and of the same length; the decoder is then without rows
    /// and keeps as much room as was used.
    ///
    /// # Errors
    /// Arrow refuses the columns; that would be a bug in this crate.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, FormatError> {
        self.bytes = 0;
        Ok(match &mut self.inner {
            Inner::Json(decoder) => decoder.finish()?,
            Inner::Raw(decoder) => decoder.finish()?,
        })
    }
}
