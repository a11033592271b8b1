//! What becomes of late rows: they are counted and left out, or, where the plan has a way for dead letters, become some.
//!
//! A machine notes them while it takes a batch; what they have become leaves with what the machine answers to the batch,
//! in its epoch. So no more of them wait than a batch has rows.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use headwater_connector::Metrics;
use headwater_connector::dead_letter::DeadLetters;

use crate::operators::bad_rows::add_letters;

/// What is said of a late row.
const LATE: &str = "it came late, when the watermark had passed it";

/// The late rows of one machine.
#[derive(Clone)]
pub(crate) struct LateRows {
    metrics: Arc<Metrics>,
    letters: Option<Arc<Mutex<DeadLetters>>>,
}

impl LateRows {
    /// They are counted at `metrics`, and become dead letters if there is a way for them.
    pub(crate) fn new(metrics: &Arc<Metrics>, has_dead_letters: bool) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            letters: has_dead_letters.then(Arc::default),
        }
    }

    /// Notes late rows of the batch that is taken now.
    pub(crate) fn note(&self, rows: &RecordBatch) -> Result<()> {
        let count = rows.num_rows();
        let Some(letters) = &self.letters else {
            self.metrics
                .drop_late_rows(count as u64, || LATE.to_owned());
            return Ok(());
        };
        self.metrics.add_late_rows(count as u64);
        self.metrics.add_dead_letters(count as u64);
        let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
        add_letters(rows, (0..count).map(|row| (row, LATE)), &mut letters)
    }

    /// Notes late rows of which only the number is known.
    pub(crate) fn note_count(&self, rows: u64) -> Result<()> {
        if self.letters.is_some() {
            return internal_err!("late rows that are dead letters have been aggregated");
        }
        self.metrics.drop_late_rows(rows, || LATE.to_owned());
        Ok(())
    }

    /// What they have become since this was asked last.
    pub(crate) fn take(&self) -> Result<Option<RecordBatch>> {
        let Some(letters) = &self.letters else {
            return Ok(None);
        };
        let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(letters.finish()?)
    }
}
