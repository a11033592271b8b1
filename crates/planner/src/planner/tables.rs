//! `CREATE TABLE`: a declaration becomes a relation of the catalog, by its connector or as a stream within the job.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, CreateTable};
use headwater_connector::config::nearest;
use headwater_connector::{
    Connection, ConnectionProfile, ConnectionType, ErasedConnector, SqlOption, TableSchema,
};

use super::insert::Write;
use super::{Draft, Planner, dead_letter, pinpoint};
use crate::catalog::{Memory, Relation};
use crate::ddl::{self, Configuration, Declaration, Values};
use crate::error::PlanError;
use crate::names::single;
use crate::parse::Parsed;
use crate::plan::CHANGE;
use crate::query;
use crate::source::SourceTable;
use crate::stream::Output;

impl Planner {
    /// Makes a table and adds it to the catalog.
    pub(super) async fn create_table(
        &mut self,
        create: &CreateTable,
        parsed: &Parsed,
        draft: &mut Draft,
    ) -> Result<(), PlanError> {
        let (name, location) = single(&create.name)?;
        if create.if_not_exists && self.catalog.contains(&name) {
            return Ok(());
        }
        self.catalog
            .check_free(&name, location.unwrap_or(parsed.location))?;
        if ddl::is_memory(create) {
            let relation = self.memory(create, parsed)?;
            self.catalog.insert(&name, relation);
        } else {
            self.create_connection(create, &name, parsed, draft).await?;
        }
        let Some(query) = &create.query else {
            return Ok(());
        };
        let write = Write {
            table: name,
            location,
            names: Vec::new(),
            query,
        };
        let written = self.write(write, parsed).await?;
        let write = self.written(written, &mut draft.dataflow);
        let write = write.map_err(|error| error.or_at(Some(parsed.location)))?;
        self.remember(write);
        Ok(())
    }

    /// A table without a connector, whose columns may be those of the query that writes it first.
    fn memory(&self, create: &CreateTable, parsed: &Parsed) -> Result<Relation, PlanError> {
        let (declared, key) = ddl::memory(create, parsed, self.session()?)?;
        let schema = match &create.query {
            Some(query) if declared.fields().is_empty() => {
                let query = query::into_plain(self.bind_named(query, parsed)?);
                query::sink_schema(&query.map_err(|error| self.bind_error(&error, parsed))?)
            }
            _ => declared,
        };
        Ok(Relation::Memory(Memory::new(Arc::new(schema), key)))
    }

    /// A table that a connector reads or writes.
    async fn create_connection(
        &mut self,
        create: &CreateTable,
        name: &str,
        parsed: &Parsed,
        draft: &mut Draft,
    ) -> Result<(), PlanError> {
        let declaration = ddl::declaration(create.clone(), parsed, self.session()?)?;
        let dead_letters = dead_letter::place(&declaration.configuration);
        let event_time = declaration.event_time.location();
        let profile = declaration.configuration.profile.as_ref();
        draft
            .profiles
            .extend(profile.map(|profile| profile.value.clone()));
        let relation = if declaration.columns.is_empty() {
            self.untyped(declaration, parsed).await?
        } else {
            self.typed(declaration, parsed).await?
        };
        if let (Some(location), Relation::Sink(_) | Relation::Untyped(_)) = (event_time, &relation)
        {
            let message = format!("table '{name}' is a sink, and only sources have an event time");
            return Err(PlanError::new(message).at(location));
        }
        if create.temporary && !is_lookup(&relation) {
            let message = "CREATE TEMPORARY TABLE is for lookup tables, as in Arroyo";
            return Err(PlanError::new(message)
                .at(parsed.location)
                .hint("leave out TEMPORARY"));
        }
        self.catalog.insert(name, relation);
        draft.tables.push((name.to_owned(), dead_letters));
        Ok(())
    }

    /// A table without columns: a source whose connector knows its columns, or a sink, whose options are checked when
    /// its columns are known.
    async fn untyped(
        &self,
        declaration: Declaration,
        parsed: &Parsed,
    ) -> Result<Relation, PlanError> {
        let configuration = &declaration.configuration;
        self.connector(configuration)?;
        match self.connect(&declaration.name, configuration, TableSchema::default()) {
            Ok(source) if has_columns(&source) => {
                let connection = Arc::new(source);
                let query = self.source_query(&connection, &declaration, parsed).await?;
                Ok(Relation::Source { connection, query })
            }
            _ => Ok(Relation::Untyped(declaration.configuration)),
        }
    }

