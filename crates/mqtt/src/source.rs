//! The source: messages of a subscription as rows, acknowledged when they are durable.
//!
//! ```text
//! broker ─► Subscriber ─ recv ─► decode, metadata ─► RecordBatch, Position(number of the last message)
//!    ▲          │
//!    └─ PUBACK ─┴─ ack ◄─ commit(Position)
//! ```
//!
//! A batch holds what has already arrived, up to [`MAX_ROWS`] and what the last read brought beyond; it never waits for
//! more. Rows come in the order in which the broker sent them. While nobody calls `next` the socket is not read, and the
//! broker waits. Connections are made again inside the [`Subscriber`]; only what retrying does not mend comes out.

use async_trait::async_trait;
use futures::FutureExt;
use headwater_connector::{
    OperatorConfig, OperatorError, Place, Position, RowDecoder, SourceBatch, SourceOperator,
    TaskContext,
};

use crate::config::{self, MqttProfile, MqttTable, SourceOptions};
use crate::error::MqttError;
use crate::metadata::{MqttMetadata, Received, now_nanos};
use crate::options::{QoS, Subscription};
use crate::packet::{Inbound, Message};
use crate::probe;
use crate::subscriber::Subscriber;
use crate::topic::TopicPattern;

/// When a batch is full, in rows.
const MAX_ROWS: usize = 8192;
/// When a batch is full, in bytes of payload.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Reads one subscription.
#[derive(Debug)]
pub struct MqttSource {
    filter: String,
    /// Whether the broker sends no more than its window ahead of our acknowledgements.
    windowed: bool,
    /// Gone once the source is closed.
    subscriber: Option<Subscriber>,
    decoder: RowDecoder<MqttMetadata>,
    /// What `recv` reported while a batch was being gathered, for the next call.
    failure: Option<MqttError>,
}

impl MqttSource {
    /// Begins to connect in the background. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// What the options alone tell: environment variables that are not set, certificates that cannot be read, columns
    /// that the format cannot read.
    pub fn start(
        profile: &MqttProfile,
        table: &MqttTable,
        source: &SourceOptions,
        config: &OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Self> {
        let pattern = TopicPattern::parse(&table.topic)?;
        let qos = QoS::from(table.qos);
        let metadata = MqttMetadata::new(&config.schema, &pattern)?;
        let decoder = RowDecoder::new(config, metadata, context.metrics.clone())?;
        let client_id = config::client_id(
            &profile.client_prefix,
            &context.job_id,
            &context.operator_id,
            context.subtask,
        );
        let options = config::source_options(profile, qos, source, client_id)?;
        let subscription = Subscription::new(pattern.filter(), qos);
        let subscriber = Subscriber::start(options, vec![subscription], context.metrics);
        Ok(Self {
            filter: pattern.filter().to_owned(),
            windowed: qos > QoS::AtMostOnce,
            subscriber: Some(subscriber),
            decoder,
            failure: None,
        })
    }

    fn failed(&self, error: &MqttError) -> OperatorError {
        OperatorError::fatal(format!("source on '{}': {}", self.filter, error.chain()))
    }

    /// Decodes all messages that came in one piece.
    fn decode(&mut self, inbound: &Inbound) -> Result<(), OperatorError> {
        let at_nanos = now_nanos();
        for message in inbound.iter() {
            if probe::is_probe(&message) {
                continue;
            }
            let received = Received { message, at_nanos };
            self.decoder
                .push(message.payload, &received, || place(&message))?;
        }
        Ok(())
    }

    /// What has arrived and not been read, without waiting.
    fn try_recv(&mut self) -> Option<Inbound> {
        match self.subscriber.as_mut()?.recv().now_or_never()? {
            Ok(inbound) => Some(inbound),
            Err(error) => {
                // The rows before it are delivered first.
                self.failure = Some(error);
                None
            }
        }
    }
}

fn place(message: &Message<'_>) -> Place {
    Place {
        description: format!("message on topic '{}'", message.topic()),
        topic: Some(message.topic().to_owned()),
        position: Some(message.seq),
    }
}

#[async_trait]
impl SourceOperator for MqttSource {
    async fn open(&mut self) -> Result<(), OperatorError> {
        let Some(subscriber) = &mut self.subscriber else {
            return Err(self.failed(&MqttError::Closed));
        };
        match subscriber.subscribed().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        if let Some(error) = self.failure.take() {
            return Err(self.failed(&error));
        }
        let Some(subscriber) = &mut self.subscriber else {
            return Ok(None);
        };
        // The only point at which this future can be dropped; `recv` loses nothing then.
        let mut inbound = match subscriber.recv().await {
            Ok(inbound) => inbound,
            Err(error) => return Err(self.failed(&error)),
        };
        let position = loop {
            let last = inbound.last_seq();
            self.decode(&inbound)?;
            if self.decoder.rows() >= MAX_ROWS || self.decoder.bytes() >= MAX_BYTES {
                break last;
            }
            match self.try_recv() {
                Some(more) => inbound = more,
                None => break last,
            }
        };
        self.decoder.finish(Position(position)).map(Some)
    }

    async fn commit(&mut self, position: Position) -> Result<(), OperatorError> {
        if let Some(subscriber) = &mut self.subscriber {
            subscriber.ack(position.0);
        }
        Ok(())
    }

    fn awaits_commits(&self) -> bool {
        self.windowed
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        let Some(subscriber) = self.subscriber.take() else {
            return Ok(());
        };
        match subscriber.close().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }
}
