//! What becomes of rows on which an expression fails: they are bad data.
//!
//! With `bad_data = 'drop'` or `'dead_letter'` in the sources above, the batch is halved until its bad rows stand alone:
//! they are counted and left out, or leave as dead letters in which the row is a JSON object. Otherwise the job fails.
//! The good rows keep their order. A row that takes a bad one back is left out without a word, since that one has had its.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use headwater_connector::dead_letter::{DeadLetters, Documents};
use headwater_connector::{Metrics, Rejection};
use headwater_planner::plan::{CHANGE, TIME};

use crate::error::row_fault;

/// What happens to a row on which an expression fails.
#[derive(Clone)]
pub(crate) enum BadRows {
    /// The job fails.
    Fail,
    /// The row is counted here and left out.
    Drop(Arc<Metrics>),
    /// The row is counted here and becomes a dead letter.
    DeadLetter(Arc<Metrics>),
}

/// What became of a batch.
pub(crate) struct Evaluated<T> {
    /// The results: one for the whole batch, or some for the parts without bad rows, in order.
    pub(crate) good: Vec<T>,
    /// The bad rows, if they become dead letters.
    pub(crate) letters: Option<RecordBatch>,
}

impl BadRows {
    /// Runs an evaluation over a batch, or over as much of it as it succeeds on.
    pub(crate) fn evaluate<T>(
        &self,
        batch: &RecordBatch,
        mut run: impl FnMut(&RecordBatch) -> Result<T>,
    ) -> Result<Evaluated<T>> {
        let error = match run(batch) {
            Ok(whole) => {
                return Ok(Evaluated {
                    good: vec![whole],
                    letters: None,
                });
            }
            Err(error) => error,
        };
        if let Self::Fail = self {
            return Err(error);
        }
        let (good, mut bad) = part(batch, error, run);
        forgo_retractions(batch, &mut bad);
        let letters = match self {
            Self::DeadLetter(metrics) => {
                metrics.add_dead_letters(bad.len() as u64);
                letters(batch, &bad)?
            }
            Self::Drop(metrics) => {
                let last = || {
                    bad.last()
                        .map_or_else(String::new, |(_, error)| error.clone())
                };
                metrics.drop_bad_data(bad.len() as u64, last);
                None
            }
            Self::Fail => None,
        };
        Ok(Evaluated { good, letters })
    }
}

/// The results for the parts of a batch without bad rows, and which rows are bad and why. The whole fails with `error`.
fn part<T>(
    batch: &RecordBatch,
    error: DataFusionError,
    mut run: impl FnMut(&RecordBatch) -> Result<T>,
) -> (Vec<T>, Vec<(usize, String)>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    // the next part last
    let mut ahead = Vec::new();
    let mut halve = |ahead: &mut Vec<_>, rows: Range<usize>, error: DataFusionError| {
        if rows.len() <= 1 {
            bad.push((rows.start, row_fault(&error)));
        } else {
            let middle = rows.start + rows.len() / 2;
            ahead.extend([middle..rows.end, rows.start..middle]);
        }
    };
    halve(&mut ahead, 0..batch.num_rows(), error);
    while let Some(rows) = ahead.pop() {
        match run(&batch.slice(rows.start, rows.len())) {
            Ok(result) => good.push(result),
            Err(error) => halve(&mut ahead, rows, error),
        }
    }
    (good, bad)
}

/// Leaves out the bad rows that take others back.
fn forgo_retractions(batch: &RecordBatch, bad: &mut Vec<(usize, String)>) {
    let changes = batch.column_by_name(CHANGE);
    if let Some(changes) = changes.and_then(|column| column.as_primitive_opt::<Int64Type>()) {
        bad.retain(|(row, _)| changes.value(*row) >= 0);
    }
}

fn letters(batch: &RecordBatch, bad: &[(usize, String)]) -> Result<Option<RecordBatch>> {
    let mut letters = DeadLetters::default();
    let bad = bad.iter().map(|(row, error)| (*row, error.as_str()));
    add_letters(batch, bad, &mut letters)?;
    Ok(letters.finish()?)
}

