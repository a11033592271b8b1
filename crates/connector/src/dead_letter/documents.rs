//! Rows as JSON documents: the payloads of their dead letters.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_format::{Encoder, Format, FormatConfig, Payloads};

/// The rows of one batch as JSON objects. A column of a type for which the format `json` has no notation is given as
/// text, so that nothing of the row is missing.
#[derive(Debug)]
pub struct Documents {
    batch: RecordBatch,
    encoder: Encoder,
    payloads: Payloads,
}

impl Documents {
    /// The documents of a batch.
    ///
    /// # Errors
    /// A column that can be shown neither as JSON nor as text, which would be a bug.
    pub fn new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let batch = writable(batch)?;
        let encoder = encoder(&batch.schema()).ok_or_else(|| {
            ArrowError::NotYetImplemented("a row cannot be written as JSON".to_owned())
        })?;
        Ok(Self {
            batch,
            encoder,
            payloads: Payloads::new(),
        })
    }

    /// One row.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn row(&mut self, row: usize) -> Result<Vec<u8>, ArrowError> {
        self.payloads.clear();
        self.encoder
            .encode(&self.batch.slice(row, 1), &mut self.payloads)
            .map_err(|error| ArrowError::from_external_error(error.into()))?;
        Ok(self.payloads.iter().flatten().copied().collect())
    }
}

fn encoder(schema: &Arc<Schema>) -> Option<Encoder> {
    let config = FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    };
    Encoder::new(&config, Arc::clone(schema)).ok()
}

/// The batch with text in the place of what cannot be written.
fn writable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let alone = Arc::new(Schema::new(vec![Arc::clone(field)]));
        if encoder(&alone).is_some() {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        } else {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(texts(column)?));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn texts(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row| match column.is_null(row) {
        true => Ok(None),
        false => formatter.value(row).try_to_string().map(Some),
    };
    (0..column.len()).map(text).collect()
}
