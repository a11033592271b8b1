//! Messages to publish, sharing what they can: the mirror of [`inbound`](super::inbound).
//!
//! A stream writes thousands of messages of a few bytes each, so none of them is an allocation, nor a counted reference
//! of its own: payloads lie end to end in one buffer ([`Outbound`]), an envelope that all have is there once, and queues
//! pass on runs of messages ([`Piece`]). Only what has to be kept by itself, until its PUBACK say, is a [`Parcel`].

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Publish;
use super::encode::PublishRef;
use crate::options::QoS;

/// What a message is beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The topic: UTF-8, no wildcards. The caller has checked it.
    pub topic: Bytes,
    /// How often it is delivered.
    pub qos: QoS,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Its properties as [`PropertiesWriter`](super::PropertiesWriter) has written them.
    pub properties: Bytes,
}

/// Messages to publish, in their order.
#[derive(Debug)]
pub struct Outbound {
    /// The payloads, and perhaps others.
    buffer: Bytes,
    messages: Messages,
}

/// The messages, with where in the buffer their payloads lie.
#[derive(Debug)]
enum Messages {
    Alike(Envelope, Vec<Range<usize>>),
    Each(Vec<(Envelope, Range<usize>)>),
}

impl Outbound {
    /// Messages with the same envelope, whose payloads lie at these places in the buffer.
    pub fn alike(envelope: Envelope, buffer: Bytes, payloads: Vec<Range<usize>>) -> Self {
        Self {
            buffer,
            messages: Messages::Alike(envelope, payloads),
        }
    }

    /// Messages with an envelope each.
    pub fn each(buffer: Bytes, messages: Vec<(Envelope, Range<usize>)>) -> Self {
        Self {
            buffer,
            messages: Messages::Each(messages),
        }
    }

    fn len(&self) -> usize {
        match &self.messages {
            Messages::Alike(_, payloads) => payloads.len(),
            Messages::Each(messages) => messages.len(),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> PublishRef<'_> {
        let (envelope, payload) = match &self.messages {
            Messages::Alike(envelope, payloads) => (envelope, &payloads[index]),
            Messages::Each(messages) => {
                let (envelope, payload) = &messages[index];
                (envelope, payload)
            }
        };
        PublishRef {
            topic: &envelope.topic,
            payload: &self.buffer[payload.clone()],
            qos: envelope.qos,
            retain: envelope.retain,
            properties: &envelope.properties,
        }
    }
}

impl From<Vec<Publish>> for Outbound {
    fn from(publishes: Vec<Publish>) -> Self {
        let mut buffer = BytesMut::new();
        let mut message = |publish: Publish| {
            let start = buffer.len();
            buffer.extend_from_slice(&publish.payload);
            let envelope = Envelope {
                topic: publish.topic,
                qos: publish.qos,
                retain: publish.retain,
                properties: publish.properties,
            };
            (envelope, start..buffer.len())
        };
        let messages = publishes.into_iter().map(&mut message).collect();
        Self::each(buffer.freeze(), messages)
    }
}

/// A run of messages. It keeps the buffer of all that were made with them alive.
#[derive(Debug, Clone)]
pub struct Piece {
    messages: Arc<Outbound>,
    range: Range<usize>,
}

impl Piece {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The messages.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PublishRef<'_>> {
        self.range.clone().map(|index| self.messages.get(index))
    }

    /// The first message.
    #[inline]
    pub fn first(&self) -> Option<Parcel> {
        let messages = || Arc::clone(&self.messages);
        (!self.is_empty()).then(|| Parcel {
            messages: messages(),
            index: self.range.start,
        })
    }

    /// Goes on behind the first message.
    #[inline]
    pub fn skip_first(&mut self) {
        self.range.start = self.range.end.min(self.range.start + 1);
    }

    /// Takes messages off the front: as many as these bounds allow, but one at least. The last may exceed the bytes.
    pub fn split(&mut self, messages_max: usize, bytes_max: usize) -> Self {
        let mut bytes = 0;
        let fits = |publish: &PublishRef<'_>| {
            let fits = bytes < bytes_max;
            bytes += publish.len();
            fits
        };
        let len = self.iter().take(messages_max).take_while(fits).count();
        let at = self.range.start + len;
        Self {
            messages: Arc::clone(&self.messages),
            range: std::mem::replace(&mut self.range.start, at)..at,
        }
    }
}

impl<T: Into<Outbound>> From<T> for Piece {
    fn from(messages: T) -> Self {
        let messages = Arc::new(messages.into());
        let range = 0..messages.len();
        Self { messages, range }
    }
}

/// One message that is kept by itself.
#[derive(Debug, Clone)]
pub struct Parcel {
    messages: Arc<Outbound>,
    /// Less than the number of messages.
    index: usize,
}

impl Parcel {
    /// The message.
    #[inline]
    pub fn get(&self) -> PublishRef<'_> {
        self.messages.get(self.index)
    }
}

impl From<Parcel> for Piece {
    fn from(Parcel { messages, index }: Parcel) -> Self {
        let range = index..index + 1;
        Self { messages, range }
    }
}
