//! Aggregates a batch before it is exchanged, so that the worker of a key is sent groups and not rows.
//!
//! Input: rows with an event time, what is said about time, in their order. Output: the same, with groups in the place of
//! rows where that pays. Each batch is one by itself: what is made of it goes out at once, in its epoch and before the watermark
//! that follows it, so that nothing is held here, and a row comes to its window when it would without. Memory: the groups of a
//! batch, while it is taken. Errors: those of functions.
//!
//! The groups of a pane become a [`Chunk`] of keys and states as in a [run](super::run), with two columns more: the pane, and how many rows
//! each group has. So the window behind the exchange counts rows, and late rows, as if it had seen them: whether a row is
//! late depends on its pane and on when it comes, and on nothing else.
//!
//! It pays where rows have become fewer ([`ROWS_A_GROUP`]). Where they have not, rows go as they are for some time
//! ([`RESTS`]), so that what is tried in vain costs little.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::sum;
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use headwater_planner::plan::WindowAggregate;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use super::aggregates::Functions;
use super::cut::Cut;
use super::groups::{Chunk, Grouping, Groups, Layout};
use super::input::{Columns, Input};
use super::split::split;
use crate::operators::apply::apply;
use crate::operators::stateful::times;
use crate::rows::Rows;

/// How many rows a group must have on average.
const ROWS_A_GROUP: usize = 3;

/// How many rows a pane of a batch must have on average: each takes some microseconds.
const ROWS_A_PANE: usize = if cfg!(test) { 2 } else { 64 };

/// For how many times as many rows as were tried in vain they go as they are.
const RESTS: usize = if cfg!(test) { 1 } else { 256 };

/// Makes groups of batches.
pub(crate) struct Partial {
    time: usize,
    input: Input,
    cut: Cut,
    /// None, between batches.
    groups: Groups,
    /// How many rows go as they are before it is tried again.
    resting: usize,
}

/// Groups of rows of one pane, as they come to a window.
pub(super) struct PartialGroups {
    pub(super) pane: i64,
    /// Of all groups together.
    pub(super) rows: u64,
    pub(super) chunk: Chunk,
}

impl Partial {
    /// `input` are the columns of the rows.
    pub(crate) fn new(plan: &WindowAggregate, input: &SchemaRef) -> Result<Self> {
        let Some(cut) = Cut::of(plan.window) else {
            return internal_err!("the window {} follows the rows of a key", plan.window);
        };
        let keys = plan.keys.iter().map(|key| key.return_field(input));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let grouping = Grouping {
            functions: Functions::new(&plan.aggregates)?,
            keys: Arc::new(Schema::new(keys)),
            spool: None,
        };
        Ok(Self {
            time: plan.time,
            input: Input::new(&plan.keys, &plan.aggregates),
            cut,
            groups: grouping.groups()?,
            resting: 0,
        })
    }

    /// What goes out for what comes in.
    pub(super) fn take(&mut self, rows: Rows) -> Result<Vec<Rows>> {
        match rows {
            Rows::Batch(batch) => self.batch(batch),
            Rows::Rejected(_) | Rows::Empty => Ok(Vec::new()),
            Rows::Control(_) | Rows::Partial(_) => Ok(vec![rows]),
        }
    }

    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<Rows>> {
        let rows = batch.num_rows();
        if self.resting > 0 {
            self.resting = self.resting.saturating_sub(rows);
            return Ok(vec![Rows::new(batch)]);
        }
        let panes = split(times(&batch, self.time)?, &self.cut);
        if panes.len() * ROWS_A_PANE > rows {
            self.resting = rows * RESTS;
            return Ok(vec![Rows::new(batch)]);
        }
        let columns = self.input.columns(&batch)?;
        let mut made = Vec::with_capacity(panes.len());
        let mut groups = 0;
        for (pane, selection) in panes {
            let of_pane = match selection.len() == rows {
                true => self.pane(pane, &columns)?,
                false => self.pane(pane, &columns.select(&selection)?)?,
            };
            groups += of_pane.num_rows();
            made.push(Rows::partial(of_pane));
        }
        if groups * ROWS_A_GROUP > rows {
            self.resting = rows * RESTS;
        }
        Ok(made)
    }

    /// The groups of rows of one pane.
    fn pane(&mut self, pane: i64, columns: &Columns) -> Result<RecordBatch> {
        self.groups.update(columns)?;
        let chunk = self.groups.drain()?;
        let rows = self.rows_of_groups(&chunk, columns.rows);
        let pane = Int64Array::from_value(pane, chunk.groups);
        chunk.to_rows_with([Arc::new(pane), Arc::new(Int64Array::from(rows))])
    }

    /// How many rows each group has, of so many that have come.
    fn rows_of_groups(&self, chunk: &Chunk, count: usize) -> Vec<i64> {
        if chunk.keys.is_empty() {
            return vec![i64::try_from(count).unwrap_or(i64::MAX)];
        }
        let mut rows = vec![0; chunk.groups];
        for group in self.groups.numbers() {
            rows[*group] += 1;
        }
        rows
    }
}

impl PartialGroups {
    /// Takes them apart, by what is known of the window.
    pub(super) fn read(layout: &Layout, groups: &RecordBatch) -> Result<Self> {
        let chunk = Chunk::of_rows(layout, groups)?;
        let own = layout.columns();
        let numbers = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned();
        match groups.columns().get(own..).unwrap_or_default() {
            [pane, rows] => match (numbers(pane), numbers(rows)) {
                (Some(pane), Some(rows)) if !pane.is_empty() => Ok(Self {
                    pane: pane.value(0),
                    rows: sum(&rows).map_or(0, i64::unsigned_abs),
                    chunk,
                }),
                _ => internal_err!("groups have no pane"),
            },
            _ => internal_err!("groups have other columns than their window"),
        }
    }
}

/// Builds the operator. An error of a function goes to `fail`, and the batch is withheld.
pub(crate) fn partial_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    mut partial: Partial,
    fail: impl Fn(DataFusionError) + 'static,
) -> Stream<'scope, u64, Rows> {
    let take = move |rows| partial.take(rows);
    apply(rows, Pipeline, name, take, fail)
}
