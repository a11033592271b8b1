//! Rows whose time the watermark has not passed, each batch in the order of event time.
//!
//! They come out in pieces, each with all rows of its event times: what has the same time is looked at together. Memory: a
//! batch of which some rows are out is at most twice as large as the others are.

use std::collections::BTreeMap;

use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use crate::backlog::Size;
use crate::operators::stateful::times;

/// How many rows come out at once, unless more are of one event time.
const PIECE_ROWS: usize = 8192;

/// The rows.
pub(super) struct Pending {
    /// The column with the event time.
    time: usize,
    /// Batches by the time of their next row, and by their number: those that came first have the lower.
    batches: BTreeMap<(i64, u64), Batch>,
    arrived: u64,
    bytes: usize,
}

/// Rows in the order of time.
struct Batch {
    rows: RecordBatch,
    /// Of how many rows it holds the memory.
    holds: usize,
    bytes: usize,
}

impl Pending {
    pub(super) fn new(time: usize) -> Self {
        Self {
            time,
            batches: BTreeMap::new(),
            arrived: 0,
            bytes: 0,
        }
    }

    /// Takes the rows of a batch.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = in_order(rows, self.time)?;
        let number = self.arrived;
        self.arrived += 1;
        let holds = rows.num_rows();
        self.keep(number, rows, holds)
    }

    fn keep(&mut self, number: u64, rows: RecordBatch, holds: usize) -> Result<()> {
        let Some(first) = times(&rows, self.time)?.first().copied() else {
            return Ok(());
        };
        let (rows, holds) = match rows.num_rows() * 2 <= holds {
            true => (copied(&rows)?, rows.num_rows()),
            false => (rows, holds),
        };
        let bytes = Size::of(&rows).bytes as usize;
        self.bytes += bytes;
        let batch = Batch { rows, holds, bytes };
        self.batches.insert((first, number), batch);
        Ok(())
    }

    /// The first rows before the watermark, in the order of time, and then of arrival; and the time before which these are all.
    pub(super) fn next_due(&mut self, watermark: i64) -> Result<Option<(RecordBatch, i64)>> {
        let Some(until) = self.until(watermark)? else {
            return Ok(None);
        };
        let mut due = Vec::new();
        while let Some(first) = self.batches.first_entry()
            && first.key().0 < until
        {
            let ((_, number), batch) = first.remove_entry();
            self.bytes -= batch.bytes;
            let rows = batch.rows;
            let at = times(&rows, self.time)?.partition_point(|time| *time < until);
            let rest = rows.slice(at, rows.num_rows() - at);
            due.push((number, rows.slice(0, at)));
            self.keep(number, rest, batch.holds)?;
        }
        due.sort_by_key(|(number, _)| *number);
        let due: Vec<_> = due.into_iter().map(|(_, rows)| rows).collect();
        let Some(first) = due.first() else {
            return Ok(None);
        };
        let rows = concat_batches(&first.schema(), &due)?;
        Ok(Some((in_order(rows, self.time)?, until)))
    }

    /// The time before which about as many rows are due as make a piece; `None` if none are.
    fn until(&self, watermark: i64) -> Result<Option<i64>> {
        let due = self.batches.range(..(watermark, 0));
        let due = due.map(|(_, batch)| times(&batch.rows, self.time));
        let due = due.collect::<Result<Vec<_>>>()?;
        let Some(first) = due.first().and_then(|times| times.first()) else {
            return Ok(None);
        };
        let are_before = |until: i64| -> usize {
            let before = |times: &&[i64]| times.partition_point(|time| *time < until);
            due.iter().map(before).sum()
        };
        if are_before(watermark) <= PIECE_ROWS {
            return Ok(Some(watermark));
        }
        // those before `low` fit, those before `high` do not
        let (mut low, mut high) = (*first, watermark);
        while high.abs_diff(low) > 1 {
            let middle = i64::midpoint(low, high);
            match are_before(middle) <= PIECE_ROWS {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(Some(if are_before(low) > 0 { low } else { high }))
    }

    /// All rows, batch by batch as they came.
    pub(super) fn rows(&self) -> Vec<&RecordBatch> {
        let mut batches: Vec<_> = self.batches.iter().collect();
        batches.sort_by_key(|((_, number), _)| *number);
        batches.into_iter().map(|(_, batch)| &batch.rows).collect()
    }

    /// What they take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }
}

/// Rows in the order of time, those of the same in theirs.
fn in_order(rows: RecordBatch, time: usize) -> Result<RecordBatch> {
    let times = times(&rows, time)?;
    if times.is_sorted() {
        return Ok(rows);
    }
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|row| times[*row as usize]);
    Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
}

fn copied(rows: &RecordBatch) -> Result<RecordBatch> {
    let all = UInt32Array::from_iter_values(0..rows.num_rows() as u32);
    Ok(take_record_batch(rows, &all)?)
}
