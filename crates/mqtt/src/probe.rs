//! Connection tests: each step towards a message that went to the broker and came back.
//!
//! ```text
//! resolve → connect → proxy → tls → websocket → login → subscribe → publish → receive
//! ```
//!
//! of which there are only those that the profile has.
//!
//! A test must do no harm. Its client id is its own, so that it takes over nobody's session; its session ends with the
//! connection. The probe goes to `headwater/probe/<client id>`, is never retained, and carries the user property
//! `headwater-probe` (MQTT 5), by which our own sources know and drop it. A shared filter is tried without its group,
//! since a member of the group would take messages from the others.
//!
//! What an ACL may forbid without the table being any worse is a warning: all that concerns the probe's topic. Whether a
//! sink may write its own topic only a message to that topic can tell, which is sent if the caller asks for it
//! ([`ProbePlace::Table`]) and decides the test then. The whole test takes at most [`TIME_LIMIT`].

mod explain;
mod wire;

use std::time::Duration;

use headwater_connector::{ProbePlace, Progress, StepStatus};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::{self, MqttProfile, MqttTable, SourceOptions, TableType};
use crate::dial::{self, Stream};
use crate::error::MqttError;
use crate::options::{ConnectOptions, QoS};
use crate::packet::Message;
use crate::topic::{TopicPattern, check_name};
use wire::{Answer, Wire};

/// The most time that a test takes.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long a probe that the broker took may need to come back.
const RETURN_LIMIT: Duration = Duration::from_secs(3);

/// Where probes go: this, and the client id.
pub const TOPIC_PREFIX: &str = "headwater/probe/";

/// The user property by which a probe is known.
pub const USER_PROPERTY: &str = "headwater-probe";

const PAYLOAD: &[u8] = b"headwater connection test";

/// Whether this is the probe of a test, which is nobody's data.
#[inline]
pub fn is_probe(message: &Message<'_>) -> bool {
    let marked = !message.properties.is_empty()
        && message
            .properties
            .user_property(USER_PROPERTY)
            .next()
            .is_some();
    marked || message.payload == PAYLOAD
}

/// Tests that the broker can be reached and logged into.
pub async fn test_profile(profile: MqttProfile, progress: Progress) -> bool {
    run(&profile, Purpose::Profile, progress).await
}

/// Tests that a table can be read or written.
pub async fn test_table(
    profile: MqttProfile,
    table: MqttTable,
    place: ProbePlace,
    progress: Progress,
) -> bool {
    let purpose = match &table.type_ {
        TableType::Sink(_) => {
            // Which topics a template or a column will make cannot be known.
            let topic = table.topic.unwrap_or_else(|| "{topic}".to_owned());
            Purpose::Sink(topic, place)
        }
        read => {
            let source = match read {
                TableType::Source(source) => source.clone(),
                _ => SourceOptions::default(),
            };
            match config::patterns(&table, &source) {
                Ok(patterns) => Purpose::Source(patterns),
                Err(error) => {
                    let remedy = "change the option 'topic'";
                    progress.failed("options", Instant::now(), error.to_string(), remedy);
                    return false;
                }
            }
        }
    };
    run(&profile, purpose, progress).await
}

/// What the test is to prove.
enum Purpose {
    Profile,
    Source(Vec<(TopicPattern, QoS)>),
    Sink(String, ProbePlace),
}

async fn run(profile: &MqttProfile, purpose: Purpose, progress: Progress) -> bool {
    let client_id = own_client_id(profile, "probe");
    let mut options = match config::connect_options(profile, client_id) {
        Ok(options) => options,
        Err(error) => {
            let remedy = "change the options of the connection profile";
            progress.failed("options", Instant::now(), error.to_string(), remedy);
            return false;
        }
    };
    options.connect_timeout = options.connect_timeout.min(TIME_LIMIT);
    // A filter may bring a flood; nothing of it is acknowledged, so it ends here.
    options.receive_maximum = 16;
    let test = Test {
        topic: format!("{TOPIC_PREFIX}{}", options.client_id),
        options,
        purpose,
        progress,
        deadline: Instant::now() + TIME_LIMIT,
    };
    test.run().await.is_some()
}

/// A client id that nobody else has, for a connection that ends soon.
pub(crate) fn own_client_id(profile: &MqttProfile, purpose: &str) -> String {
    let name = format!("{:08x}", rand::random::<u32>());
    config::client_id(profile, purpose, &name, 0)
}

struct Test {
    options: ConnectOptions,
    purpose: Purpose,
    progress: Progress,
    deadline: Instant,
    topic: String,
}

