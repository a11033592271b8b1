//! What comes in: the whole packets of a read, in one pass.
//!
//! PUBLISH packets become entries of one [`Batch`] that shares one buffer: no allocation, copy or reference count per
//! message. PUBACK, PUBREC, PUBREL and PUBCOMP become a list. Everything else is rare and becomes a [`Control`].

use bytes::Bytes;

use super::control::ConnAck;
use super::inbound::{Batch, Entry, QOS_1, QOS_2};
use super::{Properties, Property, ReadBuffer, Varint, kind, varint};
use crate::error::{MqttError, ReasonCode};
use crate::options::ProtocolVersion;

/// Reads packets by the version of the connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    protocol: ProtocolVersion,
    max_packet_size: usize,
    /// How many aliases the broker may use.
    aliases_max: usize,
    /// The topics that this connection has given aliases to, from 1.
    aliases: Vec<Option<Bytes>>,
}

/// The packets of one read.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The messages, if any.
    pub batch: Option<Batch>,
    /// Acknowledgements in their order.
    pub acks: Vec<Ack>,
    /// Other packets in their order.
    pub control: Vec<Control>,
    /// How many more bytes the packet lacks that is not yet whole, as far as is known.
    pub missing: usize,
}

/// One step of the handshake that follows a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which step.
    pub kind: AckKind,
    /// The id of the PUBLISH.
    pub packet_id: u16,
    /// Success, or why not.
    pub reason: ReasonCode,
    /// What else the broker said.
    pub message: Option<String>,
}

/// The steps (section 4.3): PUBACK alone at QoS 1, the other three at QoS 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// QoS 1: the receiver has taken the message.
    PubAck,
    /// QoS 2: the receiver has taken the message and remembers its id.
    PubRec,
    /// QoS 2: the sender has understood that.
    PubRel,
    /// QoS 2: the receiver has forgotten the id.
    PubComp,
}

/// The rare packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The login's answer.
    ConnAck(ConnAck),
    /// The subscription's answer: packet id, a code for each filter, and what else the broker said.
    SubAck(u16, Vec<ReasonCode>, Option<String>),
    /// The answer to UNSUBSCRIBE: packet id, and on MQTT 5 a code for each filter.
    UnsubAck(u16, Vec<ReasonCode>),
    /// The answer to PINGREQ.
    PingResp,
    /// The broker's goodbye.
    Disconnect(ReasonCode, Option<String>),
}

impl Decoder {
    /// Reads packets of this version, up to this size in bytes.
    pub fn new(protocol: ProtocolVersion, max_packet_size: u32) -> Self {
        Self {
            protocol,
            max_packet_size: max_packet_size as usize,
            aliases_max: 0,
            aliases: Vec::new(),
        }
    }

    /// Lets the broker use so many topic aliases (section 3.3.2.3.4).
    #[must_use]
    pub fn with_aliases(mut self, max: u16) -> Self {
        self.aliases_max = max.into();
        self
    }

    /// Forgets the aliases: they are those of one connection.
    pub fn restart(&mut self) {
        self.aliases.clear();
    }

    /// Takes all whole packets out of the buffer.
    ///
    /// # Errors
    /// [`MqttError::Protocol`] for malformed packets, [`MqttError::Oversized`] for a packet over the limit. The
    /// connection must then be closed; nothing of this read was taken.
    pub fn decode(&mut self, input: &mut ReadBuffer) -> Result<Decoded, MqttError> {
        let mut decoded = Decoded::default();
        let mut entries = Vec::new();
        let mut payload_bytes = 0;
        let mut all_flags = 0;
        let mut topics = Vec::new();
        let bytes = input.unread();
        let mut at = 0;
        loop {
            let (header, len) = match self.frame(&bytes[at..])? {
                Frame::Whole(header, len) => (header, len),
                Frame::Missing(missing) => {
                    decoded.missing = missing;
                    break;
                }
            };
            let body = at + header;
            let end = body + len;
            if bytes[at] >> 4 == kind::PUBLISH {
                if entries.is_empty() {
                    // Messages of one topic are of one kind as a rule: expect more of this size.
                    entries.reserve((bytes.len() - at) / (header + len) + 1);
                }
                let mut entry = self.publish(bytes[at] & 0x0F, &bytes[..end], body)?;
                if entry.topic_len == 0 || (self.aliases_max > 0 && entry.properties_len > 0) {
                    self.resolve_alias(&mut entry, bytes, &mut topics)?;
                }
                payload_bytes += u64::from(entry.payload_len);
                all_flags |= entry.flags;
                entries.push(entry);
            } else {
                self.control(bytes[at], &bytes[body..end], &mut decoded)?;
            }
            at = end;
        }
        if entries.is_empty() {
            input.skip(at);
        } else {
            let buffer = input.take(at);
            decoded.batch = Some(Batch {
                buffer,
                entries,
                topics,
                bytes: payload_bytes,
                flags: all_flags,
            });
        }
        Ok(decoded)
    }

