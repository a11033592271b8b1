//! Bytes to packets and back.
//!
//! The two packets that make up the traffic are handled here without a copy or an allocation per message: PUBLISH that
//! comes in is sliced out of the read buffer, many messages from one read ([`Inbound`]); PUBLISH that goes out is framed
//! into one output buffer ([`Publish`]). The rare control packets go through `rumqttc`'s codec. Nothing here panics on
//! any bytes: what the protocol does not allow is an error that ends the connection.

mod buffer;
mod connect;
mod control;
mod decode;
mod encode;
mod inbound;
mod outbound;
mod properties;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test panics when it fails"
)]
mod tests;

pub use buffer::ReadBuffer;
pub use connect::connect;
pub use control::{ConnAck, Limits, disconnect, subscribe, unsubscribe};
pub use decode::{Ack, AckKind, Control, Decoded, Decoder};
pub use encode::{PINGREQ, Publish, PublishRef, acknowledge, acknowledge_unknown, puback};
pub use inbound::{Batch, Inbound, Message};
pub use outbound::{Envelope, Outbound, Parcel, Piece};
pub use properties::{Properties, PropertiesWriter, Property};

/// The first byte's upper half: what kind of packet it is (section 2.1.2).
mod kind {
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const PUBREC: u8 = 5;
    pub(super) const PUBREL: u8 = 6;
    pub(super) const PUBCOMP: u8 = 7;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const UNSUBACK: u8 = 11;
    pub(super) const PINGRESP: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
}

/// A variable byte integer (section 1.5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Varint {
    /// Its value, and how many bytes it took.
    Value(usize, usize),
    /// More bytes are needed.
    Incomplete,
    /// A fifth byte would be needed, which is not allowed.
    Malformed,
}

#[inline]
fn varint(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Varint::Value(value, i + 1);
        }
    }
    if bytes.len() < 4 {
        Varint::Incomplete
    } else {
        Varint::Malformed
    }
}
