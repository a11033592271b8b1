//! Threads the event time through a bound query, and makes nodes of our own of what depends on it.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::logical_plan::Union;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Projection};

use super::arrange::{pushed_down, with_conditions};
use super::computed::Computed;
use super::filter::pinned;
use super::lookup::{LookupNode, Table, lookups};
use super::node::{EventTimeNode, Kind, StreamNode, time_of};
use super::order::in_order;
use super::sums::{fitted, with_room};
use super::updating::{Output, alike, change_of, new_rows, refuse_changes, refuse_moods, shown};
use super::window::{window, window_call};
use crate::error::PlanError;
use crate::plan::Window;
use crate::planner::Settings;

/// A query in the form in which it is compiled; its columns stay what they are, with `CHANGE` behind them if its rows can be
/// taken back, or if that is what a sink takes.
///
/// # Errors
/// What cannot be run, in the user's words.
pub(crate) fn lower(
    query: LogicalPlan,
    settings: &Settings,
    output: Output<'_>,
) -> Result<LogicalPlan> {
    let query = pushed_down(lookups(with_conditions(in_order(query)?)?)?)?;
    if !needs_time(&query)? {
        return new_rows(without_time(query)?, output);
    }
    let columns = query.schema().columns();
    let lowering = Lowering {
        settings: settings.clone(),
    };
    let stream = lowering.timed(query)?;
    let columns = shown(columns, &stream, output)?;
    Projection::try_new(columns, Arc::new(stream.plan)).map(LogicalPlan::Projection)
}

/// Whether anything in a query depends on time, or its rows change.
fn needs_time(query: &LogicalPlan) -> Result<bool> {
    query.exists(|node| {
        let in_memory = StreamNode::of(node).is_some_and(|node| match &node.kind {
            Kind::Lookup(lookup) => lookup.is_in_memory(),
            _ => false,
        });
        Ok(in_memory
            || change_of(node).is_some()
            || matches!(
                node,
                LogicalPlan::Aggregate(_)
                    | LogicalPlan::Join(_)
                    | LogicalPlan::Window(_)
                    | LogicalPlan::Distinct(_)
            )
            || node.expressions().iter().any(calls_window))
    })
}

fn calls_window(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(window_call(expr).is_some()))
        .unwrap_or(false)
}

/// The query without the nodes that give rows their time.
fn without_time(query: LogicalPlan) -> Result<LogicalPlan> {
    StreamNode::removed(query, |kind| matches!(kind, Kind::EventTime(_)))
}

/// A stream: a plan whose last column is the time.
pub(super) struct Stream {
    pub(super) plan: LogicalPlan,
    /// Which of its columns are windows.
    pub(super) windows: Vec<usize>,
    /// How the time of these windows was cut, if all were cut alike.
    pub(super) cut: Option<Window>,
    /// Pairs of columns of which one at least is the window of the row, and the other the same or null.
    pub(super) either: Vec<[usize; 2]>,
    /// Which of its columns are in the order of the event time, and as far from each other as it is.
    pub(super) times: Vec<usize>,
}

impl Stream {
    pub(super) fn new(plan: LogicalPlan) -> Self {
        Self {
            plan,
            windows: Vec::new(),
            cut: None,
            either: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Whether its rows are known to be those of windows.
    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// One of its windows.
    pub(super) fn window(&self) -> Option<Expr> {
        let index = self.windows.first()?;
        let field = self.plan.schema().qualified_field(*index);
        Some(Expr::Column(Column::from(field)))
    }

    /// Whether an expression is a column that is a window, or chooses the one that is not null.
    pub(super) fn is_window(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Alias(alias) => self.is_window(&alias.expr),
            Expr::Column(_) => self
                .column(expr)
                .is_some_and(|it| self.windows.contains(&it)),
            Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
                let columns: Option<Vec<_>> = call.args.iter().map(|it| self.column(it)).collect();
                let columns = columns.unwrap_or_default();
                let chosen = |pair: &[usize; 2]| {
                    columns.len() == 2 && pair.iter().all(|it| columns.contains(it))
                };
                self.either.iter().any(chosen)
            }
            _ => false,
        }
    }

    /// Which column an expression is, if it is one.
    pub(super) fn column(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Alias(alias) => self.column(&alias.expr),
            Expr::Column(column) => self.plan.schema().maybe_index_of_column(column),
            _ => None,
        }
    }

    /// Where the pairs are after a projection.
    fn either_of(&self, exprs: &[Expr]) -> Vec<[usize; 2]> {
        let place = |column| {
            exprs
                .iter()
                .position(|expr| self.column(expr) == Some(column))
        };
        let pairs = self.either.iter();
        let pairs = pairs.filter_map(|[one, other]| Some([place(*one)?, place(*other)?]));
        pairs.collect()
    }
}

