//! The planner: what each statement does to the catalog and to the dataflow.

use std::sync::Arc;
use std::thread;

use arrow::datatypes::Schema;
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{
    CreateTable, CreateView, DescribeAlias, Ident, Insert, Query, Statement, TableObject, Visit,
};
use futures::executor::block_on;
use headwater_connector::config::nearest;
use headwater_connector::{
    Connection, ConnectionProfile, ConnectionType, ErasedConnector, Location, Registry, SqlOption,
    TableSchema,
};

use crate::bind_error::plan_error;
use crate::catalog::{Catalog, Relation};
use crate::ddl::{self, Configuration, Declaration, Values};
use crate::error::PlanError;
use crate::names::{normalised, single};
use crate::parse::{Parsed, parse};
use crate::plan::Plan;
use crate::query::{self, Target};
use crate::session::Session;
use crate::source::SourceTable;
use crate::translate::Dataflow;
use crate::unsupported;

/// The stack on which a text is planned. Parsing, binding and optimising recurse over expressions, whose depth is
/// bounded by `parse`; the default stack of a thread would not hold that depth in a build without optimisation. It is
/// reserved, not used.
const STACK_BYTES: usize = 512 << 20;

/// What a SQL text comes to.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// All `INSERT`s and bare `SELECT`s of the text as one dataflow, in which a table that is read several times is
    /// one source and a table that is written several times is one sink. `None` if there are none.
    pub plan: Option<Plan>,
    /// The answers of the `EXPLAIN`s, in order.
    pub explains: Vec<String>,
    /// The tables that the text creates, in order. A sink declared without columns has those of what is written to it.
    pub tables: Vec<Arc<Connection>>,
}

/// Turns SQL into dataflow plans; remembers the tables, views and profiles that it was told of.
pub struct Planner {
    registry: Registry,
    profiles: Vec<ConnectionProfile>,
    catalog: Catalog,
    /// DataFusion, or why it could not be set up: told when something is planned, so that `new` need not fail.
    session: Result<Session, String>,
}

/// What has come of a text so far.
#[derive(Default)]
struct Draft {
    dataflow: Dataflow,
    explains: Vec<String>,
    tables: Vec<String>,
}

