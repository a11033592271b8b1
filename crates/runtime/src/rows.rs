//! A `RecordBatch` as timely sees it: a container that counts its rows.

use arrow::record_batch::RecordBatch;
use timely::Accountable;

use crate::backlog::Size;

/// One batch on its way between two operators; empty only as the default that timely swaps in.
///
/// An operator with dead letters sends them down the same stream, marked: the operator that routes them takes these and
/// every other operator takes the rest. A plan has the former wherever there may be dead letters.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    batch: Option<RecordBatch>,
    rejected: bool,
}

impl Rows {
    /// Wraps a batch. Operators never send batches without rows: the progress protocol counts rows, and a message that
    /// counts for nothing could outlive its epoch.
    pub(crate) fn new(batch: RecordBatch) -> Self {
        Self {
            batch: (batch.num_rows() > 0).then_some(batch),
            rejected: false,
        }
    }

    /// Wraps a batch of dead letters.
    pub(crate) fn rejected(batch: RecordBatch) -> Self {
        Self {
            rejected: true,
            ..Self::new(batch)
        }
    }

    /// How large the batch is.
    pub(crate) fn size(&self) -> Size {
        self.batch.as_ref().map_or_else(Size::default, Size::of)
    }

    /// Takes the rows out, unless they are dead letters.
    pub(crate) fn take(&mut self) -> Option<RecordBatch> {
        self.batch.take_if(|_| !self.rejected)
    }

    /// Takes the rows out if they are dead letters.
    pub(crate) fn take_rejected(&mut self) -> Option<RecordBatch> {
        self.batch.take_if(|_| self.rejected)
    }
}

impl Accountable for Rows {
    fn record_count(&self) -> i64 {
        // a batch holds far fewer than 2^63 rows, so the conversion is exact
        self.batch
            .as_ref()
            .map_or(0, |batch| batch.num_rows() as i64)
    }
}
