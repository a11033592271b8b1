//! The rows that a piece of the output is computed of: those that are due, key by key, each behind those of its key that are
//! kept.

use std::ops::Range;

use datafusion::common::Result;
use datafusion::logical_expr::Accumulator;
use headwater_planner::plan::Frame;

use super::keys::{Kept, KeptRow, Needs};

/// The rows, by their places.
#[derive(Default)]
pub(super) struct Runs {
    /// The number of each row.
    pub(super) numbers: Vec<usize>,
    /// The event time of each row.
    times: Vec<i64>,
    pub(super) runs: Vec<Run>,
    /// Which rows of the piece are due, in the order of the runs.
    pub(super) order: Vec<u32>,
}

/// Rows that see each other.
pub(super) struct Run {
    /// Its places.
    all: Range<usize>,
    /// The first that is due.
    due: usize,
    /// Accumulators over all rows before those that are due.
    pub(super) running: Vec<Box<dyn Accumulator>>,
}

/// Makes the accumulators of a key.
pub(super) type Begin<'a> = &'a dyn Fn() -> Result<Vec<Box<dyn Accumulator>>>;

impl Runs {
    /// Adds rows of one key, which are kept from now on. The last run is the one whose accumulators are theirs.
    pub(super) fn add(
        &mut self,
        kept: &mut Kept,
        due: impl Iterator<Item = (u32, KeptRow)>,
        needs: &Needs,
        begin: Begin<'_>,
    ) -> Result<()> {
        let mut is_open = false;
        for (row, due) in due {
            if kept.forget_before(due.time, needs) || !is_open {
                is_open = true;
                // some of a key that was silent may have been freed
                kept.trim(due.time, needs);
                self.open(kept, begin)?;
            }
            self.order.push(row);
            self.put(due);
            kept.rows.push_back(due);
            if let Some(run) = self.runs.last_mut() {
                run.all.end += 1;
            }
        }
        Ok(())
    }

    fn open(&mut self, kept: &mut Kept, begin: Begin<'_>) -> Result<()> {
        let start = self.numbers.len();
        kept.rows.iter().for_each(|row| self.put(*row));
        let mut running = std::mem::take(&mut kept.running);
        if running.is_empty() {
            running = begin()?;
        }
        let due = self.numbers.len();
        self.runs.push(Run {
            all: start..due,
            due,
            running,
        });
        Ok(())
    }

    fn put(&mut self, row: KeptRow) {
        self.numbers.push(row.number);
        self.times.push(row.time);
    }

    /// What a function looks at for each row that is due.
    pub(super) fn frames(&self, frame: &Frame) -> Vec<Range<usize>> {
        let runs = self.runs.iter();
        let frames = runs.flat_map(|run| {
            let due = run.due..run.all.end;
            due.map(|row| self.frame(&run.all, row, frame))
        });
        frames.collect()
    }

    fn frame(&self, all: &Range<usize>, row: usize, frame: &Frame) -> Range<usize> {
        let rows_before = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let (start, end) = match *frame {
            Frame::Rows { from, to } => (
                from.map(|rows| row.saturating_sub(rows_before(rows))),
                (row + 1).saturating_sub(rows_before(to)),
            ),
            Frame::Range { from_ns, to_ns } => {
                let (times, time) = (&self.times[all.clone()], self.times[row]);
                let earliest = from_ns.map(|ns| time.saturating_sub_unsigned(ns));
                let latest = time.saturating_sub_unsigned(to_ns);
                let start = earliest.map(|earliest| times.partition_point(|it| *it < earliest));
                let end = times.partition_point(|it| *it <= latest);
                (start.map(|start| all.start + start), all.start + end)
            }
        };
        let start = start.map_or(all.start, |start| start.max(all.start));
        start..end.max(start)
    }

    /// The places of the rows that are due.
    pub(super) fn due(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().flat_map(|run| run.due..run.all.end)
    }

    /// Of each row that is due, how many of its run are before it.
    pub(super) fn before(&self) -> impl Iterator<Item = usize> {
        let runs = self.runs.iter();
        runs.flat_map(|run| (run.due..run.all.end).map(|row| row - run.all.start))
    }
}

impl Run {
    /// How many of its rows are due.
    pub(super) fn due_rows(&self) -> usize {
        self.all.end - self.due
    }

    /// The first of its rows that is due.
    pub(super) fn first_due(&self) -> usize {
        self.due
    }
}
