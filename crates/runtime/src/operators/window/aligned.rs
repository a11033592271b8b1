//! The machine for windows that are the same for all keys.
//!
//! A row is aggregated once, into its pane. When the watermark reaches the end of a window, the states of its panes are
//! merged, and what they give is put out. A window that is one pane (a tumbling one) is put out as it is.
//!
//! At a checkpoint all panes are sealed, so that nothing has to be copied. What that leaves in runs is tidied up while rows
//! come, in proportion to them. So are runs moved to disk when there is no memory for them. Windows that have ended and of
//! which nothing has been put out are kept as if they had not ended yet, so that a checkpoint need not wait for their merge.
//!
//! A row whose windows have all ended is late. One of which only some have ended goes to the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use headwater_planner::plan::{Window, WindowAggregate};

use super::aggregates::Functions;
use super::closing::{Closing, PIECE, SLOW_PIECE, Work};
use super::cut::Cut;
use super::groups::{Grouping, Groups, Layout};
use super::input::Input;
use super::output::Output;
use super::pane::Pane;
use super::partial::PartialGroups;
use super::run::About;
use super::split::split;
use crate::durable::part::Part;
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{Held, Stateful, times};
use crate::spool::SpoolFile;

/// How many groups are merged, or moved to disk, while rows come: so many for each row, and at least so many a batch.
const TIDIED_A_ROW: usize = 2;
const TIDIED_A_BATCH: usize = if cfg!(test) { 1 } else { 1_024 };

/// The machine.
pub(super) struct Aligned {
    time: usize,
    input: Input,
    cut: Cut,
    grouping: Grouping,
    layout: Layout,
    output: Output,
    late: LateRows,
    /// How many groups a piece of output has.
    piece: usize,
    panes: BTreeMap<i64, Pane>,
    /// Those whose runs are becoming fewer.
    untidy: VecDeque<i64>,
    /// Those whose runs go to disk, and where.
    spilling: Option<(Arc<SpoolFile>, VecDeque<i64>)>,
    /// The memory of the panes.
    bytes: usize,
    /// The last end that the watermark has reached: no window until there takes rows.
    reached: i128,
    /// The last end whose window has been put out.
    closed: i128,
    closing: Option<Closing>,
    /// What there was before it began to close, while nothing of the window has been put out.
    before: Option<Before>,
}

/// What a checkpoint needs to know of a window that is closing.
struct Before {
    closed: i128,
    /// The pane that the window has taken, if it is the only one, as it was.
    pane: Option<(i64, Pane)>,
}

impl Aligned {
    pub(super) fn new(
        plan: &Arc<WindowAggregate>,
        cut: Cut,
        context: &MachineContext,
    ) -> Result<Self> {
        let functions = Functions::new(&plan.aggregates)?;
        let output = Output::new(&context.output, plan.window != Window::Instant)?;
        let first = output.keys_begin();
        let mut grouping = Grouping::new(functions, &context.output, first, plan.keys.len());
        grouping.spool.clone_from(&context.spool);
        Ok(Self {
            time: plan.time,
            input: Input::new(&plan.keys, &plan.aggregates),
            cut,
            piece: if grouping.functions.are_slow() {
                SLOW_PIECE
            } else {
                PIECE
            },
            layout: grouping.layout()?,
            grouping,
            output,
            late: context.late.clone(),
            panes: BTreeMap::new(),
            untidy: VecDeque::new(),
            spilling: None,
            bytes: 0,
            reached: i128::MIN,
            closed: i128::MIN,
            closing: None,
            before: None,
        })
    }

    /// Has the groups of a pane take rows.
    fn update(&mut self, pane: i64, take: impl FnOnce(&mut Groups) -> Result<()>) -> Result<()> {
        // until its first window ends all rows of a pane belong to the same windows
        let after = match i128::from(pane) < self.reached {
            true => self.reached,
            false => i128::MIN,
        };
        let pane = self.panes.entry(pane).or_default();
        counted(&mut self.bytes, pane, |pane| {
            pane.update(&self.grouping, after, take)
        })
    }