impl Test {
    /// All steps; `None` once one has failed and been reported.
    async fn run(&self) -> Option<()> {
        let mut wire = self.login().await?;
        if let Purpose::Source(patterns) = &self.purpose {
            for (pattern, qos) in patterns {
                self.subscribe_table(&mut wire, pattern.unshared(), *qos)
                    .await?;
            }
        }
        if let Purpose::Sink(topic, ProbePlace::Table) = &self.purpose {
            self.publish_table(&mut wire, topic).await?;
        }
        let readable = self.subscribe_probe(&mut wire).await?;
        let published = self.publish(&mut wire).await?;
        if readable && published {
            self.receive(&mut wire).await?;
        }
        // The test is over, and has its answer.
        let _ended = timeout_at(self.deadline, dial::logout(&self.options, &mut wire.stream)).await;
        Some(())
    }

    /// All up to the login.
    async fn login(&self) -> Option<Wire> {
        let options = &self.options;
        let started = Instant::now();
        let addresses = self.step("resolve", dial::resolve(options)).await?;
        let found: Vec<_> = addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        let message = format!("'{}' is {}", options.host, found.join(", "));
        self.progress.ok("resolve", started, message);

        let started = Instant::now();
        let stream = self
            .step("connect", dial::connect_tcp(options, &addresses))
            .await?;
        let peer = stream
            .peer_addr()
            .map_or_else(|_unknown| options.address(), |a| a.to_string());
        self.progress
            .ok("connect", started, format!("connected to {peer}"));

        let mut stream = self.transport(stream).await?;
        let started = Instant::now();
        let ack = self
            .step("login", dial::login(options, &mut stream))
            .await?;
        let user = match &options.username {
            Some(user) => format!("as '{user}' "),
            None => String::new(),
        };
        let message = format!("logged in {user}with {}", options.protocol);
        self.progress.ok("login", started, message);
        Some(Wire::new(stream, options, ack.limits.max_qos))
    }

    /// Proxy, TLS, WebSocket, as far as the options have them.
    async fn transport(&self, stream: TcpStream) -> Option<Stream> {
        let options = &self.options;
        let started = Instant::now();
        let stream = self.step("proxy", dial::tunnel(options, stream)).await?;
        if let Some(proxy) = &options.proxy {
            let message = format!(
                "a tunnel through {} to {}",
                proxy.address(),
                options.address()
            );
            self.progress.ok("proxy", started, message);
        }

        let started = Instant::now();
        let stream = self.step("tls", dial::secure(options, stream)).await?;
        if let Some(tls) = &options.tls {
            let name = tls.server_name.to_str();
            match tls.verified {
                true => {
                    let message = format!("the certificate is good for '{name}'");
                    self.progress.ok("tls", started, message);
                }
                false => {
                    let remedy = "give the authority that issued it as tls.ca, and remove tls.insecure_skip_verify";
                    let message = "encrypted, but the certificate was not checked: anybody could be the broker";
                    self.warn("tls", started, message.to_owned(), remedy);
                }
            }
        }

        let started = Instant::now();
        let stream = self
            .step("websocket", dial::upgrade(options, stream))
            .await?;
        if options.websocket.is_some() {
            self.progress
                .ok("websocket", started, "the WebSocket is open");
        }
        Some(stream)
    }

    /// Each of the table's own filters must be granted.
    async fn subscribe_table(&self, wire: &mut Wire, plain: &str, qos: QoS) -> Option<()> {
        let started = Instant::now();
        let answer = self.step("subscribe", wire.subscribe(plain, qos)).await?;
        match answer {
            Answer::Yes(granted) if granted < qos.level() => {
                let message = format!("'{plain}' is granted, but with QoS {granted} only");
                let remedy = "messages may be lost; the broker does not offer this QoS here";
                self.warn("subscribe", started, message, remedy);
            }
            Answer::Yes(_) => {
                self.progress
                    .ok("subscribe", started, format!("'{plain}' is granted"))
            }
            Answer::No(reason) => {
                let message = format!("the broker refused the filter '{plain}': {reason}");
                let remedy = "check the option 'topic', and that the user may read it (ACL)";
                self.progress.failed("subscribe", started, message, remedy);
                return None;
            }
        }
        Some(())
    }

    /// Whether the probe can be read back. If not, that is no fault.
    async fn subscribe_probe(&self, wire: &mut Wire) -> Option<bool> {
        let started = Instant::now();
        let answer = self
            .step("subscribe", wire.subscribe(&self.topic, QoS::AtMostOnce))
            .await?;
        match answer {
            Answer::Yes(_) => {
                self.progress
                    .ok("subscribe", started, format!("'{}' is granted", self.topic));
                Some(true)
            }
            Answer::No(reason) => {
                let message = format!("the user may not read '{}': {reason}", self.topic);
                self.warn("subscribe", started, message, &self.advice("read"));
                Some(false)
            }
        }
    }

