//! Configuration, read from a schema: SQL `WITH` options in, the profile's and the table's JSON out.
//!
//! (interface; the implementation follows in this folder)

use serde::de::DeserializeOwned;
use serde_json::Value;

use headwater_format::FormatConfig;

use crate::connector::{ConnectionProfile, ConnectorMetadata};

/// Where something stands in the SQL text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One `key = 'value'` of a `WITH` clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlOption {
    /// The dotted name, as written.
    pub key: String,
    /// The value's text.
    pub value: String,
    /// Where the key stands, if it came from SQL text.
    pub location: Option<Location>,
}

/// The options of one table, in the order in which they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<SqlOption>);

/// What is wrong with a table's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong, what was given, what is allowed, the nearest valid name.
    pub message: String,
    /// The option it is about.
    pub option: Option<String>,
    /// Where that option stands.
    pub location: Option<Location>,
}

impl ConfigError {
    /// An error about one option, or about none in particular.
    pub fn new(option: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            option: option.map(str::to_owned),
            location: None,
        }
    }

    /// An unknown connector name.
    pub fn unknown_connector(name: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let known: Vec<_> = known.collect();
        Self::new(
            Some("connector"),
            format!("unknown connector '{name}'; one of {}", known.join(", ")),
        )
    }
}

/// The options of a table, sorted out by the schemas.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// By the connector's profile schema.
    pub profile: Value,
    /// By the connector's table schema.
    pub table: Value,
    /// By `schemas/format.json`.
    pub format: FormatConfig,
}

/// Sorts out the options of a table.
pub fn parse_table(
    _metadata: &ConnectorMetadata,
    _options: &Options,
    _profile: Option<&ConnectionProfile>,
) -> Result<Parsed, ConfigError> {
    Err(ConfigError::new(None, "not written yet"))
}

/// Checks JSON values against a connector's schemas.
pub fn validate(
    _metadata: &ConnectorMetadata,
    _profile: &Value,
    _table: &Value,
) -> Result<(), ConfigError> {
    Ok(())
}

/// A JSON value as the Rust type that `typify` made of its schema.
pub fn typed<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, ConfigError> {
    serde_json::from_value(value.clone())
        .map_err(|e| ConfigError::new(None, format!("{what}: {e}")))
}
