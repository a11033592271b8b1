//! The columns and the format of a connection table, and how they become those of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use headwater_engine::connector::config::did_you_mean;
use headwater_engine::connector::{Column, ColumnOrigin, TableSchema};
use headwater_engine::{EventTime, json_metadata};
use headwater_format::FormatConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::object::object;

/// Columns and format of a table.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(example = serde_json::json!({
    "format": { "type": "json" },
    "fields": [{ "name": "t", "type": "f64" }],
}))]
pub(crate) struct ConnectionSchema {
    /// The format of payloads: `{"type": "json", …}`, with the options of the format beside its name.
    pub(crate) format: Option<Tagged>,
    /// What becomes of data that does not fit: `{"behavior": "drop"}` or `{"behavior": "fail"}`.
    #[serde(deserialize_with = "object")]
    pub(crate) bad_data: Option<Behavior>,
    /// How a payload is cut into messages: `{"method": "newline"}`.
    #[serde(deserialize_with = "object")]
    pub(crate) framing: Option<Method>,
    /// The columns.
    pub(crate) fields: Vec<SourceField>,
    /// The column that is the event time of a row, as the option `event_time_field` says it in SQL. Without it that is the
    /// moment of arrival.
    pub(crate) event_time_field: Option<String>,
    /// The column that is the watermark after a row, as the option `watermark_field` says it in SQL.
    pub(crate) watermark_field: Option<String>,
    /// The watermark after a row as an SQL expression over the columns, like `ts - INTERVAL '5 seconds'`: what stands
    /// behind `WATERMARK FOR ts AS`. Without it the watermark is a second behind the event time.
    pub(crate) watermark: Option<String>,
    /// After how many microseconds without rows the table is no longer waited for: 300,000,000 if nothing is said, -1 for
    /// never.
    pub(crate) idle_micros: Option<i64>,
    /// Must be null: columns are given one by one.
    pub(crate) definition: Option<Value>,
    /// Must be false or null.
    pub(crate) inferred: Option<bool>,
    /// The columns that are the key of a row, as `PRIMARY KEY` says it in SQL: the other side sees to it, and nothing here
    /// relies on it.
    pub(crate) primary_keys: Vec<String>,
}

/// A format by name, with its options.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(expecting = "an object like {\"type\": \"json\"}")]
pub(crate) struct Tagged {
    /// The format's name.
    #[serde(rename = "type")]
    kind: String,
    /// Its options.
    #[serde(flatten)]
    options: BTreeMap<String, Value>,
}

/// What becomes of data that does not fit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(expecting = "an object like {\"behavior\": \"drop\"}")]
pub(crate) struct Behavior {
    /// `fail` or `drop`.
    behavior: String,
}

/// How a payload is cut into messages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    expecting = "an object like {\"method\": \"newline\"}"
)]
pub(crate) struct Method {
    /// `newline`.
    method: String,
    /// The longest message, in bytes.
    #[serde(default)]
    max_line_length: Option<u64>,
}

/// One column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    expecting = "an object like {\"name\": \"a\", \"type\": \"int64\"}"
)]
pub(crate) struct SourceField {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    #[serde(flatten)]
    pub(crate) field_type: FieldType,
    /// Whether it is never null.
    #[serde(default)]
    pub(crate) required: bool,
    /// The metadata that it is filled from, instead of the payload.
    #[serde(default)]
    pub(crate) metadata_key: Option<String>,
}

/// The type of a column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(crate) enum FieldType {
    /// `INT`.
    Int32,
    /// `BIGINT`.
    Int64,
    /// `INT UNSIGNED`.
    #[serde(alias = "uint32")]
    UInt32,
    /// `BIGINT UNSIGNED`.
    #[serde(alias = "uint64")]
    UInt64,
    /// `FLOAT`.
    F32,
    /// `DOUBLE`.
    F64,
    /// `BOOLEAN`.
    Bool,
    /// `TEXT`.
    #[serde(alias = "utf8")]
    String,
    /// `BYTEA`.
    #[serde(alias = "binary")]
    Bytes,
    /// `TIMESTAMP`.
    Timestamp {
        /// Its precision.
        #[serde(default)]
        unit: TimestampUnit,
    },
    /// `JSON`.
    Json,
    /// `STRUCT<…>`.
    Struct {
        /// Its members.
        fields: Vec<SourceField>,
    },
    /// `…[]`.
    List {
        /// Its elements.
        items: Box<SourceField>,
    },
}