    #[inline]
    fn frame(&self, bytes: &[u8]) -> Result<Frame, MqttError> {
        let Some(rest) = bytes.get(1..) else {
            return Ok(Frame::Missing(2));
        };
        match varint(rest) {
            Varint::Value(len, header) => {
                let header = header + 1;
                if header + len > self.max_packet_size {
                    return Err(MqttError::Oversized {
                        size: header + len,
                        max: self.max_packet_size,
                    });
                }
                if bytes.len() < header + len {
                    return Ok(Frame::Missing(header + len - bytes.len()));
                }
                Ok(Frame::Whole(header, len))
            }
            Varint::Incomplete => Ok(Frame::Missing(1)),
            Varint::Malformed => Err(MqttError::protocol("a malformed remaining length")),
        }
    }

    /// Reads the variable header of a PUBLISH (section 3.3.2) that ends where `bytes` ends.
    #[inline]
    fn publish(&self, flags: u8, bytes: &[u8], body: usize) -> Result<Entry, MqttError> {
        let truncated = || MqttError::protocol("a PUBLISH packet that is too short");
        let mut at = body;
        let topic_len = usize::from(short(bytes, at).ok_or_else(truncated)?);
        at += 2;
        let topic = bytes.get(at..at + topic_len).ok_or_else(truncated)?;
        // Topics are short and mostly ASCII, which is told faster.
        if !topic.is_ascii() && std::str::from_utf8(topic).is_err() {
            return Err(MqttError::protocol("a topic that is not UTF-8"));
        }
        let topic_at = at;
        at += topic_len;
        let packet_id = match flags & (QOS_1 | QOS_2) {
            0 => 0,
            QOS_1 | QOS_2 => {
                let id = short(bytes, at).ok_or_else(truncated)?;
                at += 2;
                if id == 0 {
                    return Err(MqttError::protocol("a PUBLISH packet with packet id 0"));
                }
                id
            }
            _ => return Err(MqttError::protocol("a message of QoS 3")),
        };
        let mut properties_len = 0;
        if self.protocol == ProtocolVersion::V5 {
            let Varint::Value(value, len) = varint(&bytes[at..]) else {
                return Err(truncated());
            };
            at += len;
            if at + value > bytes.len() {
                return Err(truncated());
            }
            properties_len = value;
        }
        // All fit into 32 bits: a read buffer never holds more than two packets of the largest size.
        Ok(Entry {
            topic_at: topic_at as u32,
            properties_at: at as u32,
            properties_len: properties_len as u32,
            payload_len: (bytes.len() - at - properties_len) as u32,
            topic_len: topic_len as u16,
            packet_id,
            flags,
        })
    }

    /// Remembers the topic that gets an alias, or finds the one that is meant by it.
    fn resolve_alias(
        &mut self,
        entry: &mut Entry,
        bytes: &[u8],
        topics: &mut Vec<Bytes>,
    ) -> Result<(), MqttError> {
        let at = entry.properties_at as usize;
        let properties = &bytes[at..at + entry.properties_len as usize];
        let Some(alias) = topic_alias(properties) else {
            return match entry.topic_len {
                0 => Err(MqttError::protocol("a PUBLISH packet with an empty topic")),
                _ => Ok(()),
            };
        };
        let alias = usize::from(alias);
        if alias == 0 || alias > self.aliases_max {
            let max = self.aliases_max;
            return Err(MqttError::protocol(format!(
                "topic alias {alias}, though {max} are allowed"
            )));
        }
        self.aliases.resize(self.aliases_max, None);
        let known = &mut self.aliases[alias - 1];
        if entry.topic_len > 0 {
            let at = entry.topic_at as usize;
            let topic = &bytes[at..at + usize::from(entry.topic_len)];
            *known = Some(Bytes::copy_from_slice(topic));
            return Ok(());
        }
        let unknown = || MqttError::protocol(format!("topic alias {alias}, which means nothing"));
        entry.topic_at = topics.len() as u32;
        topics.push(known.clone().ok_or_else(unknown)?);
        Ok(())
    }