impl Planner {
    /// A planner with an empty catalog, whose tables are made by these connectors.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            profiles: Vec::new(),
            catalog: Catalog::default(),
            session: Session::new().map_err(|error| error.strip_backtrace()),
        }
    }

    /// Makes a profile known to `connection_profile = '…'`; the last one of a name wins.
    pub fn add_profile(&mut self, profile: ConnectionProfile) {
        self.profiles.retain(|known| known.name != profile.name);
        self.profiles.push(profile);
    }

    /// Plans a SQL text of any number of statements. Works without waiting for anything; blocks for some milliseconds.
    ///
    /// # Errors
    /// The first thing that is wrong with the text, with its place in it. The tables and views that stand before it
    /// are in the catalog then.
    pub async fn plan(&mut self, sql: &str) -> Result<Script, PlanError> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name("planner".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || block_on(self.script(sql)))
                .map_err(|error| PlanError::new(format!("no thread for planning: {error}")))?
                .join()
                .unwrap_or_else(|_payload| {
                    let error = PlanError::new("the planner failed on this text; this is a bug");
                    Err(error.hint("please report it with the SQL text"))
                })
        })
    }

    async fn script(&mut self, sql: &str) -> Result<Script, PlanError> {
        let mut draft = Draft::default();
        for parsed in parse(sql)? {
            self.statement(&parsed, &mut draft).await?;
        }
        let tables = draft.tables.iter().map(|name| self.connection(name));
        Ok(Script {
            tables: tables.collect::<Result<_, _>>()?,
            plan: draft.dataflow.finish(),
            explains: draft.explains,
        })
    }

    async fn statement(&mut self, parsed: &Parsed, draft: &mut Draft) -> Result<(), PlanError> {
        match &parsed.statement {
            Statement::CreateTable(create) => self.create_table(create, parsed, draft).await,
            Statement::CreateView(create) => self.create_view(create, parsed).await,
            Statement::Explain {
                describe_alias: DescribeAlias::Explain,
                analyze: false,
                verbose: false,
                query_plan: false,
                estimate: false,
                statement,
                format: None,
                options: None,
            } => {
                let mut dataflow = Dataflow::default();
                self.flow(statement, parsed, &mut dataflow).await?;
                let plan = dataflow.finish().unwrap_or_default();
                draft.explains.push(plan.to_string());
                Ok(())
            }
            Statement::Explain { .. } => Err(PlanError::new(
                "EXPLAIN takes an INSERT or a SELECT and no options",
            )
            .at(parsed.location)),
            statement => self.flow(statement, parsed, &mut draft.dataflow).await,
        }
    }

    /// A statement through which data flows.
    async fn flow(
        &mut self,
        statement: &Statement,
        parsed: &Parsed,
        dataflow: &mut Dataflow,
    ) -> Result<(), PlanError> {
        match statement {
            Statement::Insert(insert) => {
                let (sink, query) = self.insert(insert, parsed).await?;
                dataflow.write(&sink, &query)
            }
            Statement::Query(query) => {
                let query = self.bind(query, parsed)?;
                let query = query::into_plain(query);
                let query = query.map_err(|error| self.bind_error(&error, parsed))?;
                dataflow.preview(&self.compile(&query, parsed).await?)
            }
            other => Err(unsupported::statement(other, parsed.location)),
        }
        .map_err(|error| error.or_at(Some(parsed.location)))
    }

    async fn create_table(
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
        let declaration = ddl::declaration(create.clone(), parsed, self.session()?)?;
        let relation = if declaration.columns.is_empty() {
            self.untyped(declaration)?
        } else {
            self.typed(declaration, parsed).await?
        };
        self.catalog.insert(&name, relation);
        draft.tables.push(name);
        Ok(())
    }

    /// A table without columns, whose options are checked when its columns are known.
    fn untyped(&self, declaration: Declaration) -> Result<Relation, PlanError> {
        self.connector(&declaration.configuration)?;
        Ok(Relation::Untyped(declaration.configuration))
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

    /// The columns of a source as a query over its physical columns.
    async fn source_query(
        &self,
        connection: &Arc<Connection>,
        declaration: &Declaration,
        parsed: &Parsed,
    ) -> Result<LogicalPlan, PlanError> {
        let bind_error = |error: DataFusionError| self.bind_error(&error, parsed);
        let table = provider_as_source(Arc::new(SourceTable::new(Arc::clone(connection))));
        let scan = LogicalPlanBuilder::scan(declaration.name.as_str(), table, None);
        let scan = scan.map_err(bind_error)?;
        if declaration.first_generated().is_none() {
            return scan.build().map_err(bind_error);
        }
        let mut exprs = Vec::with_capacity(declaration.columns.len());
        for column in &declaration.columns {
            let field = &column.field;
            exprs.push(match &column.values {
                Values::Physical(_) => Expr::Column(field.name().as_str().into()),
                Values::Generated(expr) => {
                    self.refuse(expr.as_ref(), parsed)?;
                    let expr = self
                        .session()?
                        .expression(expr.as_ref().clone(), scan.schema());
                    let expr = Box::new(expr.map_err(bind_error)?);
                    Expr::Cast(Cast::new(expr, field.data_type().clone())).alias(field.name())
                }
            });
        }
        let query = scan.project(exprs).and_then(LogicalPlanBuilder::build);
        let query = query.map_err(bind_error)?;
        // Compiled only to find now, and here, what would be found when the table is read.
        self.compile(&query, parsed).await?;
        Ok(query)
    }

    async fn create_view(&mut self, create: &CreateView, parsed: &Parsed) -> Result<(), PlanError> {
        let (name, location) = single(&create.name)?;
        let plain = !(create.or_replace || create.materialized || create.temporary);
        if !plain || create.to.is_some() {
            let message = "a view is CREATE VIEW name AS SELECT …, without OR REPLACE, MATERIALIZED, TEMPORARY or TO";
            return Err(PlanError::new(message).at(parsed.location));
        }
        if create.if_not_exists && self.catalog.contains(&name) {
            return Ok(());
        }
        let location = location.unwrap_or(parsed.location);
        self.catalog.check_free(&name, location)?;
        let mut query = self.bind(&create.query, parsed)?;
        if !create.columns.is_empty() {
            let names = create.columns.iter().map(|column| normalised(&column.name));
            let names: Vec<_> = names.collect();
            if names.len() != query.schema().fields().len() {
                let given = query.schema().fields().len();
                let message = format!("view '{name}' names {} columns of {given}", names.len());
                return Err(PlanError::new(message).at(location));
            }
            let renamed = query::renamed(query, &names);
            query = renamed.map_err(|error| self.bind_error(&error, parsed))?;
        }
        // Compiled only to find mistakes where they were made, and not where the view is used.
        self.compile(&query, parsed).await?;
        self.catalog.insert(&name, Relation::View(query));
        Ok(())
    }

    async fn insert(
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
                let query = self.bind(syntax, parsed)?;
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
        if sink.connection_type == ConnectionType::Source {
            return Err(
                PlanError::new(format!("source table '{name}' has no columns"))
                    .at(untyped.location)
                    .hint("declare them in parentheses after its name"),
            );
        }
        self.catalog.insert(name, Relation::Sink(Arc::clone(&sink)));
        Ok(sink)
    }

    /// A table of the catalog. One without columns is made without, so that it can at least be tested.
    fn connection(&self, name: &str) -> Result<Arc<Connection>, PlanError> {
        match self.catalog.get(name)? {
            Relation::Source { connection, .. } | Relation::Sink(connection) => {
                Ok(Arc::clone(connection))
            }
            Relation::Untyped(sink) => {
                let connection = self.connect(name, sink, TableSchema::default())?;
                if connection.connection_type == ConnectionType::Source {
                    let message = format!("source table '{name}' has no columns");
                    return Err(PlanError::new(message).at(sink.location));
                }
                Ok(Arc::new(connection))
            }
            Relation::View(_) => Err(PlanError::new(format!("'{name}' is a view"))),
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
    fn connect(
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
                    None => error,
                }
            }
        };
        Err(error.at(option.location))
    }

    fn session(&self) -> Result<&Session, PlanError> {
        self.session.as_ref().map_err(PlanError::new)
    }

    /// Refuses what cannot be run, and binds the rest to the catalog.
    fn bind(&self, query: &Query, parsed: &Parsed) -> Result<LogicalPlan, PlanError> {
        let session = self.session()?;
        self.refuse(query, parsed)?;
        let bound = session.query(&self.catalog, query.clone());
        bound.map_err(|error| self.bind_error(&error, parsed))
    }

    /// Binds a query of which only the order of the columns counts: several of them may have the same name.
    fn bind_unnamed(&self, query: &Query, parsed: &Parsed) -> Result<LogicalPlan, PlanError> {
        self.bind(query, parsed).or_else(|error| {
            let numbered = query::numbered(query);
            self.bind(&numbered, parsed).map_err(|_same| error)
        })
    }

    fn refuse(&self, syntax: &impl Visit, parsed: &Parsed) -> Result<(), PlanError> {
        unsupported::check(syntax, parsed, self.session()?)
    }

    async fn compile(
        &self,
        query: &LogicalPlan,
        parsed: &Parsed,
    ) -> Result<Arc<dyn ExecutionPlan>, PlanError> {
        let compiled = self.session()?.compile(query).await;
        compiled.map_err(|error| self.bind_error(&error, parsed))
    }

    fn bind_error(&self, error: &DataFusionError, parsed: &Parsed) -> PlanError {
        match self.session() {
            Ok(session) => plan_error(error, parsed, session),
            Err(broken) => broken,
        }
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
        let location = insert.columns.first().and_then(|name| {
            use datafusion::sql::sqlparser::ast::Spanned;
            crate::parse::place(name.span().start)
        });
        PlanError::new(message).at(location)
    })
}
