//! The trait a connector implements, and its object-safe twin.
//!
//! A connector author writes [`Connector`] over two Rust types that `typify` makes from the connector's JSON schemas;
//! everyone else talks to [`ErasedConnector`], in which both are JSON values. The blanket implementation at the end of
//! this file is the only bridge.

use arrow::datatypes::DataType;
use futures::future::BoxFuture;
use headwater_format::FormatConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{self, ConfigError, Options};
use crate::dead_letter;
use crate::exclusive::Exclusive;
use crate::operator::{Operator, OperatorConfig, OperatorError, TaskContext};
use crate::progress::{ProbePlace, Progress};
use crate::sample::{SampleRequest, Sampled};
use crate::table::TableSchema;

/// Whether a table is read, written, or asked for rows by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionType {
    /// Rows come from it.
    Source,
    /// Rows go to it.
    Sink,
    /// Rows of streams look others up in it.
    Lookup,
}

/// What a connector says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectorMetadata {
    /// The name in `connector = '…'`.
    pub id: &'static str,
    /// The name for people.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Whether tables of it can be read.
    pub source: bool,
    /// Whether tables of it can be written.
    pub sink: bool,
    /// Whether rows can be looked up in tables of it.
    pub lookup: bool,
    /// Whether `test_profile` and `test` do anything.
    pub testing: bool,
    /// Whether payloads have a format, so that `format` must be given.
    pub format: bool,
    /// The JSON schema of the profile, if the connector has connections worth sharing.
    pub profile_schema: Option<&'static str>,
    /// The JSON schema of the table.
    pub table_schema: &'static str,
}

/// A metadata column that a source offers to `METADATA FROM '…'`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataDef {
    /// The name; one that ends in `*` stands for all names with that prefix.
    pub name: &'static str,
    /// The Arrow type of its values.
    pub data_type: DataType,
    /// What it holds.
    pub description: &'static str,
}

/// A connection profile under a name: what several tables share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionProfile {
    /// The name in `connection_profile = '…'`.
    pub name: String,
    /// The connector it is for.
    pub connector: String,
    /// The profile, by the connector's schema.
    pub config: Value,
}

/// A table that is configured and checked: all that is needed to run or test it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connector's name.
    pub connector: String,
    /// The table's name.
    pub name: String,
    /// What is done with it.
    pub connection_type: ConnectionType,
    /// The profile, by the connector's schema. May hold secrets: print it only through [`config::redact`].
    pub profile: Value,
    /// The table, by the connector's schema.
    pub table: Value,
    /// Columns and format.
    pub config: OperatorConfig,
    /// One line for people, without secrets (`MqttSource<sensors/#>`).
    pub description: String,
}

/// The answer of [`Connector::sample`].
pub type Sampling = BoxFuture<'static, Result<Sampled, OperatorError>>;