/// What is known of the statement while its query is lowered.
pub(super) struct Lowering {
    pub(super) settings: Settings,
}

impl Lowering {
    pub(super) fn timed(&self, plan: LogicalPlan) -> Result<Stream> {
        match plan {
            LogicalPlan::Extension(_) => {
                if let Some(node) = StreamNode::of(&plan)
                    && let Kind::Lookup(lookup) = &node.kind
                {
                    return self.looked_up(node, lookup);
                }
                Ok(Stream::of_table(plan))
            }
            LogicalPlan::Projection(projection) => self.project(projection),
            LogicalPlan::Aggregate(aggregate) => {
                let rows = Arc::unwrap_or_clone(aggregate.input);
                self.aggregate(aggregate.group_expr, aggregate.aggr_expr, rows)
            }
            LogicalPlan::Distinct(Distinct::All(rows)) => self.distinct(Arc::unwrap_or_clone(rows)),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.united(union),
            LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Unnest(_) => {
                self.over_one(plan)
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
                arriving(plan).map(Stream::new)
            }
            other => refuse(format!(
                "the query needs {}, which this version cannot run yet",
                other.display()
            )),
        }
    }

    /// What passes the columns of its input on. Windows stay where they are, but for `unnest`, which may move columns.
    fn over_one(&self, plan: LogicalPlan) -> Result<Stream> {
        plan.expressions().iter().try_for_each(refuse_window)?;
        let input = self.timed(plan.inputs()[0].clone())?;
        refuse_moods(&plan.expressions(), &input)?;
        let moves = matches!(plan, LogicalPlan::Unnest(_));
        let plan = pinned(plan, input.plan)?;
        Ok(match moves {
            true => Stream::new(plan),
            false => Stream { plan, ..input },
        })
    }

    /// The stream's columns come first, so that its windows stay where they are. Rows that change find in a table what may be
    /// another thing when they are taken back, but not in values.
    fn looked_up(&self, node: &StreamNode, lookup: &LookupNode) -> Result<Stream> {
        if let Table::Memory(memory) = &lookup.table {
            return self.in_memory(node, lookup, memory);
        }
        let input = self.timed(node.inputs[0].clone())?;
        match lookup.table {
            Table::Memory(_) | Table::Connected(_) => refuse_changes(&input, "a lookup", "JOIN")?,
            Table::Constant(_) => refuse_moods(&node.exprs, &input)?,
        }
        let change = change_of(&input.plan);
        let plan = node.timed(input.plan)?.into_plan();
        let Some(change) = change else {
            return Ok(Stream { plan, ..input });
        };
        let time = time_of(&plan)?;
        let columns = plan.schema().columns().into_iter();
        let columns = columns.filter(|column| *column != change && *column != time);
        let columns = columns.chain([change.clone(), time.clone()]);
        let columns = columns.map(Expr::Column).collect::<Vec<_>>();
        let plan = Projection::try_new(columns, Arc::new(plan))?;
        Ok(Stream::new(LogicalPlan::Projection(plan)))
    }

    fn project(&self, projection: Projection) -> Result<Stream> {
        projection.expr.iter().try_for_each(refuse_window)?;
        let input = self.timed(Arc::unwrap_or_clone(projection.input))?;
        let mut exprs = projection.expr;
        refuse_moods(&exprs, &input)?;
        let windows = exprs.iter().enumerate();
        let windows = windows.filter(|(_, expr)| input.is_window(expr));
        let windows = windows.map(|(index, _)| index).collect();
        let either = input.either_of(&exprs);
        let times = input.times_of(&exprs);
        exprs.extend(change_of(&input.plan).map(Expr::Column));
        exprs.push(Expr::Column(time_of(&input.plan)?));
        let plan = Projection::try_new(exprs, Arc::new(input.plan))?;
        Ok(Stream {
            plan: LogicalPlan::Projection(plan),
            windows,
            cut: input.cut,
            either,
            times,
        })
    }

    /// A column of a union is a window if it is one in all inputs.
    fn united(&self, union: Union) -> Result<Stream> {
        let inputs = union.inputs.into_iter();
        let inputs = inputs.map(|input| self.timed(Arc::unwrap_or_clone(input)));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let mut windows = inputs[0].windows.clone();
        windows.retain(|index| inputs.iter().all(|input| input.windows.contains(index)));
        let cut = inputs[0].cut;
        let cut = cut.filter(|_| inputs.iter().all(|input| input.cut == cut));
        let times = Stream::times_of_all(&inputs);
        let plans = alike(inputs.into_iter().map(|input| input.plan).collect())?;
        let plans = plans.into_iter().map(Arc::new).collect();
        let union = Union::try_new_with_loose_types(plans)?;
        Ok(Stream {
            plan: LogicalPlan::Union(union),
            windows,
            cut,
            either: Vec::new(),
            times,
        })
    }

