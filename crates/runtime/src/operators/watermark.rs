//! Gives rows their event time, and follows them with watermarks.
//!
//! Input: the rows of a source, or of several together, their ticks and their ends. Output: the same rows with the column
//! [`TIME`](headwater_planner::plan::TIME) behind the others; after each batch the watermark, if it has risen; ticks.
//! Order: kept. Memory: none.
//!
//! Since the watermark follows the batch, no row is late because of others in the same batch. After a time without rows
//! the lane is idle, and awake again with the next ones; the end of all sources is the watermark [`END`]. If event time is
//! the time of arrival, the watermark follows the clock at ticks, too, and is never idle.
//!
//! Where the watermark rises with event time ([`rising`]), the latest row of a batch stands for all.
//!
//! Errors: a row without event time, with that of the end ([`END`], which some devices send for "none"), or on which its
//! expression fails, is bad data; see [`bad_rows`](super::bad_rows).

mod rising;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use arrow::compute::max;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use headwater_planner::plan::{EventTime, Watermark};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use crate::control::{Control, Lane, Mark};
use crate::epoch::now_us;
use crate::minimum::Minimum;
use crate::operators::apply::apply;
use crate::operators::bad_rows::{BadRows, Evaluated};
use crate::operators::stateful::END;
use crate::rows::Rows;

/// The event time of the rows of one table, as they come in on one worker.
pub(crate) struct Watermarks {
    watermark: Arc<Watermark>,
    /// Whether it rises with event time.
    rises: bool,
    output: SchemaRef,
    /// Of all lanes that lead to it.
    above: Minimum,
    lane: Lane,
    bad_rows: BadRows,
    /// The present, in nanoseconds since 1970. It does not go back.
    now_ns: i64,
    reached: i64,
    idle: bool,
    /// When rows came last, as ticks tell it, in microseconds.
    active_us: Option<u64>,
    /// Whether rows have come since the last tick.
    fresh: bool,
}

impl Watermarks {
    /// `above` is of the lanes that lead to it, `lane` its own; `output` are the columns of the rows with their event time.
    pub(crate) fn new(
        watermark: &Arc<Watermark>,
        output: &SchemaRef,
        (above, lane): (Minimum, Lane),
        bad_rows: BadRows,
    ) -> Self {
        let rises = match &watermark.time {
            EventTime::Arrival { .. } => true,
            EventTime::Value { time, watermark } => rising::rises(watermark, time),
        };
        Self {
            watermark: Arc::clone(watermark),
            rises,
            output: Arc::clone(output),
            above,
            lane,
            bad_rows,
            now_ns: 0,
            reached: i64::MIN,
            idle: false,
            active_us: None,
            fresh: false,
        }
    }

