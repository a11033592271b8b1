//! The latest message of each topic, kept in memory for rows of streams to look up: a device's shadow, settings, a last
//! will.
//!
//! ```text
//! broker ─► Subscriber ─► decode, metadata ─► Shadows, the rows of the latest message by topic ◄─ lookup
//! ```
//!
//! A task reads all the time, whether rows are looked up or not, so that what is found is what the broker sent last. A
//! message replaces the rows of its topic, retained or not: to those who have subscribed, brokers send a retained message
//! like any other. One without payload, by which a retained message is deleted, deletes the rows. Messages are acknowledged when they are in
//! memory.
//!
//! **The beginning.** MQTT does not tell when all retained messages have come. So rows wait until the subscription has
//! been granted and then no retained message has come for `lookup.settle`.
//!
//! **A connection that is lost** is made again, as everywhere; meanwhile rows find what was there before. The broker then
//! sends all retained messages anew; only one that was deleted meanwhile is remembered.
//!
//! Memory: what is kept, at most `lookup.cache.max_bytes`; more fails the job, since nothing of it could be asked for again.

mod shadows;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use headwater_connector::config::ConfigError;
use headwater_connector::{
    BadData, Found, LookupError, LookupOperator, Metrics, MetricsSnapshot, OperatorConfig,
    OperatorError, Place, Position, RowDecoder, TableSchema, TaskContext, config::duration,
};
use headwater_format::FormatConfig;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{self, LookupOptions, MqttProfile, MqttTable, SourceOptions};
use crate::error::MqttError;
use crate::metadata::{MqttMetadata, Received, now_nanos};
use crate::options::QoS;
use crate::packet::Inbound;
use crate::probe;
use crate::source::Filters;
use crate::subscriber::Subscriber;
use shadows::Shadows;

/// Looks rows up among the latest messages of topics.
#[derive(Debug)]
pub struct MqttLookup {
    shared: Arc<Shared>,
    seen: watch::Receiver<Seen>,
    settle: Duration,
    close: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// What the task and the lookups share.
struct Shared {
    shadows: Mutex<Shadows>,
    /// Why the task has ended.
    failure: Mutex<Option<OperatorError>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// How far the task has come.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Since when the subscription is granted, or when the last retained message came behind it.
    settling: Option<Instant>,
    ended: bool,
}

/// The options of a table as those of a source that keeps no session.
fn as_source() -> SourceOptions {
    SourceOptions {
        clean_start: Some(true),
        session_expiry: Some("0".to_owned()),
        ..SourceOptions::default()
    }
}

fn settle(options: &LookupOptions) -> Result<Duration, ConfigError> {
    duration("lookup.settle", &options.settle)
}

/// Checks a table, and describes it.
pub(crate) fn check(
    profile: &MqttProfile,
    table: &MqttTable,
    options: &LookupOptions,
    schema: &TableSchema,
    format: &FormatConfig,
) -> Result<String, ConfigError> {
    let filters = Filters::new(profile, table, &as_source(), schema)?;
    settle(options)?;
    if filters.patterns.iter().any(|pattern| pattern.is_shared()) {
        let message = "option 'topic': a lookup table needs all messages, and of a shared subscription it gets some";
        return Err(ConfigError::new(Some("topic"), message));
    }
    if format.bad_data == BadData::DeadLetter {
        let message = "option 'bad_data': messages of a lookup table have no dead letters; use 'fail' or 'drop'";
        return Err(ConfigError::new(Some("bad_data"), message));
    }
    let config = OperatorConfig {
        schema: schema.clone(),
        format: format.clone(),
    };
    let metadata = MqttMetadata::new(schema, &filters.patterns)?;
    RowDecoder::new(&config, metadata, Arc::default())
        .map_err(|e| ConfigError::new(Some("format"), e.to_string()))?;
    Ok(format!("MqttLookup<{}>", filters.text()))
}

impl MqttLookup {
    /// Begins to connect in the background. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// What the options alone tell, as for a source.
    pub fn start(
        profile: &MqttProfile,
        table: &MqttTable,
        options: &LookupOptions,
        config: &OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Self> {
        let source = as_source();
        let filters = Filters::new(profile, table, &source, &config.schema)?;
        let metadata = MqttMetadata::new(&config.schema, &filters.patterns)?;
        let client_id = config::table_client_id(profile, table, &context)?;
        let qos = filters.subscriptions.iter().map(|s| s.qos).max();
        let qos = qos.unwrap_or(QoS::AtMostOnce);
        let connect = config::source_options(profile, qos, &source, client_id)?;
        let shared = Arc::new(Shared {
            shadows: Mutex::new(Shadows::new(config.schema.arrow_schema())?),
            failure: Mutex::default(),
        });
        let read = Arc::new(Metrics::of(&filters.text()));
        let (seen_sender, seen) = watch::channel(Seen::default());
        let close = CancellationToken::new();
        let reading = Reading {
            name: filters.text(),
            decoder: RowDecoder::new(config, metadata, Arc::clone(&read))?,
            read: Arc::clone(&read),
            told: read.snapshot(),
            max_bytes: options.cache.clone().unwrap_or_default().max_bytes.get(),
            metrics: context.metrics,
            shared: Arc::clone(&shared),
            seen: seen_sender,
            bytes: 0,
        };
        let subscriber = Subscriber::start(connect, filters.subscriptions, read);
        let task = tokio::spawn(reading.run(subscriber, close.clone()));
        Ok(Self {
            shared,
            seen,
            settle: settle(options)?,
            close,
            task: AbortOnDropHandle::new(task),
        })
    }

    /// Why nothing is read any more.
    fn check(&self) -> Result<(), LookupError> {
        if !self.seen.borrow().ended {
            return Ok(());
        }
        let mut failure = self
            .shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let error = failure.take();
        Err(LookupError::Final(error.unwrap_or_else(|| {
            OperatorError::fatal("the lookup table is closed")
        })))
    }
}

#[async_trait]
impl LookupOperator for MqttLookup {
    async fn open(&mut self) -> Result<(), LookupError> {
        loop {
            self.check()?;
            let settling = self.seen.borrow_and_update().settling;
            let Some(since) = settling else {
                // a sender that is gone has said why
                self.seen.changed().await.ok();
                continue;
            };
            let changed = self.seen.changed();
            if timeout_at(since + self.settle, changed).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        self.check()?;
        let mut shadows = self
            .shared
            .shadows
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(shadows.find(keys).map_err(unfit)?)
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        self.close.cancel();
        // a task that panicked has nothing to close
        (&mut self.task).await.ok();
        Ok(())
    }
}

/// The task that reads.
struct Reading {
    name: String,
    decoder: RowDecoder<MqttMetadata>,
    max_bytes: u64,
    /// Counts what is read.
    read: Arc<Metrics>,
    /// As much of it as has been told.
    told: MetricsSnapshot,
    /// Counts what is kept, beside what the operator that joins counts.
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    seen: watch::Sender<Seen>,
    bytes: u64,
}

impl Reading {
    async fn run(mut self, mut subscriber: Subscriber, close: CancellationToken) {
        tokio::select! {
            biased;
            () = close.cancelled() => {
                // what is kept is in memory only, so that there is nothing to be told
                subscriber.close().await.ok();
            }
            Err(error) = self.read(&mut subscriber) => {
                let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
                *failure = Some(error);
            }
        }
        self.seen.send_modify(|seen| seen.ended = true);
    }

