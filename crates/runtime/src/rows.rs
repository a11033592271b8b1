//! A `RecordBatch` as timely sees it: a container that counts its rows.

use arrow::record_batch::RecordBatch;
use timely::Accountable;

/// One batch on its way between two operators; empty only as the default that timely swaps in.
#[derive(Clone, Default)]
pub(crate) struct Rows(Option<RecordBatch>);

impl Rows {
    /// Wraps a batch. Operators never send batches without rows: the progress protocol counts rows, and a message that
    /// counts for nothing could outlive its epoch.
    pub(crate) fn new(batch: RecordBatch) -> Self {
        Self((batch.num_rows() > 0).then_some(batch))
    }

    /// Takes the batch out, leaving the default.
    pub(crate) fn take(&mut self) -> Option<RecordBatch> {
        self.0.take()
    }
}

impl Accountable for Rows {
    fn record_count(&self) -> i64 {
        // a batch holds far fewer than 2^63 rows, so the conversion is exact
        self.0.as_ref().map_or(0, |batch| batch.num_rows() as i64)
    }
}
