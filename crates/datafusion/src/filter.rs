//! `WHERE` within the scan.
//!
//! DataFusion's own filter gathers rows into full batches before it gives any on, and does not let go of them while its
//! input is merely pending: at a thousand messages a second the first row comes out after eight seconds. So the scan
//! takes every condition over its columns and gives on what is left of each batch at once.

use std::sync::Arc;

use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;

/// Whether the scan can evaluate a condition: not if it needs another query.
pub(crate) fn support(filter: &Expr) -> Result<TableProviderFilterPushDown> {
    let beyond = filter.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })?;
    Ok(match beyond {
        true => TableProviderFilterPushDown::Unsupported,
        false => TableProviderFilterPushDown::Exact,
    })
}

/// All conditions as one expression over the columns of the table.
pub(crate) fn compile(
    session: &dyn Session,
    filters: &[Expr],
    schema: &SchemaRef,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let Some(all) = conjunction(filters.iter().cloned()) else {
        return Ok(None);
    };
    let columns = DFSchema::try_from(Arc::clone(schema))?;
    session.create_physical_expr(all, &columns).map(Some)
}

/// The rows for which the condition is true.
pub(crate) fn keep(filter: &dyn PhysicalExpr, rows: &RecordBatch) -> Result<RecordBatch> {
    let kept = filter.evaluate(rows)?.into_array(rows.num_rows())?;
    Ok(filter_record_batch(rows, as_boolean_array(&kept)?)?)
}
