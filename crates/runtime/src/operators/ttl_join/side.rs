//! What a join keeps of one of its sides: rows, found by their keys, dropped by their time.
//!
//! Rows are numbered as they come. Columns are kept in [`Chunks`]; keys in Arrow's row format, one after the other; a hash
//! table leads from a key to the first row that has it, and each row to the next with the same key.
//!
//! Memory: a chunk is freed as soon as none of its rows can find a partner any more; its keys, when such rows are more
//! than the others, by building everything anew of those. So at most one chunk of rows and the keys of as many as are
//! kept are kept too long, and the work is a constant for every row. If rows come in no order of time, chunks are half empty at
//! most, once everything has been built anew.
//! Checkpoints: a chunk is a part, written once. Rows that can find no partner are in it as long as others of it can.

use std::hash::BuildHasher;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use arrow::row::{Row, RowConverter, Rows};
use datafusion::common::Result;
use datafusion::common::hash_utils::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::durable::part::{Kept, Part};
use crate::operators::chunks::{Chunks, Stored};

/// Stands for no row.
const NONE: usize = usize::MAX;

/// Rows with their keys and event times.
pub(super) struct Batch {
    pub(super) rows: RecordBatch,
    pub(super) keys: Rows,
    pub(super) times: Vec<i64>,
}

/// One side of a join.
pub(super) struct Side {
    /// All but the event time is read.
    chunks: Chunks,
    /// Of each row: its key, its event time, the next row with the same key.
    keys: Rows,
    times: Vec<i64>,
    next: Vec<usize>,
    chains: HashTable<Chain>,
    hasher: RandomState,
    /// The earliest event time of rows that can still find a partner.
    earliest: i64,
}

/// The rows of one key.
struct Chain {
    hash: u64,
    first: usize,
    last: usize,
}

impl Side {
    pub(super) fn new(earliest: i64, chunks: Chunks, converter: &RowConverter) -> Self {
        Self {
            earliest,
            chunks,
            keys: converter.empty_rows(0, 0),
            times: Vec::new(),
            next: Vec::new(),
            chains: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// The number of the first row that has a key.
    pub(super) fn first(&self, key: Row<'_>) -> Option<usize> {
        let hash = self.hasher.hash_one(key);
        let chain = self.chains.find(hash, |chain| self.has(chain, hash, key));
        chain.map(|chain| chain.first)
    }

    /// The numbers and event times of a row and those behind it with the same key that are not dropped, in the order in
    /// which they came.
    pub(super) fn from(&self, first: Option<usize>) -> impl Iterator<Item = (usize, i64)> {
        let next = |row: &usize| Some(self.next[*row]).filter(|next| *next != NONE);
        let rows = std::iter::successors(first, next).map(|row| (row, self.times[row]));
        rows.filter(|(_, time)| *time >= self.earliest)
    }

    fn has(&self, chain: &Chain, hash: u64, key: Row<'_>) -> bool {
        chain.hash == hash && self.keys.row(chain.first) == key
    }

    /// What goes out of the rows with these numbers, of which there is one at least.
    pub(super) fn columns(&self, rows: &[usize]) -> Result<RecordBatch> {
        self.chunks.rows(rows)
    }

    /// What goes out of rows.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        self.chunks.read(rows)
    }

    /// Keeps the rows of a batch, which may have been a chunk before.
    pub(super) fn keep(&mut self, batch: Batch, kept: &Kept) -> Result<()> {
        let latest = batch.times.iter().copied().max();
        let Some(latest) = latest.filter(|latest| *latest >= self.earliest) else {
            return Ok(());
        };
        for key in batch.keys.iter() {
            self.link(key);
        }
        self.times.extend(batch.times);
        let first = self.chunks.push_again(batch.rows, latest, kept);
        first.map(|_first| ())
    }

    /// Puts the next row to those with its key.
    fn link(&mut self, key: Row<'_>) {
        let (hash, row) = (self.hasher.hash_one(key), self.next.len());
        let (keys, next) = (&mut self.keys, &mut self.next);
        let same = |chain: &Chain| chain.hash == hash && keys.row(chain.first) == key;
        match self.chains.entry(hash, same, |chain| chain.hash) {
            Entry::Occupied(mut chain) => {
                let last = std::mem::replace(&mut chain.get_mut().last, row);
                next[last] = row;
            }
            Entry::Vacant(free) => {
                free.insert(Chain {
                    hash,
                    first: row,
                    last: row,
                });
            }
        }
        keys.push(key);
        next.push(NONE);
    }

    /// Drops the rows with an earlier event time.
    pub(super) fn drop_before(&mut self, earliest: i64, converter: &RowConverter) -> Result<()> {
        self.earliest = earliest;
        self.chunks.drop_before(earliest);
        if self.chunks.freed() * 2 > self.times.len() {
            *self = self.rebuilt(converter)?;
        }
        Ok(())
    }

    /// A side of the rows that are not dropped. Chunks most of whose rows are such stay as they are.
    fn rebuilt(&self, converter: &RowConverter) -> Result<Self> {
        let mut side = Self::new(self.earliest, self.chunks.anew(), converter);
        for Stored {
            numbers,
            rows,
            kept,
        } in self.chunks.stored()
        {
            let times = &self.times[numbers.clone()];
            let mut stays: BooleanArray = times
                .iter()
                .map(|time| Some(*time >= self.earliest))
                .collect();
            let mut kept = kept.clone();
            match 2 * stays.true_count() > times.len() {
                true => stays = vec![true; times.len()].into(),
                false => kept = Kept::default(),
            }
            let stay = || {
                numbers
                    .clone()
                    .filter(|row| stays.value(row - numbers.start))
            };
            let mut keys = converter.empty_rows(stays.true_count(), 0);
            stay().for_each(|row| keys.push(self.keys.row(row)));
            let batch = Batch {
                rows: filter_record_batch(rows, &stays)?,
                keys,
                times: stay().map(|row| self.times[row]).collect(),
            };
            side.keep(batch, &kept)?;
        }
        Ok(side)
    }

    /// What is kept, as parts of a checkpoint.
    pub(super) fn parts(&self, input: usize) -> impl Iterator<Item = Result<Part>> {
        let chunks = self.chunks.stored();
        chunks.map(move |chunk| Ok(Part::new(&input, chunk.rows.clone())?.of(chunk.kept)))
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let per_row = size_of::<i64>() + size_of::<usize>();
        let chains = self.chains.capacity() * (size_of::<Chain>() + 1);
        self.chunks.size() + self.keys.size() + self.times.capacity() * per_row + chains
    }
}
