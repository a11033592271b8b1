//! What goes out in bulk: PUBLISH and PUBACK, framed into the output buffer of the connection.

use bytes::{BufMut, Bytes, BytesMut};

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
}

impl Publish {
    /// Topic and payload, in bytes: what it counts against the bounds of queues.
    pub fn len(&self) -> usize {
        self.topic.len() + self.payload.len()
    }

    /// Whether both topic and payload are empty, which no valid message is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the packet without its fixed header.
    fn remaining_len(&self, protocol: ProtocolVersion) -> usize {
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = usize::from(protocol == ProtocolVersion::V5);
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    /// The size of the whole packet, in bytes; what a broker's maximum packet size is compared with.
    pub fn packet_len(&self, protocol: ProtocolVersion) -> usize {
        let len = self.remaining_len(protocol);
        let header = match len {
            0..128 => 2,
            128..16_384 => 3,
            16_384..2_097_152 => 4,
            _ => 5,
        };
        header + len
    }

    /// Frames the packet (section 3.3). `packet_id` is ignored at QoS 0.
    #[inline]
    pub fn encode(&self, protocol: ProtocolVersion, packet_id: u16, dup: bool, out: &mut BytesMut) {
        let len = self.remaining_len(protocol);
        out.reserve(len + 5);
        let flags = (u8::from(dup) << 3) | (self.qos.level() << 1) | u8::from(self.retain);
        out.put_u8(0x30 | flags);
        put_varint(out, len);
        // The topic's length was checked by the caller, and again before the message was queued.
        out.put_u16(self.topic.len() as u16);
        out.put_slice(&self.topic);
        if self.qos != QoS::AtMostOnce {
            out.put_u16(packet_id);
        }
        if protocol == ProtocolVersion::V5 {
            out.put_u8(0);
        }
        out.put_slice(&self.payload);
    }
}

/// A successful PUBACK (section 3.4), the same in both versions.
#[inline]
pub fn puback(packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}

#[inline]
fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
