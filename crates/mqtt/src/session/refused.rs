//! What a publisher reports of a publish that cannot be delivered.

use crate::error::{MqttError, ReasonCode};
use crate::packet::{Publish, PublishRef};

/// A publish that the broker, or its limits, did not let through.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its number.
    pub number: u64,
    /// What was not sent.
    pub publish: Publish,
    /// Why.
    pub error: MqttError,
}

impl Refused {
    pub(super) fn new(
        number: u64,
        publish: PublishRef<'_>,
        reason: ReasonCode,
        message: Option<String>,
    ) -> Self {
        let topic = String::from_utf8_lossy(publish.topic).into_owned();
        Self {
            number,
            publish: publish.to_owned(),
            error: MqttError::Refused {
                topic,
                reason,
                message,
            },
        }
    }
}
