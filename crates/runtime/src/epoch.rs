//! Epochs: the job's timestamps.
//!
//! An epoch is what one source took from its queue in one activation: all the batches that waited, up to a bound. It is
//! closed at once, so an idle pipeline acknowledges a message as soon as its row has been accepted, and needs no timer;
//! under load an epoch grows with the queue and its cost is shared by thousands of rows. Its number is the moment of
//! processing in microseconds since 1970, or the number after the last one, whichever is greater.
//!
//! A source without data must not hold back the others, whose rows may meet it at a union: when one source closes an
//! epoch, the clock wakes its siblings, which follow.
//!
//! Where a job runs in several processes, each has a clock, and those that close epochs tell the others ([`peers`]), which
//! follow likewise.
//!
//! [`peers`]: crate::peers
//!
//! A *cut* is an epoch that all rows of a checkpoint are in or before, and all others behind. It is made between epochs
//! that have been issued and those that will be: whoever meets a later epoch knows of the cut.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::bridge::Waker;

/// The epochs of one job, shared by the sources on all its workers.
#[derive(Clone)]
pub(crate) struct EpochClock {
    current: Arc<AtomicU64>,
    cut: Arc<AtomicU64>,
    sources: Arc<Mutex<Vec<Waker>>>,
    /// Where other processes learn what has been closed here.
    closed: Option<watch::Sender<u64>>,
}

impl Default for EpochClock {
    fn default() -> Self {
        Self {
            // 0 is no cut
            current: Arc::new(AtomicU64::new(1)),
            cut: Arc::default(),
            sources: Arc::default(),
            closed: None,
        }
    }
}

impl EpochClock {
    /// A clock that says in which epoch its sources go on whenever one of them closes one.
    pub(crate) fn among_others(closed: watch::Sender<u64>) -> Self {
        Self {
            closed: Some(closed),
            ..Self::default()
        }
    }

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
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        // under the lock, so that no cut falls between an epoch and its issue
        let before = self.current.fetch_max(next, Ordering::AcqRel);
        if sources.len() > 1 {
            sources.iter().for_each(Waker::wake);
        }
        let next = next.max(before);
        if let Some(closed) = &self.closed {
            closed.send_if_modified(|told| {
                let is_later = next > *told;
                *told = next.max(*told);
                is_later
            });
        }
        next
    }

    /// Goes on in the epoch in which the sources of another process do, unless it is there already.
    pub(crate) fn follow(&self, epoch: u64) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if self.current.fetch_max(epoch, Ordering::AcqRel) < epoch {
            sources.iter().for_each(Waker::wake);
        }
    }

    /// Cuts between the epochs that have been issued and those that will be; all sources go on behind the cut.
    pub(crate) fn cut(&self) -> u64 {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = self.current.load(Ordering::Acquire);
        self.cut.store(cut, Ordering::Release);
        self.current.store(now_us().max(cut + 1), Ordering::Release);
        sources.iter().for_each(Waker::wake);
        cut
    }

    /// The last cut; 0 before the first.
    pub(crate) fn last_cut(&self) -> u64 {
        self.cut.load(Ordering::Acquire)
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
