//! What is around a payload: the metadata columns of MQTT sources.
//!
//! A name in `METADATA FROM '…'` becomes one builder. Those of MQTT 5 properties are null where the message, or the
//! version of the protocol, has none.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};
use headwater_connector::config::{ConfigError, did_you_mean, quoted};
use headwater_connector::{MetadataColumns, MetadataDef, TableSchema};

use crate::packet::{Message, Property};
use crate::topic::TopicPattern;

/// The metadata that MQTT sources offer.
pub fn defs() -> Vec<MetadataDef> {
    let def = |name, data_type, description| MetadataDef {
        name,
        data_type,
        description,
    };
    vec![
        def("topic", DataType::Utf8, "The topic of the message."),
        def(
            "topic.*",
            DataType::Utf8,
            "The level of the topic that the filter calls `{name}`.",
        ),
        def(
            "qos",
            DataType::Int32,
            "The QoS at which the broker sent the message, 0 or 1.",
        ),
        def(
            "retain",
            DataType::Boolean,
            "Whether the broker had kept the message from before the subscription.",
        ),
        def(
            "dup",
            DataType::Boolean,
            "Whether the broker may have sent the message before.",
        ),
        def(
            "packet_id",
            DataType::Int32,
            "The packet identifier; null at QoS 0.",
        ),
        def(
            "received_at",
            TIMESTAMP,
            "When the message was read from the connection, by this machine's clock.",
        ),
        def(
            "content_type",
            DataType::Utf8,
            "The content type (MQTT 5), or null.",
        ),
        def(
            "response_topic",
            DataType::Utf8,
            "Where an answer is awaited (MQTT 5), or null.",
        ),
        def(
            "correlation_data",
            DataType::Binary,
            "What an answer must repeat (MQTT 5), or null.",
        ),
        def(
            "message_expiry_interval",
            DataType::Int64,
            "How many seconds the message has left (MQTT 5), or null.",
        ),
        def(
            "user_property.*",
            DataType::Utf8,
            "The first user property of this name (MQTT 5), or null.",
        ),
    ]
}

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

/// A message, and when it was read.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The message.
    pub message: Message<'a>,
    /// Nanoseconds since 1970.
    pub at_nanos: i64,
}

/// Nanoseconds since 1970, now.
pub fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// The metadata columns of one table.
#[derive(Debug)]
pub struct MqttMetadata {
    columns: Vec<Column>,
}

#[derive(Debug)]
enum Column {
    Topic(StringBuilder),
    Level(usize, StringBuilder),
    Qos(Int32Builder),
    Retain(BooleanBuilder),
    Dup(BooleanBuilder),
    PacketId(Int32Builder),
    ReceivedAt(TimestampNanosecondBuilder),
    ContentType(StringBuilder),
    ResponseTopic(StringBuilder),
    CorrelationData(BinaryBuilder),
    MessageExpiryInterval(Int64Builder),
    UserProperty(String, StringBuilder),
}

impl MqttMetadata {
    /// The builders for the metadata columns that a table declares.
    ///
    /// # Errors
    /// Names that MQTT does not have, with the nearest that it has; `NOT NULL` on metadata that may be missing.
    pub fn new(schema: &TableSchema, pattern: &TopicPattern) -> Result<Self, ConfigError> {
        let mut columns = Vec::new();
        for (_, name, field) in schema.metadata() {
            let column = Column::new(name, pattern)
                .map_err(|e| ConfigError::new(None, format!("column '{}': {e}", field.name())))?;
            if column.may_be_null() && !field.is_nullable() {
                let message = format!(
                    "column '{}': not every message has '{name}'; remove NOT NULL",
                    field.name()
                );
                return Err(ConfigError::new(None, message));
            }
            columns.push(column);
        }
        Ok(Self { columns })
    }
}

impl MetadataColumns for MqttMetadata {
    type Message<'a> = Received<'a>;

