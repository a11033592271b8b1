//! Functions `OVER (PARTITION BY key ORDER BY ts …)`: of each row and those before it, without windows.
//!
//! The order is that of the event time, whether ORDER BY says so or is left out, since in no other order is it known when a row
//! has all those before it. A frame ends with the row at the latest, so that nothing is waited for but the watermark.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, LogicalPlan, Projection, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};

use super::computed::Computed;
use super::lower::{Lowering, Stream};
use super::node::{Kind, StreamNode, time_of};
use super::over::{call, no_window};
use super::sums::{fitted, with_room};
use super::window::fixed_ns;
use crate::error::PlanError;
use crate::plan::Frame;

impl Lowering {
    /// The rows of a stream with the values of functions behind their columns.
    pub(super) fn over_rows(&self, mut calls: Vec<Expr>, mut input: Stream) -> Result<Stream> {
        // those that DataFusion computes together have the same partitions
        let keys = calls.iter().find_map(call);
        let keys = keys.map_or_else(Vec::new, |function| function.params.partition_by.clone());
        let functions = calls.iter().filter_map(call);
        let frames = functions.map(|function| frame(function, &input));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        let mut types = with_room(&mut calls, input.plan.schema())?;
        let first = input.plan.schema().fields().len() - 1;
        let mut computed = Computed::over(std::mem::take(&mut input.plan));
        let keys = keys.into_iter();
        let mut exprs: Vec<_> = keys.map(|key| computed.column(key).unalias()).collect();
        let kind = Kind::Over {
            keys: exprs.len(),
            frames: frames.clone(),
            ttl: self.settings.updating_ttl,
        };
        for ((call, frame), wanted) in calls.into_iter().zip(frames).zip(&mut types) {
            let name = call.schema_name().to_string();
            let call = computed.function(without_order(call)).unalias();
            exprs.push(without_frame(call, frame, wanted).alias(name));
        }
        let rows = computed.finish()?;
        let added = rows.schema().fields().len() - 1;
        exprs.push(Expr::Column(time_of(&rows)?));
        let plan = StreamNode::try_new(kind, exprs, vec![rows])?.into_plan();
        let mut shown = plan.schema().columns();
        shown.drain(first..added);
        let shown = shown.into_iter().map(Expr::Column).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(shown, Arc::new(plan))?);
        Ok(Stream {
            plan: fitted(plan, first, &types)?,
            ..input
        })
    }
}

/// A call as it is, without what it is partitioned and ordered by.
fn without_order(call: Expr) -> Expr {
    match call {
        Expr::Alias(alias) => without_order(*alias.expr),
        Expr::WindowFunction(mut call) => {
            call.params.order_by.clear();
            call.params.partition_by.clear();
            Expr::WindowFunction(call)
        }
        other => other,
    }
}

/// A call that says nothing of its frame: an aggregate, wherever there is one that computes the same.
fn without_frame(call: Expr, frame: Frame, wanted: &mut Option<DataType>) -> Expr {
    let Expr::WindowFunction(mut call) = call else {
        return call;
    };
    let function = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => Arc::clone(function),
        WindowFunctionDefinition::WindowUDF(function) => {
            match (function.name(), frame.is_unbounded()) {
                ("row_number", _) => {
                    call.params.args = vec![lit(1_i64)];
                    *wanted = Some(DataType::UInt64);
                    count_udaf()
                }
                ("first_value", true) => first_value_udaf(),
                ("last_value", true) => last_value_udaf(),
                _ => {
                    call.params.window_frame = WindowFrame::new(None);
                    return Expr::WindowFunction(call);
                }
            }
        }
    };
    let params = call.params;
    Expr::AggregateFunction(AggregateFunction::new_udf(
        function,
        params.args,
        params.distinct,
        params.filter,
        Vec::new(),
        params.null_treatment,
    ))
}

/// Which rows a function looks at.
///
/// # Errors
/// An order that is not that of the event time, and frames that have no end, or none behind them.
fn frame(function: &WindowFunction, input: &Stream) -> Result<Frame> {
    let is_aggregate = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_));
    match function.fun.name() {
        "lead" => Err(ahead(function)),
        "lag" => {
            check_order(function, input)?;
            lagging(function)
        }
        "row_number" => {
            check_order(function, input)?;
            Ok(Frame::Rows { from: None, to: 0 })
        }
        name if is_aggregate || matches!(name, "first_value" | "last_value" | "nth_value") => {
            framed(function, input)
        }
        _ => Err(no_window(function, input).into()),
    }
}

