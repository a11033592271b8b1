//! What a connection is to be: where, as whom, and under which limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::dial::{Proxy, WebSocket};
use crate::error::MqttError;
use crate::packet::Publish;
use crate::topic;

/// The largest packet that MQTT can express: a fixed header of five bytes and 268,435,455 bytes (section 2.1.4).
pub const MAX_PACKET_SIZE: u32 = 268_435_455 + 5;

/// Which MQTT is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolVersion {
    /// MQTT 3.1, protocol level 3. It does not say whether the broker still has the session, so every connection begins
    /// anew, and QoS 2 is exactly once only within a connection. For brokers that know no better.
    V31,
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5, protocol level 5.
    #[default]
    V5,
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "MQTT 3.1",
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        })
    }
}

/// How often a message is delivered (section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// Sent once and forgotten (QoS 0).
    #[default]
    AtMostOnce,
    /// Sent until it is acknowledged, perhaps twice (QoS 1).
    AtLeastOnce,
    /// Sent until the other side has taken it over, and not twice (QoS 2); as long as both sides keep the session.
    ExactlyOnce,
}

impl QoS {
    /// The number on the wire.
    pub fn level(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// A password that neither `Debug` nor an error message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the CONNECT packet only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// TLS for a connection: whom to trust, and who the other side must be.
#[derive(Clone)]
pub struct Tls {
    /// Trust anchors, client certificate, ALPN.
    pub config: Arc<rustls::ClientConfig>,
    /// The name (or address) that the broker's certificate must carry.
    pub server_name: ServerName<'static>,
    /// Whether the broker's certificate is checked (not with `insecure_skip_verify`).
    pub verified: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// A topic filter to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The filter, wildcards allowed (section 4.7).
    pub filter: String,
    /// The highest QoS at which the broker may send.
    pub qos: QoS,
    /// MQTT 5: whether messages that this client has published itself stay away. Not allowed on a shared subscription.
    pub no_local: bool,
    /// MQTT 5: whether messages keep the retain flag with which they were published, instead of carrying it only when
    /// the broker had kept them from before the subscription.
    pub retain_as_published: bool,
    /// MQTT 5: which retained messages come at first. On 3.1.1 they always come.
    pub retained: RetainHandling,
    /// MQTT 5: a number that comes with every message of this subscription, from 1 to 268,435,455.
    pub identifier: Option<u32>,
}

impl Subscription {
    /// A subscription with the options that MQTT 3.1.1 has.
    pub fn new(filter: impl Into<String>, qos: QoS) -> Self {
        Self {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retained: RetainHandling::default(),
            identifier: None,
        }
    }
}

/// What a [`Subscriber`](crate::Subscriber) is to receive.
///
/// A session that outlives a process keeps its subscriptions, also those that the next process does not ask for, and a
/// broker does not say which it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriptions {
    /// The filters, each with its options.
    pub filters: Vec<Subscription>,
    /// Those that the session may have from an earlier process.
    pub former: Former,
}

/// The filters of earlier processes with the same session, as far as they are known; by default none is.
///
/// Those that are not asked for any more are unsubscribed. If there are any, or some may not be known, each message is
/// compared, and what matches none of the filters is dropped: acknowledged, but not handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Former {
    /// What is known.
    pub filters: Vec<String>,
    /// Whether that is all.
    pub complete: bool,
}

impl From<Vec<Subscription>> for Subscriptions {
    fn from(filters: Vec<Subscription>) -> Self {
        Self {
            filters,
            former: Former::default(),
        }
    }
}

/// When the broker sends the messages that it has kept for a filter (section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Always,
    /// Only if the session did not have the subscription yet.
    IfNew,
    /// Never.
    Never,
}

/// A host as it stands in a URL: IPv6 in brackets.
pub(crate) fn in_url(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// `host:port` as it stands in a URL.
pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    format!("{}:{port}", in_url(host))
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The broker's name or address.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// TLS, or plain TCP if `None`.
    pub tls: Option<Tls>,
    /// MQTT over WebSocket, or MQTT itself if `None`.
    pub websocket: Option<WebSocket>,
    /// The HTTP proxy through which the broker is reached, if it is not reached directly.
    pub proxy: Option<Proxy>,
    /// Which MQTT to speak.
    pub protocol: ProtocolVersion,
    /// Who the client is; the broker keeps the session under this name. At most one connection may use it.
    pub client_id: String,
    /// The user, if the broker asks for one.
    pub username: Option<String>,
    /// The password, if the broker asks for one.
    pub password: Option<Password>,
    /// MQTT 5: names and values that the broker is told at the login, in this order. What they say may be a secret.
    pub user_properties: Vec<(String, Password)>,
    /// The longest silence of the client (section 3.1.2.10); zero switches the keep-alive off.
    pub keep_alive: Duration,
    /// The bound of each step of connecting: resolve, TCP, TLS, CONNACK, SUBACK.
    pub connect_timeout: Duration,
    /// Whether the broker forgets the session of before. Concerns the first connection only: when a connection that
    /// this process had is made again, its session is asked for (it lives on for `session_expiry`). A publisher always
    /// begins anew.
    pub clean_start: bool,
    /// MQTT 5: how long the broker keeps the session after the connection is lost. On 3.1.1 it is kept for ever
    /// unless `clean_start` is set, and never otherwise; for a publisher if this is not zero.
    pub session_expiry: Duration,
    /// MQTT 5: how many messages of QoS 1 and 2 the broker may send before the first is acknowledged.
    pub receive_maximum: u16,
    /// The largest packet, in bytes, that the client takes.
    pub max_packet_size: u32,
    /// MQTT 5: how many topics the broker may abbreviate (section 3.3.2.3.4). They are put in again; nobody notices.
    pub topic_alias_maximum: u16,
    /// How long a publish of QoS 1 or 2 may stay unanswered on a connection that lives otherwise. Then the connection is
    /// made again, and the publish is sent again. Zero is for ever.
    pub operation_timeout: Duration,
    /// What the broker publishes when the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// What is published first on every connection. At QoS 2 it is sent at QoS 1: to be born twice does no harm.
    pub birth: Option<Publish>,
}

