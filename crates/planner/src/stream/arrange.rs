//! Conditions of joins, moved to where they do most: `FROM a, b WHERE a.k = b.k` has its keys, and rows that are not wanted
//! are dropped before they are kept or looked up.
//!
//! DataFusion has a rule for it, which it applies after queries have been lowered. By then the joins are nodes of our own,
//! past which it moves nothing, so the rule is applied here to filters above joins, and only to those: one above an
//! aggregate stays where it is, because what is grouped by a window is not yet understood.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerContext, OptimizerRule};

use super::lookup;
use super::node::{Kind, StreamNode};

/// Makes `WHERE` above an inner join with a lookup table or with values, as of `FROM stream, table`, a part of the join's
/// condition. What speaks of the left side alone goes to that side, which may be such a join, too.
pub(super) fn with_conditions(query: LogicalPlan) -> Result<LogicalPlan> {
    let arranged = query.transform_down(|node| match node {
        LogicalPlan::Filter(filter) => match filter.input.as_ref() {
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner && looks_up(join)? => {
                let join = join.clone();
                joined(filter.predicate, join).map(Transformed::yes)
            }
            _ => Ok(Transformed::no(LogicalPlan::Filter(filter))),
        },
        node => Ok(Transformed::no(node)),
    });
    arranged.map(|arranged| arranged.data)
}

fn looks_up(join: &Join) -> Result<bool> {
    Ok(lookup::table(&join.right)?.is_some() || lookup::table(&join.left)?.is_some())
}

fn joined(predicate: Expr, mut join: Join) -> Result<LogicalPlan> {
    let left = Arc::clone(join.left.schema());
    let (below, beside): (Vec<_>, Vec<_>) = split_conjunction_owned(predicate)
        .into_iter()
        .partition(|part| speaks_only_of(part, &left));
    if let Some(below) = conjunction(below) {
        join.left = Arc::new(LogicalPlan::Filter(Filter::try_new(below, join.left)?));
    }
    join.filter = conjunction(join.filter.into_iter().chain(beside));
    Ok(LogicalPlan::Join(join))
}

fn speaks_only_of(part: &Expr, schema: &DFSchema) -> bool {
    let columns = part.column_refs();
    !part.is_volatile() && columns.iter().all(|column| schema.has_column(column))
}

/// Moves conditions above joins of streams into the joins, and below them.
pub(super) fn pushed_down(query: LogicalPlan) -> Result<LogicalPlan> {
    let (rule, context) = (PushDownFilter::new(), OptimizerContext::new());
    let arranged = query.transform_down(|node| match &node {
        LogicalPlan::Join(_) => rule.rewrite(node, &context),
        LogicalPlan::Filter(filter) if leads_to_join(&filter.input) => rule.rewrite(node, &context),
        _ => Ok(Transformed::no(node)),
    });
    arranged.map(|arranged| arranged.data)
}

/// Whether there is a join below, with nothing between that keeps state.
fn leads_to_join(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(_) => true,
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => {
            leads_to_join(plan.inputs()[0])
        }
        LogicalPlan::Extension(_) => StreamNode::of(plan).is_some_and(|node| {
            match &node.kind {
                // past the node that it will be nothing is moved
                Kind::Lookup(lookup) if lookup.is_in_memory() => true,
                Kind::Lookup(_) => leads_to_join(&node.inputs[0]),
                _ => false,
            }
        }),
        _ => false,
    }
}
