//! What a check is given: a broker, and names of its own on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use headwater_connector::Metrics;
use headwater_mqtt::{
    ConnectOptions, Inbound, Password, ProtocolVersion, Publish, Publisher, QoS, Subscriber,
    Subscription,
};
use headwater_testkit::brokers::{Broker, PASSWORD, USER};
use tokio::time::timeout;

/// How long one thing may take before the check fails. Long, since the brokers share the machine with each other and with
/// whatever else it does.
const DEADLINE: Duration = Duration::from_secs(45);
/// How long nothing must come before it is believed that nothing comes. A broker that is slower than this passes where
/// it should not; none fails where it should not.
const SILENCE: Duration = Duration::from_millis(300);

/// One check on one broker.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) broker: Arc<Broker>,
    pub(crate) protocol: ProtocolVersion,
    pub(crate) qos: QoS,
    /// Different for every check on a broker; letters and digits.
    pub(crate) id: String,
}

impl Scene {
    /// A topic that no other check uses.
    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.id)
    }

    /// The options of a client, which differs from others by its role. The id is within the 23 letters and digits that
    /// every broker takes (section 3.1.3.1).
    pub(crate) fn options(&self, role: &str) -> ConnectOptions {
        let id = format!("{}{role}", self.id);
        let mut options = ConnectOptions::new("127.0.0.1", self.broker.port, id);
        options.protocol = self.protocol;
        options.username = Some(USER.to_owned());
        options.password = Some(Password::new(PASSWORD));
        options
    }

    /// The options of a client whose session outlives its connections.
    pub(crate) fn durable(&self, role: &str) -> ConnectOptions {
        let mut options = self.options(role);
        options.clean_start = false;
        options.session_expiry = Duration::from_secs(3600);
        options
    }

    /// Subscribes to one filter with the QoS of the check.
    pub(crate) async fn subscribe(&self, filter: &str) -> Result<Receiver> {
        self.subscribe_as("sub", filter).await
    }

    /// The same, in another role.
    pub(crate) async fn subscribe_as(&self, role: &str, filter: &str) -> Result<Receiver> {
        let subscription = Subscription::new(filter, self.qos);
        Receiver::open(self.options(role), vec![subscription]).await
    }

    /// A client that publishes.
    pub(crate) async fn sender(&self) -> Result<Sender> {
        Sender::open(self.options("pub")).await
    }

    /// A message with the QoS of the check.
    pub(crate) fn message(&self, topic: &str, payload: impl Into<Bytes>) -> Publish {
        Publish::new(topic.to_owned(), payload, self.qos)
    }

    /// Messages `0`, `1`, … to one topic.
    pub(crate) fn numbered(&self, topic: &str, numbers: std::ops::Range<u32>) -> Vec<Publish> {
        let message = |number: u32| self.message(topic, number.to_string());
        numbers.map(message).collect()
    }
}

/// A message that came, out of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) seq: u64,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// As `Debug` writes them.
    pub(crate) properties: Vec<String>,
}

impl Received {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A subscriber that hands out messages one by one.
pub(crate) struct Receiver {
    subscriber: Subscriber,
    metrics: Arc<Metrics>,
    waiting: VecDeque<Received>,
}

impl Receiver {
    /// Connects and waits for the subscriptions.
    pub(crate) async fn open(
        options: ConnectOptions,
        subscriptions: Vec<Subscription>,
    ) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let mut subscriber = Subscriber::start(options, subscriptions, Arc::clone(&metrics));
        within("subscription", subscriber.subscribed()).await??;
        Ok(Self {
            subscriber,
            metrics,
            waiting: VecDeque::new(),
        })
    }

    /// The next message; not acknowledged.
    pub(crate) async fn next(&mut self) -> Result<Received> {
        self.next_within(DEADLINE).await
    }

    /// The next message, with more patience; not acknowledged.
    pub(crate) async fn next_within(&mut self, deadline: Duration) -> Result<Received> {
        while self.waiting.is_empty() {
            let inbound = timeout(deadline, self.subscriber.recv()).await;
            let inbound = inbound.map_err(|_elapsed| late("message", deadline))?;
            self.take(&inbound?);
        }
        self.waiting.pop_front().context("a batch without messages")
    }