    /// The end of the next window that is to be closed. Panes whose windows have all been closed are dropped.
    fn next_end(&mut self) -> Option<i128> {
        while let Some(first) = self.panes.first_entry() {
            match self.cut.first_end_after(*first.key(), self.closed) {
                Some(end) => return (end <= self.reached).then_some(end),
                None => self.bytes -= first.remove().size(),
            }
        }
        None
    }

    /// Begins with the next window that has rows.
    fn next_closing(&mut self) -> Result<Option<Closing>> {
        while let Some(end) = self.next_end() {
            let closed = std::mem::replace(&mut self.closed, end);
            if let Some(closing) = self.close(end, closed)? {
                return Ok(Some(closing));
            }
        }
        (self.closed, self.before) = (self.reached, None);
        if self.panes.is_empty() {
            // no rows need come for the file to be closed
            self.untidy.clear();
            self.spilling = None;
        }
        Ok(None)
    }

    fn close(&mut self, end: i128, closed: i128) -> Result<Option<Closing>> {
        let bounds = (self.cut.time(self.cut.start(end)), self.cut.time(end));
        let work = if self.cut.is_simple() {
            let Some((number, mut pane)) = self.panes.pop_first() else {
                return Ok(None);
            };
            self.bytes -= pane.size();
            self.before = pane.as_it_is()?.map(|pane| Before {
                closed,
                pane: Some((number, pane)),
            });
            pane.into_work(&self.grouping)?
        } else {
            let mut runs = Vec::new();
            for (_, pane) in self.panes.range_mut(self.cut.panes(end)) {
                let merged = counted(&mut self.bytes, pane, |pane| pane.merged_by(end));
                runs.extend(merged?);
            }
            self.before = Some(Before { closed, pane: None });
            Work::of(runs, &self.grouping)?
        };
        Ok(work.map(|work| Closing::new(bounds, self.piece, work)))
    }

    /// Does what is done after so many rows, or groups of rows.
    fn tidy(&mut self, rows: usize) -> Result<()> {
        self.spill_some(rows)?;
        self.merge_some(rows)
    }

    /// Moves some of the runs that go to disk, after a batch of so many rows.
    fn spill_some(&mut self, rows: usize) -> Result<()> {
        let mut most = TIDIED_A_BATCH.max(rows * TIDIED_A_ROW);
        let is_due = self.is_due();
        while let Some((file, numbers)) = &mut self.spilling
            && most > 0
        {
            let Some(number) = numbers.front().copied() else {
                self.spilling = None;
                break;
            };
            let goes_on = match self.panes.get_mut(&number) {
                Some(pane) => counted(&mut self.bytes, pane, |pane| {
                    most = pane.spill(most, &self.grouping)?;
                    let goes_on = pane.begin_spilling(file);
                    if !goes_on && !is_due && pane.begin_merging(&self.grouping)? {
                        self.untidy.push_back(number);
                    }
                    Ok(goes_on)
                })?,
                None => false,
            };
            if !goes_on {
                numbers.pop_front();
            }
        }
        Ok(())
    }

    /// Merges some of what is in too many runs, likewise.
    fn merge_some(&mut self, rows: usize) -> Result<()> {
        let mut most = TIDIED_A_BATCH.max(rows * TIDIED_A_ROW);
        while let Some(number) = self.untidy.front()
            && most > 0
        {
            if let Some(pane) = self.panes.get_mut(number) {
                let grouping = &self.grouping;
                most = counted(&mut self.bytes, pane, |pane| pane.merge(most, grouping))?;
                if pane.is_merging() {
                    continue;
                }
            }
            self.untidy.pop_front();
        }
        Ok(())
    }
}

impl Stateful for Aligned {
    fn rows(&mut self, _input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let columns = self.input.columns(&rows)?;
        for (pane, selection) in split(times(&rows, self.time)?, &self.cut) {
            if self.cut.last_end(pane) <= self.reached {
                self.late.note(&selection.of_batch(&rows)?)?;
            } else if selection.len() == rows.num_rows() {
                self.update(pane, |groups| groups.update(&columns))?;
            } else {
                let columns = columns.select(&selection)?;
                self.update(pane, |groups| groups.update(&columns))?;
            }
        }
        self.tidy(rows.num_rows())?;
        Ok(Vec::new())
    }

