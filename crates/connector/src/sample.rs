//! Listening before there is a table: what a connector finds where a table could be, for the inference of its columns.
//!
//! Listening must not disturb: it takes nothing from those who share the place, leaves nothing behind, acknowledges
//! nothing that others wait for, and is bounded in messages, bytes and time.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::DataType;
use futures::future::BoxFuture;

use crate::config::SqlOption;

/// What to listen to, and for how long.
pub struct SampleRequest {
    /// The place as the user wrote it: a topic filter.
    pub place: String,
    /// When to end, in messages.
    pub messages_max: usize,
    /// When to end, in bytes of payload.
    pub bytes_max: usize,
    /// When to end, counted from the moment in which the place is being listened to.
    pub duration: Duration,
    /// Ends it earlier when it resolves.
    pub stop: BoxFuture<'static, ()>,
    /// Told how it goes.
    pub progress: Box<dyn FnMut(Listening) + Send>,
}

/// How listening goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Whatever is published from now on is heard.
    Begun,
    /// The first message has come.
    Heard,
}

impl fmt::Debug for SampleRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleRequest")
            .field("place", &self.place)
            .field("messages_max", &self.messages_max)
            .field("bytes_max", &self.bytes_max)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    /// The payloads, in the order of arrival.
    pub payloads: Vec<Vec<u8>>,
    /// In how many different places (topics) they were.
    pub places: usize,
    /// Options that a table over the place has, beside the profile's and the format's.
    pub options: Vec<SqlOption>,
    /// What the place itself says of a message, as columns that suggest themselves.
    pub metadata: Vec<MetadataColumn>,
}

/// A column from around the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataColumn {
    /// A good name, in lower case.
    pub name: String,
    /// The name in `METADATA FROM '…'`.
    pub metadata: String,
    /// Its type.
    pub data_type: DataType,
}
