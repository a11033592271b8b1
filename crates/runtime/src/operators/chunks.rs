//! Rows that are kept and found by their numbers, which they get as they come.
//!
//! Columns are kept in chunks. Batches that are small are put together, so that a slow stream does not make a chunk of every
//! row; otherwise a chunk stays as it is, so a checkpoint writes those alone that have come since the last one. Memory: a chunk
//! is freed when all its rows are too old, or when whoever keeps the numbers builds everything anew.

use std::ops::Range;

use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};

use crate::backlog::Size;
use crate::durable::part::Kept;

/// Chunks are put together up to this many rows.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Stands for no chunk.
const NONE: usize = usize::MAX;

/// The rows.
pub(crate) struct Chunks {
    /// The columns that are read.
    read: Vec<usize>,
    chunks: Vec<Chunk>,
    /// The number of the next row.
    next: usize,
    /// The rows of chunks that were freed.
    freed: usize,
    /// What the chunks take.
    bytes: usize,
}

/// Rows that follow each other.
struct Chunk {
    first: usize,
    count: usize,
    latest: i64,
    bytes: usize,
    /// `None` once they are freed.
    rows: Option<RecordBatch>,
    kept: Kept,
}

/// The rows of a chunk that were not freed.
pub(crate) struct Stored<'a> {
    pub(crate) numbers: Range<usize>,
    pub(crate) rows: &'a RecordBatch,
    pub(crate) kept: &'a Kept,
}

impl Chunks {
    /// Without a row; of those that come these columns are read.
    pub(crate) fn new(read: Vec<usize>) -> Self {
        Self {
            read,
            chunks: Vec::new(),
            next: 0,
            freed: 0,
            bytes: 0,
        }
    }

    /// The same without a row.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.read.clone())
    }

    /// The columns of rows that are read.
    pub(crate) fn read(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(rows.project(&self.read)?)
    }

    /// Adds rows, of which the latest has this event time, together with small chunks before them. As both are of similar
    /// size, a row is copied few times. The number of the first.
    pub(crate) fn push(&mut self, rows: RecordBatch, latest: i64) -> Result<usize> {
        self.push_again(rows, latest, &Kept::default())
    }

    /// The same of rows that may have been a chunk before.
    pub(crate) fn push_again(
        &mut self,
        rows: RecordBatch,
        latest: i64,
        kept: &Kept,
    ) -> Result<usize> {
        let (first, count) = (self.next, rows.num_rows());
        self.next += count;
        let mut chunk = Chunk {
            first,
            count,
            latest,
            bytes: 0,
            rows: Some(rows),
            kept: kept.clone(),
        };
        while let Some(rows) = &chunk.rows
            && let Some(before) = self.chunks.pop_if(|before| before.joins(&chunk))
        {
            self.bytes -= before.bytes;
            let both = before.rows.iter().chain([rows]);
            chunk = Chunk {
                first: before.first,
                count: before.count + chunk.count,
                latest: before.latest.max(chunk.latest),
                rows: Some(concat_batches(&rows.schema(), both)?),
                bytes: 0,
                kept: Kept::default(),
            };
        }
        let size = |rows: &RecordBatch| Size::of(rows).bytes as usize;
        chunk.bytes = chunk.rows.as_ref().map_or(0, size);
        self.bytes += chunk.bytes;
        self.chunks.push(chunk);
        Ok(first)
    }

    /// What is read of rows by their numbers, of which there is one at least.
    pub(crate) fn rows(&self, numbers: &[usize]) -> Result<RecordBatch> {
        self.gathered(numbers, |rows| self.read(rows))
    }

    /// All columns of rows by their numbers, likewise.
    pub(crate) fn whole(&self, numbers: &[usize]) -> Result<RecordBatch> {
        self.gathered(numbers, |rows| Ok(rows.clone()))
    }

    fn gathered(
        &self,
        numbers: &[usize],
        columns: impl Fn(&RecordBatch) -> Result<RecordBatch>,
    ) -> Result<RecordBatch> {
        let mut chunks = Vec::new();
        let mut positions = vec![NONE; self.chunks.len()];
        let mut indices = Vec::with_capacity(numbers.len());
        // mostly the next row is of the same chunk
        let (mut chunk, mut own) = (0, 0..0);
        for number in numbers {
            if !own.contains(number) {
                chunk = self.chunks.partition_point(|chunk| chunk.first <= *number) - 1;
                own = self.chunks[chunk].numbers();
            }
            if positions[chunk] == NONE {
                let Some(rows) = &self.chunks[chunk].rows else {
                    return internal_err!("a row that was dropped is looked for");
                };
                positions[chunk] = chunks.len();
                chunks.push(columns(rows)?);
            }
            indices.push((positions[chunk], number - own.start));
        }
        let chunks: Vec<_> = chunks.iter().collect();
        Ok(interleave_record_batch(&chunks, &indices)?)
    }

    /// Frees the chunks of which all rows have an earlier event time.
    pub(crate) fn drop_before(&mut self, earliest: i64) {
        for chunk in &mut self.chunks {
            if chunk.latest < earliest && chunk.rows.take().is_some() {
                self.freed += chunk.count;
                self.bytes -= chunk.bytes;
            }
        }
    }

    /// The rows that were not freed.
    pub(crate) fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        let chunks = self.chunks.iter();
        chunks.filter_map(|chunk| {
            Some(Stored {
                numbers: chunk.numbers(),
                rows: chunk.rows.as_ref()?,
                kept: &chunk.kept,
            })
        })
    }

    /// How many rows there have been.
    pub(crate) fn count(&self) -> usize {
        self.next
    }

    /// How many rows were freed.
    pub(crate) fn freed(&self) -> usize {
        self.freed
    }

    /// What it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }
}

impl Chunk {
    fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Whether it is put together with the one behind it.
    fn joins(&self, next: &Self) -> bool {
        self.rows.is_some() && self.count <= next.count && self.count + next.count <= CHUNK_ROWS
    }
}
