//! Payload bytes ↔ Arrow, without I/O.

pub mod config;

pub use config::{BadData, Format, FormatConfig, JsonOptions, TimestampFormat};
