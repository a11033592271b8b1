//! The columns of a sink that make the envelope: what each is for, and its values in one batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};
use headwater_connector::config::{did_you_mean, quoted};

use crate::options::QoS;

/// The metadata that a sink can write.
const METADATA: [&str; 11] = [
    "topic",
    "topic.*",
    "qos",
    "retain",
    "payload_format_indicator",
    "content_type",
    "response_topic",
    "correlation_data",
    "message_expiry_interval",
    "user_properties",
    "user_property.*",
];

/// What a column is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// A piece of the topic, or all of it.
    Text,
    Qos,
    Retain,
    PayloadFormatIndicator,
    MessageExpiryInterval,
    ContentType,
    ResponseTopic,
    CorrelationData,
    UserProperty(String),
    UserProperties,
}

impl ColumnKind {
    /// The kind of a metadata name.
    fn of(name: &str) -> Result<Self, String> {
        if let Some(key) = name.strip_prefix("user_property.")
            && !key.is_empty()
        {
            return Ok(Self::UserProperty(key.to_owned()));
        }
        if name
            .strip_prefix("topic.")
            .is_some_and(|level| !level.is_empty())
        {
            return Ok(Self::Text);
        }
        Ok(match name {
            "topic" => Self::Text,
            "qos" => Self::Qos,
            "retain" => Self::Retain,
            "payload_format_indicator" => Self::PayloadFormatIndicator,
            "message_expiry_interval" => Self::MessageExpiryInterval,
            "content_type" => Self::ContentType,
            "response_topic" => Self::ResponseTopic,
            "correlation_data" => Self::CorrelationData,
            "user_properties" => Self::UserProperties,
            "dup" | "packet_id" | "received_at" | "subscription_identifier" => {
                return Err(format!(
                    "'{name}' can be read but not written; a sink writes {}",
                    quoted(METADATA.iter())
                ));
            }
            _ => {
                let meant = did_you_mean(name, METADATA.iter().copied());
                return Err(format!(
                    "unknown metadata '{name}'{meant} (a sink writes {})",
                    quoted(METADATA.iter())
                ));
            }
        })
    }

    /// Whether only MQTT 5 has it.
    pub(super) fn is_property(&self) -> bool {
        !matches!(self, Self::Text | Self::Qos | Self::Retain)
    }

    /// The type in which values are read.
    fn data_type(&self) -> DataType {
        match self {
            Self::Text | Self::ContentType | Self::ResponseTopic | Self::UserProperty(_) => {
                DataType::Utf8
            }
            Self::Retain => DataType::Boolean,
            Self::Qos | Self::PayloadFormatIndicator | Self::MessageExpiryInterval => {
                DataType::Int64
            }
            Self::CorrelationData => DataType::Binary,
            Self::UserProperties => text_map(),
        }
    }
}

/// `MAP<TEXT, TEXT>`.
pub(crate) fn text_map() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries), false)),
        false,
    )
}

/// One column of the envelope.
#[derive(Debug, Clone)]
pub(super) struct ColumnPlan {
    /// Its name in the table.
    pub(super) name: String,
    /// The name after `METADATA FROM`; empty for a column of the payload that the topic uses.
    pub(super) metadata: String,
    pub(super) kind: ColumnKind,
    /// Its place in the table.
    index: usize,
}

impl ColumnPlan {
    /// A column `METADATA FROM 'name'`.
    pub(super) fn metadata(index: usize, name: &str, field: &FieldRef) -> Result<Self, String> {
        let kind = ColumnKind::of(name)?;
        let (given, wanted) = (field.data_type(), kind.data_type());
        if !fits(given, &wanted) {
            return Err(format!("has the type {given}, but '{name}' is {wanted}"));
        }
        Ok(Self {
            name: field.name().clone(),
            metadata: name.to_owned(),
            kind,
            index,
        })
    }

    /// A column of which the topic is made.
    pub(super) fn text(index: usize, field: &FieldRef) -> Result<Self, String> {
        let given = field.data_type();
        if !fits(given, &DataType::Utf8) {
            return Err(format!(
                "has the type {given}, of which no topic can be made"
            ));
        }
        Ok(Self {
            name: field.name().clone(),
            metadata: String::new(),
            kind: ColumnKind::Text,
            index,
        })
    }

