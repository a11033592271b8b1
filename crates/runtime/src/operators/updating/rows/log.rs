//! The state of the groups: a log of *blocks* of columns, a row for each group as it was at some time.
//!
//! A group that has changed gets a row in a new block, and the one that it had before is dead. A block stays as it is, so a
//! checkpoint writes those alone that have come since the last one. A block without a row that lives is dropped; the rows of
//! small blocks, and of some if there are more dead rows than others, are written anew.
//!
//! ```text
//! keys … │ time │ changed │ told │ states of the first function … │ of the second … │ results that were told …
//! ```

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use serde::{Deserialize, Serialize};

use super::table::{NONE, Table};
use crate::durable::part::{Kept, Part, columns};

/// A block of as many rows is not small.
const FULL: usize = if cfg!(test) { 4 } else { 8_192 };

/// How many columns stand between the keys and the states.
pub(super) const FLAGS: usize = 3;

/// Where the row of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    block: u32,
    row: u32,
}

/// Rows that were written together.
pub(super) struct Block {
    pub(super) columns: Vec<ArrayRef>,
    /// Whose they are, or [`NONE`]; if they live, the group knows that it is here.
    pub(super) slots: Vec<u32>,
    /// The earliest event time of groups that were not forgotten before.
    pub(super) since: i64,
    pub(super) kept: Kept,
    pub(super) bytes: usize,
}

struct Stored {
    block: Block,
    live: usize,
}

/// What a part of a checkpoint is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    /// How many columns are keys.
    pub(super) keys: usize,
    /// How many columns the state of each function has.
    pub(super) widths: Vec<usize>,
    /// The earliest event time of groups that were not forgotten when it was written, and now.
    pub(super) since: i64,
    pub(super) earliest: i64,
}

/// The blocks.
#[derive(Default)]
pub(super) struct Log {
    blocks: Vec<Option<Stored>>,
    free: Vec<u32>,
    /// The numbers of the blocks, the oldest first: the row that lives is the last one of its group.
    order: Vec<u32>,
    rows: usize,
    live: usize,
    bytes: usize,
}

impl Log {
    /// The columns from one on, of groups that have a row here.
    pub(super) fn read(&self, places: &[Place], first: usize) -> Result<Vec<ArrayRef>> {
        let mut read: Vec<&Block> = Vec::new();
        let mut numbers = vec![usize::MAX; self.blocks.len()];
        let mut indices = Vec::with_capacity(places.len());
        for place in places {
            let number = &mut numbers[place.block as usize];
            if *number == usize::MAX {
                let Some(stored) = &self.blocks[place.block as usize] else {
                    return internal_err!("the state of a group is lost");
                };
                *number = read.len();
                read.push(&stored.block);
            }
            indices.push((*number, place.row as usize));
        }
        let width = read.first().map_or(first, |block| block.columns.len());
        let columns = (first..width).map(|column| {
            let arrays = read.iter().map(|block| block.columns[column].as_ref());
            let column = interleave(&arrays.collect::<Vec<_>>(), &indices)?;
            Ok(compacted(column))
        });
        columns.collect()
    }

    /// Adds a block. The rows that its groups had before are dead.
    pub(super) fn push(&mut self, block: Block, table: &mut Table) -> Result<()> {
        let slots = block.slots.clone();
        let number = self.add(block)?;
        for (row, slot) in slots.into_iter().enumerate() {
            if slot == NONE {
                continue;
            }
            let place = Place {
                block: number,
                row: row as u32,
            };
            let before = table.slot_mut(slot).place.replace(place);
            self.live += 1;
            if let Some(stored) = &mut self.blocks[number as usize] {
                stored.live += 1;
            }
            self.release(before);
        }
        Ok(())
    }

    fn add(&mut self, block: Block) -> Result<u32> {
        self.rows += block.slots.len();
        self.bytes += block.bytes;
        let stored = Some(Stored { block, live: 0 });
        let number = match self.free.pop() {
            Some(number) => {
                self.blocks[number as usize] = stored;
                number
            }
            None => {
                self.blocks.push(stored);
                (self.blocks.len() - 1) as u32
            }
        };
        self.order.push(number);
        Ok(number)
    }

