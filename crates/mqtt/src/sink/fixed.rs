//! The properties that options give to every message of a sink, and what may be put into properties at all.

use headwater_connector::config::{ConfigError, duration};

use super::column::ColumnPlan;
use crate::config::{ProtocolVersion, SinkOptions};
use crate::packet::PropertiesWriter;
use crate::topic::{check_text, check_topic};

/// The properties that options give to every message.
#[derive(Debug, Clone, Default)]
pub(super) struct Fixed {
    pub(super) payload_is_text: bool,
    message_expiry: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    user_properties: Vec<(String, String)>,
}

/// What the columns of a row have written, so that options do not say it again.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) format_indicator: bool,
    pub(super) expiry: bool,
    pub(super) content_type: bool,
    pub(super) response_topic: bool,
}

impl Fixed {
    pub(super) fn new(sink: &SinkOptions) -> Result<Self, ConfigError> {
        let wrong = |option: &str, text: &str, why: &str| {
            let message = format!("option '{option}': '{}' {why}", shown(text));
            ConfigError::new(Some(option), message)
        };
        if let Some(text) = &sink.content_type {
            check_text(text).map_err(|why| wrong("sink.content_type", text, why))?;
        }
        if let Some(topic) = &sink.response_topic {
            check_topic(topic).map_err(|why| wrong("sink.response_topic", topic, why))?;
        }
        let mut user_properties = Vec::new();
        for property in &sink.user_properties {
            let option = "sink.user_properties";
            check_text(property).map_err(|why| wrong(option, property, why))?;
            let Some((name, value)) = property.split_once('=') else {
                return Err(wrong(option, property, "is no property; write name=value"));
            };
            user_properties.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let expiry = |text: &String| {
            let option = "sink.message_expiry";
            let seconds = duration(option, text)?.as_secs_f64().ceil();
            // A message that expires at once would reach nobody, and zero seconds mean that.
            if !(1.0..=f64::from(u32::MAX)).contains(&seconds) {
                return Err(wrong(option, text, "is not between 1 second and 136 years"));
            }
            Ok(seconds as u32)
        };
        Ok(Self {
            payload_is_text: sink.payload_format_indicator,
            message_expiry: sink.message_expiry.as_ref().map(expiry).transpose()?,
            content_type: sink.content_type.clone(),
            response_topic: sink.response_topic.clone(),
            user_properties,
        })
    }

    pub(super) fn write(&self, writer: &mut PropertiesWriter) {
        self.write_rest(writer, &Written::default());
    }

    /// Writes what no column has written.
    pub(super) fn write_rest(&self, writer: &mut PropertiesWriter, written: &Written) {
        if self.payload_is_text && !written.format_indicator {
            writer.payload_is_text();
        }
        if let (Some(seconds), false) = (self.message_expiry, written.expiry) {
            writer.message_expiry_interval(seconds);
        }
        if let (Some(text), false) = (&self.content_type, written.content_type) {
            writer.content_type(text);
        }
        if let (Some(topic), false) = (&self.response_topic, written.response_topic) {
            writer.response_topic(topic);
        }
        for (name, value) in &self.user_properties {
            writer.user_property(name, value);
        }
    }
}

/// Whether a text can be put into a packet.
///
/// # Errors
/// What cannot, and why.
pub(super) fn legal<'a>(what: &str, text: &'a str) -> Result<&'a str, String> {
    check_text(text).map_err(|why| format!("the {what} '{}' {why}", shown(text)))?;
    Ok(text)
}

/// A text for an error: readable, and not endless.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    let cut = if start.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", start.escape_debug())
}

/// Before MQTT 5 there are no properties to put this into.
pub(super) fn refuse_properties(
    version: ProtocolVersion,
    sink: &SinkOptions,
    columns: &[ColumnPlan],
) -> Result<(), ConfigError> {
    let options = [
        (
            "sink.payload_format_indicator",
            sink.payload_format_indicator,
        ),
        ("sink.message_expiry", sink.message_expiry.is_some()),
        ("sink.content_type", sink.content_type.is_some()),
        ("sink.response_topic", sink.response_topic.is_some()),
        ("sink.user_properties", !sink.user_properties.is_empty()),
    ];
    let needs = format!("needs MQTT 5, and the connection has protocol_version = '{version}'");
    if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
        return Err(ConfigError::new(
            Some(option),
            format!("option '{option}' {needs}"),
        ));
    }
    match columns.iter().find(|column| column.kind.is_property()) {
        Some(column) => {
            let message = format!("column '{}': '{}' {needs}", column.name, column.metadata);
            Err(ConfigError::new(None, message))
        }
        None => Ok(()),
    }
}
