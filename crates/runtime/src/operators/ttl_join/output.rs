//! Pairs of rows → rows of the join.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::physical_expr::PhysicalExpr;

use super::side::{Batch, Side};

/// The most pairs that are made rows of at once.
const PIECE_ROWS: usize = 8192;

/// What a join puts out.
pub(super) struct Output {
    pub(super) schema: SchemaRef,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Some pairs: for each the row of the batch, the number of its partner, the later event time.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    partners: Vec<usize>,
    times: Vec<i64>,
}

impl Output {
    /// The rows that come of a batch on an input and what is kept of the other side.
    pub(super) fn pairs(
        &self,
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
                    let pairs = std::mem::take(&mut pairs);
                    made.push(self.piece(input, batch, other, pairs)?);
                }
            }
        }
        if !pairs.rows.is_empty() {
            made.push(self.piece(input, batch, other, pairs)?);
        }
        made.retain(|piece| piece.num_rows() > 0);
        Ok(made)
    }

    fn piece(
        &self,
        input: usize,
        batch: &Batch,
        other: &Side,
        pairs: Pairs,
    ) -> Result<RecordBatch> {
        let rows = take_record_batch(&batch.rows, &UInt32Array::from(pairs.rows))?;
        let partners = other.columns(&pairs.partners)?;
        let [left, right] = match input {
            0 => [rows, partners],
            _ => [partners, rows],
        };
        let time = Arc::new(TimestampNanosecondArray::from(pairs.times)) as ArrayRef;
        let columns = left.columns().iter().chain(right.columns());
        let columns = columns.cloned().chain([time]).collect();
        let joined = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let Some(filter) = &self.filter else {
            return Ok(joined);
        };
        let mask = filter.evaluate(&joined)?.into_array(joined.num_rows())?;
        Ok(filter_record_batch(&joined, as_boolean_array(&mask)?)?)
    }
}
