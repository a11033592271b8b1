//! Conditions that must stay where they stand.

use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, lit};

use super::node::time_of;

/// A filter over a stream. A condition that looks at no column (`random() > 0.5`) is told to look at the time, too: DataFusion
/// would move it below our nodes, which hold back only what looks at their columns, and rows would be counted that were to be
/// dropped after counting.
pub(super) fn pinned(plan: LogicalPlan, input: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Filter(filter) = plan else {
        return plan.with_new_exprs(plan.expressions(), vec![input]);
    };
    let time = time_of(&input)?;
    let conditions = split_conjunction_owned(filter.predicate).into_iter();
    let conditions = conditions.map(|condition| {
        match condition.is_volatile() && condition.column_refs().is_empty() {
            true => condition.or(never(&time)),
            false => condition,
        }
    });
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    Filter::try_new(predicate, input.into()).map(LogicalPlan::Filter)
}

/// What is false of every row, and not known to be.
fn never(time: &Column) -> Expr {
    let earliest = ScalarValue::TimestampNanosecond(Some(i64::MIN), None);
    Expr::Column(time.clone()).lt(lit(earliest))
}
