//! The planner: what each statement does to the catalog and to the dataflow.

use std::sync::Arc;
use std::thread;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{CreateView, DescribeAlias, Query, Statement, Visit};
use headwater_connector::{Connection, ConnectionProfile, Location, Registry};
use tokio::runtime::Builder;

use crate::bind_error::plan_error;
use crate::catalog::{Catalog, Relation};
use crate::error::PlanError;
use crate::names::{normalised, single};
use crate::parse::{Parsed, parse};
use crate::plan::Plan;
use crate::query;
use crate::session::Session;
use crate::stream::Output;
use crate::translate::Dataflow;
use crate::unsupported;

mod configured;
mod dead_letter;
mod event_time;
mod insert;
mod pinpoint;
mod settings;
mod tables;

pub use self::configured::EventTime;
use self::insert::{MemoryWrite, Written};
pub(crate) use self::settings::Settings;

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
    /// The connection profiles that these tables name, in the same order.
    pub profiles: Vec<String>,
}

/// Turns SQL into dataflow plans; remembers the tables, views and profiles that it was told of.
pub struct Planner {
    registry: Registry,
    profiles: Vec<ConnectionProfile>,
    catalog: Catalog,
    settings: Settings,
    /// DataFusion, or why it could not be set up: told when something is planned, so that `new` need not fail.
    session: Result<Session, String>,
}

/// What has come of a text so far.
#[derive(Default)]
struct Draft {
    dataflow: Dataflow,
    explains: Vec<String>,
    /// The tables, each with the place of the option for its dead letters.
    tables: Vec<(String, Option<Location>)>,
    profiles: Vec<String>,
}

