//! What comes in: the whole packets of a read, in one pass.
//!
//! PUBLISH packets become entries of one [`Batch`] that shares one buffer: no allocation, copy or reference count per
//! message. PUBACK, PUBREC, PUBREL and PUBCOMP become a list. Everything else is rare and becomes a [`Control`].

use bytes::Bytes;

use super::control::ConnAck;
use super::{Properties, ReadBuffer, Varint, kind, varint};
use crate::error::{MqttError, ReasonCode};
use crate::options::{ProtocolVersion, QoS};

/// Reads packets by the version of the connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    protocol: ProtocolVersion,
    max_packet_size: usize,
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

/// Messages that lie in one buffer.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    buffer: Bytes,
    entries: Vec<Entry>,
    bytes: u64,
    /// What any of the messages has among its flags.
    flags: u8,
}

/// The flags of a PUBLISH, in the lower half of its first byte (section 3.3.1).
const RETAIN: u8 = 0b0001;
const QOS_1: u8 = 0b0010;
const QOS_2: u8 = 0b0100;
const DUP: u8 = 0b1000;

/// Where one message lies in the buffer.
#[derive(Debug, Clone, Copy)]
struct Entry {
    topic_at: u32,
    properties_at: u32,
    properties_len: u32,
    payload_len: u32,
    topic_len: u16,
    packet_id: u16,
    flags: u8,
}

impl Batch {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all payloads.
    pub fn payload_bytes(&self) -> u64 {
        self.bytes
    }

    /// The packet ids of the messages that ask for an acknowledgement, with their index, in the order of receipt.
    pub fn packet_ids(&self) -> impl Iterator<Item = (usize, u16)> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.packet_id != 0)
            .map(|(i, entry)| (i, entry.packet_id))
    }

    /// Whether all messages are what they mostly are: of QoS 0 or 1 and sent for the first time.
    pub(crate) fn is_plain(&self) -> bool {
        self.flags & (DUP | QOS_2) == 0
    }

    /// Keeps the messages for which this says so; it is asked in the order of receipt.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Message<'_>) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| keep(&self.message(0, *entry)));
        self.bytes = entries
            .iter()
            .map(|entry| u64::from(entry.payload_len))
            .sum();
        self.entries = entries;
    }

    fn message(&self, seq: u64, entry: Entry) -> Message<'_> {
        let topic_at = entry.topic_at as usize;
        let properties_at = entry.properties_at as usize;
        let payload_at = properties_at + entry.properties_len as usize;
        Message {
            seq,
            packet_id: entry.packet_id,
            flags: entry.flags,
            topic: &self.buffer[topic_at..topic_at + usize::from(entry.topic_len)],
            properties: Properties::new(&self.buffer[properties_at..payload_at]),
            payload: &self.buffer[payload_at..payload_at + entry.payload_len as usize],
        }
    }
}

/// Messages in the order of receipt; never empty.
#[derive(Debug, Clone)]
pub struct Inbound {
    epoch: u64,
    first_seq: u64,
    batch: Batch,
}

impl Inbound {
    /// Numbers a batch of the connection `epoch`, beginning with `first_seq`.
    pub(crate) fn new(epoch: u64, first_seq: u64, batch: Batch) -> Self {
        Self {
            epoch,
            first_seq,
            batch,
        }
    }

    /// Which connection brought them, counted from 1.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many messages there are; at least one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an inbound batch is never empty"
    )]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// The bytes of all payloads.
    pub fn payload_bytes(&self) -> u64 {
        self.batch.payload_bytes()
    }

    /// The number of the last message: acknowledge this when all are durable.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.batch.len() as u64 - 1
    }

    /// The messages.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.batch
            .entries
            .iter()
            .enumerate()
            .map(|(i, entry)| self.batch.message(self.first_seq + i as u64, *entry))
    }

    /// A part of one of these messages (its payload, its topic) that outlives the batch. It keeps the buffer of the
    /// whole batch alive.
    pub fn keep(&self, part: &[u8]) -> Bytes {
        self.batch.buffer.slice_ref(part)
    }
}

/// One message, lying in the batch that brought it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its number: 1, 2, 3 … within a subscriber's life, across reconnects.
    pub seq: u64,
    /// Its packet identifier, 0 at QoS 0.
    pub packet_id: u16,
    flags: u8,
    topic: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The properties; empty on MQTT 3.1.1.
    pub properties: Properties<'a>,
}

impl<'a> Message<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a str {
        // Checked when the packet was read; a topic that is not UTF-8 ends the connection there.
        std::str::from_utf8(self.topic).unwrap_or_default()
    }

    /// The topic's bytes, which are UTF-8.
    pub fn topic_bytes(&self) -> &'a [u8] {
        self.topic
    }

    /// The QoS at which the broker sent it.
    pub fn qos(&self) -> QoS {
        match self.flags & (QOS_1 | QOS_2) {
            0 => QoS::AtMostOnce,
            QOS_1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// Whether the broker had kept it from before the subscription (section 3.3.1.3).
    pub fn retain(&self) -> bool {
        self.flags & RETAIN != 0
    }

    /// Whether the broker may have sent it before.
    pub fn dup(&self) -> bool {
        self.flags & DUP != 0
    }
}

impl Decoder {
    /// Reads packets of this version, up to this size in bytes.
    pub fn new(protocol: ProtocolVersion, max_packet_size: u32) -> Self {
        Self {
            protocol,
            max_packet_size: max_packet_size as usize,
        }
    }

    /// Takes all whole packets out of the buffer.
    ///
    /// # Errors
    /// [`MqttError::Protocol`] for malformed packets, [`MqttError::Oversized`] for a packet over the limit. The
    /// connection must then be closed; nothing of this read was taken.
    pub fn decode(&self, input: &mut ReadBuffer) -> Result<Decoded, MqttError> {
        let mut decoded = Decoded::default();
        let mut entries = Vec::new();
        let mut payload_bytes = 0;
        let mut all_flags = 0;
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
                let entry = self.publish(bytes[at] & 0x0F, &bytes[..end], body)?;
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
        if topic.is_empty() {
            return Err(MqttError::protocol(
                "a PUBLISH packet with an empty topic, though topic aliases were not allowed",
            ));
        }
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
                    .push(Control::Disconnect(reason, reason_string(body, 1)));
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
            message = reason_string(body, 2);
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
        message: reason_string(body, 3),
    })
}

fn short_packet(name: &str) -> MqttError {
    MqttError::protocol(format!("a {name} packet that is too short"))
}

/// The reason string among the properties that begin at `at`, if there are any.
fn reason_string(body: &[u8], at: usize) -> Option<String> {
    let rest = body.get(at..)?;
    let Varint::Value(len, header) = varint(rest) else {
        return None;
    };
    Properties::new(rest.get(header..header + len)?).reason_string()
}
