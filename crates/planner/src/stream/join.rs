//! Joins of two streams: those of windows become a query over each window, others meet within a time to live.

use std::sync::Arc;

use datafusion::common::{Column, JoinType, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::utils::{find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection};

use super::instant::{InstantLeaf, over_instants};
use super::lower::{Lowering, Stream, refuse, refuse_window};
use super::node::{Kind, StreamNode, columns, time_of};
use super::updating::refuse_changes;
use crate::error::PlanError;
use crate::plan::TIME;

/// What the time of the right side is called within a join.
const RIGHT_TIME: &str = "_timestamp_right";

impl Lowering {
    pub(super) fn join(&self, join: Join) -> Result<Stream> {
        let sides = [Arc::clone(&join.left), Arc::clone(&join.right)];
        let [left, right] = sides.map(|side| self.timed(Arc::unwrap_or_clone(side)));
        let sides = Sides {
            left: left?,
            right: right?,
        };
        refuse_changes(&sides.left, "a join", "JOIN")?;
        refuse_changes(&sides.right, "a join", "JOIN")?;
        let mut condition = Condition::of(&join)?;
        condition.rest.iter().try_for_each(refuse_window)?;
        if condition.keys.is_empty() {
            return Err(no_keys().into());
        }
        match (sides.left.has_windows(), sides.right.has_windows()) {
            (true, true) => sides.by_window(join, &condition),
            (false, false) => {
                let rest = std::mem::take(&mut condition.rest);
                sides.within_ttl(&join, condition, rest, self)
            }
            _ => Err(mixed().into()),
        }
    }
}

/// The two streams that are joined.
struct Sides {
    left: Stream,
    right: Stream,
}

/// When two rows belong together.
pub(super) struct Condition {
    /// What must be equal, of the left and of the right.
    pub(super) keys: Vec<(Expr, Expr)>,
    /// What must be true beside.
    pub(super) rest: Vec<Expr>,
}

impl Condition {
    pub(super) fn of(join: &Join) -> Result<Self> {
        let mut condition = Self {
            keys: join.on.clone(),
            rest: Vec::new(),
        };
        let (left, right) = (join.left.schema(), join.right.schema());
        for part in join
            .filter
            .clone()
            .map(split_conjunction_owned)
            .into_iter()
            .flatten()
        {
            let equal = match &part {
                Expr::BinaryExpr(BinaryExpr {
                    left: one,
                    op: Operator::Eq,
                    right: other,
                }) => find_valid_equijoin_key_pair(one, other, left, right)?,
                _ => None,
            };
            match equal {
                Some(equal) => condition.keys.push(equal),
                None => condition.rest.push(part),
            }
        }
        Ok(condition)
    }

    fn has_windows(&self, sides: &Sides) -> bool {
        let both = |(left, right): &(Expr, Expr)| {
            sides.left.is_window(left) && sides.right.is_window(right)
        };
        self.keys.iter().any(both)
    }
}

impl Sides {
    /// A query over the rows of both sides that are of one window.
    fn by_window(self, join: Join, condition: &Condition) -> Result<Stream> {
        if !condition.has_windows(&self) {
            return Err(other_windows().into());
        }
        let windows = self.windows(join.join_type)?;
        let either = self.either(&condition.keys);
        let (left, right) = (self.left.plan, self.right.plan);
        let [left_time, right_time] = [time_of(&left)?, time_of(&right)?];
        let renamed = Expr::Column(right_time).alias(RIGHT_TIME);
        let of_right = columns(&right).map(Expr::Column).chain([renamed]).collect();
        let right_leaf = Arc::new(InstantLeaf::of(1, &right));
        let right_leaf = Projection::try_new(of_right, right_leaf)?;
        let query = Join::try_new(
            Arc::new(InstantLeaf::of(0, &left)),
            Arc::new(LogicalPlan::Projection(right_leaf)),
            join.on,
            join.filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        let times = [left_time, Column::new_unqualified(RIGHT_TIME)];
        let time = coalesce(times.map(Expr::Column).to_vec()).alias(TIME);
        let both = columns(&left).chain(columns(&right)).map(Expr::Column);
        let query = Projection::try_new(
            both.chain([time]).collect(),
            Arc::new(LogicalPlan::Join(query)),
        )?;
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = condition.keys.iter().cloned().unzip();
        let keys = left_keys.into_iter().chain(right_keys).collect();
        let query = LogicalPlan::Projection(query);
        let plan = over_instants(query, keys, vec![left, right])?;
        Ok(Stream {
            plan,
            windows,
            either,
        })
    }

    /// The columns of the join that are windows. Of a side that may be missing, they may be.
    fn windows(&self, join: JoinType) -> Result<Vec<usize>> {
        let before = self.left.plan.schema().fields().len() - 1;
        let left = self.left.windows.iter().copied();
        let right = self.right.windows.iter().map(|index| before + index);
        Ok(match join {
            JoinType::Inner => left.chain(right).collect(),
            JoinType::Left => left.collect(),
            JoinType::Right => right.collect(),
            JoinType::Full => Vec::new(),
            other => {
                return refuse(format!(
                    "a {other} JOIN is none of INNER, LEFT, RIGHT, FULL"
                ));
            }
        })
    }

    /// The columns of both sides that are the same window, of which an outer join may leave one empty.
    fn either(&self, keys: &[(Expr, Expr)]) -> Vec<[usize; 2]> {
        let before = self.left.plan.schema().fields().len() - 1;
        let windows = keys.iter().filter_map(|(left, right)| {
            let [left, right] = [(left, &self.left), (right, &self.right)].map(|(key, side)| {
                let window = side.column(key)?;
                side.windows.contains(&window).then_some(window)
            });
            Some([left?, before + right?])
        });
        windows.collect()
    }

    /// Rows meet as they come, as long as they live.
    fn within_ttl(
        self,
        join: &Join,
        condition: Condition,
        rest: Vec<Expr>,
        lowering: &Lowering,
    ) -> Result<Stream> {
        if join.join_type != JoinType::Inner {
            return Err(outer(join.join_type).into());
        }
        let (left, right): (Vec<_>, Vec<_>) = condition.keys.into_iter().unzip();
        let kind = Kind::TtlJoin(lowering.settings.updating_ttl);
        let keys = left.into_iter().chain(right).collect();
        let inputs = vec![self.left.plan, self.right.plan];
        let mut plan = StreamNode::try_new(kind, keys, inputs)?.into_plan();
        for condition in rest {
            plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
        }
        Ok(Stream::new(plan))
    }
}

fn no_keys() -> PlanError {
    let message = "a join of two streams needs a column that is equal on both sides, or every row would meet every other";
    PlanError::new(message)
        .about("JOIN")
        .hint("write JOIN … ON a.key = b.key")
}

fn mixed() -> PlanError {
    let message = "one side of the join has windows and the other has none, so that it is not said for how long rows wait \
                   for each other";
    PlanError::new(message)
        .about("JOIN")
        .hint("group both sides by the same window, or leave the column with the window out of the subquery")
}

fn other_windows() -> PlanError {
    PlanError::new("both sides of the join have windows, but the join is not ON their equality")
        .about("JOIN")
        .hint("write JOIN … ON a.window = b.window AND …")
}

fn outer(join: JoinType) -> PlanError {
    let message = format!(
        "a {} JOIN without windows would have to take rows back when their partners come, which a stream of new rows cannot",
        join.to_string().to_uppercase()
    );
    PlanError::new(message)
        .about("JOIN")
        .hint("group both sides by the same window and join ON a.window = b.window, or write an inner join")
}