impl Planner {
    /// A planner with an empty catalog, whose tables are made by these connectors.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            profiles: Vec::new(),
            catalog: Catalog::default(),
            settings: Settings::default(),
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
        self.on_deep_stack(|planner| {
            // rows that are part of a query are computed by DataFusion, some of whose operators want a runtime
            let runtime = Builder::new_current_thread().build();
            let runtime = runtime
                .map_err(|error| PlanError::new(format!("no runtime for planning: {error}")))?;
            runtime.block_on(planner.script(sql))
        })
    }

    /// Does something with the stack that any text needs.
    fn on_deep_stack<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, PlanError> + Send,
    ) -> Result<T, PlanError> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name("planner".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || work(self))
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
            if let Err(error) = self.statement(&parsed, &mut draft).await {
                return Err(self.pinpointed(error, &parsed).await);
            }
        }
        self.check_dead_letters(&draft)?;
        let plan = draft
            .dataflow
            .finish(&self.registry.clone(), |table| self.dead_letters(table))?;
        let tables = draft.tables.iter().map(|(name, _)| self.connection(name));
        Ok(Script {
            tables: tables.collect::<Result<_, _>>()?,
            plan,
            explains: draft.explains,
            profiles: draft.profiles,
        })
    }

    async fn statement(&mut self, parsed: &Parsed, draft: &mut Draft) -> Result<(), PlanError> {
        match &parsed.statement {
            Statement::CreateTable(create) => self.create_table(create, parsed, draft).await,
            Statement::CreateView(create) => self.create_view(create, parsed).await,
            Statement::Set(set) => self.set(set, parsed),
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
                let plan =
                    dataflow.finish(&self.registry.clone(), |table| self.dead_letters(table))?;
                draft.explains.push(plan.unwrap_or_default().to_string());
                Ok(())
            }
            Statement::Explain { .. } => Err(PlanError::new(
                "EXPLAIN takes an INSERT or a SELECT and no options",
            )
            .at(parsed.location)),
            statement => {
                let write = self.flow(statement, parsed, &mut draft.dataflow).await?;
                self.remember(write);
                Ok(())
            }
        }
    }

    /// A statement through which data flows; answers with what it writes to a memory table, if it writes one.
    async fn flow(
        &mut self,
        statement: &Statement,
        parsed: &Parsed,
        dataflow: &mut Dataflow,
    ) -> Result<Option<MemoryWrite>, PlanError> {
        match statement {
            Statement::Insert(insert) => {
                let written = self.insert(insert, parsed).await?;
                self.written(written, dataflow)
            }
            Statement::Query(query) => {
                let query = self.bind_shown(query, parsed)?;
                let query = query::into_plain(query);
                let query = query.map_err(|error| self.bind_error(&error, parsed))?;
                let shown = dataflow.preview(&self.compile(&query, parsed, Output::Any).await?);
                let shown = shown.and_then(|()| dataflow.check_exclusive(&self.registry));
                shown.map(|()| None)
            }
            other => Err(unsupported::statement(other, parsed.location)),
        }
        .map_err(|error| error.or_at(Some(parsed.location)))
    }

    /// Has a sink written by the dataflow.
    fn written(
        &self,
        written: Written,
        dataflow: &mut Dataflow,
    ) -> Result<Option<MemoryWrite>, PlanError> {
        match written {
            Written::Sink(sink, query) => {
                dataflow.write(&sink, &query)?;
                dataflow.check_exclusive(&self.registry)?;
                Ok(None)
            }
            Written::Memory(write) => Ok(Some(write)),
        }
    }

    /// Has a memory table written for all that read it from now on.
    fn remember(&mut self, write: Option<MemoryWrite>) {
        if let Some(MemoryWrite { table, query }) = write {
            self.catalog.write(&table, query);
        }
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
        let mut query = match create.columns.as_slice() {
            [] => self.bind_named(&create.query, parsed)?,
            _ => self.bind_unnamed(&create.query, parsed)?,
        };
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
        self.compile(&query, parsed, Output::Any).await?;
        self.catalog.insert(&name, Relation::View(query));
        Ok(())
    }

    fn session(&self) -> Result<&Session, PlanError> {
        self.session.as_ref().map_err(PlanError::new)
    }

    /// Refuses what cannot be run, and binds the rest to the catalog.
    fn bind(&self, query: &Query, parsed: &Parsed) -> Result<LogicalPlan, PlanError> {
        let session = self.session()?;
        self.refuse(query, parsed)?;
        let bound = session.query(&self.catalog, query);
        bound.map_err(|error| self.bind_error(&error, parsed))
    }

    /// Binds a query of which only the order of the columns counts: several of them may have the same name.
    fn bind_unnamed(&self, query: &Query, parsed: &Parsed) -> Result<LogicalPlan, PlanError> {
        // What is wrong beside the names comes up again.
        self.bind(query, parsed)
            .or_else(|_| self.bind(&query::numbered(query), parsed))
    }

    /// Binds a query whose columns become columns of something, each by its name.
    fn bind_named(&self, query: &Query, parsed: &Parsed) -> Result<LogicalPlan, PlanError> {
        match self.bind(query, parsed) {
            Ok(bound) if !query::has_unnamed(query) => Ok(bound),
            outcome => {
                let numbered = self.bind(&query::numbered(query), parsed);
                let Ok(numbered) = numbered else {
                    return outcome;
                };
                let names = query::shown_names(query, &numbered);
                let duplicate = query::duplicate(&names, query)
                    .or_else(|| query::duplicate(&query::written_alike(&names, &numbered), query));
                match duplicate {
                    Some(duplicate) => Err(duplicate),
                    None => self.with_names(outcome?, numbered, &names, parsed),
                }
            }
        }
    }

    /// Binds a query whose rows are shown: columns of the same name are told apart by a number.
    fn bind_shown(&self, query: &Query, parsed: &Parsed) -> Result<LogicalPlan, PlanError> {
        match self.bind(query, parsed) {
            Ok(bound) if !query::has_unnamed(query) => Ok(bound),
            outcome => {
                let numbered = self.bind(&query::numbered(query), parsed)?;
                let names = query::distinct(query::shown_names(query, &numbered));
                let bound = outcome.unwrap_or_else(|_same_names| numbered.clone());
                self.with_names(bound, numbered, &names, parsed)
            }
        }
    }

    /// Gives the columns of a [numbered](query::numbered) query the names that stand in the text, instead of those that
    /// DataFusion makes up. What unfolds to several columns (`unnest` of a struct) is left as it was bound.
    fn with_names(
        &self,
        bound: LogicalPlan,
        numbered: LogicalPlan,
        names: &[String],
        parsed: &Parsed,
    ) -> Result<LogicalPlan, PlanError> {
        let columns = numbered.schema().fields().len();
        if columns != names.len() || columns != bound.schema().fields().len() {
            return Ok(bound);
        }
        let renamed = query::renamed(numbered, names);
        renamed.map_err(|error| self.bind_error(&error, parsed))
    }

    fn refuse(&self, syntax: &impl Visit, parsed: &Parsed) -> Result<(), PlanError> {
        unsupported::check(syntax, parsed)
    }

    async fn compile(
        &self,
        query: &LogicalPlan,
        parsed: &Parsed,
        output: Output<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, PlanError> {
        let compiled = self.session()?.compile(query, &self.settings, output).await;
        compiled.map_err(|error| self.bind_error(&error, parsed))
    }

    fn bind_error(&self, error: &DataFusionError, parsed: &Parsed) -> PlanError {
        match self.session() {
            Ok(session) => plan_error(error, parsed, session, &self.catalog),
            Err(broken) => broken,
        }
    }
}
