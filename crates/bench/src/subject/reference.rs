//! The least that a client can do.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result};
use headwater_testkit::fake_broker::{Bridge, LoadClient, count_over_tls};

use super::{Progress, Task, Usage, measure};
use crate::case::{INPUT_TOPIC, OUTPUT_TOPIC};
use crate::process::say_open;

/// Receives, counts, and acknowledges in bulk.
pub(super) fn count(task: &Task) -> Result<Usage> {
    if let Some(ca) = &task.ca {
        return count_tls(task, ca);
    }
    let client = LoadClient::builder("bench-count")
        .subscribe(INPUT_TOPIC, task.qos)
        .connect(task.addr)?;
    say_open()?;
    measure(task, || {
        let counts = client.counts();
        Ok(Progress {
            begun: counts.received,
            done: counts.received,
            unacknowledged: match task.qos {
                2 => counts.received - counts.released.min(counts.received),
                _ => 0,
            },
        })
    })
}

/// The same through TLS.
fn count_tls(task: &Task, ca: &Path) -> Result<Usage> {
    let received = Arc::new(AtomicU64::new(0));
    let (addr, ca, counter) = (task.addr, ca.to_owned(), Arc::clone(&received));
    let (subscribed, open) = mpsc::channel();
    // ends with the process
    std::thread::spawn(move || {
        // nobody waits any more only if the process is ending
        let say_so = || {
            subscribed.send(()).ok();
        };
        count_over_tls(addr, &ca, INPUT_TOPIC, say_so, &counter)
    });
    open.recv().context("the subscription was refused")?;
    say_open()?;
    measure(task, || {
        let received = received.load(Ordering::Relaxed);
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
    say_open()?;
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
