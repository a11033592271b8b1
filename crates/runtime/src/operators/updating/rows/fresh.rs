//! What has come lately, by group: accumulators that hold the groups of these rows and no others.

use datafusion::common::Result;

use super::table::{NONE, Table};
use crate::operators::window::{Accumulators, Columns, Functions, States};

/// How many groups may be fresh before they are absorbed, in pieces: what makes columns of so many takes some
/// milliseconds.
const MOST_PIECES: usize = 32;

/// The groups.
pub(super) struct Fresh {
    functions: Functions,
    accumulators: Accumulators,
    /// Of the groups, in the order in which they came.
    slots: Vec<u32>,
    /// The slot of each row of the last batch, and its group's number.
    pub(super) found: Vec<u32>,
    numbers: Vec<usize>,
    /// How many groups a piece has.
    piece: usize,
}

/// Groups that have changed.
pub(super) struct Changed {
    pub(super) slots: Vec<u32>,
    /// What has come for them, until it is absorbed.
    pub(super) states: Option<States>,
    /// Which of them come once more before they are all told; none if that is not said.
    pub(super) again: Vec<bool>,
    /// What the states take.
    bytes: usize,
}

impl Fresh {
    pub(super) fn new(functions: &Functions, piece: usize) -> Result<Self> {
        Ok(Self {
            functions: functions.clone(),
            accumulators: functions.accumulators()?,
            slots: Vec::new(),
            found: Vec::new(),
            numbers: Vec::new(),
            piece,
        })
    }

    /// Takes rows with these event times.
    pub(super) fn update(
        &mut self,
        columns: &Columns,
        times: &[i64],
        table: &mut Table,
    ) -> Result<()> {
        table.find(&columns.keys, columns.rows, &mut self.found)?;
        self.numbers.clear();
        for (slot, time) in self.found.iter().zip(times) {
            let group = table.slot_mut(*slot);
            group.time = group.time.max(*time);
            if group.fresh == NONE {
                group.fresh = self.slots.len() as u32;
                group.noted += 1;
                self.slots.push(*slot);
            }
            self.numbers.push(group.fresh as usize);
        }
        let total = self.slots.len();
        self.accumulators.update(columns, &self.numbers, total)
    }

    /// Whether there are too many groups.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= MOST_PIECES * self.piece
    }

    /// Gives all groups away, in pieces.
    pub(super) fn cut(&mut self, table: &mut Table) -> Result<Vec<Changed>> {
        if self.slots.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.accumulators.states()?;
        self.accumulators = self.functions.accumulators()?;
        let slots = std::mem::take(&mut self.slots);
        for slot in &slots {
            table.slot_mut(*slot).fresh = NONE;
        }
        let columns = states.iter().flatten();
        let bytes: usize = columns.map(|column| column.get_array_memory_size()).sum();
        let pieces = slots.chunks(self.piece).enumerate().map(|(index, piece)| {
            let functions = states.iter().map(|columns| {
                let columns = columns.iter();
                let slices = columns.map(|column| column.slice(index * self.piece, piece.len()));
                slices.collect()
            });
            Changed {
                slots: piece.to_vec(),
                states: Some(functions.collect()),
                again: Vec::new(),
                bytes: bytes * piece.len() / slots.len(),
            }
        });
        Ok(pieces.collect())
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.accumulators.size() + size_of_val(self.slots.as_slice())
    }
}

impl Changed {
    /// Groups that are absorbed.
    pub(super) fn absorbed(slots: Vec<u32>) -> Self {
        Self {
            slots,
            states: None,
            again: Vec::new(),
            bytes: 0,
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let states = if self.states.is_some() { self.bytes } else { 0 };
        states + size_of_val(self.slots.as_slice())
    }
}
