//! The source: messages of a subscription as rows, acknowledged when they are durable.
//!
//! ```text
//! broker ─► Subscriber ─ recv ─► decode, metadata ─► RecordBatch, Position(number of the last message)
//!    ▲          │
//!    └─ PUBACK ─┴─ ack ◄─ commit(Position)
//! ```
//!
//! A batch holds what has already arrived, up to [`MAX_ROWS`] and what the last read brought beyond; it never waits for
//! more. Rows come in the order in which the broker sent them, each message once ([`filters`]). While nobody calls
//! `next` the socket is not read, and the broker waits; a [rate limit](rate_limit) makes use of that. Connections are
//! made again inside the [`Subscriber`]; only what retrying does not mend comes out.

mod filters;
mod memory;
mod rate_limit;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use headwater_connector::{
    Metrics, OperatorConfig, OperatorError, Place, Position, RowDecoder, SourceBatch,
    SourceOperator, TaskContext,
};
use tokio::time::{Instant, sleep_until};

use crate::config::{self, MqttProfile, MqttTable, SourceOptions};
use crate::error::MqttError;
use crate::metadata::{MqttMetadata, Received, now_nanos};
use crate::options::{QoS, Subscriptions};
use crate::packet::{Inbound, Message};
use crate::probe;
use crate::subscriber::Subscriber;
use filters::Gate;
use memory::Memory;
use rate_limit::RateLimit;

pub(crate) use filters::Filters;

/// When a batch is full, in rows.
const MAX_ROWS: usize = 8192;
/// When a batch is full, in bytes of payload.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Reads one table, or one subtask's share of it.
#[derive(Debug)]
pub struct MqttSource {
    /// The topics, for errors.
    name: String,
    rows: Rows,
    limited: Option<Limited>,
    /// Whether the broker sends no more than its window ahead of our acknowledgements.
    windowed: bool,
    /// What is known of a session that outlives the connection, until it is open.
    memory: Option<Memory>,
    /// Gone once the source is closed.
    subscriber: Option<Subscriber>,
    /// What `recv` reported while a batch was being gathered, for the next call.
    failure: Option<MqttError>,
}

/// Messages on their way to a batch.
#[derive(Debug)]
struct Rows {
    gate: Gate,
    decoder: RowDecoder<MqttMetadata>,
    metrics: Arc<Metrics>,
}

/// What a source with a rate limit keeps between batches.
#[derive(Debug)]
struct Limited {
    rate: RateLimit,
    /// What has been received, and how many of its messages have been read.
    held: Option<(Inbound, usize)>,
}

