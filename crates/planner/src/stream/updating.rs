//! Streams of changes: aggregates without a window, `DISTINCT`, tables of `debezium_json`, and what passes them on.
//!
//! A result that changes is taken back and sent anew. Which of the two a row does stands in the column [`CHANGE`], right
//! before the time. Projections, filters and unions pass it on: whether a row is kept must depend on its values alone, or a
//! row could be taken back that was never sent. What would have to take rows back itself and cannot is refused.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, lit};
use headwater_connector::Connection;

use super::computed::Computed;
use super::lower::{Lowering, Stream, first, refuse_window};
use super::node::{Kind, StreamNode, time_of};
use super::sums::{fitted, with_room};
use crate::error::PlanError;
use crate::plan::CHANGE;

/// What becomes of the rows of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output<'a> {
    /// They are shown, or read by other queries: changes as they are.
    Any,
    /// They are written to a sink.
    Sink(&'a Connection),
}

/// The column of a stream that says what its rows do, if they change: the last but the time.
pub(super) fn change_of(stream: &LogicalPlan) -> Option<Column> {
    let before_time = stream.schema().fields().len().checked_sub(2)?;
    let (table, field) = stream.schema().qualified_field(before_time);
    (field.name() == CHANGE).then(|| Column::new(table.cloned(), field.name()))
}

/// The columns that a query has at its end, of which some users do not see.
///
/// # Errors
/// A sink that takes no changes.
pub(super) fn shown(
    columns: Vec<Column>,
    stream: &Stream,
    output: Output<'_>,
) -> Result<Vec<Expr>> {
    let change = match (output, change_of(&stream.plan)) {
        (Output::Sink(sink), Some(_)) if !takes_changes(sink) => {
            return Err(takes_no_changes(sink).into());
        }
        (Output::Sink(sink), None) if takes_changes(sink) => Some(is_new()),
        (_, change) => change.map(Expr::Column),
    };
    Ok(columns
        .into_iter()
        .map(Expr::Column)
        .chain(change)
        .collect())
}

/// The rows of a query that does not depend on time, which are all new.
pub(super) fn new_rows(query: LogicalPlan, output: Output<'_>) -> Result<LogicalPlan> {
    match output {
        Output::Sink(sink) if takes_changes(sink) => {
            let columns = query.schema().columns().into_iter().map(Expr::Column);
            let columns = columns.chain([is_new()]).collect();
            Projection::try_new(columns, Arc::new(query)).map(LogicalPlan::Projection)
        }
        _ => Ok(query),
    }
}

fn takes_changes(sink: &Connection) -> bool {
    sink.config.schema.change().is_some()
}

/// What a row does of which all are new.
fn is_new() -> Expr {
    lit(1_i64).alias(CHANGE)
}

/// Refuses an operator over rows that change.
pub(super) fn refuse_changes(stream: &Stream, operator: &str, about: &str) -> Result<()> {
    if change_of(&stream.plan).is_none() {
        return Ok(());
    }
    let message = format!(
        "{operator} takes rows that stay, and these change: an aggregate without a window or a table of 'debezium_json' takes rows back"
    );
    Err(PlanError::new(message)
        .about(about)
        .hint("group the rows below by a window, for example GROUP BY tumble(INTERVAL '1 minute')")
        .into())
}

/// Refuses an expression that may be another value when a row is taken back than it was when the row was sent.
pub(super) fn refuse_moods(exprs: &[Expr], stream: &Stream) -> Result<()> {
    if change_of(&stream.plan).is_none() {
        return Ok(());
    }
    let moody = |part: &Expr| match part {
        Expr::ScalarFunction(call) if part.is_volatile_node() => Some(call.func.name().to_owned()),
        _ => None,
    };
    for expr in exprs {
        if let Some(name) = first(expr, moody)? {
            let message = format!(
                "'{name}' gives another value each time, and the rows here change: one that is taken back must be equal to the one that was sent"
            );
            return Err(PlanError::new(message).about(name).into());
        }
    }
    Ok(())
}

impl Lowering {
    /// Aggregates without a window: those of each key, again and again.
    pub(super) fn updating(
        &self,
        keys: Vec<Expr>,
        mut aggregates: Vec<Expr>,
        input: Stream,
    ) -> Result<Stream> {
        keys.iter().try_for_each(refuse_window)?;
        refuse_moods(&keys, &input)?;
        refuse_moods(&aggregates, &input)?;
        let change = change_of(&input.plan);
        // a row that is there once stays, as long as no rows are taken back
        let only_new = aggregates.is_empty() && change.is_none();
        let kind = Kind::UpdatingAggregate {
            keys: keys.len(),
            functions: aggregates.len(),
            ttl: self.settings.updating_ttl,
        };
        let (time, first) = (time_of(&input.plan)?, keys.len());
        let types = with_room(&mut aggregates, input.plan.schema())?;
        let mut computed = Computed::over(input.plan);
        let keys = keys.into_iter().map(|key| computed.column(key));
        let mut exprs: Vec<_> = keys.collect();
        exprs.extend(aggregates.into_iter().map(|call| computed.aggregate(call)));
        exprs.extend(change.into_iter().chain([time]).map(Expr::Column));
        let node = StreamNode::try_new(kind, exprs, vec![computed.finish()?])?;
        let plan = fitted(node.into_plan(), first, &types)?;
        match only_new {
            true => without_change(plan).map(Stream::new),
            false => Ok(Stream::new(plan)),
        }
    }

    /// `SELECT DISTINCT`: each row once.
    pub(super) fn distinct(&self, rows: LogicalPlan) -> Result<Stream> {
        let columns = rows.schema().columns().into_iter().map(Expr::Column);
        let columns: Vec<_> = columns.collect();
        self.aggregate(columns, Vec::new(), rows)
    }
}

/// The same rows, of which none is known to be taken back.
fn without_change(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter();
    let columns = columns.filter(|column| column.name != CHANGE);
    let columns = columns.map(Expr::Column).collect();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}

/// Streams that are united: all change if one does.
pub(super) fn alike(streams: Vec<LogicalPlan>) -> Result<Vec<LogicalPlan>> {
    if streams.iter().all(|stream| change_of(stream).is_none()) {
        return Ok(streams);
    }
    let streams = streams.into_iter().map(|stream| {
        if change_of(&stream).is_some() {
            return Ok(stream);
        }
        let time = Expr::Column(time_of(&stream)?);
        let columns = super::node::columns(&stream).map(Expr::Column);
        let columns = columns.chain([is_new(), time]).collect();
        Projection::try_new(columns, Arc::new(stream)).map(LogicalPlan::Projection)
    });
    streams.collect()
}

fn takes_no_changes(sink: &Connection) -> PlanError {
    let name = &sink.name;
    let message = format!(
        "table '{name}' takes rows that stay, and the results of the query change: an aggregate without a window or a table of \
         'debezium_json' takes rows back"
    );
    PlanError::new(message).about(name).hint(
        "write the changes, with format = 'debezium_json' in the sink, or group by a window, for example \
         GROUP BY tumble(INTERVAL '1 minute')",
    )
}
