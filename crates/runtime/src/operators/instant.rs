//! A query over the rows of one instant at a time: joins of windowed streams, functions `OVER (PARTITION BY window …)`.
//!
//! Input: rows of one or more streams that have windows, whose event time is the last nanosecond of their window.
//! Output: for each instant that the watermark has passed, what DataFusion's plan makes of its rows, piece by piece.
//! Order: instants in order; within one, the plan's. Rows of an instant that has been put out already are late: counted,
//! and left out. Memory: the rows of the instants that the watermark has not passed, and what the plan keeps of one.
//! Errors: those of functions, and of the conditions of outer joins; all else is columns of the input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::executor::block_on;
use headwater_planner::plan::{self, InstantInput};

use crate::backlog::Size;
use crate::durable::part::Part;
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{Held, Stateful, times};

/// The machine.
pub(crate) struct Instant {
    plan: Arc<plan::Instant>,
    /// The columns of each input.
    schemas: Vec<SchemaRef>,
    late: LateRows,
    /// The rows of each input, by event time.
    instants: BTreeMap<i64, Vec<Vec<RecordBatch>>>,
    bytes: usize,
    watermark: i64,
    /// The instant that is being put out.
    running: Option<SendableRecordBatchStream>,
    task: Arc<TaskContext>,
}

impl Instant {
    pub(crate) fn new(plan: &Arc<plan::Instant>, context: &MachineContext) -> Self {
        Self {
            plan: Arc::clone(plan),
            schemas: context.inputs.clone(),
            late: context.late.clone(),
            instants: BTreeMap::new(),
            bytes: 0,
            watermark: i64::MIN,
            running: None,
            task: Arc::default(),
        }
    }

    fn keep(&mut self, input: usize, time: i64, rows: RecordBatch) -> Result<()> {
        if time < self.watermark {
            return self.late.note(&rows);
        }
        self.bytes += bytes(&rows);
        let inputs = self.plan.times.len();
        let instant = self.instants.entry(time);
        instant.or_insert_with(|| vec![Vec::new(); inputs])[input].push(rows);
        Ok(())
    }

    /// Begins with the next instant that the watermark has passed.
    fn next_due(&mut self) -> Result<Option<SendableRecordBatchStream>> {
        let Some(first) = self.instants.first_entry() else {
            return Ok(None);
        };
        if *first.key() >= self.watermark {
            return Ok(None);
        }
        let inputs = first.remove();
        self.bytes -= inputs.iter().flatten().map(bytes).sum::<usize>();
        let plan = filled(&self.plan.plan, inputs, &self.schemas)?;
        plan.execute(0, Arc::clone(&self.task)).map(Some)
    }
}

impl Stateful for Instant {
    fn rows(&mut self, input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        for (time, rows) in by_time(&rows, self.plan.times[input])? {
            self.keep(input, time, rows)?;
        }
        Ok(Vec::new())
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.running.is_none() {
                self.running = self.next_due()?;
            }
            let Some(running) = &mut self.running else {
                return Ok(None);
            };
            // all its rows are in memory, so that it never waits
            match block_on(running.next()).transpose()? {
                Some(piece) if piece.num_rows() > 0 => return Ok(Some(piece)),
                Some(_) => {}
                None => self.running = None,
            }
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let mut parts = vec![Part::word(&self.watermark)?];
        for (time, inputs) in &self.instants {
            for (input, batches) in inputs.iter().enumerate() {
                if !batches.is_empty() {
                    let rows = concat_batches(&self.schemas[input], batches)?;
                    parts.push(Part::new(&(time, input), rows)?);
                }
            }
        }
        Ok(parts)
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut parts = parts.into_iter();
        if let Some(first) = parts.next() {
            self.watermark = first.about()?;
        }
        for part in parts {
            let (time, input) = part.about()?;
            if input >= self.plan.times.len() {
                return internal_err!("the state is of an input that is not there");
            }
            self.keep(input, time, part.rows)?;
        }
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        Ok(match part.rows.num_columns() {
            0 => Held::Word,
            _ => Held::Input(part.about::<(i64, usize)>()?.1),
        })
    }

    fn size(&self) -> usize {
        self.bytes
    }
}

fn bytes(rows: &RecordBatch) -> usize {
    Size::of(rows).bytes as usize
}

/// The rows of a batch by event time, those of one time in their order. Mostly there is one.
fn by_time(rows: &RecordBatch, time: usize) -> Result<Vec<(i64, RecordBatch)>> {
    let times = times(rows, time)?;
    let Some((first, others)) = times.split_first() else {
        return Ok(Vec::new());
    };
    if others.iter().all(|time| time == first) {
        return Ok(vec![(*first, rows.clone())]);
    }
    let time = |row: &u32| times[*row as usize];
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(time);
    let of_one_time = order.chunk_by(|a, b| time(a) == time(b));
    let taken = of_one_time.map(|same| {
        let indices = UInt32Array::from(same.to_vec());
        Ok((time(&same[0]), take_record_batch(rows, &indices)?))
    });
    taken.collect()
}

/// A plan in which leaf `n` has the rows of input `n`, and nothing is left of an earlier run.
fn filled(
    plan: &Arc<dyn ExecutionPlan>,
    mut inputs: Vec<Vec<RecordBatch>>,
    schemas: &[SchemaRef],
) -> Result<Arc<dyn ExecutionPlan>> {
    let filled = Arc::clone(plan).transform_up(|node| {
        let Some(leaf) = node.downcast_ref::<InstantInput>() else {
            return node.reset_state().map(Transformed::yes);
        };
        let rows = std::mem::take(&mut inputs[leaf.index]);
        let schema = Arc::clone(&schemas[leaf.index]);
        let rows = MemorySourceConfig::try_new_exec(&[rows], schema, None)?;
        Ok(Transformed::yes(rows as Arc<dyn ExecutionPlan>))
    });
    filled.map(|filled| filled.data)
}

#[cfg(test)]
mod tests;
