//! Aggregates over rows that only come.
//!
//! ```text
//!  rows ──► keys ──► slots ──► fresh: accumulators of the groups of these rows
//!                                 │ cut, in pieces
//!                                 ▼
//!           log: states, results that were told ◄── settled: states merged, compared with what was told ──► changes
//! ```
//!
//! What a row does is done by DataFusion's group accumulators, a batch at a time, for the groups alone that have changed since
//! the last flush ([`fresh`]). A piece of them is *settled* at once: what has come is merged with the state that they have in the
//! [`log`], and if they are told, results are compared with those that were told before. Too many fresh groups, and those of a
//! checkpoint, are *absorbed*: settled without being told.
//!
//! Without functions (`DISTINCT`) nothing is ever taken back: a new group is put out at once, with the event time of its first
//! row, so that it comes before the watermark that follows it, as windows and joins below want it. What is flushed then is only its
//! event time, on the way into the log.

mod fresh;
mod log;
mod output;
mod settling;
mod table;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use headwater_planner::plan;

use self::fresh::{Changed, Fresh};
use self::log::{About, Log};
use self::output::Output;
use self::table::Table;
use crate::durable::part::Part;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{END, Held, Stateful, times};
use crate::operators::window::{Functions, Input};

/// How many groups are settled at once, in some milliseconds; and of functions whose states are single objects.
const PIECE: usize = if cfg!(test) { 2 } else { 8_192 };
const SLOW_PIECE: usize = if cfg!(test) { 2 } else { 1_024 };

/// How many groups are absorbed for each row, while too many are fresh.
const ABSORBED_A_ROW: usize = 2;

/// The machine.
pub(super) struct OfRows {
    /// The column of the event time.
    time: usize,
    input: Input,
    functions: Functions,
    /// How many columns are keys, and how many the state of each function has.
    keys: usize,
    widths: Vec<usize>,
    table: Table,
    log: Log,
    fresh: Fresh,
    /// What was cut and has not been told.
    cut: VecDeque<Changed>,
    /// How much at the front of it is being flushed.
    due: usize,
    piece: usize,
    flush: u32,
    ttl_ns: u64,
    /// From which watermark on it pays to look for groups whose time is over.
    sweep_at: i64,
    /// The earliest event time of groups that were kept then.
    earliest: i64,
    /// Whether it has been told the time.
    is_running: bool,
    schema: SchemaRef,
    output: Output,
}

impl OfRows {
    pub(super) fn new(
        aggregate: &plan::UpdatingAggregate,
        context: &MachineContext,
    ) -> Result<Self> {
        let input = &context.inputs[0];
        let keys = aggregate.keys.iter().map(|key| key.data_type(input));
        let functions = Functions::new(&aggregate.aggregates)?;
        let piece = match functions.are_slow() {
            true => SLOW_PIECE,
            false => PIECE,
        };
        Ok(Self {
            time: aggregate.time,
            input: Input::new(&aggregate.keys, &aggregate.aggregates),
            keys: aggregate.keys.len(),
            widths: Vec::new(),
            table: Table::new(keys.collect::<Result<_>>()?)?,
            log: Log::default(),
            fresh: Fresh::new(&functions, piece)?,
            functions,
            cut: VecDeque::new(),
            due: 0,
            piece,
            flush: 0,
            ttl_ns: u64::try_from(aggregate.ttl.as_nanos()).unwrap_or(u64::MAX),
            sweep_at: i64::MIN,
            earliest: i64::MIN,
            is_running: false,
            schema: Arc::clone(&context.output),
            output: Output::new(&context.output),
        })
    }

    /// Whether new groups are told at once.
    fn tells_at_once(&self) -> bool {
        self.functions.is_empty()
    }

    /// The groups of the last batch that are new.
    fn tell_news(&mut self, keys: &[ArrayRef], all: &[i64]) -> Result<Option<RecordBatch>> {
        let (mut news, mut times) = (Vec::new(), Vec::new());
        for (row, slot) in self.fresh.found.iter().enumerate() {
            let group = self.table.slot_mut(*slot);
            if !std::mem::replace(&mut group.is_told, true) {
                news.push(row as u32);
                times.push(all[row]);
            }
        }
        if news.is_empty() {
            return Ok(None);
        }
        let news = UInt32Array::from(news);
        let keys = keys.iter().map(|keys| take(keys, &news, None));
        let keys = keys.collect::<Result<_, _>>()?;
        self.output.news(keys, times).map(Some)
    }

    /// Has all groups that have changed put out.
    fn flush(&mut self) -> Result<()> {
        let may_repeat = self.due < self.cut.len();
        self.cut.extend(self.fresh.cut(&mut self.table)?);
        if may_repeat {
            // who comes more than once is told with all that has come
            self.flush += 1;
            for changed in self.cut.range_mut(self.due..).rev() {
                let slots = changed.slots.iter();
                let again = slots.map(|slot| {
                    let group = self.table.slot_mut(*slot);
                    std::mem::replace(&mut group.flush, self.flush) == self.flush
                });
                changed.again = again.collect();
            }
        }
        self.due = self.cut.len();
        Ok(())
    }

