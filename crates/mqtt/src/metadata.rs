//! What is around a payload: the metadata columns of MQTT sources.
//!
//! A name in `METADATA FROM '…'` becomes one builder. Those of MQTT 5 properties are null where the message, or the
//! version of the protocol, has none.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, MapBuilder, MapFieldNames,
    StringBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};
use headwater_connector::config::{ConfigError, did_you_mean, quoted};
use headwater_connector::{MetadataColumns, MetadataDef, TableSchema};

use crate::packet::{Message, Property};
use crate::sink::text_map;
use crate::topic::{TopicPattern, matches};

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
            "The level of the topic that the filter calls `{name}`; null where the filter that matches has no such name.",
        ),
        def(
            "topic[*]",
            DataType::Utf8,
            "The level of the topic at this place, from 1; from the end with -1, -2, …; null where there is none.",
        ),
        def(
            "qos",
            DataType::Int32,
            "The QoS at which the broker sent the message: 0, 1 or 2.",
        ),
        def(
            "retain",
            DataType::Boolean,
            "Whether the broker had kept the message from before the subscription, or, with `retain_as_published`, whether it was published to be kept.",
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
            "payload_format_indicator",
            DataType::Int32,
            "1 if the sender says that the payload is UTF-8 text, else 0 or null (MQTT 5).",
        ),
        def(
            SUBSCRIPTION_IDENTIFIER,
            DataType::Int32,
            "Which of `topics` the broker sent the message for, from 1 (MQTT 5), or null.",
        ),
        def(
            "user_properties",
            text_map(),
            "All user properties (MQTT 5) in their order; empty if there are none.",
        ),
        def(
            "user_property.*",
            DataType::Utf8,
            "The first user property of this name (MQTT 5), or null.",
        ),
    ]
}

/// The column that tells filters apart. The source asks for identifiers only where a table has it, or filters overlap.
pub(crate) const SUBSCRIPTION_IDENTIFIER: &str = "subscription_identifier";

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

/// A message, and when it was read.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The message.
    pub message: &'a Message<'a>,
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
    Level(Place, StringBuilder),
    Qos(Int32Builder),
    Retain(BooleanBuilder),
    Dup(BooleanBuilder),
    PacketId(Int32Builder),
    ReceivedAt(TimestampNanosecondBuilder),
    ContentType(StringBuilder),
    ResponseTopic(StringBuilder),
    CorrelationData(BinaryBuilder),
    MessageExpiryInterval(Int64Builder),
    PayloadFormatIndicator(Int32Builder),
    SubscriptionIdentifier(Int32Builder),
    UserProperties(Box<MapBuilder<StringBuilder, StringBuilder>>),
    UserProperty(String, StringBuilder),
}

/// Where in a topic a value stands.
#[derive(Debug)]
enum Place {
    /// At this level, from 0.
    Nth(usize),
    /// At this level, from 0, counted from the end.
    NthBack(usize),
    /// At the level of the first of these filters that the topic matches, if one has it.
    ByFilter(Vec<(String, Option<usize>)>),
}

impl Place {
    /// The level that patterns call by this name.
    fn named(name: &str, patterns: &[TopicPattern]) -> Result<Self, String> {
        let level = |pattern: &TopicPattern| pattern.level(name);
        let levels: Vec<_> = patterns.iter().map(level).collect();
        match levels.iter().flatten().next() {
            None => Err(no_such_level(name, patterns)),
            Some(&first) if levels.iter().all(|level| *level == Some(first)) => {
                Ok(Self::Nth(first))
            }
            Some(_) => {
                let filters = patterns.iter().map(|pattern| pattern.unshared().to_owned());
                // Of those that match, one that has the name says more than one that has not.
                let mut filters: Vec<_> = filters.zip(levels).collect();
                filters.sort_by_key(|(_, level)| level.is_none());
                Ok(Self::ByFilter(filters))
            }
        }
    }

    /// `topic[2]`, `topic[-1]`.
    fn numbered(number: &str) -> Result<Self, String> {
        match number.parse::<i32>() {
            Ok(n @ 1..) => Ok(Self::Nth(n as usize - 1)),
            Ok(n @ ..=-1) => Ok(Self::NthBack(n.unsigned_abs() as usize - 1)),
            _ => Err(format!(
                "'topic[{number}]' is no level; write 'topic[1]' for the first, 'topic[-1]' for the last"
            )),
        }
    }

    /// Whether a topic may have nothing there.
    fn may_be_missing(&self, patterns: &[TopicPattern]) -> bool {
        let levels = patterns
            .iter()
            .map(TopicPattern::min_levels)
            .min()
            .unwrap_or(0);
        match self {
            Self::Nth(n) | Self::NthBack(n) => *n >= levels,
            Self::ByFilter(filters) => filters.iter().any(|(_, level)| level.is_none()),
        }
    }

