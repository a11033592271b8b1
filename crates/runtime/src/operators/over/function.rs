//! One function: what it says of the rows of a piece. All the computing is DataFusion's.
//!
//! An aggregate begins anew for each row, and is given the rows of its frame: what it says depends on these rows alone, however
//! they came, which taking values out of a sum of floating point numbers would not. Over a frame that begins with the first row
//! it goes on, with an accumulator for each key.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Scalar, UInt64Array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{filter, take};
use arrow::record_batch::RecordBatch;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::StandardWindowFunctionExpr;
use headwater_planner::plan::{Frame, OverCall, OverFunction};

use super::memory::{Argument, Memory};
use super::runs::Runs;
use crate::operators::window::arguments;

/// The function.
pub(super) struct Function {
    call: OverCall,
    frame: Frame,
    arguments: Vec<Argument>,
    filter: Option<Argument>,
    /// Which accumulator of a key is its own, if it goes on.
    running: Option<usize>,
}

/// What it is given of the rows of a piece, and where its frames lie in that.
struct Given {
    values: Vec<ArrayRef>,
    frames: Vec<Range<usize>>,
    /// How many rows before each are among the values.
    places: Option<Vec<usize>>,
}

impl Function {
    pub(super) fn new(function: &OverFunction, memory: &mut Memory, running: &mut usize) -> Self {
        let (taken, filter) = match &function.call {
            OverCall::Aggregate(aggregate) => {
                (arguments(&aggregate.function), aggregate.filter.clone())
            }
            OverCall::Window(window) => (window.expressions(), None),
        };
        let goes_on = function.frame.is_unbounded();
        *running += usize::from(goes_on);
        Self {
            arguments: taken.into_iter().map(|it| memory.argument(it)).collect(),
            filter: filter.map(|filter| memory.argument(filter)),
            call: function.call.clone(),
            frame: function.frame,
            running: goes_on.then(|| *running - 1),
        }
    }

    /// The accumulator that a key needs, if it needs one.
    pub(super) fn begin(&self) -> Option<Result<Box<dyn Accumulator>>> {
        match &self.call {
            OverCall::Aggregate(aggregate) if self.running.is_some() => {
                Some(aggregate.function.create_accumulator())
            }
            _ => None,
        }
    }

    /// What it says of the rows that are due, in the order of the runs.
    pub(super) fn results(&self, rows: &RecordBatch, runs: &mut Runs) -> Result<ArrayRef> {
        let given = self.given(rows, runs)?;
        match (&self.call, self.running, self.frame) {
            (OverCall::Aggregate(aggregate), Some(running), _) => {
                given.running(&aggregate.function, runs, running)
            }
            (OverCall::Aggregate(aggregate), ..) => given.anew(&aggregate.function),
            (OverCall::Window(window), ..) if window.create_evaluator()?.uses_window_frame() => {
                given.framed(window.as_ref())
            }
            (OverCall::Window(window), _, Frame::Rows { from, .. }) => {
                given.shifted(window.as_ref(), runs, from.unwrap_or(0))
            }
            (OverCall::Window(window), ..) => Err(internal_datafusion_err!(
                "'{}' is not computed over time",
                window.name()
            )),
        }
    }

    fn given(&self, rows: &RecordBatch, runs: &Runs) -> Result<Given> {
        let values = self.arguments.iter().map(|argument| argument.values(rows));
        let mut given = Given {
            values: values.collect::<Result<_>>()?,
            frames: runs.frames(&self.frame),
            places: None,
        };
        if let Some(filter) = &self.filter {
            given.keep(as_boolean_array(&filter.values(rows)?)?)?;
        }
        Ok(given)
    }
}

impl Given {
    /// Leaves out what a filter does not let pass.
    fn keep(&mut self, passes: &BooleanArray) -> Result<()> {
        let mut places = Vec::with_capacity(passes.len() + 1);
        let mut place = 0;
        places.push(place);
        for passes in passes {
            place += usize::from(passes == Some(true));
            places.push(place);
        }
        for values in &mut self.values {
            *values = filter(values, passes)?;
        }
        for frame in &mut self.frames {
            *frame = places[frame.start]..places[frame.end];
        }
        self.places = Some(places);
        Ok(())
    }

