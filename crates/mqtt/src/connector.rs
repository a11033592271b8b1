//! MQTT as a connector: what the engine registers.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_connector::config::ConfigError;
use headwater_connector::{
    Connection, ConnectionType, Connector, ConnectorMetadata, Exclusive, MetadataDef, Operator,
    OperatorConfig, Options, ProbePlace, Progress, RowDecoder, SampleRequest, Sampling,
    TableSchema, TaskContext,
};
use headwater_format::{Decoder, Encoder, FormatConfig};

use crate::config::{self, MqttProfile, MqttTable, PROFILE_SCHEMA, TABLE_SCHEMA, TableType};
use crate::dead_letter;
use crate::location;
use crate::lookup::{self, MqttLookup};
use crate::metadata::{self, MqttMetadata};
use crate::probe;
use crate::sample;
use crate::sink::{EnvelopePlan, MqttSink};
use crate::source::{Filters, MqttSource};

/// Tables over MQTT topics.
#[derive(Debug, Clone, Copy, Default)]
pub struct MqttConnector;

impl Connector for MqttConnector {
    type ProfileT = MqttProfile;
    type TableT = MqttTable;

    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: "mqtt",
            name: "MQTT",
            description: "Read from and write to the topics of an MQTT broker (3.1.1 and 5), or look up their latest messages",
            source: true,
            sink: true,
            lookup: true,
            testing: true,
            format: true,
            profile_schema: Some(PROFILE_SCHEMA),
            table_schema: TABLE_SCHEMA,
        }
    }

    fn metadata_defs(&self) -> Vec<MetadataDef> {
        metadata::defs()
    }

    fn table_type(&self, _profile: &MqttProfile, table: &MqttTable) -> ConnectionType {
        match table.type_ {
            TableType::Source(_) => ConnectionType::Source,
            TableType::Sink(_) => ConnectionType::Sink,
            TableType::Lookup(_) => ConnectionType::Lookup,
        }
    }

    fn locate(&self, location: &str) -> Result<Options, ConfigError> {
        location::options(location)
    }

    fn from_config(
        &self,
        name: &str,
        profile: MqttProfile,
        table: MqttTable,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        config::check_profile(&profile)?;
        config::check_table(&table)?;
        let connection_type = self.table_type(&profile, &table);
        let description = match connection_type {
            ConnectionType::Source => check_source(&profile, &table, &schema, &format)?,
            ConnectionType::Sink => check_sink(&profile, &table, &schema, &format)?,
            ConnectionType::Lookup => check_lookup(&profile, &table, &schema, &format)?,
        };
        let json = |e: serde_json::Error| ConfigError::new(None, e.to_string());
        Ok(Connection {
            connector: self.name().to_owned(),
            name: name.to_owned(),
            connection_type,
            profile: serde_json::to_value(&profile).map_err(json)?,
            table: serde_json::to_value(&table).map_err(json)?,
            config: OperatorConfig { schema, format },
            description,
        })
    }

    fn check_profile(&self, profile: &MqttProfile) -> Result<(), ConfigError> {
        config::check_profile(profile)
    }

    fn test_profile(
        &self,
        profile: MqttProfile,
        progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        Some(probe::test_profile(profile, progress).boxed())
    }

    fn test(
        &self,
        profile: MqttProfile,
        table: MqttTable,
        _config: &OperatorConfig,
        place: ProbePlace,
        progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        Some(probe::test_table(profile, table, place, progress).boxed())
    }

    fn dead_letter(&self, table: &Connection, topic: &str) -> Result<Connection, ConfigError> {
        dead_letter::connection(self, table, topic)
    }

    fn feeds(
        &self,
        sink: (&MqttProfile, &MqttTable),
        source: (&MqttProfile, &MqttTable),
    ) -> Option<String> {
        dead_letter::fed(sink, source)
    }

    /// The client id, if it is one of the user's own: the broker throws out who has it when another comes with it.
    fn exclusive(&self, profile: &MqttProfile, table: &MqttTable) -> Option<Exclusive> {
        let own = table.client_id.as_ref()?.resolve().ok()?;
        let (host, port) = dead_letter::broker(profile)?;
        Some(Exclusive::Identity(format!(
            "client id '{own}' at '{host}:{port}'"
        )))
    }

    /// As many as there are workers for messages that a broker shares among the members of a group; else one, since
    /// every subscription brings all messages.
    fn max_parallelism(&self, _profile: &MqttProfile, table: &MqttTable) -> usize {
        let TableType::Source(source) = &table.type_ else {
            return 1;
        };
        let shared = config::patterns(table, source)
            .is_ok_and(|patterns| patterns.iter().all(|(pattern, _)| pattern.is_shared()));
        if shared { usize::MAX } else { 1 }
    }

    fn sample(
        &self,
        profile: MqttProfile,
        request: SampleRequest,
    ) -> Result<Option<Sampling>, ConfigError> {
        sample::listen(&profile, request).map(|sampling| Some(sampling.boxed()))
    }

    fn make_operator(
        &self,
        profile: MqttProfile,
        table: MqttTable,
        config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        Ok(match &table.type_ {
            TableType::Source(source) => {
                let source = MqttSource::start(&profile, &table, source, &config, context)?;
                Operator::Source(Box::new(source))
            }
            TableType::Sink(sink) => {
                let sink = MqttSink::start(&profile, &table, sink, &config, context)?;
                Operator::Sink(Box::new(sink))
            }
            TableType::Lookup(lookup) => {
                let lookup = MqttLookup::start(&profile, &table, lookup, &config, context)?;
                Operator::Lookup(Box::new(lookup))
            }
        })
    }
}

