//! Functions `OVER (PARTITION BY window …)`: rows are numbered, ranked and compared within their window. (Without a window,
//! they look at the rows before each row: [`over_rows`](super::over_rows).)

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Window};

use super::computed::Computed;
use super::instant::{InstantLeaf, over_instants};
use super::lower::{Lowering, Stream, refuse_window};
use super::node::{columns, time_of};
use super::sums::{fitted, with_room};
use super::updating::refuse_changes;
use crate::error::PlanError;
use crate::names::quoted;

impl Lowering {
    /// The rows of a stream with the values of functions behind their columns.
    pub(super) fn over(&self, window: Window) -> Result<Stream> {
        let calls = window.window_expr;
        calls.iter().try_for_each(refuse_window)?;
        let input = self.timed(Arc::unwrap_or_clone(window.input))?;
        for function in calls.iter().filter_map(call) {
            refuse_changes(&input, "OVER", function.fun.name())?;
        }
        let mut functions = calls.iter().filter_map(call);
        match functions.any(|function| is_by_window(function, &input)) {
            true => over_windows(calls, input),
            false => self.over_rows(calls, input),
        }
    }
}

/// What is looked at window by window.
fn over_windows(mut calls: Vec<Expr>, input: Stream) -> Result<Stream> {
    let keys = partition(&calls, &input)?;
    let types = with_room(&mut calls, input.plan.schema())?;
    let mut shown: Vec<_> = columns(&input.plan).collect();
    let first = shown.len();
    let mut computed = Computed::over(input.plan);
    let keys = keys.into_iter();
    let keys = keys.map(|key| computed.column(key).unalias()).collect();
    let calls = calls.into_iter().map(|call| computed.function(call));
    let calls = calls.collect();
    let rows = computed.finish()?;
    let query = Window::try_new(calls, Arc::new(InstantLeaf::of(0, &rows)))?;
    let functions = query.schema.columns().into_iter();
    shown.extend(functions.skip(rows.schema().fields().len()));
    shown.push(time_of(&rows)?);
    let shown = shown.into_iter().map(Expr::Column).collect();
    let query = Projection::try_new(shown, Arc::new(LogicalPlan::Window(query)))?;
    let plan = over_instants(LogicalPlan::Projection(query), keys, vec![rows])?;
    Ok(Stream {
        plan: fitted(plan, first, &types)?,
        windows: input.windows,
        cut: input.cut,
        either: input.either,
        times: input.times,
    })
}

fn is_by_window(function: &WindowFunction, input: &Stream) -> bool {
    let mut keys = function.params.partition_by.iter();
    keys.any(|key| input.is_window(key))
}

/// What all functions are partitioned by.
fn partition(functions: &[Expr], input: &Stream) -> Result<Vec<Expr>> {
    let mut common: Option<Vec<Expr>> = None;
    for function in functions.iter().filter_map(call) {
        let by = &function.params.partition_by;
        if !is_by_window(function, input) {
            return Err(no_window(function, input).into());
        }
        match &mut common {
            Some(common) => common.retain(|key| by.contains(key)),
            None => common = Some(by.clone()),
        }
    }
    Ok(common.unwrap_or_default())
}

/// The function that is called, whatever it is called.
pub(super) fn call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr),
        Expr::WindowFunction(function) => Some(function),
        _ => None,
    }
}

/// Says that a partition has no end.
pub(super) fn no_window(function: &WindowFunction, input: &Stream) -> PlanError {
    let name = function.fun.name();
    let message = format!(
        "'{name}' looks at all rows of its partition, which on a stream has an end only if a window is part of it"
    );
    let schema = input.plan.schema();
    let window = input.windows.first();
    let hint = match window.map(|index| schema.field(*index).name()) {
        Some(window) => format!("write OVER (PARTITION BY {}, …)", quoted(window)),
        None => "let it look back from each row, OVER (… ORDER BY ts RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT \
                 ROW), or group the rows by a window in a subquery, for example GROUP BY tumble(INTERVAL '1 minute'), and \
                 write OVER (PARTITION BY window, …)"
            .to_owned(),
    };
    PlanError::new(message).about(name).hint(hint)
}
