//! How what has come for some groups gets into the log, and what of it is told.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::logical_expr::EmitTo;

use super::OfRows;
use super::log::{About, Block, FLAGS};
use super::output::Results;
use super::table::NONE;
use crate::backlog::Size;
use crate::durable::part::Part;
use crate::operators::window::States;

/// What the log has of some groups.
struct Stored {
    /// Which of the groups have a state.
    numbers: Vec<usize>,
    /// Of these.
    states: States,
    /// The results that were told, of all groups: nulls where there are none.
    told: Vec<ArrayRef>,
}

impl OfRows {
    /// Merges what has come for groups, each of them once, with what they had; answers with what has changed, if they are told.
    /// If nothing has come, all of them have a state, which is written anew.
    pub(super) fn settle(
        &mut self,
        slots: &[u32],
        came: Option<&States>,
        tells: bool,
    ) -> Result<Option<RecordBatch>> {
        if slots.is_empty() {
            return Ok(None);
        }
        let Stored {
            numbers,
            states,
            mut told,
        } = self.stored(slots)?;
        let states = match came {
            Some(came) => self.merged(&numbers, &states, came, slots.len())?,
            None => states,
        };
        let keys = self.table.keys(slots)?;
        let mut changes = None;
        if tells && !self.tells_at_once() {
            let now = self.results(&states, slots.len())?;
            let groups = slots.iter().map(|slot| self.table.slot(*slot));
            let groups = groups.map(|group| (group.is_told, group.time)).collect();
            changes = Some(self.output.changes(&Results {
                keys: &keys,
                before: &told,
                now: &now,
                groups,
            })?);
            for slot in slots {
                self.table.slot_mut(*slot).is_told = true;
            }
            told = now;
        }
        self.widths = states.iter().map(Vec::len).collect();
        let flags = self.flags(slots);
        let columns = keys.into_iter().chain(flags);
        let columns = columns.chain(states.into_iter().flatten()).chain(told);
        let columns: Vec<_> = columns.collect();
        let bytes = columns.iter().map(|column| column.get_array_memory_size());
        let block = Block {
            bytes: bytes.sum::<usize>() + size_of_val(slots),
            columns,
            slots: slots.to_vec(),
            since: self.earliest,
            kept: Default::default(),
        };
        self.log.push(block, &mut self.table)?;
        Ok(changes)
    }