    fn control(&self, first: u8, body: &[u8], decoded: &mut Decoded) -> Result<(), MqttError> {
        match first >> 4 {
            kind::PUBACK => decoded.acks.push(ack(AckKind::PubAck, body)?),
            kind::PUBREC => decoded.acks.push(ack(AckKind::PubRec, body)?),
            kind::PUBREL => decoded.acks.push(ack(AckKind::PubRel, body)?),
            kind::PUBCOMP => decoded.acks.push(ack(AckKind::PubComp, body)?),
            kind::CONNACK => decoded
                .control
                .push(Control::ConnAck(ConnAck::decode(self.protocol, body)?)),
            kind::SUBACK => {
                let (id, codes, message) = self.suback(body)?;
                decoded.control.push(Control::SubAck(id, codes, message));
            }
            kind::UNSUBACK => {
                let (id, codes, _message) = self.suback(body)?;
                decoded.control.push(Control::UnsubAck(id, codes));
            }
            kind::PINGRESP => decoded.control.push(Control::PingResp),
            kind::DISCONNECT if self.protocol == ProtocolVersion::V5 => {
                let reason = ReasonCode(body.first().copied().unwrap_or(0));
                decoded
                    .control
                    .push(Control::Disconnect(reason, explanation(body, 1)));
            }
            kind => {
                return Err(MqttError::protocol(format!(
                    "a packet of type {kind} that only a client sends or that was not asked for"
                )));
            }
        }
        Ok(())
    }

    /// SUBACK and UNSUBACK (sections 3.9, 3.11): packet id, codes, and what else the broker said.
    fn suback(&self, body: &[u8]) -> Result<(u16, Vec<ReasonCode>, Option<String>), MqttError> {
        let id = short(body, 0).ok_or_else(|| short_packet("SUBACK"))?;
        let mut codes_at = 2;
        let mut message = None;
        if self.protocol == ProtocolVersion::V5 {
            let Varint::Value(len, header) = varint(&body[2..]) else {
                return Err(short_packet("SUBACK"));
            };
            codes_at += header + len;
            message = explanation(body, 2);
        }
        let codes = body.get(codes_at..).ok_or_else(|| short_packet("SUBACK"))?;
        let codes = codes.iter().copied().map(ReasonCode).collect();
        Ok((id, codes, message))
    }
}

/// The beginning of a packet.
enum Frame {
    /// All of it has arrived: the lengths of the fixed header and of the rest.
    Whole(usize, usize),
    /// At least so many bytes are missing.
    Missing(usize),
}

fn topic_alias(properties: &[u8]) -> Option<u16> {
    // Rarely there, and its identifier rarely elsewhere: a quick look spares most messages the reading.
    if !properties.contains(&0x23) {
        return None;
    }
    let mut properties = Properties::new(properties).iter();
    properties.find_map(|property| match property {
        Property::TopicAlias(alias) => Some(alias),
        _ => None,
    })
}

#[inline]
fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn ack(kind: AckKind, body: &[u8]) -> Result<Ack, MqttError> {
    Ok(Ack {
        kind,
        packet_id: short(body, 0)
            .ok_or_else(|| short_packet("PUBACK, PUBREC, PUBREL or PUBCOMP"))?,
        reason: ReasonCode(body.get(2).copied().unwrap_or(0)),
        message: explanation(body, 3),
    })
}

fn short_packet(name: &str) -> MqttError {
    MqttError::protocol(format!("a {name} packet that is too short"))
}

/// What the properties that begin at `at` say to people, if there are any.
fn explanation(body: &[u8], at: usize) -> Option<String> {
    let rest = body.get(at..)?;
    let Varint::Value(len, header) = varint(rest) else {
        return None;
    };
    Properties::new(rest.get(header..header + len)?).explanation()
}
