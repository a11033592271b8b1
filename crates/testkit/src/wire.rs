//! MQTT 3.1.1 and 5 on the wire, as far as a test client needs it.
//!
//! Written for the tests and on purpose not shared with the connector: what both sides got wrong alike would never be
//! noticed. Straightforward, not fast. Section numbers are those of MQTT 5.0.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The properties of a PUBLISH that tests look at. Always empty with MQTT 3.1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// 0 for bytes, 1 for UTF-8 text.
    pub payload_format: Option<u8>,
    /// In seconds.
    pub message_expiry_interval: Option<u32>,
    /// A MIME type.
    pub content_type: Option<String>,
    /// Where an answer is awaited.
    pub response_topic: Option<String>,
    /// What an answer must repeat.
    pub correlation_data: Option<Bytes>,
    /// Names and values, in order.
    pub user_properties: Vec<(String, String)>,
}

/// A PUBLISH, either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
}

/// Which of the four acknowledgements; the number is the packet type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(clippy::enum_variant_names, reason = "the names of the specification")]
pub(crate) enum Ack {
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
}

/// What a broker sends.
#[derive(Debug)]
pub(crate) enum Packet {
    ConnAck {
        session_present: bool,
        code: u8,
        receive_maximum: u16,
    },
    Publish(Publish),
    Ack {
        ack: Ack,
        packet_id: u16,
        code: u8,
    },
    SubAck {
        packet_id: u16,
        codes: Vec<u8>,
    },
    PingResp,
    Disconnect {
        code: u8,
    },
}

/// Who connects, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connect {
    pub(crate) v5: bool,
    pub(crate) client_id: String,
    pub(crate) persistent: bool,
    pub(crate) login: Option<(String, String)>,
}

/// Takes one whole packet off the front of `buffer`, if there is one.
pub(crate) fn read(buffer: &mut BytesMut, v5: bool) -> Result<Option<Packet>> {
    let Some((header_len, body_len)) = frame(buffer)? else {
        return Ok(None);
    };
    if buffer.len() < header_len + body_len {
        return Ok(None);
    }
    let first = buffer[0];
    let mut body = buffer.split_to(header_len + body_len).freeze();
    body.advance(header_len);
    packet(first, body, v5)
        .map(Some)
        .with_context(|| format!("a packet of type {} that makes no sense", first >> 4))
}

/// The lengths of the fixed header and of the rest (2.1.4), when they are known.
fn frame(buffer: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut len = 0;
    for (i, byte) in buffer.iter().skip(1).enumerate() {
        ensure!(i < 4, "a length of more than four bytes");
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((i + 2, len)));
        }
    }
    Ok(None)
}

fn packet(first: u8, mut body: Bytes, v5: bool) -> Result<Packet> {
    Ok(match first >> 4 {
        2 => {
            let session_present = get_u8(&mut body)? & 1 == 1;
            let code = get_u8(&mut body)?;
            let receive_maximum = match v5 {
                true => read_properties(&mut body)?.receive_maximum,
                false => None,
            };
            Packet::ConnAck {
                session_present,
                code,
                receive_maximum: receive_maximum.unwrap_or(u16::MAX),
            }
        }
        3 => Packet::Publish(read_publish(first, body, v5)?),
        kind @ 4..=7 => {
            let packet_id = get_u16(&mut body)?;
            // 3.4.2.1: the reason code may be left out, and is then 0.
            let code = if body.has_remaining() {
                body.get_u8()
            } else {
                0
            };
            let ack = match kind {
                4 => Ack::PubAck,
                5 => Ack::PubRec,
                6 => Ack::PubRel,
                _ => Ack::PubComp,
            };
            Packet::Ack {
                ack,
                packet_id,
                code,
            }
        }
        9 => {
            let packet_id = get_u16(&mut body)?;
            if v5 {
                read_properties(&mut body)?;
            }
            Packet::SubAck {
                packet_id,
                codes: body.to_vec(),
            }
        }
        13 => Packet::PingResp,
        14 => Packet::Disconnect {
            code: body.first().copied().unwrap_or(0),
        },
        other => bail!("packet type {other} is not for clients"),
    })
}