/// Adds rows of a batch to dead letters, each with what is wrong with it.
pub(crate) fn add_letters<'a>(
    batch: &RecordBatch,
    bad: impl Iterator<Item = (usize, &'a str)>,
    letters: &mut DeadLetters,
) -> Result<()> {
    let mut documents = Documents::new(&shown(batch)?)?;
    for (row, error) in bad {
        letters.push(&Rejection {
            payload: &documents.row(row)?,
            topic: None,
            error,
            position: None,
        });
    }
    Ok(())
}

/// What the event time of a row is called in its dead letter, as in Arroyo.
const TIMESTAMP: &str = "_timestamp";

/// Rows without the column that says what they do: rows that take others back are not among them.
fn shown(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns: Vec<_> = (0..batch.num_columns()).collect();
    if let Ok(change) = batch.schema_ref().index_of(CHANGE) {
        columns.remove(change);
    }
    let shown = batch.project(&columns)?;
    let is_taken = shown.schema_ref().index_of(TIMESTAMP).is_ok();
    match shown.schema_ref().index_of(TIME) {
        Ok(time) if !is_taken => {
            let mut fields: Vec<_> = shown.schema_ref().fields().to_vec();
            fields[time] = Arc::new(fields[time].as_ref().clone().with_name(TIMESTAMP));
            let schema = Arc::new(Schema::new(fields));
            Ok(RecordBatch::try_new(schema, shown.columns().to_vec())?)
        }
        _ => Ok(shown),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::Int64Array;
    use datafusion::common::exec_err;

    use super::*;

    /// The numbers of a batch, unless one of them is negative.
    fn numbers(batch: &RecordBatch) -> Result<Vec<i64>> {
        let numbers = batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec();
        match numbers.iter().find(|number| **number < 0) {
            Some(number) => exec_err!("{number} is negative"),
            None => Ok(numbers),
        }
    }

    fn batch(numbers: Vec<i64>) -> RecordBatch {
        let numbers = Arc::new(Int64Array::from(numbers)) as _;
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    #[test]
    fn the_good_rows_of_every_batch_keep_their_order() {
        const ROWS: i64 = 7;
        // for each set of bad rows
        for bad in 0..1 << ROWS {
            let is_bad = |row: &i64| bad & 1 << row != 0;
            let rows = (0..ROWS).map(|row| if is_bad(&row) { -row - 1 } else { row });
            let metrics = Arc::<Metrics>::default();
            let bad_rows = BadRows::DeadLetter(Arc::clone(&metrics));
            let evaluated = bad_rows.evaluate(&batch(rows.collect()), numbers).unwrap();
            let expect: Vec<_> = (0..ROWS).filter(|row| !is_bad(row)).collect();
            assert_eq!(evaluated.good.concat(), expect, "{bad:b}");
            let letters = evaluated.letters.map_or(0, |letters| letters.num_rows());
            assert_eq!(letters as i64, ROWS - expect.len() as i64);
            assert_eq!(metrics.snapshot().dead_letters, letters as u64);
        }
    }

    #[test]
    fn one_bad_row_costs_few_evaluations() {
        let mut rows: Vec<_> = (0..8192).collect();
        rows[4711] = -1;
        let mut evaluations = 0;
        let count = |rows: &RecordBatch| {
            evaluations += 1;
            numbers(rows)
        };
        let evaluated = BadRows::Drop(Arc::default()).evaluate(&batch(rows), count);
        assert_eq!(evaluated.unwrap().good.concat().len(), 8191);
        assert_eq!(evaluations, 1 + 2 * 13);
    }

    #[test]
    fn a_bad_row_fails_the_batch_unless_something_else_is_said() {
        let error = BadRows::Fail.evaluate(&batch(vec![1, -1]), numbers).err();
        assert!(error.unwrap().to_string().contains("-1 is negative"));
    }
}
