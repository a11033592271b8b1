//! Messages that came in one read, lying in the buffer that brought them.

use bytes::Bytes;

use super::Properties;
use crate::options::QoS;

/// Messages that lie in one buffer.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(super) buffer: Bytes,
    pub(super) entries: Vec<Entry>,
    /// The topics of messages that name theirs by an alias.
    pub(super) topics: Vec<Bytes>,
    pub(super) bytes: u64,
    /// What any of the messages has among its flags.
    pub(super) flags: u8,
}

/// The flags of a PUBLISH, in the lower half of its first byte (section 3.3.1).
pub(super) const RETAIN: u8 = 0b0001;
pub(super) const QOS_1: u8 = 0b0010;
pub(super) const QOS_2: u8 = 0b0100;
pub(super) const DUP: u8 = 0b1000;

/// Where one message lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Of the topic within the buffer; or its index among the topics, if its length is 0.
    pub(super) topic_at: u32,
    pub(super) properties_at: u32,
    pub(super) properties_len: u32,
    pub(super) payload_len: u32,
    pub(super) topic_len: u16,
    pub(super) packet_id: u16,
    pub(super) flags: u8,
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

    /// Whether all messages are what they mostly are: live, of QoS 0 or 1 and sent for the first time.
    pub(crate) fn is_plain(&self) -> bool {
        self.flags & (DUP | QOS_2 | RETAIN) == 0
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

    /// Always inlined: who returns it writes it to memory in fields, which are read back in wider pieces before they have
    /// got there, a twentieth of a source's time.
    #[inline(always)]
    fn message(&self, seq: u64, entry: Entry) -> Message<'_> {
        let topic_at = entry.topic_at as usize;
        let properties_at = entry.properties_at as usize;
        let payload_at = properties_at + entry.properties_len as usize;
        Message {
            seq,
            packet_id: entry.packet_id,
            flags: entry.flags,
            topic: match usize::from(entry.topic_len) {
                0 => &self.topics[topic_at],
                len => &self.buffer[topic_at..topic_at + len],
            },
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
        if self.batch.buffer.as_ptr_range().contains(&part.as_ptr()) {
            return self.batch.buffer.slice_ref(part);
        }
        // A topic that was put in for an alias.
        Bytes::copy_from_slice(part)
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
    /// A message without payload, for tests.
    #[cfg(test)]
    pub(crate) fn of(topic: &'a str, properties: &'a [u8]) -> Self {
        Self {
            seq: 1,
            packet_id: 0,
            flags: 0,
            topic: topic.as_bytes(),
            payload: &[],
            properties: Properties::new(properties),
        }
    }

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