fn read_publish(first: u8, mut body: Bytes, v5: bool) -> Result<Publish> {
    let qos = first >> 1 & 3;
    let topic = get_string(&mut body)?;
    let packet_id = if qos > 0 { get_u16(&mut body)? } else { 0 };
    let properties = match v5 {
        true => read_properties(&mut body)?.publish,
        false => Properties::default(),
    };
    Ok(Publish {
        topic,
        payload: body,
        qos,
        retain: first & 1 == 1,
        dup: first & 8 == 8,
        packet_id,
        properties,
    })
}

#[derive(Default)]
struct AnyProperties {
    publish: Properties,
    receive_maximum: Option<u16>,
}

/// The property list (2.2.2). Those that no test asks for are read over, by their types.
fn read_properties(body: &mut Bytes) -> Result<AnyProperties> {
    let len = get_varint(body)?;
    ensure!(len <= body.len(), "properties longer than the packet");
    let mut list = body.split_to(len);
    let mut found = AnyProperties::default();
    while list.has_remaining() {
        match list.get_u8() {
            0x01 => found.publish.payload_format = Some(get_u8(&mut list)?),
            0x02 => found.publish.message_expiry_interval = Some(get_u32(&mut list)?),
            0x03 => found.publish.content_type = Some(get_string(&mut list)?),
            0x08 => found.publish.response_topic = Some(get_string(&mut list)?),
            0x09 => found.publish.correlation_data = Some(get_bytes(&mut list)?),
            0x21 => found.receive_maximum = Some(get_u16(&mut list)?),
            0x26 => {
                let pair = (get_string(&mut list)?, get_string(&mut list)?);
                found.publish.user_properties.push(pair);
            }
            0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => drop(get_u8(&mut list)?),
            0x13 | 0x22 | 0x23 => drop(get_u16(&mut list)?),
            0x11 | 0x18 | 0x27 => drop(get_u32(&mut list)?),
            0x0b => drop(get_varint(&mut list)?),
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => drop(get_bytes(&mut list)?),
            other => bail!("there is no property {other:#04x}"),
        }
    }
    Ok(found)
}

fn get_u8(from: &mut Bytes) -> Result<u8> {
    Ok(from.try_get_u8()?)
}

fn get_u16(from: &mut Bytes) -> Result<u16> {
    Ok(from.try_get_u16()?)
}

fn get_u32(from: &mut Bytes) -> Result<u32> {
    Ok(from.try_get_u32()?)
}

fn get_varint(from: &mut Bytes) -> Result<usize> {
    let mut value = 0;
    for i in 0..4 {
        let byte = get_u8(from)?;
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a length of more than four bytes")
}

fn get_bytes(from: &mut Bytes) -> Result<Bytes> {
    let len = usize::from(get_u16(from)?);
    ensure!(len <= from.len(), "a string longer than the packet");
    Ok(from.split_to(len))
}

fn get_string(from: &mut Bytes) -> Result<String> {
    Ok(String::from_utf8(get_bytes(from)?.to_vec())?)
}

/// Appends a packet: type and flags, length, body.
fn put_packet(to: &mut BytesMut, first: u8, body: &[u8]) {
    to.put_u8(first);
    put_varint(to, body.len());
    to.put_slice(body);
}

fn put_varint(to: &mut BytesMut, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return to.put_u8(byte);
        }
        to.put_u8(byte | 0x80);
    }
}

/// Appends bytes with their length. What does not fit in two bytes of length is a mistake of the test.
fn put_bytes(to: &mut BytesMut, bytes: &[u8]) -> Result<()> {
    let len = u16::try_from(bytes.len()).context("a string of more than 65,535 bytes")?;
    to.put_u16(len);
    to.put_slice(bytes);
    Ok(())
}

