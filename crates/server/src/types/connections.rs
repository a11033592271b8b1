//! Connectors, connection profiles and connection tables.

use headwater_engine::connector::{ConnectorMetadata, StepStatus, TestStep};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConnectionSchema;
use super::object::object;

/// A kind of tables, and how it is configured.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connector {
    /// The name in `connector = '…'`.
    id: String,
    /// The name for people.
    name: String,
    /// Empty: pictures are the console's affair.
    icon: String,
    /// One sentence.
    description: String,
    /// The JSON schema of a table's configuration, as text.
    table_config: String,
    /// Whether it can be used.
    enabled: bool,
    /// Whether tables of it can be read.
    source: bool,
    /// Whether tables of it can be written.
    sink: bool,
    /// Whether the columns of its tables are for the user to say.
    custom_schemas: bool,
    /// Whether its tables can be tested.
    testing: bool,
    /// Whether it is left out of menus.
    hidden: bool,
    /// The JSON schema of a profile's configuration, as text, if there are profiles for it.
    connection_config: Option<String>,
}

impl From<ConnectorMetadata> for Connector {
    fn from(metadata: ConnectorMetadata) -> Self {
        Self {
            id: metadata.id.to_owned(),
            name: metadata.name.to_owned(),
            icon: String::new(),
            description: metadata.description.to_owned(),
            table_config: metadata.table_schema.to_owned(),
            enabled: true,
            source: metadata.source,
            sink: metadata.sink,
            custom_schemas: metadata.format,
            testing: metadata.testing,
            hidden: false,
            connection_config: metadata.profile_schema.map(str::to_owned),
        }
    }
}

/// What several tables share: how to connect.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionProfile {
    /// Its id.
    pub(crate) id: String,
    /// The name in `connection_profile = '…'`.
    pub(crate) name: String,
    /// The connector it is for.
    pub(crate) connector: String,
    /// The configuration by the connector's schema; secrets are `********`.
    pub(crate) config: Value,
    /// One line for people.
    pub(crate) description: String,
}

/// A profile to be kept or tested.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "name": "plant",
    "connector": "mqtt",
    "config": { "url": "mqtt://127.0.0.1:1883" },
}))]
pub(crate) struct ConnectionProfilePost {
    /// The name in `connection_profile = '…'`, which no other profile has.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) name: String,
    /// The connector it is for.
    pub(crate) connector: String,
    /// The configuration by the connector's schema. `{{ NAME }}` stands for an environment variable of the server.
    pub(crate) config: Value,
}

/// Whether a table is read, written, or asked for rows by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ConnectionType {
    /// Rows come from it.
    Source,
    /// Rows go to it.
    Sink,
    /// Rows of streams look others up in it.
    Lookup,
}

/// A table that all pipelines know by its name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionTable {
    /// Its id.
    pub(crate) id: String,
    /// Its name in SQL.
    pub(crate) name: String,
    /// When it was created.
    pub(crate) created_at: u64,
    /// Its connector.
    pub(crate) connector: String,
    /// Its profile, if it has one.
    pub(crate) connection_profile: Option<ConnectionProfile>,
    /// Whether it is read or written.
    pub(crate) table_type: ConnectionType,
    /// The configuration by the connector's schema; secrets are `********`.
    pub(crate) config: Value,
    /// Its columns and format.
    pub(crate) schema: ConnectionSchema,
    /// How many pipelines use it.
    pub(crate) consumers: u32,
}

/// A table to be kept or tested.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "name": "impulses",
    "connector": "impulse",
    "config": { "event_rate": 1.0 },
}))]
pub(crate) struct ConnectionTablePost {
    /// Its name in SQL, which no other table has.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) name: String,
    /// Its connector.
    pub(crate) connector: String,
    /// The id of its profile, if it has one.
    pub(crate) connection_profile_id: Option<String>,
    /// The configuration by the connector's schema.
    pub(crate) config: Value,
    /// Its columns and format.
    #[serde(default, deserialize_with = "object")]
    pub(crate) schema: Option<ConnectionSchema>,
}

/// One step of a connection test, or its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestSourceMessage {
    /// Whether something is wrong.
    pub(crate) error: bool,
    /// Whether this is the last message.
    pub(crate) done: bool,
    /// What happened.
    pub(crate) message: String,
}

impl TestSourceMessage {
    /// The last message.
    pub(crate) fn result(passed: bool, message: impl Into<String>) -> Self {
        Self {
            error: !passed,
            done: true,
            message: message.into(),
        }
    }
}

impl From<&TestStep> for TestSourceMessage {
    fn from(step: &TestStep) -> Self {
        let millis = step.elapsed.as_secs_f64() * 1000.0;
        let remedy = step.remedy.as_ref();
        let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
        Self {
            error: step.status == StepStatus::Failed,
            done: false,
            message: format!("{}: {}{remedy} ({millis:.1} ms)", step.step, step.message),
        }
    }
}