/// A kind of table. Implementations are stateless; the state lives in the operators they make.
#[allow(
    clippy::wrong_self_convention,
    reason = "from_options and from_config are the names that connector authors know from Arroyo"
)]
pub trait Connector: Send + Sync + 'static {
    /// The connection that tables may share, from `schemas/<connector>/profile.json`.
    type ProfileT: DeserializeOwned + Serialize + Send;
    /// The table, from `schemas/<connector>/table.json`.
    type TableT: DeserializeOwned + Serialize + Send;

    /// What the connector is, and its schemas.
    fn metadata(&self) -> ConnectorMetadata;

    /// The name in `connector = '…'`.
    fn name(&self) -> &'static str {
        let ConnectorMetadata { id, .. } = self.metadata();
        id
    }

    /// The metadata columns that its sources offer.
    fn metadata_defs(&self) -> Vec<MetadataDef> {
        Vec::new()
    }

    /// Whether this table is read or written.
    fn table_type(&self, profile: &Self::ProfileT, table: &Self::TableT) -> ConnectionType;

    /// Makes a table from the options of `CREATE TABLE … WITH (…)`, by the schemas.
    ///
    /// # Errors
    /// Unknown, misspelt, missing and ill-typed options, each with the name, what was given and what is allowed.
    fn from_options(
        &self,
        name: &str,
        options: &Options,
        schema: TableSchema,
        profile: Option<&ConnectionProfile>,
    ) -> Result<Connection, ConfigError> {
        let parsed = config::parse_table(&self.metadata(), options, profile)?;
        let profile = config::typed(&parsed.profile, "profile")?;
        let table = config::typed(&parsed.table, "table")?;
        let schema = schema.in_format(&parsed.format)?;
        self.from_config(name, profile, table, schema, parsed.format)
            .map_err(|e| e.located(options))
    }

    /// What one address says of a table's options (`mqtt://host:1883/sensors/#`: `url` and `topic`), for dialects in which
    /// a table has a location. An empty one says nothing.
    ///
    /// # Errors
    /// An address that is none, without quoting it, since it may hold a password; a connector without addresses.
    fn locate(&self, location: &str) -> Result<Options, ConfigError> {
        if location.is_empty() {
            return Ok(Options::default());
        }
        let message = format!(
            "the connector '{}' has no locations; leave it empty, and say all in the options",
            self.name()
        );
        Err(ConfigError::new(None, message))
    }

    /// Makes a table from values that already have their types.
    ///
    /// # Errors
    /// What the schemas cannot say (an illegal topic filter, a metadata column that does not exist).
    fn from_config(
        &self,
        name: &str,
        profile: Self::ProfileT,
        table: Self::TableT,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError>;

    /// What can be known of a profile before it is used, beyond its schema.
    ///
    /// # Errors
    /// Values that no table could use. An environment variable that is not set is none of them.
    fn check_profile(&self, _profile: &Self::ProfileT) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Proves that the other side can be reached and logged into. Every step is reported as it happens; the answer is
    /// whether all of them succeeded. `None` if there is nothing to test.
    fn test_profile(
        &self,
        _profile: Self::ProfileT,
        _progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        None
    }

    /// Proves that the table can be read or written, likewise. What is written for it goes to `place`.
    fn test(
        &self,
        _profile: Self::ProfileT,
        _table: Self::TableT,
        _config: &OperatorConfig,
        _place: ProbePlace,
        _progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        None
    }

    /// What the table has that another table of the same job must not have. A job in which two do is refused. `None` if
    /// there is nothing, or if it cannot be known.
    fn exclusive(&self, _profile: &Self::ProfileT, _table: &Self::TableT) -> Option<Exclusive> {
        None
    }

    /// In how many shares the table can be read or written at once. One unless the connector can divide the work
    /// without doubling or reordering it.
    fn max_parallelism(&self, _profile: &Self::ProfileT, _table: &Self::TableT) -> usize {
        1
    }

    /// Whether a source of this table ends by itself, once all of it has been read.
    fn ends(&self, _profile: &Self::ProfileT, _table: &Self::TableT) -> bool {
        false
    }

    /// Makes the table to which the dead letters of `table` go with `dead_letter.topic`: a sink over the same profile,
    /// with the columns of [`dead_letter::standard_columns`](crate::dead_letter::standard_columns), that loses nothing.
    ///
    /// # Errors
    /// A connector without topics; a topic that cannot be written, or that the table itself reads.
    fn dead_letter(&self, _table: &Connection, _topic: &str) -> Result<Connection, ConfigError> {
        let message = format!(
            "option 'dead_letter.topic': the connector '{}' has no topics; use dead_letter.table",
            self.name()
        );
        Err(ConfigError::new(Some("dead_letter.topic"), message))
    }

    /// What a source reads of that which a sink of this connector writes (a topic that its filter covers), so that rows
    /// would go round in a loop if those of the sink came of the source. `None` if nothing, or if it cannot be known.
    fn feeds(
        &self,
        _sink: (&Self::ProfileT, &Self::TableT),
        _source: (&Self::ProfileT, &Self::TableT),
    ) -> Option<String> {
        None
    }

    /// Listens to where a table could be, without disturbing anybody there, so that its columns can be inferred. `None` if
    /// there is nothing to listen to.
    ///
    /// # Errors
    /// A place or a profile that is none. The future fails if the other side cannot be reached or refuses.
    fn sample(
        &self,
        _profile: Self::ProfileT,
        _request: SampleRequest,
    ) -> Result<Option<Sampling>, ConfigError> {
        Ok(None)
    }

    /// Makes the operator of one subtask. Called within a tokio runtime; connects in the background or at first use,
    /// never here.
    ///
    /// # Errors
    /// What can be known without the other side: files that cannot be read, environment variables that are not set.
    fn make_operator(
        &self,
        profile: Self::ProfileT,
        table: Self::TableT,
        config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator>;
}

/// [`Connector`] with JSON for its types, so that different connectors fit into one registry.
#[allow(
    clippy::wrong_self_convention,
    reason = "from_options and from_config are the names that connector authors know from Arroyo"
)]
pub trait ErasedConnector: Send + Sync + 'static {
    /// See [`Connector::name`].
    fn name(&self) -> &'static str;
    /// See [`Connector::metadata`].
    fn metadata(&self) -> ConnectorMetadata;
    /// See [`Connector::metadata_defs`].
    fn metadata_defs(&self) -> Vec<MetadataDef>;
    /// See [`Connector::from_options`].
    fn from_options(
        &self,
        name: &str,
        options: &Options,
        schema: TableSchema,
        profile: Option<&ConnectionProfile>,
    ) -> Result<Connection, ConfigError>;
    /// See [`Connector::locate`].
    fn locate(&self, location: &str) -> Result<Options, ConfigError>;
    /// See [`Connector::from_config`]; the values are checked against the schemas first.
    fn from_config(
        &self,
        name: &str,
        profile: &Value,
        table: &Value,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError>;
    /// See [`Connector::check_profile`]; by its schema, too.
    fn check_profile(&self, profile: &Value) -> Result<(), ConfigError>;
    /// See [`Connector::test_profile`].
    fn test_profile(
        &self,
        profile: &Value,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError>;
    /// See [`Connector::test`].
    fn test(
        &self,
        connection: &Connection,
        place: ProbePlace,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError>;
    /// See [`Connector::exclusive`].
    fn exclusive(&self, connection: &Connection) -> Result<Option<Exclusive>, ConfigError>;
    /// See [`Connector::max_parallelism`].
    fn max_parallelism(&self, connection: &Connection) -> Result<usize, ConfigError>;
    /// See [`Connector::ends`].
    fn ends(&self, connection: &Connection) -> Result<bool, ConfigError>;
    /// See [`Connector::dead_letter`].
    fn dead_letter(&self, table: &Connection, topic: &str) -> Result<Connection, ConfigError>;
    /// See [`Connector::feeds`]; both tables are of this connector.
    fn feeds(&self, sink: &Connection, source: &Connection) -> Result<Option<String>, ConfigError>;
    /// See [`Connector::sample`]; the profile is checked against its schema first.
    fn sample(
        &self,
        profile: &Value,
        request: SampleRequest,
    ) -> Result<Option<Sampling>, ConfigError>;
    /// See [`Connector::make_operator`].
    fn make_operator(
        &self,
        connection: &Connection,
        context: TaskContext,
    ) -> anyhow::Result<Operator>;
}

impl<C: Connector> ErasedConnector for C {
    fn name(&self) -> &'static str {
        Connector::name(self)
    }

    fn metadata(&self) -> ConnectorMetadata {
        Connector::metadata(self)
    }

    fn metadata_defs(&self) -> Vec<MetadataDef> {
        Connector::metadata_defs(self)
    }

    fn from_options(
        &self,
        name: &str,
        options: &Options,
        schema: TableSchema,
        profile: Option<&ConnectionProfile>,
    ) -> Result<Connection, ConfigError> {
        Connector::from_options(self, name, options, schema, profile)
    }

    fn locate(&self, location: &str) -> Result<Options, ConfigError> {
        Connector::locate(self, location)
    }

    fn from_config(
        &self,
        name: &str,
        profile: &Value,
        table: &Value,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        let metadata = Connector::metadata(self);
        config::validate(&metadata, profile, table)?;
        dead_letter::check_options(&format)?;
        let profile = config::typed(profile, "profile")?;
        let table = config::typed(table, "table")?;
        let schema = schema.in_format(&format)?;
        Connector::from_config(self, name, profile, table, schema, format)
    }

    fn check_profile(&self, profile: &Value) -> Result<(), ConfigError> {
        config::check_profile(&Connector::metadata(self), profile)?;
        Connector::check_profile(self, &config::typed(profile, "profile")?)
    }

    fn test_profile(
        &self,
        profile: &Value,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError> {
        Ok(Connector::test_profile(
            self,
            config::typed(profile, "profile")?,
            progress,
        ))
    }

    fn test(
        &self,
        connection: &Connection,
        place: ProbePlace,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError> {
        let profile = config::typed(&connection.profile, "profile")?;
        let table = config::typed(&connection.table, "table")?;
        Ok(Connector::test(
            self,
            profile,
            table,
            &connection.config,
            place,
            progress,
        ))
    }

    fn exclusive(&self, connection: &Connection) -> Result<Option<Exclusive>, ConfigError> {
        let profile = config::typed(&connection.profile, "profile")?;
        let table = config::typed(&connection.table, "table")?;
        Ok(Connector::exclusive(self, &profile, &table))
    }

    fn max_parallelism(&self, connection: &Connection) -> Result<usize, ConfigError> {
        let profile = config::typed(&connection.profile, "profile")?;
        let table = config::typed(&connection.table, "table")?;
        Ok(Connector::max_parallelism(self, &profile, &table))
    }

    fn ends(&self, connection: &Connection) -> Result<bool, ConfigError> {
        let profile = config::typed(&connection.profile, "profile")?;
        let table = config::typed(&connection.table, "table")?;
        Ok(Connector::ends(self, &profile, &table))
    }

    fn dead_letter(&self, table: &Connection, topic: &str) -> Result<Connection, ConfigError> {
        Connector::dead_letter(self, table, topic)
    }

    fn feeds(&self, sink: &Connection, source: &Connection) -> Result<Option<String>, ConfigError> {
        let sink = (
            &config::typed(&sink.profile, "profile")?,
            &config::typed(&sink.table, "table")?,
        );
        let source = (
            &config::typed(&source.profile, "profile")?,
            &config::typed(&source.table, "table")?,
        );
        Ok(Connector::feeds(self, sink, source))
    }

    fn sample(
        &self,
        profile: &Value,
        request: SampleRequest,
    ) -> Result<Option<Sampling>, ConfigError> {
        config::check_profile(&Connector::metadata(self), profile)?;
        Connector::sample(self, config::typed(profile, "profile")?, request)
    }

    fn make_operator(
        &self,
        connection: &Connection,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let profile = config::typed(&connection.profile, "profile")?;
        let table = config::typed(&connection.table, "table")?;
        Connector::make_operator(self, profile, table, connection.config.clone(), context)
    }
}
