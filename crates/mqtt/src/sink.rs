//! The sink: rows as messages, done when the broker has acknowledged them.
//!
//! One row becomes one message, in order. `write` waits while the [`Publisher`]'s bounds are reached; what the broker
//! has not acknowledged at QoS 1 is kept there and sent again over the next connection.

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use headwater_connector::{Flushed, OperatorConfig, OperatorError, SinkOperator, TaskContext};
use headwater_format::{Encoder, Payloads};

use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use std::time::Duration;

use headwater_connector::Metrics;

use crate::config::{self, MqttProfile, MqttTable, SinkOptions};
use crate::error::MqttError;
use crate::options::{ProtocolVersion, QoS};
use crate::packet::Publish;
use crate::publisher::Publisher;

/// How long the broker keeps a sink's session (MQTT 5), so that a connection that is made again goes on where the old
/// one ended. It holds no messages, only which of them were acknowledged.
const SESSION_EXPIRY: Duration = Duration::from_secs(300);

/// Writes to one topic.
#[derive(Debug)]
pub struct MqttSink {
    topic: Bytes,
    qos: QoS,
    retain: bool,
    encoder: Encoder,
    payloads: Payloads,
    metrics: Arc<Metrics>,
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
        let qos = QoS::from(table.qos);
        let encoder = Encoder::new(&config.format, config.schema.payload_schema())?;
        let client_id = config::client_id(
            &profile.client_prefix,
            &context.job_id,
            &context.operator_id,
            context.subtask,
        );
        let mut options = config::connect_options(profile, client_id)?;
        // At QoS 1 a session saves a publish or two from coming twice; on 3.1.1 it would never end.
        let lasting = options.protocol == ProtocolVersion::V5 && qos == QoS::AtLeastOnce;
        if lasting || qos == QoS::ExactlyOnce {
            options.session_expiry = SESSION_EXPIRY;
        }
        Ok(Self {
            topic: Bytes::copy_from_slice(table.topic.as_bytes()),
            qos,
            retain: sink.retain,
            encoder,
            payloads: Payloads::new(),
            metrics: Arc::clone(&context.metrics),
            publisher: Some(Publisher::start(options, context.metrics)),
        })
    }

    fn publisher(&mut self) -> Result<&mut Publisher, OperatorError> {
        let closed = || OperatorError::fatal("the sink is closed");
        self.publisher.as_mut().ok_or_else(closed)
    }
}

fn failed(topic: &Bytes, error: &MqttError) -> OperatorError {
    let topic = String::from_utf8_lossy(topic);
    OperatorError::fatal(format!("sink to '{topic}': {}", error.chain()))
}

#[async_trait]
impl SinkOperator for MqttSink {
    async fn open(&mut self) -> Result<(), OperatorError> {
        let topic = self.topic.clone();
        let connected = self.publisher()?.connected().await;
        connected.map_err(|e| failed(&topic, &e))
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        self.encoder
            .encode(&rows, &mut self.payloads)
            .map_err(|e| OperatorError::fatal(e.to_string()))?;
        self.metrics.add_rows(rows.num_rows() as u64);
        let (topic, qos, retain) = (self.topic.clone(), self.qos, self.retain);
        let publish = |payload| Publish {
            retain,
            ..Publish::new(topic.clone(), payload, qos)
        };
        let batch: Vec<_> = self.payloads.take().map(publish).collect();
        let taken = self.publisher()?.publish(batch).await;
        taken.map_err(|e| failed(&topic, &e))
    }

    fn flush(&mut self) -> Flushed {
        let topic = self.topic.clone();
        match self.publisher() {
            Ok(publisher) => {
                let flushed = publisher.flush();
                async move { flushed.await.map_err(|e| failed(&topic, &e)) }.boxed()
            }
            Err(closed) => futures::future::ready(Err(closed)).boxed(),
        }
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        let Some(publisher) = self.publisher.take() else {
            return Ok(());
        };
        publisher.close().await.map_err(|e| failed(&self.topic, &e))
    }
}