    /// Notes that a row is dead.
    pub(super) fn release(&mut self, place: Option<Place>) {
        let Some(Place { block: number, .. }) = place else {
            return;
        };
        let place = &mut self.blocks[number as usize];
        let Some(stored) = place else { return };
        stored.live -= 1;
        self.live -= 1;
        if stored.live == 0 {
            self.rows -= stored.block.slots.len();
            self.bytes -= stored.block.bytes;
            *place = None;
            self.free.push(number);
            self.order.retain(|one| *one != number);
        }
    }

    /// Whose rows are to be written anew, so that there are neither many small blocks nor more dead rows than others. They
    /// are of two blocks' size at most; asked for after each block, this keeps up.
    pub(super) fn untidy(&self, table: &Table) -> Vec<u32> {
        let mut blocks = self.small();
        if blocks.len() < 2 && self.rows > 2 * self.live + FULL {
            blocks = self.mostly_dead();
        }
        let live = blocks.into_iter().flat_map(|number| {
            let block = self.stored(number).map(|stored| &stored.block.slots);
            let rows = block.into_iter().flatten().enumerate();
            rows.filter_map(move |(row, slot)| {
                let place = Place {
                    block: number,
                    row: row as u32,
                };
                let lives = *slot != NONE && table.slot(*slot).place == Some(place);
                lives.then_some(*slot)
            })
        });
        live.collect()
    }

    /// The last blocks, if the newer ones together have grown as large as the one before them: then each is more than twice
    /// as large as the next, and a row is written again only after it has found as many others.
    fn small(&self) -> Vec<u32> {
        let (mut blocks, mut live) = (Vec::new(), 0);
        for number in self.order.iter().rev() {
            let Some(stored) = self.stored(*number) else {
                break;
            };
            let grown = blocks.is_empty() || stored.live <= live;
            if !grown || live >= FULL || stored.block.slots.len() >= FULL / 2 {
                break;
            }
            live += stored.live;
            blocks.push(*number);
        }
        match blocks.len() {
            0 | 1 => Vec::new(),
            _ => blocks,
        }
    }

    /// The first blocks of which most rows are dead, until what lives fills one.
    fn mostly_dead(&self) -> Vec<u32> {
        let (mut blocks, mut live) = (Vec::new(), 0);
        for number in &self.order {
            if let Some(stored) = self.stored(*number)
                && 2 * stored.live <= stored.block.slots.len()
                && live < FULL
            {
                live += stored.live;
                blocks.push(*number);
            }
        }
        blocks
    }

    fn stored(&self, number: u32) -> Option<&Stored> {
        self.blocks.get(number as usize)?.as_ref()
    }

    /// The blocks as parts of a checkpoint, in their order.
    pub(super) fn parts(&self, keys: usize, widths: &[usize], earliest: i64) -> Result<Vec<Part>> {
        let blocks = self.order.iter().filter_map(|number| self.stored(*number));
        let parts = blocks.map(|Stored { block, .. }| {
            let about = About {
                keys,
                widths: widths.to_vec(),
                since: block.since,
                earliest,
            };
            let rows = columns(block.columns.clone(), block.slots.len())?;
            Ok(Part::new(&about, rows)?.of(&block.kept))
        });
        parts.collect()
    }

    /// Drops blocks without a row that lives, which only a restart leaves.
    pub(super) fn drop_dead(&mut self) {
        let Self {
            blocks,
            free,
            rows,
            bytes,
            ..
        } = self;
        self.order.retain(|number| {
            let stored = &mut blocks[*number as usize];
            let dead = stored.take_if(|stored| stored.live == 0);
            if let Some(Stored { block, .. }) = &dead {
                *rows -= block.slots.len();
                *bytes -= block.bytes;
                free.push(*number);
            }
            dead.is_none()
        });
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }
}

/// A column without the buffers of those that it was made of, which views would share.
fn compacted(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => std::sync::Arc::new(column.as_binary_view().gc()),
        _ => column,
    }
}
