//! The properties of MQTT 5 packets (section 2.2.2), read where they lie.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Varint, varint};

/// One property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Property<'a> {
    /// 0x01, whether the payload is UTF-8 text.
    PayloadFormatIndicator(u8),
    /// 0x02, in seconds.
    MessageExpiryInterval(u32),
    /// 0x03.
    ContentType(&'a str),
    /// 0x08.
    ResponseTopic(&'a str),
    /// 0x09.
    CorrelationData(&'a [u8]),
    /// 0x0B.
    SubscriptionIdentifier(u32),
    /// 0x1C.
    ServerReference(&'a str),
    /// 0x1F, for people.
    ReasonString(&'a str),
    /// 0x23.
    TopicAlias(u16),
    /// 0x26, name and value.
    UserProperty(&'a str, &'a str),
    /// Any other of the specification, by its identifier.
    Other(u8),
}

/// The properties of one packet; none on MQTT 3.1.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Properties as they lie in a packet, after their length.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The properties in their order. Ends at the first that is malformed.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || next(&mut rest))
    }

    /// The values of the user property of this name (section 3.3.2.3.7).
    pub fn user_property(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter().filter_map(move |property| match property {
            Property::UserProperty(key, value) if key == name => Some(value),
            _ => None,
        })
    }

    /// What an acknowledgement or a goodbye says to people: its reason string, and where to go instead.
    pub(crate) fn explanation(self) -> Option<String> {
        let said: Vec<_> = self
            .iter()
            .filter_map(|property| match property {
                Property::ReasonString(text) => Some(text.to_owned()),
                Property::ServerReference(server) => Some(format!("the server is {server}")),
                _ => None,
            })
            .collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// Writes the properties of one PUBLISH that goes out (section 3.3.2.3), for many messages into one buffer.
///
/// ```
/// # use headwater_mqtt::{Properties, PropertiesWriter, Property};
/// let mut writer = PropertiesWriter::default();
/// writer.content_type("application/json").user_property("site", "north");
/// let written = writer.take();
/// assert_eq!(Properties::new(&written).iter().next(), Some(Property::ContentType("application/json")));
/// ```
#[derive(Debug, Default)]
pub struct PropertiesWriter {
    bytes: BytesMut,
}

impl PropertiesWriter {
    /// 0x01: the payload is UTF-8 text. Said of what is none, brokers may refuse the message.
    pub fn payload_is_text(&mut self) -> &mut Self {
        self.bytes.put_slice(&[0x01, 1]);
        self
    }

    /// 0x02: the seconds after which the broker no longer delivers the message.
    pub fn message_expiry_interval(&mut self, seconds: u32) -> &mut Self {
        self.bytes.put_u8(0x02);
        self.bytes.put_u32(seconds);
        self
    }

    /// 0x03: what the payload is.
    pub fn content_type(&mut self, text: &str) -> &mut Self {
        self.field(0x03, text.as_bytes())
    }

    /// 0x08: where an answer is awaited. Must be a topic without wildcards.
    pub fn response_topic(&mut self, topic: &str) -> &mut Self {
        self.field(0x08, topic.as_bytes())
    }

    /// 0x09: what an answer must repeat.
    pub fn correlation_data(&mut self, data: &[u8]) -> &mut Self {
        self.field(0x09, data)
    }

    /// 0x26: any name and value; may be written several times.
    pub fn user_property(&mut self, name: &str, value: &str) -> &mut Self {
        self.field(0x26, name.as_bytes());
        self.sized(value.as_bytes())
    }

    /// What was written since the last call: the properties of one message.
    pub fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    fn field(&mut self, id: u8, value: &[u8]) -> &mut Self {
        self.bytes.put_u8(id);
        self.sized(value)
    }

    /// A text or byte string with its length in two bytes. The caller has refused what is longer; here it is cut, so that
    /// the packet stays well formed.
    fn sized(&mut self, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.bytes.put_u16(len);
        self.bytes.put_slice(&value[..usize::from(len)]);
        self
    }
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Property<'a>> {
    let id = *rest.split_off_first()?;
    Some(match id {
        0x01 => Property::PayloadFormatIndicator(byte(rest)?),
        0x02 => Property::MessageExpiryInterval(four_bytes(rest)?),
        0x03 => Property::ContentType(text(rest)?),
        0x08 => Property::ResponseTopic(text(rest)?),
        0x09 => Property::CorrelationData(binary(rest)?),
        0x0B => Property::SubscriptionIdentifier(variable(rest)?),
        0x1C => Property::ServerReference(text(rest)?),
        0x1F => Property::ReasonString(text(rest)?),
        0x23 => Property::TopicAlias(two_bytes(rest)?),
        0x26 => Property::UserProperty(text(rest)?, text(rest)?),
        0x11 | 0x18 | 0x27 => four_bytes(rest).map(|_| Property::Other(id))?,
        0x13 | 0x21 | 0x22 => two_bytes(rest).map(|_| Property::Other(id))?,
        0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
            byte(rest).map(|_| Property::Other(id))?
        }
        0x12 | 0x15 | 0x16 | 0x1A => binary(rest).map(|_| Property::Other(id))?,
        _ => return None,
    })
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    rest.split_off_first().copied()
}

fn two_bytes(rest: &mut &[u8]) -> Option<u16> {
    let bytes = rest.split_off(..2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn four_bytes(rest: &mut &[u8]) -> Option<u32> {
    let bytes = rest.split_off(..4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn variable(rest: &mut &[u8]) -> Option<u32> {
    let Varint::Value(value, len) = varint(rest) else {
        return None;
    };
    rest.split_off(..len)?;
    u32::try_from(value).ok()
}

fn binary<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(two_bytes(rest)?);
    rest.split_off(..len)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(binary(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_in_order() {
        let bytes = b"\x01\x01\x02\0\0\0\x3c\x03\0\x04json\x09\0\x02\xff\xfe\x0b\x80\x01\x26\0\x01k\0\x01v\x26\0\x01k\0\x01w";
        let properties = Properties::new(bytes);
        assert_eq!(
            properties.iter().collect::<Vec<_>>(),
            [
                Property::PayloadFormatIndicator(1),
                Property::MessageExpiryInterval(60),
                Property::ContentType("json"),
                Property::CorrelationData(&[0xff, 0xfe]),
                Property::SubscriptionIdentifier(128),
                Property::UserProperty("k", "v"),
                Property::UserProperty("k", "w"),
            ]
        );
        assert_eq!(
            properties.user_property("k").collect::<Vec<_>>(),
            ["v", "w"]
        );
    }

    #[test]
    fn malformed_properties_end_the_list() {
        for bytes in [
            &b"\x26\0\x05ab"[..],
            b"\x02\0",
            b"\x7f",
            b"\x03\0\x02\xff\xff",
            b"\x0b\x80",
        ] {
            assert_eq!(Properties::new(bytes).iter().count(), 0);
        }
    }
}
