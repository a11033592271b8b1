//! What goes out in bulk: PUBLISH and PUBACK, framed into the output buffer of the connection.

use bytes::{Bytes, BytesMut};

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
        let (header, header_len) = fixed_header(0x30 | flags, len, self.topic.len());
        out.extend_from_slice(&header[..header_len]);
        out.extend_from_slice(&self.topic);
        let [high, low] = packet_id.to_be_bytes();
        // The packet id, and the length of the properties, of which there are none.
        match (self.qos, protocol) {
            (QoS::AtMostOnce, ProtocolVersion::V311) => {}
            (QoS::AtMostOnce, ProtocolVersion::V5) => out.extend_from_slice(&[0]),
            (QoS::AtLeastOnce, ProtocolVersion::V311) => out.extend_from_slice(&[high, low]),
            (QoS::AtLeastOnce, ProtocolVersion::V5) => out.extend_from_slice(&[high, low, 0]),
        }
        out.extend_from_slice(&self.payload);
    }
}

/// The fixed header and the length of the topic that follows it: at most seven bytes, put out at once.
#[inline]
fn fixed_header(first: u8, mut len: usize, topic_len: usize) -> ([u8; 7], usize) {
    let mut bytes = [first, 0, 0, 0, 0, 0, 0];
    let mut at = 1;
    // Four bytes are enough: a longer packet is refused before it is framed.
    while len >= 0x80 && at < 4 {
        bytes[at] = (len & 0x7F) as u8 | 0x80;
        len >>= 7;
        at += 1;
    }
    bytes[at] = (len & 0x7F) as u8;
    let [high, low] = (topic_len as u16).to_be_bytes();
    bytes[at + 1] = high;
    bytes[at + 2] = low;
    (bytes, at + 3)
}

/// A successful PUBACK (section 3.4), the same in both versions.
#[inline]
pub fn puback(packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}
