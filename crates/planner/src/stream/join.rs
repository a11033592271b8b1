//! Joins of two streams: those of windows become a query over each window, others meet within a time to live. The results of
//! the latter change if rows come without a partner until they have one, or if the rows of a side change themselves.

use std::sync::Arc;

use datafusion::common::{Column, JoinType, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::utils::{
    conjunction, find_valid_equijoin_key_pair, split_conjunction_owned,
};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection};

use super::computed::Computed;
use super::filter::pinned;
use super::instant::{InstantLeaf, over_instants};
use super::lower::{Lowering, Stream, refuse, refuse_window};
use super::node::{Kind, StreamNode, columns, time_of};
use super::updating::{change_of, refuse_changes, refuse_moods};
use crate::error::PlanError;
use crate::plan::{CHANGE, TIME, Window};

/// What the time of the right side is called within a join.
const RIGHT_TIME: &str = "_timestamp_right";

impl Lowering {
    pub(super) fn join(&self, mut join: Join) -> Result<Stream> {
        let sides = [Arc::clone(&join.left), Arc::clone(&join.right)];
        let [left, right] = sides.map(|side| self.timed(Arc::unwrap_or_clone(side)));
        let sides = Sides {
            left: left?,
            right: right?,
        };
        join.on.extend(sides.implied(&join)?);
        let condition = Condition::of(&join)?;
        condition.rest.iter().try_for_each(refuse_window)?;
        if condition.keys.is_empty() {
            return Err(no_keys().into());
        }
        match (sides.left.has_windows(), sides.right.has_windows()) {
            (true, true) => sides.by_window(join, condition),
            (false, false) if join.join_type == JoinType::Inner && !sides.change() => {
                sides.within_ttl(condition, self)
            }
            (false, false) => sides.updating(join.join_type, condition, self),
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
    /// The equality of the windows where it is not written: time that is cut alike on both sides is joined window by window, as
    /// in Arroyo. (Sessions of two streams have nothing to do with each other.)
    fn implied(&self, join: &Join) -> Result<Option<(Expr, Expr)>> {
        let (left, right) = (&self.left, &self.right);
        let alike =
            left.cut == right.cut && !matches!(left.cut, None | Some(Window::Session { .. }));
        if !alike || Condition::of(join)?.has_windows(self) {
            return Ok(None);
        }
        Ok(left.window().zip(right.window()))
    }

    /// A query over the rows of both sides that are of one window.
    fn by_window(self, join: Join, condition: Condition) -> Result<Stream> {
        refuse_changes(&self.left, "a join of windows", "JOIN")?;
        refuse_changes(&self.right, "a join of windows", "JOIN")?;
        if !condition.has_windows(&self) {
            return Err(other_windows().into());
        }
        let windows = self.windows(join.join_type)?;
        let either = self.either(&condition.keys);
        let cut = self.left.cut.filter(|cut| self.right.cut == Some(*cut));
        let both = columns(&self.left.plan).chain(columns(&self.right.plan));
        let both = both.map(Expr::Column).collect::<Vec<_>>();
        let ([left, right], on) = keyed(self.left.plan, self.right.plan, condition.keys)?;
        // a pair for which it fails is bad data, unless the condition is needed to know who is alone
        let (within, above) = match join.join_type {
            JoinType::Inner => (None, conjunction(condition.rest)),
            _ => (conjunction(condition.rest), None),
        };
        let [left_time, right_time] = [time_of(&left)?, time_of(&right)?];
        let renamed = Expr::Column(right_time).alias(RIGHT_TIME);
        let of_right = columns(&right).map(Expr::Column).chain([renamed]).collect();
        let right_leaf = Arc::new(InstantLeaf::of(1, &right));
        let right_leaf = Projection::try_new(of_right, right_leaf)?;
        let query = Join::try_new(
            Arc::new(InstantLeaf::of(0, &left)),
            Arc::new(LogicalPlan::Projection(right_leaf)),
            on.clone(),
            within,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        let times = [left_time, Column::new_unqualified(RIGHT_TIME)];
        let time = coalesce(times.map(Expr::Column).to_vec()).alias(TIME);
        let query = Projection::try_new(
            both.into_iter().chain([time]).collect(),
            Arc::new(LogicalPlan::Join(query)),
        )?;
        let query = LogicalPlan::Projection(query);
        let plan = over_instants(query, one_after_the_other(on), vec![left, right])?;
        Ok(Stream {
            plan: filtered(plan, above)?,
            windows,
            cut,
            either,
            times: Vec::new(),
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
    fn within_ttl(self, condition: Condition, lowering: &Lowering) -> Result<Stream> {
        let kind = Kind::TtlJoin(lowering.settings.updating_ttl);
        self.met(kind, condition)
    }

    /// Rows meet as they come, and what they have told is taken back when it is no longer true.
    fn updating(
        mut self,
        join_type: JoinType,
        mut condition: Condition,
        lowering: &Lowering,
    ) -> Result<Stream> {
        let preserved = match join_type {
            JoinType::Inner => [false, false],
            JoinType::Left => [true, false],
            JoinType::Right => [false, true],
            JoinType::Full => [true, true],
            other => return Err(half(other).into()),
        };
        let keys = one_after_the_other(condition.keys.clone());
        for side in [&self.left, &self.right] {
            refuse_moods(&keys, side)?;
            refuse_moods(&condition.rest, side)?;
        }
        if join_type != JoinType::Inner {
            let rest = std::mem::take(&mut condition.rest);
            self.look_before(preserved, rest)?;
        }
        let kind = Kind::UpdatingJoin {
            preserved,
            ttl: lowering.settings.updating_ttl,
        };
        self.met(kind, condition)
    }

    /// The rows that a node makes of both sides, for which the rest of the condition holds.
    fn met(self, kind: Kind, condition: Condition) -> Result<Stream> {
        let both = columns(&self.left.plan).chain(columns(&self.right.plan));
        let both = both.filter(|column| column.name != CHANGE);
        let both = both.collect::<Vec<_>>();
        let (sides, on) = keyed(self.left.plan, self.right.plan, condition.keys)?;
        let node = StreamNode::try_new(kind, one_after_the_other(on), sides.into())?;
        let plan = node.into_plan();
        // without the keys that were computed
        let shown = both.into_iter().chain(change_of(&plan));
        let shown = shown.chain([time_of(&plan)?]).map(Expr::Column).collect();
        let plan = Projection::try_new(shown, Arc::new(plan))?;
        let plan = LogicalPlan::Projection(plan);
        filtered(plan, conjunction(condition.rest)).map(Stream::new)
    }

    /// Of an outer join, conditions on the side whose rows may be missing hold before the join; others would have to be looked at
    /// pair by pair.
    fn look_before(&mut self, preserved: [bool; 2], rest: Vec<Expr>) -> Result<()> {
        for condition in rest {
            let columns = condition.column_refs();
            let sides = [&mut self.left, &mut self.right].into_iter().zip(preserved);
            let mut missing = sides.filter(|(_, preserved)| !preserved);
            let side = missing.find(|(side, _)| {
                let schema = side.plan.schema();
                columns.iter().all(|column| schema.has_column(column))
            });
            let Some((side, _)) = side else {
                return Err(by_pairs().into());
            };
            side.plan = filtered(side.plan.clone(), Some(condition))?;
        }
        Ok(())
    }

    /// Whether the rows of a side may be taken back.
    fn change(&self) -> bool {
        [&self.left, &self.right]
            .iter()
            .any(|side| change_of(&side.plan).is_some())
    }
}

type On = Vec<(Expr, Expr)>;

/// Both sides with their keys as columns.
fn keyed(left: LogicalPlan, right: LogicalPlan, keys: On) -> Result<([LogicalPlan; 2], On)> {
    let (of_left, of_right): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let mut computed = Computed::over(left).beside(&right);
    let of_left = of_left
        .into_iter()
        .map(|key| computed.column(key).unalias());
    let of_left: Vec<_> = of_left.collect();
    let left = computed.finish()?;
    let mut computed = Computed::over(right).beside(&left);
    let of_right = of_right
        .into_iter()
        .map(|key| computed.column(key).unalias());
    let on = of_left.into_iter().zip(of_right).collect();
    Ok(([left, computed.finish()?], on))
}

fn one_after_the_other(keys: On) -> Vec<Expr> {
    let (left, right): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    left.into_iter().chain(right).collect()
}

fn filtered(plan: LogicalPlan, condition: Option<Expr>) -> Result<LogicalPlan> {
    let Some(condition) = condition else {
        return Ok(plan);
    };
    let filter = Filter::try_new(condition, Arc::new(plan.clone()))?;
    pinned(LogicalPlan::Filter(filter), plan)
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
    let message = "both sides of the join have windows, which are not cut alike, and the join is not ON their equality";
    PlanError::new(message)
        .about("JOIN")
        .hint("write JOIN … ON a.window = b.window AND …")
}

fn half(join: JoinType) -> PlanError {
    let message = format!("a {join} JOIN is none of INNER, LEFT, RIGHT, FULL");
    PlanError::new(message).about("JOIN")
}

fn by_pairs() -> PlanError {
    let message = "beside equal columns, an outer join without windows looks only at columns of the side whose rows may be missing";
    PlanError::new(message)
        .about("JOIN")
        .hint("put the condition into WHERE if it may leave rows out, or into a subquery of the side that it is about")
}
