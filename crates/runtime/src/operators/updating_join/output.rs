//! The rows that are put out: of the left, of the right, what they do, event time.

use std::sync::Arc;

use arrow::array::{Int64Array, TimestampNanosecondArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::Row;
use super::side::Side;

/// One row: a pair, or the row of one side alone.
#[derive(Debug)]
pub(super) struct Change {
    /// Of the left and of the right.
    pub(super) rows: [Option<Row>; 2],
    /// What it does: see `CHANGE`.
    pub(super) change: i64,
    pub(super) time: i64,
}

impl Change {
    /// The row of an input without a partner.
    pub(super) fn alone(input: usize, row: Row, time: i64) -> Self {
        let mut rows = [None, None];
        rows[input] = Some(row);
        Self {
            rows,
            change: 0,
            time,
        }
    }

    /// The row of an input with one of the other.
    pub(super) fn pair(input: usize, row: Row, partner: Row, time: i64) -> Self {
        let mut pair = Self::alone(input, row, time);
        pair.rows[1 - input] = Some(partner);
        pair
    }

    /// The same row, doing this.
    pub(super) fn doing(self, change: i64) -> Self {
        Self { change, ..self }
    }
}

/// The columns.
pub(super) struct Output {
    schema: SchemaRef,
}

impl Output {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self {
            schema: Arc::clone(schema),
        }
    }

    /// Some rows, of which there is at least one.
    pub(super) fn rows(&self, sides: &[Side; 2], changes: &[Change]) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (input, side) in sides.iter().enumerate() {
            columns.extend(side.columns(changes.iter().map(|change| change.rows[input].as_ref()))?);
        }
        let numbers = changes.iter().map(|change| change.change);
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
        let times = changes.iter().map(|change| change.time);
        columns.push(Arc::new(TimestampNanosecondArray::from_iter_values(times)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