/// A last will (section 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// What is published.
    pub message: Publish,
    /// MQTT 5: how long the broker waits for the client to come back, in whole seconds. It does not wait longer than the
    /// session lives.
    pub delay: Duration,
}

impl ConnectOptions {
    /// Plain MQTT 5 to a broker, without a login, with a session that ends with the connection.
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            websocket: None,
            proxy: None,
            protocol: ProtocolVersion::default(),
            client_id: client_id.into(),
            username: None,
            password: None,
            user_properties: Vec::new(),
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            clean_start: true,
            session_expiry: Duration::ZERO,
            receive_maximum: u16::MAX,
            max_packet_size: MAX_PACKET_SIZE,
            topic_alias_maximum: 64,
            operation_timeout: Duration::from_secs(60),
            will: None,
            birth: None,
        }
    }

    /// The broker as people write it, `host:port`.
    pub fn address(&self) -> String {
        host_and_port(&self.host, self.port)
    }

    /// Where the TCP connection goes: to the proxy, or to the broker.
    pub(crate) fn next_hop(&self) -> (&str, u16) {
        match &self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&self.host, self.port),
        }
    }

    /// Says what no broker could accept, before one is asked.
    ///
    /// # Errors
    /// [`MqttError::Options`] names the option.
    pub fn check(&self) -> Result<(), MqttError> {
        let properties = self.user_properties.iter();
        let properties = properties.flat_map(|(name, value)| [name.as_str(), value.expose()]);
        let texts = [
            ("host", Some(self.host.as_str())),
            ("client id", Some(self.client_id.as_str())),
            ("username", self.username.as_deref()),
            ("password", self.password.as_ref().map(Password::expose)),
        ];
        let properties = properties.map(|text| ("user property", Some(text)));
        for (name, text) in texts.into_iter().chain(properties) {
            let Some(text) = text else { continue };
            if text.len() > usize::from(u16::MAX) || text.contains('\0') {
                return Err(MqttError::options(format!(
                    "the {name} must be shorter than 65536 bytes and free of NUL characters"
                )));
            }
        }
        if self.protocol != ProtocolVersion::V5 && !self.user_properties.is_empty() {
            return Err(MqttError::options(format!(
                "user properties need MQTT 5, and the connection speaks {}",
                self.protocol
            )));
        }
        if self.host.is_empty() {
            return Err(MqttError::options("the host is empty"));
        }
        if self.protocol != ProtocolVersion::V5
            && self.password.is_some()
            && self.username.is_none()
        {
            return Err(MqttError::options(
                "MQTT 3.1.1 takes a password only together with a username; give a username or use MQTT 5",
            ));
        }
        if self.protocol != ProtocolVersion::V5 && self.client_id.is_empty() && !self.clean_start {
            return Err(MqttError::options(
                "an empty client id cannot have a persistent session on MQTT 3.1.1; give a client id",
            ));
        }
        let will = self.will.as_ref().map(|will| ("will", &will.message));
        let birth = self.birth.as_ref().map(|birth| ("birth", birth));
        for (name, message) in will.into_iter().chain(birth) {
            check_message(name, message)?;
        }
        if self.protocol == ProtocolVersion::V31 && self.client_id.is_empty() {
            return Err(MqttError::options("MQTT 3.1 wants a client id"));
        }
        if self.receive_maximum == 0 {
            return Err(MqttError::options("the receive maximum must be at least 1"));
        }
        if self.max_packet_size == 0 {
            return Err(MqttError::options(
                "the maximum packet size must be at least 1",
            ));
        }
        Ok(())
    }
}

fn check_message(name: &str, message: &Publish) -> Result<(), MqttError> {
    let topic = String::from_utf8_lossy(&message.topic);
    topic::check_name(&topic)
        .map_err(|e| MqttError::options(format!("the topic of the {name} message: {e}")))?;
    if message.payload.len() > usize::from(u16::MAX) {
        return Err(MqttError::options(format!(
            "the payload of the {name} message must be shorter than 65536 bytes"
        )));
    }
    Ok(())
}