    async fn typed(
        &self,
        declaration: Declaration,
        parsed: &Parsed,
    ) -> Result<Relation, PlanError> {
        let configuration = &declaration.configuration;
        let connection = self.connect(&declaration.name, configuration, declaration.physical())?;
        let connection = Arc::new(connection);
        if connection.connection_type == ConnectionType::Source {
            let query = self.source_query(&connection, &declaration, parsed).await?;
            return Ok(Relation::Source { connection, query });
        }
        if connection.connection_type == ConnectionType::Lookup {
            return self.lookup(connection, &declaration, parsed);
        }
        match declaration.first_generated() {
            None => Ok(Relation::Sink(connection)),
            Some(column) => {
                let message = format!("column '{}' of a sink is generated", column.field.name());
                Err(PlanError::new(message)
                    .at(column.location)
                    .hint("compute it in the SELECT that writes the table"))
            }
        }
    }

    /// A table in which rows are looked up: its columns as they are, without an event time.
    fn lookup(
        &self,
        connection: Arc<Connection>,
        declaration: &Declaration,
        parsed: &Parsed,
    ) -> Result<Relation, PlanError> {
        let refuse = |message: String, location| Err(PlanError::new(message).at(location));
        if let Some(column) = declaration.first_generated() {
            let name = column.field.name();
            let message = format!("column '{name}' of a lookup table is generated");
            let error = refuse(message, column.location);
            return error.map_err(|error| error.hint("compute it in the SELECT with the join"));
        }
        if let Some(location) = declaration.event_time.location() {
            let message = "a lookup table has no event time: its rows are those of the moment";
            return refuse(message.to_owned(), Some(location));
        }
        if connection.config.schema.change().is_some() {
            let message = "a lookup table has rows, and format 'debezium_json' tells changes";
            return refuse(message.to_owned(), Some(declaration.configuration.location));
        }
        let query = self.scan(&connection);
        let query = query.and_then(LogicalPlanBuilder::build);
        let query = query.map_err(|error| self.bind_error(&error, parsed))?;
        Ok(Relation::Source { connection, query })
    }

    /// The columns of a source as a query over its physical columns, with its event time.
    async fn source_query(
        &self,
        connection: &Arc<Connection>,
        declaration: &Declaration,
        parsed: &Parsed,
    ) -> Result<LogicalPlan, PlanError> {
        let columns = self.source_columns(connection, declaration, parsed).await?;
        self.with_event_time(columns, &declaration.name, &declaration.event_time, parsed)
    }

    async fn source_columns(
        &self,
        connection: &Arc<Connection>,
        declaration: &Declaration,
        parsed: &Parsed,
    ) -> Result<LogicalPlan, PlanError> {
        let bind_error = |error: DataFusionError| self.bind_error(&error, parsed);
        let scan = self.scan(connection).map_err(bind_error)?;
        if declaration.first_generated().is_none() {
            return scan.build().map_err(bind_error);
        }
        let mut exprs = Vec::with_capacity(declaration.columns.len() + 1);
        for column in &declaration.columns {
            let field = &column.field;
            exprs.push(match &column.values {
                Values::Physical(_) => Expr::Column(field.name().as_str().into()),
                Values::Generated(expr) => self.generated(&scan, field, expr, parsed).await?,
            });
        }
        let change = connection.config.schema.change();
        exprs.extend(change.map(|_index| Expr::Column(CHANGE.into())));
        let query = scan.project(exprs).and_then(LogicalPlanBuilder::build);
        query.map_err(bind_error)
    }

