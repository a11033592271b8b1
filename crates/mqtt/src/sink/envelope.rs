//! What a row becomes beside its payload: topic, QoS, retain flag and properties of its message.
//!
//! ```text
//! topic = 'alerts/{device}'          ─┐                    ┌─► topic        alerts/a
//! content_type = 'application/json'  ─┼─► EnvelopePlan ────┼─► QoS, retain
//! columns METADATA FROM '…'          ─┘      + RecordBatch └─► properties   content type, user properties, …
//! ```
//!
//! Columns that a sink declares as metadata are the mirror of those of a source: they leave in the envelope and not in
//! the payload. Where such a column is NULL, the option of the same name holds. A `{name}` in the topic means the column
//! `METADATA FROM 'topic.name'`, or else the column of that name, which then stands in the payload too.
//!
//! All that can be known without a row is checked by [`EnvelopePlan::new`], when the table is declared. What a value
//! alone shows (an illegal topic, a QoS of 7) is the row's fault: [`Envelopes::get`] answers it as text, and the row is
//! bad data. Topics and properties of a batch are slices of a few buffers, and a topic that repeats the one before it is
//! shared: nothing is allocated for a row.

use std::fmt;

use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};
use headwater_connector::config::ConfigError;
use headwater_connector::{ColumnOrigin, TableSchema};
use headwater_format::Encoder;

use super::column::{ColumnKind, ColumnPlan, Values};
use super::fixed::{Fixed, Written, legal, refuse_properties, shown};
use super::topic_plan::{Piece, TopicPlan, topic_plan};
use crate::config::{MqttProfile, MqttTable, ProtocolVersion, SinkOptions};
use crate::options::QoS;
use crate::packet::{Envelope, Properties, PropertiesWriter, Property};
use crate::topic::check_topic;

/// How many bytes of topics are allocated at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// How envelopes are made, for one table.
#[derive(Debug, Clone)]
pub(crate) struct EnvelopePlan {
    /// The topic as people read it.
    text: String,
    topic: TopicPlan,
    qos: QoS,
    retain: bool,
    fixed: Fixed,
    columns: Vec<ColumnPlan>,
    /// Which columns make the payload, if not all.
    payload: Option<Vec<usize>>,
}

impl Envelope {
    /// The same, if it says of this payload that it is text only where it is.
    ///
    /// # Errors
    /// That it is not.
    pub(crate) fn check_text(self, payload: &[u8]) -> Result<Self, BadRow> {
        let is_said = Properties::new(&self.properties)
            .iter()
            .any(|property| property == Property::PayloadFormatIndicator(1));
        if !is_said || std::str::from_utf8(payload).is_ok() {
            return Ok(self);
        }
        Err(BadRow {
            topic: Some(String::from_utf8_lossy(&self.topic).into_owned()),
            error: "the payload format indicator is 1, but the payload is not UTF-8".to_owned(),
        })
    }
}

/// A row that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// The topic, if it could be made.
    pub(crate) topic: Option<String>,
    /// What is wrong.
    pub(crate) error: String,
}

impl EnvelopePlan {
    /// Reads the options and the columns of a table. A table without columns, whose query is not known yet, is read as
    /// far as possible.
    ///
    /// # Errors
    /// Options and columns that do not go together, each named.
    pub(crate) fn new(
        profile: &MqttProfile,
        table: &MqttTable,
        sink: &SinkOptions,
        schema: &TableSchema,
    ) -> Result<Self, ConfigError> {
        let mut columns = Vec::new();
        for (index, name, field) in schema.metadata() {
            let column = ColumnPlan::metadata(index, name, field)
                .map_err(|e| ConfigError::new(None, format!("column '{}': {e}", field.name())))?;
            let repeated = columns.iter().find(|c: &&ColumnPlan| c.repeats(&column));
            if let Some(first) = repeated {
                let message = format!(
                    "columns '{}' and '{}' are both '{name}'",
                    first.name, column.name
                );
                return Err(ConfigError::new(None, message));
            }
            columns.push(column);
        }
        let fixed = Fixed::new(sink)?;
        if profile.protocol_version != ProtocolVersion::X5 {
            refuse_properties(profile.protocol_version, sink, &columns)?;
        }
        let topic = topic_plan(table, schema, &mut columns)?;
        let whole = columns.iter().find(|column| column.metadata == "topic");
        let by_column = || whole.map_or_else(String::new, |column| format!("{{{}}}", column.name));
        Ok(Self {
            text: table.topic.clone().unwrap_or_else(by_column),
            topic,
            qos: table.qos.into(),
            retain: sink.retain,
            fixed,
            columns,
            payload: payload_columns(schema),
        })
    }

