//! Rows that are part of a query: `VALUES`, and what views, memory tables and expressions make of them.
//!
//! As a side of a join they are no stream that ends: whoever writes down what belongs to a key means it for all time. So they
//! are computed when the query is planned, and looked up. Memory: at most [`MOST_BYTES`], or the query is refused.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::window::window_call;
use crate::error::PlanError;

/// How much the rows of one side of a join may take: what is more should not be in a query.
const MOST_BYTES: usize = 16 << 20;

/// Whether a plan reads no table, and gives the same rows whenever it is computed.
pub(crate) fn is_constant(plan: &LogicalPlan) -> Result<bool> {
    let varies = plan.exists(|node| {
        let reads = matches!(
            node,
            LogicalPlan::TableScan(_) | LogicalPlan::Extension(_) | LogicalPlan::RecursiveQuery(_)
        );
        Ok(reads || node.expressions().iter().any(varies))
    });
    varies.map(|varies| !varies)
}

/// Whether an expression may have another value next time, reads something, or cannot be computed for rows by themselves.
fn varies(expr: &Expr) -> bool {
    let varies = expr.exists(|part| {
        Ok(match part {
            Expr::ScalarFunction(call) => {
                call.func.signature().volatility != Volatility::Immutable
                    || window_call(part).is_some()
            }
            Expr::ScalarSubquery(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::ScalarVariable(..)
            | Expr::Placeholder(_) => true,
            _ => false,
        })
    });
    varies.unwrap_or(true)
}

/// The rows of such a plan. Their columns are called by their numbers, as the plan's may be called alike.
///
/// # Errors
/// A value that cannot be computed, and too many of them.
pub(crate) async fn rows_of(plan: &LogicalPlan, session: &dyn Session) -> Result<RecordBatch> {
    let query = session.create_physical_plan(plan).await?;
    let mut running = execute_stream(query, session.task_ctx())?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(some) = running.next().await.transpose()? {
        bytes += some.get_array_memory_size();
        if bytes > MOST_BYTES {
            return Err(too_many().into());
        }
        rows.push(some);
    }
    let rows = concat_batches(plan.schema().inner(), &rows)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = numbered(rows.schema().as_ref());
    RecordBatch::try_new_with_options(schema, rows.columns().to_vec(), &options)
        .map_err(DataFusionError::from)
}

fn too_many() -> PlanError {
    let most = MOST_BYTES >> 20;
    PlanError::new(format!("the values with which a stream is joined take more than {most} MiB"))
        .about("JOIN")
        .hint("put them into a file, and declare a lookup table of it: connector = 'single_file', type = 'lookup'")
}

fn numbered(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(index, field)| {
        Field::new(
            index.to_string(),
            field.data_type().clone(),
            field.is_nullable(),
        )
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
