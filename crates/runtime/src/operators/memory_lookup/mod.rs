//! Looks rows of a stream up in a memory table, which keeps the last row of each key that is written to it.
//!
//! ```text
//!  stream ──► keys ──► (waiting, while the table is read) ──► the row of the key, as it is now ──► out
//!  table  ──► keys ──► takes the place of the row that was there, or takes it back
//! ```
//!
//! Input: 0 is the stream, 1 what is written to the table, with `change` rows that take others back. Output: of each row of
//! the stream, in their order, one row or none; at once. Columns: those of the stream, of the table, the stream's event time.
//! What is said about time on the table's side is nothing to the result.
//! Keys: null is equal to nothing. A row that takes back another than the one that is there leaves it be.
//! Waiting: where all that writes the table ends, rows of the stream wait until it has, so that answers do not depend on how fast
//! each side is read. They are state like the table: acknowledged, and part of checkpoints. Their sources are not read
//! meanwhile ([`Gate`](crate::gate::Gate)), except those that the tables themselves need.
//! Memory: a row for each key, and as many again, and a chunk, whose place others have taken; what waits. Checkpoints: rows in
//! chunks, each written once; keys that are gone whole. Errors: an `ON` of a `LEFT JOIN` that fails on a pair.

mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use headwater_planner::plan;
use serde::{Deserialize, Serialize};

use self::table::Table;
use crate::backlog::Size;
use crate::durable::part::{Kept, Part};
use crate::operators::lookup::{Joining, Keys};
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{Held, Stateful};

/// The input that is the table's.
const TABLE: usize = 1;

/// The machine.
pub(crate) struct MemoryLookup {
    lookup: Arc<plan::MemoryLookup>,
    keys: Keys,
    table: Table,
    /// Whether all that writes the table has ended, if it does.
    is_whole: bool,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Of what it puts out.
    schema: SchemaRef,
}

/// Rows of the stream that have not been looked up.
struct Waiting {
    rows: RecordBatch,
    bytes: usize,
    kept: Kept,
}

/// What a part of a checkpoint is.
#[derive(Debug, Serialize, Deserialize)]
enum About {
    /// Rows of the table.
    Rows,
    /// Keys of the table that have no row any more.
    Gone,
    /// Rows of the stream that wait.
    Waiting,
}

impl MemoryLookup {
    pub(crate) fn new(lookup: &Arc<plan::MemoryLookup>, context: &MachineContext) -> Result<Self> {
        Ok(Self {
            keys: Keys::new(&lookup.pairing, &lookup.schema)?,
            table: Table::new(&lookup.schema, &lookup.pairing.columns, lookup.change)?,
            is_whole: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            schema: Arc::clone(&context.output),
            lookup: Arc::clone(lookup),
        })
    }

    /// The rows of the join that come of rows of the stream.
    fn joined(&self, rows: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut keyed = self.keys.of(rows)?;
        let asked = keyed.keys.take();
        let found = asked.map(|keys| self.table.find(&keys)).transpose()?;
        let mut joining = Joining::new(&mut keyed, found.map(Arc::new));
        let mut pieces = Vec::new();
        while let Some(piece) = joining.piece(&self.lookup.pairing, &self.schema)? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn wait(&mut self, rows: RecordBatch, kept: Kept) {
        let bytes = Size::of(&rows).bytes as usize;
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { rows, bytes, kept });
    }
}

impl Stateful for MemoryLookup {
    fn rows(&mut self, input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        if input == TABLE {
            self.table.take(&rows)?;
            return Ok(Vec::new());
        }
        if self.is_waiting() || !self.waiting.is_empty() {
            self.wait(rows, Kept::default());
            return Ok(Vec::new());
        }
        self.joined(&rows)
    }

    fn is_due(&self) -> bool {
        !self.is_waiting() && !self.waiting.is_empty()
    }

    fn advance(&mut self, _watermark: i64) -> Result<()> {
        Ok(())
    }

    fn ended(&mut self, input: usize) -> Result<()> {
        self.is_whole |= input == TABLE;
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        self.lookup.waits && !self.is_whole
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        while self.is_due()
            && let Some(Waiting { rows, bytes, .. }) = self.waiting.pop_front()
        {
            self.waiting_bytes -= bytes;
            let pieces = self.joined(&rows)?;
            if !pieces.is_empty() {
                return Ok(Some(arrow::compute::concat_batches(&self.schema, &pieces)?));
            }
        }
        Ok(None)
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let rows = self.table.rows();
        let rows = rows.map(|(rows, kept)| Ok(Part::new(&About::Rows, rows.clone())?.of(kept)));
        let gone = self.table.gone()?;
        let gone = gone.map(|keys| Part::new(&About::Gone, keys));
        let waiting = self
            .waiting
            .iter()
            .map(|waiting| Ok(Part::new(&About::Waiting, waiting.rows.clone())?.of(&waiting.kept)));
        rows.chain(gone).chain(waiting).collect()
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        for part in parts {
            match part.about()? {
                About::Rows => self.table.take_again(part.rows, &part.kept)?,
                About::Gone => self.table.forget(&part.rows)?,
                About::Waiting => self.wait(part.rows, part.kept),
            }
        }
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        Ok(match part.about()? {
            About::Rows => Held::Keyed(self.table.keys_of(&part.rows)),
            About::Gone => Held::Keyed(part.rows.columns().to_vec()),
            About::Waiting if part.rows.num_columns() == 0 => {
                return internal_err!("rows that wait have lost their columns");
            }
            About::Waiting => Held::Input(0),
        })
    }

    fn size(&self) -> usize {
        self.table.size() + self.waiting_bytes
    }
}