    fn append(&mut self, received: &Received<'_>, rows: usize) {
        for column in &mut self.columns {
            for _ in 0..rows {
                column.append(received);
            }
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

impl Column {
    fn new(name: &str, pattern: &TopicPattern) -> Result<Self, String> {
        if let Some(level) = name.strip_prefix("topic.") {
            return match pattern.level(level) {
                Some(index) => Ok(Self::Level(index, StringBuilder::new())),
                None => Err(no_such_level(level, pattern)),
            };
        }
        if let Some(key) = name
            .strip_prefix("user_property.")
            .filter(|key| !key.is_empty())
        {
            return Ok(Self::UserProperty(key.to_owned(), StringBuilder::new()));
        }
        Ok(match name {
            "topic" => Self::Topic(StringBuilder::new()),
            "qos" => Self::Qos(Int32Builder::new()),
            "retain" => Self::Retain(BooleanBuilder::new()),
            "dup" => Self::Dup(BooleanBuilder::new()),
            "packet_id" => Self::PacketId(Int32Builder::new()),
            "received_at" => Self::ReceivedAt(TimestampNanosecondBuilder::new()),
            "content_type" => Self::ContentType(StringBuilder::new()),
            "response_topic" => Self::ResponseTopic(StringBuilder::new()),
            "correlation_data" => Self::CorrelationData(BinaryBuilder::new()),
            "message_expiry_interval" => Self::MessageExpiryInterval(Int64Builder::new()),
            _ => {
                let known: Vec<_> = defs().into_iter().map(|def| def.name).collect();
                let meant = did_you_mean(name, known.iter().copied());
                return Err(format!(
                    "unknown metadata '{name}'{meant} (there are {})",
                    quoted(known.iter())
                ));
            }
        })
    }

    fn may_be_null(&self) -> bool {
        matches!(
            self,
            Self::PacketId(_)
                | Self::ContentType(_)
                | Self::ResponseTopic(_)
                | Self::CorrelationData(_)
                | Self::MessageExpiryInterval(_)
                | Self::UserProperty(..)
        )
    }

    fn append(&mut self, received: &Received<'_>) {
        let message = &received.message;
        match self {
            Self::Topic(b) => b.append_value(message.topic()),
            Self::Level(index, b) => b.append_option(message.topic().split('/').nth(*index)),
            Self::Qos(b) => b.append_value(i32::from(message.qos().level())),
            Self::Retain(b) => b.append_value(message.retain()),
            Self::Dup(b) => b.append_value(message.dup()),
            Self::PacketId(b) => {
                b.append_option(Some(message.packet_id).filter(|id| *id != 0).map(i32::from));
            }
            Self::ReceivedAt(b) => b.append_value(received.at_nanos),
            Self::ContentType(b) => b.append_option(property(message, |p| match p {
                Property::ContentType(text) => Some(text),
                _ => None,
            })),
            Self::ResponseTopic(b) => b.append_option(property(message, |p| match p {
                Property::ResponseTopic(text) => Some(text),
                _ => None,
            })),
            Self::CorrelationData(b) => b.append_option(property(message, |p| match p {
                Property::CorrelationData(bytes) => Some(bytes),
                _ => None,
            })),
            Self::MessageExpiryInterval(b) => b.append_option(property(message, |p| match p {
                Property::MessageExpiryInterval(seconds) => Some(i64::from(seconds)),
                _ => None,
            })),
            Self::UserProperty(key, b) => {
                b.append_option(message.properties.user_property(key).next());
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Topic(b)
            | Self::Level(_, b)
            | Self::ContentType(b)
            | Self::ResponseTopic(b)
            | Self::UserProperty(_, b) => Arc::new(b.finish()),
            Self::Qos(b) | Self::PacketId(b) => Arc::new(b.finish()),
            Self::Retain(b) | Self::Dup(b) => Arc::new(b.finish()),
            Self::ReceivedAt(b) => Arc::new(b.finish()),
            Self::CorrelationData(b) => Arc::new(b.finish()),
            Self::MessageExpiryInterval(b) => Arc::new(b.finish()),
        }
    }
}

fn property<'a, T>(
    message: &Message<'a>,
    pick: impl FnMut(Property<'a>) -> Option<T>,
) -> Option<T> {
    message.properties.iter().find_map(pick)
}

fn no_such_level(level: &str, pattern: &TopicPattern) -> String {
    let meant = did_you_mean(level, pattern.names());
    format!("the topic '{pattern}' has no level '{{{level}}}'{meant}")
}
