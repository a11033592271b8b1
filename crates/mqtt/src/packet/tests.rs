use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::error::{MqttError, ReasonCode};
use crate::options::{MAX_PACKET_SIZE, ProtocolVersion, QoS};

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

fn sample(topic: &str, payload: &[u8], qos: QoS) -> Publish {
    Publish::new(topic.to_owned(), payload.to_vec(), qos)
}

/// What a decoder found, in a form that can be compared.
#[derive(Debug, Default, PartialEq)]
struct Found {
    messages: Vec<(String, Vec<u8>, u16)>,
    acks: Vec<u16>,
    control: Vec<Control>,
}

impl Found {
    fn add(&mut self, decoded: Decoded) {
        if let Some(batch) = decoded.batch {
            let inbound = Inbound::new(1, 1, batch);
            self.messages.extend(
                inbound
                    .iter()
                    .map(|m| (m.topic().to_owned(), m.payload.to_vec(), m.packet_id)),
            );
        }
        self.acks
            .extend(decoded.acks.iter().map(|ack| ack.packet_id));
        self.control.extend(decoded.control);
    }
}

fn decode(protocol: ProtocolVersion, pieces: &[&[u8]]) -> Result<Found, MqttError> {
    let mut decoder = Decoder::new(protocol, MAX_PACKET_SIZE);
    let mut input = ReadBuffer::default();
    let mut found = Found::default();
    for piece in pieces {
        input.for_read(0).extend_from_slice(piece);
        found.add(decoder.decode(&mut input)?);
    }
    assert!(input.unread().is_empty(), "bytes are left over");
    Ok(found)
}

fn traffic(protocol: ProtocolVersion) -> BytesMut {
    let mut out = BytesMut::new();
    sample("a/b", b"one", QoS::AtMostOnce).encode(protocol, 0, false, &mut out);
    puback(513, &mut out);
    sample("ä/β", &[0; 200], QoS::AtLeastOnce).encode(protocol, 0x1234, true, &mut out);
    out.extend_from_slice(&[0xD0, 0]);
    let properties: &[u8] = if protocol == ProtocolVersion::V5 {
        &[0]
    } else {
        &[]
    };
    out.extend_from_slice(&[0x90, 4 + properties.len() as u8, 0, 1]);
    out.extend_from_slice(properties);
    out.extend_from_slice(&[1, 0x80]);
    sample("c", b"", QoS::AtLeastOnce).encode(protocol, 65_535, false, &mut out);
    out
}

#[test]
fn packets_may_be_split_anywhere() {
    for protocol in VERSIONS {
        let bytes = traffic(protocol);
        let whole = decode(protocol, &[&bytes]).unwrap();
        assert_eq!(whole.messages.len(), 3);
        assert_eq!(whole.messages[1], ("ä/β".to_owned(), vec![0; 200], 0x1234));
        assert_eq!(whole.acks, [513]);
        let suback = Control::SubAck(1, vec![ReasonCode(1), ReasonCode::UNSPECIFIED], None);
        assert_eq!(whole.control, [Control::PingResp, suback]);
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            assert_eq!(
                decode(protocol, &[front, back]).unwrap(),
                whole,
                "split at {at}"
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(protocol, &single).unwrap(), whole);
    }
}

#[test]
fn the_largest_length_is_waited_for_and_a_larger_one_refused() {
    let mut input = ReadBuffer::default();
    input
        .for_read(0)
        .extend_from_slice(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    let decoded = Decoder::new(ProtocolVersion::V5, MAX_PACKET_SIZE)
        .decode(&mut input)
        .unwrap();
    assert_eq!(decoded.missing, 268_435_455);
    let small = Decoder::new(ProtocolVersion::V5, 1000).decode(&mut input);
    assert!(
        matches!(small, Err(MqttError::Oversized { size, max: 1000 }) if size == MAX_PACKET_SIZE as usize)
    );
    let five = decode(
        ProtocolVersion::V5,
        &[&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]],
    );
    assert!(matches!(five, Err(MqttError::Protocol(_))));
}

#[test]
fn malformed_packets_are_errors() {
    let packets: [&[u8]; 16] = [
        &[0x30, 0],                      // no topic
        &[0x30, 2, 0, 0],                // an empty topic
        &[0x30, 3, 0, 2, b'a'],          // a topic longer than the packet
        &[0x30, 4, 0, 2, 0xFF, 0xFE],    // not UTF-8
        &[0x32, 4, 0, 1, b'a', 0],       // half a packet id
        &[0x32, 6, 0, 1, b'a', 0, 0, 0], // packet id 0
        &[0x36, 6, 0, 1, b'a', 0, 1, 0], // QoS 3
        &[0x30, 3, 0, 1, b'a'],          // no property length
        &[0x30, 4, 0, 1, b'a', 9],       // properties longer than the packet
        &[0x40, 1, 0],                   // PUBACK without an id
        &[0x50, 1, 0],                   // PUBREC without an id
        &[0x62, 0],                      // PUBREL without an id
        &[0x70, 1, 0],                   // PUBCOMP without an id
        &[0x90, 2, 0, 1],                // SUBACK without codes
        &[0x20, 1, 0],                   // CONNACK without a code
        &[0x10, 0],                      // CONNECT
    ];
    for packet in packets {
        let outcome = decode(ProtocolVersion::V5, &[packet]);
        assert!(
            matches!(outcome, Err(MqttError::Protocol(_))),
            "{packet:?}: {outcome:?}"
        );
    }
}

