//! CONNECT (section 3.1).

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::encode::put_varint;
use crate::options::{ConnectOptions, Password, ProtocolVersion, Will};

/// The bits of the flags (section 3.1.2.3).
const USERNAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;

/// CONNECT (section 3.1) by options that have been [checked](ConnectOptions::check).
pub fn connect(options: &ConnectOptions, clean_start: bool, out: &mut BytesMut) {
    let username = options.username.as_deref();
    let password = options.password.as_ref().map(Password::expose);
    let mut flags = if clean_start { CLEAN_START } else { 0 };
    flags |= if username.is_some() { USERNAME } else { 0 };
    flags |= if password.is_some() { PASSWORD } else { 0 };
    flags |= options.will.as_ref().map_or(0, will_flags);

    let mut body = BytesMut::new();
    let (name, level): (&[u8], u8) = match options.protocol {
        ProtocolVersion::V31 => (b"MQIsdp", 3),
        ProtocolVersion::V311 => (b"MQTT", 4),
        ProtocolVersion::V5 => (b"MQTT", 5),
    };
    put_sized(name, &mut body);
    body.put_u8(level);
    body.put_u8(flags);
    let keep_alive = seconds(options.keep_alive);
    body.put_u16(u16::try_from(keep_alive).unwrap_or(u16::MAX));
    if options.protocol == ProtocolVersion::V5 {
        put_properties(options, &mut body);
    }
    put_sized(options.client_id.as_bytes(), &mut body);
    if let Some(will) = &options.will {
        put_will(will, options.protocol, &mut body);
    }
    for text in [username, password].into_iter().flatten() {
        put_sized(text.as_bytes(), &mut body);
    }
    out.put_u8(0x10);
    put_varint(body.len(), out);
    out.put_slice(&body);
}

fn will_flags(will: &Will) -> u8 {
    let retain = if will.message.retain { WILL_RETAIN } else { 0 };
    WILL | (will.message.qos.level() << 3) | retain
}

/// What the client asks of an MQTT 5 broker (section 3.1.2.11).
fn put_properties(options: &ConnectOptions, out: &mut BytesMut) {
    let mut properties = BytesMut::new();
    properties.put_u8(0x11);
    properties.put_u32(seconds(options.session_expiry));
    properties.put_u8(0x21);
    properties.put_u16(options.receive_maximum);
    properties.put_u8(0x27);
    properties.put_u32(options.max_packet_size);
    if options.topic_alias_maximum > 0 {
        properties.put_u8(0x22);
        properties.put_u16(options.topic_alias_maximum);
    }
    for (name, value) in &options.user_properties {
        properties.put_u8(0x26);
        put_sized(name.as_bytes(), &mut properties);
        put_sized(value.expose().as_bytes(), &mut properties);
    }
    put_varint(properties.len(), out);
    out.put_slice(&properties);
}

fn put_will(will: &Will, protocol: ProtocolVersion, out: &mut BytesMut) {
    if protocol == ProtocolVersion::V5 {
        let mut properties = BytesMut::new();
        if !will.delay.is_zero() {
            properties.put_u8(0x18);
            properties.put_u32(seconds(will.delay));
        }
        properties.put_slice(&will.message.properties);
        put_varint(properties.len(), out);
        out.put_slice(&properties);
    }
    put_sized(&will.message.topic, out);
    put_sized(&will.message.payload, out);
}

/// A text or byte string with its length in two bytes; the options' check has refused what is longer.
fn put_sized(bytes: &[u8], out: &mut BytesMut) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(len);
    out.put_slice(&bytes[..usize::from(len)]);
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test panics when it fails"
)]
mod tests {
    use rumqttc::mqttbytes::v4;
    use rumqttc::v5::mqttbytes::v5;

    use super::*;
    use crate::options::QoS;
    use crate::packet::{PropertiesWriter, Publish};

    fn options(protocol: ProtocolVersion) -> ConnectOptions {
        let mut options = ConnectOptions::new("host", 1883, "me");
        options.protocol = protocol;
        options.username = Some("user".to_owned());
        options.password = Some(Password::new("secret"));
        options.keep_alive = Duration::from_secs(7);
        options.session_expiry = Duration::from_secs(60);
        if protocol == ProtocolVersion::V5 {
            options.user_properties = vec![("site".to_owned(), Password::new("north"))];
        }
        let mut properties = PropertiesWriter::default();
        properties
            .content_type("text/plain")
            .user_property("k", "v");
        let mut message = Publish::new("status/me", "gone", QoS::ExactlyOnce);
        message.retain = true;
        message.properties = properties.take();
        let delay = Duration::from_secs(5);
        options.will = Some(Will { message, delay });
        options.check().unwrap();
        options
    }

    #[test]
    fn another_codec_reads_it_on_3_1_1() {
        let mut out = BytesMut::new();
        connect(&options(ProtocolVersion::V311), true, &mut out);
        let read = v4::Packet::read(&mut out, 1000).unwrap();
        let v4::Packet::Connect(read) = read else {
            panic!("{read:?}")
        };
        assert!(out.is_empty() && read.clean_session);
        assert_eq!((read.client_id.as_str(), read.keep_alive), ("me", 7));
        let login = read.login.unwrap();
        assert_eq!((&*login.username, &*login.password), ("user", "secret"));
        let will = read.last_will.unwrap();
        assert_eq!(
            (&*will.topic, &will.message[..]),
            ("status/me", &b"gone"[..])
        );
        assert_eq!((will.qos as u8, will.retain), (2, true));
    }

    #[test]
    fn another_codec_reads_it_on_5() {
        let mut out = BytesMut::new();
        connect(&options(ProtocolVersion::V5), false, &mut out);
        let read = v5::Packet::read(&mut out, None).unwrap();
        let v5::Packet::Connect(read, Some(will), Some(login)) = read else {
            panic!("{read:?}")
        };
        assert!(out.is_empty() && !read.clean_start);
        assert_eq!((read.client_id.as_str(), read.keep_alive), ("me", 7));
        let properties = read.properties.unwrap();
        assert_eq!(properties.session_expiry_interval, Some(60));
        assert_eq!(properties.receive_maximum, Some(u16::MAX));
        assert_eq!(properties.topic_alias_max, Some(64));
        assert_eq!(
            properties.user_properties,
            [("site".to_owned(), "north".to_owned())]
        );
        assert_eq!((&*login.username, &*login.password), ("user", "secret"));
        assert_eq!(
            (&will.topic[..], &will.message[..]),
            (&b"status/me"[..], &b"gone"[..])
        );
        assert_eq!((will.qos as u8, will.retain), (2, true));
        let properties = will.properties.unwrap();
        assert_eq!(properties.delay_interval, Some(5));
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(
            properties.user_properties,
            [("k".to_owned(), "v".to_owned())]
        );
    }

    #[test]
    fn without_a_login_nothing_is_said_of_one() {
        let mut out = BytesMut::new();
        let mut options = ConnectOptions::new("host", 1883, "");
        options.topic_alias_maximum = 0;
        connect(&options, true, &mut out);
        let flags_at = 2 + 6 + 1;
        assert_eq!(out[flags_at], CLEAN_START);
        assert!(out.ends_with(&[0, 0]), "an empty client id");
    }
}