    /// The next message, acknowledged.
    pub(crate) async fn next_acked(&mut self) -> Result<Received> {
        let message = self.next().await?;
        self.ack(message.seq);
        Ok(message)
    }

    /// So many messages, acknowledged; their payloads as text.
    pub(crate) async fn texts(&mut self, count: usize) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let message = self.next_acked().await;
            let place = || format!("after {} of {count} messages", texts.len());
            texts.push(message.with_context(place)?.text());
        }
        Ok(texts)
    }

    /// Expects the numbers of a range in their order.
    pub(crate) async fn expect_numbers(&mut self, numbers: std::ops::Range<u32>) -> Result<()> {
        let expected: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let texts = self.texts(expected.len()).await?;
        expect_same("the messages", &texts, &expected)
    }

    /// The next message, or `None` if nothing comes; not acknowledged.
    pub(crate) async fn next_unless_silent(&mut self) -> Result<Option<Received>> {
        if self.waiting.is_empty()
            && let Ok(inbound) = timeout(SILENCE, self.subscriber.recv()).await
        {
            self.take(&inbound?);
        }
        Ok(self.waiting.pop_front())
    }

    /// Expects that nothing comes.
    pub(crate) async fn expect_silence(&mut self) -> Result<()> {
        let message = self.next_unless_silent().await?;
        message.map_or(Ok(()), |message| bail!("came uncalled for: {message:?}"))
    }

    fn take(&mut self, inbound: &Inbound) {
        self.waiting.extend(inbound.iter().map(|message| {
            Received {
                seq: message.seq,
                topic: message.topic().to_owned(),
                payload: Bytes::copy_from_slice(message.payload),
                qos: message.qos(),
                retain: message.retain(),
                dup: message.dup(),
                properties: message
                    .properties
                    .iter()
                    .map(|property| format!("{property:?}"))
                    .collect(),
            }
        }));
    }

    /// Acknowledges all up to this one.
    pub(crate) fn ack(&mut self, seq: u64) {
        self.subscriber.ack(seq);
    }

    /// How often the connection was made again.
    pub(crate) fn reconnects(&self) -> u64 {
        self.metrics.snapshot().reconnects
    }

    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.subscriber.close().await?)
    }
}

/// A publisher that waits for the broker.
pub(crate) struct Sender {
    publisher: Publisher,
    metrics: Arc<Metrics>,
}

impl Sender {
    pub(crate) async fn open(options: ConnectOptions) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let mut publisher = Publisher::start(options, Arc::clone(&metrics));
        within("login", publisher.connected()).await??;
        Ok(Self { publisher, metrics })
    }

    /// Publishes and waits until the broker has acknowledged.
    pub(crate) async fn send(&mut self, batch: Vec<Publish>) -> Result<()> {
        within("room for a message", self.publisher.publish(batch)).await??;
        within("acknowledgement", self.publisher.flush()).await??;
        ensure!(
            self.metrics.snapshot().reconnects == 0,
            "the broker ended the connection of the publisher, which had to publish again"
        );
        Ok(())
    }

    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.publisher.close().await?)
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let outcome = timeout(DEADLINE, future).await;
    outcome.map_err(|_elapsed| late(what, DEADLINE))
}

fn late(what: &str, deadline: Duration) -> anyhow::Error {
    anyhow!("no {what} within {} s", deadline.as_secs())
}

/// Expects two lists to be the same, and tells the first difference.
pub(crate) fn expect_same(what: &str, actual: &[String], expected: &[String]) -> Result<()> {
    let same = actual.iter().zip(expected).take_while(|(a, b)| a == b);
    let at = same.count();
    if at == actual.len() && at == expected.len() {
        return Ok(());
    }
    let nothing = || "nothing".to_owned();
    let came = actual
        .get(at)
        .map_or_else(nothing, |text| format!("'{text}'"));
    let wanted = expected
        .get(at)
        .map_or_else(nothing, |text| format!("'{text}'"));
    bail!(
        "{what}: {came} in the place of {wanted}, as number {}",
        at + 1
    )
}
