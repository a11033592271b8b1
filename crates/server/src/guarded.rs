//! Connectors that keep their hands off what is the server's own: its disk (`paths`) and its environment (`variables`).
//!
//! That is checked before a connector sees the options, because some read files as soon as a table is made, and once more
//! when its job starts.

use std::sync::Arc;

use futures::future::BoxFuture;
use headwater_engine::connector::config::{self, ConfigError, Options};
use headwater_engine::connector::{
    Connection, ConnectionProfile, ConnectorMetadata, ErasedConnector, Exclusive, MetadataDef,
    Operator, ProbePlace, Progress, Registry, SampleRequest, Sampling, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;
use serde_json::Value;

use crate::paths::AllowedPaths;
use crate::variables::AllowedVariables;

/// What of the server's own may be named over the API.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    /// Files.
    pub(crate) paths: AllowedPaths,
    /// Environment variables.
    pub(crate) variables: AllowedVariables,
}

impl Allowed {
    /// Connectors that name nothing else.
    pub(crate) fn guard(&self, registry: &Registry) -> Registry {
        registry
            .iter()
            .fold(Registry::default(), |guarded, connector| {
                guarded.with(Guarded {
                    connector: Arc::clone(connector),
                    allowed: self.clone(),
                })
            })
    }

    fn check(
        &self,
        metadata: &ConnectorMetadata,
        profile: &Value,
        table: &Value,
        format: &FormatConfig,
    ) -> Result<(), ConfigError> {
        // before a variable is put in the place of its name, or anybody learns whether there is one
        for (option, name) in config::variables(metadata, profile, table, format)? {
            self.variables.check(&option, &name)?;
        }
        for (option, path) in config::files(metadata, profile, table, format)? {
            self.paths.check(&option, &path)?;
        }
        Ok(())
    }
}

/// A connector whose options are looked at first.
struct Guarded {
    connector: Arc<dyn ErasedConnector>,
    allowed: Allowed,
}

impl Guarded {
    fn check(
        &self,
        profile: &Value,
        table: &Value,
        format: &FormatConfig,
    ) -> Result<(), ConfigError> {
        let metadata = self.connector.metadata();
        self.allowed.check(&metadata, profile, table, format)
    }

    fn allowed_profile(&self, profile: &Value) -> Result<(), ConfigError> {
        self.check(profile, &Value::Null, &FormatConfig::default())
    }
}

impl ErasedConnector for Guarded {
    fn name(&self) -> &'static str {
        self.connector.name()
    }

    fn metadata(&self) -> ConnectorMetadata {
        self.connector.metadata()
    }

    fn metadata_defs(&self) -> Vec<MetadataDef> {
        self.connector.metadata_defs()
    }

    fn from_options(
        &self,
        name: &str,
        options: &Options,
        schema: TableSchema,
        profile: Option<&ConnectionProfile>,
    ) -> Result<Connection, ConfigError> {
        let parsed = config::parse_table(&self.metadata(), options, profile)?;
        self.check(&parsed.profile, &parsed.table, &parsed.format)
            .map_err(|error| error.located(options))?;
        self.connector.from_options(name, options, schema, profile)
    }

    fn locate(&self, location: &str) -> Result<Options, ConfigError> {
        self.connector.locate(location)
    }

    fn from_config(
        &self,
        name: &str,
        profile: &Value,
        table: &Value,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        self.check(profile, table, &format)?;
        self.connector
            .from_config(name, profile, table, schema, format)
    }

    fn check_profile(&self, profile: &Value) -> Result<(), ConfigError> {
        self.connector.check_profile(profile)?;
        self.allowed_profile(profile)
    }

    fn test_profile(
        &self,
        profile: &Value,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError> {
        self.allowed_profile(profile)?;
        self.connector.test_profile(profile, progress)
    }

    fn test(
        &self,
        connection: &Connection,
        place: ProbePlace,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError> {
        self.connector.test(connection, place, progress)
    }

    fn exclusive(&self, connection: &Connection) -> Result<Option<Exclusive>, ConfigError> {
        self.connector.exclusive(connection)
    }

    fn max_parallelism(&self, connection: &Connection) -> Result<usize, ConfigError> {
        self.connector.max_parallelism(connection)
    }

    fn ends(&self, connection: &Connection) -> Result<bool, ConfigError> {
        self.connector.ends(connection)
    }

    fn dead_letter(&self, table: &Connection, topic: &str) -> Result<Connection, ConfigError> {
        self.connector.dead_letter(table, topic)
    }

    fn feeds(&self, sink: &Connection, source: &Connection) -> Result<Option<String>, ConfigError> {
        self.connector.feeds(sink, source)
    }

    fn sample(
        &self,
        profile: &Value,
        request: SampleRequest,
    ) -> Result<Option<Sampling>, ConfigError> {
        self.allowed_profile(profile)?;
        self.connector.sample(profile, request)
    }

    fn make_operator(
        &self,
        connection: &Connection,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        self.check(
            &connection.profile,
            &connection.table,
            &connection.config.format,
        )?;
        self.connector.make_operator(connection, context)
    }
}
