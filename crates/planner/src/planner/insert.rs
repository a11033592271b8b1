//! `INSERT INTO …`: which table is written, and with what.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{Ident, Insert, Spanned, TableObject};
use headwater_connector::{Connection, ConnectionType, Location, TableSchema};

use super::Planner;
use crate::catalog::Relation;
use crate::ddl::Configuration;
use crate::error::PlanError;
use crate::names::single;
use crate::parse::{Parsed, place};
use crate::query::{self, Target};

impl Planner {
    pub(super) async fn insert(
        &mut self,
        insert: &Insert,
        parsed: &Parsed,
    ) -> Result<(Arc<Connection>, Arc<dyn ExecutionPlan>), PlanError> {
        let (name, location) = inserted_table(insert, parsed)?;
        let Some(syntax) = &insert.source else {
            return Err(PlanError::new("INSERT INTO needs a SELECT").at(parsed.location));
        };
        let names = column_list(insert)?;
        let missing = |error: PlanError| error.or_at(location);
        let untyped = match self.catalog.get(&name).map_err(missing)? {
            Relation::Sink(_) => None,
            Relation::Untyped(sink) => Some(sink.clone()),
            Relation::Source { .. } | Relation::View(_) => {
                let message = format!("'{name}' is no sink and cannot be written");
                return Err(PlanError::new(message).at(location));
            }
        };
        let (query, sink) = match untyped {
            Some(untyped) => {
                let query = self.bind_named(syntax, parsed)?;
                let sink = self.give_columns(&name, &untyped, &query, parsed)?;
                (query, sink)
            }
            None => (self.bind_unnamed(syntax, parsed)?, self.connection(&name)?),
        };
        let schema: &Schema = &sink.config.schema.arrow_schema();
        let target = Target {
            table: &name,
            schema,
            names: &names,
            location,
        };
        let query = query::into_sink(query, syntax, &target)?;
        Ok((sink, self.compile(&query, parsed).await?))
    }

    /// Makes a sink of a table that was declared without columns.
    fn give_columns(
        &mut self,
        name: &str,
        untyped: &Configuration,
        query: &LogicalPlan,
        parsed: &Parsed,
    ) -> Result<Arc<Connection>, PlanError> {
        let typed = query::into_plain(query.clone());
        let typed = typed.map_err(|error| self.bind_error(&error, parsed))?;
        let schema = TableSchema::payload_only(&query::sink_schema(&typed));
        let sink = Arc::new(self.connect(name, untyped, schema)?);
        if sink.connection_type != ConnectionType::Sink {
            return Err(
                PlanError::new(format!("source table '{name}' has no columns"))
                    .at(untyped.location)
                    .hint("declare them in parentheses after its name"),
            );
        }
        self.catalog.insert(name, Relation::Sink(Arc::clone(&sink)));
        Ok(sink)
    }
}

/// The table that an `INSERT` writes; every clause but the column list and the query is refused.
fn inserted_table(
    insert: &Insert,
    parsed: &Parsed,
) -> Result<(String, Option<Location>), PlanError> {
    let odd = insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || insert.replace_into
        || insert.on.is_some()
        || insert.returning.is_some()
        || insert.output.is_some()
        || insert.table_alias.is_some()
        || insert.partitioned.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || !insert.assignments.is_empty()
        || !insert.after_columns.is_empty();
    match &insert.table {
        TableObject::TableName(name) if !odd => single(name),
        _ => Err(
            PlanError::new("INSERT takes the form INSERT INTO t (a, b) SELECT …")
                .at(parsed.location),
        ),
    }
}

fn column_list(insert: &Insert) -> Result<Vec<Ident>, PlanError> {
    let idents = insert.columns.iter().map(|name| match name.0.as_slice() {
        [part] => part.as_ident().cloned(),
        _ => None,
    });
    let idents: Option<Vec<_>> = idents.collect();
    idents.ok_or_else(|| {
        let message = "the list after INSERT INTO t takes names of columns";
        let location = insert
            .columns
            .first()
            .and_then(|name| place(name.span().start));
        PlanError::new(message).at(location)
    })
}
