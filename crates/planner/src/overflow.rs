//! Integer arithmetic that fails where the result does not fit, as in PostgreSQL.
//!
//! DataFusion's wraps around: `n + 1` at the end of BIGINT is the least BIGINT, and nobody notices. Checked, it is bad
//! data of its row. Divisions, decimals and times are checked by DataFusion itself; floating point numbers become
//! infinite.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;

/// The same expression over the same input, with its integer arithmetic checked.
///
/// # Errors
/// None that an expression which was compiled could cause.
pub(crate) fn checked(
    expr: Arc<dyn PhysicalExpr>,
    input: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|expr| {
        let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
            return Ok(Transformed::no(expr));
        };
        if !is_integer_arithmetic(binary, input) {
            return Ok(Transformed::no(expr));
        }
        let (left, right) = (Arc::clone(binary.left()), Arc::clone(binary.right()));
        let checked = BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
    })
    .data()
}

/// The same query over one window, with the conditions of its joins checked. All else that it computes is columns.
///
/// # Errors
/// None that a query which was compiled could cause.
pub(crate) fn checked_joins(query: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    query
        .transform_up(|node| {
            let join = node.downcast_ref::<HashJoinExec>();
            let Some((join, filter)) = join.and_then(|join| Some((join, join.filter()?))) else {
                return Ok(Transformed::no(node));
            };
            let condition = checked(Arc::clone(filter.expression()), filter.schema())?;
            let columns = filter.column_indices().to_vec();
            let filter = JoinFilter::new(condition, columns, Arc::clone(filter.schema()));
            let checked = join.builder().with_filter(Some(filter)).build_exec()?;
            Ok(Transformed::yes(checked))
        })
        .data()
}

fn is_integer_arithmetic(binary: &BinaryExpr, input: &Schema) -> bool {
    // Within a lambda the columns are others than those of the input, and there is no type to be had.
    let integer = |expr: &Arc<dyn PhysicalExpr>| {
        expr.data_type(input)
            .is_ok_and(|data_type| data_type.is_integer())
    };
    let wraps = [Operator::Plus, Operator::Minus, Operator::Multiply];
    wraps.contains(binary.op()) && integer(binary.left()) && integer(binary.right())
}
