//! The formats without structure: a payload is the value of the table's only column.
//!
//! `raw_string` reads and writes UTF-8 text, `raw_bytes` bytes as they are, and `json` with `json.unstructured` one
//! whole document, checked but left as it is written. An empty payload is an empty value; null is written as an empty
//! payload (`null` for JSON).

use arrow::array::{Array, ArrayRef, NullBufferBuilder};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;

use crate::config::{Format, FormatConfig};
use crate::error::{BadPayload, FormatError};
use crate::json::scan::Scanner;
use crate::json::text::write_document;
use crate::json::{is_binary, is_text};
use crate::payloads::Payloads;
use crate::strings::{Blobs, Strings};
use crate::varlen::VarLen;

/// What a payload must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// UTF-8.
    Text,
    /// Anything.
    Bytes,
    /// One JSON document.
    Document,
}

impl Content {
    /// What the format says of payloads; `None` if they have a structure.
    pub(crate) fn of(format: Format, config: &FormatConfig) -> Option<Self> {
        match format {
            Format::RawString => Some(Self::Text),
            Format::RawBytes => Some(Self::Bytes),
            Format::Json => config.json.unstructured.then_some(Self::Document),
            _ => None,
        }
    }

    /// The type of the only column.
    ///
    /// # Errors
    /// None or several columns, or one of a type that does not fit.
    pub(crate) fn column_type(self, schema: &Schema) -> Result<DataType, FormatError> {
        if let [field] = &schema.fields()[..] {
            let data_type = field.data_type();
            let fits = match self {
                Self::Text | Self::Bytes => is_text(data_type) || is_binary(data_type),
                Self::Document => is_text(data_type),
            };
            if fits {
                return Ok(data_type.clone());
            }
        }
        let (format, types) = match self {
            Self::Text => ("format 'raw_string'", "TEXT or BYTEA"),
            Self::Bytes => ("format 'raw_bytes'", "TEXT or BYTEA"),
            Self::Document => ("'json.unstructured'", "TEXT or JSON"),
        };
        Err(FormatError::SingleColumn {
            format,
            types,
            found: describe(schema),
        })
    }
}

fn describe(schema: &Schema) -> String {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| format!("'{}' ({})", field.name(), field.data_type()))
        .collect();
    if columns.is_empty() {
        "none".to_owned()
    } else {
        columns.join(", ")
    }
}

/// Reads one value a payload.
#[derive(Debug)]
pub(crate) struct RawDecoder {
    content: Content,
    data_type: DataType,
    values: VarLen,
    rows: usize,
}

impl RawDecoder {
    pub(crate) fn new(content: Content, schema: &Schema) -> Result<Self, FormatError> {
        Ok(Self {
            content,
            data_type: content.column_type(schema)?,
            values: VarLen::default(),
            rows: 0,
        })
    }

    pub(crate) fn push(&mut self, payload: &[u8]) -> Result<usize, BadPayload> {
        let value = match self.content {
            Content::Document => document(payload)?,
            Content::Bytes if is_binary(&self.data_type) => payload,
            Content::Text | Content::Bytes => text(payload)?,
        };
        if self.values.push(value).is_err() {
            self.values.truncate(self.rows);
            let reason = "one batch cannot hold more than 2 GiB of payloads";
            return Err(BadPayload::new(reason, payload));
        }
        self.rows += 1;
        Ok(1)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut nulls = NullBufferBuilder::new(0);
        nulls.append_n_non_nulls(self.rows);
        self.rows = 0;
        Ok(vec![self.values.finish(&self.data_type, nulls.finish())?])
    }
}

fn text(payload: &[u8]) -> Result<&[u8], BadPayload> {
    match simdutf8::compat::from_utf8(payload) {
        Ok(text) => Ok(text.as_bytes()),
        Err(e) => {
            let reason = format!("the payload is not UTF-8 (byte {})", e.valid_up_to());
            Err(BadPayload::new(reason, payload))
        }
    }
}

/// The document in a payload, without the space around it.
fn document(payload: &[u8]) -> Result<&[u8], BadPayload> {
    let mut scanner = Scanner::new(payload);
    scanner.skip_space();
    let start = scanner.position();
    scanner
        .skip_value()
        .map(|()| scanner.position())
        .and_then(|end| scanner.end().map(|()| &payload[start..end]))
        .map_err(|fault| fault.into_bad_payload(payload))
}

/// Writes one value a payload.
#[derive(Debug)]
pub(crate) struct RawEncoder(Content);

impl RawEncoder {
    pub(crate) fn new(content: Content, schema: &Schema) -> Result<Self, FormatError> {
        content.column_type(schema)?;
        Ok(Self(content))
    }

    /// Whether payloads of this column are text, whatever its values.
    pub(crate) fn writes_text(&self, schema: &Schema) -> bool {
        let text = |column: &DataType| self.0 != Content::Bytes && is_text(column);
        self.0.column_type(schema).is_ok_and(|column| text(&column))
    }

    pub(crate) fn encode(&self, column: &ArrayRef, out: &mut Payloads) {
        let strings = Strings::of(column);
        let blobs = Blobs::of(column);
        for row in 0..column.len() {
            let document = self.0 == Content::Document;
            match (&strings, &blobs) {
                _ if column.is_null(row) && document => out.buffer.extend_from_slice(b"null"),
                _ if column.is_null(row) => {}
                (Some(texts), _) if document => write_document(&mut out.buffer, texts.get(row)),
                (Some(texts), _) => out.buffer.extend_from_slice(texts.get(row).as_bytes()),
                (None, Some(blobs)) => out.buffer.extend_from_slice(blobs.get(row)),
                (None, None) => {}
            }
            out.end();
        }
    }
}
