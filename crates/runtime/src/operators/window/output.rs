//! Makes rows of windows that have ended.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};

/// The columns that are put out.
#[derive(Clone)]
pub(super) struct Output {
    schema: SchemaRef,
    /// Those of the window, if it is put out.
    bounds: Option<Fields>,
}

impl Output {
    pub(super) fn new(schema: &SchemaRef, has_window: bool) -> Result<Self> {
        let bounds = match (has_window, schema.field(0).data_type()) {
            (false, _) => None,
            (true, DataType::Struct(bounds)) => Some(bounds.clone()),
            (true, other) => return internal_err!("a window is no {other}"),
        };
        Ok(Self {
            schema: Arc::clone(schema),
            bounds,
        })
    }

    /// How many columns come before the keys.
    pub(super) fn keys_begin(&self) -> usize {
        usize::from(self.bounds.is_some())
    }

    /// The rows of some windows, one each, with their starts and ends.
    pub(super) fn rows(
        &self,
        (starts, ends): (Vec<i64>, Vec<i64>),
        keys: Vec<ArrayRef>,
        results: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        // the end of time is no row's, so that there is a nanosecond before
        let times = ends.iter().map(|end| end.saturating_sub(1));
        let times = Arc::new(TimestampNanosecondArray::from_iter_values(times));
        if let Some(bounds) = &self.bounds {
            let bound = |times| Arc::new(TimestampNanosecondArray::new(times, None)) as ArrayRef;
            let values = vec![bound(starts.into()), bound(ends.into())];
            columns.push(Arc::new(StructArray::try_new(
                bounds.clone(),
                values,
                None,
            )?));
        }
        columns.extend(keys);
        columns.extend(results);
        columns.push(times);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// No rows.
    pub(super) fn nothing(&self) -> RecordBatch {
        RecordBatch::new_empty(Arc::clone(&self.schema))
    }
}
