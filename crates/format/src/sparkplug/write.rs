//! Rows to messages.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

use super::metric::{self, Kind, MetricPlan};
use super::payload::{Metric, Payload};
use super::topic::Topic;
use crate::config::Format;
use crate::encoder::Topics;
use crate::error::FormatError;
use crate::payloads::Payloads;
use crate::rows::{Cell, Cells, Rows, check};
use crate::token::check_columns;

/// The columns of a message that are not its metric's. Those from the topic may be there, and go into the topic only.
const COLUMNS: [&str; 7] = [
    "group_id",
    "node_id",
    "device_id",
    "message_type",
    "seq",
    "message_timestamp",
    METRICS,
];

/// The column of a table whose rows are messages of several metrics: a list of structs.
const METRICS: &str = "metrics";

/// How many nodes have numbered messages. More are bad data.
const NODES_MAX: usize = 100_000;

/// Writes one message a row. See the [module](super).
#[derive(Debug)]
pub(crate) struct SparkplugEncoder {
    metrics: MetricPlan,
    sequences: Sequences,
}

impl SparkplugEncoder {
    /// # Errors
    /// A column that messages do not have, or of a type that it cannot have.
    pub(crate) fn new(schema: &Schema) -> Result<Self, FormatError> {
        check(Format::SparkplugB.name(), schema)?;
        let whole: Vec<_> = COLUMNS.into_iter().chain(metric::names()).collect();
        check_columns("format 'sparkplug_b' in a sink", schema, &whole)?;
        for (name, kind) in [
            ("seq", Kind::Integer),
            ("message_timestamp", Kind::Timestamp),
        ] {
            if let Ok(field) = schema.field_with_name(name) {
                kind.check(name, field.data_type())?;
            }
        }
        let fields = match schema.field_with_name(METRICS) {
            Ok(metrics) => fields_of(metrics, schema)?,
            Err(_) => schema.fields(),
        };
        Ok(Self {
            metrics: MetricPlan::new(fields)?,
            sequences: Sequences::default(),
        })
    }

    /// Whether messages may go to a topic.
    ///
    /// # Errors
    /// One that is not Sparkplug's, or of a kind that has no metrics.
    pub(crate) fn check_topic(topic: &str) -> Result<(), String> {
        parsed(topic).map(drop)
    }

    /// Appends the rows of a batch, whose columns have the types of the schema.
    ///
    /// # Errors
    /// A row that is no message of its topic.
    pub(crate) fn encode(
        &mut self,
        schema: &Schema,
        batch: &RecordBatch,
        topics: &mut Topics<'_>,
        out: &mut Payloads,
    ) -> Result<(), FormatError> {
        let rows = Rows::new(schema, batch);
        let now = now_millis();
        out.messages(batch.num_rows(), |row| {
            let topic = topics(row)?;
            self.message(&topic, &rows.0, row, now)
        })
    }

    fn message(
        &mut self,
        topic: &str,
        members: &[(&str, Cells<'_>)],
        row: usize,
        now_millis: u64,
    ) -> Result<Payload, String> {
        let topic = parsed(topic)?;
        let member = |name: &str| {
            let member = members.iter().find(|(known, _)| *known == name);
            member.map(|(_, cells)| cells.get(row))
        };
        let sent = member("message_timestamp").unwrap_or(Cell::Null);
        let sent = metric::millis("message_timestamp", &sent)?.unwrap_or(now_millis);
        let metrics = match member(METRICS) {
            Some(list) => self.list(&list, &topic, sent)?,
            None => {
                let metric = self.metrics.metric(members, row, &topic, sent)?;
                metric.into_iter().collect()
            }
        };
        let seq = member("seq").unwrap_or(Cell::Null);
        Ok(Payload {
            timestamp: Some(sent),
            metrics,
            // Last, so that a row that is bad data takes no number.
            seq: self
                .sequences
                .next(&topic, metric::unsigned("seq", &seq)?)?,
            uuid: None,
            body: None,
        })
    }

    fn list(
        &self,
        cell: &Cell<'_>,
        topic: &Topic<'_>,
        sent_millis: u64,
    ) -> Result<Vec<Metric>, String> {
        let Cell::List(items, range) = cell else {
            return Ok(Vec::new());
        };
        let mut metrics = Vec::with_capacity(range.len());
        for (n, item) in range.clone().enumerate() {
            let failed = |reason| format!("metrics[{n}]: {reason}");
            let Cell::Struct(members, row) = items.get(item) else {
                return Err(failed("null is no metric".to_owned()));
            };
            let metric = self.metrics.metric(members, row, topic, sent_millis);
            metrics.extend(metric.map_err(failed)?);
        }
        Ok(metrics)
    }
}

fn parsed(topic: &str) -> Result<Topic<'_>, String> {
    Topic::parse(topic)?.ok_or_else(|| {
        format!("the topic '{topic}' is for the state of a host, which is JSON: write it with format 'json'")
    })
}

/// The fields of the structs in a list of metrics.
///
/// # Errors
/// Another type; fields that metrics do not have; columns of a metric beside it.
fn fields_of<'a>(
    metrics: &'a Field,
    schema: &Schema,
) -> Result<&'a arrow::datatypes::Fields, FormatError> {
    let item = match metrics.data_type() {
        DataType::List(item) | DataType::LargeList(item) => item.data_type(),
        other => other,
    };
    let DataType::Struct(fields) = item else {
        return Err(FormatError::Option(format!(
            "column '{METRICS}' has the type {}; in the format 'sparkplug_b' it is a list of structs, STRUCT<name TEXT, …>[]",
            metrics.data_type()
        )));
    };
    let beside = schema
        .fields()
        .iter()
        .find(|f| metric::names().any(|name| name == f.name()));
    if let Some(beside) = beside {
        return Err(FormatError::Option(format!(
            "column '{}' stands beside '{METRICS}': a row is one metric, or a list of them",
            beside.name()
        )));
    }
    let names: Vec<_> = metric::names().collect();
    check_columns(
        "metrics of 'sparkplug_b' in a sink",
        &Schema::new(fields.clone()),
        &names,
    )?;
    Ok(fields)
}

/// The number that the next message of each node has, over all types of messages that have one.
#[derive(Debug, Default)]
struct Sequences {
    /// By group and node.
    next: HashMap<String, u8>,
}

impl Sequences {
    /// The number of a message: the one that its row says, or else one more than that of the one before it, from 0 with
    /// every birth of the node. Commands and the death of a node have none.
    ///
    /// # Errors
    /// A number beyond 255; more than [`NODES_MAX`].
    fn next(&mut self, topic: &Topic<'_>, given: Option<u64>) -> Result<Option<u64>, String> {
        if topic.is_command() || topic.kind == "NDEATH" {
            return Ok(None);
        }
        let node = format!("{}/{}", topic.group, topic.node);
        let next = self.next.get(&node).copied();
        if next.is_none() && self.next.len() >= NODES_MAX {
            return Err(format!(
                "messages of more than {NODES_MAX} nodes are not numbered"
            ));
        }
        let seq = match given {
            Some(given) => u8::try_from(given)
                .map_err(|_beyond| format!("field 'seq': {given} is beyond 255"))?,
            None if topic.kind == "NBIRTH" => 0,
            None => next.unwrap_or(0),
        };
        self.next.insert(node, seq.wrapping_add(1));
        Ok(Some(seq.into()))
    }
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