/// The frame of a function that heeds it.
fn framed(function: &WindowFunction, input: &Stream) -> Result<Frame> {
    let frame = &function.params.window_frame;
    if let WindowFrameBound::Following(bound) = &frame.end_bound {
        match bound.is_null() {
            true => return Err(no_window(function, input).into()),
            false => return Err(ahead(function)),
        }
    }
    check_order(function, input)?;
    let from = before(function, &frame.start_bound)?;
    let to = before(function, &frame.end_bound)?.unwrap_or(0);
    if from.is_some_and(|from| from < to) {
        let hint = "the one that is further away comes first";
        return Err(refusal(
            function,
            "has a frame that ends before it begins",
            hint,
        ));
    }
    if from.is_none() && (to > 0 || function.fun.name() == "nth_value") {
        return Err(refusal(
            function,
            "would have to keep all rows of its partition",
            "give the frame a beginning, for example ROWS BETWEEN 100 PRECEDING AND …",
        ));
    }
    match frame.units {
        WindowFrameUnits::Rows => Ok(Frame::Rows { from, to }),
        WindowFrameUnits::Range => Ok(Frame::Range {
            from_ns: from,
            to_ns: to,
        }),
        WindowFrameUnits::Groups => Err(refusal(
            function,
            "has a frame of GROUPS, which this version does not have",
            "write ROWS or RANGE",
        )),
    }
}

/// How far before the row a frame begins, or ends: rows, or nanoseconds.
fn before(function: &WindowFunction, bound: &WindowFrameBound) -> Result<Option<u64>> {
    let value = match bound {
        WindowFrameBound::CurrentRow => return Ok(Some(0)),
        WindowFrameBound::Following(_) => return Err(ahead(function)),
        WindowFrameBound::Preceding(value) if value.is_null() => return Ok(None),
        WindowFrameBound::Preceding(value) => value,
    };
    match value {
        ScalarValue::UInt64(Some(rows)) => Ok(Some(*rows)),
        other => fixed(function, other),
    }
}

fn fixed(function: &WindowFunction, interval: &ScalarValue) -> Result<Option<u64>> {
    let ns = fixed_ns(interval).and_then(|ns| u64::try_from(ns).ok());
    match ns {
        Some(ns) => Ok(Some(ns)),
        None => Err(refusal(
            function,
            "has a frame that is not of a fixed length of time",
            "write RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW",
        )),
    }
}

/// The row that `lag` needs.
fn lagging(function: &WindowFunction) -> Result<Frame> {
    let params = &function.params;
    if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        let hint =
            "write last_value(…) IGNORE NULLS OVER (… ROWS BETWEEN 100 PRECEDING AND 1 PRECEDING)";
        let message = "would have to keep rows until one has a value, with IGNORE NULLS";
        return Err(refusal(function, message, hint));
    }
    let rows = match params.args.get(1) {
        None => Some(1),
        Some(Expr::Literal(rows, _)) => match rows.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(rows)) => u64::try_from(rows).ok(),
            _ => None,
        },
        Some(_) => None,
    };
    match rows {
        Some(rows) => Ok(Frame::Rows {
            from: Some(rows),
            to: 0,
        }),
        None => Err(refusal(
            function,
            "takes for its second argument a number of rows, not below zero",
            "write lag(temperature, 2)",
        )),
    }
}

/// Refuses another order than that of the event time.
fn check_order(function: &WindowFunction, input: &Stream) -> Result<()> {
    match function.params.order_by.as_slice() {
        [] => return Ok(()),
        [sort] if sort.asc && input.is_time(&sort.expr) => return Ok(()),
        _ => {}
    }
    if input.has_windows() && input.times.is_empty() {
        return Err(no_window(function, input).into());
    }
    let message = "looks at the rows before each row, which are in the order of their event time";
    let hint = match input.written_time() {
        Some(time) => format!("write ORDER BY {time}"),
        None => "declare the event time with the table, WATERMARK FOR ts, and write ORDER BY ts; or leave ORDER BY out, \
                 and the order is that of the arrival"
            .to_owned(),
    };
    Err(refusal(function, message, hint))
}

fn ahead(function: &WindowFunction) -> DataFusionError {
    let hint = "look back from the later row: lag(…), or a frame that ends with CURRENT ROW";
    refusal(function, "looks at rows that have not come yet", hint)
}

fn refusal(function: &WindowFunction, message: &str, hint: impl Into<String>) -> DataFusionError {
    let name = function.fun.name();
    let error = PlanError::new(format!("'{name}' {message}")).about(name);
    error.hint(hint).into()
}
