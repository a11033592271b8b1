//! The control packets of a connection's life, through `rumqttc`'s codec.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::encode::put_varint;
use crate::error::{MqttError, ReasonCode};
use crate::options::{MAX_PACKET_SIZE, ProtocolVersion, QoS, RetainHandling, Subscription};

/// What the broker grants and forbids (section 3.2.2.3). On 3.1.1 it says nothing, and these are its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many publishes of QoS 1 and 2 may be unacknowledged.
    pub receive_maximum: u16,
    /// The largest packet that it takes, in bytes.
    pub max_packet_size: u32,
    /// The highest QoS that it takes.
    pub max_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcards_available: bool,
    /// Whether subscriptions may be shared.
    pub shared_available: bool,
    /// Whether subscriptions may have identifiers.
    pub identifiers_available: bool,
    /// The keep-alive that it demands instead of the client's.
    pub server_keep_alive: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            receive_maximum: u16::MAX,
            max_packet_size: MAX_PACKET_SIZE,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcards_available: true,
            shared_available: true,
            identifiers_available: true,
            server_keep_alive: None,
        }
    }
}

/// The answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the broker still has the session of before.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: ReasonCode,
    /// What else the broker said.
    pub message: Option<String>,
    /// The id that it gave to a client that had none.
    pub assigned_client_id: Option<String>,
    /// What it grants.
    pub limits: Limits,
}

impl ConnAck {
    /// Reads the packet without its fixed header.
    ///
    /// A broker that does not speak MQTT 5 answers with a CONNACK of 3.1.1, which the codec for MQTT 5 cannot read:
    /// hence the look at the length.
    pub(super) fn decode(protocol: ProtocolVersion, body: &[u8]) -> Result<Self, MqttError> {
        match (protocol, body) {
            (_, &[flags, code]) => Ok(Self {
                session_present: flags & 1 == 1,
                reason: from_v311(code),
                message: None,
                assigned_client_id: None,
                limits: Limits::default(),
            }),
            (ProtocolVersion::V5, _) => Self::decode_v5(body),
            (ProtocolVersion::V31 | ProtocolVersion::V311, _) => {
                Err(MqttError::protocol("a malformed CONNACK packet"))
            }
        }
    }

    fn decode_v5(body: &[u8]) -> Result<Self, MqttError> {
        let [_, code, ..] = *body else {
            return Err(MqttError::protocol("a malformed CONNACK packet"));
        };
        let header = rumqttc::v5::mqttbytes::v5::FixedHeader::new(0x20, 0, body.len());
        // `new` adds the type byte to the header's length, so the body gets one in front.
        let packet: Bytes = [&[0x20], body].concat().into();
        let ack = v5::ConnAck::read(header, packet)
            .map_err(|error| MqttError::protocol(format!("a malformed CONNACK packet: {error}")))?;
        let mut this = Self {
            session_present: ack.session_present,
            reason: ReasonCode(code),
            message: None,
            assigned_client_id: None,
            limits: Limits::default(),
        };
        if let Some(properties) = ack.properties {
            let server = properties.server_reference;
            let server = server.map(|server| format!("the server is {server}"));
            let said: Vec<_> = properties.reason_string.into_iter().chain(server).collect();
            this.message = (!said.is_empty()).then(|| said.join("; "));
            this.assigned_client_id = properties.assigned_client_identifier;
            this.limits = Limits {
                receive_maximum: properties.receive_max.unwrap_or(u16::MAX),
                max_packet_size: properties.max_packet_size.unwrap_or(MAX_PACKET_SIZE),
                max_qos: match properties.max_qos {
                    Some(0) => QoS::AtMostOnce,
                    Some(1) => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                },
                retain_available: properties.retain_available != Some(0),
                wildcards_available: properties.wildcard_subscription_available != Some(0),
                shared_available: properties.shared_subscription_available != Some(0),
                identifiers_available: properties.subscription_identifiers_available != Some(0),
                server_keep_alive: properties
                    .server_keep_alive
                    .map(|seconds| Duration::from_secs(u64::from(seconds))),
            };
        }
        if this.limits.receive_maximum == 0 || this.limits.max_packet_size == 0 {
            return Err(MqttError::protocol("a limit of zero in CONNACK"));
        }
        Ok(this)
    }
}

