//! State on its way to the disk and back: rows, and a word on what they are.
//!
//! Rows that stay as they are from one checkpoint to the next are written once: whoever hands them over again gives them
//! the same [`Kept`], in which it is noted where they lie. What is left out of a checkpoint is deleted with it, so it may not
//! come again in a later one.

use arrow::array::RecordBatchOptions;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_datafusion_err};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, OnceLock};

use crate::ipc::decode;

/// A piece of the state of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// What the rows are, as JSON that the operator alone understands.
    about: String,
    pub(crate) rows: RecordBatch,
    pub(crate) kept: Kept,
}

/// Where rows lie on the disk, once they do: one and the same for all clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<OnceLock<i64>>);

impl Kept {
    /// The number of their row.
    pub(super) fn place(&self) -> Option<i64> {
        self.0.get().copied()
    }

    /// Notes that they are there for good.
    pub(super) fn at(&self, place: i64) {
        // who notes it twice has written it twice, and one is as good as the other until it is deleted
        self.0.set(place).ok();
    }
}

impl Part {
    pub(crate) fn new(about: &impl Serialize, rows: RecordBatch) -> Result<Self> {
        let about = serde_json::to_string(about);
        let about = about.map_err(|error| internal_datafusion_err!("state: {error}"))?;
        let kept = Kept::default();
        Ok(Self { about, rows, kept })
    }

    /// The same, of rows that come again.
    pub(crate) fn of(self, kept: &Kept) -> Self {
        let kept = kept.clone();
        Self { kept, ..self }
    }

    /// A part that is only a word.
    pub(crate) fn word(about: &impl Serialize) -> Result<Self> {
        Self::new(about, RecordBatch::new_empty(Arc::new(Schema::empty())))
    }

    /// The same of other rows.
    pub(super) fn with(&self, rows: RecordBatch) -> Self {
        Self {
            about: self.about.clone(),
            rows,
            kept: Kept::default(),
        }
    }

    /// What the rows are.
    ///
    /// # Errors
    /// If another operator, or another version of this one, has written it.
    pub(crate) fn about<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.about)
            .map_err(|error| internal_datafusion_err!("'{}' is no state: {error}", self.about))
    }

    pub(super) fn stored(about: String, place: i64, rows: &[u8]) -> Result<Self, ArrowError> {
        let kept = Kept::default();
        kept.at(place);
        let rows = decode(rows)?;
        Ok(Self { about, rows, kept })
    }

    pub(super) fn text(&self) -> &str {
        &self.about
    }
}

/// Columns without names, as many rows as there are even without a column.
pub(crate) fn columns(columns: Vec<arrow::array::ArrayRef>, count: usize) -> Result<RecordBatch> {
    let field = |(index, column): (usize, &arrow::array::ArrayRef)| {
        arrow::datatypes::Field::new(index.to_string(), column.data_type().clone(), true)
    };
    let fields: Vec<_> = columns.iter().enumerate().map(field).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// A part as it comes back from the disk.
#[cfg(test)]
pub(crate) fn stored_again(part: &Part) -> Part {
    let bytes = crate::ipc::encode(&part.rows).expect("rows can be encoded");
    Part::stored(part.about.clone(), 0, &bytes).expect("what was encoded can be decoded")
}
