//! What goes out in bulk: PUBLISH and its acknowledgements, framed into the output buffer of the connection.

use bytes::{Bytes, BytesMut};

use super::{AckKind, kind};
use crate::error::ReasonCode;
use crate::options::{ProtocolVersion, QoS};

/// PINGREQ (section 3.12).
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The topic: UTF-8, no wildcards, at most 65,535 bytes. The caller has checked it.
    pub topic: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// How often it is delivered.
    pub qos: QoS,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Its properties as [`PropertiesWriter`](super::PropertiesWriter) has written them. Left out on MQTT 3.1.1, which
    /// has none.
    pub properties: Bytes,
}

impl Publish {
    /// A message that is not retained and has no properties.
    pub fn new(topic: impl Into<Bytes>, payload: impl Into<Bytes>, qos: QoS) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: false,
            properties: Bytes::new(),
        }
    }

    /// The same, borrowed.
    pub fn by_ref(&self) -> PublishRef<'_> {
        PublishRef {
            topic: &self.topic,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: &self.properties,
        }
    }

    /// Frames the packet; see [`PublishRef::encode`].
    pub fn encode(&self, protocol: ProtocolVersion, packet_id: u16, dup: bool, out: &mut BytesMut) {
        self.by_ref().encode(protocol, packet_id, dup, out);
    }
}

/// A message to publish that lies elsewhere; its parts are those of a [`Publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// The topic.
    pub topic: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// How often it is delivered.
    pub qos: QoS,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Its properties.
    pub properties: &'a [u8],
}

impl PublishRef<'_> {
    /// A copy.
    pub fn to_owned(self) -> Publish {
        Publish {
            topic: Bytes::copy_from_slice(self.topic),
            payload: Bytes::copy_from_slice(self.payload),
            qos: self.qos,
            retain: self.retain,
            properties: Bytes::copy_from_slice(self.properties),
        }
    }

    /// Topic, payload and properties, in bytes: what it counts against the bounds of queues.
    pub fn len(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// Whether all of it is empty, which no valid message is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the packet without its fixed header.
    fn remaining_len(&self, protocol: ProtocolVersion) -> usize {
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match protocol {
            ProtocolVersion::V31 | ProtocolVersion::V311 => 0,
            ProtocolVersion::V5 => varint_len(self.properties.len()) + self.properties.len(),
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    /// The size of the whole packet, in bytes; what a broker's maximum packet size is compared with.
    pub fn packet_len(&self, protocol: ProtocolVersion) -> usize {
        let len = self.remaining_len(protocol);
        1 + varint_len(len) + len
    }

    /// Frames the packet (section 3.3). `packet_id` is ignored at QoS 0.
    #[inline]
    pub fn encode(&self, protocol: ProtocolVersion, packet_id: u16, dup: bool, out: &mut BytesMut) {
        let len = self.remaining_len(protocol);
        out.reserve(len + 5);
        let flags = (u8::from(dup) << 3) | (self.qos.level() << 1) | u8::from(self.retain);
        let (header, header_len) = fixed_header(0x30 | flags, len, self.topic.len());
        out.extend_from_slice(&header.to_le_bytes()[..header_len]);
        out.extend_from_slice(self.topic);
        let [high, low] = packet_id.to_be_bytes();
        if self.qos != QoS::AtMostOnce {
            out.extend_from_slice(&[high, low]);
        }
        if protocol == ProtocolVersion::V5 {
            put_varint(self.properties.len(), out);
            out.extend_from_slice(self.properties);
        }
        out.extend_from_slice(self.payload);
    }
}

/// The fixed header and the length of the topic that follows it, the first byte lowest, and how many bytes these are: at most
/// seven, put out at once. They are put together in a register, since an array that was written byte by byte would be copied
/// before it has got to memory.
#[inline]
fn fixed_header(first: u8, mut len: usize, topic_len: usize) -> (u64, usize) {
    let mut bytes = u64::from(first);
    let mut at = 1;
    // Four bytes are enough: a longer packet is refused before it is framed.
    while len >= 0x80 && at < 4 {
        bytes |= (len as u64 & 0x7F | 0x80) << (8 * at);
        len >>= 7;
        at += 1;
    }
    bytes |= (len as u64 & 0x7F) << (8 * at);
    bytes |= u64::from((topic_len as u16).swap_bytes()) << (8 * (at + 1));
    (bytes, at + 3)
}

/// How many bytes a variable byte integer takes (section 1.5.5).
#[inline]
fn varint_len(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

/// Appends a variable byte integer, mostly a single zero.
#[inline]
pub(super) fn put_varint(mut value: usize, out: &mut BytesMut) {
    while value >= 0x80 {
        out.extend_from_slice(&[(value & 0x7F) as u8 | 0x80]);
        value >>= 7;
    }
    out.extend_from_slice(&[value as u8]);
}

/// A successful PUBACK (section 3.4), the same in both versions.
#[inline]
pub fn puback(packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}

/// A successful PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7), the same in both versions.
pub fn acknowledge(ack: AckKind, packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first_byte(ack), 2, high, low]);
}

/// A PUBREL or PUBCOMP that answers an id of which nothing is known. 3.1.1 has no way to say so.
pub fn acknowledge_unknown(
    protocol: ProtocolVersion,
    ack: AckKind,
    packet_id: u16,
    out: &mut BytesMut,
) {
    if protocol != ProtocolVersion::V5 {
        return acknowledge(ack, packet_id, out);
    }
    let [high, low] = packet_id.to_be_bytes();
    let reason = ReasonCode::PACKET_ID_NOT_FOUND.0;
    out.extend_from_slice(&[first_byte(ack), 3, high, low, reason]);
}

fn first_byte(ack: AckKind) -> u8 {
    match ack {
        AckKind::PubAck => kind::PUBACK << 4,
        AckKind::PubRec => kind::PUBREC << 4,
        // These flags are reserved and must be so.
        AckKind::PubRel => (kind::PUBREL << 4) | 0b0010,
        AckKind::PubComp => kind::PUBCOMP << 4,
    }
}