    /// Whether both write the same field, of which a message has one.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        self.metadata == other.metadata && !self.metadata.starts_with("user_propert")
    }

    /// Its values in a batch.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<Values, String> {
        let missing = || format!("column '{}' is missing from the batch", self.name);
        let column = rows.columns().get(self.index).ok_or_else(missing)?;
        let wanted = self.kind.data_type();
        if *column.data_type() == wanted || matches!(column.data_type(), DataType::Map(..)) {
            return Ok(Values(Arc::clone(column)));
        }
        let cast = cast(column, &wanted).map_err(|e| format!("column '{}': {e}", self.name))?;
        Ok(Values(cast))
    }
}

/// Whether values of a type can be read as another without a surprise.
fn fits(given: &DataType, wanted: &DataType) -> bool {
    match (given, wanted) {
        (DataType::Map(entries, _), DataType::Map(..)) => match entries.data_type() {
            DataType::Struct(fields) => fields
                .iter()
                .all(|field| *field.data_type() == DataType::Utf8),
            _ => false,
        },
        (_, DataType::Map(..)) | (DataType::Binary, DataType::Utf8) => false,
        (given, DataType::Boolean) => *given == DataType::Boolean,
        (given, DataType::Int64) => given.is_integer(),
        (given, wanted) => !given.is_nested() && can_cast_types(given, wanted),
    }
}

/// The values of one column in one batch.
pub(super) struct Values(ArrayRef);

impl Values {
    #[inline]
    pub(super) fn text(&self, row: usize) -> Option<&str> {
        let array = self.0.as_string_opt::<i32>()?;
        array.is_valid(row).then(|| array.value(row))
    }

    pub(super) fn bytes(&self, row: usize) -> Option<&[u8]> {
        let array = self.0.as_binary_opt::<i32>()?;
        array.is_valid(row).then(|| array.value(row))
    }

    pub(super) fn boolean(&self, row: usize) -> Option<bool> {
        let array = self.0.as_boolean_opt()?;
        array.is_valid(row).then(|| array.value(row))
    }

    /// A QoS, if the row has one.
    pub(super) fn qos(&self, row: usize) -> Result<Option<QoS>, String> {
        let Some(array) = self.0.as_primitive_opt::<Int64Type>() else {
            return Ok(None);
        };
        if array.is_null(row) {
            return Ok(None);
        }
        match array.value(row) {
            0 => Ok(Some(QoS::AtMostOnce)),
            1 => Ok(Some(QoS::AtLeastOnce)),
            2 => Ok(Some(QoS::ExactlyOnce)),
            other => Err(format!("the QoS {other} is none of 0, 1 and 2")),
        }
    }

    /// Whether the row says that its payload is text, if it says anything.
    pub(super) fn is_text(&self, row: usize) -> Result<Option<bool>, String> {
        let array = self.0.as_primitive_opt::<Int64Type>();
        match array
            .filter(|array| array.is_valid(row))
            .map(|array| array.value(row))
        {
            None => Ok(None),
            Some(0) => Ok(Some(false)),
            Some(1) => Ok(Some(true)),
            Some(other) => Err(format!(
                "the payload format indicator {other} is neither 0 nor 1"
            )),
        }
    }

    /// Seconds as a packet counts them, if the row has any.
    pub(super) fn seconds(&self, row: usize) -> Result<Option<u32>, String> {
        let Some(array) = self.0.as_primitive_opt::<Int64Type>() else {
            return Ok(None);
        };
        if array.is_null(row) {
            return Ok(None);
        }
        let seconds = array.value(row);
        match u32::try_from(seconds) {
            Ok(seconds) => Ok(Some(seconds)),
            Err(_out_of_range) => Err(format!(
                "the message expiry of {seconds} seconds is not between 0 and {}",
                u32::MAX
            )),
        }
    }

    /// The entries of a map of texts; none if it is null.
    pub(super) fn pairs(&self, row: usize) -> impl Iterator<Item = (&str, Option<&str>)> {
        let map = self.0.as_map_opt().filter(|map| map.is_valid(row));
        let range = map.map_or(0..0, |map| {
            let offsets = map.value_offsets();
            offsets[row] as usize..offsets[row + 1] as usize
        });
        let entries = map.and_then(|map| {
            let keys = map.keys().as_string_opt::<i32>()?;
            Some((keys, map.values().as_string_opt::<i32>()?))
        });
        entries.into_iter().flat_map(move |(keys, values)| {
            range
                .clone()
                .map(move |i| (keys.value(i), values.is_valid(i).then(|| values.value(i))))
        })
    }
}