    /// The highest QoS that a message may have.
    pub(crate) fn max_qos(&self) -> QoS {
        let by_column = self.columns.iter().any(|c| c.kind == ColumnKind::Qos);
        if by_column {
            QoS::ExactlyOnce
        } else {
            self.qos
        }
    }

    /// The one envelope of all rows, if there is only one.
    pub(crate) fn fixed(&self) -> Option<Envelope> {
        let TopicPlan::Fixed(topic) = &self.topic else {
            return None;
        };
        if !self.columns.is_empty() {
            return None;
        }
        let mut properties = PropertiesWriter::default();
        self.fixed.write(&mut properties);
        Some(Envelope {
            topic: topic.clone(),
            qos: self.qos,
            retain: self.retain,
            properties: properties.take(),
        })
    }

    /// Whether payloads of this encoder can go where these envelopes go, as these say they are.
    ///
    /// # Errors
    /// A topic that the format does not have; the indicator of text for payloads that may be none.
    pub(crate) fn check(&self, encoder: &Encoder) -> Result<(), ConfigError> {
        if let TopicPlan::Fixed(topic) = &self.topic {
            let checked = encoder.check_topic(&String::from_utf8_lossy(topic));
            checked.map_err(|e| ConfigError::new(Some("topic"), format!("option 'topic': {e}")))?;
        }
        if self.fixed.payload_is_text && !encoder.writes_text() {
            let option = "sink.payload_format_indicator";
            let message = format!(
                "option '{option}': not all payloads are text; use a format that writes text ('json', 'csv', 'raw_string' of a TEXT column), without compression, or leave the option out"
            );
            return Err(ConfigError::new(Some(option), message));
        }
        Ok(())
    }

    /// Whether a row may say that its payload is text although this encoder does not see to it.
    pub(crate) fn must_check_text(&self, encoder: &Encoder) -> bool {
        let mut kinds = self.columns.iter().map(|column| &column.kind);
        kinds.any(|kind| *kind == ColumnKind::PayloadFormatIndicator) && !encoder.writes_text()
    }

    /// The columns that make the payload.
    ///
    /// # Errors
    /// The batch is none of this table.
    pub(crate) fn payload(&self, rows: &RecordBatch) -> Result<RecordBatch, String> {
        match &self.payload {
            None => Ok(rows.clone()),
            Some(columns) => rows.project(columns).map_err(|e| e.to_string()),
        }
    }

    /// The envelopes of a batch.
    ///
    /// # Errors
    /// The batch is none of this table.
    pub(crate) fn of<'a>(&'a self, rows: &RecordBatch) -> Result<Envelopes<'a>, String> {
        let values = self.columns.iter().map(|column| column.values(rows));
        Ok(Envelopes {
            plan: self,
            values: values.collect::<Result<_, _>>()?,
            topics: TopicWriter::default(),
            properties: PropertiesWriter::default(),
        })
    }
}

impl fmt::Display for EnvelopePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The envelopes of one batch.
pub(crate) struct Envelopes<'a> {
    plan: &'a EnvelopePlan,
    /// Beside the plan's columns.
    values: Vec<Values>,
    topics: TopicWriter,
    properties: PropertiesWriter,
}

