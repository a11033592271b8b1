//! The façade: SQL in, running jobs out.
//!
//! This is the crate that a program embeds, and that the command and the server stand on. It knows the connectors by
//! name ([`connectors`]); the planner and the runtime beneath it do not.

mod graph;
mod infer;

use std::sync::Arc;

use headwater_connector::{
    ConfigError, Connection, ConnectionProfile, OperatorError, Options, ProbePlace, Progress,
    Registry, SqlOption, TableSchema,
};
use tokio::sync::Mutex;

pub use graph::{Edge, Graph, Vertex, previewed};
pub use headwater_connector as connector;
pub use headwater_planner::{
    EventTime, Node, Plan, PlanError, PlanOperator, Planner, Script, json_metadata, without_secrets,
};
pub use infer::{InferError, Inferred, Profile};

pub use headwater_runtime::{
    AckGauge, BACKLOG_ROWS, CHECKPOINT_INTERVAL, CREDIT_ROWS, CheckpointStatus, Cluster, Job,
    JobError, JobOptions, OperatorKind, OperatorStatus, Outcome, OverLimit, PeerError,
    PreviewFactory,
};

/// All connectors of this build. To add a connector, add a line.
pub fn connectors() -> Registry {
    let local = headwater_local::register(Registry::default());
    headwater_database::register(local).with(headwater_mqtt::MqttConnector)
}

/// Why SQL did not become a running job.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The text is at fault.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The job could not be started.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// What executing a SQL text came to.
#[derive(Default)]
pub struct Execution {
    /// The job that runs its `INSERT`s and bare `SELECT`s, if it has any.
    pub job: Option<Job>,
    /// The answers of its `EXPLAIN`s.
    pub explains: Vec<String>,
}

/// A catalog and the connectors; executes SQL.
pub struct Engine {
    registry: Registry,
    planner: Mutex<Planner>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::with_connectors(connectors())
    }
}

impl Engine {
    /// An engine with an empty catalog and these connectors.
    pub fn with_connectors(registry: Registry) -> Self {
        Self {
            planner: Mutex::new(Planner::new(registry.clone())),
            registry,
        }
    }

    /// The connectors.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Makes a profile known to `connection_profile = '…'`.
    pub async fn add_profile(&self, profile: ConnectionProfile) {
        self.planner.lock().await.add_profile(profile);
    }

    /// Makes a table that was configured elsewhere known to SQL.
    ///
    /// # Errors
    /// Another table has its name; an event time that does not fit its columns.
    pub async fn add_table(
        &self,
        table: Connection,
        event_time: &EventTime,
    ) -> Result<(), PlanError> {
        self.planner.lock().await.add_table(table, event_time)
    }

    /// Plans a text and runs nothing. Its tables and views enter the catalog.
    ///
    /// # Errors
    /// The first thing that is wrong with the text, with its place.
    pub async fn plan(&self, sql: &str) -> Result<Script, PlanError> {
        self.planner.lock().await.plan(sql).await
    }

    /// Plans a text and starts its dataflow as one job, on the current tokio runtime.
    ///
    /// # Errors
    /// What is wrong with the text, or an operator that cannot be made. Whatever goes wrong afterwards is the job's
    /// outcome.
    pub async fn execute(&self, sql: &str, options: JobOptions) -> Result<Execution, EngineError> {
        let script = self.plan(sql).await?;
        Ok(self.start(script, options)?)
    }

    /// Starts what was planned.
    ///
    /// # Errors
    /// An operator that cannot be made.
    pub fn start(&self, script: Script, options: JobOptions) -> Result<Execution, JobError> {
        let start = |plan| Job::start(plan, &self.registry, options);
        let job = script.plan.map(start).transpose()?;
        Ok(Execution {
            job,
            explains: script.explains,
        })
    }

    /// Starts what was planned in one of several processes, when all of them are there.
    ///
    /// # Errors
    /// The other processes, if they do not come or were started differently; an operator that cannot be made.
    pub async fn start_among(
        &self,
        script: Script,
        options: JobOptions,
        cluster: Cluster,
    ) -> Result<Execution, JobError> {
        let job = match script.plan {
            Some(plan) => Some(Job::start_among(plan, &self.registry, options, cluster).await?),
            None => None,
        };
        Ok(Execution {
            job,
            explains: script.explains,
        })
    }

    /// Tests whether a table can be read or written, telling each step as it happens. What is written for it goes to
    /// `place`. `None` if its connector has
    /// nothing to test.
    ///
    /// # Errors
    /// A configuration that cannot be used at all.
    pub async fn test(
        &self,
        table: &Connection,
        place: ProbePlace,
        progress: Progress,
    ) -> Result<Option<bool>, ConfigError> {
        let connector = self.registry.get(&table.connector)?;
        match connector.test(table, place, progress)? {
            Some(test) => Ok(Some(test.await)),
            None => Ok(None),
        }
    }

    /// Where bare `SELECT`s go unless the caller has a better place: JSON lines on the standard output; rows that change as
    /// `debezium_json`.
    pub fn print_rows(&self) -> PreviewFactory {
        let registry = self.registry.clone();
        Arc::new(move |schema, context| {
            let option = |key: &str, value: &str| SqlOption {
                key: key.to_owned(),
                value: value.to_owned(),
                location: None,
            };
            let connector = registry.get("stdout")?;
            let (table, format) = TableSchema::shown(&schema);
            let options = vec![option("format", format.name()), option("type", "sink")];
            let options = Options(options);
            let connection = connector.from_options("preview", &options, table, None)?;
            match connector.make_operator(&connection, context)? {
                connector::Operator::Sink(sink) => Ok(sink),
                connector::Operator::Source(_) | connector::Operator::Lookup(_) => {
                    Err(OperatorError::fatal("'stdout' is no sink").into())
                }
            }
        })
    }
}
