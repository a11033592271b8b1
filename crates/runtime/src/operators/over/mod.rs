//! Functions over the rows before each row, by key, in the order of event time: averages of the last minutes, changes from one
//! row to the next.
//!
//! ```text
//!  rows ─► pending, in the order of time ─► those that are due, by key ──┬─► frames ─► functions ─► rows, what they say of them
//!             watermark ─────────────────────┘      kept of each key ────┘      │
//!                                                          ▲                    │ what later rows may look at
//!                                                          └────────────────────┘
//! ```
//!
//! Input: rows with an event time. Output: each row with the values of the functions, once, when the watermark has passed its
//! time, all that are due together in pieces. Order: that of event time; rows of the same time in that in which they came. What
//! a function looks at is known from event times alone, so the output does not depend on how rows come.
//! Time: rows that the watermark has passed are late: noted, and left out. What is kept of a key by number (`ROWS`, `lag`, the
//! first row of all) is forgotten when the next row of the key is later than the time to live, or the longest `RANGE`.
//! Memory: rows that are not due; of the others what the functions take of them, their keys and times, as long as a frame can reach
//! them, and at most as many more that none can; an entry for each key, up to an eighth longer than it lives. Errors: those of functions.

mod function;
mod keys;
mod memory;
mod pending;
mod runs;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{filter_record_batch, not, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::Accumulator;
use headwater_planner::plan;

use self::function::Function;
use self::keys::{KeptRow, Key, Keys};
use self::memory::Memory;
use self::pending::Pending;
use self::runs::Runs;
use crate::durable::part::{Part, columns};
use crate::operators::chunks::{CHUNK_ROWS, Chunks};
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{Held, Stateful, times};

/// The machine.
pub(crate) struct Over {
    plan: Arc<plan::Over>,
    output: SchemaRef,
    late: LateRows,
    watermark: i64,
    pending: Pending,
    keys: Keys,
    functions: Vec<Function>,
    memory: Memory,
    /// What is kept of rows: keys, event time, and what the functions take, which alone is read.
    history: Chunks,
    /// From which watermark on it pays to look for keys that can be forgotten.
    sweep_at: i64,
}

impl Over {
    pub(crate) fn new(plan: &Arc<plan::Over>, context: &MachineContext) -> Result<Self> {
        let input = &context.inputs[0];
        let (mut memory, mut running) = (Memory::new(input), 0);
        let functions = plan.functions.iter();
        let functions = functions.map(|it| Function::new(it, &mut memory, &mut running));
        let functions = functions.collect();
        let memory = memory.finish(plan.time);
        let before = plan.keys.len() + 1;
        Ok(Self {
            functions,
            history: Chunks::new((before..before + memory.width()).collect()),
            memory,
            output: Arc::clone(&context.output),
            late: context.late.clone(),
            watermark: i64::MIN,
            pending: Pending::new(plan.time),
            keys: Keys::new(plan, input)?,
            sweep_at: i64::MIN,
            plan: Arc::clone(plan),
        })
    }

    /// Rows with what the functions say of them; those before `reached` are all that are due.
    fn answer(&mut self, due: &RecordBatch, reached: i64) -> Result<RecordBatch> {
        let times = times(due, self.plan.time)?;
        let latest = times.last().copied().unwrap_or(i64::MIN);
        let keys = self.keys.of(due)?;
        let kept = self.kept(due, &keys)?;
        let first = self.history.push(kept, latest)?;
        let mut runs = Runs::default();
        let mut own = Vec::new();
        for (key, rows) in self.keys.groups_of(&keys, due.num_rows())? {
            let rows = rows.into_iter().map(|row| {
                let (number, time) = (first + row as usize, times[row as usize]);
                (row, KeptRow { number, time })
            });
            let (needs, begin) = (self.keys.needs, begin_all(&self.functions));
            self.keys
                .with(&key, |kept| runs.add(kept, rows, &needs, &begin))?;
            own.push((key, runs.runs.len() - 1));
        }
        let rows = self.history.rows(&runs.numbers)?;
        let mut columns = due.columns().to_vec();
        let time = columns.remove(self.plan.time);
        let order = back(&runs.order);
        for function in &self.functions {
            let results = function.results(&rows, &mut runs)?;
            columns.push(take(&results, &order, None)?);
        }
        columns.push(time);
        self.keep(own, runs, reached);
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }

    /// What is kept of rows.
    fn kept(&self, rows: &RecordBatch, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let time = rows.column(self.plan.time);
        let taken = self.memory.of(rows)?;
        let all = keys.iter().chain([time]).chain(&taken);
        columns(all.cloned().collect(), rows.num_rows())
    }

    /// Gives keys their accumulators back, and forgets what no row to come looks at.
    fn keep(&mut self, own: Vec<(Key, usize)>, mut runs: Runs, reached: i64) {
        let needs = self.keys.needs;
        for (key, run) in own {
            let running = std::mem::take(&mut runs.runs[run].running);
            self.keys.with(&key, |kept| {
                kept.running = running;
                kept.trim(reached, &needs);
            });
        }
    }

    /// Forgets keys, and rows.
    fn tidy(&mut self) -> Result<()> {
        let reached = self.watermark;
        if let Some(earliest) = self.keys.needs.earliest(reached) {
            self.history.drop_before(earliest);
        }
        if reached >= self.sweep_at {
            let every_ns = self.keys.needs.sweep_every_ns();
            self.sweep_at = reached.saturating_add_unsigned(every_ns);
            self.keys.sweep(reached);
        }
        let kept = self.keys.rows();
        if kept == 0 {
            self.history = self.history.anew();
        } else if self.history.count() > 2 * kept + CHUNK_ROWS {
            self.rebuild()?;
        }
        Ok(())
    }

    /// Makes new chunks of the rows that are kept.
    fn rebuild(&mut self) -> Result<()> {
        let reached = self.watermark;
        self.keys.sweep(reached);
        let mut history = self.history.anew();
        let mut numbers = Vec::with_capacity(CHUNK_ROWS);
        let mut latest = i64::MIN;
        let mut next = 0;
        for (_, kept) in self.keys.all() {
            for row in &mut kept.rows {
                numbers.push(std::mem::replace(&mut row.number, next));
                latest = latest.max(row.time);
                next += 1;
                if numbers.len() == CHUNK_ROWS {
                    history.push(self.history.whole(&numbers)?, latest)?;
                    numbers.clear();
                    latest = i64::MIN;
                }
            }
        }
        if !numbers.is_empty() {
            history.push(self.history.whole(&numbers)?, latest)?;
        }
        self.history = history;
        Ok(())
    }

    /// The rows of a batch that are not late.
    fn in_time(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let times = times(&rows, self.plan.time)?;
        if times.iter().all(|time| *time >= self.watermark) {
            return Ok(rows);
        }
        let is_late = |time: &i64| Some(*time < self.watermark);
        let late: BooleanArray = times.iter().map(is_late).collect();
        self.late.note(&filter_record_batch(&rows, &late)?)?;
        Ok(filter_record_batch(&rows, &not(&late)?)?)
    }
}

impl Stateful for Over {
    fn rows(&mut self, _input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let rows = self.in_time(rows)?;
        self.pending.push(rows)?;
        Ok(Vec::new())
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        match self.pending.next_due(self.watermark)? {
            Some((due, reached)) => self.answer(&due, reached).map(Some),
            None => self.tidy().map(|()| None),
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        snapshot::save(self)
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        snapshot::load(self, parts)
    }

    fn held(&self, part: &Part) -> Result<Held> {
        snapshot::held(self, part)
    }

    fn size(&self) -> usize {
        self.pending.size() + self.keys.size() + self.history.size()
    }
}

/// Makes the accumulators of a key.
fn begin_all(functions: &[Function]) -> impl Fn() -> Result<Vec<Box<dyn Accumulator>>> {
    || functions.iter().filter_map(Function::begin).collect()
}

/// Where in an order each row is.
fn back(order: &[u32]) -> UInt32Array {
    let mut places = vec![0; order.len()];
    for (place, row) in (0..).zip(order) {
        places[*row as usize] = place;
    }
    UInt32Array::from(places)
}