    fn slices(&self, rows: &Range<usize>) -> Vec<ArrayRef> {
        let values = self.values.iter();
        values
            .map(|values| values.slice(rows.start, rows.len()))
            .collect()
    }

    /// An accumulator for each frame.
    fn anew(&self, function: &Arc<AggregateFunctionExpr>) -> Result<ArrayRef> {
        let mut results: Vec<ScalarValue> = Vec::with_capacity(self.frames.len());
        let mut before = None;
        for frame in &self.frames {
            // rows of the same time see the same
            if before == Some(frame)
                && let Some(same) = results.last().cloned()
            {
                results.push(same);
                continue;
            }
            before = Some(frame);
            let mut accumulator = function.create_accumulator()?;
            if !frame.is_empty() {
                accumulator.update_batch(&self.slices(frame))?;
            }
            results.push(accumulator.evaluate()?);
        }
        ScalarValue::iter_to_array(results)
    }

    /// The accumulators of the keys, which go on.
    fn running(
        &self,
        function: &AggregateFunctionExpr,
        runs: &mut Runs,
        index: usize,
    ) -> Result<ArrayRef> {
        let stays = stays_when_read(function);
        let mut results = Vec::with_capacity(self.frames.len());
        let mut frames = self.frames.iter();
        for run in &mut runs.runs {
            let first = run.first_due();
            let mut fed = self.places.as_ref().map_or(first, |places| places[first]);
            let due = run.due_rows();
            let accumulator = run.running.get_mut(index);
            let accumulator =
                accumulator.ok_or_else(|| internal_datafusion_err!("an accumulator is lost"))?;
            for frame in frames.by_ref().take(due) {
                if frame.end > fed {
                    accumulator.update_batch(&self.slices(&(fed..frame.end)))?;
                    fed = frame.end;
                }
                results.push(match stays {
                    true => accumulator.evaluate()?,
                    false => renewed(function, accumulator)?,
                });
            }
        }
        ScalarValue::iter_to_array(results)
    }

    /// A function that picks a row of the frame.
    fn framed(&self, window: &dyn StandardWindowFunctionExpr) -> Result<ArrayRef> {
        let mut evaluator = window.create_evaluator()?;
        let frames = self.frames.iter();
        let results = frames.map(|frame| evaluator.evaluate(&self.values, frame));
        ScalarValue::iter_to_array(results.collect::<Result<Vec<_>>>()?)
    }

    /// A function that says what was so many rows before, computed as if all rows were of one key. Where that is another key's
    /// row, it says what it says of a row without others.
    fn shifted(
        &self,
        window: &dyn StandardWindowFunctionExpr,
        runs: &Runs,
        rows: u64,
    ) -> Result<ArrayRef> {
        let count = self.values.first().map_or(0, |values| values.len());
        let all = window
            .create_evaluator()?
            .evaluate_all(&self.values, count)?;
        let due = UInt64Array::from_iter_values(runs.due().map(|row| row as u64));
        let due = take(&all, &due, None)?;
        let alone = self.slices(&(0..1));
        let alone = window.create_evaluator()?.evaluate_all(&alone, 1)?;
        let before = runs.before().map(|before| Some((before as u64) < rows));
        Ok(zip(
            &before.collect::<BooleanArray>(),
            &Scalar::new(alone),
            &due,
        )?)
    }
}

/// Whether an accumulator is known to stay what it is when it is read. Some give their values away.
fn stays_when_read(function: &AggregateFunctionExpr) -> bool {
    let known = [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "first_value",
        "last_value",
    ];
    !function.is_distinct() && known.contains(&function.fun().name())
}

/// What an accumulator says, of those that may give their values away when they are read: one like it is read instead.
fn renewed(
    function: &AggregateFunctionExpr,
    accumulator: &mut Box<dyn Accumulator>,
) -> Result<ScalarValue> {
    let states = accumulator.state()?;
    let states = states.iter().map(|state| state.to_array_of_size(1));
    let states = states.collect::<Result<Vec<_>>>()?;
    *accumulator = function.create_accumulator()?;
    accumulator.merge_batch(&states)?;
    let mut read = function.create_accumulator()?;
    read.merge_batch(&states)?;
    read.evaluate()
}