    /// What goes out for what comes in.
    fn take(&mut self, rows: Rows) -> Result<Vec<Rows>> {
        match rows {
            Rows::Batch(batch) => self.batch(&batch),
            Rows::Control(tick @ Control::Tick { now_us }) => {
                let mark = self.tick(now_us);
                Ok(mark.into_iter().chain([Rows::Control(tick)]).collect())
            }
            Rows::Control(Control::Watermark { lane, mark }) => {
                // what was said above is said anew here, but that there is nothing more
                let ends = self.above.note(0, lane, mark) && self.above.reached() == END;
                Ok(ends.then(|| self.say(Mark::At(END))).into_iter().collect())
            }
            Rows::Rejected(_) | Rows::Partial(_) | Rows::Empty => Ok(Vec::new()),
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<Rows>> {
        self.fresh = true;
        self.see(now_us());
        let timed = Timed {
            watermark: &self.watermark,
            rises: self.rises,
            output: &self.output,
            now_ns: self.now_ns,
        };
        let mut latest = None;
        let Evaluated { good, letters } = self.bad_rows.evaluate(batch, |rows| {
            let (rows, watermark) = timed.rows(rows)?;
            latest = latest.max(watermark);
            Ok(rows)
        })?;
        let mut out: Vec<_> = good.into_iter().map(Rows::new).collect();
        out.extend(letters.map(Rows::rejected));
        out.extend(self.rise(latest.unwrap_or(i64::MIN)));
        Ok(out)
    }

    /// What is to be said at this time of day.
    fn tick(&mut self, now_us: u64) -> Option<Rows> {
        let fresh = std::mem::take(&mut self.fresh);
        match self.watermark.time {
            EventTime::Arrival { delay } => {
                self.see(now_us);
                self.rise(self.now_ns.saturating_sub(nanos(delay)))
            }
            EventTime::Value { .. } => {
                let active_us = *self.active_us.get_or_insert(now_us);
                if fresh {
                    self.active_us = Some(now_us);
                    return None;
                }
                let silent = Duration::from_micros(now_us.saturating_sub(active_us));
                let idle = self.watermark.idle.is_some_and(|idle| silent >= idle);
                (idle && !std::mem::replace(&mut self.idle, idle)).then(|| self.say(Mark::Idle))
            }
        }
    }

    fn see(&mut self, now_us: u64) {
        let now_ns = nanos(Duration::from_micros(now_us));
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The watermark, if it rises to this or was not to be waited for.
    fn rise(&mut self, watermark: i64) -> Option<Rows> {
        let awakes = std::mem::take(&mut self.idle);
        let rises = watermark > self.reached;
        self.reached = self.reached.max(watermark);
        (rises || awakes).then(|| self.say(Mark::At(self.reached)))
    }

    fn say(&self, mark: Mark) -> Rows {
        let lane = self.lane;
        Rows::Control(Control::Watermark { lane, mark })
    }
}

/// How rows that come now get their event time.
struct Timed<'a> {
    watermark: &'a Watermark,
    rises: bool,
    output: &'a SchemaRef,
    now_ns: i64,
}

impl Timed<'_> {
    /// The rows with their event time, and the watermark after them.
    fn rows(&self, batch: &RecordBatch) -> Result<(RecordBatch, Option<i64>)> {
        let (times, watermark) = match &self.watermark.time {
            EventTime::Arrival { delay } => {
                let times = TimestampNanosecondArray::from_value(self.now_ns, batch.num_rows());
                let watermark = self.now_ns.saturating_sub(nanos(*delay));
                (Arc::new(times) as ArrayRef, Some(watermark))
            }
            EventTime::Value { time, watermark } => {
                let times = time.evaluate(batch)?.into_array(batch.num_rows())?;
                if times.null_count() > 0 {
                    let table = &self.watermark.table;
                    return exec_err!("a row of '{table}' has no event time");
                }
                let latest = latest(&times);
                if latest.is_some_and(|(_, time)| time == END) {
                    let table = &self.watermark.table;
                    return exec_err!("a row of '{table}' has the last event time that there is");
                }
                let greatest = match latest.map(|(row, _)| row).filter(|_| self.rises) {
                    Some(row) => greatest(watermark, &batch.slice(row, 1))?,
                    None => greatest(watermark, batch)?,
                };
                (times, greatest)
            }
        };
        let mut columns = batch.columns().to_vec();
        columns.push(times);
        let batch = RecordBatch::try_new(Arc::clone(self.output), columns)?;
        Ok((batch, watermark))
    }
}

/// The row with the latest event time, and that time.
fn latest(times: &ArrayRef) -> Option<(usize, i64)> {
    let times = times
        .as_primitive_opt::<TimestampNanosecondType>()?
        .values();
    let latest = times.iter().max()?;
    let row = times.iter().position(|time| time == latest)?;
    Some((row, *latest))
}

fn greatest(watermark: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<Option<i64>> {
    let values = watermark.evaluate(batch)?.into_array(batch.num_rows())?;
    let values = datafusion::common::cast::as_timestamp_nanosecond_array(&values)?;
    Ok(max(values))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Builds the operator. An evaluation that fails goes to `fail`, and the batch is withheld.
pub(crate) fn watermark_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    mut watermarks: Watermarks,
    fail: impl Fn(DataFusionError) + 'static,
) -> Stream<'scope, u64, Rows> {
    let take = move |rows| watermarks.take(rows);
    apply(rows, Pipeline, name, take, fail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;
