//! The broker's side of the wire, through `rumqttc`'s codec: an opinion on packets that is not our own.

use bytes::{Bytes, BytesMut};
use headwater_mqtt::ProtocolVersion;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

/// What a client may send, as far as the simulation cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromClient {
    Connect {
        clean: bool,
    },
    Subscribe {
        id: u16,
        filters: usize,
    },
    Publish {
        id: u16,
        qos: u8,
        dup: bool,
        number: u64,
    },
    PubAck {
        id: u16,
    },
    PubRec {
        id: u16,
    },
    PubRel {
        id: u16,
        unknown: bool,
    },
    PubComp {
        id: u16,
        unknown: bool,
    },
    PingReq,
    Disconnect,
}

/// Takes the next whole packet.
pub(crate) fn read(protocol: ProtocolVersion, bytes: &mut BytesMut) -> Option<FromClient> {
    match protocol {
        ProtocolVersion::V31 | ProtocolVersion::V311 => read_v4(bytes),
        ProtocolVersion::V5 => read_v5(bytes),
    }
}

fn read_v4(bytes: &mut BytesMut) -> Option<FromClient> {
    Some(match v4::Packet::read(bytes, usize::MAX) {
        Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => return None,
        Err(error) => panic!("malformed: {error}"),
        Ok(v4::Packet::Connect(connect)) => FromClient::Connect {
            clean: connect.clean_session,
        },
        Ok(v4::Packet::Subscribe(packet)) => FromClient::Subscribe {
            id: packet.pkid,
            filters: packet.filters.len(),
        },
        Ok(v4::Packet::Publish(packet)) => FromClient::Publish {
            id: packet.pkid,
            qos: packet.qos as u8,
            dup: packet.dup,
            number: number(&packet.payload),
        },
        Ok(v4::Packet::PubAck(packet)) => FromClient::PubAck { id: packet.pkid },
        Ok(v4::Packet::PubRec(packet)) => FromClient::PubRec { id: packet.pkid },
        Ok(v4::Packet::PubRel(packet)) => FromClient::PubRel {
            id: packet.pkid,
            unknown: false,
        },
        Ok(v4::Packet::PubComp(packet)) => FromClient::PubComp {
            id: packet.pkid,
            unknown: false,
        },
        Ok(v4::Packet::PingReq) => FromClient::PingReq,
        Ok(v4::Packet::Disconnect) => FromClient::Disconnect,
        Ok(other) => panic!("a client must not send {other:?}"),
    })
}

fn read_v5(bytes: &mut BytesMut) -> Option<FromClient> {
    if bytes.starts_with(&[0xE0, 0]) {
        // The codec knows no DISCONNECT without a reason.
        let _packet = bytes.split_to(2);
        return Some(FromClient::Disconnect);
    }
    Some(match v5::Packet::read(bytes, None) {
        Err(rumqttc::v5::mqttbytes::Error::InsufficientBytes(_)) => return None,
        Err(error) => panic!("malformed: {error}"),
        Ok(v5::Packet::Connect(connect, _, _)) => FromClient::Connect {
            clean: connect.clean_start,
        },
        Ok(v5::Packet::Subscribe(packet)) => FromClient::Subscribe {
            id: packet.pkid,
            filters: packet.filters.len(),
        },
        Ok(v5::Packet::Publish(packet)) => FromClient::Publish {
            id: packet.pkid,
            qos: packet.qos as u8,
            dup: packet.dup,
            number: number(&packet.payload),
        },
        Ok(v5::Packet::PubAck(packet)) => FromClient::PubAck { id: packet.pkid },
        Ok(v5::Packet::PubRec(packet)) => FromClient::PubRec { id: packet.pkid },
        Ok(v5::Packet::PubRel(packet)) => FromClient::PubRel {
            id: packet.pkid,
            unknown: packet.reason == v5::PubRelReason::PacketIdentifierNotFound,
        },
        Ok(v5::Packet::PubComp(packet)) => FromClient::PubComp {
            id: packet.pkid,
            unknown: packet.reason == v5::PubCompReason::PacketIdentifierNotFound,
        },
        Ok(v5::Packet::PingReq(_)) => FromClient::PingReq,
        Ok(v5::Packet::Disconnect(_)) => FromClient::Disconnect,
        Ok(other) => panic!("a client must not send {other:?}"),
    })
}

/// Payloads begin with the message's number; padding follows.
pub(crate) fn payload(number: u64, padding: usize) -> Bytes {
    let mut text = number.to_string();
    text.extend(std::iter::repeat_n(' ', padding));
    text.into()
}

pub(crate) fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload)
        .unwrap()
        .trim_end()
        .parse()
        .unwrap()
}

pub(crate) fn connack(
    protocol: ProtocolVersion,
    session_present: bool,
    receive_max: u16,
) -> BytesMut {
    let mut out = BytesMut::new();
    match protocol {
        ProtocolVersion::V31 | ProtocolVersion::V311 => {
            let ack = v4::ConnAck::new(v4::ConnectReturnCode::Success, session_present);
            ack.write(&mut out).unwrap();
        }
        ProtocolVersion::V5 => {
            let max = receive_max.to_be_bytes();
            out.extend_from_slice(&[0x20, 6, session_present.into(), 0, 3, 33, max[0], max[1]]);
        }
    }
    out
}

pub(crate) fn suback(protocol: ProtocolVersion, id: u16, filters: usize) -> BytesMut {
    let [high, low] = id.to_be_bytes();
    let properties: &[u8] = if protocol == ProtocolVersion::V5 {
        &[0]
    } else {
        &[]
    };
    let mut out = BytesMut::new();
    let len = 2 + properties.len() + filters;
    out.extend_from_slice(&[0x90, u8::try_from(len).unwrap(), high, low]);
    out.extend_from_slice(properties);
    out.extend(std::iter::repeat_n(1_u8, filters));
    out
}

/// The first bytes of the acknowledgements.
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// An acknowledgement with a reason, which only MQTT 5 can carry.
pub(crate) fn ack(first: u8, id: u16, reason: u8) -> BytesMut {
    let [high, low] = id.to_be_bytes();
    let mut out = BytesMut::new();
    match reason {
        0 => out.extend_from_slice(&[first, 2, high, low]),
        reason => out.extend_from_slice(&[first, 3, high, low, reason]),
    }
    out
}

pub(crate) fn publish(
    protocol: ProtocolVersion,
    id: u16,
    qos: u8,
    dup: bool,
    number: u64,
) -> BytesMut {
    let mut out = BytesMut::new();
    let body = payload(number, (number % 200) as usize);
    match protocol {
        ProtocolVersion::V31 | ProtocolVersion::V311 => {
            let qos = rumqttc::mqttbytes::qos(qos).unwrap();
            let mut packet = v4::Publish::new("t/x", qos, body.to_vec());
            (packet.pkid, packet.dup) = (id, dup);
            packet.write(&mut out).unwrap();
        }
        ProtocolVersion::V5 => {
            let qos = rumqttc::v5::mqttbytes::qos(qos).unwrap();
            let properties = v5::PublishProperties {
                user_properties: vec![("n".to_owned(), number.to_string())],
                ..Default::default()
            };
            let mut packet = v5::Publish::new("t/x", qos, body, Some(properties));
            (packet.pkid, packet.dup) = (id, dup);
            packet.write(&mut out).unwrap();
        }
    }
    out
}
