//! What a sink of changes was told since the last checkpoint, so that it can be taken back.
//!
//! After a crash a job is again what it was at its last checkpoint, and knows nothing of what it told behind that. Rows that
//! stay are put out once more, and whoever gets them twice loses nothing. Changes may not be: a row that was told may be
//! passed over the next time, because what it came of came and went between two flushes, and nobody would ever take it back.
//! So changes are on disk before they are told; and a job that starts again first takes back what was told behind its
//! checkpoint, the last change first. Then whoever applies the changes has what the job has.
//!
//! Bounds: the batches of one flush wait for the disk together, and are written some megabytes at a time. A crash while changes are taken back takes them back once more:
//! every row ends as it was before the first of them.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use headwater_connector::{OperatorError, SinkOperator};

use super::store::{Store, Telling};
use crate::bridge::SinkBatch;

/// How many batches are read back at once.
const READ_BATCHES: usize = 16;

/// After how many bytes of Arrow memory a transaction is ended although more batches wait.
const PORTION_BYTES: u64 = 4 << 20;

/// The log of one sink.
pub(crate) struct Told {
    pub(crate) store: Store,
    /// The id of the sink's operator.
    pub(crate) sink: String,
    /// The column that says what a row does.
    pub(crate) change: usize,
}

impl Told {
    /// Returns when the changes are on disk. They get there in portions, for others wait for the file, too.
    pub(crate) async fn keep(&self, batches: &[SinkBatch]) -> Result<(), OperatorError> {
        let mut left = batches;
        while !left.is_empty() {
            let (portion, rest) = left.split_at(portion(left));
            left = rest;
            let tellings = portion.iter();
            let tellings = tellings.map(|batch| Telling::new(&self.sink, batch.epoch, &batch.rows));
            let tellings = tellings.collect::<Result<_, _>>().map_err(unfit)?;
            self.store.tell(tellings).await.ok_or_else(given_up)?;
        }
        Ok(())
    }

    /// Takes back what an earlier run has told behind the last checkpoint; returns when that is accepted.
    pub(crate) async fn take_back(&self, sink: &mut dyn SinkOperator) -> Result<(), OperatorError> {
        let (mut before, mut count) = (i64::MAX, 0);
        loop {
            let told = self.store.told(&self.sink, before, READ_BATCHES).await;
            let told = told.ok_or_else(given_up)?;
            let Some((first, _)) = told.last() else { break };
            before = *first;
            for (_, rows) in &told {
                count += rows.num_rows();
                let inverse = inverse(rows, self.change).map_err(unfit)?;
                sink.write(inverse).await?;
            }
        }
        if count > 0 {
            sink.flush().await?;
            tracing::info!(
                sink = self.sink,
                rows = count,
                "changes are taken back that were told behind the last checkpoint"
            );
            self.store
                .forget_told(&self.sink)
                .await
                .ok_or_else(given_up)?;
        }
        Ok(())
    }
}

/// How many of these batches are written together: one at least.
fn portion(batches: &[SinkBatch]) -> usize {
    let mut bytes = 0;
    let fitting = batches.iter().take_while(|batch| {
        let fits = bytes < PORTION_BYTES;
        bytes += batch.size.bytes;
        fits
    });
    fitting.count()
}

/// The changes that undo others: each the other way round, the last first.
fn inverse(rows: &RecordBatch, change: usize) -> Result<RecordBatch, ArrowError> {
    // a batch has fewer rows than 2^32
    let order: UInt32Array = (0..rows.num_rows() as u32).rev().collect();
    let rows = take_record_batch(rows, &order)?;
    let mut columns = rows.columns().to_vec();
    let changes = columns
        .get(change)
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let changes = changes
        .ok_or_else(|| ArrowError::SchemaError("the rows do not say what they do".to_owned()))?;
    let undone: Int64Array = changes.unary(i64::wrapping_neg);
    columns[change] = Arc::new(undone);
    RecordBatch::try_new(rows.schema(), columns)
}

fn unfit(error: ArrowError) -> OperatorError {
    OperatorError::caused_by("its changes cannot be kept", error)
}

/// The first error is told by the store itself.
fn given_up() -> OperatorError {
    OperatorError::fatal("its changes cannot be kept any more")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn changes(numbers: &[i64], changes: &[i64]) -> RecordBatch {
        let column = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as _;
        let columns = [
            ("n", column(numbers)),
            ("__headwater_change", column(changes)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn what_undoes_changes_is_the_other_way_round() {
        let told = changes(&[1, 2, 3, 4], &[1, -2, 2, -3]);
        let undone = changes(&[4, 3, 2, 1], &[3, -2, 2, -1]);
        assert_eq!(inverse(&told, 1).unwrap(), undone);
    }
}
