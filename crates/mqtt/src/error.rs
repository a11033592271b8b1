//! What goes wrong between client and broker, divided into what may pass and what will not.
//!
//! [`MqttError::is_fatal`] draws the line: the driver retries whatever may pass for as long as it takes, and only fatal
//! errors reach the caller. No message holds a password.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::options::{ConnectOptions, ProtocolVersion};

/// A reason code of MQTT 5 (section 2.4). Return codes of 3.1.1 are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReasonCode(pub u8);

impl ReasonCode {
    /// All is well.
    pub const SUCCESS: Self = Self(0x00);
    /// "Unspecified error".
    pub const UNSPECIFIED: Self = Self(0x80);
    /// The broker does not speak this version of MQTT.
    pub const UNSUPPORTED_PROTOCOL: Self = Self(0x84);
    /// User or client has no right to do this.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// Another connection with this client id took the session.
    pub const TAKEN_OVER: Self = Self(0x8E);
    /// The topic cannot be published to.
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    /// The other side does not know this packet id; no harm, after a reconnect (sections 3.6.2.1, 3.7.2.1).
    pub const PACKET_ID_NOT_FOUND: Self = Self(0x92);
    /// The packet is larger than the broker takes.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    /// The broker keeps no retained messages.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    /// The broker does not offer this QoS.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    /// The broker has no shared subscriptions.
    pub const SHARED_NOT_SUPPORTED: Self = Self(0x9E);
    /// The broker has no filters with wildcards.
    pub const WILDCARDS_NOT_SUPPORTED: Self = Self(0xA2);

    /// Whether the code says no.
    pub fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The name that the specification gives it.
    pub fn name(self) -> &'static str {
        match self.0 {
            0x00 => "success",
            0x04 => "disconnect with will message",
            0x10 => "no matching subscribers",
            0x80 => "unspecified error",
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "implementation specific error",
            0x84 => "unsupported protocol version",
            0x85 => "client identifier not valid",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8A => "banned",
            0x8B => "server shutting down",
            0x8C => "bad authentication method",
            0x8D => "keep alive timeout",
            0x8E => "session taken over",
            0x8F => "topic filter invalid",
            0x90 => "topic name invalid",
            0x91 => "packet identifier in use",
            0x92 => "packet identifier not found",
            0x93 => "receive maximum exceeded",
            0x94 => "topic alias invalid",
            0x95 => "packet too large",
            0x96 => "message rate too high",
            0x97 => "quota exceeded",
            0x98 => "administrative action",
            0x99 => "payload format invalid",
            0x9A => "retain not supported",
            0x9B => "QoS not supported",
            0x9C => "use another server",
            0x9D => "server moved",
            0x9E => "shared subscriptions not supported",
            0x9F => "connection rate exceeded",
            0xA0 => "maximum connect time",
            0xA1 => "subscription identifiers not supported",
            0xA2 => "wildcard subscriptions not supported",
            _ => "unknown reason",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.0)
    }
}