    /// What has become of some groups since they were told last.
    fn tell(&mut self, mut changed: Changed) -> Result<RecordBatch> {
        if changed.again.contains(&true) {
            self.absorb(&mut changed)?;
        }
        for slot in &changed.slots {
            self.table.slot_mut(*slot).noted -= 1;
        }
        let mut again = changed.again.iter();
        let mut slots = changed.slots;
        slots.retain(|_| !again.next().is_some_and(|again| *again));
        let told = self.settle(&slots, changed.states.as_ref(), true)?;
        self.tidy()?;
        Ok(told.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.schema))))
    }

    /// Puts what has come for some groups into the log; answers how many it has looked at.
    fn absorb(&mut self, changed: &mut Changed) -> Result<usize> {
        let Some(states) = changed.states.take() else {
            return Ok(0);
        };
        self.settle(&changed.slots, Some(&states), false)?;
        self.tidy()?;
        Ok(changed.slots.len())
    }

    /// Absorbs what was cut, the first first, until so many groups have been looked at.
    fn absorb_most(&mut self, most: usize) -> Result<()> {
        let mut cut = std::mem::take(&mut self.cut);
        let mut groups = 0;
        let absorbed = cut.iter_mut().try_for_each(|changed| {
            if groups < most {
                groups += self.absorb(changed)?;
            }
            Ok(())
        });
        self.cut = cut;
        absorbed
    }

    /// Absorbs some of what is too much, after a batch of so many rows.
    fn absorb_some(&mut self, rows: usize) -> Result<()> {
        if self.fresh.is_full() {
            self.cut.extend(self.fresh.cut(&mut self.table)?);
        }
        match self.due < self.cut.len() {
            true => self.absorb_most(rows * ABSORBED_A_ROW),
            false => Ok(()),
        }
    }

    /// Looks for groups whose time is over, if that pays.
    fn sweep(&mut self, watermark: i64) -> Result<()> {
        if watermark < self.sweep_at {
            return Ok(());
        }
        self.sweep_at = watermark.saturating_add_unsigned(self.ttl_ns / 8);
        // behind a restart event time may not have come as far again
        let earliest = watermark.saturating_sub_unsigned(self.ttl_ns);
        self.earliest = self.earliest.max(earliest);
        self.forget()
    }

    /// Forgets the groups whose time is over, unless they are still to be put out.
    fn forget(&mut self) -> Result<()> {
        let (earliest, log) = (self.earliest, &mut self.log);
        let mut late = Vec::new();
        let keep = |number, group: &table::Slot| {
            if group.noted > 0 && group.time < earliest && group.place.is_some() {
                late.push(number);
            }
            group.noted > 0 || group.time >= earliest
        };
        self.table.retain(keep, |place| log.release(place));
        for slots in late.chunks(self.piece) {
            // a restart would take those for forgotten that were written before
            self.settle(slots, None, false)?;
        }
        self.tidy()
    }
}

impl Stateful for OfRows {
    fn rows(&mut self, _input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let columns = self.input.columns(&rows)?;
        let times = times(&rows, self.time)?;
        self.fresh.update(&columns, times, &mut self.table)?;
        let news = match self.tells_at_once() {
            true => self.tell_news(&columns.keys, times)?,
            false => None,
        };
        self.absorb_some(rows.num_rows())?;
        Ok(news.into_iter().collect())
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        match watermark {
            END => self.flush(),
            _ => self.sweep(watermark),
        }
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        if self.due == 0 {
            return Ok(None);
        }
        self.due -= 1;
        let changed = self.cut.pop_front();
        changed.map(|changed| self.tell(changed)).transpose()
    }

    fn tick(&mut self, _now_us: u64) -> Result<()> {
        // the first comes when the job begins, and would part what is still on its way; and while a flush waits for room at
        // the sinks, another would only make the queue longer
        if std::mem::replace(&mut self.is_running, true) && self.due == 0 {
            self.flush()?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        self.cut.extend(self.fresh.cut(&mut self.table)?);
        self.absorb_most(usize::MAX)?;
        self.log.parts(self.keys, &self.widths, self.earliest)
    }

    fn keeps_what_is_due(&self) -> bool {
        // event times that are due without functions are of no changes, and soon done with
        !self.tells_at_once()
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut of_all = i64::MAX;
        for part in &parts {
            let about: About = part.about()?;
            self.earliest = self.earliest.max(about.earliest);
            of_all = of_all.min(about.earliest);
            self.take_up(part, about)?;
        }
        self.log.drop_dead();
        if of_all < self.earliest {
            // some are of a worker that had not looked as lately as others
            self.forget()?;
        }
        let mut changed = Vec::new();
        let keep = |number, group: &table::Slot| {
            if group.noted > 0 {
                changed.push(number);
            }
            true
        };
        self.table.retain(keep, |_place| {});
        let pieces = changed.chunks(self.piece);
        let pieces = pieces.map(|slots| Changed::absorbed(slots.to_vec()));
        self.cut.extend(pieces);
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        let about: About = part.about()?;
        match part.rows.columns().get(..about.keys) {
            Some(keys) => Ok(Held::Keyed(keys.to_vec())),
            None => internal_err!("groups have lost their keys"),
        }
    }

    fn size(&self) -> usize {
        let cut = self.cut.iter().map(Changed::size);
        self.table.size() + self.log.size() + self.fresh.size() + cut.sum::<usize>()
    }
}