    /// Reads until something does not pass.
    async fn read(&mut self, subscriber: &mut Subscriber) -> Result<(), OperatorError> {
        let granted = subscriber.subscribed().await;
        granted.map_err(|error| self.failed(&error))?;
        self.settling();
        loop {
            let inbound = subscriber.recv().await;
            let inbound = inbound.map_err(|error| self.failed(&error))?;
            self.take(&inbound)?;
            subscriber.ack(inbound.last_seq());
        }
    }

    fn settling(&self) {
        let now = Instant::now();
        self.seen.send_modify(|seen| seen.settling = Some(now));
    }

    fn failed(&self, error: &MqttError) -> OperatorError {
        OperatorError::fatal(format!("lookup on '{}': {}", self.name, error.chain()))
    }

    fn take(&mut self, inbound: &Inbound) -> Result<(), OperatorError> {
        let at_nanos = now_nanos();
        self.read
            .add_messages(inbound.len() as u64, inbound.payload_bytes());
        let mut changes = Vec::new();
        let mut retained = false;
        for message in inbound.iter().filter(|message| !probe::is_probe(message)) {
            retained |= message.retain();
            let topic: Arc<str> = message.topic().into();
            let first = self.decoder.rows();
            if message.payload.is_empty() {
                changes.push((topic, first..first));
                continue;
            }
            let bad = self.bad();
            let received = Received {
                message: &message,
                at_nanos,
            };
            self.decoder.push(message.payload, &received, || Place {
                description: format!("message on topic '{topic}'"),
                topic: Some(topic.to_string()),
                position: Some(message.seq),
            })?;
            // bad data that is dropped leaves what was there before
            if self.bad() == bad {
                changes.push((topic, first..self.decoder.rows()));
            }
        }
        self.keep(&changes)?;
        self.tell();
        if retained {
            self.settling();
        }
        Ok(())
    }

    /// Counts messages when they can be found, and connections that were made again.
    fn tell(&mut self) {
        let read = self.read.snapshot();
        let told = std::mem::replace(&mut self.told, read);
        self.metrics
            .add_messages(read.messages - told.messages, read.bytes - told.bytes);
        (told.reconnects..read.reconnects).for_each(|_| self.metrics.add_reconnect());
    }

    /// How many messages did not fit.
    fn bad(&self) -> u64 {
        self.read.snapshot().bad_data
    }

    fn keep(
        &mut self,
        changes: &[(Arc<str>, std::ops::Range<usize>)],
    ) -> Result<(), OperatorError> {
        let batch = self.decoder.finish(Position(0))?;
        let mut shadows = self
            .shared
            .shadows
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shadows.put(changes, &batch.rows).map_err(unfit)?;
        let bytes = shadows.bytes() as u64;
        self.metrics.resize_state(self.bytes, bytes);
        self.bytes = bytes;
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(OperatorError::fatal(format!(
            "the latest messages on '{}' take more memory than the {} bytes of lookup.cache.max_bytes; raise it, or \
             narrow the topic filter",
            self.name, self.max_bytes
        )))
    }
}

fn unfit(error: ArrowError) -> OperatorError {
    OperatorError::caused_by("the rows of the messages do not fit the columns", error)
}