/// The precision of a timestamp.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TimestampUnit {
    /// `TIMESTAMP(0)`.
    #[serde(alias = "s")]
    Second,
    /// `TIMESTAMP(3)`.
    #[serde(alias = "ms")]
    #[default]
    Millisecond,
    /// `TIMESTAMP(6)`.
    #[serde(alias = "us", alias = "µs")]
    Microsecond,
    /// `TIMESTAMP`.
    #[serde(alias = "ns")]
    Nanosecond,
}

impl ConnectionSchema {
    /// The columns, as connectors know them.
    pub(crate) fn columns(&self) -> TableSchema {
        let column = |field: &SourceField| Column {
            field: Arc::new(field.arrow()),
            origin: match &field.metadata_key {
                Some(key) => ColumnOrigin::Metadata(key.clone()),
                None => ColumnOrigin::Payload,
            },
        };
        TableSchema {
            columns: self.fields.iter().map(column).collect(),
        }
    }

    /// What is said of event time.
    pub(crate) fn event_time(&self) -> EventTime {
        EventTime {
            time_field: self.event_time_field.clone(),
            watermark_field: self.watermark_field.clone(),
            watermark: self.watermark.clone(),
            idle_micros: self.idle_micros,
        }
    }

    /// The format, as connectors know it.
    ///
    /// # Errors
    /// Unknown names and options, and what cannot be said of a table here.
    pub(crate) fn format(&self) -> Result<FormatConfig, String> {
        self.check_columns()?;
        let mut config = Map::new();
        if let Some(format) = &self.format {
            let name = snake(&format.kind);
            let given = format.options.iter().filter(|(_, value)| !value.is_null());
            let options: Map<_, _> = given.map(|(k, v)| (snake(k), v.clone())).collect();
            config.insert("format".to_owned(), Value::from(name.as_str()));
            if !options.is_empty() {
                config.insert(name, Value::Object(options));
            }
        }
        if let Some(bad_data) = &self.bad_data {
            config.insert(
                "bad_data".to_owned(),
                Value::from(snake(&bad_data.behavior)),
            );
        }
        if let Some(framing) = &self.framing {
            config.insert("framing".to_owned(), Value::from(snake(&framing.method)));
            if let Some(length) = framing.max_line_length {
                config.insert("framing.newline.max_length".to_owned(), Value::from(length));
            }
        }
        serde_json::from_value(Value::Object(config)).map_err(|error| format!("schema: {error}"))
    }

    /// Whether columns are given as they can be, and what is said of them is said of one of them.
    fn check_columns(&self) -> Result<(), String> {
        for (given, what) in [
            (self.definition.is_some(), "definition"),
            (self.inferred == Some(true), "inferred"),
        ] {
            if given {
                return Err(format!(
                    "schema.{what} is not supported; give the columns in schema.fields"
                ));
            }
        }
        let names = || self.fields.iter().map(|field| field.name.as_str());
        let is_column = |key: &&String| names().any(|name| name == *key);
        match self.primary_keys.iter().find(|key| !is_column(key)) {
            None => Ok(()),
            Some(key) => Err(format!(
                "schema.primaryKeys: column '{key}' not found{}",
                did_you_mean(key, names())
            )),
        }
    }
}

impl SourceField {
    fn arrow(&self) -> Field {
        let field = Field::new(&self.name, self.field_type.arrow(), !self.required);
        match self.field_type {
            FieldType::Json => field.with_metadata(json_metadata()),
            _ => field,
        }
    }
}

impl FieldType {
    fn arrow(&self) -> DataType {
        match self {
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::String | Self::Json => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Timestamp { unit } => DataType::Timestamp(unit.arrow(), None),
            Self::Struct { fields } => {
                DataType::Struct(fields.iter().map(SourceField::arrow).collect::<Fields>())
            }
            Self::List { items } => DataType::List(Arc::new(items.arrow().with_name("item"))),
        }
    }
}

impl TimestampUnit {
    fn arrow(self) -> TimeUnit {
        match self {
            Self::Second => TimeUnit::Second,
            Self::Millisecond => TimeUnit::Millisecond,
            Self::Microsecond => TimeUnit::Microsecond,
            Self::Nanosecond => TimeUnit::Nanosecond,
        }
    }
}

/// `rawString` → `raw_string`; what is so already stays.
fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