    fn of<'a>(&self, topic: &'a str) -> Option<&'a str> {
        match self {
            Self::Nth(n) => topic.split('/').nth(*n),
            Self::NthBack(n) => topic.rsplit('/').nth(*n),
            Self::ByFilter(filters) => {
                let (_, level) = filters.iter().find(|(filter, _)| matches(filter, topic))?;
                topic.split('/').nth((*level)?)
            }
        }
    }
}

impl MqttMetadata {
    /// The builders for the metadata columns that a table declares.
    ///
    /// # Errors
    /// Names that MQTT does not have, with the nearest that it has; `NOT NULL` on metadata that may be missing.
    pub fn new(schema: &TableSchema, patterns: &[TopicPattern]) -> Result<Self, ConfigError> {
        let mut columns = Vec::new();
        for (_, name, field) in schema.metadata() {
            let column = Column::new(name, patterns)
                .map_err(|e| ConfigError::new(None, format!("column '{}': {e}", field.name())))?;
            if column.may_be_null(patterns) && !field.is_nullable() {
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

    fn topic<'m>(received: &'m Received<'_>) -> Option<&'m str> {
        Some(received.message.topic())
    }

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
    fn new(name: &str, patterns: &[TopicPattern]) -> Result<Self, String> {
        if let Some(level) = name.strip_prefix("topic.") {
            return Ok(Self::Level(
                Place::named(level, patterns)?,
                StringBuilder::new(),
            ));
        }
        let number = name
            .strip_prefix("topic[")
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(number) = number {
            return Ok(Self::Level(Place::numbered(number)?, StringBuilder::new()));
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
            "payload_format_indicator" => Self::PayloadFormatIndicator(Int32Builder::new()),
            SUBSCRIPTION_IDENTIFIER => Self::SubscriptionIdentifier(Int32Builder::new()),
            "user_properties" => Self::UserProperties(Box::new(map_builder())),
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

    fn may_be_null(&self, patterns: &[TopicPattern]) -> bool {
        if let Self::Level(place, _) = self {
            return place.may_be_missing(patterns);
        }
        matches!(
            self,
            Self::PacketId(_)
                | Self::ContentType(_)
                | Self::ResponseTopic(_)
                | Self::CorrelationData(_)
                | Self::MessageExpiryInterval(_)
                | Self::PayloadFormatIndicator(_)
                | Self::SubscriptionIdentifier(_)
                | Self::UserProperty(..)
        )
    }

    fn append(&mut self, received: &Received<'_>) {
        let message = &received.message;
        match self {
            Self::Topic(b) => b.append_value(message.topic()),
            Self::Level(place, b) => b.append_option(place.of(message.topic())),
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
            Self::PayloadFormatIndicator(b) => b.append_option(property(message, |p| match p {
                Property::PayloadFormatIndicator(indicator) => Some(i32::from(indicator)),
                _ => None,
            })),
            Self::SubscriptionIdentifier(b) => b.append_option(subscription_identifier(message)),
            Self::UserProperties(b) => append_user_properties(b, message),
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
            Self::Qos(b)
            | Self::PacketId(b)
            | Self::PayloadFormatIndicator(b)
            | Self::SubscriptionIdentifier(b) => Arc::new(b.finish()),
            Self::UserProperties(b) => Arc::new(b.finish()),
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

/// The first of the filters for which the message came; a broker may name several in any order.
fn subscription_identifier(message: &Message<'_>) -> Option<i32> {
    let identifiers = message.properties.iter().filter_map(|p| match p {
        Property::SubscriptionIdentifier(id) => i32::try_from(id).ok(),
        _ => None,
    });
    identifiers.min()
}

/// A builder whose arrays have the type of [`text_map`].
pub(crate) fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

fn append_user_properties(
    builder: &mut MapBuilder<StringBuilder, StringBuilder>,
    message: &Message<'_>,
) {
    for property in message.properties.iter() {
        if let Property::UserProperty(key, value) = property {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
    }
    // As many keys as values were appended, which is all that it asks for.
    let _always_fits = builder.append(true);
}

fn no_such_level(level: &str, patterns: &[TopicPattern]) -> String {
    let names = || patterns.iter().flat_map(TopicPattern::names);
    let meant = match did_you_mean(level, names()) {
        meant if meant.is_empty() && names().next().is_some() => {
            format!("; named levels are {}", quoted(names()))
        }
        meant => meant,
    };
    match patterns {
        [pattern] => format!("the topic '{pattern}' has no level '{{{level}}}'{meant}"),
        _ => format!("none of the topics has a level '{{{level}}}'{meant}"),
    }
}
