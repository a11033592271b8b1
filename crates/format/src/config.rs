//! `format`, `bad_data` and the options of each format: the Rust side of `schemas/format.json`.
//!
//! The types are written by hand, because typify 0.8 makes an `Option` of every optional object, and everyone who reads
//! `json.…` would have to spell out the defaults again. The tests below keep both sides the same, to the last value.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How payloads become rows and rows become payloads: the options that every connector with payloads shares.
///
/// Options with a dot in their name stand beside the option before the dot, which SQL gives a value of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormatConfig {
    /// How the bytes of one message are read or written.
    pub format: Option<Format>,
    /// How one payload is cut into several messages.
    pub framing: Option<Framing>,
    /// The longest frame of `framing = 'newline'`, in bytes.
    #[serde(rename = "framing.newline.max_length")]
    pub framing_max_length: Option<usize>,
    /// How payloads are compressed.
    pub compression: Option<Compression>,
    /// The most that a payload may hold when it is decompressed, in bytes.
    #[serde(rename = "compression.max_size")]
    pub compression_max_size: usize,
    /// What happens to a message or row that does not fit.
    pub bad_data: BadData,
    /// Where bad data goes with `bad_data = 'dead_letter'`.
    pub dead_letter: DeadLetterOptions,
    /// Options of the formats `json` and `debezium_json`.
    pub json: JsonOptions,
    /// Options of the format `csv`.
    pub csv: CsvOptions,
    /// Options of the format `msgpack`.
    pub msgpack: MsgpackOptions,
    /// Options of the format `cbor`.
    pub cbor: CborOptions,
    /// Options of the format `avro`.
    pub avro: AvroOptions,
    /// Options of the format `protobuf`.
    pub protobuf: ProtobufOptions,
}

impl Default for FormatConfig {
    fn default() -> Self {
        Self {
            format: None,
            framing: None,
            framing_max_length: None,
            compression: None,
            compression_max_size: 64 << 20,
            bad_data: BadData::default(),
            dead_letter: DeadLetterOptions::default(),
            json: JsonOptions::default(),
            csv: CsvOptions::default(),
            msgpack: MsgpackOptions::default(),
            cbor: CborOptions::default(),
            avro: AvroOptions::default(),
            protobuf: ProtobufOptions::default(),
        }
    }
}

/// A payload format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON documents.
    Json,
    /// Changes of rows, in JSON, as Debezium tells them.
    DebeziumJson,
    /// UTF-8 text.
    RawString,
    /// Bytes as they are.
    RawBytes,
    /// RFC 4180.
    Csv,
    /// MessagePack.
    Msgpack,
    /// RFC 8949.
    Cbor,
    /// Apache Avro.
    Avro,
    /// Protocol Buffers.
    Protobuf,
    /// Eclipse Sparkplug.
    SparkplugB,
}

impl Format {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Json,
        Self::DebeziumJson,
        Self::RawString,
        Self::RawBytes,
        Self::Csv,
        Self::Msgpack,
        Self::Cbor,
        Self::Avro,
        Self::Protobuf,
        Self::SparkplugB,
    ];

    /// Its name in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::DebeziumJson => "debezium_json",
            Self::RawString => "raw_string",
            Self::RawBytes => "raw_bytes",
            Self::Csv => "csv",
            Self::Msgpack => "msgpack",
            Self::Cbor => "cbor",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
            Self::SparkplugB => "sparkplug_b",
        }
    }

    /// Whether its messages may be the lines of a payload.
    pub(crate) fn is_text(self) -> bool {
        match self {
            Self::Json | Self::DebeziumJson | Self::RawString | Self::RawBytes | Self::Csv => true,
            Self::Msgpack | Self::Cbor | Self::Avro | Self::Protobuf | Self::SparkplugB => false,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one payload is cut into several messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Every line is a message.
    Newline,
}

/// How payloads are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What happens to a message or row that does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadData {
    /// The job fails.
    #[default]
    Fail,
    /// It is counted and left out.
    Drop,
    /// It is counted and sent where [`DeadLetterOptions`] say.
    DeadLetter,
}

/// Where bad data goes: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterOptions {
    /// A topic, reached as the table itself is.
    pub topic: Option<String>,
    /// A sink table of the same SQL.
    pub table: Option<String>,
}

/// Options of the formats `json` and `debezium_json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonOptions {
    /// The whole document, unparsed, in one column.
    pub unstructured: bool,
    /// How timestamps are written, and how numbers are understood.
    pub timestamp_format: TimestampFormat,
    /// How decimals are written; both ways are always understood.
    pub decimal_encoding: DecimalEncoding,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            unstructured: false,
            timestamp_format: TimestampFormat::Iso8601,
            decimal_encoding: DecimalEncoding::default(),
        }
    }
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// `"2026-11-21T06:24:48.123Z"`.
    #[default]
    Rfc3339,
    /// `"2026-11-21T06:24:48.123"`, as Arroyo does: UTC, and no zone that says so. The default of `json`.
    Iso8601,
    /// Milliseconds since 1970.
    UnixMillis,
    /// Seconds since 1970, with fraction.
    UnixSeconds,
    /// Microseconds since 1970.
    UnixMicros,
    /// Nanoseconds since 1970.
    UnixNanos,
}

