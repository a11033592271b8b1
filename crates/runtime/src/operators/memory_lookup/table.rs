//! The rows of a memory table, by their keys.
//!
//! Rows are numbered as they come and kept in [`Chunks`]; a hash table leads from a key, in Arrow's row format, to the number
//! of its last row. A row whose place another has taken stays in its chunk until such rows are more than the others; then all
//! others are put together anew. So the work is a constant for every row.
//! Checkpoints: a chunk is a part, written once, and of the rows of a key the last one is true. Which keys have none any more
//! is beside it: of those, chunks may still hold one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::Result;
use datafusion::common::hash_utils::RandomState;
use headwater_connector::Found;

use crate::durable::part::{Kept, columns};
use crate::operators::chunks::{CHUNK_ROWS, Chunks};
use crate::operators::keys::{present, with_one_zero};

/// A key in Arrow's row format.
type Key = Box<[u8]>;

/// The rows.
pub(super) struct Table {
    schema: SchemaRef,
    /// Which columns are the key.
    key: Vec<usize>,
    converter: RowConverter,
    /// If rows are taken back: the column that says so, and how rows are compared.
    changes: Option<Changes>,
    chunks: Chunks,
    /// The number of the row of each key.
    numbers: HashMap<Key, usize, RandomState>,
    /// Keys without a row, of which there may be one in a chunk.
    gone: HashSet<Key, RandomState>,
    /// What the keys take.
    key_bytes: usize,
}

struct Changes {
    column: usize,
    converter: RowConverter,
}

/// Rows of one batch that take others back.
struct Backward {
    /// Of each row of the batch whether it does.
    takes_back: Vec<bool>,
    /// The rows of the batch, to be compared.
    rows: Rows,
    /// By the number of such a row in the batch, where in `before` the row is that its key had before the batch.
    places: HashMap<usize, usize>,
    before: Option<Rows>,
}

impl Table {
    /// Without a row, of these columns, of which those of the numbers `key` are the key.
    pub(super) fn new(schema: &SchemaRef, key: &[usize], change: Option<usize>) -> Result<Self> {
        let converter = |columns: &mut dyn Iterator<Item = usize>| {
            let fields = columns.map(|index| schema.field(index).data_type().clone());
            RowConverter::new(fields.map(SortField::new).collect())
        };
        let changes = change.map(|column| {
            let converter = converter(&mut (0..schema.fields().len()))?;
            Ok::<_, arrow::error::ArrowError>(Changes { column, converter })
        });
        Ok(Self {
            converter: converter(&mut key.iter().copied())?,
            changes: changes.transpose()?,
            schema: Arc::clone(schema),
            key: key.to_vec(),
            chunks: Chunks::new((0..schema.fields().len()).collect()),
            numbers: HashMap::default(),
            gone: HashSet::default(),
            key_bytes: 0,
        })
    }

    /// The rows of some keys, which are as many columns.
    pub(super) fn find(&self, keys: &RecordBatch) -> Result<Found> {
        let (mut numbers, mut of_key) = (Vec::new(), Vec::new());
        let encoded = self
            .converter
            .convert_columns(&with_one_zero(keys.columns()))?;
        for (key, row) in encoded.iter().enumerate() {
            if let Some(number) = self.numbers.get(row.data()) {
                numbers.push(*number);
                // a batch has fewer rows than 2^32
                of_key.push(key as u32);
            }
        }
        let rows = match numbers.is_empty() {
            true => RecordBatch::new_empty(Arc::clone(&self.schema)),
            false => self.chunks.rows(&numbers)?,
        };
        Ok(Found { rows, keys: of_key })
    }

