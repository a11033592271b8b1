//! Rows of a database, each as a JSON object → Arrow columns.

use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use headwater_connector::{Found, OperatorConfig, OperatorError};
use headwater_format::{Decoder, Format, FormatConfig, is_json};

/// Collects the rows that were found for keys.
pub(crate) struct Rows {
    decoder: Decoder,
    schema: SchemaRef,
    keys: Vec<u32>,
    /// The table, for errors.
    table: String,
}

impl Rows {
    /// Of a table of these columns, called `table` by the database.
    pub(crate) fn new(config: &OperatorConfig, table: &str) -> Result<Self, OperatorError> {
        let format = FormatConfig {
            format: Some(Format::Json),
            ..FormatConfig::default()
        };
        let schema = config.schema.arrow_schema();
        let decoder = Decoder::new(&format, Arc::clone(&schema));
        Ok(Self {
            decoder: decoder.map_err(|error| OperatorError::fatal(error.to_string()))?,
            schema,
            keys: Vec::new(),
            table: table.to_owned(),
        })
    }

    /// Adds a row of the key of this number, a JSON object. Keys come in order.
    ///
    /// # Errors
    /// A row that does not fit the columns.
    pub(crate) fn push(&mut self, key: u32, row: &[u8]) -> Result<(), OperatorError> {
        self.decoder.push(row).map_err(|rejected| {
            let table = &self.table;
            let reason = rejected.to_string();
            OperatorError::BadData(format!(
                "a row of '{table}' in the database does not fit the columns declared here: {reason}"
            ))
        })?;
        self.keys.push(key);
        Ok(())
    }

    /// What was found.
    pub(crate) fn finish(&mut self) -> Result<Found, OperatorError> {
        let keys = std::mem::take(&mut self.keys);
        let columns = self.decoder.finish();
        let columns = columns.map_err(|error| OperatorError::fatal(error.to_string()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
        let schema = Arc::clone(&self.schema);
        let rows = RecordBatch::try_new_with_options(schema, columns, &options);
        let unfit = "the rows of the database do not fit the columns declared here";
        Ok(Found {
            rows: rows.map_err(|error| OperatorError::caused_by(unfit, error))?,
            keys,
        })
    }
}

/// Whether a column holds JSON: text of any document, or something nested, which databases keep as JSON.
pub(crate) fn is_document(field: &Field) -> bool {
    is_json(field) || field.data_type().is_nested()
}

/// Whether a column holds text that is no JSON.
pub(crate) fn is_text(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Utf8) && !is_document(field)
}
