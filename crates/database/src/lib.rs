//! Tables of databases, in which rows of a stream look others up.
//!
//! - [`sqlite`]: a file of SQLite;
//! - `postgres`: PostgreSQL, with the feature `postgres`, because it compiles much that DataFusion stands on a second time.
//!
//! A connector asks for the columns that were declared, by their names, and makes a JSON object of each row that it finds
//! (`rows`), which is read by the rules of `format = 'json'`: what fits a column there fits it here.
//!
//! Their options are described in `schemas/database/<connector>/` and nowhere else.

mod options;
#[cfg(feature = "postgres")]
pub mod postgres;
mod rows;
pub mod sqlite;

use headwater_connector::{
    CacheOptions, ConfigError, Connection, ConnectionType, OperatorConfig, Registry, TableSchema,
    config,
};
use serde::Serialize;
use serde_json::Value;

/// Adds the connectors of this crate.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    let registry = registry.with(sqlite::SqliteConnector);
    #[cfg(feature = "postgres")]
    let registry = registry.with(postgres::PostgresConnector);
    registry
}

/// What the connection of each connector here is made from.
struct Parts<'a, P, T> {
    connector: &'static str,
    name: &'a str,
    profile: &'a P,
    table: &'a T,
    schema: TableSchema,
    description: String,
}

impl<P: Serialize, T: Serialize> Parts<'_, P, T> {
    fn connection(self) -> Result<Connection, ConfigError> {
        if let Some((_, metadata, field)) = self.schema.metadata().next() {
            let message = format!(
                "column '{}' is METADATA FROM '{metadata}', but connector '{}' has no metadata",
                field.name(),
                self.connector
            );
            return Err(ConfigError::new(None, message));
        }
        Ok(Connection {
            connector: self.connector.to_owned(),
            name: self.name.to_owned(),
            connection_type: ConnectionType::Lookup,
            profile: json(self.profile)?,
            table: json(self.table)?,
            config: OperatorConfig {
                schema: self.schema,
                ..OperatorConfig::default()
            },
            description: self.description,
        })
    }
}

fn json(value: &impl Serialize) -> Result<Value, ConfigError> {
    serde_json::to_value(value).map_err(|error| ConfigError::new(None, error.to_string()))
}

/// What is remembered of a table.
fn cache(max_bytes: u64, ttl: &str) -> Result<CacheOptions, ConfigError> {
    Ok(CacheOptions {
        max_bytes,
        ttl: Some(config::duration("lookup.cache.ttl", ttl)?),
    })
}

/// A name in double quotes, as both databases write it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
