//! State on its way to the disk and back: rows, and a word on what they are.
//!
//! Rows that stay as they are from one checkpoint to the next are written once: whoever hands them over again gives them
//! the same [`Kept`], in which it is noted where they lie. What is left out of a checkpoint is deleted with it, so it may not
//! come again in a later one.

use arrow::array::RecordBatchOptions;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_datafusion_err};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, OnceLock};

use crate::backlog::Size;
use crate::spool::Spilled;

/// A piece of the state of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// What the rows are, as JSON that the operator alone understands.
    about: String,
    pub(crate) rows: RecordBatch,
    pub(crate) kept: Kept,
    /// Where the rows are, if they are not here.
    pub(crate) spilled: Option<Spilled>,
}

/// Where rows lie on the disk, once they do: one and the same for all clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<OnceLock<i64>>);

impl Kept {
    /// The number of their row.
    pub(super) fn place(&self) -> Option<i64> {
        self.0.get().copied()
    }

    /// Whether they are there.
    pub(super) fn is_on_disk(&self) -> bool {
        self.place().is_some()
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
        Ok(Self {
            about,
            rows,
            kept: Kept::default(),
            spilled: None,
        })
    }

    /// A part whose rows are in a file.
    pub(crate) fn spilled(about: &impl Serialize, rows: Spilled) -> Result<Self> {
        Ok(Self {
            spilled: Some(rows),
            ..Self::word(about)?
        })
    }

    /// Whether there are no rows.
    pub(crate) fn is_word(&self) -> bool {
        self.rows.num_columns() == 0 && self.spilled.is_none()
    }

    /// With its rows here.
    pub(super) fn loaded(&self) -> Result<Self> {
        let rows = self.spilled.as_ref().map(Spilled::rows).transpose()?;
        let rows = rows.unwrap_or_else(|| self.rows.clone());
        Ok(Self {
            rows,
            spilled: None,
            ..self.clone()
        })
    }

    /// How much they take, here or in the file.
    pub(super) fn bytes(&self) -> u64 {
        match &self.spilled {
            Some(rows) => rows.bytes(),
            None => Size::of(&self.rows).bytes,
        }
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

    /// The same of other rows, which are put where the others are.
    pub(super) fn with(&self, rows: RecordBatch) -> Result<Self> {
        let about = self.about.clone();
        let part = Self::word(&())?;
        Ok(match &self.spilled {
            Some(whole) => Self {
                about,
                spilled: Some(whole.beside(&rows)?),
                ..part
            },
            None => Self {
                about,
                rows,
                ..part
            },
        })
    }

    /// What the rows are.
    ///
    /// # Errors
    /// If another operator, or another version of this one, has written it.
    pub(crate) fn about<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.about)
            .map_err(|error| internal_datafusion_err!("'{}' is no state: {error}", self.about))
    }

    /// A part that an earlier checkpoint has written.
    pub(super) fn stored(about: String, place: i64, rows: RecordBatch) -> Self {
        let kept = Kept::default();
        kept.at(place);
        Self {
            about,
            rows,
            kept,
            spilled: None,
        }
    }

    /// The same, with its rows in a file.
    pub(super) fn stored_in_file(about: String, place: i64, rows: Spilled) -> Self {
        let spilled = Some(rows);
        let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
        Self {
            spilled,
            ..Self::stored(about, place, none)
        }
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

#[cfg(test)]
#[allow(clippy::expect_used, reason = "for tests")]
pub(crate) mod disk;

/// A part as it comes back from the disk.
#[cfg(test)]
pub(crate) fn stored_again(part: &Part) -> Part {
    let part = part.loaded().expect("files can be read");
    let bytes = crate::ipc::encode(&part.rows).expect("rows can be encoded");
    let rows = crate::ipc::decode(&bytes).expect("what was encoded can be decoded");
    Part::stored(part.about, 0, rows)
}

/// Notes that the rows of a part are on the disk; false if they were already.
#[cfg(test)]
pub(crate) fn is_written(part: &Part) -> bool {
    let is_new = !part.kept.is_on_disk();
    part.kept.at(0);
    is_new
}
