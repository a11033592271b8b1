//! Messages to rows: the payload by the table's format, what is around the payload by the connector.
//!
//! ```text
//! message ─┬─ payload ──► headwater_format::Decoder ──┐
//!          └─ topic, … ─► MetadataColumn, one each ───┴─► RecordBatch, in the order of the table's columns
//! ```
//!
//! A bad payload never takes the messages around it down: with `bad_data = 'fail'` it ends the job with an error that
//! names the message, with `'drop'` it is counted and left out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use headwater_format::{BadData, Decoder, FormatError};

use crate::metrics::Metrics;
use crate::operator::{OperatorConfig, OperatorError};

/// One metadata column that grows message by message. `M` is the connector's message.
pub trait MetadataColumn<M>: Send {
    /// Appends this message's value `rows` times, once for every row that its payload held.
    fn append(&mut self, message: &M, rows: usize);

    /// All values appended since the last call.
    fn finish(&mut self) -> ArrayRef;
}

/// Collects messages into a batch of a table's physical columns. Bounded by its caller, through [`rows`](Self::rows)
/// and [`bytes`](Self::bytes).
pub struct RowDecoder<M> {
    decoder: Decoder,
    metadata: Vec<Box<dyn MetadataColumn<M>>>,
    /// For every column of the table whether it is metadata; both kinds keep their order.
    is_metadata: Vec<bool>,
    schema: SchemaRef,
    bad_data: BadData,
    metrics: Arc<Metrics>,
}

impl<M> RowDecoder<M> {
    /// A decoder for the rows of a table. `column` makes the builder of a metadata column by its metadata name, with
    /// the Arrow type that it builds; where the table declares another type, the values are cast.
    ///
    /// # Errors
    /// A payload that the format cannot read into the columns, a metadata name that `column` does not know, and a type
    /// that metadata cannot be cast to.
    pub fn new(
        config: &OperatorConfig,
        metrics: Arc<Metrics>,
        column: impl Fn(&str) -> Option<Box<dyn MetadataColumn<M>>>,
    ) -> Result<Self, OperatorError> {
        let decoder = Decoder::new(&config.format, config.schema.payload_schema())
            .map_err(|e| OperatorError::caused_by(e.to_string(), e))?;
        let mut metadata = Vec::new();
        let mut is_metadata = vec![false; config.schema.columns.len()];
        for (index, name, field) in config.schema.metadata() {
            let mut column = column(name).ok_or_else(|| {
                let message = format!("column '{}': unknown metadata '{name}'", field.name());
                OperatorError::fatal(message)
            })?;
            check_type(field.name(), column.finish().data_type(), field.data_type())?;
            metadata.push(column);
            is_metadata[index] = true;
        }
        Ok(Self {
            decoder,
            metadata,
            is_metadata,
            schema: config.schema.arrow_schema(),
            bad_data: config.format.bad_data,
            metrics,
        })
    }

    /// Appends the rows of one message. `place` tells where the message comes from, for an error (`topic 'a/b'`).
    ///
    /// # Errors
    /// [`OperatorError::BadData`] for a payload that does not fit, in a table with `bad_data = 'fail'`.
    #[inline]
    pub fn push(
        &mut self,
        payload: &[u8],
        message: &M,
        place: impl FnOnce(&M) -> String,
    ) -> Result<(), OperatorError> {
        match self.decoder.push(payload) {
            Ok(rows) => {
                for column in &mut self.metadata {
                    column.append(message, rows);
                }
                Ok(())
            }
            Err(_) if self.bad_data == BadData::Drop => {
                self.metrics.add_bad_data(1);
                Ok(())
            }
            Err(bad) => Err(OperatorError::BadData(format!(
                "{}: {bad}; bad_data = 'drop' leaves such messages out",
                place(message)
            ))),
        }
    }

    /// Rows since the last [`finish`](Self::finish).
    pub fn rows(&self) -> usize {
        self.decoder.rows()
    }

    /// Payload bytes of those rows.
    pub fn bytes(&self) -> usize {
        self.decoder.bytes()
    }

    /// All rows since the last call, which may be none. Counts them.
    ///
    /// # Errors
    /// Arrow refuses the columns, which would be a bug.
    pub fn finish(&mut self) -> Result<RecordBatch, OperatorError> {
        let rows = self.decoder.rows();
        let internal = |e: FormatError| OperatorError::caused_by("cannot build a batch", e);
        let mut payload = self.decoder.finish().map_err(internal)?.into_iter();
        let mut metadata = self.metadata.iter_mut();
        let mut columns = Vec::with_capacity(self.is_metadata.len());
        for (is_metadata, field) in self.is_metadata.iter().zip(self.schema.fields()) {
            let column = if *is_metadata {
                metadata.next().map(|column| column.finish())
            } else {
                payload.next()
            };
            let column = column.ok_or_else(|| OperatorError::fatal("a column is missing"))?;
            columns.push(fit(column, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| OperatorError::caused_by("cannot build a batch", e))?;
        self.metrics.add_rows(rows as u64);
        Ok(batch)
    }
}

fn check_type(column: &str, from: &DataType, to: &DataType) -> Result<(), OperatorError> {
    if from == to || can_cast_types(from, to) {
        return Ok(());
    }
    let message = format!("column '{column}' has the type {to}, but its metadata is {from}");
    Err(OperatorError::fatal(message))
}

fn fit(column: ArrayRef, to: &DataType) -> Result<ArrayRef, OperatorError> {
    if column.data_type() == to {
        return Ok(column);
    }
    cast(&column, to).map_err(|e| OperatorError::caused_by("cannot cast metadata", e))
}