impl Envelopes<'_> {
    /// The topic of a row.
    ///
    /// # Errors
    /// Why it has no legal one.
    pub(crate) fn topic_of(&mut self, row: usize) -> Result<String, String> {
        let topic = self.topic(row).map_err(|bad| bad.error)?;
        Ok(String::from_utf8_lossy(&topic).into_owned())
    }

    /// The envelope of a row.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub(crate) fn get(&mut self, row: usize) -> Result<Envelope, BadRow> {
        let topic = self.topic(row)?;
        let (mut qos, mut retain) = (self.plan.qos, self.plan.retain);
        match self.rest(row, &mut qos, &mut retain) {
            Ok(()) => Ok(Envelope {
                topic,
                qos,
                retain,
                properties: self.properties.take(),
            }),
            Err(error) => {
                // What was written before the fault belongs to nobody.
                drop(self.properties.take());
                let topic = String::from_utf8_lossy(&topic).into_owned();
                Err(BadRow {
                    topic: Some(topic),
                    error,
                })
            }
        }
    }

    fn topic(&mut self, row: usize) -> Result<Bytes, BadRow> {
        let pieces = match &self.plan.topic {
            TopicPlan::Fixed(topic) => return Ok(topic.clone()),
            TopicPlan::Made(pieces) => pieces,
        };
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.topics.text.push_str(text),
                Piece::Column(column) => match self.values[*column].text(row) {
                    Some(text) => self.topics.text.push_str(text),
                    None => {
                        self.topics.text.clear();
                        let name = &self.plan.columns[*column].name;
                        let error = format!("the topic is made of column '{name}', which is NULL");
                        return Err(BadRow { topic: None, error });
                    }
                },
            }
        }
        self.topics.finish()
    }

    /// QoS, retain flag and properties.
    fn rest(&mut self, row: usize, qos: &mut QoS, retain: &mut bool) -> Result<(), String> {
        let mut written = Written::default();
        for (plan, values) in self.plan.columns.iter().zip(&self.values) {
            let writer = &mut self.properties;
            match &plan.kind {
                ColumnKind::Text => {}
                ColumnKind::Qos => *qos = values.qos(row)?.unwrap_or(*qos),
                ColumnKind::Retain => *retain = values.boolean(row).unwrap_or(*retain),
                ColumnKind::PayloadFormatIndicator => {
                    if let Some(is_text) = values.is_text(row)? {
                        if is_text {
                            writer.payload_is_text();
                        }
                        written.format_indicator = true;
                    }
                }
                ColumnKind::MessageExpiryInterval => {
                    if let Some(seconds) = values.seconds(row)? {
                        writer.message_expiry_interval(seconds);
                        written.expiry = true;
                    }
                }
                ColumnKind::ContentType => {
                    if let Some(text) = values.text(row) {
                        writer.content_type(legal("content type", text)?);
                        written.content_type = true;
                    }
                }
                ColumnKind::ResponseTopic => {
                    if let Some(text) = values.text(row) {
                        check_topic(text)
                            .map_err(|why| format!("the response topic '{}' {why}", shown(text)))?;
                        writer.response_topic(text);
                        written.response_topic = true;
                    }
                }
                ColumnKind::CorrelationData => {
                    if let Some(data) = values.bytes(row) {
                        if data.len() > usize::from(u16::MAX) {
                            return Err("the correlation data has more than 65535 bytes".to_owned());
                        }
                        writer.correlation_data(data);
                    }
                }
                ColumnKind::UserProperty(key) => {
                    if let Some(text) = values.text(row) {
                        writer.user_property(key, legal("user property", text)?);
                    }
                }
                ColumnKind::UserProperties => {
                    for (key, value) in values.pairs(row) {
                        let (key, value) = (
                            legal("user property", key)?,
                            legal("user property", value.unwrap_or_default())?,
                        );
                        writer.user_property(key, value);
                    }
                }
            }
        }
        self.plan.fixed.write_rest(&mut self.properties, &written);
        Ok(())
    }
}

/// Writes the topics of a batch one behind the other, and a topic that repeats the one before it only once.
#[derive(Debug, Default)]
struct TopicWriter {
    /// The topic in the making.
    text: String,
    /// Where those of the batch lie.
    buffer: BytesMut,
    last: Option<Bytes>,
}

impl TopicWriter {
    fn finish(&mut self) -> Result<Bytes, BadRow> {
        if let Some(last) = &self.last
            && last == self.text.as_bytes()
        {
            self.text.clear();
            return Ok(last.clone());
        }
        if let Err(why) = check_topic(&self.text) {
            let topic = shown(&self.text);
            self.text.clear();
            let error = format!("the topic {why}");
            return Err(BadRow {
                topic: Some(topic),
                error,
            });
        }
        if self.buffer.capacity() < self.text.len() {
            self.buffer.reserve(self.text.len().max(BUFFER_BYTES));
        }
        self.buffer.extend_from_slice(self.text.as_bytes());
        let topic = self.buffer.split().freeze();
        self.text.clear();
        self.last = Some(topic.clone());
        Ok(topic)
    }
}

fn payload_columns(schema: &TableSchema) -> Option<Vec<usize>> {
    let columns = schema.columns.iter().enumerate();
    let payload = columns.filter(|(_, column)| column.origin == ColumnOrigin::Payload);
    let payload: Vec<_> = payload.map(|(index, _)| index).collect();
    (payload.len() < schema.columns.len()).then_some(payload)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