/// CONNECT (3.1) without keep-alive: the client lives as long as its test.
pub(crate) fn write_connect(to: &mut BytesMut, connect: &Connect) -> Result<()> {
    const CLEAN: u8 = 0x02;
    const USER_AND_PASSWORD: u8 = 0xc0;
    let mut body = BytesMut::new();
    put_bytes(&mut body, b"MQTT")?;
    body.put_u8(if connect.v5 { 5 } else { 4 });
    let clean = if connect.persistent { 0 } else { CLEAN };
    let login = connect.login.as_ref().map_or(0, |_| USER_AND_PASSWORD);
    body.put_u8(clean | login);
    body.put_u16(0);
    if connect.v5 {
        // Session expiry (never, or at once), receive maximum.
        let expiry = if connect.persistent { u32::MAX } else { 0 };
        body.put_u8(5 + 3);
        body.put_u8(0x11);
        body.put_u32(expiry);
        body.put_u8(0x21);
        body.put_u16(u16::MAX);
    }
    put_bytes(&mut body, connect.client_id.as_bytes())?;
    if let Some((user, password)) = &connect.login {
        put_bytes(&mut body, user.as_bytes())?;
        put_bytes(&mut body, password.as_bytes())?;
    }
    put_packet(to, 0x10, &body);
    Ok(())
}

/// PUBLISH (3.3).
pub(crate) fn write_publish(to: &mut BytesMut, publish: &Publish, v5: bool) -> Result<()> {
    let mut body = BytesMut::new();
    put_bytes(&mut body, publish.topic.as_bytes())?;
    if publish.qos > 0 {
        body.put_u16(publish.packet_id);
    }
    if v5 {
        let properties = properties_of(&publish.properties)?;
        put_varint(&mut body, properties.len());
        body.put_slice(&properties);
    }
    body.put_slice(&publish.payload);
    let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    put_packet(to, 0x30 | flags, &body);
    Ok(())
}

fn properties_of(properties: &Properties) -> Result<BytesMut> {
    let mut list = BytesMut::new();
    if let Some(format) = properties.payload_format {
        list.put_slice(&[0x01, format]);
    }
    if let Some(seconds) = properties.message_expiry_interval {
        list.put_u8(0x02);
        list.put_u32(seconds);
    }
    for (id, text) in [
        (0x03, &properties.content_type),
        (0x08, &properties.response_topic),
    ] {
        if let Some(text) = text {
            list.put_u8(id);
            put_bytes(&mut list, text.as_bytes())?;
        }
    }
    if let Some(data) = &properties.correlation_data {
        list.put_u8(0x09);
        put_bytes(&mut list, data)?;
    }
    for (name, value) in &properties.user_properties {
        list.put_u8(0x26);
        put_bytes(&mut list, name.as_bytes())?;
        put_bytes(&mut list, value.as_bytes())?;
    }
    Ok(list)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7), successful.
pub(crate) fn write_ack(to: &mut BytesMut, ack: Ack, packet_id: u16) {
    let flags = if ack == Ack::PubRel { 2 } else { 0 };
    put_packet(to, (ack as u8) << 4 | flags, &packet_id.to_be_bytes());
}

/// SUBSCRIBE (3.8) with one filter.
pub(crate) fn write_subscribe(
    to: &mut BytesMut,
    packet_id: u16,
    filter: &str,
    qos: u8,
    v5: bool,
) -> Result<()> {
    let mut body = BytesMut::new();
    body.put_u16(packet_id);
    if v5 {
        body.put_u8(0);
    }
    put_bytes(&mut body, filter.as_bytes())?;
    body.put_u8(qos);
    put_packet(to, 0x82, &body);
    Ok(())
}

/// DISCONNECT (3.14), normal.
pub(crate) fn write_disconnect(to: &mut BytesMut) {
    put_packet(to, 0xe0, &[]);
}
