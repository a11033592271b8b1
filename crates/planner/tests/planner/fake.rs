//! A connector that takes any table and connects to nothing, and what the tests say with it.

use futures::executor::block_on;
use headwater_connector::{
    ConfigError, Connection, ConnectionProfile, ConnectionType, Connector, ConnectorMetadata,
    Operator, OperatorConfig, Registry, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;
use headwater_planner::{PlanError, Planner, Script};
use serde::{Deserialize, Serialize};

/// The tables that every case can use.
pub(crate) const TABLES: &str = r#"
CREATE TABLE readings (
  device TEXT NOT NULL,
  temperature DOUBLE,
  tags TEXT[],
  place STRUCT<building TEXT, floor INT>,
  data JSON,
  ts TIMESTAMP
) WITH (connector = 'fake', type = 'source', topic = 'sensors/+');
CREATE TABLE others (device TEXT, temperature FLOAT)
WITH (connector = 'fake', type = 'source', topic = 'others');
CREATE TABLE alerts (device TEXT, temperature DOUBLE)
WITH (connector = 'fake', type = 'sink', topic = 'alerts');
"#;

/// A connector of this name; the one that is `formatted` has payloads.
struct Fake(&'static str);

#[derive(Serialize, Deserialize)]
struct Table {
    #[serde(rename = "type")]
    kind: String,
    topic: String,
    options: Option<Dotted>,
}

#[derive(Serialize, Deserialize)]
struct Dotted {
    deep: Option<String>,
}

const SCHEMA: &str = r#"{
  "title": "FakeTable",
  "type": "object",
  "additionalProperties": false,
  "required": ["type", "topic"],
  "properties": {
    "type": { "description": "The direction.", "type": "string", "enum": ["source", "sink"] },
    "topic": { "description": "Where.", "type": "string" },
    "options": {
      "description": "More.",
      "type": "object",
      "additionalProperties": false,
      "properties": { "deep": { "description": "Dotted.", "type": "string" } }
    }
  }
}"#;

const PROFILE: &str = r#"{
  "title": "FakeProfile",
  "type": "object",
  "additionalProperties": false,
  "properties": { "url": { "description": "Where.", "type": "string" } }
}"#;

impl Connector for Fake {
    type ProfileT = serde_json::Value;
    type TableT = Table;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: self.0,
            name: "Fake",
            description: "Connects to nothing",
            source: true,
            sink: true,
            lookup: false,
            testing: false,
            format: self.0 == "formatted",
            profile_schema: Some(PROFILE),
            table_schema: SCHEMA,
        }
    }

    fn table_type(&self, _: &serde_json::Value, table: &Table) -> ConnectionType {
        match table.kind.as_str() {
            "sink" => ConnectionType::Sink,
            _ => ConnectionType::Source,
        }
    }

    fn from_config(
        &self,
        name: &str,
        profile: serde_json::Value,
        table: Table,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        Ok(Connection {
            connector: self.0.to_owned(),
            name: name.to_owned(),
            connection_type: self.table_type(&profile, &table),
            description: table.topic.clone(),
            table: serde_json::to_value(table).unwrap(),
            profile,
            config: OperatorConfig { schema, format },
        })
    }

    fn make_operator(
        &self,
        _: serde_json::Value,
        _: Table,
        _: OperatorConfig,
        _: TaskContext,
    ) -> anyhow::Result<Operator> {
        anyhow::bail!("the fake connector connects to nothing")
    }
}

/// A planner that knows the fake connector, a profile of it, and [`TABLES`].
pub(crate) fn planner() -> Planner {
    let mut planner = Planner::new(
        Registry::default()
            .with(Fake("fake"))
            .with(Fake("formatted")),
    );
    planner.add_profile(ConnectionProfile {
        name: "plant".to_owned(),
        connector: "fake".to_owned(),
        config: serde_json::json!({ "url": "fake://plant" }),
    });
    planner.add_profile(ConnectionProfile {
        name: "elsewhere".to_owned(),
        connector: "other".to_owned(),
        config: serde_json::Value::Null,
    });
    block_on(planner.plan(TABLES)).unwrap();
    planner
}

/// Plans a text that follows [`TABLES`]; its lines count from 1.
pub(crate) fn plan(sql: &str) -> Result<Script, PlanError> {
    block_on(planner().plan(sql))
}

/// The dataflow of a text.
pub(crate) fn dataflow(sql: &str) -> String {
    match plan(sql) {
        Ok(script) => script
            .plan
            .map_or_else(String::new, |plan| plan.to_string()),
        Err(error) => panic!("{}", error.render("test.sql", sql)),
    }
}

/// The error of a text, as people read it.
pub(crate) fn error(sql: &str) -> String {
    match plan(sql) {
        Ok(script) => panic!("no error, but {}", script.plan.unwrap_or_default()),
        Err(error) => error.render("test.sql", sql),
    }
}