impl MqttSource {
    /// Begins to connect in the background. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// What the options alone tell: environment variables that are not set, certificates that cannot be read, columns
    /// that the format cannot read. A state folder that cannot be used.
    pub fn start(
        profile: &MqttProfile,
        table: &MqttTable,
        source: &SourceOptions,
        config: &OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Self> {
        let filters = Filters::new(profile, table, source, &config.schema)?;
        filters.warn();
        let metadata = MqttMetadata::new(&config.schema, &filters.patterns)?;
        let decoder = RowDecoder::new(config, metadata, context.metrics.clone())?;
        let decoder = decoder.remembering(&context.state)?;
        let client_id = config::table_client_id(profile, table, &context)?;
        let qos = filters.subscriptions.iter().map(|s| s.qos).max();
        let qos = qos.unwrap_or(QoS::AtMostOnce);
        let options = config::source_options(profile, qos, source, client_id)?;
        let name = filters.text();
        let (memory, former) = Memory::begin(context.state, &options, &filters.subscriptions)?;
        let subscriptions = Subscriptions {
            filters: filters.subscriptions,
            former,
        };
        let subscriber = Subscriber::start(options, subscriptions, Arc::clone(&context.metrics));
        let rate = source
            .rate_limit
            .as_ref()
            .and_then(|limit| limit.messages_per_second);
        let limited = |rate| Limited {
            rate: RateLimit::new(rate, Instant::now()),
            held: None,
        };
        Ok(Self {
            name,
            rows: Rows {
                gate: filters.gate,
                decoder,
                metrics: context.metrics,
            },
            limited: rate.map(limited),
            windowed: qos > QoS::AtMostOnce,
            memory,
            subscriber: Some(subscriber),
            failure: None,
        })
    }

    fn failed(&self, error: &MqttError) -> OperatorError {
        OperatorError::fatal(format!("source on '{}': {}", self.name, error.chain()))
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

impl Rows {
    /// Counts and decodes messages that came in one piece.
    fn decode<'a>(
        &mut self,
        mut messages: impl Iterator<Item = Message<'a>>,
    ) -> Result<(), OperatorError> {
        let at_nanos = now_nanos();
        let (mut count, mut bytes) = (0, 0);
        let decoded = messages.try_for_each(|message| {
            count += 1;
            bytes += message.payload.len() as u64;
            self.push(&message, at_nanos)
        });
        self.metrics.add_messages(count, bytes);
        decoded
    }

    #[inline]
    fn push(&mut self, message: &Message<'_>, at_nanos: i64) -> Result<(), OperatorError> {
        if !self.gate.takes(message) || probe::is_probe(message) {
            return Ok(());
        }
        let received = Received { message, at_nanos };
        self.decoder
            .push(message.payload, &received, || place(message))
    }

    /// Whether the batch should end.
    fn are_enough(&self) -> bool {
        self.decoder.rows() >= MAX_ROWS || self.decoder.bytes() >= MAX_BYTES
    }
}

impl Limited {
    /// Waits until a message is there and may be read. Cancel-safe: what has arrived is held.
    async fn ready(&mut self, subscriber: &mut Subscriber) -> Result<(), MqttError> {
        let left = match &self.held {
            Some((inbound, read)) => inbound.len() - read,
            None => {
                let inbound = subscriber.recv().await?;
                let left = inbound.len();
                self.held = Some((inbound, 0));
                left
            }
        };
        sleep_until(self.rate.ready(left)).await;
        Ok(())
    }

    /// Reads as many messages as the rate allows by now, and says which is the last; nothing unless one was ready.
    fn read(&mut self, rows: &mut Rows) -> Result<Option<Position>, OperatorError> {
        let Some((inbound, read)) = &mut self.held else {
            return Ok(None);
        };
        let left = inbound.len() - *read;
        let now = Instant::now();
        let count = self.rate.allowed(now).clamp(1, left);
        self.rate.take(count, now);
        rows.decode(inbound.iter().skip(*read).take(count))?;
        let position = Position(inbound.last_seq() - (left - count) as u64);
        *read += count;
        if *read == inbound.len() {
            self.held = None;
        }
        Ok(Some(position))
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
        if let Err(error) = subscriber.subscribed().await {
            return Err(self.failed(&error));
        }
        if subscriber.began_anew()
            && let Some(mut memory) = self.memory.take()
        {
            let stored = memory.began_anew();
            let what = "cannot remember the topic filters of the session";
            stored.map_err(|e| OperatorError::caused_by(what, e))?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        if let Some(error) = self.failure.take() {
            return Err(self.failed(&error));
        }
        let Some(subscriber) = &mut self.subscriber else {
            return Ok(None);
        };
        if let Some(limited) = &mut self.limited {
            if let Err(error) = limited.ready(subscriber).await {
                return Err(self.failed(&error));
            }
            let position = limited.read(&mut self.rows)?.unwrap_or_default();
            return self.rows.decoder.finish(position).map(Some);
        }
        // The only point at which this future can be dropped; `recv` loses nothing then.
        let mut inbound = match subscriber.recv().await {
            Ok(inbound) => inbound,
            Err(error) => return Err(self.failed(&error)),
        };
        let position = loop {
            let last = inbound.last_seq();
            self.rows.decode(inbound.iter())?;
            if self.rows.are_enough() {
                break last;
            }
            match self.try_recv() {
                Some(more) => inbound = more,
                None => break last,
            }
        };
        self.rows.decoder.finish(Position(position)).map(Some)
    }

    async fn commit(&mut self, position: Position) -> Result<(), OperatorError> {
        self.rows.decoder.committed(position)?;
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
