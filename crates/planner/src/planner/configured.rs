//! Tables that were not declared in SQL: their connector has made them of a configuration already.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::sql::sqlparser::ast::Ident;
use headwater_connector::{Connection, ConnectionType, SqlOption};

use super::Planner;
use crate::catalog::Relation;
use crate::ddl::EventTimeOptions;
use crate::error::PlanError;
use crate::parse::{Parsed, parse_lone_expression};
use crate::watermark_clause::WatermarkClause;

/// What is said of the event time of a table that was not declared in SQL. Without any of it the event time is the moment
/// of arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTime {
    /// The column that is the event time, as `event_time_field` says it in SQL.
    pub time_field: Option<String>,
    /// The column that is the watermark after a row, as `watermark_field` says it in SQL.
    pub watermark_field: Option<String>,
    /// The watermark after a row as an expression over the columns, as it stands behind `AS` in `WATERMARK FOR … AS …`.
    pub watermark: Option<String>,
    /// After how many microseconds without rows the table is no longer waited for; -1 is never. See `idle_micros` in SQL.
    pub idle_micros: Option<i64>,
}

impl Planner {
    /// Makes a table that was configured elsewhere known, under its own name.
    ///
    /// # Errors
    /// Another relation has the name; an event time that does not fit the columns, which no place is known of.
    pub fn add_table(
        &mut self,
        connection: Connection,
        event_time: &EventTime,
    ) -> Result<(), PlanError> {
        let added = self.on_deep_stack(|planner| planner.configured(connection, event_time));
        // places count within an expression, and not in the text that is planned
        added.map_err(|error| PlanError {
            location: None,
            ..error
        })
    }

    fn configured(
        &mut self,
        connection: Connection,
        event_time: &EventTime,
    ) -> Result<(), PlanError> {
        let name = connection.name.clone();
        if self.catalog.contains(&name) {
            return Err(PlanError::new(format!("'{name}' exists already")));
        }
        let connection = Arc::new(connection);
        let kind = connection.connection_type;
        if kind != ConnectionType::Source && *event_time != EventTime::default() {
            let message =
                format!("table '{name}' is no source, and only sources have an event time");
            return Err(PlanError::new(message));
        }
        let scan = || {
            let scan = self.scan(&connection).and_then(LogicalPlanBuilder::build);
            scan.map_err(|error| PlanError::new(error.strip_backtrace()))
        };
        let relation = match kind {
            ConnectionType::Sink => Relation::Sink(connection),
            ConnectionType::Lookup => Relation::Source {
                query: scan()?,
                connection,
            },
            ConnectionType::Source => {
                let (options, parsed) = options(event_time)?;
                let query = self.with_event_time(scan()?, &name, &options, &parsed)?;
                Relation::Source { connection, query }
            }
        };
        self.catalog.insert(&name, relation);
        Ok(())
    }
}

/// The same as a declaration would say it, and the text of it.
fn options(event_time: &EventTime) -> Result<(EventTimeOptions, Parsed), PlanError> {
    let watermark = event_time.watermark.as_deref();
    let (expr, parsed) = parse_lone_expression(watermark.unwrap_or("NULL"))?;
    let clause = match (watermark, &event_time.time_field) {
        (None, _) => None,
        (Some(_), Some(column)) => Some(WatermarkClause {
            column: Ident::with_quote('"', column),
            watermark: Some(expr),
            location: None,
        }),
        (Some(_), None) => {
            let message = "a watermark needs 'event_time_field' beside it";
            return Err(PlanError::new(message));
        }
    };
    let option = |key: &str, value: &Option<String>| {
        value.clone().map(|value| SqlOption {
            key: key.to_owned(),
            value,
            location: None,
        })
    };
    let options = EventTimeOptions {
        clause,
        time_field: option("event_time_field", &event_time.time_field),
        watermark_field: option("watermark_field", &event_time.watermark_field),
        idle_micros: option(
            "idle_micros",
            &event_time.idle_micros.map(|us| us.to_string()),
        ),
    };
    Ok((options, parsed))
}