    fn groups(&mut self, groups: &RecordBatch) -> Result<u64> {
        let PartialGroups { pane, rows, chunk } = PartialGroups::read(&self.layout, groups)?;
        if self.cut.last_end(pane) <= self.reached {
            self.late.note_count(rows)?;
        } else {
            self.update(pane, |groups| groups.merge(&chunk))?;
        }
        self.tidy(chunk.groups)?;
        Ok(rows)
    }

    fn is_due(&self) -> bool {
        self.closing.is_some() || self.closed < self.reached
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        // behind a restart it may not have come as far again
        self.reached = self.reached.max(self.cut.reached(watermark));
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        if self.closing.is_none() {
            self.closing = self.next_closing()?;
        }
        let Some(closing) = self.closing.take() else {
            return Ok(None);
        };
        let (rows, rest) = closing.step(&self.grouping, &self.output)?;
        self.closing = rest;
        if rows.num_rows() > 0 || self.closing.is_none() {
            self.before = None;
        }
        Ok(Some(rows))
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let closed = self.before.as_ref().map_or(self.closed, |it| it.closed);
        let mut parts = vec![Part::word(&(self.reached, closed))?];
        if let Some((number, pane)) = self.before.as_ref().and_then(|it| it.pane.as_ref()) {
            for part in pane.parts(*number, closed) {
                parts.push(part?);
            }
        }
        let is_due = self.is_due();
        for (number, pane) in &mut self.panes {
            let untidy = counted(&mut self.bytes, pane, |pane| {
                pane.seal()?;
                for part in pane.parts(*number, closed) {
                    parts.push(part?);
                }
                Ok(!is_due && pane.begin_merging(&self.grouping)?)
            });
            if untidy? {
                self.untidy.push_back(*number);
            }
        }
        Ok(parts)
    }

    fn keeps_what_is_due(&self) -> bool {
        self.closing.is_none() || self.before.is_some()
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut parts = parts.into_iter();
        if let Some(first) = parts.next() {
            (self.reached, self.closed) = first.about()?;
        }
        let mut last = None;
        for part in parts {
            let (number, about): (i64, About) = part.about()?;
            // of several workers one may have put out what another has not
            self.closed = self.closed.min(about.closed.unwrap_or(self.closed));
            let goes_on = last.replace((number, about.run)) == Some((number, about.run));
            let pane = self.panes.entry(number).or_default();
            pane.restore(&about, &part, goes_on)?;
        }
        self.bytes = self.panes.values().map(Pane::size).sum();
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        if part.is_word() {
            return Ok(Held::Word);
        }
        let (_, about): (i64, About) = part.about()?;
        Ok(Held::Keyed(about.keys(&part.rows)?))
    }

    fn spills(&self) -> bool {
        self.grouping.spool.is_some()
    }

    fn spill(&mut self, at_least: usize) -> Result<()> {
        let Some(spool) = self
            .grouping
            .spool
            .as_ref()
            .filter(|_| self.spilling.is_none())
        else {
            return Ok(());
        };
        if self.panes.values().map(Pane::spillable).sum::<usize>() >= at_least {
            for pane in self.panes.values_mut() {
                // once: what comes while they go is for the next time
                counted(&mut self.bytes, pane, Pane::seal)?;
            }
            self.spilling = Some((spool.file()?, self.panes.keys().copied().collect()));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let taken = self.before.as_ref().and_then(|it| it.pane.as_ref());
        let taken = taken.map_or(0, |(_, pane)| pane.size());
        self.bytes + taken + self.closing.as_ref().map_or(0, Closing::size)
    }
}

/// Does something to a pane, and counts its memory anew.
fn counted<T>(
    bytes: &mut usize,
    pane: &mut Pane,
    act: impl FnOnce(&mut Pane) -> Result<T>,
) -> Result<T> {
    *bytes -= pane.size();
    let done = act(pane)?;
    *bytes += pane.size();
    Ok(done)
}
