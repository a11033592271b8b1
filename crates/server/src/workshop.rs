//! Where SQL becomes dataflows, and configurations become tables, with what the server keeps.
//!
//! Every text is planned with a catalog of its own, in which all kept profiles and tables are known: pipelines share
//! those, and nothing else.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use headwater_engine::connector::config::{self, MASK};
use headwater_engine::connector::{
    Connection, ConnectionProfile, ConnectionType, ConnectorMetadata, Registry,
};
use headwater_engine::{Engine, Graph, Node, Plan, PlanError, PlanOperator, Script, previewed};
use serde_json::Value;
use tokio::sync::Semaphore;
use tracing::{Instrument, field};

use crate::guarded::Allowed;
use crate::problem::Problem;
use crate::store::{NewTable, ProfileRecord, Store, TableRecord};
use crate::traces::{self, TARGET};

/// How many texts are planned at the same time: each takes a core for some milliseconds.
const PLANNERS: usize = 2;

/// Plans and configures.
pub(crate) struct Workshop {
    registry: Registry,
    planners: Arc<Semaphore>,
}

/// A SQL text that could be run.
pub(crate) struct Planned {
    pub(crate) engine: Engine,
    pub(crate) plan: Plan,
    pub(crate) graph: Graph,
    /// The profiles that it names.
    pub(crate) profiles: Vec<String>,
    /// The kept tables that it reads and writes.
    pub(crate) tables: Vec<String>,
}

/// Why a text was not planned.
pub(crate) enum Refusal {
    /// It is wrong.
    Sql(PlanError),
    /// Something else is.
    Other(Problem),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Sql(error) => error.into(),
            Refusal::Other(problem) => problem,
        }
    }
}

impl Workshop {
    /// With these connectors, which may use what is allowed.
    pub(crate) fn new(connectors: &Registry, allowed: &Allowed) -> Self {
        Self {
            registry: allowed.guard(connectors),
            planners: Arc::new(Semaphore::new(PLANNERS)),
        }
    }

    /// The connectors.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Plans a text. Without `writes`, its sinks are only shown.
    pub(crate) async fn plan(
        &self,
        store: &Store,
        sql: &str,
        writes: bool,
    ) -> Result<Planned, Refusal> {
        let kept = store.run(|db| Ok((db.profiles()?, db.tables()?))).await;
        let (profiles, tables) = kept.map_err(|error| Refusal::Other(error.into()))?;
        let registry = self.registry.clone();
        let sql = sql.to_owned();
        let span = tracing::info_span!(target: TARGET, "plan", otel.status_code = field::Empty);
        let planning =
            self.planning(async move { plan(registry, profiles, &tables, &sql, writes).await });
        let planned = planning.instrument(span.clone()).await;
        let planned = planned.map_err(Refusal::Other)?;
        if planned.is_err() {
            traces::fail(&span);
        }
        planned
    }

    /// Checks a profile against its connector's schema.
    pub(crate) fn check_profile(&self, connector: &str, config: &Value) -> Result<(), Problem> {
        let connector = self.registry.get(connector)?;
        refuse_masks(config)?;
        Ok(connector.check_profile(config)?)
    }

    /// What may be shown of a profile.
    pub(crate) fn shown_profile(&self, profile: ProfileRecord) -> crate::types::ConnectionProfile {
        let metadata = self.registry.get(&profile.connector).map(|c| c.metadata());
        let schema = metadata.ok().and_then(|metadata| metadata.profile_schema);
        let config = config::redact(schema.unwrap_or("null"), &profile.config);
        let url = config["url"].as_str().map(str::to_owned);
        crate::types::ConnectionProfile {
            description: url.unwrap_or_else(|| profile.connector.clone()),
            id: profile.id,
            name: profile.name,
            connector: profile.connector,
            config,
        }
    }

    /// What may be shown of a table, usable or not.
    pub(crate) fn shown_table(
        &self,
        table: TableRecord,
    ) -> Result<crate::types::ConnectionTable, Problem> {
        let metadata = self.registry.get(&table.connector)?.metadata();
        Ok(crate::types::ConnectionTable {
            table_type: table_type(&metadata, &table.config),
            config: config::redact(metadata.table_schema, &table.config),
            connection_profile: table.profile.map(|profile| self.shown_profile(profile)),
            id: table.id,
            name: table.name,
            created_at: table.created_at,
            connector: table.connector,
            schema: table.schema,
            consumers: table.consumers,
        })
    }

    /// Makes a table of a configuration that is not kept (yet), and checks that it can stand in SQL.
    pub(crate) async fn table(
        &self,
        table: &NewTable,
        profile: Option<ProfileRecord>,
    ) -> Result<Connection, Problem> {
        refuse_masks(&table.config)?;
        let record = TableRecord {
            id: String::new(),
            name: table.name.clone(),
            connector: table.connector.clone(),
            profile,
            config: table.config.clone(),
            schema: table.schema.clone(),
            created_at: 0,
            consumers: 0,
        };
        let registry = self.registry.clone();
        let making = self.planning(async move {
            let connection = connection(&registry, &record)?;
            let columns = &connection.config.schema.columns;
            if connection.connection_type != ConnectionType::Sink && columns.is_empty() {
                let message = "a table that is read needs columns: list them in schema.fields";
                return Err(Problem::bad_request(message));
            }
            let engine = Engine::with_connectors(registry);
            let event_time = record.schema.event_time();
            engine.add_table(connection.clone(), &event_time).await?;
            Ok(connection)
        });
        making.await?
    }

