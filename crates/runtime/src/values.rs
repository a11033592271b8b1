//! The source of a query without a table: gives the rows of its plan once and ends.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use headwater_connector::{Metrics, OperatorError, Position, SourceBatch, SourceOperator};

/// Rows in one batch, in their order. Nobody waits for their acknowledgement; they cannot fail.
pub(crate) struct Values {
    rows: Option<RecordBatch>,
    metrics: Arc<Metrics>,
}

impl Values {
    pub(crate) fn new(rows: RecordBatch, metrics: Arc<Metrics>) -> Self {
        let rows = Some(rows);
        Self { rows, metrics }
    }
}

#[async_trait]
impl SourceOperator for Values {
    fn rereads(&self) -> bool {
        true
    }

    fn resume(&mut self, _position: Position) {
        // there is but one
        self.rows = None;
    }

    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        let Some(rows) = self.rows.take() else {
            return Ok(None);
        };
        self.metrics.add_rows(rows.num_rows() as u64);
        Ok(Some(SourceBatch::new(rows, Position(1))))
    }

    async fn commit(&mut self, _position: Position) -> Result<(), OperatorError> {
        Ok(())
    }
}