/// Why a connection is not, or no longer, what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MqttError {
    /// The options cannot make a connection.
    #[error("{0}")]
    Options(String),
    /// The host name has no address.
    #[error("cannot resolve {}'{host}'", proxy_word(*.is_proxy))]
    Resolve {
        /// The host of the options.
        host: String,
        /// Whether it is that of the proxy.
        is_proxy: bool,
        /// What the resolver said.
        #[source]
        source: Arc<io::Error>,
    },
    /// No TCP connection.
    #[error("cannot connect to {}{address}", proxy_word(*.is_proxy))]
    Connect {
        /// The address that was tried last.
        address: String,
        /// Whether it is that of the proxy.
        is_proxy: bool,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The proxy made no tunnel to the broker.
    #[error("the proxy {proxy} made no tunnel to {address}: {reason}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// The broker.
        address: String,
        /// Why, and what to do about it.
        reason: String,
        /// Whether it would refuse again.
        lasting: bool,
    },
    /// No WebSocket to the broker.
    #[error("no WebSocket to {address}: {reason}")]
    WebSocket {
        /// The broker.
        address: String,
        /// Why, and what to do about it.
        reason: String,
        /// Whether it would be refused again.
        lasting: bool,
    },
    /// The TLS handshake failed for a reason that may pass.
    #[error(
        "the TLS handshake with {address} failed; check that this is the broker's TLS port (if it has no TLS, write mqtt:// in 'url')"
    )]
    Tls {
        /// The broker.
        address: String,
        /// What rustls or the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// One side does not trust the other's certificate.
    #[error("{address}: {reason}")]
    Certificate {
        /// The broker.
        address: String,
        /// What is wrong with which certificate, and what to do about it.
        reason: String,
    },
    /// The broker does not speak the version that was asked for.
    #[error(
        "{address} does not speak {protocol}; set protocol_version to '{}' in the connection profile",
        .protocol.other_version()
    )]
    ProtocolVersion {
        /// The broker.
        address: String,
        /// The version that it refused.
        protocol: ProtocolVersion,
    },
    /// The broker refused the login.
    #[error("{address} refused client '{client_id}': {reason}{}{}", detail(.message), login_remedy(*.reason))]
    LoginRefused {
        /// The broker.
        address: String,
        /// The client id that was sent.
        client_id: String,
        /// Its reason.
        reason: ReasonCode,
        /// What else it said.
        message: Option<String>,
    },
    /// The broker refused a topic filter.
    #[error("the broker refused the subscription to '{filter}': {reason}{}; check the filter and the user's rights (ACL) to read it", detail(.message))]
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// Its reason.
        reason: ReasonCode,
        /// What else it said.
        message: Option<String>,
    },
    /// The broker refused, or could not be sent, one message. The connection goes on.
    #[error("publishing to '{topic}' was refused: {reason}{}", detail(.message))]
    Refused {
        /// The topic.
        topic: String,
        /// The reason, the broker's or, when its limits forbid to send the message at all, the client's.
        reason: ReasonCode,
        /// More, for people.
        message: Option<String>,
    },
    /// The connection broke.
    #[error("the connection to {address} was lost")]
    Lost {
        /// The broker.
        address: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The broker closed the connection without a word.
    #[error("{address} closed the connection")]
    ClosedByBroker {
        /// The broker.
        address: String,
    },
    /// What happened instead of an answer to the very first login: perhaps this is no broker, or another port of it.
    #[error("{address} did not answer the login: {reason}; {remedy}")]
    NoLogin {
        /// The broker.
        address: String,
        /// What happened.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The broker said goodbye (MQTT 5).
    #[error("the broker ended the connection: {reason}{}", detail(.message))]
    Disconnected {
        /// Its reason.
        reason: ReasonCode,
        /// What else it said.
        message: Option<String>,
    },
    /// Another connection uses the same client id.
    #[error(
        "another client has connected as '{client_id}' and taken over the session; every client needs an id of its own (client_id, or client_prefix in the connection profile)"
    )]
    TakenOver {
        /// The id they fight for.
        client_id: String,
    },
    /// The broker sent what the protocol does not allow.
    #[error("the broker sent {0}")]
    Protocol(String),
    /// The broker sent a packet over the limit. Since it would send it again and again, this is final.
    #[error(
        "the broker sent a packet of {size} bytes, but max_packet_size is {max}; raise max_packet_size in the connection profile"
    )]
    Oversized {
        /// The packet's size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The broker did not answer in time.
    #[error("no {what} within {} ms", .after.as_millis())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        after: Duration,
    },
    /// Not all could be delivered before the connection had to be closed.
    #[error("closed with {unacknowledged} messages that the broker has not acknowledged")]
    Unacknowledged {
        /// How many.
        unacknowledged: u64,
    },
    /// The connection was closed by its owner, or has reported its fatal error before.
    #[error("the connection is closed")]
    Closed,
}

impl MqttError {
    /// An error about the options.
    pub fn options(message: impl Into<String>) -> Self {
        Self::Options(message.into())
    }

