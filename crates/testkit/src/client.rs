//! A small MQTT client for tests: publishes, subscribes, and answers every acknowledgement by itself.
//!
//! One tokio task reads: it acknowledges what arrives, puts messages into the inbox, and wakes those who wait for an
//! acknowledgement. The client does not reconnect: a test that restarts its broker makes a new client. Needs a tokio
//! runtime whose time is not paused.

mod connection;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::mosquitto::Mosquitto;
use crate::wire::{self, Connect, Packet, Properties, Publish};
use connection::{Shared, read_loop};

/// How long the broker may take to answer before the test fails.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How many publishes may be unacknowledged, if the broker does not say less.
const MAX_IN_FLIGHT: usize = 1_000;
/// The same with MQTT 3.1.1, in which the broker cannot say its limit: Mosquitto's default. It resets the connection of
/// a client with more QoS 2 publishes unacknowledged.
const MAX_IN_FLIGHT_V311: usize = 20;
/// How many bytes of publishes are gathered into one write.
const WRITE_BYTES: usize = 64 * 1024;

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What was published.
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    /// It was stored at the broker before the subscription.
    pub retain: bool,
    /// It may have been delivered before.
    pub dup: bool,
    /// Empty with MQTT 3.1.1.
    pub properties: Properties,
}

impl Message {
    /// The payload as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// How to connect; by default MQTT 5, a client id of its own, no session, no login.
#[derive(Debug, Clone, Default)]
pub struct TestClientBuilder {
    connect: Connect,
}

impl TestClientBuilder {
    /// Speaks MQTT 3.1.1.
    #[must_use]
    pub fn v311(mut self) -> Self {
        self.connect.v5 = false;
        self
    }

    /// Keeps a session under this client id, and takes up the one that exists.
    #[must_use]
    pub fn session(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.connect.client_id);
        self.connect.persistent = true;
        self
    }

    /// Connects under this client id, without keeping a session.
    #[must_use]
    pub fn client_id(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.connect.client_id);
        self
    }

    /// Logs in.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.connect.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Connects, without TLS.
    ///
    /// # Errors
    /// Nobody answers there, or the broker refuses.
    pub async fn connect(self, addr: SocketAddr) -> Result<TestClient> {
        timeout(ANSWER_DEADLINE, TestClient::open(addr, self.connect))
            .await
            .with_context(|| format!("{addr} did not answer CONNECT in {ANSWER_DEADLINE:?}"))?
    }
}

/// A connected client. Disconnects when it is dropped.
#[derive(Debug)]
pub struct TestClient {
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<Message>,
    reader: JoinHandle<()>,
    session_present: bool,
}

impl TestClient {
    /// A client of this broker, by its plain listener, speaking MQTT 5.
    ///
    /// # Errors
    /// The broker does not answer or refuses.
    pub async fn connect(broker: &Mosquitto) -> Result<Self> {
        Self::builder().connect(broker.plain_addr()).await
    }

