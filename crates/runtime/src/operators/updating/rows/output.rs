//! The rows that are put out: keys, results, what they do, event time.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

/// Some groups and their results.
pub(super) struct Results<'a> {
    pub(super) keys: &'a [ArrayRef],
    /// What was told of them, of those of which something was.
    pub(super) before: &'a [ArrayRef],
    pub(super) now: &'a [ArrayRef],
    /// Of each, whether something was told of it, and its event time.
    pub(super) groups: Vec<(bool, i64)>,
}

/// The columns.
pub(super) struct Output {
    schema: SchemaRef,
    /// How many changes there have been.
    changes: i64,
}

impl Output {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self {
            schema: Arc::clone(schema),
            changes: 0,
        }
    }

    /// Groups that are new and remain.
    pub(super) fn news(&mut self, keys: Vec<ArrayRef>, times: Vec<i64>) -> Result<RecordBatch> {
        let first = self.changes + 1;
        self.changes += times.len() as i64;
        self.batch(keys, (first..=self.changes).collect(), times)
    }

    /// What has changed of some groups: what was told before, taken back, and what is true now.
    pub(super) fn changes(&mut self, results: &Results<'_>) -> Result<RecordBatch> {
        let pairs = results.before.iter().zip(results.now);
        let compare = pairs
            .map(|(before, now)| make_comparator(before, now, SortOptions::default()))
            .collect::<Result<Vec<_>, _>>()?;
        // from which side, and of which group
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(results.groups.len());
        let (mut changes, mut times) = (Vec::new(), Vec::new());
        for (group, (is_told, time)) in results.groups.iter().enumerate() {
            if *is_told && compare.iter().all(|compare| compare(group, group).is_eq()) {
                continue;
            }
            self.changes += 1;
            for side in usize::from(!is_told)..2 {
                rows.push((side, group));
                let sign = if side == 0 { -1 } else { 1 };
                changes.push(sign * self.changes);
                times.push(*time);
            }
        }
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let numbers = rows.iter().map(|(_, group)| *group as u32);
        let numbers: UInt32Array = numbers.collect();
        let keys = results.keys.iter().map(|keys| take(keys, &numbers, None));
        let pairs = results.before.iter().zip(results.now);
        let values = pairs.map(|(before, now)| interleave(&[before, now], &rows));
        let columns = keys.chain(values).collect::<Result<_, _>>()?;
        self.batch(columns, changes, times)
    }

    fn batch(
        &self,
        mut columns: Vec<ArrayRef>,
        changes: Vec<i64>,
        times: Vec<i64>,
    ) -> Result<RecordBatch> {
        columns.push(Arc::new(Int64Array::from(changes)));
        columns.push(Arc::new(TimestampNanosecondArray::from(times)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