#[test]
fn a_v311_refusal_is_understood_by_a_v5_client() {
    let found = decode(ProtocolVersion::V5, &[&[0x20, 2, 0, 1]]).unwrap();
    let [Control::ConnAck(ack)] = &found.control[..] else {
        panic!("{found:?}")
    };
    assert_eq!(ack.reason, ReasonCode::UNSUPPORTED_PROTOCOL);
}

#[test]
fn the_limits_of_connack_are_read() {
    let body = [
        0_u8, 0, 19, 33, 0, 20, 36, 0, 37, 0, 39, 0, 0, 4, 0, 19, 0, 7, 42, 0, 41, 0,
    ];
    let mut packet = vec![0x20, body.len() as u8];
    packet.extend_from_slice(&body);
    let found = decode(ProtocolVersion::V5, &[&packet]).unwrap();
    let [Control::ConnAck(ack)] = &found.control[..] else {
        panic!("{found:?}")
    };
    let limits = Limits {
        receive_maximum: 20,
        max_packet_size: 1024,
        max_qos: QoS::AtMostOnce,
        retain_available: false,
        wildcards_available: true,
        shared_available: false,
        identifiers_available: false,
        server_keep_alive: Some(std::time::Duration::from_secs(7)),
    };
    assert_eq!(ack.limits, limits);
}

#[test]
fn goodbyes_with_and_without_a_reason() {
    let found = decode(
        ProtocolVersion::V5,
        &[
            &[0xE0, 0],
            &[0xE0, 1, 0x8E],
            &[0xE0, 7, 0x8B, 5, 31, 0, 2, b'h', b'i'],
        ],
    );
    let goodbye =
        |code, text: Option<&str>| Control::Disconnect(ReasonCode(code), text.map(str::to_owned));
    assert_eq!(
        found.unwrap().control,
        [
            goodbye(0, None),
            goodbye(0x8E, None),
            goodbye(0x8B, Some("hi"))
        ]
    );
}

fn publish_strategy() -> impl Strategy<Value = (Publish, u16, bool)> {
    (
        "[a-zä/]{1,40}",
        proptest::collection::vec(any::<u8>(), 0..300),
        1..=u16::MAX,
        any::<[bool; 3]>(),
    )
        .prop_map(|(topic, payload, id, [once, retain, dup])| {
            let qos = if once {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            };
            let publish = Publish {
                retain,
                ..sample(&topic, &payload, qos)
            };
            (publish, if once { id } else { 0 }, once && dup)
        })
}

proptest! {
    #[test]
    fn any_bytes_are_packets_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400), v5: bool) {
        let decoder = Decoder::new(VERSIONS[usize::from(v5)], MAX_PACKET_SIZE);
        let mut decoder = decoder.with_aliases(64);
        let mut input = ReadBuffer::default();
        input.for_read(0).extend_from_slice(&bytes);
        if let Ok(decoded) = decoder.decode(&mut input)
            && let Some(batch) = decoded.batch
        {
            for message in Inbound::new(1, 1, batch).iter() {
                prop_assert!(!message.topic().is_empty());
                message.properties.iter().for_each(drop);
            }
        }
    }

    /// What we frame, another codec reads, and we read back, however it is cut.
    #[test]
    fn publishes_survive_the_wire(
        sent in proptest::collection::vec(publish_strategy(), 1..20), cut in 1_usize..200, v5: bool,
    ) {
        let protocol = VERSIONS[usize::from(v5)];
        let mut bytes = BytesMut::new();
        for (publish, id, dup) in &sent {
            let before = bytes.len();
            publish.encode(protocol, *id, *dup, &mut bytes);
            prop_assert_eq!(bytes.len() - before, publish.by_ref().packet_len(protocol));
            let mut packet = BytesMut::from(&bytes[before..]);
            if v5 {
                let read = rumqttc::v5::mqttbytes::v5::Packet::read(&mut packet, None).unwrap();
                let rumqttc::v5::mqttbytes::v5::Packet::Publish(read) = read else { panic!() };
                prop_assert_eq!((&read.topic, &read.payload, read.pkid), (&publish.topic, &publish.payload, *id));
                prop_assert_eq!((read.dup, read.retain, read.qos as u8), (*dup, publish.retain, publish.qos.level()));
            } else {
                let read = rumqttc::mqttbytes::v4::Packet::read(&mut packet, usize::MAX).unwrap();
                let rumqttc::mqttbytes::v4::Packet::Publish(read) = read else { panic!() };
                prop_assert_eq!((read.topic.as_bytes(), &read.payload, read.pkid), (&publish.topic[..], &publish.payload, *id));
                prop_assert_eq!((read.dup, read.retain, read.qos as u8), (*dup, publish.retain, publish.qos.level()));
            }
        }
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        let found = decode(protocol, &pieces).unwrap();
        let expected: Vec<_> = sent.iter()
            .map(|(p, id, _)| (String::from_utf8(p.topic.to_vec()).unwrap(), p.payload.to_vec(), *id))
            .collect();
        prop_assert_eq!(found.messages, expected);
    }
}