    /// Rows by key, and by window if one is among the keys.
    pub(super) fn aggregate(
        &self,
        mut keys: Vec<Expr>,
        mut aggregates: Vec<Expr>,
        rows: LogicalPlan,
    ) -> Result<Stream> {
        aggregates.iter().try_for_each(refuse_window)?;
        let input = self.timed(rows)?;
        let cuts: Vec<_> = (0..keys.len())
            .filter(|index| window_call(&keys[*index]).is_some())
            .collect();
        let (window, name) = match cuts.as_slice() {
            [] if keys.iter().any(|key| input.is_window(key)) => (Window::Instant, None),
            [] => return self.updating(keys, aggregates, input),
            [cut] => {
                let call = keys.remove(*cut);
                if let Some((_, call)) = window_call(&call) {
                    refuse_changes(&input, "a window", call.func.name())?;
                }
                let name = call.schema_name().to_string();
                match window_call(&call) {
                    Some((function, arguments)) => (window(function, arguments)?, Some(name)),
                    None => return refuse("a window was lost; this is a bug"),
                }
            }
            _ => {
                return refuse(
                    "GROUP BY has several windows; a row can be in those of one function only",
                );
            }
        };
        keys.iter().try_for_each(refuse_window)?;
        let has_cut = name.is_some();
        let windows = match has_cut {
            true => vec![0],
            false => {
                let keys = keys.iter().enumerate();
                let windows = keys.filter(|(_, key)| input.is_window(key));
                windows.map(|(index, _)| index).collect()
            }
        };
        let cut = match window {
            Window::Instant => input.cut,
            cut => Some(cut),
        };
        let kind = Kind::WindowAggregate {
            window,
            name,
            keys: keys.len(),
        };
        let first = usize::from(has_cut) + keys.len();
        let types = with_room(&mut aggregates, input.plan.schema())?;
        let mut computed = Computed::over(input.plan);
        let keys = keys.into_iter().map(|key| computed.column(key));
        let mut exprs: Vec<_> = keys.collect();
        exprs.extend(aggregates.into_iter().map(|call| computed.aggregate(call)));
        let input = computed.finish()?;
        exprs.push(Expr::Column(time_of(&input)?));
        let node = StreamNode::try_new(kind, exprs, vec![input])?;
        Ok(Stream {
            plan: fitted(node.into_plan(), first, &types)?,
            windows,
            cut,
            either: Vec::new(),
            times: Vec::new(),
        })
    }
}

/// Rows that are in the query itself have the time at which it is run.
fn arriving(rows: LogicalPlan) -> Result<LogicalPlan> {
    let kind = Kind::EventTime(EventTimeNode {
        table: "values".to_owned(),
        delay: Duration::ZERO,
        idle: None,
    });
    StreamNode::try_new(kind, Vec::new(), vec![rows]).map(StreamNode::into_plan)
}

/// Refuses a function that cuts time where nothing is grouped by it.
pub(super) fn refuse_window(expr: &Expr) -> Result<()> {
    match first(expr, |part| Some(window_call(part)?.1.func.name().to_owned()))? {
        None => Ok(()),
        Some(name) => Err(PlanError::new(format!(
            "'{name}' cuts time into windows, by which rows are grouped: it stands in GROUP BY, and in SELECT beside it"
        ))
        .about(name)
        .into()),
    }
}

/// Refuses what looks at more than one row, in the expression of a column.
///
/// # Errors
/// Names the function.
pub(crate) fn refuse_many_rows(expr: &Expr) -> Result<()> {
    refuse_window(expr)?;
    let many = |part: &Expr| match part {
        Expr::AggregateFunction(call) => Some(call.func.name().to_owned()),
        Expr::WindowFunction(call) => Some(call.fun.name().to_owned()),
        _ => None,
    };
    match first(expr, many)? {
        None => Ok(()),
        Some(name) => Err(PlanError::new(format!(
            "'{name}' looks at many rows, and the expression of a column at one"
        ))
        .about(name)
        .into()),
    }
}

/// The first answer of a question about the parts of an expression.
pub(super) fn first<T>(expr: &Expr, ask: impl Fn(&Expr) -> Option<T>) -> Result<Option<T>> {
    let mut found = None;
    expr.apply(|part| {
        found = ask(part);
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(PlanError::new(message).into())
}