    /// Takes rows in their order: each takes the place of the one with its key, or takes it back.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let own: Vec<_> = (0..self.schema.fields().len()).collect();
        let rows = batch.project(&own)?;
        let keys = self.keys_of(&rows);
        let encoded = self.converter.convert_columns(&with_one_zero(&keys))?;
        let backward = self.backward(batch, &rows, &encoded)?;
        let present = present(&keys);
        let mut last = HashMap::<Row<'_>, Option<usize>, RandomState>::default();
        for (number, key) in encoded.iter().enumerate() {
            if present
                .as_ref()
                .is_some_and(|present| present.is_null(number))
            {
                continue;
            }
            match backward.as_ref().filter(|it| it.takes_back[number]) {
                None => {
                    last.insert(key, Some(number));
                }
                Some(it) if it.is_of(number, last.get(&key).copied()) => {
                    last.insert(key, None);
                }
                Some(_) => {}
            }
        }
        let mut stay: Vec<_> = last.values().flatten().copied().collect();
        stay.sort_unstable();
        let gone = last.iter().filter(|(_, row)| row.is_none());
        gone.for_each(|(key, _)| self.remove(key.data()));
        self.keep(&rows, &stay, &encoded)?;
        self.tidy()
    }

    /// What is to be known of rows that take others back, if there are any.
    fn backward(
        &self,
        batch: &RecordBatch,
        rows: &RecordBatch,
        keys: &Rows,
    ) -> Result<Option<Backward>> {
        let Some(Changes { column, converter }) = &self.changes else {
            return Ok(None);
        };
        let changes = batch.column(*column).as_primitive::<Int64Type>();
        let takes_back: Vec<_> = changes.values().iter().map(|change| *change < 0).collect();
        if !takes_back.contains(&true) {
            return Ok(None);
        }
        let (mut places, mut numbers) = (HashMap::new(), Vec::new());
        for (row, key) in keys.iter().enumerate().filter(|(row, _)| takes_back[*row]) {
            if let Some(number) = self.numbers.get(key.data()) {
                places.insert(row, numbers.len());
                numbers.push(*number);
            }
        }
        let before = match numbers.is_empty() {
            true => None,
            false => Some(converter.convert_columns(self.chunks.rows(&numbers)?.columns())?),
        };
        let rows = converter.convert_columns(rows.columns())?;
        Ok(Some(Backward {
            takes_back,
            rows,
            places,
            before,
        }))
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, _)) = self.numbers.remove_entry(key) {
            self.gone.insert(key);
        }
    }

    /// Keeps some rows of a batch, each the last of its key.
    fn keep(&mut self, rows: &RecordBatch, stay: &[usize], keys: &Rows) -> Result<()> {
        if stay.is_empty() {
            return Ok(());
        }
        let kept = match stay.len() == rows.num_rows() {
            true => rows.clone(),
            false => {
                let stay = stay.iter().map(|row| *row as u32);
                take_record_batch(rows, &UInt32Array::from_iter_values(stay))?
            }
        };
        let first = self.chunks.push(kept, 0)?;
        for (index, row) in stay.iter().enumerate() {
            self.note(keys.row(*row).data(), first + index);
        }
        Ok(())
    }

    fn note(&mut self, key: &[u8], number: usize) {
        if let Some(before) = self.numbers.get_mut(key) {
            *before = number;
            return;
        }
        let key = self.gone.take(key).unwrap_or_else(|| {
            self.key_bytes += key.len();
            key.into()
        });
        self.numbers.insert(key, number);
    }

    /// Puts the rows together anew if most are of keys that have another, or none.
    fn tidy(&mut self) -> Result<()> {
        if self.chunks.count() <= 2 * self.numbers.len() + CHUNK_ROWS {
            return Ok(());
        }
        let mut chunks = self.chunks.anew();
        let mut numbers: Vec<_> = self.numbers.values_mut().collect();
        numbers.sort_unstable();
        for part in numbers.chunks_mut(CHUNK_ROWS) {
            let rows: Vec<_> = part.iter().map(|number| **number).collect();
            let first = chunks.push(self.chunks.rows(&rows)?, 0)?;
            for (index, number) in part.iter_mut().enumerate() {
                **number = first + index;
            }
        }
        self.chunks = chunks;
        let gone = self.gone.drain().map(|key| key.len());
        self.key_bytes -= gone.sum::<usize>();
        Ok(())
    }

    /// The key of each row.
    pub(super) fn keys_of(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        let key = self.key.iter();
        key.map(|index| Arc::clone(rows.column(*index))).collect()
    }

    /// All rows, of which the last of a key is true.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&RecordBatch, &Kept)> {
        let stored = self.chunks.stored();
        stored.map(|stored| (stored.rows, stored.kept))
    }

    /// The keys that have no row any more, if there are some.
    pub(super) fn gone(&self) -> Result<Option<RecordBatch>> {
        if self.gone.is_empty() {
            return Ok(None);
        }
        let parser = self.converter.parser();
        let keys = self.gone.iter().map(|key| parser.parse(key));
        let keys = self.converter.convert_rows(keys)?;
        columns(keys, self.gone.len()).map(Some)
    }

    /// Takes up rows that were handed over.
    pub(super) fn take_again(&mut self, rows: RecordBatch, kept: &Kept) -> Result<()> {
        let keys = with_one_zero(&self.keys_of(&rows));
        let encoded = self.converter.convert_columns(&keys)?;
        let first = self.chunks.push_again(rows, 0, kept)?;
        for (index, key) in encoded.iter().enumerate() {
            self.note(key.data(), first + index);
        }
        Ok(())
    }

    /// Takes up keys that have no row.
    pub(super) fn forget(&mut self, keys: &RecordBatch) -> Result<()> {
        let encoded = self.converter.convert_columns(keys.columns())?;
        encoded.iter().for_each(|key| self.remove(key.data()));
        Ok(())
    }

    /// In bytes, roughly.
    pub(super) fn size(&self) -> usize {
        let numbers = self.numbers.capacity() * (size_of::<(Key, usize)>() + 1);
        let gone = self.gone.capacity() * (size_of::<Key>() + 1);
        self.chunks.size() + numbers + gone + self.key_bytes
    }
}

impl Backward {
    /// Whether a row takes back the one that is there: the last one of its key in the batch, if there is one (or that was
    /// taken back), or else the one from before.
    fn is_of(&self, row: usize, in_batch: Option<Option<usize>>) -> bool {
        let taken = self.rows.row(row);
        match in_batch {
            Some(last) => last.is_some_and(|last| self.rows.row(last) == taken),
            None => {
                let place = self.places.get(&row).zip(self.before.as_ref());
                place.is_some_and(|(place, before)| before.row(*place) == taken)
            }
        }
    }
}
