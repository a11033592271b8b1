//! Rows that stand in the query itself.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::source::DataSource as _;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;

use crate::error::PlanError;

/// The rows of a leaf that has them in itself: one without columns where there is no table, or those of `VALUES`.
pub(super) fn values(leaf: &Arc<dyn ExecutionPlan>) -> Result<Option<RecordBatch>, PlanError> {
    let schema = leaf.schema();
    let failed = |error: ArrowError| PlanError::new(error.to_string());
    if leaf.is::<PlaceholderRowExec>() && schema.fields().is_empty() {
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(schema, Vec::new(), &one);
        return row.map(Some).map_err(failed);
    }
    let Some(memory) = leaf
        .downcast_ref::<DataSourceExec>()
        .and_then(|leaf| leaf.data_source().downcast_ref::<MemorySourceConfig>())
        .filter(|memory| memory.fetch().is_none())
    else {
        return Ok(None);
    };
    let batches = memory.partitions().iter().flatten();
    let rows = concat_batches(&memory.original_schema(), batches).map_err(failed)?;
    match memory.projection() {
        Some(columns) => rows.project(columns).map(Some).map_err(failed),
        None => Ok(Some(rows)),
    }
}

/// Whether it is known of a query that it gives no rows: nothing makes rows of none.
pub(super) fn is_empty(query: &Arc<dyn ExecutionPlan>) -> bool {
    match query.children().as_slice() {
        [] => query.is::<EmptyExec>(),
        [child] => is_empty(child),
        _ => false,
    }
}
