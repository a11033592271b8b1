//! What becomes of a sink's rows that cannot be sent.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;
use headwater_format::BadData;

use super::{DeadLetters, Rejection};
use crate::metrics::Metrics;
use crate::operator::OperatorError;

/// When a batch of letters is closed, in bytes: well below what a batch can hold even with one more of the largest
/// payload that MQTT can express.
const BATCH_BYTES: usize = 64 << 20;

/// Follows `bad_data` for one operator; clones share what they collect. See the rule in the [module](super).
#[derive(Debug, Clone, Default)]
pub struct Rejects {
    bad_data: BadData,
    metrics: Arc<Metrics>,
    letters: Arc<Mutex<Letters>>,
}

#[derive(Debug, Default)]
struct Letters {
    open: DeadLetters,
    full: Vec<RecordBatch>,
}

impl Rejects {
    /// For an operator whose table says `bad_data`, and that counts in `metrics`.
    #[must_use]
    pub fn new(bad_data: BadData, metrics: Arc<Metrics>) -> Self {
        Self {
            bad_data,
            metrics,
            letters: Arc::default(),
        }
    }

    /// Rejects one row. With `Ok` the row is done with, and counted.
    ///
    /// # Errors
    /// [`OperatorError::BadData`] in a table with `bad_data = 'fail'`: what is wrong, where, and the remedy.
    pub fn reject(&self, rejection: &Rejection<'_>) -> Result<(), OperatorError> {
        match self.bad_data {
            BadData::Fail => Err(fails(rejection)),
            BadData::Drop => {
                self.metrics.drop_bad_data(1, || rejection.error.to_owned());
                Ok(())
            }
            BadData::DeadLetter => {
                let mut letters = self.letters();
                letters.open.push(rejection);
                if letters.open.bytes() >= BATCH_BYTES {
                    letters.close()?;
                }
                self.metrics.add_dead_letters(1);
                Ok(())
            }
        }
    }

    /// Whether dead letters may come, so that somebody must [`take`](Self::take) them.
    #[must_use]
    pub fn collects(&self) -> bool {
        self.bad_data == BadData::DeadLetter
    }

    /// The dead letters since the last call, in [`schema`](super::schema), for the runtime.
    ///
    /// # Errors
    /// Arrow refuses the columns, which would be a bug.
    pub fn take(&self) -> Result<Vec<RecordBatch>, OperatorError> {
        let mut letters = self.letters();
        letters.close()?;
        Ok(mem::take(&mut letters.full))
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        // a panic between two pushes leaves whole letters
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letters {
    fn close(&mut self) -> Result<(), OperatorError> {
        let batch = self
            .open
            .finish()
            .map_err(|e| OperatorError::caused_by("cannot build dead letters", e))?;
        self.full.extend(batch);
        Ok(())
    }
}

fn fails(rejection: &Rejection<'_>) -> OperatorError {
    let place = match rejection.topic {
        Some(topic) => format!("row for '{topic}': "),
        None => String::new(),
    };
    OperatorError::BadData(format!(
        "{place}{}; with bad_data = 'drop' such rows are counted and left out, with 'dead_letter' they are kept elsewhere",
        rejection.error
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    fn rejection(payload: &[u8]) -> Rejection<'_> {
        Rejection {
            payload,
            topic: Some("a/b"),
            error: "not authorised",
            position: None,
        }
    }

    fn counted(rejects: &Rejects) -> (u64, u64) {
        let counted = rejects.metrics.snapshot();
        (counted.bad_data, counted.dead_letters)
    }

    #[test]
    fn each_answer_does_what_the_table_says() {
        let fail = Rejects::default();
        let error = fail.reject(&rejection(b"x")).unwrap_err().to_string();
        assert!(
            error.starts_with("bad data: row for 'a/b': not authorised; "),
            "{error}"
        );
        let drops = Rejects::new(BadData::Drop, Arc::default());
        drops.reject(&rejection(b"x")).unwrap();
        assert!(!drops.collects());
        assert_eq!(counted(&drops), (1, 0));
        assert!(drops.take().unwrap().is_empty());
    }

    #[test]
    fn letters_are_taken_once_and_kept_as_they_are() {
        let rejects = Rejects::new(BadData::DeadLetter, Arc::default());
        let clone = rejects.clone();
        clone.reject(&rejection(&[0xFF, 0])).unwrap();
        clone.reject(&rejection(b"")).unwrap();
        assert_eq!(counted(&rejects), (2, 2));
        let [batch] = <[_; 1]>::try_from(rejects.take().unwrap()).unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(batch.column(0).as_binary::<i32>().value(0), [0xFF, 0]);
        assert!(rejects.take().unwrap().is_empty());
    }

    #[test]
    fn large_letters_are_divided_among_batches() {
        let rejects = Rejects::new(BadData::DeadLetter, Arc::default());
        let payload = vec![0; BATCH_BYTES / 2];
        for _ in 0..3 {
            rejects.reject(&rejection(&payload)).unwrap();
        }
        let rows: Vec<_> = rejects
            .take()
            .unwrap()
            .iter()
            .map(RecordBatch::num_rows)
            .collect();
        assert_eq!(rows, [2, 1]);
    }
}
