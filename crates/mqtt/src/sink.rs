//! The sink: rows as messages, done when the broker has acknowledged them.
//!
//! One row becomes one message, in order: the [envelope] says to which topic and how, the format makes the payload.
//! `write` waits while the [`Publisher`]'s bounds are reached; what the broker has not acknowledged at QoS 1 is kept
//! there and sent again over the next connection. All messages go over one connection, so those of one topic arrive in
//! the order of their rows.
//!
//! A row that cannot be encoded or sent is bad data: it is given to the context's [`Rejects`].

mod column;
mod envelope;
mod fixed;
mod topic_plan;

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::FutureExt;
use headwater_connector::dead_letter::{Rejection, Rejects};
use headwater_connector::{
    Flushed, Metrics, OperatorConfig, OperatorError, RowEncoder, SinkOperator, TaskContext,
};

use crate::config::{self, MqttProfile, MqttTable, SinkOptions};
use crate::error::MqttError;
use crate::options::{ProtocolVersion, QoS};
use crate::packet::{Envelope, Outbound};
use crate::publisher::{OnRefused, Publisher};

pub(crate) use column::text_map;
pub(crate) use envelope::EnvelopePlan;

/// How long the broker keeps a sink's session (MQTT 5), so that a connection that is made again goes on where the old
/// one ended. It holds no messages, only which of them were acknowledged.
const SESSION_EXPIRY: Duration = Duration::from_secs(300);

/// Writes one table.
#[derive(Debug)]
pub struct MqttSink {
    /// What errors call it.
    name: Arc<str>,
    plan: EnvelopePlan,
    /// The envelope of all rows, if they have the same.
    fixed: Option<Envelope>,
    encoder: RowEncoder,
    must_check_text: bool,
    metrics: Arc<Metrics>,
    rejects: Rejects,
    /// Gone once the sink is closed.
    publisher: Option<Publisher>,
}

impl MqttSink {
    /// Begins to connect in the background. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// What the options alone tell: environment variables that are not set, certificates that cannot be read, columns
    /// that the format cannot write.
    pub fn start(
        profile: &MqttProfile,
        table: &MqttTable,
        sink: &SinkOptions,
        config: &OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Self> {
        let plan = EnvelopePlan::new(profile, table, sink, &config.schema)?;
        let payload = config.schema.payload_schema();
        let encoder = RowEncoder::new(&config.format, payload, context.rejects.clone())?;
        plan.check(encoder.encoder())?;
        let client_id = config::table_client_id(profile, table, &context)?;
        let mut options = config::connect_options(profile, client_id)?;
        // At QoS 1 a session saves a publish or two from coming twice; on 3.1.1 it would never end.
        let lasting = options.protocol == ProtocolVersion::V5 && plan.max_qos() == QoS::AtLeastOnce;
        if lasting || plan.max_qos() == QoS::ExactlyOnce {
            options.session_expiry = SESSION_EXPIRY;
        }
        Ok(Self {
            name: plan.to_string().into(),
            publisher: Some(Publisher::start_with(
                options,
                Arc::clone(&context.metrics),
                Some(deal_with_refused(context.rejects.clone())),
            )),
            fixed: plan.fixed(),
            must_check_text: plan.must_check_text(encoder.encoder()),
            plan,
            encoder,
            metrics: context.metrics,
            rejects: context.rejects,
        })
    }

    fn publisher(&mut self) -> Result<&mut Publisher, OperatorError> {
        let closed = || OperatorError::fatal("the sink is closed");
        self.publisher.as_mut().ok_or_else(closed)
    }

    /// The messages of a batch whose payloads have been encoded.
    fn messages(&mut self, rows: &RecordBatch) -> Result<Outbound, OperatorError> {
        let (buffer, payloads) = self.encoder.payloads().take();
        if let Some(envelope) = &self.fixed {
            return Ok(Outbound::alike(envelope.clone(), buffer, payloads));
        }
        let mut envelopes = self.plan.of(rows).map_err(OperatorError::fatal)?;
        let mut messages = Vec::with_capacity(rows.num_rows());
        for (row, place) in payloads.into_iter().enumerate() {
            let payload = &buffer[place.clone()];
            let envelope = match self.must_check_text {
                false => envelopes.get(row),
                true => envelopes
                    .get(row)
                    .and_then(|envelope| envelope.check_text(payload)),
            };
            match envelope {
                Ok(envelope) => messages.push((envelope, place)),
                Err(bad) => self.rejects.reject(&Rejection {
                    payload,
                    topic: bad.topic.as_deref(),
                    error: &bad.error,
                    position: None,
                })?,
            }
        }
        Ok(Outbound::each(buffer, messages))
    }
}

/// Makes bad data of what the broker refuses. Where bad data is to fail the job, the flush does that.
fn deal_with_refused(rejects: Rejects) -> OnRefused {
    Box::new(move |publish, error| {
        let topic = String::from_utf8_lossy(&publish.topic);
        reject_refused(&rejects, &publish.payload, &topic, error).is_ok()
    })
}

fn reject_refused(
    rejects: &Rejects,
    payload: &[u8],
    topic: &str,
    error: &MqttError,
) -> Result<(), OperatorError> {
    let error = match error {
        MqttError::Refused {
            reason,
            message: Some(message),
            ..
        } => format!("refused: {reason} ({message})"),
        MqttError::Refused { reason, .. } => format!("refused: {reason}"),
        other => other.chain(),
    };
    rejects.reject(&Rejection {
        payload,
        topic: Some(topic),
        error: &error,
        position: None,
    })
}

fn failed(name: &str, error: &MqttError) -> OperatorError {
    OperatorError::fatal(format!("sink to '{name}': {}", error.chain()))
}

/// What a flush reports: a row that was refused is bad data, and anything else the end of the sink.
fn flushed(
    outcome: Result<(), MqttError>,
    name: &str,
    rejects: &Rejects,
) -> Result<(), OperatorError> {
    outcome.or_else(|error| match &error {
        MqttError::Refused { topic, .. } => reject_refused(rejects, &[], topic, &error),
        _ => Err(failed(name, &error)),
    })
}

#[async_trait]
impl SinkOperator for MqttSink {
    async fn open(&mut self) -> Result<(), OperatorError> {
        let name = Arc::clone(&self.name);
        let connected = self.publisher()?.connected().await;
        connected.map_err(|e| failed(&name, &e))
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        let payload = self.plan.payload(&rows).map_err(OperatorError::fatal)?;
        let (plan, mut envelopes) = (&self.plan, None);
        let topic = |row| {
            let envelopes = match &mut envelopes {
                Some(envelopes) => envelopes,
                none => none.insert(plan.of(&rows)?),
            };
            envelopes.topic_of(row)
        };
        let rows = match self.encoder.encode(&payload, topic)? {
            Some(kept) => kept.of(&rows)?,
            None => rows,
        };
        self.metrics.add_rows(rows.num_rows() as u64);
        let messages = self.messages(&rows)?;
        let name = Arc::clone(&self.name);
        let taken = self.publisher()?.send(messages).await;
        taken.map_err(|e| failed(&name, &e))
    }

    fn flush(&mut self) -> Flushed {
        let (name, rejects) = (Arc::clone(&self.name), self.rejects.clone());
        match self.publisher() {
            Ok(publisher) => {
                let outcome = publisher.flush();
                async move { flushed(outcome.await, &name, &rejects) }.boxed()
            }
            Err(closed) => futures::future::ready(Err(closed)).boxed(),
        }
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        let Some(publisher) = self.publisher.take() else {
            return Ok(());
        };
        flushed(publisher.close().await, &self.name, &self.rejects)
    }
}
