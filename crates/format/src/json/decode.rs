//! Payloads of JSON to columns: the whole payload, and its undoing.

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::fault::Result;
use super::fields::Fields;
use super::scan::Scanner;
use crate::config::JsonOptions;
use crate::error::{BadPayload, FormatError};

/// Reads one object a payload. See the [module](super).
#[derive(Debug)]
pub(crate) struct JsonDecoder {
    fields: Fields,
    rows: usize,
}

impl JsonDecoder {
    pub(crate) fn new(
        options: &JsonOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        Ok(Self {
            fields: Fields::new(schema.fields(), options, "")?,
            rows: 0,
        })
    }

    /// Appends the row of one payload, or nothing.
    #[inline]
    pub(crate) fn push(&mut self, payload: &[u8]) -> std::result::Result<usize, BadPayload> {
        match self.read(payload) {
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

    #[inline]
    fn read(&mut self, payload: &[u8]) -> Result<()> {
        let mut scanner = Scanner::new(payload);
        scanner.skip_space();
        self.fields.read(&mut scanner, self.rows)?;
        scanner.end()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.rows = 0;
        self.fields.finish()
    }
}
