//! What an operator with state does, apart from timely: rows go in, watermarks and ticks go in, rows come out.
//!
//! The operators of event time (windows, joins, aggregates that change) are such machines, free of epochs, lanes and
//! threads, so that each can be read and tested alone. `operators/stage.rs` runs one of them on every worker.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};

use crate::durable::part::Part;

/// The watermark after the last row: no more rows will come.
pub(crate) const END: i64 = i64::MAX;

/// What is in a part of the state, for those who divide it among other workers.
pub(crate) enum Held {
    /// No rows: all workers have the same.
    Word,
    /// Rows of an input as they came.
    Input(usize),
    /// Something with these keys, which are those of the exchange above.
    Keyed(Vec<ArrayRef>),
}

/// An operator with state.
///
/// Called on one worker, in this order, again and again: rows as they come, each answered at once; an advance when the
/// watermark of all inputs together has risen; then `emit`, until it has nothing more, with rows possibly in between.
///
/// What is computed of a row is a column when it comes, so that bad data is left above. Errors are those of functions over many
/// rows, or of a limit. They fail the job.
pub(crate) trait Stateful: Send {
    /// Takes the rows of one input (0 for the only one or the left one), and answers with what can be put out at once.
    fn rows(&mut self, input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>>;

    /// Takes groups that were made of rows before the exchange; how many rows they are of. None is answered at once.
    ///
    /// # Errors
    /// If the machine takes rows alone, which the plan knows.
    fn groups(&mut self, _groups: &RecordBatch) -> Result<u64> {
        internal_err!("groups have come to an operator that takes rows")
    }

    /// Whether rows that were taken have made something due, or something was when state was taken up: [`emit`](Stateful::emit) is
    /// then called as after an advance.
    fn is_due(&self) -> bool {
        false
    }

    /// Notes that no row will come whose event time is before `watermark`, nanoseconds since 1970; [`END`] after the last
    /// row. It only rises, but may begin behind what an earlier machine was told. What has become due is taken by [`emit`](Stateful::emit).
    fn advance(&mut self, watermark: i64) -> Result<()>;

    /// Notes that no row will come any more from an input whose event time is not that of the rows that go out. Has what
    /// waited for it become due, it is taken by [`emit`](Stateful::emit).
    fn ended(&mut self, _input: usize) -> Result<()> {
        Ok(())
    }

    /// Whether rows wait that are not due yet although event time may have passed them: until they have gone out nothing is
    /// said of it.
    fn is_waiting(&self) -> bool {
        false
    }

    /// The next piece of what has become due, in time of a few milliseconds; it may be without rows, and `None` says that
    /// there is nothing more. Rows of a later watermark never come before all of an earlier one.
    fn emit(&mut self) -> Result<Option<RecordBatch>>;

    /// Notes the time of day, in microseconds since 1970, about once a second while rows come or not: for what is done by
    /// the clock. What has become due is taken by [`emit`](Stateful::emit).
    fn tick(&mut self, _now_us: u64) -> Result<()> {
        Ok(())
    }

    /// What another machine of the same plan needs to go on from here: everything that is not due yet. Asked for when
    /// [`emit`](Stateful::emit) has nothing more, unless it [keeps what is due](Stateful::keeps_what_is_due). The state stays as
    /// it is.
    fn snapshot(&mut self) -> Result<Vec<Part>>;

    /// Whether [`snapshot`](Stateful::snapshot) has what is due, too, so that rows need not wait until all of it has gone out:
    /// another machine puts out once more what comes behind the snapshot.
    fn keeps_what_is_due(&self) -> bool {
        false
    }

    /// Takes up what a machine of the same plan has left, before anything else comes.
    ///
    /// # Errors
    /// If it is the state of another plan.
    fn restore(&mut self, parts: Vec<Part>) -> Result<()>;

    /// What is in a part of a snapshot.
    fn held(&self, part: &Part) -> Result<Held>;

    /// Whether the state can go to disk.
    fn spills(&self) -> bool {
        false
    }

    /// Begins to move to disk what can be moved, if that is so many bytes or more. It goes on while rows come, faster than they
    /// make state.
    fn spill(&mut self, _at_least: usize) -> Result<()> {
        Ok(())
    }

    /// How much memory the state takes, in bytes, roughly. Asked for whenever the watermark has risen, so it must be cheap.
    fn size(&self) -> usize;
}

/// The event times of rows, nanoseconds since 1970, of which none is null.
pub(crate) fn times(rows: &RecordBatch, column: usize) -> Result<&[i64]> {
    let times = rows.column(column);
    match times.as_primitive_opt::<TimestampNanosecondType>() {
        Some(times) => Ok(times.values()),
        None => internal_err!("an event time is of the type {}", times.data_type()),
    }
}