    /// Writes some rows of the log anew, if there are too many blocks or dead rows.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let slots = self.log.untidy(&self.table);
        self.settle(&slots, None, false).map(drop)
    }

    fn stored(&self, slots: &[u32]) -> Result<Stored> {
        let mut numbers = Vec::with_capacity(slots.len());
        let mut places = Vec::with_capacity(slots.len());
        for (number, slot) in slots.iter().enumerate() {
            if let Some(place) = self.table.slot(*slot).place {
                numbers.push(number);
                places.push(place);
            }
        }
        if places.is_empty() {
            let fields = &self.schema.fields()[self.keys..];
            let fields = fields.iter().take(self.functions.len());
            let nulls = fields.map(|field| new_null_array(field.data_type(), slots.len()));
            return Ok(Stored {
                numbers,
                states: Vec::new(),
                told: nulls.collect(),
            });
        }
        let mut columns = self.log.read(&places, self.keys + FLAGS)?.into_iter();
        let widths = self.widths.iter();
        let states = widths.map(|width| columns.by_ref().take(*width).collect());
        let states = states.collect();
        let mut told: Vec<ArrayRef> = columns.collect();
        if numbers.len() < slots.len() {
            let mut rows: Vec<Option<u32>> = vec![None; slots.len()];
            for (row, number) in numbers.iter().enumerate() {
                rows[*number] = Some(row as u32);
            }
            let rows = UInt32Array::from(rows);
            let all = told.iter().map(|told| take(told, &rows, None));
            told = all.collect::<Result<_, _>>()?;
        }
        Ok(Stored {
            numbers,
            states,
            told,
        })
    }

    /// What came for groups, merged with what some of them had.
    fn merged(
        &self,
        numbers: &[usize],
        stored: &States,
        came: &States,
        count: usize,
    ) -> Result<States> {
        let order = stored_first(numbers, count);
        let had: Vec<usize> = (0..numbers.len()).collect();
        let mut accumulators = self.functions.accumulators()?;
        if !had.is_empty() {
            accumulators.merge(stored, &had, had.len())?;
        }
        accumulators.merge(came, &order, count)?;
        let states = accumulators.states()?;
        if order.is_sorted() {
            return Ok(states);
        }
        let order: UInt32Array = order.iter().map(|place| *place as u32).collect();
        let states = states.iter().map(|columns| {
            let columns = columns.iter().map(|column| take(column, &order, None));
            columns.collect::<Result<_, _>>()
        });
        Ok(states.collect::<Result<_, _>>()?)
    }

    fn results(&self, states: &States, count: usize) -> Result<Vec<ArrayRef>> {
        let mut accumulators = self.functions.accumulators()?;
        let all: Vec<usize> = (0..count).collect();
        accumulators.merge(states, &all, count)?;
        accumulators.results(EmitTo::All)
    }

    fn flags(&self, slots: &[u32]) -> [ArrayRef; FLAGS] {
        let groups = || slots.iter().map(|slot| self.table.slot(*slot));
        let times = groups().map(|group| group.time);
        let changed = groups().map(|group| Some(group.noted > 0));
        let told = groups().map(|group| Some(group.is_told));
        [
            Arc::new(TimestampNanosecondArray::from_iter_values(times)),
            Arc::new(BooleanArray::from_iter(changed)),
            Arc::new(BooleanArray::from_iter(told)),
        ]
    }

    /// Takes up a block that another machine has left, which is newer than those before.
    pub(super) fn take_up(&mut self, part: &Part, about: About) -> Result<()> {
        let columns = part.rows.columns().to_vec();
        let width = about.keys + FLAGS + about.widths.iter().sum::<usize>() + self.functions.len();
        if about.keys != self.keys
            || about.widths.len() != self.functions.len()
            || columns.len() != width
        {
            return internal_err!("the state is that of other aggregates");
        }
        let lost = || internal_datafusion_err!("the state of groups has other columns");
        let (keys, flags) = columns.split_at(self.keys);
        let times = flags[0].as_primitive_opt::<TimestampNanosecondType>();
        let times = times.ok_or_else(lost)?;
        let changed = flags[1].as_boolean_opt().ok_or_else(lost)?;
        let told = flags[2].as_boolean_opt().ok_or_else(lost)?;
        let mut slots = Vec::new();
        self.table.find(keys, part.rows.num_rows(), &mut slots)?;
        for (row, slot) in slots.iter_mut().enumerate() {
            let time = times.value(row);
            // its time was over behind the block
            if time < about.earliest && about.since < about.earliest {
                let place = self.table.forget(*slot);
                self.log.release(place);
                *slot = NONE;
                continue;
            }
            let group = self.table.slot_mut(*slot);
            group.time = time;
            group.noted = u32::from(changed.value(row));
            group.is_told = told.value(row);
        }
        self.widths = about.widths;
        let block = Block {
            // columns that were decoded share one buffer
            bytes: Size::of(&part.rows).bytes as usize + size_of_val(slots.as_slice()),
            columns,
            slots,
            since: about.since,
            kept: part.kept.clone(),
        };
        self.log.push(block, &mut self.table)
    }
}

/// The place of each group if those that have a state stand first. For accumulators take it that every group of which they
/// are told the number has got something: of one that has not, they forget that it has seen no value.
fn stored_first(numbers: &[usize], count: usize) -> Vec<usize> {
    let (mut stored, mut others) = (0..numbers.len(), numbers.len()..count);
    let mut numbers = numbers.iter().peekable();
    let places = (0..count).map(|group| match numbers.next_if(|number| **number == group) {
        Some(_) => stored.next(),
        None => others.next(),
    });
    places.flatten().collect()
}
