//! What flows between operators, as timely sees it: a container that counts its rows.

use arrow::record_batch::RecordBatch;
use timely::Accountable;

use crate::backlog::Size;
use crate::control::Control;

/// One message on its way between two operators.
///
/// An operator with dead letters sends them down the same stream, marked: the operator that routes them takes these and
/// every other operator takes the rest. A plan has the former wherever there may be dead letters.
#[derive(Debug, Clone, Default)]
pub(crate) enum Rows {
    /// Nothing: the default that timely swaps in. It is never sent.
    #[default]
    Empty,
    /// A batch of rows.
    Batch(RecordBatch),
    /// A batch of dead letters.
    Rejected(RecordBatch),
    /// Groups that were made of rows before an exchange, on their way to the window behind it (`window/partial.rs`).
    Partial(RecordBatch),
    /// A remark about the rows behind it.
    Control(Control),
}

impl Rows {
    /// Wraps a batch. Operators never send batches without rows: the progress protocol counts rows, and a message that
    /// counts for nothing could outlive its epoch.
    pub(crate) fn new(batch: RecordBatch) -> Self {
        match batch.num_rows() {
            0 => Self::Empty,
            _ => Self::Batch(batch),
        }
    }

    /// Wraps a batch of dead letters.
    pub(crate) fn rejected(batch: RecordBatch) -> Self {
        match batch.num_rows() {
            0 => Self::Empty,
            _ => Self::Rejected(batch),
        }
    }

    /// Wraps groups.
    pub(crate) fn partial(groups: RecordBatch) -> Self {
        match groups.num_rows() {
            0 => Self::Empty,
            _ => Self::Partial(groups),
        }
    }

    /// How large the batch is.
    pub(crate) fn size(&self) -> Size {
        match self {
            Self::Batch(batch) | Self::Rejected(batch) | Self::Partial(batch) => Size::of(batch),
            Self::Empty | Self::Control(_) => Size::default(),
        }
    }

    /// Takes the rows out, unless they are dead letters.
    pub(crate) fn take(&mut self) -> Option<RecordBatch> {
        match std::mem::take(self) {
            Self::Batch(batch) => Some(batch),
            _ => None,
        }
    }

    /// Takes the rows out if they are dead letters.
    pub(crate) fn take_rejected(&mut self) -> Option<RecordBatch> {
        match std::mem::take(self) {
            Self::Rejected(batch) => Some(batch),
            _ => None,
        }
    }
}

impl Accountable for Rows {
    fn record_count(&self) -> i64 {
        match self {
            Self::Empty => 0,
            // a batch holds far fewer than 2^63 rows, so the conversion is exact
            Self::Batch(batch) | Self::Rejected(batch) | Self::Partial(batch) => {
                batch.num_rows() as i64
            }
            Self::Control(_) => 1,
        }
    }
}
