//! The rows that are put out: keys, values, what they do, event time.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::RowConverter;
use datafusion::common::{Result, ScalarValue};

use super::Key;
use super::group::Values;

/// One row.
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) values: Values,
    /// What it does: see `CHANGE`.
    pub(super) change: i64,
    pub(super) time: i64,
}

/// The columns.
pub(super) struct Output {
    schema: SchemaRef,
    /// How many of them are keys.
    keys: usize,
}

impl Output {
    pub(super) fn new(schema: &SchemaRef, keys: usize) -> Self {
        Self {
            schema: Arc::clone(schema),
            keys,
        }
    }

    /// Some rows, of which there is at least one.
    pub(super) fn rows(&self, converter: &RowConverter, changes: &[Change]) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = match self.keys {
            0 => Vec::new(),
            _ => {
                let parser = converter.parser();
                let keys = changes.iter().map(|change| parser.parse(&change.key));
                converter.convert_rows(keys)?
            }
        };
        let functions = changes.first().map_or(0, |change| change.values.len());
        for function in 0..functions {
            let values = changes.iter().map(|change| change.values[function].clone());
            columns.push(ScalarValue::iter_to_array(values)?);
        }
        let numbers = changes.iter().map(|change| change.change);
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
        let times = changes.iter().map(|change| change.time);
        columns.push(Arc::new(TimestampNanosecondArray::from_iter_values(times)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