/// How a decimal is written as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecimalEncoding {
    /// `12.30`, which many readers round to a 64-bit float.
    #[default]
    Number,
    /// `"12.30"`.
    String,
}

/// Options of the format `csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// What stands between cells: one character.
    pub delimiter: String,
    /// Whether each payload begins with a line of names.
    pub header: bool,
    /// The cell that stands for null, beside the empty one.
    pub null_string: String,
    /// How timestamps are written, and how numbers are understood.
    pub timestamp_format: TimestampFormat,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            header: false,
            null_string: String::new(),
            timestamp_format: TimestampFormat::default(),
        }
    }
}

/// Options of the format `msgpack`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MsgpackOptions {
    /// How timestamps are written, and how numbers are understood.
    pub timestamp_format: TimestampFormat,
}

/// Options of the format `cbor`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CborOptions {
    /// How timestamps are written, and how numbers are understood.
    pub timestamp_format: TimestampFormat,
}

/// Options of the format `avro`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AvroOptions {
    /// The schema, as JSON.
    pub schema: Option<String>,
    /// The file that holds the schema.
    pub schema_file: Option<String>,
    /// Whether messages are datums alone, without marker and fingerprint.
    pub raw_datums: bool,
    /// How numbers without a logical type are understood as timestamps, and written.
    pub timestamp_format: TimestampFormat,
}

/// Options of the format `protobuf`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProtobufOptions {
    /// The `.proto` file.
    pub file: Option<String>,
    /// The folders in which it and its imports are found.
    pub include: Vec<String>,
    /// The compiled descriptor set.
    pub descriptor_set: Option<String>,
    /// The message's name.
    pub message_name: Option<String>,
    /// How integers are understood as timestamps, and written.
    pub timestamp_format: TimestampFormat,
}

/// The schema that these types follow.
pub const SCHEMA: &str = include_str!("../../../schemas/format.json");

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Map, Value, json};

    use super::*;

    fn properties(schema: &Value) -> &Map<String, Value> {
        assert_eq!(schema["additionalProperties"], false);
        schema["properties"].as_object().unwrap()
    }

    /// The schema allows exactly the values that the Rust type has.
    fn check_enum<T: Serialize + DeserializeOwned>(schema: &Value, variants: &[T]) {
        let allowed = schema["enum"].as_array().unwrap();
        let known: Vec<_> = variants
            .iter()
            .map(|variant| serde_json::to_value(variant).unwrap())
            .collect();
        assert_eq!(*allowed, known);
        for value in allowed {
            let read: T = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), *value);
        }
    }

    /// The schema has exactly the properties of the Rust value, with its values as defaults.
    fn check_defaults(schema: &Value, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap();
        let known: Vec<_> = value.as_object().unwrap().keys().collect();
        let properties = properties(schema);
        assert_eq!(properties.keys().collect::<Vec<_>>(), known);
        for (name, property) in properties {
            if property["type"] != "object" {
                assert_eq!(
                    property.get("default").unwrap_or(&Value::Null),
                    &value[name],
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn schema_and_types_are_the_same() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let top = properties(&schema);
        check_defaults(&schema, &FormatConfig::default());
        check_defaults(&top["dead_letter"], &DeadLetterOptions::default());
        check_defaults(&top["json"], &JsonOptions::default());
        check_defaults(&top["csv"], &CsvOptions::default());
        check_defaults(&top["msgpack"], &MsgpackOptions::default());
        check_defaults(&top["cbor"], &CborOptions::default());
        check_defaults(&top["avro"], &AvroOptions::default());
        check_defaults(&top["protobuf"], &ProtobufOptions::default());
        check_enum(&top["format"], Format::ALL);
        for format in Format::ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        check_enum(&top["framing"], &[Framing::Newline]);
        check_enum(&top["compression"], &[Compression::Gzip, Compression::Zstd]);
        check_enum(
            &top["bad_data"],
            &[BadData::Fail, BadData::Drop, BadData::DeadLetter],
        );
        for format in ["json", "csv", "msgpack", "cbor", "avro", "protobuf"] {
            check_enum(
                &properties(&top[format])["timestamp_format"],
                &[
                    TimestampFormat::Rfc3339,
                    TimestampFormat::Iso8601,
                    TimestampFormat::UnixMillis,
                    TimestampFormat::UnixSeconds,
                    TimestampFormat::UnixMicros,
                    TimestampFormat::UnixNanos,
                ],
            );
        }
        let json = properties(&top["json"]);
        check_enum(
            &json["decimal_encoding"],
            &[DecimalEncoding::Number, DecimalEncoding::String],
        );
        assert_eq!(json["unstructured"]["type"], "boolean");
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        let parsed: FormatConfig = serde_json::from_value(json!({})).unwrap();
        assert_eq!(parsed, FormatConfig::default());
    }

    #[test]
    fn unknown_options_are_refused() {
        for unknown in [json!({"fromat": "json"}), json!({"json": {"pretty": true}})] {
            assert!(serde_json::from_value::<FormatConfig>(unknown).is_err());
        }
    }
}
