//! An inner join of two streams without windows: each row meets those of the other side with equal keys that are not
//! further from it in event time than the time to live.
//!
//! ```text
//!  left ──► keys ──┬─► pairs with what is kept of the right ──┐
//!                  └─► kept                                   ├──► out
//!  right ─► keys ──┬─► pairs with what is kept of the left ───┘
//!                  └─► kept
//! ```
//!
//! Input: 0 is the left. Output: batch by batch, as they came: the pairs of its rows in their order, those of one row in the
//! order in which its partners came; columns of the left, of the right, the later event time. However many pairs a batch
//! makes, they come in pieces; what comes in meanwhile waits, rows and watermarks in their order.
//! Keys: null is equal to nothing, so a row with a null key is not kept.
//! Time: two rows are a pair or not by their own event times, wherever the watermark stands, unless one of them came after
//! it. A row is dropped when the watermark is further ahead of it than the time to live; a row that comes later than that
//! is late: counted, and left out.
//! Memory: the rows that are not dropped and their keys, and what `side` does not clear away at once; what waits, which
//! the sources' credit bounds, since its epoch is held; one piece. Checkpoints: rows in chunks, each written once. Errors: none that a row could cause; keys are columns.

mod output;
mod side;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, internal_err};
use headwater_planner::plan;

use self::output::Meeting;
use self::side::{Batch, Side};
use crate::durable::part::{Kept, Part};
use crate::operators::chunks::Chunks;
use crate::operators::keys::{present, with_one_zero};
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{Held, Stateful, times};

/// The machine.
pub(crate) struct TtlJoin {
    join: Arc<plan::TtlJoin>,
    converter: RowConverter,
    sides: [Side; 2],
    /// Of what it puts out.
    schema: SchemaRef,
    ttl_ns: u64,
    /// The earliest event time of rows that are not late.
    earliest: i64,
    late: LateRows,
    waiting: VecDeque<Waiting>,
}

/// What has come in and is not done with.
enum Waiting {
    Rows(Meeting),
    /// Rows before this can be dropped.
    Earliest(i64),
}

impl TtlJoin {
    pub(crate) fn new(join: &Arc<plan::TtlJoin>, context: &MachineContext) -> Result<Self> {
        let left = &context.inputs[0];
        let keys = join.on.iter().map(|(left_key, _)| left_key.data_type(left));
        let keys = keys.map(|key| key.map(SortField::new));
        let converter = RowConverter::new(keys.collect::<Result<_>>()?)?;
        let side = |input: usize| {
            let columns = 0..context.inputs[input].fields().len();
            let values = columns.filter(|column| *column != join.times[input]);
            Side::new(i64::MIN, Chunks::new(values.collect()), &converter)
        };
        Ok(Self {
            sides: [side(0), side(1)],
            schema: Arc::clone(&context.output),
            ttl_ns: u64::try_from(join.ttl.as_nanos()).unwrap_or(u64::MAX),
            earliest: i64::MIN,
            converter,
            join: Arc::clone(join),
            late: context.late.clone(),
            waiting: VecDeque::new(),
        })
    }

    /// The rows of a batch that have partners or will: neither late nor without a key.
    fn arrived(&self, input: usize, rows: &RecordBatch) -> Result<Batch> {
        let (keys, times) = (
            self.keys(input, rows)?,
            times(rows, self.join.times[input])?,
        );
        let in_time: BooleanBuffer = times.iter().map(|time| *time >= self.earliest).collect();
        if in_time.count_set_bits() < rows.num_rows() {
            let late = BooleanArray::from(!&in_time);
            self.late.note(&filter_record_batch(rows, &late)?)?;
        }
        let wanted = match present(&keys) {
            Some(present) => &in_time & present.inner(),
            None => in_time,
        };
        match wanted.count_set_bits() == rows.num_rows() {
            true => self.batch(input, rows.clone()),
            false => self.batch(input, filter_record_batch(rows, &wanted.into())?),
        }
    }

    fn keys(&self, input: usize, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let keys = self.join.on.iter();
        let keys = keys.map(|(left, right)| [left, right][input].evaluate(rows));
        let keys = keys.map(|keys| keys?.into_array(rows.num_rows()));
        keys.collect()
    }

    fn batch(&self, input: usize, rows: RecordBatch) -> Result<Batch> {
        let keys = self.keys(input, &rows)?;
        Ok(Batch {
            keys: self.converter.convert_columns(&with_one_zero(&keys))?,
            times: times(&rows, self.join.times[input])?.to_vec(),
            rows,
        })
    }
}

impl Stateful for TtlJoin {
    fn rows(&mut self, input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let batch = self.arrived(input, &rows)?;
        let values = self.sides[input].values(&batch.rows)?;
        self.waiting
            .push_back(Waiting::Rows(Meeting::new(input, batch, values)));
        Ok(Vec::new())
    }

    fn is_due(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        self.earliest = watermark.saturating_sub_unsigned(self.ttl_ns);
        self.waiting.push_back(Waiting::Earliest(self.earliest));
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(next) = self.waiting.pop_front() {
            match next {
                Waiting::Rows(mut meeting) => {
                    let other = &self.sides[1 - meeting.input];
                    if let Some(piece) = meeting.piece(&self.schema, other, self.ttl_ns)? {
                        self.waiting.push_front(Waiting::Rows(meeting));
                        return Ok(Some(piece));
                    }
                    self.sides[meeting.input].keep(meeting.batch, &Kept::default())?;
                }
                Waiting::Earliest(earliest) => {
                    for side in &mut self.sides {
                        side.drop_before(earliest, &self.converter)?;
                    }
                }
            }
        }
        Ok(None)
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let mut parts = vec![Part::word(&self.earliest)?];
        for (input, side) in self.sides.iter().enumerate() {
            for part in side.parts(input) {
                parts.push(part?);
            }
        }
        Ok(parts)
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut parts = parts.into_iter();
        if let Some(first) = parts.next() {
            self.earliest = first.about()?;
            for side in &mut self.sides {
                side.drop_before(self.earliest, &self.converter)?;
            }
        }
        for part in parts {
            let input: usize = part.about()?;
            if input >= self.sides.len() {
                return internal_err!("the state is of an input that is not there");
            }
            let batch = self.batch(input, part.rows)?;
            self.sides[input].keep(batch, &part.kept)?;
        }
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        Ok(match part.rows.num_columns() {
            0 => Held::Word,
            _ => Held::Input(part.about()?),
        })
    }

    fn size(&self) -> usize {
        self.sides.iter().map(Side::size).sum()
    }
}
