//! `INSERT INTO …`: which table is written, and with what.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{Ident, Insert, Query, Spanned, TableObject};
use headwater_connector::{Connection, ConnectionType, Location, TableSchema};

use super::Planner;
use crate::catalog::Relation;
use crate::ddl::Configuration;
use crate::error::PlanError;
use crate::names::single;
use crate::parse::{Parsed, place};
use crate::query::{self, Target};
use crate::stream::Output;

/// What a query is written to.
pub(super) enum Written {
    /// A sink, by a compiled query.
    Sink(Arc<Connection>, Arc<dyn ExecutionPlan>),
    /// A memory table.
    Memory(MemoryWrite),
}

/// What is written to a memory table, by a query that has its columns.
pub(super) struct MemoryWrite {
    pub(super) table: String,
    pub(super) query: LogicalPlan,
}

/// A query, and the table that it is to be written to.
pub(super) struct Write<'a> {
    pub(super) table: String,
    /// Where the table's name stands.
    pub(super) location: Option<Location>,
    /// The names in `INSERT INTO t (…)`.
    pub(super) names: Vec<Ident>,
    pub(super) query: &'a Query,
}

impl Planner {
    pub(super) async fn insert(
        &mut self,
        insert: &Insert,
        parsed: &Parsed,
    ) -> Result<Written, PlanError> {
        let (table, location) = inserted_table(insert, parsed)?;
        let Some(query) = &insert.source else {
            return Err(PlanError::new("INSERT INTO needs a SELECT").at(parsed.location));
        };
        let write = Write {
            table,
            location,
            names: column_list(insert)?,
            query,
        };
        self.write(write, parsed).await
    }

    pub(super) async fn write(
        &mut self,
        write: Write<'_>,
        parsed: &Parsed,
    ) -> Result<Written, PlanError> {
        let Write {
            table,
            location,
            names,
            query: syntax,
        } = write;
        let missing = |error: PlanError| error.or_at(location);
        let into = |schema: &Schema, query| {
            let target = Target {
                table: &table,
                schema,
                names: &names,
                location,
            };
            query::into_sink(query, syntax, &target)
        };
        match self.catalog.get(&table).map_err(missing)? {
            Relation::Sink(sink) => {
                let sink = Arc::clone(sink);
                let query = self.bind_unnamed(syntax, parsed)?;
                let query = into(&declared(&sink), query)?;
                let output = Output::Sink(&sink);
                let query = self.compile(&query, parsed, output).await?;
                Ok(Written::Sink(sink, query))
            }
            Relation::Untyped(untyped) => {
                let untyped = untyped.clone();
                let query = self.bind_named(syntax, parsed)?;
                let sink = self.give_columns(&table, &untyped, &query, parsed)?;
                let query = into(&declared(&sink), query)?;
                let output = Output::Sink(&sink);
                let query = self.compile(&query, parsed, output).await?;
                Ok(Written::Sink(sink, query))
            }
            Relation::Memory(memory) => {
                memory.check_unread(&table).map_err(missing)?;
                let schema = Arc::clone(&memory.schema);
                let query = into(&schema, self.bind_unnamed(syntax, parsed)?)?;
                if let Relation::Memory(memory) = self.catalog.get(&table)? {
                    // unless it reads itself
                    memory.check_unread(&table).map_err(missing)?;
                }
                // Compiled only to find mistakes where they were made, and not where the table is read.
                self.compile(&query, parsed, Output::Any).await?;
                self.check_keys(&table, &query, parsed)
                    .await
                    .map_err(missing)?;
                Ok(Written::Memory(MemoryWrite { table, query }))
            }
            Relation::Source { .. } | Relation::View(_) => {
                let message = format!("'{table}' is no sink and cannot be written");
                Err(PlanError::new(message).at(location))
            }
        }
    }

    /// Refuses rows of the text itself that have the same primary key in a memory table.
    async fn check_keys(
        &self,
        table: &str,
        query: &LogicalPlan,
        parsed: &Parsed,
    ) -> Result<(), PlanError> {
        let Relation::Memory(memory) = self.catalog.get(table)? else {
            return Ok(());
        };
        let bind_error = |error: DataFusionError| self.bind_error(&error, parsed);
        let Some(values) = memory.keyed_values(query).map_err(bind_error)? else {
            return Ok(());
        };
        let session = self.session()?;
        match session
            .repeated(&values, &memory.key)
            .await
            .map_err(bind_error)?
        {
            None => Ok(()),
            Some(key) => Err(PlanError::new(format!(
                "memory table '{table}' is given two rows with the primary key ({key})"
            ))
            .hint(
                "leave one of them out, or leave out PRIMARY KEY if a key may have several rows",
            )),
        }
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

/// The columns of a sink that a query gives it.
fn declared(sink: &Connection) -> Schema {
    let schema = sink.config.schema.arrow_schema();
    let fields = schema.fields().iter().enumerate();
    let fields = fields.filter(|(index, _)| Some(*index) != sink.config.schema.change());
    Schema::new(
        fields
            .map(|(_, field)| Arc::clone(field))
            .collect::<Vec<_>>(),
    )
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
