//! The order in which streams are joined: as they are written, if each of them is equal in something to those before it.
//!
//! In `FROM a, b, c WHERE a.k = c.k AND b.j = c.j` the first two have nothing in common, and every row of one would meet
//! every row of the other. DataFusion has a rule that looks for another order. It begins with the first table, takes the next
//! that has an equality, and leaves a cross join only where no order is without one; the columns of the join stay in theirs.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::utils::{find_valid_equijoin_key_pair, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{OptimizerContext, OptimizerRule};

/// Puts the streams of inner joins in another order where they cannot be joined in the one that is written.
pub(super) fn in_order(query: LogicalPlan) -> Result<LogicalPlan> {
    let context = OptimizerContext::new();
    let keyed = |node| match node {
        LogicalPlan::Join(_) => ExtractEquijoinPredicate::new().rewrite(node, &context),
        node => Ok(Transformed::no(node)),
    };
    let ordered = query.transform_down(|node| {
        let mut equalities = Vec::new();
        let joins = match &node {
            LogicalPlan::Filter(filter) => {
                equalities.extend(equal_parts(&filter.predicate));
                inner(&filter.input)
            }
            node => inner(node),
        };
        let Some(joins) = joins else {
            return Ok(Transformed::no(node));
        };
        collect(joins, &mut equalities);
        if is_joined(joins, &equalities)? {
            return Ok(Transformed::no(node));
        }
        EliminateCrossJoin::new().rewrite(node.transform_up(keyed)?.data, &context)
    });
    ordered.data()
}

fn inner(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Some(join),
        _ => None,
    }
}

/// What must be equal for a condition to be true.
fn equal_parts(condition: &Expr) -> impl Iterator<Item = (&Expr, &Expr)> {
    let parts = split_conjunction(condition).into_iter();
    parts.filter_map(|part| match part {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => Some((left.as_ref(), right.as_ref())),
        _ => None,
    })
}

/// What must be equal in a join and the inner joins that it consists of.
fn collect<'a>(join: &'a Join, equalities: &mut Vec<(&'a Expr, &'a Expr)>) {
    equalities.extend(join.on.iter().map(|(left, right)| (left, right)));
    equalities.extend(join.filter.iter().flat_map(equal_parts));
    for side in [&join.left, &join.right] {
        if let Some(join) = inner(side) {
            collect(join, equalities);
        }
    }
}

/// Whether something is equal on both sides of a join, and of all the inner joins that it consists of.
fn is_joined(join: &Join, equalities: &[(&Expr, &Expr)]) -> Result<bool> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let mut found = false;
    for (one, other) in equalities {
        found |= find_valid_equijoin_key_pair(one, other, left, right)?.is_some();
    }
    for side in [&join.left, &join.right] {
        if let Some(join) = inner(side) {
            found &= is_joined(join, equalities)?;
        }
    }
    Ok(found)
}
