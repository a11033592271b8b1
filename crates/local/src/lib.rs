//! The connectors that need nothing but the process itself: files, the standard output, generated rows.
//!
//! They make a pipeline testable without a broker, and a broker's pipeline visible. One file each:
//!
//! - [`single_file`]: one message a line, read once or written anew;
//! - [`stdout`]: one message a line, for people and pipes;
//! - [`blackhole`]: counts rows and forgets them;
//! - [`impulse`]: numbered rows at a given rate.
//!
//! Their options are described in `schemas/local/<connector>/table.json` and nowhere else.

pub mod blackhole;
pub mod impulse;
mod lines;
mod options;
pub mod single_file;
pub mod stdout;

use headwater_connector::{
    ConfigError, Connection, ConnectionType, OperatorConfig, Registry, TableSchema,
};
use headwater_format::FormatConfig;
use serde::Serialize;
use serde_json::Value;

/// Adds the connectors of this crate.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    registry
        .with(single_file::SingleFileConnector)
        .with(stdout::StdoutConnector)
        .with(blackhole::BlackholeConnector)
        .with(impulse::ImpulseConnector)
}

/// What the connection of each connector here is made from; none of them has a profile.
struct Parts<'a, T> {
    connector: &'static str,
    name: &'a str,
    connection_type: ConnectionType,
    table: &'a T,
    schema: TableSchema,
    format: FormatConfig,
    description: String,
}

impl<T: Serialize> Parts<'_, T> {
    fn connection(self) -> Result<Connection, ConfigError> {
        let table = serde_json::to_value(self.table)
            .map_err(|error| ConfigError::new(None, error.to_string()))?;
        Ok(Connection {
            connector: self.connector.to_owned(),
            name: self.name.to_owned(),
            connection_type: self.connection_type,
            profile: Value::Null,
            table,
            config: OperatorConfig {
                schema: self.schema,
                format: self.format,
            },
            description: self.description,
        })
    }
}

/// Refuses metadata columns, which files and the like do not have.
fn refuse_metadata(connector: &str, schema: &TableSchema) -> Result<(), ConfigError> {
    match schema.metadata().next() {
        None => Ok(()),
        Some((_, metadata, field)) => Err(ConfigError::new(
            None,
            format!(
                "column '{}' is METADATA FROM '{metadata}', but connector '{connector}' has no metadata",
                field.name()
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
