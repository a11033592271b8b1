//! The will and the birth message of a profile: how others see that a connection is there.

use std::time::Duration;

use super::profile::{BirthMessage, LastWill, QosOfBirth, QosOfWill};
use crate::options::{QoS, Will};
use crate::packet::Publish;

/// Stands for the client id, since all connections of a profile have the same options.
const CLIENT_ID: &str = "{client_id}";

impl From<QosOfWill> for QoS {
    fn from(qos: QosOfWill) -> Self {
        match qos {
            QosOfWill::AtMostOnce => Self::AtMostOnce,
            QosOfWill::AtLeastOnce => Self::AtLeastOnce,
            QosOfWill::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<QosOfBirth> for QoS {
    fn from(qos: QosOfBirth) -> Self {
        match qos {
            QosOfBirth::AtMostOnce => Self::AtMostOnce,
            QosOfBirth::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// The will of one connection. That its topic is one is checked with the other options.
pub(super) fn will(will: &LastWill, client_id: &str) -> Will {
    let topic = will.topic.replace(CLIENT_ID, client_id);
    let payload = will.payload.replace(CLIENT_ID, client_id);
    Will {
        message: Publish {
            retain: will.retain,
            ..Publish::new(topic, payload, will.qos.into())
        },
        delay: Duration::from_secs(will.delay_seconds.into()),
    }
}

/// The birth message of one connection, likewise.
pub(super) fn birth(birth: &BirthMessage, client_id: &str) -> Publish {
    let topic = birth.topic.replace(CLIENT_ID, client_id);
    let payload = birth.payload.replace(CLIENT_ID, client_id);
    Publish {
        retain: birth.retain,
        ..Publish::new(topic, payload, birth.qos.into())
    }
}