    /// The sink's own topic must take a probe.
    async fn publish_table(&self, wire: &mut Wire, topic: &str) -> Option<()> {
        let started = Instant::now();
        if check_name(topic).is_err() || topic.contains('{') {
            let message =
                format!("'{topic}' is no topic before there is a row, so no probe was sent there");
            self.warn(
                "publish",
                started,
                message,
                "test a sink with one of its topics",
            );
            return Some(());
        }
        let remedy = format!("let the user write '{topic}' (ACL)");
        let refused = |reason: &str| {
            let message = format!("the broker refused a probe on '{topic}': {reason}");
            self.progress.failed("publish", started, message, &remedy);
        };
        match self.step("publish", wire.publish(topic, PAYLOAD)).await? {
            Answer::Yes(_) => {}
            Answer::No(reason) => {
                refused(&reason);
                return None;
            }
        }
        // MQTT 3.1.1 has no words for a refused publish. Some brokers close the connection, which shows in any answer.
        let round_trip = wire.subscribe(&self.topic, QoS::AtMostOnce);
        match timeout_at(self.deadline, round_trip).await {
            Ok(Err(MqttError::ClosedByBroker { .. } | MqttError::Lost { .. })) => {
                refused("it closed the connection");
                return None;
            }
            Ok(Err(error)) => {
                self.fail("publish", started, &error);
                return None;
            }
            Ok(Ok(_)) | Err(_) => {}
        }
        let message = format!("the broker took a probe on '{topic}'");
        self.progress.ok("publish", started, message);
        Some(())
    }

    /// Whether the probe was accepted. If not, that is no fault.
    async fn publish(&self, wire: &mut Wire) -> Option<bool> {
        let started = Instant::now();
        let answer = self
            .step("publish", wire.publish(&self.topic, PAYLOAD))
            .await?;
        let reason = match answer {
            Answer::Yes(_) => {
                let message = format!("the broker took a probe on '{}'", self.topic);
                self.progress.ok("publish", started, message);
                return Some(true);
            }
            Answer::No(reason) => reason,
        };
        let message = format!("the broker refused a probe on '{}': {reason}", self.topic);
        self.warn("publish", started, message, &self.advice("written"));
        Some(false)
    }

    /// What is proven all the same when the probe's topic is forbidden, and how more could be.
    fn advice(&self, what: &str) -> String {
        let proven = match &self.purpose {
            Purpose::Profile => "connection and login are proven",
            Purpose::Source(..) => "not needed to read",
            Purpose::Sink(topic, ProbePlace::Aside) => {
                return format!(
                    "connection and login are proven, but not that '{topic}' may be written: allow '{TOPIC_PREFIX}#' (ACL), or try '{topic}' itself with test-connection --own-topics"
                );
            }
            Purpose::Sink(_, ProbePlace::Table) => "not needed to write",
        };
        format!("{proven}; the test proves more if '{TOPIC_PREFIX}#' may be {what} (ACL)")
    }

    async fn receive(&self, wire: &mut Wire) -> Option<()> {
        let started = Instant::now();
        let limit = self.deadline.min(started + RETURN_LIMIT);
        match timeout_at(limit, wire.receive_probe()).await {
            Ok(Ok(())) => self.progress.ok("receive", started, "the probe came back"),
            Ok(Err(MqttError::ClosedByBroker { .. } | MqttError::Lost { .. })) => {
                self.closed_after_publish(started);
            }
            Ok(Err(error)) => {
                self.fail("receive", started, &error);
                return None;
            }
            Err(_elapsed) => {
                let message = format!("no probe came back on '{}'", self.topic);
                let remedy = format!(
                    "the broker may forbid, without saying so, to write or read '{TOPIC_PREFIX}#' (ACL); check that it allows the table's topic"
                );
                self.warn("receive", started, message, &remedy);
            }
        }
        Some(())
    }

    /// MQTT 3.1.1 has no words for a refused publish: brokers acknowledge it and close the connection.
    fn closed_after_publish(&self, started: Instant) {
        let message = format!(
            "the broker closed the connection after a probe on '{}', as if the user may not write there",
            self.topic
        );
        self.warn("receive", started, message, &self.advice("written"));
    }

    /// Waits for one step within the limit of the test; reports its failure.
    async fn step<T>(
        &self,
        name: &'static str,
        step: impl Future<Output = Result<T, MqttError>>,
    ) -> Option<T> {
        let started = Instant::now();
        let outcome = timeout_at(self.deadline, step).await;
        let error = match outcome {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => error,
            Err(_elapsed) => MqttError::Timeout {
                what: "answer of the broker",
                after: started.elapsed(),
            },
        };
        self.fail(name, started, &error);
        None
    }

    fn fail(&self, step: &'static str, started: Instant, error: &MqttError) {
        let (message, remedy) = explain::explain(error, &self.options);
        self.progress.failed(step, started, message, remedy);
    }

    fn warn(&self, step: &'static str, started: Instant, message: String, remedy: &str) {
        let remedy = Some(remedy.to_owned());
        self.progress
            .report(step, StepStatus::Warning, started, message, remedy);
    }
}
