//! Messages to rows.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use prost::Message;
use serde_json::Value;

use super::births::{Birth, Births, Known};
use super::payload::{self, Metric, Payload};
use super::topic::Topic;
use super::{COLUMNS, properties, template};
use crate::config::{Format, TimestampFormat};
use crate::decoder::Learnt;
use crate::error::{BadPayload, FormatError};
use crate::json::fault::{Fault, NOWHERE, Result};
use crate::token::{Source, Token, TokenDecoder, check_columns};

/// A message whose payload is compressed inside of Sparkplug's own.
const COMPRESSED: &str = "SPBV1.0_COMPRESSED";

/// Reads the metrics of messages. See the [module](super).
#[derive(Debug)]
pub(crate) struct SparkplugDecoder {
    rows: TokenDecoder,
    births: Births,
}

impl SparkplugDecoder {
    /// No rows and no births yet.
    ///
    /// # Errors
    /// A column that metrics do not have, or of a type that cannot be read.
    pub(crate) fn new(schema: &Schema) -> std::result::Result<Self, FormatError> {
        check_columns("format 'sparkplug_b'", schema, &COLUMNS)?;
        let name = Format::SparkplugB.name();
        Ok(Self {
            rows: TokenDecoder::new(name, TimestampFormat::UnixMillis, schema)?,
            births: Births::default(),
        })
    }

    /// Appends a row for each metric of one message, or nothing.
    pub(crate) fn push(
        &mut self,
        payload: &[u8],
        topic: Option<&str>,
    ) -> std::result::Result<usize, BadPayload> {
        let fail = |reason: String| BadPayload::new(reason, payload);
        let topic = topic.unwrap_or_default();
        let Some(topic) = Topic::parse(topic).map_err(fail)? else {
            return Ok(0);
        };
        let mut message = Payload::decode(payload)
            .map_err(|e| fail(format!("the payload is no Sparkplug B message: {e}")))?;
        if message.uuid.as_deref() == Some(COMPRESSED) {
            return Err(fail(
                "the payload is compressed by Sparkplug's own means, which is not read".to_owned(),
            ));
        }
        let place = topic.place();
        let births = &self.births;
        let known = |metric: &Metric| {
            births
                .find(&place, metric)
                .map(|known| known.name.to_string())
        };
        template::unfold(&mut message, payload.len(), known).map_err(fail)?;
        if topic.is_birth() {
            self.births.learn(&place, &message).map_err(fail)?;
        }
        let mut rows = rows_of(&self.births, &topic, &message);
        let pushed = self.rows.push_each(payload, |decoder| match rows.next() {
            Some(row) => decoder.append(&mut Row::new(row?)).map(|()| true),
            None => Ok(false),
        });
        drop(rows);
        if topic.is_death() && pushed.is_ok() {
            self.births.forget(&topic.place(), &message);
        }
        pushed
    }

    /// Takes up what an earlier decoder has [learnt](Self::learnt).
    ///
    /// # Errors
    /// What no decoder has learnt.
    pub(crate) fn remember(&mut self, memory: Vec<Value>) -> std::result::Result<(), FormatError> {
        let births: std::result::Result<_, _> =
            memory.into_iter().map(serde_json::from_value).collect();
        let births = births.map_err(|e| FormatError::Memory(e.to_string()))?;
        self.births.restore(births).map_err(FormatError::Memory)
    }

    /// What births and deaths have changed since the last call.
    pub(crate) fn learnt(&mut self) -> Vec<Learnt> {
        let learnt = |(name, birth): (String, Option<Birth>)| Learnt {
            name,
            value: birth.and_then(|birth| serde_json::to_value(birth).ok()),
        };
        self.births.changes().into_iter().map(learnt).collect()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.rows()
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.rows.finish()
    }
}

/// The metrics of a message, and for a death all that it makes stale.
fn rows_of<'a>(
    births: &'a Births,
    topic: &'a Topic<'a>,
    message: &'a Payload,
) -> impl Iterator<Item = Result<Vec<Member<'a>>>> {
    let place = topic.place();
    let of_message = message.metrics.iter().map(move |metric| {
        let known = births.find(&place, metric);
        topic.row(message, topic.device, metric, known)
    });
    let stale = match topic.is_death() {
        true => births.stale(&place, message),
        false => Vec::new(),
    };
    let stale = stale.into_iter();
    let stale = stale.map(move |(device, known)| topic.row(message, device, &NOTHING, Some(known)));
    of_message.chain(stale)
}