    /// A violation of the protocol by the broker.
    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol(message.into())
    }

    /// Whether trying again would not help.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Options(_)
            | Self::Certificate { .. }
            | Self::ProtocolVersion { .. }
            | Self::SubscriptionRefused { .. }
            | Self::Refused { .. }
            | Self::Oversized { .. }
            | Self::Unacknowledged { .. }
            | Self::Closed => true,
            // A broker that starts, is full or is overrun may accept the same login later.
            Self::LoginRefused { reason, .. } => {
                !matches!(reason.0, 0x80 | 0x83 | 0x88 | 0x89 | 0x8B | 0x97 | 0x9F)
            }
            Self::Proxy { lasting, .. } | Self::WebSocket { lasting, .. } => *lasting,
            Self::Disconnected { reason, .. } => matches!(
                *reason,
                ReasonCode::NOT_AUTHORIZED
                    | ReasonCode::SHARED_NOT_SUPPORTED
                    | ReasonCode::WILDCARDS_NOT_SUPPORTED
            ),
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Lost { .. }
            | Self::ClosedByBroker { .. }
            | Self::NoLogin { .. }
            | Self::TakenOver { .. }
            | Self::Protocol(_)
            | Self::Timeout { .. } => false,
        }
    }

    /// The error in the light of the fact that the broker has never answered a login of these options. Ends and
    /// nonsense then get the advice that people need who are at the wrong port.
    pub(crate) fn before_login(self, options: &ConnectOptions) -> Self {
        let reason = match &self {
            Self::ClosedByBroker { .. } => "it closed the connection".to_owned(),
            Self::Lost { source, .. } => source.to_string(),
            Self::Protocol(what) => format!("it sent {what}"),
            _ => return self,
        };
        Self::NoLogin {
            address: options.address(),
            reason,
            remedy: wrong_port(options),
        }
    }

    /// The message with all its causes, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl ProtocolVersion {
    /// What to write for the other one into a profile.
    fn other_version(self) -> &'static str {
        match self {
            Self::V31 => "3.1.1",
            Self::V311 => "5",
            Self::V5 => "3.1.1",
        }
    }
}

fn proxy_word(is_proxy: bool) -> &'static str {
    if is_proxy { "the proxy " } else { "" }
}

/// What may be wrong with an address at which something listens, but does not answer as a broker.
pub(crate) fn wrong_port(options: &ConnectOptions) -> &'static str {
    let v5 = options.protocol == ProtocolVersion::V5;
    match (&options.websocket, &options.tls, v5) {
        (None, None, true) => {
            "check that this is the broker's port for plain MQTT; if it expects TLS, write mqtts:// in 'url'; if it is old and speaks MQTT 3.1.1 only, set protocol_version = '3.1.1'"
        }
        (None, None, false) => {
            "check that this is the broker's port for plain MQTT; if it expects TLS, write mqtts:// in 'url'"
        }
        (None, Some(_), true) => {
            "check that this is the broker's port for MQTT, and that client certificate, client id and user are allowed to connect; if it is old and speaks MQTT 3.1.1 only, set protocol_version = '3.1.1'"
        }
        (None, Some(_), false) => {
            "check that this is the broker's port for MQTT, and that client certificate, client id and user are allowed to connect"
        }
        (Some(_), _, true) => {
            "check the path in 'url'; if the broker is old and speaks MQTT 3.1.1 only, set protocol_version = '3.1.1'"
        }
        (Some(_), _, false) => "check the path in 'url'",
    }
}

fn detail(message: &Option<String>) -> String {
    message
        .as_ref()
        .map_or_else(String::new, |message| format!(" ({message})"))
}

fn login_remedy(reason: ReasonCode) -> &'static str {
    match reason.0 {
        0x85 => "; change client_id, or client_prefix in the connection profile",
        0x86 | 0x87 => {
            "; check username and password in the connection profile, and the broker's access rules"
        }
        0x8A => "; ask the broker's administrator",
        _ => "",
    }
}