/// The return codes of 3.1.1 (section 3.2.2.3 there) in the words of MQTT 5.
fn from_v311(code: u8) -> ReasonCode {
    ReasonCode(match code {
        0 => 0x00,
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        // A broker that answers in the wrong version, with the right code.
        code if code >= 0x80 => code,
        _ => 0x80,
    })
}

/// SUBSCRIBE (section 3.8) to filters that have the same identifier, which stands once in the packet.
///
/// # Errors
/// [`MqttError::Options`] if the filters cannot be put into a packet.
pub fn subscribe(
    protocol: ProtocolVersion,
    packet_id: u16,
    subscriptions: &[Subscription],
    out: &mut BytesMut,
) -> Result<(), MqttError> {
    let written = match protocol {
        ProtocolVersion::V31 | ProtocolVersion::V311 => {
            let filter = |s: &Subscription| v4::SubscribeFilter {
                path: s.filter.clone(),
                qos: match s.qos {
                    QoS::AtMostOnce => rumqttc::mqttbytes::QoS::AtMostOnce,
                    QoS::AtLeastOnce => rumqttc::mqttbytes::QoS::AtLeastOnce,
                    QoS::ExactlyOnce => rumqttc::mqttbytes::QoS::ExactlyOnce,
                },
            };
            let mut packet = v4::Subscribe::new_many(subscriptions.iter().map(filter));
            packet.pkid = packet_id;
            packet.write(out).map_err(unwritable)
        }
        ProtocolVersion::V5 => {
            let filter = |s: &Subscription| {
                let qos = match s.qos {
                    QoS::AtMostOnce => rumqttc::v5::mqttbytes::QoS::AtMostOnce,
                    QoS::AtLeastOnce => rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
                    QoS::ExactlyOnce => rumqttc::v5::mqttbytes::QoS::ExactlyOnce,
                };
                v5::Filter {
                    path: s.filter.clone(),
                    qos,
                    nolocal: s.no_local,
                    preserve_retain: s.retain_as_published,
                    retain_forward_rule: match s.retained {
                        RetainHandling::Always => v5::RetainForwardRule::OnEverySubscribe,
                        RetainHandling::IfNew => v5::RetainForwardRule::OnNewSubscribe,
                        RetainHandling::Never => v5::RetainForwardRule::Never,
                    },
                }
            };
            let identifier = subscriptions.first().and_then(|s| s.identifier);
            let properties = identifier.map(|id| v5::SubscribeProperties {
                id: Some(id as usize),
                user_properties: Vec::new(),
            });
            let mut packet = v5::Subscribe::new_many(subscriptions.iter().map(filter), properties);
            packet.pkid = packet_id;
            packet.write(out).map_err(unwritable)
        }
    };
    written.map(|_len| ())
}

/// UNSUBSCRIBE (section 3.10).
pub fn unsubscribe(
    protocol: ProtocolVersion,
    packet_id: u16,
    filters: &[String],
    out: &mut BytesMut,
) {
    let properties: &[u8] = match protocol {
        ProtocolVersion::V31 | ProtocolVersion::V311 => &[],
        ProtocolVersion::V5 => &[0],
    };
    let texts: usize = filters.iter().map(|filter| 2 + filter.len()).sum();
    out.put_u8(0xA2);
    put_varint(2 + properties.len() + texts, out);
    out.put_u16(packet_id);
    out.put_slice(properties);
    for filter in filters {
        // A filter that had been granted was no longer than this.
        out.put_u16(filter.len() as u16);
        out.put_slice(filter.as_bytes());
    }
}

/// A normal DISCONNECT (section 3.14), the same in both versions.
pub fn disconnect(out: &mut BytesMut) {
    out.extend_from_slice(&[0xE0, 0]);
}

fn unwritable(error: impl std::fmt::Display) -> MqttError {
    MqttError::options(format!("cannot be put into an MQTT packet: {error}"))
}