#[test]
fn properties_go_out_as_they_come_in() {
    let long = "x".repeat(200);
    let mut writer = PropertiesWriter::default();
    writer
        .message_expiry_interval(60)
        .response_topic("answers")
        .correlation_data(&[0xff, 0])
        .user_property("k", &long);
    let publish = Publish {
        properties: writer.take(),
        ..sample("t", b"payload", QoS::AtLeastOnce)
    };
    for protocol in [ProtocolVersion::V5, ProtocolVersion::V311] {
        let mut out = BytesMut::new();
        publish.encode(protocol, 7, false, &mut out);
        assert_eq!(out.len(), publish.by_ref().packet_len(protocol));
        let mut input = ReadBuffer::default();
        input.for_read(out.len()).extend_from_slice(&out);
        let mut decoder = Decoder::new(protocol, MAX_PACKET_SIZE);
        let batch = decoder.decode(&mut input).unwrap().batch.unwrap();
        let inbound = Inbound::new(1, 1, batch);
        let message = inbound.iter().next().unwrap();
        assert_eq!((message.payload, message.packet_id), (&b"payload"[..], 7));
        let expected: &[Property<'_>] = match protocol {
            ProtocolVersion::V31 | ProtocolVersion::V311 => &[],
            ProtocolVersion::V5 => &[
                Property::MessageExpiryInterval(60),
                Property::ResponseTopic("answers"),
                Property::CorrelationData(&[0xff, 0]),
                Property::UserProperty("k", &long),
            ],
        };
        assert_eq!(message.properties.iter().collect::<Vec<_>>(), expected);
    }
}

/// PUBLISH at QoS 0 on MQTT 5: topic, properties, payload.
fn publish_with(topic: &str, properties: &[u8], payload: &str) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.push(properties.len() as u8);
    body.extend(properties);
    body.extend(payload.as_bytes());
    [&[0x30, body.len() as u8], &body[..]].concat()
}

#[test]
fn topics_are_put_in_for_their_aliases() {
    let mut decoder = Decoder::new(ProtocolVersion::V5, MAX_PACKET_SIZE).with_aliases(2);
    let mut decode = |packets: &[Vec<u8>], restart: bool| {
        if restart {
            decoder.restart();
        }
        let mut input = ReadBuffer::default();
        input.for_read(0).extend_from_slice(&packets.concat());
        let batch = decoder.decode(&mut input)?.batch.unwrap();
        let inbound = Inbound::new(1, 1, batch);
        let topic = |m: Message<'_>| String::from_utf8(inbound.keep(m.topic_bytes()).to_vec());
        let topics: Result<Vec<_>, _> = inbound.iter().map(topic).collect();
        Ok::<_, MqttError>(topics.unwrap())
    };
    let first = [
        publish_with("a/b", &[0x23, 0, 1], "1"),
        publish_with("", &[0x23, 0, 1], "2"),
        publish_with("c", b"\x26\0\x01#\0\x01v\x23\0\x02", "3"),
        publish_with("d", b"\x26\0\x01#\0\x01v", "4"),
    ];
    assert_eq!(decode(&first, false).unwrap(), ["a/b", "a/b", "c", "d"]);
    let second = [
        publish_with("", &[0x23, 0, 2], "5"),
        publish_with("e", &[0x23, 0, 1], "6"),
        publish_with("", &[0x23, 0, 1], "7"),
    ];
    assert_eq!(decode(&second, false).unwrap(), ["c", "e", "e"]);
    for wrong in [
        publish_with("", &[], ""),
        publish_with("", &[0x23, 0, 3], ""),
        publish_with("a", &[0x23, 0, 0], ""),
    ] {
        assert!(decode(&[wrong], false).is_err());
    }
    let forgotten = publish_with("", &[0x23, 0, 2], "8");
    assert!(decode(&[forgotten], true).is_err(), "another connection");
}
