//! Epochs: the job's timestamps.
//!
//! An epoch is what one source took from its queue in one activation: all the batches that waited, up to a bound. It is
//! closed at once, so an idle pipeline acknowledges a message as soon as its row has been accepted, and needs no timer;
//! under load an epoch grows with the queue and its cost is shared by thousands of rows. Its number is the moment of
//! processing in microseconds since 1970, or the number after the last one, whichever is greater.
//!
//! A source without data must not hold back the others, whose rows may meet it at a union: when one source closes an
//! epoch, the clock wakes its siblings, which follow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bridge::Waker;

/// The epochs of one job, shared by the sources on all its workers.
#[derive(Clone, Default)]
pub(crate) struct EpochClock {
    current: Arc<AtomicU64>,
    sources: Arc<Mutex<Vec<Waker>>>,
}

impl EpochClock {
    /// Adds a source that wants to follow the others.
    pub(crate) fn join(&self, source: Waker) {
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(source);
    }

    /// The epoch in which a source that has waited should go on.
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    /// Closes `epoch` and returns the next one. Wakes the other sources so that they follow.
    pub(crate) fn close(&self, epoch: u64) -> u64 {
        let next = now_us().max(epoch + 1);
        let before = self.current.fetch_max(next, Ordering::AcqRel);
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() > 1 {
            sources.iter().for_each(Waker::wake);
        }
        next.max(before)
    }
}

/// The time of day, in microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    // a clock before 1970 only makes epochs small numbers; they still grow
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2)
}
