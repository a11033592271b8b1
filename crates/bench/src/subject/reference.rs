//! The least that a client can do.

use anyhow::Result;
use headwater_testkit::fake_broker::{Bridge, LoadClient};

use super::{OPEN, Progress, Task, Usage, measure, say};
use crate::case::{INPUT_TOPIC, OUTPUT_TOPIC};

/// Receives, counts, and acknowledges in bulk.
pub(super) fn count(task: &Task) -> Result<Usage> {
    let client = LoadClient::builder("bench-count")
        .subscribe(INPUT_TOPIC, task.qos)
        .connect(task.addr)?;
    say(OPEN)?;
    measure(task, || {
        let received = client.counts().received;
        Ok(Progress {
            begun: received,
            done: received,
            unacknowledged: 0,
        })
    })
}

/// Receives, copies the payload into another message, publishes.
pub(super) fn bridge(task: &Task) -> Result<Usage> {
    let bridge = Bridge::start(task.addr, INPUT_TOPIC, OUTPUT_TOPIC, task.qos)?;
    say(OPEN)?;
    measure(task, || {
        // read first, so that it never exceeds what was forwarded
        let acknowledged = bridge.acknowledged();
        let forwarded = bridge.forwarded();
        Ok(Progress {
            begun: forwarded,
            done: forwarded,
            unacknowledged: match task.qos {
                0 => 0,
                _ => forwarded - acknowledged.min(forwarded),
            },
        })
    })
}
