//! Pairs of rows → rows of the join.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::side::{Batch, Side};

/// The most pairs that are made rows of at once.
const PIECE_ROWS: usize = 8192;

/// Some pairs: for each the row of the batch, the number of its partner, the later event time.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    partners: Vec<usize>,
    times: Vec<i64>,
}

/// The rows that come of a batch on an input and what is kept of the other side.
pub(super) fn joined(
    schema: &SchemaRef,
    input: usize,
    batch: &Batch,
    other: &Side,
    ttl_ns: u64,
) -> Result<Vec<RecordBatch>> {
    let mut made = Vec::new();
    let mut pairs = Pairs::default();
    for (row, (key, time)) in batch.keys.iter().zip(&batch.times).enumerate() {
        for (partner, partner_time) in other.of_key(key) {
            if time.abs_diff(partner_time) > ttl_ns {
                continue;
            }
            // a batch has fewer rows than 2^32
            pairs.rows.push(row as u32);
            pairs.partners.push(partner);
            pairs.times.push(partner_time.max(*time));
            if pairs.rows.len() == PIECE_ROWS {
                made.push(std::mem::take(&mut pairs).piece(schema, input, batch, other)?);
            }
        }
    }
    if !pairs.rows.is_empty() {
        made.push(pairs.piece(schema, input, batch, other)?);
    }
    Ok(made)
}

impl Pairs {
    fn piece(
        self,
        schema: &SchemaRef,
        input: usize,
        batch: &Batch,
        other: &Side,
    ) -> Result<RecordBatch> {
        let rows = take_record_batch(&batch.rows, &UInt32Array::from(self.rows))?;
        let partners = other.columns(&self.partners)?;
        let [left, right] = match input {
            0 => [rows, partners],
            _ => [partners, rows],
        };
        let time = Arc::new(TimestampNanosecondArray::from(self.times)) as ArrayRef;
        let columns = left.columns().iter().chain(right.columns());
        let columns = columns.cloned().chain([time]).collect();
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}