    /// Does something that takes a core for some milliseconds, when it is its turn.
    async fn planning<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Arc::clone(&self.planners).acquire_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            futures::executor::block_on(work)
        });
        working.await.map_err(Problem::internal)
    }
}

/// Whether a table of this configuration is read, written, or asked for rows by key.
fn table_type(metadata: &ConnectorMetadata, config: &Value) -> crate::types::ConnectionType {
    let kind = &config["type"];
    let says = |word: &str| kind == word || kind.get(word).is_some();
    if says("lookup") {
        crate::types::ConnectionType::Lookup
    } else if metadata.sink && (says("sink") || !metadata.source) {
        crate::types::ConnectionType::Sink
    } else {
        crate::types::ConnectionType::Source
    }
}

/// A configuration that was shown with its secrets masked is none.
fn refuse_masks(config: &Value) -> Result<(), Problem> {
    let masked = match config {
        Value::String(text) => text.contains(MASK),
        Value::Array(values) => return values.iter().try_for_each(refuse_masks),
        Value::Object(map) => return map.values().try_for_each(refuse_masks),
        _ => false,
    };
    if masked {
        let message =
            format!("'{MASK}' stands for a secret that is not shown; give the secret itself");
        return Err(Problem::bad_request(message));
    }
    Ok(())
}

fn connection(registry: &Registry, table: &TableRecord) -> Result<Connection, Problem> {
    let connector = registry.get(&table.connector)?;
    let profile = table.profile.as_ref();
    if let Some(profile) = profile.filter(|profile| profile.connector != table.connector) {
        let message = format!(
            "connection profile '{}' is for the connector '{}', not for '{}'",
            profile.name, profile.connector, table.connector
        );
        return Err(Problem::bad_request(message));
    }
    if profile.is_none() && connector.metadata().profile_schema.is_some() {
        let message = format!("a table of '{}' needs connectionProfileId", table.connector);
        return Err(Problem::bad_request(message));
    }
    let format = table.schema.format().map_err(Problem::bad_request)?;
    if connector.metadata().format && format.format.is_none() {
        let message = format!("a table of '{}' needs schema.format", table.connector);
        return Err(Problem::bad_request(message));
    }
    let profile = profile.map_or(&Value::Null, |profile| &profile.config);
    let columns = table.schema.columns();
    Ok(connector.from_config(&table.name, profile, &table.config, columns, format)?)
}

/// Plans a text in a catalog of its own.
async fn plan(
    registry: Registry,
    profiles: Vec<ProfileRecord>,
    tables: &[TableRecord],
    sql: &str,
    writes: bool,
) -> Result<Planned, Refusal> {
    let engine = Engine::with_connectors(registry);
    for ProfileRecord {
        name,
        connector,
        config,
        ..
    } in profiles
    {
        let profile = ConnectionProfile {
            name,
            connector,
            config,
        };
        engine.add_profile(profile).await;
    }
    for table in tables {
        // a table that cannot be used, say since a file has gone, harms only those who name it
        if let Err(problem) = add_table(&engine, table).await {
            tracing::warn!("table '{}' cannot be used: {problem}", table.name);
        }
    }
    let script = engine.plan(sql).await.map_err(Refusal::Sql)?;
    let used = used(&script, tables);
    let Some(plan) = script.plan else {
        let message = "nothing to run: the text has neither INSERT nor SELECT";
        return Err(Refusal::Sql(PlanError::new(message)));
    };
    let plan = if writes { plan } else { previewed(plan) };
    Ok(Planned {
        graph: Graph::from(&plan),
        engine,
        plan,
        profiles: script.profiles,
        tables: used,
    })
}

async fn add_table(engine: &Engine, table: &TableRecord) -> Result<(), Problem> {
    let connection = connection(engine.registry(), table)?;
    let event_time = table.schema.event_time();
    Ok(engine.add_table(connection, &event_time).await?)
}

fn table_of(node: &Node) -> Option<&str> {
    match &node.operator {
        PlanOperator::Source(table) | PlanOperator::Sink(table) => Some(&table.name),
        _ => None,
    }
}

/// The kept tables that a text reads and writes.
fn used(script: &Script, tables: &[TableRecord]) -> Vec<String> {
    let nodes = script.plan.iter().flat_map(|plan| &plan.nodes);
    let read_or_written: BTreeSet<&str> = nodes.filter_map(table_of).collect();
    let kept = tables.iter().map(|table| table.name.as_str());
    let used = kept.filter(|name| read_or_written.contains(name));
    used.map(str::to_owned).collect()
}
