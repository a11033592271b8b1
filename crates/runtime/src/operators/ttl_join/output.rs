//! Pairs of rows → rows of the join, piece by piece.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::side::{Batch, Side};

/// The most pairs that are made rows of at once.
const PIECE_ROWS: usize = 8192;

/// How many rows and partners are looked at for one piece: many partners may be too far away.
const PIECE_STEPS: usize = 1 << 20;

/// A batch that meets the rows of the other side.
pub(super) struct Meeting {
    pub(super) input: usize,
    pub(super) batch: Batch,
    /// What goes out of its rows.
    values: RecordBatch,
    /// The row that is next.
    row: usize,
    /// Its partner that is next, if it has had some.
    partner: Option<usize>,
}

/// Some pairs: for each the row of the batch, the number of its partner, the later event time.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    partners: Vec<usize>,
    times: Vec<i64>,
}

impl Meeting {
    pub(super) fn new(input: usize, batch: Batch, values: RecordBatch) -> Self {
        Self {
            input,
            batch,
            values,
            row: 0,
            partner: None,
        }
    }

    /// The next of the rows that come of it, perhaps none of them; `None` at the end.
    pub(super) fn piece(
        &mut self,
        schema: &SchemaRef,
        other: &Side,
        ttl_ns: u64,
    ) -> Result<Option<RecordBatch>> {
        if self.row == self.batch.times.len() {
            return Ok(None);
        }
        let pairs = self.pairs(other, ttl_ns);
        match pairs.rows.is_empty() {
            true => Ok(Some(RecordBatch::new_empty(Arc::clone(schema)))),
            false => pairs
                .joined(schema, self.input, &self.values, other)
                .map(Some),
        }
    }

    fn pairs(&mut self, other: &Side, ttl_ns: u64) -> Pairs {
        let mut pairs = Pairs::default();
        let mut steps = 0;
        while let Some(time) = self.batch.times.get(self.row) {
            let first = match self.partner.take() {
                Some(partner) => Some(partner),
                None => other.first(self.batch.keys.row(self.row)),
            };
            for (partner, partner_time) in other.from(first) {
                if pairs.rows.len() == PIECE_ROWS || steps == PIECE_STEPS {
                    self.partner = Some(partner);
                    return pairs;
                }
                steps += 1;
                if time.abs_diff(partner_time) <= ttl_ns {
                    // a batch has fewer rows than 2^32
                    pairs.rows.push(self.row as u32);
                    pairs.partners.push(partner);
                    pairs.times.push(partner_time.max(*time));
                }
            }
            self.row += 1;
        }
        pairs
    }
}

impl Pairs {
    fn joined(
        self,
        schema: &SchemaRef,
        input: usize,
        values: &RecordBatch,
        other: &Side,
    ) -> Result<RecordBatch> {
        let rows = take_record_batch(values, &UInt32Array::from(self.rows))?;
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