/// The metric of which a death says nothing.
static NOTHING: Metric = Metric::nothing();

impl<'a> Topic<'a> {
    /// One metric as the columns of a row, and what is known of it.
    fn row(
        &self,
        message: &Payload,
        device: Option<&'a str>,
        metric: &'a Metric,
        known: Option<&'a Known>,
    ) -> Result<Vec<Member<'a>>> {
        let datatype = metric.datatype.or(known.map(|known| known.datatype));
        let name = metric.name.as_deref().or(known.map(|known| &*known.name));
        let alias = metric.alias.or(known.and_then(|known| known.alias));
        let value = metric.value(datatype).map_err(|reason| {
            let name = name.unwrap_or("without a name");
            Fault::new(NOWHERE, format!("metric '{name}': {reason}"))
        })?;
        let (quality, template) = (self.quality(metric), metric.template());
        let json = |text: Option<String>| text.map_or(Token::Null, |t| Token::Json(Cow::Owned(t)));
        let mut row = vec![
            ("group_id", text(Some(self.group))),
            ("node_id", text(Some(self.node))),
            ("device_id", text(device)),
            ("message_type", text(Some(self.kind))),
            ("seq", integer(message.seq)),
            ("message_timestamp", millis(message.timestamp)),
            ("name", text(name)),
            ("alias", integer(alias)),
            ("timestamp", millis(metric.timestamp.or(message.timestamp))),
            ("datatype", text(datatype.map(payload::datatype_name))),
            ("quality", Token::Text(quality)),
            ("is_historical", Token::Boolean(metric.is_historical())),
            ("is_transient", Token::Boolean(metric.is_transient())),
            ("is_null", Token::Boolean(matches!(value, Token::Null))),
            (
                "properties",
                json(metric.properties.as_ref().map(properties::json)),
            ),
            (
                "template_ref",
                text(template.and_then(|t| t.template_ref.as_deref())),
            ),
            (
                "template_parameters",
                json(template.and_then(properties::parameters)),
            ),
        ];
        row.extend(payload::value_columns(value));
        Ok(row)
    }

    /// What is dead is stale; the others say it in their properties, or are good.
    fn quality(&self, metric: &Metric) -> Cow<'static, str> {
        let told = metric.properties.as_ref().and_then(properties::quality);
        match told {
            _ if self.is_death() => Cow::Borrowed("STALE"),
            Some(quality) => quality,
            None => Cow::Borrowed("GOOD"),
        }
    }
}

type Member<'a> = (&'static str, Token<'a>);

fn text(value: Option<&str>) -> Token<'_> {
    value.map_or(Token::Null, |text| Token::Text(Cow::Borrowed(text)))
}

fn integer(value: Option<u64>) -> Token<'static> {
    value.map_or(Token::Null, |value| Token::Integer(value.into()))
}

fn millis(value: Option<u64>) -> Token<'static> {
    value.map_or(Token::Null, |millis| {
        Token::Timestamp(i128::from(millis) * 1_000_000)
    })
}

/// One row as a map.
struct Row<'a> {
    members: std::vec::IntoIter<Member<'a>>,
    /// The member that was announced last.
    next: Option<Member<'a>>,
}

impl<'a> Row<'a> {
    fn new(members: Vec<Member<'a>>) -> Self {
        Self {
            members: members.into_iter(),
            next: None,
        }
    }
}

impl<'a> Source<'a> for Row<'a> {
    fn position(&self) -> usize {
        NOWHERE
    }

    fn token(&mut self) -> Result<Token<'a>> {
        Ok(self.next.take().map_or(Token::Map, |(_, token)| token))
    }

    fn more(&mut self) -> Result<bool> {
        self.next = self.members.next();
        Ok(self.next.is_some())
    }

    fn name(&mut self) -> Result<Cow<'a, str>> {
        match &self.next {
            Some((name, _)) => Ok(Cow::Borrowed(name)),
            None => Err(Fault::new(NOWHERE, "a member without a name")),
        }
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}
