//! The event time of a source: which column it is, how the watermark follows, and for how long a silent source is waited for.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, cast, lit};
use headwater_connector::{Location, SqlOption};

use super::Planner;
use crate::ddl::EventTimeOptions;
use crate::error::PlanError;
use crate::names::{normalised, quoted};
use crate::parse::Parsed;
use crate::plan::{CHANGE, TIME_TYPE};
use crate::stream::{EventTimeNode, Kind, StreamNode};
use crate::type_name::sql_type;

/// How far a watermark stays behind if nothing else is said, as in Arroyo.
const DELAY: Duration = Duration::from_secs(1);

/// How long a source may be silent before others stop to wait for it, if nothing else is said.
const IDLE: Duration = Duration::from_secs(300);

impl Planner {
    /// The query of a source whose rows have their event time, in a column that only `stream` sees, like that
    /// which says what they do.
    pub(super) fn with_event_time(
        &self,
        query: LogicalPlan,
        table: &str,
        options: &EventTimeOptions,
        parsed: &Parsed,
    ) -> Result<LogicalPlan, PlanError> {
        let exprs = match time_column(options)? {
            None => Vec::new(),
            Some((column, location)) => {
                let time = instant(&column, query.schema(), location)?;
                let watermark = self.watermark(&time, options, query.schema(), parsed)?;
                vec![time, watermark]
            }
        };
        let kind = Kind::EventTime(EventTimeNode {
            table: table.to_owned(),
            delay: DELAY,
            idle: idle(options.idle_micros.as_ref())?,
        });
        let bind_error = |error: DataFusionError| self.bind_error(&error, parsed);
        let columns = query.schema().columns().into_iter();
        let columns = columns.filter(|column| column.name != CHANGE);
        let columns = columns.map(Expr::Column).collect();
        let timed = StreamNode::try_new(kind, exprs, vec![query]).map_err(bind_error)?;
        let hidden = Projection::try_new(columns, Arc::new(timed.into_plan()));
        hidden.map(LogicalPlan::Projection).map_err(bind_error)
    }

    fn watermark(
        &self,
        time: &Expr,
        options: &EventTimeOptions,
        schema: &DFSchema,
        parsed: &Parsed,
    ) -> Result<Expr, PlanError> {
        let clause = options.clause.as_ref();
        match (
            clause.and_then(|clause| clause.watermark.as_ref()),
            &options.watermark_field,
        ) {
            (Some(_), Some(field)) => Err(PlanError::new(
                "option 'watermark_field': the table has WATERMARK FOR … AS … already",
            )
            .at(field.location)),
            (None, Some(field)) => instant(&field.value, schema, field.location),
            (None, None) => Ok(time.clone() - lit(nanoseconds(DELAY))),
            (Some(syntax), None) => {
                self.refuse(syntax, parsed)?;
                let bound = self.session()?.expression(syntax.clone(), schema);
                let bound = bound.map_err(|error| self.bind_error(&error, parsed))?;
                let location = clause.and_then(|clause| clause.location);
                as_instant(bound, "the watermark", schema, location)
            }
        }
    }
}

/// The name of the column that is the event time, if one is, and where that is said.
fn time_column(
    options: &EventTimeOptions,
) -> Result<Option<(String, Option<Location>)>, PlanError> {
    let clause = options.clause.as_ref();
    let clause = clause.map(|clause| (normalised(&clause.column), clause.location));
    let field = options.time_field.as_ref();
    let field = field.map(|option| (option.value.clone(), option.location));
    match (clause, field) {
        (Some((clause, _)), Some((field, location))) if clause != field => {
            let message =
                format!("option 'event_time_field' is '{field}', but WATERMARK is FOR '{clause}'");
            Err(PlanError::new(message).at(location))
        }
        (None, None) if options.watermark_field.is_some() => Err(PlanError::new(
            "option 'watermark_field' needs 'event_time_field' beside it",
        )
        .at(options.location())),
        (clause, field) => Ok(clause.or(field)),
    }
}

/// A column as a moment.
fn instant(name: &str, schema: &DFSchema, location: Option<Location>) -> Result<Expr, PlanError> {
    let columns = schema.columns();
    match columns.iter().find(|column| column.name == name) {
        Some(column) => {
            let what = format!("column '{}'", quoted(name));
            as_instant(Expr::Column(column.clone()), &what, schema, location)
        }
        None => {
            let error = PlanError::new(format!("column '{}' not found", quoted(name))).at(location);
            Err(error.near(name, columns.iter().map(|column| column.name.as_str())))
        }
    }
}

/// An expression as a moment in [`TIME_TYPE`].
fn as_instant(
    expr: Expr,
    what: &str,
    schema: &DFSchema,
    location: Option<Location>,
) -> Result<Expr, PlanError> {
    let field = expr.to_field(schema).map(|(_, field)| field);
    let field = field.map_err(|error| PlanError::new(error.strip_backtrace()).at(location))?;
    match field.data_type() {
        &TIME_TYPE => Ok(expr),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Ok(cast(expr, TIME_TYPE)),
        _ => Err(PlanError::new(format!(
            "{what} is of the type {}, and an event time is a TIMESTAMP",
            sql_type(&field)
        ))
        .at(location)
        .hint("compute one: ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(ms)) STORED")),
    }
}

fn idle(option: Option<&SqlOption>) -> Result<Option<Duration>, PlanError> {
    let Some(option) = option else {
        return Ok(Some(IDLE));
    };
    match option.value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(micros) if micros > 0 => Ok(Some(Duration::from_micros(micros.unsigned_abs()))),
        _ => Err(PlanError::new(format!(
            "option 'idle_micros' is '{}', and must be a number of microseconds, or -1 to wait for ever",
            option.value
        ))
        .at(option.location)),
    }
}

fn nanoseconds(delay: Duration) -> ScalarValue {
    let nanos = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
    ScalarValue::new_interval_mdn(0, 0, nanos)
}
