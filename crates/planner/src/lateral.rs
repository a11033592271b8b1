//! `FROM t, unnest(t.items) AS i`: rows that are made of the row beside which they stand.
//!
//! DataFusion binds it as a join of `t` with a subquery that refers to `t`'s columns, which it could run only over a
//! table that ends. But such a subquery reads no table: each of its rows comes of one row of `t`. So its operators are
//! put on top of `t`, and carry `t`'s columns along:
//!
//! ```text
//! Join                                        Projection  t.*, element AS i.i
//!   t                                           Unnest    element
//!   SubqueryAlias i                    ═►         Projection  t.*, t.items AS element
//!     Subquery                                      t
//!       Projection  element AS i
//!         Unnest    element
//!           Projection  outer(t.items) AS element
//!             one empty row
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, JoinType, Result, TableReference, not_impl_err};
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, Unnest,
};

/// Replaces every join with a lateral subquery.
///
/// # Errors
/// A subquery that reads a table, or an outer join.
pub(crate) fn unfold(query: LogicalPlan) -> Result<LogicalPlan> {
    let replace = |plan| match plan {
        LogicalPlan::Join(join) if reads_nothing(&join.right) => {
            unfold_join(join).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    };
    query.transform_up(replace).data()
}

/// Whether a plan has one row, or what is made of it, and no table.
fn reads_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Subquery(subquery) => reads_nothing(&subquery.subquery),
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Unnest(_) => plan.inputs().into_iter().all(reads_nothing),
        _ => false,
    }
}

fn unfold_join(join: Join) -> Result<LogicalPlan> {
    if join.join_type != JoinType::Inner {
        return not_impl_err!("an outer join with unnest; write CROSS JOIN");
    }
    let left = Left {
        columns: join.left.schema().iter().map(Column::from).collect(),
        plan: join.left,
    };
    let mut plan = left.below(&join.right, None)?;
    let equal = join.on.into_iter().map(|(one, other)| one.eq(other));
    for condition in equal.chain(join.filter) {
        plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
    }
    Ok(plan)
}

/// The rows beside which the subquery stands.
struct Left {
    plan: Arc<LogicalPlan>,
    columns: Vec<Column>,
}

impl Left {
    /// The operators of a subquery on top of these rows; their last columns become those of `relation`, if it is given.
    fn below(&self, plan: &LogicalPlan, relation: Option<&TableReference>) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::EmptyRelation(_) => Ok(self.plan.as_ref().clone()),
            LogicalPlan::Subquery(subquery) => self.below(&subquery.subquery, relation),
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
                self.below(input, Some(relation.unwrap_or(alias)))
            }
            LogicalPlan::Projection(projection) => self.projection(projection, relation),
            LogicalPlan::Filter(filter) if relation.is_none() => {
                let input = self.below(&filter.input, None)?;
                let predicate = own_columns(filter.predicate.clone())?;
                let filter = Filter::try_new(predicate, Arc::new(input))?;
                Ok(LogicalPlan::Filter(filter))
            }
            LogicalPlan::Unnest(unnest) if relation.is_none() => {
                let input = Arc::new(self.below(&unnest.input, None)?);
                let columns = unnest.exec_columns.clone();
                let unnest = Unnest::try_new(input, columns, unnest.options.clone())?;
                Ok(LogicalPlan::Unnest(unnest))
            }
            other => {
                let name = relation.map(ToString::to_string).unwrap_or_default();
                not_impl_err!("the lateral subquery '{name}' ({})", other.display())
            }
        }
    }

    fn projection(
        &self,
        projection: &Projection,
        relation: Option<&TableReference>,
    ) -> Result<LogicalPlan> {
        let input = self.below(&projection.input, None)?;
        let names = NamePreserver::new_for_projection();
        let own = projection.expr.iter().map(|expr| {
            let name = names.save(expr);
            let expr = name.restore(own_columns(expr.clone())?);
            Ok(match relation {
                Some(relation) => of_relation(expr, relation),
                None => expr,
            })
        });
        let carried = self.columns.iter().cloned().map(Expr::Column);
        let exprs = carried.map(Ok).chain(own).collect::<Result<Vec<_>>>()?;
        LogicalPlanBuilder::from(input).project(exprs)?.build()
    }
}

/// An expression in which columns of the outer query are columns of its input.
fn own_columns(expr: Expr) -> Result<Expr> {
    let own = |expr| match expr {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    };
    expr.transform(own).data()
}

/// An expression as a column of a relation.
fn of_relation(expr: Expr, relation: &TableReference) -> Expr {
    match expr {
        Expr::Alias(alias) => Expr::Alias(Alias {
            relation: Some(relation.clone()),
            ..alias
        }),
        other => {
            let (_, name) = other.qualified_name();
            other.alias_qualified(Some(relation.clone()), name)
        }
    }
}
