//! `format`, `bad_data` and the options of each format: the Rust side of `schemas/format.json`.

use serde::{Deserialize, Serialize};

/// (interface; typify makes these from schemas/format.json)
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormatConfig {
    /// How the bytes of one message are read or written.
    pub format: Option<Format>,
    /// What happens to a message that does not fit.
    pub bad_data: BadData,
    /// Options of the format `json`.
    pub json: JsonOptions,
}

/// A payload format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON documents.
    Json,
    /// UTF-8 text.
    RawString,
    /// Bytes as they are.
    RawBytes,
}

/// What happens to a message that does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadData {
    /// The job fails.
    #[default]
    Fail,
    /// It is counted and left out.
    Drop,
}

/// Options of the format `json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonOptions {
    /// The whole document, unparsed, in one column.
    pub unstructured: bool,
    /// How timestamps are written, and how numbers are understood.
    pub timestamp_format: TimestampFormat,
}

/// How a timestamp is written as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// `"2026-11-21T06:24:48.123Z"`.
    #[default]
    Rfc3339,
    /// Milliseconds since 1970.
    UnixMillis,
    /// Seconds since 1970, with fraction.
    UnixSeconds,
    /// Microseconds since 1970.
    UnixMicros,
    /// Nanoseconds since 1970.
    UnixNanos,
}