fn check_source(
    profile: &MqttProfile,
    table: &MqttTable,
    schema: &TableSchema,
    format: &FormatConfig,
) -> Result<String, ConfigError> {
    let TableType::Source(source) = &table.type_ else {
        return Err(ConfigError::new(Some("type"), "the table is no source"));
    };
    let filters = Filters::new(profile, table, source, schema)?;
    let metadata = MqttMetadata::new(schema, &filters.patterns)?;
    Decoder::new(format, schema.payload_schema()).map_err(|e| wrong_format(&e))?;
    // The same rows as when it runs, so that a type that metadata cannot have is not found out only then.
    let config = OperatorConfig {
        schema: schema.clone(),
        format: format.clone(),
    };
    RowDecoder::new(&config, metadata, Arc::default())
        .map_err(|e| ConfigError::new(None, e.to_string()))?;
    Ok(format!("MqttSource<{}>", filters.text()))
}

fn check_lookup(
    profile: &MqttProfile,
    table: &MqttTable,
    schema: &TableSchema,
    format: &FormatConfig,
) -> Result<String, ConfigError> {
    match &table.type_ {
        TableType::Lookup(options) => lookup::check(profile, table, options, schema, format),
        _ => Err(ConfigError::new(
            Some("type"),
            "the table is no lookup table",
        )),
    }
}

fn check_sink(
    profile: &MqttProfile,
    table: &MqttTable,
    schema: &TableSchema,
    format: &FormatConfig,
) -> Result<String, ConfigError> {
    let TableType::Sink(sink) = &table.type_ else {
        return Err(ConfigError::new(Some("type"), "the table is no sink"));
    };
    let plan = EnvelopePlan::new(profile, table, sink, schema)?;
    // A sink without columns takes those of its query, and is checked again then.
    if !schema.columns.is_empty() {
        let encoder = Encoder::new(format, schema.payload_schema());
        plan.check(&encoder.map_err(|e| wrong_format(&e))?)?;
    }
    Ok(format!("MqttSink<{plan}>"))
}

fn wrong_format(error: &headwater_format::FormatError) -> ConfigError {
    ConfigError::new(Some("format"), error.to_string())
}