    /// The expression of a generated column.
    async fn generated(
        &self,
        scan: &LogicalPlanBuilder,
        field: &Field,
        expr: &ast::Expr,
        parsed: &Parsed,
    ) -> Result<Expr, PlanError> {
        self.refuse(expr, parsed)?;
        let typed = async |expr: &ast::Expr, as_type: Option<&DataType>| {
            let bind_error = |error: DataFusionError| self.bind_error(&error, parsed);
            let expr = self.session()?.expression(expr.clone(), scan.schema());
            let expr = expr.map_err(bind_error)?;
            let expr = match as_type {
                Some(data_type) => Expr::Cast(Cast::new(Box::new(expr), data_type.clone())),
                None => expr,
            };
            let alone = scan.clone().project([expr.clone()]);
            let alone = alone.and_then(LogicalPlanBuilder::build);
            // compiled only to find now, and here, what would be found when the table is read
            self.compile(&alone.map_err(bind_error)?, parsed, Output::Any)
                .await?;
            Ok::<_, PlanError>(expr)
        };
        match typed(expr, Some(field.data_type())).await {
            Ok(expr) => Ok(expr.alias(field.name())),
            Err(error) if pinpoint::is_vague(&error, parsed) => {
                let fails = async |part: &ast::Expr| typed(part, None).await.err();
                let expr = pinpoint::smallest(expr.clone(), &error.message, fails).await;
                Err(match pinpoint::place_of(&expr) {
                    Some(location) => error.at(location),
                    None => error,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The physical columns of a source.
    pub(super) fn scan(
        &self,
        connection: &Arc<Connection>,
    ) -> Result<LogicalPlanBuilder, DataFusionError> {
        let connector = self.registry.get(&connection.connector);
        // one of which it is not known is read as if it went on
        let ends = connector.and_then(|connector| connector.ends(connection));
        let table = SourceTable::new(Arc::clone(connection), ends.unwrap_or(false));
        let table = provider_as_source(Arc::new(table));
        LogicalPlanBuilder::scan(connection.name.as_str(), table, None)
    }

    /// A table of the catalog. One without columns is made without, so that it can at least be tested.
    pub(super) fn connection(&self, name: &str) -> Result<Arc<Connection>, PlanError> {
        match self.catalog.get(name)? {
            Relation::Source { connection, .. } | Relation::Sink(connection) => {
                Ok(Arc::clone(connection))
            }
            Relation::Untyped(sink) => {
                let connection = self.connect(name, sink, TableSchema::default())?;
                if connection.connection_type != ConnectionType::Sink {
                    let kind = match connection.connection_type {
                        ConnectionType::Lookup => "lookup",
                        _ => "source",
                    };
                    let message = format!("{kind} table '{name}' has no columns");
                    return Err(PlanError::new(message).at(sink.location));
                }
                Ok(Arc::new(connection))
            }
            Relation::View(_) => Err(PlanError::new(format!("'{name}' is a view"))),
            Relation::Memory(_) => Err(PlanError::new(format!("'{name}' is a memory table"))),
        }
    }

    fn connector(&self, table: &Configuration) -> Result<&Arc<dyn ErasedConnector>, PlanError> {
        let SqlOption {
            value, location, ..
        } = &table.connector;
        let connector = self.registry.get(value);
        connector.map_err(|error| PlanError::from(error).or_at(location.or(Some(table.location))))
    }

    /// Has the connector make a table.
    pub(super) fn connect(
        &self,
        name: &str,
        table: &Configuration,
        schema: TableSchema,
    ) -> Result<Connection, PlanError> {
        let connector = self.connector(table)?;
        let profile = match &table.profile {
            Some(profile) => Some(self.profile(profile, connector.name())?),
            None => None,
        };
        connector
            .from_options(name, &table.options, schema, profile)
            .map_err(|error| error.located(&table.options))
            .map_err(|error| PlanError::from(error).or_at(Some(table.location)))
    }

    fn profile(
        &self,
        option: &SqlOption,
        connector: &str,
    ) -> Result<&ConnectionProfile, PlanError> {
        let name = &option.value;
        let profile = self.profiles.iter().find(|profile| profile.name == *name);
        let error = match profile {
            Some(profile) if profile.connector == connector => return Ok(profile),
            Some(profile) => PlanError::new(format!(
                "connection profile '{name}' is for the connector '{}', not for '{connector}'",
                profile.connector
            )),
            None => {
                let error = PlanError::new(format!("connection profile '{name}' not found"));
                let known = self.profiles.iter().map(|profile| profile.name.as_str());
                match nearest(name, known) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error.hint(
                        "profiles are JSON files, given to the command by --profile FILE.json, or kept by the server",
                    ),
                }
            }
        };
        Err(error.at(option.location))
    }
}

fn is_lookup(relation: &Relation) -> bool {
    match relation {
        Relation::Source { connection, .. } => connection.connection_type == ConnectionType::Lookup,
        _ => false,
    }
}

fn has_columns(source: &Connection) -> bool {
    let columns = &source.config.schema.columns;
    source.connection_type == ConnectionType::Source && !columns.is_empty()
}