    /// A client to be configured.
    pub fn builder() -> TestClientBuilder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        TestClientBuilder {
            connect: Connect {
                v5: true,
                client_id: format!("testkit-{}-{number}", std::process::id()),
                ..Connect::default()
            },
        }
    }

    async fn open(addr: SocketAddr, connect: Connect) -> Result<Self> {
        let mut stream = TcpStream::connect(addr)
            .await
            .with_context(|| format!("no connection to {addr}"))?;
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        wire::write_connect(&mut buffer, &connect)?;
        stream.write_all_buf(&mut buffer).await?;
        let first = loop {
            if let Some(packet) = wire::read(&mut buffer, connect.v5)? {
                break packet;
            }
            let read = stream.read_buf(&mut buffer).await?;
            ensure!(read > 0, "{addr} closed the connection after CONNECT");
        };
        let Packet::ConnAck {
            session_present,
            code,
            receive_maximum,
        } = first
        else {
            bail!("{addr} answered CONNECT with {first:?}");
        };
        ensure!(code == 0, "{addr} refused CONNECT with code {code:#04x}");

        let window_size = match connect.v5 {
            true => usize::from(receive_maximum).min(MAX_IN_FLIGHT),
            false => MAX_IN_FLIGHT_V311,
        };
        let (reader, writer) = stream.into_split();
        let shared = Arc::new(Shared {
            v5: connect.v5,
            writer: tokio::sync::Mutex::new(writer),
            state: Mutex::default(),
            window: Arc::new(Semaphore::new(window_size)),
            window_size: u32::try_from(window_size)?,
        });
        let (sender, inbox) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_loop(reader, buffer, Arc::clone(&shared), sender));
        Ok(Self {
            shared,
            inbox,
            reader,
            session_present,
        })
    }

    /// Whether the broker kept a session of this client.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Publishes, and at QoS 1 and 2 waits for the broker's acknowledgement.
    ///
    /// # Errors
    /// The connection is lost, or the broker refuses.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: u8,
        retain: bool,
    ) -> Result<()> {
        self.publish_with(topic, payload, qos, retain, Properties::default())
            .await
    }

    /// Publishes with properties.
    ///
    /// # Errors
    /// The connection is lost, or the broker refuses.
    pub async fn publish_with(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: u8,
        retain: bool,
        properties: Properties,
    ) -> Result<()> {
        let publish = Publish {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos,
            retain,
            dup: false,
            packet_id: 0,
            properties,
        };
        self.publish_all([publish]).await
    }

    /// Publishes messages in order, many in flight at once, and waits for all acknowledgements.
    ///
    /// # Errors
    /// The connection is lost, or the broker refuses one of them.
    pub async fn publish_many<P: Into<Bytes>>(
        &self,
        topic: &str,
        payloads: impl IntoIterator<Item = P>,
        qos: u8,
    ) -> Result<()> {
        let publishes = payloads.into_iter().map(|payload| Publish {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos,
            retain: false,
            dup: false,
            packet_id: 0,
            properties: Properties::default(),
        });
        self.publish_all(publishes).await
    }

    async fn publish_all(&self, publishes: impl IntoIterator<Item = Publish>) -> Result<()> {
        let mut buffer = BytesMut::new();
        for mut publish in publishes {
            if publish.qos > 0 {
                let slot = match Arc::clone(&self.shared.window).try_acquire_owned() {
                    Ok(slot) => slot,
                    Err(_full) => {
                        self.shared.write(&mut buffer).await?;
                        self.shared.slots(1).await?
                    }
                };
                publish.packet_id = self.shared.lock().enlist(None, Some(slot))?;
            }
            wire::write_publish(&mut buffer, &publish, self.shared.v5)?;
            if buffer.len() >= WRITE_BYTES {
                self.shared.write(&mut buffer).await?;
            }
        }
        self.shared.write(&mut buffer).await?;
        // All slots are free when everything is acknowledged.
        drop(self.shared.slots(self.shared.window_size).await?);
        self.shared.lock().check()
    }

    /// Subscribes, and waits until the broker has granted the filter at this QoS.
    ///
    /// # Errors
    /// The connection is lost, or the broker refuses or grants less.
    pub async fn subscribe(&self, filter: &str, qos: u8) -> Result<()> {
        let (done, granted) = oneshot::channel();
        let packet_id = self.shared.lock().enlist(Some(done), None)?;
        let mut buffer = BytesMut::new();
        wire::write_subscribe(&mut buffer, packet_id, filter, qos, self.shared.v5)?;
        self.shared.write(&mut buffer).await?;
        let granted = timeout(ANSWER_DEADLINE, granted)
            .await
            .with_context(|| format!("no SUBACK for '{filter}' in {ANSWER_DEADLINE:?}"))?;
        let Ok(granted) = granted else {
            self.shared.lock().check()?;
            bail!("the connection ended before SUBACK for '{filter}'");
        };
        ensure!(
            granted == [qos],
            "'{filter}' at QoS {qos}: the broker granted {granted:02x?}"
        );
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// None within the deadline, or the connection was lost.
    pub async fn recv(&mut self, deadline: Duration) -> Result<Message> {
        match timeout(deadline, self.inbox.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => {
                self.shared.lock().check()?;
                bail!("the connection ended")
            }
            Err(_elapsed) => bail!("no message within {deadline:?}"),
        }
    }

    /// The next message if it has already arrived.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.inbox.try_recv().ok()
    }

    /// The next `count` messages, in the order of their arrival.
    ///
    /// # Errors
    /// Fewer within the deadline; the error says how many, and quotes the last.
    pub async fn collect(&mut self, count: usize, deadline: Duration) -> Result<Vec<Message>> {
        let mut messages = Vec::with_capacity(count);
        let until = Instant::now() + deadline;
        while messages.len() < count {
            match timeout_at(until, self.inbox.recv()).await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => {
                    self.shared.lock().check()?;
                    bail!("the connection ended after {} messages", messages.len())
                }
                Err(_elapsed) => bail!(
                    "{} of {count} messages arrived within {deadline:?}; the last: {:?}",
                    messages.len(),
                    messages.last().map(Message::text)
                ),
            }
        }
        Ok(messages)
    }

    /// Disconnects in good order; a session is kept if it was asked for.
    ///
    /// # Errors
    /// The connection was lost before.
    pub async fn disconnect(self) -> Result<()> {
        let mut buffer = BytesMut::new();
        wire::write_disconnect(&mut buffer);
        self.shared.write(&mut buffer).await
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
